"""Write a file in one step: whoever reads it sees the old content or all of the new, never a part."""

import os
import tempfile
from pathlib import Path

from ..datasets.errors import StoreError


def publish(path: str | Path, content: bytes) -> Path:
    """Write ``content`` beside ``path`` and rename it there.

    Returns
    -------
    path

    Raises
    ------
    StoreError : the folder is absent or cannot be written; nothing is left behind
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be written: {error}. "
            f"Give a file name in a folder that exists and that you may write."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
