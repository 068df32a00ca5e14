"""How good an alignment is, on conditions that it was not fitted on; and whether there is a geometry to share at all.

Not here: what alignment does for decoding (``transfer.py``, ``new_odors.py``); the distances (``shapes.py``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.linalg import subspace_angles
from sklearn.base import clone

from ..datasets.errors import ConfigError, SchemaError
from ..decode.dissimilarity import compare_dissimilarity, dissimilarity, noise_ceiling
from ..decode.score import describe
from .across import derange, of_conditions
from .base import condition_means
from .cohort import Cohort, CohortArrays, cohort_arrays
from .shapes import angular_distance

COMPARISON = "spearman"


def alignment_quality(
    cohort: Cohort, target: str, aligner: Any, *, n_repeats: int, random_state: int, held_out: float = 0.25
) -> xr.Dataset:
    """Agreement of every session with the others on conditions that the alignment never saw.

    Parameters
    ----------
    cohort : session -> activity (trial, time, unit) on the same bins
    target : trial column whose values are the conditions; those that all sessions have are used
    aligner : unfitted; cloned and fitted on the other conditions of all sessions, in every repeat
    n_repeats : random choices of the conditions that are held out
    random_state : seed
    held_out : share of the conditions, at least three of them

    Returns
    -------
    dataset of kind "alignment_quality":

    ``correlation (session, repeat)`` of a session's held-out latents with the mean of the others', less the time course
    that all conditions share; ``null_correlation`` the same where the session was aligned by shuffled conditions
    ``shared_variance (session, repeat)`` share of the held-out variance of its units that the others' mean latents
    predict, by ridge regression on the conditions of the fit; below zero where they mislead
    ``angle_deg (session, latent)`` principal angles between the held-out latents and the others', mean over repeats
    ``ceiling (session)`` correlation of the same latents between halves of its own trials, NaN for averages

    Raises
    ------
    SchemaError : as ``cohort_arrays``; too few conditions in common; whatever the aligner refuses
    ConfigError : n_repeats below 1, held_out outside 0 to 1
    """
    if n_repeats < 1 or not 0 < held_out < 1:
        raise ConfigError(
            f"alignment_quality: n_repeats is 1 or more and held_out between 0 and 1, got {n_repeats}, {held_out}."
        )
    arrays = cohort_arrays(cohort, target)
    conditions = np.array(sorted(set.intersection(*(set(y.tolist()) for y in arrays.labels.values()))))
    n_out = max(3, round(held_out * len(conditions)))
    if len(conditions) < n_out + 2:
        raise SchemaError(
            f"session {next(iter(cohort))!r} has {len(conditions)} conditions in common with all others, and {n_out} "
            f"held out leave fewer than two to align on. Give more conditions."
        )
    sessions = list(cohort)
    found: dict[str, list[list[Any]]] = {name: [] for name in ("correlation", "null", "shared", "angle", "ceiling")}
    for repeat in range(n_repeats):
        rng = np.random.default_rng([random_state, repeat])
        out = np.sort(rng.permutation(conditions)[:n_out])
        fit = np.setdiff1d(conditions, out)
        latents, fitted = _held_out(arrays, aligner, fit, out)
        rows: dict[str, list[Any]] = {name: [] for name in found}
        for session in sessions:
            others = np.mean([latents[name] for name in sessions if name != session], axis=0)
            rows["correlation"].append(_agreement(latents[session], others))
            misled, _ = _held_out(arrays, aligner, fit, out, misled=session, rng=rng)
            wrong = np.mean([misled[name] for name in sessions if name != session], axis=0)
            rows["null"].append(_agreement(misled[session], wrong))
            rows["shared"].append(_shared_variance(arrays, fitted, sessions, session, fit, out))
            rows["angle"].append(_angles(latents[session], others))
            rows["ceiling"].append(_ceiling(arrays, fitted, session, out, rng))
        for name, row in rows.items():
            found[name].append(row)
    stacked = {name: np.array(rows, float) for name, rows in found.items()}
    return xr.Dataset(
        {
            "correlation": (("session", "repeat"), stacked["correlation"].T),
            "null_correlation": (("session", "repeat"), stacked["null"].T),
            "shared_variance": (("session", "repeat"), stacked["shared"].T),
            "angle_deg": (("session", "latent"), stacked["angle"].mean(axis=0)),
            "ceiling": ("session", stacked["ceiling"].mean(axis=0)),
        },
        coords={"session": sessions, "animal": ("session", [arrays.animals[name] for name in sessions])},
        attrs={
            "kind": "alignment_quality", "target": target, "aligner": describe(aligner), "n_held_out": int(n_out),
            "n_conditions": len(conditions), "n_repeats": int(n_repeats), "random_state": int(random_state),
        },
    )  # fmt: skip


def shape_distances(
    cohort: Cohort, target: str, *, n_permutations: int, random_state: int, alpha: float = 1.0
) -> xr.Dataset:
    """Angular Procrustes distances between the condition means of all pairs of sessions, with a null.

    Parameters
    ----------
    cohort, target : as in ``alignment_quality``
    n_permutations : random orders of the conditions of the second session of a pair
    random_state : seed
    alpha : 1 compares up to rotation, 0 up to any linear map (``shapes.angular_distance``)

    Returns
    -------
    dataset of kind "shape_distance": distance (session, other_session) in rad; p_value of a distance as small
    under permuted conditions, (b + 1) / (m + 1); null_mean, their mean

    Raises
    ------
    SchemaError : as ``cohort_arrays``; fewer than three conditions in common; fewer than one permutation
    """
    arrays = cohort_arrays(cohort, target)
    conditions = np.array(sorted(set.intersection(*(set(y.tolist()) for y in arrays.labels.values()))))
    if len(conditions) < 3 or n_permutations < 1:
        raise SchemaError(
            f"session {next(iter(cohort))!r} has {len(conditions)} conditions in common with all others; shapes need "
            f"three, and n_permutations={n_permutations} must be at least 1."
        )
    means = {s: condition_means(*of_conditions(arrays.values[s], y, conditions))[1] for s, y in arrays.labels.items()}
    sessions, n = list(cohort), len(cohort)
    distance, p_value, null_mean = np.zeros((n, n)), np.full((n, n), np.nan), np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i):
            X, Y = means[sessions[i]], means[sessions[j]]
            rng = np.random.default_rng([random_state, i, j])
            own = angular_distance(X, Y, alpha=alpha)
            null = [angular_distance(X, Y[rng.permutation(len(Y))], alpha=alpha) for _ in range(n_permutations)]
            for pair in ((i, j), (j, i)):
                distance[pair], null_mean[pair] = own, np.mean(null)
                p_value[pair] = (np.sum(np.array(null) <= own) + 1) / (n_permutations + 1)
    dims = ("session", "other_session")
    return xr.Dataset(
        {"distance": (dims, distance), "p_value": (dims, p_value), "null_mean": (dims, null_mean)},
        coords={"session": sessions, "other_session": sessions},
        attrs={
            "kind": "shape_distance", "target": target, "alpha": float(alpha), "units": "rad",
            "n_conditions": len(conditions), "n_permutations": int(n_permutations),
        },
    )  # fmt: skip


def geometry_of(cohort: Cohort, target: str, conditions: np.ndarray, *, n_splits: int = 5) -> tuple[dict, float]:
    """Whether there is a geometry to share: split-half reliability in every session, and agreement between animals.

    Parameters
    ----------
    cohort, target : as in ``alignment_quality``
    conditions : the values to use
    n_splits : random halves of the trials of each condition, mean over them

    Returns
    -------
    session -> Spearman correlation of the distances between conditions in two halves of its trials (NaN for averages);
    Spearman correlation of each animal's distances with the mean of the others' (NaN where that cannot be had)
    """
    reliability: dict[str, float] = {}
    by_animal: dict[str, list[xr.DataArray]] = {}
    for session, activity in cohort.items():
        kept = activity.isel(trial=np.flatnonzero(np.isin(activity[target].to_numpy(), conditions)))
        labels = kept["trial"].copy(data=np.searchsorted(conditions, kept[target].to_numpy()))
        kept = kept.assign_coords({target: labels})
        reliability[session] = _split_half(kept, target, n_splits)
        by_animal.setdefault(str(activity.attrs["animal"]), []).append(kept)
    if len(by_animal) < 2 or len(conditions) < 3:
        return reliability, float("nan")
    matrices = {}
    for animal, sessions in by_animal.items():
        found = [dissimilarity(activity, target, distance="euclidean") for activity in sessions]
        scaled = [m / float(m["dissimilarity"].mean() or 1.0) for m in found]
        matrices[animal] = (sum(scaled[1:], scaled[0])).assign_attrs(found[0].attrs)
    if any(np.ptp(m["dissimilarity"].to_numpy()[np.triu_indices(len(conditions), 1)]) == 0 for m in matrices.values()):
        return reliability, float("nan")
    return reliability, noise_ceiling(matrices, comparison=COMPARISON)["lower"]


def _split_half(activity: xr.DataArray, target: str, n_splits: int) -> float:
    labels = activity[target].to_numpy()
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2 or len(names) < 3:
        return float("nan")
    found = []
    for split in range(n_splits):
        order = np.random.default_rng(split).permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        first = np.concatenate([part[: len(part) // 2] for part in np.split(order, np.cumsum(counts)[:-1])])
        halves = (np.sort(first), np.setdiff1d(order, first))
        pair = [dissimilarity(activity.isel(trial=half), target, distance="euclidean") for half in halves]
        try:
            found.append(compare_dissimilarity(*pair, comparison=COMPARISON))
        except SchemaError:  # all distances alike, as where no unit fires
            return float("nan")
    return float(np.mean(found))


def _held_out(
    arrays: CohortArrays,
    aligner: Any,
    fit: np.ndarray,
    out: np.ndarray,
    *,
    misled: str = "",
    rng: np.random.Generator | None = None,
) -> tuple[Mapping[str, np.ndarray], Any]:
    """Mean latents (n_out, n_times, n_latents) of held-out conditions in every session, and the fitted aligner."""
    pairs = {s: of_conditions(X, arrays.labels[s], fit) for s, X in arrays.values.items()}
    labels = {s: pair[1] for s, pair in pairs.items()}
    if misled and rng is not None:
        labels[misled] = derange(labels[misled], rng)
    fitted = clone(aligner).fit({s: pair[0] for s, pair in pairs.items()}, labels)
    return {s: _means(arrays, fitted, s, out) for s in arrays.values}, fitted


def _means(arrays: CohortArrays, fitted: Any, session: str, conditions: np.ndarray) -> np.ndarray:
    X, y = of_conditions(arrays.values[session], arrays.labels[session], conditions)
    return condition_means(fitted.transform(session, X), y)[1]


def _rows(latents: np.ndarray) -> np.ndarray:
    """Conditions and bins as rows, less the time course that all conditions share, which needs no alignment."""
    return (latents - latents.mean(axis=0)).reshape(-1, latents.shape[-1])


def _agreement(own: np.ndarray, others: np.ndarray) -> float:
    """Correlation over all conditions, bins and latents."""
    a, b = _rows(own), _rows(others)
    size = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / size) if size > 0 else 0.0


def _angles(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Principal angles in degrees, smallest first (n_latents,); 90 for directions that one of them lacks."""
    a, b = _rows(own), _rows(others)
    found = np.full(a.shape[1], 90.0)
    angles = np.rad2deg(np.sort(subspace_angles(a, b)))
    found[: len(angles)] = angles[: len(found)]
    return found


