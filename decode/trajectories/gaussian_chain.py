"""Exact posterior of a Gaussian chain: one covariance recursion for all trials of a group, means as matrix products.

    z_1 ~ N(x0, Q0),   z_t ~ N(A_t z_{t-1} + b_t, Q_t),   each bin seen through  -½ z_t' H_t z_t + h_t' z_t

Information form: whatever the observations are, they enter only through H = C' R^-1 C (shared by the group) and
h = C' R^-1 (y - offset) of each trial, so the cost does not depend on the number of units, and a missing bin is
H = 0, h = 0. Every argument may have leading axes, one for each set of groups, that broadcast against each other:
many stimuli, animals and patterns of missing bins are then one loop over time.
Kalman filter and Rauch-Tung-Striebel smoother; with b everywhere, and covariances as products of square roots.

Not here: what the observations are (``missing``), and how parameters are learned.
"""

from typing import NamedTuple

import numpy as np

SAME = 1e-13  # relative change of a covariance below which the recursion has reached its steady state


class Filtered(NamedTuple):
    """Posterior of each bin given the bins up to it.

    Attributes
    ----------
    mean : (..., n_trials, n_times, n_latents)
    cov : (..., n_times, n_latents, n_latents), the same in all trials
    log_evidence : (..., n_trials, n_times), log of p(y_t | y_1 ... y_{t-1}), without the terms that do not depend
        on the chain: -½ [(y - offset)' R^-1 (y - offset) + log|R| + n_units log 2π]
    """

    mean: np.ndarray
    cov: np.ndarray
    log_evidence: np.ndarray


class Smoothed(NamedTuple):
    """Posterior of each bin given all bins.

    Attributes
    ----------
    mean : (..., n_trials, n_times, n_latents)
    cov : (..., n_times, n_latents, n_latents), the same in all trials
    lag_cov : (..., n_times - 1, n_latents, n_latents), Cov(z_{t+1}, z_t)
    log_normaliser : (..., n_trials), the sum of ``Filtered.log_evidence``
    """

    mean: np.ndarray
    cov: np.ndarray
    lag_cov: np.ndarray
    log_normaliser: np.ndarray


class _Forward(NamedTuple):
    """The filter with time first: what the smoother needs."""

    predicted: np.ndarray  # (T, ..., d, d)
    cov: np.ndarray  # (T, ..., d, d)
    log_ratio: np.ndarray  # (T, ...), log|P_{t|t-1}| - log|P_{t|t}|
    steady: int  # covariances are constant from this bin on; T if never
    mean: np.ndarray  # (T, ..., n, d)
    predicted_mean: np.ndarray  # (T, ..., n, d)


def filter_(
    information: np.ndarray,
    potential: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    Q: np.ndarray,
    x0: np.ndarray,
    Q0: np.ndarray,
) -> Filtered:
    """Posterior of every bin given the past, and the evidence of every bin: causal.

    Parameters
    ----------
    information : (..., n_times, d, d), H of each bin; zero where nothing was seen
    potential : (..., n_trials, n_times, d), h of each bin of each trial
    A, Q : (..., d, d), or (..., n_times - 1, d, d) where they change with time; Q positive definite
    b : (..., d), or (..., n_times - 1, d)
    x0, Q0 : (..., d) and (..., d, d), mean and covariance of the first bin

    Notes
    -----
    m_{t|t} = m_{t|t-1} + P_{t|t} (h_t - H_t m_{t|t-1}),  P_{t|t} = L (I + L' H_t L)^-1 L',  L L' = P_{t|t-1}.
    Time O(n_times · d³ + n_trials · n_times · d²).

    Examples
    --------
    >>> one, zero = np.ones((1, 1)), np.zeros(1)
    >>> seen = filter_(np.ones((2, 1, 1)), np.full((1, 2, 1), 4.0), one, zero, one, zero, one)
    >>> seen.mean.ravel().round(6).tolist(), seen.cov.ravel().round(6).tolist()
    ([2.0, 3.2], [0.5, 0.6])
    """
    H, h, A, b, Q, x0, Q0 = _time_first(information, potential, A, b, Q, x0, Q0)
    forward = _forward(H, h, A, b, Q, x0, Q0)
    return Filtered(
        np.moveaxis(forward.mean, 0, -2), np.moveaxis(forward.cov, 0, -3), np.moveaxis(_evidence(forward, H, h), 0, -1)
    )


