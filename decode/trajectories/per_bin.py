"""The adapter that lets a two-dimensional method work on three axes: every bin of every trial is a sample."""

from typing import Any, Self

import numpy as np
from sklearn.base import clone

from ...datasets.errors import SchemaError
from ...datasets.preprocess import ThreeAxes, three_axes


class PerBin(ThreeAxes):
    """Fit a transformer on (n_trials * n_times, n_units) and give its output back its trials and bins.

    Parameters
    ----------
    transformer : any scikit-learn transformer on two axes

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import TruncatedSVD
    >>> X = np.random.default_rng(0).normal(size=(5, 4, 6))
    >>> PerBin(TruncatedSVD(2)).fit_transform(X).shape
    (5, 4, 2)
    """

    def __init__(self, transformer: Any = None) -> None:
        self.transformer = transformer

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Fit on all bins of all trials of X (n_trials, n_times, n_units).

        Raises
        ------
        SchemaError : NaN, with the positions of the trials
        """
        X = self._complete(X)
        self.n_features_in_ = X.shape[2]
        self.transformer_ = clone(self.transformer).fit(X.reshape(-1, X.shape[2]))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents)."""
        X = self._complete(self._checked(X))
        flat = self.transformer_.transform(X.reshape(-1, X.shape[2]))
        return flat.reshape(*X.shape[:2], flat.shape[1])

    def _complete(self, X: np.ndarray) -> np.ndarray:
        X = three_axes(X, type(self).__name__)
        absent = np.flatnonzero(~np.isfinite(X).all(axis=(1, 2)))
        if absent.size:
            raise SchemaError(
                f"{type(self).__name__} cannot take NaN, and {absent.size} trials hold some (positions "
                f"{', '.join(map(str, absent[:5]))}{', …' if absent.size > 5 else ''}). Leave them out, or shorten the window."
            )
        return X
