"""What reducers share that take trials of unequal length, missing units and missing bins: the checks, and EM's rule.

X (n_trials, n_times, n_units) holds NaN where nothing was recorded. The **end** of a trial is its last bin in which
any unit is present; bins after it are no part of the trial, and their latents are NaN. Bins before it that are
missing, wholly or in some units, have latents, which the model fills in from what is there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...datasets.errors import ConfigError, SchemaError
from ...datasets.preprocess import ThreeAxes, three_axes
from .loadings import check_fit


class WithGaps(ThreeAxes):
    """Base of reducers on (trial, time, unit) that take NaN."""

    def _for_fit(self, X: np.ndarray, n_latents: Any, *, n_bins: int = 1) -> np.ndarray:
        """X in float64, if there is something to learn ``n_latents`` latents from.

        Parameters
        ----------
        n_bins : bins that at least one trial must have

        Raises
        ------
        ConfigError : ``n_latents`` is no whole number of at least 1
        SchemaError : no trials, a trial or a unit that is NaN throughout, units that are all constant, more latents
            than bins or than units that change, no trial of ``n_bins`` bins
        """
        who = type(self).__name__
        X = three_axes(X, who).astype(np.float64)
        refuse_empty(X, who)
        absent = np.flatnonzero(np.isnan(X).all(axis=(0, 1)))
        if absent.size:
            raise SchemaError(
                f"{who}: the unit at position {absent[0]} is NaN in all {len(X)} trials of the fit. Leave it out."
            )
        check_fit(X, n_latents, who)
        rows = X.reshape(-1, X.shape[2])
        n_changing = int((np.fmax.reduce(rows) > np.fmin.reduce(rows)).sum())
        if n_latents > n_changing:
            raise SchemaError(
                f"{who}: only {n_changing} of the {X.shape[2]} units change, and n_latents is {n_latents}. "
                f"Ask for fewer."
            )
        longest = int(trial_ends(X).max())
        if longest < n_bins:
            raise SchemaError(
                f"{who}: the longest trial of the fit has {longest} bins, and the dynamics are learned from trials of "
                f"at least {n_bins}. Take a longer window, or narrower bins."
            )
        self.n_features_in_ = X.shape[2]
        return X

    def _for_transform(self, X: np.ndarray) -> np.ndarray:
        """X in float64, if it has the units of the fit and something in every trial."""
        X = self._checked(X).astype(np.float64)
        refuse_empty(X, type(self).__name__)
        return X

    def leave_unit_out(self, X: np.ndarray) -> np.ndarray:
        """Each unit predicted from all others of the whole trial, (n_trials, n_times, n_units); NaN after its end.

        Raises
        ------
        SchemaError : another number of units than in the fit, one unit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        if X.shape[2] == 1:
            raise SchemaError(f"{type(self).__name__}: there is one unit, and no other to predict it from. Add units.")
        there, said = inside(X), np.empty_like(X)
        for unit in range(X.shape[2]):
            hidden = X.copy()
            hidden[:, :, unit] = np.nan
            said[:, :, unit] = self.inverse_transform(self._latents(hidden, there))[:, :, unit]
        return said

    def score(self, X: np.ndarray, y: Any = None) -> float:
        """Mean log-likelihood of a bin of X, in nats: ``log_likelihood`` of all trials, by the bins that they have."""
        return float(self.log_likelihood(X).sum() / n_seen(np.asarray(X, float)))

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of each trial, (n_trials,)."""
        raise NotImplementedError

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Expected activity (n_trials, n_times, n_units) of latents (n_trials, n_times, n_latents)."""
        raise NotImplementedError

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        """Latents of X, which has been checked, NaN where not ``is_inside``."""
        raise NotImplementedError


class Trace(NamedTuple):
    """One run of EM.

    Attributes
    ----------
    state : parameters at the end
    objective : value before each M step
    is_converged : whether the last gain was below the tolerance
    """

    state: Any
    objective: list[float]
    is_converged: bool


def expectation_maximisation(
    state: Any, step: Callable[[Any], tuple[float, Any]], *, max_iter: int, least_gain: float
) -> Trace:
    """Repeat ``step``, which gives the objective of a state and the next state, until it gains too little.

    Stops once two consecutive objectives differ by less than ``least_gain``, with the better of the two states,
    or after ``max_iter``.

    Examples
    --------
    >>> halve = lambda x: (-abs(x), x / 2)
    >>> expectation_maximisation(1.0, halve, max_iter=50, least_gain=0.1).objective
    [-1.0, -0.5, -0.25, -0.125, -0.0625]
    """
    objective: list[float] = []
    before = state
    for _ in range(max_iter):
        value, following = step(state)
        if objective and value < objective[-1]:
            return Trace(before, objective, True)
        if objective and value - objective[-1] < least_gain:
            return Trace(state, [*objective, value], True)
        objective.append(value)
        before, state = state, following
    return Trace(before, objective, False)


def refuse_empty(X: np.ndarray, who: str) -> None:
    """Refuse an array without trials, bins or units, and trials that are NaN throughout.

    Raises
    ------
    SchemaError : with the position of the first such trial
    """
    if not X.size:
        raise SchemaError(f"{who} takes at least one trial, bin and unit, got shape {X.shape}. Check the selection.")
    empty = np.flatnonzero(np.isnan(X).all(axis=(1, 2)))
    if empty.size:
        raise SchemaError(
            f"{who}: {empty.size} trials are NaN in every bin and unit, the first at position {empty[0]}. "
            f"Leave them out."
        )


def trial_ends(X: np.ndarray) -> np.ndarray:
    """(n_trials,), bins up to the last one in which any unit is present."""
    seen = ~np.isnan(X).all(axis=2)
    return np.where(seen.any(axis=1), X.shape[1] - seen[:, ::-1].argmax(axis=1), 0)


def n_seen(X: np.ndarray) -> int:
    """Number of bins of all trials in which any unit is present."""
    return int((~np.isnan(X)).any(axis=2).sum())


def inside(X: np.ndarray) -> np.ndarray:
    """(n_trials, n_times) bool, the bins before the end of each trial."""
    return np.arange(X.shape[1]) < trial_ends(X)[:, None]


def check_whole(value: Any, name: str, who: str, *, at_least: int = 1) -> None:
    """Refuse what is no whole number of at least ``at_least``.

    Raises
    ------
    ConfigError : with the value
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ConfigError(f"{who}: {name} must be a whole number of at least {at_least}, got {value!r}.")


def check_positive(value: Any, name: str, who: str) -> None:
    """Refuse what is no positive number.

    Raises
    ------
    ConfigError : with the value
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
        raise ConfigError(f"{who}: {name} must be a positive number, got {value!r}.")
