"""What the log says about each session and result, as tables; no recording is opened.

The summary is made once, when something is saved, and stands in its commit record.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .attributes import from_json, to_json
from .log import Record, live

LONGEST_LIST = 200
LONGEST_TEXT = 500
DISTINCT = {"odors": ("odor", "trial"), "concentrations": ("concentration", "trial"), "areas": ("area", "unit"),
            "unit_kinds": ("kind", "unit")}  # fmt: skip
SESSION_COLUMNS = ("session", "animal", "date", "n_trials", "n_units", "n_spikes", "areas", "odors")
RESULT_COLUMNS = ("name", "kind", "session", "animal", "target", "metric", "estimator", "score_mean", "score_low",
                  "score_high", "chance", "p_value")  # fmt: skip
COMMIT_COLUMNS = ("saved_by", "host", "saved_at", "record", "object", "content_key")


def session_summary(session: xr.Dataset, *, where: str) -> dict[str, Any]:
    """What the catalogue says of a session: short attributes, sizes, and the odors, areas and kinds in it.

    Lists are cut at 200 entries.
    """
    summary = _short_attrs(session) | {"dims": {str(dim): size for dim, size in session.sizes.items()}}
    summary |= {f"n_{dim}s": session.sizes.get(dim, 0) for dim in ("trial", "unit", "spike", "sample")}
    for name, (column, dim) in DISTINCT.items():
        if column in session.coords and session[column].dims == (dim,):
            summary[name] = _distinct(session[column].to_numpy())
    signals = sorted(str(name) for name in session.data_vars if f"{name}_time" in session.coords)
    summary["signals"] = signals[:LONGEST_LIST]
    return to_json(summary, where=where)


def result_summary(result: xr.Dataset, *, where: str) -> dict[str, Any]:
    """What the catalogue says of a result: its short attributes and its sizes."""
    sizes = {"dims": {str(dim): size for dim, size in result.sizes.items()}}
    return to_json(_short_attrs(result) | sizes, where=where)


def sessions_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per session, newest commit last."""
    return _table(records, "session", "session", SESSION_COLUMNS)


def results_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per result, newest commit last."""
    return _table(records, "result", "name", RESULT_COLUMNS)


def _table(records: Sequence[Record], kind: str, key_column: str, first: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        from_json(record["summary"])
        | {key_column: record["key"], "saved_by": record["user"], "host": record["host"], "saved_at": record["time"]}
        | {"record": record["number"], "object": record["object"], "content_key": record["content_key"]}
        for (record_kind, _), record in live(records).items()
        if record_kind == kind
    ]
    others = sorted({name for row in rows for name in row} - {*first, *COMMIT_COLUMNS})
    return pd.DataFrame(rows, columns=[*first, *others, *COMMIT_COLUMNS])


def _short_attrs(dataset: xr.Dataset) -> dict[str, Any]:
    """Attributes that a table can show: numbers, truth values, texts up to 500 characters, short lists of these."""
    return {str(name): value for name, value in dataset.attrs.items() if _is_short(value)}


def _is_short(value: Any) -> bool:
    if isinstance(value, list | tuple):
        flat = all(not isinstance(item, list | tuple) and _is_short(item) for item in value)
        return flat and len(value) <= LONGEST_LIST
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    return value is None or isinstance(value, bool | int | float | np.number | np.bool_)


def _distinct(values: np.ndarray) -> list[Any]:
    kinds = np.unique(values[~np.isnan(values)] if values.dtype.kind == "f" else values)
    return kinds[:LONGEST_LIST].tolist()
