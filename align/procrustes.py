"""Orthogonal Procrustes for two sessions, generalised Procrustes (hyperalignment) for many; by value where unlabelled.

    min  sum_s |c_s P_s R_s - M[rows_s]|²  over orthogonal R_s,  M the mean of the aligned sessions

P_s are the first principal components of session s, so that units may differ in number without padding by zeros.
R_s = U V' of the singular value decomposition of P_s' M (Schönemann 1966, Psychometrika 31:1); the mean is iterated
(Gower 1975, Psychometrika 40:33; hyperalignment: Haxby et al. 2011, Neuron 72:404). The start is the consensus of all
sessions, not one of them, so their order does not matter.
"""

import numpy as np
from scipy.linalg import orthogonal_procrustes, svd
from scipy.spatial import cKDTree

from ..datasets.errors import SchemaError
from .linear import Block, LinearAligner, consensus, mean_over_sessions, polar, principal_axes


class Procrustes(LinearAligner):
    """Rotate the principal components of every session onto a common mean.

    Parameters
    ----------
    n_latents : principal components of each session; None takes as many as every session has
    scaling : whether each session also gets a factor; then the size of the mean is held at that of the sessions
    n_iterations : most rounds over the sessions
    tolerance : stop when the mean moves less, relative to its size

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``
    n_iterations_ : rounds that were done

    Notes
    -----
    Time O(n_rows · n_units · min(n_rows, n_units)) for a session; no n_units x n_units matrix is built.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(6, 1, 3))
    >>> aligner = Procrustes().fit({"a": X, "b": X[:, :, ::-1]})
    >>> bool(np.allclose(aligner.transform("a", X), aligner.transform("b", X[:, :, ::-1])))
    True
    """

    def __init__(
        self, n_latents: int | None = None, *, scaling: bool = False, n_iterations: int = 100, tolerance: float = 1e-4
    ):
        self.n_latents = n_latents
        self.scaling = scaling
        self.n_iterations = n_iterations
        self.tolerance = tolerance

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        scores = {session: _scores(block, n_latents)[0] for session, block in blocks.items()}
        size = np.mean([np.sum(P**2) / len(P) for P in scores.values()])
        mean = consensus(blocks, n_rows, n_latents)
        mean = np.pad(mean, ((0, 0), (0, n_latents - mean.shape[1])))
        self.n_iterations_ = 0
        while self.n_iterations_ < self.n_iterations:
            self.n_iterations_ += 1
            aligned = {}
            for session, P in scores.items():
                wanted = mean[blocks[session].rows]
                shift = wanted.mean(axis=0)
                aligned[session] = P @ self._rotation(P, wanted - shift) + shift
            new = mean_over_sessions(aligned, blocks, n_rows)
            new -= new.mean(axis=0)
            if self.scaling:
                new *= np.sqrt(size * n_rows / max(np.sum(new**2), np.finfo(float).tiny))
            moved = np.sum((new - mean) ** 2)
            mean = new
            if moved <= self.tolerance**2 * np.sum(new**2):
                break
        return mean @ svd(mean, full_matrices=False, check_finite=False)[2].T  # its own principal axes

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        P, axes = _scores(block, wanted.shape[1])
        return axes @ self._rotation(P, wanted)

    def _rotation(self, P: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        product = P.T @ wanted
        if not self.scaling:
            return polar(product)
        U, s, Vt = svd(product, full_matrices=False, check_finite=False)
        return U @ Vt * (s.sum() / max(np.sum(P**2), np.finfo(float).tiny))


def procrustes_by_value(
    X: np.ndarray, Y: np.ndarray, x_values: np.ndarray, y_values: np.ndarray, *, n_nearest: int = 5
) -> np.ndarray:
    """Rotation of X onto Y where samples are matched by a value over time (position, say), not by a label.

    Every sample of X is matched with the ``n_nearest`` samples of Y whose values are nearest.

    Parameters
    ----------
    X, Y : (n_samples_x, d) and (n_samples_y, d)
    x_values, y_values : (n_samples, n_values) or (n_samples,)

    Returns
    -------
    rotation (d, d): X @ rotation lies on Y

    Raises
    ------
    SchemaError : other dimensions, values of another length, NaN, fewer samples of Y than ``n_nearest``

    Notes
    -----
    A tree finds the neighbours and only sums are kept, so memory is O(n_samples · (d + n_nearest)): the table of all
    distances, n_samples_x times n_samples_y, is never made. Ties between equally near values go to either.
    """
    X, Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (x_values, y_values))
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1] or a.shape[1] != b.shape[1]:
        raise SchemaError(
            f"procrustes_by_value takes two arrays of samples of one dimension, got {X.shape} with values {a.shape} "
            f"and {Y.shape} with values {b.shape}. Reduce both to the same number of latents."
        )
    if len(a) != len(X) or len(b) != len(Y):
        raise SchemaError(f"{len(X)} and {len(Y)} samples have {len(a)} and {len(b)} values. Give one for each.")
    if not all(np.isfinite(part).all() for part in (X, Y, a, b)):
        raise SchemaError("procrustes_by_value needs finite samples and values, and some are NaN. Leave them out.")
    if not 1 <= n_nearest <= len(Y):
        raise SchemaError(f"n_nearest={n_nearest}, and Y has {len(Y)} samples. Take between 1 and that many.")
    position = cKDTree(b).query(a, k=n_nearest)[1].reshape(len(a), n_nearest)
    partners = np.zeros_like(X)
    for column in position.T:
        partners += Y[column]
    return orthogonal_procrustes(X, partners)[0]


def _scores(block: Block, n_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """The first principal components (n_rows, n_latents) of a session and their axes (n_units, n_latents)."""
    U, s, axes = principal_axes(block.values, n_latents)
    missing = n_latents - len(s)  # of a session with fewer dimensions than latents, as where conditions repeat
    return np.pad(U * s, ((0, 0), (0, missing))), np.pad(axes, ((0, 0), (0, missing)))
