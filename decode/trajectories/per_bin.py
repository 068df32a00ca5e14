"""The adapter that lets a two-dimensional method work on three axes: every bin of every trial is a sample."""

from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags

from ...datasets.errors import ConfigError, SchemaError
from ...datasets.preprocess import ThreeAxes, three_axes


class PerBin(ThreeAxes):
    """Fit a transformer on (n_trials * n_times, n_units) and give its output back its trials and bins.

    Parameters
    ----------
    transformer : scikit-learn transformer on two axes that learns without a target

    Attributes
    ----------
    transformer_ : the fitted copy

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

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Fit on all bins of all trials of X (n_trials, n_times, n_units); ``y`` is not used.

        Raises
        ------
        SchemaError : NaN, with the positions of the trials
        ConfigError : no transformer was given
        """
        if self.transformer is None:
            raise ConfigError("PerBin needs a transformer on two axes, and got none: PerBin(TruncatedSVD(3)).")
        return self._fit_bins(self._complete(X), clone(self.transformer))

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents).

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        X = self._complete(self._checked(X))
        flat = self.transformer_.transform(X.reshape(-1, X.shape[2]))
        return flat.reshape(*X.shape[:2], flat.shape[1])

    def _fit_bins(self, X: np.ndarray, transformer: Any) -> Self:
        self.n_features_in_ = X.shape[2]
        self.transformer_ = transformer.fit(X.reshape(-1, X.shape[2]))
        return self

    def _complete(self, X: np.ndarray) -> np.ndarray:
        X = three_axes(X, type(self).__name__)
        absent = np.flatnonzero(np.isnan(X).any(axis=(1, 2)))
        if absent.size:
            raise SchemaError(
                f"{type(self).__name__} cannot take NaN, and {absent.size} trials hold some (positions "
                f"{', '.join(map(str, absent[:5]))}{', …' if absent.size > 5 else ''}). "
                f"Leave them out, or shorten the window."
            )
        return X
