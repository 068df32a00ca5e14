"""The part of a run that asks whether a code holds at levels of a column, such as concentration, that are new to it.

``pipeline`` calls it where the configuration has ``[across_levels]``. The computing is in ``decode``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.folds import trial_column
from ..decode.across_conditions import generalise_across
from ..decode.intervals import hierarchical_interval
from ..decode.metrics import SMALLER_IS_BETTER
from .config import AcrossLevels, Config
from .cut import cut_activity, has_classes, listed
from .labels import spoken
from .methods import estimator_of, folds_of
from .summary import ABOVE_CHANCE_P, number
from .tasks import Task, animals_of, interval_words, metric_words, plain, sentence, shared_attrs, with_left_out

PER_LEVEL = ("score", "score_low", "score_high", "null_low", "null_high", "p_value", "chance")
MEAN = ("mean", "mean_low", "mean_high")  # over animals


def tasks(config: Config) -> dict[str, Task]:
    """The one task, at each held-out level; none without the section."""
    settings = config.across_levels
    if settings is None:
        return {}
    return {"levels": Task(partial(_together, config), partial(_levels, config, settings))}


def lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Sentences for the terminal: the score at each level that was held out."""
    said = []
    for result in results.values():
        column = spoken(result.attrs["column"])
        said.append(f"At each {column} that the decoder was not trained at, {metric_words(result)}:")
        said += [f"  {column} {level_words(result, position)}" for position in range(result.sizes["held_out"])]
        said += [f"Note on {warning}" for warning in result.attrs["warnings"]]
    return said


def values(results: Mapping[str, xr.Dataset]) -> list[dict[str, Any]]:
    """The same as plain values: a row for each level, with a row for each session in it."""
    out = []
    for result in results.values():
        for position in range(result.sizes["held_out"]):
            at = result.isel(held_out=position)
            row: dict[str, Any] = {"column": result.attrs["column"], "held_out": at["held_out"].item()}
            row |= {name: plain(at[name]) for name in MEAN}
            if "is_extrapolation" in at:
                row["is_extrapolation"] = bool(at["is_extrapolation"])
            row["sessions"] = [
                {"session": str(session)} | {name: plain(at[name].sel(session=session)) for name in PER_LEVEL}
                for session in at["session"].values
            ]
            out.append(row)
    return out


def level_words(result: xr.Dataset, position: int) -> str:
    """What is found at one level: "0.1: 0.52 (0.41 to 0.60), p at most 0.05 in 4 of 5 sessions"."""
    at = result.isel(held_out=position)
    n, n_decoded = int(at["score"].notnull().sum()), int((at["p_value"] <= ABOVE_CHANCE_P).sum())
    said = f"{at['held_out'].item()}: {interval_words(*(float(at[name]) for name in MEAN))}"
    said += f", chance {number(float(at['chance'].mean()), digits=3)}"
    said += f", p at most {ABOVE_CHANCE_P:g} in {n_decoded} of {n}" if at["p_value"].notnull().any() else ", no p value"
    return said + (", outside of what was trained" if bool(at.get("is_extrapolation", False)) else "")


def finding(result: xr.Dataset) -> str:
    """One sentence over all levels."""
    attrs, target, column = result.attrs, spoken(result.attrs["target"]), spoken(result.attrs["column"])
    loss = result["mean"].to_numpy() if attrs["metric"] in SMALLER_IS_BETTER else -result["mean"].to_numpy()
    worst = int(np.nanargmax(loss))
    tested = result["p_value"].notnull().any("session")
    if not bool(tested.any()):
        return f"No p value was found, so it is open whether {target} is decoded at a {column} that is new."
    p = result["p_value"]
    everywhere = int(((p <= ABOVE_CHANCE_P) | p.isnull()).all("held_out").sum())
    n = result.sizes["session"]
    where = f"in {everywhere} of {n} sessions" if n > 1 else f"in {result['session'].values[0]}"
    verdict = "is decoded" if n > 1 or everywhere else "is not decoded"
    return (
        f"{sentence(target)} {verdict} at every {column} that was held out {where}; "
        f"worst at {column} {level_words(result, worst)}."
    )


