"""Concentration as a continuous condition, and mixtures of two odors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from mitral.align.mixture_concentration import ConcentrationLDS
from mitral.align.mixture_lds import MixtureLDS
from mitral.align.mixture_ratio import between, ratio_posterior
from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.simulate.latent_space import simulate_latent_space

LEVELS = (0.1, 0.2, 0.4, 0.7, 1.0)
HELD_OUT = 0.4


@pytest.fixture(scope="module")
def space():
    """Three mice, four odors at five concentrations, five trials of each."""
    return simulate_latent_space(
        random_state=0, n_animals=3, n_odors=4, n_trials=5, n_units=20, n_times=20, concentrations=LEVELS,
        process_noise=0.2,
    )  # fmt: skip


def part(space, keep, sessions=("mouse-1", "mouse-2")):
    """Trials, odors and concentrations of some sessions, of the trials that ``keep`` marks by concentration."""
    kept = {s: keep(space.concentration[s]) for s in sessions}
    columns = space.trials, space.odor, space.concentration
    return tuple({s: values[s][kept[s]] for s in sessions} for values in columns)


@pytest.fixture(scope="module")
def fitted(space):
    """Fitted on two mice, without the concentration that is held out; the third is added with two trials an odor."""
    X, odor, level = part(space, lambda c: c != HELD_OUT)
    aligner = ConcentrationLDS(3, degree=2).fit(X, odor, concentration=level)
    X, odor, level = part(space, lambda c: c == 1.0, ("mouse-3",))
    here = slice(0, 8)
    return aligner.add_session(
        "mouse-3", X["mouse-3"][here], odor["mouse-3"][here], concentration=level["mouse-3"][here]
    )


@pytest.mark.parametrize("session", ["mouse-1", "mouse-3"])
def test_an_odor_is_known_at_a_concentration_that_was_never_given(space, fitted, session):
    """Trials at the concentration left out of the fit: right odor in at least 0.8 of 20; standard error 0.09."""
    X, odor, _ = part(space, lambda c: c == HELD_OUT, (session,))
    assert np.mean(fitted.predict(session, X[session]) == odor[session]) >= 0.8


def test_concentration_is_read_in_a_new_animal(space, fitted):
    """Rank correlation with the true one over 100 trials, of which 92 were not seen: standard error 0.1."""
    said = fitted.predict_concentration("mouse-3", space.trials["mouse-3"])
    assert spearmanr(said, space.concentration["mouse-3"]).statistic > 0.6


def test_the_posterior_over_odors_is_the_sum_over_concentrations(space, fitted):
    """At every bin, and the whole sums to one."""
    X = space.trials["mouse-1"][:5]
    joint = fitted.posterior_over_time("mouse-1", X)
    assert joint.shape == (5, 20, 4, 15)
    assert_allclose(joint.sum(axis=(2, 3)), 1)
    assert_allclose(joint.sum(axis=3), fitted.predict_over_time("mouse-1", X), atol=1e-12)


def test_em_climbs_with_shared_dynamics(fitted):
    """The objective never falls where conditions of one odor share A, and b is a polynomial."""
    assert np.diff(fitted.objective_).min() > -1e-8 * abs(fitted.objective_[-1])


def test_a_polynomial_through_all_levels_is_free(space):
    """With as many functions as concentrations, the course of the mean of each condition is the best free one."""
    X, odor, level = part(space, lambda c: np.isin(c, (0.1, 1.0)))
    line = ConcentrationLDS(3, degree=1, n_levels=2, max_iterations=30).fit(X, odor, concentration=level)
    names = {s: np.char.add(odor[s], np.where(level[s] == 1.0, "/1", "/0")) for s in X}
    free = MixtureLDS(3, max_iterations=30).fit(X, names)
    assert_allclose(line.log_likelihood_[0], free.log_likelihood_[0], rtol=1e-9)
    assert free.log_likelihood_[-1] >= line.log_likelihood_[-1] - 1.0  # which has one A for both concentrations


def test_a_new_animal_may_come_without_labels(space, fitted):
    """From 40 trials of unknown odor and concentration: odors of the others at least 0.6, chance 0.25."""
    fitted.add_session("unlabelled", space.trials["mouse-3"][:40])
    said = fitted.predict("unlabelled", space.trials["mouse-3"][40:])
    assert np.mean(said == space.odor["mouse-3"][40:]) > 0.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concentration": None}, "needs an odor and a concentration for each trial"),
        ({"concentration": lambda c: {s: -v for s, v in c.items()}}, "session 'mouse-1' .* 100 are not positive"),
        ({"concentration": lambda c: {s: v[1:] for s, v in c.items()}}, "has 100 odors and concent.* of shape .99"),
        ({"concentration": lambda c: {s: v * 0 + 1 for s, v in c.items()}}, "odor 'odor-01' is there at 1 concentr"),
        ({"odor": lambda o: o | {"mouse-2": np.repeat(["p", "q"], 50)}}, "session 'mouse-1' has no odor in common"),
        ({"odor": lambda o: {"mouse-1": o["mouse-1"]}}, "session 'mouse-2' has "),
    ],
)
def test_bad_concentrations_are_refused(space, change, message):
    """Absent, not positive, too few for the polynomial; odors that are not shared."""
    X, odor, level = part(space, lambda c: c > 0)
    odor = change["odor"](odor) if "odor" in change else odor
    if "concentration" in change:
        level = change["concentration"] and change["concentration"](level)
    with pytest.raises(SchemaError, match=message):
        ConcentrationLDS(3).fit(X, odor, concentration=level)


def test_a_new_animal_stays_within_the_range(space, fitted):
    """Beyond the concentrations of the fit nothing is known; dynamics are not updated here."""
    X, odor = space.trials["mouse-3"][:2], space.odor["mouse-3"][:2]
    with pytest.raises(SchemaError, match="session 'n': concentration 50 lies beyond the range of the fit, 0.1 to 1"):
        fitted.add_session("n", X, odor, concentration=np.array([1.0, 50.0]))
    with pytest.raises(SchemaError, match="session 'n': ConcentrationLDS keeps its dynamics"):
        fitted.add_session("n", X, odor, concentration=np.ones(2), update_dynamics=True)
    with pytest.raises(ConfigError, match="degree .-1. is at least 0"):
        ConcentrationLDS(degree=-1).fit({}, {}, concentration={})


@pytest.fixture(scope="module")
def odors():
    """Three mice, three odors far apart, twelve trials of each; fitted on all."""
    space = simulate_latent_space(
        random_state=3, n_animals=3, n_odors=3, n_trials=12, n_units=20, n_times=30, process_noise=0.2
    )
    return space, MixtureLDS(3).fit(space.trials, space.odor)


def test_the_ratio_of_two_odors_is_read(odors):
    """Trials simulated between two odors: the posterior mean of the share grows with the share, within 0.15 of it."""
    space, aligner = odors
    rng = np.random.default_rng(0)
    C, offset, R = aligner.loadings_["mouse-1"]
    shares = np.array([0.0, 0.5, 1.0])
    A, b, Q, x0, Q0 = between(aligner.dynamics_, 0, 2, np.repeat(shares, 20))
    z = np.empty((60, 30, 3))
    z[:, 0] = x0 + np.einsum("nij,nj->ni", np.linalg.cholesky(Q0), rng.normal(size=(60, 3)))
    for t in range(1, 30):
        noise = np.einsum("nij,nj->ni", np.linalg.cholesky(Q), rng.normal(size=(60, 3)))
        z[:, t] = np.einsum("nij,nj->ni", A, z[:, t - 1]) + b[:, t - 1] + noise
    X = z @ C.T + offset + np.sqrt(R) * rng.normal(size=(60, 30, 20))
    posterior = ratio_posterior(aligner, "mouse-1", X, "odor-01", "odor-03")
    assert_allclose(posterior.sum(axis=2), 1)
    read = (posterior[:, -1] @ np.linspace(0, 1, 21)).reshape(3, 20).mean(axis=1)
    assert_allclose(read, shares, atol=0.15)


def test_bad_mixtures_are_refused(odors):
    """One odor twice, an odor that is not there, shares beyond one."""
    space, aligner = odors
    X = space.trials["mouse-1"][:2]
    with pytest.raises(SchemaError, match="session 'mouse-1': a mixture has two odors, and both are 'odor-01'"):
        ratio_posterior(aligner, "mouse-1", X, "odor-01", "odor-01")
    with pytest.raises(SchemaError, match="odor 'odor-09' is not in the fit"):
        ratio_posterior(aligner, "mouse-1", X, "odor-01", "odor-09")
    with pytest.raises(SchemaError, match="ratios are shares from 0 to 1"):
        ratio_posterior(aligner, "mouse-1", X, "odor-01", "odor-02", ratios=np.array([2.0]))
