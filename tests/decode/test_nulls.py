"""Nulls by permutation: exact in small cases, uniform on noise, the same on any number of workers."""

from collections import Counter
from functools import partial
from itertools import permutations as orders

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import folds_from_splitter, make_folds
from mitral.decode.decoders import make_decoder
from mitral.decode.nulls import arrangements, attach_null, exchange_groups, permutations, with_null
from mitral.decode.score import cross_validate

CLOSED = make_decoder("nearest_centroid")  # all permutations at once
LOOPED = make_decoder("linear_svm")  # one permutation after another


class Slope(RegressorMixin, BaseEstimator):
    """Predicts from the covariance of each feature with the target: continuous scores, and cheap."""

    def fit(self, X, y):
        """Covariance of every feature with the target."""
        self.mean_, self.target_ = X.mean(axis=0), y.mean()
        self.weights_ = (X - self.mean_).T @ (y - self.target_) / len(y)
        return self

    def predict(self, X):
        """Linear in the features."""
        return self.target_ + (X - self.mean_) @ self.weights_


def scored(activity, decoder, **null):
    """Result with a null, and the folds that it stands on."""
    group = null.pop("group", None)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group=group)
    result = cross_validate(activity, "odor", decoder, folds)
    return with_null(result, activity, decoder, folds, **null), folds


def with_scores(null, score, metric="accuracy"):
    """A result whose null is given."""
    result = xr.Dataset(attrs={"kind": "decoding", "metric": metric, "score_mean": score, "warnings": []})
    return partial(attach_null, result, np.array(null, float), scheme="given")


@pytest.mark.parametrize(
    ("null", "score", "metric", "p"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.35, "accuracy", 2 / 5),
        ([0.1, 0.2, 0.3, 0.4], 0.9, "accuracy", 1 / 5),
        ([0.1, 0.2, 0.3, 0.4], 0.0, "accuracy", 1.0),
        ([0.5, 0.5, 0.5, 0.4], 0.5, "accuracy", 4 / 5),
        ([0.1, 0.2, 0.3, 0.4], 0.15, "mean_absolute_error", 2 / 5),
    ],
    ids=["one above", "none above", "all above", "ties count against", "an error is better if smaller"],
)
def test_p_is_the_share_at_least_as_good_the_true_one_included(null, score, metric, p):
    """p = (b + 1) / (m + 1) with b of m permutations at least as good."""
    attrs = with_scores(null, score, metric)(n_arrangements=1e6).attrs
    assert_allclose(attrs["p_value"], p)
    assert_allclose(attrs["p_smallest"], 1 / 5)


def test_p_is_never_below_one_over_the_arrangements():
    """24 orders of labels cannot show p = 0.01, however many permutations are drawn."""
    attrs = with_scores(np.zeros(999), 1.0)(n_arrangements=24.0).attrs
    assert attrs["p_value"] == attrs["p_smallest"] == 1 / 24


@pytest.mark.parametrize(("n_arrangements", "has_p"), [(19.0, False), (20.0, True)])
def test_no_p_is_given_below_twenty_arrangements(n_arrangements, has_p):
    """With fewer, no p of 0.05 exists; the warning says how many there are."""
    attrs = with_scores(np.zeros(99), 1.0)(n_arrangements=n_arrangements).attrs
    assert ("p_value" in attrs) is has_p
    assert [("in 19 ways only" in said) for said in attrs["warnings"]] == ([] if has_p else [True])


def test_the_band_is_the_middle_of_the_null():
    """``null_low`` and ``null_high`` hold the middle 95 %."""
    attrs = with_scores(np.linspace(0, 1, 201), 1.0)(n_arrangements=1e6).attrs
    assert_allclose([attrs["null_low"], attrs["null_high"]], [0.025, 0.975])


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2]])
def test_arrangements_are_those_that_can_be_listed(groups):
    """The number is that of an enumeration of all orders that stay within groups."""
    truth = np.array([0, 0, 1, 1, 2, 0])
    groups = None if groups is None else np.array(groups)
    allowed = {
        tuple(truth[list(order)])
        for order in orders(range(6))
        if groups is None or np.array_equal(groups[list(order)], groups)
    }
    assert round(arrangements(truth, groups)) == len(allowed)


