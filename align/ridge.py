"""Ridge regression of every session onto a consensus of all: each map is shrunk as far as its own conditions ask.

    W_s = (X_s' X_s + penalty_s)^-1 X_s' M[rows_s],  M the consensus of all sessions

M is the principal components of all sessions side by side, each of the same total variance. The penalty is the one
that predicts left-out conditions of the session best, in closed form from one decomposition. Weak or noisy sessions
are shrunk most, so that few trials do no harm.
"""

import numpy as np

from .linear import Block, LinearAligner, consensus, principal_axes

PENALTIES = np.logspace(-3, 3, 13)  # multiples of the mean variance over a session's principal axes


class RidgeToShared(LinearAligner):
    """Regress a consensus of all sessions on each of them.

    Parameters
    ----------
    n_latents : dimensions of the consensus; None takes as many as every session allows

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``
    penalties_ : session -> the multiple that was chosen; with one condition, the median of those in the fit

    Notes
    -----
    Time O(n_rows · n_units · min(n_rows, n_units) + n_penalties · n_rows² · n_latents).
    """

    takes_few = True

    def __init__(self, n_latents: int | None = None):
        self.n_latents = n_latents

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        self.penalties_: dict[str, float] = {}
        return consensus(blocks, n_rows, n_latents)

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        U, s, axes = principal_axes(block.values)
        scale = float(np.mean(s**2)) if len(s) else 1.0
        n_times = self.template_.shape[1]
        if len(U) == n_times:
            chosen = float(np.median(list(self.penalties_.values()) or [1.0]))
        else:
            errors = [left_out_error(U, s, wanted, n_times, penalty * scale) for penalty in PENALTIES]
            chosen = float(PENALTIES[int(np.argmin(errors))])
        self.penalties_[session] = chosen
        return (axes * (s / (s**2 + chosen * scale))) @ (U.T @ wanted)

    def _needs_units(self) -> bool:
        return False


def left_out_error(U: np.ndarray, s: np.ndarray, wanted: np.ndarray, n_times: int, penalty: float) -> float:
    """Mean squared error of ridge regression (with an intercept) on conditions that are left out one at a time.

    Parameters
    ----------
    U, s : left singular vectors (n_rows, r) and singular values (r,) of the centred predictors
    wanted : (n_rows, n_latents), centred
    n_times : rows of one condition, which stand together

    Notes
    -----
    e_c = (1 - H_cc)^-1 (y - H y)_c with H the matrix that fits all rows, exact for each left-out block.
    """
    fitted = U * (s**2 / (s**2 + penalty))
    residual = (wanted - fitted @ (U.T @ wanted)).reshape(-1, n_times, wanted.shape[1])
    blocks, axes = fitted.reshape(-1, n_times, len(s)), U.reshape(-1, n_times, len(s))
    own = np.einsum("ctr,cur->ctu", blocks, axes) + 1.0 / len(U)
    return float(np.sum(np.linalg.solve(np.eye(n_times) - own, residual) ** 2) / len(U))
