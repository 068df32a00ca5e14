"""Decoding over time: at each bin, from windows that grow, and trained at one time and tested at another.

A decoder is fitted at each bin on the units' activity in that bin. Every bin uses the same folds, so a
trial is never on both sides at any pair of times. Closed forms solve all bins without refitting an
estimator; everything else, and every metric of probabilities, is the honest loop over bins and folds.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.folds import TEST, TRAIN
from . import metrics
from .closed_form import batches, predict_labelings_over_bins, predict_values, solver_for, value_solver_for
from .closed_form.over_bins import Weights, linear_over_bins, predict_every_bin, predict_own_bin
from .null_schemes import Scheme
from .nulls import attach_null_over_time, chosen_scheme, that_can_be_trained, without_p_of_runs
from .prepare import Problem, prepare, takes_three_axes
from .score import Map, class_probabilities, frame_of, trial_columns
from .steps import steps


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
    ``prediction (fold, trial, time)`` (``probability (fold, trial, time, label)`` for a metric of probabilities),
    ``target (trial)``; attrs as of ``cross_validate``

    Raises
    ------
    as ``cross_validate``

    Notes
    -----
    By closed form O(n_times (n_trials n_units min(n_trials, n_units) + n_folds n_units³)).
    """
    data = _Times(prepare(activity, target, estimator, folds, metric=metric), estimator)
    output = _own_bins(data, map)
    truth = data.problem.truth
    score = _scores(data, truth[data.trial], output)
    by_fold = [_scores(data, truth[data.trial[own]], output[own]) for own in data.of_fold()]
    full = np.full((*data.problem.sides.shape, *output.shape[1:]), -1 if output.dtype == np.int16 else np.nan)
    full = full.astype(output.dtype)
    full[data.fold, data.trial] = output
    name, dims = ("prediction", ()) if output.ndim == 2 else ("probability", ("label",))
    result = xr.Dataset(
        {
            "score": ("time", score),
            "fold_score": (("fold", "time"), np.array(by_fold)),
            name: (("fold", "trial", "time", *dims), full),
            "target": ("trial", truth),
        },
        coords={"time": activity["time"], "fold": folds["fold"], **trial_columns(data.problem.activity)},
    )
    return _labelled(result, data, target, folds)


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
    data = _Times(prepare(activity, target, estimator, folds, metric=metric), estimator)
    linear, truth = _linear(data), data.problem.truth
    if linear is None:
        once = partial(_fit_and_output, data, truth, range(data.n_times))
        scores = np.array([_scores(data, truth[data.trial], output) for output in map(once, range(data.n_times))])
    else:
        scores = _general_by_weights(data, *linear)
    time = activity["time"].to_numpy()
    result = xr.Dataset(
        {"score": (("train_time", "test_time"), scores), "target": ("trial", truth)},
        coords={"train_time": time, "test_time": time, "trial": activity["trial"]},
    )
    return _labelled(result, data, target, folds)


def with_null_over_time(
    result: xr.Dataset,
    activity: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
    scheme: Scheme | None = None,
    map: Map = map,
) -> xr.Dataset:
    """The result over time with the scores of permuted labels at every bin.

    One labeling relabels the trials at all bins alike, so the null keeps the correlation of bins and
    its maximum over time controls the family of all bins.

    Parameters
    ----------
    result : of ``cross_validate_over_time`` on the same activity, estimator and folds
    n_permutations, random_state, within, scheme, map : as in ``with_null``

    Returns
    -------
    result with ``null_score (permutation, time)``, ``p_value (time)``, ``p_familywise (time)`` (against the
    largest score over time) and ``null_low``, ``null_high (time)``. No p values, and ``warnings`` say why, as of
    ``with_null``

    Raises
    ------
    as ``with_null``
    """
    problem = prepare(activity, result.attrs["target"], estimator, folds, metric=result.attrs["metric"])
    data = _Times(problem, estimator)
    scheme = chosen_scheme(within, scheme)
    how: dict[str, Any] = {"n_permutations": n_permutations, "random_state": random_state, "labels": problem.labels}
    drawn = that_can_be_trained(scheme.draw(problem.truth, activity, folds, **how), problem.sides, activity)
    labels = drawn.labels
    if not problem.for_classes and value_solver_for(estimator) is not None:
        null = np.stack([_null_of_values(data, labels, time) for time in range(data.n_times)], axis=1)
    elif problem.for_classes and solver_for(estimator) is not None and not data.needs_probabilities:
        null = _null_of_classes(data, labels)
    else:
        null = np.stack(list(map(partial(_null_by_loop, data, labels), range(data.n_times))), axis=1)
    words = drawn.words + ", alike at all bins"
    out = attach_null_over_time(result, null, drawn.n_arrangements, scheme=words)
    return without_p_of_runs(out, problem.truth, activity, folds, scheme)


