"""Participation ratio: exact on known spectra, unbiased by the noise of trials."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets.errors import SchemaError
from mitral.decode.conditions import label_conditions
from mitral.decode.dimensionality import participation_ratio


def recording(means, n_trials, noise, seed=0):
    rng = np.random.default_rng(seed)
    condition = np.tile(np.arange(len(means)), n_trials)
    values = means[condition] + noise * rng.normal(size=(len(condition), means.shape[1]))
    activity = xr.DataArray(
        values[:, None],
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(values)), "time": [0.0], "unit": np.arange(means.shape[1]).astype(str),
            "odor": ("trial", condition),
        },
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip
    return label_conditions(activity, "odor")


def means_with(spectrum, n_conditions=12, n_units=30, seed=0):
    """Condition means whose covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(seed)
    columns = np.linalg.qr(np.column_stack([np.ones(n_conditions), rng.normal(size=(n_conditions, len(spectrum)))]))[0]
    basis = np.linalg.qr(rng.normal(size=(n_units, len(spectrum))))[0]
    return columns[:, 1:] @ np.diag(np.sqrt(np.array(spectrum) * (n_conditions - 1))) @ basis.T


@pytest.mark.parametrize("spectrum", [[1.0], [1.0, 1.0, 1.0], [4.0, 2.0, 1.0, 1.0]])
def test_known_spectra_give_their_ratio(spectrum):
    """Without noise both estimates are (sum l)² / sum l², and the eigenvalues are found."""
    result = participation_ratio(recording(means_with(spectrum), 4, 0.0), random_state=0)
    expected = np.sum(spectrum) ** 2 / np.sum(np.square(spectrum))
    assert_allclose(result["score"], [expected, expected])
    assert_allclose(result["eigenvalue"].values[: len(spectrum)], spectrum)
    assert_allclose(result.attrs["signal_share"], 1.0)


def test_noise_of_trials_adds_no_dimensions_to_the_unbiased_ratio():
    """Over 60 noisy recordings the ratio of mean traces is 3 within 3 standard errors; the naive one is above 5.5."""
    means = means_with([1.0, 1.0, 1.0])
    found = [participation_ratio(recording(means, 8, 1.0, seed), random_state=0, n_splits=20) for seed in range(60)]
    naive, unbiased = np.array([result["score"].values for result in found]).T
    error = unbiased.std() / np.sqrt(len(unbiased))
    assert abs(unbiased.mean() - 3.0) < 3 * error + 0.1  # a ratio of unbiased estimates is biased to second order
    assert naive.mean() > 5.5


def test_a_rotation_of_the_units_changes_nothing():
    """The ratio belongs to the cloud, not to the axes."""
    activity = recording(means_with([3.0, 1.0]), 6, 0.3)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))[0]
    rotated = activity.copy(data=activity.values @ rotation)
    assert_allclose(
        participation_ratio(rotated, random_state=0)["score"], participation_ratio(activity, random_state=0)["score"]
    )


def test_without_signal_there_is_no_ratio():
    """Where noise leaves no sign of a signal the estimate is NaN and says so."""
    results = [participation_ratio(recording(np.zeros((6, 10)), 8, 1.0, seed), random_state=0) for seed in range(10)]
    absent = [result for result in results if np.isnan(result.attrs["score_mean"])]
    assert len(absent) >= 2
    assert all("no sign of a signal" in result.attrs["warnings"][0] for result in absent)


def test_recordings_that_cannot_tell_noise_are_refused():
    """Fewer than four trials of a condition, NaN, no split, no conditions."""
    activity = recording(means_with([1.0]), 4, 0.1)
    with pytest.raises(SchemaError, match="has 3 trials"):
        participation_ratio(activity.isel(trial=slice(1, None)), random_state=0)
    with pytest.raises(SchemaError, match="trials hold NaN"):
        participation_ratio(activity.where(activity["trial"] > 0), random_state=0)
    with pytest.raises(SchemaError, match="n_splits must be at least 1"):
        participation_ratio(activity, n_splits=0, random_state=0)
    with pytest.raises(SchemaError, match="no column 'condition'"):
        participation_ratio(activity.drop_vars("condition"), random_state=0)
