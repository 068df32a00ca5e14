"""Pairs for contrastive learning: the distribution of CEBRA's sampler, by another and faster way."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.errors import SchemaError
from mitral.decode.trajectories.contrastive_pairs import LabelPairs, TimePairs, labels_of_bins


def walk(n_bins, n_values=2, seed=0):
    """Behaviour that changes slowly, (1, n_bins, n_values)."""
    return np.random.default_rng(seed).normal(size=(1, n_bins, n_values)).cumsum(axis=1)


def pairs_of(y, time_offset=1, n_trials=None, n_times=None):
    """Pairs by the labels y."""
    shape = y.shape[0] if n_trials is None else n_trials, y.shape[1] if n_times is None else n_times
    return LabelPairs(labels_of_bins(y, *shape, "it"), *shape, time_offset)


def by_comparing_with_all(value, reference, steps):
    """Ten slow lines: the bin nearest to the reference's behaviour after each step."""
    wanted = value[reference] + steps
    return np.array([np.argmin(np.square(value - w).sum(axis=1)) for w in wanted])


@pytest.mark.parametrize("n_values", [1, 2, 5])
def test_partners_are_the_nearest_after_every_possible_step(n_values):
    """Given the reference and the step, the partner is that of a comparison with all bins."""
    y = walk(300, n_values)
    pairs = pairs_of(y, time_offset=3)
    assert_allclose(pairs.steps, y[0, 3:] - y[0, :-3])
    for reference in (0, 150, 299):
        found = pairs.groups[0].nearest(y[0, reference] + pairs.steps, np.full(len(pairs.steps), 0.5))
        assert_array_equal(found, by_comparing_with_all(y[0], reference, pairs.steps))


def test_partners_have_the_distribution_of_the_package():
    """The law of the partner given the reference, over all steps, is that of cebra's sampler.

    But for the first bins, whose step it takes to be zero: at most time_offset / n_bins of the draws (0.0125).
    """
    torch = pytest.importorskip("torch")
    pytest.importorskip("cebra")
    from mitral.decode.trajectories.cebra_embedding import _library

    y = walk(400).astype(np.float32)
    theirs = _library().cebra.distributions.TimedeltaDistribution(torch.from_numpy(y[0]), 5)
    mine = pairs_of(y, time_offset=5)
    for reference in (0, 77, 399):
        wanted = theirs.data[reference] + theirs.time_difference
        law = np.bincount(theirs.index.search(wanted).numpy(), minlength=400) / 400
        found = mine.groups[0].nearest(y[0, reference] + mine.steps, np.zeros(len(mine.steps)))
        assert np.abs(law - np.bincount(found, minlength=400) / len(found)).sum() / 2 <= 5 / 400


def test_draws_follow_that_distribution():
    """Frequencies of partners of one reference over 20,000 draws: total variation within its expected size, twice."""
    y = walk(60, 1)
    pairs = pairs_of(y)
    law = np.bincount(by_comparing_with_all(y[0], 30, pairs.steps), minlength=60) / len(pairs.steps)
    drawn = pairs.positives(np.full(20000, 30), np.random.default_rng(0))
    seen = np.bincount(drawn, minlength=60) / 20000
    expected = np.sqrt(2 * law * (1 - law) / np.pi / 20000).sum() / 2
    assert np.abs(seen - law).sum() / 2 < 2 * expected


def test_classes_are_shared_and_drawn_evenly():
    """A partner is of the reference's class, every bin of the class as often: 3,000 draws of 6 bins, 4.5 deviations."""
    y = np.array(["musk", "amyl", "musk"])
    drawn = pairs_of(y, n_trials=3, n_times=3).positives(np.zeros(3000, int), np.random.default_rng(0))
    seen = np.bincount(drawn, minlength=9)
    assert_array_equal(np.flatnonzero(seen), [0, 1, 2, 6, 7, 8])
    assert np.abs(seen[seen > 0] - 500).max() < 4.5 * np.sqrt(3000 * 1 / 6 * 5 / 6)


def test_a_value_for_each_trial_is_shared_by_its_equals():
    """Concentrations stay as they are through a trial: partners are bins of all trials of that concentration."""
    drawn = pairs_of(np.array([0.1, 1.0, 0.1]), n_trials=3, n_times=2).positives(
        np.zeros(500, int), np.random.default_rng(0)
    )
    assert_array_equal(np.unique(drawn), [0, 1, 4, 5])


def test_classes_and_numbers_together():
    """Two columns, one of texts and one of numbers: the nearest number of the same class."""
    y = np.array([("a", 0.0), ("b", 0.1), ("a", 5.0), ("b", 5.1)], [("odor", "U1"), ("dose", float)])
    drawn = pairs_of(y, n_trials=4, n_times=1).positives(np.arange(4).repeat(50), np.random.default_rng(0))
    assert_array_equal(drawn, np.arange(4).repeat(50))


def test_pairs_in_time_stay_in_their_trial():
    """No reference lies in the last bins, so no partner lies in the next trial; all others occur."""
    pairs, rng = TimePairs(4, 5, 2), np.random.default_rng(0)
    references = pairs.references(2000, rng)
    partners = pairs.positives(references, rng)
    assert_array_equal(np.unique(references), [0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17])
    assert_array_equal(partners // 5, references // 5)
    assert_array_equal(partners - references, 2)


def test_steps_do_not_reach_from_one_trial_into_the_next():
    """A jump between trials is no change of behaviour."""
    y = np.array([[0.0, 1.0, 2.0], [100.0, 101.0, 102.0]])
    assert_array_equal(pairs_of(y).steps, np.ones((4, 1)))


@pytest.mark.slow
def test_a_draw_costs_the_same_for_many_more_bins():
    """Fifty times as many bins, less than four times the time of a batch (medians of 30)."""

    def cost(n_bins):
        pairs, rng, found = pairs_of(walk(n_bins)), np.random.default_rng(0), []
        for _ in range(30):
            start = time.process_time()
            pairs.positives(pairs.references(512, rng), rng)
            found.append(time.process_time() - start)
        return np.median(found)

    assert cost(500_000) < 4 * cost(10_000)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "got none. Name a target"),
        (np.zeros(4), r"of 3 trials and 2 bins, and got shape \(4,\)"),
        (np.zeros((3, 3)), r"got shape \(3, 3\)"),
        (np.array([0.0, np.nan, 1.0]), "the trial at position 1 holds NaN"),
    ],
    ids=["none", "other trials", "other bins", "NaN"],
)
def test_labels_that_do_not_fit_are_refused(y, said):
    """With what was expected."""
    with pytest.raises(SchemaError, match=said):
        labels_of_bins(y, 3, 2, "CEBRA")


def test_trials_that_are_too_short_for_pairs_in_time_are_refused():
    """A pair needs two bins of one trial."""
    with pytest.raises(SchemaError, match="10 apart need trials of at least 11 bins, and these have 9"):
        TimePairs(3, 9, 10)
