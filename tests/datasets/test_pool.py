"""Condition means against pandas; pseudo-populations that keep training and test trials apart."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import TEST, TRAIN, UNUSED, check_folds, make_folds
from mitral.datasets.pool import condition_means, pseudo_population


def an_activity(values, odor, *, session="s1", **columns):
    """Activity with the trial columns ``odor`` and others; unit ids begin with the session."""
    n_trials, n_times, n_units = values.shape
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials),
            "time": (np.arange(n_times) + 0.5) / 10,
            "unit": [f"{session}/u{u}" for u in range(n_units)],
            "area": ("unit", ["OB"] * n_units),
            "odor": ("trial", odor),
        }
        | {name: ("trial", column) for name, column in columns.items()},
        attrs={"session": session, "animal": session, "event": "onset", "bin_width_s": 0.1, "units": "Hz"},
    )


def noise(n_trials=30, *, session="s1", seed=0):
    """Three trials of noise an odor and block, blind to both; some bins NaN."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_trials, 4, 3))
    values[rng.random(values.shape) < 0.1] = np.nan
    odor = rng.permutation(np.resize(["c", "a", "b"], n_trials))
    return an_activity(values, odor, session=session, concentration=rng.choice([0.1, 0.01], n_trials))


def test_condition_means_are_those_of_pandas():
    """By two columns, in sorted order, NaN left out bin by bin, with the number of trials."""
    activity = noise()
    activity["concentration"].attrs["units"] = "ppm"
    means = condition_means(activity, by=("odor", "concentration"))
    frame = pd.DataFrame(activity.values.reshape(30, -1))
    groups = frame.groupby([activity["odor"].values, activity["concentration"].values])
    assert_allclose(means.values.reshape(len(groups), -1), groups.mean(), rtol=1e-5, atol=1e-6)
    assert_array_equal(means["n_averaged"], groups.size())
    assert list(zip(means["odor"].values, means["concentration"].values, strict=True)) == list(groups.size().index)
    assert means["concentration"].attrs == {"units": "ppm"}


def test_condition_means_are_an_activity_that_says_it_is_averaged():
    """float32 on the same bins and units, one trial a condition."""
    activity = noise()
    means = condition_means(activity, by="odor")
    assert means.shape == (3, 4, 3) and means.dtype == np.float32 and means.name == activity.name
    assert means["trial"].values.tolist() == [0, 1, 2] and means["area"].values.tolist() == ["OB"] * 3
    assert_array_equal(means["time"], activity["time"])
    assert means.attrs == activity.attrs | {"averaged_over_trials": True}


def test_a_bin_that_is_nan_in_every_trial_stays_nan():
    """And no warning is given."""
    values = np.ones((4, 2, 1))
    values[[0, 2], 1] = np.nan
    means = condition_means(an_activity(values, list("abab")), by="odor")
    assert_array_equal(means.values[:, :, 0], [[1, np.nan], [1, 1]])


def test_means_of_trajectories_keep_the_mark_of_the_fit():
    """A mean that holds one fitted trial is fitted: it may not be scored."""
    activity = an_activity(np.ones((4, 2, 1)), list("abab"), in_fit=[True, False, False, False])
    trajectory = activity.drop_vars(["unit", "area"]).rename(unit="latent").assign_coords(latent=[0])
    means = condition_means(trajectory, by="odor")
    assert means.dims == ("trial", "time", "latent") and means["latent"].values.tolist() == [0]
    assert means["in_fit"].values.tolist() == [True, False]


@pytest.mark.parametrize(
    "by, match",
    [((), "'by' names at least one trial column"), (("odr",), "no trial column 'odr'. Nearest: 'odor'")],
)
def test_means_by_nothing_are_refused(by, match):
    """No column, or one that is not there."""
    with pytest.raises(SchemaError, match=match):
        condition_means(noise(), by=by)


def test_means_by_a_column_with_gaps_are_refused():
    """A trial without a label belongs to no condition."""
    with pytest.raises(SchemaError, match="'odor' is missing in 1 trials"):
        condition_means(an_activity(np.ones((3, 1, 1)), ["a", "", "b"]), by="odor")


