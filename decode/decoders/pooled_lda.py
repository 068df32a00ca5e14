"""LDA with one Ledoit-Wolf shrinkage of the pooled within-class covariance."""

from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...datasets.errors import SchemaError


class PooledLDA(ClassifierMixin, BaseEstimator):
    """Gaussian classes with one covariance, estimated from all residuals together.

    A = (1-s) W + s tr(W)/p I,  W the mean outer product of x - m_class, s by Ledoit & Wolf (2004, eq. 14);
    decision values  x' A^-1 m_k - m_k' A^-1 m_k / 2 + log(n_k / n).
    scikit-learn's ``shrinkage="auto"`` estimates s for each class by itself, from far fewer trials.

    Attributes
    ----------
    classes_ : (n_classes,)
    coef_, intercept_ : (n_classes, n_features) and (n_classes,)
    shrinkage_ : s

    Notes
    -----
    Time O(n_trials · n_features² + n_features³).
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_samples, n_features).

        Raises
        ------
        SchemaError : no feature varies within the classes
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, position = np.unique(y, return_inverse=True)
        counts = np.bincount(position)
        means = np.zeros((len(self.classes_), X.shape[1]))
        np.add.at(means, position, X)
        means /= counts[:, None]
        covariance, self.shrinkage_ = ledoit_wolf(X - means[position], assume_centered=True)
        if not np.trace(covariance) > 0:
            raise SchemaError("PooledLDA: no feature varies within the classes, so there is no covariance to use.")
        self.coef_ = cho_solve(cho_factor(covariance), means.T).T
        self.intercept_ = np.log(counts / len(y)) - 0.5 * np.sum(means * self.coef_, axis=1)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """(n_samples, n_classes); the difference of two columns for two classes."""
        check_is_fitted(self)
        values = validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each sample (n_samples,)."""
        values = self.decision_function(X)
        return self.classes_[(values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_samples, n_classes): the softmax of the decision values."""
        values = self.decision_function(X)
        if values.ndim == 1:
            values = np.column_stack([np.zeros_like(values), values])
        odds = np.exp(values - values.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def pooled_lda() -> Pipeline:
    """LDA with pooled Ledoit-Wolf shrinkage, on features of unit variance."""
    return make_pipeline(StandardScaler(), PooledLDA())
