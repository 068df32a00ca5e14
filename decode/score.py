"""Cross-validated decoding of a trial's target from its activity.

The estimator is cloned and fitted on the training trials of each fold; test trials are only handed
to ``predict``. Nothing here learns, chooses or scales.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN
from . import metrics
from .cautions import cautions
from .prepare import check_training_classes, encode_target, features_for, prepare, takes_three_axes
from .result import confusion

__all__ = [
    "CARRIED_ATTRS",
    "Map",
    "check_training_classes",
    "cross_validate",
    "describe",
    "encode_target",
    "features_for",
    "frame_of",
    "held_out",
    "pooled_score",
    "predict_folds",
    "takes_three_axes",
    "trial_columns",
]
Map = Callable[..., Iterable[Any]]
RESERVED = (
    *("score", "prediction", "probability", "target", "confusion", "null_score"),
    *("fold", "label", "predicted_label", "group"),
)
CARRIED_ATTRS = ("session", "animal", "event", "window_s", "bin_width_s", "units", "sessions", "left_out")


def cross_validate(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Fit on the training trials of each fold, predict its test trials, score.

    Parameters
    ----------
    activity : (trial, time, unit), or a trajectory (trial, time, latent)
    target : trial coordinate to decode: classes for a classifier, numbers for a regressor
    estimator : scikit-learn classifier, regressor or pipeline. It is handed (n_trials, n_times, n_units)
        if its first step takes three axes, else (n_trials, n_times * n_units)
    folds : (fold, trial), from ``make_folds``
    metric : name in ``METRICS``; None is balanced accuracy for classes and R² for numbers
    map : as the builtin; called once over the folds

    Returns
    -------
    result: score (fold), prediction (fold, trial), target (trial), confusion (label, predicted_label);
    ``probability (fold, trial, label)`` for a metric of probabilities, NaN where a fold does not test;
    attrs ``score_mean`` (the metric over all test predictions together) and ``chance``

    Raises
    ------
    SchemaError : folds of other trials, a target that is missing or constant, NaN in trials that the
        estimator cannot take, a metric of probabilities for an estimator that gives none, a metric that is
        undefined on the tested trials
    LeakageError : a trajectory would be scored on trials that it was fitted on
    UnknownName : no such metric

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    >>> result = cross_validate(activity, "odor", make_decoder("lda"), folds)
    >>> result.attrs["score_mean"] > 3 * result.attrs["chance"]
    True
    """
    problem = prepare(activity, target, estimator, folds, metric=metric)
    once = partial(_outputs, problem.features, problem.truth, estimator, problem.n_labels, problem.metric)
    prediction = _empty(problem.sides, problem.n_labels if problem.for_classes else None)
    scored = prediction
    if metrics.needs_probabilities(problem.metric):
        scored = np.full((*problem.sides.shape, problem.n_labels), np.nan)
    for fold, (side, of_fold) in enumerate(zip(problem.sides, map(once, problem.sides), strict=True)):
        prediction[fold, side == TEST], scored[fold, side == TEST] = of_fold
    dataset = xr.Dataset(
        {
            "score": ("fold", fold_scores(problem.score_of, problem.truth, scored, problem.sides == TEST)),
            "prediction": (("fold", "trial"), prediction),
            "target": ("trial", problem.truth),
        },
        coords={"fold": folds["fold"], **trial_columns(problem.activity)},
    )
    if problem.labels is not None:
        dataset = dataset.assign_coords(label=problem.labels, predicted_label=problem.labels)
        counts = confusion(problem.truth, prediction, problem.n_labels)
        dataset["confusion"] = (("label", "predicted_label"), counts)
    if scored is not prediction:
        dataset["probability"] = (("fold", "trial", "label"), scored)
    if "group" in folds.coords:
        dataset = dataset.assign_coords(group=folds["group"])
    score = pooled_score(problem.score_of, problem.truth, scored, problem.sides == TEST)
    if np.isnan(score):
        raise SchemaError(
            f"session {problem.activity.attrs['session']!r}: metric {problem.metric!r} is undefined, as target "
            f"{target!r} is the same in all tested trials. Test trials that differ in it, or use another metric, such "
            f"as {'accuracy' if problem.for_classes else 'mean_absolute_error'!r}."
        )
    frame = frame_of(problem.activity, target, estimator, folds, problem.metric, problem.truth, problem.for_classes)
    return dataset.assign_attrs(frame | {"score_mean": score})


