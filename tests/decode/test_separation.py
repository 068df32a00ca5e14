"""Distances between conditions: unbiased, equal to the plain loop, at chance on noise, refused where biased."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets.errors import LeakageError, SchemaError
from mitral.decode.onset import onset
from mitral.decode.separation import mean_distances, pairwise_distances, separation_over_time


def activity(seed=0, *, n_trials=40, n_times=6, n_units=8, shift=0.0, first=3, n_odors=4):
    """Noise whose odors move apart by ``shift`` sd per unit from bin ``first`` on."""
    rng = np.random.default_rng(seed)
    odor = np.arange(n_trials) % n_odors
    values = rng.normal(size=(n_trials, n_times, n_units))
    values[:, first:] += shift * rng.normal(size=(n_odors, 1, n_units))[odor]
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials),
            "time": 0.1 * np.arange(n_times) + 0.05,
            "unit": [f"u{u}" for u in range(n_units)],
            "odor": ("trial", odor),
            "block": ("trial", np.arange(n_trials) // 8),
        },
        attrs={"session": "s", "animal": "a", "event": "onset", "bin_width_s": 0.1, "units": "a.u."},
    )


def test_many_labelings_at_once_equal_the_mean_over_pairs():
    """Unequal classes too."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(17, 3, 5))
    labels = np.array([rng.permutation(np.repeat([0, 1, 2], [4, 5, 8])) for _ in range(7)])
    rows, columns = np.triu_indices(3, 1)
    expected = [pairwise_distances(X, y, 3)[rows, columns].mean(axis=0) for y in labels]
    assert_allclose(mean_distances(X, labels, 3), expected, atol=1e-12)


def test_the_distance_of_noise_is_zero_on_average():
    """1,000 data sets: within four standard errors, where the plain distance of the means would read 2 · 8 / 10."""
    found = [mean_distances(activity(seed).values, (np.arange(40) % 4)[None], 4)[0] for seed in range(1000)]
    assert np.all(np.abs(np.mean(found, axis=0)) < 4 * np.std(found, axis=0) / np.sqrt(1000))


def test_the_distance_of_shifted_means_is_theirs():
    """Two classes three apart in each of 8 units: 72, within four standard errors over 400 data sets."""
    y = np.arange(40) % 2
    found = [
        mean_distances(activity(seed).values + 3.0 * y[:, None, None], y[None], 2)[0].mean() for seed in range(400)
    ]
    assert abs(np.mean(found) - 72) < 4 * np.std(found) / np.sqrt(400)


def test_turning_the_units_changes_no_distance():
    rng = np.random.default_rng(2)
    here = activity(shift=1.0)
    turned = here.copy(data=here.values @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 5.0)
    first, second = (separation_over_time(a, "odor", n_permutations=20, random_state=0) for a in (here, turned))
    assert_allclose(first["null_score"], second["null_score"], atol=1e-9)
    assert_allclose(first["distance"], second["distance"], atol=1e-9)


def test_odors_are_apart_from_the_bin_on_where_they_are_and_not_before():
    result = separation_over_time(activity(shift=1.5), "odor", n_permutations=199, random_state=0, within="block")
    assert (result["p_familywise"].values[3:] == 1 / 200).all() and (result["p_value"].values[:3] > 0.05).all()
    assert onset(result)["onset_s"] == pytest.approx(0.35)
    assert "within block" in result.attrs["null_scheme"]


def test_on_noise_the_family_of_bins_is_called_apart_at_the_stated_rate():
    """300 data sets without a signal at level 0.1: within four binomial standard errors (0.017)."""
    smallest = [
        separation_over_time(activity(seed), "odor", n_permutations=39, random_state=seed)["p_familywise"].min()
        for seed in range(300)
    ]
    assert abs(np.mean(np.array(smallest) <= 0.1) - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.isel(trial=slice(0, None, 4)), "one value in all trials"),
        (lambda a: a.isel(trial=slice(0, 5)), "odor = 1 has one trial, and the noise of its mean"),
        (lambda a: a.where(a["trial"] != 3), "1 trials hold missing bins .*trial 3"),
        (lambda a: a.rename(unit="place"), "expected dims"),
    ],
)
def test_what_has_no_distance_is_refused(change, message):
    with pytest.raises(SchemaError, match=message):
        separation_over_time(change(activity()), "odor", n_permutations=20, random_state=0)


def test_a_space_that_was_fitted_to_the_target_of_these_trials_is_refused():
    fitted = activity().rename(unit="latent").assign_coords(
        latent=np.arange(8), in_fit=("trial", np.ones(40, bool))
    )
    fitted = fitted.assign_attrs(target="odor")
    with pytest.raises(LeakageError, match="fitted to 'odor' on 40 of these trials"):
        separation_over_time(fitted, "odor", n_permutations=20, random_state=0)
    elsewhere = fitted.assign_coords(in_fit=("trial", np.zeros(40, bool)))
    assert "score" in separation_over_time(elsewhere, "odor", n_permutations=20, random_state=0)
