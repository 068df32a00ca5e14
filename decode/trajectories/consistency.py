"""Do several runs of one method, from other random starts, find the same latents? Compared up to a linear map."""

from collections.abc import Sequence

import numpy as np


def consistency(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """How well each embedding gives every other by the best linear map: R² over all latents.

    R²(a -> b) = 1 - |b - (a, 1) W|² / |b - mean b|²,  W by least squares. 1 is the same picture up to rotation, scale
    and shear; a map of noise onto noise gives about n_latents / n_bins.

    Parameters
    ----------
    embeddings : each (n_bins, n_latents)

    Returns
    -------
    (n_runs, n_runs), from the row's to the column's; 1 on the diagonal

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(50, 2))
    >>> consistency([z, z @ [[0.0, -2.0], [2.0, 0.0]] + 1.0]).round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    centred = [each - each.mean(axis=0) for each in np.asarray(embeddings, float)]
    found = np.eye(len(centred))
    for i, a in enumerate(centred):
        basis = np.linalg.svd(a, full_matrices=False)
        span = basis.U[:, basis.S > 1e-10 * max(basis.S[0], 1e-300)]
        for j, b in enumerate(centred):
            if i != j:
                found[i, j] = np.square(span.T @ b).sum() / max(np.square(b).sum(), 1e-300)
    return found


def mean_agreement(matrix: np.ndarray) -> float:
    """Mean over pairs of different runs; NaN of one run, which says nothing.

    Examples
    --------
    >>> mean_agreement(np.array([[1.0, 0.8], [0.6, 1.0]]))
    0.7
    """
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else float("nan")


def most_typical(matrix: np.ndarray) -> int:
    """The run that the others agree with best: largest mean of its row and column; the first of equals.

    Examples
    --------
    >>> most_typical(np.array([[1, 0.2, 0.2], [0.2, 1, 0.9], [0.3, 0.9, 1]]))
    2
    """
    return int(np.argmax(matrix.sum(axis=0) + matrix.sum(axis=1)))
