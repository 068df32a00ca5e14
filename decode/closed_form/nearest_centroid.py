"""Nearest centroid for many labelings of the same trials: class means by one matrix product."""

from typing import Self

import numpy as np

from .labelings import Labelings, evaluate


class NearestCentroid:
    """Decision values m_k' x - |m_k|² / 2 for many labelings of one training set.

    Notes
    -----
    Time O(n_labelings n_classes p (n + n_test)).
    """

    def fit(self, X: np.ndarray) -> Self:
        """Keep X (n_train, n_features)."""
        self.train_ = np.asarray(X, dtype=np.float64)
        return self

    def coefficients(self, labelings: Labelings) -> tuple[np.ndarray, np.ndarray]:
        """Class means (n_labelings, n_classes, n_features) and constants (n_labelings, n_classes)."""
        means = labelings.means(self.train_)
        return means, np.where(labelings.counts > 0, -0.5 * np.sum(means**2, axis=2), -np.inf)

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Decision values (n_labelings, n_test, n_classes)."""
        return evaluate(*self.coefficients(labelings), np.asarray(X_test, dtype=np.float64))
