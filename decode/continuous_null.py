"""Chance of decoding over time from a null: the target shifted in time against activity, the whole chain rerun.

A shift keeps how slowly both change, which bins exchanged at random would not: those give false positives always.
It asks that both are stationary. Where both drift over the whole session, use the target of other sessions instead.
"""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.linear_model import RidgeCV

from ..datasets.errors import SchemaError
from ..datasets.fold_kinds import check_order
from ..datasets.folds import TEST, check_folds
from .closed_form import predict_values, value_solver_for
from .continuous import checked_target, fold_scores, predict_fold, refuse_leak
from .null_schemes import refuse_folds_that_know, some_of
from .nulls import IF_STATIONARY, attach_null, with_warning
from .prepare import takes_three_axes
from .score import Map
from .steps import steps

PREDICTIONS_AT_ONCE = 10_000_000  # numbers: 80 MB


def with_continuous_null(
    result: xr.Dataset,
    activity: xr.DataArray,
    target: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    min_shift_s: float,
    n_permutations: int,
    random_state: int,
    map: Map = map,
) -> xr.Dataset:
    """The result over time with the scores that the shifted target reaches, and a p value.

    Parameters
    ----------
    result : of ``cross_validate_continuous`` on the same activity, target, estimator and folds
    activity, target : trials in the order of the recording, joined end to end for the shift; bins where one of them
        is NaN are passed over
    min_shift_s : least shift, forwards or backwards; longer than target and activity remember themselves
    n_permutations : number of shifts, each used once; fewer where there are not so many
    random_state : seed of the choice of shifts
    map : as the builtin; called once over the shifts where there is no closed form (ridge regression has one)

    Returns
    -------
    result with ``null_score (permutation)``: R², mean over folds; attrs ``p_value``, ``p_smallest``, ``null_low``,
    ``null_high``, ``null_scheme`` (words), ``n_permutations``

    Raises
    ------
    SchemaError : another thing than such a result, other folds, folds stratified by the target, a shift that is not
        positive or longer than half of the recording

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from mitral.decode.continuous import cross_validate_continuous
    >>> rng = np.random.default_rng(0)
    >>> position = np.cos(np.cumsum(rng.normal(0, 0.3, 400))).reshape(4, 100)
    >>> activity = xr.DataArray(position[:, :, None] * [2, -1] + rng.normal(size=(4, 100, 2)),
    ...     dims=("trial", "time", "unit"),
    ...     coords={"trial": range(4), "time": np.arange(100) * 0.1, "unit": ["a", "b"]},
    ...     attrs={"session": "s", "animal": "m", "event": "start", "bin_width_s": 0.1, "units": "a.u."})
    >>> target = activity.isel(unit=0, drop=True).copy(data=position)
    >>> sides = np.where(np.arange(4) == np.arange(4)[:, None], 2, 1).astype(np.int8)
    >>> folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": range(4), "fold": range(4)})
    >>> result = cross_validate_continuous(activity, target, Ridge(), folds)
    >>> result = with_continuous_null(result, activity, target, Ridge(), folds, min_shift_s=5.0, n_permutations=99,
    ...     random_state=0)
    >>> result.attrs["p_value"]
    0.01
    """
    check_folds(folds, activity)
    check_order(activity, "shifts in time")
    activity, target = activity.compute(), target.compute()
    truth, values, sides = checked_target(activity, target), activity.to_numpy(), folds.to_numpy()
    _check_result(result, folds)
    refuse_folds_that_know(folds, activity, "shifted in time")
    refuse_leak(activity, sides)
    known = np.isfinite(values).all(axis=2) & np.isfinite(truth).reshape(*truth.shape[:2], -1).all(axis=2)
    shifts, n_shifts = _shifts(activity, int(known.sum()), min_shift_s, n_permutations, random_state)
    three_axes = takes_three_axes(estimator)
    if not three_axes and _has_closed_form(estimator, truth):
        null = _by_closed_form(values[known], truth[known], sides[:, np.nonzero(known)[0]], estimator, shifts)
    else:
        once = partial(_by_fitting, values, truth, known, estimator, sides, three_axes)
        null = np.array(list(map(once, shifts)))
    words = f"target shifted in time against activity by {min_shift_s:g} s or more, circularly over the session"
    out = attach_null(result, null, n_shifts + 1, scheme=words).assign_attrs(null_random_state=random_state)
    return with_warning(out, IF_STATIONARY)


