"""What the documentation shows is run: docstring examples, README commands and scripts, examples, notebooks.

In README.md, CONTRIBUTING.md and docs/*.md:

- every ``mitral ...`` command in a bash block must parse; a block below the line ``<!-- test: run -->`` is run
- the python blocks of a page are run, in order, as one script
- toml blocks must be valid configurations
- links to local files and headings must lead somewhere

What runs does so in a scratch folder that holds a small simulated store ``lab`` and the folder ``examples``.
"""

import doctest
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (CHECKOUT / "docs").glob("*.md"))]
LANGUAGES = {"", "text", "bash", "python", "toml", "json"}
OTHER_PROGRAMS = {"git", "cd", "pip", "conda", "bash", "python", "export"}  # beside mitral and run.py
SCRIPTS = re.compile(r"mitral\.apps\.explorer\.(main|pages\..*)")  # run by Streamlit, never imported
NEEDS = {"mitral.datasets.sources.nwb": "pynwb"}  # modules whose examples need an optional library


def module_names():
    """Every module of the installed package, found without importing one."""
    (root,) = importlib.util.find_spec("mitral").submodule_search_locations
    for floor in ("datasets", "decode", "align", "apps"):
        for file in sorted((Path(root) / floor).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            name = ".".join(("mitral", *(parts[:-1] if parts[-1] == "__init__" else parts)))
            if not SCRIPTS.fullmatch(name):
                yield name


@pytest.mark.parametrize("name", list(module_names()))
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    """The examples in the docstrings give what they show; the module is the imported one, never a loose file."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said, failed = [], 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        failed += runner.run(test, out=said.append).failed
    assert failed == 0, "".join(said)


def blocks(text):
    """(language, code, is to be run) of every fenced block of a page."""
    found = re.findall(r"^(<!-- test: run -->\n+)?```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, code, bool(mark)) for mark, language, code in found]


def commands(code):
    """The words of every command of a bash block; comments are left out, continued lines are joined."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@pytest.fixture(params=PAGES)
def page(request, checkout):
    """A page of the documentation, as text."""
    return (checkout / request.param).read_text(encoding="utf-8")


def test_blocks_are_of_a_language_that_is_tested(page):
    """A block in another language would be shown and never tried."""
    assert {language for language, _, _ in blocks(page)} <= LANGUAGES


def test_every_fence_is_closed(page):
    """An open fence would hide the rest of the page from these tests."""
    assert len(re.findall(r"^```", page, re.MULTILINE)) == 2 * len(blocks(page))


def test_commands_in_the_pages_are_valid(page, checkout):
    """Verbs, options and values of ``mitral`` exist; verbs of run.py exist; extras of pip exist."""
    wrong = []
    for language, code, _ in blocks(page):
        for words in commands(code) if language == "bash" else ():
            problem = what_is_wrong_with(words, checkout)
            if problem:
                wrong.append(f"{shlex.join(words)}: {problem}")
    assert wrong == []


def what_is_wrong_with(words, checkout):
    """A word on what is wrong with a command, or "" if nothing is."""
    program, *rest = words
    if Path(program).name == "mitral":
        return what_is_wrong_with_mitral(rest)
    if program.startswith("python") and rest[:1] == ["run.py"]:
        verbs = re.search(r"^NEEDS = \{(.*)\}$", (checkout / "run.py").read_text("utf-8"), re.MULTILINE)[1]
        return "" if len(rest) > 1 and f'"{rest[1]}":' in verbs else "no such verb of run.py"
    if program == "pip":
        extras = set(re.findall(r"\w+", " ".join(re.findall(r"\[(.*?)\]", shlex.join(rest)))))
        known = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        return "" if extras <= set(known) else f"no extra {extras - set(known)}"
    return "" if program in OTHER_PROGRAMS or Path(program).suffix == ".sh" else "a program that is not known here"


def what_is_wrong_with_mitral(arguments):
    """What the command line says against these arguments, or "" if nothing."""
    import typer.main

    from mitral.apps.cli import app

    if arguments in (["--help"], ["--version"]):
        return ""
    verbs = typer.main.get_command(app).commands
    if not arguments or arguments[0] not in verbs:
        return f"no such verb; there are {', '.join(verbs)}"
    if "--help" in arguments:
        return ""
    try:
        verbs[arguments[0]].make_context(arguments[0], arguments[1:])
    except Exception as error:  # of Typer's own copy of click, which is no public name
        return f"{type(error).__name__} {error}"
    return ""


def test_configurations_in_the_pages_are_valid(page):
    """A configuration that is shown can be run."""
    from mitral.apps.config import make_config

    for language, code, _ in blocks(page):
        if language == "toml":
            make_config(tomllib.loads(code))


def test_local_links_lead_somewhere(page, checkout, request):
    """Files, pictures and headings that a page points to exist."""
    here = (checkout / request.node.callspec.params["page"]).parent
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", page)
    wrong = []
    for target in (first or second for first, second in targets):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        there = (here / path).resolve() if path else None
        if there and not there.exists():
            wrong.append(target)
        elif heading and heading not in headings(there.read_text("utf-8") if there else page):
            wrong.append(target)
    assert wrong == []


def headings(text):
    """The anchors that the headings of a page make."""
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory):
    """A folder with the store ``lab``: the sessions of two simulated mice."""
    from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
    from mitral.datasets.store import Store

    folder = tmp_path_factory.mktemp("small-lab")
    store = Store.create(folder / "lab")
    for session in simulate_olfactory_lab(random_state=0, n_animals=2, n_blocks=5).sessions.values():
        store.save_session(session)
    return folder


