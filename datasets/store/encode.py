"""An ``xr.Dataset`` as a plain zarr v3 group that ``zarr`` and ``xr.open_zarr`` can open.

One array per variable, ``dimension_names`` set, dataset attributes on the group, codecs blosc zstd
and crc32c. Zarr v3 has no stable type for text and dates, so three kinds are stored otherwise:

- text: small integer codes, attribute ``categories``: the list that the codes are positions in;
- ``datetime64``: int64, attributes ``units`` and ``calendar`` as in CF, NaT the least int64;
- NaN and infinity in attributes: see ``attributes``.

The group attribute ``_mitral`` names the coordinates and how to decode; ``coordinates`` says the
same to xarray. A session with spikes gains ``spike_index (spike_block)``: the tick of the first spike
of each stored chunk of ``spikes_per_block`` spikes, so that a window finds its chunks unread.

Spike times stay as they are. Measured on 5 million time-sorted spikes of 300 units at 30 kHz
(40.0 MB as int64): 5.7 MB as they are, 3.7 MB delta-coded, units 5.3 MB either way (zarr 3.1.6).
The only delta codec is ``numcodecs.delta``, which is outside the zarr v3 specification, and
differences of our own making would show other readers wrong times: not worth a fifth of the file.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import LimitError, SchemaError
from .attributes import to_json
from .layout import stored_grid
from .limits import MAX_ATTRIBUTE_BYTES, STORED_DTYPES
from .names import check_variable
from .seal import canonical

DATE_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
RESERVED = ("_mitral", "coordinates", "_FillValue")


def write_object(folder: Path, dataset: xr.Dataset, *, where: str, array: str | None = None) -> None:
    """Write a Dataset as a new zarr group; lazy variables block by block.

    Parameters
    ----------
    folder : to be made
    dataset : variables of numbers, bools, text or dates
    where : what is being saved, for messages ("session 'm1'")
    array : the one variable's name, if a DataArray is being saved

    Raises
    ------
    SchemaError : a type, name, index or attribute that is not stored; unsorted spikes
    LimitError : more than 1 MB of attributes
    """
    from .arrays import make_group

    _check_plain(dataset, where)
    attrs = _checked_attrs(dataset.attrs, where)
    variables = {str(name): variable for name, variable in dataset.variables.items()}
    if "spike_time" in variables:
        variables.pop("spike_index", None)
    make_group(folder, attrs | _group_attrs(dataset, array))
    for name in sorted(variables):
        _write_variable(folder, name, variables[name], is_coord=name in dataset.coords, where=where)
    if "spike_time" in variables:
        _write_variable(folder, "spike_index", _spike_index(folder, dataset, where), is_coord=False, where=where)


def _group_attrs(dataset: xr.Dataset, array: str | None) -> dict[str, Any]:
    """What a reader needs beside the arrays: for mitral, and in xarray's own words."""
    coords = sorted(map(str, dataset.coords))
    decode = {str(name): _stored_as(variable.dtype) for name, variable in dataset.variables.items()}
    own = {"coords": coords, "decode": {name: decode[name] for name in sorted(decode) if decode[name]}}
    own |= {"array": array} if array else {}
    for_xarray = " ".join(name for name in coords if not any(map(str.isspace, name)))
    return {"_mitral": own} | ({"coordinates": for_xarray} if for_xarray else {})


def _check_plain(dataset: xr.Dataset, where: str) -> None:
    for name in dataset.variables:
        check_variable(name, where=where)
    for name, index in dataset.indexes.items():
        if isinstance(index, pd.MultiIndex):
            raise SchemaError(
                f"{where}: {name!r} is a MultiIndex, which is not stored. Use dataset.reset_index({name!r})."
            )


def _checked_attrs(attrs: Mapping, where: str) -> dict[str, Any]:
    taken = [name for name in RESERVED if name in attrs]
    if taken:
        raise SchemaError(f"{where}: the attribute {taken[0]!r} is reserved for the file format. Rename it.")
    plain = to_json(attrs, where=f"{where}, attributes")
    size = len(canonical(plain))
    if size > MAX_ATTRIBUTE_BYTES:
        raise LimitError(f"{where}: attributes take {size:,} bytes, at most {MAX_ATTRIBUTE_BYTES:,}. Store a variable.")
    return plain


def _write_variable(folder: Path, name: str, variable: xr.Variable, *, is_coord: bool, where: str) -> None:
    from .arrays import make_array

    where = f"{where}, variable {name!r}"
    data, attrs = _plain_variable(variable, where)
    dims = tuple(map(str, data.dims))
    chunks, shards = stored_grid(dims, data.shape, data.dtype, is_coord=is_coord)
    array, region = make_array(
        folder, name, dims=dims, shape=data.shape, dtype=data.dtype, chunks=chunks, shards=shards,
        attrs=_checked_attrs(variable.attrs, where) | attrs,
    )  # fmt: skip
    if data.chunks is not None:
        _write_lazy(data, array, region)
    else:
        for part in _regions(data.shape, region):
            array[part] = data[part].to_numpy()


