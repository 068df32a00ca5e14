"""Charts hold the numbers that they are given, say what they show, and never render text from data."""

import html

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.apps import charts
from mitral.apps.palette import MOST_CLASSES, OKABE_ITO, style
from mitral.datasets.errors import SchemaError


def traces(figure):
    """Traces by name; of two with one name the later."""
    return {html.unescape(trace.name): trace for trace in figure.data if trace.name}


def texts(value):
    """Every text inside nested plain values, with the path to it."""
    if isinstance(value, dict):
        return [(f"{key}.{path}", text) for key, item in value.items() for path, text in texts(item)]
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU"):
        return [(f"[].{path}", text) for item in value for path, text in texts(item)]
    return [("", value)] if isinstance(value, str) else []


def test_accuracy_shows_each_score_and_interval_as_given(study):
    """The marks and their bars are the numbers of the study, one row for each population."""
    marks = traces(charts.accuracy(study))["score and its interval"]
    assert_allclose(marks.x, study["score"])
    assert_allclose(marks.x + marks.error_x.array, study["score_high"])
    assert_allclose(marks.x - marks.error_x.arrayminus, study["score_low"])


def test_accuracy_draws_the_null_band_and_says_what_it_is(study):
    """The band runs from the 2.5th to the 97.5th percentile of the null and is named so."""
    (band,) = [trace for trace in charts.accuracy(study).data if trace.type == "bar"]
    assert_allclose(np.asarray(band.base, float), study["null_low"])
    assert_allclose(np.asarray(band.base, float) + band.x, study["null_high"])
    assert "null band: middle 95\u00a0% with shuffled targets" == band.name


def test_accuracy_draws_chance_in_every_row(study):
    """Chance may differ between populations, so each row has its own line."""
    different = study.assign(chance=("population", [0.125, 0.2, 0.125, 0.25, 0.125]))
    line = traces(charts.accuracy(different))["chance"]
    assert_allclose(np.reshape(line.x, (-1, 3))[:, 0], [0.125, 0.2, 0.125, 0.25, 0.125])


def test_accuracy_draws_the_mean_with_its_interval_and_says_over_what(study):
    """The mean stands apart; the interval over animals is not confused with those over trials."""
    mean = traces(charts.accuracy(study))["mean and its interval over animals"]
    assert_allclose(mean.x, study.attrs["score_mean"])
    assert_allclose(mean.x + mean.error_x.array, study.attrs["score_high"])


def test_accuracy_without_a_mean_draws_none(study):
    """Pooled populations have no mean over animals, and none is made up."""
    pooled = study.copy()
    pooled.attrs = {key: value for key, value in study.attrs.items() if not key.startswith("score_")}
    assert not [name for name in traces(charts.accuracy(pooled)) if name.startswith("mean")]


def test_accuracy_shows_a_control_window_only_where_there_is_one(study):
    """The score before the stimulus stands beside the null where it was computed."""
    assert "control window" not in traces(charts.accuracy(study))
    controlled = study.assign(control_score=("population", [0.1, 0.12, 0.13, 0.14, 0.11]))
    assert_allclose(traces(charts.accuracy(controlled))["control window"].x, controlled["control_score"])


def test_accuracy_of_a_single_result_is_one_row(results):
    """A result without a study can be charted."""
    result = results["mouse-2"]
    marks = traces(charts.accuracy(result))["score and its interval"]
    assert marks.x.tolist() == [result.attrs["score_mean"]]


def test_accuracy_of_something_else_is_refused(paths):
    """A trajectory is no study, and the error says where to get one."""
    with pytest.raises(SchemaError, match="expected a study or a decoding result, got a Dataset of kind None"):
        charts.accuracy(paths["mouse-1"].to_dataset(name="x"))


def test_axis_of_accuracy_names_the_metric(study):
    """The axis says which score it is."""
    assert charts.accuracy(study).layout.xaxis.title.text == "balanced accuracy"


def test_confusion_rows_are_shares_that_sum_to_one(results):
    """Row-normalised: the shares of each presented class add up to one."""
    (heat,) = charts.confusion(results["mouse-1"]).data
    counts = results["mouse-1"]["confusion"].to_numpy()
    assert_allclose(heat.z, counts / counts.sum(axis=1, keepdims=True))
    assert_allclose(np.sum(heat.z, axis=1), 1.0)


def test_confusion_hover_holds_the_counts(results):
    """Behind a share the reader finds how many trials it stands for."""
    (heat,) = charts.confusion(results["mouse-1"]).data
    n, total = results["mouse-1"]["confusion"].to_numpy()[0, 0], results["mouse-1"]["confusion"].to_numpy()[0].sum()
    assert heat.hovertext[0][0] == f"2-heptanone decoded as 2-heptanone<br>{n} of {total} trials"


