"""Print figures of scores over time, over two times, and over numbers of units: they say what they show."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import xarray as xr
from sklearn.model_selection import KFold

from mitral.apps.figures import save_figure
from mitral.datasets import folds_from_splitter
from mitral.datasets.errors import SchemaError
from mitral.decode import make_reducer, select_latents

ATTRS = {"session": "s", "event": "inhalation_onset", "bin_width_s": 0.1, "metric": "balanced_accuracy", "chance": 0.25}


def over_time(score, **attrs):
    """A result over time of five bins with a null."""
    time = 0.1 * np.arange(len(score)) - 0.15
    flat = np.ones(len(score))
    return xr.Dataset(
        {
            "score": ("time", score),
            "null_low": ("time", 0.2 * flat),
            "null_high": ("time", 0.3 * flat),
            "p_familywise": ("time", np.where(np.array(score) > 0.3, 0.01, 0.8)),
        },
        coords={"time": time},
        attrs=ATTRS | attrs,
    )


def curve(**attrs):
    """A curve over three numbers of units."""
    sizes = {"n_units": [2, 4, 8]}
    parts = {"score": [0.3, 0.5, 0.6], "score_low": [0.2, 0.4, 0.5], "score_high": [0.4, 0.6, 0.7]}
    data = {name: ("n_units", values) for name, values in parts.items()}
    return xr.Dataset(data, coords=sizes, attrs=ATTRS | {"interval_over": "random draws of units"} | attrs)


def words(path):
    """All text of an SVG, joined."""
    return " ".join("".join(text.itertext()) for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))


def test_a_time_course_says_its_axes_its_chance_and_what_is_marked(tmp_path):
    said = words(save_figure("over_time", over_time([0.25, 0.25, 0.5, 0.6, 0.2]), tmp_path / "a.svg"))
    for part in ("time from inhalation onset (s)", "balanced accuracy", "chance", "shuffled labels", "p ≤ 0.05"):
        assert part in said


def test_as_many_bins_are_marked_as_are_above_the_largest(tmp_path):
    """Two of five bins: two squares, counted by their references in the SVG."""
    counts = []
    for score in ([0.25, 0.25, 0.5, 0.6, 0.2], [0.25] * 5):
        text = save_figure("over_time", over_time(score), tmp_path / "a.svg").read_text()
        counts.append(text.count("<use "))
    assert counts[0] - counts[1] == 2


def test_several_animals_are_lines_with_their_names(tmp_path):
    several = {"mouse-1": over_time([0.2, 0.3, 0.4, 0.5, 0.6]), "mouse-$2$": over_time([0.2, 0.2, 0.2, 0.2, 0.2])}
    said = words(save_figure("over_time", several, tmp_path / "a.svg", width_mm=180))
    assert "mouse-1" in said and "mouse-$2$" in said and "shuffled" not in said


def test_distances_carry_the_square_of_their_unit(tmp_path):
    result = over_time([0.0, 1.0, 2.0, 1.0, 0.0], metric="squared_distance", units="a.u.", chance=0.0)
    assert "squared distance (a.u.²)" in words(save_figure("over_time", result, tmp_path / "a.svg"))


def test_a_generalisation_matrix_names_both_times(tmp_path):
    time = 0.1 * np.arange(4)
    score = xr.DataArray(np.eye(4), coords={"train_time": time, "test_time": time})
    said = words(save_figure("generalisation", xr.Dataset({"score": score}, attrs=ATTRS), tmp_path / "a.svg"))
    assert "training time from inhalation onset (s)" in said and "test time from inhalation onset (s)" in said


def test_a_curve_says_what_its_band_is_over_and_which_size_was_chosen(tmp_path):
    fitted = curve(n_units_chosen=4).assign(fitted=("n_units", [0.3, 0.5, 0.6]))
    said = words(save_figure("curve", {"mouse-1": fitted}, tmp_path / "a.svg"))
    for part in ("number of units", "middle 95 % over random draws", "fitted saturation", "chosen: 4", "mouse-1"):
        assert part in said


def test_the_curve_over_numbers_of_latents_marks_the_chosen_one(tmp_path):
    """What ``select_latents`` gives is drawn as it is: two strong latents in 8 units."""
    rng = np.random.default_rng(0)
    values = 3 * rng.normal(size=(30, 4, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(30, 4, 8))
    activity = xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(30),
            "time": 0.1 * np.arange(4),
            "unit": [f"s/u{unit}" for unit in range(8)],
            "odor": ("trial", np.arange(30) % 2),
        },
        attrs={"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.1, "units": "a.u."},
    )
    folds = folds_from_splitter(activity, KFold(3), target="odor")
    found = select_latents(activity, make_reducer("probabilistic_pca"), folds, n_latents=(1, 2, 3, 4))
    said = words(save_figure("curve", found, tmp_path / "a.svg"))
    assert "number of latents" in said and "chosen: 2" in said


def test_the_same_curve_gives_the_same_bytes(tmp_path):
    first, second = (save_figure("curve", curve(), tmp_path / f"{name}.svg").read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("over_time", curve(), "'score': expected a score over time, got one over .'n_units'"),
        ("over_time", {}, "expected 1 to 48 results to draw, got 0"),
        ("over_time", {"a": xr.Dataset()}, "'a' has no 'score', only .*Give a result"),
        ("generalisation", over_time([0.1, 0.2]), "expected a score over train_time and test_time"),
        ("curve", over_time([0.1, 0.2]), "a curve is over one of .*n_units"),
    ],
)
def test_what_a_figure_cannot_show_is_refused(kind, data, message, tmp_path):
    with pytest.raises(SchemaError, match=message):
        save_figure(kind, data, tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []
