"""Decoding over time: the same as a loop over bins, a null that holds the family, and a planted onset."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.decode import over_time
from mitral.decode.decoders import make_decoder
from mitral.decode.null_schemes import ExchangeBlocks
from mitral.decode.nulls import with_null
from mitral.decode.onset import onset
from mitral.decode.over_time import (
    cross_validate_over_time,
    cumulate,
    generalise_over_time,
    with_null_over_time,
)
from mitral.decode.prepare import takes_three_axes
from mitral.decode.score import cross_validate

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
    three_axes = takes_three_axes(ESTIMATORS[name])
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


@pytest.mark.parametrize(
    "estimator", [Ridge(10.0), make_pipeline(SquareRoot(), Flatten(), Ridge(10.0)), KNeighborsRegressor()]
)
def test_numbers_are_decoded_over_time_too(estimator):
    """A regressor gives R² at every bin, from the same folds, with or without a closed form.

    Square roots are float32, and scikit-learn's ridge stays in float32 where the closed form does not: 1e-5.
    """
    activity = recording()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate_over_time(activity, "depth", estimator, folds)
    general = generalise_over_time(activity, "depth", estimator, folds)
    assert_allclose(np.diag(general["score"]), result["score"], atol=1e-5)
    out_of_fold = np.nansum(result["prediction"].values, axis=0)
    assert_allclose(result["score"].values, [r2_score(activity["depth"], column) for column in out_of_fold.T])
    assert result["score"].values[ONSET:].min() > 0.5 > result["score"].values[:ONSET].max()


def test_a_null_of_numbers_is_that_of_fitting_anew(monkeypatch):
    """Ridge regression shares one factorisation among permutations, with the same scores as the loop."""
    activity = recording(n_times=6)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    estimator = make_decoder("ridge", alpha=10.0)
    result = cross_validate_over_time(activity, "depth", estimator, folds)
    arguments = (result, activity, estimator, folds)
    fast = with_null_over_time(*arguments, n_permutations=19, random_state=3)
    monkeypatch.setattr(over_time, "value_solver_for", lambda estimator: None)
    slow = with_null_over_time(*arguments, n_permutations=19, random_state=3)
    assert_allclose(fast["null_score"].values, slow["null_score"].values, atol=1e-9)
    assert np.all(fast["p_familywise"].values[ONSET:] == 0.05)


def test_probabilities_are_scored_over_time_as_at_one_bin():
    """A metric of probabilities at a bin is that of cross_validate on the bin; the result keeps the probabilities."""
    activity = recording(n_times=3, strength=0.3)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    estimator = make_decoder("logistic")
    result = cross_validate_over_time(activity, "odor", estimator, folds, metric="log_loss")
    general = generalise_over_time(activity, "odor", estimator, folds, metric="log_loss")
    for time in range(3):
        single = cross_validate(activity.isel(time=[time]), "odor", estimator, folds, metric="log_loss")
        assert_allclose(result["score"][time], single.attrs["score_mean"])
        assert_allclose(result["fold_score"][:, time], single["score"])
        assert_allclose(result["probability"][:, :, time], single["probability"])
    assert_allclose(np.diag(general["score"]), result["score"])
    null = with_null_over_time(result, activity, estimator, folds, n_permutations=2, random_state=0)["null_score"]
    assert null.shape == (2, 3) and np.all(null > 0)


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
    assert fast.attrs["null_scheme"].endswith("within block, alike at all bins")


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


def test_labels_in_runs_give_no_p_value_over_time():
    """Trials that come class by class cannot be exchanged: slow drift would pass for the target."""
    activity = recording(n_trials=60)
    activity = activity.isel(trial=np.argsort(activity["odor"].values, kind="stable"))
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    result = cross_validate_over_time(activity, "odor", ESTIMATORS["lda"], folds)
    result = with_null_over_time(result, activity, ESTIMATORS["lda"], folds, n_permutations=19, random_state=0)
    assert "p_value" not in result and "p_familywise" not in result
    assert any("labels come in runs" in said for said in result.attrs["warnings"])
    with pytest.raises(SchemaError, match="no family-wise p values. No p value: labels come in runs"):
        onset(result)


def test_another_scheme_draws_the_labels_of_all_bins():
    """Labels of whole blocks change places, alike at all bins; the null says so."""
    activity = recording(n_trials=96, strength=0.5)
    activity = activity.assign_coords(odor=("trial", np.array(["a", "b"])[activity["block"].values % 2]))
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0, group="block")
    result = cross_validate_over_time(activity, "odor", ESTIMATORS["lda"], folds)
    given = {"n_permutations": 19, "random_state": 0, "scheme": ExchangeBlocks("block")}
    found = with_null_over_time(result, activity, ESTIMATORS["lda"], folds, **given)
    single = cross_validate(activity.isel(time=[2]), "odor", ESTIMATORS["lda"], folds)
    single = with_null(single, activity.isel(time=[2]), ESTIMATORS["lda"], folds, **given)
    assert_allclose(found["null_score"][:, 2], single["null_score"])
    assert "block" in found.attrs["null_scheme"]
    with pytest.raises(SchemaError, match="Give one of them"):
        with_null_over_time(result, activity, ESTIMATORS["lda"], folds, **given, within="block")
