"""Open set: the rate of false alarms is the one that was set, unknown odors are found, and nothing leaks."""

import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from mitral.datasets import make_folds
from mitral.datasets.errors import SchemaError
from mitral.decode.calibration import inner_splits
from mitral.decode.decoders import make_decoder
from mitral.decode.open_set import SCORES, OpenSetClassifier, cross_validate_open_set, known_auroc


def odors(*, n_trials=80, n_units=8, n_known=4, n_unknown=2, strength=1.5, seed=0):
    """Known and unknown odors with a pattern each: X, y (n_known labels), and X of the unknown."""
    rng = np.random.default_rng(seed)
    pattern = strength * rng.normal(size=(n_known + n_unknown, n_units))
    y = np.arange(n_trials) % n_known
    novel = n_known + np.arange(n_trials) % n_unknown
    return rng.normal(size=(n_trials, n_units)) + pattern[y], y, rng.normal(size=(n_trials, n_units)) + pattern[novel]


@pytest.mark.parametrize("score", SCORES)
def test_the_rate_of_false_alarms_is_the_one_that_was_set(score):
    """New trials of known odors, 60 simulations: refused at the set rate, within three binomial standard errors.

    Held-out scores come from decoders of four fifths of the trials, which makes the test a little conservative, so the
    rate may be lower, but not by half.
    """
    rate, refused, n = 0.1, 0, 0
    for seed in range(60):
        X, y, _ = odors(n_trials=160, seed=seed)
        detector = OpenSetClassifier(make_decoder("pooled_lda"), score=score, false_alarm_rate=rate).fit(X[:80], y[:80])
        refused += np.sum(~detector.is_known(X[80:]))
        n += 80
    spread = np.sqrt(rate * (1 - rate) * (1 / n + 1 / (60 * 80)))  # of test trials, and of the thresholds
    assert 0.5 * rate < refused / n < rate + 3 * spread


@pytest.mark.parametrize("score", SCORES)
def test_unknown_odors_are_told_from_known_ones(score):
    """Patterns that are far apart: above 0.8 by either score."""
    X, y, novel = odors(n_trials=160, n_units=20)
    detector = OpenSetClassifier(make_decoder("pooled_lda"), score=score).fit(X[:80], y[:80])
    scores = np.concatenate([detector.score_samples(X[80:]), detector.score_samples(novel)])
    assert known_auroc(scores, np.repeat([False, True], [80, 160])) > 0.8
    assert np.mean(~detector.is_known(novel)) > 3 * np.mean(~detector.is_known(X[80:]))


def test_the_p_value_is_a_rank_among_held_out_scores():
    """From inner folds by a loop: one more than the number of held-out scores that are not above, over n + 1."""
    X, y, novel = odors()
    detector = OpenSetClassifier(make_decoder("lda"), random_state=3).fit(X, y)
    held_out = np.empty(80)
    for train, test in inner_splits(y, None, 3):
        held_out[test] = make_decoder("lda").fit(X[train], y[train]).predict_proba(X[test]).max(axis=1)
    scores = make_decoder("lda").fit(X, y).predict_proba(novel).max(axis=1)
    assert_allclose(detector.score_samples(novel), scores)
    expected = (1 + np.sum(held_out[None] <= scores[:, None], axis=1)) / 81
    assert_allclose(detector.p_value(novel), expected)
    assert_array_equal(detector.is_known(novel), expected > 0.05)


def test_the_mahalanobis_score_is_the_distance_to_the_nearest_class():
    """On the standardised features that the last step sees, one Ledoit-Wolf covariance of the residuals."""
    X, y, novel = odors()
    detector = OpenSetClassifier(make_decoder("pooled_lda"), score="mahalanobis").fit(X, y)
    Z, N = ((values - X.mean(axis=0)) / X.std(axis=0) for values in (X, novel))
    means = np.array([Z[y == k].mean(axis=0) for k in range(4)])
    inverse = np.linalg.inv(ledoit_wolf(Z - means[y], assume_centered=True)[0])
    expected = [-min(mahalanobis(x, m, inverse) ** 2 for m in means) for x in N]
    assert_allclose(detector.score_samples(novel), expected)


