"""Decoding of numbers over time: whole trials held out, scores by formula, cutting, refusals."""

import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import LeakageError, SchemaError
from mitral.datasets.folds import folds_from_splitter
from mitral.datasets.preprocess import GaussianSmooth
from mitral.decode.continuous import cross_validate_continuous, cut_at
from mitral.decode.decoders import DECODERS_OVER_TIME, make_decoder


@pytest.fixture
def walk(make_activity):
    """Counts of six units that follow a binned walk, its target, and three folds of whole trials."""
    rng = np.random.default_rng(0)
    activity = make_activity(n_trials=9, n_times=80)
    y = np.clip(np.cumsum(rng.integers(-1, 2, (9, 80)), axis=1) + 4, 0, 8)
    rates = 0.2 + 4 * np.exp(-0.5 * (np.arange(9)[:, None] - np.linspace(0, 8, 6)) ** 2)
    activity = activity.copy(data=rng.poisson(rates[y]))
    coords = {"trial": activity["trial"], "time": activity["time"]}
    target = xr.DataArray(y.astype(float), dims=("trial", "time"), coords=coords, name="position")
    target.attrs["units"] = "cm"
    return activity, target, folds_from_splitter(activity, KFold(3), target="block")


def test_scores_are_those_of_whole_held_out_trials(walk):
    """By a loop over folds with scikit-learn: bins of test trials only, fitted on bins of training trials only."""
    activity, target, folds = walk
    result = cross_validate_continuous(activity, target, Ridge(1.0), folds)
    for fold in range(3):
        test = folds.values[fold] == 2
        model = Ridge(1.0).fit(activity.values[~test].reshape(-1, 6), target.values[~test].ravel())
        said, truth = model.predict(activity.values[test].reshape(-1, 6)), target.values[test].ravel()
        assert_allclose(result["prediction"].values[fold][test].ravel(), said)
        assert np.isnan(result["prediction"].values[fold][~test]).all()
        scores = {
            "score": r2_score(truth, said),
            "correlation": np.corrcoef(truth, said)[0, 1],
            "mean_absolute_error": np.abs(truth - said).mean(),
            "median_absolute_error": np.median(np.abs(truth - said)),
        }
        for name, expected in scores.items():
            assert_allclose(result[name].values[fold], expected, err_msg=name)
    assert_allclose(result.attrs["score_mean"], result["score"].mean())
    assert result.attrs["target"] == "position" and result.attrs["target_units"] == "cm"


@pytest.mark.parametrize("name", [*DECODERS_OVER_TIME, "poisson_bayes", "nearest_neighbours", "reduced_rank"])
def test_decoders_over_time_and_over_bins_find_the_position(walk, name):
    """Three axes, or a bin a sample, a number or a class that is one: more than half of the variance."""
    result = cross_validate_continuous(*walk[:2], make_decoder(name), walk[2])
    assert result.attrs["score_mean"] > 0.5


@pytest.mark.parametrize("name", [*DECODERS_OVER_TIME, "poisson_bayes"])
def test_a_target_of_other_trials_is_not_found(walk, name):
    """Activity of trial i with the target of trial i + 1: no held-out variance is explained."""
    activity, target, folds = walk
    shifted = target.copy(data=np.roll(target.values, 1, axis=0))
    assert cross_validate_continuous(activity, shifted, make_decoder(name), folds).attrs["score_mean"] < 0.1


def test_test_trials_never_reach_the_fit(walk):
    """Absurd activity and targets in the test trials leave every other trial's decoder as it was."""
    activity, target, folds = walk
    only_first = folds.isel(fold=[0])
    tested = only_first.values[0] == 2
    poisoned = activity.copy(data=activity.values.copy())
    poisoned.values[tested, 40:] = 10**6
    wrong = target.copy(data=np.where(tested[:, None], target.values + 1000, target.values))
    for name in ("wiener", "kalman", "state_space_position", "ridge"):
        clean = cross_validate_continuous(activity, target, make_decoder(name), only_first)
        dirty = cross_validate_continuous(poisoned, wrong, make_decoder(name), only_first)
        assert_array_equal(clean["prediction"].values[0, tested, :40], dirty["prediction"].values[0, tested, :40])


def test_several_outputs_are_scored_together(walk):
    """R² over all outputs, errors as Euclidean distances, the mean of the correlations."""
    activity, target, folds = walk
    both = xr.concat([target, target[:, ::-1].assign_coords(time=target["time"])], dim="output")
    both = both.transpose("trial", "time", "output").assign_coords(output=["x", "y"])
    result = cross_validate_continuous(activity, both, make_decoder("kalman"), folds)
    test = folds.values[0] == 2
    truth, said = both.values[test].reshape(-1, 2), result["prediction"].values[0][test].reshape(-1, 2)
    spread = np.sum((truth - truth.mean(axis=0)) ** 2)
    distance = np.linalg.norm(truth - said, axis=1)
    assert_allclose(result["score"].values[0], 1 - np.sum(distance**2) / spread)
    assert_allclose(result["median_absolute_error"].values[0], np.median(distance))
    expected = np.mean([np.corrcoef(truth[:, k], said[:, k])[0, 1] for k in range(2)])
    assert_allclose(result["correlation"].values[0], expected)
    assert result["output"].values.tolist() == ["x", "y"]


