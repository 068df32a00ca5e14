"""How many units, how many trials: the score of random subsets, and the mean curve over animals.

A **curve** is an ``xr.Dataset`` of kind "curve": ``repeat_score (n_units or n_trials, repeat)``, their mean
``score`` and the middle 95 % ``score_low``, ``score_high``; everything else is in attrs, as of a result.
Subsets of one repeat are nested, so a curve rises by what was added, and repeats are independent.
What the curve tends to is in ``saturation``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN, UNUSED
from .conditions import split_and_pool
from .prepare import prepare, takes_three_axes
from .score import Map, frame_of, held_out, pooled_score

LEVEL = 0.95
SIZES = ("n_units", "n_trials")
SHARED = (  # attributes of one session's curve that hold for the mean over sessions
    *("kind", "curve", "target", "metric", "estimator", "event", "window_s", "bin_width_s", "population"),
    "n_trials_of",
)


def neuron_dropping(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    n_units: Sequence[int],
    n_repeats: int,
    random_state: int,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Score of decoders that see a random subset of the units, for several sizes.

    Parameters
    ----------
    activity, target, estimator, folds, metric : as in ``cross_validate``
    n_units : sizes of the subsets, in any order
    n_repeats : random orders of the units; the first ``n`` of an order are its subset of size ``n``
    random_state : seed; each repeat has a stream of its own
    map : as the builtin; called once over the repeats

    Returns
    -------
    curve with dims ``n_units`` (ascending) and ``repeat``

    Raises
    ------
    SchemaError : no size, a size below 1 or above the number of units, fewer than one repeat; whatever
        ``cross_validate`` refuses

    Notes
    -----
    The interval is the spread over draws of units from these units, on the same trials: it closes where the subset
    is the whole. Units are drawn before any fit and without the labels, so nothing leaks.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, n_units=(20, 20), n_blocks=4)
    >>> activity = bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group="block")
    >>> curve = neuron_dropping(activity, "odor", make_decoder("nearest_centroid"), folds, n_units=(2, 20),
    ...                         n_repeats=5, random_state=0)
    >>> bool(curve["score"][1] > curve["score"][0])
    True
    """
    subsets = _Subsets(activity, target, estimator, folds, metric)
    sizes = _sizes("n_units", n_units, most=activity.shape[2], of=f"the {activity.shape[2]} units")
    once = partial(_drop_units, subsets, sizes)
    return _curve(subsets, "n_units", sizes, once, n_repeats, random_state, map, "random draws of units")


