"""Chance from a null: labels of whole trials permuted, the whole chain rerun.

Labels are exchanged between trials, within groups where the folds keep groups whole, so that a
permuted data set is as likely as the true one if the target does not matter (Ojala & Garriga 2010).
p = (b + 1) / (m + 1) with b of m permutations at least as good (Phipson & Smyth 2010).
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
    within : trial column inside whose groups labels are exchanged; None takes the groups of the folds
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
    target, metric = result.attrs["target"], result.attrs["metric"]
    for_classes = is_classifier(estimator)
    truth, _ = encode_target(activity, target, for_classes=for_classes)
    groups = exchange_groups(activity, folds, within)
    score_once = partial(
        _permuted_score,
        features_for(activity, estimator, folds),
        truth,
        groups,
        estimator,
        folds.to_numpy(),
        metrics.metric_function(metric, for_classes=for_classes),
    )
    null = draw_null(score_once, n_permutations, random_state, map=map)
    scheme = "labels of whole trials permuted" + (
        f" within {within or folds['group'].attrs.get('column', 'group')}" if groups is not None else " over all trials"
    )
    return attach_null(result, null, arrangements(truth, groups), scheme=scheme)


def draw_null(
    score_once: Callable[[np.random.SeedSequence], float], n_permutations: int, random_state: int, *, map: Map = map
) -> np.ndarray:
    """Scores (n_permutations,) of the chain rerun on permuted labels, one random stream each.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    if n_permutations < 1:
        raise SchemaError(f"n_permutations must be at least 1, got {n_permutations}.")
    return np.array(list(map(score_once, np.random.SeedSequence(random_state).spawn(n_permutations))))


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
        said.append(f"No p value: the labels can be arranged in {n_arrangements:.0f} ways only, too few for any test.")
    else:
        attrs["p_value"] = max(float((better.sum() + 1) / (m + 1)), attrs["p_smallest"])
    return result.assign(null_score=("permutation", null)).assign_attrs(attrs | {"warnings": said})


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


def exchange_groups(activity: xr.DataArray, folds: xr.DataArray, within: str | None) -> np.ndarray | None:
    """Groups (n_trials,) inside which labels are exchangeable: a column, else the folds' groups, else None."""
    if within is not None:
        return trial_column(activity, within)
    return folds["group"].to_numpy() if "group" in folds.coords else None


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
