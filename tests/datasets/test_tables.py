"""Names become objects, and a wrong name is answered with the right ones."""

import math

import pytest

from mitral.datasets.errors import MissingDependency, UnknownName
from mitral.datasets.tables import nearest, resolve

TABLE = {"sqrt": "math:sqrt", "floor": "math:floor", "broken": "math:nothing", "gone": "no_such_module_here:f"}


def test_a_name_of_the_table_is_its_object():
    """And importing happens only now."""
    assert resolve("sqrt", TABLE, what="function") is math.sqrt


def test_a_dotted_path_needs_no_table():
    """So a laboratory's own method works in a configuration."""
    assert resolve("math:cos", TABLE, what="function") is math.cos


@pytest.mark.parametrize(
    "name, match",
    [
        ("sqr", "unknown function 'sqr'. Nearest: 'sqrt'; all: 'broken', .*'sqrt'. Or give a dotted path"),
        ("xyz", "unknown function 'xyz'. Valid: 'broken'"),
        ("broken", "function 'broken': module 'math' has no 'nothing'"),
        ("math:nothing", "module 'math' has no 'nothing'"),
        ("gone", "function 'gone': there is no module 'no_such_module_here'"),
        ("math.nothing:f", "there is no module 'math.nothing'"),
        ("no_such.inner:f", "there is no module 'no_such.inner'"),
    ],
)
def test_a_name_that_nothing_carries_is_refused(name, match):
    """With the nearest valid names, or what the path lacks."""
    with pytest.raises(UnknownName, match=match):
        resolve(name, TABLE, what="function")


@pytest.mark.parametrize("name", ["", ":", ":sqrt", "math:", "math:sqrt.x", ".relative:f", "a b:c"])
def test_a_path_that_is_none_is_refused(name):
    """Half a path, a relative one, or text with a colon: never an error of Python's own."""
    with pytest.raises(UnknownName, match="function"):
        resolve(name, TABLE, what="function")


def test_a_module_that_lacks_a_library_says_what_to_install(tmp_path, monkeypatch):
    """The module is there, what it imports is not."""
    (tmp_path / "my_decoders.py").write_text("import no_such_library_here.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="decoder 'my_decoders:Mine' needs .*pip install no_such_library_here$"):
        resolve("my_decoders:Mine", {}, what="decoder")


def test_names_are_listed_up_to_a_number():
    """And how many there are is said."""
    assert nearest("x", map(str, range(20)), shown=3) == "Valid: '0', '1', '10', … (20)."
    assert nearest("x", []) == "There are none yet."
