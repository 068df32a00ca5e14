"""Concentration as a target, and identity across concentrations, in recordings of amygdala, bees and larvae.

The references are figures of scripts that share no code with mitral. Recordings that are not here are skipped.
"""

import csv

import numpy as np
import pytest
import xarray as xr
from sklearn.impute import SimpleImputer
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline

from mitral.datasets.activity import bin_spikes
from mitral.datasets.folds import folds_from_splitter
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.datasets.sources.iurilli2017 import read_iurilli2017
from mitral.decode.across_conditions import generalise_across, hold_out_folds
from mitral.decode.concentration import label_error, log_concentration
from mitral.decode.conditions import label_conditions, pool_conditions
from mitral.decode.decoders import make_decoder
from mitral.decode.score import cross_validate

pytestmark = pytest.mark.slow


def on_counts(name):
    """A decoder of square roots of spike counts."""
    return make_pipeline(SquareRoot(), Flatten(), make_decoder(name))


@pytest.fixture(scope="module")
def amygdala(data_folder):
    """Counts in the second after the first inhalation, of 13 experiments: 3 odors at 5 dilutions, 334 units."""
    folder = data_folder("olfactory/iurilli_2017")
    cohort = {}
    for session in read_iurilli2017(folder, set="plCoA_CS"):
        activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=1.0)
        cohort[session.attrs["session"]] = label_conditions(activity, ("odor", "concentration"))
    return cohort


@pytest.fixture(scope="module")
def pooled(amygdala):
    """(activity, folds) of pseudo-trials, for three seeds of splitting and matching."""
    drawn = (pool_conditions(amygdala, n_folds=10, random_state=seed) for seed in range(3))
    return [(log_concentration(activity), folds) for activity, folds in drawn]


def side_by_side(cohort):
    """The units of all sessions in trials of equal odor, dilution and repeat."""
    first = next(iter(cohort.values()))
    units = np.concatenate([activity["unit"].values for activity in cohort.values()])
    joined = np.concatenate([activity.values for activity in cohort.values()], axis=2)
    coords = {name: c for name, c in first.coords.items() if c.dims != ("unit",)}
    return xr.DataArray(joined, dims=first.dims, coords=coords | {"unit": units}, attrs=first.attrs)


def test_odors_are_told_at_a_dilution_that_was_never_trained(amygdala):
    """Repeat by repeat side by side, as in the reference: 0.83, 0.87, 0.97, 1.00, 0.83 from 1e-4 up, chance 1/3.

    30 trials each: at least 0.80, and no further than one trial from the reference.
    """
    result = generalise_across(
        side_by_side(amygdala), "odor", on_counts("lda"), column="concentration", n_permutations=0, random_state=0
    )
    assert result["held_out"].values.tolist() == [0.0001, 0.001, 0.01, 0.1, 1.0]
    assert (result["held_out_score"] >= 0.80).all()
    assert np.abs(result["held_out_score"] - [0.83, 0.87, 0.97, 1.0, 0.83]).max() < 0.04


def test_odors_of_pseudo_trials_are_told_at_other_dilutions_but_the_lowest(pooled):
    """Trials matched at random within a condition keep 0.80 at four dilutions of five.

    At 1e-4 they read 0.66, and side by side by repeat 0.83. Why is not known: the repeats of different experiments may
    share something that the matching loses, and one pairing of 30 test trials may be lucky. Chance is 1/3, and 90
    trials have a standard error of 0.05.
    """
    scores = [
        generalise_across(
            activity, "odor", on_counts("lda"), column="concentration", folds=folds, n_permutations=0, random_state=0
        )["held_out_score"]
        for activity, folds in pooled
    ]
    mean = np.mean(scores, axis=0)
    assert (mean[1:] >= 0.80).all()
    assert 1 / 3 + 4 * 0.05 < mean[0] < 0.80


def test_log_concentration_is_decoded_as_a_number(pooled):
    """Ridge regression: R² at least 0.55 (reference 0.57 to 0.62), 0.75 of a decade off within 0.1, in order."""
    found = {
        metric: np.mean(
            [
                cross_validate(*data[:1], "log10_concentration", on_counts("ridge"), *data[1:], metric=metric).attrs[
                    "score_mean"
                ]
                for data in pooled
            ]
        )
        for metric in ("r2", "mean_absolute_error", "rank_correlation")
    }
    assert found["r2"] >= 0.55
    assert found["mean_absolute_error"] == pytest.approx(0.75, abs=0.1)
    assert found["rank_correlation"] > 0.7


