"""What is there and what is missing: trials with the same absent bins and units share one covariance recursion.

X (n_trials, n_times, n_units) holds NaN at the trailing bins of a shorter trial, in whole units of a trial, or
anywhere else. The observation model is  x = C z + offset + N(0, diag R)  on what is present.
Not here: the recursions (``gaussian_chain``).
"""

from typing import NamedTuple

import numpy as np

from .gaussian_chain import Smoothed, smooth


class Observed(NamedTuple):
    """Activity with its holes filled by zeros, and where they were.

    Attributes
    ----------
    values : (n_trials, n_times, n_units), 0 where absent
    present : (n_patterns, n_times, n_units) bool
    pattern : (n_trials,), the pattern of each trial
    n_bins : (n_patterns,), bins up to the last one in which anything is present
    """

    values: np.ndarray
    present: np.ndarray
    pattern: np.ndarray
    n_bins: np.ndarray


class Block(NamedTuple):
    """Groups of about equal size, padded to the largest of them.

    Attributes
    ----------
    groups : (n_groups,), which groups
    trials : (n_groups, n_most), positions of their trials; the padding repeats a trial
    counts : (n_groups, n_most), 1.0 for a trial and 0.0 for padding
    """

    groups: np.ndarray
    trials: np.ndarray
    counts: np.ndarray


def observed(X: np.ndarray) -> Observed:
    """Find the patterns of absent bins in X (n_trials, n_times, n_units).

    Examples
    --------
    >>> X = np.ones((3, 4, 2))
    >>> X[2, 2:] = np.nan
    >>> found = observed(X)
    >>> found.pattern.tolist(), found.n_bins.tolist()
    ([0, 0, 1], [4, 2])
    """
    X = np.asarray(X, float)
    absent = np.isnan(X)
    if not absent.any():
        return Observed(X, np.ones((1, *X.shape[1:]), bool), np.zeros(len(X), int), np.array([X.shape[1]]))
    packed = np.packbits(absent.reshape(len(X), -1), axis=1)
    _, first, pattern = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    present = ~absent[first]
    seen = present.any(axis=2)
    n_bins = np.where(seen.any(axis=1), X.shape[1] - seen[:, ::-1].argmax(axis=1), 0)
    return Observed(np.where(absent, 0.0, X), present, pattern.ravel(), n_bins)


def blocks(group: np.ndarray) -> list[Block]:
    """Trials by group, in blocks of groups whose sizes differ at most twofold.

    Parameters
    ----------
    group : (n_trials,), group of each trial, an int from 0

    Examples
    --------
    >>> [block.trials.tolist() for block in blocks(np.array([0, 1, 1, 1, 2, 2, 2, 2]))]
    [[[0]], [[1, 2, 3, 3], [4, 5, 6, 7]]]
    """
    order = np.argsort(group, kind="stable")
    names, start, size = np.unique(group[order], return_index=True, return_counts=True)
    level = np.ceil(np.log2(size)).astype(int)
    made = []
    for one in np.unique(level):
        here = np.flatnonzero(level == one)
        place = np.arange(size[here].max())
        inside = np.minimum(place, size[here, None] - 1)
        made.append(Block(names[here], order[start[here, None] + inside], (place < size[here, None]).astype(float)))
    return made


def information(present: np.ndarray, C: np.ndarray, R: np.ndarray) -> np.ndarray:
    """C' R^-1 C over the units present: (n_patterns, n_times, d, d).

    Parameters
    ----------
    present : (n_patterns, n_times, n_units) bool
    C, R : (n_units, d) and (n_units,), loadings and noise variance
    """
    n_units, d = C.shape
    products = (C[:, :, None] * C[:, None, :] / R[:, None, None]).reshape(n_units, d * d)
    if present.all():
        return np.broadcast_to(products.sum(axis=0).reshape(d, d), (*present.shape[:2], d, d))
    return (present.reshape(-1, n_units) @ products).reshape(*present.shape[:2], d, d)


def potential(data: Observed, C: np.ndarray, offset: np.ndarray, R: np.ndarray) -> np.ndarray:
    """C' R^-1 (x - offset) over the units present: (n_trials, n_times, d)."""
    weighted = C / R[:, None]
    shift = data.present @ (offset[:, None] * weighted)
    return data.values @ weighted - shift[data.pattern]


def left_out(data: Observed, offset: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The part of log p(x) that the chain does not know, (n_trials, n_times).

    -½ [(x - offset)' R^-1 (x - offset) + log|R| + n_units log 2π] over the units present in each bin.
    """
    centred = data.values - offset
    constant = data.present @ np.log(2 * np.pi * R)
    if data.present.all():
        return -0.5 * (np.square(centred) @ (1 / R) + constant[data.pattern])
    return -0.5 * ((np.square(centred) * data.present[data.pattern]) @ (1 / R) + constant[data.pattern])


def smooth_trials(
    data: Observed, C: np.ndarray, offset: np.ndarray, R: np.ndarray, A: np.ndarray, b: np.ndarray, Q: np.ndarray,
    x0: np.ndarray, Q0: np.ndarray,
) -> Smoothed:  # fmt: skip
    """Posterior of the latents of every trial under one dynamics.

    Parameters
    ----------
    data : from ``observed``
    C, offset, R : observation model
    A, b, Q, x0, Q0 : as in ``gaussian_chain.filter_``, without leading axes

    Returns
    -------
    mean (n_trials, n_times, d); cov (n_patterns, n_times, d, d) and lag_cov (n_patterns, n_times - 1, d, d), of the
    trials with ``data.pattern``; log_normaliser (n_trials,), which with ``left_out`` summed over bins is log p(x)

    Notes
    -----
    Time O(n_patterns · n_times · d³ + n_trials · n_times · (d² + n_units d)).
    """
    seen = information(data.present, C, R)
    h = potential(data, C, offset, R)
    n_patterns, (n_times, d) = len(data.present), h.shape[1:]
    mean, log_normaliser = np.empty_like(h), np.empty(len(h))
    cov, lag_cov = np.empty((n_patterns, n_times, d, d)), np.empty((n_patterns, n_times - 1, d, d))
    for block in blocks(data.pattern):
        part = smooth(seen[block.groups], h[block.trials], A, b, Q, x0, Q0)
        mean[block.trials], log_normaliser[block.trials] = part.mean, part.log_normaliser
        cov[block.groups], lag_cov[block.groups] = part.cov, part.lag_cov
    return Smoothed(mean, cov, lag_cov, log_normaliser)
