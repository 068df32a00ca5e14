"""Folds partition trials and keep groups whole, from any splitter; labels are permuted within groups."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from numpy.testing import assert_array_equal
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    TimeSeriesSplit,
)

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import (
    TEST,
    TRAIN,
    UNUSED,
    check_folds,
    folds_from_splitter,
    make_folds,
    permute_labels,
    trial_column,
)


def an_activity(odor, **columns):
    """One bin of one unit for each odor; trial ids that are no positions."""
    n_trials = len(odor)
    return xr.DataArray(
        np.zeros((n_trials, 1, 1)),
        dims=("trial", "time", "unit"),
        coords={"trial": np.arange(n_trials) + 100, "time": [0.0], "unit": ["u"], "odor": ("trial", odor)}
        | {name: ("trial", values) for name, values in columns.items()},
        attrs={"session": "s1", "animal": "m1", "event": "onset", "bin_width_s": 0.1, "units": "Hz"},
    )


BLOCKED = an_activity(list("abcd") * 6, block=np.repeat(np.arange(6), 4))


@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 3), st.integers(0, 99))
def test_each_trial_is_tested_once_and_trains_in_the_other_folds(n_folds, n_classes, n_extra, random_state):
    """For any number of classes and folds, classes equal or not, in any order."""
    odor = np.repeat(np.arange(n_classes), n_folds).tolist() + [0] * n_extra
    odor = np.random.default_rng(random_state).permutation(odor)
    folds = make_folds(an_activity(odor), target="odor", n_folds=n_folds, random_state=random_state)
    assert folds.dims == ("fold", "trial") and folds.dtype == np.int8
    assert_array_equal(np.sum(folds == TEST, axis=0), 1)
    assert_array_equal(np.sum(folds == TRAIN, axis=0), n_folds - 1)
    for label in range(n_classes):
        n_tested = np.sum((folds.values == TEST) & (odor == label), axis=1)
        assert n_tested.min() >= 1 and np.ptp(n_tested) <= 1


def test_folds_carry_the_ids_of_the_trials_and_say_how_they_were_made():
    """So that they can be checked against an activity, and read in a report."""
    folds = make_folds(BLOCKED, target="odor", n_folds=3, random_state=0)
    assert folds["trial"].values.tolist() == list(range(100, 124)) and "group" not in folds.coords
    assert folds.attrs["folds"] == "3 folds (StratifiedKFold), stratified by odor, trial by trial"
    grouped = make_folds(BLOCKED, target="odor", n_folds=3, random_state=0, group="block")
    assert grouped.attrs["folds"] == "3 folds (StratifiedGroupKFold), stratified by odor, block kept whole"
    assert folds_from_splitter(BLOCKED, KFold(2), target="odor").attrs["folds"] == "2 folds (KFold), trial by trial"


def test_the_seed_decides():
    """The same seed gives the same folds, another seed others."""
    first, again, other = (
        make_folds(BLOCKED, target="odor", n_folds=3, random_state=seed).values for seed in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert np.any(first != other)


@given(st.integers(2, 6), st.integers(0, 99))
def test_groups_never_part(n_folds, random_state):
    """Every block trains or tests as a whole, and the folds remember the blocks."""
    folds = make_folds(BLOCKED, target="odor", n_folds=n_folds, random_state=random_state, group="block")
    assert_array_equal(folds["group"], BLOCKED["block"])
    assert folds["group"].attrs == {"column": "block"}
    assert_array_equal(np.sum(folds == TEST, axis=0), 1)
    for block in range(6):
        assert all(len(set(side[BLOCKED["block"].values == block])) == 1 for side in folds.values)


@pytest.mark.parametrize(
    "splitter, group, n_folds",
    [
        (KFold(4, shuffle=True, random_state=0), None, 4),
        (LeaveOneOut(), None, 24),
        (ShuffleSplit(5, train_size=10, test_size=4, random_state=0), None, 5),
        (TimeSeriesSplit(3), None, 3),
        (RepeatedStratifiedKFold(n_splits=2, n_repeats=3, random_state=0), None, 6),
        (PredefinedSplit(np.arange(24) % 3 - 1), None, 2),
        (GroupKFold(3), "block", 3),
        (LeaveOneGroupOut(), "block", 6),
        (StratifiedGroupKFold(2), "block", 2),
    ],
    ids=repr,
)
def test_any_splitter_makes_the_folds_that_it_splits(splitter, group, n_folds):
    """Trials that it names on no side are unused."""
    folds = folds_from_splitter(BLOCKED, splitter, target="odor", group=group)
    labels, groups = BLOCKED["odor"].values, None if group is None else BLOCKED[group].values
    splits = list(splitter.split(np.zeros((24, 1)), labels, groups))
    assert folds.sizes["fold"] == n_folds == len(splits)
    for side, (train, test) in zip(folds.values, splits, strict=True):
        assert_array_equal(np.flatnonzero(side == TRAIN), np.sort(train))
        assert_array_equal(np.flatnonzero(side == TEST), np.sort(test))
        assert np.sum(side == UNUSED) == 24 - len(train) - len(test)


class Splits:
    """A splitter that gives what it was given."""

    def __init__(self, *splits):
        self.splits = splits

    def __repr__(self):
        return f"Splits of {len(self.splits)}"  # a name that does not change, so that workers collect the same tests

    def split(self, X, y, groups):
        return iter(self.splits)


@pytest.mark.parametrize(
    "splitter, group, match",
    [
        (5, None, r"expected a scikit-learn splitter, such as KFold\(5\), got int"),
        (KFold(30), None, "KFold cannot split these 24 trials by 'odor': .*greater than the number of samples"),
        (GroupKFold(2), None, "GroupKFold cannot split.*groups"),
        (Splits(), None, "Splits made no folds"),
        (Splits(([0, 1, 2], [2, 3])), None, "Splits puts trial 102 on both sides"),
        (Splits(([0, 1], [])), None, "fold 0 has no test trials. Use fewer folds"),
        (Splits(([0, 1], [2]), ([], [2])), None, "fold 1 has no training trials"),
        (KFold(2, shuffle=True, random_state=0), "block", "group '0' is on both sides of fold 0.*GroupKFold"),
        (KFold(2), "cage", "there is no trial column 'cage'"),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored:UserWarning")
def test_a_splitter_that_cannot_serve_is_refused(splitter, group, match):
    """None at all, too few trials, no groups, no folds, or a trial or group on both sides."""
    with pytest.raises(SchemaError, match=match):
        folds_from_splitter(BLOCKED, splitter, target="odor", group=group)


@pytest.mark.parametrize(
    "activity, n_folds, group, match",
    [
        (an_activity(["a"] * 6), 2, None, r"target 'odor' has one class only \('a'\), so there is nothing to decode"),
        (an_activity(list("ab") * 3), 4, None, "odor 'a' has 3 trials, fewer than 4 folds. Use at most 3 folds"),
        (an_activity(list("aab") * 3 + ["c"]), 2, None, "odor 'c' has 1 trials, fewer than 2 folds. Leave that"),
        (an_activity([0.1, 0.2, 0.3, 0.4]), 2, None, r"without classes takes folds_from_splitter\(activity, KFold"),
        (an_activity(list("ab") * 3), 1, None, "n_folds must be a whole number of at least 2, got 1"),
        (an_activity(list("ab") * 3), 2.0, None, "n_folds must be a whole number"),
        (an_activity(list("ab") * 3), True, None, "n_folds must be a whole number of at least 2, got True"),
        (BLOCKED.isel(trial=slice(0, 12)), 3, "odor", "trains without odor"),
        (an_activity(list("ab") * 6, block=[0, 1] * 6), 3, "block", "2 groups of 'block', fewer than 3 folds"),
        (an_activity(list("ab") * 6), 3, "block", "there is no trial column 'block'"),
        (an_activity(["a", ""] * 3), 2, None, r"'odor' is missing in 3 trials \(101, 103, 105\). Select"),
        (BLOCKED.isel(trial=[]), 2, None, "it has no trials"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(activity, n_folds, group, match):
    """One class, fewer trials or groups than folds, a fold that would train without a class, missing labels."""
    with pytest.raises(SchemaError, match=match):
        make_folds(activity, target="odor", n_folds=n_folds, random_state=0, group=group)


def test_an_unknown_target_is_answered_with_the_nearest():
    """A misspelt column."""
    with pytest.raises(SchemaError, match="no trial column 'odour'. Nearest: 'odor'"):
        make_folds(BLOCKED, target="odour", n_folds=2, random_state=0)


FOLDS = make_folds(BLOCKED, target="odor", n_folds=3, random_state=0, group="block")


def test_folds_of_an_activity_pass_unchanged():
    """After a round of selecting the same trials too."""
    assert check_folds(FOLDS, BLOCKED) is FOLDS


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda f: f.values, r"expected a DataArray on \(fold, trial\), got ndarray"),
        (lambda f: f.T, r"got \('trial', 'fold'\). Make them with make_folds"),
        (lambda f: f.isel(trial=slice(0, 20)), "folds are of 20 trials, the activity has 24, and their ids differ"),
        (lambda f: f.isel(trial=slice(None, None, -1)), "their ids differ"),
        (lambda f: f.assign_coords(trial=np.arange(24)), "their ids differ. Make the folds from this very activity"),
        (lambda f: f.isel(fold=[]), "there are no folds"),
        (lambda f: f + 1, "must be 0 unused, 1 train, 2 test; found 3"),
        (lambda f: f.where(f != 2, 0), "fold 0 has no test trials"),
        (lambda f: f.where(f != 1, 0), "fold 0 has no training trials"),
        (lambda f: f.assign_coords(group=("trial", np.arange(24) % 6)), "group '.' is on both sides of fold 0"),
    ],
)
def test_folds_that_do_not_fit_are_refused(spoil, match):
    """Other trials, other values, an empty side, a group that was parted."""
    with pytest.raises(SchemaError, match=match):
        check_folds(spoil(FOLDS), BLOCKED)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40), st.integers(0, 99))
def test_permuting_keeps_the_labels_of_every_group(pairs, seed):
    """The multiset of labels in each group is what it was; without groups, that of all."""
    labels, within = np.array(pairs).T
    rng = np.random.default_rng(seed)
    permuted = permute_labels(labels, rng, within=within)
    for group in np.unique(within):
        assert_array_equal(np.sort(permuted[within == group]), np.sort(labels[within == group]))
    assert_array_equal(np.sort(permute_labels(labels, rng)), np.sort(labels))


def test_every_order_within_groups_is_equally_likely():
    """Three labels in one group and one in another: 6 orders, 600 draws, each within four standard errors (9.1)."""
    rng = np.random.default_rng(0)
    labels, within = np.array([0, 1, 9, 2]), np.array(["x", "x", "y", "x"])
    drawn = pd.Series([tuple(permute_labels(labels, rng, within=within).tolist()) for _ in range(600)])
    counts = drawn.value_counts()
    assert len(counts) == 6 and all(order[2] == 9 for order in counts.index)
    assert np.all(np.abs(counts - 100) < 4 * 9.1)


def test_permuting_leaves_the_labels_as_they_were():
    """A copy, with groups or without; groups of another length are refused."""
    labels = np.array(["a", "b", "c", "d"])
    for within in (None, np.array([0, 0, 1, 1])):
        permute_labels(labels, np.random.default_rng(1), within=within)
        assert labels.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(SchemaError, match="expected one group for each of 4 labels, got 3"):
        permute_labels(labels, np.random.default_rng(0), within=np.zeros(3))


@pytest.mark.parametrize(
    "values, n_missing",
    [
        ([1.0, np.nan, np.inf], 2),
        (["a", "", "b"], 1),
        (np.array(["a", None, ""], dtype=object), 2),
        (np.array(["2026-01-01", "NaT", "NaT"], dtype="datetime64[ns]"), 2),
    ],
)
def test_missing_values_of_a_column_are_counted_and_named(values, n_missing):
    """NaN, infinity, empty text, None and NaT, with the ids of the trials."""
    activity = an_activity(list("abc"), column=values)
    with pytest.raises(SchemaError, match=f"'column' is missing in {n_missing} trials .*10.*Select trials"):
        trial_column(activity, "column")


def test_many_missing_values_are_shortened():
    """Five ids are enough."""
    with pytest.raises(SchemaError, match=r"\(100, 101, 102, 103, 104, …\)"):
        trial_column(an_activity(list("abcdef"), column=np.full(6, np.nan)), "column")


def test_columns_of_trajectories_are_read_alike():
    """A trajectory has latents for units."""
    trajectory = BLOCKED.drop_vars("unit").rename(unit="latent").assign_coords(latent=[0])
    assert trial_column(trajectory, "odor").tolist() == list("abcd") * 6
    assert make_folds(trajectory, target="odor", n_folds=2, random_state=0).sizes["fold"] == 2