@pytest.fixture
def scratch(small_lab, tmp_path, checkout):
    """A function that runs a command in a folder with the small lab, the examples, and ``mitral`` on the path."""
    folder = tmp_path / "scratch"
    shutil.copytree(small_lab, folder)
    if (checkout / "examples").is_dir():
        shutil.copytree(checkout / "examples", folder / "examples")
    command = folder / "bin" / "mitral"
    command.parent.mkdir()
    start = "from mitral.apps.cli import main; main()"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -c "{start}" "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*words, code=None):
        given = {"input": code, "env": environment, "cwd": folder}
        done = subprocess.run(words, **given, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{shlex.join(words)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"

    run.folder = folder
    return run


def test_what_a_page_shows_runs(page, scratch):
    """Marked bash blocks run, and then the python blocks of the page as one script."""
    for language, code, is_run in blocks(page):
        if language == "bash" and is_run:
            scratch("bash", "-euc", code)
    script = "\n".join(code for language, code, _ in blocks(page) if language == "python")
    if script:
        scratch(sys.executable, "-P", "-", code=script)


@pytest.mark.parametrize("script", [file.name for file in sorted((CHECKOUT / "examples").glob("*.py"))])
def test_example_scripts_run(script, scratch):
    """Every script in examples/ does what it is there for on the small lab."""
    scratch(sys.executable, "-P", f"examples/{script}")


@pytest.mark.parametrize("config", [file.name for file in sorted((CHECKOUT / "examples").glob("*.toml"))])
def test_example_configurations_are_valid(config, checkout):
    """Every configuration in examples/ passes the check that ``mitral run`` begins with."""
    from mitral.apps.config import read_config

    assert read_config(checkout / "examples" / config).name


@pytest.mark.filterwarnings("default")  # the kernel is another process; its client's warnings are not ours
@pytest.mark.parametrize("notebook", [file.name for file in sorted((CHECKOUT / "docs").glob("*.ipynb"))])
def test_notebooks_run(notebook, scratch, checkout):
    """Every cell of the notebooks runs, from top to bottom, in a fresh kernel."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = nbformat.read(checkout / "docs" / notebook, as_version=4)
    nbclient.NotebookClient(
        cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(scratch.folder)}}
    ).execute()
