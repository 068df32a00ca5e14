"""Cross-validated decoding of numbers over time, such as position or speed, over whole held-out trials.

A recording without trials is cut into blocks or laps first (``cut_at``), because neighbouring bins share
their activity and their target: bins split at random between training and test score on memory.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import LeakageError, SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds
from ..datasets.schema import check_activity
from .score import CARRIED_ATTRS, Map, describe, takes_three_axes, trial_columns


def cross_validate_continuous(
    activity: xr.DataArray, target: xr.DataArray, estimator: Any, folds: xr.DataArray, *, map: Map = map
) -> xr.Dataset:
    """Fit on the training trials of each fold, predict every bin of its test trials, score.

    Parameters
    ----------
    activity : (trial, time, unit); a bin with NaN is absent, as at the end of short trials
    target : numbers (trial, time) or (trial, time, output) on the same trials and bins; NaN where unknown
    estimator : if its first step takes three axes, it is handed activity (n_trials, n_times, n_units) and target
        (n_trials, n_times[, n_outputs]); else every bin that is present and known is a sample. A classifier decodes
        values that are its classes, such as bins of position
    folds : (fold, trial), from ``folds_from_splitter`` or ``make_folds``
    map : as the builtin; called once over the folds

    Returns
    -------
    result, kind "decoding over time", over the test bins where target and prediction are known:
    ``score`` (R², all outputs together), ``correlation`` (Pearson's, mean over outputs), ``mean_absolute_error``
    and ``median_absolute_error`` (Euclidean over outputs, in the target's unit), all (fold);
    ``prediction (fold, trial, time[, output])``, NaN where a fold does not test; ``target``

    Raises
    ------
    SchemaError : a target of other trials or bins, words, a constant; folds that do not fit; nothing to test
    LeakageError : a trajectory would be scored on trials that it was fitted on

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> walk = rng.normal(size=(6, 100)).cumsum(axis=1)
    >>> activity = xr.DataArray(rng.poisson(np.exp(walk[:, :, None] / 10 * [1, -1])), dims=("trial", "time", "unit"),
    ...     coords={"trial": range(6), "time": np.arange(100) * 0.1, "unit": ["a", "b"]},
    ...     attrs={"session": "s", "animal": "m", "event": "start", "bin_width_s": 0.1, "units": "spikes"})
    >>> target = activity.isel(unit=0, drop=True).copy(data=walk)
    >>> sides = np.where(np.arange(6) % 2 == np.arange(2)[:, None], 2, 1).astype(np.int8)
    >>> folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": range(6), "fold": range(2)})
    >>> from mitral.decode import make_decoder
    >>> result = cross_validate_continuous(activity, target, make_decoder("wiener"), folds)
    >>> result["score"].dims, result["prediction"].dims
    (('fold',), ('fold', 'trial', 'time'))
    """
    check_activity(activity.rename(latent="unit") if "latent" in activity.dims else activity)
    check_folds(folds, activity)
    activity, target = activity.compute(), target.compute() if isinstance(target, xr.DataArray) else target
    truth = checked_target(activity, target)
    sides = folds.to_numpy()
    refuse_leak(activity, sides)
    values = activity.to_numpy()
    once = partial(predict_fold, values, truth, estimator, takes_three_axes(estimator))
    prediction = np.full((len(sides), *truth.shape), np.nan)
    for row, side, predicted in zip(prediction, sides, map(once, sides), strict=True):
        row[side == TEST] = predicted
    pairs = zip(sides, prediction, strict=True)
    scores = [fold_scores(truth[side == TEST], row[side == TEST], fold) for fold, (side, row) in enumerate(pairs)]
    columns = {name: ("fold", [score[name] for score in scores]) for name in scores[0]}
    result = xr.Dataset(
        columns | {"prediction": (("fold", *target.dims), prediction), "target": (target.dims, truth)},
        coords={"fold": folds["fold"], "time": activity["time"], **trial_columns(activity)},
    )
    if "output" in target.coords:
        result = result.assign_coords(output=target["output"])
    return result.assign_attrs(_frame(activity, target, estimator, folds, result))


def cut_at(activity: xr.DataArray, target: xr.DataArray, starts: Sequence[int]) -> tuple[xr.DataArray, xr.DataArray]:
    """Cut a recording that is one long trial into trials, such as laps or blocks.

    Parameters
    ----------
    activity : (trial, time, unit) of one trial
    target : (trial, time) of the same trial
    starts : first bin of each new trial, rising from 0

    Returns
    -------
    activity, target : as many trials as starts; shorter ones end in NaN. ``time`` counts from each trial's
        first bin, ``start_s`` is where it was on the old axis

    Raises
    ------
    SchemaError : more than one trial, a target of other bins, starts that do not rise from 0 inside the recording

    Examples
    --------
    >>> long = xr.DataArray(np.arange(5.0).reshape(1, 5, 1), dims=("trial", "time", "unit"),
    ...     coords={"trial": [0], "time": np.arange(5) * 0.5, "unit": ["u"]},
    ...     attrs={"session": "s", "animal": "m", "event": "start", "bin_width_s": 0.5, "units": ""})
    >>> cut_at(long, long[:, :, 0], [0, 3])[1].values.tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, nan]]
    """
    check_activity(activity)
    truth = checked_target(activity, target)
    where = f"session {activity.attrs['session']!r}"
    n_times = activity.sizes["time"]
    first = np.asarray(starts)
    if activity.sizes["trial"] != 1:
        raise SchemaError(f"{where}: cut_at takes one long trial, got {activity.sizes['trial']}. Cut each by itself.")
    is_rising = first.ndim == 1 and first.dtype.kind in "iu" and first.size > 0 and np.all(np.diff(first) > 0)
    if not is_rising or first[0] != 0 or first[-1] >= n_times:
        raise SchemaError(
            f"{where}: starts are whole numbers of bins that rise from 0 to below {n_times}, got {list(starts)[:5]}. "
            f"For n equal blocks: np.linspace(0, n_times, n, endpoint=False).astype(int)."
        )
    stops = np.append(first[1:], n_times)
    longest = int((stops - first).max())
    bins = first[:, None] + np.arange(longest)
    is_inside = bins < stops[:, None]
    bins = np.minimum(bins, n_times - 1)
    time = activity["time"].to_numpy()
    coords = {
        "trial": np.arange(len(first)),
        "time": time[:longest] - time[0] + activity.attrs["bin_width_s"] / 2,
        "start_s": ("trial", time[first] - activity.attrs["bin_width_s"] / 2),
    }
    kept = {name: c for name, c in activity.coords.items() if c.dims == ("unit",)}
    values = np.where(is_inside[:, :, None], activity.to_numpy()[0, bins], np.nan)
    cut = xr.DataArray(values, dims=activity.dims, coords=coords | kept, attrs=activity.attrs, name=activity.name)
    rest = truth[0, bins]
    inside = is_inside if rest.ndim == 2 else is_inside[:, :, None]
    cut_target = xr.DataArray(np.where(inside, rest, np.nan), dims=target.dims, coords=coords, attrs=target.attrs)
    return cut, cut_target.rename(target.name)


def checked_target(activity: xr.DataArray, target: xr.DataArray) -> np.ndarray:
    """The target's numbers (n_trials, n_times[, n_outputs]), float64.

    Raises
    ------
    SchemaError : a target of other trials or bins, words, a constant
    """
    where = f"session {activity.attrs.get('session', '?')!r}"
    expected = activity.dims[:2]
    if not isinstance(target, xr.DataArray) or target.dims not in (expected, (*expected, "output")):
        got = target.dims if isinstance(target, xr.DataArray) else type(target).__name__
        raise SchemaError(
            f"{where}: a target over time is a DataArray on (trial, time) or (trial, time, output), got {got}. For one "
            f"value a trial use cross_validate."
        )
    for dim in expected:
        mine, theirs = target[dim].to_numpy(), activity[dim].to_numpy()
        if mine.shape != theirs.shape or not np.allclose(mine, theirs):
            raise SchemaError(
                f"{where}: target and activity differ in {dim} ({len(mine)} and {len(theirs)} of them). Bring the "
                f"target onto the bins of the activity, for instance by target.interp(time=activity['time'])."
            )
    if target.dtype.kind not in "iufb":
        raise SchemaError(f"{where}: a target over time holds numbers, got {target.dtype}. Number its states.")
    truth = target.to_numpy().astype(np.float64)
    known = truth[np.isfinite(truth)]
    if known.size == 0 or known.min() == known.max():
        raise SchemaError(f"{where}: the target is constant or nowhere known, so there is nothing to decode.")
    return truth


def refuse_leak(activity: xr.DataArray, sides: np.ndarray) -> None:
    """Refuse to score a trajectory on trials that it was fitted on.

    Raises
    ------
    LeakageError : ``in_fit`` marks a test trial
    """
    if "in_fit" not in activity.coords:
        return
    leaked = activity["in_fit"].to_numpy() & (sides == TEST).any(axis=0)
    if leaked.any():
        raise LeakageError(
            f"session {activity.attrs['session']!r}: this trajectory was fitted on {leaked.sum()} of the trials that "
            f"it would be scored on. Give the reducer to the estimator, make_pipeline(reducer, ...), instead."
        )


def predict_fold(
    values: np.ndarray, truth: np.ndarray, estimator: Any, three_axes: bool, side: np.ndarray
) -> np.ndarray:
    """Predictions (n_test, n_times[, n_outputs]) of one fold's test trials, NaN where activity is absent."""
    train, test = side == TRAIN, side == TEST
    if three_axes:
        return clone(estimator).fit(values[train], truth[train]).predict(values[test])
    present = np.isfinite(values).all(axis=2)
    known = present & np.isfinite(truth).reshape(*present.shape, -1).all(axis=2)
    fitted = clone(estimator).fit(values[train][known[train]], truth[train][known[train]])
    out = np.full(truth[test].shape, np.nan)
    out[present[test]] = fitted.predict(values[test][present[test]])
    return out


