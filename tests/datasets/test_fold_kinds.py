"""Contiguous, grouped, repeated and purged folds: nobody is on both sides, gaps are kept, and refusals say why."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mitral.datasets.errors import LeakageError, SchemaError
from mitral.datasets.fold_kinds import blocked_folds, leave_one_group_out, repeated_folds
from mitral.datasets.folds import TEST, TRAIN, UNUSED, check_folds, make_folds
from mitral.datasets.pool import pseudo_population
from mitral.datasets.purge import purge, purged_folds


def activity_of(labels, **columns):
    """Activity without content, whose trials have these columns."""
    n = len(labels)
    return xr.DataArray(
        np.zeros((n, 1, 1)),
        dims=("trial", "time", "unit"),
        coords={"trial": 10 + np.arange(n), "time": [0.0], "unit": [columns.pop("unit", "s/u")]}
        | {name: ("trial", values) for name, values in ({"odor": labels} | columns).items()},
        attrs={"session": "s", "animal": "m", "event": "onset", "bin_width_s": 1.0, "units": ""},
    )


ALTERNATING = activity_of(["a", "b"] * 12, block=np.repeat(range(6), 4), onset=np.arange(24) * 5.0)


@given(st.integers(2, 6), st.integers(1, 4), st.integers(24, 60))
def test_blocks_are_contiguous_whole_and_tested_once(n_folds, blocks_a_fold, n_trials):
    """Every trial is tested once; the trials of a block follow each other and are on one side."""
    activity = activity_of(["a", "b"] * n_trials)
    folds = blocked_folds(activity, target="odor", n_folds=n_folds, n_blocks=n_folds * blocks_a_fold)
    assert_array_equal((folds == TEST).sum("fold"), 1)
    block = folds["group"].values
    assert np.all(np.diff(block) >= 0) and len(np.unique(block)) == n_folds * blocks_a_fold
    sizes = np.bincount(block)
    assert sizes.max() - sizes.min() <= 1
    assert_array_equal(folds.values == TEST, block % n_folds == np.arange(n_folds)[:, None])


def test_blocks_do_not_look_at_the_labels():
    """The same trials with other labels have the same folds: a null may then shift labels in time."""
    other = ALTERNATING.assign_coords(odor=("trial", np.random.default_rng(0).permutation(ALTERNATING["odor"].values)))
    made = [blocked_folds(activity, target="odor", n_folds=4) for activity in (ALTERNATING, other)]
    assert_array_equal(*made)
    assert "stratified" not in made[0].attrs["folds"]


def test_blocks_of_a_column_are_kept_whole():
    """Six recorded blocks over three folds: each fold tests the blocks b with b modulo 3 its number."""
    folds = blocked_folds(ALTERNATING, target="odor", n_folds=3, group="block")
    tested = [np.unique(ALTERNATING["block"].values[side == TEST]).tolist() for side in folds.values]
    assert tested == [[0, 3], [1, 4], [2, 5]]


def test_each_group_is_left_out_once():
    """As many folds as groups, each named."""
    folds = leave_one_group_out(ALTERNATING, target="odor", group="block")
    for fold, name in zip(folds, folds["left_out"].values, strict=True):
        assert_array_equal(fold.values == TEST, ALTERNATING["block"].values == name)
    assert folds.sizes["fold"] == 6


@pytest.mark.parametrize("group", [None, "block"])
def test_repeats_are_folds_with_other_shuffles(group):
    """Every repeat tests each trial once, the classes alike, groups whole; repeats differ, seeds repeat them."""
    asked = {"target": "odor", "n_folds": 3, "n_repeats": 4, "random_state": 0, "group": group}
    folds = repeated_folds(ALTERNATING, **asked)
    assert_array_equal((folds == TEST).groupby("repeat").sum("fold"), 1)
    assert len({folds.values[folds["repeat"].values == repeat].tobytes() for repeat in range(4)}) > 1
    assert_array_equal(folds, repeated_folds(ALTERNATING, **asked))
    assert folds.attrs["folds"].startswith("4 times 3 folds")


@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 10**6))
def test_no_training_trial_is_within_the_gap(gap, n_folds, seed):
    """By a loop over all pairs: training trials are exactly those farther than the gap from every test trial."""
    rng = np.random.default_rng(seed)
    sides = np.where(rng.integers(0, 6, 40) // 2 == 0, TEST, TRAIN)
    sides[:12], sides[30:] = TRAIN, TRAIN
    sides[20] = TEST
    activity = activity_of(["a", "b"] * 20, onset=np.cumsum(rng.uniform(1, 9, 40)))
    folds = xr.DataArray(sides[None].astype(np.int8), dims=("fold", "trial"), coords={"trial": activity["trial"]})
    onset = activity["onset"].values
    for purged, place, limit in (
        (purge(folds, activity, gap_trials=gap), np.arange(40), gap),
        (purge(folds, activity, gap_s=gap * 5.0), onset, gap * 5.0),
        (purge(folds, activity, gap_s=gap * 5.0, time="onset"), onset, gap * 5.0),
    ):
        nearest = np.array([min(abs(place[i] - place[j]) for j in np.flatnonzero(sides == TEST)) for i in range(40)])
        expected = np.where((sides == TRAIN) & (nearest <= limit), UNUSED, sides)
        assert_array_equal(purged.values[0], expected)
        assert purged.attrs["n_purged"] == np.sum((sides == TRAIN) & (nearest <= limit))


def test_purged_folds_say_their_gap():
    """One call makes them; the words and the count are kept with the folds."""
    folds = purged_folds(ALTERNATING, target="odor", n_folds=4, gap_s=10.0)
    assert folds.attrs["folds"].endswith("training trials within 10 s of a test trial out")
    assert folds.attrs["n_purged"] == 6 * 2  # six borders between the four blocks, two trials each side of a block


RUNS = activity_of(["a"] * 12 + ["b"] * 12, block=np.repeat(range(2), 12), back=[0] * 8 + [1] * 8 + [0] * 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: blocked_folds(ALTERNATING, target="odor", n_folds=1), "n_folds must be .* at least 2, got 1"),
        (lambda: blocked_folds(ALTERNATING, target="odor", n_folds=2, n_blocks=30), "24 trials cannot be cut into 30"),
        (lambda: blocked_folds(ALTERNATING, target="odor", n_folds=4, n_blocks=3), "3 blocks, fewer than 4 folds"),
        (
            lambda: blocked_folds(ALTERNATING, target="odor", n_folds=2, n_blocks=4, group="block"),
            "'block' or 4 of equal size, not both",
        ),
        (lambda: blocked_folds(RUNS, target="odor", n_folds=2, group="back"), "back '0' is not contiguous"),
        (lambda: blocked_folds(RUNS, target="odor", n_folds=2), "fold 0 trains without odor 'a'"),
        (lambda: leave_one_group_out(RUNS, target="odor", group="block"), "fold 0 trains without odor 'a'"),
        (lambda: leave_one_group_out(RUNS[:12], target="odor", group="block"), "all trials are of block 0"),
        (
            lambda: repeated_folds(ALTERNATING, target="odor", n_folds=2, n_repeats=0, random_state=0),
            "n_repeats must be at least 1, got 0",
        ),
        (lambda: purged_folds(ALTERNATING, target="odor", n_folds=2), "a gap in trials or in seconds"),
        (
            lambda: purged_folds(ALTERNATING, target="odor", n_folds=2, gap_s=3.0, gap_trials=2),
            "a gap in trials or in seconds",
        ),
        (lambda: purged_folds(ALTERNATING, target="odor", n_folds=2, gap_trials=0), "must be positive, got 0"),
        (lambda: purged_folds(ALTERNATING, target="odor", n_folds=2, gap_s=3.0, time="tone"), "no trial column 'tone'"),
        (lambda: purged_folds(ALTERNATING, target="odor", n_folds=2, gap_s=3.0, time="odor"), "needs times in s"),
        (
            lambda: purge(make_folds(ALTERNATING, target="odor", n_folds=2, random_state=0), ALTERNATING, gap_trials=9),
            "no training trial farther than 9 trials",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(make, message):
    """Each refusal says what came and what to do."""
    with pytest.raises(SchemaError, match=message):
        make()


def test_a_gap_that_takes_a_class_away_is_refused():
    """Trials of a that all lie next to the tested block would leave a decoder of one class."""
    activity = activity_of(list("aabbaaaaaaaabb"))
    with pytest.raises(SchemaError, match="fold 0 trains without odor 'a'"):
        purged_folds(activity, target="odor", n_folds=2, gap_trials=5, n_blocks=2)


def test_groups_that_have_moved_are_caught():
    """Folds that kept blocks whole, handed activity whose blocks were named anew."""
    folds = make_folds(ALTERNATING, target="odor", n_folds=3, random_state=0, group="block")
    with pytest.raises(SchemaError, match="not the 'block' of the activity any more"):
        check_folds(folds, ALTERNATING.assign_coords(block=("trial", ALTERNATING["block"].values[::-1])))


def test_a_trial_that_is_there_twice_is_caught():
    """Resampled trials, with their ids, are no independent trials."""
    twice = ALTERNATING.isel(trial=[*range(12), *range(12)])
    folds = make_folds(ALTERNATING, target="odor", n_folds=2, random_state=0)
    with pytest.raises(SchemaError, match="a trial id is there twice"):
        check_folds(folds.assign_coords(trial=twice["trial"].values), twice)


@pytest.fixture
def pool():
    """Pseudo-trials of two sessions, with their folds."""
    cohort = {name: activity_of(["a", "b"] * 12, unit=f"{name}/u") for name in "cd"}
    folds = {name: make_folds(each, target="odor", n_folds=3, random_state=0) for name, each in cohort.items()}
    return pseudo_population(cohort, folds, target="odor", random_state=0)


def test_pseudo_trials_are_not_split_anew(pool):
    """Pseudo-trials of two folds share trials of the sessions: other folds than their own would leak."""
    activity, folds = pool
    check_folds(folds, activity)
    with pytest.raises(LeakageError, match="matched for different folds"):
        make_folds(activity, target="odor", n_folds=3, random_state=0)


def test_pseudo_trials_have_no_order(pool):
    """Neither blocks nor gaps mean anything for them."""
    with pytest.raises(SchemaError, match="pseudo-trials have none"):
        blocked_folds(pool[0], target="odor", n_folds=3)
    with pytest.raises(SchemaError, match="pseudo-trials have none"):
        purge(pool[1], pool[0], gap_trials=1)