class _Times:
    """A decoding problem that is solved at every bin; tests are listed fold by fold, as in ``fold`` and ``trial``."""

    def __init__(self, problem: Problem, estimator: Any) -> None:
        self.problem, self.estimator = problem, estimator
        self.values = problem.activity.to_numpy()
        self.n_times = self.values.shape[1]
        self.fold, self.trial = np.nonzero(problem.sides == TEST)
        self.three_axes = takes_three_axes(estimator)
        self.needs_probabilities = metrics.needs_probabilities(problem.metric)

    def at(self, time: int) -> np.ndarray:
        """Features of one bin, as the estimator takes them."""
        return self.values[:, time : time + 1] if self.three_axes else self.values[:, time]

    def of_fold(self) -> list[np.ndarray]:
        """Positions of each fold's tests among all tests."""
        return [np.flatnonzero(self.fold == fold) for fold in range(len(self.problem.sides))]


def _labelled(result: xr.Dataset, data: _Times, target: str, folds: xr.DataArray) -> xr.Dataset:
    """With the coordinates and attributes that every decoding result has."""
    problem = data.problem
    given = (problem.activity, target, data.estimator, folds, problem.metric, problem.truth, problem.for_classes)
    if problem.labels is not None:
        result = result.assign_coords(label=problem.labels)
    return result.assign_attrs(frame_of(*given))


