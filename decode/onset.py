"""When a score rises above chance: onset with family-wise control, and clusters that give none.

The onset is the first of several bins in a row whose score beats the largest score over all bins of a
permuted null (max-statistic), so the whole time course has one false-positive rate. Clusters of bins
say that there is an effect somewhere; they give no onset (Sassenhagen & Draschkow 2019,
doi 10.1111/psyp.13335).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from . import metrics

LEVEL = 0.05


def onset(result: xr.Dataset, *, n_bins_in_row: int = 2, level: float = LEVEL) -> dict[str, Any]:
    """The first time from which a target can be decoded.

    Parameters
    ----------
    result : of ``with_null_over_time``
    n_bins_in_row : bins that must follow each other below ``level``; more are less easily fooled, and later
    level : family-wise false-positive rate of the whole time course

    Returns
    -------
    onset_s (None if the score never rises), bin_width_s, and ``meaning``, a sentence

    Raises
    ------
    SchemaError : the result has no family-wise p values

    Notes
    -----
    With few permutations no p reaches the level: at least 1 / level - 1 are needed.
    """
    if "p_familywise" not in result:
        why = [said for said in result.attrs.get("warnings", []) if said.startswith("No p value")]
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: this result has no family-wise p values. "
            f"{why[0] if why else 'Draw a null first: with_null_over_time(...).'}"
        )
    first = _first_run(result["p_familywise"].to_numpy() <= level, n_bins_in_row)
    time = None if first is None else float(result["time"].to_numpy()[first])
    words = "never" if time is None else f"from {time:g} s"
    return {
        "onset_s": time,
        "bin_width_s": float(result.attrs["bin_width_s"]),
        "meaning": f"{result.attrs['target']} can be decoded {words} ({n_bins_in_row} bins in a row above the largest "
        f"score over all bins of shuffled labels, family-wise level {level:g}).",
    }


def onset_interval(
    results: Sequence[xr.Dataset],
    *,
    random_state: int,
    n_bootstrap: int = 1000,
    n_bins_in_row: int = 2,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Median onset over animals, with an interval that resamples animals.

    Parameters
    ----------
    results : one per animal, of ``with_null_over_time``
    random_state, n_bootstrap : of the bootstrap
    n_bins_in_row, level : as in ``onset``

    Returns
    -------
    onset_s, onset_low_s, onset_high_s (95 %), n_animals, n_without_onset; an animal without onset counts
    as infinitely late, so the interval may have no end (None)

    Raises
    ------
    SchemaError : no results, or one without family-wise p values
    """
    if not results:
        raise SchemaError("an onset over animals needs at least one result, got none.")
    single = [onset(result, n_bins_in_row=n_bins_in_row, level=level)["onset_s"] for result in results]
    times = np.array([np.inf if time is None else time for time in single])
    rng = np.random.default_rng(random_state)
    drawn = times[rng.integers(0, len(times), (n_bootstrap, len(times)))]
    medians = np.sort(_median(drawn))
    low, high = (medians[int(q * (n_bootstrap - 1))] for q in (0.025, 0.975))
    return {
        "onset_s": _finite(_median(times[None])[0]),
        "onset_low_s": _finite(low),
        "onset_high_s": _finite(high),
        "n_animals": len(times),
        "n_without_onset": int(np.isinf(times).sum()),
    }


def clusters(result: xr.Dataset, *, forming: float = 0.95) -> xr.Dataset:
    """Runs of bins above the null, each with a p value for its mass (Maris & Oostenveld 2007).

    Parameters
    ----------
    result : of ``with_null_over_time``
    forming : quantile of the null at each bin that a bin must pass to belong to a cluster

    Returns
    -------
    Dataset over ``cluster``: start_s, stop_s (centres of the first and last bin), mass (score above the
    forming quantile, summed), p_value against the largest mass of each permutation. attrs ``meaning``
    says that a cluster gives no onset

    Raises
    ------
    SchemaError : the result has no null over time
    """
    if "null_score" not in result or "time" not in result["null_score"].dims:
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: this result has no null over time. "
            f"Draw one first: with_null_over_time(...)."
        )
    sign = -1.0 if result.attrs["metric"] in metrics.SMALLER_IS_BETTER else 1.0
    null = sign * result["null_score"].to_numpy()
    threshold = np.quantile(null, forming, axis=0)
    largest = np.array([max((mass for *_, mass in _runs(row - threshold)), default=0.0) for row in null])
    found = _runs(sign * result["score"].to_numpy() - threshold)
    time, m = result["time"].to_numpy(), len(null)
    return xr.Dataset(
        {
            "start_s": ("cluster", [float(time[start]) for start, _, _ in found]),
            "stop_s": ("cluster", [float(time[stop - 1]) for _, stop, _ in found]),
            "mass": ("cluster", [mass for *_, mass in found]),
            "p_value": ("cluster", [(np.sum(largest >= mass) + 1) / (m + 1) for *_, mass in found]),
        },
        attrs={
            "kind": "clusters",
            "meaning": "A small p says that the target can be decoded somewhere in the window. "
            "Where a cluster starts is no onset: use onset(...) for that.",
        },
    )


def _first_run(is_above: np.ndarray, length: int) -> int | None:
    """Where the first run of at least ``length`` true values starts."""
    for start, stop, _ in _runs(np.where(is_above, 1.0, -1.0)):
        if stop - start >= length:
            return start
    return None


def _runs(height: np.ndarray) -> list[tuple[int, int, float]]:
    """(start, stop, sum) of every run of positive values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (height > 0).astype(int), [0]])))
    return [(int(a), int(b), float(height[a:b].sum())) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _median(times: np.ndarray) -> np.ndarray:
    """Lower median of each row, which stays a time that occurred even where some are infinite."""
    return np.sort(times, axis=1)[:, (times.shape[1] - 1) // 2]


def _finite(time: float) -> float | None:
    return float(time) if np.isfinite(time) else None
