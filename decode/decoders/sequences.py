"""What decoders over time share: activity (n_trials, n_times, n_units), target (n_trials, n_times[, n_outputs]).

A bin is **absent** where a unit is NaN in it, as at the end of trials that are shorter than others. An
absent bin trains nothing, tells nothing, and its prediction is NaN. A target that is NaN trains nothing.
Trials are independent: nothing is carried from one to the next.
"""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import SchemaError
from ...datasets.preprocess import three_axes


class OverTime(RegressorMixin, BaseEstimator):
    """Base of decoders that predict numbers in every bin; the tags say that they take three axes and absent bins."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags

    def _learn_shapes(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activity with 0 where absent, present (n_trials, n_times), target (n_trials, n_times, n_outputs)."""
        X, present = present_bins(X, type(self).__name__)
        self.n_features_in_ = X.shape[2]
        Y, self._is_single = _targets(y, X.shape[:2], type(self).__name__)
        return X, present, Y

    def _known_units(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Activity with 0 where absent, and present (n_trials, n_times)."""
        check_is_fitted(self)
        X, present = present_bins(X, type(self).__name__)
        return same_units(X, self.n_features_in_, type(self).__name__), present

    def _shaped(self, Y: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Predictions (n_trials, n_times, n_outputs) in the shape of the target, NaN in absent bins."""
        Y = np.where(present[:, :, None], Y, np.nan)
        return Y[:, :, 0] if self._is_single else Y


def present_bins(X: Any, who: str) -> tuple[np.ndarray, np.ndarray]:
    """Activity in float64 with 0 in absent bins, and present (n_trials, n_times) bool.

    Raises
    ------
    SchemaError : another number of axes, an infinite value, a trial without a present bin
    """
    X = three_axes(X, who).astype(np.float64)
    present = np.isfinite(X).all(axis=2)
    empty = ~present.any(axis=1)
    if empty.any():
        raise SchemaError(
            f"{who}: the trial at position {int(np.flatnonzero(empty)[0])} is NaN in every bin. Leave it out."
        )
    return np.where(present[:, :, None], X, 0.0), present


def same_units(X: np.ndarray, n_units: int, who: str) -> np.ndarray:
    """X, if it has the units of the fit.

    Raises
    ------
    SchemaError : another number of units
    """
    if X.shape[2] != n_units:
        raise SchemaError(f"{who} was fitted on {n_units} units and got {X.shape[2]}. Pass the units used in fit.")
    return X


def refuse_constant(Y: np.ndarray, who: str) -> None:
    """A target (n_bins, n_outputs) that varies, in at least two bins.

    Raises
    ------
    SchemaError : too few bins, a constant output
    """
    if len(Y) < 2 or np.any(Y.max(axis=0) == Y.min(axis=0)):
        raise SchemaError(
            f"{who}: the target is constant, or known in fewer than two bins ({len(Y)}) of the training trials, so "
            f"there is nothing to learn. Leave that output out, or train on more trials."
        )


def _targets(y: Any, expected: tuple[int, int], who: str) -> tuple[np.ndarray, bool]:
    Y = np.asarray(y)
    if Y.dtype.kind not in "iufb" or Y.ndim not in (2, 3) or Y.shape[:2] != tuple(expected):
        raise SchemaError(
            f"{who} takes a target over time, numbers on (n_trials, n_times) or (n_trials, n_times, n_outputs) with "
            f"{expected[0]} trials of {expected[1]} bins, got {Y.dtype} {Y.shape}. For one label a trial use a decoder "
            f"of DECODERS."
        )
    Y = Y.astype(np.float64)
    return (Y[:, :, None], True) if Y.ndim == 2 else (Y, False)
