"""The folder of an online decoder: ``arrays.npz`` and ``decoder.json``, each held to a hash.

Nothing that is read can run code, and nothing larger than a limit is read. The hashes find damage; they do
not say who wrote the folder.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..datasets.errors import ConflictError, IntegrityError, LimitError, StoreError
from .result import canonical_json

FORMAT = "mitral online decoder 1"
LARGEST_BYTES = 2**30
ARRAYS = ("weights", "constants", "start", "transition")
ABOUT = ("rule", "bin_width_s", "is_counts", "labels")


def write_folder(folder: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and what is said about them into a new folder.

    Raises
    ------
    ConflictError : something is there already
    StoreError : the folder cannot be written
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    said = {"format": FORMAT, "version": __version__, **about, "sha256": hashlib.sha256(data).hexdigest()}
    said["seal"] = _seal(said)
    try:
        folder.mkdir(parents=True)
        (folder / "arrays.npz").write_bytes(data)
        (folder / "decoder.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    except FileExistsError as error:
        raise ConflictError(f"{folder} is there already. Save under another name, or remove it first.") from error
    except OSError as error:
        raise StoreError(f"writing the decoder to {folder}: {error}. Check the path and permissions.") from error


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``write_folder`` wrote: arrays by name, and what is said about them.

    Raises
    ------
    StoreError : nothing is there, or it cannot be read
    IntegrityError : it is not what was written, or of another format
    LimitError : larger than 1 GB
    """
    said = _read_about(folder / "decoder.json")
    path = folder / "arrays.npz"
    data = _read_bytes(path)
    if hashlib.sha256(data).hexdigest() != said["sha256"]:
        raise IntegrityError(f"{path} is not what was written (its hash differs). Save the decoder anew.")
    return _unpack(data, path), {name: said[name] for name in ABOUT}


def _seal(said: Mapping[str, Any]) -> str:
    """Hash of everything but the seal itself."""
    return hashlib.sha256(canonical_json({k: v for k, v in said.items() if k != "seal"}).encode()).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        size = os.stat(path).st_size
        data = path.read_bytes() if size <= LARGEST_BYTES else b""
    except OSError as error:
        raise StoreError(f"reading {path}: {error}. Name a folder that OnlineDecoder.save wrote.") from error
    if size > LARGEST_BYTES:
        raise LimitError(f"{path} has {size:,} bytes, more than {LARGEST_BYTES:,}. It is not read.")
    return data


def _read_about(path: Path) -> dict[str, Any]:
    data = _read_bytes(path)
    try:
        said = json.loads(data.decode("utf-8"))
        is_whole = isinstance(said, dict) and said.get("seal") == _seal(said)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is no JSON text ({error}). Save the decoder anew.") from error
    if not is_whole:
        raise IntegrityError(f"{path} is not what was written (its hash differs). Save the decoder anew.")
    if said.get("format") != FORMAT or not {"sha256", *ABOUT} <= set(said):
        raise IntegrityError(f"{path}: expected {FORMAT!r}, got {said.get('format')!r}. Use the mitral that wrote it.")
    return said


def _unpack(data: bytes, path: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz that holds nothing packed, so that what is read is as large as the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
        names = {entry.filename.removesuffix(".npy") for entry in entries}
        is_ours = names in (set(ARRAYS), set(ARRAYS[:3])) and len(names) == len(entries)
        if not is_ours or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("it holds something else than the arrays of a decoder")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, KeyError, EOFError, OSError, MemoryError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} cannot be read ({error}). Save the decoder anew.") from error
