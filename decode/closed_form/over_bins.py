"""Linear decoders of all bins and folds at once, for one labeling: batched covariances and solves.

The single labeling needs no eigenbasis: A m = x is solved for the class means alone. With at least as many
trials as features the matrices come from ``moments``; with fewer, the push-through identity moves the solve
to trials,

    (c R'R + l I)^-1 M' = (M' - c R' (l I + c R R')^-1 R M') / l,     R the residuals, c and l scalars.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn import discriminant_analysis, linear_model
from sklearn.preprocessing import StandardScaler

from ...datasets.folds import TRAIN
from ...datasets.preprocess import BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot
from ..decoders.nearest_centroid import NearestCentroid
from ..decoders.pooled_lda import PooledLDA
from . import moments
from .labelings import largest

VALUES_AT_ONCE = 100_000  # decision values of one product: 0.8 MB, near the processor
STATELESS = (BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot)  # do the same to a bin whatever they were fitted on


class Linear(NamedTuple):
    """Decoders of one fold at all bins; the decision value of a class is X w + c.

    Attributes
    ----------
    classes : (n_classes,) positions of the classes that the fold trains on, ascending
    weights : (n_times, n_classes, p)
    constants : (n_times, n_classes)
    """

    classes: np.ndarray
    weights: np.ndarray
    constants: np.ndarray

    def over_first(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and constants of all classes but the first, minus those of the first: one less to evaluate."""
        return self.weights[:, 1:] - self.weights[:, :1], self.constants[:, 1:] - self.constants[:, :1]


Weights = Callable[[np.ndarray, np.ndarray, np.ndarray], list[Linear]]
ByTrials = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
ByMoments = Callable[[moments.Moments], tuple[np.ndarray, np.ndarray]]


def linear_over_bins(steps: list[Any]) -> tuple[list[Any], Weights] | None:
    """Stateless steps, and the function that gives the weights of all bins after them; None if there is none.

    Parameters
    ----------
    steps : of a pipeline that has a closed form: stateless ones, at most one StandardScaler, a linear decoder

    Returns
    -------
    stateless : steps to apply to every bin alike
    weights : (bins (n_times, n_trials, p), labels (n_trials,), sides (n_folds, n_trials)) -> ``Linear`` of each fold
    """
    *before, final = steps
    scales = bool(before) and type(before[-1]) is StandardScaler and before[-1].with_mean and before[-1].with_std
    stateless = before[:-1] if scales else before
    make = _FORMS.get(type(final))
    if make is None or not all(type(step) in STATELESS for step in stateless):
        return None
    return stateless, partial(_weights, *make(final), scales)


def predict_own_bin(fitted: Linear, X: np.ndarray) -> np.ndarray:
    """Class positions (n_test, n_times), int16, of test trials X (n_times, n_test, p) by the decoder of each bin."""
    weights, constants = fitted.over_first()
    values = np.matmul(weights, X.transpose(0, 2, 1)) + constants[:, :, None]
    return fitted.classes.astype(np.int16)[_largest_over_first(values.swapaxes(0, 1))].T


