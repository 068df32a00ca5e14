"""What a reader of a score should know, in words: labels, classes, chance, groups. Nothing here refuses."""

import numpy as np
import xarray as xr

from ..datasets.folds import TEST, TRAIN
from .exchange import FEWEST_ARRANGEMENTS, arrangements, exchange_groups

UNEQUAL = 1.5  # largest class over smallest
FEWEST_GROUPS = 5  # below this an interval over groups, and a p value from exchanging them, say little
RUNS_SD = 3.0
FEWEST_FOR_RUNS = 20  # trials


def cautions(activity: xr.DataArray, truth: np.ndarray, folds: xr.DataArray, for_classes: bool) -> list[str]:
    """Warnings of a decoding result.

    Parameters
    ----------
    activity : (trial, time, unit)
    truth : (n_trials,) class positions or values
    folds : (fold, trial)
    for_classes : whether the target is classes

    Returns
    -------
    sentences, none if there is nothing to beware of

    Examples
    --------
    >>> labels = np.repeat([0, 1], 12)
    >>> activity = xr.DataArray(np.zeros((24, 1, 1)), dims=("trial", "time", "unit"), attrs={"session": "s"})
    >>> sides = np.where(np.arange(24) % 2 == np.arange(2)[:, None], 2, 1).astype(np.int8)
    >>> cautions(activity, labels, xr.DataArray(sides, dims=("fold", "trial")), True)[0][:19]
    'Labels come in runs'
    """
    said = _of_recording(activity)
    if for_classes:
        said += _of_classes(truth, folds.to_numpy())
        said += _of_arrangements(activity, truth, folds)
    said += _of_groups(folds)
    is_ordered = "group" not in folds.coords and activity.attrs.get("population") != "pseudo-population"
    if is_ordered and len(truth) > FEWEST_FOR_RUNS and _come_in_runs(truth):
        said.append(
            "Labels come in runs, so trials near in time share them: slow drift can be decoded instead of the target. "
            "Keep blocks whole in the folds, and let the null exchange blocks or take labels of other sessions."
        )
    return said + _of_windows(activity, folds.to_numpy())


def _of_recording(activity: xr.DataArray) -> list[str]:
    said = []
    if activity.attrs.get("averaged_over_trials"):
        said.append("The recording is averaged over trials: one trial per condition, no trial-to-trial variability.")
    if activity.attrs.get("population") == "pseudo-population":
        said.append(
            "Pseudo-population: units of different sessions were matched by label, so correlations between them "
            "are lost."
        )
    return said


def _of_classes(truth: np.ndarray, sides: np.ndarray) -> list[str]:
    """Unequal classes, classes that a fold hardly trains on, classes that a fold does not test."""
    said = []
    used = (sides != 0).any(axis=0)
    counts = np.bincount(truth[used])
    counts = counts[counts > 0]
    if counts.max() > UNEQUAL * counts.min():
        said.append(
            f"Classes are unequal ({counts.min()} to {counts.max()} trials): chance of accuracy is not 1/k = "
            f"{1 / len(counts):.2g} but {counts.max() / counts.sum():.2g}, by always saying the commonest. Chance of "
            f"balanced accuracy is 1/k."
        )
    n_classes = int(truth.max()) + 1
    trained = np.stack([np.bincount(truth[side == TRAIN], minlength=n_classes) for side in sides])
    tested = np.stack([np.bincount(truth[side == TEST], minlength=n_classes) for side in sides])
    single = np.flatnonzero(np.any((trained < 2) & (tested.sum(axis=0) > 0), axis=1))
    if single.size:
        said.append(
            f"A class has {trained[single[0]].min()} training trials in fold {single[0]}, and a decoder learns the "
            f"spread of a class from two or more. Use fewer folds, or leave that class out."
        )
    without = np.any((tested == 0) & (tested.sum(axis=0) > 0), axis=1)
    if without.any() and len(sides) > 1:
        said.append(
            f"{int(without.sum())} of {len(sides)} folds test only some of the classes: chance in such a fold is not "
            f"1/k, so take the score over all folds together, and do not compare folds."
        )
    return said


def _of_arrangements(activity: xr.DataArray, truth: np.ndarray, folds: xr.DataArray) -> list[str]:
    """Too few orders of the labels for a test at 0.05."""
    sides = folds.to_numpy()
    if np.sum(sides == TEST, axis=0).max() > 1:
        return []  # repeated folds: the null takes those of one repeat
    groups = exchange_groups(activity, folds, None)
    ways = arrangements(truth, groups)
    if ways >= FEWEST_ARRANGEMENTS:
        return []
    return [
        f"Too few trials to exchange for a p value: the labels can be arranged in {ways:.0f} ways inside the folds and "
        f"groups, and p cannot go below {1 / ways:.2g}. Use fewer folds, more trials, or a null that exchanges blocks."
    ]


def _of_groups(folds: xr.DataArray) -> list[str]:
    if "group" not in folds.coords:
        return []
    name = str(folds["group"].attrs.get("column", "group"))
    tested = (folds.to_numpy() == TEST).any(axis=0)
    n_groups = len(np.unique(folds["group"].to_numpy()[tested]))
    if n_groups >= FEWEST_GROUPS:
        return []
    return [
        f"Only {n_groups} groups of {name}: an interval over so few is too narrow (coverage 0.89 with 5 where 0.95 was "
        f"asked for). Show every group."
    ]


def _of_windows(activity: xr.DataArray, sides: np.ndarray) -> list[str]:
    """Windows of a training and a test trial that share time, and so spikes."""
    window, event = activity.attrs.get("window_s"), str(activity.attrs.get("event"))
    if window is None or event not in activity.coords or activity[event].dims != ("trial",):
        return []
    onset = activity[event].to_numpy()
    if onset.dtype.kind != "f" or activity.attrs.get("population") == "pseudo-population":
        return []
    order = np.argsort(onset, kind="stable")
    order = order[np.isfinite(onset[order])]
    overlaps = np.diff(onset[order]) < (window[1] - window[0]) * (1 - 1e-9)
    pairs = sides[:, order[:-1]] * sides[:, order[1:]] == TRAIN * TEST
    n_shared = int(np.sum(overlaps & pairs.any(axis=0)))
    if not n_shared:
        return []
    return [
        f"The windows of {n_shared} pairs of neighbouring trials overlap, one training and one testing, so both hold "
        f"the same spikes. Use a shorter window, or purge(folds, activity, gap_s=...)."
    ]


def _come_in_runs(truth: np.ndarray) -> bool:
    """Whether neighbouring trials share their label more often than in random order, by 3 standard deviations."""
    _, position = np.unique(truth, return_inverse=True)
    share = np.bincount(position) / len(position)
    expected = float(np.sum(share**2))
    same = float(np.mean(position[1:] == position[:-1]))
    return same > expected + RUNS_SD * np.sqrt(expected * (1 - expected) / (len(position) - 1))
