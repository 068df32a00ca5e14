"""Condition means on a grid of trial labels and bins, and their parts: of each factor, of time, of both together.

``means`` is (n_levels of factor 1, ..., n_times, n_units), its mean over all cells taken off. The part of a set of
axes is what remains of the means over all other axes when the parts of its subsets are taken off: parts of different
sets are orthogonal and sum to ``means``, as in an analysis of variance.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ...datasets.errors import SchemaError

TIME = "time"


class Grid(NamedTuple):
    """Trials by condition.

    Attributes
    ----------
    names : of the factors
    shape : number of levels of each factor
    cell : (n_trials,), position of each trial's condition on the flattened grid
    counts : trials of each cell
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    cell: np.ndarray
    counts: np.ndarray


def grid_of(y: np.ndarray | None, n_trials: int, names: Sequence[str] | None, who: str) -> Grid:
    """The grid that labels of trials span.

    Parameters
    ----------
    y : (n_trials,) for one factor, (n_trials, n_factors), or structured (n_trials,) whose fields are the factors
    names : of the factors; None are those of the fields, else "target" for one and "factor 1" ... for several

    Raises
    ------
    SchemaError : no labels, another number of them than trials or names; a factor of one level; a combination of
        levels without a trial

    Examples
    --------
    >>> grid_of(np.array([["a", "lo"], ["a", "hi"], ["b", "lo"], ["b", "hi"]]), 4, None, "DemixedPCA").shape
    (2, 2)
    """
    if y is None:
        raise SchemaError(f"{who} learns from labels of trials and got none. Pass y, or target=... to reduce.")
    y = np.asarray(y)
    fields = y.dtype.names
    if len(y) != n_trials or y.ndim > 2 or (fields and y.ndim > 1):
        raise SchemaError(f"{who}: expected labels ({n_trials},) or ({n_trials}, n_factors), got shape {y.shape}.")
    columns = [y[name] for name in fields] if fields else list(y.reshape(n_trials, -1).T)
    default = fields or (("target",) if len(columns) == 1 else tuple(f"factor {k + 1}" for k in range(len(columns))))
    given = default if names is None else tuple(names)
    if len(given) != len(columns) or len({*given, TIME}) != len(given) + 1:
        raise SchemaError(f"{who}: {len(columns)} factors need as many names, none of them {TIME!r}; got {given!r}.")
    levels, codes = zip(*(np.unique(column, return_inverse=True) for column in columns), strict=True)
    for name, found in zip(given, levels, strict=True):
        if len(found) < 2:
            raise SchemaError(
                f"{who}: {name!r} is {found.tolist()[0]!r} in all {n_trials} trials. Leave that factor out."
            )
    shape = tuple(map(len, levels))
    cell = np.asarray(np.ravel_multi_index(codes, shape))
    counts = np.bincount(cell, minlength=int(np.prod(shape)))
    if not counts.all():
        at = np.unravel_index(int(np.flatnonzero(counts == 0)[0]), shape)
        missing = ", ".join(f"{n} {found.tolist()[i]!r}" for n, found, i in zip(given, levels, at, strict=True))
        raise SchemaError(
            f"{who} needs every combination of labels, and {np.sum(counts == 0)} of {counts.size} have no trial "
            f"(first: {missing}). Leave out labels, or join factors into one."
        )
    return Grid(given, shape, cell, counts)


def sets_of(names: Sequence[str], *, has_time: bool, joins_time: bool) -> dict[str, list[tuple[int, ...]]]:
    """Name of each marginalisation -> the sets of axes whose parts it sums.

    Examples
    --------
    >>> sets_of(["odor"], has_time=True, joins_time=True)
    {'time': [(1,)], 'odor': [(0,), (0, 1)]}
    >>> list(sets_of(["odor", "dose"], has_time=True, joins_time=False))
    ['time', 'odor', 'odor x time', 'dose', 'dose x time', 'odor x dose', 'odor x dose x time']
    """
    time = len(names)
    found: dict[str, list[tuple[int, ...]]] = {TIME: [(time,)]} if has_time else {}
    for size in range(1, len(names) + 1):
        for axes in combinations(range(len(names)), size):
            name = " x ".join(names[axis] for axis in axes)
            found[name] = [axes]
            if has_time and joins_time:
                found[name].append((*axes, time))
            elif has_time:
                found[f"{name} x {TIME}"] = [(*axes, time)]
    return found


def part(means: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The part of a set of axes, broadcast to the shape of ``means``.

    Examples
    --------
    >>> means = np.array([[[1.0], [2.0]], [[3.0], [8.0]]]) - 3.5
    >>> part(means, (0,)).ravel().tolist(), part(means, (0, 1)).ravel().tolist()
    ([-2.0, -2.0, 2.0, 2.0], [1.0, -1.0, -1.0, 1.0])
    """
    for axis in range(means.ndim - 1):
        mean = means.mean(axis=axis, keepdims=True)
        means = means - mean if axis in axes else np.broadcast_to(mean, means.shape)
    return means
