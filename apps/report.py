"""A run as one HTML file that needs nothing else: what was found, what it means, how it was made.

The charts come from ``charts.py``, the sentences from ``summary.py``, the frame from ``report_page.py``,
the account of how it was made from ``report_made.py``. Nothing is computed here; all text is escaped.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..datasets.errors import SchemaError
from . import charts, charts_over
from .extras import Extras
from .labels import clean, for_html, spoken
from .layout import condition_means, counts_and_share, mean_row, moments
from .palette import BLACK, INK, MOST_CLASSES
from .publish import publish
from .report_across import across_section
from .report_made import how_it_was_made, next_steps
from .report_over import across_levels_section, how_many_section, over_time_section
from .report_page import html_table, page
from .summary import counted, decoded, finding, fitted_on, meaning, number, table

MOST_TRAJECTORIES = 24  # 0.2 to 1 MB each
EXTRA_SECTIONS = {  # optional section of the configuration -> its part of the page
    "over_time": over_time_section,
    "how_many": how_many_section,
    "across_levels": across_levels_section,
    "transfer": across_section,
}


def write_report(
    path: str | Path,
    study: xr.Dataset | None,
    results: Mapping[str, xr.Dataset],
    trajectories: Mapping[str, xr.DataArray],
    *,
    provenance: Mapping[str, Any],
    extras: Extras | None = None,
) -> Path:
    """Write the report of a run and publish it in one step.

    Parameters
    ----------
    path : the HTML file
    study : table over populations; None with a single result, which is then reported alone
    results : population -> decoding result
    trajectories : session -> trajectory; may be empty
    provenance : plain values that say how it was made: ``config``, ``inputs``, ``packages``, ``store`` ...
    extras : optional section of the configuration -> task -> result; may be absent

    Returns
    -------
    path

    Raises
    ------
    SchemaError : no study and not exactly one result; data that are not what their place says
    StoreError : the file cannot be written
    """
    if study is None:
        if len(results) != 1:
            raise SchemaError(
                f"a report needs a study, or exactly one result; got no study and {len(results)} results. "
                f"Give the study that the results belong to."
            )
        study = next(iter(results.values()))
    rows = _with_smallest_p(table(study), results)
    colors = {name: _color(path_, study) for name, path_ in list(trajectories.items())[:MOST_TRAJECTORIES]}
    shown = {name: trajectories[name] for name, color in colors.items() if color}
    matrices = {name: result for name, result in results.items() if "confusion" in result}
    names = dict.fromkeys([*rows["population"], *matrices, *shown])
    ids = {name: f"n{position}" for position, name in enumerate(names)}
    sections = [
        _header(study, rows),
        "<main>",
        _accuracy_section(study, rows, results, provenance),
        _warnings(results),
        *(EXTRA_SECTIONS[section](found) for section, found in (extras or {}).items()),
        _confusion_section(matrices, ids),
        _trajectory_section(shown, colors, ids, n_given=len(trajectories)),
        _meaning_section(study, results),
        how_it_was_made(study, results, trajectories, provenance),
        next_steps(study, rows, provenance),
        "</main>",
        "<footer>One file, made by mitral. It holds all its data and loads nothing from elsewhere.</footer>",
    ]
    figures = {"accuracy": charts.accuracy(study)}
    figures |= {f"confusion:{ids[name]}": charts.confusion(result) for name, result in matrices.items()}
    for section, found in (extras or {}).items():
        figures |= {f"{section}:{task}": charts_over.draw(result) for task, result in found.items()}
    figures |= {f"trajectory:{ids[name]}": charts.trajectories(shown[name], color=str(colors[name])) for name in shown}
    drawn = {
        "charts": {name: _chart(figure) for name, figure in figures.items()},
        "templates": {theme: charts.template(theme) for theme in INK},
        "swap": {BLACK: INK["dark"]},
        "config": charts.PLOTLY_CONFIG,
        "rows": [ids[name] for name in rows["population"]],
    }
    html = page(_title(study), "\n".join(sections), charts=drawn, library=charts.plotly_script())
    return publish(path, html.encode())


def _with_smallest_p(rows: pd.DataFrame, results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """The rows with the smallest possible p of each population, which a study may leave to its results."""
    known = {name: result.attrs.get("p_smallest", np.nan) for name, result in results.items()}
    return rows.assign(p_smallest=rows["p_smallest"].fillna(rows["population"].map(known).astype(float)))


def _control(provenance: Mapping[str, Any]) -> str:
    config = provenance.get("config")
    window = config.get("decoding", {}).get("control_window_s") if isinstance(config, Mapping) else None
    return f" ({window[0]:g} to {window[1]:g} s)" if window else ""


def _chart(figure: Any) -> dict[str, Any]:
    """Data and layout of a figure as plain JSON values; the page brings the template."""
    plain = json.loads(figure.to_json())
    plain["layout"].pop("template", None)
    return plain | {"alt": charts.description(figure)}


def _title(study: xr.Dataset) -> str:
    return clean(study.attrs.get("title") or study.attrs.get("name") or "decoding")


def _header(study: xr.Dataset, rows: pd.DataFrame) -> str:
    attrs, metric = study.attrs, spoken(study.attrs.get("metric", "score"))
    mean = attrs.get("score_mean", np.nan)
    n_decoded = int(decoded(rows, attrs.get("metric", "")).sum())
    facts = {
        f"{'mean ' if len(rows) > 1 else ''}{metric}": number(mean),
        "chance": _span(rows["chance"], digits=3),
        f"{counted(rows)} above chance": f"{n_decoded} of {len(rows)}",
        "trials in each" if len(rows) > 1 else "trials": _span(rows["n_trials"], digits=6),
        "units in each" if len(rows) > 1 else "units": _span(rows["n_units"], digits=6),
    }
    cells = "".join(f"<div><dt>{for_html(term)}</dt><dd>{for_html(value)}</dd></div>" for term, value in facts.items())
    return (
        f'<header>\n<p class="brand"><span>mitral</span></p>\n<h1>{for_html(_title(study))}</h1>\n'
        f'<p class="finding">{for_html(finding(study))}</p>\n<dl class="facts">{cells}</dl>\n</header>'
    )


def _accuracy_section(
    study: xr.Dataset, rows: pd.DataFrame, results: Mapping[str, xr.Dataset], provenance: Mapping[str, Any]
) -> str:
    over = sorted({clean(r.attrs["interval_over"]) for r in results.values() if r.attrs.get("interval_over")})
    said = [
        f"Circles: the score of each population, with its interval{' over ' + ' or '.join(over) if over else ''}.",
        "Grey bands: the middle 95\u00a0% of the scores with shuffled targets. Dotted lines: chance.",
    ]
    if rows["control_score"].notna().any():
        window = _control(provenance)
        said.append(f"Open circles: the same analysis in the control window{window}, where nothing should be found.")
    mean, name = mean_row(study)
    if len(rows) > 1 and np.isfinite(mean[0]):
        said.append(f"Diamond: {name}.")
    if len(results) > 1:
        said.append("Click a circle to see that population below.")
    return (
        f"<section>\n<h2>Every {counted(rows)[:-1]}</h2>\n<figure>\n"
        f'<div class="chart" role="img" data-chart="accuracy"></div>\n'
        f"<figcaption>{for_html(' '.join(said))}</figcaption>\n</figure>\n{_score_table(study, rows)}\n"
        f"<noscript><p>The charts need JavaScript. The tables hold the same numbers.</p></noscript>\n</section>"
    )


def _score_table(study: xr.Dataset, rows: pd.DataFrame) -> str:
    has_control = bool(rows["control_score"].notna().any())
    head = [counted(rows)[:-1], "score", "interval", "chance", "null band", "p", "smallest possible p"]
    head += ["control window"] * has_control + ["trials", "units"]
    cells = [
        [
            row.population, number(row.score), _range(row.score_low, row.score_high), number(row.chance, digits=3),
            _range(row.null_low, row.null_high), number(row.p_value, digits=2), number(row.p_smallest, digits=2),
            *([number(row.control_score)] * has_control), number(row.n_trials, digits=6), number(row.n_units, digits=6),
        ]
        for row in rows.itertuples()
    ]  # fmt: skip
    mean, name = mean_row(study)
    closing = None
    if len(rows) > 1 and np.isfinite(mean[0]):
        closing = ["mean", number(mean[0]), _range(mean[1], mean[2])] + [""] * (len(head) - 3)
    metric, target = (spoken(study.attrs.get(name, name)) for name in ("metric", "target"))
    return html_table(f"Score: {metric} of {target}.", head, cells, closing=closing)


def _warnings(results: Mapping[str, xr.Dataset]) -> str:
    """Every warning once, with the populations that it is about; nothing where there are none."""
    about: dict[str, list[str]] = {}
    for name, result in results.items():
        for warning in result.attrs.get("warnings", []):
            about.setdefault(clean(warning), []).append(clean(name))
    if not about:
        return ""
    everywhere = len(results) if len(results) > 1 else None
    items = "".join(
        f"<li>{for_html(warning)} <span class='note'>"
        f"({'all' if len(names) == everywhere else for_html(', '.join(names))})</span></li>"
        for warning, names in about.items()
    )
    return f'<section class="warnings">\n<h2>Before you use these numbers</h2>\n<ul>{items}</ul>\n</section>'


def _confusion_section(matrices: Mapping[str, xr.Dataset], ids: Mapping[str, str]) -> str:
    if not matrices:
        return ""
    words, tables = {}, {}
    for name, result in matrices.items():
        counts, _ = counts_and_share(result)
        labels = [clean(label) for label in result["label"].values]
        target = spoken(result.attrs.get("target", "class"))
        cells = [[label, *(f"{int(n)}" for n in row)] for label, row in zip(labels, counts, strict=True)]
        words[name] = f"{int(counts.trace())} of {int(counts.sum())} test trials are decoded correctly."
        tables[name] = html_table(
            f"Test trials of each presented {target} (row) by decoded {target} (column).", [target, *labels], cells
        )
    lead = "Each row adds up to 100\u00a0%: all test trials of one presented class. The diagonal was decoded correctly."
    return _picked_section("confusion", "What is taken for what", lead, "Population", ids, words, tables)


def _trajectory_section(
    shown: Mapping[str, xr.DataArray], colors: Mapping[str, str | None], ids: Mapping[str, str], *, n_given: int
) -> str:
    if not shown:
        return ""
    lead = (
        "The activity of the whole population as one point that moves. Thin: single trials; thick: the mean of a "
        "condition. All axes have one scale. Drag to turn; a click in the legend hides a condition."
    )
    if len(shown) < n_given:
        lead += f" {len(shown)} of {n_given} recordings are drawn here."
    words = {name: fitted_on(trajectory) for name, trajectory in shown.items()}
    tables = {name: _positions(trajectory, str(colors[name])) for name, trajectory in shown.items()}
    return _picked_section("trajectory", "Trajectories", lead, "Session", ids, words, tables)


def _positions(trajectory: xr.DataArray, color: str) -> str:
    """Table of the mean position of each condition at the marked moments and at the end."""
    conditions, means = condition_means(trajectory, color)
    latents = range(min(3, trajectory.sizes["latent"]))
    marked = moments(trajectory) | {"end": trajectory.sizes["time"] - 1}
    head = [spoken(color), "trials", *(f"latent {latent + 1}, {name}" for name in marked for latent in latents)]
    cells = [
        [
            clean(condition), f"{int((trajectory[color] == condition).sum())}",
            *(number(means[position, index, latent]) for index in marked.values() for latent in latents),
        ]
        for position, condition in enumerate(conditions)
    ]  # fmt: skip
    return html_table(f"Mean position of each {spoken(color)}.", head, cells)


def _picked_section(
    section: str,
    title: str,
    lead: str,
    what: str,
    ids: Mapping[str, str],
    words: Mapping[str, str],
    tables: Mapping[str, str],
) -> str:
    """A section with one chart and a choice of what it shows: a sentence beside it and a table below for each name."""
    options = "".join(f'<option value="{ids[name]}">{for_html(clean(name, limit=60))}</option>' for name in words)
    said = "".join(
        _part(section, ids[name], n, f"<p>{for_html(text)}</p>") for n, (name, text) in enumerate(words.items())
    )
    below = "".join(
        _part(section, ids[name], n, f"<details><summary>The numbers</summary>{text}</details>")
        for n, (name, text) in enumerate(tables.items())
    )
    first = ids[next(iter(words))]
    return (
        f'<section>\n<h2>{title}</h2>\n<div class="split">\n'
        f'<div class="chart" id="chart-{section}" role="img" data-chart="{section}:{first}"></div>\n'
        f'<div class="beside"><div class="pick"><label for="pick-{section}">{what}</label>'
        f'<select id="pick-{section}" data-for="{section}">{options}</select></div>{said}'
        f'<p class="lead">{for_html(lead)}</p></div>\n</div>\n{below}\n</section>'
    )


def _part(section: str, key: str, position: int, html: str) -> str:
    return f'<div data-part="{section}" data-name="{key}"{" hidden" if position else ""}>{html}</div>'


def _meaning_section(study: xr.Dataset, results: Mapping[str, xr.Dataset]) -> str:
    first = next(iter(results.values())).attrs if results else {}
    words = dict(meaning(first)) | dict(meaning({**first, **study.attrs}))
    items = "".join(f"<dt>{for_html(term)}</dt><dd>{for_html(text)}</dd>" for term, text in words.items())
    return f'<section>\n<h2>What these numbers mean</h2>\n<dl class="words">{items}</dl>\n</section>'


def _color(trajectory: xr.DataArray, study: xr.Dataset) -> str | None:
    """The trial column that sets the colors: the target or, where it is no set of classes, the odor."""
    for column in (study.attrs.get("target", ""), "odor"):
        if column in trajectory.coords and 1 <= len(np.unique(trajectory[column].to_numpy())) <= MOST_CLASSES:
            return str(column)
    return None


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if np.isfinite(low) and np.isfinite(high) else "–"


def _span(values: pd.Series, *, digits: int) -> str:
    known = sorted(values.dropna())
    if not known:
        return "–"
    return " to ".join(dict.fromkeys(number(value, digits=digits) for value in (known[0], known[-1])))
