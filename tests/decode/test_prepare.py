"""One decoding problem, checked once: metrics of probabilities end to end, and every input that is refused."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import LeakageError, SchemaError, UnknownName
from mitral.datasets.folds import TEST, folds_from_splitter, make_folds
from mitral.datasets.preprocess import Flatten, ZScore
from mitral.decode import metrics
from mitral.decode.calibration import predict_probabilities, with_probabilities
from mitral.decode.decoders import make_decoder
from mitral.decode.open_set import cross_validate_open_set
from mitral.decode.prepare import prepare
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate, held_out, pooled_score
from mitral.decode.trajectories import make_reducer


@pytest.fixture
def problem(make_activity):
    """Activity of three odors, a decoder with probabilities, and folds."""
    activity = make_activity(n_trials=45, n_odors=3, strength=0.5)
    return activity, make_decoder("lda"), make_folds(activity, target="odor", n_folds=5, random_state=0)


def with_column(activity, **columns):
    """The activity with further trial columns."""
    return activity.assign_coords({name: ("trial", np.asarray(values)) for name, values in columns.items()})


def test_probabilities_and_their_score_are_those_of_a_loop_by_hand(problem):
    """Fitted on training trials, asked of test trials; the score pools all of these."""
    activity, decoder, folds = problem
    result = cross_validate(activity, "odor", decoder, folds, metric="auroc")
    X, y, p = activity.values.reshape(45, -1), activity["odor"].values, np.full((45, 3), np.nan)
    for fold, side in enumerate(folds.values):
        fitted = clone(decoder).fit(X[side == 1], y[side == 1])
        p[side == 2] = fitted.predict_proba(X[side == 2])
        assert_allclose(result["probability"].values[fold, side == 2], p[side == 2])
        assert np.isnan(result["probability"].values[fold, side != 2]).all()
        assert_allclose(result["score"][fold], roc_auc_score(y[side == 2], p[side == 2], multi_class="ovr"))
    assert result["probability"].dims == ("fold", "trial", "label")
    assert_allclose(result.attrs["score_mean"], roc_auc_score(y, p, multi_class="ovr"))
    assert result.attrs["chance"] == 0.5


def test_predictions_are_the_same_whatever_the_metric(problem):
    """A metric of probabilities adds them, and leaves predictions and confusion as they were."""
    plain, scored = (cross_validate(*problem[:1], "odor", *problem[1:], metric=metric) for metric in (None, "log_loss"))
    for name in ("prediction", "confusion", "target"):
        assert_array_equal(plain[name], scored[name])
    assert "probability" not in plain


def test_probabilities_are_those_that_the_other_calls_give(problem):
    """cross_validate, predict_probabilities and with_probabilities share their preparation and fits."""
    activity, decoder, folds = problem
    result = cross_validate(activity, "odor", decoder, folds, metric="brier_score")
    assert_array_equal(predict_probabilities(activity, "odor", decoder, folds), result["probability"])
    later = with_probabilities(cross_validate(activity, "odor", decoder, folds), activity, decoder, folds)
    assert_array_equal(later["probability"], result["probability"])
    assert_allclose(later.attrs["brier_score"], result.attrs["score_mean"])


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_what_is_held_out_is_what_is_scored(problem, metric):
    """The arrays that nulls score are those of the result."""
    activity, decoder, folds = problem
    problem = prepare(activity, "odor", decoder, folds, metric=metric)
    got = held_out(problem.features, problem.truth, decoder, problem.sides, metric)
    result = cross_validate(activity, "odor", decoder, folds, metric=metric)
    assert_array_equal(got, result["probability" if metric == "log_loss" else "prediction"])
    assert_allclose(
        pooled_score(problem.score_of, problem.truth, got, problem.sides == TEST), result.attrs["score_mean"]
    )


def test_two_workers_give_the_probabilities_of_one(problem, map_over_processes):
    """Folds are independent."""
    activity, decoder, folds = problem
    maps = (map, map_over_processes)
    one, two = (cross_validate(activity, "odor", decoder, folds, metric="log_loss", map=each) for each in maps)
    xr.testing.assert_identical(one, two)


def test_a_label_without_training_trials_has_probability_zero(problem):
    """Leave-one-odor-out: its log-loss is that of an impossible class."""
    activity, decoder, _ = problem
    sides = np.array([np.where(activity["odor"] == name, 2, 1) for name in np.unique(activity["odor"])], np.int8)
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": activity["trial"], "fold": range(3)})
    result = cross_validate(activity, "odor", decoder, folds, metric="log_loss")
    p = result["probability"].max("fold").values
    assert_allclose(p[np.arange(45), result["target"].values], 0.0)
    assert_allclose(result.attrs["score_mean"], -np.log(np.finfo(float).eps))


@pytest.mark.parametrize("metric", metrics.PROBABILITY_METRICS)
@pytest.mark.parametrize("name", ["linear_svm", "kernel_svm", "ridge_classifier", "nearest_centroid"])
def test_a_decoder_without_probabilities_is_refused_where_they_are_needed(problem, name, metric):
    """With what needs them, who lacks them, and two ways out."""
    activity, _, folds = problem
    said = f"metric '{metric}' needs probabilities, and .* gives no probabilities. Use .*'lda'.* or .*Calibrated"
    with pytest.raises(SchemaError, match=said):
        cross_validate(activity, "odor", make_decoder(name), folds, metric=metric)


def test_a_class_metric_works_without_probabilities(problem):
    """Only where they are needed."""
    activity, _, folds = problem
    result = cross_validate(activity, "odor", make_decoder("linear_svm"), folds, metric="accuracy")
    assert result.attrs["n_trials"] == 45 and "probability" not in result


@pytest.mark.parametrize(("metric", "decoder", "kind"), [("log_loss", "ridge", "numbers"), ("r2", "lda", "classes")])
def test_a_metric_of_another_kind_is_refused(problem, metric, decoder, kind):
    """All valid ones are listed, of whichever kind."""
    target = "odor" if decoder == "lda" else "dose"
    with pytest.raises(UnknownName, match=f"metric '{metric}' does not score {kind}. (Valid|Nearest): "):
        cross_validate(problem[0], target, make_decoder(decoder), problem[2], metric=metric)


@pytest.mark.parametrize(("said", "meant"), [("aurocc", "auroc"), ("logloss", "log_loss"), ("top_3_accurac", "top_3")])
def test_a_misspelt_metric_is_answered_with_the_nearest(problem, said, meant):
    """Before anything is fitted."""
    with pytest.raises(UnknownName, match=f"metric '{said}' does not score classes. Nearest: .*'{meant}"):
        cross_validate(*problem[:1], "odor", *problem[1:], metric=said)


def test_steps_between_classes_need_an_order(problem):
    """Words have none that is meant; numbers have."""
    activity, decoder, folds = problem
    with pytest.raises(SchemaError, match=r"'mean_class_error' counts steps .* 'odor' holds words \('odor 0'\)"):
        cross_validate(activity, "odor", decoder, folds, metric="mean_class_error")
    level = with_column(activity, level=np.unique(activity["odor"], return_inverse=True)[1] - 3.0)
    result = cross_validate(level, "level", decoder, folds, metric="mean_class_error")
    said = result["prediction"].max("fold")
    assert_allclose(result.attrs["score_mean"], np.abs(said - result["target"]).mean())
    assert_allclose(result.attrs["chance"], 2 / 3)


@pytest.mark.parametrize(
    ("metric", "decoder", "target"),
    [("r2", "ridge", "dose"), ("rank_correlation", "ridge", "dose"), ("auroc", "lda", "odor")],
)
def test_a_metric_that_is_undefined_on_the_tested_trials_is_refused(problem, metric, decoder, target):
    """R², ranks and AUROC need test trials that differ; the message names the metric, the target and another metric."""
    activity = with_column(problem[0], dose=np.where(problem[0]["odor"] == "odor 0", 1.0, np.arange(45)))
    sides = np.where(activity["odor"] == "odor 0", 2, 1).astype(np.int8)[None]
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": activity["trial"], "fold": [0]})
    with pytest.raises(SchemaError, match=f"'{metric}' is undefined, as target '{target}' is the same in all"):
        cross_validate(activity, target, make_decoder(decoder), folds, metric=metric)


def test_a_fold_that_trains_on_one_value_is_refused(problem):
    """For numbers as for classes."""
    activity = with_column(problem[0], dose=[0.0] * 30 + [1.0] * 15, kind=["a"] * 30 + ["b"] * 15)
    folds = folds_from_splitter(activity, KFold(3), target="dose")
    with pytest.raises(SchemaError, match="fold 2 trains on one value only"):
        cross_validate(activity, "dose", Ridge(), folds)
    with pytest.raises(SchemaError, match="fold 2 trains on one class only"):
        cross_validate(activity, "kind", make_decoder("lda"), folds)


def calls(activity, target, estimator, folds):
    """Every scorer of this preparation, ready to be called."""
    return {
        "cross_validate": lambda: cross_validate(activity, target, estimator, folds),
        "predict_probabilities": lambda: predict_probabilities(activity, target, estimator, folds),
        "open_set": lambda: cross_validate_open_set(activity, target, estimator, folds, unknown=["a"], random_state=0),
    }


SCORERS = ("cross_validate", "predict_probabilities", "open_set")


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize(
    ("target", "values", "said"),
    [
        ("smel", ["a", "b", "c"] * 15, "no trial column 'smel'. Nearest: 'smell'"),
        ("smell", ["a"] * 45, "'smell' is 'a' in all 45 trials"),
        ("smell", ["", "b", "c"] + ["a", "b", "c"] * 14, r"'smell' is missing in 1 trials \(100\)"),
        ("smell", [np.nan] * 2 + [1.0, 2.0, 3.0] * 14 + [1.0], r"'smell' is missing in 2 trials \(100, 101\)"),
    ],
    ids=["unknown", "constant", "empty", "NaN"],
)
def test_every_scorer_refuses_a_bad_target(problem, scorer, target, values, said):
    """With the nearest column, or the trials."""
    activity = with_column(problem[0], smell=values)
    with pytest.raises(SchemaError, match=said):
        calls(activity, target, make_decoder("lda"), problem[2])[scorer]()


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_refuses_folds_leaks_and_nan(problem, scorer):
    """Folds of other trials; a trajectory fitted on test trials; bins without a number."""
    activity, decoder, folds = problem
    with pytest.raises(SchemaError, match="their ids differ"):
        calls(activity.isel(trial=slice(30)), "odor", decoder, folds)[scorer]()
    with pytest.raises(SchemaError, match=r"expected a DataArray on \(fold, trial\), got ndarray"):
        calls(activity, "odor", decoder, folds.values)[scorer]()
    with pytest.raises(LeakageError, match="was fitted on 45 of the trials"):
        calls(reduce(activity, make_reducer("pca")), "odor", decoder, folds)[scorer]()
    activity.values[4, 0, 0] = np.nan
    with pytest.raises(SchemaError, match="1 trials hold NaN or infinity .*: trial 104"):
        calls(activity, "odor", decoder, folds)[scorer]()


def test_a_log_loss_is_that_of_sklearn_end_to_end(problem):
    """Over all folds together."""
    activity, decoder, folds = problem
    result = cross_validate(activity, "odor", decoder, folds, metric="log_loss")
    expected = log_loss(result["target"].values, result["probability"].max("fold").values)
    assert_allclose(result.attrs["score_mean"], expected)
    assert result.attrs["score_mean"] < result.attrs["chance"]


def test_the_way_out_of_missing_probabilities_works(problem):
    """As the message says: a calibration around the decoder, or around a chain that begins on three axes."""
    activity, _, folds = problem
    chain = make_pipeline(ZScore(), Flatten(), make_decoder("linear_svm"))
    for decoder in (make_decoder("linear_svm"), chain):
        result = cross_validate(activity, "odor", CalibratedClassifierCV(decoder, cv=3), folds, metric="auroc")
        assert result.attrs["score_mean"] > 0.6


def test_a_reward_size_is_a_number_of_each_trial(make_activity):
    """Three sizes that one unit grows with: variance, order and error, by any regressor."""
    activity = make_activity(n_trials=60)
    size = np.resize([1.0, 3.0, 9.0], 60)
    activity = with_column(activity, reward_ul=size)
    activity.values[:, :, 2] += size[:, None]
    folds = make_folds(activity, target="reward_ul", n_folds=5, random_state=0)
    scores = {
        metric: cross_validate(activity, "reward_ul", make_decoder("ridge"), folds, metric=metric).attrs
        for metric in metrics.VALUE_METRICS
    }
    assert scores["r2"]["score_mean"] > 0.9 and scores["rank_correlation"]["score_mean"] > 0.8
    assert scores["mean_absolute_error"]["score_mean"] < 1 < scores["mean_absolute_error"]["chance"]
