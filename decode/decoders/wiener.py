"""Wiener filter: numbers over time as a linear function of the activity in the bins around."""

from typing import Self

import numpy as np

from ...datasets.errors import SchemaError
from .linear import PENALTIES
from .moments import Ridge, choose_penalty, moments
from .sequences import OverTime, refuse_constant

INNER_FOLDS = 5


class WienerFilter(OverTime):
    """y_t = b + sum_{l = -n_future}^{n_past} w_l' x_{t-l},  x in units of its standard deviation in training.

    Least squares with an L2 penalty (Wiener 1949; for neural decoding Carmena et al. 2003, eq. 1). Bins before
    the start, after the end or absent count as the unit's mean.

    Parameters
    ----------
    n_past : bins before the present one that are used
    n_future : bins after it; 0 is causal
    alpha : L2 penalty; None chooses it from ``linear.PENALTIES`` on inner folds of whole training trials

    Attributes
    ----------
    coef_ : (n_outputs, n_lags, n_units), the present bin's lag at position ``n_past``, earlier bins before it
    intercept_ : (n_outputs,)
    alpha_ : chosen or given

    Notes
    -----
    Time O(n_bins · p² + n_folds · p³), p = n_lags · n_units; memory O(n_folds · p²) and one trial's lags.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(4, 50, 1))
    >>> y = np.concatenate([np.zeros((4, 1)), X[:, :-1, 0]], axis=1)
    >>> int(WienerFilter(1, alpha=0.0).fit(X, y).coef_.argmax())  # the bin before
    0
    """

    def __init__(self, n_past: int = 5, *, n_future: int = 0, alpha: float | None = None) -> None:
        self.n_past = n_past
        self.n_future = n_future
        self.alpha = alpha

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_trials, n_times, n_units), y (n_trials, n_times) or (n_trials, n_times, n_outputs).

        Raises
        ------
        SchemaError : shapes that do not fit, a constant target, a lag or penalty below 0, one trial only
            where the penalty is to be chosen
        """
        X, present, Y = self._learn_shapes(X, y)
        self._check(len(X))
        used = present & np.isfinite(Y).all(axis=2)
        refuse_constant(Y[used], "WienerFilter")
        self.mean_ = X[present].mean(axis=0)
        is_constant = X[present].max(axis=0) == X[present].min(axis=0)
        self.scale_ = np.where(is_constant, 1.0, X[present].std(axis=0))
        y_mean = Y[used].mean(axis=0)
        n_features = X.shape[2] * (self.n_past + 1 + self.n_future)
        blocks = [np.zeros((1 + n_features + Y.shape[2],) * 2) for _ in range(min(INNER_FOLDS, len(X)))]
        for trial in range(len(X)):
            here = used[trial]
            lags = self._lags(X[trial : trial + 1], present[trial : trial + 1])[0, here]
            blocks[trial * len(blocks) // len(X)] += moments(lags, Y[trial, here] - y_mean)
        self.alpha_ = choose_penalty(blocks, n_features, PENALTIES) if self.alpha is None else float(self.alpha)
        fit = Ridge(np.sum(blocks, axis=0), n_features)
        W = fit.weights(self.alpha_)
        self.intercept_ = fit.intercept(W) + y_mean
        self.coef_ = W.T.reshape(Y.shape[2], -1, X.shape[2])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values over time, in the shape of the target; NaN in absent bins."""
        X, present = self._known_units(X)
        W = self.coef_.reshape(len(self.coef_), -1).T
        Y = np.stack([self._lags(X[i : i + 1], present[i : i + 1])[0] @ W for i in range(len(X))])
        return self._shaped(Y + self.intercept_, present)

    def _lags(self, X: np.ndarray, present: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_lags * n_units) of scaled activity; 0, the mean, where there is none."""
        scaled = np.where(present[:, :, None], (X - self.mean_) / self.scale_, 0.0)
        padded = np.pad(scaled, ((0, 0), (self.n_past, self.n_future), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.n_past + 1 + self.n_future, axis=1)
        return windows.transpose(0, 1, 3, 2).reshape(*X.shape[:2], -1)

    def _check(self, n_trials: int) -> None:
        for name, value in (("n_past", self.n_past), ("n_future", self.n_future)):
            if not isinstance(value, int | np.integer) or value < 0:
                raise SchemaError(f"WienerFilter: {name} is a whole number of bins from 0, got {value!r}.")
        if self.alpha is not None and not 0 <= self.alpha < np.inf:
            raise SchemaError(f"WienerFilter: alpha is a penalty from 0, got {self.alpha}. None chooses it.")
        if self.alpha is None and n_trials < 2:
            raise SchemaError("WienerFilter: one training trial cannot choose the penalty. Give alpha, or more trials.")
