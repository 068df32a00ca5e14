"""Gaussian hidden Markov model: a population that passes through a few states, each with its own pattern."""

import numpy as np

from .hidden_states import HiddenStates, Trials, weighted
from .with_gaps import check_positive, inside


class GaussianHMM(HiddenStates):
    """s_1 ~ start, s_t ~ transition[s_{t-1}], x_t ~ N(means[s_t], diag variances[s_t]); latents are p(s_t | x).

    Baum-Welch (Rabiner 1989, eq. 40 and 53-54 for one diagonal Gaussian a state) on all trials at once, from several
    starts (k-means), the most likely kept. A missing unit or bin is left out of the likelihood.
    States are ordered by the mean bin in which they occur. Beyond the source: a floor of the variances, without
    which a unit that is silent in a state makes the likelihood infinite. For few spikes a bin take ``PoissonHMM``.

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
    Time O(n_restarts · n_iter · n_trials · n_times · n_states · (n_states + n_units)).

    Examples
    --------
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
        variance_floor: float = 0.05,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.random_state = random_state

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Expected activity (n_trials, n_times, n_units) under probabilities of the states: Z @ means."""
        return np.asarray(Z) @ self.means_

    def _begin(self, X: np.ndarray) -> None:
        check_positive(self.variance_floor, "variance_floor", "GaussianHMM")
        variance = np.nanvar(X, axis=(0, 1))
        self.least_variance_ = self.variance_floor * np.maximum(variance, 1e-3 * variance.mean())

    def _trials(self, X: np.ndarray) -> Trials:
        present = ~np.isnan(X)
        return Trials(np.where(present, X - self.mean_, 0.0), present.astype(float), inside(X))

    def _log_density(self, patterns: tuple[np.ndarray, ...], trials: Trials) -> np.ndarray:
        means, variances = patterns  # values are centred, so that the squares lose no digits
        precise = 1 / variances
        constant = means**2 * precise + np.log(2 * np.pi * variances)
        squares = trials.values**2 @ precise.T - 2 * trials.values @ (means * precise).T
        return -0.5 * (squares + trials.present @ constant.T)

    def _learned(self, weight: np.ndarray, trials: Trials) -> tuple[np.ndarray, ...]:
        mass = weighted(weight, trials.present)
        there = np.where(mass > 0, mass, 1.0)  # a unit that a state never sees has its overall mean and variance in it
        means = weighted(weight, trials.values) / there
        variances = np.maximum(weighted(weight, trials.values**2) / there - means**2, self.least_variance_)
        return means, np.where(mass > 0, variances, self.least_variance_ / self.variance_floor)

    def _alike(self, trials: Trials) -> np.ndarray:
        return trials.values[trials.present.any(axis=2)] / np.sqrt(self.least_variance_)

    def _patterns(self) -> tuple[np.ndarray, ...]:
        return self.means_ - self.mean_, self.variances_

    def _keep(self, *patterns: np.ndarray) -> None:
        self.means_, self.variances_ = patterns[0] + self.mean_, patterns[1]
