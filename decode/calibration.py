"""Probabilities of the classes for held-out trials: made, calibrated inside the folds, and checked.

A probability is calibrated if, of all trials that get 0.8 for their likeliest class, 80 % are of that class.
Calibration is fitted on inner folds of the training trials, test trials never reach it. Not here: the
metrics that need predictions only.
"""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN
from . import metrics
from .prepare import last_step_name, prepare
from .score import Map, class_probabilities, fold_scores, pooled_score

CALIBRATIONS = ("temperature", "sigmoid", "isotonic")
OF_THE_OLD_SCORE = (
    *("p_value", "p_smallest", "null_low", "null_high", "null_scheme", "n_permutations"),
    *("score_low", "score_high", "interval_level", "interval_over"),
)
INNER_FOLDS = 5


def predict_probabilities(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    calibration: str | None = None,
    random_state: int = 0,
    map: Map = map,
) -> xr.DataArray:
    """Probability of each label for the test trials of each fold.

    Parameters
    ----------
    activity, target, estimator, folds : as in ``cross_validate``
    calibration : None takes the estimator's own; else a map is fitted on the held-out decision values of up to five
        inner folds of the training trials, which keep the groups of the folds whole: "temperature" scales all by one
        number and leaves the likeliest class as it is (Guo et al. 2017), "sigmoid" (Platt) and "isotonic" are
        fitted for each class, and need many trials
    random_state : seed of the inner folds
    map : as the builtin; called once over the folds

    Returns
    -------
    probability (fold, trial, label), float64; NaN where a fold does not test, 0 for a class without training trial

    Raises
    ------
    SchemaError : an estimator without probabilities, an unknown calibration, a class with too few training trials
        to calibrate; what ``cross_validate`` refuses

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    >>> probability = predict_probabilities(activity, "odor", make_decoder("poisson_bayes"), folds)
    >>> bool(np.allclose(probability.sum("label").max("fold"), 1))
    True
    """
    _check(estimator, calibration)
    problem = prepare(activity, target, estimator, folds)
    groups = folds["group"].to_numpy() if "group" in folds.coords else None
    out = np.full((*problem.sides.shape, problem.n_labels), np.nan)
    settings = (problem.n_labels, estimator, calibration, random_state)
    once = partial(_fold, problem.features, problem.truth, groups, *settings)
    for row, side, values in zip(out, problem.sides, map(once, problem.sides), strict=True):
        row[side == TEST] = values
    coords = {"fold": folds["fold"], "trial": activity["trial"], "label": np.asarray(problem.labels)}
    return xr.DataArray(out, dims=("fold", "trial", "label"), coords=coords, name="probability")


def with_probabilities(
    result: xr.Dataset,
    activity: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    calibration: str | None = None,
    random_state: int = 0,
    map: Map = map,
) -> xr.Dataset:
    """The result of ``cross_validate`` with ``probability (fold, trial, label)`` and attrs that say how good they are.

    Parameters
    ----------
    result : of ``cross_validate`` on the same activity, estimator and folds
    calibration, random_state, map : as in ``predict_probabilities``

    Returns
    -------
    result with ``probability`` and attrs ``calibration``, ``brier_score``, ``brier_score_of_shares`` (that of the
    classes' shares for every trial) and ``expected_calibration_error``. Where the metric is one of probabilities, its
    score is that of the new ones, and a null or interval of the old ones is left out
    """
    probability = predict_probabilities(
        activity, result.attrs["target"], estimator, folds, calibration=calibration, random_state=random_state, map=map
    )
    result = _rescored(result.assign(probability=probability), folds.to_numpy() == TEST)
    return result.assign_attrs(
        calibration=calibration or "none",
        brier_score=brier_score(result),
        brier_score_of_shares=metrics.chance("brier_score", tested_probabilities(result)[1]),
        expected_calibration_error=expected_calibration_error(result),
    )


def tested_probabilities(result: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n_tests, n_labels) of all test trials of all folds, and their true positions (n_tests,).

    Raises
    ------
    SchemaError : a result without probabilities
    """
    if "probability" not in result:
        raise SchemaError(
            f"result {result.attrs.get('name', '?')!r} has no 'probability'. Add it by with_probabilities(result, ...)."
        )
    p = result["probability"].transpose("fold", "trial", "label").to_numpy()
    fold, trial = np.nonzero(np.isfinite(p).all(axis=2))
    return p[fold, trial], result["target"].to_numpy()[trial].astype(int)


def brier_score(result: xr.Dataset) -> float:
    """Mean over test trials of sum_k (p_k - [true class is k])²  (Brier 1950): 0 is perfect, 2 is surely wrong.

    Parameters
    ----------
    result : with ``probability`` and ``target``
    """
    p, truth = tested_probabilities(result)
    return metrics.brier_score(truth, p)


def expected_calibration_error(result: xr.Dataset, *, n_bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over equal bins of confidence, weighted by their trials.

    Parameters
    ----------
    result : with ``probability`` and ``target``
    n_bins : bins of the likeliest class's probability (Guo et al. 2017, eq. 3); few trials in many bins read too high
    """
    curve = reliability_curve(result, n_bins=n_bins)
    weight = curve["n_trials"].to_numpy() / curve["n_trials"].sum().item()
    gap = np.abs(curve["accuracy"].to_numpy() - curve["confidence"].to_numpy())
    return float(np.nansum(weight * gap))


