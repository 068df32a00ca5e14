"""JSON files that carry their own sha256, so that a change of any bit is noticed.

The file is canonical JSON (sorted keys, no spaces, UTF-8) and a line end. Its field ``seal`` is the
sha256 of the file with the 64 digits of the seal set to zeros.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import IntegrityError

ZEROS = "0" * 64


def canonical(value: Any) -> bytes:
    """JSON in the one form in which equal values are equal bytes.

    Examples
    --------
    >>> canonical({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def parse(data: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object from bytes, sealed or not.

    Raises
    ------
    IntegrityError : not JSON, or not an object
    """
    try:
        value = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{where} is not JSON ({error}). Restore it from a copy, and run store.verify()."
        ) from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{where}: expected a JSON object, got {type(value).__name__}. Restore it from a copy.")
    return value


def sealed(fields: Mapping[str, Any]) -> bytes:
    """The bytes of a file that says ``fields`` and their seal."""
    blank = canonical({**fields, "seal": ZEROS}) + b"\n"
    return blank.replace(_field(ZEROS), _field(hashlib.sha256(blank).hexdigest()))


def check_seal(data: bytes, content: Mapping[str, Any], *, where: str) -> None:
    """Refuse bytes that do not match their own seal.

    Raises
    ------
    IntegrityError : some bit was changed
    """
    seal = content.get("seal")
    blank = data.replace(_field(str(seal)), _field(ZEROS), 1)
    if hashlib.sha256(blank).hexdigest() != seal:
        raise IntegrityError(f"{where} was changed: its bytes do not match the sha256 in it. Restore it from a copy.")


def _field(seal: str) -> bytes:
    return f'"seal":"{seal}"'.encode(errors="replace")


def _refuse(word: str) -> None:
    """NaN and Infinity are Python's, not JSON's; json.loads would take them."""
    raise json.JSONDecodeError(f"{word} is not JSON", word, 0)
