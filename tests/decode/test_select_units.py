"""Selection of units: right inside the fold, a leak before it, and refused where the split comes after."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.feature_selection import f_classif
from sklearn.pipeline import make_pipeline

from mitral.datasets import make_folds
from mitral.datasets.errors import LeakageError, SchemaError, UnknownName
from mitral.datasets.preprocess import Flatten
from mitral.decode import cross_validate, make_decoder, reduce
from mitral.decode.select_units import SelectUnits

ODOR = np.tile(["a", "b"], 20)


def noise(n_units=300, seed=0):
    return xr.DataArray(
        np.random.default_rng(seed).normal(size=(40, 1, n_units)),
        dims=("trial", "time", "unit"),
        coords={"trial": np.arange(40), "time": [0.0], "unit": np.arange(n_units).astype(str), "odor": ("trial", ODOR)},
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )


def test_strength_is_the_f_statistic():
    """Equal to scikit-learn's one-way analysis of variance of the mean over bins, for unequal classes."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(23, 4, 9)), rng.integers(0, 3, 23)
    assert_allclose(SelectUnits().fit(X, y).strength_, f_classif(X.mean(axis=1), y)[0])


def test_the_strongest_units_are_kept_in_their_order():
    """Planted units are found; silent units come last; more than there are is all."""
    X, y = np.random.default_rng(0).normal(size=(40, 2, 8)), (ODOR == "b").astype(int)
    X[:, :, [6, 1]] += 2.0 * y[:, None, None]
    X[:, :, 3] = 0.0
    assert SelectUnits(2).fit(X, y).kept_.tolist() == [1, 6]
    assert 3 not in SelectUnits(7).fit(X, y).kept_
    assert_array_equal(SelectUnits(50).fit_transform(X, y), X)


def test_variance_does_not_look_at_labels():
    """The most variable units are kept, with labels or without."""
    X = np.random.default_rng(0).normal(size=(40, 1, 5)) * np.array([1, 5, 2, 9, 3])
    assert SelectUnits(2, by="variance").fit(X).kept_.tolist() == [1, 3]


def test_before_the_split_selection_decodes_noise_and_inside_it_does_not():
    """20 of 300 units of noise: chosen on all trials they decode above 0.8, inside the fold at one half (3 errors)."""
    lda = make_decoder("lda", shrinkage=0.3)
    before, inside = [], []
    for seed in range(8):
        activity = noise(seed=seed)
        folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
        chosen = SelectUnits(20).fit(activity.values, ODOR).kept_
        before.append(cross_validate(activity.isel(unit=chosen), "odor", lda, folds).attrs["score_mean"])
        step = make_pipeline(SelectUnits(20), Flatten(), clone(lda))
        inside.append(cross_validate(activity, "odor", step, folds).attrs["score_mean"])
    assert np.mean(before) > 0.8
    assert abs(np.mean(inside) - 0.5) < 3 * np.sqrt(0.25 / 40 / 8) + 0.02


def test_selecting_on_all_trials_to_score_them_is_refused():
    """A selection made for looking marks its trials, so it cannot be scored on them."""
    activity = noise(20)
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    selected = reduce(activity, SelectUnits(5, by="variance"))
    with pytest.raises(LeakageError, match="fitted on 40 of the trials"):
        cross_validate(selected, "odor", make_decoder("lda"), folds)


def test_selections_that_make_no_sense_are_refused():
    """An unknown rule, no unit, NaN, no labels, one class, a number of its own for every trial, other units."""
    X = np.random.default_rng(0).normal(size=(6, 1, 3))
    with pytest.raises(UnknownName, match="'anova'"):
        SelectUnits(by="anvoa").fit(X, [0, 0, 0, 1, 1, 1])
    with pytest.raises(SchemaError, match="n_units must be at least 1, got 0"):
        SelectUnits(0).fit(X, [0, 0, 0, 1, 1, 1])
    with pytest.raises(SchemaError, match="found NaN"):
        SelectUnits().fit(np.full((6, 1, 3), np.nan), [0, 0, 0, 1, 1, 1])
    with pytest.raises(SchemaError, match="needs the classes"):
        SelectUnits().fit(X)
    with pytest.raises(SchemaError, match="got 1 values"):
        SelectUnits().fit(X, np.zeros(6))
    with pytest.raises(SchemaError, match="got 6 values"):
        SelectUnits().fit(X, np.arange(6))
    with pytest.raises(SchemaError, match="was fitted on 3 units and got 2"):
        SelectUnits().fit(X, [0, 0, 0, 1, 1, 1]).transform(X[:, :, :2])
