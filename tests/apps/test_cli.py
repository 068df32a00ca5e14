"""The command line: JSON on stdout, words on stderr, exit codes, and bad input that leaves the store as it was.

Most tests call ``main`` in this process; exit codes, signals and pipes are shown with real processes.
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


@pytest.fixture
def mitral(monkeypatch, capsys, tmp_path):
    """A function that runs the command in this process, in an empty folder."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MITRAL_STORE", raising=False)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["mitral", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(stop.value.code or 0, *capsys.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def command(*words):
    """Arguments of a process that is the command."""
    return [sys.executable, "-P", "-c", START, *map(str, words)]


@pytest.fixture
def process(tmp_path):
    """A function that runs the command in a process of its own, in an empty folder, with ``decoders.py`` to import."""
    (tmp_path / "decoders.py").write_text(DECODERS)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def run_process(*words, **environment):
        given = {"cwd": tmp_path, "env": known | environment, "text": True, "timeout": 120}
        done = subprocess.run(command(*words), capture_output=True, **given)
        return Done(done.returncode, done.stdout, done.stderr)

    run_process.environment = known
    return run_process


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


def content(folder):
    """Hash of every file of a folder, by its path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_error(done, code, *words):
    """An error as it should be: this code, all these words in one message, JSON on stdout, no traceback."""
    assert done.code == code, done.err
    error = done.value["error"]
    assert error["exit_code"] == code
    for word in words:
        assert word in error["message"]
    assert done.err.splitlines()[-1].startswith("mitral: ")
    assert "Traceback" not in done.err
    assert "\n" not in error["message"] and 20 < len(error["message"]) < 700


# Help


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


# Every verb, as a program and as a person


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
    check_error(mitral("app", "--address", "0.0.0.0", "--json"), 3, "0.0.0.0", "this machine only")
    check_error(mitral("app", "--store", "absent", "--json"), 4, "absent", "no store")


def test_the_store_may_be_named_by_the_environment(mitral, lab, monkeypatch, tmp_path):
    """A lab sets MITRAL_STORE once; an option overrules it."""
    monkeypatch.chdir("/")
    monkeypatch.setenv("MITRAL_STORE", str(lab))
    assert mitral("ls", "--json").value["position"] == 3
    assert mitral("ls", "--store", tmp_path / "absent").code == 4


def test_a_store_path_with_spaces_is_quoted_in_what_comes_next(mitral, recording):
    """The next command can be copied and run, whatever the folder is called."""
    done = mitral("ingest", "arrays", recording, "--store", "our lab 2")
    for _ in range(2):  # ingest says ls, ls says show
        program, *words = shlex.split(done.out.strip().splitlines()[-1].removeprefix("Next: "))
        assert program == "mitral"
        done = mitral(*words)
        assert done.code == 0


def test_demo_makes_a_lab_and_a_report(mitral, monkeypatch):
    """The first command that anybody runs; here on mice of few units, and as a program."""
    small = functools.partial(simulate_olfactory_lab, n_units=(6, 8), concentrations=(0.1,))
    monkeypatch.setattr("mitral.apps.demo.simulate_olfactory_lab", small)
    done = mitral("demo", "--json")
    assert done.code == 0 and done.value["report"] == "mitral-demo/report.html"
    assert [row["population"] for row in done.value["populations"]] == [f"mouse-{n}" for n in range(1, 6)]
    assert "made a new store in mitral-demo/lab" in done.err


# Fetch


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
    check_error(done, 4, "cannot download https://", "offline", "mitral fetch iurilli2017 --from FOLDER")
    assert done.err.startswith("licence: ")


def test_fetch_of_an_unknown_set_names_those_that_there_are(mitral):
    """A wrong name is a wrong word on the command line."""
    check_error(mitral("fetch", "iurilli2018", "--json"), 2, "'iurilli2018'", "Nearest: 'iurilli2017'")


def test_fetch_from_a_folder_without_the_files_says_so(mitral, tmp_path):
    """The folder is there, the files are not."""
    done = mitral("fetch", "iurilli2017", "--from", tmp_path, "--to", "data", "--json")
    check_error(done, 4, "aPCx_15.mat", "--from")


# Ingest


@pytest.fixture
def recording(tmp_path):
    """A folder of tables that ``ingest arrays`` reads: 20 trials of 2 odors, 2 units."""
    folder = tmp_path / "m1-day1"
    folder.mkdir()
    rng = np.random.default_rng(0)
    spikes = rng.permutation(2900)[:2400] * 0.02 + rng.uniform(0, 0.005, 2400)  # of a unit, 40 ms apart or more
    lines = [f"{time:.4f},{int(time / 0.02) % 2}\n" for time in spikes]
    (folder / "spikes.csv").write_text("spike_time_s,unit\n" + "".join(lines))
    rows = "".join(f"{'ab'[k % 2]},{k // 4},{1 + 2.5 * k}\n" for k in range(20))
    (folder / "trials.csv").write_text("odor,block,odor_onset_s\n" + rows)
    (folder / "session.toml").write_text('session = "m1-day1"\nanimal = "m1"\n')
    return folder


def replaced(name, old, new):
    """A change to one file of the recording."""
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, 1))


def written(name, text):
    """One file of the recording, written anew."""
    content = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(content)


def in_milliseconds(folder):
    """Spike times times a thousand, as of a lab that counts in ms."""
    lines = (folder / "spikes.csv").read_text().splitlines()
    rows = [f"{1000 * float(line.split(',')[0])},{line.split(',')[1]}" for line in lines[1:]]
    (folder / "spikes.csv").write_text("\n".join([lines[0], *rows]))


def truncated_npz(folder):
    """Spikes as npz, cut in half."""
    (folder / "spikes.csv").unlink()
    np.savez(folder / "spikes.npz", spike_time_s=np.arange(1000) / 50, unit=np.zeros(1000, int))
    whole = (folder / "spikes.npz").read_bytes()
    (folder / "spikes.npz").write_bytes(whole[: len(whole) // 2])


BAD = {
    "no spikes table": (lambda folder: (folder / "spikes.csv").unlink(), "spikes.csv", "m1-day1"),
    "binary for csv": (written("spikes.csv", b"\x00\x01\x02\x03" * 99), "spikes.csv", "expected CSV in UTF-8"),
    "empty file": (written("trials.csv", ""), "trials.csv", "empty"),
    "no trials": (written("trials.csv", "odor,odor_onset_s\n"), "trials.csv", "no rows"),
    "no column": (replaced("trials.csv", "odor,", "smell,"), "trials.csv", "'odor'"),
    "trial twice": (replaced("trials.csv", "a,0,1.0\n", "a,0,1.0\na,0,1.0\n"), "trials.csv, row 2", "Delete one"),
    "trial id twice": (written("trials.csv", "trial,odor,on_s\n1,a,1\n1,b,3\n"), "occurs 2 times", "Ids of trials"),
    "unit twice": (written("units.csv", "unit\n0\n1\n1\n"), "occurs 2 times", "Ids of units"),
    "nan": (replaced("spikes.csv", "unit\n", "unit\nnan,0\n"), "spikes.csv", "row 1", "nan"),
    "inf": (replaced("spikes.csv", "unit\n", "unit\n1e309,0\n"), "spikes.csv", "row 1"),
    "negative": (replaced("spikes.csv", "unit\n", "unit\n-0.5,0\n"), "spikes.csv", "row 1", "not negative", "Shift"),
    "text for time": (replaced("spikes.csv", "unit\n", "unit\nearly,0\n"), "spikes.csv", "row 1", "'early'"),
    "infinite event": (replaced("trials.csv", "a,0,1.0", "a,0,inf"), "trials.csv", "row 1", "inf"),
    "another clock": (written("trials.csv", "odor,on_s\na,1000\nb,3000\n"), "'on'", "another unit"),
    "milliseconds": (in_milliseconds, "m1-day1", "implausible"),
    "no unit": (replaced("trials.csv", "block", "concentration"), "'concentration' has no unit", "Call it"),
    "truncated npz": (truncated_npz, "spikes.npz", "savez"),
    "path for a name": (replaced("session.toml", '"m1-day1"', '"../m1"'), "'../m1' looks like a path"),
    "control character": (replaced("session.toml", '"m1-day1"', '"m1\\u001b[31m"'), "control", "U+001B"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_recording_is_refused_and_no_store_is_made(mitral, recording, fault):
    """The message says the file or session, what came and what to do; a first recording that fails leaves nothing."""
    change, *words = BAD[fault]
    change(recording)
    check_error(mitral("ingest", "arrays", recording, "--json"), 4, *words)
    assert not (recording.parent / "lab").exists()


@pytest.mark.parametrize("fault", ["nan", "path for a name", "milliseconds"])
def test_a_bad_recording_leaves_a_store_as_it_was(mitral, lab, recording, fault):
    """Not one byte of the store changes."""
    before = content(lab)
    BAD[fault][0](recording)
    assert mitral("ingest", "arrays", recording).code == 4
    assert content(lab) == before


def test_a_sound_recording_is_saved(mitral, recording):
    """Unsorted spikes are sorted, the new store is said, and the JSON value counts."""
    done = mitral("ingest", "arrays", recording, "--json")
    assert done.value["sessions"] == [{"session": "m1-day1", "n_trials": 20, "n_units": 2}]
    assert "made a new store in lab" in done.err
    ticks = Store("lab").session("m1-day1")["spike_time"].to_numpy()
    assert ticks.size == 2400 and np.all(np.diff(ticks) >= 0)
    again = mitral("ingest", "arrays", recording)
    assert again.code == 0 and "1 session in lab: 20 trials, 2 units" in again.out


def test_ids_that_look_like_numbers_or_dates_stay_text(mitral, recording):
    """Mouse 4021 on 2026-03-04 is called so, without quotes inside quotes; numbers are still numbers."""
    words = ("-o", "session=2026-03-04", "-o", "animal=4021", "-o", "recorded_s=[0, 61]", "-o", "ticks_per_s=20000")
    assert mitral("ingest", "arrays", recording, *words).code == 0
    attrs = Store("lab").session("2026-03-04").attrs
    assert (attrs["animal"], list(attrs["recorded_s"])) == ("4021", [0.0, 61.0])


@pytest.mark.parametrize("name", ["mus 1, día 2", "β-γ 日本", "m1 [left] 50%"])
def test_unicode_and_spaces_in_names_work(mitral, recording, name):
    """People name recordings in their language; they are saved, listed, shown and run by that name."""
    assert mitral("ingest", "arrays", recording, "-o", f"session={name}").code == 0
    assert name in mitral("ls").out
    assert mitral("show", name, "--json").value["attrs"]["session"] == name
    (recording.parent / "one.toml").write_text(TINY.replace("0.2", "0.4"), encoding="utf-8")
    sets = (f"data.sessions=[{json.dumps(name)}]", "activity.event=odor_onset", "validation.n_folds=2")
    done = mitral("run", "one.toml", *[word for text in sets for word in ("--set", text)], "--json")
    assert done.code == 0, done.err
    assert done.value["populations"][0]["population"] == name


def test_a_path_that_is_not_there_says_how_far_it_is(mitral, tmp_path):
    """A typing error and a drive that is not mounted look alike; both are named."""
    check_error(mitral("ingest", "arrays", "absent/day1", "--json"), 4, "absent/day1", "Check the spelling")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_format_is_refused(mitral, recording):
    """Tables are no NWB files, and no data set of somebody else."""
    check_error(mitral("ingest", "nwb", recording, "--json"), 4, "holds no .nwb file")
    check_error(mitral("ingest", "iurilli2017", recording, "--json"), 4, "aPCx_15.mat", "mitral fetch iurilli2017")


def test_a_truncated_nwb_file_is_refused(mitral, tmp_path):
    """A copy that broke off is damaged, and the message says so."""
    pytest.importorskip("pynwb")
    import h5py

    with h5py.File(tmp_path / "day1.nwb", "w") as file:
        file["a"] = np.random.default_rng(0).normal(size=10_000)
    whole = (tmp_path / "day1.nwb").read_bytes()
    (tmp_path / "day1.nwb").write_bytes(whole[: len(whole) // 2])
    check_error(mitral("ingest", "nwb", "day1.nwb", "--json"), 4, "day1.nwb")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("arays", "m1-day1"), 2, ("unknown source 'arays'", "Nearest: 'arrays'")),
        (("arrays", "m1-day1", "-o", "sesion=x"), 3, ("no option 'sesion'", "Nearest: 'session'")),
        (("arrays", "m1-day1", "-o", "session"), 3, ("--option: expected NAME=VALUE, got 'session'",)),
        (("arrays", "m1-day1", "-o", "ticks_per_s=fast"), 3, ("ticks_per_s", "'fast'")),
        (("arrays", "m1-day1", "-o", "recorded_s=[60, 0]"), 3, ("recorded_s", "start < stop")),
        (("arrays", "m1-day1", "--store", "m1-day1"), 4, ("m1-day1 is not empty", "Nothing was changed")),
        (("arrays", "m1-day1", "--store", "m1-day1/trials.csv"), 4, ("trials.csv is a file", "a store is a folder")),
    ],
)
def test_wrong_words_to_ingest_are_refused(mitral, recording, words, code, said):
    """Unknown source or option, a value of the wrong kind, a store that is none: nothing is written."""
    before = content(recording.parent)
    check_error(mitral("ingest", *words, "--json"), code, *said)
    assert content(recording.parent) == before


def test_a_folder_that_broke_off_says_what_was_saved(mitral, monkeypatch, lab):
    """Of several recordings the third fails: two are in the store, and the message says so."""
    from mitral.datasets.errors import SchemaError

    sessions = [Store(lab).session(name).load() for name in ("mouse-1", "mouse-2")]

    def read(source, path, **options):
        yield from (s.assign_attrs(session=f"new-{k}", dropped=["LFP"]) for k, s in enumerate(sessions))
        raise SchemaError("day3.nwb: it is damaged. Copy it again.")

    monkeypatch.setattr("mitral.apps.verbs.read_sessions", read)
    check_error(mitral("ingest", "arrays", "x", "--json"), 4, "day3.nwb", "Saved before this: new-0 and 1 more")
    assert Store(lab).position == 5


# Run


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
        ("trajectory.reducer=umapp", 2, ("unknown reducer 'umapp'", "'pca'")),
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
def test_what_cannot_be_run_leaves_the_store_as_it_was(mitral, lab, change, code, said):
    """The message says what would do; not one byte of the store changes, no report is written."""
    before = content(lab)
    check_error(mitral("run", "tiny.toml", "--set", change, "--json"), code, *said)
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
    check_error(mitral(*words, "--json"), code, *said)


def test_bad_toml_is_refused(mitral, lab):
    """The line is named."""
    (lab.parent / "bad.toml").write_text("[data]\nsessions = mouse-1\n")
    check_error(mitral("run", "bad.toml", "--json"), 3, "'bad.toml' is not valid TOML", "line 2")


def test_a_damaged_recording_stops_a_run_and_verify_finds_it(mitral, lab):
    """One flipped byte in the spikes of one session: it is named, others stay usable, and nothing is saved from it."""
    manifest = Store(lab).record("session", "mouse-2")
    (chunk,) = [p for p in lab.rglob("*/spike_time/c/0") if manifest["object"] in str(p)]
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.chmod(0o644)
    chunk.write_bytes(data)
    check_error(mitral("run", "tiny.toml", "--json"), 4, "mouse-2")
    assert [row["session"] for row in Store(lab).results().to_dict("records")] == ["mouse-1"]
    done = mitral("verify", "--json")
    assert done.code == 4 and len(done.value["problems"]) == 1
    assert "mouse-2" in done.value["problems"][0] and "spike_time" in done.value["problems"][0]
    said = mitral("verify").out
    assert "1 problem" in said and "restore it from a copy" in said
    assert mitral("run", "tiny.toml", "--set", 'data.sessions=["mouse-3"]').code == 0


def test_many_problems_do_not_flood_the_screen(mitral, lab):
    """A store that lost most files is said in a few lines; the JSON value has all."""
    for chunk in (lab / "objects").rglob("c/0"):
        chunk.unlink()
    problems = mitral("verify", "--json").value["problems"]
    out = mitral("verify").out
    assert len(problems) > 20 and len(out.splitlines()) < 25
    assert f"... and {len(problems) - 20} more; all of them with --json" in out


# Real processes: exit codes, signals, pipes


def test_exit_code_0_and_clean_streams(process, lab):
    """JSON alone on stdout."""
    done = process("ls", "--json")
    assert (done.code, done.err) == (0, "") and done.value["position"] == 3


def test_exit_code_1_is_the_unexpected(process, lab):
    """A decoder of the user's own raises: one sentence, no traceback."""
    words = ("run", "tiny.toml", "--set", "decoding.decoder=decoders:Broken", "--json")
    check_error(process(*words), 1, "unexpected RuntimeError: the glass is empty", "MITRAL_DEBUG=1")


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
    check_error(process("run", "tiny.toml", "--set", "validation.n_folds=0", "--json"), 3, "validation.n_folds")


def test_exit_code_4_is_data(process, recording):
    """A spike that is no number."""
    BAD["nan"][0](recording)
    done = process("ingest", "arrays", "m1-day1")
    assert (done.code, done.out) == (4, "") and done.err.startswith("mitral: spikes.csv")


def test_exit_code_5_is_conflict(process, recording, mitral):
    """The id is taken by another recording: who saved it and what to do, and the old one stays."""
    assert mitral("ingest", "arrays", recording).code == 0
    replaced("spikes.csv", "unit\n", "unit\n0.5,0\n")(recording)
    before = content(recording.parent / "lab")
    check_error(process("ingest", "arrays", "m1-day1", "--json"), 5, "'m1-day1' is there already", "another name")
    assert content(recording.parent / "lab") == before


def test_exit_code_7_is_a_limit(process, lab):
    """A file in the store far larger than mitral writes is not read."""
    (lab / "FORMAT.json").chmod(0o644)
    (lab / "FORMAT.json").write_bytes(b" " * 10**6)
    check_error(process("ls", "--json"), 7, "FORMAT.json", "1,000,000 bytes")


def test_too_little_memory_is_a_limit(mitral, lab, monkeypatch):
    """The arrays of one session do not fit: what to change is said."""
    monkeypatch.setattr("mitral.apps.pipeline.with_null", lambda *given, **named: np.empty(10**14))
    check_error(mitral("run", "tiny.toml", "--json"), 7, "not enough memory", "Use wider bins")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_finished_by_the_next(process, mitral, lab, monkeypatch, number, code):
    """Stopped after the first result: said in one line, the store verifies, what was done is kept and not redone."""
    words = ("run", "tiny.toml", "--set", "decoding.decoder=decoders:Slow", "--json")
    environment = process.environment | {"SLEEP_S": "0.02"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command(*words), cwd=lab.parent, **streams) as running:
        wait_for(lambda: len(list((lab / "log").iterdir())) > 3, running)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    check_error(Done(running.returncode, out, err), code, "nothing was half-written")
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
    words = shlex.join(command("ls", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} | true"], cwd=lab.parent, env=process.environment, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_cannot_show_a_name_is_no_error(process, mitral, recording):
    """In an ASCII locale an odd name is escaped, on both streams."""
    assert mitral("ingest", "arrays", recording, "-o", "session=día β").code == 0
    done = process("ls", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.code == 0 and r"d\xeda \u03b2" in done.out
