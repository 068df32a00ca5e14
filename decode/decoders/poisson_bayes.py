"""Poisson Bayes: classes, or bins of position, by the probability of the spike counts that they would give."""

from typing import Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...datasets.errors import SchemaError
from .observations import fit_observations, refuse_negative


def poisson_posterior(counts: np.ndarray, rates: np.ndarray, *, prior: np.ndarray | None = None) -> np.ndarray:
    """Posterior over states from spike counts and tuning curves, by one matrix product.

    log p(k | n) = sum_u n_u log r_ku - sum_u r_ku + log prior_k + constant  (Zhang et al. 1998, eq. 36).

    Parameters
    ----------
    counts : (n_bins, n_units), not negative
    rates : (n_states, n_units) expected counts in one bin, above 0: rate in Hz times bin width in s
    prior : (n_states,) weights; None is uniform

    Returns
    -------
    posterior (n_bins, n_states), rows sum to 1

    Raises
    ------
    SchemaError : shapes that do not fit, rates that are not above 0, a negative count, no valid prior

    Notes
    -----
    Time O(n_bins · n_units · n_states), memory that of the posterior.

    Examples
    --------
    >>> poisson_posterior(np.array([[3, 0]]), np.array([[2.0, 1.0], [1.0, 2.0]])).round(3).tolist()
    [[0.889, 0.111]]
    """
    counts, rates = np.asarray(counts, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if counts.ndim != 2 or rates.ndim != 2 or counts.shape[1] != rates.shape[1]:
        raise SchemaError(
            f"poisson_posterior takes counts (n_bins, n_units) and rates (n_states, n_units) of the same units, got "
            f"{counts.shape} and {rates.shape}. Transpose one, or select the units in common."
        )
    if not (np.all(rates > 0) and np.isfinite(rates).all()):
        raise SchemaError(
            f"poisson_posterior needs rates above 0 in every state, and {int(np.sum(~(rates > 0)))} are not: one spike "
            f"would rule such a state out. Add a small rate, or fit PoissonBayes, whose prior does."
        )
    refuse_negative(counts, "poisson_posterior")
    log_prior = np.zeros(len(rates)) if prior is None else _log_prior(prior, len(rates))
    values = counts @ np.log(rates).T
    values += log_prior - rates.sum(axis=1)
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values


class PoissonBayes(ClassifierMixin, BaseEstimator):
    """Independent Poisson counts with a rate for each class and feature, under a Gamma prior.

    argmax_k  sum_f x_f log r_kf - sum_f r_kf + log(n_k / n),
    r_kf = (sum of x_f in class k + prior_trials · m_f) / (n_k + prior_trials),  m_f the mean over all
    trials, at least half a spike in all of them.

    Parameters
    ----------
    prior_trials : weight of the prior in trials, above 0
    is_prior_uniform : take all classes as equally likely, not as frequent as in training

    Attributes
    ----------
    classes_ : (n_classes,)
    rates_ : (n_classes, n_features) expected counts
    coef_, intercept_ : log rates, and log prior less the sum of rates

    Notes
    -----
    Time O(n_trials · n_classes · n_features). Features may be smoothed counts; they are then no longer Poisson,
    and the posterior is too sure. With bins side by side as features, rates vary over the bins of a trial.

    Examples
    --------
    >>> PoissonBayes().fit([[5, 0], [4, 1], [0, 5], [1, 6]], ["a", "a", "b", "b"]).predict([[3, 1]]).tolist()
    ['a']
    """

    def __init__(self, prior_trials: float = 1.0, *, is_prior_uniform: bool = False) -> None:
        self.prior_trials = prior_trials
        self.is_prior_uniform = is_prior_uniform

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_samples, n_features), not negative.

        Raises
        ------
        SchemaError : a negative value, a prior without weight
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        refuse_negative(X, "PoissonBayes")
        self.classes_, position = np.unique(y, return_inverse=True)
        present = np.ones((len(X), 1), bool)
        weights, constants = fit_observations(
            X[:, None], present, position, len(self.classes_), observation="poisson", prior_trials=self.prior_trials
        )
        share = np.full(len(self.classes_), 1 / len(self.classes_))
        if not self.is_prior_uniform:
            share = np.bincount(position) / len(y)
        self.rates_, self.coef_ = np.exp(weights[0]), weights[0]
        self.intercept_ = constants[0] + np.log(share)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Log joint probability (n_samples, n_classes) up to a constant; the difference of columns for two classes."""
        values = self._log_joint(X)
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each sample (n_samples,)."""
        best = self._log_joint(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_samples, n_classes)."""
        return softmax(self._log_joint(X), axis=1)

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        refuse_negative(X, "PoissonBayes")
        return X @ self.coef_.T + self.intercept_


def _log_prior(prior: np.ndarray, n_states: int) -> np.ndarray:
    prior = np.asarray(prior, dtype=np.float64)
    if prior.shape != (n_states,) or not (np.all(prior >= 0) and 0 < prior.sum() < np.inf):
        raise SchemaError(
            f"poisson_posterior: the prior holds one weight from 0 for each of {n_states} states, got shape "
            f"{prior.shape}. Count how often each state was visited."
        )
    with np.errstate(divide="ignore"):
        return np.log(prior / prior.sum())
