"""Odors and concentrations in mice, bees and larvae: figures of real recordings, from the raw files.

The references were measured by scripts that share no code with mitral (shrinkage LDA on square roots of counts). For
mice they put trials of the same number side by side: the third trial of an odor in one experiment with the third in
all others. A pseudo-population of mitral matches trials at random, after the split. Where the two differ, both are
held. Recordings that are not here are skipped.
"""

import csv

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from mitral.datasets import bin_spikes, make_folds
from mitral.datasets.folds import folds_from_splitter
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.datasets.sources.iurilli2017 import read_iurilli2017
from mitral.decode import cross_validate, cumulate, make_decoder
from mitral.decode.across_conditions import generalise_across
from mitral.decode.concentration import log_concentration
from mitral.decode.conditions import label_conditions, pool_conditions, split_and_pool
from mitral.decode.onset import onset, onset_interval
from mitral.decode.over_time import cross_validate_over_time, with_null_over_time

LDA = make_pipeline(SquareRoot(), Flatten(), make_decoder("lda"))
QUICK = make_pipeline(SquareRoot(), Flatten(), make_decoder("pooled_lda"))  # has a closed form


def experiments(data_folder, name, *, window_s, bin_width_s):
    """Counts of every experiment of a set, by session."""
    sessions = read_iurilli2017(data_folder("olfactory/iurilli_2017"), set=name)
    return {
        session.attrs["session"]: bin_spikes(
            session, event="inhalation_onset", window_s=window_s, bin_width_s=bin_width_s
        )
        for session in sessions
    }  # fmt: skip


def side_by_side(cohort):
    """Units of all experiments; trial k of an odor in one stands beside trial k of the odor in the others."""
    first = next(iter(cohort.values()))
    for activity in cohort.values():
        for column in ("odor", "concentration", "repeat"):
            assert np.array_equal(activity[column], first[column])
    how = {"join": "override", "combine_attrs": "override", "coords": "minimal", "compat": "override"}
    return xr.concat(list(cohort.values()), dim="unit", **how)


# ---- Iurilli & Datta 2017: when ----

WINDOWS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
LATENCY = {
    "aPCx_15": (0.07, 0.17, 0.33, 0.43, 0.61, 0.76, 0.92),
    "plCoA_15": (0.15, 0.31, 0.53, 0.70, 0.73, 0.83, 0.93),
}


def accuracies(activity, folds, windows_s):
    """Of 15 odors, from windows that grow."""
    grown = cumulate(activity)
    at = [int(np.argmin(np.abs(grown["time"].values - stop))) for stop in windows_s]
    return [cross_validate(grown.isel(time=[i]), "odor", LDA, folds).attrs["score_mean"] for i in at]


@pytest.mark.slow
@pytest.mark.parametrize("name", LATENCY)
def test_accuracy_grows_with_the_window_as_by_the_reference(data_folder, name):
    """Windows from the first inhalation, pooled units, trials side by side: each within 0.06 of the reference."""
    activity = side_by_side(experiments(data_folder, name, window_s=(0.0, 1.0), bin_width_s=0.05))
    folds = [make_folds(activity, target="odor", n_folds=10, random_state=seed) for seed in range(2)]
    found = np.mean([accuracies(activity, some, WINDOWS_S) for some in folds], axis=0)
    assert_allclose(found, LATENCY[name], atol=0.06)
    assert np.all(np.diff(found) > 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "windows_s", "tolerance"), [("aPCx_15", WINDOWS_S, 0.06), ("plCoA_15", (0.2,), 0.13)])
def test_trials_matched_at_random_tell_as_much_of_the_odor_in_piriform_cortex(data_folder, name, windows_s, tolerance):
    """The pseudo-population reaches the curve of aPCx; at 200 ms plCoA it lies 0.09 below it (0.61 for 0.70).

    Side by side 0.69 is reached there. Trials of one number share what changes over an experiment, and that is lost
    when they are matched at random.
    """
    cohort = experiments(data_folder, name, window_s=(0.0, 1.0), bin_width_s=0.05)
    found = []
    for seed in range(3):
        how = {"n_folds": 10, "random_state": np.random.SeedSequence(seed), "group": None}
        found.append(accuracies(*split_and_pool(cohort, "odor", **how), windows_s))
    reference = np.interp(windows_s, WINDOWS_S, LATENCY[name])
    assert_allclose(np.mean(found, axis=0), reference, atol=tolerance)


