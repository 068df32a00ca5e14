"""Cross-validation: the predictions of a loop written by hand, on any number of workers, and what is refused."""

import dask.array
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score
from sklearn.model_selection import KFold, RepeatedStratifiedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mitral.datasets.errors import LeakageError, SchemaError, UnknownName
from mitral.datasets.folds import TEST, TRAIN, folds_from_splitter, make_folds
from mitral.datasets.preprocess import Flatten, GaussianSmooth, ZScore
from mitral.decode.decoders import make_decoder
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate, describe
from mitral.decode.trajectories import make_reducer

CLASSIFIERS = {
    "lda": make_decoder("lda"),
    "scaled before it is flattened": make_pipeline(ZScore(), Flatten(), make_decoder("nearest_centroid")),
    "nested pipelines": make_pipeline(make_pipeline(GaussianSmooth(1.0)), Flatten(), make_decoder("ridge_classifier")),
}


def backwards(function, items):
    """A map that works from the last item to the first."""
    return list(reversed([function(item) for item in reversed(list(items))]))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_predictions_are_those_of_a_loop_by_hand(make_activity, name):
    """Fit on the training trials, predict the test trials, nothing else: the loop that anyone would write."""
    activity, estimator = make_activity(n_odors=3, n_trials=45, strength=0.5), CLASSIFIERS[name]
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    result = cross_validate(activity, "odor", estimator, folds)
    values, odor = activity.values, activity["odor"].values
    if name == "lda":
        values = values.reshape(45, -1)
    for fold, side in enumerate(folds.values):
        said = clone(estimator).fit(values[side == 1], odor[side == 1]).predict(values[side == 2])
        code = result["prediction"].values[fold]
        assert_array_equal(result["label"].values[code[side == 2]], said)
        assert np.all(code[side != 2] == -1)
        assert_allclose(result["score"].values[fold], balanced_accuracy_score(odor[side == 2], said))


def test_values_are_those_of_a_loop_by_hand(make_activity):
    """A number is decoded by a regressor; trials that a fold does not test are NaN."""
    activity = make_activity()
    folds = folds_from_splitter(activity, KFold(4), target="dose")
    result = cross_validate(activity, "dose", Ridge(2.0), folds)
    values, dose = activity.values.reshape(40, -1), activity["dose"].values
    said = np.full((4, 40), np.nan)
    for row, (train, test) in zip(said, KFold(4).split(values), strict=True):
        row[test] = Ridge(2.0).fit(values[train], dose[train]).predict(values[test])
    assert_allclose(result["prediction"].values, said)
    assert_allclose(result.attrs["score_mean"], r2_score(dose, np.nanmax(said, axis=0)))
    assert result.attrs["metric"] == "r2" and "label" not in result.coords


def test_two_workers_equal_one(make_activity, map_over_processes):
    """The number of processes changes no number."""
    activity, decoder = make_activity(strength=0.5), make_decoder("linear_svm")
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    one = cross_validate(activity, "odor", decoder, folds)
    xr.testing.assert_identical(cross_validate(activity, "odor", decoder, folds, map=map_over_processes), one)


def test_the_order_of_work_changes_nothing(make_activity):
    """Folds may be fitted in any order."""
    activity, decoder = make_activity(), make_decoder("linear_svm")
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    one = cross_validate(activity, "odor", decoder, folds)
    xr.testing.assert_identical(cross_validate(activity, "odor", decoder, folds, map=backwards), one)


def test_the_estimator_that_was_given_stays_unfitted(make_activity):
    """It is cloned for each fold, so that nothing of one fold reaches another."""
    activity, decoder = make_activity(), StandardScaler()
    estimator = make_pipeline(decoder, Ridge())
    cross_validate(activity, "dose", estimator, folds_from_splitter(activity, KFold(2), target="dose"))
    assert not hasattr(decoder, "mean_")


def test_the_score_is_over_all_test_predictions_together(make_activity):
    """``score_mean`` pools the folds; it is not the mean of their scores, which small folds would distort."""
    activity = make_activity(n_trials=42, strength=0.3)
    folds = folds_from_splitter(activity, KFold(5, shuffle=True, random_state=0), target="odor")
    result = cross_validate(activity, "odor", make_decoder("lda"), folds, metric="accuracy")
    said = result["prediction"].max("fold").values
    assert_allclose(result.attrs["score_mean"], accuracy_score(result["target"].values, said))


def test_trials_tested_twice_count_twice(make_activity):
    """Repeated folds test each trial in every repeat; the confusion holds all of these tests."""
    activity = make_activity()
    splitter = RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=0)
    folds = folds_from_splitter(activity, splitter, target="odor")
    result = cross_validate(activity, "odor", make_decoder("lda"), folds)
    assert result["confusion"].sum() == 3 * 40
    assert result.attrs["n_trials"] == 40


