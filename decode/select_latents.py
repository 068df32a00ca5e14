"""How many latents: held-out quality of a reducer over candidate numbers, and the least number that is as good.

Every candidate is fitted on the training trials of each fold and measured on its test trials, which nothing here
learns from. A result of kind "latents" holds the curve and the number chosen.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..datasets.errors import ConfigError, SchemaError, UnknownName
from ..datasets.folds import TEST, TRAIN, check_folds
from ..datasets.schema import check_activity
from ..datasets.tables import nearest
from .reduce import labels_of
from .score import CARRIED_ATTRS, describe
from .steps import refuse_nan

Map = Callable[..., Iterable[Any]]
MEASURES = {  # name -> the method that a reducer must have
    "log_likelihood": "score",
    "leave_unit_out": "leave_unit_out",
    "r2": "inverse_transform",
}
UNITS = {
    "log_likelihood": "nats per bin",
    "leave_unit_out": "R² of units predicted from the others",
    "r2": "R² of the reconstruction",
}
NEVER_FALLS = (
    "The reconstruction of a trial from its own latents hardly gets worse with more of them, so this curve describes "
    "and does not choose. Use measure 'log_likelihood' or 'leave_unit_out' where the reducer has it."
)


def select_latents(
    activity: xr.DataArray,
    reducer: Any,
    folds: xr.DataArray,
    *,
    n_latents: Sequence[int],
    measure: str | None = None,
    target: str | Sequence[str] | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Held-out quality of a reducer for several numbers of latents, and the number that is enough.

    Parameters
    ----------
    activity : (trial, time, unit)
    reducer : reducer with a parameter ``n_latents``, or a pipeline that ends in one. It is cloned
    folds : (fold, trial), at least two
    n_latents : candidates, in any order
    measure : "log_likelihood" of test trials; "leave_unit_out", R² of each unit of a test trial predicted from its
        other units (co-smoothing); "r2" of test trials from their own latents. None is the first that the reducer has
    target : trial coordinate that a supervised reducer learns from, or several
    map : as the builtin; called once over candidates and folds

    Returns
    -------
    latents: fold_score (n_latents, fold), its mean over folds ``score`` (n_latents), and ``shortfall``,
    ``shortfall_se`` (n_latents): how far a candidate stays behind the best, mean and standard error of the difference
    over folds. attrs ``n_latents_chosen``, the least candidate that stays behind by at most one standard error, and
    ``n_latents_best``

    Raises
    ------
    SchemaError : no candidate, fewer than two folds, NaN that the reducer cannot take, units that are constant in
        training; whatever the reducer refuses
    ConfigError : no reducer with ``n_latents``, or one that lacks the measure
    UnknownName : no such measure

    Notes
    -----
    R² is over units in equal weight, each by its variance in training, against its mean in training.
    Differences are taken within folds: how well a fold's test trials can be described at all is common to all
    candidates. Folds share training trials, so the standard error is a rule of thumb, as it is everywhere.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_reducer
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1, n_blocks=3).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.4), bin_width_s=0.1)
    >>> folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    >>> found = select_latents(activity, make_reducer("probabilistic_pca"), folds, n_latents=(1, 2, 4))
    >>> found["fold_score"].dims, found.attrs["metric"]
    (('n_latents', 'fold'), 'log_likelihood')
    """
    check_activity(activity)
    check_folds(folds, activity)
    sizes = _candidates(n_latents)
    name = _measure(reducer, measure)
    activity = activity.compute()
    sides = folds.to_numpy()
    if len(sides) < 2:
        raise SchemaError(f"{_where(activity)}: a standard error needs at least two folds, got {len(sides)}.")
    refuse_nan(activity, reducer, (sides != 0).any(axis=0))
    values = activity.to_numpy()
    labels = None if target is None else labels_of(activity, target)
    _check_units(activity, values, sides, name)
    jobs = [(size, side) for size in sizes for side in sides]
    scores = list(map(partial(_fold_score, values, labels, reducer, name), *zip(*jobs, strict=True)))
    score = np.array(scores).reshape(len(sizes), len(sides))
    return _result(activity, reducer, folds, name, sizes, score, target)


def one_standard_error(score: np.ndarray) -> tuple[int, int, np.ndarray, np.ndarray]:
    """The least row that is as good as the best.

    Parameters
    ----------
    score : (n_candidates, n_folds), candidates from simple to complex, more is better

    Returns
    -------
    positions of the chosen and of the best row; mean and standard error over folds of how far each stays behind

    Examples
    --------
    >>> one_standard_error(np.array([[0.0, 0.1], [0.5, 0.7], [0.6, 0.7], [0.4, 0.6]]))[:2]
    (1, 2)
    """
    best = int(score.mean(axis=1).argmax())
    behind = score[best] - score
    error = behind.std(axis=1, ddof=1) / np.sqrt(score.shape[1])
    within = behind.mean(axis=1) <= error
    return int(np.flatnonzero(within)[0]), best, behind.mean(axis=1), error


