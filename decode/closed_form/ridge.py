"""Ridge regression and least-squares classification for many targets of the same trials: one hat matrix.

With features centred on the training mean, predictions are linear in the target:

    y_test = mean(y) + X_test (X'X + a I)^-1 X' (y - mean(y)) = H y,

so every target, true or permuted, of one number or of class indicators, costs one matrix product with H.
"""

from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .labelings import Labelings

LARGEST_HAT = 10_000_000  # numbers in a hat matrix: 80 MB; larger ones, of long recordings, are never made


class Ridge:
    """Predictions of ridge regression with an intercept, for many targets of one training set.

    Parameters
    ----------
    alpha : L2 penalty, positive

    Notes
    -----
    Equal to scikit-learn's ``Ridge(alpha)`` and ``RidgeClassifier(alpha)``. Time O(n p min(n, p)) once and
    O(n_targets n n_test) for the targets.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def fit(self, X: np.ndarray) -> Self:
        """The map from targets to weights, ``solver_`` (n_features, n_train), for X (n_train, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        n, p = X.shape
        if n >= p:
            gram = centred.T @ centred
            gram.flat[:: p + 1] += self.alpha
            self.solver_ = cho_solve(cho_factor(gram, overwrite_a=True), centred.T)
        else:
            gram = centred @ centred.T
            gram.flat[:: n + 1] += self.alpha
            self.solver_ = cho_solve(cho_factor(gram, overwrite_a=True), centred).T
        return self

    def predict(self, targets: np.ndarray, X_test: np.ndarray) -> np.ndarray:
        """Predictions (n_targets, n_test) for targets (n_targets, n_train)."""
        test = np.asarray(X_test, dtype=np.float64) - self.mean_
        mean = targets.mean(axis=1, keepdims=True)
        if len(test) * targets.shape[1] > LARGEST_HAT:
            return (targets - mean) @ self.solver_.T @ test.T + mean
        return (targets - mean) @ (test @ self.solver_).T + mean

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Regression of class indicators -1 and 1: (n_labelings, n_test, n_classes)."""
        flat = self.predict(2.0 * labelings.indicators - 1.0, X_test)
        return flat.reshape(len(labelings), labelings.n_classes, -1).transpose(0, 2, 1)

    def coefficients(self, labelings: Labelings) -> tuple[np.ndarray, np.ndarray]:
        """Weights (n_labelings, n_classes, n_features) and constants (n_labelings, n_classes)."""
        targets = 2.0 * labelings.indicators - 1.0
        mean = targets.mean(axis=1, keepdims=True)
        weights = ((targets - mean) @ self.solver_.T).reshape(len(labelings), labelings.n_classes, -1)
        return weights, mean.reshape(len(labelings), -1) - weights @ self.mean_
