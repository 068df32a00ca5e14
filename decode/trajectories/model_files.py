"""The folder of a saved model: ``model.json`` and one file of numbers, each held to a hash; nothing in it can run code.

The hashes find damage; they do not say who wrote the folder. What the numbers mean is the business of the method.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...datasets.errors import ConflictError, IntegrityError, LimitError, StoreError

LARGEST_BYTES = 2**30
ABOUT = "model.json"


def write_model(folder: Path, kind: str, file: str, numbers: bytes, about: Mapping[str, Any]) -> None:
    """Write a new folder with ``file``, which holds ``numbers``, and what is said about them.

    Raises
    ------
    ConflictError : something is there already
    StoreError : the folder cannot be written
    """
    said = {"kind": kind, "version": __version__, "about": dict(about), "sha256": hashlib.sha256(numbers).hexdigest()}
    text = json.dumps(said, indent=1, sort_keys=True, allow_nan=False)
    try:
        folder.mkdir(parents=True)
        (folder / file).write_bytes(numbers)
        (folder / ABOUT).write_text(json.dumps({"sha256": _hash(text), "model": said}, indent=1, sort_keys=True))
    except FileExistsError as error:
        raise ConflictError(f"{folder} is there already. Save under another name, or remove it first.") from error
    except OSError as error:
        raise StoreError(f"writing the model to {folder}: {error}. Check the path and permissions.") from error


def read_model(folder: Path, kind: str, file: str) -> tuple[bytes, dict[str, Any]]:
    """What ``write_model`` wrote: the numbers, and what is said about them.

    Raises
    ------
    StoreError : nothing is there, or it cannot be read
    IntegrityError : it is not what was written, or a model of another kind
    LimitError : larger than 1 GB
    """
    path = folder / ABOUT
    try:
        outer = json.loads(_read(path).decode("utf-8"))
        said = outer["model"]
        is_whole = outer["sha256"] == _hash(json.dumps(said, indent=1, sort_keys=True, allow_nan=False))
        found, about, expected = said["kind"], said["about"], said["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{path} is no description of a model ({error!r}). Save the model anew.") from error
    if not is_whole:
        raise IntegrityError(f"{path} is not what was written (its hash differs). Save the model anew.")
    if found != kind:
        raise IntegrityError(f"{path}: expected a model of kind {kind!r}, got {found!r}. Load it with its own class.")
    numbers = _read(folder / file)
    if hashlib.sha256(numbers).hexdigest() != expected:
        raise IntegrityError(f"{folder / file} is not what was written (its hash differs). Save the model anew.")
    return numbers, about


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays of numbers or text as the bytes of an npz file.

    Examples
    --------
    >>> unpack(pack({"a": np.arange(2)}))["a"].tolist()
    [0, 1]
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of ``pack``; an array of objects is refused by numpy, which would have to unpickle it."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_BYTES else b""
    except OSError as error:
        raise StoreError(f"reading {path}: {error}. Name a folder that save wrote.") from error
    if size > LARGEST_BYTES:
        raise LimitError(f"{path} has {size:,} bytes, more than {LARGEST_BYTES:,}. It is not read.")
    return data
