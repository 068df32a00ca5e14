"""Posterior of smooth latents given noisy units: from the dense joint Gaussian, and in linear time along a chain.

    x_k ~ N(0, K_k) over the bins of a trial,   y_t = C x_t + offset + N(0, diag R)

Observations enter through H_t = C' R^-1 C and h_t = C' R^-1 (y_t - offset) over the units present. Trials with the
same absent bins and units share one factorisation. Dense form, with K = L L' (block diagonal over latents):

    cov = L (I + L' H L)^-1 L',   mean = cov h,   log p(y) = ½ h' cov h - ½ log|I + L' H L| + terms without x

Linear form: ``gaussian_process.chain`` through ``gaussian_chain``. The white part w of a latent is independent from
bin to bin and is integrated out there:  H -> H (I + white H)^-1,  h -> (I + white H)^-1 h.
Not here: how parameters are learned (``gpfa``).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtri

from .gaussian_chain import filter_, smooth
from .gaussian_process import chain, covariance
from .missing import Observed, information, left_out, potential


class Model(NamedTuple):
    """Parameters.

    Attributes
    ----------
    C : (n_units, n_latents)
    offset, R : (n_units,), mean and private variance
    timescale : (n_latents,), in bins
    kernel : name in ``gaussian_process.KERNELS``
    white : share of white noise in the variance of a latent
    """

    C: np.ndarray
    offset: np.ndarray
    R: np.ndarray
    timescale: np.ndarray
    kernel: str
    white: float


class Posterior(NamedTuple):
    """Of the latents, in every bin up to the last one with anything present.

    Attributes
    ----------
    mean : (n_trials, n_times, n_latents), NaN behind the last bin of a trial
    cov : (n_patterns, n_times, n_latents, n_latents), of the trials with ``Observed.pattern``; NaN likewise
    log_likelihood : (n_trials,), log p(y)
    """

    mean: np.ndarray
    cov: np.ndarray
    log_likelihood: np.ndarray


class Pattern(NamedTuple):
    """Posterior of the trials of one pattern.

    Attributes
    ----------
    mean : (n_trials, q, n_times)
    over_time : (q, n_times, n_times), covariance of each latent over bins
    in_bin : (n_times, q, q), covariance of the latents of each bin
    evidence : (n_trials,), ½ h' mean - ½ log|I + L' H L|
    """

    mean: np.ndarray
    over_time: np.ndarray
    in_bin: np.ndarray
    evidence: np.ndarray


def dense_pattern(K: np.ndarray, H: np.ndarray, h: np.ndarray) -> Pattern:
    """From the dense joint Gaussian.

    Parameters
    ----------
    K : (q, n_times, n_times)
    H : (n_times, q, q);  h : (n_trials, n_times, q)

    Notes
    -----
    Time O((q n_times)³ + n_trials (q n_times)²). Where H is the same in all bins, nothing tells time from its reverse:
    even and odd parts of the latents are independent, and two problems of half the size are solved.
    """
    potential_of = h.transpose(0, 2, 1)
    if len(H) < 4 or not (H.strides[0] == 0 or (H == H[0]).all()):
        return _solve(np.linalg.cholesky(K), H, potential_of)
    h_even, h_odd = _fold(potential_of)
    K_even, K_odd = _fold(K)
    even = _solve(np.linalg.cholesky(_fold(K_even.swapaxes(1, 2))[0]), H[: h_even.shape[2]], h_even)
    odd = _solve(np.linalg.cholesky(_fold(K_odd.swapaxes(1, 2))[1]), H[: h_odd.shape[2]], h_odd)
    over_time = _unfold(
        _unfold(even.over_time, np.zeros_like(even.over_time[..., : h_odd.shape[2]])).swapaxes(1, 2),
        _unfold(np.zeros((*odd.over_time.shape[:2], h_even.shape[2])), odd.over_time).swapaxes(1, 2),
    )
    half = len(odd.in_bin)
    first = 0.5 * (even.in_bin[:half] + odd.in_bin)
    in_bin = np.concatenate([first, even.in_bin[half:], first[::-1]])
    return Pattern(_unfold(even.mean, odd.mean), over_time, in_bin, even.evidence + odd.evidence)


def _fold(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Even and odd parts (..., ceil(n / 2)), (..., floor(n / 2)) of values (..., n) under reversal."""
    half = values.shape[-1] // 2
    ahead, back = values[..., :half], values[..., ::-1][..., :half]
    middle = values[..., half : values.shape[-1] - half]
    return np.concatenate([(ahead + back) * np.sqrt(0.5), middle], axis=-1), (ahead - back) * np.sqrt(0.5)