def _levels(config: Config, settings: AcrossLevels, session: xr.Dataset, map: Callable) -> xr.Dataset:
    """Score of one session at each held-out level; groups that are kept whole stay whole."""
    checks = config.validation
    activity = _at_several_levels(cut_activity(session, config), config.decoding.target, settings.column)
    levels, said = _testable(activity, config, settings.column)
    result = generalise_across(
        activity,
        config.decoding.target,
        estimator_of(config),
        column=settings.column,
        folds=None if checks.group is None else folds_of(activity, config),
        levels=levels,
        metric=config.decoding.metric,
        n_permutations=checks.n_permutations,
        n_bootstrap=checks.n_bootstrap,
        random_state=checks.random_state,
        map=map,
    )
    units = activity[settings.column].attrs.get("units", "")
    name = f"{session.attrs['session']}, each {settings.column} held out"
    result = with_left_out(result, activity).assign_attrs(name=name, held_out_units=units)
    return result.assign_attrs(warnings=[*result.attrs["warnings"], *said])


def _at_several_levels(activity: xr.DataArray, target: str, column: str) -> xr.DataArray:
    """The activity without trials that have no level, and without classes that are at one level only, as a blank is."""
    said = list(activity.attrs["left_out"])
    if column in activity.coords and activity[column].dtype.kind == "f":
        is_missing = np.isnan(activity[column].to_numpy())
        if is_missing.any() and not is_missing.all():
            said.append(f"Left out: {is_missing.sum()} trials without {column}.")
            activity = activity.isel(trial=~is_missing)
    levels, labels = trial_column(activity, column), trial_column(activity, target)
    if has_classes(labels) and column != target:
        single = [label for label in np.unique(labels) if len(np.unique(levels[labels == label])) == 1]
        if 0 < len(single) < len(np.unique(labels)) - 1:
            said.append(f"Left out: {target} {listed(np.array(single))}, which is at one {column} only.")
            activity = activity.isel(trial=~np.isin(labels, single))
    return activity.assign_attrs(left_out=said)


def _testable(activity: xr.DataArray, config: Config, column: str) -> tuple[list[Any] | None, list[str]]:
    """Levels with trials enough, in which the target differs; all (None) if there are no others, or none but others."""
    levels, labels = trial_column(activity, column), trial_column(activity, config.decoding.target)
    every, counts = np.unique(levels, return_counts=True)
    differs = np.array([len(np.unique(labels[levels == level])) > 1 for level in every])
    is_testable = differs & (counts >= config.data.min_trials)
    if is_testable.all() or not is_testable.any():
        return None, []
    why = f"with fewer than {config.data.min_trials} trials, or one {config.decoding.target} only"
    return every[is_testable].tolist(), [f"Not tested at {column} {listed(every[~is_testable])}, {why}."]


def _together(config: Config, results: Mapping[str, xr.Dataset], progress: Any, map: Callable) -> xr.Dataset:
    """Scores (session, held_out), and their mean over animals at each level."""
    levels = np.unique(np.concatenate([result["held_out"].to_numpy() for result in results.values()]))
    rows = list(results.values())
    table = {
        name: (("session", "held_out"), [[_at(row, f"held_out_{name}", level) for level in levels] for row in rows])
        for name in PER_LEVEL
    }
    coords = {"session": list(results), "animal": animals_of(results), "held_out": levels}
    out = xr.Dataset(table, coords=coords)
    means = [_mean_at(level, results, config) for level in levels]
    for part in ("mean", "low", "high"):
        name = part if part == "mean" else f"mean_{part}"
        out[name] = ("held_out", [mean[f"score_{part}"] for mean in means])
    first = rows[0]
    if "is_extrapolation" in first:
        outside = [any(_at(row, "is_extrapolation", level) == 1 for row in rows) for level in levels]
        out["is_extrapolation"] = ("held_out", outside)
    attrs = shared_attrs(results) | {"kind": "across_levels", "column": first.attrs["held_out_column"]}
    attrs |= {"units": first.attrs["held_out_units"], "interval_over": str(means[0]["interval_over"])}
    return out.assign_attrs(attrs)


def _at(result: xr.Dataset, name: str, level: Any) -> float:
    """The value at a level; NaN where the session has no such level, or the result no such value."""
    if name not in result or level not in result["held_out"].values:
        return float("nan")
    return float(result[name].sel(held_out=level))


def _mean_at(level: Any, results: Mapping[str, xr.Dataset], config: Config) -> dict[str, Any]:
    """Mean over animals at one level, with its interval."""
    rows = []
    for result in results.values():
        if level in result["held_out"].values:
            of_level = result.isel(fold=result["held_out_of_fold"].to_numpy() == level)
            rows.append(of_level.assign_attrs(score_mean=_at(result, "held_out_score", level)))
    checks = config.validation
    return hierarchical_interval(rows, n_bootstrap=checks.n_bootstrap, random_state=checks.random_state)
