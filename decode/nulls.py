"""Chance from a null: labels drawn as they could have been, the whole chain rerun on them.

By default labels are exchanged between trials that the folds treat alike, and within groups where the folds keep
groups whole, so that a permuted data set is as likely as the true one, and as well stratified, if the
target does not matter (Ojala & Garriga 2010). Other schemes stand in ``null_schemes.py``.
p = (b + 1) / (m + 1) with b of m labelings at least as good (Phipson & Smyth 2010).
Where the estimator has a closed form, all labelings share one factorisation per fold.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds
from . import metrics
from .closed_form import predict_labelings, predict_values, solver_for, value_solver_for
from .exchange import (
    FEWEST_ARRANGEMENTS,
    arrangements,
    come_in_runs,
    exchange_blocks,
    exchange_groups,
    exchange_words,
    permutations,
    streams,
)
from .null_schemes import CircularShift, Drawn, ExchangeTrials, Scheme
from .result import check_result
from .score import Map, encode_target, features_for, held_out, pooled_score

__all__ = [
    "FEWEST_ARRANGEMENTS",
    "arrangements",
    "attach_null",
    "attach_null_over_time",
    "draw_null",
    "exchange_groups",
    "exchange_words",
    "null_scores",
    "permutations",
    "with_null",
]
VALUES_AT_ONCE = 20_000_000  # predictions of numbers held at once: 160 MB
IN_RUNS = (
    "No p value: labels come in runs, so trials cannot be exchanged: slow drift would pass for the target. Use another "
    "scheme: ExchangeBlocks where labels were set by block, PseudoSession, or within=... groups that labels do not "
    "run through. If labels came in random order, and the file only lists trials otherwise: "
    "ExchangeTrials(in_random_order=True)."
)
IF_STATIONARY = (
    "The null shifts labels in time, which is right if activity and labels are stationary. Where both drift it calls "
    "noise a signal too often (docs/false_positives.md): prefer PseudoSession."
)


def with_null(
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
    """The result with the scores that labels of the null reach, and a p value.

    Parameters
    ----------
    result : of ``cross_validate`` on the same activity, estimator and folds
    n_permutations : number of labelings; each reruns every fold. Fewer where the scheme has not so many
    random_state : seed; labeling i has a stream of its own, whatever the number of workers
    within : trial column inside whose groups labels are exchanged, beside the folds and their groups
    scheme : ``ExchangeBlocks``, ``CircularShift`` or ``PseudoSession``. None exchanges trials, and gives no p
        where their labels come in runs, but for ``ExchangeTrials(in_random_order=True)``
    map : as the builtin; called once over the labelings where there is no closed form

    Returns
    -------
    result with ``null_score (permutation)`` and attrs ``p_value``, ``p_smallest``, ``null_scheme`` (words),
    ``null_low`` and ``null_high`` (the middle 95 % of the null). No ``p_value``, and ``warnings`` say why, where
    fewer than 20 arrangements of the labels exist, or where trials are exchanged whose labels come in runs

    Raises
    ------
    SchemaError : not a result, other folds, fewer than one permutation, ``within`` beside another scheme, a scheme
        that these folds or trials do not allow
    """
    check_result(result)
    check_folds(folds, activity)
    _check_same_folds(result, folds)
    scheme = chosen_scheme(within, scheme)
    activity = activity.compute()
    for_classes = is_classifier(estimator)
    truth, labels = encode_target(activity, result.attrs["target"], for_classes=for_classes)
    drawn = scheme.draw(truth, activity, folds, labels=labels, n_permutations=n_permutations, random_state=random_state)
    drawn = that_can_be_trained(drawn, folds.to_numpy(), activity)
    features = features_for(activity, estimator, folds)
    null = null_scores(features, drawn.labels, estimator, folds.to_numpy(), result.attrs["metric"], map=map)
    out = attach_null(result, null, drawn.n_arrangements, scheme=drawn.words)
    out = with_warning(out, IF_STATIONARY) if isinstance(scheme, CircularShift) else out
    return without_p_of_runs(out, truth, activity, folds, scheme).assign_attrs(null_random_state=random_state)


def chosen_scheme(within: str | None, scheme: Scheme | None) -> Scheme:
    """The scheme; trials exchanged ``within`` groups if there is none.

    Raises
    ------
    SchemaError : both are given
    """
    if scheme is not None and within is not None:
        raise SchemaError(
            f"within={within!r} says where trials are exchanged, and {type(scheme).__name__} exchanges other things. "
            f"Give one of them."
        )
    return ExchangeTrials(within) if scheme is None else scheme


def null_scores(
    features: np.ndarray, labels: np.ndarray, estimator: Any, sides: np.ndarray, metric: str, *, map: Map = map
) -> np.ndarray:
    """Scores (n_labelings,) of the whole chain on each labeling, by closed form where there is one.

    Parameters
    ----------
    features : (n_trials, ...) as the estimator takes them
    labels : (n_labelings, n_trials) class positions (int) or values (float)
    sides : (n_folds, n_trials) of 0 unused, 1 train, 2 test
    metric : name in ``METRICS``
    """
    for_classes = is_classifier(estimator)
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    fold, trial = np.nonzero(sides == TEST)
    if for_classes and solver_for(estimator) is not None and not metrics.needs_probabilities(metric):
        predicted = predict_labelings(features, labels, int(labels.max()) + 1, estimator, sides)
        return metrics.scores_of_labelings(metric, labels[:, trial], predicted[:, fold, trial])
    if not for_classes and value_solver_for(estimator) is not None:
        step, out = max(1, VALUES_AT_ONCE // sides.size), []
        for start in range(0, len(labels), step):
            some = labels[start : start + step]
            predicted = predict_values(features, some, estimator, sides)[:, fold, trial]
            out += [score_of(truth[trial], said) for truth, said in zip(some, predicted, strict=True)]
        return np.array(out)
    return np.array(list(map(partial(_score_once, features, estimator, sides, metric, score_of), labels)))


def draw_null(
    score_once: Callable[[np.random.SeedSequence], Any], n_permutations: int, random_state: int, *, map: Map = map
) -> np.ndarray:
    """Scores (n_permutations,) of the chain rerun on permuted labels, one random stream each.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    return np.array(list(map(score_once, streams(n_permutations, random_state))))