def a_cohort(n_trials=(12, 18, 15), n_folds=3, seed=0):
    """Sessions of unequal trial counts whose every value names its session and trial: 1000 s + trial."""
    cohort, folds = {}, {}
    for number, n in enumerate(n_trials):
        session = f"s{number}"
        values = np.broadcast_to((1000.0 * number + np.arange(n))[:, None, None], (n, 2, number + 1)).copy()
        odor = np.random.default_rng(seed + number).permutation(np.resize(["a", "b", "c"], n))
        cohort[session] = an_activity(values, odor, session=session)
        folds[session] = make_folds(cohort[session], target="odor", n_folds=n_folds, random_state=seed)
    return cohort, folds


def sources(pooled, session):
    """Position of the session's trial in each pseudo-trial."""
    mine = pooled["unit_session"].values == session
    return (pooled.values[:, 0, mine][:, 0] - 1000 * int(session[1:])).astype(int)


@pytest.mark.parametrize("seed", range(3))
def test_no_trial_is_on_both_sides_of_a_fold(seed):
    """In each fold, the trials of a session behind test pseudo-trials are test trials there, and train in none."""
    cohort, folds = a_cohort(seed=seed)
    pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=seed)
    for fold, side in enumerate(pooled_folds.values):
        for session in cohort:
            trained, tested = (sources(pooled, session)[side == number] for number in (TRAIN, TEST))
            assert not set(trained) & set(tested)
            assert set(trained) <= set(np.flatnonzero(folds[session].values[fold] == TRAIN))
            assert set(tested) <= set(np.flatnonzero(folds[session].values[fold] == TEST))


def test_trials_are_matched_by_label_and_used_once():
    """All units of a pseudo-trial smelt its odor, whole trials at a time; the fewest trials decide how many."""
    cohort, folds = a_cohort()
    pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=0)
    for fold, side in enumerate(pooled_folds.values):
        for session, activity in cohort.items():
            used = sources(pooled, session)[side != UNUSED]
            assert len(set(used)) == len(used)
            assert_array_equal(activity["odor"].values[used], pooled["odor"].values[side != UNUSED])
        for number in (TRAIN, TEST):
            for odor in "abc":
                available = [
                    np.sum((folds[s].values[fold] == number) & (cohort[s]["odor"].values == odor)) for s in cohort
                ]
                assert np.sum((side == number) & (pooled["odor"].values == odor)) == min(available)
    for trial in range(pooled.sizes["trial"]):
        for session in cohort:
            mine = pooled["unit_session"].values == session
            assert np.ptp(pooled.values[trial][:, mine]) == 0


def test_every_pseudo_trial_belongs_to_one_fold():
    """It is unused in the others, so that no trial of theirs is met again."""
    cohort, folds = a_cohort()
    pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=0)
    assert pooled_folds.shape == (3, pooled.sizes["trial"]) and check_folds(pooled_folds, pooled) is pooled_folds
    assert_array_equal(np.sum(pooled_folds != UNUSED, axis=0), 1)
    assert_array_equal(np.argmax(pooled_folds.values != UNUSED, axis=0), pooled["fold_of_trial"])


def test_units_stand_side_by_side_under_their_sessions():
    """All of them, in the order of the sessions, and the pool says what it is made of."""
    cohort, folds = a_cohort()
    cohort["s0"]["odor"].attrs["note"] = "kept"
    pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=0)
    assert pooled["unit"].values.tolist() == ["s0/u0", "s1/u0", "s1/u1", "s2/u0", "s2/u1", "s2/u2"]
    assert pooled["unit_session"].values.tolist() == ["s0", "s1", "s1", "s2", "s2", "s2"]
    assert pooled.attrs["sessions"] == ["s0", "s1", "s2"] and pooled.attrs["animal"] == "s0, s1, s2"
    assert pooled.attrs["population"] == "pseudo-population" and "3 sessions" in pooled.attrs["session"]
    assert pooled["odor"].attrs == {"note": "kept"} and "split first, then matched" in pooled_folds.attrs["folds"]


def test_the_seed_decides_the_matching():
    """The same seed gives the same pseudo-trials, another seed others."""
    cohort, folds = a_cohort()
    first, again, other = (
        pseudo_population(cohort, folds, target="odor", random_state=seed)[0] for seed in (0, 0, 1)
    )
    xr.testing.assert_identical(first, again)
    assert np.any(first.values != other.values)


