"""The pieces of a session from plain arrays: columns, spikes, trace, signals, each with the check of its shape.

``schema.make_session`` puts them together, and ``schema`` checks what has been put together.
"""

import zlib
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .errors import SchemaError

RESERVED = frozenset(  # names that a session, an activity or a trajectory uses itself
    ("spike", "spike_time", "spike_unit", "spike_block", "spike_index")
    + ("sample", "sample_time", "trace", "time", "latent")
)


def plain_columns(table: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of a mapping or DataFrame as arrays; text as ``str``, missing text "", missing numbers NaN.

    Examples
    --------
    >>> plain_columns({"odor": ["a", None], "ppm": [1, None]})
    {'odor': array(['a', ''], dtype='<U1'), 'ppm': array([ 1., nan])}
    """
    return {str(name): _plain(np.asarray(table[name])) for name in table}


def _plain(values: np.ndarray) -> np.ndarray:
    """Text as a numpy string array, where missing ""; objects that are all numbers as numbers, where missing NaN."""
    if values.dtype.kind not in "OUS":
        return values
    flat = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.ravel().tolist()]
    missing = [_is_missing(value) for value in flat]
    there = [value for value, is_missing in zip(flat, missing, strict=True) if not is_missing]
    if there and all(isinstance(value, Real) and not isinstance(value, bool) for value in there):
        numbers = np.asarray([np.nan if is_missing else value for value, is_missing in zip(flat, missing, strict=True)])
        return numbers.reshape(values.shape)
    text = ["" if is_missing else str(value) for value, is_missing in zip(flat, missing, strict=True)]
    return np.asarray(text, dtype=str).reshape(values.shape)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, Real) and value != value)


def recorded_limits(limits: Any, where: str) -> list[float]:
    """Start and stop of the recording in s.

    Raises
    ------
    SchemaError : not two finite numbers, the first below the second
    """
    values = np.asarray(limits)
    if values.shape != (2,) or values.dtype.kind not in "iuf" or not -np.inf < values[0] < values[1] < np.inf:
        raise SchemaError(
            f"{where}: 'recorded_s' must be (start, stop) of the recording in s, finite, with start < stop; "
            f"got {limits!r}."
        )
    return [float(value) for value in values]


def with_column(
    dataset: xr.Dataset, name: str, dim: str, values: np.ndarray, attrs: Mapping[str, str], where: str
) -> xr.Dataset:
    """The session with one more trial or unit column.

    Raises
    ------
    SchemaError : a name that is in use, or another number of values than there are trials or units
    """
    if name in RESERVED or (name != dim and name in ("trial", "unit", *dataset.coords)):
        raise SchemaError(f"{where}: a column of {dim}s may not be called {name!r}, the session uses it. Rename it.")
    if values.ndim != 1 or len(values) != dataset.sizes.get(dim, len(values)):
        raise SchemaError(
            f"{where}: column {name!r} has shape {values.shape}, "
            f"expected ({dataset.sizes.get(dim, '?')},), one value per {dim}."
        )
    return dataset.assign_coords({name: (dim, values, dict(attrs))})


def with_trace(
    dataset: xr.Dataset, trace: np.ndarray, sample_time_s: Any, trace_units: str, where: str
) -> xr.Dataset:
    """The session with its trace (n_samples, n_units) and ``sample_time``.

    Raises
    ------
    SchemaError : another shape, or no numbers
    """
    sample_time = np.atleast_1d(np.asarray(sample_time_s, dtype=np.float64))
    expected = (sample_time.size, dataset.sizes.get("unit", 0))
    if trace.shape != expected or sample_time.ndim != 1 or trace.dtype.kind not in "iufb":
        raise SchemaError(
            f"{where}: trace has shape {trace.shape} and type {trace.dtype}; expected numbers (n_samples, n_units), "
            f"{expected} by sample_time_s and the unit ids. Transpose it, or look for a missing unit or sample."
        )
    dataset = dataset.assign(trace=(("sample", "unit"), trace, {"units": trace_units}))
    return dataset.assign_coords(sample_time=("sample", sample_time, {"units": "s"}))


def with_signal(
    dataset: xr.Dataset, name: str, time_s: np.ndarray, values: np.ndarray, unit: str, where: str
) -> xr.Dataset:
    """The session with a signal (n_samples,) on a clock of its own.

    Raises
    ------
    SchemaError : a name that is in use, times and values of two lengths, times that do not increase
    """
    names = (name, f"{name}_time", f"{name}_sample")
    taken = [each for each in names if each in RESERVED or each in dataset.variables or each in dataset.dims]
    if taken:
        raise SchemaError(f"{where}: a signal may not be called {name!r}, {taken[0]!r} is in use. Rename it.")
    if time_s.ndim != 1 or time_s.shape != values.shape:
        raise SchemaError(
            f"{where}: signal {name!r} has times {time_s.shape} and values {values.shape}; "
            f"expected two lists of one length."
        )
    if not np.all(np.isfinite(time_s)) or np.any(np.diff(time_s) <= 0):
        raise SchemaError(f"{where}: times of signal {name!r} must be finite and increase, in s. Sort, drop repeats.")
    dataset = dataset.assign({name: (names[2], values, {"units": unit})})
    return dataset.assign_coords({names[1]: (names[2], time_s, {"units": "s"})})


def sorted_spikes(spike_ticks: Any, spike_unit: Any, ticks_per_s: Any, where: str) -> dict[str, xr.Variable]:
    """``spike_time`` and ``spike_unit``, sorted by time over all units.

    Raises
    ------
    SchemaError : no resolution, two lengths, or numbers that are no integers
    """
    ticks, unit = np.asarray(spike_ticks), np.asarray(spike_unit)
    if not is_resolution(ticks_per_s):
        raise SchemaError(f"{where}: spike times need ticks_per_s, a positive number; got {ticks_per_s!r}.")
    if ticks.ndim != 1 or ticks.shape != unit.shape:
        raise SchemaError(
            f"{where}: spike times {ticks.shape} and spike units {unit.shape} must be two lists of one length."
        )
    for name, values in (("spike times", ticks), ("spike units", unit)):
        if values.size and values.dtype.kind not in "iu":
            raise SchemaError(
                f"{where}: {name} must be integers (ticks, positions), got {values.dtype}. "
                f"Times in s become ticks with as_ticks(time_s, ticks_per_s)."
            )
    order = np.argsort(ticks, kind="stable")
    small = np.min_scalar_type(int(unit.max())) if unit.size and unit.min() >= 0 else np.dtype(np.int64)
    return {
        "spike_time": xr.Variable("spike", ticks[order].astype(np.int64), {"ticks_per_s": float(ticks_per_s)}),
        "spike_unit": xr.Variable("spike", unit[order].astype(small)),
    }


def is_resolution(ticks_per_s: Any) -> bool:
    """Whether this is a positive, finite number."""
    return isinstance(ticks_per_s, Real) and 0 < float(ticks_per_s) < np.inf


def unit_crc32(session: xr.Dataset) -> int:
    """Checksum of the unit ids in their order, on which the positions in ``spike_unit`` depend."""
    return zlib.crc32("\n".join(map(str, session["unit"].to_numpy())).encode())