def test_confusion_leaves_an_untested_class_empty(results):
    """A class without test trials has no share: not zero, and no division by zero."""
    result = results["mouse-1"].copy(deep=True)
    result["confusion"][2] = 0
    (heat,) = charts.confusion(result).data
    assert np.isnan(heat.z[2]).all() and np.isfinite(np.delete(heat.z, 2, axis=0)).all()


def test_confusion_axes_carry_the_unit_of_the_labels(results):
    """Concentrations are decoded in ppm, and both axes say so."""
    result = results["mouse-1"].assign_attrs(target="concentration")
    result["label"].attrs["units"] = "ppm"
    layout = charts.confusion(result).layout
    assert layout.xaxis.title.text == "decoded concentration (ppm)"
    assert layout.yaxis.title.text == "presented concentration (ppm)"


def test_confusion_of_a_continuous_target_is_refused(results):
    """Numbers have no confusion matrix, and the error says when there is one."""
    with pytest.raises(SchemaError, match="no confusion matrix.*set of classes"):
        charts.confusion(results["mouse-1"].drop_vars("confusion"))


def test_trajectories_hold_every_trial_and_the_mean_of_each_condition(paths):
    """One NaN-separated trace of trials and one mean for each odor, with the numbers of the array."""
    trajectory = paths["mouse-1"]
    chosen = trajectory[trajectory["odor"] == "citral"]
    single, mean = (trace for trace in charts.trajectories(trajectory).data if trace.name == "citral")
    n_trials, n_times = chosen.shape[:2]
    drawn = np.reshape(single.x, (n_trials, n_times + 1))
    assert_allclose(drawn[:, :-1], chosen[:, :, 0], rtol=1e-6)
    assert np.isnan(drawn[:, -1]).all()
    assert_allclose(mean.z, chosen[:, :, 2].mean("trial"), rtol=1e-5)


def test_hover_of_single_trials_names_trial_and_time(paths):
    """Each point knows its trial and its time."""
    trajectory = paths["mouse-1"]
    single = charts.trajectories(trajectory).data[0]
    chosen = trajectory[trajectory["odor"] == "2-heptanone"]
    assert_allclose(single.customdata[1], [chosen["trial"][0], trajectory["time"][1]])
    assert single.hovertemplate == "2-heptanone<br>trial %{customdata[0]:d}<br>%{customdata[1]:.3f} s<extra></extra>"


def test_trajectories_mark_start_and_event(paths):
    """The first bin and the bin that holds the event are marked on each mean."""
    trajectory = paths["mouse-1"]
    marks = traces(charts.trajectories(trajectory))
    means = trajectory.groupby("odor").mean()
    assert_allclose(marks["start (-0.475 s)"].x, means[:, 0, 0], rtol=1e-5)
    event = int(np.argmin(np.abs(trajectory["time"].to_numpy())))
    assert_allclose(marks["inhalation onset"].y, means[:, event, 1], rtol=1e-5)


def test_trajectories_outside_the_event_mark_no_event(paths):
    """A window that starts after the event has no place for it."""
    late = paths["mouse-1"].sel(time=slice(0.2, None))
    assert "inhalation onset" not in traces(charts.trajectories(late))


def test_axes_in_space_have_one_scale(paths):
    """A unit along one latent is as long as along another."""
    scene = charts.trajectories(paths["mouse-1"]).layout.scene
    spans = [np.ptp(scene[f"{name}axis"].range) for name in "xyz"]
    ratios = [scene.aspectratio[name] for name in "xyz"]
    assert scene.aspectmode == "manual"
    assert_allclose(np.divide(spans, ratios), spans[0] / ratios[0])


def test_axis_titles_say_how_much_variance(paths):
    """Axes carry the share of the variance that the reducer gave."""
    scene = charts.trajectories(paths["mouse-1"]).layout.scene
    assert scene.xaxis.title.text == "latent 1 (23 % of variance)"
    assert scene.zaxis.title.text == "latent 3 (9 % of variance)"


def test_axis_titles_without_variance_claim_none(paths):
    """Where the reducer does not know, nothing is said."""
    unknown = paths["mouse-1"].assign_attrs(explained_variance=[])
    assert charts.trajectories(unknown).layout.scene.xaxis.title.text == "latent 1"


def test_two_latents_are_drawn_in_a_plane_with_one_scale(made):
    """Two latents need no third axis."""
    figure = charts.trajectories(made["trajectory"]("m", n_latents=2))
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert figure.layout.yaxis.scaleanchor == "x"


