"""What an optional section of the configuration adds to a run: its tasks, and what their results share.

A section's module has ``tasks(config)``, which is empty where the section asks for nothing, ``lines(results)`` for the
terminal and ``values(results)`` for ``--json``. ``extras`` lists the modules; ``pipeline`` runs the tasks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .labels import spoken
from .rows import several, warnings_of
from .summary import number


@dataclass(frozen=True)
class Task:
    """One result over all sessions.

    Attributes
    ----------
    together : (session id -> Dataset of ``each``, progress, map) -> result
    each : (session, map) -> Dataset, saved for each session by itself; without it, ``together`` is given the activity
        of the sessions in the classes that all of them have
    """

    together: Callable[..., xr.Dataset]
    each: Callable[..., xr.Dataset] | None = None


def with_left_out(result: xr.Dataset, activity: xr.DataArray) -> xr.Dataset:
    """The result, with what was left out of its activity among its warnings."""
    return result.assign_attrs(warnings=[*result.attrs["warnings"], *activity.attrs.get("left_out", [])])


def shared_attrs(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """What results of several sessions have in common, and the warnings of all."""
    rows = [result.attrs for result in results.values()]
    first = {name: rows[0][name] for name in ("target", "metric", "estimator", "event", "folds")}
    return first | {
        "chance": float(np.mean([row["chance"] for row in rows])),
        "n_sessions": len(rows),
        "n_animals": len({row["animal"] for row in rows}),
        "warnings": [f"{several(names)}: {warning}" for warning, names in warnings_of(results).items()],
    }


def animals_of(results: Mapping[str, xr.Dataset]) -> tuple[str, list[str]]:
    """The animal of each session in order."""
    return "session", [str(result.attrs["animal"]) for result in results.values()]


def plain(value: Any) -> float | None:
    """A number for JSON: None where there is none."""
    return float(value) if np.isfinite(value) else None


def interval_words(mean: Any, low: Any, high: Any) -> str:
    """A number with its interval, where there is one.

    Examples
    --------
    >>> interval_words(0.5, 0.41, 0.62), interval_words(0.5, float("nan"), float("nan"))
    ('0.50 (0.41 to 0.62)', '0.50')
    """
    return f"{number(mean)} ({number(low)} to {number(high)})" if high > low else number(mean)


def metric_words(result: xr.Dataset) -> str:
    """The metric and the target: "balanced accuracy of odor"."""
    return f"{spoken(result.attrs['metric'])} of {spoken(result.attrs['target'])}"


def sentence(words: str) -> str:
    """The words with a capital letter first."""
    return words[:1].upper() + words[1:]