def predict_every_bin(fitted: Linear, bins: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Class positions that every decoder gives the test trials at every bin.

    One matrix product evaluates all decoders at a few bins at a time, whose decision values stay near the processor.

    Parameters
    ----------
    fitted : decoders of some bins
    bins : (n_times, n_trials, p)
    test : (n_test,) trials

    Returns
    -------
    (n_decoders, n_times, n_test), int16
    """
    weights, constants = fitted.over_first()
    n_decoders, n_values, p = weights.shape
    stacked = np.concatenate([weights, constants[:, :, None]], axis=2).swapaxes(0, 1).reshape(-1, p + 1)
    out = np.empty((n_decoders, len(bins), len(test)), np.int16)
    step = max(1, VALUES_AT_ONCE // (n_decoders * n_values * len(test)))
    for start in range(0, len(bins), step):
        features = bins[start : start + step, test]
        ones = np.ones((*features.shape[:2], 1))
        columns = np.concatenate([features, ones], axis=2).reshape(-1, p + 1)
        values = (stacked @ columns.T).reshape(n_values, n_decoders, -1)
        out[:, start : start + step] = _largest_over_first(values).reshape(n_decoders, -1, len(test))
    return out if len(fitted.classes) == int(fitted.classes[-1]) + 1 else fitted.classes.astype(np.int16)[out]


def _largest_over_first(values: np.ndarray) -> np.ndarray:
    """Position of the class whose decision value is largest, for values minus those of the first class."""
    return largest([np.zeros(values.shape[1:]), *values])


def _weights(
    by_trials: ByTrials,
    by_moments: ByMoments | None,
    scales: bool,
    bins: np.ndarray,
    truth: np.ndarray,
    sides: np.ndarray,
) -> list[Linear]:
    trained = [np.flatnonzero(side == TRAIN) for side in sides]
    if by_moments is None or bins.shape[2] > min(map(len, trained)):
        return [_of_trials(by_trials, bins[:, train], truth[train], scales) for train in trained]
    out = []
    for train in trained:
        classes = np.unique(truth[train])
        shape = (len(bins), len(classes), bins.shape[2])
        out.append(Linear(classes, np.empty(shape), np.empty(shape[:2])))
    for at, fold, found in moments.moments_of_folds(bins, truth, sides, scales=scales):
        out[fold].weights[at], out[fold].constants[at] = by_moments(found)
    return out


def _of_trials(by_trials: ByTrials, X: np.ndarray, truth: np.ndarray, scales: bool) -> Linear:
    """Of the training trials X (n_times, n, p) of one fold, about their mean and, if so wanted, of unit variance."""
    classes, labels = np.unique(truth, return_inverse=True)
    mean = X.mean(axis=1, keepdims=True)
    scale = moments.scale_of(mean, X.var(axis=1, keepdims=True), X.shape[1]) if scales else np.ones_like(mean)
    weights, constants = by_trials((X - mean) / scale, labels, len(classes))
    weights = weights / scale
    return Linear(classes, weights, constants - np.einsum("tkp,tp->tk", weights, mean[:, 0]))


def _class_means(X: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (n_times, n_classes, p) and shares (n_classes,)."""
    indicator = (labels == np.arange(n_classes)[:, None]).astype(np.float64)
    counts = indicator.sum(axis=1)
    return np.matmul(indicator / counts[:, None], X), counts / len(labels)


def _discriminant(
    X: np.ndarray, labels: np.ndarray, n_classes: int, shrinkage: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """LDA whose covariance is shrunk by a number, or by Ledoit-Wolf of all residuals (None)."""
    means, share = _class_means(X, labels, n_classes)
    n, p = X.shape[1:]
    residual = X - means[:, labels]
    turned = residual.transpose(0, 2, 1)
    gram = np.matmul(residual, turned)
    trace = np.einsum("tii->t", gram) / n
    if shrinkage is None:
        amount = moments.ledoit_wolf(residual, np.einsum("tij,tij->t", gram, gram) / n**2, trace)
    else:
        amount = np.full(len(X), shrinkage)
    varies = (trace > 0)[:, None, None]  # where no feature varies within the classes, the weights are zero
    keep, load = (1 - amount)[:, None, None] / n, np.where(varies, (amount * trace / p)[:, None, None], 1.0)
    system = keep * gram + load * np.eye(n)
    inner = np.matmul(turned, np.linalg.solve(system, np.matmul(residual, means.transpose(0, 2, 1))))
    weights = varies * (means - (keep * inner).transpose(0, 2, 1)) / load
    return weights, np.log(share) - 0.5 * np.sum(weights * means, axis=2)


def _least_squares(X: np.ndarray, labels: np.ndarray, n_classes: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of indicators -1 and 1."""
    target = 2.0 * (labels[:, None] == np.arange(n_classes)) - 1.0
    offset = target.mean(axis=0)
    n_times, n = X.shape[:2]
    turned = X.transpose(0, 2, 1)
    system = np.matmul(X, turned) + alpha * np.eye(n)
    right = np.broadcast_to(target - offset, (n_times, n, n_classes))
    weights = np.matmul(turned, np.linalg.solve(system, right)).transpose(0, 2, 1)
    return weights, np.broadcast_to(offset, (n_times, n_classes))


def _centroids(X: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    means, _ = _class_means(X, labels, n_classes)
    return means, -0.5 * np.sum(means**2, axis=2)


def _both(
    by_trials: Callable[..., Any], by_moments: Callable[..., Any], **given: float | None
) -> tuple[ByTrials, ByMoments]:
    return partial(by_trials, **given), partial(by_moments, **given)


_FORMS: dict[type, Callable[[Any], tuple[ByTrials, ByMoments | None]]] = {
    discriminant_analysis.LinearDiscriminantAnalysis: lambda f: _both(
        _discriminant, moments.discriminant, shrinkage=float(f.shrinkage)
    ),
    PooledLDA: lambda f: _both(_discriminant, moments.discriminant, shrinkage=None),
    linear_model.RidgeClassifier: lambda f: _both(_least_squares, moments.least_squares, alpha=float(f.alpha)),
    NearestCentroid: lambda f: (_centroids, None),
}
