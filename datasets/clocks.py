"""One time for several clocks: the map from a device's clock to the recording's, from pulses that both saw.

Pulses may be lost or spurious on either side, and arrive with jitter; the clocks may start hours apart and
drift. What is matched, and how well, is reported; a match that could be another is refused.
"""

from dataclasses import dataclass

import numpy as np

from .errors import SchemaError

FEWEST_PULSES = 4
NEIGHBOURS = 3  # intervals to the next, second and third pulse, so that a lost pulse breaks only some
SEED_PULSES = 60  # pulses over which drift is ignored when the first match is sought
AMBIGUOUS = 0.8  # a second offset with this share of the votes of the first could be the true one


@dataclass(frozen=True)
class Clock:
    """reference = offset_s + rate · own, with what the fit left over.

    Attributes
    ----------
    offset_s, rate : of the line; ``drift_ppm`` is (rate - 1) · 10⁶
    n_matched, n_reference, n_own : pulses that were matched, and that each side saw
    residual_s : standard deviation of the matched pulses around the line
    wander_s : largest mean residual of any tenth of the pulses; far above ``residual_s`` the drift is not constant
    span_s : (first, last) matched pulse on the own clock; times outside are extrapolated
    """

    offset_s: float
    rate: float
    n_matched: int
    n_reference: int
    n_own: int
    residual_s: float
    wander_s: float
    span_s: tuple[float, float]

    @property
    def drift_ppm(self) -> float:
        """How much faster the reference runs, in parts per million."""
        return (self.rate - 1) * 1e6

    def to_reference(self, own_s: np.ndarray) -> np.ndarray:
        """Times of the own clock on the reference's, in s; NaN stays NaN."""
        return self.offset_s + self.rate * np.asarray(own_s, dtype=np.float64)

    def describe(self) -> str:
        """The match in a sentence."""
        return (
            f"{self.n_matched} pulses matched of {self.n_reference} and {self.n_own}: offset {self.offset_s:.4f} s, "
            f"drift {self.drift_ppm:.1f} ppm, residual {1e3 * self.residual_s:.2f} ms, wander "
            f"{1e3 * self.wander_s:.2f} ms"
        )


