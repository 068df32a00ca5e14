"""Participation ratio: how many dimensions the condition means take up, with and without the noise of trials.

    PR = (tr C)² / tr(C²),  C the covariance of the condition means over conditions (and bins)

is 1 if they lie on a line and grows to the number of dimensions that they fill alike. Means of few trials hold
noise, which adds dimensions. Products over different trials do not: with four sets of trials that share none and
C_ab = X_a' X_b the covariance between the means of two sets, tr C_12 tr C_34 and tr(C_12 C_34) have no noise bias
(the principle of cross-validated distances, Walther et al. 2016, NeuroImage 137:188; and of the unbiased
estimators of Chun et al. 2025, arXiv 2509.26560). Their ratio is the unbiased estimate.

Not here: what a finite choice of units or conditions does; both bound the ratio from above.
"""

from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from .conditions import condition_positions, finite_values
from .score import CARRIED_ATTRS

N_SETS = 4
ARRANGEMENTS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))  # (a, b), (c, d) of the four sets


def participation_ratio(activity: xr.DataArray, *, n_splits: int = 50, random_state: int) -> xr.Dataset:
    """Participation ratio of the condition means, naive and without the bias of trial noise.

    Parameters
    ----------
    activity : (trial, time, unit) with the trial column ``condition``, at least four trials of each
    n_splits : random splits into four sets of trials, over which both traces are averaged
    random_state : seed of the splits

    Returns
    -------
    dataset of kind "geometry": ``score (estimate)`` for "naive" and "unbiased", ``eigenvalue (component)`` of the
    naive covariance; attrs ``signal_share`` (variance of the means that is no noise). The unbiased ratio is NaN
    where noise leaves no positive estimate, and ``warnings`` say so

    Raises
    ------
    SchemaError : no conditions, one with fewer than four trials, NaN, fewer than one split

    Notes
    -----
    Numerator and denominator are unbiased, their ratio is so in the limit of many trials. Time
    O(n_splits m² n_units) with m conditions times bins.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from mitral.decode.conditions import label_conditions
    >>> line = np.repeat([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]], 4, axis=0)[:, None]
    >>> activity = xr.DataArray(line, dims=("trial", "time", "unit"), coords={
    ...     "trial": range(12), "time": [0.0], "unit": ["u", "v"], "odor": ("trial", list("aaaabbbbcccc"))},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> participation_ratio(label_conditions(activity, "odor"), random_state=0)["score"].values.round(9).tolist()
    [1.0, 1.0]
    """
    values, position, names = _checked(activity, n_splits)
    means = _centred(np.stack([values[position == k].mean(axis=0) for k in range(len(names))]))
    eigenvalues = np.linalg.svd(means, compute_uv=False) ** 2
    rng = np.random.default_rng(random_state)
    traces = np.mean([_traces(values, position, rng) for _ in range(n_splits)], axis=0)
    squared_trace, trace_of_square, trace = traces
    found = squared_trace > 0 and trace_of_square > 0 and trace > 0
    unbiased = float(squared_trace / trace_of_square) if found else float("nan")
    total = eigenvalues.sum()
    naive = float(total**2 / np.sum(eigenvalues**2)) if total > 0 else float("nan")
    said = [] if found else ["No unbiased participation ratio: the noise of trials leaves no sign of a signal."]
    dataset = xr.Dataset(
        {"score": ("estimate", [naive, unbiased]), "eigenvalue": ("component", eigenvalues / (len(means) - 1))},
        coords={"estimate": ["naive", "unbiased"]},
    )
    return dataset.assign_attrs(
        {name: activity.attrs[name] for name in CARRIED_ATTRS if name in activity.attrs}
        | {"kind": "geometry", "measure": "participation ratio", "smaller_is_stronger": True}
        | {"population": activity.attrs.get("population", "session")}
        | {"n_trials": len(position), "n_units": int(activity.shape[2]), "n_conditions": len(names)}
        | {"signal_share": float(trace / total) if total > 0 else float("nan"), "n_splits": n_splits}
        | {"random_state": random_state, "score_mean": unbiased, "warnings": said}
    )


def _checked(activity: xr.DataArray, n_splits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (n_trials, n_times, n_units), the condition of each trial, the conditions' names."""
    position, names = condition_positions(activity)
    where = f"session {activity.attrs['session']!r}"
    counts = np.bincount(position)
    if counts.min() < N_SETS:
        raise SchemaError(
            f"{where}: condition {str(names[counts.argmin()])!r} has {counts.min()} trials, and the noise of trials is "
            f"told from signal with at least {N_SETS}. Leave that condition out."
        )
    if n_splits < 1:
        raise SchemaError(f"participation_ratio: n_splits must be at least 1, got {n_splits}.")
    return finite_values(activity), position, names


def _traces(values: np.ndarray, position: np.ndarray, rng: np.random.Generator) -> Any:
    """tr C_ab tr C_cd, tr(C_ab C_cd) and tr C_ab of one random split, averaged over the arrangements of its sets."""
    members: list[list[np.ndarray]] = [[] for _ in range(N_SETS)]
    for k in range(position.max() + 1):
        order = rng.permutation(np.flatnonzero(position == k))
        for number, part in enumerate(np.array_split(order, N_SETS)):
            members[number].append(values[part].mean(axis=0))
    sets = [_centred(np.stack(means)) for means in members]
    found = []
    for a, b, c, d in ARRANGEMENTS:
        first, second = np.sum(sets[a] * sets[b]), np.sum(sets[c] * sets[d])
        # tr(X_a' X_b X_c' X_d), products over rows so that units may be many
        product = np.sum((sets[b] @ sets[c].T) * (sets[a] @ sets[d].T))
        found.append((first * second, product, (first + second) / 2))
    return np.mean(found, axis=0)


def _centred(means: np.ndarray) -> np.ndarray:
    """Rows (n_conditions * n_times, n_units) about their mean."""
    flat = means.reshape(-1, means.shape[2])
    return flat - flat.mean(axis=0)