def _check_result(result: xr.Dataset, folds: xr.DataArray) -> None:
    kind = result.attrs.get("kind") if isinstance(result, xr.Dataset) else type(result).__name__
    if kind != "decoding over time":
        raise SchemaError(f"expected a result of cross_validate_continuous, got {kind!r}. Score first, then the null.")
    tested = np.isfinite(result["prediction"].to_numpy()).reshape(*result["prediction"].shape[:2], -1).any(axis=2)
    if tested.shape != folds.shape or np.any(tested & (folds.to_numpy() != TEST)):
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: these folds test other trials than those of the result "
            f"({folds.sizes['fold']} folds, the result has {result.sizes['fold']}). Pass the folds it was made with."
        )


def _shifts(
    activity: xr.DataArray, n_bins: int, min_shift_s: float, n_permutations: int, random_state: int
) -> tuple[np.ndarray, int]:
    """The shifts to use in bins, and how many there are."""
    width = float(activity.attrs["bin_width_s"])
    least = int(np.ceil(round(min_shift_s / width, 6)))
    n_shifts = n_bins - 2 * least + 1
    if least < 1 or n_shifts < 1:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: min_shift_s must lie between one bin and half of the "
            f"{n_bins * width:g} s that are known ({width:g} to {n_bins // 2 * width:g} s), got {min_shift_s!r}."
        )
    return least + some_of(n_shifts, n_permutations, random_state), n_shifts


def _has_closed_form(estimator: Any, truth: np.ndarray) -> bool:
    """Ridge regression; one whose penalty is chosen for all outputs together only if there is one output."""
    final = list(steps(estimator))[-1]
    return value_solver_for(estimator) is not None and (truth.ndim == 2 or not isinstance(final, RidgeCV))


def _by_closed_form(
    features: np.ndarray, truth: np.ndarray, sides: np.ndarray, estimator: Any, shifts: np.ndarray
) -> np.ndarray:
    """Scores (n_shifts,) for features (n_bins, n_units), truth (n_bins[, n_outputs]) and the sides of bins."""
    outputs = truth.reshape(len(truth), -1).T
    step, null = max(1, PREDICTIONS_AT_ONCE // (sides.size * len(outputs))), []
    for start in range(0, len(shifts), step):
        targets = np.stack([np.roll(outputs, shift, axis=1) for shift in shifts[start : start + step]])
        said = predict_values(features, targets.reshape(-1, targets.shape[2]), estimator, sides)
        said = said.reshape(*targets.shape[:2], *sides.shape)
        by_fold = np.empty((len(targets), len(sides)))
        for fold, test in enumerate(sides == TEST):
            t = targets[:, :, test]
            spread = np.sum((t - t.mean(axis=2, keepdims=True)) ** 2, axis=(1, 2))
            error = np.sum((t - said[:, :, fold, test]) ** 2, axis=(1, 2))
            with np.errstate(divide="ignore", invalid="ignore"):
                by_fold[:, fold] = np.where(spread > 0, 1.0 - error / spread, np.nan)
        null += np.nanmean(by_fold, axis=1).tolist()
    return np.array(null)


def _by_fitting(
    values: np.ndarray,
    truth: np.ndarray,
    known: np.ndarray,
    estimator: Any,
    sides: np.ndarray,
    three_axes: bool,
    shift: int,
) -> float:
    shifted = truth.copy()
    shifted[known] = np.roll(truth[known], shift, axis=0)
    scores = []
    for fold, side in enumerate(sides):
        said = predict_fold(values, shifted, estimator, three_axes, side)
        scores.append(fold_scores(shifted[side == TEST], said, fold)["score"])
    return float(np.nanmean(scores))
