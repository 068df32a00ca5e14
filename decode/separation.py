"""Whether, and when, the paths of different conditions are apart: unbiased distances with a label-shuffled null.

A distance between two means of few trials is never zero, even when the conditions do not differ; the
distances here have the noise of the means taken off, so that they are zero on average on noise.
"""

import numpy as np
import xarray as xr

from ..datasets.errors import LeakageError, SchemaError
from ..datasets.folds import trial_column
from .nulls import arrangements, attach_null_over_time, permutations
from .score import CARRIED_ATTRS
from .trajectory_measures import check_axes

MOST_NUMBERS = 2**24  # of class sums held at a time: 128 MiB


def separation_over_time(
    trajectory: xr.DataArray,
    target: str,
    *,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
) -> xr.Dataset:
    """Mean squared distance between conditions at every bin, against trials with shuffled labels.

    For conditions a and b with means m and summed variances v of n trials,
    d²(a, b) = |m_a - m_b|² - v_a / n_a - v_b / n_b, whose mean is the distance of the true means.

    Parameters
    ----------
    trajectory : (trial, time, latent) of a reducer that never saw the target, or an activity
    target : trial column whose values are the conditions
    n_permutations : orders of the labels; at least 20 for a p of 0.05
    random_state : seed
    within : trial column inside whose groups labels are exchanged, such as the block

    Returns
    -------
    result of kind "separation": ``distance (condition, other_condition, time)`` squared, and its mean over pairs
    ``score (time)``; ``null_score (permutation, time)``, ``null_low``, ``null_high``, ``p_value`` and
    ``p_familywise`` (the largest over all bins of each permutation), all (time). ``onset`` takes it.

    Raises
    ------
    SchemaError : one condition, a condition with one trial, missing bins, fewer than one permutation
    LeakageError : the reducer was fitted to the target of these trials, so that noise is apart too

    Notes
    -----
    Time O(n_permutations · n_conditions · n_trials · n_times · n_latents), as matrix products.
    """
    check_axes(trajectory)
    trajectory = trajectory.compute()
    where = f"session {trajectory.attrs['session']!r}"
    conditions, truth = np.unique(trial_column(trajectory, target), return_inverse=True)
    counts = np.bincount(truth)
    _check_conditions(where, target, conditions, counts)
    _refuse_supervised(where, trajectory)
    values = trajectory.to_numpy().astype(float)
    absent = np.isnan(values).any(axis=(1, 2))
    if absent.any():
        raise SchemaError(
            f"{where}: {absent.sum()} trials hold missing bins (NaN; first: trial "
            f"{trajectory['trial'].to_numpy()[absent][0]}). Leave them out, or shorten the window."
        )
    values = values - values.mean(axis=0)
    groups = None if within is None else np.unique(trial_column(trajectory, within), return_inverse=True)[1]
    distance = pairwise_distances(values, truth, len(conditions))
    result = xr.Dataset(
        {
            "distance": (("condition", "other_condition", "time"), distance),
            "score": ("time", mean_distances(values, truth[None], len(conditions))[0]),
        },
        coords={"condition": conditions, "other_condition": conditions, "time": trajectory["time"]},
        attrs={name: trajectory.attrs[name] for name in CARRIED_ATTRS if name in trajectory.attrs}
        | {
            "kind": "separation",
            "target": target,
            "metric": "squared_distance",
            "chance": 0.0,
            "n_trials": len(truth),
            "n_units": int(trajectory.attrs.get("n_units", trajectory.shape[2])),
            "reducer": trajectory.attrs.get("reducer", "none"),
            "warnings": [],
        },
    )
    labels = permutations(truth, n_permutations, random_state, within=groups)
    null = mean_distances(values, labels, len(conditions))
    scheme = "labels of whole trials permuted" + (f" within {within}" if within else "")
    return attach_null_over_time(result, null, arrangements(truth, groups), scheme=scheme)


def pairwise_distances(X: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Unbiased squared distances (n_classes, n_classes, n_times) of class means; X is (n_trials, n_times, d)."""
    means = np.stack([X[y == k].mean(axis=0) for k in range(n_classes)])
    noise = np.stack([X[y == k].var(axis=0, ddof=1).sum(axis=1) / np.sum(y == k) for k in range(n_classes)])
    squared = ((means[:, None] - means[None]) ** 2).sum(axis=-1) - noise[:, None] - noise[None]
    squared[np.arange(n_classes), np.arange(n_classes)] = 0.0
    return squared


def mean_distances(X: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean of ``pairwise_distances`` over pairs, for many labelings at once.

    Parameters
    ----------
    X : (n_trials, n_times, d), best centred
    labels : (n_labelings, n_trials) of 0 ... n_classes - 1, each class with two trials at least

    Returns
    -------
    (n_labelings, n_times): 2 / (K - 1) Σ_k |m_k - m|² - 2 / K Σ_k v_k / n_k, m the plain mean of the class means

    Examples
    --------
    >>> X = np.array([0.0, 0.0, 3.0, 3.0])[:, None, None]
    >>> mean_distances(X, np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), 2).ravel().tolist()  # 0 - 4.5 / 2 - 4.5 / 2
    [9.0, -4.5]
    """
    n_trials, n_times, d = X.shape
    flat, squares = X.reshape(n_trials, -1), (X**2).sum(axis=2)
    at_once = max(1, MOST_NUMBERS // (n_classes * (n_times * d + n_trials)))
    out = np.empty((len(labels), n_times))
    for start in range(0, len(labels), at_once):
        some = labels[start : start + at_once]
        member = (some[:, None, :] == np.arange(n_classes)[:, None]).astype(float)  # (labeling, class, trial)
        n = member.sum(axis=2)[:, :, None]
        means = (member @ flat).reshape(len(some), n_classes, n_times, d) / n[..., None]
        variance = (member @ squares - n * (means**2).sum(axis=3)) / (n - 1)
        apart = ((means - means.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 3))
        out[start : start + at_once] = 2 / (n_classes - 1) * apart - 2 / n_classes * (variance / n).sum(axis=1)
    return out


def _check_conditions(where: str, target: str, conditions: np.ndarray, counts: np.ndarray) -> None:
    if len(conditions) < 2:
        raise SchemaError(f"{where}: {target!r} has one value in all trials, so there is no distance to measure.")
    if counts.min() < 2:
        raise SchemaError(
            f"{where}: {target} = {conditions[counts.argmin()].item()!r} has one trial, and the noise of its mean "
            f"cannot be taken off. Leave it out, or pool conditions."
        )


def _refuse_supervised(where: str, trajectory: xr.DataArray) -> None:
    seen = trajectory.attrs.get("target")
    if seen is not None and bool(trajectory["in_fit"].any()):
        raise LeakageError(
            f"{where}: the reducer was fitted to {seen!r} on {int(trajectory['in_fit'].sum())} of these trials, and "
            f"moves conditions apart on noise too. Fit it on other trials (reduce(..., fit_on=...)) and give the rest."
        )
