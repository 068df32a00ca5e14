"""The command line: JSON on stdout, words on stderr, exit codes, signals, and refusals that leave the store as it was.

Most tests call ``main`` in this process; exit codes, signals and pipes are shown with real processes.
Ingesting, with its bad recordings, is in test_cli_ingest.py.
"""

import functools
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mitral.apps.cli import main
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.datasets.store import Store

VERBS = ("demo", "fetch", "ingest", "ls", "show", "verify", "run", "app")
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
from mitral.apps.cli import main
main()
"""


TINY = """
name = "tiny"
[activity]
window_s = [0.0, 0.3]
bin_width_s = 0.3
[decoding]
decoder = "nearest_centroid"
[validation]
n_folds = 3
group = "block"
n_permutations = 19
n_bootstrap = 100
[trajectory]
bin_width_s = 0.2
"""


DECODERS = '''
import os, time
from sklearn.linear_model import RidgeClassifier

class Broken(RidgeClassifier):
    def fit(self, X, y):
        raise RuntimeError("the glass is empty")

class Slow(RidgeClassifier):
    def fit(self, X, y):
        time.sleep(float(os.environ.get("SLEEP_S", "0")))
        return super().fit(X, y)
'''


class Done:
    """Exit code and output of a command."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def value(self):
        """The one JSON value on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    def is_refused(self, code, *words):
        """An error as it should be: this code, all these words in one message, JSON on stdout, no traceback."""
        assert self.code == code, self.err
        error = self.value["error"]
        assert error["exit_code"] == code
        for word in words:
            assert word in error["message"]
        assert self.err.splitlines()[-1].startswith("mitral: ")
        assert "Traceback" not in self.err
        assert "\n" not in error["message"] and 20 < len(error["message"]) < 700


@pytest.fixture
def mitral(monkeypatch, capsys, tmp_path):
    """A function that runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MITRAL_STORE", raising=False)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # pytest keeps its own

    def run(*words):
        monkeypatch.setattr("sys.argv", ["mitral", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def process(tmp_path):
    """A function that runs the command in a process of its own, in an empty folder, with ``decoders.py`` to import."""
    (tmp_path / "decoders.py").write_text(DECODERS)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def start(*words, **environment):
        known = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment
        return subprocess.Popen([sys.executable, "-P", "-c", START, *map(str, words)], env=known, **given)

    def run(*words, **environment):
        return finish(start(*words, **environment))

    def finish(running):
        with running:
            out, err = running.communicate(timeout=120)
        return Done(running.returncode, out, err)

    run.start, run.finish = start, finish
    return run


@pytest.fixture(scope="module")
def made_lab(tmp_path_factory):
    """A store of three small simulated sessions."""
    path = tmp_path_factory.mktemp("made") / "lab"
    store = Store.create(path)
    size = {"n_animals": 3, "n_units": (6, 8), "odors": ("a", "b", "c"), "concentrations": (0.1,), "n_blocks": 6}
    for session in simulate_olfactory_lab(random_state=3, strength=2.0, **size).sessions.values():
        store.save_session(session)
    return path


@pytest.fixture
def lab(made_lab, tmp_path):
    """A copy of that store, and ``tiny.toml`` beside it."""
    (tmp_path / "tiny.toml").write_text(TINY)
    return shutil.copytree(made_lab, tmp_path / "lab")


@pytest.fixture
def content():
    """A function that gives the hash of every file of a folder, by its path."""

    def hashes(folder):
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return hashes


def test_without_arguments_the_command_explains_itself(mitral):
    """The first thing that anybody types shows the verbs and where to start."""
    done = mitral()
    assert done.code == 0
    assert "Start with 'mitral demo'" in done.out
    assert all(f"\n  {verb} " in done.out for verb in VERBS)
    assert "..." not in done.out.partition("Commands:")[2]  # no summary is cut


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_shows_an_example_that_is_valid(mitral, verb):
    """The example stands on one line, to be copied, and its words are options and arguments that there are."""
    import typer.main

    from mitral.apps.cli import app

    done = mitral(verb, "--help")
    assert done.code == 0
    (example,) = [line.strip() for line in done.out.splitlines() if line.strip().startswith("Example: ")]
    program, name, *words = shlex.split(example.removeprefix("Example: "))
    assert (program, name) == ("mitral", verb)
    typer.main.get_command(app).commands[verb].make_context(verb, words)
    assert "--json" in done.out


def test_the_version_is_printed(mitral):
    """``mitral 0.1.0`` or later."""
    import mitral as package

    assert mitral("--version").out == f"mitral {package.__version__}\n"


def test_ls_lists_sessions_and_results(mitral, lab):
    """The JSON value has plain numbers and lists; the table names every session and what to type next."""
    value = mitral("ls", "--store", lab, "--json").value
    assert [row["session"] for row in value["sessions"]] == ["mouse-1", "mouse-2", "mouse-3"]
    assert value["sessions"][0]["n_trials"] == 18 and value["sessions"][0]["odors"] == ["a", "b", "c"]
    assert (value["position"], value["results"]) == (3, [])
    done = mitral("ls", "--store", lab)
    assert done.err == ""
    assert all(f" mouse-{number} " in done.out for number in (1, 2, 3))
    assert "Results: none" in done.out
    assert "Next: mitral show mouse-3 --store" in done.out


def test_ls_of_an_empty_store_says_what_to_do(mitral, tmp_path):
    """Nothing is there yet, and that is no error."""
    Store.create(tmp_path / "lab")
    done = mitral("ls")
    assert done.code == 0
    assert "Sessions of lab: none" in done.out
    assert "Next: mitral ingest SOURCE PATH --store lab" in done.out


def test_show_tells_a_session(mitral, lab):
    """Sizes, events with their unit, columns, who saved it."""
    value = mitral("show", "mouse-1", "--json").value
    assert value["kind"] == "session" and value["sizes"]["trial"] == 18
    assert value["events"] == ["inhalation_onset", "odor_onset", "valve_open"]
    assert {"odor", "block"} <= set(value["trial_columns"]) and {"area", "kind"} <= set(value["unit_columns"])
    assert value["record"]["number"] == 1 and len(value["record"]["object"]) == 64
    out = mitral("show", "mouse-1").out
    for words in ("Session mouse-1", "n_trials 18", "concentration dilution 0.1", "odor a, b, c", "area olf"):
        assert words in " ".join(out.split())


def test_run_decodes_saves_and_reports(mitral, lab, tmp_path):
    """Table, report and JSON value hold the same numbers; the results are in the store under the names said."""
    done = mitral("run", "tiny.toml", "--json")
    value = done.value
    assert done.code == 0 and "[3/3] done" in done.err
    assert (tmp_path / value["report"]).read_text(encoding="utf-8").count("mouse-2")
    store = Store(lab)
    for row in value["populations"]:
        assert store.result(row["result"]).attrs["score_mean"] == row["score"]
    assert store.result(value["name"]).attrs["score_mean"] == value["score_mean"]
    out = mitral("run", "tiny.toml").out
    assert all(f"{row['score']:.3f}" in out for row in value["populations"])
    assert f"Mean of 3 animals (3 sessions): {value['score_mean']:.3f}, chance 0.333; 95 % interval over" in out
    assert "p: from 19 runs with shuffled labels, so 0.05 is the smallest possible" in out
    assert "interval: 95 % over groups of trials" in out
    assert f"Report: {value['report']}" in out


def test_show_tells_a_result(mitral, lab):
    """Scores first, the configuration and the inputs after."""
    name = mitral("run", "tiny.toml", "--set", 'data.sessions=["mouse-1"]', "--json").value["populations"][0]["result"]
    value = mitral("show", name, "--json").value
    assert (value["kind"], value["name"]) == ("decoding", name)
    assert value["variables"]["null_score"] == [19]
    lines = mitral("show", name).out.splitlines()
    assert lines[0] == f"Result {name}" and "score_mean" in lines[4]
    assert any("validation.n_folds" in line for line in lines)


def test_ls_shows_scores_of_results(mitral, lab):
    """The catalogue tells one result from another without opening any."""
    value = mitral("run", "tiny.toml", "--json").value
    out = mitral("ls").out
    row = next(line for line in out.splitlines() if value["name"] in line)
    assert "study" in row and f"{value['score_mean']:.3f}" in row


def test_what_a_result_has_to_say_is_printed(mitral, lab):
    """Left-out trials and the like stand under the table, each once, and in the JSON value."""
    words = ("run", "tiny.toml", "--set", "data.min_trials=3", "--set", "validation.group=odor_onset")
    done = mitral(*words, "--set", "decoding.control_window_s=[-0.3, 0.0]", "--json")
    assert set(done.value["warnings"]) == {said for said in done.value["warnings"] if said}
    out = mitral(*words, "--set", "decoding.control_window_s=[-0.3, 0.0]").out
    assert "control: the same analysis at -0.3 to 0 s, expected at chance" in out
    for said, names in done.value["warnings"].items():
        assert out.count(said) == 1 and names


def test_verify_finds_nothing_in_a_sound_store(mitral, lab):
    """Exit code 0, and a sentence."""
    done = mitral("verify", "--json")
    assert (done.code, done.value["problems"]) == (0, [])
    assert "sessions and results checked: 3; every byte is as it was written" in mitral("verify").out


def test_app_starts_the_explorer_on_this_machine(mitral, lab, monkeypatch):
    """The JSON value has the address; the page's own output stays off stdout."""
    calls = []
    monkeypatch.setattr("subprocess.call", lambda words, **given: calls.append((words, given)) or 0)
    done = mitral("app", "--port", "8600", "--json")
    assert (done.code, done.value["url"]) == (0, "http://127.0.0.1:8600")
    ((words, given),) = calls
    assert "streamlit" in words and given["stdout"] is sys.stderr
    assert given["env"]["MITRAL_STORE"] == str(lab)
    mitral("app", "--address", "0.0.0.0", "--json").is_refused(3, "0.0.0.0", "this machine only")
    mitral("app", "--store", "absent", "--json").is_refused(4, "absent", "no store")


def test_the_store_may_be_named_by_the_environment(mitral, lab, monkeypatch, tmp_path):
    """A lab sets MITRAL_STORE once; an option overrules it."""
    monkeypatch.chdir("/")
    monkeypatch.setenv("MITRAL_STORE", str(lab))
    assert mitral("ls", "--json").value["position"] == 3
    assert mitral("ls", "--store", tmp_path / "absent").code == 4


def test_a_store_path_with_spaces_is_quoted_in_what_comes_next(mitral, lab):
    """The next command can be copied and run, whatever the folder is called."""
    shutil.copytree(lab, "our lab 2")
    out = mitral("ls", "--store", "our lab 2").out
    program, *words = shlex.split(out.strip().splitlines()[-1].removeprefix("Next: "))
    assert (program, mitral(*words).code) == ("mitral", 0)


def test_what_comes_next_can_be_typed_where_the_program_is_not_on_the_path(monkeypatch, tmp_path):
    """After ``python3 run.py demo`` the command is in .venv: it is named by its path, else by its name."""
    from mitral.apps.words import typed

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "mitral"), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed("ls", "--store", "our lab") == ".venv/bin/mitral ls --store 'our lab'"
    (tmp_path / "mitral").write_text("")
    (tmp_path / "mitral").chmod(0o755)
    assert typed("ls") == "mitral ls"


def test_demo_makes_a_lab_and_a_report(mitral, monkeypatch):
    """The first command that anybody runs; here on mice of few units, and as a program."""
    small = functools.partial(simulate_olfactory_lab, n_units=(6, 8), concentrations=(0.01, 0.1))
    monkeypatch.setattr("mitral.apps.demo.simulate_olfactory_lab", small)
    done = mitral("demo", "--json")
    assert done.code == 0 and done.value["report"] == "mitral-demo/report.html"
    assert [row["population"] for row in done.value["populations"]] == [f"mouse-{n}" for n in range(1, 6)]
    assert "made a new store in mitral-demo/lab" in done.err


def test_many_problems_do_not_flood_the_screen(mitral, lab):
    """A store that lost most files is said in a few lines; the JSON value has all."""
    for chunk in (lab / "objects").rglob("c/0"):
        chunk.unlink()
    problems = mitral("verify", "--json").value["problems"]
    out = mitral("verify").out
    assert len(problems) > 20 and len(out.splitlines()) < 25
    assert f"... and {len(problems) - 20} more; all of them with --json" in out


def test_fetch_takes_published_files_from_a_folder(mitral, monkeypatch, tmp_path):
    """Copied, checked, and said; the licence stands before anything else; a second time nothing is copied."""
    from mitral.datasets.sources import fetch

    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.mat").write_bytes(b"spikes")
    file = fetch.RemoteFile("a.mat", 6, hashlib.sha256(b"spikes").hexdigest())
    monkeypatch.setitem(fetch.PUBLISHED, "tiny2026", fetch.Published("https://example.org/", (file,), "CC0; cite us"))
    done = mitral("fetch", "tiny2026", "--from", "given", "--to", "my data", "--json")
    assert done.value["files"] == [{"file": "my data/a.mat", "status": "copied"}]
    assert done.err.splitlines()[0] == "licence: CC0; cite us"
    done = mitral("fetch", "tiny2026", "--from", "given", "--to", "my data")
    assert "present: my data/a.mat" in done.out
    assert "Next: mitral ingest tiny2026 'my data' --store lab" in done.out


def test_fetch_says_plainly_that_the_machine_is_offline(mitral, monkeypatch):
    """No network: the address, the reason, and the way around it; nothing is left half-downloaded."""
    for name, value in {"https_proxy": "http://127.0.0.1:9", "no_proxy": ""}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    done = mitral("fetch", "iurilli2017", "--to", "data", "--json")
    done.is_refused(4, "cannot download https://", "offline", "mitral fetch iurilli2017 --from FOLDER")
    assert done.err.startswith("licence: ")


def test_fetch_of_an_unknown_set_names_those_that_there_are(mitral):
    """A wrong name is a wrong word on the command line."""
    mitral("fetch", "iurilli2018", "--json").is_refused(2, "'iurilli2018'", "Nearest: 'iurilli2017'")


def test_fetch_from_a_folder_without_the_files_says_so(mitral, tmp_path):
    """The folder is there, the files are not."""
    done = mitral("fetch", "iurilli2017", "--from", tmp_path, "--to", "data", "--json")
    done.is_refused(4, "aPCx_15.mat", "--from")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("validation.n_fold=3", 3, ("tiny.toml: unknown key 'validation.n_fold'", "Nearest: 'n_folds'")),
        ("activity.bin_width_s=nan", 3, ("activity.bin_width_s", "finite number")),
        ("activity.bin_width_s=1e309", 3, ("activity.bin_width_s", "finite number")),
        ("validation.n_folds=1", 3, ("validation.n_folds: expected at least 2, got 1",)),
        ("activity.window_s=[0, 300]", 3, ("activity.window_s", "at most 100 (seconds)", "300")),
        ("n_folds", 3, ("--set: expected NAME=VALUE, got 'n_folds'",)),
        ("name.x=1", 3, ("--set name.x=1", "SECTION.KEY=VALUE")),
        ("decoding.parameters.alpha=1", 3, ("decoder 'nearest_centroid' has no parameter 'alpha'",)),
        ("decoding.decoder=ldaa", 2, ("unknown decoder 'ldaa'", "Nearest: 'lda'")),
        ("trajectory.reducer=umapp", 2, ("unknown reducer 'umapp'", "'umap'")),
        ("decoding.metric=acuracy", 2, ("metric 'acuracy'", "Nearest: ", "'accuracy'")),
        ('data.sessions=["mouse-7"]', 2, ("no session", "'mouse-7'", "Nearest: 'mouse-")),
        ("activity.event=sniff_onset", 4, ("'mouse-1'", "'sniff_onset'", "'inhalation_onset'")),
        ("decoding.target=odour", 4, ("'mouse-1'", "'odour'", "Nearest: 'odor'")),
        ("decoding.target=concentration", 4, ("'mouse-1'", "1 classes of 'concentration'", "decoding.target")),
        ("validation.n_folds=7", 4, ("'mouse-1'", "6 trials, fewer than 7 folds", "at most 6 folds")),
        ("activity.signal=trace", 4, ("'mouse-1' holds no trace", "Set activity.signal to 'spikes'")),
        ("data.min_trials=19", 4, ("0 of 3 classes", "Lower data.min_trials")),
    ],
)
def test_what_cannot_be_run_leaves_the_store_as_it_was(mitral, lab, content, change, code, said):
    """The message says what would do; not one byte of the store changes, no report is written."""
    before = content(lab)
    mitral("run", "tiny.toml", "--set", change, "--json").is_refused(code, *said)
    assert content(lab) == before
    assert list(lab.parent.glob("*.html")) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "absent.toml"), 3, ("there is no file 'absent.toml'", "Give the path")),
        (("run", "tiny.toml", "--store", "absent"), 4, ("absent", "no store", "mitral ingest")),
        (("run", "tiny.toml", "--store", "tiny.toml"), 4, ("tiny.toml is a file", "a store is a folder")),
        (("run", "tiny.toml", "--store", "."), 4, ("no store", "FORMAT.json")),
        (("run", "tiny.toml", "--report", "absent/r.html"), 4, ("--report absent/r.html", "no folder absent")),
        (("run", "tiny.toml", "--threads", "0"), 2, ("--threads", "mitral run --help")),
        (("show", "mouse-9"), 2, ("no session and no result 'mouse-9'", "Nearest: 'mouse-")),
        (("show", "../lab"), 2, ("'../lab'",)),
        (("ls", "--store", "absent"), 4, ("absent", "no store")),
        (("verify", "--store", "absent"), 4, ("absent", "no store")),
        (("sing",), 2, ("No such command 'sing'", "mitral --help")),
        (("run",), 2, ("config", "mitral run --help")),
        (("ls", "--stoer", "x"), 2, ("--stoer", "--store", "mitral ls --help")),
    ],
)
def test_wrong_words_are_refused(mitral, lab, words, code, said):
    """Files, stores, names, options and verbs that do not exist, each with what would do."""
    mitral(*words, "--json").is_refused(code, *said)