def test_the_nearest_known_class_is_that_of_the_decoder():
    """A refusal is said beside the class, not in place of it."""
    X, y, novel = odors()
    detector = OpenSetClassifier(make_decoder("lda")).fit(X, y)
    assert_array_equal(detector.predict(novel), make_decoder("lda").fit(X, y).predict(novel))


def test_auroc_is_that_of_sklearn():
    """With ties, by ranks."""
    rng = np.random.default_rng(0)
    scores, is_unknown = rng.integers(0, 10, 60).astype(float), rng.uniform(size=60) < 0.4
    assert_allclose(known_auroc(scores, is_unknown), roc_auc_score(~is_unknown, scores))


def five_odors(make_activity, **kwargs):
    """Activity of five odors, and folds."""
    activity = make_activity(n_trials=100, n_odors=5, **kwargs)
    return activity, make_folds(activity, target="odor", n_folds=4, random_state=0)


@pytest.mark.parametrize("score", SCORES)
def test_cross_validation_is_that_of_a_loop_over_folds(make_activity, score):
    """Trained on known training trials alone; all test trials are scored, known and unknown."""
    activity, folds = five_odors(make_activity, strength=1.0)
    unknown = ["odor 1", "odor 4"]
    decoder = make_decoder("pooled_lda")
    result = cross_validate_open_set(activity, "odor", decoder, folds, unknown=unknown, score=score, random_state=0)
    X, odor = activity.values.reshape(100, -1), activity["odor"].values
    truth, novel = np.unique(odor, return_inverse=True)[1], np.isin(odor, unknown)
    for fold, side in enumerate(folds.values):
        train, test = (side == 1) & ~novel, side == 2
        detector = OpenSetClassifier(decoder, score=score).fit(X[train], truth[train])
        assert_allclose(result["known_score"].values[fold, test], detector.score_samples(X[test]))
        assert_allclose(result["p_value"].values[fold, test], detector.p_value(X[test]))
        expected = roc_auc_score(~novel[test], detector.score_samples(X[test]))
        assert_allclose(result["score"].values[fold], expected)
        assert np.isnan(result["known_score"].values[fold, ~test]).all()
    assert_allclose(result.attrs["score_mean"], result["score"].mean())
    tested, p = folds.values == 2, result["p_value"].values
    refused = p[tested] <= 0.05
    known = np.broadcast_to(~novel, tested.shape)[tested]
    assert_allclose(result.attrs["false_alarms"], refused[known].mean())
    assert_allclose(result.attrs["detections"], refused[~known].mean())
    json.dumps(result.attrs, allow_nan=False)
    right = result["prediction"].values[tested] == np.broadcast_to(truth, tested.shape)[tested]
    assert_allclose(result.attrs["accuracy_of_accepted"], right[known & ~refused].mean())


def test_unknown_odors_that_are_nothing_special_are_at_chance(make_activity):
    """Noise: the mean AUROC over 20 simulations is 0.5 within four of its standard errors."""
    scores = []
    for seed in range(20):
        activity, folds = five_odors(make_activity, seed=seed)
        unknown = ["odor 0", "odor 2"]
        result = cross_validate_open_set(activity, "odor", make_decoder("lda"), folds, unknown=unknown, random_state=0)
        scores.append(result.attrs["score_mean"])
    assert abs(np.mean(scores) - 0.5) < 4 * np.std(scores, ddof=1) / np.sqrt(20)


