"""Attributes as strict JSON, and back.

numpy scalars become numbers, tuples and arrays become lists (and come back as lists). JSON has no
NaN and no infinity: such a float is stored as ``{"float": "NaN"}``, ``"Infinity"`` or
``"-Infinity"`` and comes back as the float. Everything else is refused, never turned into text.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import LimitError, SchemaError

DEEPEST = 16
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(value: Any, *, where: str, depth: int = 0) -> Any:
    """``value`` in types that strict JSON has.

    Parameters
    ----------
    value : None, bool, number, text, or a list, tuple, array or dict of such
    where : what is being stored, for the message

    Raises
    ------
    SchemaError : a value that JSON does not have, such as a date, bytes or a complex number
    LimitError : nested more than 16 deep

    Examples
    --------
    >>> to_json({"p": float("nan"), "n": np.int64(3), "area": ("OB", "PCx")}, where="result 'r'")
    {'area': ['OB', 'PCx'], 'n': 3, 'p': {'float': 'NaN'}}
    """
    if depth > DEEPEST:
        raise LimitError(f"{where}: nested more than {DEEPEST} deep. Flatten it, or keep it as JSON text.")
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, str):
        return _text(value, where)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": _word(value)}
    if isinstance(value, list | tuple):
        return [to_json(item, where=where, depth=depth + 1) for item in value]
    if isinstance(value, Mapping):
        return _object(value, where, depth)
    raise SchemaError(
        f"{where}: expected text, a number, true or false, None, or a list or dict of these, got {value!r} "
        f"({type(value).__name__}). Convert it first, for instance with str()."
    )


def from_json(value: Any) -> Any:
    """What ``to_json`` was given, with lists for tuples and arrays.

    Examples
    --------
    >>> from_json({"p": {"float": "NaN"}, "areas": ["OB"]})
    {'p': nan, 'areas': ['OB']}
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if list(value) == ["float"] and value["float"] in NOT_FINITE:
            return NOT_FINITE[value["float"]]
        return {name: from_json(item) for name, item in value.items()}
    return value


def _object(value: Mapping, where: str, depth: int) -> dict[str, Any]:
    """A dict with sorted text keys, so that equal attributes are equal bytes."""
    for name in value:
        if not isinstance(name, str):
            raise SchemaError(f"{where}: the key {name!r} is not text. Use str keys.")
    if list(value) == ["float"] and value["float"] in NOT_FINITE:
        raise SchemaError(f"{where}: {dict(value)!r} is how NaN and infinity are stored. Give the float itself.")
    return {name: to_json(value[name], where=f"{where}, {name!r}", depth=depth + 1) for name in sorted(value)}


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SchemaError(f"{where}: {value!r} holds half of a surrogate pair, which is no text. Remove it.") from error
    return str(value)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