def learning_curve(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    n_trials: Sequence[int],
    n_repeats: int,
    random_state: int,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Score of decoders that are trained on few trials, for several numbers; every test set stays whole.

    Parameters
    ----------
    activity, target, estimator, folds, metric : as in ``cross_validate``
    n_trials : training trials of each class (of all together for a continuous target), drawn from the training
        trials of each fold
    n_repeats, random_state, map : as in ``neuron_dropping``

    Returns
    -------
    curve with dims ``n_trials`` (ascending) and ``repeat``

    Raises
    ------
    SchemaError : a number of trials that some class lacks in some fold, or that the estimator cannot be fitted on;
        as ``neuron_dropping`` otherwise
    """
    subsets = _Subsets(activity, target, estimator, folds, metric)
    sizes = _sizes(
        "n_trials", n_trials, most=subsets.most_trials(), of="training trials of the smallest class and fold"
    )
    once = partial(_drop_trials, subsets, sizes)
    curve = _curve(subsets, "n_trials", sizes, once, n_repeats, random_state, map, "random draws of training trials")
    return curve.assign_attrs(n_trials_of="each class" if subsets.problem.for_classes else "all trials together")


def pooled_curve(
    curve_of: Callable[..., xr.Dataset],
    cohort: Mapping[str, xr.DataArray],
    target: str,
    estimator: Any,
    *,
    n_folds: int,
    n_repeats: int,
    random_state: int,
    group: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """A curve of a pseudo-population: every repeat splits each session, matches its trials anew, and draws anew.

    Parameters
    ----------
    curve_of : ``neuron_dropping`` or ``learning_curve`` with its sizes, ``partial(neuron_dropping, n_units=(10, 50))``;
        units are drawn from all sessions together
    cohort, target, estimator, n_folds, group : as in ``cross_validate_pooled``
    n_repeats, random_state : as in ``neuron_dropping``
    map : as the builtin; called once over the repeats

    Returns
    -------
    curve, ``population`` "pseudo-population"

    Raises
    ------
    SchemaError : fewer than one repeat; whatever ``make_folds``, ``pseudo_population`` and ``curve_of`` refuse
    """
    seeds = _seeds(n_repeats, random_state)
    once = partial(_pooled_once, curve_of, cohort, target, estimator, n_folds, group)
    curves = list(map(once, seeds))
    scores = np.concatenate([curve["repeat_score"].to_numpy() for curve in curves], axis=1)
    over = curves[0].attrs["interval_over"] + ", splits and matchings"
    return _with_scores(curves[0], scores, "repeat").assign_attrs(
        n_repeats=n_repeats, random_state=random_state, interval_over=over
    )


def mean_curve(curves: Sequence[xr.Dataset], *, n_bootstrap: int = 1000, random_state: int) -> xr.Dataset:
    """The mean curve over animals, with an interval that resamples animals, then sessions, then repeats.

    Parameters
    ----------
    curves : one per session, each of kind "curve" with attrs ``animal`` and ``session``
    n_bootstrap, random_state : number of resamples and seed

    Returns
    -------
    curve over the sizes that all have in common: ``animal_score (size, animal)``, ``score``, ``score_low``,
    ``score_high``; ``warnings`` name the sizes that were left out

    Raises
    ------
    SchemaError : no curves, curves over different things or of different metrics, no size in common
    """
    if not curves:
        raise SchemaError("a mean curve needs at least one curve, got none.")
    dim = size_dim(curves[0])
    for curve in curves:
        if size_dim(curve) != dim or curve.attrs["metric"] != curves[0].attrs["metric"]:
            raise SchemaError(
                f"curves over {dim} by {curves[0].attrs['metric']} and over {size_dim(curve)} by "
                f"{curve.attrs['metric']} have no common mean. Average them apart."
            )
    sizes = sorted(set.intersection(*(set(curve[dim].values.tolist()) for curve in curves)))
    left_out = sorted(set.union(*(set(curve[dim].values.tolist()) for curve in curves)) - set(sizes))
    if not sizes:
        raise SchemaError(f"the curves have no {dim} in common. Ask for sizes that every session has.")
    by_animal: dict[str, list[np.ndarray]] = {}
    for curve in curves:
        by_animal.setdefault(str(curve.attrs["animal"]), []).append(curve["repeat_score"].sel({dim: sizes}).to_numpy())
    means = np.stack([np.mean([s.mean(axis=1) for s in sessions], axis=0) for sessions in by_animal.values()], axis=1)
    rng = np.random.default_rng(random_state)
    drawn = [_resampled_mean(list(by_animal.values()), rng) for _ in range(n_bootstrap)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    said = sorted({line for curve in curves for line in curve.attrs["warnings"]})
    if left_out:
        said.append(f"Left out, as some session is too small: {dim} {', '.join(map(str, left_out))}.")
    mean = xr.Dataset(
        {"score": (dim, means.mean(axis=1)), "score_low": (dim, low), "score_high": (dim, high)}
        | {"animal_score": ((dim, "animal"), means)},
        coords={dim: sizes, "animal": list(by_animal)},
    )
    return mean.assign_attrs({name: curves[0].attrs[name] for name in SHARED if name in curves[0].attrs}).assign_attrs(
        n_animals=len(by_animal),
        n_sessions=len(curves),
        chance=float(np.mean([curve.attrs["chance"] for curve in curves])),
        interval_level=LEVEL,
        interval_over="animals, then sessions, then repeats" if len(by_animal) > 1 else "repeats of one animal",
        warnings=said,
    )


def size_dim(curve: xr.Dataset) -> str:
    """What a curve runs over: "n_units" or "n_trials".

    Raises
    ------
    SchemaError : not a curve
    """
    if not isinstance(curve, xr.Dataset) or curve.attrs.get("kind") != "curve":
        got = curve.attrs.get("kind") if isinstance(curve, xr.Dataset) else type(curve).__name__
        raise SchemaError(f"expected a curve (kind 'curve'), as neuron_dropping(...) makes, got {got!r}.")
    return next(name for name in SIZES if name in curve.dims)


class _Subsets:
    """A decoding problem that is solved on some units and some training trials."""

    def __init__(
        self, activity: xr.DataArray, target: str, estimator: Any, folds: xr.DataArray, metric: str | None
    ) -> None:
        problem = prepare(activity, target, estimator, folds, metric=metric)
        self.estimator, self.problem = estimator, problem
        self.values, self.three_axes = problem.activity.to_numpy(), takes_three_axes(estimator)
        given = (problem.activity, target, estimator, folds, problem.metric, problem.truth, problem.for_classes)
        self.attrs = frame_of(*given)

    def score(self, units: np.ndarray | slice, sides: np.ndarray) -> float:
        """Of some units, trained on the trials that ``sides`` leave."""
        values, problem = self.values[:, :, units], self.problem
        features = values if self.three_axes else values.reshape(len(values), -1)
        output = held_out(features, problem.truth, self.estimator, sides, problem.metric)
        return pooled_score(problem.score_of, problem.truth, output, sides == TEST)

    def classes(self) -> np.ndarray:
        """Groups (n_trials,) from which equal numbers of trials are drawn."""
        return self.problem.truth if self.problem.for_classes else np.zeros(len(self.problem.truth), int)

    def most_trials(self) -> int:
        """Trials of the smallest class in the smallest training set."""
        classes = self.classes()
        return min(
            int(np.sum((side == TRAIN) & (classes == k))) for side in self.problem.sides for k in np.unique(classes)
        )


def _drop_units(subsets: _Subsets, sizes: list[int], seed: np.random.SeedSequence) -> list[float]:
    order = np.random.default_rng(seed).permutation(subsets.values.shape[2])
    return [subsets.score(np.sort(order[:size]), subsets.problem.sides) for size in sizes]


def _drop_trials(subsets: _Subsets, sizes: list[int], seed: np.random.SeedSequence) -> list[float]:
    rng, classes = np.random.default_rng(seed), subsets.classes()
    rank = np.zeros(subsets.problem.sides.shape, int)  # of each training trial in a random order of its fold and class
    for row, side in zip(rank, subsets.problem.sides, strict=True):
        for k in np.unique(classes):
            members = rng.permutation(np.flatnonzero((side == TRAIN) & (classes == k)))
            row[members] = np.arange(len(members))
    is_train = subsets.problem.sides == TRAIN
    scores = []
    for size in sizes:
        sides = np.where(is_train & (rank >= size), UNUSED, subsets.problem.sides).astype(np.int8)
        try:
            scores.append(subsets.score(slice(None), sides))
        except ValueError as error:
            raise SchemaError(
                f"{subsets.attrs['estimator']} cannot be fitted on n_trials {size}: {error} Leave that number out."
            ) from error
    return scores


def _pooled_once(
    curve_of: Callable[..., xr.Dataset],
    cohort: Mapping[str, xr.DataArray],
    target: str,
    estimator: Any,
    n_folds: int,
    group: str | None,
    seed: np.random.SeedSequence,
) -> xr.Dataset:
    pool, draw = seed.spawn(2)
    activity, folds = split_and_pool(cohort, target, n_folds=n_folds, random_state=pool, group=group)
    return curve_of(activity, target, estimator, folds, n_repeats=1, random_state=int(draw.generate_state(1)[0]))


def _curve(
    subsets: _Subsets,
    dim: str,
    sizes: list[int],
    once: Callable[[np.random.SeedSequence], list[float]],
    n_repeats: int,
    random_state: int,
    map: Map,
    over: str,
) -> xr.Dataset:
    scores = np.array(list(map(once, _seeds(n_repeats, random_state)))).T
    name = "neuron dropping" if dim == "n_units" else "learning"
    attrs = subsets.attrs | {"kind": "curve", "curve": name, "n_repeats": n_repeats, "random_state": random_state}
    curve = xr.Dataset(coords={dim: sizes}, attrs=attrs | {"interval_level": LEVEL, "interval_over": over})
    return _with_scores(curve, scores, "repeat")


def _with_scores(curve: xr.Dataset, scores: np.ndarray, over: str) -> xr.Dataset:
    """The curve with scores (n_sizes, n_repeats), their mean and their middle 95 %."""
    dim = size_dim(curve)
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return curve.drop_vars(["repeat_score"], errors="ignore").assign(
        score=(dim, scores.mean(axis=1)),
        score_low=(dim, low),
        score_high=(dim, high),
        repeat_score=((dim, over), scores),
    )


def _resampled_mean(animals: list[list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Mean score (n_sizes,) of resampled animals, of resampled sessions, of resampled repeats."""
    total = []
    for sessions in (animals[i] for i in rng.integers(0, len(animals), len(animals))):
        chosen = [sessions[i] for i in rng.integers(0, len(sessions), len(sessions))]
        total.append(np.mean([s[:, rng.integers(0, s.shape[1], s.shape[1])].mean(axis=1) for s in chosen], axis=0))
    return np.mean(total, axis=0)


def _sizes(name: str, sizes: Sequence[int], *, most: int, of: str) -> list[int]:
    found = sorted({int(size) for size in sizes})
    if not found or found[0] < 1 or found[-1] > most:
        raise SchemaError(f"{name} must be numbers from 1 to {most} ({of}), got {list(sizes)!r}. Leave out the others.")
    return found


def _seeds(n_repeats: int, random_state: int) -> list[np.random.SeedSequence]:
    if n_repeats < 1:
        raise SchemaError(f"n_repeats must be at least 1, got {n_repeats}.")
    return np.random.SeedSequence(random_state).spawn(n_repeats)
