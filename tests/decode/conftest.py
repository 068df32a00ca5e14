"""Inputs that tests of decoding share: small activities, and a map over two processes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import xarray as xr


@pytest.fixture
def make_activity():
    """A function that makes activity: noise, to which ``strength`` adds a pattern of units for each odor."""

    def make(*, n_trials=40, n_times=2, n_units=6, n_odors=2, strength=0.0, seed=0, session="s", animal="m"):
        rng = np.random.default_rng(seed)
        odor = rng.permutation(np.arange(n_trials) % n_odors)
        pattern = strength * rng.normal(size=(n_odors, n_units))
        columns = {
            "odor": np.array([f"odor {k}" for k in range(n_odors)])[odor],
            "dose": rng.permutation(np.linspace(-1.0, 1.0, n_trials)),
            "block": np.arange(n_trials) * 5 // n_trials,
        }
        return xr.DataArray(
            rng.normal(size=(n_trials, n_times, n_units)) + pattern[odor][:, None],
            dims=("trial", "time", "unit"),
            coords={
                "trial": 100 + np.arange(n_trials),
                "time": (np.arange(n_times) + 0.5) * 0.1,
                "unit": [f"{session}/u{u}" for u in range(n_units)],
                **{name: ("trial", values) for name, values in columns.items()},
            },
            attrs={
                "session": session,
                "animal": animal,
                "event": "onset",
                "bin_width_s": 0.1,
                "window_s": [0.0, 0.1 * n_times],
                "units": "a.u.",
            },
        )

    return make


@pytest.fixture(scope="session")
def map_over_processes():
    """As the builtin ``map``, over two worker processes."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map
