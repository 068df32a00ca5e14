"""Representational dissimilarity: distances between conditions, compared between animals and with models.

Distances (n_units in the denominator, as in rsatoolbox, so that populations of different size compare):

    euclidean    |m_i - m_j|² / n_units
    correlation  1 - Pearson correlation of m_i and m_j over bins and units
    crossnobis   mean over folds of (m_i - m_j)'_train S^-1 (m_i - m_j)_test / n_units

with m the condition means. The crossnobis distance (Walther et al. 2016, NeuroImage 137:188, eq. 5) is zero on
average where there is no signal, so it may fall below zero; the others grow with noise. S is the covariance of
the training trials about their condition means, shrunk by Ledoit-Wolf, so it knows nothing of the test trials.
Noise ceilings after Nili et al. 2014, PLoS Comput Biol 10:e1003553, "Noise ceiling".
Not here: decoding of pairs (``geometry.shattering``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import kendalltau, rankdata
from sklearn.covariance import ledoit_wolf

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.folds import TEST, TRAIN, UNUSED, check_folds, trial_column
from ..datasets.tables import nearest
from .conditions import finite_values
from .decoders.nearest_centroid import NearestCentroid
from .score import CARRIED_ATTRS, features_for

DISTANCES = ("euclidean", "correlation")
COMPARISONS = ("pearson", "spearman", "kendall")
Matrices = Mapping[str, xr.Dataset]


def dissimilarity(activity: xr.DataArray, target: str, *, distance: str) -> xr.Dataset:
    """Distances between the condition means of all trials.

    Parameters
    ----------
    activity : (trial, time, unit); bins and units together are the pattern
    target : trial column whose values are the conditions, such as "odor" or "condition"
    distance : "euclidean" or "correlation"; both are biased upwards by noise

    Returns
    -------
    dataset of kind "dissimilarity": ``dissimilarity (condition, other_condition)``, symmetric, zero on the diagonal

    Raises
    ------
    UnknownName : no such distance
    SchemaError : no such column, one condition, NaN; a correlation of a mean that is the same in all units

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.array([[0.0, 0.0], [3.0, 1.0]])[:, None], dims=("trial", "time", "unit"), coords={
    ...     "trial": range(2), "time": [0.0], "unit": ["u", "v"], "odor": ("trial", ["a", "b"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> dissimilarity(activity, "odor", distance="euclidean")["dissimilarity"].values.tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    if distance not in DISTANCES:
        advice = " crossnobis(...) takes folds." if distance == "crossnobis" else ""
        raise UnknownName(f"no distance {distance!r}. {nearest(distance, DISTANCES)}{advice}")
    names, position = _conditions(activity, target)
    patterns = finite_values(activity).reshape(len(position), -1)
    means = np.stack([patterns[position == k].mean(axis=0) for k in range(len(names))])
    if distance == "correlation":
        centred = means - means.mean(axis=1, keepdims=True)
        norm = np.sqrt(np.sum(centred**2, axis=1, keepdims=True))
        if not norm.all():
            flat = str(names[int((norm == 0).argmax())])
            raise SchemaError(
                f"session {activity.attrs['session']!r}: the mean of {target} {flat!r} is the same in all units, so it "
                f"correlates with nothing. Leave it out, or use the euclidean distance."
            )
        matrix = 1.0 - (centred / norm) @ (centred / norm).T
    else:
        matrix = _squared_differences(means @ means.T) / means.shape[1]
    np.fill_diagonal(matrix, 0.0)
    return _labelled(activity, target, names, matrix, {"distance": distance, "folds": ""})


def crossnobis(
    activity: xr.DataArray, target: str, folds: xr.DataArray, *, noise_covariance: np.ndarray | None = None
) -> xr.Dataset:
    """Cross-validated Mahalanobis distances between conditions.

    Parameters
    ----------
    activity, target : as in ``dissimilarity``
    folds : (fold, trial), with every condition on both sides of every fold; blocks whole where noise is shared
    noise_covariance : (p, p) over bins and units, known from other data; None estimates it from the training
        trials of each fold; the identity gives cross-validated Euclidean distances

    Returns
    -------
    dataset of kind "dissimilarity", as of ``dissimilarity``

    Raises
    ------
    SchemaError : folds that do not fit, a condition without trials on one side, a covariance of another shape or
        that is not positive definite
    LeakageError : a trajectory was fitted on test trials

    Notes
    -----
    Zero on average without signal, whatever the distribution of the noise, as training and test trials share
    none. Time O(n_folds p³).
    """
    check_folds(folds, activity)
    names, position = _conditions(activity, target)
    activity = activity.compute()
    used = (folds.to_numpy() != UNUSED).any(axis=0)
    patterns = finite_values(activity, used).reshape(len(position), -1)
    features_for(activity, NearestCentroid(), folds)  # refuses a trajectory that was fitted on test trials
    p = patterns.shape[1]
    where = f"session {activity.attrs['session']!r}"
    if noise_covariance is not None and np.shape(noise_covariance) != (p, p):
        raise SchemaError(f"{where}: expected a noise covariance of shape {(p, p)}, got {np.shape(noise_covariance)}.")
    total = np.zeros((len(names), len(names)))
    for fold, side in enumerate(folds.to_numpy()):
        means = {}
        for role, what in ((TRAIN, "training"), (TEST, "test")):
            counts = np.bincount(position[side == role], minlength=len(names))
            if not counts.all():
                absent = str(names[int((counts == 0).argmax())])
                raise SchemaError(
                    f"{where}: {target} {absent!r} has no {what} trial in fold {fold}. Use fewer folds, stratified by "
                    f"{target}, or leave it out."
                )
            means[role] = np.stack([patterns[(side == role) & (position == k)].mean(axis=0) for k in range(len(names))])
        train = side == TRAIN
        covariance = noise_covariance
        if covariance is None:
            covariance = _noise(patterns[train] - means[TRAIN][position[train]], where)
        try:
            gram = means[TRAIN] @ cho_solve(cho_factor(covariance), means[TEST].T)
        except np.linalg.LinAlgError as error:
            raise SchemaError(f"{where}: the noise covariance is not positive definite. Shrink it.") from error
        total += _squared_differences(gram) / p
    attrs = {"distance": "crossnobis", "folds": folds.attrs.get("folds", f"{folds.sizes['fold']} folds")}
    return _labelled(activity, target, names, total / folds.sizes["fold"], attrs)


def make_dissimilarity(matrix: Any, conditions: Any, **attrs: str) -> xr.Dataset:
    """A dataset of kind "dissimilarity" from a matrix that was made elsewhere, such as a model's.

    Parameters
    ----------
    matrix : (n_conditions, n_conditions), symmetric; the diagonal is not used
    conditions : names
    attrs : ``animal``, ``session``, ``distance`` and what else is known

    Raises
    ------
    SchemaError : not square, not symmetric, NaN off the diagonal, fewer than three conditions, repeated names

    Examples
    --------
    >>> make_dissimilarity([[0, 1, 4], [1, 0, 1], [4, 1, 0]], ["a", "b", "c"], animal="model").sizes["condition"]
    3
    """
    dataset = xr.Dataset(
        {"dissimilarity": (("condition", "other_condition"), np.array(matrix, dtype=np.float64))},
        coords={"condition": np.asarray(conditions), "other_condition": np.asarray(conditions)},
    )
    dataset = dataset.assign_attrs({"kind": "dissimilarity", "animal": "", "session": "", "distance": ""} | attrs)
    _vector(dataset, "this")
    return dataset


def compare_dissimilarity(first: xr.Dataset, second: xr.Dataset, *, comparison: str) -> float:
    """Correlation of two dissimilarity matrices over all pairs of conditions.

    Parameters
    ----------
    first, second : of kind "dissimilarity", on the same conditions in any order
    comparison : "pearson", "spearman", or "kendall" (tau-a, which does not favour models with ties)

    Raises
    ------
    UnknownName : no such comparison
    SchemaError : other conditions, fewer than three, NaN, a matrix that is constant

    Examples
    --------
    >>> first = make_dissimilarity([[0, 1, 4], [1, 0, 2], [4, 2, 0]], ["a", "b", "c"])
    >>> compare_dissimilarity(first, first, comparison="spearman")
    1.0
    """
    a, b = _vectors({"the first": first, "the second": second}, comparison)
    return _correlation(a, b, comparison)


def with_comparison_null(
    first: xr.Dataset, second: xr.Dataset, *, comparison: str, n_permutations: int, random_state: int
) -> dict[str, Any]:
    """The correlation of two matrices with what relabelled conditions reach: are the same conditions far apart?

    Parameters
    ----------
    first, second, comparison : as in ``compare_dissimilarity``
    n_permutations : random orders of the conditions of the second
    random_state : seed

    Returns
    -------
    ``score``, ``p_value`` (one-sided, (b + 1) / (m + 1)), ``p_smallest``, ``null_low``, ``null_high`` (middle 95 %),
    ``null_score`` (list), ``comparison``, ``n_conditions``

    Raises
    ------
    as ``compare_dissimilarity``; SchemaError : fewer than one permutation
    """
    if n_permutations < 1:
        raise SchemaError(f"n_permutations must be at least 1, got {n_permutations}.")
    a, b = _vectors({"the first": first, "the second": second}, comparison)
    score, n = _correlation(a, b, comparison), first.sizes["condition"]
    matrix = np.zeros((n, n))
    upper = np.triu_indices(n, 1)
    matrix[upper] = b
    matrix += matrix.T
    rng = np.random.default_rng(random_state)
    orders = [rng.permutation(n) for _ in range(n_permutations)]
    null = np.array([_correlation(a, matrix[np.ix_(order, order)][upper], comparison) for order in orders])
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "score": score,
        "p_value": float((np.sum(null >= score) + 1) / (n_permutations + 1)),
        "p_smallest": 1 / (n_permutations + 1),
        "null_low": float(low),
        "null_high": float(high),
        "null_score": null.tolist(),
        "comparison": comparison,
        "n_conditions": n,
    }


def noise_ceiling(matrices: Matrices, *, comparison: str) -> dict[str, float]:
    """The best that any model could correlate with the animals' matrices, from below and above.

    Upper: the mean correlation of each animal with the mean of all, itself included. Lower: with the mean of all
    others. Matrices are standardised ("pearson") or ranked before they are averaged.

    Parameters
    ----------
    matrices : animal -> dataset of kind "dissimilarity", at least two, on the same conditions
    comparison : as in ``compare_dissimilarity``

    Returns
    -------
    ``lower``, ``upper``, ``n_animals``

    Raises
    ------
    as ``compare_dissimilarity``; SchemaError : fewer than two animals

    Notes
    -----
    The upper bound is exact for "pearson" and "spearman"; for "kendall" the mean of ranks is close to the best.
    """
    if len(matrices) < 2:
        raise SchemaError(f"a noise ceiling needs the matrices of at least two animals, got {len(matrices)}.")
    vectors = np.stack(_vectors(matrices, comparison))
    if comparison == "pearson":
        scaled = (vectors - vectors.mean(axis=1, keepdims=True)) / vectors.std(axis=1, keepdims=True)
    else:
        scaled = np.stack([rankdata(vector) for vector in vectors])
    total, n = scaled.sum(axis=0), len(vectors)
    upper = np.mean([_correlation(vector, total / n, comparison) for vector in vectors])
    lower = np.mean([
        _correlation(vector, (total - own) / (n - 1), comparison) for vector, own in zip(vectors, scaled, strict=True)
    ])  # fmt: skip
    return {"lower": float(lower), "upper": float(upper), "n_animals": n}


def _conditions(activity: xr.DataArray, target: str) -> tuple[np.ndarray, np.ndarray]:
    names, position = np.unique(trial_column(activity, target), return_inverse=True)
    if len(names) < 2:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: {target!r} is {str(names[0])!r} in all trials, so there is no "
            f"distance between conditions."
        )
    return names, position


def _noise(residuals: np.ndarray, where: str) -> np.ndarray:
    covariance = ledoit_wolf(residuals, assume_centered=True)[0]
    if not np.trace(covariance) > 0:
        raise SchemaError(f"{where}: training trials of a condition do not differ, so there is no noise to weigh by.")
    return covariance


def _squared_differences(gram: np.ndarray) -> np.ndarray:
    """(m_i - m_j)' (n_i - n_j) from the products m_i' n_j; symmetric, zero on the diagonal."""
    own = np.diag(gram)
    return own[:, None] + own - gram - gram.T


def _labelled(
    activity: xr.DataArray, target: str, names: np.ndarray, matrix: np.ndarray, attrs: dict[str, Any]
) -> xr.Dataset:
    said = []
    if activity.attrs.get("population") == "pseudo-population":
        said.append("Pseudo-population: noise correlations between units of different sessions are lost.")
    return xr.Dataset(
        {"dissimilarity": (("condition", "other_condition"), matrix)},
        coords={"condition": names, "other_condition": names},
    ).assign_attrs(
        {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs}
        | {"kind": "dissimilarity", "target": target, "population": activity.attrs.get("population", "session")}
        | {"n_trials": activity.sizes["trial"], "n_units": int(activity.shape[2]), "warnings": said}
        | attrs
    )


def _vectors(matrices: Matrices, comparison: str) -> list[np.ndarray]:
    """Upper triangles (n_pairs,) of matrices put into one order of conditions."""
    if comparison not in COMPARISONS:
        raise UnknownName(f"no comparison {comparison!r} of dissimilarities. {nearest(comparison, COMPARISONS)}")
    for name, matrix in matrices.items():
        if not isinstance(matrix, xr.Dataset) or matrix.attrs.get("kind") != "dissimilarity":
            raise SchemaError(f"{name}: expected a dataset of kind 'dissimilarity', got {type(matrix).__name__}.")
    reference_name, reference = next(iter(matrices.items()))
    order = reference["condition"].to_numpy()
    found = []
    for name, matrix in matrices.items():
        if not np.array_equal(np.sort(matrix["condition"].to_numpy()), np.sort(order)):
            raise SchemaError(
                f"dissimilarities of {name} and {reference_name} are of different conditions "
                f"({matrix.sizes['condition']} and {len(order)}). Select those in common, "
                f".sel(condition=..., other_condition=...)."
            )
        found.append(_vector(matrix.sel(condition=order, other_condition=order), name))
        if np.ptp(found[-1]) == 0:
            raise SchemaError(f"dissimilarities of {name} are all {found[-1][0]:g}, so they correlate with nothing.")
    return found


def _vector(matrix: xr.Dataset, name: str) -> np.ndarray:
    values = matrix["dissimilarity"].to_numpy()
    if len(values) < 3 or len(set(matrix["condition"].to_numpy().tolist())) < len(values):
        raise SchemaError(
            f"dissimilarities of {name}: expected three or more conditions, each once, got {len(values)}."
        )
    vector = values[np.triu_indices(len(values), 1)]
    if np.isnan(vector).any() or not np.allclose(vector, values.T[np.triu_indices(len(values), 1)]):
        raise SchemaError(f"dissimilarities of {name}: expected a symmetric matrix without NaN. Leave out absent ones.")
    return vector


def _correlation(a: np.ndarray, b: np.ndarray, comparison: str) -> float:
    if comparison == "kendall":
        return _tau_a(a, b)
    if comparison == "spearman":
        a, b = rankdata(a), rankdata(b)
    a, b = a - a.mean(), b - b.mean()
    return float(min(1.0, max(-1.0, a @ b / np.sqrt((a @ a) * (b @ b)))))


def _tau_a(a: np.ndarray, b: np.ndarray) -> float:
    """Concordant less discordant pairs over all pairs: tau-b times the root of both shares of pairs without tie."""
    n_pairs = len(a) * (len(a) - 1) / 2
    tied = [np.sum(counts * (counts - 1) / 2) for counts in (np.unique(v, return_counts=True)[1] for v in (a, b))]
    return float(kendalltau(a, b).statistic * np.sqrt((n_pairs - tied[0]) * (n_pairs - tied[1])) / n_pairs)
