"""Components of mixtures, read from names and columns as told."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.errors import SchemaError
from mitral.decode.components import (
    check_components,
    gather_components,
    label_background,
    label_fraction,
    parse_components,
)


def smelling(odor, **columns):
    """Activity of one unit, of trials with these odors."""
    return xr.DataArray(
        np.zeros((len(odor), 1, 1)),
        dims=("trial", "time", "unit"),
        coords={"trial": 10 + np.arange(len(odor)), "time": [0.5], "unit": ["u"], "odor": ("trial", np.asarray(odor))}
        | {name: ("trial", np.asarray(values)) for name, values in columns.items()},
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""},
    )


def test_names_are_parsed_at_the_separator():
    """Order and blanks around parts do not matter; names of no odor have no component."""
    components = parse_components(smelling(["b+a", "a + b", "c", "air"]), blank=["air"])
    assert components["component"].values.tolist() == ["a", "b", "c"]
    assert components.values.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert components["trial"].values.tolist() == [10, 11, 12, 13]


def test_another_separator_leaves_plus_signs_alone():
    """(+)-limonene is one odor where mixtures are written with a slash."""
    components = parse_components(smelling(["(+)-limonene/eugenol", "eugenol"]), separator="/")
    assert components["component"].values.tolist() == ["(+)-limonene", "eugenol"]


def test_amounts_are_gathered_from_columns():
    """A component may have another name than its column."""
    activity = smelling(["x", "y"], ppm_a=[0.5, 0], ppm_b=[1, 2])
    components = gather_components(activity, {"a": "ppm_a", "b": "ppm_b"})
    assert components.values.tolist() == [[0.5, 1], [0, 2]]


@pytest.mark.parametrize(
    ("odor", "said"),
    [
        (["a+b", "a+"], r"'odor' 'a\+' has an empty part between '\+'"),
        (["a+b", "a + a"], r"'a \+ a' has a component twice"),
        ([1, 2], "'odor' holds 1, no names. For amounts use gather_components"),
        (["a", "a"], r"there are 1 \['a'\], and a mixture has two"),
        (["a", ""], r"'odor' is missing in 1 trials \(11\)"),
    ],
)
def test_names_that_cannot_be_parsed_are_refused(odor, said):
    """With the name."""
    with pytest.raises(SchemaError, match=said):
        parse_components(smelling(odor))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": "odor", "b": "b"}, "'odor' of component 'a' holds 'x', and an amount is a number"),
        ({"a": "a", "b": "bb"}, "no trial column 'bb'"),
        ({"a": "a", "b": "negative"}, "1 trials have others .first trial|first: trial 11"),
        ({"a": "a", "b": "unknown"}, r"'unknown' is missing in 1 trials \(10\)"),
        ({}, r"there are 0 \[\]"),
    ],
)
def test_columns_that_hold_no_amounts_are_refused(columns, said):
    """Words, absent, negative and missing ones."""
    activity = smelling(["x", "y"], a=[1.0, 0], b=[0, 1.0], negative=[1.0, -1], unknown=[np.nan, 1])
    with pytest.raises(SchemaError, match=said):
        gather_components(activity, columns)


def test_components_of_other_trials_and_other_shapes_are_refused():
    """Nothing is matched by position."""
    activity = smelling(["a", "b", "a+b"])
    components = parse_components(activity)
    assert check_components(components, activity) is components
    with pytest.raises(SchemaError, match="of 2 trials, the activity has 3, and their ids differ"):
        check_components(components.isel(trial=[0, 1]), activity)
    with pytest.raises(SchemaError, match=r"expected a DataArray on \(trial, component\), got ndarray"):
        check_components(components.values, activity)
    with pytest.raises(SchemaError, match=r"there are one twice among \['a', 'a'\]"):
        check_components(components.assign_coords(component=["a", "a"]), activity)


def test_fractions_are_of_trials_with_two_components_alone():
    """Amount over the amount of both; trials with a third, or neither, are left out and counted."""
    amounts = {"a": [1, 2, 0, 1, 0], "b": [3, 0, 2, 1, 0], "c": [0, 0, 0, 1, 1]}
    activity = smelling(list("vwxyz"), **amounts)
    components = gather_components(activity, {name: name for name in amounts})
    kept = label_fraction(activity, components, "a", against="b")
    assert kept["trial"].values.tolist() == [10, 11, 12]
    assert_allclose(kept["fraction"], [0.25, 1, 0])
    assert kept.attrs["left_out"] == "2 trials of other components"
    with pytest.raises(SchemaError, match="there is no component 'd'. Valid: 'a', 'b', 'c'"):
        label_fraction(activity, components, "a", against="d")
    with pytest.raises(SchemaError, match="no trial holds 'a' and 'b' and nothing else"):
        label_fraction(*(part.isel(trial=[3, 4]) for part in (activity, components)), "a", against="b")


def test_backgrounds_are_the_other_components():
    """Only those that are met with the target and without it."""
    activity = smelling(["t", "blank", "t+b", "b", "c", "t+b+c", "b+c"])
    components = parse_components(activity, blank=["blank"])
    kept = label_background(activity, components, "t")
    assert kept["background"].values.tolist() == ["nothing", "nothing", "b", "b", "b+c", "b+c"]
    assert_array_equal(kept["is_present"], [1, 0, 1, 0, 1, 0])
    assert kept.attrs["left_out"].startswith("1 trials of backgrounds")


def test_too_few_backgrounds_are_refused():
    """One cannot be held out; the target must be a component."""
    activity = smelling(["t+b", "b", "t+c"])
    components = parse_components(activity)
    with pytest.raises(SchemaError, match=r"'t' is met with and without on 1 backgrounds \(b\), and two are needed"):
        label_background(activity, components, "t")
    with pytest.raises(SchemaError, match="there is no component 'x'"):
        label_background(activity, components, "x")