def test_bad_toml_is_refused(mitral, lab):
    """The line is named."""
    (lab.parent / "bad.toml").write_text("[data]\nsessions = mouse-1\n")
    mitral("run", "bad.toml", "--json").is_refused(3, "'bad.toml' is not valid TOML", "line 2")


def test_a_damaged_recording_stops_a_run_and_verify_finds_it(mitral, lab):
    """One flipped byte in the spikes of one session: it is named, others stay usable, and nothing is saved from it."""
    manifest = Store(lab).record("session", "mouse-2")
    (chunk,) = [p for p in lab.rglob("*/spike_time/c/0") if manifest["object"] in str(p)]
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.chmod(0o644)
    chunk.write_bytes(data)
    mitral("run", "tiny.toml", "--json").is_refused(4, "Stopped at mouse-2; what was done before it is kept")
    assert [row["session"] for row in Store(lab).results().to_dict("records")] == ["mouse-1"]
    done = mitral("verify", "--json")
    assert done.code == 4 and len(done.value["problems"]) == 1
    assert "mouse-2" in done.value["problems"][0] and "spike_time" in done.value["problems"][0]
    said = mitral("verify").out
    assert "1 problem" in said and "restore it from a copy" in said
    assert mitral("run", "tiny.toml", "--set", 'data.sessions=["mouse-3"]').code == 0