def _scores(data: _Times, truth: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The metric at each time (n_times,), for truth (n_test,) and output (n_test, n_times) or (n_test, n_times, k)."""
    problem = data.problem
    if problem.for_classes and not data.needs_probabilities:
        return metrics.scores_of_labelings(problem.metric, np.broadcast_to(truth, output.T.shape), output.T)
    return np.array([problem.score_of(truth, output[:, time]) for time in range(output.shape[1])])


def _own_bins(data: _Times, map: Map) -> np.ndarray:
    """(n_tests, n_times), or (n_tests, n_times, k) of probabilities: each bin by the decoder of that bin."""
    truth, sides = data.problem.truth, data.problem.sides
    linear = _linear(data)
    if linear is not None:
        bins, weights = linear
        fitted = zip(sides, weights(bins, truth, sides), strict=True)
        return np.concatenate([predict_own_bin(of_fold, bins[:, side == TEST]) for side, of_fold in fitted])
    if not data.problem.for_classes and value_solver_for(data.estimator) is not None:
        times = range(data.n_times)
        by_time = [predict_values(data.at(time), truth[None], data.estimator, sides)[0] for time in times]
        return np.stack([values[data.fold, data.trial] for values in by_time], axis=1)
    return np.concatenate(list(map(partial(_fit_and_output, data, truth, None), range(data.n_times))), axis=1)


def _fit_and_output(data: _Times, truth: np.ndarray, test_times: Sequence[int] | None, time: int) -> np.ndarray:
    """What the metric scores (n_tests, n_test_times, ...) of the decoder of one bin; of that bin alone if None."""
    problem, out = data.problem, []
    for side in problem.sides:
        fitted = clone(data.estimator).fit(data.at(time)[side == TRAIN], truth[side == TRAIN])
        by_time = []
        for at in [time] if test_times is None else test_times:
            features = data.at(at)[side == TEST]
            if data.needs_probabilities:
                by_time.append(class_probabilities(fitted, features, problem.n_labels))
            else:
                by_time.append(fitted.predict(features).astype(np.int16 if problem.for_classes else np.float64))
        out.append(np.stack(by_time, axis=1))
    return np.concatenate(out)


def _general_by_weights(data: _Times, bins: np.ndarray, weights: Weights) -> np.ndarray:
    """Scores (n_times, n_times), from weights found for all bins; blocks of training bins bound the memory."""
    n_times, problem, truth = data.n_times, data.problem, data.problem.truth[data.trial]
    share = _share_of_right(problem.metric, truth)
    scores = np.empty((n_times, n_times))
    for block in batches(n_times, n_times * len(truth)):
        trained = zip(weights(bins[block], problem.truth, problem.sides), data.of_fold(), strict=True)
        by_fold = [predict_every_bin(fitted, bins, data.trial[own]) for fitted, own in trained]
        predicted = np.concatenate(by_fold, axis=2)
        if share is None:
            scores[block] = _scores(data, truth, predicted.reshape(-1, len(truth)).T).reshape(-1, n_times)
        else:
            scores[block] = (predicted == truth).astype(np.float64) @ share
    return scores


def _share_of_right(metric: str, truth: np.ndarray) -> np.ndarray | None:
    """What each right prediction adds to the score (n_test,); None for a metric that is not such a sum."""
    counts = np.bincount(truth)
    if metric == "accuracy":
        return np.full(len(truth), 1 / len(truth))
    return 1 / (np.count_nonzero(counts) * counts[truth]) if metric == "balanced_accuracy" else None


def _linear(data: _Times) -> tuple[np.ndarray, Weights] | None:
    """Features (n_times, n_trials, p) after the stateless steps, and the weights of all bins; None without one."""
    if not data.problem.for_classes or data.needs_probabilities or solver_for(data.estimator) is None:
        return None
    found = linear_over_bins(list(steps(data.estimator, inside_searches=False)))
    if found is None:
        return None
    stateless, weights = found
    if not stateless:
        return np.ascontiguousarray(data.values.swapaxes(0, 1), np.float64), weights
    bins = []
    for time in range(data.n_times):
        features = data.at(time)
        for step in stateless:
            features = clone(step).fit(features).transform(features)
        bins.append(features)
    return np.stack(bins).astype(np.float64), weights


def _null_of_classes(data: _Times, labels: np.ndarray) -> np.ndarray:
    """Scores (n_permutations, n_times) of permuted labels, by closed form."""
    problem, bins = data.problem, [data.at(time) for time in range(data.n_times)]
    predicted = predict_labelings_over_bins(bins, labels, problem.n_labels, data.estimator, problem.sides)
    truth = labels[:, data.trial]
    columns = [metrics.scores_of_labelings(problem.metric, truth, predicted[:, :, time]) for time in range(len(bins))]
    return np.stack(columns, axis=1)


def _null_of_values(data: _Times, targets: np.ndarray, time: int) -> np.ndarray:
    """Scores (n_permutations,) of permuted numbers at one bin, by closed form."""
    predicted = predict_values(data.at(time), targets, data.estimator, data.problem.sides)[:, data.fold, data.trial]
    pairs = zip(targets[:, data.trial], predicted, strict=True)
    return np.array([data.problem.score_of(truth, values) for truth, values in pairs])


def _null_by_loop(data: _Times, labels: np.ndarray, time: int) -> np.ndarray:
    """Scores (n_permutations,) of permuted labels at one bin, by fitting anew."""
    outputs = (_fit_and_output(data, truth, None, time) for truth in labels)
    return np.array(
        [_scores(data, truth[data.trial], output)[0] for truth, output in zip(labels, outputs, strict=True)]
    )
