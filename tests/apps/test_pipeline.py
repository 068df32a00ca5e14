"""A run on a tiny lab: its numbers are those of the functions, it repeats nothing, and it says what it left out."""

import json
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from mitral.apps.config import make_config
from mitral.apps.cut import cut_activity
from mitral.apps.pipeline import run, select_sessions
from mitral.datasets import bin_spikes, make_folds
from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.datasets.schema import make_session
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.datasets.store import Store
from mitral.decode import cross_validate, hierarchical_interval, make_decoder, with_interval, with_null
from mitral.decode.pooled import cross_validate_pooled

TINY = {
    "name": "tiny",
    "activity": {"window_s": [0.0, 0.3], "bin_width_s": 0.1},
    "decoding": {"decoder": "nearest_centroid"},
    "validation": {"n_folds": 3, "group": "block", "n_permutations": 19, "n_repeats": 2, "n_bootstrap": 100},
    "trajectory": {"n_latents": 2, "bin_width_s": 0.1},
}


def tiny(**sections):
    """The tiny configuration with some keys of some sections changed: ``tiny(decoding={"metric": "accuracy"})``."""
    values = TINY | {name: {**TINY.get(name, {}), **keys} for name, keys in sections.items() if isinstance(keys, dict)}
    return make_config(values | {name: value for name, value in sections.items() if not isinstance(value, dict)})


@pytest.fixture(scope="module")
def mice():
    """Three simulated sessions: 18 trials of 3 odors in 6 blocks, 8 to 10 units that prefer odors strongly."""
    size = {"n_animals": 3, "n_units": (8, 10), "odors": ("a", "b", "c"), "concentrations": (0.1,), "n_blocks": 6}
    return simulate_olfactory_lab(random_state=3, strength=2.0, **size).sessions


@pytest.fixture(scope="module")
def shared(tmp_path_factory, mice):
    """A store of the three mice that tests share: what they save in it does not matter to the others."""
    store = Store.create(tmp_path_factory.mktemp("shared") / "lab")
    for session in mice.values():
        store.save_session(session)
    return store


@pytest.fixture
def lab(tmp_path, mice):
    """An empty store and a function that saves sessions in it; called without sessions, it saves the three mice."""

    def save(*sessions):
        path = tmp_path / "lab"
        store = Store(path) if path.exists() else Store.create(path)
        for session in sessions or mice.values():
            store.save_session(session)
        return store

    return save


def renamed(session, name, **units):
    """The session under another id, with unit columns of one value."""
    columns = {column: ("unit", np.full(session.sizes["unit"], value)) for column, value in units.items()}
    return session.assign_attrs(session=name, animal=name).assign_coords(columns)


@pytest.fixture
def counted(monkeypatch):
    """A decoder at the dotted path ``lab_decoders:Counted``, and the list of the fits it has done."""
    fits = []

    class Counted(RidgeClassifier):
        def fit(self, X, y):
            fits.append(len(y))
            return super().fit(X, y)

    module = types.ModuleType("lab_decoders")
    module.Counted = Counted
    monkeypatch.setitem(sys.modules, "lab_decoders", module)
    return fits


def test_the_study_holds_the_numbers_of_the_functions(shared, mice):
    """A run adds nothing to what a script gets from the same functions and seeds."""
    study = run(tiny(validation={"random_state": 4}), shared).study
    for name, session in mice.items():
        activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
        folds = make_folds(activity, target="odor", n_folds=3, random_state=4, group="block")
        estimator = make_pipeline(SquareRoot(), Flatten(), make_decoder("nearest_centroid"))
        result = cross_validate(activity, "odor", estimator, folds)
        result = with_null(result, activity, estimator, folds, n_permutations=19, random_state=4)
        result = with_interval(result, n_bootstrap=100, random_state=4)
        row = study.sel(population=name)
        for column in ("score_low", "score_high", "null_low", "null_high", "p_value", "chance", "n_trials", "n_units"):
            assert row[column].item() == result.attrs[column], column
        assert row["score"].item() == result.attrs["score_mean"]


def test_the_mean_of_the_study_is_over_animals(shared):
    """Mean and interval are those of ``hierarchical_interval`` on the results."""
    outcome = run(tiny(), shared)
    expected = hierarchical_interval(list(outcome.results.values()), n_bootstrap=100, random_state=0)
    assert {name: outcome.study.attrs[name] for name in expected} == expected
    assert outcome.study.attrs["n_animals"] == outcome.study.attrs["n_sessions"] == 3


