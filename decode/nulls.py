"""Chance from a null: labels of whole trials permuted, the whole chain rerun.

Labels are exchanged between trials that the folds treat alike, and within groups where the folds keep
groups whole, so that a permuted data set is as likely as the true one, and as well stratified, if the
target does not matter (Ojala & Garriga 2010).
p = (b + 1) / (m + 1) with b of m permutations at least as good (Phipson & Smyth 2010).
Where the estimator has a closed form, all permutations share one factorisation per fold.
"""

from collections.abc import Callable
from functools import partial
from math import exp, lgamma
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, check_folds, permute_labels, trial_column
from . import metrics
from .closed_form import predict_labelings, solver_for
from .result import check_result
from .score import Map, encode_target, features_for, pooled_score, predict_folds

FEWEST_ARRANGEMENTS = 20  # below this no p of 0.05 exists, whatever the score


def with_null(
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
    """The result with the scores that permuted labels reach, and a p value.

    Parameters
    ----------
    result : of ``cross_validate`` on the same activity, estimator and folds
    n_permutations : number of label permutations; each reruns every fold
    random_state : seed; permutation i has a stream of its own, whatever the number of workers
    within : trial column inside whose groups labels are exchanged, beside the folds and their groups
    map : as the builtin; called once over the permutations

    Returns
    -------
    result with ``null_score (permutation)`` and attrs ``p_value``, ``p_smallest``, ``null_low`` and
    ``null_high`` (the middle 95 % of the null). No ``p_value`` where fewer than 20 arrangements of
    the labels exist; ``warnings`` say so

    Raises
    ------
    SchemaError : not a result, other folds, fewer than one permutation
    """
    check_result(result)
    check_folds(folds, activity)
    _check_same_folds(result, folds)
    activity = activity.compute()
    target, metric = result.attrs["target"], result.attrs["metric"]
    for_classes = is_classifier(estimator)
    truth, _ = encode_target(activity, target, for_classes=for_classes)
    groups = exchange_groups(activity, folds, within)
    features = features_for(activity, estimator, folds)
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    if for_classes and solver_for(estimator) is not None:
        labels = permutations(truth, n_permutations, random_state, within=groups)
        predicted = predict_labelings(features, labels, int(truth.max()) + 1, estimator, folds.to_numpy())
        fold, trial = np.nonzero(folds.to_numpy() == TEST)
        null = metrics.scores_of_labelings(metric, labels[:, trial], predicted[:, fold, trial])
    else:
        once = partial(_permuted_score, features, truth, groups, estimator, folds.to_numpy(), score_of)
        null = draw_null(once, n_permutations, random_state, map=map)
    scheme = "labels of whole trials permuted " + exchange_words(folds, within)
    return attach_null(result, null, arrangements(truth, groups), scheme=scheme)


def _check_same_folds(result: xr.Dataset, folds: xr.DataArray) -> None:
    """Refuse folds that test other trials than the result's."""
    prediction = result["prediction"].to_numpy()
    tested = prediction >= 0 if "label" in result.coords else np.isfinite(prediction)
    if tested.shape != folds.shape or not np.array_equal(tested, folds.to_numpy() == TEST):
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: these folds test other trials than those of the result "
            f"({folds.sizes['fold']} folds, the result has {result.sizes['fold']}). Pass the folds it was made with."
        )


def permutations(
    truth: np.ndarray, n_permutations: int, random_state: int, *, within: np.ndarray | None
) -> np.ndarray:
    """Permuted labels (n_permutations, n_trials), one random stream each.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    seeds = _streams(n_permutations, random_state)
    return np.array([permute_labels(truth, np.random.default_rng(seed), within=within) for seed in seeds])


def draw_null(
    score_once: Callable[[np.random.SeedSequence], Any], n_permutations: int, random_state: int, *, map: Map = map
) -> np.ndarray:
    """Scores (n_permutations,) of the chain rerun on permuted labels, one random stream each.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    return np.array(list(map(score_once, _streams(n_permutations, random_state))))


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
    result = result.assign(
        null_score=(("permutation", "time"), null), null_low=("time", low), null_high=("time", high)
    )
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


def arrangements(truth: np.ndarray, groups: np.ndarray | None) -> float:
    """Number of different orders of the labels when they are exchanged within groups.

    The product over groups of multinomial coefficients; infinity above 1e300.

    Examples
    --------
    >>> import numpy as np
    >>> round(arrangements(np.array([0, 0, 1, 1]), None))
    6
    >>> round(arrangements(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])))
    1
    """
    log = 0.0
    for group in [None] if groups is None else np.unique(groups):
        here = truth if groups is None else truth[groups == group]
        counts = np.unique(here, return_counts=True)[1]
        log += lgamma(len(here) + 1) - sum(lgamma(count + 1) for count in counts)
    return exp(log) if log < 690 else float("inf")


def exchange_groups(activity: xr.DataArray, folds: xr.DataArray, within: str | None) -> np.ndarray:
    """Groups (n_trials,) inside which labels are exchangeable.

    Trials that every fold treats alike, of one group of the folds and of one value of ``within``. Folds are
    stratified by the true labels; labels exchanged between folds would not be, and scores of the null would
    lie below chance (nearest centroid on noise: 0.46 where the truth reads 0.53).

    Raises
    ------
    SchemaError : a trial that several folds test, as repeated or random folds do
    """
    times_tested = (folds.to_numpy() == TEST).sum(axis=0)
    if times_tested.max() > 1:
        trial = folds["trial"].to_numpy()[times_tested.argmax()]
        raise SchemaError(
            f"session {activity.attrs['session']!r}: trial {trial} is tested in {times_tested.max()} folds, and a null "
            f"by permutation needs folds that test each trial at most once. Use the folds of one repeat for the null."
        )
    columns = [np.unique(folds.to_numpy(), axis=1, return_inverse=True)[1].ravel()]
    if "group" in folds.coords:
        columns.append(np.unique(folds["group"].to_numpy(), return_inverse=True)[1])
    if within is not None:
        columns.append(np.unique(trial_column(activity, within), return_inverse=True)[1])
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].ravel()


def exchange_words(folds: xr.DataArray, within: str | None) -> str:
    """The groups of ``exchange_groups`` in words."""
    names = [str(folds["group"].attrs.get("column", "group"))] if "group" in folds.coords else []
    names += [within] if within is not None and within not in names else []
    names += [] if "group" in folds.coords else ["each fold"]
    return f"within {' and '.join(names)}"


def _streams(n_permutations: int, random_state: int) -> list[np.random.SeedSequence]:
    if n_permutations < 1:
        raise SchemaError(f"n_permutations must be at least 1, got {n_permutations}.")
    return np.random.SeedSequence(random_state).spawn(n_permutations)


def _permuted_score(
    features: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray | None,
    estimator: Any,
    sides: np.ndarray,
    score_of: Callable,
    seed: np.random.SeedSequence,
) -> float:
    permuted = permute_labels(truth, np.random.default_rng(seed), within=groups)
    prediction = predict_folds(features, permuted, estimator, sides)
    return pooled_score(score_of, permuted, prediction, sides == TEST)
