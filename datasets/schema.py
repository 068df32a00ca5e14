"""What a session and an activity are: names, dims, dtypes, units, and the checks that hold them.

A **session** is one recording of one animal, an ``xr.Dataset``:

=================  ============  =========================================================
``spike_time``     spike         integer ticks, attr ``ticks_per_s``; sorted over all units
``spike_unit``     spike         position on ``unit``
``trace``          sample, unit  imaging or photometry; ``sample_time`` (sample) in s
``<signal>``       own dim       sniff, running ...; its coordinate ``<signal>_time`` in s
trial columns      trial         ``odor``, ``concentration``, event times (attr units "s") ...
unit columns       unit          ``unit`` holds the ids; ``area``, ``depth_um``, ``quality`` ...
attrs                            those of ``SESSION_ATTRS``; ``averaged_over_trials``
=================  ============  =========================================================

``recorded_start`` and ``recorded_stop`` (trial columns in s) say that only these stretches of
each trial were recorded; without them the recording is one stretch, attrs ``recorded_s``.
An **activity** is an ``xr.DataArray`` on exactly ``("trial", "time", "unit")``.

Checks of structure cost nothing and compute nothing; ``check_spikes`` reads every spike once.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .errors import SchemaError

SCHEMA = "session/1"
SESSION_ATTRS = ("session", "animal", "date", "source", "source_sha256", "licence", "schema")
ACTIVITY_DIMS = ("trial", "time", "unit")
ACTIVITY_ATTRS = ("session", "animal", "event", "bin_width_s", "units")
HIGHEST_RATE_HZ = 1000.0  # no neuron fires faster, averaged over a recording
SHORTEST_INTERVAL_S = 0.5  # some pair of a thousand spikes of one unit is closer than this


def make_session(
    session: str,
    animal: str,
    *,
    trials: Mapping[str, Any],
    units: Mapping[str, Any],
    trial_units: Mapping[str, str],
    recorded_s: tuple[float, float],
    spike_ticks: Any = None,
    spike_unit: Any = None,
    ticks_per_s: float | None = None,
    trace: Any = None,
    sample_time_s: Any = None,
    trace_units: str = "a.u.",
    signals: Mapping[str, tuple[Any, Any, str]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A checked session from plain arrays.

    Parameters
    ----------
    session, animal : ids; the session id is unique in a store
    trials : column name -> (n_trials,) values; a DataFrame serves
    units : column name -> (n_units,) values; the column ``unit`` holds the ids
    trial_units : unit of each trial column that has one; "s" marks an event time
    recorded_s : (start, stop) of the recording
    spike_ticks, spike_unit : (n_spikes,) integer times and positions on ``unit``, in any order
    ticks_per_s : resolution of the spike times
    trace, sample_time_s : (n_samples, n_units) and (n_samples,), for imaging or photometry
    signals : name -> (time in s, values, unit), each on its own clock
    attrs : ``date``, ``source``, ``source_sha256``, ``licence`` and whatever else is known

    Returns
    -------
    session, spikes sorted by time

    Raises
    ------
    SchemaError : anything that ``check_session`` or ``check_spikes`` refuses

    Examples
    --------
    >>> session = make_session(
    ...     "m1-day1", "m1", trials={"odor": ["a", "b"], "odor_onset": [1.0, 3.0]},
    ...     units={"unit": ["m1-day1/u0"]}, trial_units={"odor_onset": "s"}, recorded_s=(0.0, 5.0),
    ...     spike_ticks=[1200, 3100], spike_unit=[0, 0], ticks_per_s=1000)
    >>> session.sizes["spike"]
    2
    """
    trials, units = _columns(trials), _columns(units)
    n_trials = len(next(iter(trials.values()), ()))
    known = {name: "" for name in SESSION_ATTRS} | dict(attrs or {})
    known |= {"session": session, "animal": animal, "schema": SCHEMA}
    known["recorded_s"] = [float(recorded_s[0]), float(recorded_s[1])]
    dataset = xr.Dataset(attrs=known)
    if "trial" not in trials:
        trials = {"trial": np.arange(n_trials)} | trials
    for name, values in trials.items():
        unit = {"units": trial_units[name]} if name in trial_units else {}
        dataset = _with_column(dataset, name, "trial", values, unit, where=session)
    for name, values in units.items():
        dataset = _with_column(dataset, name, "unit", values, {}, where=session)
    if spike_ticks is not None:
        dataset = dataset.assign(_sorted_spikes(spike_ticks, spike_unit, ticks_per_s, where=session))
        dataset["spike_unit"].attrs["unit_crc32"] = _unit_crc32(dataset)
    if trace is not None:
        dataset["trace"] = (("sample", "unit"), np.asarray(trace), {"units": trace_units})
        sample_time = np.asarray(sample_time_s, dtype=np.float64)
        dataset = dataset.assign_coords(sample_time=("sample", sample_time, {"units": "s"}))
    for name, (time_s, values, unit) in (signals or {}).items():
        dim = f"{name}_sample"
        dataset[name] = (dim, np.asarray(values), {"units": unit})
        dataset = dataset.assign_coords({f"{name}_time": (dim, np.asarray(time_s, float), {"units": "s"})})
    check_session(dataset)
    check_spikes(dataset)
    return dataset


