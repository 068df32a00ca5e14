"""amLDS with concentration as a continuous condition: an odor's input is a smooth function of log concentration.

Not here: the form in which every condition is free (``mixture_lds``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy.special import logsumexp, softmax

from ..datasets.errors import ConfigError, SchemaError
from ..decode.trajectories.mixture_em import Design, Dynamics
from ..decode.trajectories.mixture_fit import log_joint
from .base import Arrays
from .mixture_lds import MixtureLDS


class ConcentrationLDS(MixtureLDS):
    """As ``MixtureLDS``, with b_t = sum_j phi_j(log10 c) B_{o,j,t}, and x0 likewise, for odor o at concentration c.

    phi are Legendre polynomials over the range of log concentrations of the fit. A and Q do not depend on
    concentration. Trials of one odor at many concentrations share their dynamics, and odors at concentrations that
    were never given are decoded; inside the range, not beyond it.

    Parameters
    ----------
    n_latents : how many
    degree : of the polynomial; every odor needs more concentrations than this
    n_levels : concentrations, equally spaced in log10, over which the posterior is taken
    has_own_noise, start, n_restarts, ridge, tolerance, max_iterations, random_state : as in ``MixtureLDS``

    Attributes
    ----------
    conditions_ : (n_odors,)
    levels_ : (n_levels,), concentrations
    dynamics_ : of each odor at each level, odor by odor
    loadings_, log_likelihood_, objective_, converged_ : as in ``MixtureLDS``
    """

    needs_overlap = False  # of odors at the same concentration; the overlap of odors is checked here

    def __init__(
        self,
        n_latents: int | Sequence[int] = 3,
        *,
        degree: int = 2,
        n_levels: int = 15,
        has_own_noise: bool = False,
        start: str = "auto",
        n_restarts: int = 0,
        ridge: float = 1e-2,
        tolerance: float = 1e-3,
        max_iterations: int = 200,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            n_latents, has_own_noise=has_own_noise, start=start, n_restarts=n_restarts, ridge=ridge,
            tolerance=tolerance, max_iterations=max_iterations, random_state=random_state,
        )  # fmt: skip
        self.degree = degree
        self.n_levels = n_levels

    def fit(self, cohort: Arrays, y: Arrays | None = None, *, concentration: Arrays | None = None) -> Self:
        """Learn dynamics of every odor as a function of concentration, and loadings of every session.

        Parameters
        ----------
        cohort : session -> (n_trials, n_times, n_units), at least two
        y : session -> (n_trials,) odors
        concentration : session -> (n_trials,), positive, in one unit

        Raises
        ------
        SchemaError : as ``MixtureLDS``; concentrations that are absent or not positive; an odor at no more
            concentrations than ``degree``; no odor in common
        ConfigError : a parameter out of its range
        """
        if self.degree < 0 or self.n_levels < 1 or not isinstance(self.n_latents, int | np.integer):
            raise ConfigError(
                f"ConcentrationLDS: degree ({self.degree}) is at least 0, n_levels ({self.n_levels}) at least 1, and "
                f"n_latents one number ({self.n_latents!r})."
            )
        if y is None or concentration is None:
            raise SchemaError("ConcentrationLDS needs an odor and a concentration for each trial: y, concentration.")
        odor = {s: np.asarray(y[s]) for s in cohort if s in y}
        level = {s: _log_levels(s, concentration.get(s), len(odor.get(s, ()))) for s in cohort}
        if len(odor) < len(cohort):
            absent = next(s for s in cohort if s not in y)
            raise SchemaError(f"session {absent!r} has no odors in y. Give (n_trials,) for every session.")
        _check_overlap(odor)
        self._odors = np.unique(np.concatenate(list(odor.values())))
        pairs = np.unique(np.concatenate([_pairs(self._odors, odor[s], level[s]) for s in cohort]), axis=0)
        self._check_levels(pairs)
        low, high = pairs[:, 1].min(), pairs[:, 1].max()
        self._centre, self._half = (low + high) / 2, max((high - low) / 2, 1e-9)
        self.levels_ = 10 ** np.linspace(low, high, self.n_levels)
        self._pairs = pairs
        return super().fit(cohort, {s: _rows_in(_pairs(self._odors, odor[s], level[s]), pairs) for s in cohort})

    def add_session(
        self,
        session: str,
        X: np.ndarray,
        y: np.ndarray | None = None,
        *,
        update_dynamics: bool = False,
        concentration: np.ndarray | None = None,
    ) -> Self:
        """Learn the loadings of one new animal from trials of odors of the fit, at any concentration in its range.

        Raises
        ------
        SchemaError : as ``MixtureLDS``; a concentration beyond the range of the fit; dynamics that are to be updated,
            which this form does not do
        """
        if update_dynamics:
            raise SchemaError(f"session {session!r}: ConcentrationLDS keeps its dynamics. Fit with the session.")
        if y is not None:
            level = _log_levels(session, concentration, len(y))
            outside = np.abs(level - self._centre) > self._half * (1 + 1e-9)
            if outside.any():
                raise SchemaError(
                    f"session {session!r}: concentration {10 ** level[outside][0]:g} lies beyond the range of the fit, "
                    f"{self.levels_[0]:g} to {self.levels_[-1]:g}. Leave those trials out."
                )
            self._new_levels = level
        return super().add_session(session, X, y)

    def posterior_over_time(self, session: str, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_times, n_odors, n_levels) over odor and concentration, causal."""
        data, loadings = self._known(session, X)
        log_p = log_joint(data, loadings, self.dynamics_)
        return softmax(log_p, axis=2).reshape(*log_p.shape[:2], len(self.conditions_), self.n_levels)

    def predict_concentration(self, session: str, X: np.ndarray) -> np.ndarray:
        """Concentration of each trial (n_trials,): 10 to the posterior mean of its log10, whatever the odor."""
        posterior = self.posterior_over_time(session, X)[:, -1].sum(axis=1)
        return 10 ** (posterior @ np.log10(self.levels_))

    def dynamics_at(self, odor: np.ndarray, concentration: np.ndarray) -> Dynamics:
        """Dynamics of odors (n,), positions on ``conditions_``, at concentrations (n,)."""
        phi = self._basis(np.log10(concentration))
        A, Q, Q0, B, B0 = (part[odor] for part in self._coefficients)
        return Dynamics(A, np.einsum("nj,njtd->ntd", phi, B), Q, np.einsum("nj,njd->nd", phi, B0), Q0)

    # ---- what MixtureLDS asks for ----

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        self._is_training = True
        super()._fit(cohort, y)
        self._is_training = False
        self.conditions_ = self._odors
        self._coefficients = _coefficients(self.dynamics_, self._training_design())
        n_odors = len(self._odors)
        self.dynamics_ = self.dynamics_at(np.repeat(np.arange(n_odors), self.n_levels), np.tile(self.levels_, n_odors))

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        """With the conditions of the new session's own trials for the while."""
        kept = self.conditions_, self.dynamics_
        if self._is_labelled:
            odor = self._positions(session, y)
            pairs, y = np.unique(np.column_stack([odor, self._new_levels]), axis=0, return_inverse=True)
            self.dynamics_ = self.dynamics_at(pairs[:, 0].astype(int), 10 ** pairs[:, 1])
            self.conditions_, y = np.arange(len(pairs)), np.ravel(y)
        else:
            self.conditions_ = np.arange(len(self.dynamics_.x0))
        try:
            super()._add(session, X, y)
        finally:
            self.conditions_, self.dynamics_ = kept

    def _by_odor(self, log_p: np.ndarray) -> np.ndarray:
        by_level = log_p.reshape(*log_p.shape[:-1], -1, self.n_levels)
        return logsumexp(by_level, axis=-1) - np.log(self.n_levels)

    def _design(self) -> Design:
        return self._training_design() if self._is_training else super()._design()

    def _training_design(self) -> Design:
        return Design(self._pairs[:, 0].astype(int), self._basis(self._pairs[:, 1]), self.has_own_noise, self.ridge)

    def _basis(self, level: np.ndarray) -> np.ndarray:
        return np.polynomial.legendre.legvander((level - self._centre) / self._half, self.degree)

    def _check_levels(self, pairs: np.ndarray) -> None:
        counts = np.bincount(pairs[:, 0].astype(int))
        few = np.flatnonzero(counts <= self.degree)
        if few.size:
            raise SchemaError(
                f"odor {self._odors.tolist()[few[0]]!r} is there at {counts[few[0]]} concentrations in all sessions, "
                f"and a polynomial of degree {self.degree} needs {self.degree + 1}. Lower the degree."
            )


