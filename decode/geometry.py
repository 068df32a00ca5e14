"""Geometry of conditions in activity space: cross-condition generalisation, parallelism, shattering.

After Bernardi et al. 2020, "The geometry of abstraction in the hippocampus and prefrontal cortex", Cell 183:954
(10.1016/j.cell.2020.09.031), Methods. All three measures take dichotomies of conditions (``conditions``) and
give one score for each. Dichotomies are labelings of the same trials, so a decoder with a closed form is
factorised once per training set and serves all of them.

Not here: nulls (``geometry_nulls``), the dimensionality of the activity, distances (``dissimilarity``).
"""

from itertools import combinations, permutations
from math import factorial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds
from .closed_form import predict_labelings
from .conditions import check_dichotomies, condition_positions, finite_values
from .metrics import scores_of_labelings
from .score import CARRIED_ATTRS, describe, features_for

MOST_PAIRINGS = 50_000  # 8 conditions a side have 40320 pairings


def cross_condition_generalisation(activity: xr.DataArray, estimator: Any, sides: xr.DataArray) -> xr.Dataset:
    """Decode each dichotomy in conditions that the decoder has not seen (CCGP).

    For every pair of conditions from opposite sides the decoder is fitted on all trials of the other
    conditions and tested on those of the pair; the score is the mean over pairs of balanced accuracy.

    Parameters
    ----------
    activity : (trial, time, unit) with the trial column ``condition``; of a pseudo-population the trials of its
        first fold are used, so that none is used twice
    estimator : scikit-learn classifier
    sides : dichotomies (dichotomy, condition) with at least two conditions on each side

    Returns
    -------
    dataset of kind "geometry": ``score (dichotomy)``, ``side (dichotomy, condition)``; attrs ``score_mean`` over
    dichotomies, ``chance`` 0.5

    Raises
    ------
    SchemaError : no classifier, other conditions, a side of one condition; NaN that the estimator cannot take
    LeakageError : a trajectory would be scored on trials that it was fitted on

    Notes
    -----
    1 where the coding direction is the same in all conditions and noise is small; 0.5 on average for clouds in
    random places, but with a wide spread: compare with the null of scheme "units". Over all balanced dichotomies
    the mean is 0.5 for any data, as each training set meets every labeling and its mirror image: look at one
    dichotomy, or at those of a column. n (n - 1) / 2 factorisations for n conditions, whatever the number of
    dichotomies.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> from mitral.decode.conditions import column_dichotomies, label_conditions
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, odors=("apple", "pear"), n_units=(60, 60))
    >>> activity = bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5)
    >>> activity = label_conditions(activity, ("odor", "concentration"))
    >>> sides = column_dichotomies(activity, "odor")
    >>> result = cross_condition_generalisation(activity, make_decoder("lda", shrinkage=0.5), sides)
    >>> result["dichotomy"].item(), result.attrs["score_mean"] > 0.8
    ('odor: apple | pear', True)
    """
    activity = _each_trial_once(activity)
    side, position = check_dichotomies(sides, activity)
    _check_classifier(estimator)
    _check_two_a_side(side, "cross-condition generalisation")
    pairs = [pair for pair in combinations(range(side.shape[1]), 2) if (side[:, pair[0]] != side[:, pair[1]]).any()]
    roles = np.array([np.where(np.isin(position, pair), TEST, TRAIN) for pair in pairs], np.int8)
    coords = {"fold": np.arange(len(pairs)), "trial": activity["trial"]}
    features = features_for(activity, estimator, xr.DataArray(roles, dims=("fold", "trial"), coords=coords))
    total, n_pairs = np.zeros(len(side)), np.zeros(len(side))
    for (first, second), role in zip(pairs, roles, strict=True):
        asked = np.flatnonzero(side[:, first] != side[:, second])
        labels = side[asked][:, position]
        predicted = predict_labelings(features, labels, 2, estimator, role[None])[:, 0]
        right = predicted == labels
        total[asked] += (right[:, position == first].mean(axis=1) + right[:, position == second].mean(axis=1)) / 2
        n_pairs[asked] += 1
    attrs = {"measure": "cross-condition generalisation", "estimator": describe(estimator), "chance": 0.5}
    return _result(activity, sides, total / n_pairs, attrs)


def shattering(activity: xr.DataArray, estimator: Any, folds: xr.DataArray, sides: xr.DataArray) -> xr.Dataset:
    """Cross-validated decoding of each dichotomy; the mean over all of them is the shattering dimensionality.

    Parameters
    ----------
    activity, estimator : as in ``cross_condition_generalisation``
    folds : (fold, trial), stratified by ``condition``
    sides : dichotomies (dichotomy, condition), all or a sample

    Returns
    -------
    dataset of kind "geometry", as of ``cross_condition_generalisation``; ``score`` is balanced accuracy over all
    test predictions

    Raises
    ------
    SchemaError : no classifier, folds or dichotomies that do not fit; NaN that the estimator cannot take
    LeakageError : a trajectory would be scored on trials that it was fitted on

    Notes
    -----
    One factorisation per fold, whatever the number of dichotomies. n conditions in general position (a simplex)
    without noise give 1; two clusters give 1 for one dichotomy only.
    """
    check_folds(folds, activity)
    side, position = check_dichotomies(sides, activity)
    _check_classifier(estimator)
    features = features_for(activity, estimator, folds)
    scores = decoded(features, side[:, position], estimator, folds.to_numpy())
    attrs = {"measure": "shattering dimensionality", "estimator": describe(estimator), "chance": 0.5}
    attrs["folds"] = folds.attrs.get("folds", f"{folds.sizes['fold']} folds")
    return _result(activity, sides, scores, attrs)


