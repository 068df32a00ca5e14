"""What animals share when their units do not match: the tunings over conditions that units may have.

The response of unit u to the conditions, in units of noise, is a draw

    f_u ~ N(c, a_u [s t_v t_v' + (1 - s) I]),   v drawn from the units of other animals

t_v is the tuning of v over conditions (mean 0, mean square 1), s the share of a response that follows such a tuning,
a_u how strongly the unit responds, c any level. Means of n_k trials add noise 1 / n_k. s = 0 is the animal by itself,
with each mean shrunk to the unit's level; at s = 1 only tunings that other animals have are believed. Averaged over v
the prior covariance is the similarity S = mean of t_v t_v'. Not here: noise, decoding (``shared_private``).
"""

from typing import NamedTuple

import numpy as np

AMPLITUDES = np.concatenate([[0.0], np.geomspace(0.05, 20, 7)])
LEVEL = 1e3  # prior variance of a unit's level, in units of noise
N_STEPS = 20  # of EM over the shares of the amplitudes


class Tunings(NamedTuple):
    """What other animals' units are tuned to.

    Attributes
    ----------
    tuning : (n_tunings, n_conditions), mean 0 and mean square 1
    weight : (n_tunings,), how much of each is signal, summing to 1
    """

    tuning: np.ndarray
    weight: np.ndarray

    @property
    def similarity(self) -> np.ndarray:
        """S (n_conditions, n_conditions), mean diagonal 1."""
        return (self.tuning * self.weight[:, None]).T @ self.tuning


class Posterior(NamedTuple):
    """Responses of every unit to every condition given the means of some.

    mean, variance : (n_conditions, n_units); log_p : log of the marginal likelihood of all units
    """

    mean: np.ndarray
    variance: np.ndarray
    log_p: float


def tunings(means: list[np.ndarray], n: list[np.ndarray]) -> Tunings:
    """Tunings of all units of some animals.

    Parameters
    ----------
    means : of each animal (n_conditions, n_units), in units of noise, NaN rows where a condition is missing
    n : of each animal (n_conditions,), trials in each mean

    Notes
    -----
    A unit weighs what exceeds noise in the variance of its means. Conditions that an animal lacks are filled in by
    regression on those that it has, over the units of the other animals.
    """
    filled, signal = [], []
    for values, count in zip(means, n, strict=True):
        has = count > 0
        centred = np.where(has[:, None], values - values[has].mean(axis=0), 0.0)
        variance = np.sum(centred**2, axis=0) / max(has.sum() - 1, 1)
        excess = np.maximum(variance - np.mean(1 / count[has]), 0.0)
        signal.append(excess / np.maximum(variance, 1e-12))
        filled.append(centred)
    if not all((count > 0).all() for count in n):
        _fill(filled, n)
    tuning = np.concatenate([values.T for values in filled])
    tuning = tuning - tuning.mean(axis=1, keepdims=True)
    size = np.sqrt(np.mean(tuning**2, axis=1, keepdims=True))
    tuning = tuning / np.maximum(size, 1e-12)
    weight = np.concatenate(signal) * (size[:, 0] > 1e-9)
    total = weight.sum()
    return Tunings(tuning, weight / total if total > 0 else np.full(len(weight), 1 / len(weight)))


def _fill(filled: list[np.ndarray], n: list[np.ndarray]) -> None:
    """Predict the missing rows of every animal from its other rows, by ridge over the units of complete pairs."""
    n_conditions = len(filled[0])
    total, count = np.zeros((n_conditions, n_conditions)), np.zeros((n_conditions, n_conditions))
    for values, trials in zip(filled, n, strict=True):
        has = trials > 0
        total += values @ values.T / values.shape[1]
        count += np.outer(has, has)
    S = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    S = S + 0.3 * np.mean(np.diag(S)) * np.eye(n_conditions)
    for values, trials in zip(filled, n, strict=True):
        has = trials > 0
        if not has.all():
            values[~has] = S[np.ix_(~has, has)] @ np.linalg.solve(S[np.ix_(has, has)], values[has])


def evidence(means: np.ndarray, n: np.ndarray, known: Tunings, share: float) -> float:
    """Log of the marginal likelihood of all units: ``infer(...).log_p``, at half the cost."""
    L = np.array([_evidence(a, share, means[n > 0], n, known)[0] for a in AMPLITUDES])
    return float(_over_amplitudes(L)[1].sum())