def test_one_latent_is_drawn_against_time_with_its_unit(made):
    """One latent over time; the axis names the event and seconds."""
    figure = charts.trajectories(made["trajectory"]("m", n_latents=1))
    assert figure.layout.xaxis.title.text == "time from inhalation onset (s)"
    assert figure.layout.yaxis.title.text == "latent 1 (23 % of variance)"


def test_legend_carries_the_unit_of_a_trial_column(paths):
    """Concentrations are listed in ppm."""
    figure = charts.trajectories(paths["mouse-1"], color="concentration")
    assert figure.layout.legend.title.text == "concentration (ppm)"
    assert {"0.1", "1.0", "10.0"} <= set(traces(figure))


def test_many_trials_are_thinned_to_what_a_browser_can_draw(made, monkeypatch):
    """Beyond the limit every second or third trial is drawn; the means keep all of them."""
    monkeypatch.setattr(charts, "MOST_POINTS", 2000)
    trajectory = made["trajectory"]("m")
    figure = charts.trajectories(trajectory)
    drawn = sum(len(trace.x) for trace in figure.data if trace.showlegend is False)
    assert drawn <= 2000 * (trajectory.sizes["time"] + 1) / trajectory.sizes["time"]
    mean = traces(figure)["citral"]
    assert_allclose(mean.x, trajectory[trajectory["odor"] == "citral"][:, :, 0].mean("trial"), rtol=1e-5)


def test_no_two_classes_look_the_same():
    """Colour is never alone: the first 48 classes differ, and neighbours differ in their symbol too."""
    looks = [style(position) for position in range(MOST_CLASSES)]
    assert len(set(looks)) == MOST_CLASSES
    assert len({look.symbol for look in looks[: len(OKABE_ITO)]}) == len(OKABE_ITO)


def test_more_conditions_than_can_be_told_apart_are_refused(made):
    """Coloring by a column with a value for each trial is refused, with what to do."""
    trajectory = made["trajectory"]("m").assign_coords(onset=("trial", np.arange(240.0)))
    with pytest.raises(SchemaError, match="'onset' has 240 different values, and 1 to 48 can be told apart"):
        charts.trajectories(trajectory, color="onset")


def test_an_unknown_column_is_refused_with_those_that_exist(paths):
    """The error lists the trial columns."""
    with pytest.raises(SchemaError, match=r"no trial column 'smell'. Color by one of \['concentration'"):
        charts.trajectories(paths["mouse-1"], color="smell")


def test_an_array_on_other_dims_is_refused(paths):
    """Activity is no trajectory."""
    with pytest.raises(SchemaError, match="expected dims"):
        charts.trajectories(paths["mouse-1"].rename(latent="unit"))


def test_an_unknown_theme_is_refused(study):
    """Two themes exist."""
    with pytest.raises(SchemaError, match="unknown theme 'sepia'"):
        charts.accuracy(study, theme="sepia")


def test_dark_theme_draws_nothing_black(paths):
    """Black marks would vanish on a dark ground."""
    dark = charts.trajectories(paths["mouse-1"], theme="dark")
    assert "#000000" not in dark.to_json() and "#000000" in charts.trajectories(paths["mouse-1"]).to_json()


def test_text_from_data_is_shown_as_it_is_written(made, hostile):
    """No markup, no formula, no template of Plotly: a name from a file reaches the chart escaped."""
    odors = [hostile, "$x^2$", "%{x}", "a", "b", "c"]
    result = made["result"](hostile, 0.8, odors=odors).assign_attrs(target=hostile, metric=hostile, name=hostile)
    trajectory = made["trajectory"](hostile, odors=odors, n_latents=1).assign_attrs(event=hostile)
    figures = [charts.accuracy(result), charts.confusion(result), charts.trajectories(trajectory)]
    ours = ("<br>", "<extra></extra>", "%{customdata[0]:d}", "%{customdata[1]:.3f}", "%{customdata:.3f}", "%{text}")
    for path, text in (pair for figure in figures for pair in texts(figure.to_dict())):
        for mark in ours:
            text = text.replace(mark, "")
        assert not set(text) & set("<>$\u202e\n") and "%{" not in text, (path, text)


def test_a_description_stands_for_the_chart(study, paths):
    """The text for those who cannot see it names axes and series."""
    assert charts.description(charts.accuracy(study)).startswith("Chart of balanced accuracy; series: null band")
    in_space = charts.description(charts.trajectories(paths["mouse-1"]))
    assert "latent 1 (23 % of variance) against latent 2" in in_space and "limonene" in in_space
