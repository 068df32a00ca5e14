"""Kernels of smooth latents: covariance over bins, its slope in the timescale, and the same process as a chain.

Every latent has unit variance and  k(t, s) = (1 - white) kappa(|t - s| / tau) + white [t = s]:

    squared_exponential   kappa(r) = exp(-r² / 2)
    matern12              kappa(r) = exp(-r)
    matern32              kappa(r) = (1 + a) exp(-a),            a = sqrt(3) r
    matern52              kappa(r) = (1 + a + a² / 3) exp(-a),   a = sqrt(5) r

tau and lags are in bins. A chain is a linear process s_{t+1} = A s_t + noise with readout c' s of covariance kappa
(Hartikainen & Särkkä 2010). It is exact for the Matérn kernels. The spectrum of the squared exponential is not
rational; here it is |h(i omega)|² with four pairs of poles, fitted once to the kernel with a uniform error, and
``CHAIN_ERROR`` bounds |kappa - kappa of the chain| at every lag and timescale.
Not here: what the latents are seen through (``gpfa_inference``).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag, expm, solve_continuous_lyapunov

KERNELS = ("squared_exponential", "matern12", "matern32", "matern52")
CHAIN_ERROR = {"squared_exponential": 4e-7, "matern12": 1e-9, "matern32": 1e-9, "matern52": 1e-9}
_POLES = (-2.1061678233 + 3.4421438035j, -2.1419211349 + 2.2846100599j, -2.1375807748 + 1.3051226213j,
          -2.1168492122 + 0.4211578802j)  # fmt: skip
_RESIDUES = (-0.33384445 + 1.26752497j, 5.37167098 - 10.66509867j, -15.68494704 + 31.80600109j,
             10.65046122 - 50.53005601j)  # fmt: skip
_NOISE = {"squared_exponential": 1e-10, "matern12": 0.0, "matern32": 1e-13, "matern52": 1e-12}  # keeps Q positive


class Chain(NamedTuple):
    """Stationary chain of all latents together.

    Attributes
    ----------
    A, Q : (D, D), dynamics and noise of one bin
    Q0 : (D, D), stationary covariance
    readout : (n_latents, D)
    """

    A: np.ndarray
    Q: np.ndarray
    Q0: np.ndarray
    readout: np.ndarray


def covariance(kernel: str, timescale: np.ndarray, white: float, n_times: int) -> np.ndarray:
    """K (n_latents, n_times, n_times) for timescales (n_latents,) in bins.

    Examples
    --------
    >>> covariance("matern12", np.array([1.0]), 0.5, 2).round(3).tolist()
    [[[1.0, 0.184], [0.184, 1.0]]]
    """
    return covariance_and_slope(kernel, timescale, white, n_times)[0]


def covariance_and_slope(
    kernel: str, timescale: np.ndarray, white: float, n_times: int
) -> tuple[np.ndarray, np.ndarray]:
    """K and dK / d log tau, both (n_latents, n_times, n_times)."""
    r = np.arange(n_times) / np.asarray(timescale, float)[:, None]
    if kernel == "squared_exponential":
        kappa = np.exp(-0.5 * r**2)
        slope = r**2 * kappa
    elif kernel == "matern12":
        kappa = np.exp(-r)
        slope = r * kappa
    elif kernel == "matern32":
        a = np.sqrt(3) * r
        kappa, slope = (1 + a) * np.exp(-a), a**2 * np.exp(-a)
    else:
        a = np.sqrt(5) * r
        kappa, slope = (1 + a + a**2 / 3) * np.exp(-a), a**2 * (1 + a) / 3 * np.exp(-a)
    kappa, slope = (1 - white) * kappa, (1 - white) * slope
    kappa[:, 0] += white
    lag = np.abs(np.arange(n_times)[:, None] - np.arange(n_times))
    return kappa[:, lag], slope[:, lag]


def chain(kernel: str, timescale: np.ndarray, white: float) -> Chain:
    """The latents without their white part as a chain; the readout has the variance 1 - white.

    Examples
    --------
    >>> made = chain("matern12", np.array([1.0, 2.0]), 0.0)
    >>> made.A.round(3).tolist(), made.readout.tolist()
    ([[0.368, 0.0], [0.0, 0.607]], [[1.0, 0.0], [0.0, 1.0]])
    """
    F, Q0, c = _unit(kernel)
    keep = 1 - _NOISE[kernel]
    A = [np.sqrt(keep) * expm(F / tau) for tau in timescale]
    Q = [Q0 - one @ Q0 @ one.T for one in A]
    readout = np.sqrt(1 - white) * block_diag(*[c[None]] * len(A))
    return Chain(block_diag(*A), block_diag(*Q), block_diag(*[Q0] * len(A)), readout)


@cache
def _unit(kernel: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, stationary covariance and readout of ds = F s dt + noise, for a timescale of 1."""
    if kernel == "matern12":
        return -np.eye(1), np.eye(1), np.ones(1)
    if kernel == "matern32":
        return np.sqrt(3) * np.array([[0.0, 1.0], [-1.0, -2.0]]), np.eye(2), np.array([1.0, 0.0])
    if kernel == "matern52":
        F = np.sqrt(5) * np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -3.0, -3.0]])
        return F, np.array([[1.0, 0.0, -1 / 3], [0.0, 1 / 3, 0.0], [-1 / 3, 0.0, 1.0]]), np.array([1.0, 0.0, 0.0])
    F = block_diag(*[[[p.real, p.imag], [-p.imag, p.real]] for p in _POLES])
    c = np.array([(2 * r.real, 2 * r.imag) for r in _RESIDUES]).ravel()
    drive = np.tile([1.0, 0.0], len(_POLES))
    root = np.linalg.cholesky(solve_continuous_lyapunov(F, -np.outer(drive, drive)))
    return np.linalg.solve(root, F @ root), np.eye(len(F)), root.T @ c
