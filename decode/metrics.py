"""Scores of predictions, or of probabilities, against truth.

METRICS maps a name to its function. What it is for, and what the function takes:

- CLASS_METRICS: predicted classes; target and prediction (n_test,) are class positions
- PROBABILITY_METRICS: probabilities of classes; target (n_test,) class positions, probability (n_test, n_labels)
- VALUE_METRICS: numbers; target and prediction (n_test,)

``chance`` is what the best decoder reaches that ignores the activity and knows the shares of the tested targets. A
cross-validated score of noise lies a little below it, because shares of training trials are not those of test trials:
for a p value draw the null.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import rankdata

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.tables import nearest, resolve

CLASS_METRICS = {
    "balanced_accuracy": "mitral.decode.metrics:balanced_accuracy",
    "accuracy": "mitral.decode.metrics:accuracy",
    "mean_class_error": "mitral.decode.metrics:mean_class_error",
}
PROBABILITY_METRICS = {
    "auroc": "mitral.decode.metrics:auroc",
    "brier_score": "mitral.decode.metrics:brier_score",
    "log_loss": "mitral.decode.metrics:log_loss",
    "top_2_accuracy": "mitral.decode.metrics:top_2_accuracy",
    "top_3_accuracy": "mitral.decode.metrics:top_3_accuracy",
    "top_5_accuracy": "mitral.decode.metrics:top_5_accuracy",
}
VALUE_METRICS = {
    "r2": "mitral.decode.metrics:r2",
    "mean_absolute_error": "mitral.decode.metrics:mean_absolute_error",
    "rank_correlation": "mitral.decode.metrics:rank_correlation",
}
METRICS = CLASS_METRICS | PROBABILITY_METRICS | VALUE_METRICS
SMALLER_IS_BETTER = ("mean_absolute_error", "mean_class_error", "brier_score", "log_loss")


def metric_function(name: str, *, for_classes: bool) -> Callable[[np.ndarray, np.ndarray], float]:
    """The function of a metric, checked against the kind of target.

    Raises
    ------
    UnknownName : no such metric, or one for the other kind of target
    """
    table = CLASS_METRICS | PROBABILITY_METRICS if for_classes else VALUE_METRICS
    if name not in table:
        kind = "classes" if for_classes else "numbers"
        raise UnknownName(f"metric {name!r} does not score {kind}. {nearest(name, table, shown=len(table))}")
    return resolve(name, table, what="metric")


def needs_probabilities(name: str) -> bool:
    """Whether a metric scores probabilities of the classes, not the predicted class."""
    return name in PROBABILITY_METRICS


def accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    """Share of trials predicted right."""
    return float(np.mean(target == _classes("accuracy", prediction)))


def balanced_accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over classes of the share of their trials predicted right; 1/k for a blind decoder.

    Examples
    --------
    >>> import numpy as np
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    _, position = np.unique(target, return_inverse=True)
    right = target == _classes("balanced_accuracy", prediction)
    return float(np.mean(np.bincount(position, weights=right) / np.bincount(position)))


def mean_class_error(target: np.ndarray, prediction: np.ndarray) -> float:
    """Mean number of classes that a prediction is off, for classes in an order: decades, if they are one apart."""
    off = np.asarray(target, dtype=np.int64) - np.asarray(_classes("mean_class_error", prediction), dtype=np.int64)
    return float(np.mean(np.abs(off)))


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


def top_k_accuracy(target: np.ndarray, probability: np.ndarray, *, k: int) -> float:
    """Share of trials whose class is among the k likeliest; ties are broken at random, on average.

    Examples
    --------
    >>> import numpy as np
    >>> top_k_accuracy(np.array([0, 2]), np.array([[0.3, 0.6, 0.1], [0.3, 0.6, 0.1]]), k=2)
    0.5
    """
    p = _probabilities(f"top_{k}_accuracy", target, probability)
    own = np.take_along_axis(p, target[:, None].astype(int), axis=1)
    better, equal = np.sum(p > own, axis=1), np.sum(p == own, axis=1)
    return float(np.mean(np.clip((k - better) / equal, 0, 1)))


top_2_accuracy = partial(top_k_accuracy, k=2)
top_3_accuracy = partial(top_k_accuracy, k=3)
top_5_accuracy = partial(top_k_accuracy, k=5)


def auroc(target: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve, each class against the rest, mean over the classes that are tested.

    The chance that a trial of the class gets a higher probability of it than a trial of another (ties count half).
    NaN if only one class is tested. Over folds together, trials are ranked across decoders that were fitted apart.

    Examples
    --------
    >>> import numpy as np
    >>> auroc(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]))
    0.5
    """
    p = _probabilities("auroc", target, probability)
    tested = np.unique(target)
    if len(tested) < 2:
        return float("nan")
    return float(np.mean([area_under_roc(p[:, k], target == k) for k in tested.astype(int)]))


