"""What a study, a result or a trajectory says: as a table and in plain words.

The report, the explorer and the command line share these, so that one number is explained in one way.
Nothing is scored here: every number was computed before and is only put into a sentence.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..datasets.errors import SchemaError
from ..decode.metrics import SMALLER_IS_BETTER
from .labels import clean, spoken

ABOVE_CHANCE_P = 0.05  # what the words "is decoded" mean
COLUMNS = (
    "population animal session score score_low score_high null_low null_high chance p_value p_smallest "
    "control_score n_trials n_units result"
).split()
TITLES = {
    "score_low": "interval from",
    "score_high": "interval to",
    "null_low": "null from",
    "null_high": "null to",
    "p_value": "p",
    "p_smallest": "smallest possible p",
    "control_score": "control window",
    "n_trials": "trials",
    "n_units": "units",
}
TARGETS = {"odor": "odor identity"}
METRICS = {
    "balanced_accuracy": "The share of test trials of a class that the decoder named correctly, averaged over the "
    "classes, so that a frequent class does not count for more. 1 is always right.",
    "accuracy": "The share of test trials that the decoder named correctly. 1 is always right.",
    "r2": "The share of the variance of the target that the predictions for test trials account for. "
    "1 is perfect; 0 is no better than always saying the mean; it can be negative.",
    "mean_absolute_error": "How far predictions for test trials lie from the truth, on average, in the target's unit. "
    "0 is perfect; smaller is better.",
    "rank_correlation": "How well predictions for test trials keep the order of the truth (Spearman). 1 is the same "
    "order, 0 none, -1 the reverse; the unit does not matter.",
    "mean_class_error": "How many steps of an ordered scale predictions for test trials are off, on average over the "
    "classes. 0 is perfect; smaller is better.",
    "auroc": "How often a test trial of a class gets a higher probability for it than a trial of another class, "
    "averaged over the classes. 1 is always, 0.5 is chance.",
    "log_loss": "How surprising the true classes of test trials are to the decoder's probabilities, in nats. "
    "0 is certain and right; smaller is better; confident mistakes cost most.",
    "brier_score": "The squared distance between the decoder's probabilities and the truth. 0 is certain and right; "
    "smaller is better.",
} | {
    f"top_{k}_accuracy": f"The share of test trials whose true class is among the {k} that the decoder finds most "
    f"probable. 1 is always."
    for k in (2, 3, 5)
}


def table(study: xr.Dataset) -> pd.DataFrame:
    """One row per population of a study; a single result gives one row.

    Parameters
    ----------
    study : Dataset of kind "study", or of kind "decoding"

    Returns
    -------
    columns ``COLUMNS``; NaN or "" where the study does not say

    Raises
    ------
    SchemaError : it is neither a study nor a result
    """
    kind = study.attrs.get("kind")
    if kind == "study" and "score" in study and study["score"].dims == ("population",):
        rows = study.drop_dims([dim for dim in study.dims if dim != "population"]).reset_coords().to_dataframe()
        rows = rows.reset_index()
    elif kind == "decoding":
        attrs = {name: value for name, value in study.attrs.items() if name in COLUMNS and value is not None}
        name = study.attrs.get("name") or study.attrs.get("session") or "population"
        rows = pd.DataFrame([attrs | {"population": name, "score": study.attrs.get("score_mean")}])
    else:
        raise SchemaError(
            f"expected a study or a decoding result, got a Dataset of kind {kind!r} with {list(study.data_vars)}. "
            f"Take one from the store: store.result(name)."
        )
    for name in COLUMNS:
        if name not in rows:
            rows[name] = "" if name in ("animal", "session", "result") else np.nan
    return rows[COLUMNS]


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with titles for a reader, without columns that say nothing or only repeat the population."""
    said = rows.dropna(axis="columns", how="all")
    repeats = [name for name in ("animal", "session", "result") if (said[name].isin(["", *said["population"]])).all()]
    return said.drop(columns=repeats).rename(columns=TITLES)


def finding(study: xr.Dataset) -> str:
    """One sentence: what was decoded, where, how well, against which chance.

    "Is decoded" means p at most 0.05 in that population or, without p, a score better than the null band.
    """
    rows, attrs = table(study), study.attrs
    what = TARGETS.get(attrs.get("target", ""), spoken(attrs.get("target", "target")))
    what = what[:1].upper() + what[1:]
    score = _score_words(rows, attrs)
    if rows[["p_value", "null_high"]].isna().all(axis=None):
        return f"{what}: {score}. No null was computed, so it is open whether this is better than chance."
    above, n = int(decoded(rows, attrs.get("metric", "")).sum()), len(rows)
    if n == 1:
        verdict = "is decoded" if above else "is not decoded above chance"
        return f"{what} {verdict} in {clean(rows.loc[0, 'population'], limit=60)}: {score}."
    if above == 0:
        return f"{what} is not decoded above chance in any of {n} {counted(rows)}: {score}."
    return f"{what} is decoded in {above} of {n} {counted(rows)}: {score}."


