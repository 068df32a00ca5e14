"""What the loadings of known animals say of those of a new one, and the first guess from few trials.

Rows [C, offset] of the units are Gaussian. Where all animals have as many units as the new one, a row has a part that
corresponding units share and a part of its own; how large each is, is measured between the known animals, so
channels that do not correspond share nothing and the prior falls back to what any unit may be.
Not here: the loop (``mitral.decode.trajectories.mixture_fit``).
"""

from collections.abc import Mapping

import numpy as np

from ..decode.trajectories.missing import Observed
from ..decode.trajectories.mixture_em import Dynamics, Loadings, Prior
from ..decode.trajectories.mixture_fit import marginals
from ..decode.trajectories.mixture_start import Means, noise_floor

N_NOISE = 5.0  # numbers that the usual share of noise counts for
TINY = 1e-6  # added to a covariance of rows, as a share of its trace


def prior_from(known: Mapping[str, Loadings], shares: Mapping[str, np.ndarray], means: Means) -> Prior:
    """Prior of a new animal's loadings, for activity as it came (offsets are not centred).

    Parameters
    ----------
    known : name -> loadings of the animals of the fit
    shares : name -> (n_units,), noise of each unit as a share of its variance
    means : of the new animal

    Returns
    -------
    prior, with ``floor`` and ``noise`` in the variance of the new animal's own units
    """
    n_units = len(means.grand)
    rows = [np.column_stack([one.C, one.offset]) for one in known.values()]
    corresponds = len(rows) > 1 and all(len(one) == n_units for one in rows)
    mean, cov = _of_corresponding(np.array(rows)) if corresponds else _of_any(rows, n_units)
    cov = cov + TINY * np.trace(cov) / len(cov) * np.eye(len(cov))
    floor = noise_floor(means)
    share = float(np.median(np.concatenate(list(shares.values()))))
    usual = np.where(means.total > 0, means.total, floor)
    return Prior(mean, np.broadcast_to(np.linalg.inv(cov), (n_units, *cov.shape)), floor, share * usual, N_NOISE)


def _of_any(rows: list[np.ndarray], n_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of rows over all units, animals counting alike."""
    mean = np.mean([one.mean(axis=0) for one in rows], axis=0)
    cov = np.mean([(one - mean).T @ (one - mean) / len(one) for one in rows], axis=0)
    return np.tile(mean, (n_units, 1)), cov


def _of_corresponding(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (n_animals, n_units, d + 1): expected rows of a new animal, and the covariance of a row around them."""
    n_animals, n_units, width = rows.shape
    unit_mean = rows.mean(axis=0)
    mean = unit_mean.mean(axis=0)
    own = np.einsum("aui,auj->ij", rows - unit_mean, rows - unit_mean) / (n_units * (n_animals - 1))
    between = (unit_mean - mean).T @ (unit_mean - mean) / max(n_units - 1, 1) - own / n_animals
    values, vectors = np.linalg.eigh(between)
    shared = (vectors * np.maximum(values, 0.0)) @ vectors.T
    seen = shared + own / n_animals
    gain = shared @ np.linalg.pinv(seen + TINY * np.trace(seen) / width * np.eye(width))
    return mean + (unit_mean - mean) @ gain.T, own + shared - gain @ shared


def noise_share(data: Observed, loadings: Loadings) -> np.ndarray:
    """Noise of each unit as a share of its variance over all bins, at most 1."""
    present = data.present[data.pattern].sum(axis=(0, 1))
    mean = data.values.sum(axis=(0, 1)) / np.maximum(present, 1)
    variance = np.einsum("ntu,ntu->u", data.values, data.values) / np.maximum(present, 1) - mean**2
    return np.minimum(loadings.R / np.maximum(variance, 1e-300), 1.0)


def first_guesses(means: Means, dynamics: Dynamics, prior: Prior) -> list[Loadings]:
    """Starts for the loadings of a new animal: three, of which the likeliest after a few iterations serves.

    Regression of the condition means on the mean course of the latents under the prior, with the weight of all their
    trials and of one; and the prior's own mean. Many trials of one odor whose course leaves a direction out can lead
    the first astray: its means carry the trials' own latents, which are no noise of the units.
    """
    course, _ = marginals(dynamics)
    d = course.shape[2]
    design = np.concatenate([course, np.ones((*course.shape[:2], 1))], axis=2).reshape(-1, d + 1)
    R = np.maximum(means.within, prior.floor)
    rows = [
        _regression(count.reshape(len(design), -1), means.mean.reshape(len(design), -1), design, R, prior)
        for count in (means.n_trials, np.minimum(means.n_trials, 1.0))
    ]
    return [Loadings(row[:, :d], row[:, d], R) for row in (*rows, prior.mean)]


def _regression(count: np.ndarray, mean: np.ndarray, design: np.ndarray, R: np.ndarray, prior: Prior) -> np.ndarray:
    """Rows [C, offset] from means (n_conditions n_times, n_units) with their counts."""
    width = design.shape[1]
    squares = count.T @ (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    squares = squares.reshape(-1, width, width) + R[:, None, None] * prior.precision
    right = (count * mean).T @ design + R[:, None] * np.einsum("uij,uj->ui", prior.precision, prior.mean)
    return np.linalg.solve(squares, right[:, :, None])[:, :, 0]
