"""Recordings of Iurilli & Datta 2017, from published files to decoded odors, through the command line.

Reference figures: shrinkage LDA on square roots of counts in 1 s, 15 odors, chance 1/15 = 0.067.
The whole module takes under two minutes on two cores; it is skipped, saying so, where the files are absent.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from mitral.datasets.store import Store

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-P", "-c", "from mitral.apps.cli import main; main()"]
FEW = ("--set", "validation.n_permutations=1")  # a null of 100 takes minutes, and its own tests are elsewhere


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the store and the reports of this module are."""
    return tmp_path_factory.mktemp("iurilli")


@pytest.fixture(scope="module")
def mitral(folder):
    """A function that runs the command there and gives its JSON value."""

    def run(*words):
        done = subprocess.run([*COMMAND, *map(str, words), "--json"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def ingested(mitral, data_folder):
    """Fetched from the local folder and ingested: what both verbs said."""
    fetched = mitral("fetch", "iurilli2017", "--from", data_folder("olfactory/iurilli_2017"))
    return fetched, mitral("ingest", "iurilli2017", fetched["folder"], "--store", "lab")


@pytest.fixture(scope="module")
def study(mitral, ingested, checkout):
    """The example's run: its JSON value, rows by population."""
    value = mitral("run", checkout / "examples" / "odor_identity_iurilli.toml", "--store", "lab", *FEW)
    return value | {"populations": {row["population"]: row for row in value["populations"]}}


def test_the_files_are_the_published_ones(ingested):
    """Three files are copied, each held against its sha256."""
    fetched, _ = ingested
    assert [file["status"] for file in fetched["files"]] == ["copied"] * 3


def test_every_experiment_becomes_a_session(ingested, folder):
    """10 piriform and 15 amygdala experiments with 15 odors, 13 of the concentration series: 199, 355, 334 units."""
    sessions = ingested[1]["sessions"]
    assert len(sessions) == 38 and {row["n_trials"] for row in sessions} == {150}
    for name, n_units in {"aPCx_15": 199, "plCoA_15": 355, "plCoA_CS": 334}.items():
        assert sum(row["n_units"] for row in sessions if name in row["session"]) == n_units
    assert Store(folder / "lab").verify() == []


def test_pooled_piriform_units_tell_the_odor(study):
    """Mean of ten seeded repeats at least 0.90; the spread over repeats is in the output."""
    row = study["populations"]["anterior piriform cortex (pooled)"]
    assert row["n_units"] == 199 and row["chance"] == pytest.approx(1 / 15)
    assert row["score"] >= 0.90
    assert row["score_low"] < row["score"] < row["score_high"] < row["score_low"] + 0.1


def test_pooled_amygdala_units_tell_the_odor(study):
    """Mean of ten seeded repeats at least 0.88 with 355 units."""
    row = study["populations"]["posterolateral cortical amygdala (pooled)"]
    assert row["n_units"] == 355
    assert row["score"] >= 0.88


def test_before_the_odor_pooled_units_are_at_chance(study):
    """The second before the first inhalation: 0.03 to 0.11, where leakage would show."""
    for population in ("anterior piriform cortex (pooled)", "posterolateral cortical amygdala (pooled)"):
        assert 0.03 <= study["populations"][population]["control_score"] <= 0.11


def test_single_experiments_tell_the_odor_in_part(study):
    """Piriform experiments of 5 to 30 units: mean accuracy 0.27 within 0.05, and chance before the odor."""
    rows = [row for name, row in study["populations"].items() if "aPCx_15" in name]
    assert len(rows) == 10
    assert np.mean([row["score"] for row in rows]) == pytest.approx(0.27, abs=0.05)
    assert np.mean([row["control_score"] for row in rows]) == pytest.approx(1 / 15, abs=0.03)


def test_the_report_tells_the_spread_and_the_data(study, folder):
    """What the range of a pooled score is, and that the mouse of an experiment is not known."""
    report = (folder / study["report"]).read_text(encoding="utf-8")
    assert "10 repeats of split and matching" in report
    assert "anterior piriform cortex (pooled)" in report


def test_a_second_run_finds_its_results(study, mitral, checkout, folder):
    """The same numbers under the same names, and no new commit."""
    position = Store(folder / "lab").position
    again = mitral("run", checkout / "examples" / "odor_identity_iurilli.toml", "--store", "lab", *FEW)
    assert {row["population"]: row for row in again["populations"]} == study["populations"]
    assert Store(folder / "lab").position == position
