"""Decoding over time: at each bin, from windows that grow, and trained at one time and tested at another.

A decoder is fitted at each bin on the units' activity in that bin. Every bin uses the same folds, so a
trial is never on both sides at any pair of times. Closed forms solve all bins without refitting an
estimator; everything else is the honest loop over bins and folds.
"""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone, is_classifier

from ..datasets.folds import TEST, TRAIN, check_folds
from . import metrics
from .closed_form import batches, flat_steps, predict_labelings_over_bins, solver_for
from .closed_form.over_bins import Weights, linear_over_bins
from .nulls import (
    arrangements,
    attach_null_over_time,
    exchange_groups,
    exchange_words,
    permutations,
)
from .score import (
    Map,
    check_training_classes,
    encode_target,
    features_for,
    frame_of,
    pooled_score,
    takes_three_axes,
    trial_columns,
)


def cumulate(activity: xr.DataArray) -> xr.DataArray:
    """Activity summed from the first bin to each bin: windows that grow, for a latency curve.

    Returns
    -------
    activity (trial, time, unit) in the same units; ``time`` is the end of the window in s. NaN from the
    first NaN bin on.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ones = xr.DataArray(np.ones((1, 3, 1)), dims=("trial", "time", "unit"),
    ...     coords={"time": [0.05, 0.15, 0.25]}, attrs={"bin_width_s": 0.1})
    >>> cumulate(ones).values.ravel().tolist(), cumulate(ones)["time"].values.round(2).tolist()
    ([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    """
    values = activity.to_numpy()
    sums = np.cumsum(values, axis=1, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    ends = activity["time"].to_numpy() + activity.attrs["bin_width_s"] / 2
    grown = activity.copy(data=sums).assign_coords(time=("time", np.round(ends, 9), activity["time"].attrs))
    return grown.assign_attrs(window="grows from the first bin; time is its end")


def cross_validate_over_time(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Decode a trial's target from each bin by itself.

    Parameters
    ----------
    activity : (trial, time, unit); ``cumulate(activity)`` for windows that grow
    target, estimator, folds, metric : as in ``cross_validate``; the estimator sees one bin at a time
    map : as the builtin; called once over the bins where there is no closed form

    Returns
    -------
    result: ``score (time)`` over all test predictions, ``fold_score (fold, time)``,
    ``prediction (fold, trial, time)``, ``target (trial)``; attrs as of ``cross_validate``

    Raises
    ------
    as ``cross_validate``

    Notes
    -----
    By closed form O(n_times (n_trials n_units min(n_trials, n_units) + n_folds n_units³)).
    """
    data = _TimeData(activity, target, estimator, folds, metric)
    prediction = _predict_bins(data, map)
    return _result(data, prediction)


def generalise_over_time(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Fit at each bin, test at every bin (King & Dehaene 2014): does the code hold or change?

    Parameters
    ----------
    activity, target, estimator, folds, metric, map : as in ``cross_validate_over_time``

    Returns
    -------
    result: ``score (train_time, test_time)`` over all test predictions, ``target (trial)``; the diagonal
    is ``cross_validate_over_time``

    Raises
    ------
    as ``cross_validate``
    """
    data = _TimeData(activity, target, estimator, folds, metric)
    linear = _linear(data)
    scores = _general_by_loop(data, map) if linear is None else _general_by_weights(data, *linear)
    time = activity["time"].to_numpy()
    result = xr.Dataset(
        {"score": (("train_time", "test_time"), scores), "target": ("trial", data.truth)},
        coords={"train_time": time, "test_time": time, "trial": activity["trial"]},
    )
    return data.labelled(result)


def with_null_over_time(
    result: xr.Dataset,
    activity: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """The result over time with the scores of permuted labels at every bin.

    One permutation relabels the trials at all bins alike, so the null keeps the correlation of bins and
    its maximum over time controls the family of all bins.

    Parameters
    ----------
    result : of ``cross_validate_over_time`` on the same activity, estimator and folds
    n_permutations, random_state, within, map : as in ``with_null``

    Returns
    -------
    result with ``null_score (permutation, time)``, ``p_value (time)``, ``p_familywise (time)`` (against the
    largest score over time) and ``null_low``, ``null_high (time)``

    Raises
    ------
    as ``with_null``
    """
    data = _TimeData(activity, result.attrs["target"], estimator, folds, result.attrs["metric"])
    groups = exchange_groups(activity, folds, within)
    labels = permutations(data.truth, n_permutations, random_state, within=groups)
    times = range(activity.sizes["time"])
    if data.for_classes and solver_for(estimator) is not None:
        null = _null_closed_form(data, labels)
    else:
        null = np.stack(list(map(partial(_null_at, data, labels), times)), axis=1)
    scheme = "labels of whole trials permuted alike at all bins " + exchange_words(folds, within)
    return attach_null_over_time(result, null, arrangements(data.truth, groups), scheme=scheme)


class _TimeData:
    """The arrays of one decoding problem over time, checked once."""

    def __init__(
        self, activity: xr.DataArray, target: str, estimator: Any, folds: xr.DataArray, metric: str | None
    ) -> None:
        check_folds(folds, activity)
        activity = activity.compute()
        self.activity, self.estimator, self.folds, self.target = activity, estimator, folds, target
        self.for_classes = is_classifier(estimator)
        self.metric = metric or ("balanced_accuracy" if self.for_classes else "r2")
        self.score_of = metrics.metric_function(self.metric, for_classes=self.for_classes)
        self.truth, self.labels = encode_target(activity, target, for_classes=self.for_classes)
        if self.for_classes:
            check_training_classes(activity, self.truth, folds)
        features_for(activity, estimator, folds)  # refuses NaN and leaks
        self.values = activity.to_numpy()
        self.sides = folds.to_numpy()
        self.three_axes = takes_three_axes(estimator)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a continuous target."""
        return 0 if self.labels is None else len(self.labels)

    def at(self, time: int) -> np.ndarray:
        """Features of one bin, as the estimator takes them."""
        return self.values[:, time : time + 1] if self.three_axes else self.values[:, time]

    def empty(self, *shape: int) -> np.ndarray:
        """Predictions that nothing has filled yet."""
        return np.full(shape, -1, np.int16) if self.for_classes else np.full(shape, np.nan)

    def scores(self, prediction: np.ndarray) -> np.ndarray:
        """The metric over all test predictions, for predictions (n_folds, n_trials, n_times)."""
        fold, trial = np.nonzero(self.sides == TEST)
        return np.array([self.score_of(self.truth[trial], column) for column in prediction[fold, trial].T])

    def labelled(self, result: xr.Dataset) -> xr.Dataset:
        """With the coordinates and attributes that every decoding result has."""
        given = (self.activity, self.target, self.estimator, self.folds, self.metric, self.truth, self.for_classes)
        frame = frame_of(*given)
        if self.labels is not None:
            result = result.assign_coords(label=self.labels)
        return result.assign_attrs(frame)


def _result(data: _TimeData, prediction: np.ndarray) -> xr.Dataset:
    tested = data.sides == TEST
    by_fold = [
        [data.score_of(data.truth[t], column) for column in p[t].T] for t, p in zip(tested, prediction, strict=True)
    ]
    result = xr.Dataset(
        {
            "score": ("time", data.scores(prediction)),
            "fold_score": (("fold", "time"), np.array(by_fold)),
            "prediction": (("fold", "trial", "time"), prediction),
            "target": ("trial", data.truth),
        },
        coords={"time": data.activity["time"], "fold": data.folds["fold"], **trial_columns(data.activity)},
    )
    return data.labelled(result)


def _predict_bins(data: _TimeData, map: Map) -> np.ndarray:
    """(n_folds, n_trials, n_times), each bin predicted by the decoder of that bin."""
    n_times = data.values.shape[1]
    out = data.empty(*data.sides.shape, n_times)
    linear = _linear(data)
    if linear is None:
        for time, predicted in enumerate(map(partial(_fit_predict, data, None), range(n_times))):
            out[:, :, time] = predicted[:, :, 0]
        return out
    bins, weights = linear
    for fold, side in enumerate(data.sides):
        train, test = side == TRAIN, side == TEST
        coefficients, constants = weights(bins[:, train], data.truth[train], data.n_classes)
        values = np.matmul(bins[:, test], coefficients.transpose(0, 2, 1)) + constants[:, None, :]
        out[fold, test] = values.argmax(axis=2).T
    return out


def _general_by_loop(data: _TimeData, map: Map) -> np.ndarray:
    """Scores (n_times, n_times) of the decoder of each bin on every bin, by fitting estimators."""
    times = list(range(data.values.shape[1]))
    return np.array([data.scores(predicted) for predicted in map(partial(_fit_predict, data, times), times)])


def _general_by_weights(data: _TimeData, bins: np.ndarray, weights: Weights) -> np.ndarray:
    """As ``_general_by_loop``, from weights found once for all bins; blocks of training bins bound the memory."""
    n_times, p, k = bins.shape[0], bins.shape[2], data.n_classes
    trained = [weights(bins[:, side == TRAIN], data.truth[side == TRAIN], k) for side in data.sides]
    tested = [bins[:, side == TEST].reshape(-1, p) for side in data.sides]
    truth = data.truth[np.nonzero(data.sides == TEST)[1]]
    scores = np.zeros((n_times, n_times))
    for block in batches(n_times, n_times * len(truth) * k):
        chosen = []
        for (coefficients, constants), features in zip(trained, tested, strict=True):
            by_class = [features @ coefficients[block, c].T + constants[block, c] for c in range(k)]
            chosen.append(_largest(by_class).reshape(n_times, -1, block.stop - block.start))
        predicted = np.concatenate(chosen, axis=1).transpose(2, 0, 1).reshape(-1, len(truth))
        labels = np.broadcast_to(truth, predicted.shape)
        scores[block] = metrics.scores_of_labelings(data.metric, labels, predicted).reshape(-1, n_times)
    return scores


def _largest(by_class: list[np.ndarray]) -> np.ndarray:
    """Position of the class whose array is largest, element by element; the first of equals."""
    best, position = by_class[0].copy(), np.zeros(by_class[0].shape, np.int16)
    for c, values in enumerate(by_class[1:], start=1):
        is_larger = values > best
        np.copyto(best, values, where=is_larger)
        position[is_larger] = c
    return position


def _linear(data: _TimeData) -> tuple[np.ndarray, Weights] | None:
    """Features (n_times, n_trials, p) after the stateless steps, and the weights of all bins; None without one."""
    if not data.for_classes or solver_for(data.estimator) is None:
        return None
    found = linear_over_bins(flat_steps(data.estimator))
    if found is None:
        return None
    stateless, weights = found
    bins = []
    for time in range(data.values.shape[1]):
        features = data.at(time)
        for step in stateless:
            features = clone(step).fit(features).transform(features)
        bins.append(features)
    return np.stack(bins).astype(np.float64), weights


def _fit_predict(
    data: _TimeData, test_times: list[int] | None, time: int, truth: np.ndarray | None = None
) -> np.ndarray:
    """(n_folds, n_trials, n_test_times) of the decoder fitted at one bin; tested at that bin alone if None."""
    truth = data.truth if truth is None else truth
    times = [time] if test_times is None else test_times
    out = data.empty(*data.sides.shape, len(times))
    for fold, side in enumerate(data.sides):
        fitted = clone(data.estimator).fit(data.at(time)[side == TRAIN], truth[side == TRAIN])
        for column, at in enumerate(times):
            out[fold, side == TEST, column] = fitted.predict(data.at(at)[side == TEST])
    return out


def _null_closed_form(data: _TimeData, labels: np.ndarray) -> np.ndarray:
    """Scores (n_permutations, n_times) of permuted labels."""
    bins = [data.at(time) for time in range(data.values.shape[1])]
    predicted = predict_labelings_over_bins(bins, labels, data.n_classes, data.estimator, data.sides)
    truth = labels[:, np.nonzero(data.sides == TEST)[1]]
    columns = [metrics.scores_of_labelings(data.metric, truth, predicted[:, :, time]) for time in range(len(bins))]
    return np.stack(columns, axis=1)


def _null_at(data: _TimeData, labels: np.ndarray, time: int) -> np.ndarray:
    """Scores (n_permutations,) of permuted labels at one bin, by fitting anew."""
    scores = []
    for truth in labels:
        predicted = _fit_predict(data, None, time, truth)
        scores.append(pooled_score(data.score_of, truth, predicted[:, :, 0], data.sides == TEST))
    return np.array(scores)
