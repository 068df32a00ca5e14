"""Objects: immutable folders under ``objects/ab/<id>/``, staged apart and published by one rename.

An object's manifest lists path, size and sha256 of each of its files; its id is the sha256 of the
manifest, so that equal content has one id and is stored once. Until a log record names it, an
object is invisible; what a killed writer leaves under ``staging`` or ``objects`` is only space.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import IntegrityError
from .files import kind_of, sync, sync_tree
from .seal import canonical

Manifest = Sequence[Mapping[str, Any]]
OBJECT_ID = re.compile(r"[0-9a-f]{64}")


@contextlib.contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A folder of one's own in the store's file system, removed at the end, also after an error."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host"
    folder = root / "staging" / f"{host}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def manifest_of(folder: Path) -> list[dict[str, Any]]:
    """Path, size and sha256 of every file below ``folder``, as they are read back, by path."""
    manifest = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = Path(parent, name)
            manifest.append(
                {"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "sha256": sha256_of(path)}
            )
    return sorted(manifest, key=lambda entry: entry["path"])


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def id_of(manifest: Manifest) -> str:
    """The object id that belongs to a manifest."""
    return hashlib.sha256(canonical(list(manifest))).hexdigest()


def folder_of(object_id: str) -> str:
    """Where an object lies, relative to the root.

    Raises
    ------
    IntegrityError : not an object id, so that a forged record cannot lead elsewhere
    """
    if not isinstance(object_id, str) or not OBJECT_ID.fullmatch(object_id):
        raise IntegrityError(f"expected an object id (64 hexadecimal digits), got {object_id!r}. The record is broken.")
    return f"objects/{object_id[:2]}/{object_id}"


def entries(manifest: Manifest, *, where: str) -> dict[str, tuple[int, str]]:
    """A manifest as path -> (size, sha256).

    Raises
    ------
    IntegrityError : an entry without these, or a path that leaves the object
    """
    table: dict[str, tuple[int, str]] = {}
    for entry in manifest:
        try:
            path, size, sha256 = entry["path"], int(entry["size"]), str(entry["sha256"])
            parts = path.encode().split(b"/")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{where}: the manifest entry {entry!r} is broken. Restore the record.") from error
        if any(part in (b"", b".", b"..") for part in parts) or b"\0" in parts[-1]:
            raise IntegrityError(f"{where}: the manifest names {path!r}, which leaves the object. It is not read.")
        table[path] = (size, sha256)
    return table


def publish(root: Path, staged: Path, manifest: Manifest) -> str:
    """Move a staged object to its place by one rename; an equal one that is there already is used.

    Returns
    -------
    object id

    Raises
    ------
    IntegrityError : an object of this id is there, and damaged
    """
    object_id = id_of(manifest)
    target = root / folder_of(object_id)
    if not target.parent.is_dir():
        target.parent.mkdir(exist_ok=True)
        sync(target.parent.parent)
    sync_tree(staged)
    try:
        os.rename(staged, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        damage = next(problems(root, object_id, manifest), None)
        if damage:
            raise IntegrityError(
                f"{damage}. The same content is being saved: move that folder away, then save again."
            ) from error
        os.utime(target)  # in use again: an old unreferenced object must not be swept now
        sync_tree(target)
    sync(target.parent)
    return object_id


def problems(root: Path, object_id: str, manifest: Manifest) -> Iterator[str]:
    """Everything in which an object's folder differs from its manifest, one sentence each."""
    folder = root / folder_of(object_id)
    expected = entries(manifest, where=f"object {object_id[:12]}")
    if id_of(manifest) != object_id:
        yield f"object {object_id[:12]}: its manifest does not belong to its id"
    if os.path.realpath(folder) != str(folder):
        yield f"{folder}: symbolic link on the way to the object"
        return
    if not folder.is_dir():
        yield f"{folder}: the whole object is missing"
        return
    found = dict(_files(folder))
    for path in sorted(expected.keys() - found.keys()):
        yield f"{folder / path}: missing"
    for path in sorted(found):
        what = kind_of(found[path].st_mode)
        if what == "folder" and any(other.startswith(f"{path}/") for other in expected):
            continue
        if path not in expected:
            yield f"{folder / path}: added ({what}); the manifest does not list it"
        else:
            yield from _differs(folder / path, found[path], *expected[path])


def _differs(path: Path, state: os.stat_result, size: int, sha256: str) -> Iterator[str]:
    if not stat.S_ISREG(state.st_mode):
        yield f"{path}: {kind_of(state.st_mode)} in place of the file"
    elif state.st_size != size:
        yield f"{path}: {'truncated' if state.st_size < size else 'lengthened'}, {state.st_size:,} of {size:,} bytes"
    elif sha256_of(path) != sha256:
        yield f"{path}: changed, its sha256 is not the recorded one"


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below ``folder``, links not followed: relative path and state."""
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), os.lstat(path)
