"""Charts for the screen, in Plotly: from a result to a figure, computing nothing but layout.

Each function returns a ``plotly.graph_objects.Figure`` with a transparent ground, in a light or a dark
theme. Titles and captions belong to the page around it. Print figures are in ``figures.py``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from .labels import clean, for_plotly, spoken
from .layout import (
    condition_means,
    confusion_titles,
    counts_and_share,
    equal_ranges,
    joined,
    latent_title,
    mean_row,
    moments,
    time_title,
)
from .palette import BAND, BLUE, GREY, INK, SHADES, style
from .summary import number, table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
INKS = {
    "light": {"text": "#1B1F24", "muted": "#5A6472", "grid": "#E3E7EC", "ground": "#FFFFFF"},
    "dark": {"text": "#E6E9ED", "muted": "#A0A8B4", "grid": "#303742", "ground": "#14171C"},
}
MOST_POINTS = 60_000  # of single trials in one chart; beyond, every second, third ... trial is drawn
MOST_CELL_TEXTS = 12  # classes up to which the cells of a confusion matrix carry their share
BOX_DIAGONAL = 2.45  # of a 3-D chart, in Plotly's units: fills the frame, axis titles still inside
PLOTLY_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def accuracy(study: xr.Dataset, *, theme: str = "light") -> "Figure":
    """Score, interval, null band and chance of every population, and their mean.

    Parameters
    ----------
    study : Dataset of kind "study"; a single result gives one row
    theme : "light" or "dark"

    Returns
    -------
    figure, one row per population; the last row is the mean with its interval

    Raises
    ------
    SchemaError : not a study or a result, or an unknown theme
    """
    rows, attrs = table(study), study.attrs
    place = np.arange(len(rows), dtype=float)
    names = [for_plotly(name, limit=24) for name in rows["population"]]
    figure = new_figure(theme)
    banded = rows["null_low"].notna().to_numpy()
    low, high = rows[["null_low", "null_high"]].to_numpy()[banded].T
    figure.add_bar(
        orientation="h", y=place[banded], base=low, x=high - low, width=0.62, hoverinfo="skip",
        marker={"color": BAND, "line": {"width": 0}}, name="null band: middle 95\u00a0% with shuffled targets",
    )  # fmt: skip
    figure.add_scatter(
        x=np.repeat(rows["chance"].to_numpy(), 3),
        y=np.column_stack([place - 0.42, place + 0.42, np.full(len(place), np.nan)]).ravel(),
        mode="lines", line={"color": GREY, "dash": "dot", "width": 2}, name="chance", hoverinfo="skip",
    )  # fmt: skip
    if rows["control_score"].notna().any():
        figure.add_scatter(
            x=rows["control_score"].to_numpy(dtype=float), y=place, mode="markers", hoverinfo="x",
            name="control window", marker={"symbol": "circle-open", "size": 9, "color": GREY, "line": {"width": 2}},
        )  # fmt: skip
    scores = rows[["score", "score_low", "score_high"]].to_numpy(dtype=float)
    _add_scores(figure, scores, place, _row_hovers(rows), name="score and its interval", symbol="circle", color=BLUE)
    mean, name = mean_row(study)
    if len(rows) > 1 and np.isfinite(mean[0]):
        place, names = np.append(place, len(rows) + 0.25), [*names, "mean"]
        hover = f"mean {number(mean[0])} ({number(mean[1])} to {number(mean[2])})"
        _add_scores(figure, mean[None], place[-1:], [hover], name=for_plotly(name), symbol="diamond", color=INK[theme])
    figure.update_xaxes(title_text=for_plotly(spoken(attrs.get("metric", "score")), limit=60), rangemode="tozero")
    figure.update_yaxes(
        tickvals=place, ticktext=names, range=[place[-1] + 0.7, -0.7], showgrid=False, ticks="", showline=False
    )
    figure.update_layout(height=int(170 + 34 * len(place)), barmode="overlay", hovermode="closest")
    return figure


def confusion(result: xr.Dataset, *, theme: str = "light") -> "Figure":
    """How trials of each class were decoded, as a share of the class's test trials.

    Parameters
    ----------
    result : Dataset of kind "decoding" with ``confusion`` (label, predicted_label), counts
    theme : "light" or "dark"

    Returns
    -------
    figure; a class without test trials gives an empty row; the counts are in the hover

    Raises
    ------
    SchemaError : the result has no confusion matrix, or an unknown theme
    """
    counts, share = counts_and_share(result)
    labels = [str(label) for label in result["label"].values]
    ticks, full = [for_plotly(label, limit=16) for label in labels], [for_plotly(label) for label in labels]
    hover = [
        [f"{true} decoded as {said}<br>{int(n)} of {int(row.sum())} trials" for said, n in zip(full, row, strict=True)]
        for true, row in zip(full, counts, strict=True)
    ]
    place = np.arange(len(labels))
    figure = new_figure(theme)
    figure.add_heatmap(
        z=share, x=place, y=place, hovertext=hover, hoverinfo="text", coloraxis="coloraxis", xgap=2, ygap=2,
        text=_cell_texts(share), textfont={"size": 11},
        texttemplate="%{text}" if len(labels) <= MOST_CELL_TEXTS else None,
    )  # fmt: skip
    axis = {"tickvals": place, "ticktext": ticks, "showgrid": False, "showline": False, "ticks": ""}
    axis |= {"constrain": "domain"}
    decoded, presented = (for_plotly(title, limit=48) for title in confusion_titles(result))
    figure.update_xaxes(title_text=decoded, **axis)
    figure.update_yaxes(title_text=presented, autorange="reversed", scaleanchor="x", **axis)
    bar = color_bar(f"share of the trials of each {presented}", tickformat=".0%")
    figure.update_layout(height=230 + 34 * max(len(labels), 6), coloraxis={"cmin": 0, "cmax": 1, "colorbar": bar})
    return figure


def trajectories(trajectory: xr.DataArray, *, color: str = "odor", theme: str = "light") -> "Figure":
    """Condition means of a trajectory over time, thick, above the single trials, thin.

    Parameters
    ----------
    trajectory : (trial, time, latent) with the trial column ``color``
    color : trial column that sets the conditions; at most 48 different values
    theme : "light" or "dark"

    Returns
    -------
    figure, three-dimensional with equal scales; in two dimensions with fewer than three latents,
    and against time with one. The start and the event are marked on each mean.

    Raises
    ------
    SchemaError : no such column, too many values, not a trajectory, or an unknown theme
    """
    import plotly.graph_objects as go

    conditions, means = condition_means(trajectory, color)
    n_axes = min(3, trajectory.sizes["latent"])
    make = go.Scatter3d if n_axes == 3 else go.Scatter
    every = max(1, -(-trajectory.sizes["trial"] * trajectory.sizes["time"] // MOST_POINTS))
    shown = trajectory.isel(trial=slice(None, None, every))
    traces = _trial_lines(shown, color, conditions, n_axes, theme)
    traces += _mean_lines(trajectory, color, conditions, means, n_axes, theme)
    traces += _moment_marks(trajectory, conditions, means, n_axes, theme)
    figure = go.Figure(data=[make(**trace) for trace in traces], layout=base_layout(theme))
    _title_axes(figure, trajectory, shown, n_axes)
    unit = trajectory[color].attrs.get("units")
    title = {"text": for_plotly(spoken(color) + (f" ({unit})" if unit else ""), limit=28), "font": {"size": 13}}
    figure.update_layout(height=600, legend={"title": title, "itemsizing": "constant", "entrywidth": 118})
    return figure


def description(figure: "Figure") -> str:
    """What a chart shows, for those who cannot see it: its axes and its series, as plain text."""
    import html

    flat = figure.layout.scene if figure.layout.scene.xaxis.title.text else figure.layout
    axes = [flat[name].title.text for name in ("xaxis", "yaxis", "zaxis") if name in flat and flat[name].title.text]
    series = dict.fromkeys(trace.name for trace in figure.data if trace.name)
    shown = f"Chart of {' against '.join(axes)}" + (f"; series: {', '.join(series)}." if series else ".")
    return clean(html.unescape(shown))


def plotly_script() -> str:
    """Text of plotly.js, to be embedded once in a page."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def template(theme: str) -> dict[str, Any]:
    """The template that every chart carries, as a plain dict, so that a page can switch its theme.

    Raises
    ------
    SchemaError : unknown theme
    """
    if theme not in INKS:
        raise SchemaError(f"unknown theme {theme!r}: a chart is drawn in one of {sorted(INKS)}.")
    ink, shades = INKS[theme], SHADES[theme]
    lines = {"gridcolor": ink["grid"], "linecolor": ink["muted"], "zeroline": False}
    axis = lines | {"tickcolor": ink["muted"], "ticks": "outside", "ticklen": 4, "showline": True, "automargin": True}
    axis |= {"title": {"font": {"size": 13}, "standoff": 10}}
    space = lines | {"showbackground": False, "showspikes": False, "title": {"font": {"size": 12}}}
    space |= {"tickfont": {"size": 10, "color": ink["muted"]}, "nticks": 5}
    return {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": ink["text"]},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": space, "yaxis": space, "zaxis": space},
            "coloraxis": {"colorscale": [[i / (len(shades) - 1), shade] for i, shade in enumerate(shades)]},
            "hoverlabel": {"bgcolor": ink["ground"], "bordercolor": ink["muted"], "font": {"color": ink["text"]}},
            "legend": {"bgcolor": "rgba(0,0,0,0)"},
            "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        }
    }


