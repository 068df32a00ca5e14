"""From a session to activity: spikes counted, or traces averaged, in bins around an event.

Sessions in memory give numpy; sessions from a store (dask) give dask, by blocks of trials, and
nothing is computed until it is asked for. What counts as a bin is decided in integer ticks:

    bin k holds the ticks t with  ceil((start + k w) r) <= t - e < ceil((start + (k+1) w) r)

with e the event's tick, r ticks per s, w the bin width, all in exact rational arithmetic.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr

from .errors import SchemaError
from .schema import check_session, events
from .tables import nearest

TRIALS_PER_BLOCK = 50
COUNT_CEILING_HZ = 4000.0  # above any unit; sets the integer type of counts from the bin width alone
TRACE_TICKS_PER_S = 1_000_000  # sample times are compared with bin edges at this resolution


def bin_spikes(
    session: xr.Dataset, *, event: str, window_s: tuple[float, float], bin_width_s: float
) -> xr.DataArray:
    """Spike counts of every unit around an event, per trial.

    Parameters
    ----------
    session : Dataset with ``spike_time`` (ticks, sorted) and ``spike_unit``
    event : name of a trial coordinate in s; NaN there gives NaN bins
    window_s : (start, stop) from the event; a whole number of bins
    bin_width_s : a spike on an edge belongs to the later bin

    Returns
    -------
    activity (trial, time, unit), spike counts; ``time`` is the bin centre in s. The integer type
    is the smallest that holds 4000 Hz in one bin; float32 where a bin lies outside the recording
    (NaN). Lazy, by blocks of 50 trials, if the session is.

    Raises
    ------
    SchemaError : ``event`` is no event, the window holds no whole number of bins or lies outside
        the recording in every trial, or a unit has more spikes in a bin than 4000 Hz

    Notes
    -----
    Time O(n_spikes in the windows + n_trials · n_times · n_units); memory the output and one trial.

    Examples
    --------
    >>> from mitral.datasets.schema import make_session
    >>> session = make_session(
    ...     "s", "m", trials={"onset": [1.0]}, trial_units={"onset": "s"}, units={"unit": ["s/u0"]},
    ...     recorded_s=(0, 3), spike_ticks=[1000, 1100, 1150], spike_unit=[0, 0, 0], ticks_per_s=1000)
    >>> bin_spikes(session, event="onset", window_s=(0.0, 0.2), bin_width_s=0.1).values.ravel().tolist()
    [1, 2]
    """
    check_session(session)
    if "spike_time" not in session:
        raise SchemaError(f"session {session.attrs['session']!r} has no spikes. Use traces_around(...) for its trace.")
    ticks_per_s = session["spike_time"].attrs["ticks_per_s"]
    edges, event_ticks, inside = _bins(session, event, window_s, bin_width_s, ticks_per_s)
    n_units = session.sizes["unit"]
    count_type = np.min_scalar_type(int(bin_width_s * COUNT_CEILING_HZ) + 1)
    if session["spike_time"].chunks is None:
        ticks, unit = session["spike_time"].to_numpy(), session["spike_unit"].to_numpy()
        values = _count(ticks, unit, event_ticks, inside, edges, n_units, count_type)
    else:
        values = _count_lazily(session, event_ticks, inside, edges, count_type)
    return _labelled(session, values, event, window_s, bin_width_s, "spikes per bin")


def traces_around(
    session: xr.Dataset, *, event: str, window_s: tuple[float, float], bin_width_s: float
) -> xr.DataArray:
    """Mean of each unit's trace in bins around an event, per trial.

    Parameters
    ----------
    session : Dataset with ``trace`` (sample, unit) and ``sample_time`` in s
    event, window_s, bin_width_s : as in ``bin_spikes``; sample times are taken to the microsecond

    Returns
    -------
    activity (trial, time, unit), float32, in the trace's units; NaN in bins that hold no sample.
    Lazy, by blocks of 50 trials, if the session is.

    Raises
    ------
    SchemaError : as ``bin_spikes``; no trace
    """
    check_session(session)
    if "trace" not in session:
        raise SchemaError(f"session {session.attrs['session']!r} has no trace. Use bin_spikes(...) for its spikes.")
    edges, event_ticks, inside = _bins(session, event, window_s, bin_width_s, TRACE_TICKS_PER_S)
    sample_ticks = np.rint(session["sample_time"].to_numpy() * TRACE_TICKS_PER_S).astype(np.int64)
    positions = np.searchsorted(sample_ticks, event_ticks[:, None] + edges)
    if session["trace"].chunks is None:
        values = _bin_means(session["trace"].to_numpy(), positions, inside)
    else:
        values = _bin_means_lazily(session, positions, inside)
    return _labelled(session, values, event, window_s, bin_width_s, session["trace"].attrs.get("units", "a.u."))


def to_hz(activity: xr.DataArray) -> xr.DataArray:
    """Spike counts per bin as rates in Hz (float32).

    Raises
    ------
    SchemaError : the activity is not in spikes per bin
    """
    if activity.attrs.get("units") != "spikes per bin":
        raise SchemaError(
            f"activity of session {activity.attrs.get('session')!r} is in {activity.attrs.get('units')!r}, "
            f"not in spikes per bin, so there is no rate in Hz to give."
        )
    rates = activity.astype(np.float32) / np.float32(activity.attrs["bin_width_s"])
    return rates.assign_attrs(activity.attrs | {"units": "Hz"})


def _bins(
    session: xr.Dataset, event: str, window_s: tuple[float, float], bin_width_s: float, ticks_per_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (n_times + 1,) in ticks from the event, event ticks (n_trials,), inside (n_trials, n_times)."""
    where = f"session {session.attrs['session']!r}"
    if event not in events(session):
        raise SchemaError(f"{where}: {event!r} is not an event (a trial column in s). {nearest(event, events(session))}")
    edges = _edge_ticks(window_s, bin_width_s, ticks_per_s, where)
    event_s = session[event].to_numpy().astype(np.float64)
    happened = np.isfinite(event_s)
    event_ticks = np.rint(np.where(happened, event_s, 0.0) * ticks_per_s).astype(np.int64)
    start, stop = _recorded_ticks(session, ticks_per_s)
    at = event_ticks[:, None] + edges
    inside = happened[:, None] & (at[:, :-1] >= start[:, None]) & (at[:, 1:] <= stop[:, None])
    if not inside.any():
        first = event_s[happened][0] if happened.any() else np.nan
        raise SchemaError(
            f"{where}: no bin of the window {tuple(window_s)} s around {event!r} lies inside the recording in any of "
            f"{len(event_s)} trials ({happened.sum()} have the event; the first is at {first:g} s, the recording runs "
            f"from {start.min() / ticks_per_s:g} to {stop.max() / ticks_per_s:g} s). "
            f"Are the window and the events in seconds?"
        )
    return edges, event_ticks, inside


