"""Probabilities of held-out trials: from training trials alone, calibrated inside the folds, and scored by formula."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode.calibration import (
    CALIBRATIONS,
    brier_score,
    expected_calibration_error,
    inner_splits,
    predict_probabilities,
    reliability_curve,
    with_probabilities,
)
from mitral.decode.decoders import make_decoder
from mitral.decode.score import cross_validate


def result_of(p, truth):
    """A result with one fold that tests all trials with given probabilities."""
    p = np.asarray(p, dtype=float)
    return xr.Dataset({"probability": (("fold", "trial", "label"), p[None]), "target": ("trial", np.asarray(truth))})


def folds_of(activity, n_folds=3, group=None):
    """Stratified folds by odor."""
    return make_folds(activity, target="odor", n_folds=n_folds, random_state=0, group=group)


@pytest.mark.parametrize("n_odors", [2, 3])
def test_probabilities_are_those_of_a_loop_over_folds(make_activity, n_odors):
    """Fitted on training trials, asked of test trials; NaN where a fold does not test; names of the labels."""
    activity = make_activity(n_trials=36, n_odors=n_odors, strength=1.0)
    folds = folds_of(activity)
    got = predict_probabilities(activity, "odor", make_decoder("lda"), folds)
    assert got.dims == ("fold", "trial", "label")
    assert_array_equal(got["label"], np.unique(activity["odor"]))
    X, y = activity.values.reshape(36, -1), activity["odor"].values
    for fold, side in enumerate(folds.values):
        expected = make_decoder("lda").fit(X[side == 1], y[side == 1]).predict_proba(X[side == 2])
        assert_allclose(got.values[fold, side == 2], expected)
        assert np.isnan(got.values[fold, side != 2]).all()


def test_a_label_without_training_trials_has_probability_zero(make_activity):
    """Leave-one-odor-out: the other labels share all of it."""
    activity = make_activity(n_trials=30, n_odors=3)
    odor = activity["odor"].values
    sides = np.array([np.where(odor == name, 2, 1) for name in np.unique(odor)], np.int8)
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": activity["trial"], "fold": range(3)})
    got = predict_probabilities(activity, "odor", make_decoder("lda"), folds).values
    for fold in range(3):
        assert_array_equal(got[fold, sides[fold] == 2, fold], 0.0)
        assert_allclose(got[fold, sides[fold] == 2].sum(axis=1), 1.0)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_calibration_is_that_of_sklearn_on_grouped_inner_folds(make_activity, calibration):
    """Inner folds of the training trials that keep the outer folds' groups whole."""
    activity = make_activity(n_trials=60, strength=0.5)
    folds = folds_of(activity, group="block")
    got = predict_probabilities(activity, "odor", make_decoder("naive_bayes"), folds, calibration=calibration)
    X, y = activity.values.reshape(60, -1), np.unique(activity["odor"], return_inverse=True)[1]
    for fold, side in enumerate(folds.values):
        train, test = side == 1, side == 2
        block = activity["block"].values[train]
        splitter = StratifiedGroupKFold(min(5, len(np.unique(block))), shuffle=True, random_state=0)
        inner = list(splitter.split(X[train], y[train], block))
        theirs = CalibratedClassifierCV(make_decoder("naive_bayes"), method=calibration, cv=inner, ensemble=False)
        assert_allclose(got.values[fold, test], theirs.fit(X[train], y[train]).predict_proba(X[test]))


@pytest.mark.parametrize("name", ["linear_svm", "kernel_svm", "ridge_classifier"])
def test_decoders_without_probabilities_get_them_by_calibration(make_activity, name):
    """From decision values; they sum to one and find the odor."""
    activity = make_activity(n_trials=60, n_odors=3, strength=2.0)
    folds = folds_of(activity)
    with pytest.raises(SchemaError, match="gives no probabilities. Ask for a calibration"):
        predict_probabilities(activity, "odor", make_decoder(name), folds)
    p = predict_probabilities(activity, "odor", make_decoder(name), folds, calibration="temperature").max("fold")
    assert_allclose(p.sum("label"), 1.0)
    truth = np.unique(activity["odor"], return_inverse=True)[1]
    assert np.mean(p.values.argmax(axis=1) == truth) > 0.8


