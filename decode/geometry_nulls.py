"""Nulls of the geometry of conditions: is there anything to decode, and is the code more abstract than a random one?

"labels" exchanges the conditions of whole trials. "units" permutes the units of each condition's cloud of trials,
all trials of a condition alike: clouds keep their size, spread and distance from the mean, so they stay about as
decodable, but lie in random places (the geometric null of Bernardi et al. 2020). Here clouds are permuted about the
mean over conditions in units of each unit's standard deviation, so that a unit's mean rate stays its own.
The measures themselves are in ``geometry`` and ``dimensionality``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.folds import permute_labels, trial_column
from ..datasets.tables import nearest
from .conditions import check_dichotomies, condition_positions
from .geometry import decoded
from .nulls import draw_null, exchange_groups, exchange_words, permutations
from .score import Map, features_for

SCHEMES = {"labels": "conditions of whole trials permuted", "units": "units permuted within each condition"}
MOST_LABELINGS = 20_000
Data = xr.DataArray | Mapping[str, xr.DataArray]


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
        labels under fixed folds (see ``with_shattering_null``); fewer than one permutation
    """
    _check_null(result, data, scheme)
    if scheme == "labels" and "folds" in result.attrs and isinstance(data, xr.DataArray) and within is None:
        raise SchemaError(
            "folds are stratified by the true conditions, so conditions are exchanged inside each fold. Use "
            "with_shattering_null(...), or name the column of the folds, within='block'."
        )
    data = data.compute() if isinstance(data, xr.DataArray) else {name: a.compute() for name, a in data.items()}
    permute = partial(_permute_labels, within=within) if scheme == "labels" else _permute_units
    null = draw_null(partial(_permuted, data, measure, permute), n_permutations, random_state, map=map)
    return _attach(result, null, SCHEMES[scheme] + (f" within {within}" if within else ""))


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
    n_permutations, random_state, within : as in ``with_null``; conditions are exchanged inside each fold and group

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
    activity = activity.compute()
    side, position = check_dichotomies(sides, activity)
    features = features_for(activity, estimator, folds)
    orders = permutations(position, n_permutations, random_state, within=exchange_groups(activity, folds, within))
    step = max(1, MOST_LABELINGS // len(side))
    null = [
        decoded(features, side[:, order].swapaxes(0, 1).reshape(-1, len(position)), estimator, folds.to_numpy())
        for order in (orders[start : start + step] for start in range(0, n_permutations, step))
    ]
    scheme = f"{SCHEMES['labels']} {exchange_words(folds, within)}"
    return _attach(result, np.concatenate(null).reshape(n_permutations, -1), scheme)


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