def _shared_variance(
    arrays: CohortArrays, fitted: Any, sessions: list[str], session: str, fit: np.ndarray, out: np.ndarray
) -> float:
    """Share of the variance of held-out conditions, in the units of a session, that the others' latents predict."""
    others = [name for name in sessions if name != session]
    means = [np.mean([_means(arrays, fitted, name, part) for name in others], axis=0) for part in (fit, out)]
    seen, unseen = (mean.reshape(-1, mean.shape[-1]) for mean in means)
    values, labels = arrays.values[session], arrays.labels[session]
    own = [condition_means(*of_conditions(values, labels, part))[1] for part in (fit, out)]
    X_seen, X_unseen = (mean.reshape(-1, mean.shape[-1]) for mean in own)
    centre, middle = seen.mean(axis=0), X_seen.mean(axis=0)
    gram = (seen - centre).T @ (seen - centre)
    penalty = 0.1 * np.trace(gram) / len(gram) + np.finfo(float).tiny
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), (seen - centre).T @ (X_seen - middle))
    error = X_unseen - middle - (unseen - centre) @ weights
    total = np.sum((X_unseen - middle) ** 2)
    return float(1 - np.sum(error**2) / total) if total > 0 else 0.0


def _ceiling(arrays: CohortArrays, fitted: Any, session: str, out: np.ndarray, rng: np.random.Generator) -> float:
    """Agreement of the latents of held-out conditions between two halves of the session's own trials."""
    X, y = of_conditions(arrays.values[session], arrays.labels[session], out)
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    parts = np.split(order, np.cumsum(np.unique(y, return_counts=True)[1])[:-1])
    if min(map(len, parts)) < 2:
        return float("nan")
    latents = fitted.transform(session, X)
    halves = [np.concatenate([part[: len(part) // 2] if first else part[len(part) // 2 :] for part in parts])
              for first in (True, False)]  # fmt: skip
    return _agreement(*(condition_means(latents[half], y[half])[1] for half in halves))
