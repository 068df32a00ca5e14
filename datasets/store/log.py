"""The commit log: one JSON file per commit, made once with put-if-absent, never changed.

``log/<20 digits>.json`` is a sealed JSON file (see ``seal``). Every record has ``FIELDS``;
``previous`` is the seal of the record before, so that no record can be replaced unnoticed. A
``save`` record adds ``SAVE_FIELDS``, ``schema`` and ``source_sha256``. Fields that this version does
not know are kept and ignored.

What a name stands for follows from the log alone: the last ``save`` of its key, unless a later
``remove``. Other operations do not touch names.

Publishing is safe for any number of processes and on NFS: the record is written and synced under
``staging``, then linked to its number, which fails if that number is taken. Whatever ``link``
reports, the number is then read back by name: our own ``write_id`` there means success.
"""

import getpass
import os
import random
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ..errors import IntegrityError, StoreError
from .files import read_plain, sync, write_synced
from .seal import ZEROS, check_seal, parse, sealed

Record = dict[str, Any]
FIELDS = ("number", "write_id", "previous", "seal", "operation", "user", "host", "time", "tool")
SAVE_FIELDS = ("kind", "key", "object", "manifest", "summary", "content_key")
MAX_RECORD_BYTES = 64 * 2**20
ATTEMPTS = 200  # each lost race is another writer's success, so 8 writers need far fewer
LINK_ERRORS = 3  # other than a taken number; each was read back and had not landed
LONGEST_PAUSE_S = 0.2
RECORD_NAME = re.compile(r"\d{20}\.json")


def record_path(number: int) -> str:
    """Where a record lies, relative to the root.

    Examples
    --------
    >>> record_path(42)
    'log/00000000000000000042.json'
    """
    return f"log/{number:020d}.json"


def read_record(root: Path, number: int, *, previous: str | None) -> Record | None:
    """One record, checked; None if that number is not taken.

    Parameters
    ----------
    previous : seal of the record before, ``ZEROS`` for the first, None to leave it unchecked

    Raises
    ------
    IntegrityError : which record is broken, and how
    """
    where = f"log record {number} ({root / record_path(number)})"
    data = read_plain(root, record_path(number), max_bytes=MAX_RECORD_BYTES)
    if data is None:
        return None
    record = parse(data, where=where)
    check_seal(data, record, where=where)
    wanted = FIELDS + (SAVE_FIELDS if record.get("operation") == "save" else ())
    missing = [name for name in wanted if name not in record]
    if missing or record["number"] != number:
        what = f"has no field {missing[0]!r}" if missing else f"says that it is number {record['number']}"
        raise IntegrityError(f"{where} {what}. Restore it from a copy.")
    if previous is not None and record["previous"] != previous:
        raise IntegrityError(
            f"{where} does not follow record {number - 1}: it names another predecessor. "
            f"One of the two was replaced: restore both from a copy."
        )
    return record


def read_on(root: Path, records: Sequence[Record]) -> list[Record]:
    """``records`` and all that were committed since, found by name, one number after the other.

    Raises
    ------
    IntegrityError : a broken record, or a gap: a number that is missing although a later one is there
    """
    known = list(records)
    while True:
        number = len(known) + 1
        record = read_record(root, number, previous=last_seal(known))
        if record is None:
            if newest_listed(root) < number:
                return known
            # the listing came later than the probe: another writer may have committed in between
            record = read_record(root, number, previous=last_seal(known))
            if record is None:
                raise IntegrityError(
                    f"log record {number} ({root / record_path(number)}) is missing, although record "
                    f"{newest_listed(root)} is there. Restore it from a copy; records are never deleted."
                )
        known.append(record)


def newest_listed(root: Path) -> int:
    """The highest number in a listing of the log; 0 if there is none. A listing may be stale."""
    return max((int(name[:20]) for name in os.listdir(root / "log") if RECORD_NAME.fullmatch(name)), default=0)


def last_seal(records: Sequence[Record]) -> str:
    """What the next record must give as ``previous``."""
    return records[-1]["seal"] if records else ZEROS


def live(records: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """(kind, key) -> the ``save`` record that the name stands for, in the order of commits."""
    names: dict[tuple[str, str], Record] = {}
    for record in records:
        if record["operation"] in ("save", "remove"):
            names.pop((record["kind"], record["key"]), None)
        if record["operation"] == "save":
            names[record["kind"], record["key"]] = record
    return names


def publish(
    root: Path,
    folder: Path,
    fields: Mapping[str, Any],
    records: Sequence[Record],
    *,
    taken: Callable[[Sequence[Record]], Record | None],
) -> tuple[list[Record], Record]:
    """Commit a record under the next free number.

    Parameters
    ----------
    folder : own staging folder, in the same file system
    fields : what the record says besides ``FIELDS``
    records : the log as far as it is known
    taken : given the log, returns the record that makes this commit needless, raises
        ``ConflictError`` if the key is taken, or returns None

    Returns
    -------
    records, record : the log up to now, and the record that holds (ours, or the one from ``taken``)

    Raises
    ------
    StoreError : it could not be committed; says whether it may have been
    """
    chance, write_id, start = random.Random(), uuid.uuid4().hex, len(records)
    known, failure, n_errors = list(records), None, 0
    for attempt in range(ATTEMPTS):
        known = read_on(root, known)
        landed = next((record for record in known[start:] if record["write_id"] == write_id), None) or taken(known)
        if landed is not None:
            _confirm(root, landed)
            return known, landed
        if n_errors == LINK_ERRORS or attempt == ATTEMPTS - 1:
            break
        record = {**fields, **_who(), "number": len(known) + 1, "write_id": write_id, "previous": last_seal(known)}
        failure = _link(folder / f"record-{attempt}.json", root / record_path(len(known) + 1), sealed(record))
        if failure is not None:
            n_errors += not isinstance(failure, FileExistsError)
            time.sleep(chance.uniform(0, min(LONGEST_PAUSE_S, 0.002 * 2 ** min(attempt, 10))))
    raise StoreError(
        f"the commit to {root} failed: {failure or 'the record cannot be read back'}. A store needs hard links and "
        f"write access to its log. Nothing is visible of it now; mend that, refresh, and save again."
    ) from failure


def _confirm(root: Path, record: Record) -> None:
    """A commit is acknowledged only when the log's list of names is on the disk."""
    try:
        sync(root / "log")
    except OSError as error:
        raise StoreError(
            f"log record {record['number']} of {root} is visible, but the disk did not confirm it ({error}), so that "
            f"it may not outlive a power failure. Check the disk, and save again: if it is there, nothing is changed."
        ) from error


def _link(temporary: Path, target: Path, data: bytes) -> OSError | None:
    """Put-if-absent. The error is returned, not believed: only reading back tells what happened."""
    write_synced(temporary, data)
    try:
        os.link(temporary, target)
    except OSError as error:
        return error
    return None


def _who() -> Record:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry, as in containers
        user = f"uid {os.getuid()}"
    return {
        "user": user,
        "host": socket.gethostname(),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "tool": f"mitral {__version__}",
    }
