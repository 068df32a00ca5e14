"""Scores of predictions against truth. Every metric is a function of two arrays (n_test,).

METRICS maps a name to its function; CLASS_METRICS and VALUE_METRICS say what each is for.
"""

from collections.abc import Callable

import numpy as np

from ..datasets.errors import UnknownName
from ..datasets.tables import nearest, resolve

CLASS_METRICS = {
    "balanced_accuracy": "mitral.decode.metrics:balanced_accuracy",
    "accuracy": "mitral.decode.metrics:accuracy",
}
VALUE_METRICS = {
    "r2": "mitral.decode.metrics:r2",
    "mean_absolute_error": "mitral.decode.metrics:mean_absolute_error",
}
METRICS = CLASS_METRICS | VALUE_METRICS
SMALLER_IS_BETTER = ("mean_absolute_error",)


def metric_function(name: str, *, for_classes: bool) -> Callable[[np.ndarray, np.ndarray], float]:
    """The function of a metric, checked against the kind of target.

    Raises
    ------
    UnknownName : no such metric, or one for the other kind of target
    """
    table = CLASS_METRICS if for_classes else VALUE_METRICS
    if name not in table:
        kind = "classes" if for_classes else "numbers"
        raise UnknownName(f"metric {name!r} does not score {kind}. {nearest(name, table)}")
    return resolve(name, table, what="metric")


def accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    """Share of trials predicted right."""
    return float(np.mean(target == prediction))


def balanced_accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over classes of the share of their trials predicted right; 1/k for a blind decoder.

    Examples
    --------
    >>> import numpy as np
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    _, position = np.unique(target, return_inverse=True)
    return float(np.mean(np.bincount(position, weights=target == prediction) / np.bincount(position)))


def scores_of_labelings(name: str, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """A class metric of many labelings at once.

    Parameters
    ----------
    name : key of ``CLASS_METRICS``
    target, prediction : (n_labelings, n_test) class positions

    Returns
    -------
    (n_labelings,), as the metric of each row by itself

    Examples
    --------
    >>> import numpy as np
    >>> target = np.array([[0, 0, 0, 1], [0, 0, 1, 1]])
    >>> scores_of_labelings("balanced_accuracy", target, np.zeros((2, 4), int)).tolist()
    [0.5, 0.5]
    """
    right = target == prediction
    if name == "accuracy":
        return right.mean(axis=1)
    if name != "balanced_accuracy":
        score_of = metric_function(name, for_classes=True)
        return np.array([score_of(t, p) for t, p in zip(target, prediction, strict=True)])
    n_classes = int(target.max()) + 1
    cell = (target + np.arange(len(target))[:, None] * n_classes).ravel()
    shape = (len(target), n_classes)
    counts = np.bincount(cell, minlength=shape[0] * n_classes).reshape(shape)
    hits = np.bincount(cell, weights=right.ravel(), minlength=shape[0] * n_classes).reshape(shape)
    return np.sum(hits / np.maximum(counts, 1), axis=1) / np.sum(counts > 0, axis=1)


def r2(target: np.ndarray, prediction: np.ndarray) -> float:
    """1 - squared error / squared deviation from the mean; 1 is perfect, 0 is as good as the mean.

    NaN if the target does not vary.
    """
    if np.ptp(target) == 0:  # the sum of squares of equal decimals need not be zero
        return float("nan")
    return float(1.0 - np.sum((target - prediction) ** 2) / np.sum((target - target.mean()) ** 2))


def mean_absolute_error(target: np.ndarray, prediction: np.ndarray) -> float:
    """Mean distance of prediction and target, in the target's unit."""
    return float(np.mean(np.abs(target - prediction)))


def chance(name: str, target: np.ndarray) -> float:
    """What a decoder that ignores the activity reaches: 1/k, the commonest class, or 0 for R².

    For the mean absolute error, that of always saying the median.
    """
    if name == "balanced_accuracy":
        return 1.0 / len(np.unique(target))
    if name == "accuracy":
        return float(np.unique(target, return_counts=True)[1].max() / len(target))
    if name == "mean_absolute_error":
        return mean_absolute_error(target, np.full(len(target), np.median(target)))
    return 0.0
