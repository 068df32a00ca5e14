"""The simulated latent space is reproducible, and does what its equations say."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.activity import traces_around
from mitral.datasets.errors import SchemaError, UnknownName
from mitral.datasets.schema import check_activity, check_session
from mitral.datasets.simulate import SIMULATORS
from mitral.datasets.simulate.latent_space import simulate_latent_space
from mitral.datasets.tables import resolve

SMALL = {"n_animals": 2, "n_odors": 3, "n_trials": 4, "n_units": 8, "n_times": 6}


def test_the_table_names_it():
    """By its name in SIMULATORS."""
    assert resolve("latent_space", SIMULATORS, what="simulator") is simulate_latent_space


def test_the_seed_decides_and_another_animal_leaves_the_others_as_they_were():
    """The same seed gives the same trials, another seed others; a third mouse changes neither of the first two."""
    one, again, other = (simulate_latent_space(random_state=seed, **SMALL) for seed in (0, 0, 1))
    more = simulate_latent_space(random_state=0, **SMALL | {"n_animals": 3})
    for name, X in one.trials.items():
        assert_array_equal(again.trials[name], X)
        assert_array_equal(more.trials[name], X)
        assert not np.array_equal(other.trials[name], X)


def test_latents_and_units_follow_the_equations():
    """Residuals of both equations have mean 0 and the stated variances, within four standard errors."""
    space = simulate_latent_space(random_state=2, n_animals=1, n_odors=2, n_trials=400, n_units=6, n_times=10)
    z, X = space.latents["mouse-1"], space.trials["mouse-1"]
    for k, odor in enumerate(space.odors):
        here = z[space.odor["mouse-1"] == odor]
        away = here[:, 1:] - here[:, :-1] @ space.A[k].T - space.b[k]
        n = len(here) * 9
        variance = np.diag(space.Q[k])
        assert (np.abs(away.mean(axis=(0, 1))) < 4 * np.sqrt(variance / n)).all()
        assert (np.abs(away.var(axis=(0, 1)) / variance - 1) < 4 * np.sqrt(2 / n)).all()
        assert (np.abs(here[:, 0].mean(axis=0) - space.x0[k]) < 4 * np.sqrt(variance / 400)).all()
    noise = X - z @ space.loadings["mouse-1"].T
    assert_allclose(noise.var(axis=(0, 1)), space.noise["mouse-1"], rtol=4 * np.sqrt(2 / 8000))
    assert np.linalg.norm(space.A, 2, axis=(1, 2)).max() < 1


def test_animals_differ_as_much_as_asked():
    """Difference 0 gives equal directions of loadings; the published 0.1 a correlation near 0.4."""
    def correlation(difference):
        space = simulate_latent_space(random_state=0, **SMALL | {"n_units": 200}, difference=difference)
        one, other = (C.ravel() for C in space.loadings.values())
        return np.corrcoef(one, other)[0, 1]

    assert correlation(0.0) > 0.99
    assert correlation(0.01) > correlation(0.1) > correlation(1.0) - 0.1


def test_the_input_grows_with_concentration():
    """b is scaled: half the concentration gives half the distance of the mean from that of no input."""
    space = simulate_latent_space(
        random_state=1, n_animals=1, n_odors=1, n_trials=3000, n_units=4, n_times=8, concentrations=(0.5, 1.0)
    )
    z, c = space.latents["mouse-1"], space.concentration["mouse-1"]
    rest = [space.x0[0]]
    for _ in range(7):
        rest.append(space.A[0] @ rest[-1])
    half, whole = (z[c == level].mean(axis=0) - rest for level in (0.5, 1.0))
    assert_allclose(2 * half, whole, atol=4 * 2 * np.sqrt(0.55 * 2 / 3000) + 0.02)


def test_activity_and_sessions_hold_the_trials():
    """Labelled activity without a copy; sessions in the schema, from which the same activity is cut."""
    space = simulate_latent_space(random_state=0, **SMALL)
    activity = space.activity("mouse-2")
    check_activity(activity)
    assert np.shares_memory(activity.to_numpy(), space.trials["mouse-2"])
    session = space.sessions["mouse-2"]
    check_session(session)
    cut = traces_around(session, event="odor_onset", window_s=(0.0, 0.06), bin_width_s=0.01)
    assert_allclose(cut.to_numpy(), activity.to_numpy(), rtol=1e-5, atol=1e-5)
    xr.testing.assert_equal(cut["odor"].reset_coords(drop=True), activity["odor"].reset_coords(drop=True))


def test_bad_settings_are_refused():
    """Sizes, latents, concentrations, and a session that is not there."""
    with pytest.raises(SchemaError, match="n_trials must be at least 1, got 0"):
        simulate_latent_space(random_state=0, n_trials=0)
    with pytest.raises(SchemaError, match="n_latents must be at least 3 and below n_units .40., got 2"):
        simulate_latent_space(random_state=0, n_latents=2)
    with pytest.raises(SchemaError, match="concentrations must be positive"):
        simulate_latent_space(random_state=0, concentrations=(0.0,))
    with pytest.raises(UnknownName, match="no session 'mouse-9'"):
        simulate_latent_space(random_state=0, **SMALL).activity("mouse-9")
