"""How an array is cut on disk: chunks, shards, shuffle; a function of shape and type alone.

Shape and type alone, so that equal content has equal bytes however it was chunked in memory.
Coordinates are one chunk. Spikes are cut every million. Other arrays over 4 MiB are cut into
blocks (50 trials, 125 times, 50 units; 2048 samples, 64 units) inside shards of about 64 MiB.
"""

import math
from typing import Literal

import numpy as np

SPIKES_PER_BLOCK = 1_000_000
ONE_CHUNK_BYTES = 4 * 2**20
COORDINATE_BYTES = 16 * 2**20  # a larger coordinate is cut like data, and stays lazy on open
SHARD_BYTES = 64 * 2**20
READ_BYTES = 16 * 2**20
# Measured on 54,000 samples of 500 units (float32, 108 MB): a window of 150 samples over all units
# reads in 10 ms, one unit over all samples in 26 ms; blocks of (6250, 50) take 16 and 11 ms.
BLOCKS = {1: (262_144,), 2: (2048, 64), 3: (50, 125, 50)}


def stored_grid(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype, *, is_coord: bool
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk shape, and shard shape or None.

    Parameters
    ----------
    dims, shape, dtype : of the array as it is stored
    is_coord : a coordinate, which is kept whole

    Returns
    -------
    chunks, shards; a shard is a whole number of chunks

    Examples
    --------
    >>> stored_grid(("trial", "time", "unit"), (600, 500, 400), np.dtype("uint8"), is_coord=False)
    ((50, 125, 50), (300, 500, 400))
    """
    whole = tuple(max(1, size) for size in shape)
    n_bytes = math.prod(shape) * dtype.itemsize
    if dims == ("spike",):
        return (min(whole[0], SPIKES_PER_BLOCK),), None
    if n_bytes <= (COORDINATE_BYTES if is_coord else ONE_CHUNK_BYTES):
        return whole, None
    chunks = _block(whole)
    return chunks, grown(chunks, whole, dtype, SHARD_BYTES)


def grown(chunks: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype, max_bytes: int) -> tuple[int, ...]:
    """As many whole chunks as fit in ``max_bytes``, last dim first; at least one."""
    size = list(chunks)
    for dim in reversed(range(len(size))):
        room = max(1, max_bytes // (math.prod(size) * dtype.itemsize))
        size[dim] *= min(room, max(1, math.ceil(shape[dim] / chunks[dim])))
    return tuple(size)


def read_grid(chunks: tuple[int, ...], shards: tuple[int, ...] | None, dtype: np.dtype) -> tuple[int, ...]:
    """Chunk shape of the dask array on open: one stored chunk, or a slab of a shard of up to 16 MiB.

    A slab is whole chunks and divides its shard, so that no dask chunk touches two shards.
    """
    if shards is None or not chunks:
        return chunks
    rows = shards[0] // chunks[0]
    row_bytes = chunks[0] * math.prod(shards[1:]) * dtype.itemsize
    fits = [n for n in range(1, rows + 1) if rows % n == 0 and n * row_bytes <= READ_BYTES]
    return (max(fits, default=1) * chunks[0], *shards[1:])


def shuffle_for(dtype: np.dtype) -> Literal["shuffle", "bitshuffle"]:
    """Which blosc shuffle suits a type.

    Measured, zstd 5: counts uint16 1.7 MB with bitshuffle, 2.3 with shuffle; float32 traces 90.4
    and 87.3 MB; sorted int64 spike ticks 5.9 and 5.7 MB.
    """
    return "shuffle" if dtype.kind == "f" or dtype.itemsize == 8 else "bitshuffle"


def _block(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The block for this number of dims, clipped to ``shape``, its first dim grown if others are short."""
    n_dims = len(shape)
    block = BLOCKS.get(n_dims) or (1,) * (n_dims - 3) + BLOCKS[3]
    clipped = [min(size, limit) for size, limit in zip(block, shape, strict=True)]
    rest = math.prod(clipped[1:])
    clipped[0] = min(shape[0], max(clipped[0], math.prod(block) // rest))
    return tuple(clipped)