def parallelism(activity: xr.DataArray, sides: xr.DataArray) -> xr.Dataset:
    """How parallel the coding directions of each dichotomy are (parallelism score).

    Conditions of one side are paired with those of the other; each pair has a coding vector, the difference of
    its condition means. The score is the mean cosine between coding vectors, for the pairing where it is largest.

    Parameters
    ----------
    activity : as in ``cross_condition_generalisation``; bins and units together are the space
    sides : dichotomies with at least two conditions on each side, at most 8

    Returns
    -------
    dataset of kind "geometry", as of ``cross_condition_generalisation``; ``score`` from -1 to 1, ``chance`` 0

    Raises
    ------
    SchemaError : other conditions, a side of one condition, NaN, more than 50000 pairings

    Notes
    -----
    Noise shrinks the score of parallel vectors towards 0, and taking the best pairing lifts that of random ones
    above it: compare with a null. Time O(n_dichotomies h! h²) with h conditions a side.
    """
    activity = _each_trial_once(activity)
    side, position = check_dichotomies(sides, activity)
    _check_two_a_side(side, "parallelism")
    few = int(np.minimum(side.sum(axis=1), (1 - side).sum(axis=1)).max())
    many = side.shape[1] - int(np.minimum(side.sum(axis=1), (1 - side).sum(axis=1)).min())
    n_pairings = factorial(many) // factorial(many - few)
    if n_pairings > MOST_PAIRINGS:
        raise SchemaError(
            f"parallelism: {few} and {many} conditions have {n_pairings} pairings, more than {MOST_PAIRINGS}. Select "
            f"fewer conditions."
        )
    means = _condition_means(activity, position)
    gram = means @ means.T
    scores = np.array([_best_pairing(gram, np.flatnonzero(row == 0), np.flatnonzero(row == 1)) for row in side])
    return _result(activity, sides, scores, {"measure": "parallelism", "chance": 0.0})


def decoded(features: np.ndarray, labels: np.ndarray, estimator: Any, sides: np.ndarray) -> np.ndarray:
    """Balanced accuracy (n_labelings,) over all test predictions of labels (n_labelings, n_trials) of 0 and 1."""
    predicted = predict_labelings(features, labels, 2, estimator, sides)
    fold, trial = np.nonzero(sides == TEST)
    return scores_of_labelings("balanced_accuracy", labels[:, trial], predicted[:, fold, trial])


def _best_pairing(gram: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean cosine of the coding vectors a_i - b_p(i), for the pairing p where it is largest."""
    if len(first) > len(second):
        first, second = second, first
    aa, ab, bb = gram[np.ix_(first, first)], gram[np.ix_(first, second)], gram[np.ix_(second, second)]
    # <a_i - b_j, a_k - b_l> for all (i, j, k, l)
    inner = aa[:, None, :, None] - ab[:, None, None, :] - ab.T[None, :, :, None] + bb[None, :, None, :]
    norm = np.sqrt(np.maximum(np.einsum("ijij->ij", inner), 0.0))
    scale = norm[:, :, None, None] * norm
    cosine = inner / np.where(scale > 0, scale, np.inf)  # equal means have no direction: cosine 0
    pairing = np.array(list(permutations(range(len(second)), len(first))))
    pairs = list(combinations(range(len(first)), 2))
    total = sum(cosine[i, pairing[:, i], k, pairing[:, k]] for i, k in pairs)
    return float(np.max(total) / len(pairs))


def _condition_means(activity: xr.DataArray, position: np.ndarray) -> np.ndarray:
    """Means (n_conditions, n_times * n_units) over trials."""
    values = finite_values(activity).reshape(len(position), -1)
    return np.stack([values[position == k].mean(axis=0) for k in range(position.max() + 1)])


def _each_trial_once(activity: xr.DataArray) -> xr.DataArray:
    """A pseudo-population has every recorded trial once in each fold; its first fold alone."""
    if activity.attrs.get("population") != "pseudo-population" or "fold_of_trial" not in activity.coords:
        return activity
    return activity.isel(trial=np.flatnonzero(activity["fold_of_trial"].to_numpy() == 0))


def _check_classifier(estimator: Any) -> None:
    if not is_classifier(estimator):
        raise SchemaError(f"a dichotomy has two classes, and {describe(estimator)} is no classifier. Use one, 'lda'.")


def _check_two_a_side(side: np.ndarray, what: str) -> None:
    alone = np.minimum(side.sum(axis=1), (1 - side).sum(axis=1)) < 2
    if alone.any():
        raise SchemaError(
            f"{what} needs at least two conditions on each side, and dichotomy {int(alone.argmax())} has one. Make "
            f"conditions of more columns, label_conditions(activity, ('odor', 'concentration'))."
        )


def _result(activity: xr.DataArray, sides: xr.DataArray, scores: np.ndarray, attrs: dict[str, Any]) -> xr.Dataset:
    """Scores of the dichotomies with what they were measured on."""
    position, names = condition_positions(activity)
    counts = np.bincount(position)
    said = []
    if counts.max() > 1.5 * counts.min():
        said.append(f"Conditions are unequal ({counts.min()} to {counts.max()} trials).")
    if activity.attrs.get("population") == "pseudo-population":
        said.append("Pseudo-population: noise correlations between units of different sessions are lost.")
    dataset = xr.Dataset({"score": ("dichotomy", scores), "side": sides.variable}, coords=sides.coords)
    return dataset.assign_attrs(
        {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs}
        | {"kind": "geometry", "population": activity.attrs.get("population", "session")}
        | {"by": list(activity["condition"].attrs.get("by", ["condition"]))}
        | {"n_trials": len(position), "n_units": int(activity.shape[2]), "n_conditions": len(names)}
        | {"score_mean": float(scores.mean()), "warnings": said}
        | attrs
    )
