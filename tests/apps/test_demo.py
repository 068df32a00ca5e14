"""The demo: a lab, a report, a table, and next steps that are real commands; again in the same folder; interrupted."""

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import typer.main

from mitral.apps import demo
from mitral.apps.cli import app
from mitral.apps.demo import run_demo
from mitral.datasets.errors import StoreError
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.datasets.store import Store

COMMAND = [sys.executable, "-P", "-c", "from mitral.apps.cli import main; main()", "demo", "--json", "--folder"]


SMALL = {"n_units": (6, 8), "concentrations": (0.01, 0.1)}
COMMITS = 13  # five sessions, a result for each, two across animals, the study


@pytest.fixture(scope="module")
def small():
    """A function that runs the demo in a folder on mice of few units."""

    def run(folder, progress=lambda *step: None, say=lambda text: None):
        return run_demo(folder, threads=1, progress=progress, say=say)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "simulate_olfactory_lab", functools.partial(simulate_olfactory_lab, **SMALL))
        yield run


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    """A demo in a folder that has notes already: folder, JSON value, table, lines, steps of progress, what was said."""
    folder = tmp_path_factory.mktemp("demo") / "our demo"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep")
    steps, said = [], []
    value, tables, lines = small(folder, progress=lambda *step: steps.append(step), say=said.append)
    return SimpleNamespace(folder=folder, value=value, tables=tables, lines=lines, steps=steps, said=said)


def test_the_demo_leaves_a_store_and_a_report(made):
    """Five mice, results within and across animals and a study in a sound store; one report; other files stay."""
    store = Store(made.folder / "lab")
    assert store.sessions()["session"].tolist() == [f"mouse-{number}" for number in range(1, 6)]
    assert store.results()["kind"].tolist() == ["decoding"] * 5 + ["transfer_curve", "transfer", "study"]
    assert store.verify() == []
    report = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "odor identity in five mice" in report and "mouse-5" in report
    assert store.result(made.value["name"]).attrs["score_mean"] == made.value["score_mean"]
    assert (made.folder / "notes.txt").read_text() == "keep"


def test_the_demo_prints_a_row_for_each_mouse(made):
    """The table has what the JSON value has."""
    ((title, rows),) = made.tables.items()
    assert title == "odor identity in five mice: balanced accuracy of odor"
    assert [row["population"] for row in rows] == [f"mouse-{number}" for number in range(1, 6)]
    assert [row["score"] for row in rows] == [f"{row['score']:.3f}" for row in made.value["populations"]]
    assert {"interval", "chance", "p", "control", "trials", "units"} <= set(rows[0])
    assert made.lines[0].startswith("Mean of 5 animals")


def test_the_next_steps_are_real_commands(made, monkeypatch, capsys):
    """Each can be copied: the words are valid, and all but the explorer, which would not end, are run."""
    steps = made.lines[made.lines.index("What to type next:") + 1 :]
    commands = [shlex.split(step.strip().partition("  ")[0]) for step in steps]
    assert [words[:2] for words in commands] == [["mitral", verb] for verb in ("app", "ls", "show", "ingest")]
    typer.main.get_command(app).commands["app"].make_context("app", commands[0][2:])
    for _, *words in commands[1:]:
        monkeypatch.setattr("sys.argv", ["mitral", *words])
        assert not app(words, standalone_mode=False)
        assert len(capsys.readouterr().out) > 100


def test_the_demo_tells_what_it_does(made):
    """A new store is said, and every step has its place in the progress."""
    assert made.steps[0] == ("simulate five mice", 0, 1)
    assert [what for what, _, _ in made.steps[1:6]] == [f"store mouse-{number}" for number in range(1, 6)]
    assert made.steps[-1] == ("done", 5, 5)
    assert len(made.said) == 1 and made.said[0].startswith("made a new store in ")


def test_the_demo_runs_again_in_its_folder(small, made):
    """Nothing is computed or saved twice; the same names and numbers come out."""
    value, _, _ = small(made.folder)
    assert value == made.value
    assert Store(made.folder / "lab").position == COMMITS


def test_the_demo_takes_no_place_that_is_taken(small, made, tmp_path):
    """A folder that is a file, or a folder ``lab`` that holds something else, is refused as it is."""
    with pytest.raises(StoreError, match="notes.txt"):
        small(made.folder / "notes.txt")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "day1.nwb").touch()
    with pytest.raises(StoreError, match=r"is not empty \(it holds 'day1\.nwb'\).*Nothing was changed"):
        small(tmp_path)


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
    assert store.verify() == [] and 3 <= store.position < COMMITS
    seconds, values = zip(*(timed(tmp_path) for _ in range(2)), strict=True)
    assert values[0] == values[1] and store.refresh() == COMMITS and store.verify() == []
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
