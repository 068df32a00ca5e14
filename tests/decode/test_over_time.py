"""Decoding over time: the same as a loop over bins, a null that holds the family, and a planted onset."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.decode import over_time
from mitral.decode.decoders import make_decoder
from mitral.decode.over_time import (
    cross_validate_over_time,
    cumulate,
    generalise_over_time,
    with_null_over_time,
)

ONSET = 4


def recording(*, n_trials=60, n_times=8, n_units=12, n_classes=3, strength=1.5, seed=0):
    """Counts that know the odor from bin ONSET on."""
    rng = np.random.default_rng(seed)
    odor = np.arange(n_trials) % n_classes
    log_rate = np.full((n_trials, n_times, n_units), np.log(2.0))
    log_rate[:, ONSET:] += strength * rng.normal(size=(n_classes, n_units))[odor][:, None]
    return xr.DataArray(
        rng.poisson(np.exp(log_rate)),
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials),
            "time": (np.arange(n_times) + 0.5) * 0.05,
            "unit": [f"s/u{u}" for u in range(n_units)],
            "odor": ("trial", np.array(["a", "b", "c", "d"])[odor]),
            "depth": ("trial", odor + rng.normal(0, 0.1, n_trials)),
            "block": ("trial", np.arange(n_trials) // 12),
        },
        attrs={"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.05, "units": "spikes per bin"},
    )


ESTIMATORS = {
    "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "root, scaled": make_pipeline(SquareRoot(), Flatten(), make_decoder("pooled_lda")),
    "ridge": make_decoder("ridge_classifier", alpha=3.0),
    "centroid": make_decoder("nearest_centroid"),
    "no closed form": make_decoder("logistic"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("n_units", [12, 70])
def test_scores_are_those_of_a_loop_over_bins(name, n_units):
    """At every bin, and from every bin to every other, the score is that of fitting there and testing there."""
    activity = recording(n_units=n_units, n_times=5)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate_over_time(activity, "odor", ESTIMATORS[name], folds)
    general = generalise_over_time(activity, "odor", ESTIMATORS[name], folds)
    three_axes = over_time.takes_three_axes(ESTIMATORS[name])
    X, y = activity.values, activity["odor"].values
    expected = np.zeros((5, 5))
    for at in range(5):
        predicted = np.empty((5, len(y)), dtype=y.dtype)
        for side in folds.values:
            bins = [X[:, t : t + 1] if three_axes else X[:, t] for t in range(5)]
            fitted = clone(ESTIMATORS[name]).fit(bins[at][side == 1], y[side == 1])
            for t in range(5):
                predicted[t, side == 2] = fitted.predict(bins[t][side == 2])
        expected[at] = [balanced_accuracy_score(y, row) for row in predicted]
    assert_allclose(general["score"].values, expected)
    assert_allclose(result["score"].values, np.diag(expected))


def test_numbers_are_decoded_over_time_too():
    """A regressor gives R² at every bin, from the same folds."""
    activity = recording()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate_over_time(activity, "depth", Ridge(10.0), folds)
    out_of_fold = np.nansum(result["prediction"].values, axis=0)
    assert_allclose(result["score"].values, [r2_score(activity["depth"], column) for column in out_of_fold.T])
    assert result["score"].values[ONSET:].min() > 0.5 > result["score"].values[:ONSET].max()


def test_a_permuted_null_is_that_of_fitting_anew(monkeypatch):
    """Closed form and loop give the same null at every bin; p values control bins one by one and together."""
    activity = recording()
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    estimator = ESTIMATORS["root, scaled"]
    result = cross_validate_over_time(activity, "odor", estimator, folds)
    arguments = (result, activity, estimator, folds)
    fast = with_null_over_time(*arguments, n_permutations=19, random_state=3)
    monkeypatch.setattr(over_time, "solver_for", lambda estimator: None)
    slow = with_null_over_time(*arguments, n_permutations=19, random_state=3)
    assert_allclose(fast["null_score"].values, slow["null_score"].values)
    largest = fast["null_score"].values.max(axis=1)
    expected = [(np.sum(largest >= score) + 1) / 20 for score in result["score"].values]
    assert_allclose(fast["p_familywise"].values, expected)
    assert np.all(fast["p_familywise"].values >= fast["p_value"].values)
    assert np.all(fast["p_familywise"].values[ONSET:] == 0.05)
    assert fast.attrs["null_scheme"].endswith("within block")


def test_familywise_p_keeps_its_level_on_noise():
    """Of 60 recordings without signal, those with any bin at 0.05 are not above 0.05 by more than 3 standard errors."""
    hits = 0
    for seed in range(60):
        activity = recording(n_trials=24, n_times=8, n_units=5, strength=0.0, seed=seed)
        folds = make_folds(activity, target="odor", n_folds=3, random_state=seed)
        result = cross_validate_over_time(activity, "odor", ESTIMATORS["centroid"], folds)
        result = with_null_over_time(
            result, activity, ESTIMATORS["centroid"], folds, n_permutations=59, random_state=seed
        )
        hits += bool((result["p_familywise"].values <= 0.05).any())
    assert hits / 60 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_growing_windows_add_up():
    """The last window holds all spikes; time is the end of the window."""
    activity = recording()
    grown = cumulate(activity)
    assert_array_equal(grown.values[:, -1], activity.values.sum(axis=1))
    assert_allclose(grown["time"].values, (np.arange(8) + 1) * 0.05)


def test_too_few_arrangements_give_no_p_value():
    """Labels that are constant within their groups cannot be permuted; the result says so."""
    activity = recording(n_classes=2, n_trials=24).assign_coords(block=("trial", np.arange(24)))
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    result = cross_validate_over_time(activity, "odor", ESTIMATORS["lda"], folds)
    result = with_null_over_time(
        result, activity, ESTIMATORS["lda"], folds, n_permutations=5, random_state=0, within="block"
    )
    assert "p_value" not in result
    assert any("No p value" in said for said in result.attrs["warnings"])


def test_folds_of_other_trials_are_refused():
    """Folds belong to the trials that they were made from."""
    activity = recording()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match="Make the folds from this very activity"):
        cross_validate_over_time(activity.isel(trial=slice(30)), "odor", ESTIMATORS["lda"], folds)
