"""Folds of designs other than the stratified ones of ``make_folds``: contiguous blocks, one group left out, repeats.

Contiguous blocks are chosen without looking at the labels, so that labels may be shifted in time, or taken from other
sessions, for a null. Training trials next to test trials are taken out in ``purge.py``.
"""

import numpy as np
import xarray as xr

from .errors import SchemaError
from .folds import TEST, TRAIN, check_folds, folds_from_splitter, make_folds, trial_column


def blocked_folds(
    activity: xr.DataArray, *, target: str, n_folds: int, n_blocks: int | None = None, group: str | None = None
) -> xr.DataArray:
    """Folds of contiguous trials: block b, in the order of the trials, is tested by fold b modulo the folds.

    Parameters
    ----------
    activity : trials in the order of the recording
    target : trial coordinate to decode; only looked at to refuse folds that train without a class
    n_folds : each trial is tested once
    n_blocks : cut the trials into so many blocks of equal size, to one trial; None is one block a fold
    group : take the blocks of this trial coordinate instead, each contiguous

    Returns
    -------
    folds (fold, trial), int8, with the coordinate ``group``: the block of each trial

    Raises
    ------
    SchemaError : fewer than two folds, fewer blocks than folds, fewer trials than blocks, both kinds of blocks,
        a group that is not contiguous, a pseudo-population, a fold that trains without a class

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a", "b"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> blocked_folds(activity, target="odor", n_folds=2).values.tolist()
    [[2, 2, 1, 1], [1, 1, 2, 2]]
    """
    labels = trial_column(activity, target)
    where = f"session {activity.attrs['session']!r}"
    check_order(activity, "contiguous folds")
    if n_folds < 2:
        raise SchemaError(f"{where}: n_folds must be a whole number of at least 2, got {n_folds!r}.")
    if group is not None and n_blocks is not None:
        raise SchemaError(f"{where}: blocks are those of {group!r} or {n_blocks} of equal size, not both. Give one.")
    if group is None:
        number = n_folds if n_blocks is None else n_blocks
        if number > len(labels):
            raise SchemaError(f"{where}: {len(labels)} trials cannot be cut into {number} blocks. Use fewer.")
        names = block = np.arange(len(labels)) * number // len(labels)
    else:
        names = trial_column(activity, group)
        starts = np.r_[True, names[1:] != names[:-1]]
        block, number = np.cumsum(starts) - 1, int(starts.sum())
        twice = [str(name) for name in np.unique(names) if np.sum(names[starts] == name) > 1]
        if twice:
            raise SchemaError(
                f"{where}: {group} {twice[0]!r} is not contiguous: other trials lie in between. Sort the trials as "
                f"they were recorded, or keep groups whole with make_folds(group={group!r})."
            )
    if number < n_folds:
        raise SchemaError(f"{where}: there are {number} blocks, fewer than {n_folds} folds. Use fewer folds.")
    sides = np.where(block % n_folds == np.arange(n_folds)[:, None], TEST, TRAIN).astype(np.int8)
    coords = {"trial": activity["trial"].to_numpy(), "fold": np.arange(n_folds)}
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords=coords, name="folds")
    folds = folds.assign_coords(group=("trial", names, {"column": group or "contiguous block"}))
    folds.attrs["folds"] = f"{n_folds} folds of contiguous trials, {number} {group or 'block'}s kept whole"
    check_classes(activity, target, folds)
    return check_folds(folds, activity)


def leave_one_group_out(activity: xr.DataArray, *, target: str, group: str) -> xr.DataArray:
    """Folds that each test all trials of one group and train on all others.

    Parameters
    ----------
    activity : only its trial coordinates are used
    target : trial coordinate to decode; only looked at to refuse folds that train without a class
    group : trial coordinate: block, run, day ...

    Returns
    -------
    folds (fold, trial), int8, with the coordinates ``group (trial)`` and ``left_out (fold)``

    Raises
    ------
    SchemaError : one group only; a class that is in one group only

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a", "b"]),
    ...     "run": ("trial", [1, 1, 2, 2])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> leave_one_group_out(activity, target="odor", group="run")["left_out"].values.tolist()
    [1, 2]
    """
    from sklearn.model_selection import LeaveOneGroupOut

    groups = np.unique(trial_column(activity, group))
    if len(groups) < 2:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: all trials are of {group} {groups.tolist()[0]!r}, so none can be "
            f"left out. Use another grouping, or blocked_folds(...)."
        )
    folds = folds_from_splitter(activity, LeaveOneGroupOut(), target=target, group=group)
    check_classes(activity, target, folds)
    return folds.assign_coords(left_out=("fold", groups, {"column": group}))


def repeated_folds(
    activity: xr.DataArray, *, target: str, n_folds: int, n_repeats: int, random_state: int, group: str | None = None
) -> xr.DataArray:
    """Stratified folds, made several times over with other shuffles, for a score that hangs less on one split.

    Parameters
    ----------
    activity, target, n_folds, random_state, group : as in ``make_folds``
    n_repeats : each trial is tested so many times

    Returns
    -------
    folds (fold, trial), int8, with the coordinate ``repeat (fold)``. A null by permutation needs the folds of one
    repeat: ``folds.isel(fold=folds["repeat"] == 0)``

    Raises
    ------
    SchemaError : no repeats; as ``make_folds``

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((4, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(4), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a", "b"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> repeated_folds(activity, target="odor", n_folds=2, n_repeats=3, random_state=0).sizes["fold"]
    6
    """
    if n_repeats < 1:
        raise SchemaError(
            f"session {activity.attrs.get('session', '?')!r}: n_repeats must be at least 1, got {n_repeats!r}."
        )
    seeds = np.random.SeedSequence(random_state).generate_state(n_repeats).tolist()
    made = [make_folds(activity, target=target, n_folds=n_folds, random_state=seed, group=group) for seed in seeds]
    folds = xr.concat(made, dim="fold").assign_coords(fold=np.arange(n_folds * n_repeats))
    folds = folds.assign_coords(repeat=("fold", np.repeat(np.arange(n_repeats), n_folds)))
    folds.attrs = {"folds": f"{n_repeats} times {made[0].attrs['folds']}"}
    return check_folds(folds, activity)


def check_classes(activity: xr.DataArray, target: str, folds: xr.DataArray) -> None:
    """Refuse folds that train without a class of the target; a target of numbers that hardly repeat has no classes.

    Raises
    ------
    SchemaError : the first such fold and class
    """
    labels = trial_column(activity, target)
    classes = np.unique(labels)
    if labels.dtype.kind == "f" and len(classes) > len(labels) / 2:
        return
    for fold, side in enumerate(folds.to_numpy()):
        absent = np.setdiff1d(classes, labels[side == TRAIN])
        if absent.size:
            raise SchemaError(
                f"session {activity.attrs['session']!r}: fold {fold} trains without {target} {str(absent[0])!r}. Use "
                f"other folds (more or smaller blocks, a shorter gap), or another grouping."
            )


def check_order(activity: xr.DataArray, what: str) -> None:
    """Refuse pseudo-trials, which have no order in time.

    Raises
    ------
    SchemaError : a pseudo-population
    """
    if activity.attrs.get("population") == "pseudo-population":
        raise SchemaError(
            f"{activity.attrs['session']!r}: {what} need trials in the order of the recording, and pseudo-trials "
            f"have none. Make the folds, or the null, of every session before pooling."
        )
