"""zarr v3 groups and arrays: written with checksums, read only as the manifest says.

The one module that imports zarr; import it inside the function that needs it (0.3 s).
Not here: what the arrays mean (``encode``, ``opening``) and how they are cut (``layout``).

zarr reads a chunk that is missing as zeros, follows symbolic links, and does not notice a file of
another length. ``CheckedFiles`` stands between: each file must be in the manifest, plain, of the
recorded size and, where it is read whole, of the recorded sha256; crc32c guards parts of shards.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from ..errors import IntegrityError, StoreError
from .files import plain_file, said_plainly
from .layout import grown, shuffle_for

WRITE_BYTES = 64 * 2**20  # what is held in memory at once while an unsharded array is written


def make_group(folder: Path, attrs: Mapping[str, Any]) -> None:
    """A new zarr v3 group with these attributes."""
    zarr.create_group(LocalStore(folder), zarr_format=3, attributes=dict(attrs))


def make_array(
    folder: Path,
    name: str,
    *,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    attrs: Mapping[str, Any],
) -> tuple[zarr.Array, tuple[int, ...]]:
    """A new array in a group, to be filled, and the regions to fill it by.

    Returns
    -------
    array, region : shape of the blocks that one writer at a time may fill: whole shards, because
        two writers of one shard lose data (zarr-python #3682)
    """
    array = zarr.create_array(
        LocalStore(folder),
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle=shuffle_for(dtype)), Crc32cCodec()],
        fill_value=np.zeros((), dtype).item(),
        dimension_names=dims,
        attributes=dict(attrs),
        zarr_format=3,
        # an all-zero chunk is written too, so that a missing file always means damage
        config={"write_empty_chunks": True},
    )
    return array, shards or grown(chunks, shape, dtype, WRITE_BYTES)


class CheckedFiles(LocalStore):
    """The files of one object, read-only, each held against the manifest when it is read.

    Parameters
    ----------
    root : real path of the store's folder
    folder : the object's folder, relative to ``root``
    manifest : path in the object -> (size in bytes, sha256)
    """

    def __init__(self, root: Path, folder: str, manifest: Mapping[str, tuple[int, str]]) -> None:
        super().__init__(Path(root) / folder, read_only=True)
        self._root, self._folder, self._manifest = Path(root), folder, dict(manifest)

    def with_read_only(self, read_only: bool = False) -> "CheckedFiles":
        """The same files; they can only be read."""
        return self

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a file, or of a part of it.

        Raises
        ------
        IntegrityError : missing, not plain, of another size, or other bytes than were written
        """
        size, sha256 = self._expected(key)
        data = await super().get(key, prototype, byte_range)
        if byte_range is None and data is not None:
            got = hashlib.sha256(data.to_bytes()).hexdigest()
            if got != sha256:
                raise IntegrityError(self._damaged(key, f"sha256 {sha256[:12]}...", f"{got[:12]}..."))
        return data

    async def exists(self, key: str) -> bool:
        """Whether the manifest has the file."""
        return key in self._manifest

    def _expected(self, key: str) -> tuple[int, str]:
        if key not in self._manifest:
            raise IntegrityError(self._damaged(key, "a file that the commit record lists", "one that it does not"))
        size, sha256 = self._manifest[key]
        state = plain_file(self._root, f"{self._folder}/{key}")
        if state is None:
            raise IntegrityError(self._damaged(key, f"{size:,} bytes", "no file"))
        if state.st_size != size:
            raise IntegrityError(self._damaged(key, f"{size:,} bytes", f"{state.st_size:,}"))
        return size, sha256

    def _damaged(self, key: str, expected: str, got: str) -> str:
        return (
            f"{self.root / key}: expected {expected}, got {got}. The stored bytes are not what was written: "
            f"run store.verify(), and restore the file from a copy or import the recording again."
        )


class StoredArray:
    """One stored array as an array-like that reads when it is indexed; what dask chunks are cut from.

    Opened at the first read, and again in each process that it is sent to.

    Parameters
    ----------
    root, folder, manifest : as ``CheckedFiles``
    name : of the array in its group
    shape, dtype : as stored
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        manifest: Mapping[str, tuple[int, str]],
        *,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        own = {path: entry for path, entry in manifest.items() if path.startswith(f"{name}/")}
        self._place = (Path(root), folder, own)
        self.name, self.shape, self.dtype, self.ndim = name, shape, dtype, len(shape)
        self._array: zarr.Array | None = None

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part: dask hands its slices down to here, so that a window of a shard reads its blocks only.

        Parameters
        ----------
        key : integers, slices and lists, each for its own dim

        Raises
        ------
        IntegrityError : a chunk that is damaged or missing
        """
        place = self._place[0] / self._place[1]
        try:
            with said_plainly(f"{self.name!r} could not be read from {place}"):
                if self._array is None:
                    self._array = zarr.open_array(CheckedFiles(*self._place), path=self.name, mode="r", zarr_format=3)
                return np.asarray(self._array.oindex[key])
        except StoreError:
            raise
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{place}: the part {key!r} of {self.name!r} cannot be decoded ({error}). The stored bytes "
                f"are not what was written: run store.verify(), and restore the files or import the recording again."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open handle."""
        return self.__dict__ | {"_array": None}


def read_blocks(folder: Path, name: str) -> Iterator[np.ndarray]:
    """The blocks of a 1-D array that has just been staged, one stored chunk after the other."""
    array = zarr.open_array(LocalStore(folder, read_only=True), path=name, mode="r", zarr_format=3)
    for start in range(0, array.shape[0], array.chunks[0]):
        yield np.asarray(array[start : start + array.chunks[0]])
