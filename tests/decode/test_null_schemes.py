"""What the null exchanges: exact by enumeration, honest about drift where the scheme allows it, refused elsewhere."""

from itertools import permutations as orders

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold

from mitral.datasets.errors import SchemaError
from mitral.datasets.fold_kinds import blocked_folds, leave_one_group_out
from mitral.datasets.folds import folds_from_splitter, make_folds
from mitral.decode import nulls
from mitral.decode.decoders import make_decoder
from mitral.decode.null_schemes import CircularShift, ExchangeBlocks, ExchangeTrials, PseudoSession
from mitral.decode.nulls import with_null
from mitral.decode.score import cross_validate

CLOSED, LOOPED = make_decoder("nearest_centroid"), make_decoder("linear_svm")


def of_blocks(make_activity, *, n_blocks=8, size=4, seed=0, drift=0.0, n_units=5):
    """Activity whose odor changes from block to block only, and that drifts as a random walk."""
    activity = make_activity(n_trials=n_blocks * size, n_times=1, n_units=n_units, seed=seed)
    rng = np.random.default_rng(seed + 1)
    odor = rng.permutation(np.arange(n_blocks) % 2)
    block = np.repeat(np.arange(n_blocks), size)
    values = activity.values + drift * np.cumsum(rng.normal(size=(n_blocks * size, 1, n_units)), axis=0)
    columns = {"odor": ("trial", np.array(["lime", "musk"])[odor[block]]), "block": ("trial", block)}
    return activity.copy(data=values).assign_coords(columns)


def draw(scheme, activity, folds, *, n=50, target="odor"):
    """Labels that a scheme draws, as positions."""
    labels, truth = np.unique(activity[target].values, return_inverse=True)
    return scheme.draw(truth, activity, folds, labels=labels, n_permutations=n, random_state=0), truth


