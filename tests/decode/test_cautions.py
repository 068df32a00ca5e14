"""Warnings in words: each is said where it holds, and nothing is said where nothing is to beware of."""

import numpy as np
import pytest

from mitral.datasets.fold_kinds import blocked_folds, leave_one_group_out
from mitral.datasets.folds import folds_from_splitter, make_folds
from mitral.datasets.purge import purged_folds
from mitral.decode.cautions import cautions


def said_of(activity, folds, *, target="odor", for_classes=True):
    """The warnings of this problem."""
    values = activity[target].values
    return cautions(activity, np.unique(values, return_inverse=True)[1] if for_classes else values, folds, for_classes)


def test_nothing_is_said_of_a_plain_design(make_activity):
    """40 trials of two odors in random order, whole blocks or single trials: no warning."""
    for seed in range(5):
        activity = make_activity(seed=seed)
        for group in (None, "block"):
            folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group=group)
            assert said_of(activity, folds) == []
        assert said_of(activity, folds, target="dose", for_classes=False) == []


def test_chance_of_unequal_classes_is_said(make_activity):
    """10 of one and 30 of the other: one in two for balanced accuracy, three in four for accuracy."""
    activity = make_activity().assign_coords(odor=("trial", np.random.default_rng(0).permutation([0] * 10 + [1] * 30)))
    (said,) = said_of(activity, make_folds(activity, target="odor", n_folds=4, random_state=0))
    assert said.startswith("Classes are unequal (10 to 30 trials)")
    assert "1/k = 0.5 but 0.75" in said


def test_labels_in_runs_are_said(make_activity):
    """And whole blocks in the folds, or pseudo-sessions, are what helps."""
    activity = make_activity().assign_coords(odor=("trial", np.arange(40) // 10 % 2))
    (said,) = said_of(activity, make_folds(activity, target="odor", n_folds=4, random_state=0))
    assert said.startswith("Labels come in runs")


def test_classes_that_a_fold_does_not_test_are_said(make_activity):
    """Blocks of one odor each: every fold tests one class, so its score is no accuracy over both."""
    activity = make_activity().assign_coords(odor=("trial", np.arange(40) // 5 % 2), run=("trial", np.arange(40) // 5))
    said = said_of(activity, leave_one_group_out(activity, target="odor", group="run"))
    assert any("8 of 8 folds test only some of the classes" in each for each in said)
    assert any("arranged in 1 ways inside the folds and groups" in each for each in said)


def test_classes_with_too_few_trials_are_said(make_activity):
    """One training trial of a class, and too few orders for p = 0.05."""
    activity = make_activity(n_trials=4).assign_coords(odor=("trial", ["a", "b", "a", "b"]))
    said = said_of(activity, make_folds(activity, target="odor", n_folds=2, random_state=0))
    assert any("A class has 1 training trials in fold 0" in each for each in said)
    assert any("can be arranged in 4 ways" in each and "below 0.25" in each for each in said)


def test_few_groups_are_said(make_activity):
    """Three blocks are too few for an interval over blocks; five are not."""
    activity = make_activity()
    for n_folds, is_few in ((3, True), (5, False)):
        folds = blocked_folds(activity, target="odor", n_folds=n_folds)
        said = [each for each in said_of(activity, folds) if each.startswith(f"Only {n_folds} groups")]
        assert bool(said) is is_few


def test_windows_that_overlap_are_said(make_activity):
    """Trials 1 s apart in windows of 2 s share spikes across the sides of the folds; a gap of 2 s parts them."""
    activity = make_activity(n_times=20).assign_coords(onset=("trial", np.arange(40.0)))
    folds = blocked_folds(activity, target="odor", n_folds=4)
    (said,) = said_of(activity, folds)[-1:] or [""]
    assert said.startswith("The windows of 3 pairs of neighbouring trials overlap")
    purged = purged_folds(activity, target="odor", n_folds=4, gap_s=2.0)
    assert not any("overlap" in each for each in said_of(activity, purged))
    apart = activity.assign_coords(onset=("trial", np.arange(40) * 2.0))
    assert not any("overlap" in each for each in said_of(apart, folds))


@pytest.mark.parametrize(
    ("attrs", "start"),
    [({"averaged_over_trials": True}, "The recording is averaged"), ({"population": "pseudo-population"}, "Pseudo-")],
)
def test_what_the_recording_is_is_said(make_activity, attrs, start):
    """Averages and pseudo-populations are named."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    assert said_of(activity.assign_attrs(attrs), folds)[0].startswith(start)


def test_repeated_tests_of_a_trial_are_no_problem(make_activity):
    """Random splits test trials several times; the warnings are those of the design."""
    from sklearn.model_selection import StratifiedShuffleSplit

    activity = make_activity()
    folds = folds_from_splitter(activity, StratifiedShuffleSplit(6, random_state=0), target="odor")
    assert said_of(activity, folds) == []
