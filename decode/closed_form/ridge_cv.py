"""Ridge regression whose penalty is chosen by leave-one-out, for many targets of the same trials.

One eigendecomposition of the centred features gives, for every penalty a and every target y,

    y_i - y_(-i) = (y_i - H_a y) / (1 - 1/n - h_a,ii),     H_a = X (X'X + a I)^-1 X'  (of y - mean(y)),

the error of trial i when it is left out (Rifkin & Lippert 2007, MIT-CSAIL-TR-2007-025), so the penalty with the
smallest mean squared error is found per target without refitting, as scikit-learn's ``RidgeCV`` does for one.
"""

from typing import Self

import numpy as np

from .labelings import Labelings


class RidgeCV:
    """Predictions of ``RidgeCV(alphas)`` and ``RidgeClassifierCV(alphas)``, for many targets of one training set.

    Parameters
    ----------
    alphas : (n_alphas,) L2 penalties, positive

    Notes
    -----
    Time O(n p min(n, p)) once and O(n_alphas n_targets n min(n, p)) for the targets.
    """

    def __init__(self, alphas: np.ndarray) -> None:
        self.alphas = np.atleast_1d(np.asarray(alphas, dtype=np.float64))

    def fit(self, X: np.ndarray) -> Self:
        """Eigenbasis of the training features X (n_train, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        n, p = X.shape
        if n >= p:
            values, self.to_basis_ = np.linalg.eigh(centred.T @ centred)
            self.basis_ = centred @ self.to_basis_
            self.test_gain_ = 1 / (np.maximum(values, 0) + self.alphas[:, None])
            self.gain_ = self.test_gain_
        else:
            values, self.basis_ = np.linalg.eigh(centred @ centred.T)
            self.to_basis_ = centred.T @ self.basis_
            self.test_gain_ = 1 / (np.maximum(values, 0) + self.alphas[:, None])
            self.gain_ = np.maximum(values, 0) * self.test_gain_
        self.left_ = 1 - 1 / n - self.gain_ @ (self.basis_**2).T
        return self

    def predict(self, targets: np.ndarray, X_test: np.ndarray, *, n_joint: int = 1) -> np.ndarray:
        """Predictions (n_targets, n_test).

        Parameters
        ----------
        targets : (n_targets, n_train)
        X_test : (n_test, n_features)
        n_joint : so many targets that follow each other share the penalty, like the outputs of one estimator
        """
        mean = targets.mean(axis=1, keepdims=True)
        centred = targets - mean
        seen = centred @ self.basis_
        errors = np.empty((len(self.alphas), len(targets)))
        for row, gain, left in zip(errors, self.gain_, self.left_, strict=True):
            row[:] = np.mean(((centred - (seen * gain) @ self.basis_.T) / left) ** 2, axis=1)
        joint = errors.reshape(len(self.alphas), -1, n_joint).mean(axis=2)
        chosen = np.repeat(joint.argmin(axis=0), n_joint)
        features = (np.asarray(X_test, dtype=np.float64) - self.mean_) @ self.to_basis_
        return (seen * self.test_gain_[chosen]) @ features.T + mean

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Regression of class indicators -1 and 1: (n_labelings, n_test, n_classes)."""
        flat = self.predict(2.0 * labelings.indicators - 1.0, X_test, n_joint=labelings.n_classes)
        return flat.reshape(len(labelings), labelings.n_classes, -1).transpose(0, 2, 1)
