"""What is drawn, before any library draws it: shares, condition means, axis titles, moments.

``charts.py`` (Plotly) and ``figures.py`` (Matplotlib) both take their numbers and titles from here,
so the screen and the print show the same.
"""

from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from .labels import clean, spoken
from .palette import MOST_CLASSES


def counts_and_share(result: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a confusion matrix and their share of each row; NaN where a class was not tested.

    Raises
    ------
    SchemaError : the result has no confusion matrix
    """
    if "confusion" not in result:
        raise SchemaError(
            f"result {clean(result.attrs.get('name', '?'))!r} has no confusion matrix, only {list(result.data_vars)}. "
            f"It has one when the target is a set of classes."
        )
    counts = result["confusion"].transpose("label", "predicted_label").to_numpy().astype(float)
    totals = counts.sum(axis=1, keepdims=True)
    return counts, np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def confusion_titles(result: xr.Dataset) -> tuple[str, str]:
    """Titles of the two axes, decoded and presented, with the unit of the labels."""
    target, unit = spoken(result.attrs.get("target", "class")), result["label"].attrs.get("units")
    suffix = f" ({clean(unit)})" if unit else ""
    return f"decoded {target}{suffix}", f"presented {target}{suffix}"


def mean_row(study: xr.Dataset) -> tuple[np.ndarray, str]:
    """Mean over the populations, its low and high end (NaN where unknown), and what the interval is over."""
    attrs = study.attrs
    over = clean(str(attrs.get("interval_over", "")).split(",")[0], limit=40)
    ends = [float(attrs.get(f"score_{part}", np.nan)) for part in ("mean", "low", "high")]
    return np.array(ends), f"mean and its interval over {over}" if over else "mean"


def condition_means(trajectory: xr.DataArray, column: str) -> tuple[list[Any], np.ndarray]:
    """Values of a trial column, in order, and the mean path of each (condition, time, latent).

    Raises
    ------
    SchemaError : not a trajectory, no such trial column, or more values than can be told apart
    """
    where = f"trajectory of {clean(trajectory.attrs.get('session', '?'))!r}"
    if trajectory.dims != ("trial", "time", "latent"):
        raise SchemaError(
            f"{where}: expected dims ('trial', 'time', 'latent'), got {trajectory.dims}. Make one with reduce(...)."
        )
    columns = sorted(str(name) for name, values in trajectory.coords.items() if values.dims == ("trial",))
    if column not in columns:
        raise SchemaError(f"{where}: there is no trial column {column!r}. Color by one of {columns}.")
    values = trajectory[column].to_numpy()
    conditions = np.unique(values[values == values]).tolist()
    if not 0 < len(conditions) <= MOST_CLASSES:
        raise SchemaError(
            f"{where}: trial column {column!r} has {len(conditions)} different values, and 1 to {MOST_CLASSES} can be "
            f"told apart. Color by another of {columns}, or select trials first."
        )
    means = [trajectory.isel(trial=np.flatnonzero(values == value)).mean("trial").to_numpy() for value in conditions]
    return conditions, np.stack(means)


def latent_title(trajectory: xr.DataArray, latent: int) -> str:
    """Title of one axis: ``latent 1 (23 % of variance)``; the share where it is known."""
    shares = np.atleast_1d(trajectory.attrs.get("explained_variance", ()))
    if latent >= len(shares):
        return f"latent {latent + 1}"
    return f"latent {latent + 1} ({100 * float(shares[latent]):.0f} % of variance)"


def time_title(trajectory: xr.DataArray | xr.Dataset) -> str:
    """Title of the time axis: what it is counted from, and its unit."""
    return f"time from {spoken(trajectory.attrs.get('event', 'event'))} ({trajectory['time'].attrs.get('units', 's')})"


def moments(trajectory: xr.DataArray) -> dict[str, int]:
    """Positions on ``time`` that are marked on every mean: the start and, if inside the window, the event.

    Examples
    --------
    >>> time = xr.DataArray([-0.1, 0.0, 0.1], dims="time")
    >>> moments(xr.DataArray(np.zeros(3), coords={"time": time}, attrs={"event": "odor_onset", "bin_width_s": 0.1}))
    {'start (-0.1 s)': 0, 'odor onset': 1}
    """
    time = trajectory["time"].to_numpy()
    nearest = int(np.argmin(np.abs(time)))
    marked = {f"start ({time[0]:.3g} {trajectory['time'].attrs.get('units', 's')})": 0}
    if nearest > 0 and abs(time[nearest]) <= trajectory.attrs.get("bin_width_s", 0.0) / 2 + 1e-9:
        marked[spoken(trajectory.attrs.get("event", "event"))] = nearest
    return marked


def joined(trajectory: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """All trials as one path with NaN between them, and the (trial, time) of each of its points.

    Returns
    -------
    points (n_trials * (n_times + 1), n_latents) and (n_trials * (n_times + 1), 2)
    """
    n_trials, n_times, n_latents = trajectory.shape
    points = np.full((n_trials, n_times + 1, n_latents), np.nan, dtype=np.float32)
    points[:, :n_times] = trajectory.to_numpy()
    told = np.zeros((n_trials, n_times + 1, 2), dtype=np.float32)
    told[:, :, 0] = trajectory["trial"].to_numpy()[:, None]
    told[:, :n_times, 1] = trajectory["time"].to_numpy()
    return points.reshape(-1, n_latents), told.reshape(-1, 2)


def equal_ranges(trajectory: xr.DataArray) -> np.ndarray:
    """Limits (latent, 2) that hold every point, with a margin of 3 % of the longest side."""
    points = trajectory.to_numpy().reshape(-1, trajectory.sizes["latent"])[:, :3]
    low, high = np.nanmin(points, axis=0).astype(float), np.nanmax(points, axis=0).astype(float)
    margin = 0.03 * max(float((high - low).max()), 1e-9)
    return np.column_stack([low - margin, high + margin])
