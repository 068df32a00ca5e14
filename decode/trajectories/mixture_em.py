"""Expectation-maximisation for a mixture of linear dynamical systems, seen through the units of one or more animals.

    k ~ Cat(1/K),  z_1 | k ~ N(x0_k, Q0_k),  z_t | z_{t-1}, k ~ N(A_k z_{t-1} + b_{k,t}, Q_k),
    x_t | z_t, m ~ N(C_m z_t + offset_m, diag R_m)

Dynamics {A, b, Q, x0, Q0}_k belong to a condition and are shared by all animals; loadings {C, offset, R}_m belong to
an animal and are shared by all conditions. The E-step is one covariance recursion for all trials that share animal,
condition and missing bins; the M-step is the exact joint maximiser over A, b and Q, and over C and offset. Along
conditions b and x0 may be B' phi(condition), a smooth function of concentration, instead of free.
Not here: starting values (``mixture_start``), and the estimators.
"""

from typing import NamedTuple

import numpy as np

from .gaussian_chain import smooth
from .missing import Block, Observed, blocks, information, potential


class Dynamics(NamedTuple):
    """Of every condition: A, Q, Q0 (n_conditions, d, d), b (n_conditions, n_times - 1, d), x0 (n_conditions, d)."""

    A: np.ndarray
    b: np.ndarray
    Q: np.ndarray
    x0: np.ndarray
    Q0: np.ndarray


class Loadings(NamedTuple):
    """Of one animal: C (n_units, d), offset (n_units,), R (n_units,)."""

    C: np.ndarray
    offset: np.ndarray
    R: np.ndarray


class Prior(NamedTuple):
    """Gaussian of a unit's row [C, offset], and a floor and pseudo-trials of its noise.

    Attributes
    ----------
    mean : (n_units, d + 1)
    precision : (n_units, d + 1, d + 1)
    floor : (n_units,), least noise variance
    noise, n_noise : (n_units,) and number: noise variance expected, and in how many numbers it is believed
    """

    mean: np.ndarray
    precision: np.ndarray
    floor: np.ndarray
    noise: np.ndarray
    n_noise: float


class Design(NamedTuple):
    """How conditions hang together.

    Attributes
    ----------
    owner : (n_conditions,), the odor of each condition: conditions of one odor have one A
    basis : (n_conditions, n_basis), b and x0 of a condition are linear in its row; a column of ones where they are free
    has_own_noise : Q and Q0 of each odor for itself; else one for all
    ridge : added to the second moment of z_{t-1} in A
    floor : least eigenvalue of Q and Q0
    longest : spectral radius that A may have
    """

    owner: np.ndarray
    basis: np.ndarray
    has_own_noise: bool = False
    ridge: float = 1e-2
    floor: float = 1e-4
    longest: float = 0.999


class Moments(NamedTuple):
    """Expected sums over trials of every condition that reach bin t; "before" is bin t - 1 of the same trials.

    n (K, T); first (K, T, d); second (K, T, d, d); before (K, T - 1, d); before_second and cross (K, T - 1, d, d),
    cross is E z_t z_{t-1}'.
    """

    n: np.ndarray
    first: np.ndarray
    second: np.ndarray
    before: np.ndarray
    before_second: np.ndarray
    cross: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
        return Moments(*(one + two for one, two in zip(self, other, strict=True)))


class Assigned(NamedTuple):
    """Trials of one animal, given to conditions; a trial without a label is given to every one.

    Attributes
    ----------
    data : what was observed
    trial, condition : (n_entries,)
    blocks : entries by condition and pattern
    kinds : (n_groups, 2), condition and pattern of each group
    totals : (n_trials, n_units) sums over bins of x, and of x²
    """

    data: Observed
    trial: np.ndarray
    condition: np.ndarray
    blocks: list[Block]
    kinds: np.ndarray
    totals: tuple[np.ndarray, np.ndarray]


class Seen(NamedTuple):
    """What the E-step makes of one animal: moments of its latents, of its units with them, and log p of its trials."""

    moments: Moments
    with_units: np.ndarray  # (n_units, d + 1), sum of x [z, 1]'
    squares: np.ndarray  # (n_units or 1, d + 1, d + 1), sum of E [z, 1][z, 1]' over the bins where the unit is present
    log_p: np.ndarray  # (n_trials,)


