"""A reducer on an activity that is not in memory: blocks of it are read once, and trajectories stay lazy.

Works with a reducer that has ``fit_blocks``, such as PCA, alone or after transformers that learn nothing.
Not here: what is learned (``trajectories.moments``), and reducers that need all trials at once (``reduce``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import SchemaError
from ..datasets.preprocess import ThreeAxes
from .steps import steps


def can_stream(activity: xr.DataArray, reducer: Any) -> bool:
    """Whether a reducer learns from blocks of this activity, which is lazy, and so need not load it.

    Examples
    --------
    >>> from .trajectories import make_reducer
    >>> lazy = xr.DataArray(dask.array.ones((4, 3, 2)), dims=("trial", "time", "unit"))
    >>> can_stream(lazy, make_reducer("pca")), can_stream(lazy.compute(), make_reducer("pca"))
    (True, False)
    """
    *before, last = steps(reducer, inside_searches=False)
    return (
        isinstance(activity.data, dask.array.Array)
        and hasattr(last, "fit_blocks")
        and all(isinstance(step, ThreeAxes) and type(step).fit is ThreeAxes.fit for step in before)
    )


def stream(activity: xr.DataArray, reducer: Any, in_fit: np.ndarray) -> tuple[Any, dask.array.Array]:
    """Fit on blocks of the marked trials, in one pass, and carry all trials through, lazily.

    Parameters
    ----------
    activity : (trial, time, unit), lazy
    reducer : as in ``can_stream``; it is cloned
    in_fit : (n_trials,) bool

    Returns
    -------
    the fitted last step, and latents (n_trials, n_times, n_latents), one block for each block of activity. A block
    with NaN is refused when it is computed

    Raises
    ------
    SchemaError : NaN, with the trials; whatever the reducer refuses
    """
    *before, last = [clone(step) for step in steps(reducer)]
    data = activity.data.rechunk({1: -1, 2: -1} if before else {2: -1})  # smoothing needs all bins of a trial
    for step in before:
        step.n_features_in_ = data.shape[2]
    ids = activity["trial"].to_numpy()
    session = activity.attrs["session"]

    def prepared(block: np.ndarray) -> np.ndarray:
        for step in before:
            block = step.transform(block)
        return block

    fitted_on = data if in_fit.all() else data[np.flatnonzero(in_fit)]
    loads, trials = _blocks(fitted_on, ids[in_fit], prepared)
    fitted = last.fit_blocks(loads, trials=trials)

    def latents(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        start, stop = block_info[0]["array-location"][0]
        _refuse_nan(block, ids[start:stop], session)
        return fitted.transform(prepared(block))

    n_latents = fitted.loadings_.shape[1]
    chunks = (*data.chunks[:2], (n_latents,))
    meta = np.empty((0, 0, 0))
    return fitted, dask.array.map_blocks(latents, data, chunks=chunks, dtype=np.float64, meta=meta)


def _blocks(
    data: dask.array.Array, ids: np.ndarray, prepared: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[Callable[[], np.ndarray]], list[np.ndarray]]:
    """A function that loads each block, and the ids of its trials."""
    edges = np.concatenate([[0], np.cumsum(data.chunks[0])])
    loads: list[Callable[[], np.ndarray]] = []
    trials = []
    for row, column in np.ndindex(data.numblocks[:2]):
        block = data.blocks[row, column, 0]
        loads.append(partial(_load, block, prepared))
        trials.append(ids[edges[row] : edges[row + 1]])
    return loads, trials


def _load(block: dask.array.Array, prepared: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return prepared(block.compute(scheduler="synchronous"))  # by a thread of our own


def _refuse_nan(block: np.ndarray, ids: np.ndarray, session: str) -> None:
    if block.dtype.kind == "f" and np.isnan(block).any():
        absent = ids[np.isnan(block).any(axis=(1, 2))]
        raise SchemaError(
            f"session {session!r}: {len(absent)} trials of a block hold NaN (bins outside the recording, or missing "
            f"samples): trial {', '.join(map(str, absent[:5]))}{', …' if len(absent) > 5 else ''}. "
            f"Leave them out, or use a shorter window."
        )
