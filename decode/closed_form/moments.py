"""Linear decoders of every fold and many bins from class means and residual scatter, summed up once per trial.

Trials that train in the same folds form a block. A fold adds up its blocks (Chan, Golub & LeVeque 1983),
so no trial is visited once per fold, and no difference of large numbers is formed:

    W = sum_b S_b + sum_bk n_bk (m_bk - m_k) (m_bk - m_k)',

S_b the scatter of block b about its own class means m_bk, and m_k the class means of the fold. Then

    LDA            A w_k = m_k,  A = (1-s) W / n + s tr(W) / (n p) I,  constant log(n_k / n) - w_k' m_k / 2
    least squares  (T + a I) w_k = 2 n_k m_k,  T = W + sum_k n_k m_k m_k',  constant 2 n_k / n - 1

with means about the mean of all training trials. For at least as many trials as features; the other case
is in ``over_bins``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, lstsq

from ...datasets.folds import TRAIN

LARGEST_SCATTER = 500_000  # numbers in the scatters of one chunk of bins: 4 MB, near the processor


@dataclass
class Moments:
    """Of the training trials of one fold, at several bins; features are those given, minus ``mean``, by ``scale``.

    Attributes
    ----------
    given : (n_times, n_trials, p), of all trials
    train : (n_train,) which of them train
    labels : (n_train,) positions of their classes among those that the fold trains on
    counts : (n_classes,) trials of each class
    mean, scale : (n_times, 1, p)
    means : (n_times, n_classes, p) of the features
    scatter : (n_times, p, p) of the features about their class means
    """

    given: np.ndarray
    train: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    means: np.ndarray
    scatter: np.ndarray

    def residuals(self) -> np.ndarray:
        """Features about their class means (n_times, n_train, p)."""
        return (self.given[:, self.train] - self.mean) / self.scale - self.means[:, self.labels]


def moments_of_folds(
    bins: np.ndarray, truth: np.ndarray, sides: np.ndarray, *, scales: bool
) -> Iterator[tuple[slice, int, Moments]]:
    """(bins, fold, moments), in chunks of bins, every fold of a chunk in turn.

    Parameters
    ----------
    bins : (n_times, n_trials, p)
    truth : (n_trials,) class positions
    sides : (n_folds, n_trials) of 0 unused, 1 train, 2 test
    scales : whether features are divided by their standard deviation over the training trials
    """
    is_train = sides == TRAIN
    n_classes, p = int(truth.max()) + 1, bins.shape[2]
    blocks, of_fold = _blocks(is_train, n_classes)
    step = max(1, LARGEST_SCATTER // (len(blocks) * p * p))
    for start in range(0, len(bins), step):
        at = slice(start, min(start + step, len(bins)))
        parts = [_sums(bins[at][:, block], truth[block], n_classes) for block in blocks]
        for fold, chosen in enumerate(of_fold):
            train = np.flatnonzero(is_train[fold])
            yield at, fold, _combined([parts[b] for b in chosen], bins[at], train, truth[train], scales=scales)


def discriminant(moments: Moments, shrinkage: float | None) -> tuple[np.ndarray, np.ndarray]:
    """LDA whose covariance is shrunk by a number, or by Ledoit-Wolf of all residuals (None).

    Returns
    -------
    weights (n_times, n_classes, p) and constants (n_times, n_classes) for the features as they were given; where
    no feature varies within the classes, the weights are zero
    """
    n, p = len(moments.train), moments.means.shape[2]
    trace = np.einsum("tpp->t", moments.scatter) / n
    amount = np.full(len(trace), shrinkage) if shrinkage is not None else _ledoit_wolf(moments, trace)
    load = amount * trace / p
    weights = _solve(moments.scatter * ((1 - amount) / n)[:, None, None], np.where(trace > 0, load, 1.0), moments.means)
    weights *= (trace > 0)[:, None, None]
    constants = np.log(moments.counts / n) - 0.5 * np.sum(weights * moments.means, axis=2)
    return _for_given(moments, weights, constants)


def least_squares(moments: Moments, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of indicators -1 and 1; returns as ``discriminant``."""
    n, counts = len(moments.train), moments.counts[:, None]
    weighted = moments.means * np.sqrt(counts)
    total = moments.scatter + np.matmul(weighted.transpose(0, 2, 1), weighted)
    weights = _solve(total, np.full(len(total), alpha), 2.0 * counts * moments.means)
    constants = np.broadcast_to(2.0 * moments.counts / n - 1.0, weights.shape[:2])
    return _for_given(moments, weights, constants)


