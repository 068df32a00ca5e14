"""The house stays as it was drawn: floors, homes of heavy libraries, names, sizes, and what an import costs.

The modules are read, not imported, except where a test says that it starts a fresh Python.
"""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

FLOORS = ("datasets", "decode", "align", "apps")  # each may import what stands to its left
LONGEST_MODULE = 600

# One heavy library, one home: a file, or a folder of the apps. Only inside functions unless the home is a folder.
HOMES = {
    "pynwb": "datasets/sources/nwb.py",
    "hdmf": "datasets/sources/nwb.py",
    "cebra": "decode/trajectories/cebra_embedding.py",
    "torch": "decode/trajectories/cebra_embedding.py",
    "umap": "decode/trajectories/umap_embedding.py",
    "distributed": "apps/cluster.py",
    "obstore": "datasets/store/s3.py",
    "ot": "align/transport.py",
    "tensorly": "decode/trajectories/tensor_components.py",
    "plotly": "apps/charts.py",
    "matplotlib": "apps/figures.py",
    "streamlit": "apps/explorer/",
}
LABELLED = tuple(  # names and coordinates
    f"align/{name}.py" for name in ("anchors", "cohort", "new_odors", "quality", "transfer", "transfer_result")
)
SCRIPTS = "apps/explorer/main.py", "apps/explorer/pages/"  # run as files, so they say `from mitral...`
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}  # loading them runs code
BUILTIN_ERRORS = {
    "Exception", "ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "RuntimeError", "OSError",
    "FileNotFoundError", "ImportError", "MemoryError", "AssertionError", "NotImplementedError",
}  # fmt: skip


def modules(checkout):
    """Position below the checkout -> syntax tree, for every module of the package."""
    files = [checkout / "__init__.py"]
    files += [file for floor in FLOORS for file in sorted((checkout / floor).rglob("*.py"))]
    return {file.relative_to(checkout).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imports(name, tree):
    """(absolute name, when) of every import of the module at ``name``; when: "at once", "later", "for types"."""
    when = dict.fromkeys(ast.walk(tree), "at once")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            when |= dict.fromkeys(ast.walk(node), "later")
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            when |= dict.fromkeys(ast.walk(node), "for types")
    package = ["mitral", *Path(name).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, when[node]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join(base + ([node.module] if node.module else []))
            yield from ((f"{source}.{alias.name}", when[node]) for alias in node.names)


def is_at(name, home):
    """Whether the module at ``name`` is the file ``home`` or stands in the folder ``home``."""
    return name == home or (home.endswith("/") and name.startswith(home))


def test_a_floor_imports_only_what_stands_to_its_left(checkout):
    """Datasets <- decode <- align <- apps, so that no change above reaches below."""
    wrong = []
    for name, tree in modules(checkout).items():
        own = FLOORS.index(name.split("/")[0]) if "/" in name else -1
        for imported, _ in imports(name, tree):
            parts = imported.split(".")
            if parts[0] == "mitral" and len(parts) > 1 and parts[1] in FLOORS and FLOORS.index(parts[1]) > own:
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_the_root_imports_nothing(checkout):
    """Tools that meet the root __init__.py as a loose file do no harm."""
    assert list(imports("__init__.py", modules(checkout)["__init__.py"])) == []


def test_imports_inside_the_package_are_relative(checkout):
    """An absolute import would reach another installed copy; only the explorer's scripts, run as files, need it."""
    wrong = [
        f"{name}: {node.lineno}"
        for name, tree in modules(checkout).items()
        if not any(is_at(name, script) for script in SCRIPTS)
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "mitral")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "mitral" for alias in node.names))
    ]
    assert wrong == []


def test_a_heavy_library_has_one_home(checkout):
    """A library that is slow to import or optional is imported in one place, when it is needed."""
    wrong = []
    for name, tree in modules(checkout).items():
        for imported, when in imports(name, tree):
            home = HOMES.get(imported.split(".")[0])
            if home and when != "for types" and not is_at(name, home):
                wrong.append(f"{name} imports {imported}, whose home is {home}")
            if home and when == "at once" and not home.endswith("/"):
                wrong.append(f"{name} imports {imported} at once; import it inside the function that needs it")
    assert wrong == []


def test_method_modules_know_arrays_only(checkout):
    """Decoders and reducers take and give numpy arrays; names and coordinates belong to the labelled modules."""
    wrong = [
        f"{name} imports {imported}"
        for name, tree in modules(checkout).items()
        if name.startswith(("decode/decoders/", "decode/trajectories/", "align/")) and name not in LABELLED
        for imported, _ in imports(name, tree)
        if imported.split(".")[0] in ("xarray", "pandas")
    ]
    assert wrong == []


def test_pages_hold_no_numerics(checkout):
    """If a page needs a number, a function elsewhere returns it, where a test can hold it."""
    wrong = [
        f"{name} imports {imported}"
        for name, tree in modules(checkout).items()
        if name.startswith("apps/explorer/pages/")
        for imported, _ in imports(name, tree)
        if imported.split(".")[0] in ("numpy", "scipy", "sklearn")
    ]
    assert wrong == []


