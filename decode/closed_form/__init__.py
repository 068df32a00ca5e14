"""Closed forms: decoders whose predictions for any labeling follow from one factorisation per training set.

``solver_for(estimator)`` finds the closed form of a scikit-learn estimator or pipeline, or None where
there is none and the honest loop must run. ``predict_labelings`` gives the out-of-fold predictions of
many labelings, by closed form or by loop; both give the same predictions.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from sklearn import naive_bayes as sklearn_naive_bayes
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.preprocessing import StandardScaler

from ...datasets.errors import SchemaError
from ...datasets.folds import TEST, TRAIN
from ...datasets.preprocess import BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot, ZScore
from ..decoders.nearest_centroid import NearestCentroid
from ..decoders.pooled_lda import PooledLDA
from ..steps import steps
from ..trajectories.pca import PCA
from . import lda, naive_bayes, nearest_centroid, ridge, ridge_cv
from .labelings import Labelings, largest

LARGEST_BATCH = 8_000_000  # numbers in one batch of indicators or decision values: 64 MB
AT_ONCE = 1_000_000  # of them that are worked on at once: 8 MB, near the processor
# steps that learn nothing from labels
LABEL_FREE = (BoxcarSmooth, Flatten, GaussianSmooth, PCA, SquareRoot, StandardScaler, ZScore)


class Solver(Protocol):
    """What a closed form does."""

    def fit(self, X: np.ndarray) -> Self:
        """Factorise the training features (n_train, n_features)."""

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Decision values (n_labelings, n_test, n_classes)."""


def solver_for(estimator: Any) -> Callable[[], Solver] | None:
    """The closed form of an estimator: a function that makes a solver; None where there is none.

    Only estimators and parameters whose predictions are proven equal (tests/decode/test_closed_form.py)
    are taken; a pipeline qualifies if all steps before the last learn nothing from labels.

    Examples
    --------
    >>> from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    >>> solver_for(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)) is not None
    True
    >>> solver_for(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")) is None
    True
    """
    final = _last_step(estimator)
    make = _CLOSED_FORMS.get(type(final))
    return make(final) if make else None


def value_solver_for(estimator: Any) -> Callable[[], ridge.Ridge | ridge_cv.RidgeCV] | None:
    """As ``solver_for``, for a regressor: ridge regression with an intercept, its penalty given or chosen; or None."""
    final = _last_step(estimator)
    if type(final) is RidgeCV:
        is_plain = final.fit_intercept and final.scoring is None and final.cv is None and not final.alpha_per_target
        return (lambda: ridge_cv.RidgeCV(final.alphas)) if is_plain and np.min(final.alphas) > 0 else None
    if type(final) is not Ridge or not final.fit_intercept or final.positive or final.solver != "auto":
        return None
    is_number = np.ndim(final.alpha) == 0 and final.alpha > 0
    return (lambda: ridge.Ridge(float(final.alpha))) if is_number else None


def _last_step(estimator: Any) -> Any:
    """The last step, if all before it learn nothing from labels; else None."""
    *before, final = steps(estimator, inside_searches=False)
    return final if all(type(step) in LABEL_FREE for step in before) else None


