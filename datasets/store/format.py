"""What makes a folder a store: ``FORMAT.json``, and the folders beside it.

    FORMAT.json    {"format": "mitral-store", "version": 1, "min_reader": 1, "min_writer": 1, ...}, sealed
    log/           commit records                            (log)
    objects/       what they name, immutable                 (objects)
    staging/       what is being written, private to a writer
    quarantine/    objects that were set aside

``FORMAT.json`` is written last and put-if-absent, so that a folder is a store or is not, also when
two processes create it at once or one is killed on the way.
"""

import os
import uuid
from pathlib import Path
from typing import Any

from ..errors import IntegrityError, StoreError
from .files import read_plain, sync, write_synced
from .seal import check_seal, parse, sealed

FORMAT = "mitral-store"
VERSION = 1
FOLDERS = ("log", "objects", "staging", "quarantine")
MAX_FORMAT_BYTES = 10**5


def create_folders(path: str | os.PathLike) -> Path:
    """Make an empty store in an absent or empty folder.

    Returns
    -------
    root, the folder's real path

    Raises
    ------
    StoreError : a store is there already, or something else; or the folder cannot be written
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; a store is a folder. Give another path to Store.create.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_occupied(folder)
        root = Path(os.path.realpath(folder))
        for name in FOLDERS:
            (root / name).mkdir(exist_ok=True)
        content = {"format": FORMAT, "version": VERSION, "min_reader": 1, "min_writer": 1, "store_id": uuid.uuid4().hex}
        return _claim(root, sealed(content))
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"no store could be made in {folder}: {error}. Give a folder that can be written.") from error


def check_format(path: str | os.PathLike) -> Path:
    """The real path of a store's folder, if this version can read it.

    Raises
    ------
    StoreError : no store, or one of a newer format; says how to make or read one
    IntegrityError : ``FORMAT.json`` is broken
    """
    folder = Path(path)
    make = f"Make one with Store.create({str(path)!r}), or on the command line: mitral ingest ... --store {path}"
    if not folder.exists():
        raise StoreError(f"there is no folder {folder}, so no store. {make}")
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; a store is a folder with a FORMAT.json. Give the folder's path.")
    root = Path(os.path.realpath(folder))
    content = _read_format(root)
    if content is None:
        raise StoreError(f"{folder} is a folder but no store: it has no FORMAT.json. {make}")
    if content["min_reader"] > VERSION:
        raise StoreError(
            f"the store {folder} needs reader version {content['min_reader']}, this mitral has {VERSION}. "
            f"It was written by a newer mitral: update, pip install --upgrade mitral."
        )
    missing = [name for name in FOLDERS[:2] if not (root / name).is_dir() or (root / name).is_symlink()]
    if missing:
        raise IntegrityError(f"the store {folder} has no folder {missing[0]!r}. Restore it from a copy.")
    return root


def check_writable(root: Path) -> None:
    """Refuse to write a format that this version only reads.

    Raises
    ------
    StoreError : the store asks for a newer writer
    """
    content = _read_format(root)
    if content is None or content["min_writer"] > VERSION:
        wanted = "a FORMAT.json" if content is None else f"writer version {content['min_writer']}"
        raise StoreError(f"the store {root} needs {wanted}, this mitral writes {VERSION}. Update mitral to save.")


def store_id(root: Path) -> str:
    """The id that a store was given when it was made."""
    return str((_read_format(root) or {}).get("store_id", ""))


def _read_format(root: Path) -> dict[str, Any] | None:
    where = str(root / "FORMAT.json")
    data = read_plain(root, "FORMAT.json", max_bytes=MAX_FORMAT_BYTES)
    if data is None:
        return None
    content = parse(data, where=where)
    if content.get("format") != FORMAT:
        raise StoreError(f"{where} is of format {content.get('format')!r}, not {FORMAT!r}. Give a mitral store.")
    for name in ("version", "min_reader", "min_writer"):
        if type(content.get(name)) is not int:
            raise IntegrityError(f"{where}: {name!r} must be a number, got {content.get(name)!r}. Restore it.")
    if content["min_reader"] <= VERSION:  # a newer format is refused as such, whatever it seals
        check_seal(data, content, where=where)
    return content


def _refuse_occupied(folder: Path) -> None:
    """Only an empty folder, or a creation that was not finished, becomes a store."""
    names = os.listdir(folder)
    if "FORMAT.json" in names:
        raise StoreError(f"{folder} is a store already. Open it with Store({str(folder)!r}).")
    other = sorted(set(names) - set(FOLDERS))
    other += [name for name in ("log", "objects", "quarantine") if name in names and os.listdir(folder / name)]
    if other:
        raise StoreError(
            f"{folder} is not empty (it holds {other[0]!r}) and is no store. "
            f"Nothing was changed: give an empty or a new folder to Store.create."
        )


def _claim(root: Path, data: bytes) -> Path:
    """Link ``FORMAT.json`` into place, and read back whose it is."""
    temporary = root / "staging" / f"format-{uuid.uuid4().hex}.json"
    try:
        write_synced(temporary, data)
        failure: OSError | None = None
        try:
            os.link(temporary, root / "FORMAT.json")
        except OSError as error:
            failure = error
        found = read_plain(root, "FORMAT.json", max_bytes=MAX_FORMAT_BYTES)
        if found is not None and found != data:
            raise StoreError(f"{root} has just been made a store by another process. Open it: Store({str(root)!r}).")
        if found is None:
            raise StoreError(f"no store could be made in {root}: {failure}. It needs a file system with hard links.")
    finally:
        temporary.unlink(missing_ok=True)
    sync(root)
    sync(root.parent)
    return root
