"""Gaussian hidden Markov model: a population that passes through a few states, each with its own pattern."""

from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from ...datasets.errors import SchemaError
from .state_sequences import log_likelihood, most_likely, states
from .with_gaps import WithGaps, check_positive, check_whole, expectation_maximisation, inside, n_seen


class _Parameters(NamedTuple):
    prior: np.ndarray  # (n_states,)
    transition: np.ndarray  # (n_states, n_states)
    means: np.ndarray  # (n_states, n_units)
    variances: np.ndarray  # (n_states, n_units)


class _Trials(NamedTuple):
    values: np.ndarray  # (n_trials, n_times, n_units), 0 where absent
    present: np.ndarray  # the same shape, 0.0 or 1.0
    is_inside: np.ndarray  # (n_trials, n_times) bool


class GaussianHMM(WithGaps):
    """s_1 ~ start, s_t ~ transition[s_{t-1}], x_t ~ N(means[s_t], diag variances[s_t]); latents are p(s_t | x).

    Baum-Welch (Rabiner 1989, eq. 40 and 53-54 for one diagonal Gaussian a state) on all trials at once, from several
    starts (k-means), the most likely kept. A missing unit or bin is left out of the likelihood.
    States are ordered by the mean bin in which they occur. Beyond the source: a floor of the variances, without
    which a unit that is silent in a state makes the likelihood infinite.

    Parameters
    ----------
    n_latents : how many states
    n_restarts : starts from different seeds
    max_iter : of EM, for each start
    tol : EM stops once an iteration gains less log-likelihood than this per bin, in nats
    variance_floor : smallest variance of a unit in a state, as a share of that unit's variance over all bins
    random_state : seed of the starts

    Attributes
    ----------
    start_probabilities_, transition_ : (n_latents,) and (n_latents, n_latents), rows sum to 1
    means_, variances_ : (n_latents, n_units)
    mean_ : (n_units,), over all bins of the fit
    log_likelihoods_ : (n_iter_,), of all trials together, at each iteration of the start that was kept; never falling
    is_converged_ : whether the last gain was below ``tol``
    log_likelihood_of_starts_ : (n_restarts,), where each start ended

    Notes
    -----
    Time O(n_restarts · n_iterations · n_trials · n_times · n_states · (n_states + n_units)).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.repeat([[[0.0, 5.0], [5.0, 0.0]]], 4, axis=1) + np.random.default_rng(0).normal(0, 0.3, (6, 8, 2))
    >>> GaussianHMM(n_latents=2).fit(X).predict(X)[0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        n_restarts: int = 4,
        max_iter: int = 200,
        tol: float = 1e-5,
        variance_floor: float = 1e-3,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn states from X (n_trials, n_times, n_units), NaN where nothing was recorded; ``y`` is not used.

        Raises
        ------
        SchemaError : more states than bins, only trials of one bin, units that are all constant, a trial or a unit
            that is NaN throughout
        ConfigError : a parameter out of its range
        """
        X = self._for_fit(X, 1, n_bins=2)
        check_whole(self.n_latents, "n_latents", "GaussianHMM")
        if self.n_latents > n_seen(X):
            raise SchemaError(
                f"GaussianHMM: {n_seen(X)} bins in all cannot visit {self.n_latents} states. Ask for fewer n_latents."
            )
        for name in ("n_restarts", "max_iter"):
            check_whole(getattr(self, name), name, "GaussianHMM")
        for name in ("tol", "variance_floor"):
            check_positive(getattr(self, name), name, "GaussianHMM")
        self.mean_ = np.nanmean(X, axis=(0, 1))
        trials = self._trials(X)
        spread = np.nanvar(X, axis=(0, 1))
        floor = self.variance_floor * np.maximum(spread, 1e-3 * spread.mean())
        runs = []
        for seed in np.random.SeedSequence(self.random_state).spawn(self.n_restarts):
            start = _start(trials, self.n_latents, floor, np.random.default_rng(seed))
            step, least_gain = partial(_step, trials=trials, floor=floor), self.tol * n_seen(X)
            runs.append(expectation_maximisation(start, step, max_iter=self.max_iter, least_gain=least_gain))
        self.log_likelihood_of_starts_ = np.array([run.objective[-1] for run in runs])
        best = runs[int(self.log_likelihood_of_starts_.argmax())]
        self.log_likelihoods_, self.is_converged_ = np.array(best.objective), best.is_converged
        self.n_iter_ = len(best.objective)
        return self._keep(_in_order(best.state, trials))

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
        now = self._parameters()
        path = most_likely(_log_density(now, trials), now.prior, now.transition)
        return np.where(trials.is_inside, path, -1)

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Expected activity (n_trials, n_times, n_units) under probabilities of the states: Z @ means."""
        return np.asarray(Z) @ self.means_

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of each trial, (n_trials,), over what is present in it."""
        trials = self._trials(self._for_transform(X))
        now = self._parameters()
        return log_likelihood(_log_density(now, trials), now.prior, now.transition)

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        trials, now = self._trials(X)._replace(is_inside=is_inside), self._parameters()
        found = states(_log_density(now, trials), is_inside, now.prior, now.transition)
        return np.where(is_inside[:, :, None], found.probability, np.nan)

    def _trials(self, X: np.ndarray) -> _Trials:
        present = ~np.isnan(X)
        return _Trials(np.where(present, X - self.mean_, 0.0), present.astype(float), inside(X))

    def _parameters(self) -> _Parameters:
        return _Parameters(self.start_probabilities_, self.transition_, self.means_ - self.mean_, self.variances_)

    def _keep(self, found: _Parameters) -> Self:
        self.start_probabilities_, self.transition_ = found.prior, found.transition
        self.means_, self.variances_ = found.means + self.mean_, found.variances
        return self