def assign(data: Observed, condition: np.ndarray) -> Assigned:
    """Give each trial its condition (n_trials,)."""
    return _assigned(data, np.arange(len(condition)), condition)


def assign_all(data: Observed, n_conditions: int) -> Assigned:
    """Give each trial to every condition: trials without a label."""
    n_trials = len(data.values)
    return _assigned(data, np.repeat(np.arange(n_trials), n_conditions), np.tile(np.arange(n_conditions), n_trials))


def _assigned(data: Observed, trial: np.ndarray, condition: np.ndarray) -> Assigned:
    kinds, group = np.unique(np.column_stack([condition, data.pattern[trial]]), axis=0, return_inverse=True)
    totals = data.values.sum(axis=1), np.einsum("ntu,ntu->nu", data.values, data.values)
    return Assigned(data, trial, condition, blocks(group.ravel()), kinds, totals)


def expect(animal: Assigned, loadings: Loadings, dynamics: Dynamics) -> Seen:
    """E-step of one animal.

    Notes
    -----
    Time O(n_trials · n_times · (n_units d + d²) + n_groups · n_times · d³).
    """
    data, n_times = animal.data, animal.data.values.shape[1]
    h, seen = potential(data, *loadings), information(data.present, loadings.C, loadings.R)
    d = h.shape[-1]
    parts, log_p = [], np.empty(len(animal.trial))
    for block in animal.blocks:
        condition, pattern = animal.kinds[block.groups].T
        found = smooth(seen[pattern], h[animal.trial[block.trials]], *(part[condition] for part in dynamics))
        log_p[block.trials] = found.log_normaliser
        parts.append(found)
    weight, log_p_trial = _responsibilities(animal.trial, log_p, len(h))
    sums = _no_moments(len(dynamics.x0), n_times, d)
    per_pattern, latents = np.zeros((len(data.present), n_times, d + 1, d + 1)), np.zeros_like(h)
    for block, found in zip(animal.blocks, parts, strict=True):
        condition, pattern = animal.kinds[block.groups].T
        weights = weight[block.trials] * block.counts
        real = block.counts > 0
        _scatter(latents, animal.trial[block.trials[real]], found.mean[real] * weights[real][:, None, None])
        z = np.moveaxis(found.mean, -2, 0)  # (T, groups, trials, d)
        n, weighted = weights.sum(axis=1), z * weights[..., None]
        first, turned = weighted.sum(axis=2), np.swapaxes(weighted, -1, -2)
        second = turned @ z + n[:, None, None] * np.moveaxis(found.cov, -3, 0)
        cross = turned[1:] @ z[:-1] + n[:, None, None] * np.moveaxis(found.lag_cov, -3, 0)
        reaches = np.arange(n_times)[:, None] < data.n_bins[pattern]  # (T, groups)
        _add_moments(sums, condition, reaches, n, first, second, cross)
        _add_squares(per_pattern, pattern, n, first, second)
    product = data.values.reshape(-1, data.values.shape[2]).T @ latents.reshape(-1, d)
    with_units = np.column_stack([product, animal.totals[0].sum(axis=0)])
    return Seen(sums, with_units, _per_unit(data.present, per_pattern), log_p_trial + _left_out(animal, loadings))


def _no_moments(n_conditions: int, n_times: int, d: int) -> Moments:
    at, lag = (n_conditions, n_times), (n_conditions, n_times - 1)
    return Moments(*map(np.zeros, (at, (*at, d), (*at, d, d), (*lag, d), (*lag, d, d), (*lag, d, d))))


