"""From a published object back to a lazy ``xr.Dataset``; the counterpart of ``encode``.

Coordinates, ``spike_index`` and small variables of results are read at once; every other data
variable is a dask array that reads when it is computed. Metadata are checked before zarr sees them.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import IntegrityError
from .attributes import from_json
from .files import read_plain
from .layout import COORDINATE_BYTES, read_grid
from .limits import MAX_METADATA_BYTES, check_array, check_nodes, dim_names
from .objects import Manifest, entries
from .seal import parse

DATES = tuple(f"datetime64[{unit}]" for unit in ("s", "ms", "us", "ns"))
EAGER_BYTES = 2**20  # data variables of results up to this size are read on open


def open_object(root: Path, folder: str, manifest: Manifest, *, eager: bool) -> xr.Dataset:
    """The Dataset that was saved; its ``encoding["array"]`` names the variable if it was a DataArray.

    Parameters
    ----------
    root : real path of the store's folder
    folder : the object's folder, relative to ``root``
    manifest : of the object, from its commit record
    eager : read data variables of up to 1 MiB too

    Raises
    ------
    IntegrityError : metadata or coordinates are not what was written, or a chunk is missing
    LimitError : larger than what is read
    """
    where = str(root / folder)
    files = entries(manifest, where=where)
    check_nodes(files, where=where)
    attrs = _metadata(root, folder, "zarr.json", files).get("attributes")
    own = _own(attrs, where=where)
    variables = {}
    for path in sorted(files):
        name, _, last = path.rpartition("/")
        if name and last == "zarr.json":
            small = COORDINATE_BYTES if name in own["coords"] else EAGER_BYTES if eager or name == "spike_index" else 0
            variables[name] = _variable(root, folder, name, files, how=own["decode"].get(name), eager_bytes=small)
    try:
        coords = {name: variables.pop(name) for name in own["coords"]}
        dataset = xr.Dataset(variables, coords=coords, attrs=from_json(attrs))
        dataset.encoding = {"array": dataset[own["array"]].name if "array" in own else None}
    except (KeyError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"{where}: its arrays do not make a Dataset ({error}). mitral writes no such object."
        ) from error
    return dataset


def _own(attrs: Any, *, where: str) -> dict[str, Any]:
    """What ``encode`` noted for itself, taken out of the group's attributes."""
    own = attrs.pop("_mitral", None) if isinstance(attrs, dict) else None
    if not isinstance(own, dict) or not isinstance(own.get("coords"), list) or not isinstance(own.get("decode"), dict):
        raise IntegrityError(f"{where}: the group has no '_mitral' attribute, so that mitral has not written it.")
    attrs.pop("coordinates", None)
    return own


def _metadata(root: Path, folder: str, path: str, files: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """A ``zarr.json`` whose bytes are those in the manifest."""
    data = read_plain(root, f"{folder}/{path}", max_bytes=MAX_METADATA_BYTES)
    where = str(root / folder / path)
    if data is None or path not in files:
        raise IntegrityError(f"{where} is missing. Run store.verify(), and restore the file or import again.")
    if hashlib.sha256(data).hexdigest() != files[path][1]:
        raise IntegrityError(f"{where} was changed: its sha256 is not the recorded one. Run store.verify().")
    return parse(data, where=where)


def _variable(
    root: Path,
    folder: str,
    name: str,
    files: Mapping[str, tuple[int, str]],
    *,
    how: str | None,
    eager_bytes: int,
) -> xr.Variable:
    from .arrays import StoredArray

    metadata = _metadata(root, folder, f"{name}/zarr.json", files)
    check_array(metadata, where=str(root / folder / name / "zarr.json"))
    shape, dtype = tuple(metadata["shape"]), np.dtype(metadata["data_type"])
    _check_complete(metadata, name, files, where=f"{root / folder}")
    stored = StoredArray(root, folder, files, name=name, shape=shape, dtype=dtype)
    if not shape or name in dim_names(metadata) or math.prod(shape) * dtype.itemsize <= eager_bytes:
        data = stored[...]
    else:
        data = _lazy(stored, _read_chunks(metadata, dtype), token=f"{name}-{folder.rpartition('/')[2]}")
    variable = xr.Variable(dim_names(metadata), data, from_json(metadata.get("attributes", {})))
    return _decoded(variable, how, where=f"{root / folder / name}")


def _lazy(stored: Any, chunks: tuple[int, ...], *, token: str) -> Any:
    import dask.array as da

    meta = np.empty((0,) * stored.ndim, stored.dtype)  # without it dask would read a part to see the type
    return da.from_array(stored, chunks=chunks, name=token, lock=False, meta=meta)


def _read_chunks(metadata: Mapping[str, Any], dtype: np.dtype) -> tuple[int, ...]:
    outer = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    first = metadata["codecs"][0]
    if first["name"] != "sharding_indexed":
        return outer
    return read_grid(tuple(first["configuration"]["chunk_shape"]), outer, dtype)


def _check_complete(metadata: Mapping[str, Any], name: str, files: Mapping[str, Any], *, where: str) -> None:
    """Every chunk must be listed: zarr would read a missing one as zeros."""
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    expected = math.prod(-(-size // chunk) for size, chunk in zip(metadata["shape"], outer, strict=True))
    listed = sum(path == f"{name}/c" or path.startswith(f"{name}/c/") for path in files)
    if listed != expected:
        raise IntegrityError(
            f"{where}: {name!r} should have {expected:,} chunk files, its manifest lists {listed:,}. It is not opened."
        )


def _decoded(variable: xr.Variable, how: str | None, *, where: str) -> xr.Variable:
    """Codes back to text, integers back to dates; lazy if the variable is."""
    attrs = dict(variable.attrs)
    if how is None:
        return variable
    if how == "text" and variable.dtype.kind == "u" and isinstance(attrs.get("categories"), list):
        table = np.array(attrs.pop("categories"), dtype=str)
        lazily = variable.chunks is not None
        data = variable.data.map_blocks(_as_text, table, where, dtype=table.dtype) if lazily else None
        return xr.Variable(variable.dims, _as_text(variable.to_numpy(), table, where) if data is None else data, attrs)
    if how in DATES and variable.dtype == np.int64:
        attrs = {key: value for key, value in attrs.items() if key not in ("units", "calendar")}
        return xr.Variable(variable.dims, variable.data.view(how), attrs)
    raise IntegrityError(f"{where}: {variable.dtype} cannot be decoded as {how!r}. mitral writes no such array.")


def _as_text(codes: np.ndarray, table: np.ndarray, where: str) -> np.ndarray:
    if codes.size and codes.max() >= len(table):
        raise IntegrityError(f"{where}: code {codes.max()} stands for none of {len(table)} texts. Run store.verify().")
    return table[codes]
