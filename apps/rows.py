"""What a person reads in the terminal about sessions, results and runs: rows of tables, and sentences.

Plain values in, plain values out; ``messages`` draws them, ``verbs`` decides which to show.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

Row = dict[str, Any]
FIRST = ("score_mean", "score_low", "score_high", "chance", "p_value", "target", "metric", "n_trials", "n_units")
SCORES = ("score", "score_low", "score_high", "chance", "null_high", "p_value", "control_score", "n_trials", "n_units")


def session_rows(catalogue: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The sessions of a catalogue, without columns that say nothing here."""
    rows = [_session_row(row) for row in catalogue]
    empty = {name for name in ("date", "areas") if not any(row[name] for row in rows)}
    repeated = {"animal"} if all(row["animal"] == row["session"] for row in rows) else set()
    return [{name: value for name, value in row.items() if name not in empty | repeated} for row in rows]


def _session_row(row: Mapping[str, Any]) -> Row:
    return {
        "session": row["session"],
        "animal": row["animal"],
        "date": joined(row["date"]),
        "trials": row["n_trials"],
        "units": row["n_units"],
        "odors": len(row["odors"]) if isinstance(row["odors"], list) else 0,
        "areas": joined(row["areas"]),
        "saved": row["saved_at"][:10],
    }


def result_row(row: Mapping[str, Any]) -> Row:
    """A result of the catalogue."""
    return {
        "name": row["name"],
        "kind": row["kind"],
        "target": joined(row["target"]),
        "score": "" if _is_missing(row["score_mean"]) else f"{row['score_mean']:.3f}",
        "saved": row["saved_at"][:10],
    }


def column_rows(session: xr.Dataset, dim: str) -> list[Row]:
    """The columns of trials or units, with their unit and a summary of their values."""
    return [
        {"column": str(key), "unit": column.attrs.get("units", ""), "values": _summary(column.to_numpy())}
        for key, column in session.coords.items()
        if column.dims == (dim,)
    ]


def fact_rows(facts: Mapping[str, Any]) -> list[Row]:
    """One row a fact, scores first; nothing for what is not there."""
    order = [name for name in FIRST if name in facts] + [name for name in facts if name not in FIRST]
    shown = [name for name in order if not _is_empty(facts[name])]
    return [{"what": name, "value": _cell(facts[name])} for name in shown]


def score_values(study: xr.Dataset) -> list[Row]:
    """Population, scores and counts of every population of a study, as numbers."""
    rows = [study.isel(population=position) for position in range(study.sizes["population"])]
    return [{"population": row["population"].item()} | {name: row[name].item() for name in SCORES} for row in rows]


def score_row(row: Mapping[str, Any]) -> Row:
    """A population for reading, from a row of ``score_values``."""
    out: Row = {
        "population": row["population"],
        "score": f"{row['score']:.3f}",
        "interval": f"{row['score_low']:.3f} to {row['score_high']:.3f}",
        "chance": f"{row['chance']:.3f}",
        "p": "none" if _is_missing(row["p_value"]) else f"{row['p_value']:.2g}",
    }
    if not _is_missing(row["control_score"]):
        out["control"] = f"{row['control_score']:.3f}"
    return out | {"trials": row["n_trials"], "units": row["n_units"]}


def run_lines(study: xr.Dataset, results: Mapping[str, xr.Dataset]) -> list[str]:
    """Sentences that go with the table of a run: the mean, what the columns are, what to know."""
    attrs, lines = study.attrs, []
    if "score_mean" in attrs and attrs["n_sessions"] > 1:
        of = f"{counted(attrs['n_animals'], 'animal')} ({counted(attrs['n_sessions'], 'session')})"
        lines.append(
            f"Mean of {of}: {attrs['score_mean']:.3f}, chance {attrs['chance']:.3f}; "
            f"{100 * attrs['interval_level']:.0f} % interval over {attrs['interval_over']}: "
            f"{attrs['score_low']:.3f} to {attrs['score_high']:.3f}."
        )
    for column, words_of in (("interval", _interval_words), ("p", _null_words)):
        for words, names in _names_by(results, words_of).items():
            lines.append(f"{column}{'' if len(names) == len(results) else f' of {several(names)}'}: {words}")
    control = json.loads(attrs["config"])["decoding"]["control_window_s"]
    if control:
        lines.append(f"control: the same analysis at {control[0]:g} to {control[1]:g} s, expected at chance")
    for warning, names in warnings_of(results).items():
        lines.append(f"Note on {several(names)}: {warning}")
    return [*lines, *(f"Note: {sentence}" for sentence in attrs.get("left_out", []))]


def warnings_of(results: Mapping[str, xr.Dataset]) -> dict[str, list[str]]:
    """Warning -> the populations that it is about."""
    about: dict[str, list[str]] = {}
    for name, result in results.items():
        for warning in result.attrs["warnings"]:
            about.setdefault(warning, []).append(name)
    return about


def several(names: Sequence[str]) -> str:
    """The first name, and how many more there are.

    Examples
    --------
    >>> several(["mouse-1", "mouse-2", "mouse-3"])
    'mouse-1 and 2 more'
    """
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def counted(number: int, what: str) -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "session"), counted(3, "session")
    ('1 session', '3 sessions')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def joined(value: Any) -> str:
    """A list as text; nothing for what is not there."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else ""


def _names_by(results: Mapping[str, xr.Dataset], words: Callable[[Mapping[str, Any]], str]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for name, result in results.items():
        said.setdefault(words(result.attrs), []).append(name)
    return said


def _interval_words(attrs: Mapping[str, Any]) -> str:
    level = attrs["interval_level"]
    return f"{100 * level:.0f} % over {attrs['interval_over']}" if level < 1 else str(attrs["interval_over"])


def _null_words(attrs: Mapping[str, Any]) -> str:
    words = f"from {counted(attrs['n_permutations'], 'run')} with shuffled labels"
    return f"{words}, so {attrs['p_smallest']:.2g} is the smallest possible" if "p_value" in attrs else f"none, {words}"


def _is_missing(value: Any) -> bool:
    return value is None or bool(np.isnan(value))


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else joined(value) or str(value)


def _summary(values: np.ndarray) -> str:
    """A few distinct values, or the range."""
    distinct = np.unique(values)
    if len(distinct) <= 6:
        return ", ".join(map(str, distinct.tolist()))
    if values.dtype.kind in "iuf":
        return f"{np.nanmin(values):g} to {np.nanmax(values):g}"
    return f"{', '.join(map(str, distinct[:4].tolist()))}, … ({len(distinct)})"