def _responsibilities(trial: np.ndarray, log_p: np.ndarray, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of each entry among the entries of its trial, and log p of each trial with equal prior."""
    most = np.full(n_trials, -np.inf)
    np.maximum.at(most, trial, log_p)
    odds = np.exp(log_p - most[trial])
    total = np.bincount(trial, odds, minlength=n_trials)
    return odds / total[trial], most + np.log(total / np.bincount(trial, minlength=n_trials))


def _scatter(into: np.ndarray, place: np.ndarray, values: np.ndarray) -> None:
    if len(np.unique(place)) == len(place):
        into[place] += values
    else:
        np.add.at(into, place, values)


def _add_moments(
    sums: Moments,
    condition: np.ndarray,
    reaches: np.ndarray,
    n: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    cross: np.ndarray,
) -> None:
    """Add groups, time first, to the sums of their conditions."""
    on = reaches.astype(float)
    both = on[1:]
    parts = (
        on * n,
        on[..., None] * first,
        on[..., None, None] * second,
        both[..., None] * first[:-1],
        both[..., None, None] * second[:-1],
        both[..., None, None] * cross,
    )
    for total, part in zip(sums, parts, strict=True):
        np.add.at(total, condition, np.moveaxis(part, 0, 1))


def _add_squares(
    per_pattern: np.ndarray, pattern: np.ndarray, n: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    d = first.shape[-1]
    joint = np.empty((*first.shape[:2], d + 1, d + 1))
    joint[..., :d, :d], joint[..., d, :d], joint[..., :d, d], joint[..., d, d] = second, first, first, n
    np.add.at(per_pattern, pattern, np.moveaxis(joint, 0, 1))


def _per_unit(present: np.ndarray, per_pattern: np.ndarray) -> np.ndarray:
    """Sum over the bins where each unit is present; one for all units if all are always present."""
    shape = per_pattern.shape[-2:]
    if present.all():
        return per_pattern.sum(axis=(0, 1))[None]
    n_units = present.shape[2]
    return (present.reshape(-1, n_units).T.astype(float) @ per_pattern.reshape(-1, shape[0] ** 2)).reshape(-1, *shape)


def _left_out(animal: Assigned, loadings: Loadings) -> np.ndarray:
    """Log density of each trial that the chain does not know (see ``missing.left_out``), from sums over bins."""
    sum_x, sum_xx = animal.totals
    offset, R = loadings.offset, loadings.R
    constant = animal.data.present.sum(axis=1) @ (offset**2 / R + np.log(2 * np.pi * R))
    return -0.5 * (sum_xx @ (1 / R) - 2 * sum_x @ (offset / R) + constant[animal.data.pattern])


def update_loadings(animal: Assigned, seen: Seen, loadings: Loadings, prior: Prior) -> Loadings:
    """M-step of one animal: the row [C, offset] of each unit given its noise, then its noise given the row."""
    d = loadings.C.shape[1]
    R = loadings.R
    precision = seen.squares + R[:, None, None] * prior.precision
    right = seen.with_units + R[:, None] * np.einsum("uij,uj->ui", prior.precision, prior.mean)
    row = np.linalg.solve(precision, right[:, :, None])[:, :, 0]
    n = np.broadcast_to(seen.squares[:, d, d], R.shape)
    residual = (
        animal.totals[1].sum(axis=0)
        - 2 * np.sum(row * seen.with_units, axis=1)
        + np.einsum("ui,uij,uj->u", row, np.broadcast_to(seen.squares, (len(row), d + 1, d + 1)), row)
    )
    new_R = (residual + prior.n_noise * prior.noise) / (n + prior.n_noise)
    return Loadings(row[:, :d], row[:, d], np.maximum(new_R, prior.floor))


def log_prior(loadings: Loadings, prior: Prior) -> float:
    """What the prior of one animal adds to the objective, up to a constant."""
    away = np.column_stack([loadings.C, loadings.offset]) - prior.mean
    rows = np.einsum("ui,uij,uj->", away, prior.precision, away)
    noise = prior.n_noise * np.sum(np.log(loadings.R) + prior.noise / loadings.R)
    return -0.5 * float(rows + noise)


def update_dynamics(moments: Moments, dynamics: Dynamics, design: Design) -> Dynamics:
    """M-step of all conditions: A, b and Q jointly, then x0 and Q0.

    With s_t = sum of z_t over the trials of a condition, phi its row of the basis and G_t = sum n phi phi', the
    input is projected out bin by bin: S10 = sum E z_t z_{t-1}' - (sum phi s_t')' G_t^-1 (sum phi s_{t-1}'), so too
    S11 and S00, and
    A = S10 (S00 + ridge)^-1,  Q = (S11 - A S10' - S10 A' + A (S00 + ridge) A') / n,
    B_t = G_t^-1 sum phi (s_t - A s_{t-1})'.
    """
    n_odors, d = int(design.owner.max()) + 1, dynamics.x0.shape[1]
    odor_of = np.arange(n_odors)[:, None] == design.owner
    phi = design.basis

    def over(values: np.ndarray) -> np.ndarray:
        return np.tensordot(odor_of.astype(float), values, axes=(1, 0))

    gram = over(moments.n[:, :, None, None] * (phi[:, None, :, None] * phi[:, None, None, :]))
    at, before = (over(phi[:, None, :, None] * s[:, :, None, :]) for s in (moments.first, moments.before))
    tiny = 1e-9 * np.maximum(np.trace(gram, axis1=-2, axis2=-1), 1e-9)[..., None, None] * np.eye(phi.shape[1])
    inverse = np.linalg.inv(gram + tiny)
    explained = _turned(at) @ inverse  # (odors, T, d, basis)
    S11 = (over(moments.second[:, 1:]) - explained[:, 1:] @ at[:, 1:]).sum(axis=1)
    S10 = (over(moments.cross) - explained[:, 1:] @ before).sum(axis=1)
    S00 = (over(moments.before_second) - _turned(before) @ inverse[:, 1:] @ before).sum(axis=1)
    S00 = _symmetric(S00) + design.ridge * np.eye(d)
    old_A = np.array([dynamics.A[design.owner == o][0] for o in range(n_odors)])
    A = _stable(_turned(np.linalg.solve(S00, _turned(S10))), old_A, design.longest)
    residual = S11 - A @ _turned(S10) - S10 @ _turned(A) + A @ S00 @ _turned(A)
    Q = _spread(residual, over(moments.n[:, 1:].sum(axis=1)), dynamics.Q, design)
    B = inverse[:, 1:] @ (at[:, 1:] - before @ _turned(A)[:, None])
    b = np.einsum("kj,ktjd->ktd", phi, B[design.owner])
    B0 = inverse[:, 0] @ at[:, 0]
    x0 = np.einsum("kj,kjd->kd", phi, B0[design.owner])
    Q0 = _spread(over(moments.second[:, 0]) - explained[:, 0] @ at[:, 0], over(moments.n[:, 0]), dynamics.Q0, design)
    has = over(moments.n)[design.owner] > 0
    return Dynamics(
        A[design.owner],
        np.where(has[:, 1:, None], b, dynamics.b),
        Q,
        np.where(has[:, :1], x0, dynamics.x0),
        Q0,
    )


def _turned(values: np.ndarray) -> np.ndarray:
    return np.swapaxes(values, -1, -2)


def _symmetric(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values + _turned(values))


def _stable(new: np.ndarray, old: np.ndarray, longest: float) -> np.ndarray:
    """The point nearest to ``new`` on the way from ``old`` whose spectral radius is allowed: it still gains."""
    A = new.copy()
    for k in np.flatnonzero(np.abs(np.linalg.eigvals(new)).max(axis=-1) > longest):
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            is_allowed = np.abs(np.linalg.eigvals(old[k] + middle * (new[k] - old[k]))).max() <= longest
            low, high = (middle, high) if is_allowed else (low, middle)
        A[k] = old[k] + low * (new[k] - old[k])
    return A


def _spread(sums: np.ndarray, n: np.ndarray, old: np.ndarray, design: Design) -> np.ndarray:
    """Covariances of all conditions from sums of squares of the odors, no eigenvalue below the floor."""
    if not design.has_own_noise:
        sums, n = sums.sum(axis=0, keepdims=True), n.sum(keepdims=True)
    values, vectors = np.linalg.eigh(_symmetric(sums) / np.maximum(n, 1e-12)[:, None, None])
    cov = (vectors * np.maximum(values, design.floor)[:, None, :]) @ _turned(vectors)
    if not design.has_own_noise:
        return np.broadcast_to(cov, old.shape) if n[0] > 0 else old
    return np.where((n > 0)[design.owner, None, None], cov[design.owner], old)
