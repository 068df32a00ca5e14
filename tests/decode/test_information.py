"""Mutual information: known channels, bias removed, agreement with exact expectations, and what is refused."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics.cluster import expected_mutual_information

from mitral.datasets import make_folds
from mitral.datasets.errors import SchemaError, UnknownName
from mitral.decode import cross_validate, make_decoder
from mitral.decode.information import (
    CORRECTIONS,
    joint_counts,
    mutual_information,
    skaggs_information,
    with_information,
)
from mitral.decode.over_time import cross_validate_over_time

tables = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=4).filter(
    lambda rows: np.sum(rows) > 0
)


def activity_of(values, odor):
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(values)), "time": np.arange(values.shape[1]) * 0.1,
            "unit": [f"u{u}" for u in range(values.shape[2])], "odor": ("trial", odor),
        },
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip


def entropy(p):
    p = np.asarray(p, float) / np.sum(p)
    return -np.sum(p[p > 0] * np.log2(p[p > 0]))


@pytest.mark.parametrize("n_classes", [2, 3, 8])
def test_a_faultless_decoder_says_the_entropy_of_the_classes(n_classes):
    """A diagonal table holds log2 k bits."""
    assert_allclose(mutual_information(10 * np.eye(n_classes, dtype=int), correction="none"), np.log2(n_classes))


def test_a_binary_channel_has_its_capacity():
    """A symmetric channel that errs in 10 % of trials says 1 - H(0.1) bits."""
    assert_allclose(mutual_information([[90, 10], [10, 90]], correction="none"), 1 - entropy([0.9, 0.1]), atol=1e-12)


@given(tables)
def test_information_is_symmetric_and_at_most_either_entropy(rows):
    """I(S;R) = I(R;S), between 0 and the smaller entropy; the order of classes does not matter."""
    counts = np.array(rows)
    bits = mutual_information(counts, correction="none")
    assert_allclose(mutual_information(counts.T, correction="none"), bits, atol=1e-12)
    assert_allclose(mutual_information(counts[::-1, ::-1], correction="none"), bits, atol=1e-12)
    assert -1e-12 <= bits <= min(entropy(counts.sum(axis=0)), entropy(counts.sum(axis=1))) + 1e-12


@given(tables)
def test_the_shuffled_information_is_exact(rows):
    """The shuffle correction is scikit-learn's expected information of tables with the same margins."""
    counts = np.array(rows)
    kept = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    expected = expected_mutual_information(kept.astype(np.int64), int(kept.sum())) / np.log(2)
    removed = mutual_information(counts, correction="none") - mutual_information(counts, correction="shuffle")
    assert_allclose(removed, expected, atol=1e-9)


