"""Folds as data: who trains and who tests, made before any fit.

``folds`` is an ``xr.DataArray`` (fold, trial) of 0 unused, 1 train, 2 test, with the trial ids and,
where trials are grouped, a coordinate ``group`` that is never on both sides of a fold.
Labels are permuted here too, because a null must respect the same groups.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .errors import LeakageError, SchemaError
from .schema import check_activity
from .tables import nearest

UNUSED, TRAIN, TEST = 0, 1, 2


def make_folds(
    activity: xr.DataArray, *, target: str, n_folds: int, random_state: int, group: str | None = None
) -> xr.DataArray:
    """Cross-validation folds over trials, stratified by a target; grouped trials stay together.

    Parameters
    ----------
    activity : only its trial coordinates are used
    target : trial coordinate to stratify by
    n_folds : each trial is tested once
    random_state : seed of the shuffle
    group : trial coordinate (block, session ...) whose trials never part

    Returns
    -------
    folds (fold, trial), int8: 1 train, 2 test

    Raises
    ------
    SchemaError : unknown target or group, one class, a class or the groups fewer than the folds, or
        a fold whose training trials lack a class

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a", "b"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> make_folds(activity, target="odor", n_folds=2, random_state=0).sum("trial").values.tolist()
    [6, 6]
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = trial_column(activity, target)
    where = f"session {activity.attrs['session']!r}"
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise SchemaError(
            f"{where}: target {target!r} has one class only ({str(classes[0])!r}), so there is nothing to decode."
        )
    if not isinstance(n_folds, int | np.integer) or n_folds < 2:
        raise SchemaError(f"{where}: n_folds must be a whole number of at least 2, got {n_folds!r}.")
    if counts.min() < n_folds:
        fewer = f"Use at most {counts.min()} folds, or leave" if counts.min() > 1 else "Leave"
        raise SchemaError(
            f"{where}: {target} {str(classes[counts.argmin()])!r} has {counts.min()} trials, fewer than {n_folds} "
            f"folds. {fewer} that class out; a target without classes takes folds_from_splitter(activity, KFold(...))."
        )
    if group is None:
        splitter: Any = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
        return folds_from_splitter(activity, splitter, target=target)
    n_groups = len(np.unique(trial_column(activity, group)))
    if n_groups < n_folds:
        raise SchemaError(
            f"{where}: there are {n_groups} groups of {group!r}, fewer than {n_folds} folds. "
            f"Use fewer folds, or another grouping."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    folds = folds_from_splitter(activity, splitter, target=target, group=group)
    for fold in range(n_folds):
        absent = set(classes.tolist()) - set(labels[folds.values[fold] == TRAIN].tolist())
        if absent:
            raise SchemaError(
                f"{where}: with each {group} whole, fold {fold} trains without {target} {sorted(absent)[0]!r}. "
                f"Use fewer folds, or another grouping."
            )
    return folds


def folds_from_splitter(
    activity: xr.DataArray, splitter: Any, *, target: str, group: str | None = None
) -> xr.DataArray:
    """Folds from any scikit-learn splitter.

    Parameters
    ----------
    activity : only its trial coordinates are used
    splitter : object with ``split(X, y, groups)``
    target, group : trial coordinates handed to the splitter

    Returns
    -------
    folds (fold, trial), int8: 0 unused, 1 train, 2 test

    Raises
    ------
    SchemaError : no splitter, one that refuses these trials, makes no fold, or puts a trial or a group on
        both sides

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn.model_selection import LeaveOneGroupOut
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a", "b"]),
    ...     "block": ("trial", [0, 0, 1, 1])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> folds_from_splitter(activity, LeaveOneGroupOut(), target="odor", group="block").values.tolist()
    [[2, 2, 1, 1], [1, 1, 2, 2]]
    """
    labels = trial_column(activity, target)
    groups = None if group is None else trial_column(activity, group)
    codes = np.unique(labels, return_inverse=True)[1]  # scikit-learn takes no concentrations for classes
    trial, name = activity["trial"].to_numpy(), type(splitter).__name__
    where = f"session {activity.attrs['session']!r}"
    if not hasattr(splitter, "split"):
        raise SchemaError(f"{where}: expected a scikit-learn splitter, such as KFold(5), got {name}.")
    try:
        splits = list(splitter.split(np.zeros((len(labels), 1)), codes, groups))
    except ValueError as error:
        raise SchemaError(f"{where}: {name} cannot split these {len(labels)} trials by {target!r}: {error}") from error
    if not splits:
        raise SchemaError(f"{where}: {name} made no folds. Ask it for at least one.")
    sides = np.full((len(splits), len(labels)), UNUSED, np.int8)
    for side, (train, test) in zip(sides, splits, strict=True):
        both = np.intersect1d(train, test)
        if both.size:
            raise SchemaError(f"{where}: {name} puts trial {trial[both[0]]} on both sides of a fold. Use another one.")
        side[train], side[test] = TRAIN, TEST
    coords = {"trial": trial, "fold": np.arange(len(sides))}
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords=coords, name="folds")
    if groups is not None:
        folds = folds.assign_coords(group=("trial", groups, {"column": group}))
    words = f"{len(sides)} folds ({name})" + (f", stratified by {target}" if "Stratified" in name else "")
    folds.attrs["folds"] = words + (f", {group} kept whole" if group else ", trial by trial")
    return check_folds(folds, activity)


