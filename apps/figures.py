"""Figures for print, in Matplotlib: SVG or PDF at the widths of a journal, 7 pt, text that can be edited.

They show what ``charts.py`` shows, with the same colours. The same data give the same bytes: no date,
no random ids. No global state of Matplotlib is touched.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..datasets.errors import ConfigError, UnknownName
from ..datasets.tables import nearest
from .figures_over import LINES, draw_curve, draw_generalisation, draw_over_time
from .labels import clean, spoken
from .layout import (
    condition_means,
    confusion_titles,
    counts_and_share,
    equal_ranges,
    latent_title,
    mean_row,
    moments,
    time_title,
)
from .palette import BLACK, BLUE, GREY, SHADES, style
from .publish import publish
from .summary import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS_MM = (85, 180)
FONT_PT = 7
MM_PER_INCH = 25.4
SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT,
    "axes.labelsize": FONT_PT,
    "xtick.labelsize": FONT_PT,
    "ytick.labelsize": FONT_PT,
    "legend.fontsize": FONT_PT,
    "legend.title_fontsize": FONT_PT,
    "legend.frameon": False,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "lines.linewidth": 1.0,
    "text.parse_math": False,  # a name with dollar signs is a name
    "svg.fonttype": "none",
    "svg.hashsalt": "mitral",
    "pdf.fonttype": 42,
}
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "cross": "P", "x": "X", "circle-open": "o", "square-open": "s",
           "diamond-open": "D"}  # fmt: skip


def save_figure(kind: str, data: Any, path: str | Path, *, width_mm: int = 85, **options: Any) -> Path:
    """Draw a study, a result or a trajectory for print and write it in one step.

    Parameters
    ----------
    kind : "accuracy" (of a study or result), "confusion" (of a result), "trajectories"; "over_time" (of
        ``cross_validate_over_time`` or ``separation_over_time``), "generalisation" (of ``generalise_over_time``),
        "curve" (over numbers of units, trials or latents). "over_time" and "curve" also take several by name
    data : what that kind shows
    path : ends in .svg or .pdf
    width_mm : 85 (one column) or 180 (two)
    options : ``color="odor"`` for trajectories

    Returns
    -------
    path

    Raises
    ------
    UnknownName : no such kind
    ConfigError : another width or ending
    SchemaError : data that the kind cannot show
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    if kind not in FIGURES:
        raise UnknownName(f"unknown figure {kind!r}. {nearest(kind, FIGURES)}")
    if width_mm not in WIDTHS_MM:
        raise ConfigError(f"width_mm = {width_mm!r}: a figure is 85 mm (one column) or 180 mm (two columns) wide.")
    form = path.suffix.lower().removeprefix(".")
    if form not in ("svg", "pdf"):
        raise ConfigError(f"figure {path.name!r}: expected a name that ends in .svg or .pdf.")
    undated = {"Date": None} if form == "svg" else {"CreationDate": None}
    drawn = BytesIO()
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]  # the stubs name every key
        figure = Figure(figsize=(width_mm / MM_PER_INCH, 1.0), layout="constrained")
        FIGURES[kind](figure, data, width_mm, **options)
        figure.savefig(drawn, format=form, metadata=undated, transparent=True)
    return publish(path, drawn.getvalue())


def _draw_accuracy(figure: "Figure", study: xr.Dataset, width_mm: int) -> None:
    rows = table(study)
    place = np.arange(len(rows), dtype=float)
    names = [clean(name, limit=24) for name in rows["population"]]
    axes = figure.add_subplot()
    axes.barh(place, rows["null_high"] - rows["null_low"], left=rows["null_low"], height=0.62, color=GREY, alpha=0.28,
              label="null band: middle 95 %\nwith shuffled targets", linewidth=0)  # fmt: skip
    axes.vlines(rows["chance"], place - 0.42, place + 0.42, color=GREY, linestyle=":", label="chance")
    if rows["control_score"].notna().any():
        axes.plot(rows["control_score"], place, linestyle="", marker="o", markersize=3.5, markerfacecolor="none",
                  color=GREY, label="control window")  # fmt: skip
    scores = rows[["score", "score_low", "score_high"]].to_numpy(float)
    _draw_scores(axes, scores, place, "score and its interval", "o", BLUE)
    mean, name = mean_row(study)
    if len(rows) > 1 and np.isfinite(mean[0]):
        place, names = np.append(place, len(rows) + 0.25), [*names, "mean"]
        _draw_scores(axes, mean[None], place[-1:], name, "D", BLACK)
    axes.set(xlabel=spoken(study.attrs.get("metric", "score")), ylim=(place[-1] + 0.7, -0.7), yticks=place)
    axes.set_yticklabels(names)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=1 if width_mm < 100 else 2)
    figure.set_figheight((32 + 5.5 * len(place)) / MM_PER_INCH)


