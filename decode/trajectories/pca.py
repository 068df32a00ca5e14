"""Principal components of population activity over all bins of all trials."""

from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA as TwoAxisPCA

from ...datasets.errors import SchemaError
from .per_bin import PerBin


class PCA(PerBin):
    """z = V' (x - mean), V the eigenvectors of the units' covariance with the largest eigenvalues.

    Exact (full singular value decomposition). The largest loading of each latent in absolute value
    is positive, so signs are reproducible.

    Parameters
    ----------
    n_latents : how many

    Attributes
    ----------
    loadings_ : (n_units, n_latents), orthonormal columns
    mean_ : (n_units,)
    explained_variance_ratio_ : (n_latents,), of the total variance

    Notes
    -----
    Time O(n_samples · n_units · min(n_samples, n_units)), n_samples = n_trials · n_times.
    """

    def __init__(self, n_latents: int = 3) -> None:
        self.n_latents = n_latents

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn mean and loadings from X (n_trials, n_times, n_units).

        Raises
        ------
        SchemaError : NaN; more latents than units or bins; activity that never changes
        """
        X = self._complete(X).astype(np.float64)
        n_samples, n_units = X.shape[0] * X.shape[1], X.shape[2]
        if not 1 <= self.n_latents <= min(n_samples, n_units):
            raise SchemaError(
                f"PCA: n_latents must lie between 1 and {min(n_samples, n_units)} ({n_units} units, {n_samples} bins in all), "
                f"got {self.n_latents}."
            )
        if not np.ptp(X.reshape(-1, n_units), axis=0).any():
            raise SchemaError(f"PCA: all {n_units} units are constant, so there is no variance to explain.")
        self.transformer = TwoAxisPCA(self.n_latents, svd_solver="full")
        super().fit(X)
        components = self.transformer_.components_
        signs = np.sign(components[np.arange(self.n_latents), np.abs(components).argmax(axis=1)])
        self.transformer_.components_ = components * signs[:, None]
        self.loadings_ = self.transformer_.components_.T
        self.mean_ = self.transformer_.mean_
        self.explained_variance_ratio_ = self.transformer_.explained_variance_ratio_
        return self

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): mean + V z."""
        return np.asarray(Z) @ self.loadings_.T + self.mean_
