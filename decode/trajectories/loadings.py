"""What linear latent models share: checks of the activity they are fitted on, and the order and sign of loadings."""

from typing import Any

import numpy as np

from ...datasets.errors import ConfigError, SchemaError


def check_fit(X: np.ndarray, n_latents: Any, who: str) -> int:
    """``n_latents`` as an int, if X (n_trials, n_times, n_units), NaN where absent, can hold so many.

    Raises
    ------
    ConfigError : ``n_latents`` is no whole number of at least 1
    SchemaError : more latents than units or bins; no unit that changes
    """
    if not isinstance(n_latents, int | np.integer) or isinstance(n_latents, bool) or n_latents < 1:
        raise ConfigError(f"{who}: n_latents must be a whole number of at least 1, got {n_latents!r}.")
    rows = X.reshape(-1, X.shape[2])
    there = ~np.isnan(rows) if rows.dtype.kind == "f" else np.ones(rows.shape, bool)
    n_bins = int(there.any(axis=1).sum())
    if n_latents > min(n_bins, X.shape[2]):
        raise SchemaError(
            f"{who}: there are at most {min(n_bins, X.shape[2])} latents in {X.shape[2]} units and {n_bins} bins in "
            f"all, and n_latents is {n_latents}. Ask for fewer."
        )
    least = np.where(there, rows, np.inf).min(axis=0)
    most = np.where(there, rows, -np.inf).max(axis=0)
    if not (most > least).any():
        raise SchemaError(
            f"{who}: all {X.shape[2]} units are constant, so there is no variance to explain. "
            f"Check the window, and that the trials of the fit hold activity."
        )
    return int(n_latents)


def signs(C: np.ndarray) -> np.ndarray:
    """+1 or -1 for each column of C (n_units, n_latents): with it, the loading that is largest in size is positive.

    Examples
    --------
    >>> signs(np.array([[1.0, -3.0], [2.0, 1.0]])).tolist()
    [1.0, -1.0]
    """
    largest = np.take_along_axis(C, np.abs(C).argmax(axis=0)[None], axis=0)[0]
    return np.where(largest < 0, -1.0, 1.0)


def orthonormalise(C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C x = U (D V' x), U orthonormal (Yu et al. 2009, equation 6 on): latents in order of the variance they share.

    Returns
    -------
    U (n_units, n_latents), largest loading of each column positive, and the rotation D V' (n_latents, n_latents)

    Examples
    --------
    >>> C = np.random.default_rng(0).normal(size=(5, 2))
    >>> U, rotation = orthonormalise(C)
    >>> bool(np.allclose(U @ rotation, C) and np.allclose(U.T @ U, np.eye(2)))
    True
    """
    U, scale, turned = np.linalg.svd(C, full_matrices=False)
    sign = signs(U)
    return U * sign, (sign * scale)[:, None] * turned


def noise_floor(variance: np.ndarray, share: float) -> np.ndarray:
    """Least private variance of each unit: a share of its variance.

    A unit that never changes counts with the least variance of the others: a first spike of it is then unlikely,
    not impossible.
    """
    changing = variance > 0
    return np.where(changing, share * variance, variance[changing].min())