def base_layout(theme: str) -> dict[str, Any]:
    """What the layout of every chart begins with: the template of the theme, and the legend above.

    Raises
    ------
    SchemaError : unknown theme
    """
    legend = {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"}
    return {"template": template(theme), "legend": legend}


def new_figure(theme: str) -> "Figure":
    """An empty figure with the layout of every chart, for charts in other modules.

    Raises
    ------
    SchemaError : unknown theme
    """
    import plotly.graph_objects as go

    return go.Figure(layout=base_layout(theme))


def color_bar(title: str, **bar: Any) -> dict[str, Any]:
    """The bar of a colour scale: flat, above the chart, its title on top."""
    place = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "len": 0.75, "thickness": 8}
    return place | {"title": {"text": title, "side": "top", "font": {"size": 13}}, "outlinewidth": 0, "nticks": 5} | bar


def _add_scores(
    figure: "Figure", scores: np.ndarray, place: np.ndarray, hover: Sequence[str], *, name: str, symbol: str, color: str
) -> None:
    score, low, high = scores.T
    figure.add_scatter(
        x=score, y=place, mode="markers", marker={"symbol": symbol, "size": 11, "color": color}, name=name,
        error_x={"array": high - score, "arrayminus": score - low, "thickness": 2, "width": 5, "color": color},
        hovertext=list(hover), hoverinfo="text",
    )  # fmt: skip


