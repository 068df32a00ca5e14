"""From a session to activity: spikes counted, or traces averaged, in bins around an event.

Sessions in memory give numpy; sessions from a store (dask) give dask, by blocks of trials, and
nothing is computed until it is asked for. What counts as a bin is decided in integer ticks:

    bin k holds the ticks t with  ceil((start + k w) r) <= t - e < ceil((start + (k+1) w) r)

with e the tick nearest to the event, r ticks per s, w the bin width, in exact rational arithmetic.
A bin lies inside the recording if both its edges do, to half a tick.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from .errors import SchemaError
from .plausible import check_event_times
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
    (NaN). Lazy, by blocks of 50 trials, if the session is

    Raises
    ------
    SchemaError : ``event`` is no event or happened in no trial; the window holds no whole number of bins,
        is longer than the recording, or lies wholly outside it in most trials; events that follow each
        other within 5 ms; a unit with more spikes in a bin than 4000 Hz (if lazy, when computed)

    Notes
    -----
    Time O(n_spikes in the windows + n_trials · n_times · n_units); memory the output and one trial.
    Cutting a lazy session computes nothing if it has a ``spike_index``, as in a store; else it reads
    ``spike_time`` once, for the first spike of each chunk.

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
    count_type = np.min_scalar_type(int(bin_width_s * COUNT_CEILING_HZ) + 1)
    count = partial(
        _count,
        edges=edges,
        n_units=session.sizes["unit"],
        ceiling=np.iinfo(count_type).max,
        dtype=count_type if inside.all() else np.dtype(np.float32),
        where=f"session {session.attrs['session']!r}",
    )
    trial = session["trial"].to_numpy()
    if session["spike_time"].chunks is None:
        values = count(session["spike_time"].to_numpy(), session["spike_unit"].to_numpy(), trial, event_ticks, inside)
    else:
        values = _count_lazily(session, count, event_ticks, inside)
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
    activity (trial, time, unit), float32, in the trace's units; NaN in bins that hold no sample, or
    one that is NaN. Lazy, by blocks of 50 trials, if the session is

    Raises
    ------
    SchemaError : as ``bin_spikes``; no trace

    Examples
    --------
    >>> from mitral.datasets.schema import make_session
    >>> session = make_session(
    ...     "s", "m", trials={"onset": [1.0]}, trial_units={"onset": "s"}, units={"unit": ["s/u0"]},
    ...     recorded_s=(0, 2), trace=[[1.0], [2.0], [4.0], [8.0]], sample_time_s=[0.5, 1.0, 1.1, 1.2])
    >>> traces_around(session, event="onset", window_s=(0.0, 0.4), bin_width_s=0.2).values.ravel().tolist()
    [3.0, 8.0]
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
    """Edges (n_times + 1,) in ticks from the event, event ticks (n_trials,), inside (n_trials, n_times).

    The event tick of a trial without a bin inside is 0, and must not be looked at.
    """
    where = f"session {session.attrs['session']!r}"
    if event not in events(session):
        raise SchemaError(f"{where}: {event!r} is no event (a trial column in s). {nearest(event, events(session))}")
    edges_s = _exact_edges(window_s, bin_width_s, ticks_per_s, session)
    event_s = session[event].to_numpy().astype(np.float64)
    check_event_times(event_s, event, where)
    start_s, stop_s = _recorded_s(session)
    half = 0.5 / ticks_per_s
    at = event_s[:, None] + np.array(edges_s, dtype=np.float64)
    inside = (at[:, :-1] >= start_s[:, None] - half) & (at[:, 1:] <= stop_s[:, None] + half)
    _check_inside(session, event, window_s, event_s, inside)
    usable = inside.any(axis=1)
    event_ticks = np.rint(np.where(usable, event_s, 0.0) * ticks_per_s).astype(np.int64)
    edges = [edge * Fraction(ticks_per_s) for edge in edges_s]
    return np.array([-(-edge.numerator // edge.denominator) for edge in edges], np.int64), event_ticks, inside


def _exact_edges(
    window_s: tuple[float, float], bin_width_s: float, ticks_per_s: float, session: xr.Dataset
) -> list[Fraction]:
    """Bin edges in s from the event, exact: decimals are taken at their written value."""
    where = f"session {session.attrs['session']!r}"
    try:
        start, stop = (Fraction(repr(float(limit))) for limit in window_s)
        width = Fraction(repr(float(bin_width_s)))
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{where}: window_s must be (start, stop) and bin_width_s a number, both finite and in s; "
            f"got {window_s!r} and {bin_width_s!r}."
        ) from error
    got = f"window_s=({float(start):g}, {float(stop):g}), bin_width_s={float(width):g}"
    if width <= 0 or stop <= start:
        raise SchemaError(f"{where}: expected a window with start < stop and a positive bin width in s, got {got}.")
    if width > stop - start:
        raise SchemaError(f"{where}: the bin is wider than the window, {got}. Both are in s: is one in milliseconds?")
    if ((stop - start) / width).denominator != 1:
        whole = float(start + round((stop - start) / width) * width)
        raise SchemaError(
            f"{where}: the window holds {float((stop - start) / width):.4g} bins, not a whole number, {got}. "
            f"The nearest window is ({float(start):g}, {whole:g})."
        )
    if width * Fraction(ticks_per_s) < 1:
        raise SchemaError(
            f"{where}: a bin is shorter than a tick of the recording (1/{ticks_per_s:g} s), {got}. "
            f"Both are in s; take wider bins."
        )
    longest = float(np.max(np.subtract(*reversed(_recorded_s(session)))))
    if float(stop - start) > longest + 1 / ticks_per_s:
        raise SchemaError(
            f"{where}: the window is {float(stop - start):g} s long and no trial can hold it: at most {longest:g} s "
            f"were recorded in one stretch, {got}. Both are in s: are these milliseconds?"
        )
    return [start + k * width for k in range(int((stop - start) / width) + 1)]


def _recorded_s(session: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop (n_trials,) of what was recorded of each trial, in s."""
    if "recorded_start" in session.coords:
        return session["recorded_start"].to_numpy().astype(float), session["recorded_stop"].to_numpy().astype(float)
    start_s, stop_s = session.attrs["recorded_s"]
    n_trials = session.sizes["trial"]
    return np.full(n_trials, float(start_s)), np.full(n_trials, float(stop_s))