def events(session: xr.Dataset) -> list[str]:
    """Names of the trial columns that are times in s, so that activity can be cut around them."""
    return [
        str(name)
        for name, column in session.coords.items()
        if column.dims == ("trial",) and column.attrs.get("units") == "s"
    ]


def check_session(session: xr.Dataset) -> xr.Dataset:
    """Refuse a session whose structure is wrong; compute nothing that is lazy.

    Parameters
    ----------
    session : as the module's docstring describes

    Returns
    -------
    session, unchanged

    Raises
    ------
    SchemaError : what is wrong, in which session, and what to do
    """
    where = f"session {session.attrs.get('session', '?')!r}"
    missing = [name for name in SESSION_ATTRS if name not in session.attrs]
    if missing:
        raise SchemaError(f"{where}: attribute {missing[0]!r} is missing. Expected {', '.join(SESSION_ATTRS)}.")
    if session.attrs["schema"] != SCHEMA:
        raise SchemaError(
            f"{where}: schema is {session.attrs['schema']!r}, this version reads {SCHEMA!r}. "
            f"Update mitral, or import the recording again."
        )
    for name in ("session", "animal"):
        if not isinstance(session.attrs[name], str) or not session.attrs[name].strip():
            raise SchemaError(f"{where}: attribute {name!r} must be a name, got {session.attrs[name]!r}.")
    for dim, what in (("trial", "trials"), ("unit", "units")):
        if session.sizes.get(dim, 0) == 0:
            raise SchemaError(f"{where}: it has no {what}. A session needs at least one; look at its source.")
        _check_unique(session, dim, where)
    if "spike_time" not in session and "trace" not in session:
        raise SchemaError(f"{where}: neither 'spike_time' nor 'trace' is present, so there is no activity to cut.")
    if "spike_time" in session:
        _check_spike_structure(session, where)
    if "trace" in session:
        _check_trace(session, where)
    _check_events(session, where)
    return session


def check_spikes(session: xr.Dataset) -> xr.Dataset:
    """Refuse spikes that are unsorted, outside the recording, or implausible. Reads each once.

    Implausible is a unit above 1000 Hz, or never two spikes within 0.5 s: the marks of seconds
    taken for milliseconds and of milliseconds taken for seconds. Nothing is converted.

    Raises
    ------
    SchemaError : the first offending spike or unit
    """
    if "spike_time" not in session:
        return session
    where = f"session {session.attrs['session']!r}"
    ticks = session["spike_time"].to_numpy()
    unit = session["spike_unit"].to_numpy()
    per_s = float(session["spike_time"].attrs["ticks_per_s"])
    if ticks.size == 0:
        return session
    if np.any(ticks[1:] < ticks[:-1]):
        first = int(np.flatnonzero(ticks[1:] < ticks[:-1])[0]) + 1
        raise SchemaError(f"{where}: spike {first} is earlier than the one before it. Sort spikes by time over all units.")
    if unit.min() < 0 or unit.max() >= session.sizes["unit"]:
        raise SchemaError(
            f"{where}: 'spike_unit' holds positions {int(unit.min())} to {int(unit.max())}, "
            f"but there are {session.sizes['unit']} units (0 to {session.sizes['unit'] - 1})."
        )
    start_s, stop_s = session.attrs["recorded_s"]
    if ticks[0] / per_s < start_s - 1 / per_s or ticks[-1] / per_s > stop_s + 1 / per_s:
        raise SchemaError(
            f"{where}: spikes run from {ticks[0] / per_s:g} to {ticks[-1] / per_s:g} s, outside the recording "
            f"({start_s:g} to {stop_s:g} s). Check the spike clock, or give the recording's true limits."
        )
    _check_plausible(ticks, unit, per_s, stop_s - start_s, session["unit"].to_numpy(), where)
    return session