def _draw_scores(axes: Any, scores: np.ndarray, place: np.ndarray, name: str, marker: str, color: str) -> None:
    score, low, high = scores.T
    ends = np.nan_to_num(np.stack([score - low, high - score]))
    axes.errorbar(score, place, xerr=ends, fmt=marker, color=color, markersize=4, capsize=2, elinewidth=1, label=name)


def _draw_confusion(figure: "Figure", result: xr.Dataset, width_mm: int) -> None:
    _, share = counts_and_share(result)
    names = [clean(label, limit=16) for label in result["label"].values]
    decoded, presented = confusion_titles(result)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap=_shades(), vmin=0, vmax=1, interpolation="none")
    ticks = np.arange(len(names))
    axes.set(xlabel=decoded, ylabel=presented, xticks=ticks, yticks=ticks)
    axes.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticklabels(names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) <= 15 and width_mm > 100 or len(names) <= 8:
        for (row, column), value in np.ndenumerate(np.round(100 * share)):
            if value > 0:
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 50 else BLACK)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, ticks=[0, 0.5, 1], format=_percent)
    bar.set_label(f"share of the trials of each {presented}")
    bar.outline.set_visible(False)
    figure.set_figheight(0.82 * width_mm / MM_PER_INCH)


def _draw_generalisation(figure: "Figure", result: xr.Dataset, width_mm: int) -> None:
    draw_generalisation(figure, result, width_mm, shades=_shades())


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("share", SHADES["light"])


def _percent(share: float, _: Any = None) -> str:
    return f"{100 * share:.0f} %"


def _draw_trajectories(figure: "Figure", trajectory: xr.DataArray, width_mm: int, *, color: str = "odor") -> None:
    """Two-dimensional projections of the first three latents, on one scale."""
    conditions, means = condition_means(trajectory, color)
    n_axes = min(3, trajectory.sizes["latent"])
    pairs = [(0, 1), (0, 2), (2, 1)][: 3 if n_axes == 3 else 1]
    if width_mm < 100:
        pairs = pairs[:2]
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    time = trajectory["time"].to_numpy()
    for axes, (across, up) in zip(panels, pairs, strict=True):
        _draw_paths(axes, trajectory, means, [time, 0] if n_axes == 1 else [across, up], conditions, color)
        axes.set_xlabel(time_title(trajectory) if n_axes == 1 else latent_title(trajectory, across))
        axes.set_ylabel(latent_title(trajectory, 0 if n_axes == 1 else up))
        if n_axes > 1:
            limits = equal_ranges(trajectory)
            middle, half = limits.mean(axis=1), float(np.ptp(limits, axis=1).max()) / 2
            axes.set(xlim=middle[across] + [-half, half], ylim=middle[up] + [-half, half], aspect="equal")
    handles, names = panels[0].get_legend_handles_labels()
    n_columns = 3 if width_mm < 100 else 5
    figure.legend(handles, names, title=spoken(color), alignment="left", loc="outside upper left", ncols=n_columns)
    figure.set_figheight((width_mm / len(pairs) + 10 + 3.8 * np.ceil(len(names) / n_columns)) / MM_PER_INCH)


def _draw_paths(
    axes: Any, trajectory: xr.DataArray, means: np.ndarray, pick: list[Any], conditions: list[Any], color: str
) -> None:
    """Single trials thin, means thick, moments marked; ``pick`` holds two latents, or the time and a latent."""
    paths, values = trajectory.to_numpy(), trajectory[color].to_numpy()
    across, up = pick

    def taken(points: np.ndarray, which: Any) -> np.ndarray:
        return np.broadcast_to(which, points.shape[:-1]) if isinstance(which, np.ndarray) else points[..., which]

    for position, condition in enumerate(conditions):
        single = paths[values == condition]
        axes.plot(taken(single, across).T, taken(single, up).T, color=style(position).color, alpha=0.12, linewidth=0.3)
    for position, condition in enumerate(conditions):
        look = style(position)
        face = "none" if look.symbol.endswith("-open") else look.color
        axes.plot(taken(means[position], across), taken(means[position], up), color=look.color,
                  linestyle=LINES[look.dash], marker=MARKERS[look.symbol], markerfacecolor=face, markersize=2.5,
                  markevery=[-1], label=clean(condition, limit=28))  # fmt: skip
    for (name, index), marker in zip(moments(trajectory).items(), ("o", "D"), strict=False):
        axes.plot(taken(means, across)[:, index], taken(means, up)[:, index], linestyle="", marker=marker, markersize=3,
                  markerfacecolor="none", markeredgewidth=0.6, color=BLACK, label=clean(name))  # fmt: skip


FIGURES: dict[str, Callable[..., None]] = {
    "accuracy": _draw_accuracy,
    "confusion": _draw_confusion,
    "trajectories": _draw_trajectories,
    "over_time": draw_over_time,
    "generalisation": _draw_generalisation,
    "curve": draw_curve,
}
