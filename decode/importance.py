"""Which units matter: each decoded alone, and each shuffled in the test trials of the decoder of all.

The two questions differ. A unit that decodes alone may add nothing to the others; one that decodes nothing alone
may cancel noise. Of units that say the same, shuffling one costs little: shuffle them as a group.
Not here: choosing units for a decoder, which must happen inside the fold (``select_units``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone, is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds
from ..datasets.tables import nearest
from . import metrics
from .closed_form import predict_labelings_over_bins, solver_for
from .nulls import FEWEST_ARRANGEMENTS, arrangements, exchange_groups, exchange_words, permutations
from .score import Map, encode_target, features_for, frame_of, predict_folds, takes_three_axes

LEVEL = 0.95


def single_unit_scores(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    n_permutations: int,
    random_state: int,
    metric: str | None = None,
    within: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Decode the target from each unit by itself, with control over the family of all units.

    Parameters
    ----------
    activity, target, estimator, folds, metric : as in ``cross_validate``; the estimator sees the bins of one unit
    n_permutations, random_state, within : as in ``with_null``; one permutation relabels the trials alike for all
        units, so its largest score over units controls the family
    map : as the builtin; called over the units where there is no closed form

    Returns
    -------
    dataset of kind "units": ``score``, ``p_value``, ``p_familywise``, ``null_low``, ``null_high`` (unit),
    ``null_score (permutation, unit)``, and the unit coordinates. No p where fewer than 20 orders of the labels exist

    Raises
    ------
    SchemaError, LeakageError, UnknownName : as ``cross_validate`` and ``with_null``

    Notes
    -----
    By closed form all units and permutations share the labels' indicators, and each unit costs one small
    factorisation per fold.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, n_units=(20, 20), n_blocks=4)
    >>> activity = bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group="block")
    >>> found = single_unit_scores(activity, "odor", make_decoder("nearest_centroid"), folds, n_permutations=99,
    ...                            random_state=0)
    >>> bool((found["p_familywise"] >= found["p_value"]).all())
    True
    """
    check_folds(folds, activity)
    activity = activity.compute()
    for_classes = is_classifier(estimator)
    metric = metric or ("balanced_accuracy" if for_classes else "r2")
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    truth, _ = encode_target(activity, target, for_classes=for_classes)
    features_for(activity, estimator, folds)  # refuses NaN and leaks
    groups = exchange_groups(activity, folds, within)
    labels = np.concatenate([truth[None], permutations(truth, n_permutations, random_state, within=groups)])
    units = _one_by_one(activity.to_numpy(), takes_three_axes(estimator))
    sides = folds.to_numpy()
    trial = np.nonzero(sides == TEST)[1]
    if for_classes and solver_for(estimator) is not None:
        predicted = predict_labelings_over_bins(units, labels, int(truth.max()) + 1, estimator, sides)
        truths = labels[:, trial]
        columns = [metrics.scores_of_labelings(metric, truths, predicted[:, :, u]) for u in range(len(units))]
    else:
        columns = list(map(partial(_scores_alone, labels, estimator, sides, score_of), units))
    scores = np.array(columns).T
    sign = -1.0 if metric in metrics.SMALLER_IS_BETTER else 1.0
    n_ways = arrangements(truth, groups)
    result = _of_units(activity, scores[0], scores[1:], sign, n_ways)
    scheme = "labels of whole trials permuted alike for all units, " + exchange_words(folds, within)
    frame = frame_of(activity, target, estimator, folds, metric, truth, for_classes)
    return result.assign_attrs(
        frame | {"kind": "units", "measure": "single-unit score", "n_permutations": n_permutations}
        | {"null_scheme": scheme, "random_state": random_state, "p_smallest": max(1 / (n_permutations + 1), 1 / n_ways)}
    )  # fmt: skip


