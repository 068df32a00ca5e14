"""Many labelings of the same trials at once: the true one and its permutations, as one matrix.

Everything that a closed form needs of the labels is a count of trials or a sum of features by class,
so the indicators are made once and serve every fold's bins.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np


class Labelings:
    """Class positions of the same trials in many ways.

    Parameters
    ----------
    labels : (n_labelings, n_trials) integer positions, 0 to n_classes - 1
    n_classes : number of classes; one may be absent from a labeling

    Attributes
    ----------
    counts : (n_labelings, n_classes) trials of each class
    share : the same, of the number of trials
    indicators : (n_labelings * n_classes, n_trials), 1.0 where a trial is of a class
    """

    def __init__(self, labels: np.ndarray, n_classes: int) -> None:
        self.labels = np.asarray(labels, dtype=np.intp)
        self.n_classes = n_classes
        is_class = self.labels[:, None, :] == np.arange(n_classes)[:, None]
        self.indicators = is_class.astype(np.float64).reshape(-1, self.labels.shape[1])
        self.counts = self.indicators.sum(axis=1).reshape(len(self.labels), n_classes)
        self.share = self.counts / self.labels.shape[1]

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, n_labelings: int) -> list["Labelings"]:
        """The same in parts of at most so many labelings, which share memory with the whole."""
        out = []
        for start in range(0, len(self), n_labelings):
            at = slice(start, start + n_labelings)
            part = copy(self)
            part.labels, part.counts, part.share = self.labels[at], self.counts[at], self.share[at]
            part.indicators = self.indicators[start * self.n_classes : at.stop * self.n_classes]
            out.append(part)
        return out

    @property
    def log_share(self) -> np.ndarray:
        """Logarithm of the shares; -inf for a class without trials, which is then never chosen."""
        with np.errstate(divide="ignore"):
            return np.log(self.share)

    def sums(self, features: np.ndarray) -> np.ndarray:
        """Sum over the trials of each class of features (n_trials, p): (n_labelings, n_classes, p)."""
        return (self.indicators @ features).reshape(len(self), self.n_classes, -1)

    def means(self, features: np.ndarray) -> np.ndarray:
        """Class means (n_labelings, n_classes, p); zero for a class without trials."""
        return self.sums(features) / np.maximum(self.counts, 1)[:, :, None]


def evaluate(weights: np.ndarray, constants: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Linear decision values (n_labelings, n_samples, n_classes) by one matrix product.

    Parameters
    ----------
    weights : (n_labelings, n_classes, p)
    constants : (n_labelings, n_classes)
    features : (n_samples, p)
    """
    n_labelings, n_classes, p = weights.shape
    values = (features @ weights.reshape(-1, p).T).reshape(len(features), n_labelings, n_classes)
    return values.transpose(1, 0, 2) + constants[:, None, :]


def largest(by_class: Sequence[np.ndarray]) -> np.ndarray:
    """Position, int16, of the class whose array is largest, element by element; the first of equals."""
    best, position = by_class[0], np.zeros(by_class[0].shape, np.int16)
    for place, values in enumerate(by_class[1:], start=1):
        np.maximum(position, (values > best) * np.int16(place), out=position)  # places ascend; masks are slow
        best = np.maximum(best, values)
    return position
