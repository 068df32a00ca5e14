"""The demo: a lab, a report, a table, and next steps that are real commands; again in the same folder; interrupted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import typer.main

from mitral.apps import demo
from mitral.apps.cli import app
from mitral.apps.demo import run_demo
from mitral.datasets.errors import StoreError
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.datasets.store import Store

COMMAND = [sys.executable, "-P", "-c", "from mitral.apps.cli import main; main()", "demo", "--json", "--folder"]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A function that runs the demo on mice of few units; the same folder each time unless told."""
    size = {"n_units": (6, 8), "concentrations": (0.1,)}
    monkeypatch.setattr(demo, "simulate_olfactory_lab", lambda **seed: simulate_olfactory_lab(**seed, **size))

    def run(folder="our demo", progress=lambda *step: None, say=lambda text: None):
        return run_demo(tmp_path / folder, threads=1, progress=progress, say=say)

    return run


def test_the_demo_leaves_a_store_and_a_report(small, tmp_path):
    """Five mice, five results and a study in a sound store; one report that holds them."""
    value, _, _ = small()
    store = Store(tmp_path / "our demo" / "lab")
    assert store.sessions()["session"].tolist() == [f"mouse-{number}" for number in range(1, 6)]
    assert store.results()["kind"].tolist() == ["decoding"] * 5 + ["study"]
    assert store.verify() == []
    report = (tmp_path / "our demo" / "report.html").read_text(encoding="utf-8")
    assert "odor identity in five mice" in report and "mouse-5" in report
    assert store.result(value["name"]).attrs["score_mean"] == value["score_mean"]


def test_the_demo_prints_a_row_for_each_mouse(small):
    """The table has what the JSON value has."""
    value, tables, lines = small()
    ((title, rows),) = tables.items()
    assert title == "odor identity in five mice: balanced accuracy of odor"
    assert [row["population"] for row in rows] == [f"mouse-{number}" for number in range(1, 6)]
    assert [row["score"] for row in rows] == [f"{row['score']:.3f}" for row in value["populations"]]
    assert {"interval", "chance", "p", "control", "trials", "units"} <= set(rows[0])
    assert lines[0].startswith("Mean of 5 animals")


def test_the_next_steps_are_real_commands(small, monkeypatch, tmp_path):
    """Each can be copied: the words are valid, and those that need nothing of the user's own run."""
    _, _, lines = small()
    steps = [line.strip().partition("   ")[0] for line in lines[lines.index("What to type next:") + 1 :]]
    steps = [shlex.split(step.partition("  ")[0]) for step in steps]
    assert [words[:2] for words in steps] == [["mitral", verb] for verb in ("app", "ls", "show", "ingest")]
    verbs = typer.main.get_command(app).commands
    for _, verb, *words in steps:
        verbs[verb].make_context(verb, words)
    for _, verb, *words in steps[1:3]:
        monkeypatch.setattr("sys.argv", ["mitral", verb, *words])
        app([verb, *words], standalone_mode=False)


def test_the_demo_runs_again_in_its_folder(small, tmp_path):
    """Nothing is computed or saved twice; the same names and numbers come out."""
    first, _, _ = small()
    position = Store(tmp_path / "our demo" / "lab").position
    again, _, _ = small()
    assert again == first
    assert Store(tmp_path / "our demo" / "lab").position == position == 11


def test_the_demo_tells_what_it_does(small):
    """A new store is said, and every step has its place in the progress."""
    steps, said = [], []
    small(progress=lambda *step: steps.append(step), say=said.append)
    assert steps[0] == ("simulate five mice", 0, 1)
    assert [what for what, _, _ in steps[1:6]] == [f"store mouse-{number}" for number in range(1, 6)]
    assert steps[-1] == ("done", 5, 5)
    assert len(said) == 1 and said[0].startswith("made a new store in ")


def test_the_demo_does_not_touch_what_is_there(small, tmp_path):
    """Other files of the folder stay; a folder that is a file, or a lab of somebody else's, is refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    small("mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    with pytest.raises(StoreError, match="notes.txt"):
        small("mine/notes.txt")
    (tmp_path / "full" / "lab").mkdir(parents=True)
    (tmp_path / "full" / "lab" / "day1.nwb").touch()
    with pytest.raises(StoreError, match=r"is not empty \(it holds 'day1\.nwb'\).*Nothing was changed"):
        small("full")


@pytest.mark.slow
def test_the_real_demo_survives_being_stopped(tmp_path):
    """Terminated half-way, the store is sound; the next run finishes within two minutes, one more is far quicker."""
    with subprocess.Popen([*COMMAND, "d"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        log = tmp_path / "d" / "lab" / "log"
        while running.poll() is None and not (log.is_dir() and len(list(log.iterdir())) > 2):
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 143 and b"Traceback" not in err
    assert json.loads(out)["error"]["exit_code"] == 143
    store = Store(tmp_path / "d" / "lab")
    assert store.verify() == [] and 3 <= store.position < 11
    seconds, values = zip(*(timed(tmp_path) for _ in range(2)), strict=True)
    assert values[0] == values[1] and store.refresh() == 11 and store.verify() == []
    assert seconds[0] < 120 and seconds[1] < 0.9 * seconds[0]
    assert os.path.getsize(tmp_path / "d" / "report.html") < 25e6
    for row in values[0]["populations"]:
        assert row["score_low"] > row["null_high"] > row["chance"]
        assert abs(row["control_score"] - row["chance"]) < 0.08  # 3 standard errors of 240 trials at 1/8: 0.064


def timed(folder):
    """Seconds and JSON value of the demo."""
    start = time.monotonic()
    done = subprocess.run([*COMMAND, "d"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start, json.loads(done.stdout)