def test_exit_code_0_and_clean_streams(process, lab):
    """JSON alone on stdout."""
    done = process("ls", "--json")
    assert (done.code, done.err) == (0, "") and done.value["position"] == 3


def test_exit_code_1_is_the_unexpected(process, lab):
    """A decoder of the user's own raises: one sentence, no traceback."""
    words = ("run", "tiny.toml", "--set", "decoding.decoder=decoders:Broken", "--json")
    process(*words).is_refused(1, "unexpected RuntimeError: the glass is empty", "MITRAL_DEBUG=1")


def test_the_traceback_is_shown_to_whoever_asks(process, lab):
    """``MITRAL_DEBUG=1`` adds it, on stderr; code and JSON stay."""
    words = ("run", "tiny.toml", "--set", "decoding.decoder=decoders:Broken", "--json")
    done = process(*words, MITRAL_DEBUG="1")
    assert done.code == 1 and done.value["error"]["type"] == "RuntimeError"
    assert "Traceback" in done.err and "in fit" in done.err


def test_exit_code_2_is_usage(process, lab):
    """Without --json stdout is empty."""
    done = process("show", "mouse-9")
    assert (done.code, done.out) == (2, "") and done.err.startswith("mitral: ")


def test_exit_code_3_is_configuration(process, lab):
    """A value out of bounds."""
    process("run", "tiny.toml", "--set", "validation.n_folds=0", "--json").is_refused(3, "validation.n_folds")