def reliability_curve(result: xr.Dataset, *, n_bins: int = 10) -> xr.Dataset:
    """How often the likeliest class is right, by how likely it was said to be.

    Parameters
    ----------
    result : with ``probability`` and ``target``
    n_bins : equal bins (low, high] of 0 to 1

    Returns
    -------
    ``confidence (bin)``, the mean probability of the likeliest class; ``accuracy (bin)``; ``n_trials (bin)``, NaN and
    0 where no test trial falls; coordinates ``low`` and ``high``

    Raises
    ------
    SchemaError : no probabilities, fewer than one bin
    """
    if n_bins < 1:
        raise SchemaError(f"reliability_curve: n_bins is at least 1, got {n_bins}.")
    p, truth = tested_probabilities(result)
    confidence, is_right = p.max(axis=1), p.argmax(axis=1) == truth
    edges = np.linspace(0, 1, n_bins + 1)
    position = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    counts = np.bincount(position, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(position, weights=values, minlength=n_bins) / counts for values in (confidence, is_right)]
    return xr.Dataset(
        {"confidence": ("bin", means[0]), "accuracy": ("bin", means[1]), "n_trials": ("bin", counts)},
        coords={"low": ("bin", edges[:-1]), "high": ("bin", edges[1:])},
    )


def _check(estimator: Any, calibration: str | None) -> None:
    name = last_step_name(estimator)
    if not is_classifier(estimator):
        raise SchemaError(f"probabilities are of classes, and {name} predicts numbers. Use a classifier.")
    if calibration is None:
        if not hasattr(estimator, "predict_proba"):
            raise SchemaError(
                f"{name} gives no probabilities. Ask for a calibration ({', '.join(CALIBRATIONS)}), which makes "
                f"them, or use one that gives them, such as 'lda' or 'poisson_bayes'."
            )
    elif calibration not in CALIBRATIONS:
        raise SchemaError(f"calibration is None or one of {', '.join(CALIBRATIONS)}, got {calibration!r}.")
    elif not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
        raise SchemaError(f"{name} gives neither probabilities nor decision values, so there is nothing to calibrate.")


def _rescored(result: xr.Dataset, tested: np.ndarray) -> xr.Dataset:
    """The result with the score of its probabilities, if its metric is one of probabilities."""
    if not metrics.needs_probabilities(result.attrs["metric"]):
        return result
    score_of = metrics.metric_function(result.attrs["metric"], for_classes=True)
    truth, p = result["target"].to_numpy(), result["probability"].to_numpy()
    kept = {name: value for name, value in result.attrs.items() if name not in OF_THE_OLD_SCORE}
    result = result.drop_vars("null_score", errors="ignore").drop_attrs(deep=False)
    result["score"] = ("fold", fold_scores(score_of, truth, p, tested))
    return result.assign_attrs(kept | {"score_mean": pooled_score(score_of, truth, p, tested)})


def _fold(
    features: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray | None,
    n_labels: int,
    estimator: Any,
    calibration: str | None,
    random_state: int,
    side: np.ndarray,
) -> np.ndarray:
    train, test = side == TRAIN, side == TEST
    chosen = clone(estimator)
    if calibration is not None:
        inner = inner_splits(truth[train], None if groups is None else groups[train], random_state)
        chosen = CalibratedClassifierCV(chosen, method=calibration, cv=inner, ensemble=False)
    return class_probabilities(chosen.fit(features[train], truth[train]), features[test], n_labels)


def inner_splits(
    truth: np.ndarray, groups: np.ndarray | None, random_state: int, *, n_folds: int = INNER_FOLDS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds of training trials, stratified by class; groups stay whole.

    Parameters
    ----------
    truth : (n_train,) positions
    groups : (n_train,) or None
    random_state : seed of the shuffle
    n_folds : at most; fewer where a class has fewer trials or there are fewer groups

    Returns
    -------
    (train, held out) positions, one pair a fold; each trial is held out once

    Raises
    ------
    SchemaError : a class, or the groups, fewer than two
    """
    counts = np.unique(truth, return_counts=True)[1]
    most = min(n_folds, int(counts.min()), len(truth) if groups is None else len(np.unique(groups)))
    if most < 2:
        what = "a class has one training trial" if counts.min() < 2 else "the training trials are one group"
        raise SchemaError(f"inner folds need at least two, and {what}. Use fewer outer folds, or more trials.")
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(most, shuffle=True, random_state=random_state)
    splits = list(splitter.split(np.zeros(len(truth)), truth, groups))
    for train, held_out in splits:
        if len(np.unique(truth[train])) < len(counts) or not len(held_out):
            raise SchemaError(
                "inner folds that keep groups whole train without some class. Use another grouping, or folds "
                "without one."
            )
    return splits