def _unfold(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Values (..., n) from their even and odd parts."""
    half = odd.shape[-1]
    ahead, back = even[..., :half] + odd, even[..., :half] - odd
    return np.concatenate([ahead * np.sqrt(0.5), even[..., half:], back[..., ::-1] * np.sqrt(0.5)], axis=-1)


def _solve(roots: np.ndarray, H: np.ndarray, h: np.ndarray) -> Pattern:
    """With L (q, n_times, n_times) and h (n_trials, q, n_times)."""
    q, n_times = roots.shape[:2]
    turned = roots.transpose(0, 2, 1)
    is_same = H.strides[0] == 0 or (H == H[0]).all()
    blocks = np.empty((q, n_times, q, n_times))
    for k in range(q):
        for j in range(k + 1):  # the lower triangle is all that is read
            weighted = H[0, k, j] * roots[j] if is_same else H[:, k, j, None] * roots[j]
            blocks[k, :, j] = turned[k] @ weighted
    inner = blocks.reshape(q * n_times, q * n_times)
    inner.flat[:: q * n_times + 1] += 1
    root = np.linalg.cholesky(inner)
    inverse = dtrtri(root.T, lower=0)[0].T.reshape(-1, q, n_times)
    half = np.concatenate([inverse[:, k] @ turned[k] for k in range(q)], axis=1)  # root^-1 L'
    cov = half.T @ half
    flat = h.reshape(len(h), -1)
    mean = flat @ cov
    evidence = 0.5 * np.einsum("nj,nj->n", flat, mean) - np.log(np.diagonal(root)).sum()
    blocks = cov.reshape(q, n_times, q, n_times)
    in_bin = np.ascontiguousarray(np.einsum("atbt->tab", blocks))
    return Pattern(mean.reshape(h.shape), np.einsum("atas->ats", blocks), in_bin, evidence)


def dense_posterior(data: Observed, model: Model) -> Posterior:
    """From the joint Gaussian of all bins of a trial, exact for every kernel."""
    H, h = information(data.present, model.C, model.R), potential(data, model.C, model.offset, model.R)
    found = _empty(data, model)
    K = covariance(model.kernel, model.timescale, model.white, int(data.n_bins.max()))
    for pattern, n_bins in enumerate(data.n_bins):
        here = np.flatnonzero(data.pattern == pattern)
        if not n_bins or not here.size:
            continue
        part = dense_pattern(K[:, :n_bins, :n_bins], H[pattern, :n_bins], h[here, :n_bins])
        found.mean[here, :n_bins] = part.mean.transpose(0, 2, 1)
        found.cov[pattern, :n_bins] = part.in_bin
        found.log_likelihood[here] += part.evidence
    return found


def linear_posterior(data: Observed, model: Model) -> Posterior:
    """In time linear in the number of bins, per pattern; exact for the Matérn kernels."""
    seen = _Seen(data, model)
    found = _empty(data, model)
    for pattern, n_bins in enumerate(data.n_bins):
        here = np.flatnonzero(data.pattern == pattern)
        if not n_bins or not here.size:
            continue
        H, h = seen.chain_H[pattern, :n_bins], seen.chain_h[here, :n_bins]
        part = smooth(H, h, *seen.dynamics)
        found.mean[here, :n_bins] = seen.latents(part.mean, here, pattern, n_bins)
        gain, blunt = seen.gain[pattern, :n_bins], seen.blunt[pattern, :n_bins]
        smoothed = seen.readout @ part.cov @ seen.readout.T
        found.cov[pattern, :n_bins] = blunt @ smoothed @ blunt.transpose(0, 2, 1) + gain
        found.log_likelihood[here] += part.log_normaliser + seen.evidence[here, :n_bins].sum(axis=1)
    return found


def linear_means(data: Observed, model: Model) -> Posterior:
    """Posterior means and log-likelihood of trials that lack nothing but bins at their end; ``cov`` is empty.

    One covariance recursion for trials of every length: the filter knows the past alone, and the gains of the
    smoother are those of the filter, so a shorter trial enters the backward pass at its own last bin.
    Time O(n_times · D³ + n_trials · n_times · D²), D the states of all latents.
    """
    seen = _Seen(data, model)
    longest = int(data.n_bins.argmax())
    n_times = int(data.n_bins[longest])
    n_bins = data.n_bins[data.pattern]
    A, _, Q = seen.dynamics[:3]
    past = filter_(seen.chain_H[longest, :n_times], seen.chain_h[:, :n_times], *seen.dynamics)
    is_there = np.arange(n_times) < n_bins[:, None]
    moved = A @ past.cov[:-1]  # A P_{t|t}
    gains = np.linalg.solve(moved @ A.T + Q, moved)  # J_t'
    mean, change = past.mean, np.zeros((len(n_bins), A.shape[0]))
    for t in range(n_times - 2, -1, -1):
        later = mean[:, t + 1] - mean[:, t] @ A.T  # of a bin that exists: smoothed minus predicted
        change = np.where(is_there[:, t + 1, None], later, 0.0) @ gains[t]
        mean[:, t] += change
    found = _empty(data, model)
    latents = seen.latents(mean, np.arange(len(n_bins)), longest, n_times)
    found.mean[:, :n_times] = np.where(is_there[:, :, None], latents, np.nan)
    evidence = past.log_evidence + seen.evidence[:, :n_times]
    found.log_likelihood[:] += np.where(is_there, evidence, 0.0).sum(axis=1)
    return found._replace(cov=found.cov[:0])


def has_whole_bins(data: Observed) -> bool:
    """Whether every trial has all units in all bins up to its last."""
    inside = np.arange(data.present.shape[1]) < data.n_bins[:, None]
    return bool((data.present == inside[:, :, None]).all())


class _Seen:
    """What the chain is handed: H and h with the white part of the latents integrated out, and the way back."""

    def __init__(self, data: Observed, model: Model) -> None:
        made = chain(model.kernel, model.timescale, model.white)
        self.readout = made.readout
        zero = np.zeros(len(made.A))
        self.dynamics = (made.A, zero, made.Q, zero, made.Q0)
        self.h = potential(data, model.C, model.offset, model.R)
        H = information(data.present, model.C, model.R)
        constant = data.present.all()
        H = H[:, :1] if constant else H  # one bin stands for all
        inner = np.eye(H.shape[-1]) + model.white * H
        gain = model.white * np.linalg.inv(inner)  # Cov(w | its bin)
        blunt = np.eye(H.shape[-1]) - gain @ H
        shape = (*data.present.shape[:2], *H.shape[-2:])
        self.gain, self.blunt = np.broadcast_to(gain, shape), np.broadcast_to(blunt, shape)
        n_states = len(zero)
        chain_H = self.readout.T @ (H @ blunt) @ self.readout
        self.chain_H = np.broadcast_to(0.5 * (chain_H + chain_H.swapaxes(-1, -2)), (*shape[:2], n_states, n_states))
        each = self.blunt[data.pattern] if len(gain) > 1 else self.blunt[:1]
        self.chain_h = np.einsum("ptij,ptj->pti", each.swapaxes(-1, -2), self.h) @ self.readout
        own = self.gain[data.pattern] if len(gain) > 1 else self.gain[:1]
        squares = np.einsum("pti,ptij,ptj->pt", self.h, own, self.h)
        log_det = np.broadcast_to(np.linalg.slogdet(inner)[1], shape[:2])[data.pattern]
        self.evidence = 0.5 * (squares - log_det)

    def latents(self, states: np.ndarray, trials: np.ndarray, pattern: int, n_bins: int) -> np.ndarray:
        """Means of the latents, white part included, from those of the states: f + gain (h - H f)."""
        f = states @ self.readout.T
        blunt, gain = self.blunt[pattern, :n_bins], self.gain[pattern, :n_bins]
        return np.einsum("tij,ntj->nti", blunt, f) + np.einsum("tij,ntj->nti", gain, self.h[trials, :n_bins])


def _empty(data: Observed, model: Model) -> Posterior:
    n_trials, n_times = data.values.shape[:2]
    q = model.C.shape[1]
    return Posterior(
        np.full((n_trials, n_times, q), np.nan),
        np.full((len(data.present), n_times, q, q), np.nan),
        left_out(data, model.offset, model.R).sum(axis=1),
    )