def test_arrangements_beyond_all_numbers_are_infinite():
    """A thousand trials have more orders than a float holds."""
    assert arrangements(np.arange(1000) % 8, None) == float("inf")


def test_permutations_within_groups_reach_every_arrangement_alike():
    """All 6 x 2 orders within groups are drawn, equally often: chi-squared (11 degrees) below 31.3 (p = 0.001)."""
    truth, groups = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1])
    drawn = permutations(truth, 2400, 0, within=groups)
    counts = Counter(map(tuple, drawn.tolist()))
    listed = {
        tuple(truth[list(order)]) for order in orders(range(6)) if np.array_equal(groups[list(order)], groups)
    }
    assert set(counts) == listed and len(listed) == 12
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 31.3


@pytest.mark.parametrize("decoder", [CLOSED, LOOPED], ids=["closed form", "loop"])
def test_permutations_have_streams_of_their_own(make_activity, decoder):
    """More permutations begin with the same ones; another seed has others."""
    few, _ = scored(make_activity(), decoder, n_permutations=3, random_state=5)
    many, _ = scored(make_activity(), decoder, n_permutations=6, random_state=5)
    other, _ = scored(make_activity(), decoder, n_permutations=6, random_state=6)
    assert_array_equal(many["null_score"].values[:3], few["null_score"].values)
    assert not np.array_equal(other["null_score"].values, many["null_score"].values)


def test_the_null_is_the_whole_chain_on_permuted_labels(make_activity):
    """A null score is what ``cross_validate`` gives for the permuted column, with the same folds."""
    activity = make_activity(strength=0.5)
    result, folds = scored(activity, CLOSED, n_permutations=4, random_state=2, within="block")
    code = np.unique(activity["odor"], return_inverse=True)[1]
    labels = permutations(code, 4, 2, within=exchange_groups(activity, folds, "block"))
    again = [
        cross_validate(activity.assign_coords(odor=("trial", row)), "odor", CLOSED, folds).attrs["score_mean"]
        for row in labels
    ]
    assert_allclose(result["null_score"], again)


def test_two_workers_equal_one(make_activity, map_over_processes):
    """The number of processes changes no permutation and no score."""
    one, _ = scored(make_activity(), LOOPED, n_permutations=4, random_state=0)
    two, _ = scored(make_activity(), LOOPED, n_permutations=4, random_state=0, map=map_over_processes)
    xr.testing.assert_identical(two, one)


def test_the_order_of_work_changes_nothing(make_activity):
    """A map that works backwards gives the same null."""

    def backwards(function, items):
        return list(reversed([function(item) for item in reversed(list(items))]))

    one, _ = scored(make_activity(), LOOPED, n_permutations=4, random_state=0)
    two, _ = scored(make_activity(), LOOPED, n_permutations=4, random_state=0, map=backwards)
    xr.testing.assert_identical(two, one)


@pytest.mark.parametrize("within", [None, "block"])
def test_the_scheme_is_said(make_activity, within):
    """The words name the groups that labels are exchanged in."""
    result, _ = scored(make_activity(), CLOSED, n_permutations=3, random_state=0, within=within)
    assert result.attrs["null_scheme"].startswith("labels of whole trials permuted")
    assert within is None or result.attrs["null_scheme"].endswith("within block and each fold")
    assert result.attrs["n_permutations"] == 3


def test_groups_of_the_folds_are_kept_by_the_null(make_activity):
    """Where folds keep blocks whole, labels move within blocks only, as the words say."""
    activity = make_activity()
    result, folds = scored(activity, CLOSED, n_permutations=3, random_state=0, group="block")
    pairs = {*zip(exchange_groups(activity, folds, None).tolist(), activity["block"].values.tolist(), strict=True)}
    assert len(pairs) == len(np.unique(activity["block"]))
    assert result.attrs["null_scheme"].endswith("within block")


def test_a_label_that_never_changes_in_a_group_has_no_null(make_activity):
    """One label to a block: a permutation within blocks is the true order, and no p is given."""
    activity = make_activity()
    activity = activity.assign_coords(house=("trial", np.unique(activity["odor"], return_inverse=True)[1]))
    result, _ = scored(activity, CLOSED, n_permutations=3, random_state=0, within="house")
    assert_allclose(result["null_score"], result.attrs["score_mean"])
    assert "p_value" not in result.attrs
    assert any("arranged in 1 ways only" in said for said in result.attrs["warnings"])


