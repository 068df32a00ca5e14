"""Equal numbers of trials in every class, by resampling training trials inside the fold.

Resampled before the split, a trial drawn twice trains and tests: noise is then decoded. Here only ``fit`` resamples,
so test trials are neither copied nor left out. A balanced metric is the other way, and needs no resampling.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.tables import nearest
from .steps import steps

HOW = ("under", "over")


class Balanced(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier that is fitted on as many trials of every class.

    Parameters
    ----------
    estimator : classifier or pipeline
    how : "under" leaves trials out at random down to the rarest class; "over" draws trials again at random up to the
        commonest, which no cross-validation inside the estimator, such as that of ``RidgeClassifierCV``, may see
    random_state : seed of the draw

    Attributes
    ----------
    estimator_ : fitted
    classes_ : (n_classes,)
    used_ : (n_used,) positions of the training trials that were used, a trial drawn twice twice

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> Balanced(GaussianNB()).fit([[0.0], [1.0], [5.0], [6.0], [7.0]], [0, 0, 1, 1, 1]).used_.tolist()
    [0, 1, 2, 4]
    """

    def __init__(self, estimator: Any = None, *, how: str = "under", random_state: int = 0) -> None:
        self.estimator = estimator
        self.how = how
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_trials, ...) as the estimator takes it; y (n_trials,).

        Raises
        ------
        UnknownName : no such way
        SchemaError : no estimator, or other numbers of trials in X and y
        """
        if self.how not in HOW:
            raise UnknownName(f"Balanced has no way {self.how!r}. {nearest(self.how, HOW)}")
        if self.estimator is None:
            raise SchemaError("Balanced needs a classifier to fit, Balanced(make_decoder('lda')), and got none.")
        X, y = np.asarray(X), np.asarray(y)
        if len(X) != len(y):
            raise SchemaError(f"Balanced: {len(X)} trials and {len(y)} labels. Give one label for each trial.")
        self.classes_, position = np.unique(y, return_inverse=True)
        counts = np.bincount(position)
        rng = np.random.default_rng(self.random_state)
        used = []
        for label, count in enumerate(counts):
            members = np.flatnonzero(position == label)
            if self.how == "under":
                used.append(rng.permutation(members)[: counts.min()])
            else:
                used += [members, rng.choice(members, counts.max() - count)]
        self.used_ = np.sort(np.concatenate(used))
        self.estimator_ = clone(self.estimator).fit(X[self.used_], y[self.used_])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each trial (n_trials,)."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))
    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities (n_trials, n_classes), for classes that are equally common."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(lambda self: hasattr(self.estimator, "decision_function"))
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """As the estimator's."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            inner = list(steps(self.estimator))
            tags.input_tags = get_tags(inner[0]).input_tags
            tags.input_tags.allow_nan = all(get_tags(step).input_tags.allow_nan for step in inner)
            tags.classifier_tags = get_tags(inner[-1]).classifier_tags
        return tags
