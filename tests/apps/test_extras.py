"""The optional sections of a run: their numbers are those of the functions, each made once, said, and reported."""

import json

import numpy as np
import pytest

from mitral.apps.config import AcrossLevels, make_config
from mitral.apps.extras import EXTRAS, extra_lines, extra_values
from mitral.apps.methods import estimator_of, folds_of
from mitral.apps.pipeline import run
from mitral.apps.report import EXTRA_SECTIONS
from mitral.datasets import Store, bin_spikes, simulate_olfactory_lab
from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode import (
    cross_validate,
    cross_validate_over_time,
    cumulate,
    fit_saturation,
    generalise_across,
    hierarchical_interval,
    learning_curve,
    log_concentration,
    mean_curve,
    neuron_dropping,
    onset_interval,
    with_null_over_time,
)

SECTIONS = {
    "over_time": {"window_s": [-0.1, 0.3], "bin_width_s": 0.1, "generalise": True, "n_permutations": 19},
    "how_many": {"n_units": [2, 4, 8, 30], "n_trials": [1, 2, 4], "n_repeats": 3},
    "across_levels": {"column": "concentration"},
}
NONE = dict.fromkeys(SECTIONS)


def config(**changes):
    """A small run with all three sections; a section that is None is left out."""
    values = {
        "name": "tiny",
        "activity": {"window_s": [0.0, 0.3], "bin_width_s": 0.3},
        "decoding": {"decoder": "nearest_centroid"},
        "validation": {"n_folds": 3, "group": "block", "n_permutations": 19, "n_bootstrap": 100},
        "trajectory": {"n_latents": 2, "bin_width_s": 0.1},
    }
    for section, keys in (SECTIONS | changes).items():
        values[section] = None if keys is None else values.get(section, {}) | SECTIONS.get(section, {}) | keys
    return make_config({section: keys for section, keys in values.items() if keys is not None})


def only(section, keys=None, **others):
    """The small run with one of the three sections, some of its keys changed."""
    return config(**(NONE | {section: keys or {}} | others))


@pytest.fixture(scope="module")
def mice():
    """Two simulated sessions: 3 odors at 2 concentrations in 6 blocks, 8 to 10 units that prefer odors strongly."""
    size = {"n_units": (8, 10), "odors": ("a", "b", "c"), "concentrations": (0.01, 0.1), "n_blocks": 6}
    return simulate_olfactory_lab(random_state=3, n_animals=2, strength=2.0, **size).sessions


@pytest.fixture
def save(tmp_path):
    """A function that makes a store of sessions."""

    def made(*sessions):
        store = Store.create(tmp_path / "lab")
        for session in sessions:
            store.save_session(session)
        return store

    return made


@pytest.fixture(scope="module")
def lab(tmp_path_factory, mice):
    """A store with the two mice, which tests share."""
    store = Store.create(tmp_path_factory.mktemp("extras") / "lab")
    for session in mice.values():
        store.save_session(session)
    return store


@pytest.fixture(scope="module")
def outcome(lab):
    """A run with all three sections."""
    return run(config(), lab)


def cut(session, window_s=(0.0, 0.3), bin_width_s=0.3):
    """The activity that the run decodes."""
    return bin_spikes(session, event="inhalation_onset", window_s=window_s, bin_width_s=bin_width_s).compute()


def over_time(session, *, growing=False):
    """Score at each bin with its null, by the functions."""
    activity = cut(session, (-0.1, 0.3), 0.1)
    activity = cumulate(activity) if growing else activity
    folds, estimator = folds_of(activity, config()), estimator_of(config())
    result = cross_validate_over_time(activity, "odor", estimator, folds)
    return with_null_over_time(result, activity, estimator, folds, n_permutations=19, random_state=0)


def test_every_section_has_its_part_of_the_page():
    """What is computed is also reported, and nothing else is."""
    assert list(EXTRAS) == list(EXTRA_SECTIONS)


def test_a_section_that_is_absent_adds_nothing(lab):
    """The three sections are off unless they stand in the file; one that is there, though empty, is on."""
    assert run(config(**NONE), lab).extras == {}
    assert make_config({"across_levels": {}}).across_levels == AcrossLevels()


def test_scores_over_time_are_those_of_the_functions(outcome, mice):
    """Score, null band and family-wise p at each bin, and the onset over animals."""
    found, alone = outcome.extras["over_time"]["scores"], [over_time(session) for session in mice.values()]
    for name in ("score", "null_low", "null_high", "p_value", "p_familywise"):
        np.testing.assert_array_equal(found[name], [result[name] for result in alone])
    expected = onset_interval(alone, random_state=0, n_bootstrap=100)
    assert {name: found.attrs[name] for name in expected} == expected
    assert expected["onset_s"] is not None


