"""Generalised canonical correlation of many sessions at once: MAXVAR with a ridge penalty.

    max tr(G' sum_s H_s G)  with  G' D G = n_rows;   H_s = X_s (X_s' X_s + penalty_s)^-1 X_s'
    W_s = (X_s' X_s + penalty_s)^-1 X_s' G[rows_s]

Kettenring 1971, Biometrika 58:433 (MAXVAR). D counts the sessions that have each row, so that sessions may lack
conditions (van de Velden and Bijmolt 2006, Psychometrika 71:323, without the penalty).
"""

import numpy as np

from ..datasets.errors import ConfigError
from .linear import Block, LinearAligner, principal_axes


class GeneralisedCCA(LinearAligner):
    """Latents that all sessions predict best, and ridge regression of every session on them.

    Parameters
    ----------
    n_latents : None takes as many as every session allows
    regularisation : the penalty, as a multiple of the mean variance over a session's principal axes

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``; latents have unit variance over conditions and bins
    agreement_ : (n_latents,) mean over sessions of the share of each latent's variance that a session predicts

    Notes
    -----
    Time O(n_rows · (total dimensions)²), from thin decompositions of each session.
    """

    takes_few = True

    def __init__(self, n_latents: int | None = None, *, regularisation: float = 0.1):
        self.n_latents = n_latents
        self.regularisation = regularisation

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        if not self.regularisation >= 0:
            raise ConfigError(f"GeneralisedCCA: regularisation is 0 or more, got {self.regularisation}.")
        count = np.zeros(n_rows)
        for block in blocks.values():
            count[block.rows] += 1
        side_by_side = []
        for block in blocks.values():
            U, s, _ = principal_axes(block.values)
            full = np.zeros((n_rows, len(s) + 1))
            full[block.rows, :-1] = U * (s / np.sqrt(s**2 + self._penalty(s)))
            full[block.rows, -1] = 1 / np.sqrt(len(block.rows))  # the mean of its own rows is free in each session
            side_by_side.append(full / np.sqrt(count)[:, None])
        both = np.concatenate(side_by_side, axis=1)
        constant = np.sqrt(count / count.sum())  # the same in all rows: a solution that says nothing
        vectors, roots, _ = principal_axes(both - np.outer(constant, constant @ both), n_latents)
        self.agreement_ = roots**2
        G = vectors / np.sqrt(count)[:, None]
        G = G - G.mean(axis=0)
        return G / np.sqrt(np.mean(G**2, axis=0))

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        U, s, axes = principal_axes(block.values)
        return (axes * (s / (s**2 + self._penalty(s)))) @ (U.T @ wanted)

    def _penalty(self, s: np.ndarray) -> float:
        return self.regularisation * float(np.mean(s**2)) if len(s) else 0.0
