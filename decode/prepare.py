"""One decoding problem, checked once: what every scorer does before it fits anything.

Folds that fit, a target that can be decoded, a metric for its kind, activity without NaN or leaks where the folds use
it. Nothing here learns, chooses or scales.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.base import is_classifier
from sklearn.utils import get_tags

from ..datasets.errors import LeakageError, SchemaError
from ..datasets.folds import TEST, TRAIN, check_folds, trial_column
from . import metrics
from .steps import refuse_nan, steps


class Problem(NamedTuple):
    """The arrays of one decoding problem.

    Attributes
    ----------
    activity : computed
    features : (n_trials, ...) as the estimator takes them
    truth : (n_trials,) class positions (int16) or values (float64)
    labels : (n_labels,) or None
    sides : (n_folds, n_trials) of 0 unused, 1 train, 2 test
    metric, score_of : its name and its function
    """

    activity: xr.DataArray
    features: np.ndarray
    truth: np.ndarray
    labels: np.ndarray | None
    sides: np.ndarray
    for_classes: bool
    metric: str
    score_of: Callable[[np.ndarray, np.ndarray], float]

    @property
    def n_labels(self) -> int:
        """Number of classes; 0 for a target of numbers."""
        return 0 if self.labels is None else len(self.labels)


def prepare(
    activity: xr.DataArray, target: str, estimator: Any, folds: xr.DataArray, *, metric: str | None = None
) -> Problem:
    """Check one decoding problem and bring it into arrays.

    Parameters
    ----------
    activity, target, estimator, folds : as in ``cross_validate``
    metric : name in ``METRICS``; None is balanced accuracy for classes and R² for numbers

    Raises
    ------
    SchemaError : folds of other trials, a target that is missing or constant, NaN in trials that the estimator cannot
        take, a metric of probabilities for an estimator that gives none, or of ordered classes for words
    LeakageError : a trajectory would be scored on trials that it was fitted on
    UnknownName : no such metric
    """
    check_folds(folds, activity)
    activity = activity.compute()
    for_classes = is_classifier(estimator)
    metric = metric or ("balanced_accuracy" if for_classes else "r2")
    score_of = metrics.metric_function(metric, for_classes=for_classes)
    if metrics.needs_probabilities(metric):
        check_probabilities(estimator, f"metric {metric!r}")
    truth, labels = encode_target(activity, target, for_classes=for_classes)
    if metric == "mean_class_error" and np.asarray(labels).dtype.kind not in "iuf":
        raise SchemaError(
            f"session {activity.attrs['session']!r}: metric 'mean_class_error' counts steps between ordered classes, "
            f"and {target!r} holds words ({str(np.asarray(labels)[0])!r}), which have none. Use 'balanced_accuracy'."
        )
    check_training_classes(activity, truth, folds)
    features = features_for(activity, estimator, folds)
    return Problem(activity, features, truth, labels, folds.to_numpy(), for_classes, metric, score_of)


def check_probabilities(estimator: Any, what: str) -> None:
    """Refuse an estimator that cannot say how likely each class is.

    Parameters
    ----------
    estimator : classifier or pipeline
    what : what needs the probabilities, for the message

    Raises
    ------
    SchemaError : no ``predict_proba``
    """
    if not hasattr(estimator, "predict_proba"):
        raise SchemaError(
            f"{what} needs probabilities, and {last_step_name(estimator)} gives no probabilities. Use a decoder that "
            f"does, such as 'lda', 'logistic' or 'poisson_bayes', or make it one: CalibratedClassifierCV(decoder) of "
            f"sklearn.calibration."
        )


def last_step_name(estimator: Any) -> str:
    """Class name of the last step of a pipeline, or of the estimator."""
    return type(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator).__name__


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
    """Refuse folds that train on fewer than two classes, or on one value.

    Raises
    ------
    SchemaError : the first such fold
    """
    for fold, side in enumerate(folds.to_numpy()):
        if len(np.unique(truth[side == TRAIN])) < 2:
            kind = "class" if truth.dtype.kind in "iu" else "value"
            raise SchemaError(
                f"session {activity.attrs['session']!r}: fold {fold} trains on one {kind} only, so nothing can be told "
                f"apart. Use fewer folds, or folds stratified by the target."
            )


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
