"""Which names a session, a result or a variable may have.

Names never become paths of objects (those are content hashes), so Unicode and spaces are welcome.
Refused is what people cannot tell apart or type: control and invisible characters, spaces at an
end, text that is not in Unicode normal form C, and path syntax, which signals a mistake.
"""

import unicodedata

from ..errors import SchemaError

LONGEST_NAME = 120
LONGEST_VARIABLE_BYTES = 200  # a variable is a folder's name, and file systems stop at 255 bytes
REFUSED_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, invisible, lone surrogate, line ends


def check_name(name: object, *, what: str) -> str:
    """Refuse a name that a store does not take.

    Parameters
    ----------
    name : the name
    what : what it names, for the message ("session id", "result name")

    Returns
    -------
    name, unchanged

    Raises
    ------
    SchemaError : which rule it breaks, and a name that would do where there is one

    Examples
    --------
    >>> check_name("mouse 1, día 2", what="session id")
    'mouse 1, día 2'
    """
    if not isinstance(name, str):
        raise SchemaError(f"a {what} is text, got {name!r} ({type(name).__name__}).")
    if not name.strip():
        raise SchemaError(f"a {what} must not be empty, got {name!r}. Give it a name.")
    if name in (".", "..") or "/" in name or "\\" in name:
        raise SchemaError(f"the {what} {name!r} looks like a path. Use a name without '/' and '\\', such as 'm1-day1'.")
    bad = [character for character in name if unicodedata.category(character) in REFUSED_CATEGORIES]
    if bad:
        raise SchemaError(
            f"the {what} {name!r} holds the control or invisible character U+{ord(bad[0]):04X}. Remove it."
        )
    if name != name.strip():
        raise SchemaError(f"the {what} {name!r} begins or ends with a space. Use {name.strip()!r}.")
    if len(name) > LONGEST_NAME:
        raise SchemaError(
            f"the {what} {name[:30]!r}... has {len(name)} characters; at most {LONGEST_NAME}. Shorten it."
        )
    normal = unicodedata.normalize("NFC", name)
    if normal != name:
        raise SchemaError(
            f"the {what} {name!r} is not in Unicode normal form C, so that it looks like another name but differs. "
            f"Use {normal!r} (unicodedata.normalize('NFC', name))."
        )
    return name


def check_variable(name: object, *, where: str) -> str:
    """Refuse the name of a variable or coordinate that cannot be a folder in a zarr group.

    Raises
    ------
    SchemaError : which rule it breaks
    """
    checked = check_name(name, what=f"variable name in {where}")
    if checked.startswith("__") or checked in ("zarr.json", "c") or len(checked.encode()) > LONGEST_VARIABLE_BYTES:
        raise SchemaError(
            f"{where}: a variable cannot be called {checked!r}: names that begin with '__', 'zarr.json', 'c', "
            f"and names over {LONGEST_VARIABLE_BYTES} bytes belong to zarr. Rename it."
        )
    return checked


def same_but_for_case(name: str, others: list[str]) -> str | None:
    """The first of ``others`` that equals ``name`` but for upper and lower case, if any.

    Examples
    --------
    >>> same_but_for_case("M1-day1", ["m1-day1"])
    'm1-day1'
    """
    folded = name.casefold()
    return next((other for other in others if other != name and other.casefold() == folded), None)
