"""Canonical correlation of every session with a reference session, on its latents over conditions and time.

    P diag(rho) Q' = singular value decomposition of C_s^-1/2 L_s' L_r C_r^-1/2,  C = L' L + penalty
    z = L_s C_s^-1/2 P Q' C_r^1/2

L are principal components, so z lies in the latents of the reference (Gallego et al. 2020, Nat Neurosci 23:260; Safaie
et al. 2023, Nature 623:765). A small penalty is canonical correlation, a large one tends to Procrustes. CCA finds high
correlations in noise too: compare with shuffled conditions (``transfer`` does).
"""

import numpy as np
from scipy.linalg import svd

from ..datasets.errors import ConfigError, SchemaError
from .linear import Block, LinearAligner, LinearMap, principal_axes


class CCA(LinearAligner):
    """Map every session onto the latents of one of them.

    Parameters
    ----------
    n_latents : principal components of each session
    regularisation : the penalty, as a share of the mean variance of a session's latents
    reference : session whose latents are the shared space; None takes the one with most conditions, then most units

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``; the template is NaN where the reference lacks a condition
    reference_ : its name
    canonical_correlations_ : session -> (n_latents,), with the penalty, on the trials of the fit
    """

    def __init__(self, n_latents: int | None = None, *, regularisation: float = 0.01, reference: str | None = None):
        self.n_latents = n_latents
        self.regularisation = regularisation
        self.reference = reference

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        if not self.regularisation >= 0:
            raise ConfigError(f"CCA: regularisation is 0 or more, got {self.regularisation}.")
        if self.reference is not None and self.reference not in blocks:
            raise SchemaError(f"CCA: the reference {self.reference!r} is no session of the fit ({', '.join(blocks)}).")
        largest = max(blocks, key=lambda session: blocks[session].values.shape)
        self.reference_ = self.reference if self.reference is not None else largest
        self.canonical_correlations_: dict[str, np.ndarray] = {}
        block = blocks[self.reference_]
        template = np.full((n_rows, n_latents), np.nan)
        U, s, _ = principal_axes(block.values, n_latents)
        template[block.rows] = np.pad(U * s, ((0, 0), (0, n_latents - len(s))))
        return template

    def _map(self, session: str, block: Block) -> LinearMap:
        wanted = self.template_.reshape(-1, self.n_latents_)[block.rows]
        known = np.isfinite(wanted[:, 0])
        raw = block.values[known] + block.offset
        offset = raw.mean(axis=0) if known.any() else block.offset
        both = Block(block.rows[known], raw - offset, offset)
        self._check_size(session, both, self.n_latents_)
        shift = wanted[known].mean(axis=0)
        return LinearMap(offset, self._weights(session, both, wanted[known] - shift), shift)

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        U, s, axes = principal_axes(block.values, wanted.shape[1])
        U_r, s_r, axes_r = principal_axes(wanted)
        size, size_r = (np.sqrt(v**2 + self.regularisation * np.mean(v**2)) for v in (s, s_r))
        P, rho, Qt = svd((U * (s / size)).T @ (U_r * (s_r / size_r)), full_matrices=False, check_finite=False)
        self.canonical_correlations_[session] = rho
        return (axes / size) @ P @ Qt @ (size_r[:, None] * axes_r.T)
