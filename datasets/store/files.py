"""Reading and writing plain files inside a store's root: no links followed, nothing left unsynced.

Not here: what the files mean (see ``log``, ``objects``, ``encode``).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import IntegrityError, LimitError, MitralError, StoreError

SYNC_THREADS = 8  # 240 fsyncs of a session's small files: 44 ms one by one, 17 ms on 8 threads (ext4)


@contextlib.contextmanager
def said_plainly(doing: str) -> Iterator[None]:
    """Turn an error of the operating system into a StoreError that says what was being done.

    Raises
    ------
    StoreError : in place of an OSError; errors of mitral itself pass unchanged
    """
    try:
        yield
    except MitralError:
        raise
    except OSError as error:
        raise StoreError(f"{doing}: {error}. Check the disk, its space and the permissions; then try again.") from error


def plain_file(root: Path, relative: str) -> os.stat_result | None:
    """The state of a regular file under ``root``, or None if nothing is there.

    Parameters
    ----------
    root : real path of the store's folder
    relative : path of the file below it, with ``/``

    Raises
    ------
    IntegrityError : a symlink on the way, a folder, a FIFO, or a path that leaves ``root``
    """
    path = root / relative
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None
        raise
    if os.path.realpath(path) != str(path):
        raise IntegrityError(
            f"{path} is, or passes through, a symbolic link or '..'. A store holds plain files only and reads "
            f"nothing outside its folder. Put the file back from a copy, and run store.verify()."
        )
    if not stat.S_ISREG(state.st_mode):
        raise IntegrityError(
            f"{path} is a {kind_of(state.st_mode)}; a store holds plain files there. "
            f"Put the file back from a copy, and run store.verify()."
        )
    return state


def read_plain(root: Path, relative: str, *, max_bytes: int) -> bytes | None:
    """The bytes of a plain file under ``root``; None if it is not there.

    Raises
    ------
    IntegrityError : not a plain file inside ``root``
    LimitError : larger than ``max_bytes``
    """
    state = plain_file(root, relative)
    if state is None:
        return None
    if state.st_size > max_bytes:
        raise LimitError(
            f"{root / relative} has {state.st_size:,} bytes; at most {max_bytes:,} are read here. "
            f"mitral writes no such file: run store.verify()."
        )
    return (root / relative).read_bytes()


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below ``folder`` is on the disk, ``folder`` itself too.

    A failed fsync is raised and never tried again: the kernel may already have dropped the data.
    """
    paths = [folder]
    for parent, folders, names in os.walk(folder):
        paths += [Path(parent, name) for name in (*folders, *names)]
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        list(pool.map(sync, paths))


def kind_of(mode: int) -> str:
    """What a directory entry is, in words."""
    tests = {"symbolic link": stat.S_ISLNK, "folder": stat.S_ISDIR, "FIFO": stat.S_ISFIFO, "file": stat.S_ISREG}
    return next((words for words, is_one in tests.items() if is_one(mode)), "special file")
