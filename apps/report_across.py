"""The section of a report that crosses animals: charts, findings and tables of transfer results."""

from collections.abc import Mapping

import xarray as xr

from .across import LINE_NAMES
from .labels import for_html, spoken
from .report_page import figure, html_table, section
from .tasks import interval_words

LEAD = (
    "Blue: decoded with the other animals' data, aligned by the calibration trials. It is worth having where it lies "
    "above the animal's own trials alone. Grey: aligned with labels that all belong to other odors, so at chance or "
    "below. The ceiling is trained on all of the animal's own trials that are not tested. Bars: the interval over "
    "animals."
)


def across_section(transfers: Mapping[str, xr.Dataset]) -> str:
    """HTML of the section; nothing without results."""
    if not transfers:
        return ""
    parts = [part for name, result in transfers.items() for part in _part(name, result)]
    return section("Does the code serve another animal?", LEAD, parts, [])


def _part(name: str, result: xr.Dataset) -> list[str]:
    target = spoken(str(result.attrs["target"]))
    if "k" in result.dims:
        title = f"Known {target}s, few calibration trials"
        rows = [result.isel(k=position) for position in range(result.sizes["k"])]
        found = f"With {int(rows[-1]['k'])} trials of each {target}: {rows[-1]['finding'].item()}"
        head = [f"trials of each {target}"]
        cells = [[str(int(row["k"])), *_cells(row)] for row in rows]
    else:
        title = f"New {target}s: the animal has no label for them"
        found = f"Aligned on {result.attrs['n_anchors']} {target}s, asked about {result.attrs['n_test']} others. "
        found += str(result.attrs["finding"])
        head = [f"test {target}s"]
        cells = [[str(result.attrs["n_test"]), *_cells(result)]]
    lines = [LINE_NAMES[line] for line in LINE_NAMES if line in result["line"].values]
    table = html_table("Accuracy, mean over animals (interval over animals).", head + lines, cells)
    return [f"<h3>{for_html(title)}</h3>", figure(f"transfer:{name}", found), table]


def _cells(row: xr.Dataset) -> list[str]:
    """Mean and interval of each line."""
    said = []
    for line in LINE_NAMES:
        if line not in row["line"].values:
            continue
        at = row.sel(line=line)
        mean, low, high = (float(at[f"score_{part}"]) for part in ("mean", "low", "high"))
        said.append(interval_words(mean, low, high))
    return said