def test_blocks_carry_their_sequences(make_activity):
    """Labels of every labeling are the true blocks' sequences in another order, and all orders are reached alike."""
    activity = make_activity(n_trials=12).assign_coords(block=("trial", np.arange(12) // 3))
    activity = activity.assign_coords(odor=("trial", list("abaabbbbaabb")))
    folds = blocked_folds(activity, target="odor", n_folds=2, group="block")
    drawn, truth = draw(ExchangeBlocks("block"), activity, folds, n=1200)
    listed = {tuple(np.concatenate([truth.reshape(4, 3)[i] for i in order])) for order in orders(range(4))}
    assert drawn.n_arrangements == pytest.approx(len(listed)) and len(listed) == 12
    counts = np.unique(drawn.labels, axis=0, return_counts=True)[1]
    assert set(map(tuple, drawn.labels)) == listed
    assert np.sum((counts - 100) ** 2 / 100) < 31.3  # chi-squared of 11 degrees, p = 0.001


def test_blocks_of_unequal_length_keep_their_length(make_activity):
    """Only blocks with as many trials change places; the number of arrangements says so."""
    activity = make_activity(n_trials=10).assign_coords(block=("trial", [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]))
    activity = activity.assign_coords(odor=("trial", list("aabbababab")))
    folds = folds_from_splitter(activity, KFold(2), target="odor")
    drawn, truth = draw(ExchangeBlocks("block"), activity, folds)
    assert drawn.n_arrangements == pytest.approx(6)
    assert_array_equal(drawn.labels[:, 6:], np.broadcast_to(truth[6:], (50, 4)))


def test_blocks_change_places_inside_stratified_folds_only(make_activity):
    """Folds balanced by the true labels: a block's sequence goes to blocks that the folds treat alike."""
    activity = of_blocks(make_activity)
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0, group="block")
    drawn, _ = draw(ExchangeBlocks("block"), activity, folds)
    for side in folds.values:
        counts = (drawn.labels[:, side == 2] == 0).sum(axis=1)
        assert len(np.unique(counts)) == 1
    assert drawn.words.endswith("between those that the folds treat alike")


def test_shifts_are_all_used_once(make_activity):
    """With as many permutations as shifts, the null is every shift of the minimum or more, each once."""
    activity = make_activity(n_trials=20)
    folds = blocked_folds(activity, target="odor", n_folds=4)
    drawn, truth = draw(CircularShift(6), activity, folds, n=500)
    assert_array_equal(drawn.labels, [np.roll(truth, shift) for shift in range(6, 15)])
    assert drawn.n_arrangements == 10
    some, _ = draw(CircularShift(6), activity, folds, n=4)
    assert len(np.unique(some.labels, axis=0)) == 4
    assert {tuple(row) for row in some.labels} <= {tuple(row) for row in drawn.labels}


def test_sessions_lend_their_labels(make_activity):
    """The first labels of each sequence, as positions; a function is given a random stream of its own."""
    activity = make_activity(n_trials=20)
    folds = blocked_folds(activity, target="odor", n_folds=4)
    rng = np.random.default_rng(0)
    others = [rng.permutation(np.append(activity["odor"].values, "odor 0")) for _ in range(30)]
    drawn, _ = draw(PseudoSession(others), activity, folds, n=99)
    assert_array_equal(drawn.labels, [(each[:20] == "odor 1").astype(int) for each in others])
    assert drawn.words == "labels of pseudo-sessions, from 30 other sessions" and drawn.n_arrangements == 31
    made, _ = draw(PseudoSession(lambda rng: rng.permutation(activity["odor"].values), "shuffles"), activity, folds)
    assert len(np.unique(made.labels, axis=0)) == 50 and made.words.endswith("from shuffles")
    assert made.n_arrangements == float("inf")


@pytest.mark.parametrize("decoder", [CLOSED, LOOPED], ids=["closed form", "loop"])
def test_the_null_is_the_whole_chain_on_the_drawn_labels(make_activity, decoder):
    """By blocks: every null score is ``cross_validate`` of the moved labels; p is (b + 1) / (m + 1)."""
    activity = of_blocks(make_activity)
    folds = leave_one_group_out(activity, target="odor", group="block")
    result = cross_validate(activity, "odor", decoder, folds)
    scheme = ExchangeBlocks("block")
    result = with_null(result, activity, decoder, folds, n_permutations=9, random_state=0, scheme=scheme)
    drawn, _ = draw(scheme, activity, folds, n=9)
    again = [
        cross_validate(activity.assign_coords(odor=("trial", row)), "odor", decoder, folds).attrs["score_mean"]
        for row in drawn.labels
    ]
    assert_allclose(result["null_score"], again)
    p = (np.sum(np.array(again) >= result.attrs["score_mean"]) + 1) / 10
    assert_allclose(result.attrs["p_value"], max(p, 1 / 10))
    assert result.attrs["null_scheme"] == "label sequences of whole blocks of equal length exchanged"


def test_drifting_noise_in_blocks_is_found_by_trials_and_not_by_blocks(make_activity):
    """Blocked labels on a drift: exchanging trials is refused a p; exchanging blocks is at most 0.05 + 3 errors.

    40 recordings, standard error sqrt(0.05 * 0.95 / 40) = 0.034. Exchanged in spite of it, trials find half or more.
    """
    lda = make_decoder("lda", shrinkage=0.1)
    by_blocks, by_trials, given = [], [], 0
    for seed in range(40):
        activity = of_blocks(make_activity, seed=seed, drift=0.7, size=6, n_units=10)
        folds = leave_one_group_out(activity, target="odor", group="block")
        result = cross_validate(activity, "odor", lda, folds)
        asked = {"n_permutations": 39, "random_state": seed}
        found = with_null(result, activity, lda, folds, scheme=ExchangeBlocks("block"), **asked)
        by_blocks.append(found.attrs["p_value"] <= 0.05 + 1e-9)
        shuffled = make_folds(activity, target="odor", n_folds=4, random_state=seed)
        found = with_null(cross_validate(activity, "odor", lda, shuffled), activity, lda, shuffled, **asked)
        given += "p_value" in found.attrs
        by_trials.append(np.mean(found["null_score"].values >= found.attrs["score_mean"]) < 0.03)
    assert np.mean(by_blocks) <= 0.05 + 3 * 0.034
    assert np.mean(by_trials) > 0.5
    assert given == 0


def test_no_p_is_given_where_labels_come_in_runs(make_activity):
    """Trials cannot be exchanged then; the null band stays, and the warning names the other schemes."""
    activity = of_blocks(make_activity)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", CLOSED, folds)
    result = with_null(result, activity, CLOSED, folds, n_permutations=19, random_state=0)
    assert "p_value" not in result.attrs and "null_high" in result.attrs
    assert any("ExchangeBlocks" in said and said.startswith("No p value") for said in result.attrs["warnings"])
    listed = ExchangeTrials(in_random_order=True)  # the file lists trials by odor, the experiment did not
    again = with_null(result, activity, CLOSED, folds, n_permutations=19, random_state=0, scheme=listed)
    assert "p_value" in again.attrs


def test_trials_listed_by_label_are_no_runs_where_groups_hold_one_of_each(make_activity):
    """Trials odor by odor, exchanged within repeats that hold every odor once: their neighbours are of one repeat."""
    activity = make_activity(n_trials=40, n_odors=4).sortby("odor")
    activity = activity.assign_coords(repeat=("trial", np.tile(np.arange(10), 4)))
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="repeat")
    result = cross_validate(activity, "odor", CLOSED, folds)
    assert "p_value" in with_null(result, activity, CLOSED, folds, n_permutations=19, random_state=0).attrs


