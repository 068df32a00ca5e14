"""Sniffs: inhalations found in a sensor's signal, the first one of each trial, each as a trial of its own, and phase.

A **sniff table** is an ``xr.Dataset`` on ``sniff``: ``inhalation_onset`` and ``inhalation_end`` in s, ``quality``
from 0 to 1. Nothing is dropped in silence: what is poor has a low quality, what is missing is NaN and counted.
"""

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter1d, median_filter
from scipy.signal import butter, find_peaks, sosfiltfilt

from .errors import SchemaError
from .schema import check_session, events
from .tables import nearest

SENSORS = ("pressure", "flow", "thermistor")
FASTEST_HZ = 15.0  # sniffs of a mouse; a cycle is no shorter
CUTOFF_HZ = 26.0  # of the smoothing, zero phase
SHORTEST_S = 0.02  # between two onsets that mark a cycle
BASELINE_S = 2.0  # over which the level of no flow is taken as constant
LEAST_SHARE = 0.25  # of the typical depth that an inhalation must have
LEAST_QUALITY = 0.3
LOW = 0.1  # share of the peak down to which its sides are followed


def find_sniffs(
    session: xr.Dataset, *, signal: str = "sniff", sensor: str = "pressure", inhalation_is: str = "negative"
) -> xr.Dataset:
    """Onset and end of every inhalation in a signal of a session.

    The rise of each inhalation is continued as a straight line to the level of no flow: where it meets that level
    is the onset, and in the same way the end. Slow swings, as of a moving head, are taken off. A thermistor follows
    the integral of the flow, so its signal is differentiated first.

    Parameters
    ----------
    session : with the signal ``signal`` on its clock ``<signal>_time``
    sensor : "pressure", "flow" or "thermistor"
    inhalation_is : "negative" or "positive": the sign of the signal (of its change, for a thermistor) while air
        goes in

    Returns
    -------
    sniff table; quality is the depth against the median of its 30 neighbours, min(d / m, m / d), and 0 where samples
    are missing

    Raises
    ------
    SchemaError : no such signal, a flat one, one slower than 60 Hz, an unknown sensor or sign
    """
    check_session(session)
    where = f"session {session.attrs['session']!r}"
    if signal not in session or f"{signal}_time" not in session.coords:
        signals = [str(name) for name in session.data_vars if f"{name}_time" in session.coords and name != "spike"]
        raise SchemaError(f"{where}: there is no signal {signal!r} with a clock. {nearest(signal, signals)}")
    time, values = session[f"{signal}_time"].to_numpy(), session[signal].to_numpy().astype(float)
    onset, end, quality = inhalations(time, values, sensor=sensor, inhalation_is=inhalation_is, where=where)
    return xr.Dataset(
        {
            "inhalation_onset": ("sniff", onset, {"units": "s"}),
            "inhalation_end": ("sniff", end, {"units": "s"}),
            "quality": ("sniff", quality),
        },
        coords={"sniff": np.arange(len(onset))},
        attrs={"session": session.attrs["session"], "signal": signal, "sensor": sensor}
        | {"n_poor": int((quality < LEAST_QUALITY).sum())},
    )


