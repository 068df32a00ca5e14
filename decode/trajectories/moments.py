"""Mean and covariance of units over any number of bins, in one pass over blocks of trials; and leading eigenvectors.

Sums are taken of x - shift, the shift near the mean, so that little cancels; they are accumulated in float64. Products
are taken in float64 too, except where float32 loses nothing or next to nothing: of small integers, where they are
exact, and of float32 activity, over about as many bins as units, or 1024, at a time, where their rounding averages out.
Not here: names of trials, and laziness (``decode.streaming``).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.linalg.blas import dsyrk, ssyrk
from scipy.sparse.linalg import ArpackError, eigsh
from threadpoolctl import threadpool_limits

Answer = TypeVar("Answer")
MOST_ROWS = 1024
EXACT_BELOW = 2.0**24  # sums of integers below it are exact in float32
FEW = 10  # a Lanczos iteration pays where at most one in so many eigenvectors is asked for
SMALL_COVARIANCE = 500


class Moments(NamedTuple):
    """Sums over bins of y = x - shift.

    Attributes
    ----------
    n : how many bins
    total : (n_units,), sum of y
    cross : (n_units, n_units), sum of y y', upper triangle
    """

    n: int
    total: np.ndarray
    cross: np.ndarray


def shift_near(block: np.ndarray) -> np.ndarray:
    """A constant for each unit near its mean, (n_units,) float64: whole for integers, exact for a constant unit.

    Examples
    --------
    >>> shift_near(np.array([[[1, 4], [2, 4], [2, 4]]])).tolist()
    [2.0, 4.0]
    """
    rows = block.reshape(-1, block.shape[-1])
    shift = rows.mean(axis=0, dtype=np.float64)
    if rows.dtype.kind != "f":
        return np.rint(shift)
    if rows.dtype == np.float32:
        shift = shift.astype(np.float32).astype(np.float64)
    return np.where(rows.min(axis=0) == rows.max(axis=0), rows[0], shift)


def block_moments(block: np.ndarray, shift: np.ndarray) -> Moments:
    """Moments of all bins of a block (n_trials, n_times, n_units); NaN or infinity in it shows in ``total``."""
    rows = block.reshape(-1, block.shape[-1])
    n_units = rows.shape[1]
    most = max(MOST_ROWS, n_units)  # many units: so that adding n_units² sums is cheap beside making them
    dtype = np.float32 if _fits_float32(rows, shift, most) else np.float64
    most = MOST_ROWS if dtype is np.float64 else most
    product = ssyrk if dtype is np.float32 else dsyrk
    shift = shift.astype(dtype)
    kept: np.ndarray = np.empty((most, n_units), dtype)
    ones: np.ndarray = np.ones(most, dtype)
    total, cross = np.zeros(n_units), np.zeros((n_units, n_units), order="F")
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        y = kept[: len(part)]
        np.subtract(part, shift, out=y, casting="same_kind")
        total += ones[: len(part)] @ y
        if dtype is np.float64:
            cross = product(1.0, y.T, 1.0, cross, overwrite_c=1)
        else:
            cross += product(1.0, y.T)
    return Moments(len(rows), total, cross)


def _fits_float32(rows: np.ndarray, shift: np.ndarray, most: int) -> bool:
    """Whether products over ``most`` bins may be taken in float32."""
    if rows.dtype == np.float32:
        return True
    if rows.dtype.kind not in "iub" or rows.dtype.itemsize > 4 or not rows.size:
        return False
    furthest = max(float(rows.max()) - shift.min(), shift.max() - float(rows.min()))
    return furthest**2 * most < EXACT_BELOW


def map_in_order(
    function: Callable[[Callable[[], np.ndarray]], Answer], loads: Sequence[Callable[[], np.ndarray]], *, n_workers: int
) -> Iterator[Answer]:
    """``function`` of each load in order, computed by threads that are at most ``n_workers`` ahead.

    Linear algebra inside uses one thread each, so that the answer does not depend on ``n_workers``.
    """
    left: Iterator[Callable[[], np.ndarray]] = iter(loads)
    waiting: deque[Future[Answer]] = deque()
    with threadpool_limits(limits=1), ThreadPoolExecutor(n_workers) as pool:
        try:
            waiting.extend(pool.submit(function, load) for load in islice(left, n_workers))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(function, load) for load in islice(left, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()


def covariance(moments: Moments, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_units,) and covariance (n_units, n_units), with n - 1, of the bins."""
    offset = moments.total / moments.n
    upper = moments.cross - moments.n * np.outer(offset, offset)
    upper /= max(moments.n - 1, 1)
    cov = np.triu(upper)
    cov += np.triu(upper, 1).T
    return shift + offset, cov


def leading(cov: np.ndarray, n_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (n_latents,), descending, of a covariance, and their eigenvectors (n_units, n_latents).

    Of many units and few latents by a Lanczos iteration to machine precision, which costs a few hundred products
    with one vector; else, and where that does not converge, of all.
    """
    if len(cov) > SMALL_COVARIANCE and n_latents * FEW <= len(cov):
        start = np.random.default_rng(0).normal(size=len(cov))
        try:
            values, vectors = eigsh(cov, k=n_latents, v0=start, tol=0, ncv=min(len(cov), max(4 * n_latents, 40)))
            return np.maximum(values[::-1], 0), vectors[:, ::-1]
        except ArpackError:
            pass  # near ties: all eigenvectors are found below
    values, vectors = np.linalg.eigh(cov)
    return np.maximum(values[::-1][:n_latents], 0), vectors[:, ::-1][:, :n_latents]
