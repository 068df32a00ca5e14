"""Linear dynamics of latents, z_1 ~ N(x0, Q0), z_t ~ N(A z_{t-1} + b, Q): expected moments, their maximiser, the gauge.

Latents are known up to an invertible matrix and a shift: C z + offset and C G^-1 (G (z - s)) + (offset + C s) say the
same. ``Gauge`` picks one.
Not here: the posterior (``gaussian_chain``), and how units see the latents (``lds``, ``poisson_lds``).
"""

from typing import NamedTuple

import numpy as np

from .loadings import signs


class Dynamics(NamedTuple):
    """A, Q, Q0 (d, d); b and x0 (d,)."""

    A: np.ndarray
    b: np.ndarray
    Q: np.ndarray
    x0: np.ndarray
    Q0: np.ndarray


class Moments(NamedTuple):
    """Expected sums over trials, and over the bins that are inside them.

    Attributes
    ----------
    n_trials, n_lags, n_bins : how many first bins, neighbours, bins
    first, first_square : sums of z_1 and z_1 z_1'
    last, start : sums of z_t and z_{t-1} over neighbours
    now, before, cross : sums of z_t z_t', z_{t-1} z_{t-1}' and z_t z_{t-1}' over neighbours
    total, square : sums of z_t and z_t z_t' over all bins
    """

    n_trials: int
    n_lags: float
    n_bins: float
    first: np.ndarray
    first_square: np.ndarray
    last: np.ndarray
    start: np.ndarray
    now: np.ndarray
    before: np.ndarray
    cross: np.ndarray
    total: np.ndarray
    square: np.ndarray


def moments(
    mean: np.ndarray, cov: np.ndarray, lag_cov: np.ndarray, is_inside: np.ndarray, weight: np.ndarray
) -> Moments:
    """Sums of a posterior over trials and bins.

    Parameters
    ----------
    mean : (n_trials, n_times, d)
    cov, lag_cov : (n_groups, n_times, d, d) and (n_groups, n_times - 1, d, d), Cov(z_{t+1}, z_t); shared in a group
    is_inside : (n_trials, n_times) bool, bins of the trial
    weight : (n_groups, n_times), number of trials of the group that have the bin
    """
    d = mean.shape[2]
    z = mean * is_inside[:, :, None]
    start, last = z[:, :-1] * is_inside[:, 1:, None], z[:, 1:]
    start, last = start.reshape(-1, d), last.reshape(-1, d)

    def spread(share: np.ndarray, values: np.ndarray) -> np.ndarray:
        return share.reshape(-1) @ values.reshape(-1, d * d)

    first_cov = spread(weight[:, 0], cov[:, 0]).reshape(d, d)
    now = last.T @ last + spread(weight[:, 1:], cov[:, 1:]).reshape(d, d)
    first_square = z[:, 0].T @ z[:, 0] + first_cov
    return Moments(
        n_trials=len(mean),
        n_lags=float(weight[:, 1:].sum()),
        n_bins=float(weight.sum()),
        first=z[:, 0].sum(axis=0),
        first_square=first_square,
        last=last.sum(axis=0),
        start=start.sum(axis=0),
        now=now,
        before=start.T @ start + spread(weight[:, 1:], cov[:, :-1]).reshape(d, d),
        cross=last.T @ start + spread(weight[:, 1:], lag_cov).reshape(d, d),
        total=z.sum(axis=(0, 1)),
        square=now + first_square,
    )


def update(sums: Moments, floor: float) -> Dynamics:
    """The dynamics that maximise the expected log density, with Q and Q0 of eigenvalues of at least ``floor``.

    [A b] = S10 S00^-1 with z_{t-1} bordered by 1,  Q = (S11 - [A b] S10') / n_lags,  x0 = mean z_1,  Q0 its covariance
    (Ghahramani & Hinton 1996, eq. 21-25; with b, and Q0 centred). Clipping the eigenvalues of a covariance is its
    constrained maximiser, so EM with a floor never lowers the likelihood either.
    """
    onward = np.column_stack([sums.cross, sums.last])
    weights = np.linalg.solve(bordered(sums.before, sums.start, sums.n_lags), onward.T).T
    Q = (sums.now - weights @ onward.T) / sums.n_lags
    x0 = sums.first / sums.n_trials
    Q0 = sums.first_square / sums.n_trials - np.outer(x0, x0)
    return Dynamics(weights[:, :-1], weights[:, -1], at_least(Q, floor), x0, at_least(Q0, floor))


def bordered(square: np.ndarray, total: np.ndarray, n: float) -> np.ndarray:
    """Sum of [z, 1][z, 1]' from the sums of z z' and z, and their number.

    Examples
    --------
    >>> bordered(np.array([[5.0]]), np.array([3.0]), 2).tolist()
    [[5.0, 3.0], [3.0, 2.0]]
    """
    return np.block([[square, total[:, None]], [total[None], np.array([[n]])]])


def at_least(cov: np.ndarray, floor: float) -> np.ndarray:
    """A symmetric matrix with eigenvalues of at least ``floor``.

    Examples
    --------
    >>> at_least(np.diag([2.0, -1.0]), 0.5).tolist()
    [[2.0, 0.0], [0.0, 0.5]]
    """
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return (vectors * np.maximum(values, floor)) @ vectors.T


def stable(A: np.ndarray, radius: float = 0.98) -> np.ndarray:
    """A, shrunk so that no eigenvalue is larger than ``radius``: for starting values."""
    largest = np.abs(np.linalg.eigvals(A)).max()
    return A * min(1.0, radius / largest) if largest else A


class Gauge(NamedTuple):
    """A choice of latents: G (z - centre) for z.

    Attributes
    ----------
    G, inverse : (d, d)
    centre : (d,)
    scale : (d,), standard deviation over all bins of what each latent adds to the units
    """

    G: np.ndarray
    inverse: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    def turn(self, dynamics: Dynamics) -> Dynamics:
        """The same dynamics, of the new latents."""
        A, b, Q, x0, Q0 = dynamics
        G, s = self.G, self.centre
        return Dynamics(G @ A @ self.inverse, G @ (A @ s + b - s), G @ Q @ G.T, G @ (x0 - s), G @ Q0 @ G.T)


def canonical(C: np.ndarray, sums: Moments) -> Gauge:
    """The gauge of principal components: loadings orthonormal; latents centred, uncorrelated, in descending order.

    With s and Sigma = L L' the mean and covariance of the latents over all bins and C L = U S V':  G = S V' L^-1, and
    C G^-1 = U. The largest loading of each latent is positive. A latent that adds nothing keeps a loading of nothing.
    """
    centre = sums.total / sums.n_bins
    root = np.linalg.cholesky(sums.square / sums.n_bins - np.outer(centre, centre))
    U, scale, turned = np.linalg.svd(C @ root, full_matrices=False)
    stretch = np.maximum(scale, 1e-8 * scale[0]) * signs(U)
    return Gauge(stretch[:, None] * np.linalg.solve(root.T, turned.T).T, root @ turned.T / stretch, centre, scale)
