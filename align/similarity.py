"""Second-order matching: what is shared is which conditions resemble which, not the units or their axes.

    k(x, y) = cosine of two patterns over the units of a session, both less its mean pattern
    T = the first axes of the mean similarity matrix;  z(x) = k(x, own conditions) (K_s + penalty)^-1 T[rows_s]

A new pattern is placed by its profile of similarities to the session's own conditions (Kriegeskorte et al. 2008, Front
Syst Neurosci 2:4; Raizada and Connolly 2012, J Cogn Neurosci 24:868). No unit of one session is ever paired with a unit
of another. The map is not linear: a pattern's size does not matter.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from ..datasets.errors import ConfigError, SchemaError
from .linear import Block, LinearAligner, LinearMap


@dataclass(frozen=True)
class ProfileMap:
    """z = k(x, patterns) coefficients."""

    offset: np.ndarray
    patterns: np.ndarray
    coefficients: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """(..., n_units) -> (..., n_latents)."""
        return _unit(X - self.offset) @ self.patterns.T @ self.coefficients


class SimilarityMatching(LinearAligner):
    """Place patterns by their similarities to conditions that all sessions have seen.

    Parameters
    ----------
    n_latents : axes of the mean similarity matrix; None takes as many as every session allows
    penalty : added to the diagonal of each similarity matrix, whose diagonal is 1

    Attributes
    ----------
    template_ : as ``LinearAligner``
    maps_ : session -> ``ProfileMap``
    similarity_ : (n_rows, n_rows) mean over the sessions that have both rows

    Notes
    -----
    Time O(n_rows³); rows are conditions times bins.
    """

    takes_few = True

    def __init__(self, n_latents: int | None = None, *, penalty: float = 0.3):
        self.n_latents = n_latents
        self.penalty = penalty

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        if not self.penalty > 0:
            raise ConfigError(f"SimilarityMatching: penalty is above 0, got {self.penalty}.")
        total, count = np.zeros((n_rows, n_rows)), np.zeros((n_rows, n_rows))
        for block in blocks.values():
            patterns = _unit(block.values)
            total[np.ix_(block.rows, block.rows)] += patterns @ patterns.T
            count[np.ix_(block.rows, block.rows)] += 1
        self.similarity_ = total / np.maximum(count, 1)
        centred = self.similarity_ - self.similarity_.mean(axis=0)
        centred = centred - centred.mean(axis=1, keepdims=True)
        values, vectors = eigh((centred + centred.T) / 2, subset_by_index=(n_rows - n_latents, n_rows - 1))
        vectors = vectors[:, ::-1]
        signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_latents)])
        return vectors * signs * np.sqrt(np.maximum(values[::-1], 0.0))

    def _map(self, session: str, block: Block) -> ProfileMap:  # type: ignore[override]
        patterns = _unit(block.values)
        wanted = self.template_.reshape(-1, self.n_latents_)[block.rows]
        own = patterns @ patterns.T + self.penalty * np.eye(len(patterns))
        return ProfileMap(block.offset, patterns, cho_solve(cho_factor(own), wanted))

    def _mean_map(self, session: str, n_units: int) -> LinearMap:
        raise SchemaError(
            f"session {session!r} has no calibration trials, and patterns are placed by their similarity to conditions "
            f"of their own session. Give it some."
        )

    def _needs_units(self) -> bool:
        return False


def _unit(patterns: np.ndarray) -> np.ndarray:
    """Patterns (..., n_units) of length one; zero where they are."""
    length = np.sqrt(np.sum(patterns**2, axis=-1, keepdims=True))
    return patterns / np.where(length > 0, length, 1.0)