def infer(means: np.ndarray, n: np.ndarray, known: Tunings, share: float) -> Posterior:
    """Posterior of all responses, averaged over amplitudes and over the tunings that a unit may have.

    Parameters
    ----------
    means : (n_conditions, n_units), in units of noise; rows with n = 0 are not read
    n : (n_conditions,), trials in each mean
    known, share : tunings of other animals, and the share of a response that follows one

    Notes
    -----
    The distribution of amplitudes over units is learned by EM on a fixed grid (adaptive shrinkage).
    Time O(n_amplitudes · (n_conditions³ + n_conditions · n_units · n_tunings)).
    """
    parts = [_given_amplitude(a, share, means[n > 0], n, known) for a in AMPLITUDES]
    odds, log_p = _over_amplitudes(np.array([one[0] for one in parts]))
    mean = np.einsum("au,aku->ku", odds, np.array([one[1] for one in parts]))
    square = np.einsum("au,aku->ku", odds, np.array([one[2] for one in parts]))
    return Posterior(mean, np.maximum(square - mean**2, 0.0), float(log_p.sum()))


def _over_amplitudes(L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the amplitudes of each unit, and log p of each unit, from log p at each (n_amplitudes, n_units)."""
    most = L.max(axis=0)
    weight = np.full(len(L), 1 / len(L))
    for _ in range(N_STEPS):
        odds = weight[:, None] * np.exp(L - most)
        odds /= odds.sum(axis=0)
        weight = 0.9 * odds.mean(axis=1) + 0.1 / len(L)
    log_p = most + np.log(np.sum(weight[:, None] * np.exp(L - most), axis=0))
    return weight[:, None] * np.exp(L - log_p), log_p


class _Pieces(NamedTuple):
    """What evidence and posterior share: Cholesky halves of C^-1 y, C^-1 B and C^-1 t, odds and scale of tunings, p."""

    half: np.ndarray
    gain: np.ndarray
    variance: np.ndarray
    turned: np.ndarray
    odds: np.ndarray
    scale: np.ndarray
    p: np.ndarray


def _evidence(
    amplitude: float, share: float, Y: np.ndarray, n: np.ndarray, known: Tunings
) -> tuple[np.ndarray, _Pieces]:
    """log p (n_units,) at one amplitude.

    With C the covariance of the means without tunings, a tuning t adds x = amplitude · share times t t': log p gains
    ½ [x p² / (1 + x q) - log(1 + x q)],  q = t'C^-1 t,  p = t'C^-1 y.
    """
    seen, x = n > 0, amplitude * share
    prior = amplitude * (1 - share) * np.eye(len(n)) + LEVEL
    root = np.linalg.cholesky(prior[np.ix_(seen, seen)] + np.diag(1 / n[seen]))
    half, gain = np.linalg.solve(root, Y), np.linalg.solve(root, prior[seen])
    variance = np.maximum(np.diag(prior) - np.sum(gain**2, axis=0), 0.0)
    log_p = -0.5 * np.sum(half**2, axis=0) - np.log(np.diag(root)).sum()
    turned = np.linalg.solve(root, known.tuning.T[seen])
    if x == 0:
        nothing = np.zeros((turned.shape[1], Y.shape[1]))
        return log_p, _Pieces(half, gain, variance, turned, nothing, np.zeros(turned.shape[1]), nothing)
    with np.errstate(divide="ignore"):
        log_weight = np.log(known.weight)
    scale = x / (1 + x * np.sum(turned**2, axis=0))
    p = turned.T @ half
    L = log_weight[:, None] + 0.5 * (scale[:, None] * p**2 + np.log(scale / x)[:, None])
    most = L.max(axis=0)
    odds = np.exp(L - most)
    total = odds.sum(axis=0)
    return log_p + most + np.log(total), _Pieces(half, gain, variance, turned, odds / total, scale, p)


def _given_amplitude(
    amplitude: float, share: float, Y: np.ndarray, n: np.ndarray, known: Tunings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p (n_units,), and first and second moment (n_conditions, n_units) of the responses, at one amplitude.

    With B the covariance of all conditions with the means, a tuning adds x p / (1 + x q) · (t - B C^-1 t) to the
    posterior mean.
    """
    log_p, of = _evidence(amplitude, share, Y, n, known)
    mean = of.gain.T @ of.half
    rest = known.tuning.T - of.gain.T @ of.turned  # (n_conditions, n_tunings)
    step = of.odds * of.scale[:, None] * of.p
    added = rest @ step
    spread = rest**2 @ (step * of.scale[:, None] * of.p + of.odds * of.scale[:, None])
    return log_p, mean + added, mean**2 + of.variance[:, None] + 2 * mean * added + spread
