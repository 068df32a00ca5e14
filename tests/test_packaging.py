"""The three lists of packages agree, and run.py explains itself; nothing is installed here.

That the wheel installs into an empty environment and that ``run.py`` makes one is shown by .ci/run.
"""

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import mitral

NAMED_BY_THE_USER = ("xarray", "scikit-learn", "umap-learn", "cebra", "streamlit", "dask")


@pytest.fixture
def project(checkout):
    """The table ``project`` of pyproject.toml."""
    return tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def pins(checkout):
    """Name -> version of every line of constraints.txt."""
    lines = (checkout / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines)
    return {canonicalize_name(name): Version(version) for name, version in found.items()}


@pytest.fixture
def conda(checkout):
    """What environment.yml holds."""
    return yaml.safe_load((checkout / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture
def run(checkout):
    """The module run.py."""
    spec = importlib.util.spec_from_file_location("run", checkout / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_requirement(project):
    """All requirements of the core and of the extras, less those that name mitral itself."""
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in requirements if requirement.name != "mitral"]


def test_every_requirement_has_a_tested_version(project, pins):
    """What pyproject.toml asks for, constraints.txt pins to a version that satisfies it."""
    wrong = [
        str(requirement)
        for requirement in every_requirement(project)
        if pins.get(canonicalize_name(requirement.name)) not in requirement.specifier
    ]
    assert wrong == []


def test_the_extra_all_holds_every_other_extra(project):
    """``all`` is what CI tests, so nothing may be left out of it."""
    (everything,) = (Requirement(text) for text in project["optional-dependencies"]["all"])
    assert everything.extras == set(project["optional-dependencies"]) - {"all"}


def test_the_pins_are_exactly_what_all_installs(project, pins):
    """A package that comes in without a pin would change under CI's feet; a pin that nothing needs is a mistake."""
    if sys.platform != "linux" or sys.version_info[:2] != (3, 11):
        pytest.skip("constraints.txt is made on Linux with Python 3.11; what is needed elsewhere may differ")
    waiting, seen = every_requirement(project), set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{requirement.name} is not installed: `python3 run.py test` installs everything")
        for inner in map(Requirement, needs):
            extras = ("", *requirement.extras)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(inner)
    unpinned = {name for name, _ in seen} - set(pins)
    assert unpinned - {"setuptools"} == set()  # comes with the environment
    assert set(pins) - {name for name, _ in seen} == set()


def test_conda_gets_the_six_packages_that_were_asked_for_in_the_tested_versions(conda, pins):
    """environment.yml names them, with the versions of constraints.txt, and then all of mitral."""
    *_, pip = conda["dependencies"]
    assert pip["pip"][0] == "-c constraints.txt"
    assert pip["pip"][-1] == "-e .[all]"
    versions = dict(line.split("==") for line in pip["pip"][1:-1])
    assert versions == {name: str(pins[name]) for name in NAMED_BY_THE_USER}


def test_conda_brings_a_python_that_mitral_runs_on(conda, project, run):
    """The oldest Python stands in pyproject.toml, run.py and environment.yml."""
    (python,) = (line for line in conda["dependencies"] if isinstance(line, str) and line.startswith("python="))
    assert python.removeprefix("python=") in SpecifierSet(project["requires-python"])
    assert project["requires-python"] == ">={}.{}".format(*run.OLDEST)


def test_the_six_packages_are_installed_by_all(project):
    """What the user asked for is what ``all`` depends on, in the core or in an extra."""
    assert set(NAMED_BY_THE_USER) <= {requirement.name for requirement in every_requirement(project)}


def test_the_core_needs_no_torch(project):
    """The demo downloads no deep-learning library, nor anything that brings it."""
    core = {Requirement(text).name for text in project["dependencies"]}
    assert core & {"torch", "cebra", "umap-learn", "numba"} == set()


def test_the_version_is_written_once(project, checkout):
    """pyproject.toml reads it from __init__.py; CITATION.cff repeats it."""
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["dynamic"] == ["version"]
    assert citation["version"] == mitral.__version__
    assert citation["license"] == project["license"]


def test_the_installed_version_is_the_one_in_the_code():
    """The metadata of the installation and ``mitral.__version__`` say the same."""
    try:
        installed = importlib.metadata.version("mitral")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("mitral is reached through a link here, not installed")
    assert installed == mitral.__version__


def test_run_is_short_and_needs_only_the_standard_library(checkout):
    """run.py runs before anything is installed."""
    text = (checkout / "run.py").read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
    assert len(text.splitlines()) < 150


def test_run_can_be_read_by_a_python_that_is_too_old(checkout):
    """An old Python must get as far as the sentence that says so."""
    ast.parse((checkout / "run.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_run_refuses_an_old_python(run, monkeypatch, capsys):
    """It says which Python is needed, which one came, and how to run the newer one."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert run.main(["demo"]) == 1
    assert re.search(r"needs Python 3\.11 or newer, this is Python .*python3\.11 run\.py demo", capsys.readouterr().err)


def test_run_refuses_an_unknown_verb(run, capsys):
    """It lists the verbs that there are; the exit code is that of wrong usage."""
    assert run.main(["tset"]) == 2
    assert re.search("unknown verb 'tset': expected one of demo, test, app, bench", capsys.readouterr().err)


def test_run_without_a_verb_shows_what_it_can_do(run, capsys):
    """Every verb is explained."""
    assert run.main([]) == 2
    shown = capsys.readouterr().out
    assert [verb for verb in run.NEEDS if f"    {verb} " not in shown] == []


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_run_explains_a_python_that_cannot_make_environments(run, monkeypatch, capsys, tmp_path, module):
    """Debian packs these modules apart; Python's own message names neither the cause nor the cure clearly."""
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == module else object())
    assert run.make_venv({}, clear=False) == 1
    assert re.search(rf"without its module '{module}'.*apt install python3-venv", capsys.readouterr().err)


@pytest.fixture
def empty_run(run, monkeypatch, tmp_path):
    """run.py with an empty folder for .venv, and the list of the commands that it would start."""
    started = []
    monkeypatch.setattr(run, "VENV", tmp_path)
    monkeypatch.setattr(run, "STAMP", tmp_path / "stamp.txt")
    monkeypatch.setattr(run, "PYTHON", tmp_path / "bin" / "python")

    def call(command, **kwargs):
        started.append(command)
        for name in ("python", "pip"):
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).touch()
        return run.code_of_pip if "pip" in command else 0

    run.code_of_pip = 0
    monkeypatch.setattr(run.subprocess, "call", call)
    return run, started


def test_run_installs_with_the_tested_versions_and_says_the_download_first(empty_run, capsys):
    """The size is the measured one of constraints.txt."""
    run, started = empty_run
    assert run.install("core", {}) == 0
    assert [command[2] for command in started] == ["venv", "pip"]
    assert started[1][started[1].index("-c") + 1].endswith("constraints.txt")
    assert re.search(r"making .*\n.*installing core.*\n.*download \d+ MB", capsys.readouterr().out)


def test_run_installs_nothing_when_nothing_changed(empty_run):
    """The second run starts at once; from the core to all only pip runs; all serves the core too."""
    run, started = empty_run
    for extent in ("core", "core", "all", "core"):
        run.install(extent, {})
    assert [command[2] for command in started] == ["venv", "pip", "pip"]


def test_run_installs_again_after_a_failure_and_says_what_to_do(empty_run, capsys):
    """pip's exit code passes through, and the next run tries again in the same environment."""
    run, started = empty_run
    run.code_of_pip = 3
    assert run.install("core", {}) == 3
    assert re.search(r"pip could not install.*Without a network.*run this again", capsys.readouterr().err, re.DOTALL)
    run.code_of_pip = 0
    assert run.install("core", {}) == 0
    assert [command[2] for command in started] == ["venv", "pip", "pip"]


def test_run_makes_the_environment_anew_when_the_checkout_has_moved(empty_run, monkeypatch, tmp_path):
    """An environment holds absolute paths: in another place it would run the old checkout."""
    run, started = empty_run
    run.install("core", {})
    run.STAMP.write_text("/somewhere/else with Python 3.11\n")
    run.install("core", {})
    assert [command[2:4] for command in started if "venv" in command] == [["venv", str(tmp_path)], ["venv", "--clear"]]


def test_run_lets_no_foreign_packages_in(run, monkeypatch):
    """PYTHONPATH would put another installation's packages before those of .venv."""
    given = {}
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("MITRAL_DATA", "/data")
    monkeypatch.setattr(run, "install", lambda extent, environment: given.update(environment) or 9)
    assert run.main(["demo"]) == 9
    assert "PYTHONPATH" not in given and given["MITRAL_DATA"] == "/data"


def test_run_refuses_an_unknown_benchmark(run, capsys):
    """It lists those that there are."""
    assert run.bench(["no such benchmark"], {}) == 2
    assert re.search("no benchmark 'no such benchmark'; there are: ", capsys.readouterr().err)