def area_under_roc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann & Whitney 1947).

    Parameters
    ----------
    scores : (n,)
    is_positive : (n,) bool, some of both
    """
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    ranks = rankdata(scores)[is_positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def log_loss(target: np.ndarray, probability: np.ndarray) -> float:
    """Mean of -log p(true class), in nats; p is held at 2e-16 or more."""
    p = _probabilities("log_loss", target, probability)
    own = np.take_along_axis(p, target[:, None].astype(int), axis=1)
    return float(-np.mean(np.log(np.maximum(own, np.finfo(float).eps))))


def brier_score(target: np.ndarray, probability: np.ndarray) -> float:
    """Mean of sum_k (p_k - [true class is k])²  (Brier 1950): 0 is perfect, 2 is surely wrong."""
    p = _probabilities("brier_score", target, probability)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[target.astype(int)]) ** 2, axis=1)))


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


def rank_correlation(target: np.ndarray, prediction: np.ndarray) -> float:
    """Spearman's rho: Pearson's correlation of ranks, ties sharing their mean rank.

    0 for a constant prediction, which orders nothing; NaN if the target does not vary.
    """
    if np.ptp(target) == 0:
        return float("nan")
    if np.ptp(prediction) == 0:
        return 0.0
    a, b = (ranks - ranks.mean() for ranks in (rankdata(target), rankdata(prediction)))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def chance(name: str, target: np.ndarray) -> float:
    """What the best decoder reaches that ignores the activity.

    balanced accuracy 1/k; accuracy and top-k the k commonest classes; AUROC 1/2; log-loss and Brier score the shares
    of the classes for every trial; an error the median; R² and rank correlation 0.

    Parameters
    ----------
    name : key of ``METRICS``
    target : (n_test,) class positions, or values
    """
    if name in ("balanced_accuracy", "auroc"):
        return 0.5 if name == "auroc" else 1.0 / len(np.unique(target))
    if name in CLASS_METRICS or name in PROBABILITY_METRICS:
        share = np.sort(np.unique(target, return_counts=True)[1])[::-1] / len(target)
        if name == "accuracy" or name.startswith("top_"):
            return float(share[: 1 if name == "accuracy" else int(name.split("_")[1])].sum())
        if name == "log_loss":
            return float(-np.sum(share * np.log(share)))
        if name == "brier_score":
            return float(1 - np.sum(share**2))
        return mean_class_error(target, np.full(len(target), np.sort(target)[len(target) // 2]))
    if name == "mean_absolute_error":
        return mean_absolute_error(target, np.full(len(target), np.median(target)))
    return 0.0


def _classes(name: str, prediction: np.ndarray) -> np.ndarray:
    if np.ndim(prediction) != 1:
        raise SchemaError(f"metric {name!r} scores predicted classes (n_test,), got shape {np.shape(prediction)}.")
    return prediction


def _probabilities(name: str, target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    p = np.asarray(probability)
    if p.ndim != 2 or len(p) != len(target):
        raise SchemaError(
            f"metric {name!r} scores probabilities (n_test, n_labels), and this analysis has predictions only, of "
            f"shape {p.shape}. Use a metric of classes, such as 'balanced_accuracy', or cross_validate."
        )
    return p
