"""Conditions and dichotomies: counted, named, never mirrored; pseudo-trials that share a condition."""

from math import comb

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

from mitral.datasets import bin_spikes, simulate_olfactory_lab
from mitral.datasets.errors import SchemaError
from mitral.decode.conditions import (
    check_dichotomies,
    column_dichotomies,
    dichotomies,
    label_conditions,
    pool_conditions,
)


def design(n_conditions=None, n_repeats=2):
    """Trials of an odor x concentration design, or of so many odors."""
    odor = np.repeat(["a", "b"], 4) if n_conditions is None else np.array([f"o{k:02d}" for k in range(n_conditions)])
    concentration = np.tile([0.01, 0.1, 1.0, 10.0], 2) if n_conditions is None else np.ones(n_conditions)
    n = len(odor) * n_repeats
    return xr.DataArray(
        np.zeros((n, 1, 1)),
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n), "time": [0.0], "unit": ["u"],
            "odor": ("trial", np.tile(odor, n_repeats)), "concentration": ("trial", np.tile(concentration, n_repeats)),
        },
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip


def labelled():
    return label_conditions(design(), ("odor", "concentration"))


@pytest.mark.parametrize("n", [2, 4, 5, 8])
def test_every_balanced_split_is_there_once(n):
    """C(n, n/2) / 2 splits of an even number, C(n, (n-1)/2) of an odd one, none the mirror of another."""
    sides = dichotomies(label_conditions(design(n), "odor"), random_state=0).values
    assert len(sides) == comb(n, n // 2) // (2 - n % 2)
    assert np.all(np.abs(2 * sides.sum(axis=1) - n) == n % 2)
    seen = {tuple(row) for row in sides} | {tuple(1 - row) for row in sides}
    assert len(seen) == 2 * len(sides)


def test_a_sample_holds_different_splits_and_is_reproducible():
    """50 of the 6435 splits of 16 conditions: all different, the same for the same seed."""
    activity = label_conditions(design(16), "odor")
    sides = dichotomies(activity, most=50, random_state=3)
    assert len({tuple(row) for row in sides.values}) == 50
    assert np.all(sides.values.sum(axis=1) == 8) and np.all(sides.values[:, 0] == 0)
    assert_array_equal(sides, dichotomies(activity, most=50, random_state=3))


def test_a_split_of_one_column_bears_its_name():
    """Of 35 splits of an odor x concentration design one is odor and three are concentration."""
    sides = dichotomies(labelled(), random_state=0)
    names = sides["dichotomy"].values[sides["column"].values != ""].tolist()
    assert names == [
        "odor: a | b",
        "concentration: 0.01, 0.1 | 1.0, 10.0",
        "concentration: 0.01, 1.0 | 0.1, 10.0",
        "concentration: 0.01, 10.0 | 0.1, 1.0",
    ]
    chosen = column_dichotomies(labelled(), "concentration")
    assert chosen["dichotomy"].values.tolist() == names[1:]
    assert_array_equal(chosen, sides[sides["column"].values == "concentration"])


def test_pseudo_trials_share_odor_and_concentration():
    """Each pseudo-trial has one condition, in which all its recorded trials lie; no trial is on both sides."""
    lab = simulate_olfactory_lab(random_state=0, n_animals=2, n_units=(3, 4), n_blocks=4, concentrations=(0.1, 1.0))
    cohort = {
        name: bin_spikes(session, event="odor_onset", window_s=(0.0, 0.5), bin_width_s=0.5)
        for name, session in lab.sessions.items()
    }
    marked = {
        name: a.copy(data=np.broadcast_to(a["trial"].values[:, None, None], a.shape)) for name, a in cohort.items()
    }
    with pytest.raises(SchemaError, match="Say what makes one, label_conditions"):
        pool_conditions(marked, n_folds=2, random_state=0)
    ready = {name: label_conditions(a, ("odor", "concentration")) for name, a in marked.items()}
    activity, folds = pool_conditions(ready, n_folds=2, random_state=0)
    for name, original in marked.items():
        mine = activity.values[:, 0, activity["unit_session"].values == name][:, 0]
        for column in ("odor", "concentration"):
            assert_array_equal(original[column].sel(trial=mine).values, activity[column].values)
        for side in folds.values:
            assert not set(mine[side == 1]) & set(mine[side == 2])


def test_designs_without_conditions_are_refused():
    """No column, a constant one, no conditions, too many dichotomies, none asked for."""
    with pytest.raises(SchemaError, match="names at least one trial column"):
        label_conditions(design(), ())
    with pytest.raises(SchemaError, match="take one value only"):
        label_conditions(design(4), "concentration")
    with pytest.raises(SchemaError, match="Say what makes one, label_conditions"):
        dichotomies(design(), random_state=0)
    with pytest.raises(SchemaError, match="92378 balanced dichotomies"):
        dichotomies(label_conditions(design(20), "odor"), random_state=0)
    with pytest.raises(SchemaError, match="'most' must be at least 1"):
        dichotomies(labelled(), most=0, random_state=0)


def test_columns_that_split_no_conditions_are_refused():
    """A column that differs inside a condition, or is constant."""
    with pytest.raises(SchemaError, match="trials of one condition differ in 'concentration'"):
        column_dichotomies(label_conditions(design(), "odor"), "concentration")
    with pytest.raises(SchemaError, match=r"is 1\.0 in all conditions"):
        column_dichotomies(label_conditions(design(4), "odor"), "concentration")


def test_dichotomies_of_other_conditions_are_refused():
    """Sides must be of this activity's conditions, and each side must hold one."""
    sides = dichotomies(labelled(), random_state=0)
    with pytest.raises(SchemaError, match="their names differ"):
        check_dichotomies(sides, label_conditions(design(), "odor"))
    with pytest.raises(SchemaError, match=r"expected a DataArray on \(dichotomy, condition\)"):
        check_dichotomies(sides.values, labelled())
    with pytest.raises(SchemaError, match="none is empty"):
        check_dichotomies(0 * sides, labelled())
