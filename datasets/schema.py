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

attrs ``recorded_s`` is (start, stop) of the recording. ``recorded_start`` and ``recorded_stop``
(trial columns in s) say that of each trial only this stretch was recorded.
An **activity** is an ``xr.DataArray`` on exactly ``("trial", "time", "unit")``.

Checks of structure cost nothing and compute nothing; ``check_spikes`` reads every spike once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .errors import SchemaError
from .parts import (
    is_resolution,
    plain_columns,
    recorded_limits,
    sorted_spikes,
    unit_crc32,
    with_column,
    with_signal,
    with_trace,
)
from .plausible import check_rates
from .tables import nearest

SCHEMA = "session/1"
SESSION_ATTRS = ("session", "animal", "date", "source", "source_sha256", "licence", "schema")
ACTIVITY_DIMS = ("trial", "time", "unit")
ACTIVITY_ATTRS = ("session", "animal", "event", "bin_width_s", "units")


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
    where = f"session {session!r}"
    trials, units = plain_columns(trials), plain_columns(units)
    for name in trial_units:
        if name not in trials:
            raise SchemaError(f"{where}: trial_units names {name!r}, which is no trial column. {nearest(name, trials)}")
    n_trials = next(iter(trials.values()), np.empty(0)).size
    known = {name: "" for name in SESSION_ATTRS} | dict(attrs or {})
    known |= {"session": session, "animal": animal, "schema": SCHEMA}
    known["recorded_s"] = recorded_limits(recorded_s, where)
    dataset = xr.Dataset(attrs=known)
    if "trial" not in trials:
        trials = {"trial": np.arange(n_trials)} | trials
    for name, values in trials.items():
        column_attrs = {"units": trial_units[name]} if name in trial_units else {}
        dataset = with_column(dataset, name, "trial", values, column_attrs, where)
    for name, values in units.items():
        dataset = with_column(dataset, name, "unit", values, {}, where)
    if spike_ticks is not None:
        dataset = dataset.assign(sorted_spikes(spike_ticks, spike_unit, ticks_per_s, where))
        dataset["spike_unit"].attrs["unit_crc32"] = unit_crc32(dataset)
    if trace is not None:
        dataset = with_trace(dataset, np.asarray(trace), sample_time_s, trace_units, where)
    for name, (time_s, values, unit) in (signals or {}).items():
        dataset = with_signal(dataset, name, np.asarray(time_s, float), np.asarray(values), unit, where)
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
    if not isinstance(session, xr.Dataset):
        raise SchemaError(
            f"expected a session (xarray.Dataset), got {type(session).__name__}. "
            f"Take one from a store, store.session(...), or make one with make_session(...)."
        )
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
    recorded_limits(session.attrs.get("recorded_s"), where)
    if "spike_time" not in session and "trace" not in session:
        raise SchemaError(f"{where}: neither 'spike_time' nor 'trace' is present, so there is no activity to cut.")
    if "spike_time" in session:
        _check_spike_structure(session, where)
    if "trace" in session:
        _check_trace(session, where)
    _check_events(session, where)
    _check_recorded_per_trial(session, where)
    return session


