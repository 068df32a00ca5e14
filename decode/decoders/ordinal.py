"""Ordered classes, such as concentrations: one decoder for each step up."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...datasets.errors import SchemaError


class OrdinalClassifier(ClassifierMixin, BaseEstimator):
    """P(y > k) from a decoder of its own for each k; p(y = k) = P(y > k-1) - P(y > k)  (Frank & Hall 2001, eq. 1).

    Each step has a direction of its own, so a code that bends with concentration is followed, which one direction
    with thresholds (a cumulative link) cannot. Where the P(y > k) do not fall with k, they are made to, as the mean of
    their running minimum from below and their running maximum from above; Frank & Hall leave them.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``; None is logistic regression with an L2 penalty of 1/2

    Attributes
    ----------
    classes_ : (n_classes,) in rising order, texts in that of the alphabet
    estimators_ : n_classes - 1 fitted decoders

    Notes
    -----
    Two classes give the decoder itself. Cost n_classes - 1 fits.

    Examples
    --------
    >>> X = [[0.0], [0.2], [1.0], [1.2], [2.0], [2.2]]
    >>> OrdinalClassifier(LogisticRegression(C=100)).fit(X, [1, 1, 10, 10, 100, 100]).predict([[0.1], [2.5]]).tolist()
    [1, 100]
    """

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_samples, n_features), y (n_samples,) of at least two classes.

        Raises
        ------
        SchemaError : one class, or an estimator without probabilities
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        base = LogisticRegression(max_iter=2000) if self.estimator is None else self.estimator
        if not hasattr(base, "predict_proba"):
            raise SchemaError(
                f"OrdinalClassifier needs probabilities, and {type(base).__name__} gives none. Use LogisticRegression."
            )
        self.classes_, position = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise SchemaError(f"OrdinalClassifier needs two classes or more, and got one class ({self.classes_[0]!r}).")
        self.estimators_ = [clone(base).fit(X, position > k) for k in range(len(self.classes_) - 1)]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probability (n_samples, n_classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        above = np.stack([step.predict_proba(X)[:, 1] for step in self.estimators_], axis=1)
        least = np.minimum.accumulate(above, axis=1)
        most = np.maximum.accumulate(above[:, ::-1], axis=1)[:, ::-1]
        falling = np.pad((least + most) / 2, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
        return falling[:, :-1] - falling[:, 1:]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Likeliest class of each sample (n_samples,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


def ordinal(*, C: float = 1.0) -> Pipeline:
    """Ordered classes by logistic regression of each step up, with an L2 penalty of 1 / (2 C), on unit variance."""
    return make_pipeline(StandardScaler(), OrdinalClassifier(LogisticRegression(C=C, max_iter=2000)))
