"""The part of a run that says when: decoding at each time bin, its onset, and training at one time for another.

``pipeline`` calls it where the configuration has ``[over_time]``. The computing is in ``decode``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..decode.onset import LEVEL, onset, onset_interval
from ..decode.over_time import cross_validate_over_time, cumulate, generalise_over_time, with_null_over_time
from .config import Config, OverTime
from .cut import Cut, cut_activity
from .labels import spoken
from .methods import estimator_of, folds_of
from .rows import counted
from .summary import number
from .tasks import Task, animals_of, plain, shared_attrs, with_left_out

PER_BIN = ("score", "null_low", "null_high", "p_value", "p_familywise")


def tasks(config: Config) -> dict[str, Task]:
    """Name of each result over time -> how it is made; none without the section."""
    if config.over_time is None:
        return {}
    settings = config.over_time
    made = {"scores": Task(partial(_scores_together, config, settings), partial(_scores, config, settings))}
    if settings.generalise:
        made["generalisation"] = Task(_generalisation_together, partial(_generalisation, config, settings))
    return made


def lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Sentences for the terminal: from when on, what an onset is, and whether the code holds over time."""
    scores = results["scores"]
    said = [f"Over time: {onset_words(scores)}", what_an_onset_is(scores)]
    said += [f"Note on {warning}" for warning in scores.attrs["warnings"]]
    if "generalisation" in results:
        said.append(f"Over time: {generalisation_words(results['generalisation'])}")
    return said


