"""Charts of scores over something: time, two times, sizes, held-out levels, calibration trials; computing only layout.

As in ``charts``, which makes the empty figures. ``draw`` finds the chart of a result by its kind.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..decode.metrics import SMALLER_IS_BETTER
from ..decode.onset import LEVEL
from .across import LINE_NAMES
from .charts import color_bar, new_figure
from .how_many import size_words
from .labels import for_plotly, spoken
from .layout import time_title
from .palette import BAND, BLACK, BLUE, GREY, INK, OKABE_ITO, style
from .summary import ABOVE_CHANCE_P, number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NULL_BAND = "null band: middle 95\u00a0% with shuffled targets"
TRANSFER_LINES = {  # name, colour, symbol and dash of each line of a transfer result
    "same_animal": (LINE_NAMES["same_animal"], BLACK, "square", "dash"),
    "aligned": (LINE_NAMES["aligned"], BLUE, "circle", "solid"),
    "target_only": (LINE_NAMES["target_only"], OKABE_ITO[1], "diamond", "longdash"),
    "shuffled_anchors": (LINE_NAMES["shuffled_anchors"], GREY, "x", "dot"),
}


def draw(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """The chart of a result of an optional section, by its kind.

    Raises
    ------
    SchemaError : a kind that has no chart here, or an unknown theme
    """
    kind = result.attrs.get("kind")
    if kind not in CHARTS:
        raise SchemaError(f"expected a result of kind {', '.join(CHARTS)}, got {kind!r}. Give one that a run made.")
    return CHARTS[kind](result, theme=theme)


def over_time(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Score of each session at each time bin, its onset, and the median onset with its interval.

    Parameters
    ----------
    result : of kind "over_time": ``score (session, time)``, ``onset_s (session)``
    theme : "light" or "dark"

    Returns
    -------
    figure; with one session its null band, and squares below where it beats the largest of all bins

    Raises
    ------
    SchemaError : unknown theme
    """
    figure, attrs, time = new_figure(theme), result.attrs, result["time"].to_numpy()
    if result.sizes["session"] == 1 and "null_low" in result:
        _add_band(figure, time, result["null_low"].to_numpy()[0], result["null_high"].to_numpy()[0], NULL_BAND, BAND)
    for position, session in enumerate(result["session"].values):
        at, look = result.sel(session=session), style(position, theme)
        figure.add_scatter(
            x=time, y=at["score"].to_numpy(), mode="lines", name=for_plotly(session, limit=24),
            line={"color": look.color, "dash": look.dash, "width": 2}, hovertemplate="%{x:.3f} s: %{y:.2f}",
        )  # fmt: skip
        if np.isfinite(float(at["onset_s"])):
            figure.add_scatter(
                x=[float(at["onset_s"])], y=[float(at["score"].sel(time=at["onset_s"]))], mode="markers",
                marker={"symbol": look.symbol, "size": 11, "color": look.color}, showlegend=False,
                hovertext=[f"{for_plotly(session)}: onset {float(at['onset_s']):.3g} s"], hoverinfo="text",
            )  # fmt: skip
    if result.sizes["session"] == 1 and "p_familywise" in result:
        above = time[result["p_familywise"].to_numpy()[0] <= LEVEL]
        low, high = float(result["score"].min()), float(result["score"].max())
        figure.add_scatter(
            x=above, y=np.full(len(above), low - 0.06 * (high - low)), mode="markers", hoverinfo="skip",
            name=f"above the largest of all bins, p ≤ {LEVEL:g}",
            marker={"symbol": "square", "size": 6, "color": INK[theme]},
        )  # fmt: skip
    _add_chance(figure, attrs, time)
    if attrs.get("onset_high_s") is not None and result.sizes["session"] > 1:
        figure.add_vrect(x0=attrs["onset_low_s"], x1=attrs["onset_high_s"], fillcolor=BAND, line_width=0, layer="below")
    if attrs.get("onset_s") is not None:
        figure.add_vline(x=attrs["onset_s"], line={"color": GREY, "width": 1.5})
    figure.update_xaxes(title_text=for_plotly(time_title(result), limit=60))
    figure.update_yaxes(title_text=for_plotly(spoken(attrs["metric"]), limit=60))
    figure.update_layout(height=420, hovermode="closest")
    return figure


