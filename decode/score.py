"""Cross-validated decoding of a trial's target from its activity.

The estimator is cloned and fitted on the training trials of each fold; test trials are only handed
to ``predict``. Nothing here learns, chooses or scales.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone, is_classifier
from sklearn.utils import get_tags

from ..datasets.errors import LeakageError, SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds, trial_column
from . import metrics
from .result import confusion
from .steps import refuse_nan, steps

Map = Callable[..., Iterable[Any]]
RESERVED = ("score", "prediction", "target", "confusion", "null_score", "fold", "label", "predicted_label", "group")
CARRIED_ATTRS = ("session", "animal", "event", "window_s", "bin_width_s", "units", "sessions")


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
    attrs ``score_mean`` (the metric over all test predictions together) and ``chance``

    Raises
    ------
    SchemaError : folds of other trials, a target that is missing or constant, NaN in trials that the
        estimator cannot take
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
    check_folds(folds, activity)
    activity = activity.compute()
    for_classes = is_classifier(estimator)
    metric = metric or ("balanced_accuracy" if for_classes else "r2")
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    truth, labels = encode_target(activity, target, for_classes=for_classes)
    if for_classes:
        check_training_classes(activity, truth, folds)
    features = features_for(activity, estimator, folds)
    prediction = predict_folds(features, truth, estimator, folds.to_numpy(), map=map)
    tested = folds.to_numpy() == TEST
    dataset = xr.Dataset(
        {
            "score": ("fold", [score_of(truth[t], p[t]) for t, p in zip(tested, prediction, strict=True)]),
            "prediction": (("fold", "trial"), prediction),
            "target": ("trial", truth),
        },
        coords={"fold": folds["fold"], **trial_columns(activity)},
    )
    if labels is not None:
        dataset = dataset.assign_coords(label=labels, predicted_label=labels)
        dataset["confusion"] = (("label", "predicted_label"), confusion(truth, prediction, len(labels)))
    if "group" in folds.coords:
        dataset = dataset.assign_coords(group=folds["group"])
    frame = frame_of(activity, target, estimator, folds, metric, truth, for_classes)
    return dataset.assign_attrs(frame | {"score_mean": pooled_score(score_of, truth, prediction, tested)})


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
        "warnings": _warnings(activity, truth, folds, for_classes),
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
    is_class = truth.dtype.kind in "iu"
    out = np.full(sides.shape, -1 if is_class else np.nan, np.int16 if is_class else np.float64)
    predicted = map(partial(_predict_fold, features, truth, estimator), sides)
    for row, side, values in zip(out, sides, predicted, strict=True):
        row[side == TEST] = values
    return out


def pooled_score(score_of: Callable, truth: np.ndarray, prediction: np.ndarray, tested: np.ndarray) -> float:
    """The metric over all test predictions of all folds together."""
    fold, trial = np.nonzero(tested)
    return score_of(truth[trial], prediction[fold, trial])


def encode_target(activity: xr.DataArray, target: str, *, for_classes: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Class positions (int16) and labels, or values (float64) and None.

    Raises
    ------
    SchemaError : one class, a constant, or words where numbers are needed
    """
    values = trial_column(activity, target)
    where = f"session {activity.attrs['session']!r}: target {target!r}"
    if len(np.unique(values)) < 2:
        only = values.tolist()[0]
        raise SchemaError(f"{where} is {only!r} in all {len(values)} trials, so there is nothing to decode.")
    if for_classes:
        if values.dtype.kind == "f" and len(np.unique(values)) > len(values) / 2:
            n_values = len(np.unique(values))
            raise SchemaError(f"{where} takes {n_values} values in {len(values)} trials. Use a regressor for it.")
        labels, position = np.unique(values, return_inverse=True)
        return position.astype(np.int16), labels
    if values.dtype.kind not in "iuf":
        word = values.tolist()[0]
        raise SchemaError(f"{where} holds words ({word!r}); a regressor needs numbers. Use a classifier for it.")
    return values.astype(np.float64), None