@pytest.mark.slow
def test_odors_can_be_told_from_the_second_tenth_of_a_second(data_folder):
    """Onset in piriform cortex with family-wise control: of single experiments and of all units together.

    The bin from 0.1 to 0.2 s for both. Four of ten experiments, of 5 to 30 units, have no onset, so the interval over
    experiments has no end. Before the inhalation the rate of false onsets is set to 0.05. The files list trials odor by
    odor and do not hold their order, so they are put repeat by repeat, and labels are exchanged within repeats.
    """
    cohort = experiments(data_folder, "aPCx_15", window_s=(-0.5, 1.0), bin_width_s=0.1)
    results = []
    for activity in [*cohort.values(), side_by_side(cohort)]:
        activity = activity.isel(trial=np.argsort(activity["repeat"].values, kind="stable"))
        folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="repeat")
        result = cross_validate_over_time(activity, "odor", QUICK, folds)
        results.append(
            with_null_over_time(result, activity, QUICK, folds, n_permutations=200, random_state=0)
        )  # fmt: skip
    found = onset_interval(results[:-1], random_state=0)
    assert found["n_animals"] == 10 and found["n_without_onset"] <= 5
    assert_allclose([found["onset_s"], found["onset_low_s"]], 0.15, atol=0.101)  # a bin either way
    assert found["onset_high_s"] is None
    starts = [onset(result)["onset_s"] for result in results]
    assert sum(start is not None and start < 0 for start in starts) <= 1
    assert_allclose(starts[-1], 0.15, atol=0.051)


# ---- Iurilli & Datta 2017: odors at five dilutions, cortical amygdala ----

HELD_OUT = (0.83, 0.87, 0.97, 1.0, 0.83)  # 0.0001, 0.001, 0.01, 0.1, 1


@pytest.fixture(scope="module")
def dilutions(data_folder):
    """Counts in the first second, by session: 3 odors at 5 dilutions, labelled as 15 conditions."""
    cohort = experiments(data_folder, "plCoA_CS", window_s=(0.0, 1.0), bin_width_s=1.0)
    return {name: label_conditions(activity, ("odor", "concentration")) for name, activity in cohort.items()}


def held_out_dilutions(activity, folds=None):
    """Accuracy of 3 odors at each dilution, trained on the four others."""
    how = {"column": "concentration", "folds": folds, "n_permutations": 0, "random_state": 0}
    result = generalise_across(activity, "odor", LDA, metric="accuracy", **how)
    assert_allclose(result["held_out"], [1e-4, 1e-3, 1e-2, 0.1, 1.0])
    return result["held_out_score"].values


@pytest.mark.slow
def test_odors_and_dilutions_are_told_as_by_the_reference(dilutions):
    """Trials side by side: 15 conditions 0.733, three odors whatever the dilution 0.947, log10 R² 0.55 or more.

    150 trials have standard errors of 0.036 and 0.018. The error of log10 concentration is 0.75 decades.
    """
    activity = log_concentration(side_by_side(dilutions))
    ridge = make_pipeline(SquareRoot(), Flatten(), make_decoder("ridge"))
    asked = (
        ("condition", LDA, "accuracy"),
        ("odor", LDA, "accuracy"),
        ("log10_concentration", ridge, "r2"),
        ("log10_concentration", ridge, "mean_absolute_error"),
    )
    found = []
    for seed in range(3):
        folds = make_folds(activity, target="condition", n_folds=10, random_state=seed)
        scores = [cross_validate(activity, target, how, folds, metric=metric) for target, how, metric in asked]
        found.append([score.attrs["score_mean"] for score in scores])
    conditions, odors, r2, decades = np.mean(found, axis=0)
    assert_allclose(conditions, 0.733, atol=0.036)
    assert_allclose(odors, 0.947, atol=0.018)
    assert r2 >= 0.55
    assert_allclose(decades, 0.75, atol=0.1)


@pytest.mark.slow
def test_odors_are_told_at_a_dilution_that_was_never_trained(dilutions):
    """Trials side by side: at least 0.80 at each, and the reference's very figures."""
    found = held_out_dilutions(side_by_side(dilutions))
    assert np.all(found >= 0.80)
    assert_allclose(found, HELD_OUT, atol=0.01)


@pytest.mark.slow
def test_the_weakest_dilution_is_told_less_well_when_trials_are_matched_at_random(dilutions):
    """Random matchings give 0.80 or more at the four stronger dilutions, and 0.69 at the weakest, not 0.83.

    Of 80 random matchings none reached 0.83 (0.68 with a standard deviation of 0.05), so it is the pairing of trials
    of one number, and no accident, that the reference's figure rests on. Four matchings: standard error 0.025.
    """
    pools = [pool_conditions(dilutions, n_folds=5, random_state=seed) for seed in range(4)]
    found = np.mean([held_out_dilutions(*pool) for pool in pools], axis=0)
    assert np.all(found[1:] >= 0.80)
    assert_allclose(found[0], 0.69, atol=0.06)
    pools = [log_concentration(activity) for activity, _ in pools], [folds for _, folds in pools]
    ridge = make_pipeline(SquareRoot(), Flatten(), make_decoder("ridge"))
    scores = [cross_validate(*given).attrs["score_mean"] for given in _targets(*pools, ridge)]
    assert np.mean(scores) >= 0.55


def _targets(activities, folds, estimator):
    return [
        (activity, "log10_concentration", estimator, some) for activity, some in zip(activities, folds, strict=True)
    ]


# ---- GMOCION: honeybees, one odor at ten concentrations ----


