"""Paths and hashes of source files. What is in the files is the readers' business."""

import hashlib
from pathlib import Path

from ..errors import SchemaError

BLOCK_BYTES = 1 << 20


def check_exists(path: Path) -> Path:
    """Refuse a path at which there is nothing to read.

    Raises
    ------
    SchemaError : no file or folder is there; the message says how far the path does exist
    """
    if path.exists():
        return path
    known = next((parent for parent in path.parents if parent.exists()), Path())
    raise SchemaError(
        f"there is no file or folder {str(path)!r}; {str(known)!r} exists, but not what follows. "
        f"Check the spelling, and that the drive is mounted."
    )


def check_folder(path: Path, *, holds: str) -> Path:
    """Refuse a path that is not a folder; ``holds`` says what the folder should hold.

    Raises
    ------
    SchemaError : ``path`` is a file, or nothing
    """
    if not check_exists(path).is_dir():
        raise SchemaError(f"expected a folder that holds {holds}, got the file {path.name!r}. Give its folder.")
    return path


def sha256_of(*paths: Path) -> str:
    """Hash of one file, or of the sorted list of names and hashes of several.

    Returns
    -------
    64 hexadecimal digits; for one file they equal those of ``sha256sum``
    """
    if len(paths) == 1:
        digest = hashlib.sha256()
        with paths[0].open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()
    lines = sorted(f"{path.name} {sha256_of(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
