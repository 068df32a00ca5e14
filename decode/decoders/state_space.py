"""State-space decoder of identity: one hidden class for a whole trial, whose posterior grows bin by bin."""

from typing import Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import SchemaError
from .observations import fit_observations, refuse_negative, refuse_unknown
from .sequences import present_bins, same_units


class StateSpaceIdentity(ClassifierMixin, BaseEstimator):
    """log p(k | x_1..t) = log prior_k + sum_{s <= t} log p(x_s | k, s) + constant.

    The class is a hidden state that never changes within a trial; each bin has rates, or means, of its own,
    so latency and dynamics count. Given the class, bins are independent.

    Parameters
    ----------
    observation : "poisson" for counts; "gaussian" for traces, with one covariance over all bins and classes
    prior_trials : weight, in trials, of the mean over classes in each class's rates; above 0

    Attributes
    ----------
    classes_ : (n_classes,)
    weights_, constants_ : (n_times, n_classes, n_units) and (n_times, n_classes), log likelihood of a bin
    log_prior_ : (n_classes,)

    Notes
    -----
    Time O(n_trials · n_times · n_classes · n_units). Absent bins (NaN) say nothing. The posterior of the last
    bin is that of ``PoissonBayes`` on bins side by side.

    Examples
    --------
    >>> X = np.array([[[0], [3]], [[0], [4]], [[3], [0]], [[4], [0]]])
    >>> fitted = StateSpaceIdentity().fit(X, ["late", "late", "early", "early"])
    >>> fitted.predict_over_time(X[:1])[0].round(2).tolist()
    [[0.09, 0.91], [0.01, 0.99]]
    """

    def __init__(self, observation: str = "poisson", *, prior_trials: float = 1.0) -> None:
        self.observation = observation
        self.prior_trials = prior_trials

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = True
        tags.input_tags.positive_only = self.observation == "poisson"
        return tags

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_trials, n_times, n_units), y (n_trials,) classes.

        Raises
        ------
        SchemaError : no three axes, other labels than one a trial, a negative count, an unknown observation
        """
        refuse_unknown(self.observation, "StateSpaceIdentity")
        X, present = present_bins(X, "StateSpaceIdentity")
        y = np.asarray(y)
        if y.shape != (len(X),):
            raise SchemaError(
                f"StateSpaceIdentity takes one label for each of {len(X)} trials, got shape {y.shape}. For a target "
                f"over time use StateSpacePosition."
            )
        check_classification_targets(y)
        self.n_features_in_ = X.shape[2]
        self.classes_, state = np.unique(y, return_inverse=True)
        self.weights_, self.constants_ = fit_observations(
            X, present, state, len(self.classes_), observation=self.observation, prior_trials=self.prior_trials
        )
        self.log_prior_ = np.log(np.bincount(state) / len(y))
        return self

    def predict_over_time(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_times, n_classes) given the activity up to and including each bin."""
        return softmax(self._log_joint(X), axis=2)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_classes) given the whole trial."""
        return softmax(self._log_joint(X)[:, -1], axis=1)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Log joint probability (n_trials, n_classes) of a trial up to a constant; one column for two classes."""
        values = self._log_joint(X)[:, -1]
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each trial (n_trials,)."""
        best = self._log_joint(X)[:, -1].argmax(axis=1)
        return self.classes_[best]

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        X, present = present_bins(X, "StateSpaceIdentity")
        same_units(X, self.n_features_in_, "StateSpaceIdentity")
        if X.shape[1] != len(self.weights_):
            raise SchemaError(
                f"StateSpaceIdentity was fitted on {len(self.weights_)} bins a trial and got {X.shape[1]}. Cut the "
                f"same window; bins that are not known yet may be NaN."
            )
        if self.observation == "poisson":
            refuse_negative(X, "StateSpaceIdentity")
        terms = np.einsum("itu,tku->itk", X, self.weights_, optimize=True) + self.constants_
        return self.log_prior_ + np.cumsum(terms * present[:, :, None], axis=1)
