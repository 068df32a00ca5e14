"""Shared response model: every session is a shared response seen through orthonormal axes of its own.

    X_s ≈ S[rows_s] W_s',  W_s' W_s = 1;   W_s = U V' of the decomposition of X_s' S,  S the mean of X_s W_s

The deterministic form of Chen et al. 2015, NeurIPS 28 (eq. 2 and its alternation). Units and conditions may differ
between sessions. Unlike Procrustes the axes of a session are chosen for what is shared, not for its own variance.
"""

import numpy as np
from scipy.linalg import svd

from .linear import Block, LinearAligner, consensus, mean_over_sessions, polar


class SharedResponse(LinearAligner):
    """Alternate between the axes of every session and the shared response.

    Parameters
    ----------
    n_latents : dimensions of the shared response; None takes as many as every session allows
    n_iterations : most alternations
    tolerance : stop when the shared response moves less, relative to its size

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``
    n_iterations_ : alternations that were done

    Notes
    -----
    Time O(n_iterations · n_sessions · n_rows · n_units · n_latents).
    """

    def __init__(self, n_latents: int | None = None, *, n_iterations: int = 100, tolerance: float = 1e-4):
        self.n_latents = n_latents
        self.n_iterations = n_iterations
        self.tolerance = tolerance

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        shared = consensus(blocks, n_rows, n_latents)
        self.n_iterations_ = 0
        while self.n_iterations_ < self.n_iterations:
            self.n_iterations_ += 1
            seen = {}
            for session, block in blocks.items():
                wanted = shared[block.rows]
                shift = wanted.mean(axis=0)
                seen[session] = block.values @ polar(block.values.T @ (wanted - shift)) + shift
            new = mean_over_sessions(seen, blocks, n_rows)
            new -= new.mean(axis=0)
            moved = np.sum((new - shared) ** 2)
            shared = new
            if moved <= self.tolerance**2 * np.sum(new**2):
                break
        return shared @ svd(shared, full_matrices=False, check_finite=False)[2].T

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        return polar(block.values.T @ wanted)
