"""No alignment: the control that every aligner is held against."""

import numpy as np

from ..datasets.errors import SchemaError
from .linear import Block, LinearAligner, LinearMap, mean_over_sessions, principal_axes


class Unaligned(LinearAligner):
    """Each session in axes of its own.

    Without ``n_latents`` the units themselves, which must correspond between sessions (named glomeruli, electrode
    grids); with it the first principal components of each session, whose axes have nothing to do with each other.

    Parameters
    ----------
    n_latents : principal components; None keeps the units as they are
    """

    def __init__(self, n_latents: int | None = None):
        self.n_latents = n_latents

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        if self.n_latents is None:
            self._check_units(blocks)
            raw = {session: block.values + block.offset for session, block in blocks.items()}
        else:
            raw = {session: b.values @ principal_axes(b.values, n_latents)[2] for session, b in blocks.items()}
        widest = max(values.shape[1] for values in raw.values())
        padded = {s: np.pad(v, ((0, 0), (0, widest - v.shape[1]))) for s, v in raw.items()}
        return mean_over_sessions(padded, blocks, n_rows)

    def _map(self, session: str, block: Block) -> LinearMap:
        n_units = block.values.shape[1]
        if self.n_latents is None:
            if n_units != self.n_latents_:
                raise SchemaError(
                    f"session {session!r} has {n_units} units, those of the fit have {self.n_latents_}, and without "
                    f"alignment units must correspond. Set n_latents for principal components of each."
                )
            return LinearMap(np.zeros(n_units), np.eye(n_units), np.zeros(n_units))
        axes = principal_axes(block.values, self.n_latents_)[2]
        weights = np.pad(axes, ((0, 0), (0, self.n_latents_ - axes.shape[1])))
        return LinearMap(block.offset, weights, np.zeros(self.n_latents_))

    @staticmethod
    def _check_units(blocks: dict[str, Block]) -> None:
        counts = {session: block.values.shape[1] for session, block in blocks.items()}
        first = next(iter(counts))
        for session, n_units in counts.items():
            if n_units != counts[first]:
                raise SchemaError(
                    f"session {session!r} has {n_units} units, {first!r} has {counts[first]}, and without alignment "
                    f"units must correspond. Set n_latents for principal components of each."
                )
