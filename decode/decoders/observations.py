"""What a hidden state makes of one bin of activity: Poisson counts, or Gaussian with one covariance.

Both give the log likelihood of bin t in state k as a linear function of the activity, up to a term
that no state changes:  weights[t, k] · x + constants[t, k].  Not here: what links the bins.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from ...datasets.errors import SchemaError

OBSERVATIONS = ("poisson", "gaussian")
HALF_A_SPIKE = 0.5  # Jeffreys: a unit that is silent in the fit may fire later, in any state alike


def state_means(
    X: np.ndarray, present: np.ndarray, state: np.ndarray, n_states: int, *, prior_trials: float, least_sum: float
) -> np.ndarray:
    """Mean activity of each state in each bin, drawn towards the mean over all states.

    mean_tk = (sum of x over trials of state k + prior_trials · m_t) / (n_tk + prior_trials),
    m_t the mean over all trials. For counts this is the posterior mean of a Poisson rate under a
    Gamma(prior_trials · m_t, prior_trials) prior.

    Parameters
    ----------
    X : (n_trials, n_times, n_units), 0 where absent
    present : (n_trials, n_times) bool
    state : (n_trials,) positions on the states
    least_sum : least sum over all trials behind m_t; ``HALF_A_SPIKE`` for counts, -inf for traces

    Returns
    -------
    means (n_times, n_states, n_units)

    Raises
    ------
    SchemaError : the weight of the prior is not above 0
    """
    if not 0 < prior_trials < np.inf:
        raise SchemaError(
            f"prior_trials is a weight in trials above 0, got {prior_trials}: at 0, one spike of a unit that was "
            f"silent in a state would rule it out. Use a small number for little prior."
        )
    member = (state[:, None] == np.arange(n_states)).astype(np.float64)
    counts = present.T.astype(np.float64) @ member
    sums = np.einsum("ik,itu->tku", member, X, optimize=True)
    total = counts.sum(axis=1)
    grand = np.maximum(sums.sum(axis=1), least_sum) / np.maximum(total, 1)[:, None]
    return (sums + prior_trials * grand[:, None, :]) / (counts + prior_trials)[:, :, None]


def poisson_terms(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights log r and constants -sum r of Poisson counts with expectation r (n_times, n_states, n_units)."""
    return np.log(rates), -rates.sum(axis=2)


def gaussian_terms(means: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights S^-1 m and constants -m' S^-1 m / 2 of Gaussian activity with one covariance S.

    Parameters
    ----------
    means : (n_times, n_states, n_units)
    residuals : (n_samples, n_units) of all bins and states together; S is their Ledoit-Wolf estimate

    Raises
    ------
    SchemaError : nothing varies around the means
    """
    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    if not np.trace(covariance) > 0:
        raise SchemaError("no unit varies around its mean in a state, so there is no covariance to use. See the input.")
    flat = means.reshape(-1, means.shape[2])
    weights = cho_solve(cho_factor(covariance), flat.T).T.reshape(means.shape)
    return weights, -0.5 * np.sum(means * weights, axis=2)


def fit_observations(
    X: np.ndarray, present: np.ndarray, state: np.ndarray, n_states: int, *, observation: str, prior_trials: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_times, n_states, n_units) and constants (n_times, n_states) of the log likelihood.

    Parameters
    ----------
    X : (n_trials, n_times, n_units), 0 where absent
    present : (n_trials, n_times) bool
    state : (n_trials,) positions on the states
    observation : one of ``OBSERVATIONS``
    prior_trials : as in ``state_means``

    Raises
    ------
    SchemaError : a negative count; nothing varies around the means; no weight of the prior
    """
    if observation == "poisson":
        refuse_negative(X, "a Poisson observation")
        return poisson_terms(
            state_means(X, present, state, n_states, prior_trials=prior_trials, least_sum=HALF_A_SPIKE)
        )
    means = state_means(X, present, state, n_states, prior_trials=prior_trials, least_sum=-np.inf)
    residuals = (X - means.transpose(1, 0, 2)[state])[present]
    return gaussian_terms(means, residuals)


def refuse_unknown(observation: str, who: str) -> None:
    """``observation`` is one of ``OBSERVATIONS``.

    Raises
    ------
    SchemaError : another name
    """
    if observation not in OBSERVATIONS:
        raise SchemaError(f"{who}: observation is {' or '.join(OBSERVATIONS)}, got {observation!r}.")


def refuse_negative(X: np.ndarray, who: str) -> None:
    """Poisson models take counts.

    Raises
    ------
    SchemaError : a negative value
    """
    if np.any(X < 0):
        raise SchemaError(
            f"{who} takes counts, and found {float(X[X < 0][0]):.3g}. Put it before centring and scaling, or use a "
            f"Gaussian decoder for traces."
        )