def _log_levels(session: str, concentration: Any, n_trials: int) -> np.ndarray:
    values = np.asarray(concentration if concentration is not None else (), float)
    if values.shape != (n_trials,) or not (np.isfinite(values) & (values > 0)).all():
        raise SchemaError(
            f"session {session!r} has {n_trials} odors and concentrations of shape {values.shape}, of which "
            f"{int((~(values > 0)).sum())} are not positive. Give one positive number for each trial."
        )
    return np.round(np.log10(values), 9)


def _pairs(odors: np.ndarray, odor: np.ndarray, level: np.ndarray) -> np.ndarray:
    """(n_trials, 2): position of the odor, and log10 concentration."""
    return np.column_stack([np.searchsorted(odors, odor).astype(float), level])


def _rows_in(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Position of each row in a table that holds it."""
    return (rows[:, None] == table[None]).all(axis=2).argmax(axis=1)


def _check_overlap(odor: Mapping[str, np.ndarray]) -> None:
    for session, own in odor.items():
        others = [theirs for name, theirs in odor.items() if name != session]
        if others and not np.isin(own, np.concatenate(others)).any():
            raise SchemaError(
                f"session {session!r} has no odor in common with any other, the first is {own.tolist()[0]!r}. Check "
                f"the labels, or leave it out."
            )


def _coefficients(dynamics: Dynamics, design: Design) -> tuple[np.ndarray, ...]:
    """A, Q, Q0 of each odor, and B and B0 of which b and x0 are linear functions."""
    first = np.unique(design.owner, return_index=True)[1]
    B, B0 = [], []
    for odor in range(len(first)):
        here = design.owner == odor
        onto = np.linalg.pinv(design.basis[here])
        B.append(np.tensordot(onto, dynamics.b[here], axes=1))
        B0.append(onto @ dynamics.x0[here])
    return dynamics.A[first], dynamics.Q[first], dynamics.Q0[first], np.array(B), np.array(B0)