def smooth(
    information: np.ndarray,
    potential: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    Q: np.ndarray,
    x0: np.ndarray,
    Q0: np.ndarray,
) -> Smoothed:
    """Posterior of every bin given the whole trial.

    Parameters
    ----------
    information, potential, A, b, Q, x0, Q0 : as in ``filter_``

    Notes
    -----
    J_t = P_{t|t} A' P_{t+1|t}^-1,  m_{t|T} = m_{t|t} + J_t (m_{t+1|T} - m_{t+1|t}),  and in the form that keeps
    covariances positive  P_{t|T} = (I - J_t A) P_{t|t} (I - J_t A)' + J_t (P_{t+1|T} + Q) J_t'.

    Examples
    --------
    >>> one, zero = np.ones((1, 1)), np.zeros(1)
    >>> seen = smooth(np.ones((2, 1, 1)), np.full((1, 2, 1), 4.0), one, zero, one, zero, one)
    >>> seen.mean.ravel().round(6).tolist(), seen.lag_cov.ravel().round(6).tolist()
    ([2.4, 3.2], [0.2])
    """
    H, h, A, b, Q, x0, Q0 = _time_first(information, potential, A, b, Q, x0, Q0)
    forward = _forward(H, h, A, b, Q, x0, Q0)
    gain, cov, lag_cov = _smoothed_covariances(forward, A, Q)
    mean = forward.mean.copy()
    if len(gain):
        mean[:-1] -= _times(forward.predicted_mean[1:], gain)
    turned = _turned(gain)
    for t in range(len(mean) - 2, -1, -1):
        mean[t] += mean[t + 1] @ turned[t]
    return Smoothed(
        np.moveaxis(mean, 0, -2),
        np.moveaxis(cov, 0, -3),
        np.moveaxis(lag_cov, 0, -3),
        _evidence(forward, H, h).sum(axis=0),
    )