def test_windows_grow_where_asked(lab, mice):
    """``growing`` decodes the activity summed up to each bin, timed by its end."""
    found = run(only("over_time", {"growing": True, "generalise": False}), lab).extras["over_time"]["scores"]
    np.testing.assert_array_equal(found["score"][0], over_time(mice["mouse-1"], growing=True)["score"])
    assert found["time"].values.tolist() == [0.0, 0.1, 0.2, 0.3]


def test_the_diagonal_of_generalisation_is_the_mean_score_over_time(outcome):
    """Trained and tested at one time is decoding at that time; animals count alike."""
    results = outcome.extras["over_time"]
    diagonal = np.diagonal(results["generalisation"]["score"])
    np.testing.assert_allclose(diagonal, results["scores"]["score"].mean("session"), atol=1e-12)
    after = results["generalisation"]["score"].to_numpy()[1:, 1:]  # bins after the event
    assert results["generalisation"].attrs["same_time"] == pytest.approx(np.diagonal(after).mean())
    assert results["generalisation"].attrs["other_time"] == pytest.approx(after[~np.eye(3, dtype=bool)].mean())


def test_curves_are_those_of_the_functions(outcome, mice):
    """The mean over animals of neuron-dropping and learning curves, with the fitted saturation."""
    for task, curve_of, sizes in (("units", neuron_dropping, [2, 4, 8]), ("trials", learning_curve, [1, 2, 4])):
        curves = []
        for session in mice.values():
            activity = cut(session)
            settings = {f"n_{task}": sizes, "n_repeats": 3, "random_state": 0}
            curves.append(curve_of(activity, "odor", estimator_of(config()), folds_of(activity, config()), **settings))
        expected = fit_saturation(mean_curve(curves, n_bootstrap=100, random_state=0), n_bootstrap=100, random_state=0)
        found = outcome.extras["how_many"][task]
        for name in ("score", "score_low", "score_high", "animal_score", "fitted"):
            np.testing.assert_allclose(found[name], expected[name], err_msg=name)
        assert found.attrs["asymptote"] == expected.attrs["asymptote"]


def test_sizes_that_a_session_lacks_are_left_out_and_said(outcome):
    """No mouse has 30 units: the curve ends before, and says why."""
    curve = outcome.extras["how_many"]["units"]
    assert curve["n_units"].values.tolist() == [2, 4, 8]
    assert curve.attrs["warnings"] == ["Left out: 30 units, which not every session has."]


def test_one_list_of_sizes_makes_one_curve(lab):
    """Two sizes are drawn, too few for a saturation, so none is claimed."""
    made = run(only("how_many", {"n_units": [2, 4], "n_trials": []}), lab).extras["how_many"]
    assert list(made) == ["units"]
    assert "asymptote" not in made["units"].attrs and "fitted" not in made["units"]


def test_the_curve_of_one_session_is_its_own(lab):
    """With one animal the interval is over random subsets, and so is that of the saturation."""
    alone = run(config(data={"sessions": ["mouse-1"]}), lab).extras["how_many"]["units"]
    assert alone.attrs["interval_over"] == "random draws of units"
    assert alone.attrs["saturation_over"] == "random subsets"


def test_scores_at_held_out_levels_are_those_of_the_function(outcome, mice):
    """Each concentration is decoded by a decoder of the other, with blocks kept whole; the mean is over animals."""
    found, alone = outcome.extras["across_levels"]["levels"], []
    for session in mice.values():
        activity = cut(session)
        settings = {"n_permutations": 19, "n_bootstrap": 100, "random_state": 0}
        folds = folds_of(activity, config())
        given = {"column": "concentration", "folds": folds}
        alone.append(generalise_across(activity, "odor", estimator_of(config()), **given, **settings))
    for name in ("score", "p_value", "null_low", "chance"):
        np.testing.assert_array_equal(found[name], [result[f"held_out_{name}"] for result in alone])
    np.testing.assert_allclose(found["mean"], found["score"].mean("session"))
    first = [row.isel(fold=slice(0, 3)).assign_attrs(score_mean=float(row["held_out_score"][0])) for row in alone]
    expected = hierarchical_interval(first, n_bootstrap=100, random_state=0)
    assert float(found["mean_low"][0]) == expected["score_low"]


