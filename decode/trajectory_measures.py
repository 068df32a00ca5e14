"""What a trajectory looks like in numbers: condition means, speed, tangling, trial-to-trial ellipses.

These describe; none of them is a test. Whether conditions are apart is in ``separation``.
"""

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column

SHARE_OF_VARIANCE = 0.1  # the softening constant of tangling, as in Russo et al. 2018


def mean_trajectories(trajectory: xr.DataArray, *, by: str) -> xr.DataArray:
    """Mean over the trials of each value of a trial column.

    Parameters
    ----------
    trajectory : (trial, time, latent), or an activity (trial, time, unit)
    by : trial column; missing bins of single trials are left out of the mean of that bin

    Returns
    -------
    (condition, time, latent or unit) with ``condition`` the sorted values and ``n_trials (condition)``

    Raises
    ------
    SchemaError : not trial x time x latent, no such column

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1, n_blocks=2).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
    >>> mean_trajectories(activity, by="odor").sizes["condition"] == len(set(activity["odor"].values))
    True
    """
    check_axes(trajectory)
    conditions, position = np.unique(trial_column(trajectory, by), return_inverse=True)
    means = [trajectory.isel(trial=np.flatnonzero(position == k)).mean("trial") for k in range(len(conditions))]
    joined = xr.concat(means, dim="condition", join="override", coords="minimal", compat="override")
    counts = np.bincount(position, minlength=len(conditions))
    joined = joined.assign_coords(condition=conditions, n_trials=("condition", counts))
    return joined.assign_attrs(trajectory.attrs | {"by": by})


def speed(trajectory: xr.DataArray) -> xr.DataArray:
    """How fast a state moves: |dz/dt|, by central differences (one-sided at the ends).

    Parameters
    ----------
    trajectory : (..., time, latent), also of ``mean_trajectories``; ``time`` in s

    Returns
    -------
    (..., time), in the unit of the latents per second

    Raises
    ------
    SchemaError : fewer than two bins

    Examples
    --------
    >>> line = xr.DataArray(np.arange(8.0).reshape(1, 4, 2), dims=("trial", "time", "latent"),
    ...     coords={"time": [0.0, 0.5, 1.0, 1.5]})
    >>> speed(line).values.round(3).tolist()  # 2 to the side and 2 up in half a second
    [[5.657, 5.657, 5.657, 5.657]]
    """
    step = _velocity(trajectory)
    state = trajectory.dims[-1]
    out = trajectory.isel({state: 0}, drop=True).copy(data=np.linalg.norm(step, axis=-1))
    out.name = "speed"
    return out.assign_attrs(trajectory.attrs | {"units": f"{trajectory.attrs.get('units', 'a.u.')}/s"})


