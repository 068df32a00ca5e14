"""Charts of scores over time, sizes and held-out levels: what is drawn is what was computed."""

import numpy as np
import pytest
import xarray as xr

from mitral.apps import charts_over
from mitral.apps.palette import INK
from mitral.datasets.errors import SchemaError

TIME = np.array([-0.1, 0.0, 0.1, 0.2])
SHARED = {"target": "odor", "metric": "balanced_accuracy", "event": "odor_onset", "chance": 0.25, "bin_width_s": 0.1}


def scores(n_sessions=2, **attrs):
    """Made-up scores over time, the last session without onset where there are several."""
    score = 0.25 + np.outer(np.arange(1, n_sessions + 1), [0.0, 0.01, 0.1, 0.2])
    onset = np.where(np.arange(n_sessions) < max(1, n_sessions - 1), 0.1, np.nan)
    flat = np.full_like(score, 0.2)
    p = np.broadcast_to([1.0, 0.5, 0.05, 0.05], score.shape)
    return xr.Dataset(
        {
            "score": (("session", "time"), score),
            "null_low": (("session", "time"), flat),
            "null_high": (("session", "time"), flat + 0.1),
            "p_familywise": (("session", "time"), p),
            "onset_s": ("session", onset),
        },
        coords={"session": [f"mouse-{k}" for k in range(n_sessions)], "time": TIME},
        attrs=SHARED | {"kind": "over_time", "onset_s": 0.1, "onset_low_s": 0.1, "onset_high_s": 0.2} | attrs,
    )


def levels(n_sessions=2):
    """Made-up scores at two held-out levels; the second is at chance."""
    row = np.tile([0.8, 0.25], (n_sessions, 1))
    shifts = {"score": 0, "score_low": -0.1, "score_high": 0.05, "null_low": -0.7, "null_high": -0.5}
    table = {name: (("session", "held_out"), row + shift) for name, shift in shifts.items()}
    table |= {"p_value": (("session", "held_out"), np.tile([0.01, 0.6], (n_sessions, 1)))}
    table |= {"chance": (("session", "held_out"), np.full((n_sessions, 2), 0.25))}
    table |= {name: ("held_out", [0.8 + shift, 0.25 + shift]) for name, shift in
              (("mean", 0), ("mean_low", -0.05), ("mean_high", 0.05))}  # fmt: skip
    attrs = SHARED | {"kind": "across_levels", "column": "concentration", "units": "dilution"}
    coords = {"session": [f"mouse-{k}" for k in range(n_sessions)], "held_out": [0.01, 0.1]}
    return xr.Dataset(table, coords=coords, attrs=attrs | {"interval_over": "animals, then trials"})


def curve(**attrs):
    """A made-up mean curve of two animals with its saturation."""
    rows = np.array([[0.3, 0.4], [0.5, 0.6], [0.55, 0.65]])
    return xr.Dataset(
        {"score": ("n_units", rows.mean(axis=1)), "score_low": ("n_units", rows.min(axis=1))}
        | {"score_high": ("n_units", rows.max(axis=1)), "fitted": ("n_units", rows.mean(axis=1) + 0.01)}
        | {"animal_score": (("n_units", "animal"), rows)},
        coords={"n_units": [5, 10, 20], "animal": ["a", "b"]},
        attrs=SHARED | {"kind": "curve", "saturation": "hyperbolic", "interval_over": "animals, then repeats"} | attrs,
    )


def by_name(figure, name):
    """The traces of a name."""
    return [trace for trace in figure.data if trace.name == name]


def test_each_session_is_a_line_with_a_mark_at_its_onset():
    """The second session has no onset, so it has no mark; the band is the interval over animals."""
    figure = charts_over.over_time(scores())
    for k in range(2):
        line, *marks = by_name(figure, f"mouse-{k}")
        np.testing.assert_array_equal(line.y, scores()["score"][k])
        assert not marks
    (mark,) = [trace for trace in figure.data if trace.mode == "markers"]
    assert (mark.x[0], mark.y[0]) == (0.1, float(scores()["score"][0, 2]))
    band, median = figure.layout.shapes
    assert (band.x0, band.x1, median.x0) == (0.1, 0.2, 0.1)
    assert figure.layout.xaxis.title.text == "time from odor onset (s)"


def test_one_session_is_drawn_above_its_null_band():
    """The band is its own null, and squares mark the bins above the largest of all."""
    figure = charts_over.over_time(scores(1))
    band = next(trace for trace in figure.data if (trace.name or "").startswith("null band"))
    assert (min(band.y), max(band.y)) == pytest.approx((0.2, 0.3))
    above = next(trace for trace in figure.data if (trace.name or "").startswith("above the largest"))
    assert list(above.x) == [0.1, 0.2]
    assert len(figure.layout.shapes) == 1  # the onset; one session has no interval over animals