def _stored_as(dtype: Any) -> str | None:
    """How a type is to be decoded: "text", "datetime64[...]", or None for as it stands."""
    if not isinstance(dtype, np.dtype) or dtype.kind in "OUT":
        return "text"
    if dtype.kind == "M" and np.datetime_data(dtype)[0] in DATE_UNITS:
        return f"datetime64[{np.datetime_data(dtype)[0]}]"
    return None


def _plain_variable(variable: xr.Variable, where: str) -> tuple[xr.Variable, dict[str, Any]]:
    """The variable in a type that is stored, and the attributes that decode it."""
    dtype, how = variable.dtype, _stored_as(variable.dtype)
    if how == "text":
        codes, categories = _as_codes(np.asarray(variable.values), where)
        _refuse_attrs(variable, ("categories",), where)
        return xr.Variable(variable.dims, codes), {"categories": categories}
    if how is not None:
        _refuse_attrs(variable, ("units", "calendar"), where)
        units = f"{DATE_UNITS[np.datetime_data(dtype)[0]]} since 1970-01-01T00:00:00"
        ticks = np.ascontiguousarray(variable.values).reshape(variable.shape).view(np.int64)
        return xr.Variable(variable.dims, ticks), {"units": units, "calendar": "proleptic_gregorian"}
    native = dtype.newbyteorder("=")
    if native.name not in STORED_DTYPES:
        advice = "Convert it to seconds (float)" if dtype.kind == "m" else "Convert it, or drop it"
        raise SchemaError(
            f"{where}: type {dtype} is not stored, only text, dates and {', '.join(STORED_DTYPES)}. {advice}."
        )
    plain = variable.to_base_variable()
    return (plain if native == dtype else plain.astype(native)), {}


def _refuse_attrs(variable: xr.Variable, names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name in variable.attrs:
            raise SchemaError(f"{where}: the attribute {name!r} is how {variable.dtype} is stored. Rename it.")


def _as_codes(values: np.ndarray, where: str) -> tuple[np.ndarray, list[str]]:
    """Text as positions in a sorted list of its different values."""
    flat = values.ravel().tolist()
    odd = [position for position, value in enumerate(flat) if not isinstance(value, str)]
    if odd:
        raise SchemaError(
            f"{where}: {len(odd)} of {len(flat)} values are neither numbers nor text; the first is {flat[odd[0]]!r} at "
            f"position {odd[0]}. Use one type, and '' where a text is missing."
        )
    categories = sorted(set(flat))
    to_json(categories, where=where)
    size = len(canonical(categories))
    if size > MAX_ATTRIBUTE_BYTES:
        raise LimitError(
            f"{where}: its {len(categories):,} different texts take {size:,} bytes, at most "
            f"{MAX_ATTRIBUTE_BYTES:,} are stored. Keep an id, and the texts elsewhere."
        )
    position = {text: code for code, text in enumerate(categories)}
    small = np.min_scalar_type(max(len(categories) - 1, 0))
    return np.array([position[text] for text in flat], dtype=small).reshape(values.shape), categories


def _write_lazy(data: xr.Variable, array: Any, region: tuple[int, ...]) -> None:
    """Stream a dask-backed variable: one block, one writer, whole shards."""
    import dask.array as da

    da.store(da.rechunk(data.data, region), array, lock=False)


def _regions(shape: tuple[int, ...], region: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    starts = [range(0, size, step) for size, step in zip(shape, region, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(start, start + step) for start, step in zip(corner, region, strict=True))


def _spike_index(folder: Path, dataset: xr.Dataset, where: str) -> xr.Variable:
    """First tick of each stored chunk, from the staged file; refuses what would make it lie."""
    from .arrays import read_blocks

    first, last, n_seen = [], None, 0
    for block in read_blocks(folder, "spike_time"):
        if np.any(block[1:] < block[:-1]) or (last is not None and block[0] < last):
            raise SchemaError(
                f"{where}: 'spike_time' is not sorted between spike {n_seen} and {n_seen + len(block)}. "
                f"Sort spikes by time over all units; make_session does."
            )
        first.append(block[0])
        last, n_seen = block[-1], n_seen + len(block)
    for block in read_blocks(folder, "spike_unit"):
        if block.min() < 0 or block.max() >= dataset.sizes["unit"]:
            raise SchemaError(
                f"{where}: 'spike_unit' holds positions {block.min()} to {block.max()}, "
                f"but there are {dataset.sizes['unit']} units."
            )
    grid, _ = stored_grid(("spike",), (n_seen,), np.dtype(np.int64), is_coord=False)
    return xr.Variable("spike_block", np.array(first, dtype=np.int64), {"spikes_per_block": grid[0]})
