"""Aligned mixture of latent dynamical systems (amLDS): odors have dynamics, animals have loadings.

Not here: the loop and its steps (``mitral.decode.trajectories.mixture_em`` and its neighbours), the form for one
animal (``mitral.decode.trajectories.mixture_lds``), concentration as a continuous condition
(``mixture_concentration``).
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.special import logsumexp, softmax

from ..datasets.errors import ConfigError, SchemaError, UnknownName
from ..datasets.tables import nearest
from ..decode.trajectories.missing import Observed, observed
from ..decode.trajectories.mixture_em import Assigned, Design, Loadings, Prior, assign, assign_all
from ..decode.trajectories.mixture_fit import Fit, best_of, log_evidence, log_joint, mean_latents, run_em
from ..decode.trajectories.mixture_learn import SHORT, STARTS, centred, free_design, learn
from ..decode.trajectories.mixture_start import condition_means
from .base import Aligner
from .loading_prior import first_guesses, noise_share, prior_from
from .n_latents import choose_n_latents


class MixtureLDS(Aligner):
    """z_1 | k ~ N(x0_k, Q0), z_t | k ~ N(A_k z_{t-1} + b_{k,t}, Q), x_t ~ N(C_m z_t + offset_m, diag R_m).

    Odor k has dynamics that all animals share, animal m has loadings and noise that all odors share: aligned is
    whatever explains all animals' trials with the same latents. Trained by expectation-maximisation with the exact
    joint M-step; decodes by Bayes' rule over odors, at every bin from the past alone. Trials may be ragged (NaN at
    their end), units or bins may be missing (NaN), animals may have different units and lack some odors.

    Parameters
    ----------
    n_latents : how many; of several the fewest within one standard error of the best held-out likelihood
    has_own_noise : Q and Q0 of each odor for itself; else one for all
    start : "factor" (units correspond between animals), "correlation" (any units), "auto": the better of those possible
    n_restarts : further, disturbed starts
    ridge : of A and C
    tolerance : EM stops when an iteration gains less than this, in nats for each trial
    max_iterations : of EM, at most
    random_state : of restarts, and of the folds that choose n_latents

    Attributes
    ----------
    conditions_ : (n_odors,)
    dynamics_ : A, b, Q, x0, Q0 of each odor
    loadings_ : session -> C, offset, R
    n_latents_ : how many there are
    n_latents_curve_ : held-out log likelihood of each n_latents, where there were several
    log_likelihood_, objective_ : (n_iterations,), the second with log priors never falls
    converged_ : whether EM stopped by its tolerance

    Notes
    -----
    Herrero-Vidal, Rinberg & Savin (2021, NeurIPS). Differs: offsets; A, b and Q maximised jointly; smoothing with the
    input; Q full; a new animal's loadings have a prior that is learned from the known animals. Latents have mean 0
    and covariance I over odors and bins, ordered by what they explain.
    Time of an iteration O(n_trials · n_times · (n_units d + d²) + n_animals · n_odors · n_times · d³).

    Examples
    --------
    >>> from mitral.datasets.simulate.latent_space import simulate_latent_space
    >>> space = simulate_latent_space(random_state=0, n_animals=3, n_odors=4, n_trials=4, n_units=20)
    >>> mice = {name: space.trials[name] for name in ("mouse-1", "mouse-2")}
    >>> aligner = MixtureLDS(n_latents=3).fit(mice, {name: space.odor[name] for name in mice})
    >>> new, odor = space.trials["mouse-3"], space.odor["mouse-3"]
    >>> said = aligner.add_session("mouse-3", new[:4], odor[:4]).predict("mouse-3", new[4:])
    >>> bool(np.mean(said == odor[4:]) > 0.7)
    True
    """

    takes_gaps = True

    def __init__(
        self,
        n_latents: int | Sequence[int] = 3,
        *,
        has_own_noise: bool = False,
        start: str = "auto",
        n_restarts: int = 0,
        ridge: float = 1e-2,
        tolerance: float = 1e-3,
        max_iterations: int = 200,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.has_own_noise = has_own_noise
        self.start = start
        self.n_restarts = n_restarts
        self.ridge = ridge
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def add_session(
        self, session: str, X: np.ndarray, y: np.ndarray | None = None, *, update_dynamics: bool = False
    ) -> Self:
        """Learn the loadings of one new animal, from a few trials of all odors, of some, or of one.

        Parameters
        ----------
        session : its name; one that was added before is learned anew
        X : (n_trials, n_times, n_units)
        y : (n_trials,) odors of the fit; None learns from trials without labels, with the posterior over odors
        update_dynamics : let the new trials also change the dynamics of the odors, in which the trials of the fit
            still count; loadings of other animals stay

        Raises
        ------
        SchemaError : as ``fit``, with the session; an odor that is not in the fit; no trials
        """
        self._check_fitted()
        if y is not None:
            other = np.setdiff1d(np.asarray(y), self.conditions_)
            if other.size and np.isin(np.asarray(y), self.conditions_).any():
                raise SchemaError(
                    f"session {session!r}: odor {other.tolist()[0]!r} was in no animal of the fit, so it has "
                    f"no dynamics. Leave its trials out, or fit with an animal that has it."
                )
        self._updates = update_dynamics
        known_labels, self.needs_labels = self.needs_labels, y is not None
        self._is_labelled = y is not None
        try:
            return super().add_session(session, X, y)
        finally:
            self.needs_labels = known_labels

    def predict_over_time(self, session: str, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_times, n_odors) given the activity up to and including each bin."""
        data, loadings = self._known(session, X)
        return softmax(self._by_odor(log_joint(data, loadings, self.dynamics_)), axis=2)

    def predict_proba(self, session: str, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_odors) given the whole trial, columns as ``conditions_``."""
        return self.predict_over_time(session, X)[:, -1]

    def predict(self, session: str, X: np.ndarray) -> np.ndarray:
        """Most probable odor of each trial (n_trials,)."""
        return self.conditions_[self.predict_proba(session, X).argmax(axis=1)]

    def log_likelihood(self, session: str, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        """log p(x | odor) of each trial (n_trials,); without odors log p(x), each odor equally probable."""
        data, loadings = self._known(session, X)
        values = self._by_odor(log_evidence(data, loadings, self.dynamics_)[:, -1])
        if y is None:
            return logsumexp(values, axis=1) - np.log(values.shape[1])
        return values[np.arange(len(values)), self._positions(session, np.asarray(y))]

    def score(self, session: str, X: np.ndarray, y: np.ndarray | None = None) -> float:
        """Mean log likelihood of a trial, in nats."""
        return float(self.log_likelihood(session, X, y).mean())

    # ---- what the base asks for ----

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        self.n_times_ = None
        self._n_bins = max(X.shape[1] for X in cohort.values())
        trials = {session: self._padded(session, X) for session, X in cohort.items()}
        self.n_latents_, self.n_latents_curve_ = self._n_latents(trials, y)
        self._check_sizes(trials)
        position = {session: self._positions(session, labels) for session, labels in y.items()}
        fit = learn(
            trials, position, self._design(), self.n_latents_, start=self.start, n_restarts=self.n_restarts,
            tolerance=self.tolerance, max_iterations=self.max_iterations, random_state=self.random_state,
        )  # fmt: skip
        self.loadings_, self.dynamics_, self._moments = fit.loadings, fit.dynamics, fit.moments
        self.log_likelihood_, self.objective_ = fit.log_likelihood, fit.objective
        self.converged_ = fit.has_converged
        self._noise_shares = {s: noise_share(observed(X), fit.loadings[s]) for s, X in trials.items()}

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        if not len(X):
            raise SchemaError(f"session {session!r} has no trials, and loadings are learned from some. Give a few.")
        X = self._padded(session, X)
        data, centre = centred(X)
        known = {name: self.loadings_[name] for name in self.sessions_}
        position = self._positions(session, y) if self._is_labelled else np.zeros(len(X), int)
        means = condition_means(data, position, len(self.conditions_))
        prior = _shifted(prior_from(known, self._noise_shares, means), centre)
        if self._is_labelled:
            starts = first_guesses(means, self.dynamics_, prior)
            assigned = assign(data, position)
        else:
            starts = [Loadings(prior.mean[:, :-1], prior.mean[:, -1], np.maximum(prior.noise, prior.floor))]
            assigned = assign_all(data, len(self.conditions_))
        self._learn_loadings(session, assigned, starts, prior, centre)

    def _learn_loadings(
        self, session: str, assigned: Assigned, starts: list[Loadings], prior: Prior, centre: np.ndarray
    ) -> None:
        given = {session: assigned}, self.dynamics_, self._design(), {session: prior}

        def run(loadings: Loadings, n_iterations: int, *, is_frozen: bool) -> Fit:
            animals, dynamics, design, priors = given
            return run_em(
                animals, {session: loadings}, dynamics, design, priors, tolerance=self.tolerance,
                max_iterations=n_iterations, is_frozen=is_frozen, known=None if is_frozen else self._moments,
            )  # fmt: skip

        begun = best_of([run(start, SHORT, is_frozen=True) for start in starts])
        fit = run(begun.loadings[session], self.max_iterations, is_frozen=not self._updates)
        found = fit.loadings[session]
        self.loadings_[session] = Loadings(found.C, found.offset + centre, found.R)
        if self._updates:
            self.dynamics_, self._moments = fit.dynamics, self._moments + fit.moments

    def _transform(self, session: str, X: np.ndarray) -> np.ndarray:
        three = X if X.ndim == 3 else X.reshape(-1, *X.shape[-2:]) if X.ndim > 3 else np.atleast_2d(X)[:, None]
        n_times = three.shape[1]
        data = observed(self._padded(session, three))
        equal = np.zeros(len(self.dynamics_.x0))
        z = mean_latents(data, self.loadings_[session], self.dynamics_, equal)
        return z[:, :n_times].reshape(*X.shape[:-1], self.n_latents_)

    # ---- pieces ----

    def _by_odor(self, log_p: np.ndarray) -> np.ndarray:
        """Log p of every odor (..., n_odors) from that of every condition of ``dynamics_``: here one for each."""
        return log_p

    def _design(self) -> Design:
        return free_design(len(self.conditions_), has_own_noise=self.has_own_noise, ridge=self.ridge)

    def _positions(self, session: str, y: np.ndarray) -> np.ndarray:
        position = np.searchsorted(self.conditions_, y).clip(max=len(self.conditions_) - 1)
        wrong = np.flatnonzero(self.conditions_[position] != y)
        if wrong.size:
            odor = y.tolist()[wrong[0]]
            raise SchemaError(f"session {session!r}: odor {odor!r} is not in the fit. Leave its trials out.")
        return position

    def _known(self, session: str, X: np.ndarray) -> tuple[Observed, Loadings]:
        self._check_fitted()
        if session not in self.units_:
            raise UnknownName(
                f"aligner knows no session {session!r}. {nearest(session, self.units_)} "
                f"Give it calibration trials with add_session({session!r}, ...)."
            )
        array = self._checked(session, X)
        if array.shape[2] != self.units_[session]:
            raise SchemaError(
                f"session {session!r}: the aligner was fitted on {self.units_[session]} units and got "
                f"{array.shape[2]}. Pass the units used in fit, or add_session under another name."
            )
        padded = self._padded(session, array)
        return observed(padded[:, : array.shape[1]]), self.loadings_[session]

    def _padded(self, session: str, X: np.ndarray) -> np.ndarray:
        """Trials with NaN bins up to the number of bins of the fit."""
        if X.shape[1] > self._n_bins:
            raise SchemaError(
                f"session {session!r} has {X.shape[1]} bins and the dynamics were learned for {self._n_bins}. Cut the "
                f"same window."
            )
        if np.isinf(X).any():
            raise SchemaError(f"session {session!r} holds infinity. Mark what is missing as NaN.")
        return np.pad(X, ((0, 0), (0, self._n_bins - X.shape[1]), (0, 0)), constant_values=np.nan)

    def _n_latents(
        self, trials: dict[str, np.ndarray], y: dict[str, np.ndarray]
    ) -> tuple[int, dict[int, float] | None]:
        if isinstance(self.n_latents, int | np.integer):
            return int(self.n_latents), None
        return choose_n_latents(self, trials, y)

    def _check_n_latents(self) -> None:
        several = [self.n_latents] if isinstance(self.n_latents, int | np.integer) else list(self.n_latents)
        if not several or any(not isinstance(n, int | np.integer) or n < 1 for n in several):
            raise ConfigError(f"MixtureLDS: n_latents is a whole number from 1, or several; got {self.n_latents!r}.")
        if self.start not in STARTS:
            raise ConfigError(f"MixtureLDS: start is one of {', '.join(STARTS)}; got {self.start!r}.")
        if self.ridge < 0 or self.tolerance <= 0 or self.max_iterations < 1 or self.n_restarts < 0:
            raise ConfigError(
                f"MixtureLDS: ridge ({self.ridge}) and n_restarts ({self.n_restarts}) are at least 0, tolerance "
                f"({self.tolerance}) above 0, max_iterations ({self.max_iterations}) at least 1."
            )

    def _check_sizes(self, trials: dict[str, np.ndarray]) -> None:
        for session, X in trials.items():
            if min(len(X), X.shape[2]) < self.n_latents_:
                raise SchemaError(
                    f"session {session!r} has {len(X)} trials of {X.shape[2]} units, which is fewer than the "
                    f"{self.n_latents_} latents asked for. Lower n_latents, or add it after the fit with add_session."
                )
            never = np.flatnonzero(np.isnan(X).all(axis=(0, 1)))
            if never.size:
                raise SchemaError(
                    f"session {session!r}: unit {never[0]} is NaN in all trials, so it has no loadings. Leave it out."
                )
        if self.start == "factor" and len({X.shape[2] for X in trials.values()}) > 1:
            sizes = {session: X.shape[2] for session, X in trials.items()}
            raise SchemaError(
                f"start 'factor' needs corresponding units, and sessions differ in their number: {sizes}. "
                f"Use start 'correlation'."
            )


def _shifted(prior: Prior, centre: np.ndarray) -> Prior:
    """The prior for activity less ``centre``."""
    mean: Any = prior.mean.copy()
    mean[:, -1] -= centre
    return prior._replace(mean=mean)