def test_p_is_given_where_runs_stay_inside_groups(make_activity):
    """Labels in random order inside every block have no runs there: exchanged within blocks, p is given."""
    activity = make_activity(n_trials=40)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group="block")
    result = cross_validate(activity, "odor", CLOSED, folds)
    assert "p_value" in with_null(result, activity, CLOSED, folds, n_permutations=19, random_state=0).attrs


def test_labelings_that_leave_one_class_to_train_on_are_left_out_and_counted(make_activity):
    """A shift that puts a class into one block only cannot be decoded from the others."""
    activity = make_activity(n_trials=24, n_times=1)
    activity = activity.assign_coords(odor=("trial", np.isin(np.arange(24), [3, 4, 13, 14]).astype(int)))
    folds = blocked_folds(activity, target="odor", n_folds=2)
    result = cross_validate(activity, "odor", CLOSED, folds)
    result = with_null(result, activity, CLOSED, folds, n_permutations=99, random_state=0, scheme=CircularShift(1))
    _, truth = np.unique(activity["odor"].values, return_inverse=True)
    rolled = [np.roll(truth, shift) for shift in range(1, 24)]
    n_out = sum(row[:12].sum() in (0, 4) for row in rolled)
    assert n_out > 0 and result.sizes["permutation"] == 23 - n_out
    assert f"; {n_out} that leave a fold with one class" in result.attrs["null_scheme"]
    assert any("prefer PseudoSession" in said for said in result.attrs["warnings"])


@pytest.mark.parametrize("decoder", [Ridge(2.0), RidgeCV([0.1, 1.0, 10.0, 1000.0]), make_decoder("ridge")])
@pytest.mark.parametrize("metric", ["r2", "rank_correlation"])
@pytest.mark.parametrize("n_units", [3, 40])
def test_ridge_nulls_by_closed_form_are_those_of_the_loop(make_activity, decoder, metric, n_units, monkeypatch):
    """To 1e-8, with a given penalty and a chosen one, with fewer and more units than trials."""
    activity = make_activity(n_trials=30, n_times=1, n_units=n_units)
    folds = folds_from_splitter(activity, KFold(5, shuffle=True, random_state=0), target="dose")
    result = cross_validate(activity, "dose", decoder, folds, metric=metric)
    asked = {"n_permutations": 12, "random_state": 0}
    fast = with_null(result, activity, decoder, folds, **asked)["null_score"].values
    monkeypatch.setattr(nulls, "value_solver_for", lambda estimator: None)
    slow = with_null(result, activity, decoder, folds, **asked)["null_score"].values
    assert_allclose(fast, slow, atol=1e-8)
    assert np.ptp(slow) > 0


