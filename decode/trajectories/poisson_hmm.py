"""Poisson hidden Markov model: spike counts that jump between a few sets of rates."""

import numpy as np
from scipy.special import gammaln
from sklearn.utils import Tags

from ..decoders.observations import refuse_negative
from .hidden_states import HiddenStates, Trials, weighted
from .with_gaps import check_positive, inside


class PoissonHMM(HiddenStates):
    """s_1 ~ start, s_t ~ transition[s_{t-1}], y_tu ~ Poisson(rates[s_t, u]); latents are p(s_t | y).

    As ``GaussianHMM``, for counts: with few spikes a bin a Gaussian finds nothing but the bins without any.
    As used for gustatory cortex by Jones et al. (2007), with all trials learned together.
    Beyond the source: a floor of the rates, without which one spike rules a state out.

    Parameters
    ----------
    n_latents : how many states
    n_restarts : starts from different seeds
    max_iter : of EM, for each start
    tol : EM stops once an iteration gains less log-likelihood than this per bin, in nats
    rate_floor : smallest rate of a unit in a state, as a share of that unit's mean count
    random_state : seed of the starts

    Attributes
    ----------
    start_probabilities_, transition_ : (n_latents,) and (n_latents, n_latents), rows sum to 1
    rates_ : (n_latents, n_units), counts per bin
    mean_ : (n_units,), mean count over all bins of the fit
    log_likelihoods_ : (n_iter_,), of all trials together, at each iteration of the start that was kept; never falling
    is_converged_ : whether the last gain was below ``tol``
    log_likelihood_of_starts_ : (n_restarts,), where each start ended

    Notes
    -----
    Time O(n_restarts · n_iter · n_trials · n_times · n_states · (n_states + n_units)).

    Examples
    --------
    >>> rates = np.repeat([[[0.5, 8.0], [8.0, 0.5]]], 4, axis=1)
    >>> Y = np.random.default_rng(0).poisson(np.repeat(rates, 6, axis=0))
    >>> PoissonHMM(n_latents=2).fit(Y).predict(Y)[0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        n_restarts: int = 4,
        max_iter: int = 200,
        tol: float = 1e-5,
        rate_floor: float = 0.01,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.rate_floor = rate_floor
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Expected counts (n_trials, n_times, n_units) under probabilities of the states: Z @ rates."""
        return np.asarray(Z) @ self.rates_

    def _begin(self, X: np.ndarray) -> None:
        check_positive(self.rate_floor, "rate_floor", "PoissonHMM")
        refuse_negative(X, "PoissonHMM")
        total = np.nansum(X, axis=(0, 1)) + 0.5  # half a spike more, so that a silent unit has a rate
        self.least_rate_ = self.rate_floor * total / (~np.isnan(X)).sum(axis=(0, 1))

    def _trials(self, X: np.ndarray) -> Trials:
        refuse_negative(X, "PoissonHMM")
        present = ~np.isnan(X)
        return Trials(np.where(present, X, 0.0), present.astype(float), inside(X))

    def _log_density(self, patterns: tuple[np.ndarray, ...], trials: Trials) -> np.ndarray:
        (rates,) = patterns
        constant = gammaln(trials.values + 1).sum(axis=2)
        return trials.values @ np.log(rates).T - trials.present @ rates.T - constant[:, :, None]

    def _learned(self, weight: np.ndarray, trials: Trials) -> tuple[np.ndarray, ...]:
        mass = weighted(weight, trials.present)
        rates = np.where(mass > 0, weighted(weight, trials.values) / np.where(mass > 0, mass, 1.0), self.mean_)
        return (np.maximum(rates, self.least_rate_),)

    def _alike(self, trials: Trials) -> np.ndarray:
        filled = np.where(trials.present > 0, trials.values, self.mean_)
        return np.sqrt(filled[trials.present.any(axis=2)])

    def _patterns(self) -> tuple[np.ndarray, ...]:
        return (self.rates_,)

    def _keep(self, *patterns: np.ndarray) -> None:
        (self.rates_,) = patterns