def _fold_score(
    values: np.ndarray, labels: np.ndarray | None, reducer: Any, measure: str, size: int, side: np.ndarray
) -> float:
    """Of one candidate, fitted on the training trials of one fold, on its test trials."""
    train, test = values[side == TRAIN], values[side == TEST]
    fitted = clone(reducer)
    _last(fitted).set_params(n_latents=size)
    fitted.fit(train, None if labels is None else labels[side == TRAIN])
    if isinstance(fitted, Pipeline) and len(fitted) > 1:  # quality is measured in what the last step is handed
        train, test = fitted[:-1].transform(train), fitted[:-1].transform(test)
    last = _last(fitted)
    if measure == "log_likelihood":
        return float(last.score(test))
    said = last.leave_unit_out(test) if measure == "leave_unit_out" else last.inverse_transform(last.transform(test))
    return _r2(np.asarray(train, float), np.asarray(test, float), said)


def _r2(train: np.ndarray, test: np.ndarray, said: np.ndarray) -> float:
    rows = train.reshape(-1, train.shape[2])
    mean, spread = np.nanmean(rows, axis=0), np.nanvar(rows, axis=0)
    there = ~np.isnan(test)
    lost = np.where(there, np.square(test - said), 0.0).sum(axis=(0, 1)) / spread
    total = np.where(there, np.square(test - mean), 0.0).sum(axis=(0, 1)) / spread
    return float(1 - lost.sum() / total.sum())


def _last(reducer: Any) -> Any:
    return reducer.steps[-1][1] if isinstance(reducer, Pipeline) else reducer


def _candidates(n_latents: Sequence[int]) -> list[int]:
    sizes = sorted({int(size) for size in n_latents})
    if not sizes or sizes[0] < 1:
        raise SchemaError(f"n_latents must be whole numbers of at least 1, got {list(n_latents)!r}. Name candidates.")
    return sizes


def _measure(reducer: Any, measure: str | None) -> str:
    last = _last(reducer)
    who = type(last).__name__
    if "n_latents" not in getattr(last, "get_params", dict)():
        raise ConfigError(
            f"{who} has no parameter n_latents to choose. Pass a reducer, make_reducer(...), or a pipeline."
        )
    if measure is not None and measure not in MEASURES:
        raise UnknownName(f"there is no measure {measure!r}. {nearest(measure, MEASURES)}")
    has = [name for name, method in MEASURES.items() if hasattr(last, method)]
    if not has or (measure and measure not in has):
        said = f"It has {', '.join(map(repr, has))}." if has else "It has none, so look at its latents instead."
        raise ConfigError(f"{who} cannot be measured by {measure or 'any of ' + ', '.join(MEASURES)!r}. {said}")
    return measure or has[0]


def _check_units(activity: xr.DataArray, values: np.ndarray, sides: np.ndarray, measure: str) -> None:
    """Refuse units without variance in training where errors are measured by it."""
    if measure == "log_likelihood":
        return
    for fold, side in enumerate(sides):
        train = values[side == TRAIN].astype(float)
        constant = ~(np.nanmax(train, axis=(0, 1)) > np.nanmin(train, axis=(0, 1)))
        if constant.any():
            unit = str(activity["unit"].to_numpy()[constant][0])
            raise SchemaError(
                f"{_where(activity)}: {constant.sum()} units never change in the training trials of fold {fold} "
                f"(first: {unit!r}), so no share of their variance can be explained. Leave them out."
            )


def _where(activity: xr.DataArray) -> str:
    return f"session {activity.attrs['session']!r}"


def _result(
    activity: xr.DataArray,
    reducer: Any,
    folds: xr.DataArray,
    measure: str,
    sizes: list[int],
    score: np.ndarray,
    target: str | Sequence[str] | None,
) -> xr.Dataset:
    chosen, best, behind, error = one_standard_error(score)
    said = [NEVER_FALLS] if measure == "r2" else []
    if best == len(sizes) - 1 and chosen == best and len(sizes) > 1:
        said.append(
            f"The best candidate is the largest, {sizes[-1]}: more latents may be better still. Add larger ones."
        )
    attrs = {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs}
    attrs |= {} if target is None else {"target": target if isinstance(target, str) else list(target)}
    return xr.Dataset(
        {
            "score": ("n_latents", score.mean(axis=1), {"units": UNITS[measure]}),
            "fold_score": (("n_latents", "fold"), score, {"units": UNITS[measure]}),
            "shortfall": ("n_latents", behind),
            "shortfall_se": ("n_latents", error),
        },
        coords={"n_latents": sizes, "fold": folds["fold"]},
        attrs=attrs
        | {
            "kind": "latents",
            "metric": measure,
            "n_latents_chosen": sizes[chosen],
            "n_latents_best": sizes[best],
            "rule": "least number whose shortfall from the best, within folds, is at most one standard error",
            "reducer": describe(reducer),
            "folds": folds.attrs.get("folds", f"{folds.sizes['fold']} folds"),
            "n_trials": int((folds.to_numpy() == TEST).any(axis=0).sum()),
            "n_units": int(activity.sizes["unit"]),
            "n_animals": len(activity.attrs.get("animals", [activity.attrs["animal"]])),
            "n_sessions": len(activity.attrs.get("sessions", [activity.attrs["session"]])),
            "warnings": said,
        },
    )