@pytest.mark.parametrize("name", ["ridge", "kalman", "wiener"])
def test_absent_bins_and_unknown_targets_are_left_out(walk, name):
    """Trials of unequal length, NaN at their end, and a target that is not always known."""
    activity, target, folds = walk
    activity = activity.astype(float)
    activity[0, 60:] = np.nan
    target[1, :10] = np.nan
    result = cross_validate_continuous(activity, target, make_decoder(name), folds)
    said = result["prediction"].values[0]
    assert np.isnan(said[0, 60:]).all() and np.isfinite(said[0, :60]).all() and np.isfinite(said[1]).all()
    known = np.isfinite(said) & np.isfinite(target.values)
    assert_allclose(
        result["mean_absolute_error"].values[0], np.abs(said - target.values)[known].mean()
    )


def test_a_fold_whose_target_is_constant_has_no_r2_and_says_so(walk):
    """The mean is over the other folds; attributes stay JSON."""
    activity, target, folds = walk
    still = target.where((folds[0] == 1).values[:, None], 3.0)
    result = cross_validate_continuous(activity, still, make_decoder("ridge"), folds)
    assert np.isnan(result["score"].values).tolist() == [True, False, False]
    assert_allclose(result.attrs["score_mean"], result["score"].values[1:].mean())
    assert "No score and no correlation where target or prediction is constant" in result.attrs["warnings"][0]
    json.dumps(result.attrs, allow_nan=False)


def test_a_pipeline_on_three_axes_is_handed_three_axes(walk):
    """Smoothing over time, then a filter."""
    activity, target, folds = walk
    chain = make_pipeline(GaussianSmooth(sd_bins=1.0), make_decoder("wiener", n_past=1))
    assert cross_validate_continuous(activity, target, chain, folds).attrs["score_mean"] > 0.5


def test_two_processes_give_what_one_gives(walk, map_over_processes):
    """The folds are independent of one another."""
    one = cross_validate_continuous(*walk[:2], make_decoder("kalman"), walk[2])
    two = cross_validate_continuous(*walk[:2], make_decoder("kalman"), walk[2], map=map_over_processes)
    xr.testing.assert_identical(one, two)


def long_trial(make_activity):
    """One trial of 50 bins and its target, the bin's number."""
    activity = make_activity(n_trials=1, n_times=50, n_odors=1)
    target = activity.isel(unit=0, drop=True).copy(data=np.arange(50.0)[None]).rename("position")
    return activity, target


def test_a_recording_is_cut_into_trials_that_hold_every_bin_once(make_activity):
    """Laps of unequal length: NaN fills the short ones, and the old time axis is kept by its starts."""
    activity, target = long_trial(make_activity)
    cut, cut_target = cut_at(activity, target, [0, 20, 45])
    assert cut.shape == (3, 25, 6)
    present = np.isfinite(cut.values).all(axis=2)
    assert present.sum(axis=1).tolist() == [20, 25, 5]
    assert_array_equal(cut.values[present], activity.values[0])
    assert_array_equal(cut_target.values[present], np.arange(50))
    assert np.isnan(cut_target.values[~present]).all()
    assert_allclose(cut["start_s"], [0.0, 2.0, 4.5], atol=1e-9)
    assert_allclose(cut["time"][:2], [0.05, 0.15])
    assert cut_target.name == "position"


@pytest.mark.parametrize("starts", [[1, 20], [0, 20, 20], [0, 50], [], [0.0, 20.0], 0])
def test_starts_that_do_not_rise_inside_the_recording_are_refused(make_activity, starts):
    """The first bin belongs to the first trial; no trial is empty."""
    starts = starts if isinstance(starts, list) else [[0]]
    with pytest.raises(SchemaError, match="starts are whole numbers of bins that rise from 0 to below 50"):
        cut_at(*long_trial(make_activity), starts)


def test_a_cut_takes_one_long_trial(walk):
    """Trials that are there already are not joined."""
    with pytest.raises(SchemaError, match="takes one long trial, got 9"):
        cut_at(*walk[:2], [0, 10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.values, "is a DataArray on .trial, time. .* got ndarray"),
        (lambda y: y.rename(time="bin"), r"got \('trial', 'bin'\)"),
        (lambda y: y[:, :40], "target and activity differ in time .40 and 80 of them."),
        (lambda y: y.assign_coords(trial=y["trial"] + 1), "target and activity differ in trial"),
        (lambda y: y.astype(str), "a target over time holds numbers, got <U"),
        (lambda y: y * 0, "constant or nowhere known"),
        (lambda y: y * np.nan, "constant or nowhere known"),
        (lambda y: y.where(y["trial"] > 102), "fold 0 has 0 test bins where target and activity are known"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(walk, change, message):
    """Other trials or bins, words, constants, and folds with nothing to score."""
    activity, target, folds = walk
    with pytest.raises(SchemaError, match=message):
        cross_validate_continuous(activity, change(target), make_decoder("ridge"), folds)


def test_a_trajectory_of_test_trials_is_refused(walk):
    """Fitted for looking on all trials, it may not be scored on them."""
    activity, target, folds = walk
    looked_at = activity.assign_coords(in_fit=("trial", np.ones(9, bool)))
    with pytest.raises(LeakageError, match="was fitted on 9 of the trials"):
        cross_validate_continuous(looked_at, target, make_decoder("ridge"), folds)
