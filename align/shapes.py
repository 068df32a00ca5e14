"""Shape distances between animals: how far two sets of condition means are apart once one may be rotated.

    cos theta = |X' Y|_* / (|X| |Y|),   |.|_* the sum of singular values,   theta the angular Procrustes distance
    X -> X (alpha + (1 - alpha) (X'X)^-1/2),  partial whitening: alpha 1 none, 0 canonical correlation

Williams et al. 2021, NeurIPS 34 (eq. 4-10). Conditions are rows, matched; units are columns and need not be equal in
number. The distances are metrics: symmetric, zero for rotated copies, with the triangle inequality.
"""

import numpy as np
from scipy.linalg import svd

from ..datasets.errors import ConfigError, SchemaError
from .linear import principal_axes


def angular_distance(X: np.ndarray, Y: np.ndarray, *, alpha: float = 1.0) -> float:
    """Angle in radians between two shapes: 0 for rotated and scaled copies, pi / 2 for unrelated ones.

    Parameters
    ----------
    X, Y : (n_conditions, n_units_x), (n_conditions, n_units_y) or (n_conditions, n_times, n_units), rows matched
    alpha : 1 compares up to rotation, 0 up to any invertible linear map

    Raises
    ------
    SchemaError : other numbers of rows, NaN, rows that are all the same
    ConfigError : alpha outside 0 to 1

    Examples
    --------
    >>> X = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    >>> round(angular_distance(X, X[:, ::-1]), 6)
    0.0
    """
    A, B = _shape(X, alpha), _shape(Y, alpha)
    if len(A) != len(B):
        raise SchemaError(f"shapes have {len(A)} and {len(B)} rows. Give the same conditions and bins of both.")
    return float(np.arccos(np.clip(_nuclear(A, B), -1.0, 1.0)))


def procrustes_distance(X: np.ndarray, Y: np.ndarray) -> float:
    """min over rotations |X - Y R|, rows centred, not scaled: sqrt(|X|² + |Y|² - 2 |X'Y|_*).

    Units may differ in number: the smaller set counts as padded by silent units.

    Raises
    ------
    SchemaError : as ``angular_distance``
    """
    A, B = _rows(X), _rows(Y)
    if len(A) != len(B):
        raise SchemaError(f"shapes have {len(A)} and {len(B)} rows. Give the same conditions and bins of both.")
    overlap = _nuclear(*(U * s for U, s, _ in map(principal_axes, (A, B))))
    return float(np.sqrt(max(np.sum(A**2) + np.sum(B**2) - 2 * overlap, 0.0)))


def _rows(X: np.ndarray) -> np.ndarray:
    values = np.asarray(X, np.float64)
    values = values.reshape(-1, values.shape[-1]) if values.ndim == 3 else values
    if values.ndim != 2 or not np.isfinite(values).all():
        raise SchemaError(f"a shape is finite (n_conditions, n_units), got shape {np.shape(X)} or NaN in it.")
    return values - values.mean(axis=0)


def _shape(X: np.ndarray, alpha: float) -> np.ndarray:
    """Centred, partly whitened, of size one, in its own principal axes."""
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha lies between 0 and 1, got {alpha}.")
    U, s, _ = principal_axes(_rows(X))
    if not len(s):
        raise SchemaError("a shape has the same pattern in all rows, so it has no angle to another.")
    scaled = U * (alpha * s + (1 - alpha))
    return scaled / np.sqrt(np.sum(scaled**2))


def _nuclear(A: np.ndarray, B: np.ndarray) -> float:
    return float(svd(A.T @ B, compute_uv=False, check_finite=False).sum())
