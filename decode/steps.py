"""The steps of an estimator, and whether NaN can pass through them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from ..datasets.errors import SchemaError
from ..datasets.preprocess import ThreeAxes


def steps(estimator: Any, *, inside_searches: bool = True) -> Iterator[Any]:
    """The steps of a pipeline in order, also those of pipelines and searches inside it; else the estimator alone.

    Parameters
    ----------
    estimator : estimator, pipeline, search or calibration
    inside_searches : whether a search or calibration is its estimator's steps; else it is a step itself, as for a
        closed form, which takes parameters as they are

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> [type(step).__name__ for step in steps(make_pipeline(StandardScaler(), make_pipeline(Ridge())))]
    ['StandardScaler', 'Ridge']
    """
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            if step not in (None, "passthrough"):
                yield from steps(step, inside_searches=inside_searches)
    elif inside_searches and (hasattr(estimator, "param_grid") or hasattr(estimator, "param_distributions")):
        yield from steps(estimator.estimator)
    elif inside_searches and isinstance(estimator, CalibratedClassifierCV) and estimator.estimator is not None:
        yield from steps(estimator.estimator)
    else:
        yield estimator


def refuse_nan(activity: xr.DataArray, estimator: Any, used: np.ndarray) -> None:
    """Refuse trials with NaN or infinite bins where a step of the estimator cannot take them.

    Transformers of mitral leave NaN where it is, so the step after them decides.

    Parameters
    ----------
    activity : (trial, time, unit or latent)
    estimator : reducer, decoder or pipeline
    used : (n_trials,) bool, trials that it will be handed

    Raises
    ------
    SchemaError : with the ids of the trials and the step
    """
    step = _cannot_take_nan(estimator)
    if step is None or activity.dtype.kind != "f":
        return
    absent = ~np.isfinite(activity.to_numpy()).all(axis=(1, 2)) & used
    if absent.any():
        trials = activity["trial"].to_numpy()[absent]
        raise SchemaError(
            f"session {activity.attrs['session']!r}: {type(step).__name__} needs a number in every bin, and "
            f"{absent.sum()} trials hold NaN or infinity (bins outside the recording, or missing samples): trial "
            f"{', '.join(map(str, trials[:5]))}{', …' if len(trials) > 5 else ''}. "
            f"Leave them out, or use a shorter window."
        )


def _cannot_take_nan(estimator: Any) -> Any:
    """The first step that NaN reaches and that cannot take it, or None."""
    for step in steps(estimator):
        if not get_tags(step).input_tags.allow_nan:
            return step
        if not isinstance(step, ThreeAxes):
            return None  # it may fill them in, as an imputer does
    return None
