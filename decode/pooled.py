"""Decoding from a pseudo-population: split every session, match its trials by label, decode, repeat."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import permute_labels, trial_column
from .conditions import split_and_pool
from .nulls import arrangements, attach_null, draw_null
from .result import check_result
from .score import Map, cross_validate


def cross_validate_pooled(
    cohort: Mapping[str, xr.DataArray],
    target: str,
    estimator: Any,
    *,
    n_folds: int,
    n_repeats: int,
    random_state: int,
    group: str | None = None,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Cross-validated decoding from units of several sessions, matched anew in every repeat.

    Parameters
    ----------
    cohort : session id -> activity on the same time bins
    target, estimator, metric : as in ``cross_validate``
    n_folds, group : as in ``make_folds``, for each session
    n_repeats : how often trials are split and matched again; the spread over repeats is reported
    random_state : seed; each repeat and session has a stream of its own
    map : as the builtin; called once over the repeats

    Returns
    -------
    result of the first repeat, with ``repeat_score (repeat)``; ``score_mean`` is their mean,
    ``score_low`` and ``score_high`` the lowest and highest, ``confusion`` their sum

    Raises
    ------
    SchemaError : fewer than one repeat; whatever ``make_folds`` and ``pseudo_population`` refuse

    Notes
    -----
    The range over repeats says how much the matching matters. It is no interval over animals: the
    units are the same in every repeat.
    """
    if n_repeats < 1:
        raise SchemaError(f"n_repeats must be at least 1, got {n_repeats}. 10 show how much the matching matters.")
    cohort = {session: activity.compute() for session, activity in cohort.items()}  # once, and not in every repeat
    seeds = np.random.SeedSequence(random_state).spawn(n_repeats)
    once = partial(_pooled_once, cohort, target, estimator, n_folds, group, metric)
    results = list(map(once, seeds))
    scores = np.array([result.attrs["score_mean"] for result in results])
    result = results[0].assign(repeat_score=("repeat", scores))
    if "confusion" in result:
        result["confusion"] = sum(r["confusion"] for r in results)
    return result.assign_attrs(
        score_mean=float(scores.mean()),
        score_low=float(scores.min()),
        score_high=float(scores.max()),
        score_sd=float(scores.std(ddof=1)) if n_repeats > 1 else 0.0,
        interval_level=1.0,
        interval_over=f"{n_repeats} repeats of split and matching (lowest to highest)",
        n_repeats=n_repeats,
    )


def with_pooled_null(
    result: xr.Dataset,
    cohort: Mapping[str, xr.DataArray],
    estimator: Any,
    *,
    n_folds: int,
    n_permutations: int,
    random_state: int,
    group: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """The pooled result with a null: labels permuted within each session before it is split and matched.

    Parameters
    ----------
    result : of ``cross_validate_pooled`` on the same cohort
    n_permutations, random_state, map : as in ``with_null``

    Returns
    -------
    result as of ``with_null``; the p value compares one permuted repeat with the first true repeat

    Raises
    ------
    SchemaError : not a pooled result; fewer than one permutation
    """
    if "repeat_score" not in check_result(result):
        raise SchemaError(
            f"result {result.attrs.get('name', '?')!r} has no repeat_score, so it is not of pooled sessions. "
            f"Make it with cross_validate_pooled(...), or use with_null(...)."
        )
    cohort = {session: activity.compute() for session, activity in cohort.items()}
    target, metric = result.attrs["target"], result.attrs["metric"]
    once = partial(_permuted_pool, cohort, target, estimator, n_folds, group, metric)
    null = draw_null(once, n_permutations, random_state, map=map)
    ways = 1.0
    for activity in cohort.values():
        labels = np.unique(trial_column(activity, target), return_inverse=True)[1]
        ways *= arrangements(labels, None if group is None else trial_column(activity, group))
    scheme = "labels of whole trials permuted within each session" + (f" and {group}" if group else "")
    scheme += ", then split and matched anew; compared with the first repeat"
    return attach_null(result, null, ways, scheme=scheme, score=float(result["repeat_score"].values[0]))


def _pooled_once(
    cohort: Mapping[str, xr.DataArray],
    target: str,
    estimator: Any,
    n_folds: int,
    group: str | None,
    metric: str | None,
    seed: np.random.SeedSequence,
) -> xr.Dataset:
    activity, folds = split_and_pool(cohort, target, n_folds=n_folds, random_state=seed, group=group)
    return cross_validate(activity, target, estimator, folds, metric=metric)


def _permuted_pool(
    cohort: Mapping[str, xr.DataArray],
    target: str,
    estimator: Any,
    n_folds: int,
    group: str | None,
    metric: str,
    seed: np.random.SeedSequence,
) -> float:
    order, chain = seed.spawn(2)
    rng = np.random.default_rng(order)
    permuted = {}
    for session, activity in cohort.items():
        within = None if group is None else trial_column(activity, group)
        labels = permute_labels(trial_column(activity, target), rng, within=within)
        permuted[session] = activity.assign_coords({target: ("trial", labels, activity[target].attrs)})
    return _pooled_once(permuted, target, estimator, n_folds, group, metric, chain).attrs["score_mean"]