def test_blanks_and_levels_that_cannot_be_tested_are_left_out_and_said(save, mice):
    """An odor at one level only cannot be held out, and a level with few trials is not tested."""
    session = mice["mouse-1"]
    odor, level = session["odor"].to_numpy().astype("<U5"), session["concentration"].to_numpy().copy()
    odor[odor == "c"] = "blank"
    level[odor == "blank"] = 0.0
    level[np.flatnonzero(odor == "a")[:2]] = 5.0
    changed = session.assign_coords(odor=("trial", odor))
    changed = changed.assign_coords(concentration=("trial", level, session["concentration"].attrs))
    made = run(only("across_levels"), save(changed)).extras["across_levels"]["levels"]
    assert made["held_out"].values.tolist() == [0.01, 0.1]
    said = " ".join(made.attrs["warnings"])
    assert "Left out: odor blank, which is at one concentration only." in said
    assert "Not tested at concentration 5.0, with fewer than 5 trials, or one odor only." in said


def test_the_same_run_again_computes_nothing(lab, outcome):
    """All results are found again by their names."""
    position = lab.refresh()
    again = run(config(), lab)
    assert lab.refresh() == position
    for section, results in outcome.extras.items():
        assert all(again.extras[section][task].identical(result) for task, result in results.items())


def test_a_section_does_not_touch_what_does_not_depend_on_it(save, mice):
    """Another number of repeats makes new curves, and a new table of the run; everything else is found."""
    store = save(mice["mouse-1"])
    quick = config(over_time={"generalise": False}, how_many={"n_trials": []})
    first, before = run(quick, store), set(store.results()["name"])
    changed = run(config(over_time={"generalise": False}, how_many={"n_trials": [], "n_repeats": 2}), store)
    new = set(store.results()["name"]) - before - {changed.study.attrs["name"]}
    assert sorted(name[:-10] for name in new) == ["tiny-how_many-units-", "tiny-how_many-units-mouse-1-"]
    assert changed.names == first.names


def test_a_new_session_is_the_only_one_computed(save, mice):
    """What was found in a session is kept for every later choice of sessions."""
    store = save(*mice.values())
    run(only("over_time", {"generalise": False}, data={"sessions": ["mouse-1"]}), store)
    run(only("over_time", {"generalise": False}), store)
    names = sorted(name[:-10] for name in store.results()["name"] if "over_time" in name)
    start = "tiny-over_time-scores-"
    assert names == [start, start, f"{start}mouse-1-", f"{start}mouse-2-"]


def test_an_error_names_the_section_and_the_session(lab):
    """Whoever asks for more trials than there are is told where."""
    with pytest.raises(SchemaError, match="n_trials must be numbers from 1 to 8") as caught:
        run(only("how_many", {"n_trials": [50]}), lab)
    assert "how many trials of mouse-1" in caught.value.__notes__[0]
    with pytest.raises(SchemaError, match="there is no trial column 'dose'"):
        run(only("across_levels", {"column": "dose"}), lab)


def test_labels_in_runs_have_no_onset(save, mice):
    """Where trials cannot be exchanged there is no p over time, and no onset is claimed."""
    session = mice["mouse-1"].sortby("odor")
    trials = session.sizes["trial"]
    times = {name: np.sort(session[name].to_numpy()) for name in ("valve_open", "odor_onset", "inhalation_onset")}
    runs = session.assign_coords({name: ("trial", time, session[name].attrs) for name, time in times.items()})
    runs = runs.assign_coords(trial=np.arange(trials))
    made = run(only("over_time", {"generalise": False}, validation={"group": None}), save(runs))
    assert "p_familywise" not in made.extras["over_time"]["scores"]
    said = extra_lines(made.extras)
    assert said[0] == "Over time: no onset of odor, as no session has p values over time."
    assert any("labels come in runs" in line for line in said)
    assert "no session has p values" in EXTRA_SECTIONS["over_time"](made.extras["over_time"])


def test_the_terminal_says_every_result_in_words(outcome):
    """When, how many and where it holds, with their intervals."""
    text = "\n".join(extra_lines(outcome.extras))
    attrs = outcome.extras["over_time"]["scores"].attrs
    assert f"odor can be decoded from {attrs['onset_s']:.3g} s after inhalation onset on (median of 2 animals" in text
    assert "How many units: balanced accuracy of odor" in text and "training trials of each odor" in text
    mean = float(outcome.extras["across_levels"]["levels"]["mean"][1])
    assert f"concentration 0.1: {mean:.2f} (" in text


