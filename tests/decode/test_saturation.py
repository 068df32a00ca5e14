"""Saturation: planted parameters are recovered, intervals cover them, and an asymptote out of sight is not quoted."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets.errors import SchemaError
from mitral.decode.saturation import FORMS, HALF_WAY, fit_saturation

SIZES = np.array([5, 10, 20, 40, 80, 160])


def curve_of(scores, sizes=SIZES, metric="accuracy", chance=0.1, over="repeat"):
    """A curve from scores (n_sizes, n_repeats)."""
    return xr.Dataset(
        {"score": ("n_units", scores.mean(axis=1)), f"{over}_score": (("n_units", over), scores)},
        coords={"n_units": sizes},
        attrs={"kind": "curve", "metric": metric, "chance": chance, "warnings": []},
    )


def planted(form, asymptote=0.8, scale=30.0, chance=0.1, sizes=SIZES):
    return chance + (asymptote - chance) * FORMS[form](sizes / scale)


@pytest.mark.parametrize("form", list(FORMS))
def test_planted_parameters_are_recovered(form):
    """Without noise the form is chosen, and asymptote and half-way size are found to 1e-3."""
    fitted = fit_saturation(curve_of(planted(form)[:, None]), random_state=0)
    assert fitted.attrs["saturation"] == form
    assert_allclose(fitted.attrs["asymptote"], 0.8, rtol=1e-3)
    assert_allclose(fitted.attrs["n_half"], 30.0 * HALF_WAY[form], rtol=1e-3)
    assert_allclose(fitted["fitted"], planted(form), atol=1e-4)


def test_an_error_falls_to_its_asymptote():
    """Mean absolute error starts at chance and falls; the same forms hold upside down."""
    scores = planted("exponential", asymptote=0.3, chance=2.0)[:, None]
    fitted = fit_saturation(curve_of(scores, metric="mean_absolute_error", chance=2.0), random_state=0)
    assert_allclose(fitted.attrs["asymptote"], 0.3, rtol=1e-3)


def test_the_interval_covers_the_planted_asymptote():
    """Of 100 noisy curves of 20 repeats the 95 % interval holds the truth in at least 95 % less 3 standard errors
    and 4 % for the percentile bootstrap of 20; the asymptote is then called determined.
    """
    truth = planted("exponential")
    covered, determined = [], []
    for seed in range(100):
        scores = truth[:, None] + 0.03 * np.random.default_rng(seed).normal(size=(6, 20))
        fitted = fit_saturation(curve_of(scores), n_bootstrap=200, random_state=0)
        covered.append(fitted.attrs["asymptote_low"] <= 0.8 <= fitted.attrs["asymptote_high"])
        determined.append(fitted.attrs["is_asymptote_determined"])
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100) - 0.04
    assert np.mean(determined) > 0.9


def test_an_asymptote_out_of_sight_is_not_quoted():
    """Units at a tenth of the scale rise in a line, so their end is unknown, and the result says so in words."""
    sizes = np.array([2, 4, 8, 12])
    truth = planted("exponential", asymptote=0.9, scale=120.0, sizes=sizes)
    scores = truth[:, None] + 0.01 * np.random.default_rng(0).normal(size=(4, 20))
    fitted = fit_saturation(curve_of(scores, sizes=sizes), random_state=0)
    assert not fitted.attrs["is_asymptote_determined"]
    assert "not determined: with at most 12 n_units" in fitted.attrs["warnings"][-1]


def test_one_repeat_determines_nothing():
    """Without repeats there is no interval, so nothing is called determined."""
    fitted = fit_saturation(curve_of(planted("exponential")[:, None]), random_state=0)
    assert not fitted.attrs["is_asymptote_determined"]


def test_the_asymptote_stays_in_the_range_of_the_metric():
    """A steep curve tends to an accuracy of 1 at most, an R² of 1 at most."""
    scores = np.array([0.2, 0.4, 0.8])[:, None] + np.zeros((3, 4))
    for metric in ("accuracy", "r2"):
        fitted = fit_saturation(curve_of(scores, sizes=np.array([1, 2, 4]), metric=metric), random_state=0)
        assert fitted.attrs["asymptote"] <= 1.0


def test_animals_are_resampled_where_the_curve_is_their_mean():
    """The interval of a mean curve is over animals: unequal animals make it wide."""
    animals = np.stack([planted("exponential", asymptote=a) for a in (0.5, 0.7, 0.9)], axis=1)
    fitted = fit_saturation(curve_of(animals, over="animal"), random_state=0)
    assert_allclose(fitted.attrs["asymptote"], 0.7, atol=0.01)
    assert fitted.attrs["asymptote_low"] < 0.55 and fitted.attrs["asymptote_high"] > 0.85


def test_curves_that_cannot_be_fitted_are_refused():
    """Two sizes, NaN, and what is no curve."""
    with pytest.raises(SchemaError, match="at least three n_units, got 2"):
        fit_saturation(curve_of(np.ones((2, 3)), sizes=np.array([1, 2])), random_state=0)
    scores = np.ones((6, 2))
    scores[2, 1] = np.nan
    with pytest.raises(SchemaError, match="NaN at n_units 20"):
        fit_saturation(curve_of(scores), random_state=0)
    with pytest.raises(SchemaError, match="expected a curve"):
        fit_saturation(xr.Dataset(), random_state=0)