def check_spikes(session: xr.Dataset) -> xr.Dataset:
    """Refuse spikes that are unsorted, outside the recording, or implausible. Reads each once.

    Implausible is a unit above 1000 Hz, or a thousand spikes of which no unit has two within 0.5 s: the
    marks of milliseconds and seconds confused (see ``plausible``). Nothing is converted.

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
        raise SchemaError(f"{where}: spike {first} is earlier than the one before it. Sort spikes over all units.")
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
    check_rates(ticks, unit, per_s, session["unit"].to_numpy(), where)
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
        same = set(activity.dims) == set(ACTIVITY_DIMS)
        advice = f"Use .transpose{ACTIVITY_DIMS}." if same else "Cut one from a session with bin_spikes(...)."
        raise SchemaError(f"{where}: expected dims {ACTIVITY_DIMS}, got {activity.dims}. {advice}")
    for dim in ACTIVITY_DIMS:
        if activity.sizes[dim] == 0:
            raise SchemaError(f"{where}: it has no {dim}s. A selection may have left nothing.")
    missing = [name for name in ACTIVITY_ATTRS if name not in activity.attrs]
    if missing:
        raise SchemaError(f"{where}: attribute {missing[0]!r} is missing. Expected {', '.join(ACTIVITY_ATTRS)}.")
    for dim in ("trial", "unit"):
        _check_unique(activity, dim, where)
    if "time" not in activity.coords:
        raise SchemaError(f"{where}: coordinate 'time' is missing. It holds the bin centres in s from the event.")
    step = np.diff(activity["time"].to_numpy())
    if step.size and not (np.all(step > 0) and np.allclose(step, step[0], rtol=1e-6, atol=1e-9)):
        raise SchemaError(f"{where}: bins are not in order and equally spaced in time. Cut with one bin width.")
    return activity


def _check_unique(labelled: xr.Dataset | xr.DataArray, dim: str, where: str) -> None:
    if dim not in labelled.coords:
        raise SchemaError(f"{where}: coordinate {dim!r} is missing. Every {dim} needs an id.")
    ids = labelled[dim].to_numpy()
    if dim == "trial" and ids.dtype.kind not in "iu":
        raise SchemaError(f"{where}: trial ids must be integers, got {ids.dtype}. Keep other names in a column.")
    values, counts = np.unique(ids, return_counts=True)
    if len(values) != len(ids):
        first = int(np.flatnonzero(counts > 1)[0])
        raise SchemaError(
            f"{where}: {dim} {str(values[first])!r} occurs {counts[first]} times. Ids of {dim}s must be unique."
        )


def _check_spike_structure(session: xr.Dataset, where: str) -> None:
    time = session["spike_time"]
    if "spike_unit" not in session or session["spike_unit"].dims != ("spike",) or time.dims != ("spike",):
        raise SchemaError(f"{where}: 'spike_time' and 'spike_unit' must both be on dim 'spike', got {time.dims}.")
    if time.dtype.kind not in "iu" or session["spike_unit"].dtype.kind not in "iu":
        raise SchemaError(f"{where}: spike times are integer ticks and spike units positions; got {time.dtype}.")
    per_s = time.attrs.get("ticks_per_s")
    if not is_resolution(per_s):
        raise SchemaError(f"{where}: 'spike_time' needs the attribute ticks_per_s, a positive number; got {per_s!r}.")
    if session["spike_unit"].attrs.get("unit_crc32") != unit_crc32(session):
        raise SchemaError(
            f"{where}: the units are not those that 'spike_unit' counts by (its unit_crc32 differs). "
            f"Do not select or sort units of a session: select them on the activity, activity.sel(unit=...)."
        )


def _check_trace(session: xr.Dataset, where: str) -> None:
    if session["trace"].dims != ("sample", "unit") or "sample_time" not in session.coords:
        raise SchemaError(f"{where}: 'trace' must be on (sample, unit) with a coordinate 'sample_time' in s.")
    if session["sample_time"].chunks is not None:
        return
    sample_time = session["sample_time"].to_numpy()
    increases = np.isfinite(sample_time) & (np.diff(sample_time, prepend=-np.inf) > 0)
    if not increases.all():
        bad = int(np.flatnonzero(~increases)[0])
        raise SchemaError(f"{where}: 'sample_time' must increase, in s; sample {bad} is at {sample_time[bad]}.")
    start_s, stop_s = session.attrs["recorded_s"]
    if sample_time.size == 0 or sample_time[0] < start_s or sample_time[-1] > stop_s:
        span = f"run from {sample_time[0]:g} to {sample_time[-1]:g} s" if sample_time.size else "are none"
        raise SchemaError(
            f"{where}: samples of 'trace' {span}, the recording from {start_s:g} to {stop_s:g} s. "
            f"Is 'sample_time' in seconds, on the recording's clock?"
        )


def _check_events(session: xr.Dataset, where: str) -> None:
    for name in events(session):
        column = session[name]
        if column.dtype.kind not in "iuf":
            raise SchemaError(
                f"{where}: event {name!r} must be numbers in s, got {column.dtype}. Use NaN where it did not happen."
            )
        if column.chunks is None and np.isinf(column.to_numpy()).any():
            trial = session["trial"].to_numpy()[np.isinf(column.to_numpy())][0]
            raise SchemaError(f"{where}: event {name!r} is infinite in trial {trial}. Use NaN where it did not happen.")
    if "concentration" in session.coords and not session["concentration"].attrs.get("units"):
        raise SchemaError(f"{where}: 'concentration' has no unit. Say dilution, ppm or mol/L in trial_units.")


def _check_recorded_per_trial(session: xr.Dataset, where: str) -> None:
    names = [name for name in ("recorded_start", "recorded_stop") if name in session.coords]
    if not names:
        return
    if len(names) == 1:
        raise SchemaError(f"{where}: 'recorded_start' and 'recorded_stop' come together; only {names[0]!r} is there.")
    for name in names:
        if name not in events(session):
            raise SchemaError(f"{where}: {name!r} must be a trial column in s. Say so, {name}='s', in trial_units.")
    if any(session[name].chunks is not None for name in names):
        return
    start, stop = (session[name].to_numpy() for name in names)
    bad = np.flatnonzero(~(np.isfinite(start) & np.isfinite(stop) & (start < stop)))
    if bad.size:
        raise SchemaError(
            f"{where}: trial {session['trial'].to_numpy()[bad[0]]} was recorded from {start[bad[0]]} to {stop[bad[0]]} "
            f"s; expected two numbers, the start before the stop. Leave out trials that were not recorded."
        )


def as_ticks(time_s: Sequence[float] | np.ndarray, ticks_per_s: float) -> np.ndarray:
    """Seconds to the nearest integer tick; exact for times on the recording's grid.

    Raises
    ------
    SchemaError : a time that is NaN, infinite, negative, or so large that it is no exact tick

    Examples
    --------
    >>> as_ticks([0.5, 1.0], 30000).tolist()
    [15000, 30000]
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    bad = ~((time_s >= 0) & (time_s * ticks_per_s < 2**53))
    if np.any(bad):
        first = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"spike {first} is at {time_s[first]} s. Spike times are finite, not negative, and in s from the start of "
            f"the recording; shift the clock, or drop what is not a spike, before importing."
        )
    return np.rint(time_s * ticks_per_s).astype(np.int64)
