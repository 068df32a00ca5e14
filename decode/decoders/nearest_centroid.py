"""Nearest centroid: the class whose mean is nearest."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class NearestCentroid(ClassifierMixin, BaseEstimator):
    """argmin_k |x - mean_k|², decided as argmax_k of  mean_k' x - |mean_k|² / 2.

    Attributes
    ----------
    classes_ : (n_classes,)
    centroids_ : (n_classes, n_features)

    Notes
    -----
    scikit-learn's class of this name also estimates the spread within classes and warns where it is
    zero, as it is for units that do not fire.

    Examples
    --------
    >>> NearestCentroid().fit([[0.0], [1.0], [4.0]], [0, 0, 1]).predict([[2.0], [3.0]]).tolist()
    [0, 1]
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Means of the classes; X (n_samples, n_features)."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, position = np.unique(y, return_inverse=True)
        sums = np.zeros((len(self.classes_), X.shape[1]))
        np.add.at(sums, position, X)
        self.centroids_ = sums / np.bincount(position)[:, None]
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """(n_samples, n_classes), larger is nearer; the difference of two columns for two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        values = X @ self.centroids_.T - 0.5 * np.sum(self.centroids_**2, axis=1)
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each sample (n_samples,)."""
        values = self.decision_function(X)
        best = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        return self.classes_[best]


def nearest_centroid() -> Pipeline:
    """The class whose mean is nearest, in features of unit variance."""
    return make_pipeline(StandardScaler(), NearestCentroid())