def scale_of(mean: np.ndarray, variance: np.ndarray, n: int) -> np.ndarray:
    """Standard deviation; 1 where a feature is constant, by the rule of scikit-learn's StandardScaler."""
    epsilon = np.finfo(np.float64).eps
    is_constant = variance <= n * epsilon * variance + (n * mean * epsilon) ** 2
    return np.where(is_constant, 1.0, np.sqrt(variance))


def ledoit_wolf(residuals: np.ndarray, squared: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Shrinkage (n_times,) for residuals (n_times, n, p), the squared norm and the trace of their covariance."""
    n, p = residuals.shape[1:]
    beta = (np.mean(np.einsum("tnp,tnp->tn", residuals, residuals) ** 2, axis=1) - squared) / n
    delta = squared - trace**2 / p
    return np.where(delta > 0, np.clip(beta, 0, delta) / np.where(delta > 0, delta, 1), 0.0)


def _ledoit_wolf(moments: Moments, trace: np.ndarray) -> np.ndarray:
    squared = np.einsum("tpq,tpq->t", moments.scatter, moments.scatter) / len(moments.train) ** 2
    return ledoit_wolf(moments.residuals(), squared, trace)


def _blocks(is_train: np.ndarray, n_classes: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Trials (positions) of each block, and the blocks of each fold; a block for each fold where sharing costs more."""
    used = np.flatnonzero(is_train.any(axis=0))
    patterns, block_of = np.unique(is_train[:, used], axis=1, return_inverse=True)
    n_folds, n_blocks = patterns.shape
    if len(used) + n_folds * n_classes * n_blocks > is_train.sum():
        return [np.flatnonzero(row) for row in is_train], [[fold] for fold in range(n_folds)]
    return [used[block_of == b] for b in range(n_blocks)], [np.flatnonzero(row).tolist() for row in patterns]


Sums = tuple[np.ndarray, np.ndarray, np.ndarray]  # counts (n_classes,), means (t, n_classes, p), scatter (t, p, p)


def _sums(X: np.ndarray, labels: np.ndarray, n_classes: int) -> Sums:
    """Of one block, its scatter about its own class means."""
    indicator = (labels == np.arange(n_classes)[:, None]).astype(np.float64)
    counts = indicator.sum(axis=1)
    means = np.matmul(indicator / np.maximum(counts, 1)[:, None], X)
    residuals = X - means[:, labels]
    return counts, means, np.matmul(residuals.transpose(0, 2, 1), residuals)


def _combined(parts: list[Sums], given: np.ndarray, train: np.ndarray, truth: np.ndarray, *, scales: bool) -> Moments:
    classes, labels = np.unique(truth, return_inverse=True)
    n_of = np.array([counts[classes] for counts, _, _ in parts])
    counts, n = n_of.sum(axis=0), len(train)
    block_means = np.stack([means[:, classes] for _, means, _ in parts], axis=1)  # (t, block, class, p)
    means = np.einsum("bk,tbkp->tkp", n_of / counts, block_means)
    scatter = parts[0][2].copy()
    for _, _, more in parts[1:]:
        scatter += more
    if len(parts) > 1:
        apart = (block_means - means[:, None]) * np.sqrt(n_of)[:, :, None]
        apart = apart.reshape(len(given), -1, given.shape[2])
        scatter += np.matmul(apart.transpose(0, 2, 1), apart)
    mean = np.einsum("k,tkp->tp", counts / n, means)[:, None]
    means -= mean
    scale = np.ones_like(mean)
    if scales:
        between = np.einsum("k,tkp->tp", counts, means**2)
        variance = (np.einsum("tpp->tp", scatter) + between) / n
        scale = scale_of(mean, variance[:, None], n)
        means /= scale
        scatter /= scale * scale.transpose(0, 2, 1)
    return Moments(given, train, labels, counts, mean, scale, means, scatter)


def _solve(matrix: np.ndarray, load: np.ndarray, right: np.ndarray) -> np.ndarray:
    """X (n_times, k, p) so that (matrix + load I) X' = right'; by Cholesky, by least squares where that fails.

    Parameters
    ----------
    matrix : (n_times, p, p), symmetric and not negative; overwritten
    load : (n_times,)
    right : (n_times, k, p)
    """
    p = matrix.shape[1]
    matrix[:, np.arange(p), np.arange(p)] += load[:, None]
    out = np.empty_like(right)
    for a, b, x in zip(matrix, right, out, strict=True):
        _, found, info = lapack.dposv(a.T, b.T, lower=1)
        x[:] = (lstsq(a, b.T)[0] if info else found).T
    return out


def _for_given(moments: Moments, weights: np.ndarray, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and constants for features without mean and scale taken out."""
    weights = weights / moments.scale
    return weights, constants - np.einsum("tkp,tp->tk", weights, moments.mean[:, 0])