def frame_of(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    metric: str,
    truth: np.ndarray,
    for_classes: bool,
) -> dict[str, Any]:
    """Attributes that every decoding result has: what was decoded, from what, how, and what to beware of."""
    tested = np.any(folds.to_numpy() == TEST, axis=0)
    return {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs} | {
        "kind": "decoding",
        "population": activity.attrs.get("population", "session"),
        "target": target,
        "metric": metric,
        "estimator": describe(estimator),
        "folds": folds.attrs.get("folds", f"{folds.sizes['fold']} folds"),
        "n_trials": int(tested.sum()),
        "n_units": int(activity.attrs["n_units"] if "latent" in activity.dims else activity.shape[2]),
        "n_animals": len(activity.attrs.get("animals", [activity.attrs["animal"]])),
        "n_sessions": len(activity.attrs.get("sessions", [activity.attrs["session"]])),
        "chance": metrics.chance(metric, truth[tested]),
        "warnings": cautions(activity, truth, folds, for_classes),
    }


def predict_folds(
    features: np.ndarray, truth: np.ndarray, estimator: Any, sides: np.ndarray, *, map: Map = map
) -> np.ndarray:
    """Out-of-fold predictions.

    Parameters
    ----------
    features : (n_trials, ...) as the estimator takes them
    truth : (n_trials,) class positions (int) or values (float)
    sides : (n_folds, n_trials) of 0 unused, 1 train, 2 test

    Returns
    -------
    prediction (n_folds, n_trials): -1 (classes) or NaN (values) where a fold does not test
    """
    out = _empty(sides, 1 if truth.dtype.kind in "iu" else None)
    predicted = map(partial(_predict_fold, features, truth, estimator), sides)
    for row, side, values in zip(out, sides, predicted, strict=True):
        row[side == TEST] = values
    return out


def held_out(
    features: np.ndarray, truth: np.ndarray, estimator: Any, sides: np.ndarray, metric: str, *, map: Map = map
) -> np.ndarray:
    """What a metric scores, out of fold: ``pooled_score`` takes it.

    Parameters
    ----------
    features, truth, sides : as in ``predict_folds``
    metric : name in ``METRICS``

    Returns
    -------
    prediction (n_folds, n_trials) as of ``predict_folds``; for a metric of probabilities, these
    (n_folds, n_trials, n_labels), NaN where a fold does not test
    """
    if not metrics.needs_probabilities(metric):
        return predict_folds(features, truth, estimator, sides, map=map)
    n_labels = int(truth.max()) + 1
    out = np.full((*sides.shape, n_labels), np.nan)
    once = partial(_outputs, features, truth, estimator, n_labels, metric)
    for row, side, (_, values) in zip(out, sides, map(once, sides), strict=True):
        row[side == TEST] = values
    return out


def pooled_score(score_of: Callable, truth: np.ndarray, prediction: np.ndarray, tested: np.ndarray) -> float:
    """The metric over all test predictions of all folds together; prediction as of ``held_out``."""
    fold, trial = np.nonzero(tested)
    return score_of(truth[trial], prediction[fold, trial])


def fold_scores(score_of: Callable, truth: np.ndarray, prediction: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """The metric of each fold by itself (n_folds,); prediction as of ``held_out``."""
    return np.array([score_of(truth[t], p[t]) for t, p in zip(tested, prediction, strict=True)])


def class_probabilities(fitted: Any, features: np.ndarray, n_labels: int) -> np.ndarray:
    """Probabilities (n_samples, n_labels) of class positions; 0 for a class that the estimator has not seen."""
    out = np.zeros((len(features), n_labels))
    out[:, fitted.classes_.astype(int)] = fitted.predict_proba(features)
    return out


def trial_columns(activity: xr.DataArray) -> dict[str, xr.Variable]:
    """The trial coordinates that a result carries; one called like a part of a result is carried as ``trial_...``."""
    columns = {str(name): column.variable for name, column in activity.coords.items() if column.dims == ("trial",)}
    return {f"trial_{name}" if name in RESERVED else name: column for name, column in columns.items()}


def describe(estimator: Any) -> str:
    """The estimator in one line, with the parameters that differ from its defaults.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> describe(Ridge(alpha=2.0))
    'Ridge(alpha=2.0)'
    """
    return " ".join(repr(estimator).split())


def _empty(sides: np.ndarray, n_labels: int | None) -> np.ndarray:
    """Predictions that nothing has filled yet: positions, or values where there are no labels."""
    return np.full(sides.shape, np.nan) if n_labels is None else np.full(sides.shape, -1, np.int16)


def _predict_fold(features: np.ndarray, truth: np.ndarray, estimator: Any, side: np.ndarray) -> np.ndarray:
    train, test = side == TRAIN, side == TEST
    return clone(estimator).fit(features[train], truth[train]).predict(features[test])


def _outputs(
    features: np.ndarray, truth: np.ndarray, estimator: Any, n_labels: int, metric: str, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the test trials of one fold, and what the metric scores."""
    train, test = side == TRAIN, side == TEST
    fitted = clone(estimator).fit(features[train], truth[train])
    prediction = fitted.predict(features[test])
    if not metrics.needs_probabilities(metric):
        return prediction, prediction
    return prediction, class_probabilities(fitted, features[test], n_labels)