def test_odors_of_simulated_mice_are_decoded_and_not_before(shared):
    """The score is far above chance in the window and near it before the odor: mean over 3 x 18 trials, chance 1/3."""
    study = run(tiny(decoding={"control_window_s": [-0.3, 0.0]}), shared).study
    assert study["score"].mean() > 0.6
    assert abs(study["control_score"].mean() - 1 / 3) < 3 * np.sqrt(2 / 9 / 54)


def test_results_are_saved_with_where_they_came_from(lab):
    """Every result in the store names the objects that it was computed from, the position, threads and settings."""
    store = lab()
    outcome = run(tiny(), store, threads=1)
    objects = dict(zip(store.sessions()["session"], store.sessions()["object"], strict=True))
    for population, name in outcome.names.items():
        attrs = Store(store.path).result(name).attrs
        assert json.loads(attrs["inputs"]) == {population: objects[population]}
        assert json.loads(attrs["config"]) == tiny().resolved()
        assert 3 <= attrs["store_position"] < store.position
        assert {pool["num_threads"] for pool in json.loads(attrs["threads"])} == {1}
    study = Store(store.path).result(outcome.study.attrs["name"])
    assert json.loads(study.attrs["inputs"]) == objects
    assert {pool["num_threads"] for pool in json.loads(study.attrs["threads"])} == {1}
    assert study["result"].values.tolist() == list(outcome.names.values())


def test_the_same_run_again_computes_nothing(lab, counted):
    """Results are found by their names; no fit, no commit, the same study."""
    store, config = lab(), tiny(decoding={"decoder": "lab_decoders:Counted"})
    first = run(config, store)
    n_fits, position = len(counted), store.position
    assert n_fits > 0
    again = run(config, Store(store.path))
    assert (len(counted), Store(store.path).position) == (n_fits, position)
    assert again.names == first.names
    xr.testing.assert_identical(again.study, first.study)


def test_a_new_session_is_the_only_one_computed(lab, mice, counted):
    """A lab that grows by a recording pays for that recording."""
    config = tiny(decoding={"decoder": "lab_decoders:Counted"})
    *first, last = mice.values()
    names = run(config, lab(*first)).names
    n_fits = len(counted)
    more = run(config, lab(last)).names
    assert {name: more[name] for name in names} == names
    assert len(counted) == n_fits + n_fits / 2  # the two before cost n_fits


def test_a_run_that_fails_keeps_what_was_done(lab, mice, counted):
    """What was finished before an error is saved and found by the next run."""
    one_class = renamed(mice["mouse-1"], "zz").assign_coords(odor=("trial", np.full(18, "a")))
    store, config = lab(mice["mouse-1"], one_class), tiny(decoding={"decoder": "lab_decoders:Counted"})
    with pytest.raises(SchemaError, match="'zz'"):
        run(config, store)
    n_fits = len(counted)
    assert len(store.results()) == 1 and n_fits > 0
    run(config.model_copy(update={"data": config.data.model_copy(update={"sessions": ("mouse-*",)})}), store)
    assert len(counted) == n_fits


def test_key_order_does_not_change_names(shared):
    """The same configuration written in another order is the same analysis."""
    turned = dict(reversed([(k, dict(reversed(v.items())) if isinstance(v, dict) else v) for k, v in TINY.items()]))
    assert run(make_config(turned), shared).names == run(tiny(), shared).names


@pytest.mark.parametrize(
    "change",
    [
        {"validation": {"random_state": 1}},
        {"validation": {"n_permutations": 20}},
        {"activity": {"square_root": False}},
        {"decoding": {"metric": "accuracy"}},
        {"data": {"min_trials": 4}},
        {"name": "tiny two"},
    ],
    ids=lambda change: str(change),
)
def test_another_parameter_gives_another_name(shared, change):
    """Results of different analyses never share a name."""
    one = {"sessions": ["mouse-1"]}
    changed = tiny(**(change | {"data": one | change.get("data", {})}))
    assert run(changed, shared).names["mouse-1"] != run(tiny(data=one), shared).names["mouse-1"]


def test_another_recording_gives_another_name(lab, mice, tmp_path):
    """The same session id with other spikes is another input."""
    names = run(tiny(), lab(mice["mouse-1"])).names
    other = Store.create(tmp_path / "other")
    other.save_session(renamed(mice["mouse-2"], "mouse-1"))
    assert run(tiny(), other).names["mouse-1"] != names["mouse-1"]