def _time_first(
    information: np.ndarray,
    potential: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    Q: np.ndarray,
    x0: np.ndarray,
    Q0: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """H, h, A, b, Q with time as the first axis, x0 and Q0; all with the same number of leading axes after it."""
    H, h, A, b, Q, x0, Q0 = (np.asarray(values, float) for values in (information, potential, A, b, Q, x0, Q0))
    n_lags, changes = H.shape[-3] - 1, x0.ndim
    A, Q = (m if m.ndim == changes + 2 else np.expand_dims(m, -3) for m in (A, Q))
    b = b if b.ndim == changes + 1 else np.expand_dims(b, -2)
    n_groups = max(H.ndim - 3, h.ndim - 3, A.ndim - 3, x0.ndim - 1)

    def first(values: np.ndarray, axis: int, n_last: int) -> np.ndarray:
        values = values.reshape((1,) * (n_groups + n_last - values.ndim) + values.shape)
        return np.moveaxis(values, axis, 0) if axis else values

    A, b, Q = (first(m, axis, -axis) for m, axis in ((A, -3), (b, -2), (Q, -3)))
    A, b, Q = (m if len(m) != 1 else np.broadcast_to(m, (n_lags, *m.shape[1:])) for m in (A, b, Q))
    return first(H, -3, 3), first(h, -2, 3), A, b, Q, first(x0, 0, 1), first(Q0, 0, 2)


def _turned(values: np.ndarray) -> np.ndarray:
    return np.swapaxes(values, -1, -2)


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each row vector (..., n, d) through each matrix (..., d, d): M v, as rows."""
    return rows @ _turned(matrix)


def _is_constant(values: np.ndarray) -> bool:
    """Whether an array with time first is one slice seen again and again, or has equal slices."""
    return len(values) < 2 or values.strides[0] == 0 or bool((values[1:] == values[:1]).all())


def _forward(
    H: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray, Q: np.ndarray, x0: np.ndarray, Q0: np.ndarray
) -> _Forward:
    n_times, d = H.shape[0], H.shape[-1]
    predicted, cov, log_ratio, steady = _filtered_covariances(H, A, Q, Q0)
    keep = np.eye(d) - cov @ H
    new = _times(h, cov)
    shape = np.broadcast_shapes(new.shape[1:], x0.shape[:-1] + (1, d), b.shape[1:-1] + (1, d), cov.shape[1:-2] + (1, d))
    mean, predicted_mean = np.empty((n_times, *shape)), np.empty((n_times, *shape))
    predicted_mean[0] = x0[..., None, :]
    keep, onward = _turned(keep), _turned(A)
    for t in range(n_times):
        np.matmul(predicted_mean[t], keep[t], out=mean[t])
        mean[t] += new[t]
        if t + 1 < n_times:
            np.matmul(mean[t], onward[t], out=predicted_mean[t + 1])
            predicted_mean[t + 1] += b[t][..., None, :]
    return _Forward(predicted, cov, log_ratio, steady, mean, predicted_mean)


def _filtered_covariances(
    H: np.ndarray, A: np.ndarray, Q: np.ndarray, Q0: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """P_{t|t-1}, P_{t|t}, the log ratio of their determinants, and the bin from which they are constant."""
    n_times, d = H.shape[0], H.shape[-1]
    shape = np.broadcast_shapes(H.shape[1:], A.shape[1:], Q.shape[1:], Q0.shape)
    predicted, cov = np.empty((n_times, *shape)), np.empty((n_times, *shape))
    log_ratio = np.empty((n_times, *shape[:-2]))
    may_settle = _is_constant(H) and _is_constant(A) and _is_constant(Q)
    predicted[0] = Q0
    for t in range(n_times):
        if t > 1 and may_settle and np.abs(predicted[t] - predicted[t - 1]).max() <= SAME * np.abs(predicted[t]).max():
            predicted[t:], cov[t:], log_ratio[t:] = predicted[t - 1], cov[t - 1], log_ratio[t - 1]
            return predicted, cov, log_ratio, t
        root = np.linalg.cholesky(predicted[t])
        inner = np.linalg.cholesky(np.eye(d) + _turned(root) @ H[t] @ root)
        log_ratio[t] = 2 * np.log(np.diagonal(inner, axis1=-2, axis2=-1)).sum(axis=-1)
        half = np.linalg.solve(inner, _turned(root))
        cov[t] = _turned(half) @ half
        if t + 1 < n_times:
            half = half @ _turned(A[t])
            predicted[t + 1] = _turned(half) @ half + Q[t]
    return predicted, cov, log_ratio, n_times


def _smoothed_covariances(forward: _Forward, A: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J_t, P_{t|T} and Cov(z_{t+1}, z_t), time first."""
    n_times, d = forward.cov.shape[0], forward.cov.shape[-1]
    cov = forward.cov.copy()
    if n_times == 1:
        none = np.empty((0, *cov.shape[1:]))
        return none, cov, none
    moved = A[: n_times - 1] @ forward.cov[:-1]  # J' = P_{t+1|t}^-1 A P_{t|t}
    gain = np.array(np.broadcast_to(_turned(np.linalg.solve(forward.predicted[1:], moved)), cov[1:].shape))
    rest = np.eye(d) - gain @ A[: n_times - 1]
    own = rest @ forward.cov[:-1] @ _turned(rest) + gain @ Q[: n_times - 1] @ _turned(gain)
    t = n_times - 2
    while t >= 0:
        cov[t] = own[t] + gain[t] @ cov[t + 1] @ _turned(gain[t])
        if t > forward.steady and np.abs(cov[t] - cov[t + 1]).max() <= SAME * np.abs(cov[t]).max():
            cov[forward.steady : t] = cov[t]
            t = forward.steady
        t -= 1
    return gain, cov, cov[1:] @ _turned(gain)


def _evidence(forward: _Forward, H: np.ndarray, h: np.ndarray) -> np.ndarray:
    """½ [m'(h + g) + g' P_{t|t} g - log|P_{t|t-1}| + log|P_{t|t}|] with m = m_{t|t-1}, g = h - H m; time first."""
    m = forward.predicted_mean
    g = h - _times(m, H)
    squares = np.einsum("...d,...d->...", m, h + g) + np.einsum("...d,...d->...", g, _times(g, forward.cov))
    return 0.5 * (squares - forward.log_ratio[..., None])
