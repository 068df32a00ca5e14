"""The posterior over conditions of a mixture of linear dynamical systems, one bin at a time.

All matrices are made once; an update costs a few small products, whatever came before.
Not here: fitting; decoders of other kinds (``mitral.decode.online``).
"""

import numpy as np

from ...datasets.errors import SchemaError
from .missing import information
from .mixture_em import Dynamics, Loadings


class MixtureOnline:
    """p(k | x_1 ... x_t), updated by one bin of activity x_t.

    Parameters
    ----------
    loadings, dynamics : of one animal and of all conditions, as fitted

    Notes
    -----
    The same numbers as ``predict_over_time``. Time of an update O(n_units d + n_conditions d²).

    Examples
    --------
    >>> one = np.ones((2, 1, 1))
    >>> dynamics = Dynamics(0 * one, np.array([[[1.0]], [[-1.0]]]), one, np.array([[1.0], [-1.0]]), one)
    >>> online = MixtureOnline(Loadings(np.ones((1, 1)), np.zeros(1), np.ones(1)), dynamics)
    >>> online.update(np.array([1.0])).round(2).tolist()
    [0.73, 0.27]
    """

    def __init__(self, loadings: Loadings, dynamics: Dynamics) -> None:
        C, self._offset, R = loadings
        n_conditions, n_lags, d = dynamics.b.shape
        self._weighted = np.ascontiguousarray((C / R[:, None]).T)
        self._H = information(np.ones((1, 1, len(C)), bool), C, R)[0, 0]
        gains, constants = [], []
        predicted = dynamics.Q0
        for _ in range(n_lags + 1):
            root = np.linalg.cholesky(predicted)
            inner = np.linalg.cholesky(np.eye(d) + np.swapaxes(root, -1, -2) @ self._H @ root)
            half = np.linalg.solve(inner, np.swapaxes(root, -1, -2))
            gains.append(np.swapaxes(half, -1, -2) @ half)
            constants.append(np.log(np.diagonal(inner, axis1=-2, axis2=-1)).sum(axis=-1))
            predicted = dynamics.A @ gains[-1] @ np.swapaxes(dynamics.A, -1, -2) + dynamics.Q
        self._gain, self._constant = np.array(gains), np.array(constants)
        self._A, self._b = np.ascontiguousarray(dynamics.A), dynamics.b
        self._x0, self._n_bins = dynamics.x0, n_lags + 1
        self.reset()

    def reset(self) -> None:
        """Begin a new trial."""
        self._t, self._m, self._log_p = 0, self._x0, np.zeros(len(self._x0))

    def update(self, activity: np.ndarray) -> np.ndarray:
        """Take in the next bin (n_units,); the posterior (n_conditions,) given all bins so far.

        Raises
        ------
        SchemaError : another number of units, a value that is not finite, more bins than the dynamics have; the state
            stays as it was
        """
        x = np.asarray(activity, float) - self._offset if np.shape(activity) == self._offset.shape else None
        if x is None or not np.isfinite(h := self._weighted @ x).all():
            raise SchemaError(
                f"MixtureOnline takes {len(self._offset)} finite numbers, got shape {np.shape(activity)}. Pass one bin "
                f"of the units used in fit."
            )
        if self._t >= self._n_bins:
            raise SchemaError(f"MixtureOnline: a trial has {self._n_bins} bins, and this is one more. Call reset().")
        g = h - self._m @ self._H
        moved = np.matmul(self._gain[self._t], g[:, :, None])[:, :, 0]
        twice = np.einsum("kd,kd->k", self._m, g + h) + np.einsum("kd,kd->k", g, moved)
        self._log_p = self._log_p + (0.5 * twice - self._constant[self._t])
        if self._t + 1 < self._n_bins:
            self._m = np.matmul(self._A, (self._m + moved)[:, :, None])[:, :, 0] + self._b[:, self._t]
        self._t += 1
        odds = np.exp(self._log_p - self._log_p.max())
        return odds / odds.sum()