def test_how_a_session_is_chosen_does_not_change_its_result(shared):
    """By id or by pattern, alone or among others, a session's result is the same one."""
    alone = run(tiny(data={"sessions": ["mouse-1"]}), shared)
    among = run(tiny(data={"sessions": ["mouse-*"]}), shared)
    assert alone.names["mouse-1"] == among.names["mouse-1"]
    assert alone.study.attrs["name"] != among.study.attrs["name"]


def test_trajectories_do_not_change_decoding_names(shared):
    """Trajectories are for looking; their settings change the study, not what was decoded."""
    fine = run(tiny(trajectory={"n_latents": 1, "smooth_sd_s": 0.0}), shared)
    assert fine.names == run(tiny(), shared).names
    assert fine.trajectories["mouse-1"].sizes["latent"] == 1


@pytest.mark.parametrize("reducer", ["factor_analysis", "demixed_pca"])
def test_other_reducers_make_the_trajectories_of_a_run(shared, reducer):
    """By name; one that learns from a target is handed that of the run, and the trajectory says so."""
    trajectory = run(tiny(trajectory={"reducer": reducer}), shared).trajectories["mouse-1"]
    assert trajectory.sizes["latent"] == 2 and trajectory["in_fit"].all()
    assert trajectory.attrs.get("target") == ("odor" if reducer == "demixed_pca" else None)


def test_trajectories_are_fitted_on_all_trials_and_marked(shared):
    """One trajectory for each session, in the window asked for, never to be scored."""
    trajectories = run(tiny(), shared).trajectories
    assert list(trajectories) == ["mouse-1", "mouse-2", "mouse-3"]
    for trajectory in trajectories.values():
        assert trajectory.shape == (18, 8, 2)
        assert trajectory["in_fit"].all()


def test_one_worker_equals_two(lab, shared):
    """Permutations and repeats have their own seeds, so who computes them does not matter."""
    populations = {"populations": ["session", "pseudo-population"], "decoder": "ridge_classifier"}
    config = tiny(decoding=populations, validation={"n_permutations": 5})
    alone = run(config, shared)
    with ThreadPoolExecutor(2) as pool:
        together = run(config, lab(), map=pool.map)
    assert together.names == alone.names
    for name, result in alone.results.items():
        xr.testing.assert_equal(together.results[name], result)


def test_sessions_are_pooled_by_area(lab, mice):
    """Sessions of one area become a pseudo-population; an area of one session is not pooled, and that is said."""
    one, two, three = mice.values()
    store = lab(renamed(one, "m1", area="bulb"), renamed(two, "m2", area="cortex"), renamed(three, "m3", area="cortex"))
    outcome = run(tiny(decoding={"populations": ["pseudo-population"]}), store)
    assert list(outcome.results) == ["cortex (pooled)"]
    assert outcome.study["n_units"].item() == two.sizes["unit"] + three.sizes["unit"]
    assert outcome.study.attrs["left_out"] == ["Not pooled, as no other session has the same area: m1."]
    assert list(outcome.trajectories) == ["m2", "m3"]


def test_a_pooled_result_is_that_of_the_function(shared, mice):
    """Score and spread over repeats are those of ``cross_validate_pooled``, and the words say what the spread is."""
    config = tiny(decoding={"populations": ["session", "pseudo-population"]})
    outcome = run(config, shared)
    cohort = {name: cut_activity(session, config) for name, session in mice.items()}
    estimator = make_pipeline(SquareRoot(), Flatten(), make_decoder("nearest_centroid"))
    expected = cross_validate_pooled(
        cohort, "odor", estimator, n_folds=3, n_repeats=2, random_state=0, group="block"
    ).attrs
    attrs = outcome.results["olfactory bulb (pooled)"].attrs
    for name in ("score_mean", "score_low", "score_high", "score_sd", "interval_over"):
        assert attrs[name] == expected[name], name
    assert "p_value" in attrs and "repeats" in attrs["interval_over"]
    assert outcome.study.attrs["n_sessions"] == 3  # the mean is over the sessions decoded alone