def check_activity(activity: xr.DataArray) -> xr.DataArray:
    """Refuse an array that is not an activity; compute nothing that is lazy.

    Returns
    -------
    activity (trial, time, unit), unchanged

    Raises
    ------
    SchemaError : wrong dims, repeated ids, uneven bins, missing attributes
    """
    if not isinstance(activity, xr.DataArray):
        raise SchemaError(
            f"expected an activity (xarray.DataArray on trial, time, unit), got {type(activity).__name__}. "
            f"Cut one from a session with bin_spikes(...)."
        )
    where = f"activity of session {activity.attrs.get('session', '?')!r}"
    if activity.dims != ACTIVITY_DIMS:
        raise SchemaError(f"{where}: expected dims {ACTIVITY_DIMS}, got {activity.dims}. Use .transpose{ACTIVITY_DIMS}.")
    for dim in ACTIVITY_DIMS:
        if activity.sizes[dim] == 0:
            raise SchemaError(f"{where}: it has no {dim}s. A selection may have left nothing.")
    missing = [name for name in ACTIVITY_ATTRS if name not in activity.attrs]
    if missing:
        raise SchemaError(f"{where}: attribute {missing[0]!r} is missing. Expected {', '.join(ACTIVITY_ATTRS)}.")
    for dim in ("trial", "unit"):
        _check_unique(activity, dim, where)
    time = activity["time"].to_numpy()
    if time.size > 1 and not np.allclose(np.diff(time), time[1] - time[0], rtol=1e-6, atol=1e-9):
        raise SchemaError(f"{where}: bins are not equally spaced in time. Cut the activity with one bin width.")
    return activity


