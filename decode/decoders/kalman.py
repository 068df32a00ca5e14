"""Kalman filter and smoother: numbers over time as the hidden state of a linear Gaussian model."""

from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from ...datasets.errors import SchemaError
from .sequences import OverTime, refuse_constant


class KalmanFilter(OverTime):
    """State x_{t+1} = A x_t + w, activity z_t = H x_t + q, w ~ N(0, W), q ~ N(0, Q); all centred in training.

    Wu et al. (2006): A, W (eq. 3-4) and H, Q by least squares on training trials, where the state is known;
    prediction by the Kalman recursion (their eq. 5-9). The state holds the target and its ``n_derivatives``
    differences from bin to bin. Two departures: Q is a Ledoit-Wolf estimate, so that it has an inverse with
    more units than bins, and the first bin starts from the mean and covariance of the training states.

    Parameters
    ----------
    n_derivatives : 0 the target alone, 1 with its velocity, 2 with its acceleration as well
    is_causal : filter, which uses the activity up to each bin; else smoother (Rauch et al. 1965), which uses all

    Attributes
    ----------
    transition_, transition_noise_ : A and W (n_states, n_states)
    observation_, observation_noise_ : H (n_units, n_states) and Q (n_units, n_units)
    state_mean_, unit_mean_, start_covariance_ : what was subtracted, and the first bin's covariance

    Notes
    -----
    Time O(n_bins · n_units · n_states + n_units³); the target acts through n_states numbers a bin only.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.cumsum(rng.normal(size=(5, 200)), axis=1)
    >>> X = y[:, :, None] * [1.0, -1.0, 2.0] + rng.normal(size=(5, 200, 3))
    >>> predicted = KalmanFilter().fit(X[:4], y[:4]).predict(X[4:])
    >>> bool(np.corrcoef(predicted.ravel(), y[4])[0, 1] > 0.99)
    True
    """

    def __init__(self, n_derivatives: int = 1, *, is_causal: bool = True) -> None:
        self.n_derivatives = n_derivatives
        self.is_causal = is_causal

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_trials, n_times, n_units), y (n_trials, n_times) or (n_trials, n_times, n_outputs).

        Raises
        ------
        SchemaError : shapes that do not fit, a constant target, a number of derivatives that is not 0, 1 or 2,
            trials too short for them, activity that the target explains without rest
        """
        if self.n_derivatives not in (0, 1, 2):
            raise SchemaError(f"KalmanFilter: n_derivatives is 0, 1 or 2, got {self.n_derivatives!r}.")
        X, present, Y = self._learn_shapes(X, y)
        states = _with_derivatives(np.where(present[:, :, None], Y, np.nan), self.n_derivatives)
        known = np.isfinite(states).all(axis=2)
        refuse_constant(states[known], "KalmanFilter")
        follows = known[:, 1:] & known[:, :-1]
        if not follows.any():
            raise SchemaError("KalmanFilter: no training trial has two known bins in a row. Use longer trials.")
        self.n_outputs_ = Y.shape[2]
        self.state_mean_, self.unit_mean_ = states[known].mean(axis=0), X[known].mean(axis=0)
        states = states - self.state_mean_
        before, after = states[:, :-1][follows], states[:, 1:][follows]
        A = np.linalg.lstsq(before, after, rcond=None)[0]
        rest = after - before @ A
        x, z = states[known], X[known] - self.unit_mean_
        H = np.linalg.lstsq(x, z, rcond=None)[0]
        Q, _ = ledoit_wolf(z - x @ H, assume_centered=True)
        if not np.trace(Q) > 1e-12 * np.sum(z.var(axis=0)):  # the rest is rounding
            raise SchemaError("KalmanFilter: the activity is a function of the target without rest. See the input.")
        self.transition_, self.transition_noise_ = A.T, rest.T @ rest / len(rest)
        self.observation_, self.observation_noise_ = H.T, Q
        self.start_covariance_ = x.T @ x / len(x)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values over time, in the shape of the target; NaN in absent bins."""
        mean, _ = self.predict_state(X)
        return self._shaped(mean[:, :, : self.n_outputs_], self._known_units(X)[1])

    def predict_state(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean (n_trials, n_times, n_states) and covariance (n_trials, n_times, n_states, n_states).

        The state holds the target, then its first and second differences; absent bins are bridged by the model.
        """
        X, present = self._known_units(X)
        J = cho_solve(cho_factor(self.observation_noise_), self.observation_).T  # H' Q^-1
        information = (X - self.unit_mean_) @ J.T * present[:, :, None]
        mean, covariance = self._filter(information, J @ self.observation_, present)
        if not self.is_causal:
            mean, covariance = self._smooth(mean, covariance)
        return mean + self.state_mean_, covariance

    def _filter(self, information: np.ndarray, gain: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Information form: P = (1 + P⁻ M)^-1 P⁻ with M = H' Q^-1 H, x = x⁻ + P (H' Q^-1 z - M x⁻)."""
        n_trials, n_times, k = information.shape
        mean, covariance = np.zeros((n_trials, n_times, k)), np.zeros((n_trials, n_times, k, k))
        x, P = np.zeros((n_trials, k)), np.broadcast_to(self.start_covariance_, (n_trials, k, k))
        for t in range(n_times):
            M = gain * present[:, t, None, None]
            P = np.linalg.solve(np.eye(k) + P @ M, P)
            P = (P + P.transpose(0, 2, 1)) / 2
            x = x + np.einsum("nij,nj->ni", P, information[:, t] - np.einsum("nij,nj->ni", M, x))
            mean[:, t], covariance[:, t] = x, P
            x, P = self._ahead(x, P)
        return mean, covariance

    def _smooth(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Backwards: x_t + G (x_{t+1} smoothed - predicted), G = P A' P⁻^-1 (Rauch, Tung & Striebel 1965)."""
        mean, covariance = mean.copy(), covariance.copy()
        for t in range(mean.shape[1] - 2, -1, -1):
            x, P = self._ahead(mean[:, t], covariance[:, t])
            G = covariance[:, t] @ self.transition_.T @ np.linalg.pinv(P, hermitian=True)
            mean[:, t] += np.einsum("nij,nj->ni", G, mean[:, t + 1] - x)
            covariance[:, t] += G @ (covariance[:, t + 1] - P) @ G.transpose(0, 2, 1)
        return mean, covariance

    def _ahead(self, x: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the next bin before its activity is seen."""
        A = self.transition_
        return x @ A.T, A @ P @ A.T + self.transition_noise_


def _with_derivatives(Y: np.ndarray, n_derivatives: int) -> np.ndarray:
    """(n_trials, n_times, n_outputs * (1 + n_derivatives)); NaN in the first bins, which have no difference."""
    levels = [Y]
    for _ in range(n_derivatives):
        levels.append(np.diff(levels[-1], axis=1, prepend=np.full_like(Y[:, :1], np.nan)))
    return np.concatenate(levels, axis=2)
