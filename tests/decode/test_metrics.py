"""Metrics agree with scikit-learn's, and chance is what a decoder reaches that ignores the activity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn import metrics as theirs

from mitral.datasets.errors import SchemaError, UnknownName
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


def forecasts(n_classes, *, n=60, seed=0):
    """True classes, each at least once, and probabilities that know something of them; some are equal."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    p = np.round(rng.dirichlet(np.ones(n_classes), n) + 0.3 * np.eye(n_classes)[truth], 2)
    return truth, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("name", ["auroc", "log_loss", "brier_score"])
def test_a_metric_of_probabilities_is_that_of_sklearn(name, n_classes):
    """One against the rest for the AUROC, nats for the log-loss, no halving for the Brier score."""
    truth, p = forecasts(n_classes)
    expected = {
        "auroc": lambda: theirs.roc_auc_score(truth, p[:, 1] if n_classes == 2 else p, multi_class="ovr"),
        "log_loss": lambda: theirs.log_loss(truth, p),
        "brier_score": lambda: theirs.brier_score_loss(truth, p, labels=range(n_classes), scale_by_half=False),
    }[name]()
    assert_allclose(metrics.metric_function(name, for_classes=True)(truth, p), expected)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_top_k_accuracy_is_that_of_sklearn(k):
    """Where no probabilities are equal."""
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 7, 80), rng.dirichlet(np.ones(7), 80)
    score_of = metrics.metric_function(f"top_{k}_accuracy", for_classes=True)
    assert_allclose(score_of(truth, p), theirs.top_k_accuracy_score(truth, p, k=k, labels=range(7)))


def test_equal_probabilities_are_no_knowledge():
    """A forecast that is the same for all of five classes has the true one among two of five, and ranks nothing."""
    truth, p = np.arange(5), np.full((5, 5), 0.2)
    assert_allclose(metrics.top_2_accuracy(truth, p), 2 / 5)
    assert_allclose(metrics.top_5_accuracy(truth, p), 1)
    assert_allclose(metrics.auroc(truth, p), 0.5)


def test_the_auroc_is_of_classes_that_are_tested():
    """A label without test trials has no curve; one class alone has none at all."""
    truth, p = forecasts(3)
    wider = np.column_stack([p, np.zeros(len(p))])
    assert_allclose(metrics.auroc(truth, wider), metrics.auroc(truth, p))
    assert np.isnan(metrics.auroc(np.zeros(4, int), np.full((4, 2), 0.5)))


def test_a_class_that_was_held_impossible_costs_much_and_not_everything():
    """36 nats for a trial whose class had probability 0, as a class without training trials has."""
    assert_allclose(metrics.log_loss(np.array([0]), np.array([[0.0, 1.0]])), -np.log(np.finfo(float).eps))


@given(values)
def test_the_rank_correlation_is_that_of_scipy(pairs):
    """Also with ties; an order is kept by any rising function of the prediction."""
    truth, predicted = np.round(pairs.T / 1e5)
    if np.ptp(truth) > 0 and np.ptp(predicted) > 0:
        assert_allclose(metrics.rank_correlation(truth, predicted), spearmanr(truth, predicted).statistic, atol=1e-12)
        assert_allclose(metrics.rank_correlation(truth, predicted**3), metrics.rank_correlation(truth, predicted))


def test_a_constant_prediction_orders_nothing_and_a_constant_target_cannot_be_ordered():
    """0 is what a blind decoder has in a null; NaN is no score."""
    assert metrics.rank_correlation(np.arange(3.0), np.full(3, 0.1)) == 0.0
    assert np.isnan(metrics.rank_correlation(np.full(3, 0.1), np.arange(3.0)))


def test_the_class_error_counts_steps():
    """Off by two classes counts twice off by one; int16 positions do not overflow."""
    truth, said = np.array([0, 1, 4], np.int16), np.array([0, 3, 3], np.int16)
    assert_allclose(metrics.mean_class_error(truth, said), 1.0)
    assert metrics.mean_class_error(np.array([0], np.int16), np.array([32767], np.int16)) == 32767


SHARES = np.array([0, 0, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("name", "blind"),
    [
        ("top_2_accuracy", [0.5, 0.4, 0.1]),
        ("top_5_accuracy", [0.5, 0.4, 0.1]),
        ("log_loss", [3 / 6, 2 / 6, 1 / 6]),
        ("brier_score", [3 / 6, 2 / 6, 1 / 6]),
        ("auroc", [3 / 6, 2 / 6, 1 / 6]),
    ],
)
def test_chance_of_probabilities_is_the_score_of_the_best_blind_forecast(name, blind):
    """The commonest classes, or the shares of the classes, for every trial."""
    score_of = metrics.metric_function(name, for_classes=True)
    assert_allclose(metrics.chance(name, SHARES), score_of(SHARES, np.tile(blind, (6, 1))))


@pytest.mark.parametrize("name", ["log_loss", "brier_score"])
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(np.array))
def test_no_blind_forecast_beats_chance(name, weights):
    """The shares are the best constant forecast, as both scores are proper."""
    score_of = metrics.metric_function(name, for_classes=True)
    blind = np.tile(weights / weights.sum(), (6, 1))
    assert score_of(SHARES, blind) >= metrics.chance(name, SHARES) - 1e-12


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30).map(np.array), st.integers(0, 5))
def test_no_constant_class_has_a_smaller_class_error_than_chance(truth, said):
    """Chance is that of always saying the median class."""
    blind = metrics.mean_class_error(truth, np.full(len(truth), said))
    assert blind >= metrics.chance("mean_class_error", truth) - 1e-12


def test_every_metric_is_of_one_kind_and_has_a_chance():
    """Classes, probabilities or numbers; no name twice."""
    kinds = (metrics.CLASS_METRICS, metrics.PROBABILITY_METRICS, metrics.VALUE_METRICS)
    assert sum(map(len, kinds)) == len(metrics.METRICS)
    assert set(metrics.SMALLER_IS_BETTER) <= set(metrics.METRICS)
    assert [name for name in metrics.METRICS if metrics.needs_probabilities(name)] == list(metrics.PROBABILITY_METRICS)
    assert all(np.isfinite(metrics.chance(name, SHARES)) for name in metrics.METRICS)


@pytest.mark.parametrize("name", metrics.PROBABILITY_METRICS)
def test_predictions_are_no_probabilities(name):
    """An analysis that only predicts classes says so, and never scores positions as if they were probabilities."""
    with pytest.raises(SchemaError, match=f"'{name}' scores probabilities .* this analysis has predictions only"):
        metrics.metric_function(name, for_classes=True)(SHARES, SHARES)


@pytest.mark.parametrize("name", metrics.CLASS_METRICS)
def test_probabilities_are_no_predicted_classes(name):
    """The other way round."""
    with pytest.raises(SchemaError, match=f"metric '{name}' scores predicted classes"):
        metrics.metric_function(name, for_classes=True)(SHARES, np.full((6, 3), 1 / 3))
