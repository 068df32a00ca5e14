"""Intervals by bootstrap, over what was sampled: animals first, then sessions, then trials.

Folds are no sample: they share training trials, so no interval is taken over them.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from . import metrics
from .result import check_result

LEVEL = 0.95


def with_interval(result: xr.Dataset, *, n_bootstrap: int = 1000, random_state: int, level: float = LEVEL) -> xr.Dataset:
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

    Notes
    -----
    Percentile bootstrap; trials are resampled within each class, so that every class stays.
    The fitted decoders are kept: the interval says how the score would vary with other test trials,
    not with other training trials.
    """
    check_result(result)
    rng = np.random.default_rng(random_state)
    scores = [_resampled_score(result, rng) for _ in range(n_bootstrap)]
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    over = "groups of trials" if "group" in result.coords else "trials"
    return result.assign_attrs(score_low=float(low), score_high=float(high), interval_level=level, interval_over=over)


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
    SchemaError : no results, or results of different metrics
    """
    if not results:
        raise SchemaError("an interval over animals needs at least one result, got none.")
    kinds = sorted({check_result(result).attrs["metric"] for result in results})
    if len(kinds) > 1:
        raise SchemaError(f"results are scored by different metrics ({', '.join(kinds)}), so they have no common mean.")
    by_animal: dict[str, list[xr.Dataset]] = {}
    for result in results:
        by_animal.setdefault(str(result.attrs["animal"]), []).append(result)
    animals = list(by_animal)
    rng = np.random.default_rng(random_state)
    means = []
    for _ in range(n_bootstrap):
        drawn = [by_animal[animals[i]] for i in rng.integers(0, len(animals), len(animals))]
        means.append(np.mean([_resampled_animal(sessions, rng) for sessions in drawn]))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = np.mean([np.mean([r.attrs["score_mean"] for r in sessions]) for sessions in by_animal.values()])
    return {
        "score_mean": float(mean),
        "score_low": float(low),
        "score_high": float(high),
        "interval_level": level,
        "interval_over": "animals, then sessions, then trials" if len(animals) > 1 else "trials of one animal",
        "n_animals": len(animals),
    }


def _resampled_animal(sessions: Sequence[xr.Dataset], rng: np.random.Generator) -> float:
    drawn = rng.integers(0, len(sessions), len(sessions)) if len(sessions) > 1 else [0]
    return float(np.mean([_resampled_score(sessions[i], rng) for i in drawn]))


def _resampled_score(result: xr.Dataset, rng: np.random.Generator) -> float:
    """The metric on a bootstrap sample of the tested trials (or groups)."""
    for_classes = "label" in result.coords
    score_of = metrics.metric_function(result.attrs["metric"], for_classes=for_classes)
    prediction, truth = result["prediction"].to_numpy(), result["target"].to_numpy()
    tested = prediction >= 0 if for_classes else np.isfinite(prediction)
    trials = np.flatnonzero(tested.any(axis=0))
    if "group" in result.coords:
        group = result["group"].to_numpy()[trials]
        names = np.unique(group)
        chosen = np.concatenate([trials[group == g] for g in rng.choice(names, len(names))])
    elif for_classes:
        by_class = [trials[truth[trials] == c] for c in np.unique(truth[trials])]
        chosen = np.concatenate([rng.choice(members, len(members)) for members in by_class])
    else:
        chosen = rng.choice(trials, len(trials))
    fold, position = np.nonzero(tested[:, chosen])
    return score_of(truth[chosen[position]], prediction[fold, chosen[position]])