def values(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """The same as plain values: onsets, and a row for each session and bin or pair of bins."""
    scores = results["scores"]
    rows = [
        {"session": session, "time_s": float(time)}
        | {name: plain(scores[name].sel(session=session, time=time)) for name in PER_BIN if name in scores}
        for session in scores["session"].values.tolist()
        for time in scores["time"].values
    ]
    of_session = dict(zip(scores["session"].values.tolist(), map(plain, scores["onset_s"].values), strict=True))
    keys = ("onset_s", "onset_low_s", "onset_high_s", "n_without_onset", "interval_over")
    out: dict[str, Any] = {key: scores.attrs.get(key) for key in keys}
    out |= {"onset_of_session_s": of_session, "scores": rows, "warnings": scores.attrs["warnings"]}
    if "generalisation" in results:
        mean = results["generalisation"]
        out["generalisation"] = [
            {"train_time_s": float(row["train_time"]), "test_time_s": float(at["test_time"]), "score": float(at)}
            for row in mean["score"].transpose("train_time", "test_time")
            for at in row
        ]
    return out


def onset_words(scores: xr.Dataset) -> str:
    """From when on the target can be decoded, over animals."""
    attrs = scores.attrs
    target, event = spoken(attrs["target"]), spoken(attrs["event"])
    if "onset_s" not in attrs:
        return f"no onset of {target}, as no session has p values over time."
    over, n = attrs["interval_over"], attrs["n_with_p"]
    without = f"; never in {attrs['n_without_onset']}" if attrs["n_without_onset"] else ""
    if attrs["onset_s"] is None:
        of = f"{attrs['n_without_onset']} of {n} {over}" if n > 1 else str(scores["session"].values[0])
        return f"{target} can be decoded at no time in {of}, so there is no onset."
    side = "before" if attrs["onset_s"] < 0 else "after"
    when = f"{target} can be decoded from {abs(attrs['onset_s']):.3g} s {side} {event} on"
    if n == 1:
        return f"{when} (one session, so no interval over animals)."
    low, high = (attrs[f"onset_{end}_s"] for end in ("low", "high"))
    until = "no end" if high is None else f"{high:.3g} s"
    return f"{when} (median of {n} {over}; 95 % interval {low:.3g} s to {until}{without})."


def what_an_onset_is(scores: xr.Dataset) -> str:
    """How an onset is found, in plain words."""
    attrs = scores.attrs
    bins, place = ("windows", "end") if attrs["growing"] else ("bins", "centre")
    return (
        f"An onset is the {place} of the first of two {bins} in a row whose score beats the best over all {bins} with "
        f"shuffled labels (p at most {LEVEL:g} for the whole time course, from {attrs['n_permutations']} shuffles)."
    )


def generalisation_words(mean: xr.Dataset) -> str:
    """Whether a decoder of one time serves another."""
    attrs = mean.attrs
    if attrs["same_time"] is None or attrs["other_time"] is None:
        return "there are fewer than two bins after the event, so no two times to compare."
    of = counted(attrs["n_animals"], "animal")
    return (
        f"after the event, decoders score {number(attrs['other_time'])} at other times than they were trained at, and "
        f"{number(attrs['same_time'])} at the same (mean of {of}, chance {number(attrs['chance'], digits=3)}). A code "
        f"that holds scores alike at both; one that changes falls to chance."
    )


def _bins(session: xr.Dataset, config: Config, settings: OverTime) -> xr.DataArray:
    return cut_activity(session, config, Cut(settings.window_s, settings.bin_width_s, "over_time.window_s"))


def _scores(config: Config, settings: OverTime, session: xr.Dataset, map: Callable) -> xr.Dataset:
    """Score of one session at each bin, with its null."""
    activity, estimator = _bins(session, config, settings), estimator_of(config)
    activity = cumulate(activity) if settings.growing else activity
    folds, target, metric = folds_of(activity, config), config.decoding.target, config.decoding.metric
    result = cross_validate_over_time(activity, target, estimator, folds, metric=metric, map=map)
    null: dict[str, Any] = {"n_permutations": settings.n_permutations, "random_state": config.validation.random_state}
    result = with_null_over_time(result, activity, estimator, folds, **null, map=map)
    return with_left_out(result, activity).assign_attrs(kind="decoding_over_time")


def _scores_together(
    config: Config, settings: OverTime, results: Mapping[str, xr.Dataset], progress: Any, map: Callable
) -> xr.Dataset:
    """Scores (session, time), the onset of each session, and the median onset with its interval."""
    with_p = [result for result in results.values() if "p_familywise" in result]
    first = next(iter(results.values()))
    table = {
        name: (("session", "time"), [_row(result, name) for result in results.values()])
        for name in PER_BIN
        if any(name in result for result in results.values())
    }
    onsets = [onset(result)["onset_s"] if "p_familywise" in result else None for result in results.values()]
    out = xr.Dataset(
        table | {"onset_s": ("session", np.array(onsets, dtype=np.float64))},
        coords={"session": list(results), "animal": animals_of(results), "time": first["time"]},
    )
    attrs = shared_attrs(results) | {"kind": "over_time", "growing": settings.growing, "n_with_p": len(with_p)}
    attrs |= {name: first.attrs[name] for name in ("window_s", "bin_width_s", "n_permutations", "null_scheme")}
    attrs["interval_over"] = "animals" if attrs["n_animals"] == attrs["n_sessions"] else "sessions"
    if with_p:
        checks = config.validation
        attrs |= onset_interval(with_p, random_state=checks.random_state, n_bootstrap=checks.n_bootstrap)
        attrs["n_animals"] = len(set(animals_of(results)[1]))
    return out.assign_attrs(attrs)


def _row(result: xr.Dataset, name: str) -> np.ndarray:
    return result[name].to_numpy() if name in result else np.full(result.sizes["time"], np.nan)


def _generalisation(config: Config, settings: OverTime, session: xr.Dataset, map: Callable) -> xr.Dataset:
    """Score of one session, trained at each bin and tested at every bin."""
    activity = _bins(session, config, settings)
    folds, target = folds_of(activity, config), config.decoding.target
    result = generalise_over_time(activity, target, estimator_of(config), folds, metric=config.decoding.metric, map=map)
    return with_left_out(result, activity).assign_attrs(kind="decoding_over_time")


def _generalisation_together(results: Mapping[str, xr.Dataset], progress: Any, map: Callable) -> xr.Dataset:
    """Mean score (train_time, test_time) over animals; and after the event, at the same time and at others."""
    animals = xr.DataArray(animals_of(results)[1], dims="session", name="animal")
    scores = xr.concat([result["score"] for result in results.values()], dim="session")
    mean = scores.groupby(animals).mean("session").mean("animal")
    after = mean.sel(train_time=mean["train_time"] > 0, test_time=mean["test_time"] > 0).to_numpy()
    is_same = np.eye(len(after), dtype=bool)
    same, other = (after[cells].mean() if cells.any() else None for cells in (is_same, ~is_same))
    first = next(iter(results.values()))
    attrs = shared_attrs(results) | {"kind": "generalisation", "bin_width_s": first.attrs["bin_width_s"]}
    attrs |= {"same_time": None if same is None else float(same), "other_time": None if other is None else float(other)}
    return mean.to_dataset(name="score").assign_attrs(attrs)