def _log_density(now: _Parameters, trials: _Trials) -> np.ndarray:
    """(n_trials, n_times, n_states), over the units present; values are centred, so the squares lose no digits."""
    precise = 1 / now.variances
    constant = now.means**2 * precise + np.log(2 * np.pi * now.variances)
    squares = trials.values**2 @ precise.T - 2 * trials.values @ (now.means * precise).T
    return -0.5 * (squares + trials.present @ constant.T)


def _step(now: _Parameters, trials: _Trials, floor: np.ndarray) -> tuple[float, _Parameters]:
    """log p(X) under ``now``, and the parameters of the next iteration."""
    found = states(_log_density(now, trials), trials.is_inside, now.prior, now.transition)
    prior = found.probability[:, 0].sum(axis=0)
    leaves = found.transitions.sum(axis=1, keepdims=True)
    transition = np.where(leaves > 0, found.transitions / np.where(leaves > 0, leaves, 1.0), now.transition)
    means, variances = _patterns(found.probability, trials, floor, now.means, now.variances)
    return float(found.log_likelihood.sum()), _Parameters(prior / prior.sum(), transition, means, variances)


def _patterns(
    weight: np.ndarray, trials: _Trials, floor: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and variance of each unit in each state; the old ones where a state has no weight."""
    flat = weight.reshape(-1, weight.shape[2]).T
    values, present = (part.reshape(flat.shape[1], -1) for part in (trials.values, trials.present))
    mass = flat @ present
    there = np.where(mass > 0, mass, 1.0)
    mean = np.where(mass > 0, flat @ values / there, means)
    square = np.where(mass > 0, flat @ values**2 / there - mean**2, variances)
    return mean, np.maximum(square, floor)


def _start(trials: _Trials, n_states: int, floor: np.ndarray, rng: np.random.Generator) -> _Parameters:
    """K-means of the bins: centres drawn as in k-means++, and ten rounds of assigning and averaging."""
    seen = trials.present.any(axis=2)
    scale = np.sqrt(floor)
    bins = trials.values[seen] / scale  # a missing unit is at its mean
    centres = bins[rng.integers(len(bins))][None]
    for _ in range(n_states - 1):
        far = _squares(bins, centres).min(axis=1)
        total = far.sum()
        if total == 0:
            raise SchemaError(
                f"GaussianHMM: the bins of the fit hold only {len(centres)} different patterns, and n_latents is "
                f"{n_states}. Ask for fewer."
            )
        centres = np.vstack([centres, bins[rng.choice(len(bins), p=far / total)]])
    for _ in range(10):
        nearest = np.eye(n_states)[_squares(bins, centres).argmin(axis=1)]
        count = nearest.sum(axis=0)[:, None]
        centres = np.where(count > 0, nearest.T @ bins / np.maximum(count, 1), centres)
    weight = np.zeros((*seen.shape, n_states))
    weight[seen] = np.eye(n_states)[_squares(bins, centres).argmin(axis=1)]
    spread = np.broadcast_to(trials.values[seen].var(axis=0), centres.shape)
    means, variances = _patterns(weight, trials, floor, centres * scale, spread)
    stay = 0.8 * np.eye(n_states) + 0.2 / n_states
    return _Parameters(np.full(n_states, 1 / n_states), stay, means, variances)


def _squares(bins: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (n_bins, n_centres)."""
    return np.stack([np.square(bins - centre).sum(axis=1) for centre in centres], axis=1)


def _in_order(found: _Parameters, trials: _Trials) -> _Parameters:
    """The states in the order of the mean bin in which they occur."""
    posterior = states(_log_density(found, trials), trials.is_inside, found.prior, found.transition).probability
    share = posterior.sum(axis=0)
    total = share.sum(axis=0)
    order = np.argsort(np.arange(len(share)) @ share / np.where(total > 0, total, 1.0), kind="stable")
    prior, transition, means, variances = found
    return _Parameters(prior[order], transition[np.ix_(order, order)], means[order], variances[order])
