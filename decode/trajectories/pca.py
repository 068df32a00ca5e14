"""Principal components of population activity over all bins of all trials."""

from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA as TwoAxisPCA
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, SchemaError
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

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(12.0).reshape(2, 2, 3)
    >>> PCA(n_latents=1).fit(X).explained_variance_ratio_.round(6).tolist()
    [1.0]
    """

    def __init__(self, n_latents: int = 3) -> None:
        self.n_latents = n_latents

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn mean and loadings from X (n_trials, n_times, n_units), in float64; ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; more latents than units or bins; activity that never changes
        ConfigError : ``n_latents`` is no whole number of at least 1
        """
        X = self._complete(X).astype(np.float64)
        n_samples, n_units = X.shape[0] * X.shape[1], X.shape[2]
        if not isinstance(self.n_latents, int | np.integer) or self.n_latents < 1:
            raise ConfigError(f"PCA: n_latents must be a whole number of at least 1, got {self.n_latents!r}.")
        if self.n_latents > min(n_samples, n_units):
            raise SchemaError(
                f"PCA: there are at most {min(n_samples, n_units)} latents in {n_units} units and {n_samples} bins in "
                f"all, and n_latents is {self.n_latents}. Ask for fewer."
            )
        if not np.ptp(X.reshape(-1, n_units), axis=0).any():
            raise SchemaError(
                f"PCA: all {n_units} units are constant, so there is no variance to explain. "
                f"Check the window, and that the trials of the fit hold activity."
            )
        self._fit_bins(X, TwoAxisPCA(int(self.n_latents), svd_solver="full"))
        self.loadings_ = self.transformer_.components_.T  # scikit-learn makes the largest of each positive
        self.mean_ = self.transformer_.mean_
        self.explained_variance_ratio_ = self.transformer_.explained_variance_ratio_
        return self

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): mean + V z."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T + self.mean_