def test_exit_code_4_is_data(process, lab):
    """The recordings have no such event."""
    done = process("run", "tiny.toml", "--set", "activity.event=sniff")
    assert (done.code, done.out) == (4, "") and "'sniff'" in done.err.splitlines()[-1]


def test_exit_code_7_is_a_limit(process, lab):
    """A file in the store far larger than mitral writes is not read."""
    (lab / "FORMAT.json").chmod(0o644)
    (lab / "FORMAT.json").write_bytes(b" " * 10**6)
    process("ls", "--json").is_refused(7, "FORMAT.json", "1,000,000 bytes")


def test_too_little_memory_is_a_limit(mitral, lab, monkeypatch):
    """The arrays of one session do not fit: what to change is said."""
    monkeypatch.setattr("mitral.apps.pipeline.with_null", lambda *given, **named: np.empty(10**14))
    mitral("run", "tiny.toml", "--json").is_refused(7, "not enough memory", "Use wider bins")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_finished_by_the_next(process, mitral, lab, monkeypatch, number, code):
    """Stopped after the first result: said in one line, the store verifies, what was done is kept and not redone."""
    words = ("run", "tiny.toml", "--set", "decoding.decoder=decoders:Slow", "--json")
    running = process.start(*words, SLEEP_S="0.02")
    wait_for(lambda: len(list((lab / "log").iterdir())) > 3, running)
    running.send_signal(number)
    process.finish(running).is_refused(code, "nothing was half-written")
    store = Store(lab)
    assert store.verify() == []
    assert 4 <= store.position < 7 and list(lab.parent.glob("*.html")) == []
    monkeypatch.syspath_prepend(lab.parent)
    monkeypatch.delitem(sys.modules, "decoders", raising=False)
    done = mitral(*words)
    assert done.code == 0 and len(done.value["populations"]) == 3
    assert Store(lab).position == 7  # three results and the study, none twice


def wait_for(is_so, running):
    """Wait until something is so; a process that ends before is a failure."""
    until = time.monotonic() + 60
    while not is_so():
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.005)


def test_a_reader_that_stops_reading_is_no_error(process, lab):
    """``mitral ls | head -1`` says nothing on stderr."""
    with process.start("ls", "--json") as running:
        running.stdout.close()
        assert (running.stderr.read(), running.wait(timeout=60)) == ("", 0)


def test_a_terminal_that_cannot_show_a_name_is_no_error(process, lab):
    """In an ASCII locale an odd name is escaped."""
    store = Store(lab)
    store.save_session(store.session("mouse-1").load().assign_attrs(session="día β"))
    done = process("ls", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.code == 0 and r"d\xeda \u03b2" in done.out