def _check_inside(
    session: xr.Dataset, event: str, window_s: tuple[float, float], event_s: np.ndarray, inside: np.ndarray
) -> None:
    """Refuse what has most of its trials outside the recording: another unit, or another clock."""
    where = f"session {session.attrs['session']!r}"
    happened = np.isfinite(event_s)
    if not happened.any():
        raise SchemaError(f"{where}: event {event!r} is NaN in all {len(event_s)} trials. Choose one that happened.")
    outside = np.flatnonzero(happened & ~inside.any(axis=1))
    if 2 * len(outside) > happened.sum():
        first, (start_s, stop_s) = outside[0], _recorded_s(session)
        raise SchemaError(
            f"{where}: no bin of the window ({float(window_s[0]):g}, {float(window_s[1]):g}) s around {event!r} lies "
            f"inside the recording in {len(outside)} of {happened.sum()} trials; in trial "
            f"{session['trial'].to_numpy()[first]} the event is at {event_s[first]:g} s, and {start_s[first]:g} to "
            f"{stop_s[first]:g} s were recorded. Are event and window in seconds, on the recording's clock? "
            f"If so, select the trials that were recorded, session.isel(trial=...)."
        )


def _count(
    ticks: np.ndarray,
    unit: np.ndarray,
    trial: np.ndarray,
    event_ticks: np.ndarray,
    inside: np.ndarray,
    *,
    edges: np.ndarray,
    n_units: int,
    ceiling: int,
    dtype: np.dtype,
    where: str,
) -> np.ndarray:
    """Counts (n_trials, n_times, n_units) in ``dtype``; NaN outside the recording.

    Spikes are sorted, so the edges are looked up among the spikes and not the spikes among the edges.
    """
    n_trials, n_bins = inside.shape
    out = np.zeros((n_trials, n_bins, n_units), dtype)
    first_cell = np.arange(n_bins) * n_units
    low = np.searchsorted(ticks, event_ticks + edges[0])
    high = np.searchsorted(ticks, event_ticks + edges[-1])
    for i in np.flatnonzero(inside.any(axis=1)):
        here = slice(low[i], high[i])
        at = np.searchsorted(ticks[here], event_ticks[i] + edges)
        cell = np.repeat(first_cell, np.diff(at))
        cell += unit[here]
        counts = np.bincount(cell, minlength=n_bins * n_units)
        if counts.max() > ceiling:
            raise SchemaError(
                f"{where}, trial {trial[i]}: {counts.max()} spikes of the unit at position {counts.argmax() % n_units} "
                f"in one bin, more than {COUNT_CEILING_HZ:g} Hz. Look for repeated spikes, or for an artefact."
            )
        out[i] = counts.reshape(n_bins, n_units)
    if out.dtype.kind == "f":
        out[~inside] = np.nan
    return out