def permutation_importance(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    group: str | None = None,
    n_repeats: int,
    random_state: int,
    metric: str | None = None,
) -> xr.Dataset:
    """How much the score falls when a unit's activity is shuffled between test trials of a fold.

    Parameters
    ----------
    activity, target, estimator, folds, metric : as in ``cross_validate``
    group : unit coordinate, such as "area" or "kind"; units of one value are shuffled together. None takes each
        unit by itself
    n_repeats : random orders of the test trials; one order serves all units
    random_state : seed

    Returns
    -------
    dataset of kind "units" on ``unit``, or ``unit_group``: ``importance`` (score less the mean shuffled score; of
    an error, the reverse), ``importance_low``, ``importance_high`` (middle 95 % over orders), ``shuffled_score
    (repeat, unit)``, ``p_value`` (share of shuffled scores at least as good) and ``p_familywise`` (largest
    standardised over units); attrs ``score_mean`` of the intact trials

    Raises
    ------
    SchemaError : no such unit coordinate, one value of it, fewer than one repeat, a fold of one test trial;
        whatever ``cross_validate`` refuses
    LeakageError : as ``cross_validate``

    Notes
    -----
    The decoder is fitted once per fold, on training trials, and never again. All bins of a trial move together,
    and all units of a group. Prediction costs n_repeats times that of ``cross_validate`` for each unit or group.
    """
    check_folds(folds, activity)
    if n_repeats < 1:
        raise SchemaError(f"n_repeats must be at least 1, got {n_repeats}.")
    for_classes = is_classifier(estimator)
    metric = metric or ("balanced_accuracy" if for_classes else "r2")
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    truth, _ = encode_target(activity, target, for_classes=for_classes)
    features = features_for(activity, estimator, folds)
    names, members = _unit_groups(activity, group)
    rng, tests = np.random.default_rng(random_state), []
    for fold, side in enumerate(folds.to_numpy()):
        train, test = side == TRAIN, side == TEST
        if test.sum() < 2:
            raise SchemaError(f"fold {fold} tests one trial, which cannot be shuffled. Use fewer folds.")
        fitted = clone(estimator).fit(features[train], truth[train])
        orders = np.array([rng.permutation(int(test.sum())) for _ in range(n_repeats)])
        tests.append(_predict_shuffled(fitted, features[test], activity.shape, members, orders))
    position = np.concatenate([np.flatnonzero(side == TEST) for side in folds.to_numpy()])
    predicted = np.concatenate(tests, axis=2)  # (1 + groups, repeats, tests)
    intact = score_of(truth[position], predicted[0, 0])
    shuffled = np.array([[score_of(truth[position], row) for row in of_group] for of_group in predicted[1:]]).T
    sign = -1.0 if metric in metrics.SMALLER_IS_BETTER else 1.0
    dim = "unit" if group is None else "unit_group"
    result = _of_shuffling(intact, shuffled, sign, dim, names)
    if group is None:
        result = result.assign_coords({n: c for n, c in activity.coords.items() if c.dims == activity.dims[2:]})
    else:
        result = result.assign_coords(n_members=(dim, [len(m) for m in members]))
    frame = frame_of(activity, target, estimator, folds, metric, truth, for_classes)
    return result.assign_attrs(
        frame | {"kind": "units", "measure": "permutation importance", "score_mean": float(intact)}
        | {"n_repeats": n_repeats, "random_state": random_state, "group": group or "", "interval_level": LEVEL}
        | {"interval_over": "random orders of the test trials", "p_smallest": 1 / (n_repeats + 1)}
        | {"null_scheme": "activity of the unit or group exchanged between test trials of a fold"}
    )  # fmt: skip


def _one_by_one(values: np.ndarray, three_axes: bool) -> list[np.ndarray]:
    """Features of each unit, as the estimator takes them."""
    return [values[:, :, u : u + 1] if three_axes else values[:, :, u] for u in range(values.shape[2])]


