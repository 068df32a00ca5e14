"""What every transfer across animals reports: four lines, intervals over animals, reliability, and a finding in words.

The lines are ``target_only`` (the animal's own calibration trials), ``aligned`` (with the data of other animals),
``shuffled_anchors`` (the same, aligned by wrong labels) and ``same_animal`` (what the animal's own data reach where
they are plenty). Here predictions become a result; they are made in ``transfer.py`` and ``new_odors.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student

from ..datasets.errors import SchemaError
from ..decode.intervals import hierarchical_interval

LINES = ("target_only", "aligned", "shuffled_anchors", "same_animal")
LEVEL = 0.95


def transfer_result(
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    truth: Mapping[str, np.ndarray],
    animals: Mapping[str, str],
    *,
    chance: float,
    rival: str,
    by_chance: Sequence[str] = (),
    classwise: bool = True,
    n_bootstrap: int,
    random_state: int,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Four lines with their intervals, and what they mean.

    Parameters
    ----------
    predictions : session -> line -> (n_repeats, n_trials) label positions, -1 where not tested; a line that cannot be
        had is absent
    truth : session -> (n_trials,) label positions
    animals : session -> animal
    chance : of one prediction
    rival : line that ``aligned`` has to beat
    by_chance : lines that are at chance by construction, since nothing could be learned
    classwise : resample trials within their labels; False resamples all, where labels are themselves a sample
    n_bootstrap, random_state : of the intervals
    attrs : what else to say; ``notes`` is a list of sentences

    Returns
    -------
    dataset of kind "transfer": score (line, session), score_mean, score_low and score_high (line); attrs ``gain`` of
    aligned over its rival with ``gain_low`` and ``gain_high`` (Student's t over animals), ``finding``
    """
    sessions = list(predictions)
    score = np.full((len(LINES), len(sessions)), np.nan)
    summary = {name: np.full(len(LINES), np.nan) for name in ("score_mean", "score_low", "score_high")}
    over = ""
    for row, line in enumerate(LINES):
        if line in by_chance:
            score[row] = chance
            for values in summary.values():
                values[row] = chance
            continue
        results = [
            _decoding(session, animals[session], predictions[session][line], truth[session], classwise)
            for session in sessions
            if line in predictions[session]
        ]
        for result in results:
            score[row, sessions.index(result.attrs["session"])] = result.attrs["score_mean"]
        if results:
            interval = hierarchical_interval(results, n_bootstrap=n_bootstrap, random_state=random_state, level=LEVEL)
            over = str(interval["interval_over"])
            for name, values in summary.items():
                values[row] = interval[name]
    result = xr.Dataset(
        {"score": (("line", "session"), score)} | {name: ("line", values) for name, values in summary.items()},
        coords={
            "line": list(LINES), "session": sessions,
            "animal": ("session", [animals[session] for session in sessions]),
        },
    )  # fmt: skip
    result = result.assign_attrs(
        {
            "kind": "transfer", "metric": "accuracy", "chance": float(chance), "rival": rival,
            "interval_level": LEVEL, "interval_over": over, "n_animals": len(set(result["animal"].values.tolist())),
            "n_sessions": len(sessions), "n_bootstrap": n_bootstrap, "random_state": random_state,
        }
        | dict(attrs)
        | gain(result, rival)
    )  # fmt: skip
    return result.assign_attrs(finding=say(result))


def gain(result: xr.Dataset, rival: str) -> dict[str, float]:
    """Mean over animals of aligned less its rival, with Student's t interval (NaN with one animal)."""
    difference = (result["score"].sel(line="aligned") - result["score"].sel(line=rival)).to_numpy()
    animal = result["animal"].to_numpy()
    own = np.array([np.nanmean(difference[animal == name]) for name in dict.fromkeys(animal.tolist())])
    mean, n = float(own.mean()), len(own)
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * own.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return {"gain": mean, "gain_low": mean - half, "gain_high": mean + half, "gain_se": _standard_error(own)}