def _columns(table: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of a mapping or DataFrame as arrays, text as ``str``."""
    return {str(name): _plain(np.asarray(table[name])) for name in table}


def _plain(values: np.ndarray) -> np.ndarray:
    """Text as a numpy string array; everything else as it is."""
    if values.dtype.kind in "OUS" or isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
        flat = [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
        if all(isinstance(value, str) for value in flat):
            return np.asarray(flat, dtype=str)
        return np.asarray(["" if _is_missing(value) else str(value) for value in flat], dtype=str)
    return values


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _with_column(
    dataset: xr.Dataset, name: str, dim: str, values: np.ndarray, attrs: Mapping[str, str], *, where: str
) -> xr.Dataset:
    if values.ndim != 1 or len(values) != dataset.sizes.get(dim, len(values)):
        raise SchemaError(
            f"session {where!r}: column {name!r} has shape {values.shape}, "
            f"expected ({dataset.sizes.get(dim, '?')},), one value per {dim}."
        )
    return dataset.assign_coords({name: (dim, values, dict(attrs))})


def _sorted_spikes(spike_ticks: Any, spike_unit: Any, ticks_per_s: float | None, *, where: str) -> dict[str, xr.Variable]:
    ticks, unit = np.asarray(spike_ticks), np.asarray(spike_unit)
    if ticks_per_s is None or not np.isfinite(ticks_per_s) or ticks_per_s <= 0:
        raise SchemaError(f"session {where!r}: spike times need ticks_per_s, a positive number; got {ticks_per_s!r}.")
    if ticks.ndim != 1 or ticks.shape != unit.shape:
        raise SchemaError(
            f"session {where!r}: spike times {ticks.shape} and spike units {unit.shape} must be two lists of one length."
        )
    for name, values in (("spike times", ticks), ("spike units", unit)):
        if values.size and values.dtype.kind not in "iu":
            raise SchemaError(f"session {where!r}: {name} must be integers (ticks, positions), got {values.dtype}.")
    order = np.argsort(ticks, kind="stable")
    small = np.min_scalar_type(int(unit.max())) if unit.size and unit.min() >= 0 else np.dtype(np.int64)
    return {
        "spike_time": xr.Variable("spike", ticks[order].astype(np.int64), {"ticks_per_s": float(ticks_per_s)}),
        "spike_unit": xr.Variable("spike", unit[order].astype(small)),
    }


def _unit_crc32(session: xr.Dataset) -> int:
    """Checksum of the unit ids in their order, on which the positions in ``spike_unit`` depend."""
    return zlib.crc32("\n".join(map(str, session["unit"].to_numpy())).encode())


def _check_unique(labelled: xr.Dataset | xr.DataArray, dim: str, where: str) -> None:
    if dim not in labelled.coords:
        raise SchemaError(f"{where}: coordinate {dim!r} is missing. Every {dim} needs an id.")
    ids = labelled[dim].to_numpy()
    if dim == "trial" and ids.dtype.kind not in "iu":
        raise SchemaError(f"{where}: trial ids must be integers, got {ids.dtype}. Keep other names in a column.")
    values, counts = np.unique(ids, return_counts=True)
    if len(values) != len(ids):
        repeated = values[counts > 1][0]
        raise SchemaError(f"{where}: {dim} {repeated!r} occurs {counts.max()} times. Ids of {dim}s must be unique.")


def _check_spike_structure(session: xr.Dataset, where: str) -> None:
    time = session["spike_time"]
    if "spike_unit" not in session or session["spike_unit"].dims != ("spike",) or time.dims != ("spike",):
        raise SchemaError(f"{where}: 'spike_time' and 'spike_unit' must both be on dim 'spike', got {time.dims}.")
    if time.dtype.kind not in "iu" or session["spike_unit"].dtype.kind not in "iu":
        raise SchemaError(f"{where}: spike times are integer ticks and spike units positions; got {time.dtype}.")
    per_s = time.attrs.get("ticks_per_s")
    if not isinstance(per_s, int | float) or not per_s > 0:
        raise SchemaError(f"{where}: 'spike_time' needs the attribute ticks_per_s, a positive number; got {per_s!r}.")
    if session["spike_unit"].attrs.get("unit_crc32") != _unit_crc32(session):
        raise SchemaError(
            f"{where}: the units are not those that 'spike_unit' counts by (its unit_crc32 differs). "
            f"Do not select or sort units of a session: select them on the activity, activity.sel(unit=...)."
        )
    limits = session.attrs.get("recorded_s")
    if limits is None or len(limits) != 2 or not limits[0] < limits[1]:
        raise SchemaError(f"{where}: attribute 'recorded_s' must be (start, stop) in s with start < stop, got {limits!r}.")


def _check_trace(session: xr.Dataset, where: str) -> None:
    if session["trace"].dims != ("sample", "unit") or "sample_time" not in session.coords:
        raise SchemaError(f"{where}: 'trace' must be on (sample, unit) with a coordinate 'sample_time' in s.")
    sample_time = session["sample_time"].to_numpy()
    if not np.all(np.isfinite(sample_time)) or np.any(np.diff(sample_time) <= 0):
        bad = int(np.flatnonzero(~(np.diff(sample_time) > 0))[0]) + 1 if sample_time.size > 1 else 0
        raise SchemaError(f"{where}: 'sample_time' must increase; sample {bad} does not.")


def _check_events(session: xr.Dataset, where: str) -> None:
    for name in events(session):
        values = session[name].to_numpy()
        if values.dtype.kind not in "iuf":
            raise SchemaError(f"{where}: event {name!r} must be numbers in s, got {values.dtype}.")
        if np.any(np.isinf(values)):
            trial = int(np.flatnonzero(np.isinf(values))[0])
            raise SchemaError(f"{where}: event {name!r} is infinite in trial {trial}. Use NaN where it did not happen.")
    start_stop = [name for name in ("recorded_start", "recorded_stop") if name in session.coords]
    if len(start_stop) == 1:
        raise SchemaError(f"{where}: 'recorded_start' and 'recorded_stop' come together; only {start_stop[0]!r} is there.")
    if "concentration" in session.coords and not session["concentration"].attrs.get("units"):
        raise SchemaError(f"{where}: 'concentration' has no unit. Say dilution, ppm or mol/L in trial_units.")


def _check_plausible(
    ticks: np.ndarray, unit: np.ndarray, per_s: float, duration_s: float, ids: np.ndarray, where: str
) -> None:
    counts = np.bincount(unit, minlength=len(ids))
    busiest = int(np.argmax(counts))
    if counts[busiest] > 100 and counts[busiest] / duration_s > HIGHEST_RATE_HZ:
        raise SchemaError(
            f"{where}: unit {ids[busiest]!r} fires at {counts[busiest] / duration_s:.0f} Hz over {duration_s:g} s, "
            f"which no neuron does. Are spike times or the recording's limits in another unit than seconds?"
        )
    if counts[busiest] >= 1000:
        shortest_s = np.diff(ticks[unit == busiest]).min() / per_s
        if shortest_s > SHORTEST_INTERVAL_S:
            raise SchemaError(
                f"{where}: the {counts[busiest]} spikes of unit {ids[busiest]!r} are never closer than {shortest_s:g} s, "
                f"which is implausible. Are these times in milliseconds or samples? mitral takes seconds."
            )


def as_ticks(time_s: Sequence[float] | np.ndarray, ticks_per_s: float) -> np.ndarray:
    """Seconds to the nearest integer tick; exact for times on the recording's grid.

    Raises
    ------
    SchemaError : a time that is NaN, infinite or negative, with its position
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    bad = ~np.isfinite(time_s) | (time_s < 0)
    if np.any(bad):
        first = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"spike {first} is at {time_s[first]} s. Spike times are finite and not negative; "
            f"shift the clock, or drop what is not a spike, before importing."
        )
    return np.rint(time_s * ticks_per_s).astype(np.int64)