def fold_scores(truth: np.ndarray, prediction: np.ndarray, fold: int) -> dict[str, float]:
    """Scores of one fold's test trials (n_test, n_times[, n_outputs])."""
    truth, prediction = (values.reshape(*truth.shape[:2], -1) for values in (truth, prediction))
    known = np.isfinite(truth).all(axis=2) & np.isfinite(prediction).all(axis=2)
    if known.sum() < 2:
        raise SchemaError(
            f"fold {fold} has {known.sum()} test bins where target and activity are known, and a score needs two. Use "
            f"fewer folds."
        )
    t, p = truth[known], prediction[known]
    distance = np.linalg.norm(t - p, axis=1)
    spread = np.sum((t - t.mean(axis=0)) ** 2)
    return {
        "score": 1.0 - float(np.sum(distance**2) / spread) if spread > 0 else float("nan"),
        "correlation": float(np.mean([_correlation(a, b) for a, b in zip(t.T, p.T, strict=True)])),
        "mean_absolute_error": float(distance.mean()),
        "median_absolute_error": float(np.median(distance)),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; NaN where one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _frame(
    activity: xr.DataArray, target: xr.DataArray, estimator: Any, folds: xr.DataArray, result: xr.Dataset
) -> dict[str, Any]:
    tested = (folds.to_numpy() == TEST).any(axis=0)
    by_fold = {str(name): result[name].to_numpy() for name in result if result[name].dims == ("fold",)}
    means = {f"{name}_mean": float(np.nanmean(v)) for name, v in by_fold.items() if np.isfinite(v).any()}
    undefined = [name for name, v in by_fold.items() if np.isnan(v).any()]
    said = (
        f"No {' and no '.join(undefined)} where target or prediction is constant in a fold; means are over the others."
    )
    return {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs} | {
        "kind": "decoding over time",
        "population": activity.attrs.get("population", "session"),
        "target": str(target.name or "target"),
        "target_units": str(target.attrs.get("units", "")),
        "metric": "r2",
        "estimator": describe(estimator),
        "folds": folds.attrs.get("folds", f"{folds.sizes['fold']} folds"),
        "n_trials": int(tested.sum()),
        "n_units": int(activity.attrs["n_units"] if "latent" in activity.dims else activity.sizes["unit"]),
        "n_animals": len(activity.attrs.get("animals", [activity.attrs["animal"]])),
        "n_sessions": len(activity.attrs.get("sessions", [activity.attrs["session"]])),
        "chance": 0.0,
        "warnings": [said] if undefined else [],
        **means,
    }
