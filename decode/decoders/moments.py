"""Linear regression from sums of products: any subset of blocks, any penalty, without the data.

A block's moments are Z'Z of Z = [1, X, Y]. Those of several blocks add up, so that leaving a block out is
a subtraction, and its held-out squared error follows from its own moments.
"""

from collections.abc import Sequence

import numpy as np


def moments(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Sums of products (1 + p + q, 1 + p + q) of 1, X (n_samples, p) and Y (n_samples, q)."""
    Z = np.column_stack([np.ones(len(X)), X, Y])
    return Z.T @ Z


class Ridge:
    """Ridge regression with an intercept, for many penalties, from moments.

    W(alpha) = (S_xx + alpha I)^-1 S_xy,  S the products of centred X and Y.

    Parameters
    ----------
    products : (1 + p + q, 1 + p + q), of ``moments``
    n_features : p
    """

    def __init__(self, products: np.ndarray, n_features: int) -> None:
        mean = products[0, 1:] / products[0, 0]
        centred = products[1:, 1:] - np.outer(mean, products[0, 1:])
        self.x_mean, self.y_mean = mean[:n_features], mean[n_features:]
        self.S_xx, self.S_xy = centred[:n_features, :n_features], centred[:n_features, n_features:]
        self.eigenvalues, self.vectors = np.linalg.eigh(self.S_xx)
        self.rotated = self.vectors.T @ self.S_xy

    def weights(self, alpha: float) -> np.ndarray:
        """W (p, q); directions in which X does not vary get 0."""
        known = self.eigenvalues > self.eigenvalues[-1] * len(self.eigenvalues) * np.finfo(float).eps
        scale = np.where(known, self.eigenvalues + alpha, 1.0)
        return self.vectors @ (np.where(known, 1.0 / scale, 0.0)[:, None] * self.rotated)

    def intercept(self, W: np.ndarray) -> np.ndarray:
        """(q,) that makes the mean residual 0."""
        return self.y_mean - self.x_mean @ W

    def leading(self, W: np.ndarray, alpha: float) -> np.ndarray:
        """Directions (q, q) of Y by the variance that the fit gives them, largest first.

        Right singular vectors of [X W; sqrt(alpha) W] with X centred (Mukherjee & Zhu 2011, section 2).
        """
        fitted = W.T @ (self.S_xx @ W + alpha * W)
        return np.linalg.eigh(fitted)[1][:, ::-1]


def squared_error(products: np.ndarray, W: np.ndarray, intercept: np.ndarray) -> float:
    """Sum of squared residuals Y - intercept - X W of the samples behind the moments."""
    V = np.vstack([-intercept, -W, np.eye(W.shape[1])])
    return float(np.sum(V * (products @ V)))


def spread(products: np.ndarray, y_mean: np.ndarray) -> float:
    """Sum of squared distances of Y from a given mean (q,)."""
    n, q = products[0, 0], len(y_mean)
    return float(np.trace(products[-q:, -q:]) - 2 * products[0, -q:] @ y_mean + n * y_mean @ y_mean)


def choose_penalty(blocks: Sequence[np.ndarray], n_features: int, penalties: Sequence[float]) -> float:
    """The penalty with the least squared error over blocks that are left out one at a time.

    Parameters
    ----------
    blocks : moments of each block
    n_features : p
    penalties : candidates
    """
    total = np.sum(blocks, axis=0)
    errors = np.zeros(len(penalties))
    for block in blocks:
        fit = Ridge(total - block, n_features)
        for position, alpha in enumerate(penalties):
            W = fit.weights(alpha)
            errors[position] += squared_error(block, W, fit.intercept(W))
    return float(penalties[int(errors.argmin())])