def bees(data_folder):
    """dF/F in bins of 1 s (310 trials, 10, 11 named glomeruli), first block of each of 31 bees, which had no drug.

    In files of saline bees both blocks are called SAL; of the others the second had a drug. One trial is blank.
    """
    values, step, bee = [], [], []
    for path in sorted(data_folder("olfactory/gmocion_bee").glob("[A-Z][A-Z][A-Z]_*.csv")):
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[:110]
        assert {row[2] for row in rows} == {"SAL"} and len({(row[0], row[1]) for row in rows}) == 110
        for number in range(10):
            frames = [[float(cell or "nan") for cell in row[3:]] for row in rows if int(row[1]) == number]
            values.append(np.reshape(frames, (11, 10, 8)).mean(axis=2).T)
            step.append(float(number))
            bee.append(path.stem)
    coords = {
        "trial": np.arange(len(values)),
        "time": np.arange(10) - 1.5,
        "unit": [f"glomerulus {row[0]}" for row in rows[:11]],
        "step": ("trial", step),
        "bee": ("trial", bee),
    }
    attrs = {"session": "31 bees", "animal": "31 bees", "event": "odor", "bin_width_s": 1.0, "units": "dF/F"}
    activity = xr.DataArray(values, dims=("trial", "time", "unit"), coords=coords, attrs=attrs)
    return activity.isel(trial=np.isfinite(activity.values).all(axis=(1, 2)))


def test_the_concentration_is_decoded_in_a_bee_that_was_never_seen(data_folder):
    """Ridge, one bee left out at a time: R² at least 0.5, rank correlation 0.8, error at most 1.5 of ten steps.

    The files number the steps and do not say how far apart they are, so the error is in steps and not in decades.
    """
    activity = bees(data_folder)
    assert activity.shape == (309, 10, 11) and len(np.unique(activity["bee"])) == 31
    folds = folds_from_splitter(activity, LeaveOneGroupOut(), target="step", group="bee")
    decoder = make_decoder("ridge")
    metrics = ("r2", "rank_correlation", "mean_absolute_error")
    r2, rho, steps = (
        cross_validate(activity, "step", decoder, folds, metric=m).attrs["score_mean"] for m in metrics
    )  # fmt: skip
    assert r2 >= 0.5 and rho >= 0.78 and steps <= 1.5


# ---- Si et al. 2019: all 21 olfactory receptor neurons of fly larvae ----


def larvae(data_folder):
    """dF/F (1100 trials, 1, 21 receptors): 34 odors at five dilutions in larvae; ``larva`` is the animal.

    90 of the 1190 rows hold one or two receptors of 21 and are left out; others may lack up to three.
    """
    path = data_folder("olfactory/larval_orn_si_2019/DataS1.csv")
    header, *rows = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
    values = np.array([[float(cell or "nan") for cell in row[3:]] for row in rows])
    kept = np.isnan(values).sum(axis=1) < 10
    coords = {
        "trial": np.arange(kept.sum()),
        "time": [0.5],
        "unit": header[3:],
        "odor": ("trial", np.array([row[0] for row in rows])[kept]),
        "larva": ("trial", np.array([row[1] for row in rows])[kept]),
        "concentration": ("trial", np.array([float(row[2]) for row in rows])[kept], {"units": "dilution"}),
    }
    attrs = {"session": "larvae", "animal": "larvae", "event": "odor", "bin_width_s": 1.0, "units": "dF/F"}
    return log_concentration(
        xr.DataArray(values[kept][:, None], dims=("trial", "time", "unit"), coords=coords, attrs=attrs)
    )


def test_odors_are_told_from_the_receptors_of_larvae_that_were_never_seen(data_folder):
    """34 odors (chance 0.03), larvae held out whole: better the stronger the odor, 0.77 or more at 1e-4.

    No figure is published with the files. Measured 0.45, 0.52, 0.67, 0.74, 0.80 from 1e-8 to 1e-4; with 220 trials at
    each the standard error is 0.03.
    """
    activity = larvae(data_folder)
    assert activity.shape == (1100, 1, 21)
    decoder = make_pipeline(SimpleImputer(), make_decoder("logistic"))
    found = []
    for decade in range(-8, -3):
        some = activity.isel(trial=activity["log10_concentration"].values == decade)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        folds = folds_from_splitter(some, splitter, target="odor", group="larva")
        found.append(cross_validate(some, "odor", decoder, folds).attrs["score_mean"])
    assert np.all(np.diff(found) > 0)
    assert_allclose(found, [0.45, 0.52, 0.67, 0.74, 0.80], atol=0.06)


def test_concentration_is_decoded_from_the_receptors_whatever_the_odor(data_folder):
    """Ridge over five decades, larvae held out whole: R² about 0.5, error under a decade, where guessing errs 1.2."""
    activity = larvae(data_folder)
    folds = folds_from_splitter(activity, GroupKFold(10), target="odor", group="larva")
    decoder = make_pipeline(SimpleImputer(), make_decoder("ridge"))
    r2, decades = (
        cross_validate(activity, "log10_concentration", decoder, folds, metric=m) for m in ("r2", "mean_absolute_error")
    )
    assert_allclose(r2.attrs["score_mean"], 0.51, atol=0.05)
    assert decades.attrs["score_mean"] < 0.85 and decades.attrs["chance"] > 1.15