@pytest.mark.parametrize("group", [None, "block"])
def test_a_number_that_no_two_trials_share_is_decoded_too(lab, mice, group):
    """The spikes of a trial, as a number, are read from its activity by ridge regression; nothing is left out."""
    activity = bin_spikes(mice["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    drive = np.sqrt(activity).sum(("time", "unit")).to_numpy() + np.linspace(0, 1e-6, 18)
    session = mice["mouse-1"].assign_coords(drive=("trial", drive))
    ridge = {"target": "drive", "decoder": "ridge", "parameters": {"alpha": 0.001}}
    config = tiny(activity={"bin_width_s": 0.3}, decoding=ridge, validation={"group": group})
    result = run(config, lab(session)).results["mouse-1"]
    assert (result.attrs["metric"], result.attrs["n_trials"], result.attrs["chance"]) == ("r2", 18, 0.0)
    assert result.attrs["score_mean"] > 0.8
    assert not [said for said in result.attrs["warnings"] if said.startswith("Left out")]


def test_classes_with_too_few_trials_are_left_out_and_said(lab, mice):
    """Odor c has 4 trials left, fewer than 5: it is not decoded, and the result says so."""
    session = mice["mouse-1"]
    odor = session["odor"].to_numpy()
    few = session.isel(trial=np.sort(np.concatenate([np.flatnonzero(odor != "c"), np.flatnonzero(odor == "c")[:4]])))
    result = run(tiny(), lab(few)).results["mouse-1"]
    assert result["label"].values.tolist() == ["a", "b"]
    assert result.attrs["n_trials"] == 12
    assert "Left out: odor c, with fewer than 5 trials." in result.attrs["warnings"]


def test_a_pool_decodes_the_classes_that_all_sessions_have(lab, mice):
    """A class that one session lacks leaves the pool, and the result names it."""
    without = mice["mouse-2"].isel(trial=np.flatnonzero(mice["mouse-2"]["odor"].to_numpy() != "c"))
    store = lab(mice["mouse-1"], without)
    config = tiny(decoding={"populations": ["pseudo-population"], "control_window_s": [-0.2, 0.0]})
    result = run(config, store).results["olfactory bulb (pooled)"]
    assert result["label"].values.tolist() == ["a", "b"]
    assert "Left out: odor c, which not every session has." in result.attrs["warnings"]


def test_a_pool_without_common_classes_is_refused(lab, mice):
    """Sessions that share one odor only cannot be matched by odor."""
    other = mice["mouse-2"].assign_coords(odor=("trial", np.char.replace(mice["mouse-2"]["odor"].to_numpy(), "a", "x")))
    other = other.assign_coords(odor=("trial", np.char.replace(other["odor"].to_numpy(), "b", "y")))
    with pytest.raises(SchemaError, match=r"2 sessions \('mouse-1' to 'mouse-2'\) have 1 classes of 'odor' in common"):
        run(tiny(decoding={"populations": ["pseudo-population"]}), lab(mice["mouse-1"], other))


def test_trials_outside_the_recording_are_left_out_and_said(lab, mice):
    """The recording ends inside the last trial's window: 17 trials are decoded, and the result names the other."""
    session = mice["mouse-1"]
    onset = session["inhalation_onset"].to_numpy().copy()
    onset[-1] = session.attrs["recorded_s"][1] - 0.1
    cut_short = session.assign_coords(inhalation_onset=("trial", onset, {"units": "s"}))
    outcome = run(tiny(validation={"group": None}), lab(cut_short))
    result = outcome.results["mouse-1"]
    assert result.attrs["n_trials"] == 17
    assert any("trial 17, not recorded in the whole window [0.0, 0.3] s" in said for said in result.attrs["warnings"])
    assert outcome.trajectories["mouse-1"].sizes["trial"] == 17
    assert "trial 17" in outcome.trajectories["mouse-1"].attrs["left_out"][0]


def test_a_control_window_outside_the_recording_is_said_apart(lab, mice):
    """The first trial has no time before it: the control is scored without it, the score with it."""
    session = mice["mouse-1"]
    onset = session["inhalation_onset"].to_numpy().copy()
    onset[0] = 0.2
    early = session.assign_coords(inhalation_onset=("trial", onset, {"units": "s"}))
    config = tiny(validation={"group": None}, decoding={"control_window_s": [-0.3, 0.0]})
    config = config.model_copy(update={"trajectory": config.trajectory.model_copy(update={"window_s": (0.0, 0.3)})})
    attrs = run(config, lab(early)).results["mouse-1"].attrs
    assert attrs["n_trials"] == 18
    assert [said for said in attrs["warnings"] if said.startswith("Control window: Left out: trial 0, ")]


def test_a_window_outside_every_recording_is_refused(lab, mice):
    """Past the end in all trials: the message says the limits and what to look at; nothing is saved."""
    session = mice["mouse-1"].assign_coords(
        inhalation_onset=("trial", np.full(18, mice["mouse-1"].attrs["recorded_s"][1] + 10), {"units": "s"})
    )
    store = lab(session)
    with pytest.raises(SchemaError, match=r"'mouse-1': no bin of the window .*inside the recording"):
        run(tiny(), store)
    assert len(store.results()) == 0


def test_no_trial_with_the_whole_window_is_refused(lab, mice):
    """Every trial is cut by the end of the recording."""
    session = mice["mouse-1"].assign_coords(
        inhalation_onset=("trial", np.full(18, mice["mouse-1"].attrs["recorded_s"][1] - 0.1), {"units": "s"})
    )
    with pytest.raises(SchemaError, match=r"none of its 18 trials is recorded in .*Shorten trajectory\.window_s"):
        run(tiny(), lab(session))


def averaged(name="mean"):
    """A trial-averaged recording of 3 odors at 4 concentrations: one trial a condition, 5 units."""
    rng = np.random.default_rng(0)
    odor = np.repeat(["a", "b", "c"], 4)
    onset = np.arange(12) * 2.0 + 0.5
    time = np.arange(0, 24, 0.1)
    trace = rng.normal(size=(time.size, 5)) * 0.01
    for trial, kind in enumerate(np.repeat([0, 1, 2], 4)):
        trace[(time >= onset[trial]) & (time < onset[trial] + 1), kind] += 1.0
    return make_session(
        name, name, trials={"odor": odor, "condition": np.arange(12).astype(str), "onset": onset},
        trial_units={"onset": "s"}, units={"unit": [f"{name}/g{unit}" for unit in range(5)]}, recorded_s=(0.0, 24.0),
        trace=trace, sample_time_s=time, attrs={"averaged_over_trials": True},
    )  # fmt: skip


TRACES = {"signal": "trace", "event": "onset", "window_s": [0.0, 0.5], "bin_width_s": 0.5}


def test_an_averaged_recording_runs_where_conditions_share_a_target(lab):
    """Odor over four concentrations can be decoded from condition means, and the result says that they are means."""
    config = tiny(activity=TRACES, data={"min_trials": 4}, validation={"group": None})
    result = run(config, lab(averaged())).results["mean"]
    assert result.attrs["score_mean"] == 1.0
    assert any("averaged over trials" in said for said in result.attrs["warnings"])


def test_an_averaged_recording_is_refused_in_clear_words(lab):
    """One trial a class: there is no lower limit to set, so none is advised."""
    config = tiny(activity=TRACES, decoding={"target": "condition"}, validation={"group": None})
    with pytest.raises(SchemaError, match=r"'mean'.*averaged over trials: one trial stands for each") as caught:
        run(config, lab(averaged()))
    assert "Lower data.min_trials" not in str(caught.value)


def test_a_signal_that_a_session_lacks_is_named(lab, mice):
    """The message says which signal there is and which key chooses it."""
    with pytest.raises(SchemaError, match=r"'mouse-1' holds no trace.* but spikes\. Set activity\.signal to 'spikes'"):
        run(tiny(activity={"signal": "trace"}), lab(mice["mouse-1"]))
    with pytest.raises(SchemaError, match=r"'mean' holds no spikes.* but trace\. Set activity\.signal to 'trace'"):
        run(tiny(data={"sessions": ["mean"]}), lab(averaged()))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"data": {"sessions": ["mouse-9"]}}, UnknownName, r"no session .* fits 'mouse-9'\. Nearest: 'mouse-"),
        ({"data": {"sessions": ["mouse-1", "rat-*"]}}, UnknownName, r"no session of the store fits 'rat-\*'"),
        ({"decoding": {"decoder": "ldaa"}}, UnknownName, r"unknown decoder 'ldaa'\. Nearest: 'lda'"),
        ({"decoding": {"decoder": "no_such_module:Lda"}}, UnknownName, r"there is no module 'no_such_module'"),
        ({"decoding": {"decoder": "math:pi_"}}, UnknownName, r"module 'math' has no 'pi_'"),
        ({"decoding": {"decoder": "fractions:Fraction"}}, ConfigError, r"must lead to a class with a method fit"),
        ({"decoding": {"parameters": {"shrink": 1}}}, ConfigError, r"decoder .* has no parameter 'shrink'"),
        ({"decoding": {"decoder": "lda", "parameters": {"shrinkage": 7}}}, ConfigError, r"parameters of 'lda'"),
        ({"decoding": {"metric": "r2"}}, UnknownName, r"metric 'r2' does not score classes"),
        ({"decoding": {"target": "odour"}}, SchemaError, r"there is no trial column 'odour'\. Nearest: 'odor'"),
        ({"activity": {"event": "inhalation"}}, SchemaError, r"'inhalation' is .*event.*Nearest: 'inhalation_onset'"),
        ({"validation": {"group": "blocks"}}, SchemaError, r"there is no trial column 'blocks'\. Nearest: 'block'"),
        ({"validation": {"n_folds": 7}}, SchemaError, r"6 trials, fewer than 7 folds"),
        ({"data": {"min_trials": 7}}, SchemaError, r"0 of 3 classes of 'odor' have at least 7 trials"),
        ({"activity": {"bin_width_s": 0.07}}, SchemaError, r"not a whole number.*The nearest window is"),
        ({"trajectory": {"reducer": "umapp"}}, UnknownName, r"unknown reducer 'umapp'"),
        ({"trajectory": {"parameters": {"whiten": True}}}, ConfigError, r"reducer 'pca' has no parameter 'whiten'"),
        ({"decoding": {"populations": ["pseudo-population"], "pool_by": "kinds"}}, ConfigError, r"no such unit column"),
        ({"decoding": {"populations": ["pseudo-population"], "pool_by": "kind"}}, ConfigError, r"units of several"),
        (
            {"data": {"sessions": ["mouse-1"]}, "decoding": {"populations": ["pseudo-population"]}},
            ConfigError,
            r"no two of 1 sessions share their area\. Add 'session'",
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_what_cannot_be_run_is_refused_before_anything_is_saved(shared, change, error, match):
    """Names that do not exist, settings that do not fit: the message says what would do, and the store stays."""
    position = shared.refresh()
    with pytest.raises(error, match=match):
        run(tiny(**change), shared)
    assert shared.refresh() == position


def test_an_empty_store_says_what_to_do(tmp_path):
    """There is nothing to run on yet."""
    with pytest.raises(UnknownName, match=r"The store holds no sessions yet: mitral ingest SOURCE PATH"):
        run(tiny(), Store.create(tmp_path / "empty"))


def test_odd_names_are_chosen_as_they_are(lab, mice):
    """A session id with brackets and spaces fits itself; * and ? are the only signs that stand for others."""
    store = lab(*[renamed(mice["mouse-1"], name) for name in ("día [2]", "día 2", "d?a")])
    assert select_sessions(store, ("día [2]",)) == ["día [2]"]
    assert select_sessions(store, ("día [?]",)) == ["día [2]"]
    assert select_sessions(store, ("d?a",)) == ["d?a"]
    assert select_sessions(store, ("d*",)) == ["día [2]", "día 2", "d?a"]


def test_odd_names_become_names_that_the_store_takes(lab, mice):
    """A run called by a path, in signs only or in decomposed letters is saved, under letters, digits and hyphens."""
    store = lab(renamed(mice["mouse-1"], "mus 1: β/γ".replace("/", "-")))
    aliases = {"../../etc/passwd": "etc-passwd", "***": "run", "e\u0301tude 1": "étude-1", "x" * 60: "x" * 40}
    for name, alias in aliases.items():
        outcome = run(tiny(name=name), store)
        assert outcome.study.attrs["name"].rpartition("-")[0] == alias
        assert outcome.names["mus 1: β-γ"].startswith(f"{alias}-mus-1-β-γ-")
        assert outcome.study.attrs["title"] == name


def test_a_population_may_be_called_study(lab, mice):
    """No session id is special."""
    outcome = run(tiny(), lab(renamed(mice["mouse-1"], "study")))
    assert outcome.names["study"] != outcome.study.attrs["name"]


def test_progress_counts_the_populations(shared):
    """Every population is told once, in order, and the end is told."""
    told = []
    run(tiny(), shared, progress=lambda *step: told.append(step))
    assert told == [("decode mouse-1", 0, 3), ("decode mouse-2", 1, 3), ("decode mouse-3", 2, 3), ("done", 3, 3)]