def test_nothing_that_is_read_can_run_code(checkout):
    """No pickle, no eval, no raw HTML: files, configurations and names from others are data."""
    trees = modules(checkout)
    for folder in ("benchmarks", "examples"):
        for file in sorted((checkout / folder).rglob("*.py")):
            trees[file.relative_to(checkout).as_posix()] = ast.parse(file.read_text(encoding="utf-8"))
    wrong = []
    for name, tree in trees.items():
        wrong += [f"{name} imports {what}" for what, _ in imports(name, tree) if what.split(".")[0] in RUNS_CODE]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {word.arg for word in node.keywords if ast.unparse(word.value) == "True"}
            if called in ("eval", "exec", "os.system", "yaml.load") or given & {
                "allow_pickle", "unsafe_allow_html", "shell",
            }:  # fmt: skip
                wrong.append(f"{name}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []


def test_errors_come_from_the_one_tree(checkout):
    """Every error raised on purpose carries an exit code; ``assert`` is no check of input.

    Two exceptions: pydantic takes the ValueError of its validators and reports it, and a private function
    may raise what its own module catches by name.
    """
    wrong = []
    for name, tree in modules(checkout).items():
        handlers = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type]
        caught = {word.id for handler in handlers for word in ast.walk(handler) if isinstance(word, ast.Name)}
        allowed = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                is_validator = "_validator" in "".join(map(ast.unparse, node.decorator_list))
                errors = {"ValueError"} if is_validator else caught if node.name.startswith("_") else ()
                allowed |= {(inner, error) for inner in ast.walk(node) for error in errors}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                wrong.append(f"{name}:{node.lineno} assert")
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                raised = ast.unparse(node.exc.func)
                is_refusal = raised == "ImportError" and name.count("/") == 1  # `import datasets` from the root
                if raised in BUILTIN_ERRORS and not is_refusal and (node, raised) not in allowed:
                    wrong.append(f"{name}:{node.lineno} raise {raised}")
    assert wrong == []


def test_modules_stay_short(checkout):
    """A module is one idea: split it at 400 lines; 600 is the end."""
    files = [checkout / name for name in modules(checkout)]
    for folder in ("tests", "benchmarks", "examples"):
        files += (checkout / folder).rglob("*.py")
    lengths = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: n_lines for name, n_lines in lengths.items() if n_lines > LONGEST_MODULE} == {}


def test_no_module_is_a_drawer_for_everything(checkout):
    """A name such as utils says nothing about what is inside."""
    assert [name for name in modules(checkout) if Path(name).stem in ("util", "utils", "helpers", "misc")] == []


def test_everything_public_has_a_docstring(checkout):
    """Modules, public classes, functions and methods say what their signature cannot."""
    wrong = []
    for name, tree in modules(checkout).items():
        if not ast.get_docstring(tree):
            wrong.append(name)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for node in [*tree.body, *(inner for outer in classes for inner in outer.body)]:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                wrong.append(f"{name}:{node.lineno} {node.name}")
    assert wrong == []


def test_pyproject_lists_exactly_the_package_folders(checkout):
    """A folder that is not listed would be missing from the wheel, and nobody would notice in a checkout."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {Path(name).parent for name in modules(checkout)}
    assert sorted(settings["packages"]) == sorted(".".join(("mitral", *folder.parts)) for folder in folders)
    assert [str(folder) for folder in folders if not (checkout / folder / "__init__.py").is_file()] == []


def test_the_folders_of_the_tests_mirror_the_package(checkout):
    """The tests of a module are found where the module is."""
    folders = {file.parent.relative_to(checkout / "tests") for file in (checkout / "tests").rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (checkout / folder / "__init__.py").is_file()] == []


def fresh_python(code, *, cwd=None):
    """Run ``code`` in a new Python whose own folder is ``cwd``."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_bare_import_from_the_root_is_refused(checkout, floor):
    """``import datasets`` beside the checkout must not pass for the well-known library of that name."""
    if not (checkout / floor / "__init__.py").exists():
        assert not list((checkout / floor).glob("*.py"))  # not built yet
        return
    done = fresh_python(f"import {floor}", cwd=checkout)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ") and f"import mitral.{floor}" in last


def modules_after(code):
    """The top-level modules that ``code`` adds to those of a bare Python."""
    listing = "import json, sys; before = set(sys.modules)\n{}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = fresh_python(listing.format(code), cwd="/")
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])} - sys.stdlib_module_names


def test_importing_mitral_imports_nothing_else():
    """``import mitral`` costs nothing: the root is a docstring and a version."""
    assert modules_after("import mitral") == {"mitral"}


@pytest.mark.parametrize("floor", ["datasets", "decode"])
def test_importing_a_floor_imports_no_heavy_library(floor):
    """Scripts that only read or decode wait for no chart, page or network library."""
    assert modules_after(f"import mitral.{floor}") & set(HOMES) == set()


HELP = """
import contextlib, io, sys
from mitral.apps.cli import main
sys.argv = ["mitral", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
    main()
"""


def test_help_imports_no_numerics():
    """``mitral --help`` answers at once: arrays, charts and pages are imported by the commands that use them."""
    slow = {"numpy", "scipy", "pandas", "xarray", "sklearn", "dask", "zarr", "h5py"}
    assert modules_after(HELP) & (slow | set(HOMES)) == set()
