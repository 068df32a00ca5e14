"""Laplace's approximation to the latents behind spike counts: the mode by Newton's method, in time linear in the bins.

    z_1 ~ N(x0, Q0),  z_t ~ N(A z_{t-1} + b, Q),  y_tu ~ Poisson(exp(c_u' z_t + offset_u))

log p(y, z) is concave in z, and its second derivative is block-tridiagonal. All trials of a block are one banded
system, solved at once; covariances follow from the smoother of ``gaussian_chain`` at the mode.
Not here: how parameters are learned (``poisson_lds``).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solveh_banded
from scipy.special import gammaln

from .dynamics import Dynamics
from .gaussian_chain import smooth

BLOCK = 200_000  # unknowns of the trials that are solved together: bounds the memory
HIGHEST = 300.0  # log rates above it are not exponentiated; counts are far below
SETTLED = 1e-10  # Newton's decrement at which the next step is the last


class Counts(NamedTuple):
    """Counts with their gaps filled by zeros.

    Attributes
    ----------
    values, present : (n_trials, n_times, n_units), 0 where absent; 1.0 where present
    constant : (n_trials,), -sum of log y! over what is present
    """

    values: np.ndarray
    present: np.ndarray
    constant: np.ndarray

    def trials(self, which: slice) -> "Counts":
        """Some of the trials."""
        return Counts(self.values[which], self.present[which], self.constant[which])


class Laplace(NamedTuple):
    """The Gaussian at the mode of each trial, and the evidence that it gives.

    Attributes
    ----------
    mean : (n_trials, n_times, d), the mode
    cov : (n_trials, n_times, d, d)
    lag_cov : (n_trials, n_times - 1, d, d), Cov(z_{t+1}, z_t)
    log_evidence : (n_trials,), log p(y, mode) + ½ log|2π covariance of all bins|, close to log p(y)
    divergence : (n_trials,), Kullback-Leibler, of the Gaussian from the prior of the latents
    """

    mean: np.ndarray
    cov: np.ndarray
    lag_cov: np.ndarray
    log_evidence: np.ndarray
    divergence: np.ndarray


def counts(Y: np.ndarray) -> Counts:
    """Counts (n_trials, n_times, n_units), NaN where nothing was recorded."""
    present = ~np.isnan(Y)
    values = np.where(present, Y, 0.0)
    return Counts(values, present.astype(float), -gammaln(values + 1).sum(axis=(1, 2)))


def posterior(
    data: Counts, C: np.ndarray, offset: np.ndarray, dynamics: Dynamics, *, start: np.ndarray | None = None
) -> Laplace:
    """Mode, covariances at the mode, and Laplace's evidence of every trial.

    Parameters
    ----------
    start : (n_trials, n_times, d), where Newton's method begins; None begins at the logarithm of the counts

    Notes
    -----
    Newton's step is halved where it would not raise log p(y, z), so the mode is reached from anywhere.
    Time O(n_trials · n_times · (n_units d² + d³)) an iteration.
    """
    n_trials, n_times, _ = data.values.shape
    size = max(1, BLOCK // (n_times * C.shape[1]))
    parts = []
    for first in range(0, n_trials, size):
        which = slice(first, first + size)
        parts.append(_block(data.trials(which), C, offset, dynamics, None if start is None else start[which]))
    return Laplace(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def lower_bound(data: Counts, found: Laplace, C: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """E log p(y | z) - divergence under the Gaussian that was found, (n_trials,): never above log p(y)."""
    products = (C[:, :, None] * C[:, None, :]).reshape(len(C), -1)
    log_rate = found.mean @ C.T + offset
    variance = found.cov.reshape(*found.cov.shape[:2], -1) @ products.T
    rate = data.present * np.exp(np.minimum(log_rate + 0.5 * variance, HIGHEST))
    return (data.values * log_rate - rate).sum(axis=(1, 2)) + data.constant - found.divergence


def gradient(data: Counts, z: np.ndarray, C: np.ndarray, offset: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """Derivative of log p(y, z) by z, (n_trials, n_times, d): zero at the mode."""
    return (data.values - _rates(data, z, C, offset)[1]) @ C + _Chain(dynamics).gradient(z)


class _Chain:
    """The prior of the latents: its precision, and log density up to a constant."""

    def __init__(self, dynamics: Dynamics) -> None:
        self.A, self.b, Q, self.x0, Q0 = dynamics
        self.of_drive, self.of_start = np.linalg.inv(Q), np.linalg.inv(Q0)
        self.below = -self.of_drive @ self.A  # block (t + 1, t)

    def _weighted(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z_1 - x0 and z_t - A z_{t-1} - b, and the same times their precision."""
        left = np.concatenate([z[:, :1] - self.x0, z[:, 1:] - z[:, :-1] @ self.A.T - self.b], axis=1)
        weighted = left @ self.of_drive
        weighted[:, 0] = left[:, 0] @ self.of_start
        return left, weighted

    def log_density(self, z: np.ndarray) -> np.ndarray:
        """Of each trial, (n_trials,), without the constant."""
        left, weighted = self._weighted(z)
        return -0.5 * np.einsum("ntd,ntd->n", left, weighted)

    def gradient(self, z: np.ndarray) -> np.ndarray:
        """Derivative of the log density by z, (n_trials, n_times, d)."""
        _, weighted = self._weighted(z)
        slope = -weighted
        slope[:, :-1] += weighted[:, 1:] @ self.A
        return slope

    def solve(self, information: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(prior precision + information)^-1 right: (n_trials, n_times, d, d) and (n_trials, n_times, d).

        Trials follow each other in one banded matrix, with nothing between the last bin of one and the next.
        """
        n_trials, n_times, d = right.shape
        diagonal = information + self.of_drive
        diagonal[:, 0] += self.of_start - self.of_drive
        diagonal[:, :-1] -= self.A.T @ self.below
        band = np.zeros((2 * d, n_trials, n_times, d))
        for j in range(d):
            for i in range(d):
                if i >= j:
                    band[i - j, :, :, j] = diagonal[:, :, i, j]
                band[d + i - j, :, :-1, j] = self.below[i, j]
        solved = solveh_banded(band.reshape(2 * d, -1), right.reshape(-1), lower=True, check_finite=False)
        return solved.reshape(right.shape)


def _rates(data: Counts, z: np.ndarray, C: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log rates, and rates where counts are present."""
    log_rate = z @ C.T + offset
    return log_rate, data.present * np.exp(np.minimum(log_rate, HIGHEST))


def _block(data: Counts, C: np.ndarray, offset: np.ndarray, dynamics: Dynamics, z: np.ndarray | None) -> Laplace:
    chain, d = _Chain(dynamics), C.shape[1]
    products = (C[:, :, None] * C[:, None, :]).reshape(len(C), d * d)

    def information(rate: np.ndarray) -> np.ndarray:
        return (rate @ products).reshape(*rate.shape[:2], d, d)

    def value_at(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_rate, rate = _rates(data, z, C, offset)
        return (data.values * log_rate - rate).sum(axis=(1, 2)) + chain.log_density(z), rate

    if z is None:
        weight = data.present * (data.values + 0.5)  # as if the rate were the count: near, whatever the counts
        right = (weight * (np.log(data.values + 0.5) - offset)) @ C
        right += chain.gradient(np.zeros_like(right))
        z = chain.solve(information(weight), right)
    value, rate = value_at(z)
    for _ in range(100):
        slope = (data.values - rate) @ C + chain.gradient(z)
        step = chain.solve(information(rate), slope)
        decrement = np.einsum("ntd,ntd->n", slope, step)
        length = np.ones(len(z))
        for _ in range(60):
            new_value, new_rate = value_at(z + length[:, None, None] * step)
            is_lower = ~(new_value >= value - 1e-12 * (1 + np.abs(value)))
            if not is_lower.any():
                break
            length[is_lower] /= 2
        z, value, rate = z + length[:, None, None] * step, new_value, new_rate
        if decrement.max() <= SETTLED:
            break
    return _at_mode(data, z, rate, information(rate), C, offset, dynamics)


def _at_mode(
    data: Counts, z: np.ndarray, rate: np.ndarray, information: np.ndarray, C: np.ndarray, offset: np.ndarray,
    dynamics: Dynamics,
) -> Laplace:  # fmt: skip
    """Covariances and evidence from the Gaussian chain that has the same slope and curvature at z."""
    slope = (data.values - rate) @ C
    curved = np.einsum("ntij,ntj->nti", information, z)
    found = smooth(information, (slope + curved)[:, None], *dynamics)
    log_likelihood = (data.values * (z @ C.T + offset) - rate).sum(axis=(1, 2)) + data.constant
    tilt = np.einsum("ntd,ntd->n", slope + 0.5 * curved, z)
    log_normaliser = found.log_normaliser[:, 0]
    divergence = tilt - 0.5 * np.einsum("ntij,ntij->n", information, found.cov) - log_normaliser
    return Laplace(z, found.cov, found.lag_cov, log_normaliser + log_likelihood - tilt, divergence)