def test_noise_decodes_at_chance():
    """20 pools of 4 noise sessions, 2 classes: the mean accuracy is 0.5 within 3 standard errors over pools."""
    accuracy = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        odor = np.repeat(["a", "b"], 10)
        cohort = {f"s{i}": an_activity(rng.normal(size=(20, 1, 8)), odor, session=f"s{i}") for i in range(4)}
        folds = {s: make_folds(a, target="odor", n_folds=5, random_state=seed) for s, a in cohort.items()}
        pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=seed)
        right = []
        for side in pooled_folds.values:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            model.fit(pooled.values[side == TRAIN, 0], pooled["odor"].values[side == TRAIN])
            right += (model.predict(pooled.values[side == TEST, 0]) == pooled["odor"].values[side == TEST]).tolist()
        accuracy.append(np.mean(right))
    error = np.std(accuracy, ddof=1) / np.sqrt(20)
    assert error < 0.05 and abs(np.mean(accuracy) - 0.5) < 3 * error


def other_bins(cohort, folds):
    cohort["s1"] = cohort["s1"].assign_coords(time=[0.5, 1.5])


def other_number_of_bins(cohort, folds):
    cohort["s1"] = cohort["s1"].isel(time=[0])


def no_folds(cohort, folds):
    del folds["s1"]


def other_folds(cohort, folds):
    folds["s1"] = make_folds(cohort["s1"], target="odor", n_folds=2, random_state=0)


def folds_of_another(cohort, folds):
    folds["s1"] = folds["s2"]


def one_session(cohort, folds):
    del cohort["s1"], cohort["s2"]


def one_class_less(cohort, folds):
    cohort["s1"] = cohort["s1"].isel(trial=cohort["s1"]["odor"].values != "c")
    folds["s1"] = make_folds(cohort["s1"], target="odor", n_folds=3, random_state=0)


def a_class_that_is_never_tested(cohort, folds):
    folds["s1"] = folds["s1"].where((folds["s1"] != TEST) | (cohort["s1"]["odor"].values != "b"), UNUSED)


def a_class_that_never_trains(cohort, folds):
    folds["s1"] = folds["s1"].where((folds["s1"] != TRAIN) | (cohort["s1"]["odor"].values != "b"), UNUSED)


def the_same_session_twice(cohort, folds):
    cohort["s1"], folds["s1"] = cohort["s2"], folds["s2"]


def rates_among_counts(cohort, folds):
    cohort["s1"].attrs["units"] = "spikes per bin"


def another_event(cohort, folds):
    cohort["s1"].attrs["event"] = "reward"


def no_activity(cohort, folds):
    cohort["s1"] = cohort["s1"].values


@pytest.mark.parametrize(
    "spoil, match",
    [
        (one_session, "joins at least two sessions, got 1. Decode one with cross_validate"),
        (no_folds, "'s1' has no folds. Split every session with make_folds, then pool"),
        (other_folds, "'s1' has 2 folds, 's0' has 3. Split all sessions"),
        (folds_of_another, "session 's1'.*folds are of 15 trials, the activity has 18"),
        (other_bins, "'s1' has other time bins than 's0'"),
        (other_number_of_bins, "'s1' has other time bins than 's0'"),
        (one_class_less, "'s1' and 's0' do not share odor 'c'. Select the classes in common"),
        (a_class_that_is_never_tested, "'s1': odor 'b' has no test trial in fold 0. Use fewer folds"),
        (a_class_that_never_trains, "'s1': odor 'b' has no training trial in fold 0"),
        (the_same_session_twice, "unit 's2/u0' is in session 's1' and in 's2'"),
        (rates_among_counts, "'s1' has units 'spikes per bin', 's0' has 'Hz'"),
        (another_event, "'s1' has event 'reward', 's0' has 'onset'"),
        (no_activity, "expected an activity .*got ndarray"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_pooled_is_refused(spoil, match):
    """Too few sessions, folds that are missing or others', other bins, classes or units, a session twice."""
    cohort, folds = a_cohort()
    spoil(cohort, folds)
    with pytest.raises(SchemaError, match=match):
        pseudo_population(cohort, folds, target="odor", random_state=0)
