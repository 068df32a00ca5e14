"""Print figures of scores over something: time, two times, units or trials, numbers of latents.

Drawing for ``figures.save_figure``; computes nothing but layout.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from .labels import clean, spoken
from .layout import time_title
from .palette import BLACK, GREY, MOST_CLASSES, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MM_PER_INCH = 25.4
LEVEL = 0.05
LINES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":", "longdash": (0, (8, 2)), "dashdot": "-.",
                         "longdashdot": (0, (8, 2, 1, 2))}  # fmt: skip
SIZES = {"n_units": "units", "n_trials": "training trials", "n_latents": "latents"}


def draw_over_time(figure: "Figure", data: Any, width_mm: int) -> None:
    """Score at each bin above its null band; bins above the family-wise null are marked below the axis of scores.

    ``data`` is one result over time, or a mapping from a name to one; of several, each is a line without band.
    """
    results = _named(data, ("score",), ("time",))
    axes = figure.add_subplot()
    first = next(iter(results.values()))
    time = first["time"].to_numpy()
    if len(results) == 1 and "null_low" in first:
        label = "middle 95 % with\nshuffled labels, each bin"
        axes.fill_between(time, first["null_low"], first["null_high"], color=GREY, alpha=0.28, linewidth=0, label=label)
    for position, (name, result) in enumerate(results.items()):
        look = style(position)
        axes.plot(result["time"], result["score"], color=look.color, linestyle=LINES[look.dash],
                  label=clean(name, limit=24))  # fmt: skip
    if np.isfinite(chance := float(first.attrs.get("chance", np.nan))):
        axes.axhline(chance, color=GREY, linestyle=":", label="chance")
    if time[0] < 0 < time[-1]:
        axes.axvline(0, color=GREY, linewidth=0.5)
    if len(results) == 1 and "p_familywise" in first:
        above = time[first["p_familywise"].to_numpy() <= LEVEL]
        low, high = axes.get_ylim()
        axes.plot(above, np.full(len(above), low - 0.04 * (high - low)), linestyle="", marker="s", markersize=2,
                  color=BLACK, label=f"above the largest\nof all bins, p ≤ {LEVEL:g}")  # fmt: skip
    unit = f" ({clean(first.attrs['units'])}²)" if first.attrs.get("metric") == "squared_distance" else ""
    axes.set(xlabel=time_title(first), ylabel=spoken(first.attrs.get("metric", "score")) + unit)
    figure.legend(loc="outside upper left", ncols=2 if width_mm < 100 else 4)
    figure.set_figheight((0.55 * min(width_mm, 110) + 4 * np.ceil(len(results) / 2)) / MM_PER_INCH)


def draw_generalisation(figure: "Figure", data: Any, width_mm: int, *, shades: Any) -> None:
    """Score of every training time at every test time, on a scale of ``shades`` from chance up."""
    (result,) = _named(data, ("score",), ("train_time", "test_time")).values()
    score = result["score"].transpose("train_time", "test_time").to_numpy()
    axes = figure.add_subplot()
    times = [result[name].to_numpy() for name in ("test_time", "train_time")]
    half = float(result.attrs["bin_width_s"]) / 2
    extent = (times[0][0] - half, times[0][-1] + half, times[1][0] - half, times[1][-1] + half)
    low = min(float(result.attrs.get("chance", np.nanmin(score))), float(np.nanmax(score)))
    image = axes.imshow(score, origin="lower", extent=extent, cmap=shades, vmin=low, interpolation="none")
    axes.axline((extent[0], extent[0]), slope=1, color=GREY, linewidth=0.5)
    event = spoken(result.attrs.get("event", "event"))
    axes.set(xlabel=f"test time from {event} (s)", ylabel=f"training time from {event} (s)")
    axes.set(xlim=extent[:2], ylim=extent[2:])
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25)
    bar.set_label(f"{spoken(result.attrs.get('metric', 'score'))} (lightest: chance or less)")
    bar.outline.set_visible(False)
    figure.set_figheight(0.82 * min(width_mm, 110) / MM_PER_INCH)


def draw_curve(figure: "Figure", data: Any, width_mm: int) -> None:
    """Score against the number of units, trials or latents, with its interval and, where known, the fitted curve.

    ``data`` is one curve, or a mapping from a name to one.
    """
    curves = _named(data, ("score",), None)
    axes = figure.add_subplot()
    first = next(iter(curves.values()))
    dim = next((name for name in SIZES if name in first["score"].dims), None)
    if dim is None:
        raise SchemaError(f"a curve is over one of {list(SIZES)}, and this score is over {first['score'].dims}.")
    for position, (name, curve) in enumerate(curves.items()):
        look = style(position)
        sizes = curve[dim].to_numpy()
        if "score_low" in curve:
            axes.fill_between(sizes, curve["score_low"], curve["score_high"], color=look.color, alpha=0.2, linewidth=0)
        axes.plot(sizes, curve["score"], color=look.color, marker="o", markersize=2.5, label=clean(name, limit=24))
        if "fitted" in curve:
            axes.plot(sizes, curve["fitted"], color=look.color, linestyle="--", label="fitted saturation")
        chosen = curve.attrs.get(f"{dim}_chosen")
        if chosen is not None:
            axes.axvline(chosen, color=look.color, linestyle="-.", linewidth=0.7, label=f"chosen: {chosen}")
    if np.isfinite(chance := float(first.attrs.get("chance", np.nan))):
        axes.axhline(chance, color=GREY, linestyle=":", label="chance")
    of = f" of {first.attrs['n_trials_of']}" if dim == "n_trials" and "n_trials_of" in first.attrs else ""
    axes.set(xlabel=f"number of {SIZES[dim]}{of}", ylabel=spoken(first.attrs.get("metric", "score")))
    over = clean(str(first.attrs.get("interval_over", "")), limit=60)
    title = f"bands: middle 95 % over {over}" if over and "score_low" in first else None
    figure.legend(loc="outside upper left", ncols=2 if width_mm < 100 else 4, title=title, alignment="left")
    figure.set_figheight((0.55 * min(width_mm, 110) + 8) / MM_PER_INCH)


def _named(data: Any, variables: tuple[str, ...], dims: tuple[str, ...] | None) -> dict[str, xr.Dataset]:
    """The results by name, checked to hold what is drawn."""
    is_several = isinstance(data, Mapping) and not isinstance(data, xr.Dataset)
    results = dict(data) if is_several else {"score": data}
    if not 0 < len(results) <= MOST_CLASSES:
        raise SchemaError(f"expected 1 to {MOST_CLASSES} results to draw, got {len(results)}. Draw fewer at once.")
    for name, result in results.items():
        has = getattr(result, "data_vars", ())
        if any(variable not in has for variable in variables):
            raise SchemaError(f"{clean(name)!r} has no {variables[0]!r}, only {list(has)}. Give a result that has one.")
        if dims is not None and set(result["score"].dims) != set(dims):
            raise SchemaError(
                f"{clean(name)!r}: expected a score over {' and '.join(dims)}, got one over {result['score'].dims}."
            )
    return results
