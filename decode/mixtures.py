"""Decoding mixtures: each component is present or absent, whatever else is; trained on single odors or on mixtures.

Not here: what the components of a trial are, ratios (``label_fraction`` and a regressor) and a target on held-out
backgrounds (``label_background`` and ``generalise_across``), which are all in ``components``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import is_classifier

from ..datasets.errors import SchemaError
from ..datasets.folds import TRAIN
from . import metrics
from .across_conditions import cross_folds
from .components import check_components
from .exchange import arrangements, come_in_runs, exchange_groups, exchange_words, permutations
from .intervals import with_interval
from .nulls import IN_RUNS, attach_null, null_scores
from .prepare import features_for, last_step_name
from .score import Map, cross_validate, trial_columns

NULL_WORDS = "components of whole trials permuted "
KINDS = ("singles", "mixtures", "all")
PER_COMPONENT = ("score_low", "score_high", "chance", "p_value", "null_low", "null_high")
SHARED = (
    *("session", "animal", "event", "window_s", "bin_width_s", "population", "left_out"),
    *("n_units", "n_animals", "n_sessions", "n_trials", "metric", "estimator", "folds"),
)


def mixture_folds(
    activity: xr.DataArray,
    components: xr.DataArray,
    *,
    train: str,
    test: str = "mixtures",
    folds: xr.DataArray | None = None,
) -> xr.DataArray:
    """Folds that train on single odors, or mixtures, or all, and test on one of these.

    Parameters
    ----------
    activity, components : see ``parse_components``
    train, test : "singles" (trials of one component, and blank ones), "mixtures" (two or more) or "all"
    folds : (fold, trial) to start from, needed where a kind of trial is on both sides, and to keep blocks apart

    Raises
    ------
    SchemaError : no such kind, no trials of it, one kind on both sides without folds; what ``cross_folds`` refuses
    """
    check_components(components, activity)
    n_components = (components.to_numpy() > 0).sum(axis=1)
    kinds = {"singles": n_components < 2, "mixtures": n_components > 1, "all": n_components >= 0}
    for side, kind in (("train", train), ("test", test)):
        if kind not in KINDS:
            raise SchemaError(f"mixture_folds: {side} is one of {', '.join(map(repr, KINDS))}, got {kind!r}.")
        if not kinds[kind].any():
            raise SchemaError(
                f"session {activity.attrs['session']!r}: there are no trials of {kind} to {side} on. The components of "
                f"trials say what is one; are names parsed with the right separator?"
            )
    made = cross_folds(activity, train=kinds[train], test=kinds[test], folds=folds)
    words = f" in {folds.attrs.get('folds', 'folds')}" if folds is not None else ""
    return made.assign_attrs(folds=f"trained on {train}, tested on {test}{words}")


def decode_components(
    activity: xr.DataArray,
    components: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    metric: str = "balanced_accuracy",
    n_permutations: int,
    n_bootstrap: int = 1000,
    random_state: int,
    map: Map = map,
) -> xr.Dataset:
    """Decode whether each component is present, whatever else is.

    Parameters
    ----------
    activity : (trial, time, unit) or a trajectory
    components : (trial, component); above 0 is present
    estimator : classifier; cloned and fitted for each component and fold
    folds : (fold, trial): ``mixture_folds`` for singles to mixtures
    metric : of a target of two classes, "balanced_accuracy" or "auroc" for example
    n_permutations : whole trials exchange all their components, alike for all components; 0 draws no null
    n_bootstrap, random_state, map : as in ``generalise_across``

    Returns
    -------
    dataset of kind "mixture": ``score``, ``score_low``, ``score_high``, ``chance`` and ``n_present (component)`` over
    all test predictions; ``p_value (component)`` and ``null_score (permutation, component)``; ``prediction (fold,
    trial, component)``, 1 present, 0 absent, -1 not tested; ``probability``, of presence, for a metric of
    probabilities; ``target (trial, component)``. attrs: ``score_mean``, the mean over components, with ``chance``,
    ``p_value``, ``null_low`` and ``null_high``; ``exact_match``, the share of test trials with all components right;
    ``warnings``

    Raises
    ------
    SchemaError : no classifier, components that do not fit, one that is present in all or no trial, or in all or no
        training trials of a fold; a null of a pseudo-population; what ``cross_validate`` refuses

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder, parse_components
    >>> pairs = {f"{a}+{b}": {a: 1, b: 1} for a, b in ("xy", "yz", "zx")}
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, n_units=(60, 60), odors=tuple("xyz"),
    ...                              concentrations=(0.1,), mixtures=pairs)
    >>> activity = bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5)
    >>> components = parse_components(activity)
    >>> folds = mixture_folds(activity, components, train="singles")
    >>> found = decode_components(activity, components, make_decoder("logistic"), folds, metric="auroc",
    ...                           n_permutations=0, random_state=0)
    >>> found.attrs["score_mean"] > 0.9
    True
    """
    activity = activity.compute()
    check_components(components, activity)
    if not is_classifier(estimator):
        raise SchemaError(
            f"a component is present or absent, and {last_step_name(estimator)} predicts numbers. Use a classifier; "
            f"for ratios use label_fraction(...) and cross_validate."
        )
    if n_permutations and activity.attrs.get("population") == "pseudo-population":
        raise SchemaError(
            "pseudo-trials of other folds hold the same recorded trials, so exchanging their components gives no null. "
            "Say n_permutations=0, and draw the null of each session by itself."
        )
    is_present = components.to_numpy() > 0
    results: list[xr.Dataset] = []
    for name, present in zip(components["component"].to_numpy().tolist(), is_present.T, strict=True):
        if present.all() or not present.any():
            state = "in all" if present.all() else "in no"
            raise SchemaError(f"component {name!r} is {state} trials, so there is nothing to decode. Leave it out.")
        column = f"component {name}"
        labelled = activity.assign_coords({column: ("trial", present.astype(np.int8))})
        result = cross_validate(labelled, column, estimator, folds, metric=metric, map=map)
        results.append(with_interval(result, n_bootstrap=n_bootstrap, random_state=random_state))
    if not n_permutations:
        return _joined(activity, results, components)
    groups = exchange_groups(activity, folds, None)
    order = permutations(np.arange(len(is_present)), n_permutations, random_state, within=groups)
    null = _null(activity, is_present[order], estimator, folds, metric, map)
    results = [
        attach_null(result, scores, arrangements(present, groups), scheme=NULL_WORDS + exchange_words(folds, None))
        for result, scores, present in zip(results, null.T, is_present.T, strict=True)
    ]
    said = []
    stimulus = np.unique(is_present, axis=0, return_inverse=True)[1].ravel()
    if come_in_runs(stimulus, groups):
        said = [IN_RUNS]
        for result in results:
            result.attrs.pop("p_value", None)
    return _joined(activity, results, components, said)


def _null(
    activity: xr.DataArray, labels: np.ndarray, estimator: Any, folds: xr.DataArray, metric: str, map: Map
) -> np.ndarray:
    """Scores (n_labelings, n_components) of whole trials in other orders, labels (n_labelings, n_trials, n_components).

    Only of orders that leave every fold trials with and without every component to train on, as the true one does.
    """
    sides = folds.to_numpy()
    can = np.ones(len(labels), bool)
    for side in sides:
        n_with = labels[:, side == TRAIN].sum(axis=1)  # (n_labelings, n_components)
        can &= np.all((n_with > 0) & (n_with < np.sum(side == TRAIN)), axis=1)
    if not can.any():
        raise SchemaError(
            "every order of the trials leaves a fold without a component to train on. Use fewer folds, or leave out "
            "components of few trials."
        )
    features = features_for(activity, estimator, folds)
    kept = np.moveaxis(labels[can], 2, 0).astype(np.int16)
    return np.stack([null_scores(features, some, estimator, sides, metric, map=map) for some in kept], axis=1)


def _joined(
    activity: xr.DataArray, results: list[xr.Dataset], components: xr.DataArray, said: Sequence[str] = ()
) -> xr.Dataset:
    """One dataset over components from one result of each."""
    first, dim = results[0], "component"
    is_present = components.to_numpy() > 0
    prediction = np.stack([one["prediction"].to_numpy() for one in results], axis=-1)
    fold, trial = np.nonzero(prediction[..., 0] >= 0)
    dataset = xr.Dataset(
        {"score": (dim, [one.attrs["score_mean"] for one in results])}
        | {name: (dim, [one.attrs[name] for one in results]) for name in PER_COMPONENT if name in first.attrs}
        | {"prediction": (("fold", "trial", dim), prediction)}
        | {"target": (("trial", dim), is_present.astype(np.int8)), "n_present": (dim, is_present[trial].sum(axis=0))},
        coords={"fold": first["fold"], dim: components[dim].to_numpy(), **trial_columns(activity)},
    )
    if "probability" in first:
        p = np.stack([one["probability"].to_numpy()[..., 1] for one in results], axis=-1)
        dataset["probability"] = (("fold", "trial", dim), p)
    attrs = {key: first.attrs[key] for key in SHARED if key in first.attrs}
    attrs |= {"kind": "mixture", "target": "components"}
    attrs |= {"exact_match": float(np.mean((prediction[fold, trial] == is_present[trial]).all(axis=1)))}
    attrs |= {name: float(np.mean([one.attrs[name] for one in results])) for name in ("score_mean", "chance")}
    attrs["warnings"] = sorted({line for one in results for line in one.attrs["warnings"]} | set(said))
    if "null_score" in first:
        null = np.stack([one["null_score"].to_numpy() for one in results], axis=1)
        dataset["null_score"] = (("permutation", dim), null)
        attrs |= _pooled_null(null.mean(axis=1), attrs["score_mean"], first)
    return dataset.assign_attrs(attrs)


def _pooled_null(null: np.ndarray, score: float, first: xr.Dataset) -> dict[str, Any]:
    """Of the mean over components, whose trials permutation i moved alike."""
    better = null <= score if first.attrs["metric"] in metrics.SMALLER_IS_BETTER else null >= score
    low, high = np.quantile(null, [0.025, 0.975])
    kept = {key: first.attrs[key] for key in ("n_permutations", "null_scheme", "p_smallest")}
    p = {"p_value": max((better.sum() + 1) / (len(null) + 1), kept["p_smallest"])} if "p_value" in first.attrs else {}
    return kept | {"null_low": float(low), "null_high": float(high)} | {key: float(value) for key, value in p.items()}