def _row_hovers(rows: Any) -> list[str]:
    return [
        f"{for_plotly(row.population)}"
        f"<br>score {number(row.score)} ({number(row.score_low)} to {number(row.score_high)})"
        f"<br>chance {number(row.chance, digits=3)}, null band {number(row.null_low)} to {number(row.null_high)}"
        f"<br>p = {number(row.p_value, digits=2)}; {number(row.n_trials, digits=6)} trials, "
        f"{number(row.n_units, digits=6)} units"
        for row in rows.itertuples()
    ]


def _cell_texts(share: np.ndarray) -> list[list[str]]:
    """Whole percents; empty where nothing was decoded, so that what was stands out."""
    return [[f"{100 * value:.0f}%" if value > 0 else "" for value in row] for row in share]


def _trial_lines(
    shown: xr.DataArray, color: str, conditions: list[Any], n_axes: int, theme: str
) -> list[dict[str, Any]]:
    """Single trials, one trace for each condition: a trace for each trial would take three times as long to send."""
    traces, values = [], shown[color].to_numpy()
    for position, condition in enumerate(conditions):
        points, told = joined(shown.isel(trial=np.flatnonzero(values == condition)))
        name = for_plotly(condition)
        hover = f"{name}<br>trial %{{customdata[0]:d}}<br>%{{customdata[1]:.3f}} s<extra></extra>"
        look = {"line": {"color": style(position, theme).color, "width": 1}, "opacity": 0.16, "showlegend": False}
        traces.append(
            _axes(points, told[:, 1], n_axes)
            | {"mode": "lines", "name": name, "legendgroup": str(position), "customdata": told, "hovertemplate": hover}
            | look
        )
    return traces


