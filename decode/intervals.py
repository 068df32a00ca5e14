"""Intervals by bootstrap, over what was sampled: animals first, then sessions, then trials.

Folds are no sample: they share training trials, so no interval is taken over them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from ..datasets.errors import ConfigError, SchemaError
from . import metrics
from .result import check_result

LEVEL = 0.95


def with_interval(
    result: xr.Dataset, *, n_bootstrap: int = 1000, random_state: int, level: float = LEVEL
) -> xr.Dataset:
    """The result with an interval of its score over trials, or over groups where folds keep them whole.

    Parameters
    ----------
    result : of ``cross_validate``
    n_bootstrap : number of resamples
    random_state : seed
    level : coverage

    Returns
    -------
    result with attrs ``score_low``, ``score_high``, ``interval_level``, ``interval_over``

    Raises
    ------
    SchemaError : not a result, or one of pooled repeats, which has its spread already
    ConfigError : no resamples, or a level outside 0 to 1

    Notes
    -----
    Percentile bootstrap; trials are resampled within each class, so that every class stays. Over groups the
    percentiles are moved out to match Student's t for so few (expanded percentiles, Hesterberg 2015,
    doi 10.1080/00031305.2015.1089789). Measured coverage at 95 %: 0.90 with 6 trials in each class, 0.95 with 15;
    0.89 with 5 groups, 0.93 with 20.
    The fitted decoders are kept: the interval says how the score would vary with other test trials,
    not with other training trials.
    """
    _check_settings(n_bootstrap, level)
    resample, n_groups = _resampler(result)
    rng = np.random.default_rng(random_state)
    low, high = _limits([resample(rng) for _ in range(n_bootstrap)], level, n_groups)
    over = "groups of trials" if n_groups else "trials"
    return result.assign_attrs(score_low=low, score_high=high, interval_level=level, interval_over=over)


def hierarchical_interval(
    results: Sequence[xr.Dataset], *, n_bootstrap: int = 1000, random_state: int, level: float = LEVEL
) -> dict[str, float | str | int]:
    """Mean score over animals with an interval that resamples animals, then sessions, then trials.

    Parameters
    ----------
    results : one per session, each with attrs ``animal`` and ``session``
    n_bootstrap, random_state, level : as in ``with_interval``

    Returns
    -------
    score_mean, score_low, score_high, interval_level, interval_over, n_animals

    Raises
    ------
    SchemaError : no results, results of different targets or metrics, or of pooled repeats
    ConfigError : as ``with_interval``

    Notes
    -----
    Expanded percentiles as in ``with_interval``, over animals. Measured coverage at 95 % with 60 trials an animal:
    0.97 for 5 animals that differ by 0.15, above 0.99 where animals do not differ (the trials' noise is then
    counted twice). With 3 animals that differ 0.93, with 2 only 0.89: show the animals.
    """
    _check_settings(n_bootstrap, level)
    if not results:
        raise SchemaError("an interval over animals needs at least one result, got none. Decode a session first.")
    for key in ("target", "metric"):
        kinds = sorted({str(check_result(result).attrs[key]) for result in results})
        if len(kinds) > 1:
            raise SchemaError(f"results have different {key}s ({', '.join(kinds)}), so no mean. Take one at a time.")
    by_animal: dict[str, list[xr.Dataset]] = {}
    for result in results:
        by_animal.setdefault(str(result.attrs["animal"]), []).append(result)
    pairs = [[_resampler(result) for result in sessions] for sessions in by_animal.values()]
    resamplers = [[resample for resample, _ in sessions] for sessions in pairs]
    rng = np.random.default_rng(random_state)
    n_animals = len(resamplers)
    means = [
        float(np.mean([_resampled_animal(resamplers[i], rng) for i in rng.integers(0, n_animals, n_animals)]))
        for _ in range(n_bootstrap)
    ]
    low, high = _limits(means, level, n_animals if n_animals > 1 else 0)
    mean = np.mean([np.mean([r.attrs["score_mean"] for r in sessions]) for sessions in by_animal.values()])
    levels = ["animals"] * (n_animals > 1) + ["sessions"] * any(len(s) > 1 for s in resamplers)
    levels.append("groups of trials" if any(n_groups for s in pairs for _, n_groups in s) else "trials")
    return {
        "score_mean": float(mean),
        "score_low": low,
        "score_high": high,
        "interval_level": level,
        "interval_over": ", then ".join(levels) + (" of one animal" if n_animals == 1 else ""),
        "n_animals": n_animals,
    }


def _check_settings(n_bootstrap: int, level: float) -> None:
    if n_bootstrap < 1:
        raise ConfigError(f"n_bootstrap must be at least 1, got {n_bootstrap}. 1000 is usual.")
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}. For 95 % say level=0.95.")


def _limits(scores: Sequence[float], level: float, n_sampled: int) -> tuple[float, float]:
    """Percentiles of the scores; expanded if ``n_sampled`` groups or animals were resampled as wholes."""
    from scipy.stats import norm, t

    tail = (1 - level) / 2
    if n_sampled > 1:
        tail = norm.cdf(np.sqrt(n_sampled / (n_sampled - 1)) * t.ppf(tail, n_sampled - 1))
    low, high = np.nanquantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_animal(sessions: Sequence[Callable[[np.random.Generator], float]], rng: np.random.Generator) -> float:
    drawn = rng.integers(0, len(sessions), len(sessions)) if len(sessions) > 1 else [0]
    return float(np.mean([sessions[i](rng) for i in drawn]))


def _resampler(result: xr.Dataset) -> tuple[Callable[[np.random.Generator], float], int]:
    """A function that scores a bootstrap sample of the tested trials (or groups), and the number of groups (or 0)."""
    if "repeat_score" in check_result(result):
        raise SchemaError(
            f"result {result.attrs.get('name', '?')!r} is of pooled repeats, whose pseudo-trials are no sample of an "
            f"animal. Its score_low and score_high are the spread over repeats."
        )
    for_classes = "label" in result.coords
    score_of = metrics.metric_function(result.attrs["metric"], for_classes=for_classes)
    prediction, truth = result["prediction"].to_numpy(), result["target"].to_numpy()
    by_probability = metrics.needs_probabilities(result.attrs["metric"])
    scored = result["probability"].to_numpy() if by_probability else prediction
    tested = prediction >= 0 if for_classes else np.isfinite(prediction)
    trials = np.flatnonzero(tested.any(axis=0))
    grouped_by = truth if for_classes else np.zeros(len(truth), int)
    is_grouped = "group" in result.coords
    if is_grouped:
        grouped_by = result["group"].to_numpy()
    sets = [trials[grouped_by[trials] == value] for value in np.unique(grouped_by[trials])]

    def resample(rng: np.random.Generator) -> float:
        if is_grouped:
            chosen = np.concatenate([sets[i] for i in rng.integers(0, len(sets), len(sets))])
        else:
            chosen = np.concatenate([members[rng.integers(0, len(members), len(members))] for members in sets])
        fold, position = np.nonzero(tested[:, chosen])
        return score_of(truth[chosen[position]], scored[fold, chosen[position]])

    return resample, len(sets) if is_grouped else 0