def test_ordered_classes_err_by_less_than_the_regression(pooled):
    """The ordinal decoder is under 0.7 of a decade off; always saying the middle dilution is 1.2 off."""
    results = [cross_validate(a, "log10_concentration", on_counts("ordinal"), f) for a, f in pooled]
    assert np.mean([label_error(result) for result in results]) < 0.7


def bees(folder):
    """Glomeruli of 31 bees without drug: dF/F in each second from the onset of the odor, ten steps of concentration."""
    values, step, bee = [], [], []
    for path in sorted(folder.glob("*_*.csv")):
        rows = [row for row in csv.reader(path.read_text("utf-8").splitlines()) if row[2] == "SAL"]
        units, steps = sorted({row[0] for row in rows}), sorted({int(row[1]) for row in rows})
        frames = np.full((len(steps), 80, len(units)), np.nan)
        for unit, k, _, *trace in rows:
            frames[int(k), :, units.index(unit)] = [float(v) if v else np.nan for v in trace]
        values.append(frames[:, 16:56].reshape(len(steps), 5, 8, len(units)).mean(axis=2))
        step += steps
        bee += [path.stem] * len(steps)
    return xr.DataArray(
        np.concatenate(values),
        dims=("trial", "time", "unit"),
        coords={"trial": np.arange(len(step)), "time": np.arange(5) + 0.5, "unit": units}
        | {"step": ("trial", np.asarray(step, float)), "bee": ("trial", bee)},
        attrs={"session": "bees", "animal": "31 bees", "event": "odor", "bin_width_s": 1.0, "units": "dF/F"},
    )


def test_the_concentration_that_a_bee_smells_is_told_from_other_bees(data_folder):
    """Named glomeruli, each bee left out: R² at least 0.5 (reference 0.56), rank 0.80, 1.5 of ten steps off."""
    activity = bees(data_folder("olfactory/gmocion_bee"))
    folds = folds_from_splitter(activity, LeaveOneGroupOut(), target="step", group="bee")
    assert folds.sizes["fold"] == 31
    decoder = make_pipeline(SimpleImputer(), make_decoder("ridge"))
    found = {
        metric: cross_validate(activity, "step", decoder, folds, metric=metric).attrs["score_mean"]
        for metric in ("r2", "rank_correlation", "mean_absolute_error")
    }
    assert found["r2"] >= 0.5
    assert found["rank_correlation"] == pytest.approx(0.80, abs=0.04)
    assert found["mean_absolute_error"] == pytest.approx(1.5, abs=0.15)


def larvae(folder):
    """Peak responses of 21 named receptor neurons to 34 odors from 1e-8 to 1e-4, a trial for each animal's stimulus."""
    _, *rows = csv.reader((folder / "DataS1.csv").read_text("utf-8").splitlines())
    rows = [row for row in rows if float(row[2]) > 5e-9]
    values = np.array([[float(v) if v not in ("", "NaN") else np.nan for v in row[3:]] for row in rows])
    columns = {
        "odor": np.array([row[0] for row in rows]),
        "animal_id": np.array([row[1] for row in rows]),
        "concentration": np.array([float(row[2]) for row in rows]),
    }
    return xr.DataArray(
        values[:, None],
        dims=("trial", "time", "unit"),
        coords={"trial": np.arange(len(rows)), "time": [0.0], "unit": [f"neuron {k}" for k in range(values.shape[1])]}
        | {name: ("trial", column) for name, column in columns.items()},
        attrs={"session": "larvae", "animal": "larvae", "event": "odor", "bin_width_s": 1.0, "units": "dF/F"},
    )


def test_receptor_neurons_of_larvae_tell_odor_and_concentration(data_folder):
    """Animals left out whole: identity far above 1/34 at the highest concentration, and the order of concentrations."""
    activity = log_concentration(larvae(data_folder("olfactory/larval_orn_si_2019")))
    strong = activity.isel(trial=np.flatnonzero(activity["concentration"] > 5e-5))
    assert strong.sizes["trial"] > 200 and len(np.unique(strong["odor"])) == 34
    decoder = make_pipeline(SimpleImputer(), make_decoder("pooled_lda"))
    splitter = LeaveOneGroupOut()
    folds = folds_from_splitter(strong, splitter, target="odor", group="animal_id")
    assert cross_validate(strong, "odor", decoder, folds, metric="accuracy").attrs["score_mean"] > 0.6
    assert cross_validate(strong, "odor", decoder, folds, metric="top_3_accuracy").attrs["score_mean"] > 0.8
    ridge = make_pipeline(SimpleImputer(), make_decoder("ridge"))
    across = hold_out_folds(activity, column="odor")
    order = cross_validate(activity, "log10_concentration", ridge, across, metric="rank_correlation")
    assert order.attrs["score_mean"] > 0.4