def inhalations(
    time_s: np.ndarray, values: np.ndarray, *, sensor: str, inhalation_is: str, where: str = "sniff signal"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onset, end (s) and quality (n_sniffs,) of the inhalations in plain arrays; see ``find_sniffs``.

    Raises
    ------
    SchemaError : as ``find_sniffs``
    """
    if sensor not in SENSORS:
        raise SchemaError(f"{where}: sensor {sensor!r}; expected one of {', '.join(SENSORS)}.")
    if inhalation_is not in ("negative", "positive"):
        raise SchemaError(f"{where}: inhalation_is must be 'negative' or 'positive', got {inhalation_is!r}.")
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else np.inf
    if 1 / step < 2 * CUTOFF_HZ:
        raise SchemaError(
            f"{where}: the signal has {1 / step:.3g} samples per s, and an onset needs at least {2 * CUTOFF_HZ:g}. "
            f"Is its clock in seconds?"
        )
    known = np.isfinite(values)
    if not known.any() or np.ptp(values[known]) == 0:
        what = f"is {values[known][0]:g} throughout" if known.any() else "holds no number"
        raise SchemaError(f"{where}: the signal {what}, so there are no inhalations. Was the sensor connected?")
    even = np.arange(time_s[0], time_s[-1] + step / 2, step)
    flow = np.interp(even, time_s[known], values[known]) * (1 if inhalation_is == "positive" else -1)
    gap = ~np.isin(np.rint((even - time_s[0]) / step), np.rint((time_s[known] - time_s[0]) / step))
    if sensor == "thermistor":
        flow = np.gradient(flow, step)
    smooth = sosfiltfilt(butter(2, CUTOFF_HZ, fs=1 / step, output="sos"), flow)
    level = _baseline(smooth, step)
    peak, depth = _peaks(smooth - level, step)
    if len(peak) == 0:
        raise SchemaError(f"{where}: no inhalation was found in {even[-1] - even[0]:.3g} s. Look at the signal.")
    for _ in range(2):
        onset = _foot(smooth - level, np.gradient(smooth - level, step), peak, even, -1)
        level = _without_swings(smooth, level, even, onset, depth)
        peak, depth = _peaks(smooth - level, step)
    smooth = smooth - level
    slope = np.gradient(smooth, step)
    onset, end = (_foot(smooth, slope, peak, even, side) for side in (-1, 1))
    typical = median_filter(depth, size=min(31, len(depth)), mode="nearest")
    quality = np.minimum(depth / typical, typical / depth)
    before, after = (np.clip(np.searchsorted(even, t), 0, len(even) - 1) for t in (onset, end))
    missing = np.r_[0, np.cumsum(gap)]
    quality[missing[after + 1] > missing[before]] = 0.0
    sound = (onset < end) & (np.diff(onset, prepend=-np.inf) > 0)
    return onset[sound], end[sound], quality[sound]


def with_first_inhalation(
    session: xr.Dataset,
    sniffs: xr.Dataset,
    *,
    event: str = "odor_onset",
    within_s: float = 1.0,
    least_quality: float = LEAST_QUALITY,
) -> xr.Dataset:
    """The session with the first inhalation that begins after an event, and its lag, as trial columns.

    Parameters
    ----------
    session, sniffs : as of ``find_sniffs``
    event : trial column in s, such as the opening of the valve
    within_s : longest lag
    least_quality : of the inhalation

    Returns
    -------
    session with ``inhalation_onset`` and ``inhalation_lag`` (both s), NaN in trials without one; attrs
    ``n_without_inhalation`` and ``trials_without_inhalation`` (ids)

    Raises
    ------
    SchemaError : no such event, sniffs of another session, no trial with an inhalation
    """
    onset, at = _after(session, sniffs, event, least_quality)
    time = session[event].to_numpy().astype(float)
    first = np.append(onset, np.nan)[at]
    first = np.where(first - time <= within_s, first, np.nan)
    missing = session["trial"].to_numpy()[~np.isfinite(first)]
    if len(missing) == session.sizes["trial"]:
        raise SchemaError(
            f"session {session.attrs['session']!r}: no trial has an inhalation within {within_s:g} s of {event!r}. Are "
            f"the sniff signal and {event!r} on one clock?"
        )
    lag = first - time
    columns = {"inhalation_onset": first, "inhalation_lag": lag}
    session = session.assign_coords({name: ("trial", v, {"units": "s"}) for name, v in columns.items()})
    session["inhalation_lag"].attrs["units"] = "seconds of lag"  # a length, not a time to cut around
    told = {"n_without_inhalation": len(missing), "trials_without_inhalation": missing.tolist()}
    return session.assign_attrs(session.attrs | told)


def sniffs_as_trials(
    session: xr.Dataset,
    sniffs: xr.Dataset,
    *,
    n_sniffs: int,
    event: str = "odor_onset",
    within_s: float = 3.0,
    least_quality: float = LEAST_QUALITY,
) -> xr.Dataset:
    """A session in which each of the first inhalations after an event is a trial of its own.

    Parameters
    ----------
    n_sniffs : how many inhalations of each trial, at most; fewer where fewer begin within ``within_s``
    session, sniffs, event, least_quality : as in ``with_first_inhalation``

    Returns
    -------
    session whose trials carry the columns of the trial that they come from, ``of_trial`` (its id: the group for
    folds, since sniffs of one trial are no independent trials), ``sniff_number`` from 1 and ``inhalation_onset``

    Raises
    ------
    SchemaError : as ``with_first_inhalation``; fewer than one sniff
    """
    if n_sniffs < 1:
        raise SchemaError(f"sniffs_as_trials: n_sniffs must be at least 1, got {n_sniffs}.")
    onset, at = _after(session, sniffs, event, least_quality)
    time = session[event].to_numpy().astype(float)
    rows: list[int] = []
    number: list[int] = []
    begins: list[float] = []
    for trial in np.flatnonzero(np.isfinite(time)):
        here = onset[at[trial] : at[trial] + n_sniffs]
        here = here[here - time[trial] <= within_s]
        rows += [int(trial)] * len(here)
        number += range(1, len(here) + 1)
        begins += here.tolist()
    if not rows:
        raise SchemaError(
            f"session {session.attrs['session']!r}: no trial has an inhalation within {within_s:g} s of {event!r}. Are "
            f"the sniff signal and {event!r} on one clock?"
        )
    chosen = session.isel(trial=rows)
    of_trial = chosen["trial"].to_numpy()
    chosen = chosen.assign_coords(trial=np.arange(len(rows)))
    return chosen.assign_coords(
        of_trial=("trial", of_trial),
        sniff_number=("trial", np.array(number)),
        inhalation_onset=("trial", np.array(begins), {"units": "s"}),
    )


def to_phase(time_s: np.ndarray, sniffs: xr.Dataset) -> np.ndarray:
    """Times as sniffs since the first inhalation: 2.0 is the onset of the third one; NaN outside all cycles.

    The inhalation and the rest of each cycle are stretched apart, so that all inhalations end at the same phase,
    the median share of a cycle.

    Raises
    ------
    SchemaError : fewer than two sniffs
    """
    time, phase = _knots(sniffs)
    return np.interp(time_s, time, phase, left=np.nan, right=np.nan)


def to_time(phase: np.ndarray, sniffs: xr.Dataset) -> np.ndarray:
    """The inverse of ``to_phase``: times in s; NaN outside all cycles.

    Raises
    ------
    SchemaError : fewer than two sniffs
    """
    time, knots = _knots(sniffs)
    return np.interp(phase, knots, time, left=np.nan, right=np.nan)


def _knots(sniffs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    onset, end = sniffs["inhalation_onset"].to_numpy(), sniffs["inhalation_end"].to_numpy()
    if len(onset) < 2:
        raise SchemaError(f"phase needs two sniffs, the onset of one and of the next; got {len(onset)}.")
    end = np.minimum(end[:-1], onset[1:] - 1e-9)
    share = float(np.median((end - onset[:-1]) / np.diff(onset)))
    time = np.append(np.stack([onset[:-1], end], axis=1).ravel(), onset[-1])
    phase = np.append((np.arange(len(onset) - 1)[:, None] + [0.0, share]).ravel(), len(onset) - 1.0)
    return time, phase


def _after(
    session: xr.Dataset, sniffs: xr.Dataset, event: str, least_quality: float
) -> tuple[np.ndarray, np.ndarray]:
    """Onsets of good sniffs, and for each trial the position of the first one after the event."""
    check_session(session)
    where = f"session {session.attrs['session']!r}"
    if event not in events(session):
        raise SchemaError(f"{where}: {event!r} is no event (a trial column in s). {nearest(event, events(session))}")
    if sniffs.attrs.get("session") != session.attrs["session"]:
        raise SchemaError(
            f"{where}: these sniffs are of session {sniffs.attrs.get('session')!r}. Find them in its own signal."
        )
    onset = sniffs["inhalation_onset"].to_numpy()[sniffs["quality"].to_numpy() >= least_quality]
    return onset, np.searchsorted(onset, np.nan_to_num(session[event].to_numpy().astype(float), nan=np.inf))


def _baseline(flow: np.ndarray, step: float) -> np.ndarray:
    """The level of no flow: a running median, on every tenth of a cycle."""
    every = max(1, int(0.02 / step))
    coarse = flow[::every]
    size = max(3, int(BASELINE_S / (every * step)) | 1)
    smooth = median_filter(coarse, size=min(size, len(coarse) | 1), mode="nearest")
    return np.interp(np.arange(len(flow)), np.arange(len(coarse)) * every, smooth)


def _peaks(flow: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and prominences of inhalations: the second pass compares with the typical one nearby."""
    distance = max(1, int(1 / (FASTEST_HZ * step)))
    spread = float(np.subtract(*np.quantile(flow, [0.95, 0.05])))
    peak, found = find_peaks(flow, distance=distance, prominence=0.1 * spread)
    depth = found["prominences"]
    if len(peak) == 0:
        return peak, depth
    deep = depth > 0.5 * np.quantile(depth, 0.9)
    typical = median_filter(np.where(deep, depth, np.median(depth[deep])), size=min(31, len(depth)), mode="nearest")
    kept = depth >= LEAST_SHARE * typical
    return peak[kept], depth[kept]


def _without_swings(
    smooth: np.ndarray, level: np.ndarray, time: np.ndarray, onset: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """The level of no flow, corrected where the mean of a cycle is far from it: as much air goes out as came in.

    There the level is the derivative of a cubic spline through the integral of the signal at the onsets.
    """
    knots = np.sort(np.clip(onset, time[0], time[-1]))
    knots = knots[np.diff(knots, prepend=-np.inf) > SHORTEST_S]
    if len(knots) < 8:
        return level
    step = time[1] - time[0]
    integral = np.r_[0, np.cumsum((smooth - level)[:-1] + (smooth - level)[1:]) * step / 2]
    at = np.interp(knots, time, integral)
    mean = np.diff(at) / np.diff(knots)
    usual = float(np.median(mean))
    swings = np.abs(mean - usual) > max(4 * float(np.median(np.abs(mean - usual))), 0.1 * float(np.median(depth)))
    swings = maximum_filter1d(swings.astype(float), 3)
    weight = np.interp(time, (knots[:-1] + knots[1:]) / 2, swings)
    inside = np.clip(time, knots[0], knots[-1])
    return level + weight * (CubicSpline(knots, at).derivative()(inside) - usual)


def _foot(smooth: np.ndarray, slope: np.ndarray, peak: np.ndarray, time: np.ndarray, side: int) -> np.ndarray:
    """Where the steepest part before (side -1) or after (1) each peak, continued straight, meets zero."""
    edge = np.r_[0, peak[:-1]] if side < 0 else np.r_[peak[1:], len(smooth) - 1]
    out = np.empty(len(peak))
    for k, (top, far) in enumerate(zip(peak, edge, strict=True)):
        way = np.arange(top, far + side, side)
        below = np.flatnonzero(smooth[way] < LOW * smooth[top])
        way = way[: max(int(below[0]), 1)] if below.size else way
        at = way[np.argmax(-side * slope[way])]
        out[k] = time[at] - smooth[at] / slope[at] if slope[at] else time[at]
    return out