@pytest.mark.parametrize("correction", ["panzeri_treves", "shuffle"])
def test_corrections_remove_the_bias_of_chance_tables(correction):
    """Of 400 tables of 400 independent trials the naive mean is (S-1)(R-1) / (2 N ln 2); corrected it is zero."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 5, (400, 2, 400))
    naive = np.array([mutual_information(joint_counts(*pair), correction="none") for pair in pairs])
    corrected = np.array([mutual_information(joint_counts(*pair), correction=correction) for pair in pairs])
    error = corrected.std() / np.sqrt(len(corrected))
    assert_allclose(naive.mean(), 16 / (2 * 400 * np.log(2)), rtol=0.06)  # of first order in 1 / N
    assert abs(corrected.mean()) < 3 * error + (0.05 * naive.mean() if correction == "panzeri_treves" else 0)


def test_panzeri_treves_counts_responses_that_were_not_seen():
    """Few trials miss responses: counting seen cells alone would leave half of the bias of 30 trials on 4 x 6 cells."""
    rng = np.random.default_rng(1)
    tables = [joint_counts(np.repeat(np.arange(4), 8), rng.integers(0, 6, 32)) for _ in range(400)]
    naive = np.mean([mutual_information(t, correction="none") for t in tables])
    left = np.mean([mutual_information(t, correction="panzeri_treves") for t in tables])
    seen = np.mean([(np.sum(t > 0) - len(t) - np.sum(t.sum(axis=0) > 0) + 1) / (2 * 32 * np.log(2)) for t in tables])
    assert abs(left) < 0.5 * abs(naive - seen)


def test_a_result_says_what_its_confusion_says():
    """The information of a result is that of its confusion table, its ceiling the entropy of the classes."""
    rng = np.random.default_rng(0)
    odor = np.repeat(["a", "b", "c"], 20)
    activity = activity_of(rng.normal(size=(60, 1, 5)) + 2 * (odor == "b")[:, None, None], odor)
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    result = with_information(cross_validate(activity, "odor", make_decoder("lda"), folds))
    expected = [mutual_information(result["confusion"].values, correction=name) for name in CORRECTIONS]
    assert_allclose(result["information"].values, expected)
    assert_allclose(result.attrs["information_most"], np.log2(3))
    assert result["information"].sel(correction="shuffle") > 0.3


def test_information_over_time_rises_where_the_odor_is():
    """Each bin has its own information: none before the odor, all of it after."""
    rng = np.random.default_rng(0)
    odor = np.repeat(["a", "b"], 20)
    values = 0.1 * rng.normal(size=(40, 2, 3))
    values[odor == "b", 1] += 1
    activity = activity_of(values, odor)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = with_information(cross_validate_over_time(activity, "odor", make_decoder("nearest_centroid"), folds))
    assert result["information"].dims == ("correction", "time")
    assert_allclose(result["information"].sel(correction="none").values[1], 1.0)
    assert result["information"].sel(correction="panzeri_treves").values[0] < 0.1


def test_trials_tested_twice_are_said():
    """The corrections count every test as a trial, so the result warns."""
    odor = np.repeat(["a", "b"], 10)
    activity = activity_of(np.random.default_rng(0).normal(size=(20, 1, 2)), odor)
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    twice = xr.concat([folds, folds], "fold").assign_coords(fold=range(4))
    result = with_information(cross_validate(activity, "odor", make_decoder("lda", shrinkage=0.5), twice))
    assert any("up to 2 times" in line for line in result.attrs["warnings"])


def test_a_unit_of_one_state_says_which():
    """A unit that fires in one of k equal states says log2 k bits per spike, at any rate; a silent one is NaN."""
    state = np.tile(np.arange(8), 5)
    responses = np.stack([3.0 * (state == 2), 0.1 * (state == 2), np.ones(40), np.zeros(40)], axis=1)
    assert_allclose(skaggs_information(state, responses), [3, 3, 0, np.nan], atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], "expected counts"),
        ([["a"]], "expected counts"),
        ([[0.5, 1]], "whole numbers"),
        ([[-1, 2]], "whole numbers"),
        ([[0, 0]], "is empty"),
    ],
)
def test_what_is_no_table_is_refused(counts, message):
    """Shares, negative counts and empty tables have no information."""
    with pytest.raises(SchemaError, match=message):
        mutual_information(counts, correction="none")


def test_an_unknown_correction_names_the_nearest():
    """A misspelt correction is met with the right one."""
    with pytest.raises(UnknownName, match="panzeri_treves"):
        mutual_information([[1]], correction="panzeri")


def test_a_continuous_target_has_no_confusion():
    """Information needs classes."""
    activity = activity_of(np.random.default_rng(0).normal(size=(20, 1, 2)), np.repeat([0.0, 1.0], 10))
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    result = cross_validate(activity, "odor", make_decoder("ridge", alpha=1.0), folds)
    with pytest.raises(SchemaError, match="needs classes"):
        with_information(result)


def test_series_that_do_not_fit_are_refused():
    """Unequal lengths, NaN and negative responses are named."""
    with pytest.raises(SchemaError, match="two series of one length"):
        joint_counts([1, 2], [1])
    with pytest.raises(SchemaError, match="response 1 is NaN"):
        joint_counts([1, 2], [1.0, np.nan])
    with pytest.raises(SchemaError, match="expected one state"):
        skaggs_information([1, 2], [[1.0]])
    with pytest.raises(SchemaError, match="unit 1 has a response that is negative"):
        skaggs_information([1, 2], [[1.0, -1.0], [1.0, 1.0]])
