"""The sections of a report that say when, from how many, and at which new levels: charts, findings and tables."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ..decode.curves import size_dim
from .across_levels import finding
from .how_many import size_words, tends_to
from .labels import clean, for_html, spoken
from .over_time import generalisation_words, onset_words, what_an_onset_is
from .report_page import figure, folded, html_table, section
from .summary import number
from .tasks import interval_words, metric_words, sentence


def over_time_section(results: Mapping[str, xr.Dataset]) -> str:
    """HTML of the section on time; nothing without results."""
    if not results:
        return ""
    scores = results["scores"]
    many = scores.sizes["session"] > 1
    caption = [sentence(onset_words(scores)), what_an_onset_is(scores)]
    if many:
        caption.append("Marks: the onset of each session. Vertical line: the median onset; grey: its interval.")
    parts = [figure("over_time:scores", " ".join(caption)), _onset_table(scores)]
    if "generalisation" in results:
        mean = results["generalisation"]
        said = f"{sentence(generalisation_words(mean))} Diagonal: trained and tested at one time."
        parts += [
            "<h3>Does the code hold over time?</h3>",
            figure("over_time:generalisation", said),
            _generalisation_table(mean),
        ]
    target = sentence(spoken(scores.attrs["target"]))
    grow = "in windows that grow from the first bin" if scores.attrs["growing"] else "in each time bin by itself"
    lead = f"{target} decoded {grow}, by a decoder that was trained at that time."
    return section("When?", lead, parts, scores.attrs["warnings"])


def how_many_section(results: Mapping[str, xr.Dataset]) -> str:
    """HTML of the section on numbers of units and trials; nothing without results."""
    if not results:
        return ""
    parts, warnings = [], []
    for name, curve in results.items():
        said = [tends_to(curve)] if "asymptote" in curve.attrs else []
        if "animal_score" in curve:
            said.append("Thin lines: the animals.")
        parts += [
            f"<h3>Number of {for_html(size_words(curve))}</h3>",
            figure(f"how_many:{name}", " ".join(said)),
            _curve_table(curve),
        ]
        warnings += curve.attrs["warnings"]
    lead = (
        "The same decoding from random subsets. Where the curve is flat, more would add little; where it still rises, "
        "more would help."
    )
    return section("From how many?", lead, parts, warnings)


def across_levels_section(results: Mapping[str, xr.Dataset]) -> str:
    """HTML of the section on held-out levels; nothing without results."""
    if not results:
        return ""
    (result,) = results.values()
    target, column = sentence(spoken(result.attrs["target"])), spoken(result.attrs["column"])
    said = f"{finding(result)} Filled marks: p at most 0.05 in that session."
    lead = (
        f"{target} decoded at one {column} by a decoder that was trained at the others only: "
        f"what is found here, the code keeps when the {column} changes."
    )
    parts = [figure("across_levels:levels", said), _levels_table(result)]
    return section(f"Does the code hold at a new {column}?", lead, parts, result.attrs["warnings"])


def _onset_table(scores: xr.Dataset) -> str:
    """Onset and best bin of each session."""
    cells = []
    for session in scores["session"].values:
        at = scores.sel(session=session)
        onset, best = float(at["onset_s"]), _best(at)
        p = number(float(at["p_familywise"][best]), digits=2) if "p_familywise" in at else "–"
        cells.append(
            [clean(session), "none" if np.isnan(onset) else f"{onset:.3g}", number(float(at["score"][best])),
             f"{float(at['time'][best]):.3g}", p]
        )  # fmt: skip
    head = ["session", "onset (s)", "best score", "at (s)", "p over all bins"]
    return html_table(f"Onset and best bin: {metric_words(scores)}.", head, cells)


def _best(scores: xr.Dataset) -> int:
    """The bin that stands out most from the null, or the largest score without one."""
    if "p_familywise" in scores and scores["p_familywise"].notnull().all():
        best = np.flatnonzero(scores["p_familywise"] == scores["p_familywise"].min())
        away = np.abs(scores["score"].to_numpy() - scores.attrs["chance"])
        return int(best[np.argmax(away[best])])
    return int(np.nanargmax(scores["score"].to_numpy()))


def _generalisation_table(mean: xr.Dataset) -> str:
    """Score of each training time (row) at each test time."""
    times = [f"{time:.3g}" for time in mean["test_time"].values]
    cells = [
        [f"{float(row['train_time']):.3g}", *(number(value) for value in row.values)]
        for row in mean["score"].transpose("train_time", "test_time")
    ]
    caption = f"Mean {metric_words(mean)}, trained at one time (row, s) and tested at another (column, s)."
    return folded(html_table(caption, ["trained at", *times], cells))


def _curve_table(curve: xr.Dataset) -> str:
    dim = size_dim(curve)
    cells = []
    for size in curve[dim].values:
        at = curve.sel({dim: size})
        score, low, high = (float(at[name]) for name in ("score", "score_low", "score_high"))
        fitted = [number(float(at["fitted"]))] if "fitted" in at else []
        cells.append([str(int(size)), interval_words(score, low, high), *fitted])
    head = [size_words(curve), "score (interval)", *(["fitted saturation"] if "fitted" in curve else [])]
    return html_table(f"{sentence(metric_words(curve))}; interval over {curve.attrs['interval_over']}.", head, cells)


def _levels_table(result: xr.Dataset) -> str:
    """Mean of each level, and every session with its p."""
    sessions = [str(session) for session in result["session"].values]
    has_place = "is_extrapolation" in result
    cells = []
    for position, level in enumerate(result["held_out"].values):
        at = result.isel(held_out=position)
        row = [str(level), interval_words(*(float(at[name]) for name in ("mean", "mean_low", "mean_high")))]
        row += ["yes" if bool(at["is_extrapolation"]) else "no"] if has_place else []
        for session in sessions:
            score, p = float(at["score"].sel(session=session)), float(at["p_value"].sel(session=session))
            row.append(f"{number(score)} (p {number(p, digits=2)})" if score == score else "–")
        cells.append(row)
    head = [spoken(result.attrs["column"]), "mean (interval)", *["outside of what was trained"] * has_place, *sessions]
    caption = f"{sentence(metric_words(result))} at each held-out level; interval over {result.attrs['interval_over']}."
    return html_table(caption, head, cells)