def test_neither_test_trials_nor_unknown_odors_reach_the_threshold(make_activity):
    """Absurd activity in the training trials of unknown odors, and other known labels at test, change no score."""
    activity, folds = five_odors(make_activity, strength=1.0)
    folds = folds.isel(fold=[0])
    arguments = {"unknown": ["odor 1"], "random_state": 0}
    clean = cross_validate_open_set(activity, "odor", make_decoder("lda"), folds, **arguments)
    novel, train = activity["odor"].values == "odor 1", folds.values[0] == 1
    poisoned = activity.copy(data=np.where((novel & train)[:, None, None], 1e9, activity.values))
    labels = activity["odor"].values.copy()
    swap = ~train & ~novel
    labels[swap] = labels[swap][::-1]
    dirty = cross_validate_open_set(
        poisoned.assign_coords(odor=("trial", labels)), "odor", make_decoder("lda"), folds, **arguments
    )
    assert_array_equal(clean["p_value"], dirty["p_value"])


def test_groups_of_the_folds_stay_whole_in_the_inner_folds(make_activity):
    """Detectors of grouped folds are those fitted with the groups."""
    activity = make_activity(n_trials=100, n_odors=3, strength=1.0)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group="block")
    result = cross_validate_open_set(
        activity, "odor", make_decoder("lda"), folds, unknown=["odor 2"], random_state=0
    )
    X, truth = activity.values.reshape(100, -1), np.unique(activity["odor"], return_inverse=True)[1]
    train, test = (folds.values[0] == 1) & (truth != 2), folds.values[0] == 2
    detector = OpenSetClassifier(make_decoder("lda"))
    detector.fit(X[train], truth[train], activity["block"].values[train])
    assert_allclose(result["p_value"].values[0, test], detector.p_value(X[test]))


def test_two_processes_give_what_one_gives(make_activity, map_over_processes):
    """The folds are independent of one another."""
    activity, folds = five_odors(make_activity)
    one, two = (
        cross_validate_open_set(activity, "odor", make_decoder("lda"), folds, unknown=["odor 0"], random_state=0, map=m)
        for m in (map, map_over_processes)
    )
    xr.testing.assert_identical(one, two)


@pytest.mark.parametrize(
    ("estimator", "parameters", "message"),
    [
        (make_decoder("ridge"), {}, "an open set needs a classifier, got Pipeline"),
        (make_decoder("lda"), {"score": "energy"}, "score is posterior or mahalanobis, got 'energy'"),
        (make_decoder("linear_svm"), {}, "'posterior' needs probabilities, and LinearSVC gives none"),
        (make_decoder("lda"), {"false_alarm_rate": 0.0}, "share between 0 and 1, got 0.0"),
        (make_decoder("lda"), {"unknown": ["odor 9"]}, "'odor 9' is to be unknown, but is in no trial"),
        (make_decoder("lda"), {"unknown": []}, "no label is to be unknown"),
        (make_decoder("lda"), {"unknown": [f"odor {k}" for k in range(4)]}, "1 labels stay known"),
    ],
)
def test_what_cannot_be_is_refused(make_activity, estimator, parameters, message):
    """Before anything is fitted."""
    activity, folds = five_odors(make_activity)
    with pytest.raises(SchemaError, match=message):
        cross_validate_open_set(
            activity, "odor", estimator, folds, random_state=0, **({"unknown": ["odor 0"]} | parameters)
        )


def test_folds_that_test_one_kind_only_are_refused(make_activity):
    """Without both kinds there is no AUROC."""
    activity, folds = five_odors(make_activity)
    is_novel = (activity["odor"] == "odor 0").values
    for kind, kept in (("unknown", ~is_novel), ("known", is_novel)):
        part = folds.copy(data=np.where((folds.values == 2) & ~kept, 0, folds.values))
        with pytest.raises(SchemaError, match=f"fold 0 tests no trial of {kind} odor. Stratify"):
            cross_validate_open_set(activity, "odor", make_decoder("lda"), part, unknown=["odor 0"], random_state=0)


def test_classes_that_are_points_have_no_distance():
    """A covariance of nothing has no inverse."""
    with pytest.raises(SchemaError, match="no feature varies within the known classes"):
        OpenSetClassifier(make_decoder("nearest_centroid"), score="mahalanobis", n_folds=2).fit(
            np.repeat([[0.0], [1.0]], 4, axis=0), np.repeat([0, 1], 4)
        )
