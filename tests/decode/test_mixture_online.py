"""One bin at a time: the posterior of the mixture of linear dynamical systems is the one that whole trials give."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.errors import SchemaError
from mitral.decode.trajectories.missing import observed
from mitral.decode.trajectories.mixture_em import Dynamics, Loadings
from mitral.decode.trajectories.mixture_fit import log_joint
from mitral.decode.trajectories.mixture_online import MixtureOnline

from .test_mixture_em import a_model


@pytest.fixture
def model():
    """Dynamics of 5 conditions, 9 bins, 3 latents; 7 units; and 4 trials."""
    rng = np.random.default_rng(0)
    dynamics, loadings = a_model(rng, 5, 9, 3, 7)
    return dynamics, loadings, rng.normal(size=(4, 9, 7))


def test_bin_by_bin_is_the_posterior_of_whole_trials(model):
    """At every bin of every trial, after a reset."""
    dynamics, loadings, X = model
    log_p = log_joint(observed(X), loadings, dynamics)
    expected = np.exp(log_p - np.logaddexp.reduce(log_p, axis=2, keepdims=True))
    online = MixtureOnline(loadings, dynamics)
    for trial, answer in zip(X, expected, strict=True):
        online.reset()
        assert_allclose([online.update(x) for x in trial], answer, atol=1e-12)


def test_bad_bins_are_refused_and_leave_the_state(model):
    """Other units, NaN, and a bin too many."""
    dynamics, loadings, X = model
    online, clean = MixtureOnline(loadings, dynamics), MixtureOnline(loadings, dynamics)
    with pytest.raises(SchemaError, match="takes 7 finite numbers, got shape .6,."):
        online.update(X[0, 0, :6])
    with pytest.raises(SchemaError, match="takes 7 finite numbers"):
        online.update(np.full(7, np.nan))
    for x in X[0]:
        assert_array_equal(online.update(x), clean.update(x))
    with pytest.raises(SchemaError, match="a trial has 9 bins, and this is one more"):
        online.update(X[0, 0])


def test_an_update_takes_less_than_a_tenth_of_a_millisecond():
    """50 odors, 8 latents, 200 units: the best of 20 rounds of 40 updates, so that a busy machine does not count."""
    rng = np.random.default_rng(1)
    dynamics = Dynamics(
        np.broadcast_to(0.5 * np.eye(8), (50, 8, 8)), rng.normal(size=(50, 40, 8)),
        np.broadcast_to(np.eye(8), (50, 8, 8)), rng.normal(size=(50, 8)), np.broadcast_to(np.eye(8), (50, 8, 8)),
    )  # fmt: skip
    online = MixtureOnline(Loadings(rng.normal(size=(200, 8)), np.zeros(200), np.ones(200)), dynamics)
    X, seconds = rng.normal(size=(40, 200)), []
    for _ in range(20):
        online.reset()
        start = time.perf_counter()
        for x in X:
            online.update(x)
        seconds.append((time.perf_counter() - start) / 40)
    assert min(seconds) < 1e-4
