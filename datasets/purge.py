"""Folds without the training trials that lie next to test trials.

Neighbouring trials share slow drift, and their labels too where these come in runs; their windows may share spikes.
A decoder that trains on a test trial's neighbours reads the label from the drift.
"""

import numpy as np
import xarray as xr

from .errors import SchemaError
from .fold_kinds import blocked_folds, check_classes, check_order
from .folds import TEST, TRAIN, UNUSED, check_folds, trial_column


def purge(
    folds: xr.DataArray,
    activity: xr.DataArray,
    *,
    gap_trials: int | None = None,
    gap_s: float | None = None,
    time: str | None = None,
) -> xr.DataArray:
    """Folds whose training trials lie farther than a gap from every test trial; those nearer are set to 0, unused.

    Parameters
    ----------
    folds : (fold, trial)
    activity : whose trials they are, in the order of the recording
    gap_trials : training trials up to so many trials before or after a test trial are left out
    gap_s : the same in seconds
    time : trial coordinate in s that ``gap_s`` is measured by; None is the event that the activity was cut around

    Returns
    -------
    folds (fold, trial), int8; attrs ``n_purged``: training trials left out, over all folds

    Raises
    ------
    SchemaError : no gap or both, one that is not positive, no such time, a fold left without training trials

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((6, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(6), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b"] * 3)},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> folds = blocked_folds(activity, target="odor", n_folds=3)
    >>> purge(folds, activity, gap_trials=1).values.tolist()
    [[2, 2, 0, 1, 1, 1], [1, 0, 2, 2, 0, 1], [1, 1, 1, 0, 2, 2]]
    """
    check_folds(folds, activity)
    check_order(activity, "gaps between training and test trials")
    where = f"session {activity.attrs['session']!r}"
    if (gap_trials is None) == (gap_s is None):
        raise SchemaError(f"{where}: give a gap in trials or in seconds, gap_trials=2 or gap_s=10.0, and not both.")
    gap = float(gap_trials if gap_trials is not None else gap_s or 0)
    if not gap > 0:
        raise SchemaError(f"{where}: a gap must be positive, got {gap:g}. Without a gap there is nothing to purge.")
    if gap_trials is not None:
        place, words = np.arange(folds.sizes["trial"], dtype=np.float64), f"{gap_trials} trials"
    else:
        place = trial_column(activity, time or str(activity.attrs["event"]))
        words = f"{gap_s:g} s"
        if place.dtype.kind not in "iuf":
            raise SchemaError(f"{where}: {time!r} holds {place.dtype}, and a gap in seconds needs times in s.")
    sides = folds.to_numpy().copy()
    n_before = int(np.sum(sides == TRAIN))
    for fold, side in enumerate(sides):
        is_near = _distance(place, np.sort(place[side == TEST])) <= gap
        side[is_near & (side == TRAIN)] = UNUSED
        if not np.any(side == TRAIN):
            raise SchemaError(
                f"{where}: fold {fold} has no training trial farther than {words} from its test trials. Use a shorter "
                f"gap, or folds of contiguous trials, blocked_folds(...)."
            )
    out = folds.copy(data=sides)
    said = f"{folds.attrs.get('folds', str(len(sides)) + ' folds')}, training trials within {words} of a test trial out"
    out.attrs = dict(folds.attrs) | {"folds": said, "n_purged": n_before - int(np.sum(sides == TRAIN))}
    return check_folds(out, activity)


def purged_folds(
    activity: xr.DataArray,
    *,
    target: str,
    n_folds: int,
    n_blocks: int | None = None,
    group: str | None = None,
    gap_trials: int | None = None,
    gap_s: float | None = None,
    time: str | None = None,
) -> xr.DataArray:
    """Folds of contiguous trials with a gap between training and test trials: ``blocked_folds``, then ``purge``.

    Parameters
    ----------
    activity, target, n_folds, n_blocks, group : as in ``blocked_folds``
    gap_trials, gap_s, time : as in ``purge``

    Returns
    -------
    folds (fold, trial), int8

    Raises
    ------
    SchemaError : as ``blocked_folds`` and ``purge``; a fold that trains without a class

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((8, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(8), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b"] * 4)},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> purged_folds(activity, target="odor", n_folds=2, gap_trials=1).values.tolist()
    [[2, 2, 2, 2, 0, 1, 1, 1], [1, 1, 1, 0, 2, 2, 2, 2]]
    """
    folds = blocked_folds(activity, target=target, n_folds=n_folds, n_blocks=n_blocks, group=group)
    folds = purge(folds, activity, gap_trials=gap_trials, gap_s=gap_s, time=time)
    check_classes(activity, target, folds)
    return folds


def _distance(place: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Distance (n_trials,) of every trial to the nearest of the tested places, which ascend."""
    after = np.clip(np.searchsorted(tested, place), 0, len(tested) - 1)
    before = np.maximum(after - 1, 0)
    return np.minimum(np.abs(place - tested[after]), np.abs(place - tested[before]))
