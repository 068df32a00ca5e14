"""Which bins a contrastive method is to bring together: bins that follow each other, or bins of like behaviour.

The distributions are those of CEBRA (Schneider, Lee & Mathis 2023), kept within trials, and drawn at a cost that hardly
grows with the number of bins: the bin whose behaviour is nearest is found in a tree instead of by comparing with all.
Bins are numbered through all trials, trial · n_times + bin. Not here: networks and losses.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from ...datasets.errors import SchemaError


class Labels(NamedTuple):
    """What is known of every bin.

    Attributes
    ----------
    code : (n_bins,) int, class of the bin; 0 in all where there are no classes
    value : (n_bins, n_values) float64, behaviour in numbers; no columns where there is none
    """

    code: np.ndarray
    value: np.ndarray


def labels_of_bins(y: Any, n_trials: int, n_times: int, who: str) -> Labels:
    """Labels of every bin. Texts, integers and truths are classes; floats are numbers with distances.

    Parameters
    ----------
    y : (n_trials,), also structured, of several columns; (n_trials, n_times); or (n_trials, n_times, n_values)

    Raises
    ------
    SchemaError : none, of another shape, or NaN

    Examples
    --------
    >>> labels_of_bins(np.array(["musk", "amyl"]), 2, 2, "CEBRA").code.tolist()
    [1, 1, 0, 0]
    >>> labels_of_bins(np.array([0.5, 2.0]), 2, 1, "CEBRA").value.tolist()
    [[0.5], [2.0]]
    """
    y = None if y is None else np.asarray(y)
    shapes = ((n_trials,), (n_trials, n_times))
    if y is None or not (y.shape in shapes or (y.ndim == 3 and y.shape[:2] == shapes[1])):
        came = "none" if y is None else f"shape {y.shape}"
        raise SchemaError(
            f"{who} learns from behaviour here, labels (n_trials,), (n_trials, n_times) or (n_trials, n_times, "
            f"n_values) of {n_trials} trials and {n_times} bins, and got {came}. Name a target."
        )
    columns = [y[name] for name in y.dtype.names] if y.dtype.names else [y]
    columns = [column if column.ndim > 1 else np.repeat(column[:, None], n_times, axis=1) for column in columns]
    flat = [column.reshape(n_trials * n_times, -1) for column in columns]
    numbers = [column.astype(np.float64) for column in flat if column.dtype.kind == "f"]
    classes = [np.unique(c, return_inverse=True)[1] for column in flat if column.dtype.kind != "f" for c in column.T]
    value = np.concatenate(numbers, axis=1) if numbers else np.empty((n_trials * n_times, 0))
    if not np.isfinite(value).all():
        trial = int(np.flatnonzero(~np.isfinite(value).all(axis=1))[0]) // n_times
        raise SchemaError(f"{who}: the behaviour of the trial at position {trial} holds NaN. Leave the trial out.")
    code = np.zeros(len(value), int)
    if classes:
        code = np.unique(np.stack(classes, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return Labels(code, value)


class TimePairs:
    """A bin, and the bin ``time_offset`` later in the same trial.

    Examples
    --------
    >>> pairs = TimePairs(n_trials=2, n_times=3, time_offset=2)
    >>> sorted(set(pairs.references(100, np.random.default_rng(0)).tolist()))
    [0, 3]
    """

    def __init__(self, n_trials: int, n_times: int, time_offset: int) -> None:
        if n_times <= time_offset:
            raise SchemaError(
                f"Pairs of bins {time_offset} apart need trials of at least {time_offset + 1} bins, and these have "
                f"{n_times}. Take a smaller time_offset, a longer window, or narrower bins."
            )
        self.shape, self.time_offset = (n_trials, n_times), time_offset

    def references(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Bins drawn evenly from those that have a partner."""
        n_trials, n_times = self.shape
        return rng.integers(n_trials, size=n) * n_times + rng.integers(n_times - self.time_offset, size=n)

    def positives(self, references: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Their partners."""
        return references + self.time_offset


class LabelPairs:
    """A bin i, and a bin of like behaviour: the one nearest to v_i + (v_s+time_offset - v_s), s any bin of any trial.

    So partners are as far apart in behaviour as bins ``time_offset`` apart in time are. They are of one class, where
    there are classes. Bins of equal behaviour are drawn evenly; CEBRA takes the first of them. It also counts the
    first ``time_offset`` bins of the recording as steps of zero, which are left out here.

    Notes
    -----
    A draw of m costs O(m log n_bins) in few dimensions of behaviour. Making it costs O(n_bins log n_bins).
    """

    def __init__(self, labels: Labels, n_trials: int, n_times: int, time_offset: int) -> None:
        self.labels = labels
        self.steps = _steps(labels.value.reshape(n_trials, n_times, labels.value.shape[1]), time_offset)
        self.groups = {code: _Group(labels, code) for code in np.unique(labels.code).tolist()}

    def references(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Bins drawn evenly."""
        return rng.integers(len(self.labels.code), size=n)

    def positives(self, references: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A partner of each."""
        wanted = self.labels.value[references] + self.steps[rng.integers(len(self.steps), size=len(references))]
        chance = rng.random(len(references))
        code = self.labels.code[references]
        found = np.empty(len(references), int)
        for one in np.unique(code).tolist():
            here = code == one
            found[here] = self.groups[one].nearest(wanted[here], chance[here])
        return found


class _Group:
    """The bins of one class, by their behaviour."""

    def __init__(self, labels: Labels, code: int) -> None:
        members = np.flatnonzero(labels.code == code)
        self.count: np.ndarray
        places, which, self.count = np.unique(
            labels.value[members], axis=0, return_inverse=True, return_counts=True
        ) if labels.value.shape[1] else (None, np.zeros(len(members), int), np.array([len(members)]))  # fmt: skip
        self.members = members[np.argsort(which.reshape(-1), kind="stable")]
        self.start = np.cumsum(self.count) - self.count
        self.tree = None if places is None else KDTree(places)

    def nearest(self, wanted: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """The bin nearest to each wanted behaviour, chosen among equals by a number from 0 to 1."""
        place = np.zeros(len(wanted), int) if self.tree is None else self.tree.query(wanted)[1]
        return self.members[self.start[place] + (chance * self.count[place]).astype(int)]


def _steps(value: np.ndarray, time_offset: int) -> np.ndarray:
    """Changes of behaviour over ``time_offset`` bins within trials, (n, n_values); one of zero where there is none."""
    if value.shape[1] <= time_offset or not value.shape[2]:
        return np.zeros((1, value.shape[2]))
    return (value[:, time_offset:] - value[:, :-time_offset]).reshape(-1, value.shape[2])
