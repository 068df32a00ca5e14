"""Starting values for a mixture of linear dynamical systems: from condition means to loadings and dynamics.

Two ways. ``factor_start``: one matrix of loadings for all animals, each with its own noise (population factor
analysis); units must correspond. ``correlation_start``: generalised canonical correlation of the animals' condition
means, each weighted by how reliable it is; for units of any number. Not here: the loop that follows.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .missing import Observed
from .mixture_em import Design, Dynamics, Loadings, Prior

N_FACTOR_STEPS = 30
FLOOR = 1e-3  # least noise of a unit, as a share of its variance
DAMPING = 0.5  # first A, of every latent with itself


class Means(NamedTuple):
    """Of one animal: mean over trials at each condition and bin, over how many, and each unit's variances.

    mean (K, T, N), 0 where there is none; n_trials (K, T, N); grand, total, within (N,): mean over all, variance over
    all, and variance between trials of one condition.
    """

    mean: np.ndarray
    n_trials: np.ndarray
    grand: np.ndarray
    total: np.ndarray
    within: np.ndarray


def condition_means(data: Observed, condition: np.ndarray, n_conditions: int) -> Means:
    """Means over the trials of each condition."""
    shape = (n_conditions, *data.values.shape[1:])
    total, count = np.zeros(shape), np.zeros(shape)
    for k in range(n_conditions):
        here = condition == k
        total[k] = data.values[here].sum(axis=0)
        count[k] = np.tensordot(np.bincount(data.pattern[here], minlength=len(data.present)), data.present, axes=1)
    mean = total / np.maximum(count, 1)
    n = np.maximum(count.sum(axis=(0, 1)), 1)
    grand = total.sum(axis=(0, 1)) / n
    square = np.einsum("ntu,ntu->u", data.values, data.values) / n
    variance = np.maximum(square - grand**2, 0)
    spread = np.maximum(square - np.sum(count * mean**2, axis=(0, 1)) / n, 0)
    free = n - (count > 0).sum(axis=(0, 1))
    within = np.where(free > 0, spread * n / np.maximum(free, 1), variance)
    return Means(mean, count, grand, variance, within)


def noise_floor(means: Means) -> np.ndarray:
    """Least noise variance of each unit: a share of its own variance, or of the usual one if it never changes."""
    usual = np.median(means.total[means.total > 0]) if (means.total > 0).any() else 1.0
    return np.where(means.total > 0, FLOOR * means.total, FLOOR * usual)


def flat_prior(means: Means, d: int, *, ridge: float) -> Prior:
    """Prior of loadings around 0, worth ``ridge`` latents of variance 1; none of the offset."""
    n_units, floor = len(means.grand), noise_floor(means)
    precision = np.zeros((n_units, d + 1, d + 1))
    precision[:, np.arange(d), np.arange(d)] = (ridge / np.maximum(means.within, floor))[:, None]
    return Prior(np.zeros((n_units, d + 1)), precision, floor, np.maximum(means.within, floor), 0.0)


def factor_start(animals: Mapping[str, tuple[Observed, Means]], d: int) -> tuple[dict[str, Loadings], np.ndarray]:
    """Population factor analysis: x = C z + offset_m + N(0, R_m), one C; and the latents of the condition means.

    EM over (C, R) on the covariance of all bins of each animal; starts from the leading eigenvectors of their mean.
    """
    covariances = {name: _bin_covariance(data, means) for name, (data, means) in animals.items()}
    floors = {name: noise_floor(means) for name, (_, means) in animals.items()}
    values, vectors = np.linalg.eigh(np.mean(list(covariances.values()), axis=0))
    C = vectors[:, -d:] * np.sqrt(np.maximum(values[-d:], values[-1] * 1e-6))
    R = {name: np.maximum(np.diag(S) * 0.5, floors[name]) for name, S in covariances.items()}
    for _ in range(N_FACTOR_STEPS):
        right, precision, parts = np.zeros_like(C), np.zeros((len(C), d, d)), {}
        for name, S in covariances.items():
            weighted = C / R[name][:, None]
            cov = np.linalg.inv(np.eye(d) + C.T @ weighted)
            xz = S @ weighted @ cov
            zz = cov + cov @ weighted.T @ xz
            parts[name] = xz, zz
            right += xz / R[name][:, None]
            precision += zz / R[name][:, None, None]
        C = np.linalg.solve(precision, right[:, :, None])[:, :, 0]
        for name, (xz, zz) in parts.items():
            new = np.diag(covariances[name]) - 2 * np.sum(C * xz, axis=1) + np.einsum("ui,ij,uj->u", C, zz, C)
            R[name] = np.maximum(new, floors[name])
    loadings = {name: Loadings(C, means.grand, R[name]) for name, (_, means) in animals.items()}
    return loadings, _latents_of_means(animals, loadings)


def correlation_start(animals: Mapping[str, tuple[Observed, Means]], d: int) -> tuple[dict[str, Loadings], np.ndarray]:
    """Generalised canonical correlation: latents that the condition means of all animals agree on.

    Principal components of each animal's condition means, with standard deviation s, enter with the weight
    s / sqrt(s² + noise of a mean): the shared latents are the leading left singular vectors of all of them side by
    side, and loadings the ridge regression of the means on the latents. Conditions that an animal lacks are filled in
    from the others.
    """
    columns = []
    for _, means in animals.values():
        scale, has = noise_floor(means) / FLOOR, means.n_trials.reshape(-1, len(means.grand)) > 0
        flat = np.where(has, means.mean.reshape(has.shape) - means.grand, 0.0) / np.sqrt(scale)
        left, s, _ = np.linalg.svd(flat, full_matrices=False)
        usual = np.mean(means.within / scale) * np.sum(1 / means.n_trials[means.n_trials > 0]) / len(means.grand)
        weight = s / np.sqrt(s**2 + usual + 1e-300)
        columns.append((left * weight, has.any(axis=1)))
    rows = np.array([has for _, has in columns])
    filled = [column.copy() for column, _ in columns]
    for _ in range(1 if rows.all() else 10):
        left, s, right = np.linalg.svd(np.concatenate(filled, axis=1), full_matrices=False)
        shared = left[:, :d]
        guess = (shared * s[:d]) @ right[:d]
        start = 0
        for one, has in zip(filled, rows, strict=True):
            one[~has] = guess[~has, start : start + one.shape[1]]
            start += one.shape[1]
    shared = shared - shared.mean(axis=0)
    shared = shared / np.maximum(shared.std(axis=0), 1e-12)
    if shared.shape[1] < d:
        shared = np.pad(shared, ((0, 0), (0, d - shared.shape[1])))
    loadings = {name: _regressed(means, shared) for name, (_, means) in animals.items()}
    n_conditions, n_times = next(iter(animals.values()))[1].mean.shape[:2]
    return loadings, shared.reshape(n_conditions, n_times, d)


def _regressed(means: Means, shared: np.ndarray) -> Loadings:
    """Loadings of one animal by regression of its condition means on latents (K T, d)."""
    d, n_units = shared.shape[1], len(means.grand)
    count = means.n_trials.reshape(-1, n_units)
    design = np.column_stack([shared, np.ones(len(shared))])
    squares = np.einsum("ru,ri,rj->uij", count, design, design, optimize=True) + 1e-2 * np.eye(d + 1)
    row = np.linalg.solve(squares, np.einsum("ru,ri->ui", count * means.mean.reshape(count.shape), design)[:, :, None])
    return Loadings(row[:, :d, 0], row[:, d, 0], np.maximum(means.within, noise_floor(means)))


def first_dynamics(latents: np.ndarray, design: Design) -> Dynamics:
    """Dynamics whose mean is the given course (n_conditions, n_times, d), in the basis of the design."""
    n_conditions, n_times, d = latents.shape
    A = np.broadcast_to(DAMPING * np.eye(d), (n_conditions, d, d)).copy()
    Q = np.broadcast_to(0.5 * np.eye(d), (n_conditions, d, d)).copy()
    b = latents[:, 1:] - DAMPING * latents[:, :-1]
    x0 = latents[:, 0]
    if design.basis.shape[1] > 1:
        b, x0 = b.copy(), x0.copy()
        for odor in np.unique(design.owner):
            here = design.owner == odor
            onto = design.basis[here] @ np.linalg.pinv(design.basis[here])
            b[here], x0[here] = np.tensordot(onto, b[here], axes=1), onto @ x0[here]
    return Dynamics(A, b, Q, x0, Q.copy())


def _bin_covariance(data: Observed, means: Means) -> np.ndarray:
    """Covariance of the units over all bins of all trials, over the bins where both are present."""
    flat = data.values.reshape(-1, data.values.shape[2])
    if data.present.all():
        return flat.T @ flat / len(flat) - np.outer(means.grand, means.grand)
    weight = data.present[data.pattern].reshape(flat.shape)
    centred = np.where(weight, flat - means.grand, 0.0)
    return centred.T @ centred / np.maximum(weight.T.astype(float) @ weight, 1)


def _latents_of_means(animals: Mapping[str, tuple[Observed, Means]], loadings: Mapping[str, Loadings]) -> np.ndarray:
    """Factor scores of the condition means, averaged over the animals that have them (K, T, d)."""
    total, n = np.zeros(1), np.zeros(1)
    for name, (_, means) in animals.items():
        C, offset, R = loadings[name]
        weight = (means.n_trials > 0) / R
        d = C.shape[1]
        products = (C[:, :, None] * C[:, None, :]).reshape(len(C), -1)
        seen = (weight @ products).reshape(*weight.shape[:2], d, d) + np.eye(d)
        scores = np.linalg.solve(seen, ((weight * (means.mean - offset)) @ C)[..., None])[..., 0]
        has = np.any(means.n_trials > 0, axis=2, keepdims=True)
        total, n = total + scores * has, n + has
    return total / np.maximum(n, 1)
