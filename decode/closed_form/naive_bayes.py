"""Gaussian naive Bayes for many labelings of the same trials: class means and variances by matrix products."""

from typing import Self

import numpy as np

from .labelings import Labelings, evaluate

NEARLY_CONSTANT = 1e-6  # relative to the variance over all trials: recomputed in two passes, where E[x²] - m² cancels


class GaussianNB:
    """Joint log probabilities  log p_k + sum_j log N(x_j; m_kj, v_kj + e)  for many labelings of one training set.

    Parameters
    ----------
    var_smoothing : e is this share of the largest variance of a feature over all training trials

    Notes
    -----
    Equal to scikit-learn's ``GaussianNB``. Time O(n_labelings n_classes p (n + n_test)).
    """

    def __init__(self, var_smoothing: float) -> None:
        self.var_smoothing = var_smoothing

    def fit(self, X: np.ndarray) -> Self:
        """Keep X (n_train, n_features) about its mean."""
        X = np.asarray(X, dtype=np.float64)
        self.mean_ = X.mean(axis=0)
        self.train_ = X - self.mean_
        self.variance_ = np.var(X, axis=0)
        self.epsilon_ = self.var_smoothing * self.variance_.max()
        return self

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Joint log probabilities (n_labelings, n_test, n_classes)."""
        means = labelings.means(self.train_)
        variance = labelings.means(self.train_**2) - means**2
        self._repair(labelings, means, variance)
        precision = 1.0 / (variance + self.epsilon_)
        test = np.asarray(X_test, dtype=np.float64) - self.mean_
        constant = np.sum(means**2 * precision - np.log(precision / (2 * np.pi)), axis=2)
        cross = evaluate(means * precision, np.zeros_like(constant), test)
        quadratic = evaluate(precision, constant, test**2) - 2 * cross
        return labelings.log_share[:, None, :] - 0.5 * quadratic

    def _repair(self, labelings: Labelings, means: np.ndarray, variance: np.ndarray) -> None:
        """Variances that cancelled, again from deviations: one labeling and class at a time."""
        doubtful = variance < NEARLY_CONSTANT * self.variance_
        for labeling, k in zip(*np.nonzero(doubtful.any(axis=2)), strict=True):
            members = labelings.labels[labeling] == k
            at = np.flatnonzero(doubtful[labeling, k])
            if members.any():
                variance[labeling, k, at] = np.mean((self.train_[members][:, at] - means[labeling, k, at]) ** 2, axis=0)
            else:
                variance[labeling, k, at] = self.variance_[at]