def test_unused_trials_reach_neither_fit_nor_score(make_activity):
    """A trial that is 0 in all folds may hold anything, even NaN."""
    activity = make_activity()
    folds = folds_from_splitter(activity, ShuffleSplit(1, test_size=10, train_size=20, random_state=0), target="odor")
    holed = activity.copy()
    holed.values[folds.values[0] == 0] = np.nan
    result = cross_validate(holed, "odor", make_decoder("lda"), folds)
    assert_array_equal(result["prediction"], cross_validate(activity, "odor", make_decoder("lda"), folds)["prediction"])
    assert result.attrs["n_trials"] == 10


def test_the_result_says_what_was_decoded_and_carries_the_trials(make_activity):
    """Counts, words and trial columns are those of the activity."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    result = cross_validate(activity, "odor", make_decoder("lda"), folds)
    expected = {"n_trials": 40, "n_units": 6, "n_animals": 1, "n_sessions": 1, "chance": 0.5, "session": "s"}
    assert {name: result.attrs[name] for name in expected} == expected
    assert result.attrs["folds"] == folds.attrs["folds"]
    assert "LinearDiscriminantAnalysis(shrinkage='auto', solver='lsqr')" in result.attrs["estimator"]
    assert_array_equal(result["dose"], activity["dose"])
    assert_array_equal(result["label"].values[result["target"].values], activity["odor"].values)
    assert_array_equal(result["group"], activity["block"])


@pytest.mark.parametrize("labels", ["texts", "numbers", "truths"])
def test_labels_may_be_texts_numbers_or_truths(make_activity, labels):
    """Only the order of trials by class matters to a decoder, not how classes are called."""
    activity = make_activity(strength=0.5)
    code = np.unique(activity["odor"], return_inverse=True)[1]
    named = {"texts": np.array(["lime", "musk"])[code], "numbers": np.array([7, 9])[code], "truths": code == 1}[labels]
    activity = activity.assign_coords(smell=("trial", named))
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "smell", make_decoder("lda"), folds)
    assert_array_equal(result["prediction"], cross_validate(activity, "odor", make_decoder("lda"), folds)["prediction"])
    assert result["label"].values.tolist() == np.unique(named).tolist()


def test_a_description_shows_parameters_that_differ_from_their_defaults():
    """One line, that says what was chosen."""
    assert describe(make_pipeline(StandardScaler(), Ridge(alpha=2.0))) == (
        "Pipeline(steps=[('standardscaler', StandardScaler()), ('ridge', Ridge(alpha=2.0))])"
    )


def test_a_trajectory_fitted_on_test_trials_is_refused(make_activity):
    """The message names a trial and how to do it right."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    trajectory = reduce(activity, make_reducer("pca"))
    with pytest.raises(LeakageError, match=r"fitted on 40 of the trials .*first: trial 100.*make_pipeline\(reducer"):
        cross_validate(trajectory, "odor", make_decoder("lda"), folds)


def test_a_trajectory_fitted_on_training_trials_is_scored(make_activity):
    """The same as the reducer inside the estimator."""
    activity = make_activity(strength=1.0)
    fold = make_folds(activity, target="odor", n_folds=4, random_state=0).isel(fold=[2])
    trajectory = reduce(activity, make_reducer("pca"), fit_on=fold.values[0] == TRAIN)
    outside = cross_validate(trajectory, "odor", make_decoder("lda"), fold)
    inside = cross_validate(activity, "odor", make_pipeline(make_reducer("pca"), Flatten(), make_decoder("lda")), fold)
    assert_array_equal(outside["prediction"], inside["prediction"])


@pytest.mark.parametrize(
    "estimator",
    [
        make_decoder("lda"),
        make_pipeline(make_reducer("pca"), Flatten(), make_decoder("lda")),
        make_pipeline(GaussianSmooth(1.0), Flatten(), make_decoder("lda")),
    ],
    ids=["decoder", "reducer first", "behind a step that keeps NaN"],
)
def test_trials_with_nan_are_named(make_activity, estimator):
    """Ids, not positions; whichever step it is that cannot take them."""
    activity = make_activity()
    activity.values[[3, 7], 0, 0] = np.nan, np.inf
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match="2 trials hold NaN or infinity .*: trial 103, 107. Leave them out"):
        cross_validate(activity, "odor", estimator, folds)


def test_nan_is_handed_to_a_step_that_fills_it(make_activity):
    """An imputer inside the fold is the estimator's own affair."""
    activity = make_activity()
    activity.values[3, 0, 0] = np.nan
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    filled = make_pipeline(SimpleImputer(), make_decoder("lda"))
    assert cross_validate(activity, "odor", filled, folds).attrs["n_trials"] == 40


