"""From a name in a table, or a dotted path, to the object it stands for.

A table is a plain dict of name -> ``"package.module:object"``, so listing names imports nothing.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import MissingDependency, UnknownName


def resolve(name: str, table: Mapping[str, str], *, what: str) -> Any:
    """The object that ``name`` stands for: a key of ``table`` or ``"module:object"``.

    Parameters
    ----------
    name : key of the table, or a dotted path with a colon such as ``"my_lab.decoders:Mine"``
    table : name -> ``"module:object"``
    what : what the table holds, in the singular, for the message ("decoder")

    Raises
    ------
    UnknownName : no such key, module or object
    MissingDependency : the module needs a library that is not installed

    Examples
    --------
    >>> resolve("sqrt", {"sqrt": "math:sqrt"}, what="function")(4.0)
    2.0
    """
    path = table.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon or not all(module_name.split(".")):
        raise UnknownName(
            f"unknown {what} {name!r}. {nearest(name, table)} "
            f"Or give a dotted path, 'package.module:object'."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or module_name == error.name or module_name.startswith(f"{error.name}."):
            raise UnknownName(f"{what} {name!r}: there is no module {module_name!r}.") from error
        raise MissingDependency(
            f"{what} {name!r} needs the library {error.name!r}, which is not installed: "
            f"pip install {error.name}"
        ) from error
    if not hasattr(module, attribute):
        raise UnknownName(f"{what} {name!r}: module {module_name!r} has no {attribute!r}.")
    return getattr(module, attribute)


def nearest(name: str, valid: Iterable[str], *, shown: int = 8) -> str:
    """A sentence that names the valid names nearest to ``name``, for an error message.

    Examples
    --------
    >>> nearest("ldaa", ["lda", "ridge"])
    "Nearest: 'lda'; all: 'lda', 'ridge'."
    """
    names = sorted(map(str, valid))
    if not names:
        return "There are none yet."
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    listed = ", ".join(map(repr, names[:shown])) + (f", … ({len(names)})" if len(names) > shown else "")
    return f"Nearest: {', '.join(map(repr, close))}; all: {listed}." if close else f"Valid: {listed}."