def fit_clock(
    reference_s: np.ndarray, own_s: np.ndarray, *, tolerance_s: float = 0.005, largest_drift_ppm: float = 500.0
) -> Clock:
    """Match the pulses that two clocks saw, and fit the line between them.

    Equal intervals vote for the offset that they imply; from the stretch with the most votes the match is carried
    on pulse by pulse in both directions, along a line that is fitted as it grows.

    Parameters
    ----------
    reference_s, own_s : times of the pulses on each clock in s, increasing
    tolerance_s : largest difference between two times of one pulse, after the fit
    largest_drift_ppm : largest drift that is looked for

    Returns
    -------
    clock, with ``to_reference``

    Raises
    ------
    SchemaError : fewer than four pulses, times that do not increase, no pulses in common, or a match that could be
        shifted, as with pulses at equal intervals

    Notes
    -----
    Time O(n²) in the seed of 60 pulses against all, then O(n log n).

    Examples
    --------
    >>> own = np.array([1.0, 2.5, 3.1, 5.0, 5.7])
    >>> clock = fit_clock(100 + 1.0001 * own, own)
    >>> clock.n_matched, round(clock.offset_s, 3), round(clock.drift_ppm)
    (5, 100.0, 100)
    """
    reference, own = (
        _pulses(times, name) for times, name in ((reference_s, "the reference clock"), (own_s, "the own clock"))
    )
    drift = largest_drift_ppm * 1e-6
    start, offset = _seed(reference, own, tolerance_s, drift)
    pairs = _carried_on(reference, own, start, offset, tolerance_s, drift)
    if len(pairs) < FEWEST_PULSES:
        raise SchemaError(_none_in_common(reference, own, tolerance_s))
    matched, seen = reference[pairs[:, 0]], own[pairs[:, 1]]
    rate, level = np.polyfit(seen - seen.mean(), matched, 1)
    residual = matched - (level + rate * (seen - seen.mean()))
    parts = np.array_split(residual, min(10, max(1, len(residual) // 5)))
    return Clock(
        offset_s=float(level - rate * seen.mean()),
        rate=float(rate),
        n_matched=len(pairs),
        n_reference=len(reference),
        n_own=len(own),
        residual_s=float(residual.std()),
        wander_s=float(max(abs(part.mean()) for part in parts)),
        span_s=(float(seen[0]), float(seen[-1])),
    )


def onsets_of(signal: np.ndarray, time_s: np.ndarray, *, threshold: float) -> np.ndarray:
    """Times in s at which a signal rises through a threshold, interpolated between samples.

    Parameters
    ----------
    signal, time_s : (n_samples,) a TTL line, licks, a photodiode; and its times
    threshold : in the signal's units

    Raises
    ------
    SchemaError : two lengths, or a signal that never crosses the threshold

    Examples
    --------
    >>> onsets_of(np.array([0, 0, 5, 5, 0, 5]), np.arange(6) / 10, threshold=2.5).tolist()
    [0.15000000000000002, 0.45]
    """
    signal, time_s = np.asarray(signal, dtype=np.float64), np.asarray(time_s, dtype=np.float64)
    if signal.ndim != 1 or signal.shape != time_s.shape:
        raise SchemaError(f"a signal and its times are two lists of one length, got {signal.shape}, {time_s.shape}.")
    before, after = signal[:-1], signal[1:]
    at = np.flatnonzero((before < threshold) & (after >= threshold))
    if at.size == 0:
        span = f"runs from {np.nanmin(signal):g} to {np.nanmax(signal):g}" if signal.size else "is empty"
        raise SchemaError(f"the signal {span} and never rises through {threshold:g}. Give a threshold in its range.")
    share = (threshold - before[at]) / (after[at] - before[at])
    return time_s[at] + share * (time_s[at + 1] - time_s[at])


def _pulses(times_s: np.ndarray, name: str) -> np.ndarray:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or len(times) < FEWEST_PULSES:
        raise SchemaError(
            f"{name} has pulses of shape {times.shape}; expected a list of at least {FEWEST_PULSES} times in s."
        )
    wrong = np.flatnonzero(~(np.diff(times, prepend=-np.inf) > 0) | ~np.isfinite(times))
    if wrong.size:
        raise SchemaError(
            f"{name} runs backwards or stands still: pulse {wrong[0]} is at {times[wrong[0]]:g} s after "
            f"{times[wrong[0] - 1]:g} s. Split the recording where its clock was reset, or sort and drop repeats."
        )
    return times


def _votes(reference: np.ndarray, own: np.ndarray, tolerance_s: float, drift: float) -> np.ndarray:
    """Offsets reference - own of the first pulses of equal intervals, sorted."""
    first, interval = _intervals(reference)
    order = np.argsort(interval)
    first, interval = first[order], interval[order]
    own_first, own_interval = _intervals(own)
    slack = 2 * tolerance_s + drift * own_interval
    low = np.searchsorted(interval, own_interval - slack)
    high = np.searchsorted(interval, own_interval + slack, side="right")
    lengths = high - low
    at = np.repeat(low - np.r_[0, np.cumsum(lengths)[:-1]], lengths) + np.arange(lengths.sum())
    return np.sort(first[at] - np.repeat(own_first, lengths))


def _intervals(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First pulse and length of every interval to one of the next three pulses."""
    steps = range(1, min(NEIGHBOURS, len(times) - 1) + 1)
    return (
        np.concatenate([times[:-step] for step in steps]),
        np.concatenate([times[step:] - times[:-step] for step in steps]),
    )


def _seed(reference: np.ndarray, own: np.ndarray, tolerance_s: float, drift: float) -> tuple[int, float]:
    """Position on ``own`` from which the match starts, and the offset there.

    Raises
    ------
    SchemaError : no stretch with enough equal intervals, or two offsets that are equally good
    """
    best: tuple[int, int, float, int] | None = None
    for start in range(0, max(len(own) - SEED_PULSES // 2, 1), SEED_PULSES // 2):
        stretch = own[start : start + SEED_PULSES]
        votes = _votes(reference, stretch, tolerance_s, drift)
        if votes.size == 0:
            continue
        width = 2 * tolerance_s + drift * (stretch[-1] - stretch[0])
        counts = np.searchsorted(votes, votes + width, side="right") - np.arange(len(votes))
        top = int(counts.argmax())
        far = np.abs(votes - votes[top]) > 2 * width
        second = int(counts[far].max()) if far.any() else 0
        if best is None or counts[top] - second > best[0] - best[3]:
            best = int(counts[top]), start, float(np.median(votes[top : top + counts[top]])), second
    if best is None or best[0] < FEWEST_PULSES - 1:
        raise SchemaError(_none_in_common(reference, own, tolerance_s))
    if best[3] > AMBIGUOUS * best[0]:
        raise SchemaError(
            f"the pulses match at more than one offset ({best[0]} and {best[3]} equal intervals), as pulses at equal "
            f"intervals do: the clocks could be whole intervals apart. Cut both to the pulses that they share, from "
            f"the same first one, or use pulses at random intervals."
        )
    return best[1], best[2]


def _carried_on(
    reference: np.ndarray, own: np.ndarray, start: int, offset: float, tolerance_s: float, drift: float
) -> np.ndarray:
    """Pairs (reference, own) of matched pulses, sorted, from the seed outwards."""
    window = slice(start, start + SEED_PULSES)
    slack = tolerance_s + drift * (own[window][-1] - own[window][0])
    pairs = _nearest_pairs(reference, own[window] + offset, slack)
    pairs[:, 1] += start
    for _ in range(3):  # the line through the seed, and its pairs again along that line
        level, rate, middle = _line(reference, own, pairs, drift)
        again = _nearest_pairs(reference, level + rate * (own[window] - middle), tolerance_s)
        if len(again) < FEWEST_PULSES:
            return again
        again[:, 1] += start
        pairs = again
    for step in (1, -1):
        edge = pairs[-1, 1] + 1 if step == 1 else pairs[0, 1] - 1
        while 0 <= edge < len(own):
            block = np.arange(edge, edge + step * SEED_PULSES, step)
            block = np.sort(block[(block >= 0) & (block < len(own))])
            near = pairs[-4 * SEED_PULSES :] if step == 1 else pairs[: 4 * SEED_PULSES]
            level, rate, middle = _line(reference, own, near, drift)
            found = _nearest_pairs(reference, level + rate * (own[block] - middle), tolerance_s)
            found[:, 1] = block[found[:, 1]]
            pairs = np.concatenate([pairs, found]) if step == 1 else np.concatenate([found, pairs])
            edge = block[-1] + 1 if step == 1 else block[0] - 1
    return pairs


def _line(reference: np.ndarray, own: np.ndarray, pairs: np.ndarray, drift: float) -> tuple[float, float, float]:
    """Level, rate and middle of the least-squares line; the rate is held within the largest drift."""
    x, y = own[pairs[:, 1]], reference[pairs[:, 0]]
    middle, level = float(np.mean(x)), float(np.median(y - x)) + float(np.mean(x))
    if len(pairs) < FEWEST_PULSES:
        return level, 1.0, middle
    rate = float(np.polyfit(x - middle, y, 1)[0])
    return float(y.mean()), float(np.clip(rate, 1 - drift, 1 + drift)), middle


def _nearest_pairs(reference: np.ndarray, expected: np.ndarray, slack: float) -> np.ndarray:
    """(position on reference, position on expected) of mutual nearest neighbours within ``slack``."""
    right = np.clip(np.searchsorted(reference, expected), 1, len(reference) - 1)
    nearest = np.where(expected - reference[right - 1] < reference[right] - expected, right - 1, right)
    apart = np.abs(reference[nearest] - expected)
    order = np.lexsort((apart, nearest))
    is_first = np.r_[True, np.diff(nearest[order]) > 0]
    chosen = order[is_first & (apart[order] <= slack)]
    return np.stack([nearest[chosen], chosen], axis=1)[np.argsort(chosen)]


def _none_in_common(reference: np.ndarray, own: np.ndarray, tolerance_s: float) -> str:
    return (
        f"no pulses in common: {len(reference)} pulses from {reference[0]:g} to {reference[-1]:g} s and {len(own)} "
        f"from {own[0]:g} to {own[-1]:g} s share fewer than {FEWEST_PULSES} intervals within {1e3 * tolerance_s:g} ms. "
        f"Check that both are onsets of the same line, in seconds, and of the same recording; or raise tolerance_s."
    )