def test_folds_of_another_activity_are_refused(make_activity):
    """Trial ids must agree, not only their number."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match="their ids differ. Make the folds from this very activity"):
        cross_validate(activity.isel(trial=slice(None, None, -1)), "odor", make_decoder("lda"), folds)


@pytest.mark.parametrize(
    ("values", "decoder", "said"),
    [
        (["lime"] * 40, "lda", "lime.* in all 40 trials, so there is nothing to decode"),
        ([2.0] * 40, "ridge", "in all 40 trials, so there is nothing to decode"),
        (np.linspace(0, 1, 40), "lda", "takes 40 values in 40 trials.* a regressor"),
        (["lime", "musk"] * 20, "ridge", "lime.*a regressor needs numbers. Use a classifier"),
        ([np.nan] + [1.0] * 39, "ridge", r"'smell' is missing in 1 trials \(100\)"),
        ([""] + ["lime"] * 39, "lda", r"'smell' is missing in 1 trials \(100\)"),
    ],
    ids=["one class", "a constant", "numbers for classes", "classes for numbers", "NaN", "no word"],
)
def test_a_target_that_cannot_be_decoded_is_refused(make_activity, values, decoder, said):
    """The message says what is wrong with the target, and what to do."""
    activity = make_activity().assign_coords(smell=("trial", values))
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match=said):
        cross_validate(activity, "smell", make_decoder(decoder), folds)


def test_an_unknown_target_lists_the_nearest(make_activity):
    """A misspelt column is answered with the right one."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match="no trial column 'odour'. Nearest: 'odor'"):
        cross_validate(activity, "odour", make_decoder("lda"), folds)


def test_a_metric_of_the_other_kind_is_refused(make_activity):
    """R² does not score classes."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(UnknownName, match="metric 'r2' does not score classes"):
        cross_validate(activity, "odor", make_decoder("lda"), folds, metric="r2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"averaged_over_trials": True}, "averaged over trials: one trial per condition"),
        ({"population": "pseudo-population"}, "correlations between them are lost"),
    ],
)
def test_what_lessens_a_score_is_said(make_activity, change, said):
    """Averaged and pooled recordings carry their warning."""
    activity = make_activity().assign_attrs(change)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", DummyClassifier(), folds)
    assert [said in warning for warning in result.attrs["warnings"]] == [True]


def test_unequal_classes_are_said(make_activity):
    """With their smallest and largest number of trials."""
    activity = make_activity().assign_coords(smell=("trial", ["lime"] * 10 + ["musk"] * 30))
    activity = activity.isel(trial=np.random.default_rng(0).permutation(40))
    folds = make_folds(activity, target="smell", n_folds=4, random_state=0)
    result = cross_validate(activity, "smell", DummyClassifier(), folds)
    (said,) = result.attrs["warnings"]
    assert said.startswith("Classes are unequal (10 to 30 trials)")


@pytest.mark.parametrize(("group", "warns"), [(None, True), ("block", False)])
def test_labels_in_runs_are_said_unless_blocks_stay_whole(make_activity, group, warns):
    """Slow drift is decoded where labels come in blocks and trials are split one by one."""
    activity = make_activity().assign_coords(smell=("trial", np.repeat(["lime", "musk"] * 4, 5)))
    activity = activity.assign_coords(block=("trial", np.arange(40) // 5 // 2))
    folds = make_folds(activity, target="smell", n_folds=4, random_state=0, group=group)
    result = cross_validate(activity, "smell", DummyClassifier(), folds)
    assert any("Labels come in runs" in warning for warning in result.attrs["warnings"]) is warns


def test_labels_in_random_order_give_no_warning(make_activity):
    """Fewer than one in a hundred random orders is called a run (none of 200 here)."""
    for seed in range(200):
        activity = make_activity(n_units=1, n_times=1, seed=seed)
        folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
        assert cross_validate(activity, "odor", DummyClassifier(), folds).attrs["warnings"] == []


def test_a_lazy_activity_gives_the_same(make_activity, no_compute):
    """Folds read trial columns only; the bins of a lazy activity are loaded when they are decoded."""
    activity, decoder = make_activity(strength=0.5), make_decoder("lda")
    lazy = activity.copy(data=dask.array.from_array(activity.values, chunks=(10, 2, 6)))
    with no_compute():
        folds = make_folds(lazy, target="odor", n_folds=4, random_state=0)
    lazily = cross_validate(lazy, "odor", decoder, folds)
    xr.testing.assert_identical(lazily, cross_validate(activity, "odor", decoder, folds))


def test_every_tested_trial_has_a_prediction_and_no_other(make_activity):
    """-1 marks exactly the cells that are not tested."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", make_decoder("lda"), folds)
    assert_array_equal(result["prediction"].values >= 0, folds.values == TEST)