def test_without_onset_no_time_is_marked():
    """No vertical line stands for a time that was not found."""
    never = scores(1, onset_s=None, onset_low_s=None, onset_high_s=None).assign(onset_s=("session", [np.nan]))
    assert not charts_over.over_time(never).layout.shapes


@pytest.mark.parametrize(
    ("metric", "chance", "scale"), [("accuracy", 0.25, (0.25, 0.9)), ("log_loss", 1.4, (0.1, 1.4))]
)
def test_generalisation_is_drawn_from_chance_to_the_best(metric, chance, scale):
    """Rows are training times; for an error the scale is turned, so that the best is always the deepest."""
    cells = np.array([[0.9, 0.1], [0.3, 0.5]])
    times = {"train_time": [0.0, 0.1], "test_time": [0.0, 0.1]}
    attrs = SHARED | {"kind": "generalisation", "metric": metric, "chance": chance}
    result = xr.Dataset({"score": (("train_time", "test_time"), cells)}, coords=times, attrs=attrs)
    figure = charts_over.generalisation(result)
    np.testing.assert_array_equal(figure.data[0].z, cells)
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == scale and axis.reversescale == (metric == "log_loss")
    assert figure.layout.yaxis.title.text.startswith("training time")


def test_a_curve_shows_mean_interval_animals_and_fit():
    """The mean is thick, animals are thin, the fit is dashed, chance is dotted."""
    figure = charts_over.curve(curve())
    (mean,) = by_name(figure, "mean")
    np.testing.assert_array_equal(mean.y, curve()["score"])
    assert [len(by_name(figure, animal)) for animal in ("a", "b")] == [1, 1]
    assert len(by_name(figure, "fitted saturation (hyperbolic)")) == 1
    assert figure.layout.xaxis.title.text == "number of units"
    (chance,) = by_name(figure, "chance")
    assert list(chance.y) == [0.25, 0.25]


def test_marks_are_filled_where_a_level_is_decoded():
    """A level with p above 0.05 has an open mark; the mean stands beside the sessions with its interval."""
    figure = charts_over.across_levels(levels())
    (first,) = by_name(figure, "mouse-0")
    assert [symbol.endswith("open") for symbol in first.marker.symbol] == [False, True]
    (mean,) = by_name(figure, "mean and its interval over animals")
    np.testing.assert_allclose(mean.error_y.array, 0.05)
    assert list(figure.layout.xaxis.ticktext) == ["0.01", "0.1"]
    assert figure.layout.xaxis.title.text == "concentration that was held out (dilution)"


def test_one_session_has_its_interval_and_null_band_at_each_level():
    """There is no mean of one animal; its own interval stands in its place."""
    figure = charts_over.across_levels(levels(1))
    assert not [trace for trace in figure.data if (trace.name or "").startswith("mean")]
    (mouse,) = by_name(figure, "mouse-0")
    np.testing.assert_allclose(mouse.error_y.arrayminus, 0.1)
    (band,) = [trace for trace in figure.data if trace.type == "bar"]
    np.testing.assert_allclose(band.y, 0.2)


@pytest.mark.parametrize("made", [scores(), curve(), levels()], ids=["over_time", "curve", "across_levels"])
@pytest.mark.parametrize("theme", sorted(INK))
def test_a_chart_is_found_by_the_kind_of_its_result(made, theme):
    """In both themes, and with text of the theme's ink."""
    figure = charts_over.draw(made, theme=theme)
    assert figure.layout.template.layout.font.color
    assert figure == charts_over.CHARTS[made.attrs["kind"]](made, theme=theme)


def test_names_from_data_are_no_markup(hostile):
    """Plotly shows a subset of HTML and fills templates: nothing of it comes from data."""
    result = scores().assign_coords(session=[hostile, "b"]).assign_attrs(event=hostile, metric=hostile)
    shown = str(charts_over.over_time(result).to_dict())
    assert "<img" not in shown and "<script" not in shown and "%{customdata}" not in shown


def test_what_has_no_chart_is_refused():
    """The message says which kinds have one."""
    with pytest.raises(
        SchemaError, match="expected a result of kind over_time, .*got 'study'. Give one that a run made"
    ):
        charts_over.draw(scores(kind="study"))
    with pytest.raises(SchemaError, match="unknown theme 'sepia'"):
        charts_over.draw(scores(), theme="sepia")
