"""Recordings through ``mitral ingest``: sound ones, odd names, and bad ones that leave the store as it was."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mitral.apps.cli import main
from mitral.datasets.errors import SchemaError
from mitral.datasets.store import Store

TINY = """
[activity]
event = "odor_onset"
window_s = [0.0, 0.3]
[decoding]
decoder = "nearest_centroid"
[validation]
n_folds = 2
n_permutations = 19
n_bootstrap = 100
[trajectory]
window_s = [0.0, 0.6]
"""


@pytest.fixture
def mitral(monkeypatch, capsys, tmp_path):
    """A function that runs the command in an empty folder: exit code, JSON value, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # pytest keeps its own

    def run(*words):
        monkeypatch.setattr("sys.argv", ["mitral", *map(str, words), "--json"])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, json.loads(out), err

    return run


@pytest.fixture
def refused(mitral):
    """A function that runs the command and checks its exit code, and the words of its one message."""

    def run(*words, code, said):
        exit_code, value, err = mitral(*words)
        assert exit_code == value["error"]["exit_code"] == code, err
        for word in said:
            assert word in value["error"]["message"]
        assert err.splitlines()[-1].startswith("mitral: ") and "Traceback" not in err

    return run


@pytest.fixture
def store(mitral, recording, tmp_path):
    """A store that holds the recording."""
    assert mitral("ingest", "arrays", recording)[0] == 0
    return Store(tmp_path / "lab")


def files(folder):
    """Content of every file of a folder, by its path."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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
def test_a_bad_recording_is_refused_and_no_store_is_made(refused, recording, fault):
    """The message says the file or session, what came and what to do; a first recording that fails leaves nothing."""
    change, *words = BAD[fault]
    change(recording)
    refused("ingest", "arrays", recording, code=4, said=words)
    assert not (recording.parent / "lab").exists()


@pytest.mark.parametrize("fault", ["nan", "path for a name", "milliseconds"])
def test_a_bad_recording_leaves_a_store_as_it_was(refused, store, recording, fault):
    """Not one byte of the store changes."""
    before = files(store.path)
    change, *words = BAD[fault]
    change(recording)
    refused("ingest", "arrays", recording, code=4, said=words)
    assert files(store.path) == before


def test_a_sound_recording_is_saved(mitral, recording):
    """Unsorted spikes are sorted, the new store is said, the JSON value counts; again, nothing changes."""
    code, value, err = mitral("ingest", "arrays", recording)
    assert (code, value["sessions"]) == (0, [{"session": "m1-day1", "n_trials": 20, "n_units": 2}])
    assert "made a new store in lab" in err
    ticks = Store("lab").session("m1-day1")["spike_time"].to_numpy()
    assert ticks.size == 2400 and np.all(np.diff(ticks) >= 0)
    assert mitral("ingest", "arrays", recording)[1]["position"] == 1


def test_people_read_what_was_saved_and_what_comes_next(mitral, recording, store, monkeypatch, capsys):
    """Counts in words, and the next command."""
    monkeypatch.setattr("sys.argv", ["mitral", "ingest", "arrays", str(recording)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == "1 session in lab: 20 trials, 2 units\nNext: mitral ls --store lab\n"


def test_ids_that_look_like_numbers_or_dates_stay_text(mitral, recording):
    """Mouse 4021 on 2026-03-04 is called so, without quotes inside quotes; numbers are still numbers."""
    words = ("-o", "session=2026-03-04", "-o", "animal=4021", "-o", "recorded_s=[0, 61]", "-o", "ticks_per_s=20000")
    assert mitral("ingest", "arrays", recording, *words)[0] == 0
    attrs = Store("lab").session("2026-03-04").attrs
    assert (attrs["animal"], list(attrs["recorded_s"])) == ("4021", [0.0, 61.0])


@pytest.mark.parametrize("name", ["mus 1, día 2", "β-γ 日本", "m1 [left] 50%"])
def test_unicode_and_spaces_in_names_work(mitral, recording, tmp_path, name):
    """People name recordings in their language; they are saved, listed, shown and run by that name."""
    (tmp_path / "tiny.toml").write_text(f"data.sessions = [{json.dumps(name)}]\n{TINY}", encoding="utf-8")
    assert mitral("ingest", "arrays", recording, "-o", f"session={name}")[0] == 0
    assert mitral("ls")[1]["sessions"][0]["session"] == name
    assert mitral("show", name)[1]["attrs"]["session"] == name
    code, value, err = mitral("run", "tiny.toml")
    assert (code, value["populations"][0]["population"]) == (0, name), err


def test_a_path_that_is_not_there_says_how_far_it_is(refused, tmp_path):
    """A typing error and a drive that is not mounted look alike; both are named."""
    refused("ingest", "arrays", "absent/day1", code=4, said=("absent/day1", "Check the spelling"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_format_is_refused(refused, recording):
    """Tables are no NWB files, and no data set of somebody else."""
    refused("ingest", "nwb", recording, code=4, said=("holds no .nwb file",))
    refused("ingest", "iurilli2017", recording, code=4, said=("aPCx_15.mat", "mitral fetch iurilli2017"))


def test_a_truncated_nwb_file_is_refused(refused, tmp_path):
    """A copy that broke off is damaged, and the file is named."""
    pytest.importorskip("pynwb")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "day1.nwb", "w") as file:
        file["a"] = np.random.default_rng(0).normal(size=10_000)
    whole = (tmp_path / "day1.nwb").read_bytes()
    (tmp_path / "day1.nwb").write_bytes(whole[: len(whole) // 2])
    refused("ingest", "nwb", "day1.nwb", code=4, said=("day1.nwb",))


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
def test_wrong_words_to_ingest_are_refused(refused, recording, words, code, said):
    """Unknown source or option, a value of the wrong kind, a store that is none: nothing is written."""
    before = files(recording.parent)
    refused("ingest", *words, code=code, said=said)
    assert files(recording.parent) == before


def test_a_folder_that_broke_off_says_what_was_saved(refused, monkeypatch, store):
    """Of several recordings the third fails: two are in the store, and the message says so."""
    session = store.session("m1-day1").load()

    def read(source, path, **options):
        yield from (session.assign_attrs(session=name) for name in ("new-1", "new-2"))
        raise SchemaError("day3.nwb: it is damaged. Copy it again.")

    monkeypatch.setattr("mitral.apps.verbs.read_sessions", read)
    refused("ingest", "arrays", "x", code=4, said=("day3.nwb", "Saved before this: new-1 and 1 more"))
    assert store.refresh() == 3


def test_a_taken_id_is_a_conflict_with_exit_code_5(store, recording):
    """In a process of its own: who saved it and what to do, and the one in the store stays."""
    before = files(store.path)
    with (recording / "spikes.csv").open("a") as spikes:
        spikes.write("0.5,0\n")
    command = [sys.executable, "-P", "-c", "from mitral.apps.cli import main; main()", "ingest", "arrays", recording]
    done = subprocess.run(command, cwd=recording.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (5, "")
    assert "'m1-day1' is there already" in done.stderr and "another name" in done.stderr
    assert files(store.path) == before
