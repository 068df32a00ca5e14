"""Which condition is this? Patterns of one session held against those of other sessions in a shared space."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from ..datasets.errors import UnknownName
from ..datasets.tables import nearest

MEASURES = ("cosine", "euclidean", "lda")


def identify(patterns: np.ndarray, templates: Sequence[np.ndarray], *, measure: str) -> np.ndarray:
    """How well each pattern fits each candidate; the largest is the answer.

    Parameters
    ----------
    patterns : (n_patterns, n_features) in the shared space
    templates : one (n_candidates, n_features) for every source session, in one order of candidates
    measure : "cosine" or "euclidean" distance to the mean template, or "lda": Mahalanobis distance with the covariance
        of templates of one candidate between sessions, shrunk by Ledoit-Wolf (euclidean where there is one session)

    Returns
    -------
    fit (n_patterns, n_candidates)

    Raises
    ------
    UnknownName : no such measure

    Examples
    --------
    >>> identify(np.array([[1.0, 0.1]]), [np.array([[0.0, 1.0], [1.0, 0.0]])], measure="cosine").argmax(axis=1).tolist()
    [1]
    """
    if measure not in MEASURES:
        raise UnknownName(f"no measure {measure!r} of identification. {nearest(measure, MEASURES)}")
    stacked = np.stack(list(templates))
    mean = stacked.mean(axis=0)
    if measure == "cosine":
        return _unit(patterns) @ _unit(mean).T
    weighted = mean
    if measure == "lda" and len(stacked) > 1:
        covariance = ledoit_wolf((stacked - mean).reshape(-1, mean.shape[1]), assume_centered=True)[0]
        if np.trace(covariance) > 0:
            weighted = cho_solve(cho_factor(covariance), mean.T).T
    return patterns @ weighted.T - 0.5 * np.sum(mean * weighted, axis=1)


def ranks(fit: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Place of the true candidate (n_patterns,), 0 the best; ties count against it.

    Parameters
    ----------
    fit : (n_patterns, n_candidates)
    truth : (n_patterns,) positions of the true candidates
    """
    own = fit[np.arange(len(fit)), truth]
    return np.sum(fit >= own[:, None], axis=1) - 1


def _unit(patterns: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.sum(patterns**2, axis=-1, keepdims=True))
    return patterns / np.where(length > 0, length, 1.0)