def _edge_ticks(window_s: tuple[float, float], bin_width_s: float, ticks_per_s: float, where: str) -> np.ndarray:
    """Bin edges from the event in ticks, exact: decimals are taken at their written value."""
    try:
        start, stop = (Fraction(repr(float(limit))) for limit in window_s)
        width, rate = Fraction(repr(float(bin_width_s))), Fraction(repr(float(ticks_per_s)))
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{where}: window_s must be (start, stop) and bin_width_s a number, both finite and in s; "
            f"got {window_s!r} and {bin_width_s!r}."
        ) from error
    if width <= 0 or stop <= start:
        raise SchemaError(
            f"{where}: expected a window with start < stop and a positive bin width in s, "
            f"got window_s={tuple(window_s)}, bin_width_s={bin_width_s}."
        )
    if ((stop - start) / width).denominator != 1:
        n_bins = round((stop - start) / width)
        raise SchemaError(
            f"{where}: window_s={tuple(window_s)} holds {float((stop - start) / width):.4g} bins of {bin_width_s} s, "
            f"not a whole number. The nearest window is ({float(start):g}, {float(start + max(n_bins, 1) * width):g})."
        )
    if width * rate < 1:
        raise SchemaError(
            f"{where}: a bin of {bin_width_s} s is shorter than one tick (1/{ticks_per_s:g} s). "
            f"Is bin_width_s in seconds? The recording cannot resolve it."
        )
    n_bins = int((stop - start) / width)
    exact = [(start + k * width) * rate for k in range(n_bins + 1)]
    return np.array([-(-edge.numerator // edge.denominator) for edge in exact], dtype=np.int64)


def _recorded_ticks(session: xr.Dataset, ticks_per_s: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last recorded tick of each trial."""
    n_trials = session.sizes["trial"]
    if "recorded_start" in session.coords:
        limits = [session[name].to_numpy() for name in ("recorded_start", "recorded_stop")]
    elif "recorded_s" in session.attrs:
        limits = [np.full(n_trials, limit) for limit in session.attrs["recorded_s"]]
    else:
        sample_time = session["sample_time"].to_numpy()
        limits = [np.full(n_trials, sample_time[0]), np.full(n_trials, sample_time[-1])]
    start, stop = (np.rint(np.asarray(limit, float) * ticks_per_s).astype(np.int64) for limit in limits)
    return start, stop


def _count(
    ticks: np.ndarray,
    unit: np.ndarray,
    event_ticks: np.ndarray,
    inside: np.ndarray,
    edges: np.ndarray,
    n_units: int,
    count_type: np.dtype,
) -> np.ndarray:
    """Counts (n_trials, n_times, n_units); NaN outside the recording.

    Spikes are sorted, so the edges are looked up among the spikes and not the spikes among the edges.
    """
    n_trials, n_bins = inside.shape
    out = np.zeros((n_trials, n_bins, n_units), count_type if inside.all() else np.float32)
    first_cell = np.arange(n_bins) * n_units
    ceiling = np.iinfo(count_type).max
    low = np.searchsorted(ticks, event_ticks + edges[0])
    high = np.searchsorted(ticks, event_ticks + edges[-1])
    for trial in range(n_trials):
        here = slice(low[trial], high[trial])
        at = np.searchsorted(ticks[here], event_ticks[trial] + edges)
        cell = np.repeat(first_cell, np.diff(at))
        cell += unit[here]
        counts = np.bincount(cell, minlength=n_bins * n_units)
        if counts.max() > ceiling:
            raise SchemaError(
                f"trial {trial}: {counts.max()} spikes of one unit in one bin, more than {COUNT_CEILING_HZ:g} Hz allows. "
                f"Look for duplicated spikes or a unit that is an artefact."
            )
        out[trial] = counts.reshape(n_bins, n_units)
    if out.dtype == np.float32:
        out[~inside] = np.nan
    return out


def _count_lazily(
    session: xr.Dataset, event_ticks: np.ndarray, inside: np.ndarray, edges: np.ndarray, count_type: np.dtype
) -> Any:
    """As ``_count``, as a dask array; each block of trials reads only the spike chunks that it touches."""
    ticks, unit = session["spike_time"].data, session["spike_unit"].data.rechunk(session["spike_time"].chunks)
    starts = np.concatenate([[0], np.cumsum(ticks.chunks[0])])
    first_tick = _first_ticks(session, starts[:-1])
    n_units = session.sizes["unit"]
    out_type = count_type if inside.all() else np.dtype(np.float32)
    jobs, sizes = [], []
    for block in _blocks(len(event_ticks)):
        usable = inside[block].any(axis=1)
        at = event_ticks[block][usable]
        low = high = 0
        if usable.any():
            low = max(int(np.searchsorted(first_tick, at.min() + edges[0], side="left")) - 1, 0)
            high = int(np.searchsorted(first_tick, at.max() + edges[-1], side="left"))
        here = slice(int(starts[low]), int(starts[max(high, low)]))
        jobs.append(
            (_count_block, ticks[here], unit[here], event_ticks[block], inside[block], edges, n_units, count_type, out_type)
        )
        sizes.append(len(usable))
    return _stack_lazily(jobs, (len(edges) - 1, n_units), out_type, sizes)


def _count_block(
    ticks: np.ndarray,
    unit: np.ndarray,
    event_ticks: np.ndarray,
    inside: np.ndarray,
    edges: np.ndarray,
    n_units: int,
    count_type: np.dtype,
    out_type: np.dtype,
) -> np.ndarray:
    return _count(ticks, unit, event_ticks, inside, edges, n_units, count_type).astype(out_type, copy=False)


def _first_ticks(session: xr.Dataset, starts: np.ndarray) -> np.ndarray:
    """First tick of each chunk: from the stored ``spike_index``, else by reading one spike a chunk."""
    if "spike_index" in session:
        per_block = int(session["spike_index"].attrs["spikes_per_block"])
        index = session["spike_index"].to_numpy()
        if np.all(starts % per_block == 0) and len(index) * per_block >= session.sizes["spike"]:
            return index[starts // per_block]
    return session["spike_time"].data[starts].compute()


def _stack_lazily(jobs: Sequence[tuple], shape: tuple[int, int], dtype: np.dtype, sizes: Sequence[int]) -> Any:
    """One dask block of trials for each job ``(function, *arguments)``."""
    import dask
    import dask.array

    blocks = [
        dask.array.from_delayed(dask.delayed(function, pure=True)(*arguments), (size, *shape), dtype)
        for (function, *arguments), size in zip(jobs, sizes, strict=True)
    ]
    return dask.array.concatenate(blocks)


def _blocks(n_trials: int) -> list[slice]:
    return [slice(start, min(start + TRIALS_PER_BLOCK, n_trials)) for start in range(0, n_trials, TRIALS_PER_BLOCK)]


def _bin_means(trace: np.ndarray, positions: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Means (n_trials, n_times, n_units) of the samples between consecutive positions; NaN where none."""
    n_trials, n_bins = inside.shape
    out = np.full((n_trials, n_bins, trace.shape[1]), np.nan, np.float32)
    for trial in range(n_trials):
        at = positions[trial]
        filled = np.flatnonzero(np.diff(at) > 0)
        if filled.size:
            samples = np.asarray(trace[at[0] : at[-1]], dtype=np.float64)
            sums = np.add.reduceat(samples, (at - at[0])[filled], axis=0)
            out[trial, filled] = sums / np.diff(at)[filled, None]
    out[~inside] = np.nan
    return out


def _bin_means_lazily(session: xr.Dataset, positions: np.ndarray, inside: np.ndarray) -> Any:
    """As ``_bin_means``, as a dask array; each block of trials reads only its samples."""
    jobs, sizes = [], []
    for block in _blocks(len(positions)):
        usable = inside[block].any(axis=1)
        at = positions[block]
        low, high = (int(at[usable].min()), int(at[usable].max())) if usable.any() else (0, 0)
        at = np.where(usable[:, None], at - low, 0)
        jobs.append((_bin_means, session["trace"].data[low:high], at, inside[block]))
        sizes.append(len(usable))
    return _stack_lazily(jobs, (inside.shape[1], session.sizes["unit"]), np.dtype(np.float32), sizes)


def _labelled(
    session: xr.Dataset, values: Any, event: str, window_s: tuple[float, float], bin_width_s: float, units: str
) -> xr.DataArray:
    n_bins = values.shape[1]
    time = window_s[0] + (np.arange(n_bins) + 0.5) * bin_width_s
    coords = {
        name: column for name, column in session.coords.items() if column.dims in (("trial",), ("unit",))
    }
    attrs = {name: session.attrs[name] for name in ("session", "animal")}
    attrs |= {"event": event, "window_s": [float(limit) for limit in window_s], "bin_width_s": float(bin_width_s)}
    attrs |= {"units": units, "averaged_over_trials": bool(session.attrs.get("averaged_over_trials", False))}
    activity = xr.DataArray(values, dims=("trial", "time", "unit"), coords=coords, attrs=attrs, name="activity")
    return activity.assign_coords(time=("time", np.round(time, 9), {"units": "s", "from": event}))