def _scores_alone(
    labels: np.ndarray, estimator: Any, sides: np.ndarray, score_of: Callable, features: np.ndarray
) -> list[float]:
    """Scores (n_labelings,) of one unit, by fitting anew."""
    fold, trial = np.nonzero(sides == TEST)
    return [score_of(truth[trial], predict_folds(features, truth, estimator, sides)[fold, trial]) for truth in labels]


def _of_units(activity: xr.DataArray, score: np.ndarray, null: np.ndarray, sign: float, n_ways: float) -> xr.Dataset:
    dim, m = activity.dims[2], len(null)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    result = xr.Dataset(
        {"score": (dim, score), "null_low": (dim, low), "null_high": (dim, high)}
        | {"null_score": (("permutation", dim), null)},
        coords={name: c for name, c in activity.coords.items() if c.dims == (dim,)},
    )
    if n_ways < FEWEST_ARRANGEMENTS:
        return result
    each = (np.sum(sign * null >= sign * score, axis=0) + 1) / (m + 1)
    family = (np.sum((sign * null).max(axis=1)[:, None] >= sign * score, axis=0) + 1) / (m + 1)
    return result.assign(
        p_value=(dim, np.maximum(each, 1 / n_ways)), p_familywise=(dim, np.maximum(family, 1 / n_ways))
    )


def _unit_groups(activity: xr.DataArray, group: str | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Names of the groups, and positions of the units of each."""
    dim = str(activity.dims[2])
    if group is None:
        return activity[dim].to_numpy(), [np.array([u]) for u in range(activity.sizes[dim])]
    columns = [str(name) for name, c in activity.coords.items() if c.dims == (dim,)]
    where = f"session {activity.attrs['session']!r}"
    if group not in columns:
        raise SchemaError(f"{where}: there is no unit coordinate {group!r}. {nearest(group, columns)}")
    names, position = np.unique(activity[group].to_numpy(), return_inverse=True)
    if len(names) < 2:
        raise SchemaError(
            f"{where}: {group!r} is {str(names[0])!r} for all units, and shuffling all of them leaves chance. Name a "
            f"coordinate that differs between units."
        )
    return names, [np.flatnonzero(position == g) for g in range(len(names))]


def _predict_shuffled(
    fitted: Any, test: np.ndarray, shape: tuple[int, ...], members: list[np.ndarray], orders: np.ndarray
) -> np.ndarray:
    """Predictions (1 + n_groups, n_repeats, n_test): intact, then each group in every order of the test trials."""
    n_test, n_repeats = len(test), len(orders)
    out = [np.broadcast_to(fitted.predict(test), (n_repeats, n_test))]
    axes = test.reshape(n_test, *shape[1:])
    for units in members:
        stacked = np.repeat(axes[None], n_repeats, axis=0)
        stacked[:, :, :, units] = axes[orders][:, :, :, units]
        out.append(fitted.predict(stacked.reshape(-1, *test.shape[1:])).reshape(n_repeats, n_test))
    return np.stack(out)


def _of_shuffling(intact: float, shuffled: np.ndarray, sign: float, dim: str, names: np.ndarray) -> xr.Dataset:
    """Importance, its interval and p values from scores (n_repeats, n_groups)."""
    fall, m = sign * (intact - shuffled), len(shuffled)
    low, high = np.quantile(fall, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    spread = fall.std(axis=0)
    scale = np.where(spread > 0, spread, np.inf)
    observed, null = fall.mean(axis=0) / scale, (fall.mean(axis=0) - fall) / scale
    family = (np.sum(null.max(axis=1)[:, None] >= observed, axis=0) + 1) / (m + 1)
    return xr.Dataset(
        {
            "importance": (dim, fall.mean(axis=0)),
            "importance_low": (dim, low),
            "importance_high": (dim, high),
            "p_value": (dim, (np.sum(fall <= 0, axis=0) + 1) / (m + 1)),
            "p_familywise": (dim, family),
            "shuffled_score": (("repeat", dim), shuffled),
        },
        coords={dim: names},
    )
