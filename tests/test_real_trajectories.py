"""Trajectories of real recordings: odors part after the inhalation, doses and places keep their order.

Spaces are fitted without labels. No figure here is a threshold that was tuned: each is a p value, or the sign of an
effect counted over sessions, bees or recordings.
"""

import csv

import numpy as np
import pytest
import scipy.io
import xarray as xr
from scipy.stats import binom, binomtest, spearmanr
from sklearn.pipeline import make_pipeline

from mitral.datasets import bin_spikes, make_folds, pseudo_population, read_sessions
from mitral.datasets.preprocess import SquareRoot
from mitral.decode import make_reducer, mean_trajectories, onset, reduce, separation_over_time

LEVEL = 0.05


BEFORE, AROUND = (-1.0, -0.1), (-0.5, 1.0)  # s from the first inhalation


@pytest.fixture(scope="module")
def piriform(data_folder):
    """A function from a window to the counts in 0.1 s of every experiment with 15 odors."""
    sessions = list(read_sessions("iurilli2017", data_folder("olfactory/iurilli_2017"), set="aPCx_15"))

    def cut(window_s):
        how = {"event": "inhalation_onset", "window_s": window_s, "bin_width_s": 0.1}
        return {session.attrs["session"]: bin_spikes(session, **how) for session in sessions}

    return cut


def separation(activity, n_latents):
    """Distances between odors in principal components of the square roots of counts, with their null."""
    reducer = make_pipeline(SquareRoot(), make_reducer("pca", n_latents=n_latents))
    return separation_over_time(reduce(activity, reducer), "odor", n_permutations=500, random_state=0)


def side_by_side(cohort):
    """All units in pseudo-trials, each trial of a session once."""
    folds = {name: make_folds(a, target="odor", n_folds=2, random_state=0) for name, a in cohort.items()}
    pooled, _ = pseudo_population(cohort, folds, target="odor", random_state=0)
    return pooled.isel(trial=pooled["fold_of_trial"].values == 0)


def test_piriform_trajectories_part_after_the_first_inhalation_and_not_before(piriform):
    """Each of ten experiments, 5 to 30 units: family-wise over all bins, and a control window as chance has it.

    The control has level 0.05 in each experiment, so of ten more than two fall below it in 1.2 % of repetitions.
    It ends 0.1 s before the inhalation: in one experiment (03) odors part already in the last 0.1 s (p = 0.004).
    """
    around, before = (
        [separation(activity, min(5, activity.sizes["unit"])) for activity in piriform(window).values()]
        for window in (AROUND, BEFORE)
    )
    after = [result["p_familywise"].sel(time=slice(0, None)).min() for result in around]
    assert len(after) == 10 and max(after) <= LEVEL
    early = [bool((result["p_familywise"] <= LEVEL).any()) for result in before]
    assert sum(early) <= binom.ppf(0.985, 10, LEVEL)


def test_the_pooled_trajectories_part_further_than_every_shuffled_one(piriform):
    """199 units side by side: each bin from 0.1 s on is above all 500 shuffled time courses, the control below."""
    pooled = side_by_side(piriform(AROUND))
    assert pooled.sizes["unit"] == 199
    result = separation(pooled, 10)
    assert (result["p_familywise"].sel(time=slice(0.1, None)) == result.attrs["p_smallest"]).all()
    assert abs(onset(result)["onset_s"]) <= 0.15
    assert (separation(side_by_side(piriform(BEFORE)), 10)["p_familywise"] > LEVEL).all()


