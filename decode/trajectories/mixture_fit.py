"""The loop of expectation-maximisation, and what a fitted mixture of linear dynamical systems says of new trials.

Not here: the steps of the loop (``mixture_em``), starting values (``mixture_start``).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from .gaussian_chain import filter_, smooth
from .missing import Observed, blocks, information, left_out, potential
from .mixture_em import (
    Assigned,
    Design,
    Dynamics,
    Loadings,
    Moments,
    Prior,
    expect,
    log_prior,
    update_dynamics,
    update_loadings,
)

CHUNK = 200_000  # numbers of a posterior mean that are held at once, per latent


class Fit(NamedTuple):
    """Where the loop ended.

    Attributes
    ----------
    loadings : name -> of each animal
    dynamics : of each condition
    moments : expected sums over the animals of this loop
    log_likelihood : (n_iterations,), of the parameters before each M-step
    objective : (n_iterations,), with the log priors: never falls
    has_converged : whether an iteration gained less than the tolerance
    """

    loadings: dict[str, Loadings]
    dynamics: Dynamics
    moments: Moments
    log_likelihood: np.ndarray
    objective: np.ndarray
    has_converged: bool


def run_em(
    animals: Mapping[str, Assigned],
    loadings: Mapping[str, Loadings],
    dynamics: Dynamics,
    design: Design,
    priors: Mapping[str, Prior],
    *,
    tolerance: float,
    max_iterations: int,
    is_frozen: bool = False,
    known: Moments | None = None,
) -> Fit:
    """Alternate E- and M-step until an iteration gains less than ``tolerance`` for each trial.

    Parameters
    ----------
    animals, loadings, priors : of each animal, by name
    dynamics, design : of the conditions
    tolerance : in nats, per trial
    max_iterations : stop here at the latest
    is_frozen : keep the dynamics, learn loadings alone
    known : moments of other animals, held fixed, that count in the dynamics too
    """
    loadings = dict(loadings)
    n_trials = sum(len(animal.data.values) for animal in animals.values())
    likelihoods: list[float] = []
    objectives: list[float] = []
    has_converged = False
    for _ in range(max_iterations):
        seen = {name: expect(animal, loadings[name], dynamics) for name, animal in animals.items()}
        moments = next(iter(seen.values())).moments
        for other in list(seen.values())[1:]:
            moments = moments + other.moments
        likelihoods.append(float(sum(one.log_p.sum() for one in seen.values())))
        objectives.append(_objective(likelihoods[-1], dynamics, design, loadings, priors))
        if len(objectives) > 1 and objectives[-1] - objectives[-2] < tolerance * n_trials:
            has_converged = True
            break
        for name, animal in animals.items():
            loadings[name] = update_loadings(animal, seen[name], loadings[name], priors[name])
        if not is_frozen:
            dynamics = update_dynamics(moments if known is None else moments + known, dynamics, design)
    return Fit(loadings, dynamics, moments, np.array(likelihoods), np.array(objectives), has_converged)


def _objective(
    log_p: float,
    dynamics: Dynamics,
    design: Design,
    loadings: Mapping[str, Loadings],
    priors: Mapping[str, Prior],
) -> float:
    """The log likelihood and the log priors of loadings, noise and A, up to a constant."""
    first = np.unique(design.owner, return_index=True)[1]
    A, Q = dynamics.A[first], dynamics.Q[first]
    ridge = design.ridge * np.trace(np.linalg.solve(Q, A @ np.swapaxes(A, -1, -2)), axis1=-2, axis2=-1).sum()
    return log_p - 0.5 * float(ridge) + sum(log_prior(one, priors[name]) for name, one in loadings.items())


def log_evidence(data: Observed, loadings: Loadings, dynamics: Dynamics) -> np.ndarray:
    """log p(x_1 ... x_t | k) at every bin t: (n_trials, n_times, n_conditions).

    Notes
    -----
    Time O(n_conditions · (n_trials · n_times · d² + n_patterns · n_times · d³)).
    """
    return _over_trials(data, loadings, dynamics, _evidence_of) + np.cumsum(
        left_out(data, loadings.offset, loadings.R), axis=1
    )[:, :, None]


def log_joint(data: Observed, loadings: Loadings, dynamics: Dynamics) -> np.ndarray:
    """As ``log_evidence`` without what is equal for all conditions, which is cheaper and serves the posterior."""
    return _over_trials(data, loadings, dynamics, _evidence_of)


def mean_latents(data: Observed, loadings: Loadings, dynamics: Dynamics, log_prior_k: np.ndarray) -> np.ndarray:
    """Posterior mean of the latents over all conditions, (n_trials, n_times, d): no label is needed.

    Bins after the last one with any unit present are NaN.

    Parameters
    ----------
    log_prior_k : (n_conditions,)
    """

    def part(seen: np.ndarray, h: np.ndarray, dynamics: Dynamics) -> np.ndarray:
        found = smooth(seen, h, *dynamics)
        log_p = found.log_normaliser + log_prior_k[:, None]
        weight = np.exp(log_p - logsumexp(log_p, axis=0))
        return np.einsum("kn,kntd->ntd", weight, found.mean)

    z = _over_trials(data, loadings, dynamics, part)
    z[np.arange(z.shape[1]) >= data.n_bins[data.pattern][:, None]] = np.nan
    return z


def _evidence_of(seen: np.ndarray, h: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    return np.moveaxis(np.cumsum(filter_(seen, h, *dynamics).log_evidence, axis=-1), 0, -1)


def _over_trials(data: Observed, loadings: Loadings, dynamics: Dynamics, part: object) -> np.ndarray:
    """``part`` of each pattern's trials under all conditions, in chunks that fit into memory."""
    seen, h = information(data.present, loadings.C, loadings.R), potential(data, *loadings)
    n_most = max(1, CHUNK // (len(dynamics.x0) * h.shape[1]))
    out = np.empty(0)
    for block in blocks(data.pattern):
        for pattern, row, counts in zip(block.groups, block.trials, block.counts, strict=True):
            trials = row[counts > 0]
            for start in range(0, len(trials), n_most):
                chunk = trials[start : start + n_most]
                values = part(seen[pattern], h[chunk], dynamics)  # type: ignore[operator]
                if out.size == 0:
                    out = np.empty((len(h), *values.shape[1:]))
                out[chunk] = values
    return out


def canonical(
    loadings: Mapping[str, Loadings], dynamics: Dynamics
) -> tuple[dict[str, Loadings], Dynamics, np.ndarray, np.ndarray]:
    """The same model with latents of mean 0 and covariance I over conditions and bins, ordered by what they explain.

    Latent i explains sum over units of c_i² / R; its largest loading in units of the noise is positive.

    Returns
    -------
    loadings, dynamics, and the map: new latents are G z + g
    """
    mean, cov = marginals(dynamics)
    between = np.einsum("kti,ktj->ij", mean, mean) / mean[..., 0].size
    centre = mean.mean(axis=(0, 1))
    root = np.linalg.cholesky(cov.mean(axis=(0, 1)) + between - np.outer(centre, centre))
    stacked = np.concatenate([one.C / np.sqrt(one.R)[:, None] for one in loadings.values()]) @ root
    _, vectors = np.linalg.eigh(stacked.T @ stacked)
    vectors = vectors[:, ::-1]
    turned = stacked @ vectors
    vectors = vectors * np.sign(turned[np.abs(turned).argmax(axis=0), np.arange(turned.shape[1])])
    inverse = root @ vectors  # old latents are inverse @ new + centre
    G = vectors.T @ np.linalg.inv(root)
    g = -G @ centre
    A = G @ dynamics.A @ inverse
    new = Dynamics(
        A,
        dynamics.b @ G.T + (g - A @ g)[:, None],
        G @ dynamics.Q @ G.T,
        dynamics.x0 @ G.T + g,
        G @ dynamics.Q0 @ G.T,
    )
    moved = {
        name: Loadings(one.C @ inverse, one.offset + one.C @ centre, one.R) for name, one in loadings.items()
    }
    return moved, new, G, g


def marginals(dynamics: Dynamics) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_conditions, n_times, d) and covariance (n_conditions, n_times, d, d) of the latents, before any data."""
    A, b, Q, x0, Q0 = dynamics
    means, covs = [x0], [Q0]
    for t in range(b.shape[1]):
        means.append(np.einsum("kij,kj->ki", A, means[-1]) + b[:, t])
        covs.append(A @ covs[-1] @ np.swapaxes(A, -1, -2) + Q)
    return np.stack(means, axis=1), np.stack(covs, axis=1)


def moved(moments: Moments, G: np.ndarray, g: np.ndarray) -> Moments:
    """Expected sums of G z + g from those of z."""
    n, first, second, before, before_second, cross = moments
    lag_n = n[:, 1:]

    def square(values: np.ndarray, left: np.ndarray, right: np.ndarray, n: np.ndarray) -> np.ndarray:
        one, other = left @ G.T, right @ G.T
        mixed = one[..., :, None] * g + g[:, None] * other[..., None, :]
        return G @ values @ G.T + mixed + n[..., None, None] * np.outer(g, g)

    return Moments(
        n,
        first @ G.T + n[..., None] * g,
        square(second, first, first, n),
        before @ G.T + lag_n[..., None] * g,
        square(before_second, before, before, lag_n),
        square(cross, _at_lag(moments), before, lag_n),
    )


def _at_lag(moments: Moments) -> np.ndarray:
    """Sum of z_t over the trials that reach bin t, from the second bin on."""
    return moments.first[:, 1:]


def best_of(fits: Sequence[Fit]) -> Fit:
    """The fit with the highest objective; the first of equals."""
    return max(fits, key=lambda fit: fit.objective[-1])