@pytest.mark.parametrize("metric", ["auroc", "log_loss"])
def test_metrics_of_probabilities_have_nulls(make_activity, metric):
    """A null score is that of the probabilities of the whole chain."""
    activity = make_activity(n_trials=24, n_times=1)
    decoder = make_decoder("pooled_lda")
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    result = cross_validate(activity, "odor", decoder, folds, metric=metric)
    result = with_null(result, activity, decoder, folds, n_permutations=3, random_state=0)
    drawn, _ = draw(ExchangeTrials(), activity, folds, n=3)
    moved = activity.assign_coords(odor=("trial", drawn.labels[2]))
    again = cross_validate(moved, "odor", decoder, folds, metric=metric).attrs["score_mean"]
    assert_allclose(result["null_score"].values[2], again)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (CircularShift(15), "min_shift must lie between 1 and 12 of 24 trials, got 15"),
        (CircularShift(0), "min_shift must lie between 1 and 12 of 24 trials, got 0"),
        (ExchangeBlocks("house"), "all trials are of one house"),
        (ExchangeBlocks("blok"), "no trial column 'blok'. Nearest: 'block'"),
        (PseudoSession([]), "none were given"),
        (PseudoSession([["odor 0"] * 5]), r"label sequence 0 has shape \(5,\), and 24 trials"),
        (PseudoSession([["odor 9"] * 24]), "'odor 9', which never occurs"),
        (PseudoSession([["odor 0"] * 24]), "leaves a fold with one class to train on"),
    ],
)
def test_a_scheme_that_these_trials_do_not_allow_is_refused(make_activity, scheme, message):
    """Each says what came and what to do."""
    activity = make_activity(n_trials=24).assign_coords(house=("trial", np.zeros(24)))
    folds = blocked_folds(activity, target="odor", n_folds=3)
    result = cross_validate(activity, "odor", CLOSED, folds)
    with pytest.raises(SchemaError, match=message):
        with_null(result, activity, CLOSED, folds, n_permutations=5, random_state=0, scheme=scheme)


@pytest.mark.parametrize("scheme", [CircularShift(3), PseudoSession([["odor 0"] * 40])])
def test_folds_that_know_the_labels_are_refused_where_labels_come_from_elsewhere(make_activity, scheme):
    """Stratified by the true labels, folds would treat others worse, and p would be too small."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", CLOSED, folds)
    with pytest.raises(SchemaError, match="stratified by the true labels"):
        with_null(result, activity, CLOSED, folds, n_permutations=5, random_state=0, scheme=scheme)


def test_within_belongs_to_the_exchange_of_trials(make_activity):
    """Beside another scheme it would be ignored, so it is refused."""
    activity = make_activity()
    folds = blocked_folds(activity, target="odor", n_folds=4)
    result = cross_validate(activity, "odor", CLOSED, folds)
    with pytest.raises(SchemaError, match="CircularShift exchanges other things"):
        with_null(
            result, activity, CLOSED, folds, n_permutations=5, random_state=0, within="block", scheme=CircularShift(3)
        )


def test_values_can_come_from_other_sessions(make_activity):
    """A regressor's pseudo-sessions are numbers; words and missing ones are refused."""
    activity = make_activity()
    folds = blocked_folds(activity, target="dose", n_folds=4)
    result = cross_validate(activity, "dose", Ridge(), folds)
    asked = {"n_permutations": 30, "random_state": 0}
    scheme = PseudoSession(lambda rng: rng.normal(size=40))
    assert with_null(result, activity, Ridge(), folds, scheme=scheme, **asked).sizes["permutation"] == 30
    with pytest.raises(SchemaError, match="must hold finite numbers"):
        with_null(result, activity, Ridge(), folds, scheme=PseudoSession([[np.nan] * 40]), **asked)
