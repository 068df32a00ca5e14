"""Metrics agree with scikit-learn's, and chance is what a decoder reaches that ignores the activity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics as theirs

from mitral.datasets.errors import UnknownName
from mitral.decode import metrics

labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40).map(np.array)
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
values = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=40).map(np.array)


@given(labels)
def test_accuracy_is_that_of_sklearn(pairs):
    """Share of trials predicted right."""
    truth, predicted = pairs.T
    assert_allclose(metrics.accuracy(truth, predicted), theirs.accuracy_score(truth, predicted))


@given(labels)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_balanced_accuracy_is_the_mean_recall_of_sklearn(pairs):
    """Classes that are predicted and never true count for nothing."""
    truth, predicted = pairs.T
    assert_allclose(metrics.balanced_accuracy(truth, predicted), theirs.balanced_accuracy_score(truth, predicted))


@given(values)
def test_r2_is_that_of_sklearn(pairs):
    """1 minus squared error over squared deviation, wherever the target varies."""
    truth, predicted = pairs.T
    if np.ptp(truth) < 1e-6:  # sums of squares of nearly equal numbers cancel
        truth = truth + np.arange(len(truth))
    assert_allclose(metrics.r2(truth, predicted), theirs.r2_score(truth, predicted), rtol=1e-9)


@given(values)
def test_mean_absolute_error_is_that_of_sklearn(pairs):
    """Mean distance, in the target's unit."""
    truth, predicted = pairs.T
    assert_allclose(metrics.mean_absolute_error(truth, predicted), theirs.mean_absolute_error(truth, predicted))


def test_r2_of_a_constant_target_is_nan():
    """No deviation to explain. Incident: three times 0.1 deviates from its mean by rounding, and gave R² of 1."""
    assert np.isnan(metrics.r2(np.full(3, 0.1), np.full(3, 0.1)))


@given(st.integers(2, 6), st.lists(st.integers(0, 5), min_size=6, max_size=30).map(np.array))
def test_a_constant_decoder_has_balanced_accuracy_at_chance(n_classes, truth):
    """Always saying one class that exists scores 1/k, however unequal the classes are."""
    truth = truth % n_classes
    said = np.full(len(truth), truth[0])
    assert_allclose(metrics.balanced_accuracy(truth, said), metrics.chance("balanced_accuracy", truth))


@pytest.mark.parametrize(
    ("name", "truth", "blind"),
    [
        ("accuracy", [0, 0, 0, 1], [0, 0, 0, 0]),
        ("mean_absolute_error", [0.0, 1.0, 5.0], [1.0, 1.0, 1.0]),
        ("r2", [0.0, 1.0, 5.0], [2.0, 2.0, 2.0]),
    ],
)
def test_chance_is_the_score_of_the_best_blind_decoder(name, truth, blind):
    """The commonest class, the median and the mean are the best that can be said without activity."""
    truth, blind = np.array(truth), np.array(blind)
    score = metrics.metric_function(name, for_classes=name in metrics.CLASS_METRICS)(truth, blind)
    assert_allclose(metrics.chance(name, truth), score)


@pytest.mark.parametrize("name", metrics.CLASS_METRICS)
@pytest.mark.parametrize("lacks_class", [False, True])
def test_many_labelings_score_as_each_by_itself(name, lacks_class):
    """The batched score of permuted labels is the metric of each row, also where a class is absent from a row."""
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 7, 15))
    if lacks_class:
        truth[2] = np.minimum(truth[2], 1)
    score_of = metrics.metric_function(name, for_classes=True)
    one_by_one = [score_of(t, p) for t, p in zip(truth, predicted, strict=True)]
    assert_allclose(metrics.scores_of_labelings(name, truth, predicted), one_by_one)


@pytest.mark.parametrize(("name", "for_classes", "kind"), [("r2", True, "classes"), ("accuracy", False, "numbers")])
def test_a_metric_of_the_other_kind_is_refused(name, for_classes, kind):
    """The message says what the metric does not score, and which do."""
    with pytest.raises(UnknownName, match=f"metric '{name}' does not score {kind}. Valid: "):
        metrics.metric_function(name, for_classes=for_classes)


def test_a_misspelt_metric_is_answered_with_the_nearest():
    """The message names the metric that was meant."""
    with pytest.raises(UnknownName, match="Nearest: 'balanced_accuracy'"):
        metrics.metric_function("balanced_acuracy", for_classes=True)
