"""Linear decoders of all bins at once, for one labeling: batched covariances and solves.

The single labeling needs no eigenbasis: A m = x is solved for the class means alone. With fewer
trials than features the push-through identity moves the solve to trials,

    (c R'R + l I)^-1 M' = (M' - c R' (l I + c R R')^-1 R M') / l,     R the residuals, c and l scalars.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn import discriminant_analysis, linear_model
from sklearn.preprocessing import StandardScaler

from ...datasets.preprocess import BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot
from ..decoders.nearest_centroid import NearestCentroid
from ..decoders.pooled_lda import PooledLDA

STATELESS = (BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot)  # do the same to a bin whatever they were fitted on
Weights = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def linear_over_bins(steps: list[Any]) -> tuple[list[Any], Weights] | None:
    """Stateless steps, and the function that gives the weights of all bins after them; None if there is none.

    Parameters
    ----------
    steps : of a pipeline that has a closed form: stateless ones, at most one StandardScaler, a linear decoder

    Returns
    -------
    stateless : steps to apply to every bin alike
    weights : (X (n_times, n_train, p), labels (n_train,), n_classes) -> weights (n_times, n_classes, p) and
        constants (n_times, n_classes), so that the decision value is X w + c
    """
    *before, final = steps
    scales = bool(before) and type(before[-1]) is StandardScaler and before[-1].with_mean and before[-1].with_std
    stateless = before[:-1] if scales else before
    make = _WEIGHTS.get(type(final))
    if make is None or not all(type(step) in STATELESS for step in stateless):
        return None
    plain = make(final)

    def scaled(X: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        mean, scale = X.mean(axis=1, keepdims=True), _scale(X)
        weights, constants = plain((X - mean) / scale, labels, n_classes)
        weights = weights / scale
        return weights, constants - np.matmul(weights, mean.transpose(0, 2, 1))[:, :, 0]

    return stateless, scaled if scales else plain


def _scale(X: np.ndarray) -> np.ndarray:
    """Standard deviation over trials (n_times, 1, p); 1 where a feature is constant, by StandardScaler's rule."""
    n, epsilon = X.shape[1], np.finfo(np.float64).eps
    mean, variance = X.mean(axis=1, keepdims=True), X.var(axis=1, keepdims=True)
    is_constant = variance <= n * epsilon * variance + (n * mean * epsilon) ** 2
    return np.where(is_constant, 1.0, np.sqrt(variance))


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
    if shrinkage is not None and p <= n:  # W from X'X and the means: no residuals are formed
        weighted = means * np.sqrt(share * n)[:, None]
        gram = np.matmul(X.transpose(0, 2, 1), X) - np.matmul(weighted.transpose(0, 2, 1), weighted)
        trace, amount = np.einsum("tpp->t", gram) / n, np.full(len(X), shrinkage)
    else:
        residual = X - means[:, labels]
        turned = residual.transpose(0, 2, 1)
        gram = np.matmul(residual, turned) if p > n else np.matmul(turned, residual)
        trace = np.einsum("tii->t", gram) / n
        amount = np.full(len(X), shrinkage) if shrinkage is not None else _ledoit_wolf(residual, gram, trace)
    keep, load = (1 - amount)[:, None, None] / n, (amount * trace / p)[:, None, None]
    if p > n:
        system = keep * gram + load * np.eye(n)
        inner = np.matmul(turned, np.linalg.solve(system, np.matmul(residual, means.transpose(0, 2, 1))))
        weights = (means - (keep * inner).transpose(0, 2, 1)) / load
    else:
        gram *= keep
        gram[:, np.arange(p), np.arange(p)] += load[:, :, 0]
        weights = np.linalg.solve(gram, means.transpose(0, 2, 1)).transpose(0, 2, 1)
    return weights, np.log(share) - 0.5 * np.sum(weights * means, axis=2)


def _ledoit_wolf(residual: np.ndarray, gram: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Shrinkage (n_times,); ``gram`` is R'R or R R', whose squares have the same sum."""
    n, p = residual.shape[1:]
    squared = np.sum(gram**2, axis=(1, 2)) / n**2
    beta = (np.mean(np.sum(residual**2, axis=2) ** 2, axis=1) - squared) / n
    delta = squared - trace**2 / p
    return np.where(delta > 0, np.clip(beta, 0, delta) / np.where(delta > 0, delta, 1), 0.0)


def _least_squares(X: np.ndarray, labels: np.ndarray, n_classes: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of indicators -1 and 1."""
    mean = X.mean(axis=1, keepdims=True)
    centred = X - mean
    target = 2.0 * (labels[:, None] == np.arange(n_classes)) - 1.0
    offset = target.mean(axis=0)
    n, p = centred.shape[1:]
    if p > n:
        gram = np.matmul(centred, centred.transpose(0, 2, 1)) + alpha * np.eye(n)
        right = np.broadcast_to(target - offset, (len(X), n, n_classes))
        weights = np.matmul(centred.transpose(0, 2, 1), np.linalg.solve(gram, right))
    else:
        gram = np.matmul(centred.transpose(0, 2, 1), centred) + alpha * np.eye(p)
        weights = np.linalg.solve(gram, np.matmul(centred.transpose(0, 2, 1), target - offset))
    weights = weights.transpose(0, 2, 1)
    return weights, offset - np.matmul(weights, mean.transpose(0, 2, 1))[:, :, 0]


def _centroids(X: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    means, _ = _class_means(X, labels, n_classes)
    return means, -0.5 * np.sum(means**2, axis=2)


_WEIGHTS: dict[type, Callable[[Any], Weights]] = {
    discriminant_analysis.LinearDiscriminantAnalysis: lambda f: partial(_discriminant, shrinkage=float(f.shrinkage)),
    PooledLDA: lambda f: partial(_discriminant, shrinkage=None),
    linear_model.RidgeClassifier: lambda f: partial(_least_squares, alpha=float(f.alpha)),
    NearestCentroid: lambda f: _centroids,
}
