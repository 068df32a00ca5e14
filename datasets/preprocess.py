"""Transformers on three axes (trial, time, unit) that run inside the folds: smooth, stabilise, scale.

All take and return numpy arrays (n_trials, n_times, n_units) and are scikit-learn transformers.
Bins that are NaN stay NaN and lend nothing to their neighbours; infinite values are refused.
"""

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from .errors import SchemaError


class ThreeAxes(TransformerMixin, BaseEstimator):
    """What transformers on (trial, time, unit) share: the tag that says so, and the check of shape."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn nothing but the number of units; subclasses learn more."""
        self.n_features_in_ = three_axes(X, type(self).__name__).shape[2]
        return self

    def _checked(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        X = three_axes(X, type(self).__name__)
        if X.shape[2] != self.n_features_in_:
            raise SchemaError(
                f"{type(self).__name__} was fitted on {self.n_features_in_} units and got {X.shape[2]}. "
                f"Pass the units used in fit."
            )
        return X


def three_axes(X: Any, who: str) -> np.ndarray:
    """``X`` as an array if it is (n_trials, n_times, n_units), of numbers that are finite or NaN.

    Raises
    ------
    SchemaError : another number of axes, an infinite value
    """
    X = np.asarray(X)
    if X.ndim != 3:
        raise SchemaError(f"{who} takes (n_trials, n_times, n_units), got shape {X.shape}. Pass activity.to_numpy().")
    if X.dtype.kind == "f" and np.isinf(X).any():
        trial = int(np.flatnonzero(np.isinf(X).any(axis=(1, 2)))[0])
        raise SchemaError(f"{who} takes finite values or NaN; the trial at position {trial} holds infinity. See there.")
    return X


class GaussianSmooth(ThreeAxes):
    """Smooth over time with a Gaussian, cut at four standard deviations.

    x'_t = sum_s w(t - s) x_s / sum_s w(t - s),  w(d) = exp(-d² / 2 sd²); sums over bins that exist.

    Parameters
    ----------
    sd_bins : standard deviation in bins
    is_causal : use only the present and earlier bins, so that nothing leaks from the future

    Examples
    --------
    >>> import numpy as np
    >>> GaussianSmooth(sd_bins=2.0).fit_transform(np.ones((1, 5, 1))).ravel().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, sd_bins: float = 1.0, *, is_causal: bool = False) -> None:
        self.sd_bins = sd_bins
        self.is_causal = is_causal

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Smoothed copy (n_trials, n_times, n_units), float32. Time O(n_trials · n_times² · n_units)."""
        X = self._checked(X)
        if not 0 < self.sd_bins < np.inf:
            raise SchemaError(f"GaussianSmooth: sd_bins must be a positive number of bins, got {self.sd_bins}.")
        lag = _lags(X.shape[1])
        weight = np.where(np.abs(lag) <= 4 * self.sd_bins, np.exp(-0.5 * (lag / self.sd_bins) ** 2), 0.0)
        return _weighted_mean(X, weight, self.is_causal)


class BoxcarSmooth(ThreeAxes):
    """Moving mean over ``width_bins`` bins (odd, centred; or the last ``width_bins`` if causal).

    Parameters
    ----------
    width_bins : number of bins averaged
    is_causal : use only the present and earlier bins
    """

    def __init__(self, width_bins: int = 3, *, is_causal: bool = False) -> None:
        self.width_bins = width_bins
        self.is_causal = is_causal

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Smoothed copy (n_trials, n_times, n_units), float32. Time O(n_trials · n_times² · n_units)."""
        X = self._checked(X)
        width = self.width_bins
        if not isinstance(width, Integral) or width < 1 or (not self.is_causal and width % 2 == 0):
            raise SchemaError(
                f"BoxcarSmooth: width_bins must be a whole number of at least 1, odd unless is_causal; got {width!r}."
            )
        lag = _lags(X.shape[1])
        reach = width - 1 if self.is_causal else width // 2
        return _weighted_mean(X, (np.abs(lag) <= reach).astype(float), self.is_causal)


class SquareRoot(ThreeAxes):
    """Square root of counts: makes the variance of Poisson counts nearly independent of their mean."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Square root (n_trials, n_times, n_units), float32.

        Raises
        ------
        SchemaError : a negative value, which no count has
        """
        X = self._checked(X)
        if np.any(X < 0):
            raise SchemaError("SquareRoot takes counts, and found a negative value. Put it before centring or scaling.")
        return np.sqrt(X, dtype=np.float32)


class ZScore(ThreeAxes):
    """Centre each unit and divide by its standard deviation over the trials and bins of the fit.

    A unit that is constant in the fit is centred only.
    """

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn mean and standard deviation (n_units,) of each unit, in float64.

        Raises
        ------
        SchemaError : a unit that is NaN in every trial and bin
        """
        X = three_axes(X, type(self).__name__).astype(np.float64)
        absent = np.flatnonzero(np.isnan(X).all(axis=(0, 1)))
        if absent.size:
            raise SchemaError(
                f"ZScore: the unit at position {absent[0]} is NaN in all {len(X)} trials of the fit. Leave it out."
            )
        self.n_features_in_ = X.shape[2]
        self.mean_ = np.nanmean(X, axis=(0, 1))
        is_constant = np.nanmax(X, axis=(0, 1)) == np.nanmin(X, axis=(0, 1))  # their sd is rounding noise, not 0
        self.scale_ = np.where(is_constant, 1.0, np.nanstd(X, axis=(0, 1)))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scaled copy (n_trials, n_times, n_units), float32."""
        return ((self._checked(X) - self.mean_) / self.scale_).astype(np.float32)


class Flatten(ThreeAxes):
    """Bins and units side by side: (n_trials, n_times, n_units) -> (n_trials, n_times * n_units), for decoders."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Unit runs fastest; a view where the input is contiguous."""
        X = self._checked(X)
        return X.reshape(len(X), X.shape[1] * X.shape[2])


def _lags(n_times: int) -> np.ndarray:
    """(n_times, n_times): output bin minus input bin."""
    return np.subtract.outer(np.arange(n_times), np.arange(n_times))


def _weighted_mean(X: np.ndarray, weight: np.ndarray, is_causal: bool) -> np.ndarray:
    """Weighted mean over the input bins that are there; ``weight`` (n_times out, n_times in)."""
    if is_causal:
        weight = np.tril(weight)
    X = X.astype(np.float64)
    present = np.isfinite(X)
    total = weight @ np.where(present, X, 0.0)
    mass = weight @ present.astype(np.float64)
    return np.where(present, total / np.where(mass > 0, mass, 1.0), np.nan).astype(np.float32)