def attach_null(
    result: xr.Dataset, null: np.ndarray, n_arrangements: float, *, scheme: str, score: float | None = None
) -> xr.Dataset:
    """The result with a null that was drawn elsewhere.

    Parameters
    ----------
    null : (n_permutations,) scores of the same metric
    n_arrangements : how many different orders of the labels the scheme allows
    scheme : the scheme in words
    score : the true labels' score from the very chain that gave the null; None takes ``score_mean``
    """
    score, m = result.attrs["score_mean"] if score is None else score, len(null)
    better = null <= score if result.attrs["metric"] in metrics.SMALLER_IS_BETTER else null >= score
    low, high = np.quantile(null, [0.025, 0.975])
    attrs: dict[str, Any] = {
        "n_permutations": m,
        "null_scheme": scheme,
        "null_low": float(low),
        "null_high": float(high),
        "p_smallest": max(1 / (m + 1), 1 / n_arrangements),
    }
    said = list(result.attrs.get("warnings", []))
    if n_arrangements < FEWEST_ARRANGEMENTS:
        said.append(_too_few(n_arrangements))
    else:
        attrs["p_value"] = max(float((better.sum() + 1) / (m + 1)), attrs["p_smallest"])
    kept = {name: value for name, value in result.attrs.items() if name != "p_value"}  # of an earlier null
    result = result.drop_vars("null_score", errors="ignore").assign(null_score=("permutation", null))
    result.attrs = kept | attrs | {"warnings": said}
    return result


