"""What is checked in an object's metadata before any array is opened.

zarr opens ``shape=[10**15]`` and chunks of any size, and runs whatever codec is registered. Here
the ``zarr.json`` files are read as JSON and held against limits and lists of what mitral writes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import IntegrityError, LimitError, StoreError
from .seal import canonical

MAX_ELEMENTS = 2**40
MAX_CHUNK_BYTES = 512 * 2**20
MAX_CHUNKS = 10**7
MAX_NODES = 10**4
MAX_ATTRIBUTE_BYTES = 10**6
MAX_METADATA_BYTES = 16 * 10**6  # zarr writes attributes indented, one list item a line
MAX_DIMS = 16
STORED_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
STORED_CODECS = ("bytes", "blosc", "crc32c", "sharding_indexed")


def check_nodes(manifest: Mapping[str, Any], *, where: str) -> None:
    """Refuse an object of too many arrays, or with groups inside groups.

    Raises
    ------
    LimitError : more than 10,000 nodes, or nested
    """
    nodes = [path for path in manifest if path.rpartition("/")[2] == "zarr.json"]
    if len(nodes) > MAX_NODES or any(path.count("/") > 1 for path in nodes):
        raise LimitError(
            f"{where}: {len(nodes):,} nodes; mitral stores one group of at most {MAX_NODES:,} arrays. It is not opened."
        )


def check_array(metadata: Mapping[str, Any], *, where: str) -> None:
    """Refuse an array that is too large, or of a type or codec that mitral does not write.

    Parameters
    ----------
    metadata : contents of the array's ``zarr.json``
    where : the file, for the message

    Raises
    ------
    LimitError : more than 2**40 elements, 512 MB in a chunk, 10**7 chunks or 1 MB of attributes
    StoreError : an unknown type or codec
    IntegrityError : not the metadata of a zarr v3 array
    """
    try:
        grid, dtype = metadata["chunk_grid"], metadata["data_type"]
        shape, outer = metadata["shape"], grid["configuration"]["chunk_shape"]
        inner = _check_codecs(metadata["codecs"], where) or outer
        names, attribute_bytes = dim_names(metadata), len(canonical(metadata.get("attributes", {})))
        well_formed = (metadata["zarr_format"], metadata["node_type"], grid["name"]) == (3, "array", "regular")
        well_formed &= _are_sizes(shape, least=0) and _are_sizes(outer, least=1) and _are_sizes(inner, least=1)
        well_formed &= len(shape) == len(outer) == len(inner) == len(names) <= MAX_DIMS
        well_formed &= all(isinstance(name, str) for name in names) and isinstance(metadata.get("attributes", {}), dict)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(
            f"{where} is no metadata of a zarr v3 array ({error!r}). Restore it from a copy."
        ) from error
    if not well_formed:
        raise IntegrityError(f"{where} is no metadata of a zarr v3 array that mitral writes. Restore it from a copy.")
    if dtype not in STORED_DTYPES:
        raise StoreError(f"{where}: type {dtype!r}; this version reads {', '.join(STORED_DTYPES)}. It is not opened.")
    for what, got, most in (
        ("elements", math.prod(shape), MAX_ELEMENTS),
        ("bytes in a chunk", math.prod(inner) * np.dtype(dtype).itemsize, MAX_CHUNK_BYTES),
        ("chunks", _n_chunks(shape, inner), MAX_CHUNKS),
        ("chunks in a shard", _n_chunks(outer, inner), MAX_CHUNKS),
        ("bytes of attributes", attribute_bytes, 2 * MAX_ATTRIBUTE_BYTES),
    ):
        if got > most:
            raise LimitError(f"{where}: more than {most:,} {what}, the most that is read. It is not opened.")


def dim_names(metadata: Mapping[str, Any]) -> list[str]:
    """The dims of an array; zarr leaves the field out where there are none."""
    return list(metadata.get("dimension_names") or [])


def _n_chunks(shape: list[int], chunks: list[int]) -> int:
    return math.prod(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))


def _are_sizes(values: Any, *, least: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= least for value in values)


def _check_codecs(codecs: Any, where: str, *, depth: int = 0) -> list[int] | None:
    """Refuse codecs that mitral does not write; the inner chunk shape where there are shards."""
    inner = None
    for codec in codecs:
        if codec["name"] not in STORED_CODECS or depth > 1:
            raise StoreError(f"{where}: codec {codec['name']!r}; this version reads {', '.join(STORED_CODECS)}.")
        if codec["name"] == "sharding_indexed":
            settings = codec["configuration"]
            inner = settings["chunk_shape"]
            _check_codecs(settings["codecs"], where, depth=depth + 1)
            _check_codecs(settings["index_codecs"], where, depth=depth + 1)
    return inner
