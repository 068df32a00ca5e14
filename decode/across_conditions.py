"""Decoding across conditions: train on some levels of a column, test on a level that the decoder has not seen.

Odor identity at a held-out concentration asks whether the code of an odor keeps its direction as it gets stronger;
concentration of a held-out odor asks whether odors share a code of intensity. Folds are data: those made here leave
out a level and, with folds to start from, trials too.
Not here: dichotomies of conditions and the generalisation of their coding directions (``geometry``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN, UNUSED, check_folds, trial_column
from .intervals import with_interval
from .nulls import with_null
from .score import Map, cross_validate

PER_LEVEL = ("score_low", "score_high", "null_low", "null_high", "p_value", "chance", "n_trials")


def hold_out_folds(
    activity: xr.DataArray, *, column: str, folds: xr.DataArray | None = None, levels: Sequence[Any] | None = None
) -> xr.DataArray:
    """Folds that test one level of a column, trained on the other levels.

    Parameters
    ----------
    activity : only its trial coordinates are used
    column : trial column, such as "concentration", whose levels are held out one at a time
    folds : (fold, trial) to start from, as of ``make_folds``: a level's test trials are then those that a fold tests,
        and other levels train on those that it trains on, so that blocks and pseudo-trials stay apart too. None
        tests all trials of a level on all trials of the others
    levels : those to hold out; all if None

    Returns
    -------
    folds (fold, trial), int8, with the coordinate ``held_out (fold)``

    Raises
    ------
    SchemaError : no such column, one level, a level that is not there, folds of other trials, a fold left without
        training or test trials

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "concentration": ("trial", [0.1, 1.0, 0.1, 1.0])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> hold_out_folds(activity, column="concentration").values.tolist()
    [[2, 1, 2, 1], [1, 2, 1, 2]]
    """
    values = trial_column(activity, column)
    where = f"session {activity.attrs['session']!r}"
    found = np.unique(values)
    if len(found) < 2:
        raise SchemaError(f"{where}: {column!r} is {found.tolist()[0]!r} in all trials, so no level can be held out.")
    wanted = found if levels is None else np.asarray(list(levels))
    absent = [level for level in wanted.tolist() if level not in found.tolist()]
    if absent or not len(wanted):
        said = f"{column} {absent[0]!r} is in no trial" if absent else f"no level of {column} is to be held out"
        raise SchemaError(f"{where}: {said}. There are {', '.join(map(str, found[:8]))}.")
    kept, held_out = [], []
    for level in wanted:
        is_held = values == level
        made = cross_folds(activity, train=~is_held, test=is_held, folds=folds)
        kept.append(made)
        held_out += [level] * made.sizes["fold"]
    out = xr.concat(kept, dim="fold").assign_coords(fold=np.arange(len(held_out)))
    out = out.assign_coords(held_out=("fold", np.asarray(held_out), {"column": column}))
    words = "" if folds is None else f", and trials in {folds.attrs.get('folds', str(folds.sizes['fold']) + ' folds')}"
    out.attrs = {"folds": f"each of {len(wanted)} levels of {column} held out{words}"}
    return check_folds(out, activity)


def cross_folds(
    activity: xr.DataArray, *, train: np.ndarray, test: np.ndarray, folds: xr.DataArray | None = None
) -> xr.DataArray:
    """Folds narrowed to some training and some test trials; one fold of all of them if there are none to start from.

    Parameters
    ----------
    activity : whose trials they are
    train, test : (n_trials,) bool, which trials may be on each side
    folds : (fold, trial) to start from

    Returns
    -------
    folds (fold, trial), int8, without folds that are left without test trials

    Raises
    ------
    SchemaError : folds of other trials, no trial to train or to test on, a fold that tests and cannot train
    """
    where = f"session {activity.attrs['session']!r}"
    trial = activity["trial"].to_numpy()
    if folds is None:
        both = np.flatnonzero(train & test)
        if both.size:
            raise SchemaError(f"{where}: trial {trial[both[0]]} would be on both sides. Give folds to start from.")
        sides = np.where(test, TEST, np.where(train, TRAIN, UNUSED))[None].astype(np.int8)
        out = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": trial, "fold": [0]}, name="folds")
    else:
        check_folds(folds, activity)
        given = folds.to_numpy()
        sides = np.where((given == TRAIN) & train, TRAIN, np.where((given == TEST) & test, TEST, UNUSED))
        out = folds.copy(data=sides.astype(np.int8))
        out = out.isel(fold=np.flatnonzero((sides == TEST).any(axis=1)))
    if not out.sizes["fold"] or not test.any():
        raise SchemaError(f"{where}: no trial is left to test on. Are the trials to be tested in the folds?")
    without = np.flatnonzero(~(out.to_numpy() == TRAIN).any(axis=1))
    if without.size:
        raise SchemaError(f"{where}: fold {without[0]} has no trial left to train on. Use fewer folds.")
    return out


def generalise_across(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    *,
    column: str,
    folds: xr.DataArray | None = None,
    levels: Sequence[Any] | None = None,
    metric: str | None = None,
    n_permutations: int,
    n_bootstrap: int = 1000,
    random_state: int,
    map: Map = map,
) -> xr.Dataset:
    """Decode a target at levels of a column that the decoder has not seen.

    Parameters
    ----------
    activity, target, estimator, metric : as in ``cross_validate``
    column, folds, levels : as of ``hold_out_folds``
    n_permutations : of the target within each level, and within what ``with_null`` keeps; 0 draws no null
    n_bootstrap : resamples of the interval, as in ``with_interval``
    random_state : seed of null and interval
    map : as the builtin; called over the folds, then over the permutations

    Returns
    -------
    result of ``cross_validate`` over all held-out levels together, with its null and interval, kind "decoding", and
    ``held_out_score (held_out)``, ``held_out_score_low``, ``_score_high``, ``_null_low``, ``_null_high``, ``_p_value``
    and ``_chance``, ``_n_trials`` of each level by itself; ``is_extrapolation (held_out)`` where levels are numbers:
    whether it lies outside those that were trained on. p values are not corrected for the number of levels

    Raises
    ------
    SchemaError : a class that is at one level only; the target itself as column; a null of a pseudo-population; what
        ``hold_out_folds``, ``cross_validate`` and ``with_null`` refuse

    Notes
    -----
    A pseudo-population (``pool_conditions`` with its folds) gets scores and no interval and no null, as its trials
    were not recorded as such.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, odors=("apple", "pear"), n_units=(60, 60))
    >>> activity = bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5)
    >>> result = generalise_across(activity, "odor", make_decoder("lda", shrinkage=0.5), column="concentration",
    ...                            n_permutations=99, random_state=0)
    >>> result["held_out"].values.tolist(), result.attrs["score_mean"] > 0.8
    ([0.001, 0.01, 0.1], True)
    """
    activity = activity.compute()
    if column == target:
        raise SchemaError(f"{column!r} is the target itself. Hold out levels of another column, or use cross_validate.")
    is_pseudo = activity.attrs.get("population") == "pseudo-population"
    if is_pseudo and n_permutations:
        raise SchemaError(
            "pseudo-trials of other folds hold the same recorded trials, so exchanging their labels gives no null. Say "
            "n_permutations=0, and draw the null of each session by itself."
        )
    made = hold_out_folds(activity, column=column, folds=folds, levels=levels)
    if is_classifier(estimator):
        _refuse_classes_at_one_level(activity, target, column, made)

    def decode(some: xr.DataArray) -> xr.Dataset:
        """Score of some folds, with its null and interval."""
        result = cross_validate(activity, target, estimator, some, metric=metric, map=map)
        if n_permutations:
            settings: dict[str, Any] = {"n_permutations": n_permutations, "random_state": random_state}
            result = with_null(result, activity, estimator, some, within=column, map=map, **settings)
        if is_pseudo:
            return result
        return with_interval(result, n_bootstrap=n_bootstrap, random_state=random_state)

    result = decode(made).assign_coords(held_out_of_fold=made["held_out"].variable)
    of_level = [decode(made.isel(fold=np.flatnonzero(made["held_out"] == level))) for level in _levels(made)]
    result = result.assign_coords(held_out=_levels(made))
    result["held_out_score"] = ("held_out", [one.attrs["score_mean"] for one in of_level])
    for name in PER_LEVEL:
        if any(name in one.attrs for one in of_level):
            result[f"held_out_{name}"] = ("held_out", [one.attrs.get(name, np.nan) for one in of_level])
    if trial_column(activity, column).dtype.kind in "iuf":
        result["is_extrapolation"] = ("held_out", _is_outside(activity, column, made))
    return result.assign_attrs(held_out_column=column)


def _levels(folds: xr.DataArray) -> np.ndarray:
    """Held-out levels in the order of the folds."""
    values, first = np.unique(folds["held_out"].to_numpy(), return_index=True)
    return values[np.argsort(first)]


def _refuse_classes_at_one_level(activity: xr.DataArray, target: str, column: str, folds: xr.DataArray) -> None:
    labels = trial_column(activity, target)
    for side, level in zip(folds.to_numpy(), folds["held_out"].to_numpy(), strict=True):
        unseen = np.setdiff1d(labels[side == TEST], labels[side == TRAIN])
        if unseen.size:
            raise SchemaError(
                f"session {activity.attrs['session']!r}: {target} {str(unseen[0])!r} is tested at {column} {level} and "
                f"is in no training trial of another, so it cannot be told. Leave it out, or name other levels."
            )


def _is_outside(activity: xr.DataArray, column: str, folds: xr.DataArray) -> np.ndarray:
    values, sides = trial_column(activity, column), folds.to_numpy()
    outside = []
    for level in _levels(folds):
        trained = values[(sides[folds["held_out"].to_numpy() == level] == TRAIN).any(axis=0)]
        outside.append(bool(level < trained.min() or level > trained.max()))
    return np.array(outside)
