"""Activity in, trajectory out: a reducer applied to labelled data, with the trials that it was fitted on marked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column
from ..datasets.schema import check_activity
from .score import describe
from .steps import refuse_nan, steps
from .streaming import can_stream, stream


def reduce(
    activity: xr.DataArray,
    reducer: Any,
    *,
    target: str | Sequence[str] | xr.DataArray | None = None,
    fit_on: np.ndarray | None = None,
) -> xr.DataArray:
    """Trajectories of every trial in the space that a reducer learns from some or all of them.

    Parameters
    ----------
    activity : (trial, time, unit)
    reducer : transformer or pipeline on three axes, from ``make_reducer``; it is cloned
    target : trial coordinate that a supervised reducer learns from, or several, or values for each bin, (trial, time)
        or (trial, time, ...); None for all others
    fit_on : (n_trials,) bool, trials to fit on; None fits on all, for looking and not for scoring

    Returns
    -------
    trajectory (trial, time, latent), with the coordinate ``in_fit`` (trial). ``cross_validate``
    refuses to score the trials that it marks. attrs ``explained_variance``: share of the total variance
    of each latent, where the reducer knows it. Of a lazy activity and PCA, alone or after transformers that learn
    nothing: blocks are read once for the fit, and the trajectory is lazy

    Raises
    ------
    SchemaError : ``fit_on`` that is not one bool per trial or marks none; NaN that the reducer cannot take, with
        the trials; a reducer that does not give latents for every trial and bin; whatever the reducer refuses

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> from mitral.decode import make_reducer
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1, n_blocks=1).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
    >>> reduce(activity, make_reducer("pca", n_latents=2)).dims
    ('trial', 'time', 'latent')
    """
    check_activity(activity)
    in_fit = _fit_trials(activity, fit_on)
    latents: Any
    if can_stream(activity, reducer):
        last, latents = stream(activity, reducer, in_fit)
    else:
        last, latents = _in_memory(activity, reducer, target, in_fit)
    kept = {name: c for name, c in activity.coords.items() if c.dims in (("trial",), ("time",))}
    attrs = {name: v for name, v in activity.attrs.items() if name != "units"}
    explained = getattr(last, "explained_variance_ratio_", ())
    return xr.DataArray(
        latents,
        dims=("trial", "time", "latent"),
        coords=kept | {"latent": np.arange(latents.shape[2]), "in_fit": ("trial", in_fit)},
        attrs=attrs
        | {
            "kind": "trajectory",
            "units": "a.u.",
            "reducer": describe(reducer),
            **_named(target),
            "n_units": int(activity.sizes["unit"]),
            "explained_variance": [float(share) for share in explained],
        },
        name="trajectory",
    )


def _in_memory(
    activity: xr.DataArray, reducer: Any, target: str | Sequence[str] | xr.DataArray | None, in_fit: np.ndarray
) -> tuple[Any, np.ndarray]:
    """The fitted last step, and latents of every trial."""
    activity = activity.compute()
    refuse_nan(activity, reducer, np.ones(activity.sizes["trial"], bool))
    values = activity.to_numpy()
    fitted = clone(reducer).fit(values[in_fit], None if target is None else labels_of(activity, target)[in_fit])
    latents = np.asarray(fitted.transform(values))
    if latents.ndim != 3 or latents.shape[:2] != values.shape[:2]:
        raise SchemaError(
            f"session {activity.attrs['session']!r}: a reducer keeps trials and bins, (n_trials, n_times, n_latents), "
            f"and {type(reducer).__name__} made {latents.shape} of {values.shape}. Leave out the step that joins bins."
        )
    return list(steps(fitted))[-1], latents


def _named(target: str | Sequence[str] | xr.DataArray | None) -> dict[str, Any]:
    if target is None:
        return {}
    if isinstance(target, xr.DataArray):
        return {"target": str(target.name)}
    return {"target": target if isinstance(target, str) else list(target)}


def labels_of(activity: xr.DataArray, target: str | Sequence[str] | xr.DataArray) -> np.ndarray:
    """What a supervised reducer is handed: one trial column, or several as the fields of a structured array.

    Values for each bin are handed over as they are, (n_trials, n_times, ...).

    Raises
    ------
    SchemaError : no such trial column, or values missing in it; other trials or bins than those of the activity
    """
    if isinstance(target, str):
        return trial_column(activity, target)
    if isinstance(target, xr.DataArray):
        return _over_time(activity, target)
    columns = {name: trial_column(activity, name) for name in target}
    if not columns:
        raise SchemaError(f"session {activity.attrs['session']!r}: target names no trial column. Name one or several.")
    labels = np.empty(activity.sizes["trial"], [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        labels[name] = column
    return labels


def _over_time(activity: xr.DataArray, target: xr.DataArray) -> np.ndarray:
    where = f"session {activity.attrs['session']!r}: target {target.name!r}"
    for axis, dim in enumerate(("trial", "time")):
        has_dim = target.dims[axis : axis + 1] == (dim,) and dim in target.coords
        if not has_dim or not np.array_equal(target[dim], activity[dim]):
            raise SchemaError(
                f"{where} has dims {target.dims} of shape {target.shape}, expected (trial, time, ...) with the trials "
                f"and bins of the activity. The first difference is in {dim!r}."
            )
    return target.to_numpy()


def _fit_trials(activity: xr.DataArray, fit_on: np.ndarray | None) -> np.ndarray:
    n_trials = activity.sizes["trial"]
    in_fit = np.ones(n_trials, bool) if fit_on is None else np.asarray(fit_on)
    where = f"session {activity.attrs['session']!r}"
    if in_fit.shape != (n_trials,) or in_fit.dtype != bool:
        raise SchemaError(
            f"{where}: fit_on holds {in_fit.dtype} of shape {in_fit.shape}, expected ({n_trials},) bools, one per "
            f"trial. From folds: folds.values[0] == 1 are the training trials of the first."
        )
    if not in_fit.any():
        raise SchemaError(f"{where}: fit_on marks no trial, so there is nothing to fit on.")
    return in_fit