def bees(folder):
    """Glomeruli of each bee without drug: (trial = dose, time, unit), blank cells as NaN, odor from 2 to 6 s."""
    for path in sorted(folder.glob("*_*.csv")):
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if row[2] == "SAL"]
        units = sorted({row[0] for row in rows})
        doses = sorted({int(row[1]) for row in rows})
        values = np.full((len(doses), 80, len(units)), np.nan)
        for unit, dose, _, *frames in rows:
            values[doses.index(int(dose)), :, units.index(unit)] = [float(v) if v else np.nan for v in frames]
        yield xr.DataArray(
            values,
            dims=("trial", "time", "unit"),
            coords={
                "trial": np.arange(len(doses)),
                "time": (np.arange(80) + 0.5) / 8 - 2.0,
                "unit": units,
                "dose": ("trial", doses),
            },
            attrs={"session": path.stem, "animal": path.stem, "event": "odor_onset"}
            | {"bin_width_s": 0.125, "units": "dF/F"},
        )


def test_glomeruli_of_bees_go_further_the_higher_the_dose(data_folder):
    """How far the path lies from its place before the odor, rank-correlated with the dose: positive in most bees.

    31 bees; by chance half would be positive.
    """
    rho = []
    for activity in bees(data_folder("olfactory/gmocion_bee")):
        whole = activity.isel(trial=np.isfinite(activity.values).all(axis=(1, 2)))
        paths = mean_trajectories(reduce(whole, make_reducer("pca", n_latents=3)), by="dose")
        before, during = (paths.sel(time=slice(*window)).mean("time") for window in ((-2, 0), (0, 4)))
        distance = np.linalg.norm(during.values - before.values, axis=1)
        rho.append(spearmanr(paths["condition"].values, distance).statistic)
    assert len(rho) == 31
    assert binomtest(int(np.sum(np.array(rho) > 0)), 31, alternative="greater").pvalue < 1e-6
    assert np.median(rho) > 0.7


def laps(events, position):
    """Mean events (lap, place, unit) of the runs that pass all twenty places; a jump back starts a lap."""
    lap = np.cumsum(np.r_[0, np.abs(np.diff(position.astype(int))) > 8])
    places = np.unique(position)
    passed = [[(lap == k) & (position == place) for place in places] for k in range(lap.max() + 1)]
    whole = [run for run in passed if all(here.any() for here in run)]
    return np.array([[events[here].mean(axis=0) for here in run] for run in whole])


def order_kept(runs):
    """Rank correlation of the distance between two places on the track and between their latents in other laps.

    The latents are three principal components of the mean over odd laps; the distance is from a place in odd laps
    to one in even laps.
    """
    odd, even = runs[::2].mean(axis=0)[None], runs[1::2].mean(axis=0)[None]
    fitted = make_reducer("pca", n_latents=3).fit(odd)
    first, second = fitted.transform(odd)[0], fitted.transform(even)[0]
    apart = np.linalg.norm(first[:, None] - second[None], axis=2)
    place = np.arange(len(apart))
    return spearmanr(np.abs(place[:, None] - place).ravel(), apart.ravel()).statistic


@pytest.mark.parametrize(("area", "mouse"), [("CA1", "C6M4"), ("CA3", "C15M2")])
def test_hippocampal_trajectories_follow_the_track(data_folder, area, mouse):
    """Above all of 19 controls in which every lap starts at a random place, in most of 16 recordings.

    The controls keep each lap's activity smooth and break what laps share; each recording passes by chance in 1 of 20.
    """
    folder = data_folder("ziv_hippocampus_7mice/real/Full data set") / area
    events = scipy.io.loadmat(folder / f"{mouse}_spike_train.mat")["spike_train"]
    position = scipy.io.loadmat(folder / f"{mouse}_stimulus_trace.mat")["stimulus_trace"]
    rng = np.random.default_rng(0)
    passed = []
    for where in np.ndindex(events.shape):
        runs = laps((events[where] > 0).astype(float), position[where].ravel())
        turned = [np.array([np.roll(run, rng.integers(len(run)), axis=0) for run in runs]) for _ in range(19)]
        passed.append(order_kept(runs) > max(map(order_kept, turned)))
    assert len(passed) == 16
    assert binomtest(int(np.sum(passed)), 16, 1 / 20, alternative="greater").pvalue < 1e-6
