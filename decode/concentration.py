"""Concentration as a target: its logarithm as a trial column, and how far decoded levels are off.

Decoded as a number, log10 concentration takes a regressor; as ordered levels, a classifier such as ``ordinal``.
Not here: which concentration a trial had, which the session says, with its unit.
"""

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column
from .result import check_result

BLANKS = ("refuse", "leave_out")


def log_concentration(
    activity: xr.DataArray, *, column: str = "concentration", blanks: str = "refuse"
) -> xr.DataArray:
    """The activity with the trial column ``log10_concentration``, in decades.

    Parameters
    ----------
    activity : (trial, time, unit) or a trajectory
    column : trial column of positive numbers
    blanks : what to do with trials at 0 or without concentration, which have no logarithm: "refuse" them, or
        "leave_out", counted in the attr ``left_out``

    Raises
    ------
    SchemaError : no such column, words or negative numbers in it, blanks that are not to be left out, or nothing else

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((3, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(3), "time": [0.0], "unit": ["u"], "concentration": ("trial", [0.0, 0.01, 1.0])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> log_concentration(activity, blanks="leave_out")["log10_concentration"].values.tolist()
    [-2.0, 0.0]
    """
    where = f"session {activity.attrs.get('session', '?')!r}"
    if blanks not in BLANKS:
        raise SchemaError(f"log_concentration: blanks is {' or '.join(map(repr, BLANKS))}, got {blanks!r}.")
    is_there = column in activity.coords and activity[column].dims == ("trial",)
    values = activity[column].to_numpy() if is_there else trial_column(activity, column)  # which refuses NaN
    if values.dtype.kind not in "iuf":
        word = values.tolist()[0]
        raise SchemaError(f"{where}: {column!r} holds {word!r}, and a concentration is a number. Give it as one.")
    if np.any(values < 0):
        trial = activity["trial"].to_numpy()[values < 0][0]
        raise SchemaError(
            f"{where}: {column!r} is negative in {np.sum(values < 0)} trials (first: {trial}), and a concentration is "
            f"not. If it is a logarithm already, decode it as it is."
        )
    is_blank = ~(values > 0)
    if is_blank.any() and blanks == "refuse":
        trials = activity["trial"].to_numpy()[is_blank]
        raise SchemaError(
            f"{where}: {column!r} is 0 or missing in {is_blank.sum()} trials ({', '.join(map(str, trials[:5]))}"
            f"{', …' if len(trials) > 5 else ''}), which have no logarithm. Leave them out, blanks='leave_out'."
        )
    if is_blank.all():
        raise SchemaError(f"{where}: {column!r} is 0 or missing in all trials, so no concentration is there to decode.")
    if is_blank.any():
        activity = activity.isel(trial=np.flatnonzero(~is_blank))
        activity = activity.assign_attrs(left_out=f"{is_blank.sum()} trials without {column}")
    units = activity[column].attrs.get("units")
    logarithm = np.round(np.log10(values[~is_blank].astype(np.float64)), 12)  # 0.001 at two roundings is one level
    attrs = {"units": f"log10 {units}" if units else "decades"}
    return activity.assign_coords(log10_concentration=("trial", logarithm, attrs))


def label_error(result: xr.Dataset) -> float:
    """Mean distance of decoded and true class in the unit of the labels: decades, for classes of log10 concentration.

    Parameters
    ----------
    result : of ``cross_validate`` with a classifier whose labels are numbers

    Raises
    ------
    SchemaError : not a result, a target of numbers, or labels that are words
    """
    if "label" not in check_result(result).coords or result["label"].dtype.kind not in "iuf":
        kind = "words" if "label" in result.coords else "no classes"
        raise SchemaError(
            f"target {result.attrs.get('target')!r} has {kind}, and a distance needs classes that are numbers. Use "
            f"metric 'balanced_accuracy' for words, 'mean_absolute_error' for a regressor."
        )
    labels = result["label"].to_numpy().astype(np.float64)
    prediction, truth = result["prediction"].to_numpy(), result["target"].to_numpy()
    fold, trial = np.nonzero(prediction >= 0)
    return float(np.mean(np.abs(labels[prediction[fold, trial]] - labels[truth[trial]])))
