"""Posterior over hidden states along a trial: forward, and forward-backward.

Numpy on log likelihoods (n_trials, n_times, n_states), all trials at once. Not here: where the
likelihoods and the transition matrix come from.
"""

import numpy as np


def forward(log_likelihood: np.ndarray, prior: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Posterior of the state in each bin, given the activity up to and including it.

    p_t(k) ∝ lik_t(k) sum_j p_{t-1}(j) transition_jk  (Rabiner 1989, eq. 19-20, scaled as in eq. 92).

    Parameters
    ----------
    log_likelihood : (n_trials, n_times, n_states); all 0 where a bin says nothing
    prior : (n_states,) of the first bin
    transition : (n_states, n_states), rows sum to 1

    Returns
    -------
    posterior (n_trials, n_times, n_states)

    Notes
    -----
    Time O(n_trials · n_times · n_states²).
    """
    likelihood = _scaled(log_likelihood)
    out = np.empty_like(likelihood)
    ahead = np.broadcast_to(prior, likelihood[:, 0].shape)
    for t in range(likelihood.shape[1]):
        joint = ahead * likelihood[:, t]
        out[:, t] = joint / joint.sum(axis=1, keepdims=True)
        ahead = out[:, t] @ transition
    return out


def forward_backward(log_likelihood: np.ndarray, prior: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Posterior of the state in each bin, given the activity of the whole trial.

    Parameters
    ----------
    log_likelihood, prior, transition : as in ``forward``

    Returns
    -------
    posterior (n_trials, n_times, n_states)  (Rabiner 1989, eq. 27)
    """
    likelihood = _scaled(log_likelihood)
    out = forward(log_likelihood, prior, transition)
    behind = np.ones_like(likelihood[:, 0])
    for t in range(likelihood.shape[1] - 2, -1, -1):
        behind = (likelihood[:, t + 1] * behind) @ transition.T
        behind /= behind.sum(axis=1, keepdims=True)
        joint = out[:, t] * behind
        out[:, t] = joint / joint.sum(axis=1, keepdims=True)
    return out


def _scaled(log_likelihood: np.ndarray) -> np.ndarray:
    """Likelihoods whose largest over the states is 1 in each bin."""
    return np.exp(log_likelihood - log_likelihood.max(axis=2, keepdims=True))