def decoded(rows: pd.DataFrame, metric: str) -> pd.Series:
    """True where p is at most 0.05 or, where there is no p, the score is better than the null band."""
    is_error = metric in SMALLER_IS_BETTER
    by_band = rows["score"] < rows["null_low"] if is_error else rows["score"] > rows["null_high"]
    return (rows["p_value"] <= ABOVE_CHANCE_P).where(rows["p_value"].notna(), by_band)


def counted(rows: pd.DataFrame) -> str:
    """What the rows are: animals, sessions, or populations."""
    for column in ("animal", "session"):
        if rows[column].replace("", np.nan).nunique() == len(rows):
            return f"{column}s"
    return "populations"


def meaning(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each number of a study or a result means: (term, explanation in plain words).

    Parameters
    ----------
    attrs : of the study or the result; what it does not say is left out
    """
    metric = str(attrs.get("metric", "score"))
    what = METRICS.get(metric, f"The {spoken(metric)} of the predictions for test trials.")
    words = [
        (f"Score: {spoken(metric)}", f"{what} Every trial is predicted by a decoder that was fitted without it."),
        ("Chance", "What is reached without looking at the activity."),
    ]
    if attrs.get("n_permutations"):
        words += _null_meaning(int(attrs["n_permutations"]), attrs)
    if attrs.get("interval_over"):
        over = clean(attrs["interval_over"])
        words.append(
            (
                f"Interval: {_level(attrs)}over {over}",
                f"Where the score falls when {over} are drawn again, with replacement, from those recorded. "
                f"It says nothing about what was not drawn again: other tasks, other areas, other decoders.",
            )
        )
    return words


def _null_meaning(m: int, attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    scheme = f" ({clean(attrs['null_scheme'])})" if attrs.get("null_scheme") else ""
    smallest = attrs.get("p_smallest") or 1 / (m + 1)
    band = (
        f"The whole analysis is repeated {m} times in each population with shuffled targets{scheme}. The band holds "
        f"the middle 95\u00a0% of these scores: a score inside it cannot be told from chance."
    )
    p = (
        f"p = (b + 1) / (m + 1), where b of m = {m} shuffled analyses score at least as well. Here it cannot be "
        f"smaller than {number(smallest, digits=2)}. It is not corrected for the number of populations."
    )
    return [("Null band", band), ("p", p)]


def fitted_on(trajectory: xr.DataArray) -> str:
    """On which trials the axes were fitted, and so what the picture may be used for."""
    n = trajectory.sizes["trial"]
    if "in_fit" not in trajectory.coords:
        return "On which trials these axes were fitted is not recorded: for looking; not scored."
    fitted = int(trajectory["in_fit"].sum())
    beware = _supervised(trajectory) if "target" in trajectory.attrs and fitted else ""
    if fitted == n:
        return f"These axes were fitted on all {n} trials: for looking; not scored.{beware}"
    others = f"the other {n - fitted} were only projected onto them"
    return f"These axes were fitted on {fitted} of {n} trials; {others}.{beware}"


def _supervised(trajectory: xr.DataArray) -> str:
    seen = trajectory.attrs["target"]
    names = clean(" and ".join([seen] if isinstance(seen, str) else map(str, seen)), limit=60)
    return f" They were fitted to {names}, which moves its values apart even where the activity knows nothing of it."


def number(value: Any, *, digits: int | None = None) -> str:
    """A number for reading: two decimals, or so many significant digits; a dash for NaN.

    Examples
    --------
    >>> number(0.8149), number(0.004975, digits=2), number(float("nan"))
    ('0.81', '0.005', '–')
    """
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.2f}" if digits is None else f"{value:.{digits}g}"


def _level(attrs: Mapping[str, Any]) -> str:
    level = attrs.get("interval_level")
    return f"{100 * level:g}\u00a0% " if level else ""


def _score_words(rows: pd.DataFrame, attrs: Mapping[str, Any]) -> str:
    """The mean with its interval, or the only score with its own, or the range of scores; and chance."""
    metric = spoken(attrs.get("metric", "score"))
    mean, low, high = (attrs.get(f"score_{part}", np.nan) for part in ("mean", "low", "high"))
    if len(rows) == 1:
        mean, low, high = rows.loc[0, ["score", "score_low", "score_high"]]
    if not np.isfinite(mean):
        words = f"{metric} {number(rows['score'].min())} to {number(rows['score'].max())}"
    else:
        words = f"{'' if len(rows) == 1 else 'mean '}{metric} {number(mean)}{_interval(low, high, attrs)}"
    chances = list(dict.fromkeys(number(chance, digits=3) for chance in sorted(rows["chance"].dropna())))
    return words + (f", chance {' to '.join(chances[:: max(1, len(chances) - 1)])}" if chances else "")


def _interval(low: float, high: float, attrs: Mapping[str, Any]) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    over = clean(attrs.get("interval_over", "")).split(",")[0]
    return f" ({_level(attrs)}interval{f' over {over}' if over else ''} {number(low)}–{number(high)})"