def prepare(estimator: Any, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training and test features after all steps before the last, fitted on the training trials."""
    *before, _ = steps(estimator)
    for step in before:
        fitted = clone(step).fit(train)
        train, test = fitted.transform(train), fitted.transform(test)
    return train, test


def predict_labelings(
    features: np.ndarray, labels: np.ndarray, n_classes: int, estimator: Any, sides: np.ndarray
) -> np.ndarray:
    """Out-of-fold predictions of many labelings.

    Parameters
    ----------
    features : (n_trials, ...) as the estimator takes them
    labels : (n_labelings, n_trials) class positions
    sides : (n_folds, n_trials) of 0 unused, 1 train, 2 test

    Returns
    -------
    prediction (n_labelings, n_folds, n_trials), int16, -1 where a fold does not test

    Notes
    -----
    By closed form where there is one, in batches of labelings of bounded memory; else by fitting the
    estimator anew for every labeling and fold.
    """
    make = solver_for(estimator)
    out = np.full((len(labels), *sides.shape), -1, np.int16)
    for fold, side in enumerate(sides):
        train, test = side == TRAIN, side == TEST
        if make is None:
            for row, labeling in zip(out, labels, strict=True):
                row[fold, test] = clone(estimator).fit(features[train], labeling[train]).predict(features[test])
            continue
        X_train, X_test = prepare(estimator, features[train], features[test])
        solver = make().fit(X_train)
        for batch in batches(len(labels), n_classes * max(X_train.shape)):
            out[batch, fold, test] = choose(solver, Labelings(labels[batch][:, train], n_classes), X_test)
    return out


def predict_values(features: np.ndarray, targets: np.ndarray, estimator: Any, sides: np.ndarray) -> np.ndarray:
    """Out-of-fold predictions of many targets of numbers, by one factorisation per fold.

    Parameters
    ----------
    features, sides : as in ``predict_labelings``
    targets : (n_targets, n_trials)

    Returns
    -------
    prediction (n_targets, n_folds, n_trials), NaN where a fold does not test

    Raises
    ------
    SchemaError : the estimator has no closed form
    """
    make = value_solver_for(estimator)
    if make is None:
        raise SchemaError(_no_closed_form(estimator, "value_solver_for"))
    out = np.full((len(targets), *sides.shape), np.nan)
    for fold, side in enumerate(sides):
        train, test = side == TRAIN, side == TEST
        X_train, X_test = prepare(estimator, features[train], features[test])
        out[:, fold, test] = make().fit(X_train).predict(targets[:, train].astype(np.float64), X_test)
    return out


def _no_closed_form(estimator: Any, ask: str) -> str:
    return f"{type(estimator).__name__} has no closed form. Ask {ask} first, and loop where it says None."


def predict_labelings_over_bins(
    bins: Sequence[np.ndarray], labels: np.ndarray, n_classes: int, estimator: Any, sides: np.ndarray
) -> np.ndarray:
    """As ``predict_labelings`` for every bin, where there is a closed form; indicators are made once per fold.

    Parameters
    ----------
    bins : features of each bin, as the estimator takes them

    Returns
    -------
    prediction (n_labelings, n_tests, n_bins), int16; tests in the order of ``np.nonzero(sides == TEST)``

    Raises
    ------
    SchemaError : the estimator has no closed form
    """
    make = solver_for(estimator)
    if make is None:
        raise SchemaError(_no_closed_form(estimator, "solver_for"))
    starts = np.concatenate([[0], np.cumsum((sides == TEST).sum(axis=1))])
    out = np.full((len(labels), starts[-1], len(bins)), -1, np.int16)
    for fold, side in enumerate(sides):
        train, test = side == TRAIN, side == TEST
        rows = slice(starts[fold], starts[fold + 1])
        for batch in batches(len(labels), n_classes * max(train.sum(), bins[0].reshape(len(side), -1).shape[1])):
            labelings = Labelings(labels[batch][:, train], n_classes)
            for column, features in enumerate(bins):
                X_train, X_test = prepare(estimator, features[train], features[test])
                out[batch, rows, column] = choose(make().fit(X_train), labelings, X_test)
    return out


def choose(solver: Solver, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
    """Positions (n_labelings, n_test) of the classes with the largest decision value, among those in training."""
    size_of_one = labelings.n_classes * max(labelings.labels.shape[1], *X_test.shape)
    return np.concatenate([_choose(solver, part, X_test) for part in labelings.parts(max(1, AT_ONCE // size_of_one))])


def _choose(solver: Solver, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
    by_class = np.moveaxis(solver.decide(labelings, X_test), 2, 0)
    is_absent = labelings.counts.T[:, :, None] == 0
    if is_absent.any():
        by_class[np.broadcast_to(is_absent, by_class.shape)] = -np.inf
    return largest(list(by_class))


def batches(n_labelings: int, size_of_one: int) -> list[slice]:
    """Slices of labelings, each of bounded size."""
    step = max(1, LARGEST_BATCH // size_of_one)
    return [slice(start, min(start + step, n_labelings)) for start in range(0, n_labelings, step)]


def _lda(final: LinearDiscriminantAnalysis) -> Callable[[], Solver] | None:
    is_number = isinstance(final.shrinkage, int | float) and 0 < final.shrinkage <= 1
    is_plain = final.solver == "lsqr" and final.priors is None and final.covariance_estimator is None
    return (lambda: lda.LDA(float(final.shrinkage))) if is_number and is_plain else None


def _pooled_lda(final: PooledLDA) -> Callable[[], Solver]:
    return lambda: lda.LDA(None)


def _ridge_classifier(final: RidgeClassifier) -> Callable[[], Solver] | None:
    is_plain = final.fit_intercept and not final.positive and final.class_weight is None and final.solver == "auto"
    return (lambda: ridge.Ridge(float(final.alpha))) if is_plain and final.alpha > 0 else None


def _ridge_classifier_cv(final: RidgeClassifierCV) -> Callable[[], Solver] | None:
    is_plain = final.fit_intercept and final.scoring is None and final.cv is None and final.class_weight is None
    return (lambda: ridge_cv.RidgeCV(final.alphas)) if is_plain and np.min(final.alphas) > 0 else None


def _nearest_centroid(final: NearestCentroid) -> Callable[[], Solver]:
    return nearest_centroid.NearestCentroid


def _gaussian_nb(final: sklearn_naive_bayes.GaussianNB) -> Callable[[], Solver] | None:
    return (lambda: naive_bayes.GaussianNB(final.var_smoothing)) if final.priors is None else None


_CLOSED_FORMS: dict[type, Callable[[Any], Callable[[], Solver] | None]] = {
    LinearDiscriminantAnalysis: _lda,
    PooledLDA: _pooled_lda,
    RidgeClassifier: _ridge_classifier,
    RidgeClassifierCV: _ridge_classifier_cv,
    NearestCentroid: _nearest_centroid,
    sklearn_naive_bayes.GaussianNB: _gaussian_nb,
}