def _mean_lines(
    trajectory: xr.DataArray, color: str, conditions: list[Any], means: np.ndarray, n_axes: int, theme: str
) -> list[dict[str, Any]]:
    traces, time = [], trajectory["time"].to_numpy()
    for position, condition in enumerate(conditions):
        look, n = style(position, theme), int((trajectory[color] == condition).sum())
        hover = f"{for_plotly(condition)}<br>mean of {n} trials<br>%{{customdata:.3f}} s<extra></extra>"
        size, width = (3.5, 5) if n_axes == 3 else (7, 3)
        traces.append(
            _axes(means[position], time, n_axes)
            | {"mode": "lines+markers", "name": for_plotly(condition, limit=28), "legendgroup": str(position)}
            | {"customdata": time, "hovertemplate": hover}
            | {"line": {"color": look.color, "width": width, "dash": look.dash}}
            | {"marker": {"color": look.color, "symbol": look.symbol, "size": size}}
        )
    return traces


def _moment_marks(
    trajectory: xr.DataArray, conditions: list[Any], means: np.ndarray, n_axes: int, theme: str
) -> list[dict[str, Any]]:
    traces, time = [], trajectory["time"].to_numpy()
    for (name, index), symbol in zip(moments(trajectory).items(), ("circle-open", "diamond-open"), strict=False):
        size = 7 if n_axes == 3 else 12
        traces.append(
            _axes(means[:, index], np.full(len(conditions), time[index]), n_axes)
            | {"mode": "markers", "name": for_plotly(name, limit=28), "hoverinfo": "text"}
            | {"hovertext": [f"{for_plotly(condition)}<br>{for_plotly(name)}" for condition in conditions]}
            | {"marker": {"symbol": symbol, "size": size, "color": INK[theme], "line": {"width": 2}}}
        )
    return traces


def _axes(points: np.ndarray, time: np.ndarray, n_axes: int) -> dict[str, np.ndarray]:
    """The coordinates of a path: its first latents, or time and the only one."""
    if n_axes == 1:
        return {"x": time, "y": points[:, 0]}
    return dict(zip("xyz", points.T[:n_axes], strict=False))


def _title_axes(figure: "Figure", trajectory: xr.DataArray, shown: xr.DataArray, n_axes: int) -> None:
    titles = [latent_title(trajectory, latent) for latent in range(n_axes)]  # no data in it; 3-D text keeps entities
    if n_axes == 1:
        figure.update_layout(xaxis_title_text=for_plotly(time_title(trajectory), limit=60), yaxis_title_text=titles[0])
    elif n_axes == 2:
        figure.update_layout(xaxis_title_text=titles[0], yaxis={"title": {"text": titles[1]}, "scaleanchor": "x"})
    else:
        ranges = equal_ranges(shown)
        span = ranges[:, 1] - ranges[:, 0]
        ratio = dict(zip("xyz", (BOX_DIAGONAL * span / np.linalg.norm(span)).tolist(), strict=True))
        axes = {
            f"{name}axis": {"title": {"text": title}, "range": limits.tolist()}
            for name, title, limits in zip("xyz", titles, ranges, strict=True)
        }
        camera = {"eye": {"x": 1.25, "y": 1.35, "z": 0.8}, "projection": {"type": "orthographic"}}
        figure.update_layout(scene={**axes, "aspectmode": "manual", "aspectratio": ratio, "camera": camera})