def check_training_classes(activity: xr.DataArray, truth: np.ndarray, folds: xr.DataArray) -> None:
    """Refuse folds that train on fewer than two classes.

    Raises
    ------
    SchemaError : the first such fold
    """
    for fold, side in enumerate(folds.to_numpy()):
        if len(np.unique(truth[side == TRAIN])) < 2:
            raise SchemaError(
                f"session {activity.attrs['session']!r}: fold {fold} trains on one class only, so nothing can be told "
                f"apart. Use fewer folds, or folds stratified by the target."
            )


def trial_columns(activity: xr.DataArray) -> dict[str, xr.Variable]:
    """The trial coordinates that a result carries; one called like a part of a result is carried as ``trial_...``."""
    columns = {str(name): column.variable for name, column in activity.coords.items() if column.dims == ("trial",)}
    return {f"trial_{name}" if name in RESERVED else name: column for name, column in columns.items()}


def features_for(activity: xr.DataArray, estimator: Any, folds: xr.DataArray) -> np.ndarray:
    """The array that the estimator is handed, after the checks for leakage and NaN.

    Raises
    ------
    LeakageError : ``in_fit`` marks a test trial
    SchemaError : NaN in trials that the folds use, and the estimator cannot take it
    """
    used = (folds.to_numpy() == TRAIN).any(axis=0) | (folds.to_numpy() == TEST).any(axis=0)
    if "in_fit" in activity.coords:
        leaked = activity["in_fit"].to_numpy() & (folds.to_numpy() == TEST).any(axis=0)
        if leaked.any():
            raise LeakageError(
                f"session {activity.attrs['session']!r}: this trajectory was fitted on {leaked.sum()} of the trials "
                f"that it would be scored on (first: trial {activity['trial'].to_numpy()[leaked][0]}). Give the "
                f"reducer to the estimator instead, make_pipeline(reducer, ...), so that it is fitted inside each fold."
            )
    refuse_nan(activity, estimator, used)
    values = activity.to_numpy()
    return values if takes_three_axes(estimator) else values.reshape(len(values), -1)


def takes_three_axes(estimator: Any) -> bool:
    """Whether the estimator's first step is made for (n_trials, n_times, n_units)."""
    return bool(get_tags(next(steps(estimator))).input_tags.three_d_array)


def describe(estimator: Any) -> str:
    """The estimator in one line, with the parameters that differ from its defaults.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> describe(Ridge(alpha=2.0))
    'Ridge(alpha=2.0)'
    """
    return " ".join(repr(estimator).split())


def _predict_fold(features: np.ndarray, truth: np.ndarray, estimator: Any, side: np.ndarray) -> np.ndarray:
    train, test = side == TRAIN, side == TEST
    return clone(estimator).fit(features[train], truth[train]).predict(features[test])


def _warnings(activity: xr.DataArray, truth: np.ndarray, folds: xr.DataArray, for_classes: bool) -> list[str]:
    """What a reader of the score should know, in words."""
    said = []
    if activity.attrs.get("averaged_over_trials"):
        said.append("The recording is averaged over trials: one trial per condition, no trial-to-trial variability.")
    if activity.attrs.get("population") == "pseudo-population":
        said.append(
            "Pseudo-population: units of different sessions were matched by label, so correlations between them "
            "are lost."
        )
    if for_classes:
        counts = np.bincount(truth)
        if counts.max() > 1.5 * counts.min():
            said.append(f"Classes are unequal ({counts.min()} to {counts.max()} trials).")
    is_ordered = "group" not in folds.coords and activity.attrs.get("population") != "pseudo-population"
    if is_ordered and len(truth) > 20 and not _is_exchangeable(truth):
        said.append(
            "Labels come in runs, so trials near in time share them: slow drift can be decoded instead of the target. "
            "Keep blocks whole in the folds."
        )
    return said


def _is_exchangeable(truth: np.ndarray) -> bool:
    """Whether neighbouring trials share their label no more often than in random order (within 4 sd)."""
    _, position = np.unique(truth, return_inverse=True)
    share = np.bincount(position) / len(position)
    expected = float(np.sum(share**2))
    same = float(np.mean(position[1:] == position[:-1]))
    return same <= expected + 4 * np.sqrt(expected * (1 - expected) / (len(position) - 1))