def check_folds(folds: xr.DataArray, activity: xr.DataArray) -> xr.DataArray:
    """Refuse folds that do not fit an activity, or that leak.

    Returns
    -------
    folds, unchanged

    Raises
    ------
    SchemaError : other trials than the activity's, a trial twice, no folds, other values than 0, 1, 2, an empty side,
        a group on both sides, or groups that are not the activity's column of that name
    LeakageError : pseudo-trials that were matched for other folds, whose trials may be on both sides
    """
    where = f"folds for session {activity.attrs.get('session', '?')!r}"
    if not isinstance(folds, xr.DataArray) or folds.dims != ("fold", "trial"):
        got = folds.dims if isinstance(folds, xr.DataArray) else type(folds).__name__
        raise SchemaError(f"{where}: expected a DataArray on (fold, trial), got {got}. Make them with make_folds(...).")
    mine, theirs = folds["trial"].to_numpy(), activity["trial"].to_numpy()
    if not np.array_equal(mine, theirs):
        raise SchemaError(
            f"{where}: the folds are of {len(mine)} trials, the activity has {len(theirs)}, and their ids differ. "
            f"Make the folds from this very activity."
        )
    if len(np.unique(mine)) < len(mine):
        raise SchemaError(f"{where}: a trial id is there twice, so one trial may be on both sides. Name each once.")
    values = folds.to_numpy()
    if not len(values):
        raise SchemaError(f"{where}: there are no folds. Make them with make_folds(...).")
    if not np.isin(values, (UNUSED, TRAIN, TEST)).all():
        odd = np.setdiff1d(values, (UNUSED, TRAIN, TEST))[0]
        raise SchemaError(f"{where}: values must be 0 unused, 1 train, 2 test; found {odd}. Use make_folds(...).")
    for fold, side in enumerate(values):
        for number, name in ((TRAIN, "training"), (TEST, "test")):
            if not np.any(side == number):
                raise SchemaError(f"{where}: fold {fold} has no {name} trials. Use fewer folds, or another grouping.")
        if "group" in folds.coords:
            group = folds["group"].to_numpy()
            shared = np.intersect1d(group[side == TRAIN], group[side == TEST])
            if shared.size:
                raise SchemaError(
                    f"{where}: group {str(shared[0])!r} is on both sides of fold {fold}. Use a splitter that keeps "
                    f"groups whole, such as GroupKFold."
                )
    _check_groups(folds, activity, where)
    _check_pseudo_trials(values, activity, where)
    return folds


def _check_groups(folds: xr.DataArray, activity: xr.DataArray, where: str) -> None:
    """Refuse groups that have moved away from the activity's column since the folds were made."""
    column = folds["group"].attrs.get("column") if "group" in folds.coords else None
    if column in activity.coords and not np.array_equal(folds["group"].to_numpy(), activity[column].to_numpy()):
        raise SchemaError(
            f"{where}: the groups of the folds are not the {column!r} of the activity any more. Make the folds anew."
        )


def _check_pseudo_trials(sides: np.ndarray, activity: xr.DataArray, where: str) -> None:
    """Refuse to split pseudo-trials anew: those of two folds may share trials of a session."""
    if "fold_of_trial" not in activity.coords or activity.attrs.get("population") != "pseudo-population":
        return
    made_for = activity["fold_of_trial"].to_numpy()
    for fold, side in enumerate(sides):
        if len(np.unique(made_for[side != UNUSED])) > 1:
            raise LeakageError(
                f"{where}: fold {fold} uses pseudo-trials that were matched for different folds, so one trial of a "
                f"session may be on both sides. Use the folds that pseudo_population(...) gave with the activity."
            )


def permute_labels(labels: np.ndarray, rng: np.random.Generator, *, within: np.ndarray | None = None) -> np.ndarray:
    """Labels of whole trials in random order, only exchanged within groups where these are given.

    Parameters
    ----------
    labels : (n_trials,)
    rng : source of the order
    within : (n_trials,) group of each trial; None exchanges over all

    Returns
    -------
    labels (n_trials,), a copy

    Raises
    ------
    SchemaError : ``within`` of another length

    Examples
    --------
    >>> import numpy as np
    >>> permute_labels(np.array([1, 1, 2, 2]), np.random.default_rng(0), within=np.array([0, 0, 1, 1])).tolist()
    [1, 1, 2, 2]
    """
    if within is None:
        return rng.permutation(labels)
    if len(within) != len(labels):
        raise SchemaError(f"permute_labels: expected one group for each of {len(labels)} labels, got {len(within)}.")
    place = np.argsort(within, kind="stable")
    out = np.empty_like(labels)
    out[place] = labels[np.lexsort((rng.random(len(labels)), within))]
    return out


def trial_column(activity: xr.DataArray, name: str) -> np.ndarray:
    """Values (n_trials,) of a trial coordinate of an activity.

    Raises
    ------
    SchemaError : no such trial coordinate; values missing, with the trials' ids
    """
    check_activity(activity.rename(latent="unit") if "latent" in activity.dims else activity)
    columns = [str(key) for key, column in activity.coords.items() if column.dims == ("trial",)]
    where = f"session {activity.attrs['session']!r}"
    if name not in columns:
        raise SchemaError(f"{where}: there is no trial column {name!r}. {nearest(name, columns)}")
    values = activity[name].to_numpy()
    empty = ~np.isfinite(values) if values.dtype.kind == "f" else pd.isna(values)
    if values.dtype.kind in "UO":
        empty = empty | (values == "")
    if empty.any():
        raise SchemaError(
            f"{where}: {name!r} is missing in {empty.sum()} trials ({_shown(activity['trial'].to_numpy()[empty])}). "
            f"Select trials that have it, activity.sel(trial=...)."
        )
    return values


def _shown(ids: Iterable[Any], *, most: int = 5) -> str:
    ids = list(ids)
    return ", ".join(map(str, ids[:most])) + (", …" if len(ids) > most else "")
