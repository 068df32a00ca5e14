"""Geometry of conditions in activity space: cross-condition generalisation, parallelism, shattering, and their nulls.

After Bernardi et al. 2020, "The geometry of abstraction in the hippocampus and prefrontal cortex", Cell 183:954
(10.1016/j.cell.2020.09.031), Methods. All three measures take dichotomies of conditions (``conditions``) and
give one score for each. Dichotomies are labelings of the same trials, so a decoder with a closed form is
factorised once per training set and serves all of them.

Two nulls, for ``with_geometry_null``. "labels" exchanges the conditions of whole trials: is there anything to
decode? "units" permutes the units of each condition's cloud of trials, all trials of a condition alike: clouds
keep their size, spread and distance from the mean, so they stay as decodable, but lie in random places: is
the geometry more abstract than that of a random code? Here clouds are permuted about the mean over conditions
in units of each unit's standard deviation, so that a unit's mean rate stays its own.

Not here: the dimensionality of the activity (``dimensionality``), distances (``dissimilarity``).
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations, permutations
from math import factorial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.folds import TEST, TRAIN, check_folds, permute_labels, trial_column
from ..datasets.tables import nearest
from .closed_form import predict_labelings
from .conditions import check_dichotomies, condition_positions, finite_values
from .metrics import scores_of_labelings
from .nulls import draw_null, exchange_groups
from .nulls import permutations as permutations_of
from .score import CARRIED_ATTRS, Map, describe, features_for

SCHEMES = {"labels": "conditions of whole trials permuted", "units": "units permuted within each condition"}
MOST_LABELINGS = 20_000
MOST_PAIRINGS = 50_000  # 8 conditions a side have 40320 pairings
Data = xr.DataArray | Mapping[str, xr.DataArray]


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
    scores = _decoded(features, side[:, position], estimator, folds.to_numpy())
    attrs = {"measure": "shattering dimensionality", "estimator": describe(estimator), "chance": 0.5}
    attrs["folds"] = folds.attrs.get("folds", f"{folds.sizes['fold']} folds")
    return _result(activity, sides, scores, attrs)


def with_shattering_null(
    result: xr.Dataset,
    activity: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    sides: xr.DataArray,
    *,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
) -> xr.Dataset:
    """The result of ``shattering`` with a null of scheme "labels", all permutations by one factorisation per fold.

    Parameters
    ----------
    result, activity, estimator, folds, sides : as given to and by ``shattering``
    n_permutations, random_state, within : as in ``with_null``; conditions are exchanged inside the folds' groups

    Returns
    -------
    result, as of ``with_geometry_null``

    Raises
    ------
    SchemaError : as ``with_geometry_null`` and ``shattering``

    Notes
    -----
    Permuted conditions of the same trials are more labelings, so n_permutations n_dichotomies of them share a
    factorisation, in batches of 20000. Without a closed form each is an honest fit.
    """
    _check_null(result, activity, "labels")
    side, position = check_dichotomies(sides, activity)
    features = features_for(activity, estimator, folds)
    orders = permutations_of(position, n_permutations, random_state, within=exchange_groups(activity, folds, within))
    step = max(1, MOST_LABELINGS // len(side))
    null = [
        _decoded(features, side[:, order].swapaxes(0, 1).reshape(-1, len(position)), estimator, folds.to_numpy())
        for order in (orders[start : start + step] for start in range(0, n_permutations, step))
    ]
    return _attach(result, np.concatenate(null).reshape(n_permutations, -1), SCHEMES["labels"])


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


def with_geometry_null(
    result: xr.Dataset,
    data: Data,
    measure: Callable[[Any], xr.Dataset],
    *,
    scheme: str,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """The result with the scores that the whole measure reaches on permuted data.

    Parameters
    ----------
    result : what ``measure(data)`` gave
    data : activity with the column ``condition``, or session id -> such activity
    measure : function of the data that gives a dataset of kind "geometry", such as
        ``partial(parallelism, sides=sides)``; for a cohort, one that splits and pools it
    scheme : "labels" or "units", see the module
    n_permutations : each reruns the measure
    random_state : seed; permutation i has a stream of its own, whatever the number of workers
    within : trial column inside whose groups conditions are exchanged, for scheme "labels"
    map : as the builtin; called once over the permutations

    Returns
    -------
    result with ``null_score (permutation, dichotomy)``, ``p_value`` and ``p_familywise (dichotomy)`` (against the
    largest over dichotomies); attrs ``p_value``, ``null_low`` and ``null_high`` (the middle 95 %) of the mean.
    Where the result says ``smaller_is_stronger``, as of the participation ratio, p counts the smaller

    Raises
    ------
    UnknownName : no such scheme
    SchemaError : not a result of a measure; labels of a pseudo-population, whose trials are no units of chance;
        fewer than one permutation
    """
    _check_null(result, data, scheme)
    permute = partial(_permute_labels, within=within) if scheme == "labels" else _permute_units
    null = draw_null(partial(_permuted, data, measure, permute), n_permutations, random_state, map=map)
    return _attach(result, null, SCHEMES[scheme] + (f" within {within}" if within else ""))


def _check_null(result: Any, data: Data, scheme: str) -> None:
    if scheme not in SCHEMES:
        raise UnknownName(f"no null of scheme {scheme!r}. {nearest(scheme, SCHEMES)}")
    if not isinstance(result, xr.Dataset) or result.attrs.get("kind") != "geometry":
        raise SchemaError("expected a dataset of kind 'geometry', such as parallelism(...) gives. Pass measure(data).")
    if scheme == "labels" and isinstance(data, xr.DataArray) and data.attrs.get("population") == "pseudo-population":
        raise SchemaError(
            "labels of a pseudo-population cannot be exchanged: its trials share recorded trials. Pass the cohort, and "
            "a measure that pools it, lambda cohort: parallelism(pool_conditions(cohort, ...)[0], sides)."
        )


def _decoded(features: np.ndarray, labels: np.ndarray, estimator: Any, sides: np.ndarray) -> np.ndarray:
    """Balanced accuracy (n_labelings,) over all test predictions of labels (n_labelings, n_trials) of 0 and 1."""
    predicted = predict_labelings(features, labels, 2, estimator, sides)
    fold, trial = np.nonzero(sides == TEST)
    return scores_of_labelings("balanced_accuracy", labels[:, trial], predicted[:, fold, trial])


def _permuted(data: Data, measure: Callable, permute: Callable, seed: np.random.SeedSequence) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if isinstance(data, xr.DataArray):
        return measure(permute(data, rng))["score"].to_numpy()
    return measure({session: permute(activity, rng) for session, activity in data.items()})["score"].to_numpy()


def _permute_labels(activity: xr.DataArray, rng: np.random.Generator, *, within: str | None) -> xr.DataArray:
    groups = None if within is None else trial_column(activity, within)
    column = activity["condition"]
    permuted = permute_labels(column.to_numpy(), rng, within=groups)
    return activity.assign_coords(condition=("trial", permuted, column.attrs))


def _permute_units(activity: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    position, names = condition_positions(activity)
    values = activity.to_numpy().astype(np.float64)
    means = np.stack([values[position == k].mean(axis=0) for k in range(len(names))])
    centre = means.mean(axis=0)
    spread = values.std(axis=(0, 1))
    scale = np.where(spread > 0, spread, 1.0)
    scaled = (values - centre) / scale
    for k in range(len(names)):
        scaled[position == k] = scaled[position == k][:, :, rng.permutation(values.shape[2])]
    return activity.copy(data=scaled * scale + centre)


def _attach(result: xr.Dataset, null: np.ndarray, scheme: str) -> xr.Dataset:
    dim = result["score"].dims[0]
    sign = -1.0 if result.attrs.get("smaller_is_stronger") else 1.0
    score = sign * result["score"].to_numpy()
    strength = np.where(np.isfinite(null), sign * null, np.inf)  # a null that could not be measured counts against us
    each = (np.sum(strength >= score, axis=0) + 1) / (len(null) + 1)
    largest = (np.sum(strength.max(axis=1)[:, None] >= score, axis=0) + 1) / (len(null) + 1)
    mean = strength.mean(axis=1)
    low, high = np.nanquantile(null.mean(axis=1), [0.025, 0.975])
    return result.assign(
        null_score=(("permutation", dim), null), p_value=(dim, each), p_familywise=(dim, largest)
    ).assign_attrs(
        n_permutations=len(null),
        null_scheme=scheme,
        null_low=float(low),
        null_high=float(high),
        p_value=float((np.sum(mean >= score.mean()) + 1) / (len(null) + 1)),
        p_smallest=1 / (len(null) + 1),
    )


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
