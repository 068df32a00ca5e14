"""Transformers on three axes: what they keep, what they may not see, and agreement with scipy."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from mitral.datasets.errors import SchemaError
from mitral.datasets.preprocess import BoxcarSmooth, Flatten, GaussianSmooth, SquareRoot, ZScore, three_axes

SMOOTHERS = (
    GaussianSmooth(1.5), GaussianSmooth(1.5, is_causal=True), BoxcarSmooth(3), BoxcarSmooth(4, is_causal=True)
)  # fmt: skip
CAUSAL = tuple(smoother for smoother in SMOOTHERS if smoother.is_causal)
ALL = (*SMOOTHERS, SquareRoot(), ZScore(), Flatten())
X = np.random.default_rng(0).poisson(3.0, (6, 40, 3)).astype(np.float32)
some_activity = arrays(np.float64, (2, 9, 2), elements=st.floats(0, 100))
some_mask = arrays(bool, (2, 9, 2))


@pytest.mark.parametrize("smoother", SMOOTHERS, ids=repr)
@given(st.floats(-1e3, 1e3), some_mask)
def test_a_constant_stays_constant(smoother, value, is_absent):
    """At the ends of the window and around NaN too: weights are renormalised over the bins that are there."""
    activity = np.where(is_absent, np.nan, value)
    assert_allclose(smoother.fit_transform(activity), activity, rtol=1e-6, atol=1e-30)  # below, float32 has no 6 digits


@pytest.mark.parametrize("smoother", CAUSAL, ids=repr)
@given(some_activity, some_activity, st.integers(0, 8))
def test_a_causal_smoother_never_sees_the_future(smoother, activity, other, last):
    """Whatever comes after a bin, NaN included, leaves it as it was."""
    changed = activity.copy()
    changed[:, last + 1 :] = other[:, last + 1 :]
    changed[:, last + 2 :, 0] = np.nan
    smoothed = smoother.fit_transform(activity)[:, : last + 1]
    assert_array_equal(smoother.fit_transform(changed)[:, : last + 1], smoothed)


@pytest.mark.parametrize("smoother", [GaussianSmooth(1.0), BoxcarSmooth(3)], ids=repr)
def test_a_smoother_that_is_not_causal_sees_the_future(smoother):
    """So that the test above is able to fail."""
    step = np.zeros((1, 9, 1))
    step[:, 5:] = 1.0
    assert smoother.fit_transform(step)[0, 4, 0] > 0.1


@pytest.mark.parametrize("smoother", SMOOTHERS, ids=repr)
@settings(max_examples=30)
@given(some_activity, some_mask)
def test_nan_stays_and_lends_nothing(smoother, activity, is_absent):
    """A NaN bin is NaN afterwards; its neighbours are weighted means of what is there, bin by bin."""
    activity = np.where(is_absent, np.nan, activity)
    smoothed = smoother.fit_transform(activity)
    assert_array_equal(np.isnan(smoothed), is_absent)
    for trial in range(2):
        for unit in range(2):
            there = np.flatnonzero(~is_absent[trial, :, unit])
            for t in there:
                weight = np.array([_weight(smoother, t - s) for s in there])
                mean = weight @ activity[trial, there, unit] / weight.sum()
                assert_allclose(smoothed[trial, t, unit], mean, rtol=1e-5, atol=1e-5)


def _weight(smoother, lag):
    """By the formula in the docstring; ``lag`` is the output bin minus the input bin."""
    if smoother.is_causal and lag < 0:
        return 0.0
    if isinstance(smoother, GaussianSmooth):
        return np.exp(-(lag**2) / (2 * smoother.sd_bins**2)) if abs(lag) <= 4 * smoother.sd_bins else 0.0
    return float(abs(lag) <= (smoother.width_bins - 1 if smoother.is_causal else smoother.width_bins // 2))


@pytest.mark.parametrize("sd_bins", [0.5, 1.0, 2.0])
def test_gaussian_smoothing_agrees_with_scipy_away_from_the_ends(sd_bins):
    """Four standard deviations inside, where no weight is cut off."""
    inside = slice(8, -8)
    expected = gaussian_filter1d(X.astype(float), sd_bins, axis=1, truncate=4.0)
    assert_allclose(GaussianSmooth(sd_bins).fit_transform(X)[:, inside], expected[:, inside], rtol=1e-5)


@pytest.mark.parametrize("width_bins", [1, 3, 7])
def test_boxcar_smoothing_agrees_with_scipy_away_from_the_ends(width_bins):
    """Centred as it is; shifted by half a width if causal."""
    expected = uniform_filter1d(X.astype(float), width_bins, axis=1)
    inside, half = slice(8, -8), width_bins // 2
    assert_allclose(BoxcarSmooth(width_bins).fit_transform(X)[:, inside], expected[:, inside], rtol=1e-5)
    causal = BoxcarSmooth(width_bins, is_causal=True).fit_transform(X)[:, inside]
    assert_allclose(causal, expected[:, 8 - half : -8 - half], rtol=1e-5)


@pytest.mark.parametrize("transformer", ALL, ids=repr)
def test_trials_and_units_do_not_touch_each_other(transformer):
    """A trial or a unit transformed alone is as among the others, where the fit is the same."""
    fitted = clone(transformer).fit(X)
    whole = fitted.transform(X)
    assert_array_equal(fitted.transform(X[2:3]), whole[2:3])
    order = [2, 0, 1]
    permuted = clone(transformer).fit(X[:, :, order]).transform(X[:, :, order])
    if isinstance(transformer, Flatten):
        whole, permuted = whole.reshape(X.shape), permuted.reshape(X.shape)
    assert_allclose(permuted, whole[:, :, order], rtol=1e-6)


@pytest.mark.parametrize("transformer", ALL, ids=repr)
def test_the_input_is_left_as_it_was(transformer):
    """Cross-validation hands the same array to every fold."""
    before = X.copy()
    transformer.fit_transform(X)
    assert_array_equal(X, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64, np.float32, np.float64])
def test_square_roots_are_float32_of_every_type_of_count(dtype):
    """Also where numpy would choose half precision for bytes."""
    roots = SquareRoot().fit_transform(np.array([[[0], [1], [4], [81]]], dtype))
    assert roots.dtype == np.float32 and roots.ravel().tolist() == [0, 1, 2, 9]


def test_square_roots_of_nan_are_nan():
    """And no warning."""
    assert_array_equal(SquareRoot().fit_transform(np.array([[[4.0], [np.nan]]])), [[[2.0], [np.nan]]])


def test_z_scores_agree_with_sklearn():
    """Trials and bins are samples; new trials are scaled by the fit, not by themselves."""
    z = ZScore().fit(X[:4])
    reference = StandardScaler().fit(X[:4].reshape(-1, 3).astype(float))
    assert_allclose(z.transform(X), reference.transform(X.reshape(-1, 3)).reshape(X.shape), rtol=1e-5, atol=1e-6)


def test_z_scores_leave_nan_out():
    """Of the mean and of the deviation; NaN stays NaN."""
    holed = X.astype(float)
    holed[0, :, 1] = np.nan
    z = ZScore().fit(holed)
    assert_allclose(z.mean_[1], X[1:, :, 1].mean(), rtol=1e-6)
    assert_array_equal(np.isnan(z.transform(holed)), np.isnan(holed))


def test_a_constant_unit_is_centred_only():
    """0.1 is no sum of powers of two: its computed deviation is not zero, and dividing by it would give ones."""
    constant = np.full((50, 20, 2), 0.1)
    assert np.all(np.std(constant, axis=(0, 1)) > 0)
    z = ZScore().fit(constant)
    assert z.scale_.tolist() == [1.0, 1.0]
    assert_allclose(z.transform(constant + 0.5), 0.5, rtol=1e-6)


def test_flattening_puts_units_side_by_side_in_each_bin():
    """Unit runs fastest, nothing is copied, and no trial gives no row."""
    flat = Flatten().fit_transform(X)
    assert flat.shape == (6, 120) and np.shares_memory(flat, X)
    assert_array_equal(flat[1, 3 * 7 : 3 * 7 + 3], X[1, 7])
    assert Flatten().fit(X).transform(X[:0]).shape == (0, 120)


@pytest.mark.parametrize("transformer", ALL, ids=repr)
@pytest.mark.parametrize(
    "spoiled, match",
    [
        (X[0], r"takes \(n_trials, n_times, n_units\), got shape \(40, 3\)"),
        (X[:, :, :2], "was fitted on 3 units and got 2. Pass the units used in fit"),
        (np.where(np.arange(6)[:, None, None] == 4, np.inf, X), "the trial at position 4 holds infinity"),
    ],
)
def test_other_shapes_and_infinity_are_refused(transformer, spoiled, match):
    """Two axes, other units than in fit, infinite values."""
    with pytest.raises(SchemaError, match=match):
        clone(transformer).fit(X).transform(spoiled)


@pytest.mark.parametrize("transformer", ALL, ids=repr)
def test_what_was_not_fitted_does_not_transform(transformer):
    """As in scikit-learn."""
    with pytest.raises(NotFittedError, match="not fitted"):
        clone(transformer).transform(X)


@pytest.mark.parametrize(
    "transformer, spoiled, match",
    [
        (GaussianSmooth(0.0), X, "sd_bins must be a positive number of bins, got 0"),
        (GaussianSmooth(np.nan), X, "sd_bins must be a positive number"),
        (BoxcarSmooth(4), X, "odd unless is_causal; got 4"),
        (BoxcarSmooth(0), X, "at least 1"),
        (BoxcarSmooth(2.5, is_causal=True), X, "must be a whole number of at least 1.*got 2.5"),
        (SquareRoot(), -X, "takes counts, and found a negative value. Put it before"),
        (ZScore(), np.where(np.arange(3) == 1, np.nan, X), "unit at position 1 is NaN in all 6 trials of the fit"),
    ],
    ids=repr,
)
def test_wrong_settings_and_values_are_refused(transformer, spoiled, match):
    """Widths that are none, negative counts, a unit of which nothing is known."""
    with pytest.raises(SchemaError, match=match):
        clone(transformer).fit(spoiled).transform(spoiled)


def test_three_axes_takes_lists():
    """What numpy can read is an array."""
    assert three_axes([[[1, 2]]], "test").shape == (1, 1, 2)