def test_values_for_machines_are_plain_json(outcome):
    """Everything that is said is there as numbers, without NaN."""
    values = json.loads(json.dumps(extra_values(outcome.extras), allow_nan=False))
    scores = outcome.extras["over_time"]["scores"]
    assert len(values["over_time"]["scores"]) == 2 * 4 and len(values["over_time"]["generalisation"]) == 4 * 4
    assert values["over_time"]["onset_s"] == scores.attrs["onset_s"]
    assert values["how_many"][0]["scores"][0]["n_units"] == 2
    level = values["across_levels"][0]
    assert level["held_out"] == 0.01 and len(level["sessions"]) == 2 and level["is_extrapolation"]


def test_the_sections_hold_charts_tables_and_no_markup_from_data(outcome):
    """Names of sessions, targets and warnings are other people's text."""
    bad = "<script>alert(1)</script>"
    for section, results in outcome.extras.items():
        attrs = {"target": bad, "event": bad, "column": bad, "warnings": [bad]}
        hostile = {task: result.assign_attrs(attrs) for task, result in results.items()}
        for task, result in hostile.items():
            if "session" in result.coords:
                hostile[task] = result.assign_coords(session=[bad, "b"])
        html = EXTRA_SECTIONS[section](hostile)
        assert "<script>" not in html and "&lt;script&gt;" in html
        assert html.count("data-chart=") == html.count("<table") == len(results)
        assert EXTRA_SECTIONS[section]({}) == ""


def test_log_concentration_is_a_target(save, mice):
    """The column is made; trials without odor have no logarithm, are left out, and are counted."""
    session = mice["mouse-1"]
    level = session["concentration"].to_numpy().copy()
    level[[0, 7]] = 0.0
    changed = session.assign_coords(concentration=("trial", level, session["concentration"].attrs))
    target = {"decoder": "ridge", "target": "log10_concentration"}
    settings = config(**NONE, decoding=target, validation={"group": None, "n_folds": 3})
    result = run(settings, save(changed)).results["mouse-1"]
    activity = log_concentration(cut(changed), blanks="leave_out")
    alone = cross_validate(activity, "log10_concentration", estimator_of(settings), folds_of(activity, settings))
    assert result.attrs["score_mean"] == alone.attrs["score_mean"] and result.attrs["n_trials"] == 34
    assert "Left out: 2 trials at concentration 0 or without one, which has no logarithm." in result.attrs["warnings"]


def test_concentration_of_odors_that_are_new_to_the_decoder(lab):
    """The logarithm of concentration, with whole odors held out."""
    target = {"decoder": "ridge", "target": "log10_concentration"}
    settings = only("across_levels", {"column": "odor"}, decoding=target)
    made = run(settings, lab).extras["across_levels"]["levels"]
    assert made["held_out"].values.tolist() == ["a", "b", "c"]
    assert made.attrs["metric"] == "r2" and "is_extrapolation" not in made


@pytest.mark.parametrize("metric", ["auroc", "log_loss"])
def test_a_metric_of_probabilities_scores_a_run(lab, mice, metric):
    """Score, null and mean over animals are of the decoder's probabilities."""
    settings = config(**NONE, decoding={"decoder": "lda", "metric": metric})
    outcome = run(settings, lab)
    activity = cut(mice["mouse-1"])
    alone = cross_validate(activity, "odor", estimator_of(settings), folds_of(activity, settings), metric=metric)
    assert outcome.results["mouse-1"].attrs["score_mean"] == alone.attrs["score_mean"]
    assert outcome.results["mouse-1"].attrs["p_value"] == pytest.approx(1 / 20)
    assert outcome.study.attrs["metric"] == metric


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"over_time": {"bins": 1}}, r"unknown key 'over_time\.bins'\. "),
        ({"over_time": {"n_permutations": 10}}, r"over_time\.n_permutations: expected at least 19"),
        ({"over_time": {"window_s": [0.3, 0.1]}}, r"over_time\.window_s must be \[start, stop\]"),
        ({"how_many": {}}, r"how_many: expected n_units or n_trials with at least one size"),
        ({"how_many": {"n_units": [0]}}, r"how_many\.n_units: expected at least 1"),
        ({"across_level": {}}, r"unknown key 'across_level'\. Nearest: 'across_levels'"),
        ({"decoding": {"growing": True}}, r"unknown key 'decoding\.growing'\. It belongs in \[over_time\]"),
    ],
)
def test_a_section_that_cannot_be_is_refused(values, match):
    """The message names the key and what would do."""
    with pytest.raises(ConfigError, match=match):
        make_config(values)