def say(result: xr.Dataset) -> str:
    """What a transfer result shows, in plain words.

    Where aligned does not beat its rival with the whole interval above zero, it says so and claims nothing.
    """
    attrs, mean = result.attrs, {line: float(result["score_mean"].sel(line=line)) for line in LINES}
    rival = attrs["rival"].replace("_", " ")
    if mean["aligned"] == mean[attrs["rival"]] and attrs["gain_low"] == attrs["gain_high"] == 0:
        verdict = f"Aligned ({mean['aligned']:.3f}) does not beat {rival}, being the same: no transfer is claimed."
    else:
        interval = f"{attrs['gain']:+.3f} ({attrs['gain_low']:+.3f} to {attrs['gain_high']:+.3f})"
        pair = f"({mean['aligned']:.3f}) {{}} {rival} ({mean[attrs['rival']]:.3f}), by {interval}"
        end = f"over {attrs['n_animals']} animals"
        if attrs["gain_low"] > 0:
            verdict = f"Aligned {pair.format('beats')} {end}."
        elif attrs["gain_high"] < 0:
            verdict = f"Aligned {pair.format('is worse than')} {end}: use the animal's own data."
        else:
            verdict = f"Aligned {pair.format('does not beat')} {end}: no transfer is claimed."
    said = [verdict]
    if mean["shuffled_anchors"] > attrs["chance"] + 0.5 * (mean["aligned"] - attrs["chance"]) and attrs["gain_low"] > 0:
        said.append(f"But shuffled anchors reach {mean['shuffled_anchors']:.3f}, so little of it is alignment.")
    if np.isfinite(mean["same_animal"]):
        share = mean["aligned"] / mean["same_animal"] if mean["same_animal"] > 0 else np.nan
        said.append(f"The same animal's ceiling is {mean['same_animal']:.3f}; aligned reaches {share:.0%} of it.")
    if "reliability" in result and np.isfinite(result["reliability"]).any():
        said.append(f"Split-half reliability of an animal's geometry is {float(result['reliability'].mean()):.2f}.")
    return " ".join(said + list(attrs.get("notes", [])))


def attach_reliability(result: xr.Dataset, reliability: Mapping[str, float], agreement: float) -> xr.Dataset:
    """The result with ``reliability (session)``, attr ``agreement`` between animals, and the finding anew."""
    values = [reliability[session] for session in result["session"].to_numpy().tolist()]
    result = result.assign(reliability=("session", values)).assign_attrs(agreement=float(agreement))
    return result.assign_attrs(finding=say(result))


def sweep(task: Callable[[Any], xr.Dataset], values: Sequence[Any], *, name: str) -> xr.Dataset:
    """A curve or a table: transfer results over one more dimension (k, number of anchors, aligner ...).

    Parameters
    ----------
    task : from a value to a transfer result; ``known_odors`` and ``new_odors`` take ``map`` themselves
    values : numbers, or names
    name : of the dimension

    Returns
    -------
    dataset of kind "transfer_curve" on (name, line, session), with ``finding``, ``gain``, ``gain_low``, ``gain_high``
    and ``gain_se`` on (name)

    Raises
    ------
    SchemaError : no values, or a task that makes no transfer result

    Examples
    --------
    >>> # sweep(lambda k: known_odors(cohort, "odor", aligner, decoder, k=k, ...), [1, 2, 4], name="k")
    """
    if not len(values):
        raise SchemaError(f"sweep over {name!r}: there are no values to try. Give at least one.")
    results = []
    for value in values:
        result = task(value)
        if not isinstance(result, xr.Dataset) or result.attrs.get("kind") != "transfer":
            raise SchemaError(f"sweep over {name!r}: the task made no transfer result. Use known_odors or new_odors.")
        results.append(result)
    common = {key: value for key, value in results[0].attrs.items() if all(r.attrs.get(key) == value for r in results)}
    curve = xr.concat(
        [r.drop_attrs() for r in results], dim=xr.DataArray(list(values), dims=name, name=name), join="outer",
        coords="minimal", compat="override",
    )  # fmt: skip
    for key in ("finding", "gain", "gain_low", "gain_high", "gain_se", "chance"):
        curve[key] = (name, [r.attrs[key] for r in results])
    return curve.assign_attrs(common | {"kind": "transfer_curve"})


def _decoding(session: str, animal: str, prediction: np.ndarray, truth: np.ndarray, classwise: bool) -> xr.Dataset:
    """A result as the bootstrap takes it; without classes, right or wrong is what is resampled."""
    tested = prediction >= 0
    if not classwise:
        prediction = np.where(tested, (prediction == truth).astype(np.int16), np.int16(-1))
        truth = np.ones_like(truth)
    right = (prediction == truth)[tested]
    return xr.Dataset(
        {
            "score": ("fold", [float(np.mean(p[t] == truth[t])) for p, t in zip(prediction, tested, strict=True)]),
            "prediction": (("fold", "trial"), prediction),
            "target": ("trial", truth),
        },
        coords={"label": np.arange(max(int(truth.max()), int(prediction.max())) + 1)},
        attrs={
            "kind": "decoding", "metric": "accuracy", "target": "condition", "session": session, "animal": animal,
            "score_mean": float(right.mean()),
        },
    )  # fmt: skip


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
