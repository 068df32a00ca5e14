"""Activity in, trajectory out: a reducer applied to labelled data, with the trials that it was fitted on marked."""

from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..datasets.errors import SchemaError
from ..datasets.schema import check_activity
from .score import describe


def reduce(activity: xr.DataArray, reducer: Any, *, fit_on: np.ndarray | None = None) -> xr.DataArray:
    """Trajectories of every trial in the space that a reducer learns from some or all of them.

    Parameters
    ----------
    activity : (trial, time, unit)
    reducer : transformer or pipeline on three axes, from ``make_reducer``; it is cloned
    fit_on : (n_trials,) bool, trials to fit on; None fits on all, for looking and not for scoring

    Returns
    -------
    trajectory (trial, time, latent), float64, with the coordinate ``in_fit`` (trial). ``cross_validate``
    refuses to score the trials that it marks. attrs ``explained_variance``: share of the total variance
    of each latent, where the reducer knows it

    Raises
    ------
    SchemaError : ``fit_on`` of another length, or marking no trial; whatever the reducer refuses

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
    n_trials = activity.sizes["trial"]
    in_fit = np.ones(n_trials, bool) if fit_on is None else np.asarray(fit_on, bool)
    where = f"session {activity.attrs['session']!r}"
    if in_fit.shape != (n_trials,):
        raise SchemaError(f"{where}: fit_on has shape {in_fit.shape}, expected ({n_trials},), one bool per trial.")
    if not in_fit.any():
        raise SchemaError(f"{where}: fit_on marks no trial, so there is nothing to fit on.")
    values = activity.to_numpy()
    fitted = clone(reducer).fit(values[in_fit])
    latents = fitted.transform(values)
    kept = {name: c for name, c in activity.coords.items() if c.dims in (("trial",), ("time",))}
    attrs = {name: v for name, v in activity.attrs.items() if name != "units"}
    explained = getattr(_last_step(fitted), "explained_variance_ratio_", None)
    return xr.DataArray(
        latents,
        dims=("trial", "time", "latent"),
        coords=kept | {"latent": np.arange(latents.shape[2]), "in_fit": ("trial", in_fit)},
        attrs=attrs
        | {
            "kind": "trajectory",
            "units": "a.u.",
            "reducer": describe(reducer),
            "n_units": int(activity.sizes["unit"]),
            "explained_variance": [] if explained is None else [float(share) for share in explained],
        },
        name="trajectory",
    )


def _last_step(reducer: Any) -> Any:
    return _last_step(reducer.steps[-1][1]) if isinstance(reducer, Pipeline) else reducer