def tangling(trajectory: xr.DataArray) -> xr.DataArray:
    """How unlike a smooth flow the paths are: high where two near states move in different directions.

    Q(t) = max over t' of |dz_t - dz_t'|² / (|z_t - z_t'|² + e), over all bins of all paths; e is a tenth of
    the summed variance of the states (Russo et al. 2018, doi 10.1016/j.neuron.2018.01.004, eq. 1).

    Parameters
    ----------
    trajectory : (condition or trial, time, latent) without missing bins, best of ``mean_trajectories``

    Returns
    -------
    (condition or trial, time), in 1/s²

    Raises
    ------
    SchemaError : fewer than two bins, missing bins, states that never change

    Notes
    -----
    Time O(n²) for n = n_paths · n_times states, memory O(n) · 512.
    """
    velocity = _velocity(trajectory)
    shape, n_latents = trajectory.shape[:-1], trajectory.shape[-1]
    states, steps = trajectory.to_numpy().reshape(-1, n_latents).astype(float), velocity.reshape(-1, n_latents)
    if np.isnan(states).any():
        raise SchemaError("tangling compares all bins of all paths, and some are missing (NaN). Shorten the window.")
    softening = SHARE_OF_VARIANCE * float(states.var(axis=0).sum())
    if softening == 0:
        raise SchemaError("tangling needs paths that move: all states are equal. Check the window and the reducer.")
    largest = [
        (_squared_distances(steps[at], steps) / (_squared_distances(states[at], states) + softening)).max(axis=1)
        for at in np.array_split(np.arange(len(states)), max(1, len(states) // 512))
    ]
    out = trajectory.isel({trajectory.dims[-1]: 0}, drop=True).copy(data=np.concatenate(largest).reshape(shape))
    out.name = "tangling"
    return out.assign_attrs(trajectory.attrs | {"units": "1/s²"})


def variability_ellipses(trajectory: xr.DataArray, *, by: str, n_sd: float = 1.0) -> xr.Dataset:
    """Trial-to-trial spread around each condition mean in the first two latents, at every bin.

    Parameters
    ----------
    trajectory : (trial, time, latent), at least two latents
    by : trial column
    n_sd : half axes in standard deviations; Gaussian trials lie inside with 1 - exp(-n_sd² / 2): 0.39 for 1

    Returns
    -------
    ``center (condition, time, axis)``, ``half_axis (condition, time, axis)`` the longer first,
    ``angle (condition, time)`` of the longer one from latent 0, in radians in (-pi/2, pi/2]

    Raises
    ------
    SchemaError : fewer than two latents, a condition with fewer than three trials, missing bins
    """
    check_axes(trajectory)
    if trajectory.shape[-1] < 2:
        raise SchemaError("an ellipse needs two latents, and this trajectory has one. Reduce to two or more.")
    conditions, position = np.unique(trial_column(trajectory, by), return_inverse=True)
    counts = np.bincount(position)
    if counts.min() < 3:
        raise SchemaError(
            f"{by} = {conditions[counts.argmin()].item()!r} has {counts.min()} trials, and a spread needs three. "
            f"Leave it out, or group by another column."
        )
    points = trajectory.to_numpy()[..., :2].astype(float)
    if np.isnan(points).any():
        raise SchemaError("an ellipse needs every bin of every trial, and some are missing (NaN). Shorten the window.")
    center, half_axis, angle = [], [], []
    for k in range(len(conditions)):
        here = points[position == k]
        center.append(here.mean(axis=0))
        apart = here - center[-1]
        spread, turned = np.linalg.eigh(np.einsum("nti,ntj->tij", apart, apart) / (len(here) - 1))
        half_axis.append(n_sd * np.sqrt(np.maximum(spread[:, ::-1], 0)))
        longer = turned[:, :, 1] * np.where(turned[:, :1, 1] < 0, -1, 1)
        angle.append(np.arctan2(longer[:, 1], longer[:, 0]))
    return xr.Dataset(
        {
            "center": (("condition", "time", "axis"), np.stack(center)),
            "half_axis": (("condition", "time", "axis"), np.stack(half_axis)),
            "angle": (("condition", "time"), np.stack(angle)),
        },
        coords={"condition": conditions, "time": trajectory["time"], "n_trials": ("condition", counts)},
        attrs=trajectory.attrs | {"kind": "ellipses", "by": by, "n_sd": float(n_sd)},
    )


def check_axes(trajectory: xr.DataArray) -> None:
    """Refuse what is not trial x time x latent (or unit).

    Raises
    ------
    SchemaError : other dims
    """
    if trajectory.dims[:2] != ("trial", "time") or trajectory.dims[2:] not in (("latent",), ("unit",)):
        raise SchemaError(
            f"expected dims ('trial', 'time', 'latent') or ('trial', 'time', 'unit'), got {trajectory.dims}. "
            f"Make a trajectory with reduce(...)."
        )


def _velocity(trajectory: xr.DataArray) -> np.ndarray:
    if "time" not in trajectory.dims or trajectory.dims[-2] != "time" or trajectory.sizes["time"] < 2:
        raise SchemaError(
            f"a velocity needs dims (..., 'time', 'latent') and two bins, got {dict(trajectory.sizes)}. "
            f"Use more bins, or narrower ones."
        )
    return np.gradient(trajectory.to_numpy().astype(float), trajectory["time"].to_numpy(), axis=-2)


def _squared_distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    squared = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return np.maximum(squared, 0.0)
