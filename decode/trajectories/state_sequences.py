"""Hidden states along trials in log space: posterior, expected transitions, likelihood, the most likely sequence.

    s_1 ~ prior,   s_t | s_{t-1} ~ transition[s_{t-1}],   x_t | s_t ~ p(x_t | s_t)

All trials at once, and exact for likelihoods of any size: nothing is scaled, so nothing underflows.
Not here: what the observations are, and how parameters are learned (``hmm``).
"""

from typing import NamedTuple

import numpy as np


class States(NamedTuple):
    """Posterior of the states given whole trials.

    Attributes
    ----------
    probability : (n_trials, n_times, n_states), 0 after the end of a trial
    transitions : (n_states, n_states), expected number of passages from row to column, summed over trials
    log_likelihood : (n_trials,)
    """

    probability: np.ndarray
    transitions: np.ndarray
    log_likelihood: np.ndarray


def states(log_density: np.ndarray, is_inside: np.ndarray, prior: np.ndarray, transition: np.ndarray) -> States:
    """Forward-backward over all trials.

    Parameters
    ----------
    log_density : (n_trials, n_times, n_states), log p(x_t | s); all 0 where a bin is missing or after the end
    is_inside : (n_trials, n_times) bool, bins of the trial
    prior : (n_states,) of the first bin
    transition : (n_states, n_states), rows sum to 1

    Notes
    -----
    Rabiner 1989, eq. 19-20 and 24-27, 37, in logarithms.
    Time O(n_trials · n_times · n_states²).

    Examples
    --------
    >>> found = states(np.log([[[0.5, 0.1], [0.2, 0.2]]]), np.ones((1, 2), bool), np.full(2, 0.5), np.eye(2))
    >>> found.probability.round(6).tolist(), np.exp(found.log_likelihood).round(6).tolist()
    ([[[0.833333, 0.166667], [0.833333, 0.166667]]], [0.06])
    """
    log_prior, log_transition = _logs(prior, transition)
    ahead = _forward(log_density, log_prior, log_transition)
    log_likelihood = _log_sum(ahead[:, -1], axis=1)
    behind = np.zeros_like(ahead)
    transitions = np.zeros_like(transition)
    for t in range(log_density.shape[1] - 2, -1, -1):
        onward = log_transition + (log_density[:, t + 1] + behind[:, t + 1])[:, None, :]
        behind[:, t] = _log_sum(onward, axis=2)
        joint = np.exp(ahead[:, t, :, None] + onward - log_likelihood[:, None, None])
        transitions += np.tensordot(is_inside[:, t + 1].astype(float), joint, axes=1)
    probability = np.exp(ahead + behind - log_likelihood[:, None, None])
    probability *= is_inside[:, :, None] / probability.sum(axis=2, keepdims=True)
    return States(probability, transitions, log_likelihood)


def log_likelihood(log_density: np.ndarray, prior: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Log p(x) of each trial, (n_trials,); arguments as in ``states``."""
    return _log_sum(_forward(log_density, *_logs(prior, transition))[:, -1], axis=1)


def most_likely(log_density: np.ndarray, prior: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """The sequence of states with the largest joint probability (Viterbi), (n_trials, n_times) int.

    Bins after the end of a trial, where ``log_density`` is 0, do not change the sequence before it.

    Examples
    --------
    >>> most_likely(np.log([[[0.9, 0.1], [0.4, 0.6]]]), np.full(2, 0.5), np.array([[0.9, 0.1], [0.1, 0.9]])).tolist()
    [[0, 0]]
    """
    log_prior, log_transition = _logs(prior, transition)
    n_trials, n_times, n_states = log_density.shape
    best = log_prior + log_density[:, 0]
    came_from = np.empty((n_times, n_trials, n_states), int)
    for t in range(1, n_times):
        through = best[:, :, None] + log_transition
        came_from[t] = through.argmax(axis=1)
        best = through.max(axis=1) + log_density[:, t]
    path = np.empty((n_trials, n_times), int)
    path[:, -1] = best.argmax(axis=1)
    for t in range(n_times - 1, 0, -1):
        path[:, t - 1] = came_from[t, np.arange(n_trials), path[:, t]]
    return path


def _forward(log_density: np.ndarray, log_prior: np.ndarray, log_transition: np.ndarray) -> np.ndarray:
    """Log p(x_1 ... x_t, s_t)."""
    ahead = np.empty_like(log_density)
    ahead[:, 0] = log_prior + log_density[:, 0]
    for t in range(1, log_density.shape[1]):
        ahead[:, t] = _log_sum(ahead[:, t - 1, :, None] + log_transition, axis=1) + log_density[:, t]
    return ahead


def _logs(*probabilities: np.ndarray) -> list[np.ndarray]:
    with np.errstate(divide="ignore"):  # what cannot be has log probability -inf
        return [np.log(p) for p in probabilities]


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """Log of the sum of exponentials; -inf where all are."""
    largest = values.max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - largest).sum(axis=axis)) + np.squeeze(largest, axis)