def attach_null_over_time(result: xr.Dataset, null: np.ndarray, n_arrangements: float, *, scheme: str) -> xr.Dataset:
    """The result over time with a null of every bin.

    Parameters
    ----------
    null : (n_permutations, n_times) scores, each row of one relabeling
    n_arrangements, scheme : as in ``attach_null``

    Returns
    -------
    result with ``null_score (permutation, time)``, ``null_low``, ``null_high``, and where 20 arrangements
    exist ``p_value`` and ``p_familywise``, all (time)
    """
    sign = -1.0 if result.attrs["metric"] in metrics.SMALLER_IS_BETTER else 1.0
    score, m = sign * result["score"].to_numpy(), len(null)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    result = result.assign(null_score=(("permutation", "time"), null), null_low=("time", low), null_high=("time", high))
    smallest = max(1 / (m + 1), 1 / n_arrangements)
    said = list(result.attrs["warnings"])
    if n_arrangements < FEWEST_ARRANGEMENTS:
        said.append(_too_few(n_arrangements))
    else:
        each = (np.sum(sign * null >= score, axis=0) + 1) / (m + 1)
        largest = (np.sum((sign * null).max(axis=1)[:, None] >= score, axis=0) + 1) / (m + 1)
        result = result.assign(
            p_value=("time", np.maximum(each, smallest)), p_familywise=("time", np.maximum(largest, smallest))
        )
    return result.assign_attrs(n_permutations=m, null_scheme=scheme, p_smallest=smallest, warnings=said)


def _too_few(n_arrangements: float) -> str:
    return f"No p value: the labels can be arranged in {n_arrangements:.0f} ways only, too few for any test."


def _check_same_folds(result: xr.Dataset, folds: xr.DataArray) -> None:
    """Refuse folds that test other trials than the result's."""
    prediction = result["prediction"].to_numpy()
    tested = prediction >= 0 if "label" in result.coords else np.isfinite(prediction)
    if tested.shape != folds.shape or not np.array_equal(tested, folds.to_numpy() == TEST):
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: these folds test other trials than those of the result "
            f"({folds.sizes['fold']} folds, the result has {result.sizes['fold']}). Pass the folds it was made with."
        )


def without_p_of_runs(
    result: xr.Dataset, truth: np.ndarray, activity: xr.DataArray, folds: xr.DataArray, scheme: Scheme
) -> xr.Dataset:
    """The result without its p values, and with a warning, if trials were exchanged whose labels come in runs."""
    is_listed = activity.attrs.get("population") == "pseudo-population"
    if not isinstance(scheme, ExchangeTrials) or scheme.in_random_order or is_listed:
        return result
    groups = exchange_groups(activity, folds, scheme.within)
    if not come_in_runs(truth, groups, blocks=exchange_blocks(activity, folds, scheme.within)):
        return result
    result = result.drop_vars(["p_value", "p_familywise"], errors="ignore")
    result.attrs = {name: value for name, value in result.attrs.items() if name != "p_value"}
    return with_warning(result, IN_RUNS)


def with_warning(result: xr.Dataset, sentence: str) -> xr.Dataset:
    """The result with a warning, once."""
    said = [each for each in result.attrs.get("warnings", []) if each != sentence]
    return result.assign_attrs(warnings=[*said, sentence])


def that_can_be_trained(drawn: Drawn, sides: np.ndarray, activity: xr.DataArray) -> Drawn:
    """Labelings that leave every fold two classes or values to train on, as the true one does; words say how many not.

    The true labeling is one of those that can be trained, so a null of these alone is exact too.

    Raises
    ------
    SchemaError : none can
    """
    can = np.ones(len(drawn.labels), bool)
    for side in sides:
        trained = drawn.labels[:, side == TRAIN]
        can &= np.ptp(trained, axis=1) > 0
    if not can.any():
        raise SchemaError(
            f"session {activity.attrs['session']!r}: every labeling of this null leaves a fold with one class to train "
            f"on. Use more blocks in the folds, blocked_folds(..., n_blocks=...), or another scheme."
        )
    words = "" if can.all() else f"; {int(np.sum(~can))} that leave a fold with one class to train on left out"
    return drawn._replace(labels=drawn.labels[can], words=drawn.words + words)


def _score_once(
    features: np.ndarray, estimator: Any, sides: np.ndarray, metric: str, score_of: Callable, labeling: np.ndarray
) -> float:
    scored = held_out(features, labeling, estimator, sides, metric)
    return pooled_score(score_of, labeling, scored, sides == TEST)
