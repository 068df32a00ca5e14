"""Read every byte of a store and say what is not as it was written.

``verify_folder`` needs no open store, so that it also works on one whose log is broken.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import IntegrityError, LimitError
from .format import check_format
from .log import RECORD_NAME, Record, newest_listed, read_record, record_path
from .objects import problems

Progress = Callable[[int, int], None]


def verify_folder(path: str | os.PathLike, *, at_least: int = 0, progress: Progress | None = None) -> list[str]:
    """Hold all records and all objects that they name against their checksums.

    Parameters
    ----------
    path : the store's folder
    at_least : number of a commit that is known to have been there
    progress : called with (objects done, objects in all)

    Returns
    -------
    problems, one sentence each; empty when every byte is as it was written

    Raises
    ------
    StoreError : ``path`` is no store

    Notes
    -----
    Reads the whole store once. Objects that no record names are not a problem: a writer may be at
    work, or was killed, and nothing refers to them.
    """
    try:
        root = check_format(path)
    except IntegrityError as error:
        return [str(error)]
    found: list[str] = list(_odd_log_files(root))
    records: dict[int, Record] = {}
    for number in range(1, max(newest_listed(root), at_least) + 1):
        found += _record_problems(root, number, records)
    objects = {record["object"]: record for record in records.values() if record["operation"] == "save"}
    for done, (object_id, record) in enumerate(objects.items(), start=1):
        what = f"{record['kind']} {record['key']!r}"
        try:
            found += [f"{what}: {words}" for words in problems(root, object_id, record["manifest"])]
        except (OSError, ValueError, TypeError) as error:  # StoreError is one; a forged manifest gives the others
            found.append(f"{what}: {error}")
        if progress is not None:
            progress(done, len(objects))
    return found


def _record_problems(root: Path, number: int, records: dict[int, Record]) -> Iterator[str]:
    """What is wrong with one record; a sound one is added to ``records``."""
    before = records.get(number - 1)
    try:
        record = read_record(root, number, previous=None)
    except (IntegrityError, LimitError, OSError) as error:
        yield str(error)
        return
    if record is None:
        yield f"log record {number} ({root / record_path(number)}) is missing"
        return
    if before is not None and record["previous"] != before["seal"]:
        yield f"log record {number} ({root / record_path(number)}) does not follow record {number - 1}"
    records[number] = record


def _odd_log_files(root: Path) -> Iterator[str]:
    for name in sorted(os.listdir(root / "log")):
        if not RECORD_NAME.fullmatch(name):
            yield f"{root / 'log' / name}: added; the log holds records only"