def generalisation(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Score of every training time at every test time, on a scale from chance to the best.

    Parameters
    ----------
    result : of kind "generalisation": ``score (train_time, test_time)``
    theme : "light" or "dark"

    Raises
    ------
    SchemaError : unknown theme
    """
    figure, attrs = new_figure(theme), result.attrs
    event, metric = spoken(attrs["event"]), spoken(attrs["metric"])
    train, test = (result[name].to_numpy() for name in ("train_time", "test_time"))
    score = result["score"].transpose("train_time", "test_time").to_numpy()
    figure.add_heatmap(
        z=score, x=test, y=train, coloraxis="coloraxis",
        hovertemplate="trained at %{y:.3f} s, tested at %{x:.3f} s: %{z:.2f}<extra></extra>",
    )  # fmt: skip
    ends = [max(train[0], test[0]), min(train[-1], test[-1])]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False,
        name="trained and tested at one time",
    )  # fmt: skip
    axis = {"showgrid": False, "constrain": "domain"}
    figure.update_xaxes(title_text=for_plotly(f"test time from {event} (s)", limit=60), constraintoward="left", **axis)
    figure.update_yaxes(title_text=for_plotly(f"training time from {event} (s)", limit=60), scaleanchor="x", **axis)
    is_error, chance = attrs["metric"] in SMALLER_IS_BETTER, float(attrs["chance"])
    best = float(np.nanmin(score) if is_error else np.nanmax(score))
    bar = color_bar(for_plotly(f"mean {metric}, from chance to the best", limit=60))
    scale = {"cmin": min(best, chance), "cmax": max(best, chance), "reversescale": is_error, "colorbar": bar}
    figure.update_layout(height=560, coloraxis=scale)
    return figure


def curve(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Score against the number of units or trials: the mean, its interval, the fitted saturation, thin each animal.

    Parameters
    ----------
    result : of kind "curve"
    theme : "light" or "dark"

    Raises
    ------
    SchemaError : not over units or trials, or an unknown theme
    """
    figure, attrs = new_figure(theme), result.attrs
    words = size_words(result)
    (dim,) = result["score"].dims
    sizes = result[dim].to_numpy()
    over = spoken(attrs["interval_over"]).split(",")[0]
    _add_band(figure, sizes, result["score_low"].to_numpy(), result["score_high"].to_numpy(),
              f"95\u00a0% interval over {for_plotly(over, limit=40)}", BAND)  # fmt: skip
    if "animal_score" in result:
        for animal in result["animal"].values:
            figure.add_scatter(
                x=sizes, y=result["animal_score"].sel(animal=animal).to_numpy(), mode="lines", showlegend=False,
                line={"color": GREY, "width": 1}, name=for_plotly(animal, limit=24), hovertemplate="%{x}: %{y:.2f}",
            )  # fmt: skip
    figure.add_scatter(
        x=sizes, y=result["score"].to_numpy(), mode="lines+markers", name="mean", line={"color": BLUE, "width": 2.5},
        marker={"size": 8}, hovertemplate="%{x}: %{y:.2f}",
    )  # fmt: skip
    if "fitted" in result:
        figure.add_scatter(
            x=sizes, y=result["fitted"].to_numpy(), mode="lines", name=f"fitted saturation ({attrs['saturation']})",
            line={"color": OKABE_ITO[1], "dash": "dash", "width": 2}, hoverinfo="skip",
        )  # fmt: skip
    _add_chance(figure, attrs, sizes)
    figure.update_xaxes(title_text=for_plotly(f"number of {words}", limit=60), rangemode="tozero")
    figure.update_yaxes(title_text=for_plotly(spoken(attrs["metric"]), limit=60))
    figure.update_layout(height=400, hovermode="closest")
    return figure


def across_levels(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Score at each level that was held out: every session, and their mean with its interval.

    Parameters
    ----------
    result : of kind "across_levels"
    theme : "light" or "dark"

    Returns
    -------
    figure; filled where p is at most 0.05; with one session its interval and null band

    Raises
    ------
    SchemaError : unknown theme
    """
    figure, attrs = new_figure(theme), result.attrs
    levels, n_sessions = result["held_out"].values.tolist(), result.sizes["session"]
    place = np.arange(len(levels), dtype=float)
    if n_sessions == 1:
        low, high = (result[f"null_{end}"].to_numpy()[0] for end in ("low", "high"))
        figure.add_bar(x=place, base=low, y=high - low, width=0.5, hoverinfo="skip", name=NULL_BAND,
                       marker={"color": BAND, "line": {"width": 0}})  # fmt: skip
    for position, session in enumerate(result["session"].values):
        at, look = result.sel(session=session), style(position, theme)
        is_above = at["p_value"].to_numpy() <= ABOVE_CHANCE_P
        shift = 0.0 if n_sessions == 1 else 0.5 * ((position + 0.5) / n_sessions - 0.5) - 0.05
        symbols = [look.symbol.removesuffix("-open") + ("" if above else "-open") for above in is_above]
        score = at["score"].to_numpy()
        hovers = [f"{for_plotly(session)}: {number(value)}, p = {number(p, digits=2)}"
                  for value, p in zip(score, at["p_value"].to_numpy(), strict=True)]  # fmt: skip
        bars = _bars(score, at["score_low"].to_numpy(), at["score_high"].to_numpy()) if n_sessions == 1 else None
        figure.add_scatter(
            x=place + shift, y=score, mode="markers", name=for_plotly(session, limit=24), error_y=bars,
            marker={"symbol": symbols, "size": 9, "color": look.color, "line": {"width": 0}},
            hovertext=hovers, hoverinfo="text",
        )  # fmt: skip
    if n_sessions > 1:
        mean, low, high = (result[name].to_numpy() for name in ("mean", "mean_low", "mean_high"))
        over = for_plotly(str(attrs["interval_over"]).split(",")[0], limit=40)
        figure.add_scatter(
            x=place + 0.32, y=mean, mode="markers", error_y=_bars(mean, low, high), hovertemplate="%{y:.2f}",
            marker={"symbol": "diamond", "size": 12, "color": INK[theme]}, name=f"mean and its interval over {over}",
        )  # fmt: skip
    chance = np.nanmean(result["chance"].to_numpy(), axis=0)
    figure.add_scatter(
        x=np.column_stack([place - 0.42, place + 0.42, np.full(len(place), np.nan)]).ravel(), y=np.repeat(chance, 3),
        mode="lines", line={"color": GREY, "dash": "dot", "width": 2}, name="chance", hoverinfo="skip",
    )  # fmt: skip
    unit = f" ({attrs['units']})" if attrs.get("units") else ""
    figure.update_xaxes(
        title_text=for_plotly(f"{spoken(attrs['column'])} that was held out{unit}", limit=60),
        tickvals=place, ticktext=[for_plotly(level, limit=16) for level in levels], showgrid=False,
        range=[-0.5, len(levels) - 0.5],
    )  # fmt: skip
    figure.update_yaxes(title_text=for_plotly(spoken(attrs["metric"]), limit=60))
    figure.update_layout(height=400, hovermode="closest", barmode="overlay")
    return figure


def transfer(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Accuracy in an animal from the others' data, and its three controls.

    Parameters
    ----------
    result : of kind "transfer" (one condition), or "transfer_curve" over ``k``
    theme : "light" or "dark"

    Returns
    -------
    figure; lines over k with their intervals, or one point for each control

    Raises
    ------
    SchemaError : no transfer result, or an unknown theme
    """
    if result.attrs.get("kind") not in ("transfer", "transfer_curve"):
        kind = result.attrs.get("kind")
        raise SchemaError(f"expected a transfer result, got kind {kind!r}. Give what known_odors or new_odors made.")
    figure = new_figure(theme)
    is_curve = "k" in result.dims
    for line, (name, color, symbol, dash) in TRANSFER_LINES.items():
        at = result.sel(line=line)
        mean, low, high = (np.atleast_1d(at[f"score_{part}"].to_numpy()) for part in ("mean", "low", "high"))
        color = INK[theme] if color == BLACK else color
        figure.add_scatter(
            x=result["k"].to_numpy() if is_curve else [for_plotly(name)], y=mean, name=for_plotly(name),
            mode="lines+markers" if is_curve else "markers", line={"color": color, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 9, "color": color}, hovertemplate="%{y:.2f}",
            error_y=_bars(mean, low, high),
        )  # fmt: skip
    chance = float(result["chance"].min()) if "chance" in result else float(result.attrs["chance"])
    figure.add_hline(y=chance, line={"color": GREY, "dash": "dot"})
    target = spoken(str(result.attrs["target"]))
    if is_curve:
        figure.update_xaxes(title_text=for_plotly(f"calibration trials of each {target}"), type="log")
        figure.update_xaxes(tickvals=result["k"].to_numpy(), ticktext=[str(k) for k in result["k"].to_numpy()])
    figure.update_yaxes(title_text="accuracy (dotted: chance)", range=[0, 1.02])
    figure.update_layout(height=400, hovermode="closest", showlegend=is_curve)
    return figure


CHARTS = {  # kind of a result -> its chart
    "over_time": over_time,
    "generalisation": generalisation,
    "curve": curve,
    "across_levels": across_levels,
    "transfer": transfer,
    "transfer_curve": transfer,
}


def _bars(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Error bars from the ends of intervals; none where an end is unknown."""
    return {"array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low), "thickness": 1.2}


def _add_band(figure: "Figure", x: np.ndarray, low: np.ndarray, high: np.ndarray, name: str, color: str) -> None:
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([low, high[::-1]]), mode="lines", fill="toself",
        fillcolor=color, line={"width": 0}, name=name, hoverinfo="skip",
    )  # fmt: skip


def _add_chance(figure: "Figure", attrs: dict[Any, Any], x: np.ndarray) -> None:
    figure.add_scatter(
        x=[x[0], x[-1]], y=[attrs["chance"]] * 2, mode="lines", line={"color": GREY, "dash": "dot", "width": 2},
        name="chance", hoverinfo="skip",
    )  # fmt: skip