def test_a_signal_is_beyond_its_null(make_activity):
    """A strong code reaches the smallest p that the permutations allow."""
    result, _ = scored(make_activity(strength=2.0), CLOSED, n_permutations=19, random_state=0)
    assert result.attrs["p_value"] == 1 / 20
    assert result.attrs["null_high"] < result.attrs["score_mean"]


def test_p_values_on_noise_are_uniform(make_activity):
    """Over 200 recordings of noise p takes each of 1/20 ... 1 alike.

    Mean 0.525 with standard error 0.288 / sqrt(200) = 0.0204; share at most 0.05 is 0.05 with standard error
    0.0154; both within 3.5. Scores are continuous, so no ties make p larger.
    """
    p_values = []
    for seed in range(200):
        activity = make_activity(n_trials=24, n_times=1, n_units=4, seed=seed)
        folds = folds_from_splitter(activity, KFold(3), target="dose")
        result = cross_validate(activity, "dose", Slope(), folds)
        result = with_null(result, activity, Slope(), folds, n_permutations=19, random_state=seed)
        p_values.append(result.attrs["p_value"])
    assert abs(np.mean(p_values) - 0.525) < 3.5 * 0.0204
    assert abs(np.mean(np.array(p_values) <= 0.05 + 1e-9) - 0.05) < 3.5 * 0.0154


def test_p_values_on_noise_with_whole_blocks_are_not_too_small(make_activity):
    """Labels permuted within blocks that stay whole: p at most 0.05 in at most 0.05 of 150 recordings of noise.

    Standard error sqrt(0.05 * 0.95 / 150) = 0.0178, within 3. Accuracies tie, which only makes p larger.
    """
    p_values = []
    for seed in range(150):
        activity = make_activity(n_trials=24, n_times=1, n_units=4, seed=seed)
        rng = np.random.default_rng(seed)
        odor = np.concatenate([rng.permutation(["lime", "musk"] * 3) for _ in range(4)])
        activity = activity.assign_coords(odor=("trial", odor), block=("trial", np.arange(24) // 6))
        result, _ = scored(activity, CLOSED, n_permutations=19, random_state=seed, group="block")
        p_values.append(result.attrs["p_value"])
    assert np.mean(np.array(p_values) <= 0.05 + 1e-9) < 0.05 + 3 * 0.0178


@pytest.mark.parametrize("decoder", [CLOSED, LOOPED], ids=["closed form", "loop"])
def test_no_permutation_is_refused(make_activity, decoder):
    """A null of nothing is no null."""
    with pytest.raises(SchemaError, match="n_permutations must be at least 1, got 0"):
        scored(make_activity(), decoder, n_permutations=0, random_state=0)


def test_an_unknown_group_lists_the_nearest(make_activity):
    """A misspelt column is answered with the right one."""
    with pytest.raises(SchemaError, match="no trial column 'blok'. Nearest: 'block'"):
        scored(make_activity(), CLOSED, n_permutations=1, random_state=0, within="blok")


def test_another_thing_than_a_result_is_refused(make_activity):
    """A null belongs to a result."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match="expected a .*kind 'decoding'"):
        with_null(xr.Dataset(), activity, CLOSED, folds, n_permutations=1, random_state=0)


def test_folds_of_other_trials_are_refused(make_activity):
    """The folds must be of the activity that is permuted."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", CLOSED, folds)
    with pytest.raises(SchemaError, match="their ids differ"):
        with_null(result, activity.isel(trial=slice(1, None)), CLOSED, folds, n_permutations=1, random_state=0)


def test_values_are_permuted_too(make_activity):
    """A regressor's null permutes the numbers, and its R² is that of the whole chain on them."""
    activity = make_activity()
    folds = folds_from_splitter(activity, KFold(4), target="dose")
    result = cross_validate(activity, "dose", Ridge(), folds)
    result = with_null(result, activity, Ridge(), folds, n_permutations=2, random_state=3)
    doses = permutations(activity["dose"].values, 2, 3, within=exchange_groups(activity, folds, None))
    moved = activity.assign_coords(dose=("trial", doses[1]))
    assert_allclose(result["null_score"].values[1], cross_validate(moved, "dose", Ridge(), folds).attrs["score_mean"])
