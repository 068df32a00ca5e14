"""Aligners whose maps are linear: condition means of every session, a template of latents, one map into it each.

Each learns a template (n_conditions * n_times, n_latents) from the condition means of all sessions, and maps a
session by a rule that sees its own condition means and their rows of the template only. So ``add_session`` and
``fit`` follow one rule. Rows are conditions times bins. A condition that a session lacks is a row that it lacks.
Not here: the rules, one file for each method.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import svd

from ..datasets.errors import SchemaError
from .base import Aligner, condition_means


@dataclass(frozen=True)
class Block:
    """Condition means of one session as rows.

    Attributes
    ----------
    rows : (n_rows,) positions in the template
    values : (n_rows, n_units), centred
    offset : (n_units,) mean that was taken off
    """

    rows: np.ndarray
    values: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class LinearMap:
    """z = (x - offset) weights + shift."""

    offset: np.ndarray
    weights: np.ndarray
    shift: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """(..., n_units) -> (..., n_latents)."""
        return (X - self.offset) @ self.weights + self.shift


class LinearAligner(Aligner):
    """Base of the linear aligners; a method overrides ``_template`` and ``_weights``.

    Attributes
    ----------
    template_ : (n_conditions, n_times, n_latents), the shared latents of every condition
    maps_ : session -> ``LinearMap``
    """

    takes_few = False  # whether add_session may have fewer rows than latents (where a penalty decides)

    template_: np.ndarray
    maps_: dict[str, LinearMap]

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        blocks = {session: self._block(X, y[session]) for session, X in cohort.items()}
        n_rows = len(self.conditions_) * cohort[self.sessions_[0]].shape[1]
        n_latents = self._n_latents(blocks)
        template = self._template(blocks, n_rows, n_latents)
        self.n_latents_ = template.shape[1]
        self.template_ = template.reshape(len(self.conditions_), -1, self.n_latents_)
        self.maps_ = {session: self._map(session, block) for session, block in blocks.items()}

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        if not len(X):
            self.maps_[session] = self._mean_map(session, X.shape[2])
            return
        block = self._block(X, y)
        if not self.takes_few:
            self._check_size(session, block, self.n_latents_)
        elif len(block.rows) < 2:
            raise SchemaError(
                f"session {session!r} has one row (a condition in one bin), so nothing is left when its mean is taken "
                f"off. Give more conditions or bins."
            )
        self.maps_[session] = self._map(session, block)

    def _transform(self, session: str, X: np.ndarray) -> np.ndarray:
        return self.maps_[session](X)

    # ---- what a method overrides ----

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        """(n_rows, n_latents), centred over rows."""
        raise NotImplementedError  # pragma: no cover

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        """(n_units, n_latents) from the block to centred rows of the template (n_rows, n_latents)."""
        raise NotImplementedError  # pragma: no cover

    def _needs_units(self) -> bool:
        """Whether a session needs as many units as there are latents."""
        return True

    # ---- shared ----

    def _block(self, X: np.ndarray, y: np.ndarray) -> Block:
        """Condition means of the conditions that the template has, as centred rows."""
        known = np.isin(y, self.conditions_)
        labels, means = condition_means(X[known], y[known])
        n_times = means.shape[1]
        rows = (np.searchsorted(self.conditions_, labels)[:, None] * n_times + np.arange(n_times)).ravel()
        values = means.reshape(-1, means.shape[2])
        offset = values.mean(axis=0)
        return Block(rows, values - offset, offset)

    def _map(self, session: str, block: Block) -> LinearMap:
        wanted = self.template_.reshape(-1, self.n_latents_)[block.rows]
        shift = wanted.mean(axis=0)
        return LinearMap(block.offset, self._weights(session, block, wanted - shift), shift)

    def _n_latents(self, blocks: dict[str, Block]) -> int:
        """The number asked for, or as many as every session allows."""
        n_latents: int | None = getattr(self, "n_latents", None)
        if n_latents is None:
            return max(1, min(min(len(b.rows) - 1, b.values.shape[1]) for b in blocks.values()))
        for session, block in blocks.items():
            self._check_size(session, block, n_latents)
        return n_latents

    def _check_size(self, session: str, block: Block, n_latents: int) -> None:
        n_rows, n_units = block.values.shape
        if n_rows - 1 < n_latents:
            raise SchemaError(
                f"session {session!r} has {n_rows} rows (conditions times bins), and {n_latents} latents need at least "
                f"{n_latents + 1}. Ask for fewer latents, or give more conditions."
            )
        if self._needs_units() and n_units < n_latents:
            raise SchemaError(
                f"session {session!r} has {n_units} units, fewer than {n_latents} latents. Ask for fewer latents."
            )

    def _mean_map(self, session: str, n_units: int) -> LinearMap:
        """Without any calibration trial: the mean map of the sessions in the fit, if their units correspond."""
        maps = [self.maps_[name] for name in self.sessions_]
        if any(len(m.offset) != n_units for m in maps):
            counts = sorted({len(m.offset) for m in maps})
            raise SchemaError(
                f"session {session!r} has no calibration trials and {n_units} units, those of the fit have {counts}. "
                f"Without trials a session borrows the mean map, which needs the same units in all. Give it some."
            )
        offset, weights, shift = (
            np.mean([getattr(m, part) for m in maps], axis=0) for part in ("offset", "weights", "shift")
        )
        return LinearMap(offset, weights, shift)


def principal_axes(values: np.ndarray, n_latents: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular vectors of centred rows, those of zero length left out: U (n_rows, r), s (r,), V (n_units, r).

    Signs are fixed by the largest entry of each column of U, so that the same rows give the same axes.
    """
    U, s, Vt = svd(values, full_matrices=False, check_finite=False)
    kept = s > s[:1] * 1e-10 if s.size else s > 0
    U, s, V = U[:, kept][:, :n_latents], s[kept][:n_latents], Vt[kept][:n_latents].T
    signs = np.sign(U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])]) if U.size else 1.0
    return U * signs, s, V * signs


def consensus(blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
    """(n_rows, n_latents): principal components of all sessions side by side, each of the same total variance.

    Rows that a session lacks are at its mean. Equal to classical scaling of the mean similarity of rows where
    none is absent.
    """
    side_by_side = []
    for block in blocks.values():
        U, s, _ = principal_axes(block.values)
        full = np.zeros((n_rows, len(s)))
        full[block.rows] = U * (s / np.sqrt(max(np.sum(s**2), np.finfo(float).tiny)))
        side_by_side.append(full * np.sqrt(n_rows / len(blocks)))
    U, s, _ = principal_axes(np.concatenate(side_by_side, axis=1), n_latents)
    return U * s


def polar(matrix: np.ndarray) -> np.ndarray:
    """The nearest matrix with orthonormal columns (or rows): U V' of the thin singular value decomposition."""
    U, _, Vt = svd(matrix, full_matrices=False, check_finite=False)
    return U @ Vt


def mean_over_sessions(aligned: dict[str, np.ndarray], blocks: dict[str, Block], n_rows: int) -> np.ndarray:
    """Mean of aligned rows over the sessions that have them (n_rows, n_latents); zero where none has."""
    n_latents = next(iter(aligned.values())).shape[1]
    total, count = np.zeros((n_rows, n_latents)), np.zeros(n_rows)
    for session, block in blocks.items():
        total[block.rows] += aligned[session]
        count[block.rows] += 1
    return total / np.maximum(count, 1)[:, None]
