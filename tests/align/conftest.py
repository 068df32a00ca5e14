"""What the tests of alignment share: cohorts whose truth is known."""

import numpy as np
import pytest
import xarray as xr


def activity_of(values, labels, *, session, animal, column="odor"):
    """An activity (trial, time, unit) with one label for each trial."""
    n_trials, n_times, n_units = values.shape
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials), "time": np.arange(n_times) * 0.1 + 0.05,
            "unit": [f"{session}-{u}" for u in range(n_units)], column: ("trial", labels),
        },
        attrs={"session": session, "animal": animal, "event": "odor", "bin_width_s": 0.1, "units": "a.u."},
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_activity():
    """The function ``activity_of``."""
    return activity_of


@pytest.fixture(scope="session")
def make_cohort():
    """A function: animals that see one latent geometry through units of their own; ``signal=0`` is noise alone."""

    def make(
        seed, *, n_animals=4, n_odors=6, n_trials=6, n_times=2, n_latents=3, signal=1.0, noise=0.5, sessions_each=1
    ):
        rng = np.random.default_rng(seed)
        latents = rng.normal(size=(n_odors, n_times, n_latents))
        odors = np.array([f"odor-{k:02d}" for k in range(n_odors)])
        cohort = {}
        for animal in range(n_animals):
            for part in range(sessions_each):
                n_units = 8 + animal + part
                loadings = rng.normal(size=(n_latents, n_units))
                position = rng.permutation(np.repeat(np.arange(n_odors), n_trials))
                shape = (len(position), n_times, n_units)
                values = signal * latents[position] @ loadings + noise * rng.normal(size=shape)
                name = f"mouse-{animal}" + (f"-{part}" if sessions_each > 1 else "")
                cohort[name] = activity_of(values, odors[position], session=name, animal=f"mouse-{animal}")
        return cohort

    return make
