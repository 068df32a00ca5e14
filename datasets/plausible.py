"""What no recording does: the marks of milliseconds taken for seconds, and of seconds for milliseconds.

Nothing is converted and no unit is guessed: what is implausible is said, and the caller decides.
Not here: what is impossible in itself, such as unsorted spikes, which ``schema`` refuses.
"""

import numpy as np

from .errors import SchemaError

HIGHEST_RATE_HZ = 1000.0  # no neuron fires faster, averaged over its hundred spikes or more
SHORTEST_INTERVAL_S = 0.5  # among a thousand spikes, some unit has two that are closer than this
SHORTEST_TRIAL_S = 0.005  # no experiment has trials that follow each other faster


def check_rates(ticks: np.ndarray, unit: np.ndarray, per_s: float, ids: np.ndarray, where: str) -> None:
    """Refuse a unit faster than 1000 Hz, and spikes that are nowhere within 0.5 s of each other.

    Parameters
    ----------
    ticks, unit : (n_spikes,) sorted times and positions on ``ids``
    per_s : ticks per s
    ids : (n_units,) unit ids
    where : session, for the message

    Raises
    ------
    SchemaError : with the unit, its number of spikes and the implausible rate or interval
    """
    counts = np.bincount(unit, minlength=len(ids))
    busiest = int(np.argmax(counts))
    mine = ticks[unit == busiest]
    if len(mine) > 100:
        span_s = (mine[-1] - mine[0] + 1) / per_s
        if len(mine) / span_s > HIGHEST_RATE_HZ:
            raise SchemaError(
                f"{where}: the {len(mine)} spikes of unit {str(ids[busiest])!r} lie within {span_s:.3g} s, "
                f"{len(mine) / span_s:.0f} Hz, and no neuron is as fast. Were times in s divided as if they were "
                f"milliseconds, or is ticks_per_s too large?"
            )
    shortest_s = _shortest_interval(mine, per_s)
    if len(ticks) >= 1000 and shortest_s > SHORTEST_INTERVAL_S:
        order = np.argsort(unit, kind="stable")
        gaps = np.diff(ticks[order])[np.diff(unit[order].astype(np.int64)) == 0]
        shortest_s = gaps.min() / per_s if gaps.size else np.inf
        if SHORTEST_INTERVAL_S < shortest_s < np.inf:
            raise SchemaError(
                f"{where}: spikes of one unit are never closer than {shortest_s:g} s, among {len(ticks)} spikes of "
                f"{len(ids)} units, which is implausible. Are times in milliseconds or samples? mitral takes seconds."
            )


def check_event_times(event_s: np.ndarray, name: str, where: str) -> None:
    """Refuse ten or more trials whose events follow each other within 5 ms (the median over trials).

    Parameters
    ----------
    event_s : (n_trials,) times in s in any order, NaN where it did not happen
    name : of the event
    where : session, for the message

    Raises
    ------
    SchemaError : with the median interval
    """
    times = np.unique(event_s[np.isfinite(event_s)])
    if len(times) >= 10 and np.median(np.diff(times)) < SHORTEST_TRIAL_S:
        raise SchemaError(
            f"{where}: the events {name!r} of {len(times)} trials follow each other every "
            f"{np.median(np.diff(times)):.2g} s (median), from {times[0]:g} to {times[-1]:g} s, which is implausible. "
            f"Were times in s divided as if they were milliseconds?"
        )


def _shortest_interval(ticks: np.ndarray, per_s: float) -> float:
    return float(np.diff(ticks).min()) / per_s if len(ticks) > 1 else np.inf
