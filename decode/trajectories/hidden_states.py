"""Hidden Markov models learned by EM, whatever a state says about the units: starts, restarts, order, sequences.

Not here: the recursions over time (``state_sequences``), and the observations of a state (``hmm``, ``poisson_hmm``).
"""

from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from ...datasets.errors import SchemaError
from .state_sequences import log_likelihood, most_likely, states
from .with_gaps import WithGaps, check_positive, check_whole, expectation_maximisation, inside, n_seen


class Parameters(NamedTuple):
    """Start (n_states,), transition (n_states, n_states), and the patterns of the states, each (n_states, n_units)."""

    start: np.ndarray
    transition: np.ndarray
    patterns: tuple[np.ndarray, ...]


class Trials(NamedTuple):
    """Activity with its gaps filled by zeros.

    Attributes
    ----------
    values, present : (n_trials, n_times, n_units), 0 where absent; 1.0 where present
    is_inside : (n_trials, n_times) bool
    """

    values: np.ndarray
    present: np.ndarray
    is_inside: np.ndarray


class HiddenStates(WithGaps):
    """s_1 ~ start, s_t ~ transition[s_{t-1}]; latents are p(s_t | x). A subclass says what x is in a state.

    Baum-Welch (Rabiner 1989, eq. 40) on all trials at once, from several starts (k-means), the most likely kept.
    A missing unit or bin is left out of the likelihood. States are ordered by the mean bin in which they occur.

    Attributes
    ----------
    start_probabilities_, transition_ : (n_latents,) and (n_latents, n_latents), rows sum to 1
    mean_ : (n_units,), over all bins of the fit
    log_likelihoods_ : (n_iter_,), of all trials together, at each iteration of the start that was kept; never falling
    is_converged_ : whether the last gain was below ``tol``
    log_likelihood_of_starts_ : (n_restarts,), where each start ended
    """

    n_latents: int
    n_restarts: int
    max_iter: int
    tol: float
    random_state: int

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn states from X (n_trials, n_times, n_units), NaN where nothing was recorded; ``y`` is not used.

        Raises
        ------
        SchemaError : more states than bins or than different bins, only trials of one bin, units that are all
            constant, a trial or a unit that is NaN throughout, values that the observations cannot have
        ConfigError : a parameter out of its range
        """
        who = type(self).__name__
        X = self._for_fit(X, 1, n_bins=2)
        for name in ("n_latents", "n_restarts", "max_iter"):
            check_whole(getattr(self, name), name, who)
        check_positive(self.tol, "tol", who)
        if self.n_latents > n_seen(X):
            raise SchemaError(
                f"{who}: {n_seen(X)} bins in all cannot visit {self.n_latents} states. Ask for fewer n_latents."
            )
        self.mean_ = np.nanmean(X, axis=(0, 1))
        self._begin(X)
        trials = self._trials(X)
        step, least_gain = partial(self._step, trials=trials), self.tol * n_seen(X)
        runs = []
        for seed in np.random.SeedSequence(self.random_state).spawn(self.n_restarts):
            start = self._start(trials, np.random.default_rng(seed))
            runs.append(expectation_maximisation(start, step, max_iter=self.max_iter, least_gain=least_gain))
        self.log_likelihood_of_starts_ = np.array([run.objective[-1] for run in runs])
        best = runs[int(self.log_likelihood_of_starts_.argmax())]
        self.log_likelihoods_, self.is_converged_ = np.array(best.objective), best.is_converged
        self.n_iter_ = len(best.objective)
        found = self._in_order(best.state, trials)
        self.start_probabilities_, self.transition_ = found.start, found.transition
        self._keep(*found.patterns)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Probability of each state in each bin given the whole trial, (n_trials, n_times, n_latents).

        NaN after the end of a trial.

        Raises
        ------
        SchemaError : another number of units than in the fit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        return self._latents(X, inside(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most likely sequence of states of each trial (Viterbi), (n_trials, n_times) int; -1 after its end."""
        trials = self._trials(self._for_transform(X))
        density = self._log_density(self._patterns(), trials)
        path = most_likely(density, self.start_probabilities_, self.transition_)
        return np.where(trials.is_inside, path, -1)

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of each trial, (n_trials,), over what is present in it."""
        trials = self._trials(self._for_transform(X))
        density = self._log_density(self._patterns(), trials)
        return log_likelihood(density, self.start_probabilities_, self.transition_)

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        trials = self._trials(X)._replace(is_inside=is_inside)
        now = Parameters(self.start_probabilities_, self.transition_, self._patterns())
        return np.where(is_inside[:, :, None], self._states(now, trials).probability, np.nan)

    def _begin(self, X: np.ndarray) -> None:
        """Check what the observations need, and set what stays the same during the fit."""
        raise NotImplementedError

    def _trials(self, X: np.ndarray) -> Trials:
        """The trials in the form that ``_log_density`` and ``_learned`` take."""
        raise NotImplementedError

    def _log_density(self, patterns: tuple[np.ndarray, ...], trials: Trials) -> np.ndarray:
        """Log p(x_t | s) over the units present, (n_trials, n_times, n_states)."""
        raise NotImplementedError

    def _learned(self, weight: np.ndarray, trials: Trials) -> tuple[np.ndarray, ...]:
        """Patterns that maximise the weighted log density; ``weight`` (n_trials, n_times, n_states)."""
        raise NotImplementedError

    def _alike(self, trials: Trials) -> np.ndarray:
        """Bins (n_bins, n_units) in a scale in which distances are fair: where k-means looks for a start."""
        raise NotImplementedError

    def _patterns(self) -> tuple[np.ndarray, ...]:
        """Fitted patterns, as ``_log_density`` takes them."""
        raise NotImplementedError

    def _keep(self, *patterns: np.ndarray) -> None:
        """Set the fitted attributes."""
        raise NotImplementedError

    def _states(self, now: Parameters, trials: Trials) -> Any:
        return states(self._log_density(now.patterns, trials), trials.is_inside, now.start, now.transition)

    def _step(self, now: Parameters, trials: Trials) -> tuple[float, Parameters]:
        """log p(X) under ``now``, and the parameters of the next iteration."""
        found = self._states(now, trials)
        start = found.probability[:, 0].sum(axis=0)
        leaves = found.transitions.sum(axis=1, keepdims=True)
        transition = np.where(leaves > 0, found.transitions / np.where(leaves > 0, leaves, 1.0), now.transition)
        patterns = self._learned(found.probability, trials)
        return float(found.log_likelihood.sum()), Parameters(start / start.sum(), transition, patterns)

    def _start(self, trials: Trials, rng: np.random.Generator) -> Parameters:
        seen, n_states = trials.present.any(axis=2), int(self.n_latents)
        weight = np.zeros((*seen.shape, n_states))
        weight[seen] = np.eye(n_states)[_k_means(self._alike(trials), n_states, rng, type(self).__name__)]
        stay = 0.8 * np.eye(n_states) + 0.2 / n_states
        return Parameters(np.full(n_states, 1 / n_states), stay, self._learned(weight, trials))

    def _in_order(self, found: Parameters, trials: Trials) -> Parameters:
        """The states in the order of the mean bin in which they occur."""
        share = self._states(found, trials).probability.sum(axis=0)
        total = share.sum(axis=0)
        order = np.argsort(np.arange(len(share)) @ share / np.where(total > 0, total, 1.0), kind="stable")
        patterns = tuple(pattern[order] for pattern in found.patterns)
        return Parameters(found.start[order], found.transition[np.ix_(order, order)], patterns)


def weighted(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over trials and bins: (n_trials, n_times, n_states) and (..., n_units) -> (n_states, n_units)."""
    return weight.reshape(-1, weight.shape[2]).T @ values.reshape(-1, values.shape[2])


def _k_means(bins: np.ndarray, n_states: int, rng: np.random.Generator, who: str) -> np.ndarray:
    """Nearest centre of each bin; centres drawn as in k-means++, and ten rounds of assigning and averaging."""
    centres = bins[rng.integers(len(bins))][None]
    for _ in range(n_states - 1):
        far = _squares(bins, centres).min(axis=1)
        total = far.sum()
        if total == 0:
            raise SchemaError(
                f"{who}: the bins of the fit hold only {len(centres)} different patterns, and n_latents is "
                f"{n_states}. Ask for fewer."
            )
        centres = np.vstack([centres, bins[rng.choice(len(bins), p=far / total)]])
    for _ in range(10):
        nearest = np.eye(n_states)[_squares(bins, centres).argmin(axis=1)]
        count = nearest.sum(axis=0)[:, None]
        centres = np.where(count > 0, nearest.T @ bins / np.maximum(count, 1), centres)
    return _squares(bins, centres).argmin(axis=1)


def _squares(bins: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (n_bins, n_centres)."""
    return np.stack([np.square(bins - centre).sum(axis=1) for centre in centres], axis=1)
