"""Conditions of a design, dichotomies of them, and pseudo-trials that share a condition.

A **condition** is one cell of the design, such as an odor at a concentration; ``label_conditions`` writes it
into the trial column ``condition``. **Dichotomies** are data, like folds: (dichotomy, condition) of 0 and 1.
What is measured on them is in ``geometry``.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import make_folds, trial_column
from ..datasets.pool import pseudo_population

MOST_DICHOTOMIES = 10_000  # of 16 conditions there are 6435, of 20 already 92378


def label_conditions(activity: xr.DataArray, by: str | Sequence[str]) -> xr.DataArray:
    """The activity with the trial column ``condition``: one word for each combination of other columns.

    Parameters
    ----------
    activity : (trial, time, unit) or a trajectory
    by : trial columns that make a condition, for example ("odor", "concentration")

    Raises
    ------
    SchemaError : no column, no such column, missing values in it, fewer than two conditions

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((2, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(2), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b"]),
    ...     "concentration": ("trial", [0.1, 1.0])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> label_conditions(activity, ("odor", "concentration"))["condition"].values.tolist()
    ['a / 0.1', 'b / 1.0']
    """
    by = [by] if isinstance(by, str) else list(by)
    if not by:
        raise SchemaError("label_conditions: 'by' names at least one trial column, such as 'odor'; got none.")
    columns = [trial_column(activity, name).tolist() for name in by]
    names = [" / ".join(map(str, key)) for key in zip(*columns, strict=True)]
    if len(set(names)) < 2:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: {' and '.join(by)} take one value only ({names[0]!r}), so there "
            f"is one condition. Name columns that vary."
        )
    return activity.assign_coords(condition=("trial", np.array(names), {"by": by}))


def condition_positions(activity: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Condition of each trial as a position (n_trials,) on the sorted names (n_conditions,).

    Raises
    ------
    SchemaError : the trials have no column ``condition``
    """
    if "condition" not in activity.coords:
        raise SchemaError(
            f"session {activity.attrs.get('session', '?')!r}: trials have no column 'condition'. Say what makes one, "
            f"label_conditions(activity, ('odor', 'concentration'))."
        )
    names, position = np.unique(trial_column(activity, "condition"), return_inverse=True)
    return position, names


def finite_values(activity: xr.DataArray, used: np.ndarray | None = None) -> np.ndarray:
    """Values (n_trials, n_times, n_units), float64, of an activity without NaN in the trials used (all if None).

    Raises
    ------
    SchemaError : NaN or infinity, with the trials
    """
    values = activity.to_numpy().astype(np.float64)
    absent = ~np.isfinite(values).all(axis=(1, 2))
    absent &= True if used is None else used
    if absent.any():
        raise SchemaError(
            f"session {activity.attrs['session']!r}: {absent.sum()} trials hold NaN (first: trial "
            f"{activity['trial'].to_numpy()[absent][0]}), so their condition has no mean. Leave them out, or use a "
            f"shorter window."
        )
    return values


def dichotomies(activity: xr.DataArray, *, most: int | None = None, random_state: int) -> xr.DataArray:
    """Every balanced split of the conditions in two, or a random sample of them.

    Parameters
    ----------
    activity : with the trial column ``condition``
    most : the largest number of dichotomies; beyond it a sample of this size is drawn. None takes all
    random_state : seed of the sample

    Returns
    -------
    sides (dichotomy, condition), int8 of 0 and 1, without mirror images. An odd number of conditions is split
    as evenly as it can be. A dichotomy that is one of a column's values is named by it

    Raises
    ------
    SchemaError : no conditions, ``most`` below 1, or more than 10000 dichotomies and no ``most``

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "c", "d"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> dichotomies(label_conditions(activity, "odor"), random_state=0)["dichotomy"].values.tolist()
    ['odor: a, b | c, d', 'odor: a, c | b, d', 'odor: a, d | b, c']
    """
    _, names = condition_positions(activity)
    n, half = len(names), len(names) // 2
    is_even = n % 2 == 0
    n_all = comb(n, half) // (2 if is_even else 1)
    if most is not None and most < 1:
        raise SchemaError(f"dichotomies: 'most' must be at least 1, got {most}.")
    if most is None and n_all > MOST_DICHOTOMIES:
        raise SchemaError(
            f"{n} conditions have {n_all} balanced dichotomies. Say how many to draw at random, most=1000, or take "
            f"those of one column, column_dichotomies(activity, 'odor')."
        )
    if most is None or n_all <= most:
        chosen: Iterable[tuple[int, ...]] = combinations(range(n), half)
        rows = [row for row in chosen if not is_even or 0 in row]
    else:
        rows = sorted(_sample(n, half, most, np.random.default_rng(random_state)))
    sides = np.ones((len(rows), n), np.int8)
    for side, row in zip(sides, rows, strict=True):
        side[list(row)] = 0
    return _labelled(activity, sides, names)


def column_dichotomies(activity: xr.DataArray, column: str) -> xr.DataArray:
    """The balanced splits of one column's values: conditions with the same value stay on one side.

    Parameters
    ----------
    activity : with the trial column ``condition``, made from ``column`` and others
    column : trial column with at least two values

    Returns
    -------
    sides (dichotomy, condition), as of ``dichotomies``

    Raises
    ------
    SchemaError : no such column, or it is not one of those that make the conditions, or it has one value
    """
    position, names = condition_positions(activity)
    value_of = _values(activity, column, position, len(names))
    if value_of is None:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: trials of one condition differ in {column!r}, so it splits no "
            f"conditions. They are made of {', '.join(activity['condition'].attrs.get('by', []))}."
        )
    values = np.unique(value_of)
    if len(values) < 2:
        raise SchemaError(f"session {activity.attrs['session']!r}: {column!r} is {values[0]} in all conditions.")
    half = len(values) // 2
    rows = [row for row in combinations(range(len(values)), half) if len(values) % 2 or 0 in row]
    sides = np.array([~np.isin(value_of, values[list(row)]) for row in rows]).astype(np.int8)
    return _labelled(activity, sides, names)


def check_dichotomies(sides: xr.DataArray, activity: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Sides (n_dichotomies, n_conditions) and the condition of each trial, as a position on ``condition``.

    Raises
    ------
    SchemaError : not dichotomies, or of other conditions than the activity's
    """
    if not isinstance(sides, xr.DataArray) or sides.dims != ("dichotomy", "condition") or not sides.size:
        got = sides.dims if isinstance(sides, xr.DataArray) else type(sides).__name__
        raise SchemaError(f"expected a DataArray on (dichotomy, condition), got {got}. Make it by dichotomies(...).")
    position, names = condition_positions(activity)
    if not np.array_equal(sides["condition"].to_numpy(), names):
        raise SchemaError(
            f"session {activity.attrs['session']!r}: the dichotomies are of {sides.sizes['condition']} conditions, the "
            f"activity has {len(names)}, and their names differ. Make them from this very activity."
        )
    values = sides.to_numpy()
    if not np.isin(values, (0, 1)).all() or (values.min(axis=1) == values.max(axis=1)).any():
        raise SchemaError("a dichotomy has 0 for the conditions of one side and 1 for the other, and none is empty.")
    return values, position


def split_and_pool(
    cohort: Mapping[str, xr.DataArray],
    target: str,
    *,
    n_folds: int,
    random_state: np.random.SeedSequence,
    group: str | None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Split each session into folds of its own, then match trials by label: activity and folds of pseudo-trials."""
    streams = [int(state) for state in random_state.generate_state(len(cohort) + 1)]
    folds = {
        session: make_folds(activity, target=target, n_folds=n_folds, random_state=stream, group=group)
        for (session, activity), stream in zip(cohort.items(), streams[1:], strict=True)
    }
    return pseudo_population(cohort, folds, target=target, random_state=streams[0])


def pool_conditions(
    cohort: Mapping[str, xr.DataArray], *, n_folds: int, random_state: int, group: str | None = None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Pseudo-trials of all sessions that share a condition, split before they are matched.

    Parameters
    ----------
    cohort : session id -> activity with the trial column ``condition``, on the same time bins
    n_folds, group : as in ``make_folds``, for each session
    random_state : seed of splits and matching

    Returns
    -------
    activity (trial, time, unit) with ``condition`` and the columns that make it; folds (fold, trial)

    Raises
    ------
    SchemaError : trials without conditions; whatever ``make_folds`` and ``pseudo_population`` refuse
    """
    for session_activity in cohort.values():
        condition_positions(session_activity)  # refuses trials without conditions
    seed = np.random.SeedSequence(random_state)
    activity, folds = split_and_pool(cohort, "condition", n_folds=n_folds, random_state=seed, group=group)
    first = next(iter(cohort.values()))
    position, names = condition_positions(first)
    where = np.searchsorted(names, activity["condition"].to_numpy())
    for column in first["condition"].attrs.get("by", []):
        values = _values(first, column, position, len(names))
        if values is not None:  # not so where a null has permuted the conditions
            activity = activity.assign_coords({column: ("trial", values[where], first[column].attrs)})
    return activity, folds


def _sample(n: int, half: int, most: int, rng: np.random.Generator) -> set[tuple[int, ...]]:
    """Different random halves, those of an even number held to the side of condition 0."""
    found: set[tuple[int, ...]] = set()
    while len(found) < most:
        row = rng.permutation(n)
        first = row[:half]
        if n % 2 == 0 and 0 not in first:
            first = row[half:]
        found.add(tuple(sorted(first.tolist())))
    return found


def _values(activity: xr.DataArray, column: str, position: np.ndarray, n_conditions: int) -> Any:
    """Value of a column in each condition (n_conditions,); None if trials of one condition differ in it."""
    values = trial_column(activity, column)
    of_first = values[[int(np.flatnonzero(position == k)[0]) for k in range(n_conditions)]]
    return of_first if np.array_equal(values, of_first[position]) else None


def _labelled(activity: xr.DataArray, sides: np.ndarray, names: np.ndarray) -> xr.DataArray:
    """With a name for each dichotomy, that of a column where it is a split of the column's values."""
    position, _ = condition_positions(activity)
    by = activity["condition"].attrs.get("by", ["condition"])
    value_of = {column: _values(activity, column, position, len(names)) for column in by}
    words, columns = [], []
    for number, side in enumerate(sides):
        column = next((name for name, values in value_of.items() if _splits(values, side)), "")
        first, second = ([str(v) for v in np.unique(value_of[column][side == k])] if column else [] for k in (0, 1))
        words.append(f"{column}: {', '.join(first)} | {', '.join(second)}" if column else f"dichotomy {number}")
        columns.append(column)
    coords = {"dichotomy": words, "condition": names, "column": ("dichotomy", columns)}
    return xr.DataArray(sides, dims=("dichotomy", "condition"), coords=coords, name="side")


def _splits(values: np.ndarray | None, side: np.ndarray) -> bool:
    """Whether no value is on both sides."""
    return values is not None and not np.intersect1d(values[side == 0], values[side == 1]).size