def _count_lazily(
    session: xr.Dataset, count: partial[np.ndarray], event_ticks: np.ndarray, inside: np.ndarray
) -> Any:
    """As ``count`` does, as a dask array; each block of trials reads only the spike chunks that it touches."""
    ticks = session["spike_time"].data
    unit = session["spike_unit"].chunk({"spike": ticks.chunks[0]}).data
    edges, n_units, dtype = count.keywords["edges"], count.keywords["n_units"], count.keywords["dtype"]
    sizes = np.array(ticks.chunks[0])
    starts = (np.cumsum(sizes) - sizes)[sizes > 0]
    bounds = np.append(starts, ticks.shape[0])
    first_tick = _first_ticks(session, starts)
    trial = session["trial"].to_numpy()
    jobs = []
    for block in _blocks(len(event_ticks)):
        usable = inside[block].any(axis=1)
        at = event_ticks[block][usable]
        low = high = 0
        if usable.any():
            low = max(int(np.searchsorted(first_tick, at.min() + edges[0])) - 1, 0)
            high = max(int(np.searchsorted(first_tick, at.max() + edges[-1])), low)
        here = slice(int(bounds[low]), int(bounds[high]))
        jobs.append((count, ticks[here], unit[here], trial[block], event_ticks[block], inside[block]))
    return _stack_lazily(jobs, (len(edges) - 1, n_units), dtype)


def _first_ticks(session: xr.Dataset, starts: np.ndarray) -> np.ndarray:
    """Tick of the spikes at ``starts``: from the stored ``spike_index`` if it is of these spikes, else read."""
    if "spike_index" in session:
        per_block = int(session["spike_index"].attrs["spikes_per_block"])
        index = session["spike_index"].to_numpy()
        if np.all(starts % per_block == 0) and len(index) == -(-session.sizes["spike"] // per_block):
            return index[starts // per_block]
    return session["spike_time"].data[starts].compute()


def _stack_lazily(jobs: Sequence[tuple], shape: tuple[int, int], dtype: np.dtype) -> Any:
    """One dask block of trials for each job ``(function, *arguments, inside)``."""
    import dask
    import dask.array

    blocks = [
        dask.array.from_delayed(dask.delayed(function, pure=True)(*arguments), (len(arguments[-1]), *shape), dtype)
        for function, *arguments in jobs
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
    jobs = []
    for block in _blocks(len(positions)):
        usable = np.flatnonzero(inside[block].any(axis=1))
        at = positions[block][usable]
        low, high = (int(at.min()), int(at.max())) if usable.size else (0, 0)
        relative = np.zeros_like(positions[block])
        relative[usable] = at - low
        jobs.append((_bin_means, session["trace"].data[low:high], relative, inside[block]))
    return _stack_lazily(jobs, (inside.shape[1], session.sizes["unit"]), np.dtype(np.float32))


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