def test_temperature_leaves_the_likeliest_class_as_it_is(make_activity):
    """One positive number scales all decision values."""
    activity = make_activity(n_trials=60, n_odors=3, strength=0.5)
    folds = folds_of(activity)
    plain, scaled = (
        predict_probabilities(activity, "odor", make_decoder("lda"), folds, calibration=calibration).max("fold")
        for calibration in (None, "temperature")
    )
    assert_array_equal(plain.values.argmax(axis=1), scaled.values.argmax(axis=1))


def test_a_decoder_that_is_too_sure_is_calibrated(make_activity):
    """Each unit copied twenty times: naive Bayes counts its evidence twenty times over, and temperature undoes it."""
    activity = make_activity(n_trials=240, n_times=1, n_odors=3, strength=0.4)
    activity = activity.isel(unit=np.tile(np.arange(6), 20)).assign_coords(unit=[f"s/u{u}" for u in range(120)])
    folds = folds_of(activity)
    decoder = make_decoder("naive_bayes")
    result = cross_validate(activity, "odor", decoder, folds)
    plain = with_probabilities(result, activity, decoder, folds)
    calibrated = with_probabilities(result, activity, decoder, folds, calibration="temperature")
    assert plain.attrs["expected_calibration_error"] > 0.2
    assert calibrated.attrs["expected_calibration_error"] < 0.5 * plain.attrs["expected_calibration_error"]
    assert calibrated.attrs["brier_score"] < 0.9 * plain.attrs["brier_score"]
    assert calibrated.attrs["brier_score"] < calibrated.attrs["brier_score_of_shares"]
    assert calibrated.attrs["calibration"] == "temperature" and plain.attrs["calibration"] == "none"


def test_labels_of_test_trials_never_reach_the_calibration(make_activity):
    """Other labels for the test trials of a fold leave its probabilities as they were."""
    activity = make_activity(n_trials=60, strength=0.5)
    fold = folds_of(activity).isel(fold=[0])
    tested = fold.values[0] == 2
    swapped = np.where(tested, activity["odor"].values[::-1], activity["odor"].values)
    other = activity.assign_coords(odor=("trial", swapped))
    got = [
        predict_probabilities(a, "odor", make_decoder("lda"), fold, calibration="sigmoid") for a in (activity, other)
    ]
    assert_array_equal(got[0].values, got[1].values)


def test_the_brier_score_is_that_of_sklearn():
    """For several classes, without halving; a certain and right forecast has 0, a certain and wrong one 2."""
    rng = np.random.default_rng(0)
    p, truth = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    expected = brier_score_loss(truth, p, labels=range(4), scale_by_half=False)
    assert_allclose(brier_score(result_of(p, truth)), expected)
    assert brier_score(result_of(np.eye(2), [0, 1])) == 0
    assert brier_score(result_of(np.eye(2), [1, 0])) == 2


def test_the_brier_score_of_shares_is_what_shares_score(make_activity):
    """The reference that ignores the activity, computed by formula and by forecasting the shares."""
    activity = make_activity(n_trials=30, n_odors=3)
    folds = folds_of(activity)
    result = cross_validate(activity, "odor", make_decoder("lda"), folds)
    attrs = with_probabilities(result, activity, make_decoder("lda"), folds).attrs
    assert_allclose(attrs["brier_score_of_shares"], brier_score(result_of(np.full((3, 3), 1 / 3), [0, 1, 2])))


def test_the_reliability_curve_counts_by_hand():
    """Four trials in two bins of confidence; an edge belongs to the lower bin."""
    p = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]
    result = result_of(p, [0, 1, 1, 0])
    curve = reliability_curve(result, n_bins=4)
    assert curve["n_trials"].values.tolist() == [0, 1, 1, 2]
    assert_allclose(curve["confidence"], [np.nan, 0.5, 0.7, 0.85])
    assert_allclose(curve["accuracy"], [np.nan, 1.0, 1.0, 0.5])
    assert curve["low"].values.tolist() == [0, 0.25, 0.5, 0.75]
    assert_allclose(expected_calibration_error(result, n_bins=4), (0.5 + 0.3 + 2 * 0.35) / 4)


