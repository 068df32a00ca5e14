"""Fitted decoders in the form of an online decoder: weights, constants, a start, and transitions of moving states."""

from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from ..datasets.errors import SchemaError
from ..datasets.preprocess import Flatten
from .decoders.poisson_bayes import PoissonBayes
from .decoders.pooled_lda import PooledLDA
from .decoders.state_space import StateSpaceIdentity
from .decoders.state_space_position import StateSpacePosition
from .steps import steps

SOFTMAX_OF_LINEAR = (LinearDiscriminantAnalysis, LogisticRegression, PooledLDA)
SUMS_OVER_BINS = (PoissonBayes, StateSpaceIdentity, StateSpacePosition)


def take_over(decoder: Any, n_units: int) -> tuple[dict[str, Any], np.ndarray]:
    """The parameters of an ``OnlineDecoder`` that gives the numbers of a fitted decoder, and its classes.

    Parameters
    ----------
    decoder : as of ``OnlineDecoder.from_decoder``
    n_units : units in a bin

    Raises
    ------
    SchemaError : a decoder that has no such form, or features that are not of n_units
    """
    chains = [list(steps(one)) for one in (decoder if isinstance(decoder, list | tuple) else [decoder])]
    if not chains:
        raise SchemaError("OnlineDecoder: the list of decoders is empty. Give one for each bin.")
    final = chains[0][-1]
    if isinstance(final, SOFTMAX_OF_LINEAR):
        parts, classes = _of_linear(chains)
    else:
        if not isinstance(final, SUMS_OVER_BINS):
            raise SchemaError(
                f"OnlineDecoder cannot take {type(final).__name__} over. It takes StateSpaceIdentity, "
                f"StateSpacePosition, PoissonBayes, LDA, PooledLDA and logistic regression: they give a posterior from "
                f"each bin."
            )
        if len(chains) > 1 or not all(isinstance(step, Flatten) for step in chains[0][:-1]):
            raise SchemaError(f"OnlineDecoder takes one {type(final).__name__}, with no step before it. Give it alone.")
        parts, classes = _of_bayes(final, n_units)
    got = parts["weights"].shape[2]
    if got != n_units:
        raise SchemaError(
            f"OnlineDecoder: the decoder was fitted on {got} features, expected {n_units} units. Fit a linear decoder "
            f"on counts cumulated over the bins, of these units."
        )
    return parts, classes


def _of_bayes(final: Any, n_units: int) -> tuple[dict[str, Any], np.ndarray]:
    """Decoders whose log likelihood is a sum over bins."""
    if isinstance(final, PoissonBayes):
        return _of_poisson_bayes(final, n_units)
    check_is_fitted(final)
    parts = {
        "weights": final.weights_,
        "constants": final.constants_,
        "start": final.log_prior_,
        "is_counts": final.observation == "poisson",
    }
    if isinstance(final, StateSpaceIdentity):
        return parts | {"rule": "add"}, final.classes_
    if not final.is_causal:
        raise SchemaError("OnlineDecoder: this StateSpacePosition looks ahead. Fit it with is_causal=True.")
    return parts | {"rule": "move", "transition": final.transition_}, final.states_


def _of_poisson_bayes(final: PoissonBayes, n_units: int) -> tuple[dict[str, Any], np.ndarray]:
    """Features are the bins of a trial side by side, unit fastest."""
    check_is_fitted(final)
    n_classes, n_features = final.coef_.shape
    if n_features % n_units:
        raise SchemaError(
            f"OnlineDecoder: PoissonBayes was fitted on {n_features} features, no whole number of bins of {n_units} "
            f"units. Fit it on bins side by side."
        )
    constants = -final.rates_.reshape(n_classes, -1, n_units).sum(axis=2).T
    parts = {
        "weights": final.coef_.reshape(n_classes, -1, n_units).transpose(1, 0, 2),
        "constants": constants,
        "start": final.intercept_ - constants.sum(axis=0),
        "rule": "add",
        "is_counts": True,
    }
    return parts, final.classes_


def _of_linear(chains: list[list[Any]]) -> tuple[dict[str, Any], np.ndarray]:
    """Linear decoders of cumulated counts, one for each bin or one for all."""
    for chain in chains:
        check_is_fitted(chain[-1])
    classes = chains[0][-1].classes_
    pairs = []
    for chain in chains:
        if type(chain[-1]) is not type(chains[0][-1]) or not np.array_equal(chain[-1].classes_, classes):
            raise SchemaError("OnlineDecoder: decoders of different bins are of one kind and of the same classes.")
        pairs.append(_weights_on_counts(chain))
    if len({W.shape for W, _ in pairs}) > 1:
        raise SchemaError("OnlineDecoder: decoders of different bins were fitted on different units. Use the same.")
    parts = {
        "weights": np.stack([W for W, _ in pairs]),
        "constants": np.stack([c for _, c in pairs]),
        "start": np.zeros(len(classes)),
        "rule": "cumulate",
        "is_counts": False,
    }
    return parts, classes


def _weights_on_counts(chain: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_classes, n_units) and constants whose softmax is the posterior, the scaling taken in."""
    final, before = chain[-1], [step for step in chain[:-1] if not isinstance(step, Flatten)]
    if len(before) > 1 or not all(isinstance(step, StandardScaler) for step in before):
        names = ", ".join(type(step).__name__ for step in before)
        raise SchemaError(f"OnlineDecoder takes a linear decoder alone or after StandardScaler, not after {names}.")
    if getattr(final, "solver", "") == "liblinear":
        raise SchemaError("OnlineDecoder: logistic regression by 'liblinear' is one against the rest. Use 'lbfgs'.")
    W, c = final.coef_, np.atleast_1d(final.intercept_)
    if len(W) == 1:  # two classes: the decision is for the second
        W, c = np.vstack([np.zeros_like(W), W]), np.array([0.0, c[0]])
    if before and before[0].with_std:
        W = W / before[0].scale_
    if before and before[0].with_mean:  # mean_ is there also where it is not taken off
        c = c - W @ before[0].mean_
    return W, c