def test_probabilities_that_are_true_have_little_error():
    """Labels drawn from the stated probabilities: the error is within sampling (20,000 trials, about 2,000 a bin)."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20_000)
    truth = (p.cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    assert expected_calibration_error(result_of(p, truth)) < 0.015
    assert expected_calibration_error(result_of(p**3 / np.sum(p**3, axis=1, keepdims=True), truth)) > 0.1


def test_two_processes_give_what_one_gives(make_activity, map_over_processes):
    """The folds are independent of one another."""
    activity = make_activity(n_trials=30)
    folds = folds_of(activity)
    one = predict_probabilities(activity, "odor", make_decoder("lda"), folds)
    two = predict_probabilities(activity, "odor", make_decoder("lda"), folds, map=map_over_processes)
    xr.testing.assert_identical(one, two)


@pytest.mark.parametrize(
    ("estimator", "calibration", "message"),
    [
        (make_decoder("ridge"), None, "probabilities are of classes, and .* predicts numbers"),
        (make_decoder("lda"), "platt", "None or one of temperature, sigmoid, isotonic, got 'platt'"),
        (make_decoder("linear_svm"), None, "LinearSVC gives no probabilities"),
    ],
)
def test_what_cannot_give_probabilities_is_refused(make_activity, estimator, calibration, message):
    """Before anything is fitted."""
    activity = make_activity()
    with pytest.raises(SchemaError, match=message):
        predict_probabilities(activity, "odor", estimator, folds_of(activity), calibration=calibration)


def test_an_estimator_without_any_decision_is_refused(make_activity):
    """Labels alone cannot be calibrated."""

    class Silent(DecisionTreeClassifier):
        predict_proba = property()

    activity = make_activity()
    with pytest.raises(SchemaError, match="Silent gives neither probabilities nor decision values"):
        predict_probabilities(activity, "odor", Silent(), folds_of(activity), calibration="sigmoid")


def test_too_few_trials_to_calibrate_are_refused():
    """A class, or a group, cannot be on both sides of an inner fold."""
    with pytest.raises(SchemaError, match="a class has one training trial"):
        inner_splits(np.array([0, 0, 1]), None, 0)
    with pytest.raises(SchemaError, match="the training trials are one group"):
        inner_splits(np.array([0, 0, 1, 1]), np.zeros(4), 0)
    with pytest.raises(SchemaError, match="keep groups whole train without some class"):
        inner_splits(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0)


def test_scores_of_a_result_without_probabilities_are_refused(make_activity):
    """With the call that adds them; and bins are at least one."""
    activity = make_activity()
    result = cross_validate(activity, "odor", make_decoder("lda"), folds_of(activity))
    for score in (brier_score, expected_calibration_error, reliability_curve):
        with pytest.raises(SchemaError, match="has no 'probability'. Add it by with_probabilities"):
            score(result)
    with pytest.raises(SchemaError, match="n_bins is at least 1, got 0"):
        reliability_curve(result_of([[1.0, 0.0]], [0]), n_bins=0)


def test_a_pipeline_of_any_estimator_with_probabilities_is_taken(make_activity):
    """Not only decoders of the table."""
    activity = make_activity()
    p = predict_probabilities(activity, "odor", make_pipeline(LogisticRegression()), folds_of(activity))
    assert_allclose(p.max("fold").sum("label"), 1.0)


def test_a_score_of_probabilities_is_that_of_the_calibrated_ones(make_activity):
    """Calibration changes the log-loss, so score and probabilities stay of one kind; a null of the old ones goes."""
    activity = make_activity(n_trials=60, n_odors=3, strength=0.5)
    folds, decoder = folds_of(activity), make_decoder("naive_bayes")
    result = cross_validate(activity, "odor", decoder, folds, metric="log_loss").assign_attrs(p_value=0.5)
    same = with_probabilities(result, activity, decoder, folds)
    xr.testing.assert_allclose(same[["score", "probability"]], result[["score", "probability"]])
    calibrated = with_probabilities(result, activity, decoder, folds, calibration="temperature")
    p, truth = calibrated["probability"].max("fold").values, calibrated["target"].values
    assert_allclose(calibrated.attrs["score_mean"], -np.mean(np.log(p[np.arange(60), truth])))
    assert calibrated.attrs["score_mean"] != result.attrs["score_mean"]
    assert "p_value" not in calibrated.attrs and "p_value" in result.attrs
