"""Poisson HMM: hmmlearn's figures, EM that never falls, states of sparse counts recovered."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.hmm import GaussianHMM
from mitral.decode.trajectories.poisson_hmm import PoissonHMM


def chain(seed, *, n_trials=30, n_times=25, n_units=12, n_states=3, rate=0.5):
    """Counts, true states and parameters (start, transition, rates); about half a spike a bin."""
    rng = np.random.default_rng(seed)
    transition = 0.9 * np.eye(n_states) + 0.1 * np.roll(np.eye(n_states), 1, axis=1)
    start = np.array([0.9] + [0.1 / (n_states - 1)] * (n_states - 1))
    rates = rate * np.exp(rng.normal(size=(n_states, n_units)))
    s = np.empty((n_trials, n_times), int)
    s[:, 0] = rng.choice(n_states, n_trials, p=start)
    for t in range(1, n_times):
        s[:, t] = [rng.choice(n_states, p=transition[k]) for k in s[:, t - 1]]
    return rng.poisson(rates[s]), s, (start, transition, rates)


def with_parameters(start, transition, rates):
    """A model that has not learned but been told."""
    model = PoissonHMM(len(start))
    model.n_features_in_, model.mean_ = rates.shape[1], rates.mean(axis=0)
    model.start_probabilities_, model.transition_, model.rates_ = start, transition, rates
    return model


def peer_model(hmmlearn, start, transition, rates, **settings):
    """hmmlearn's model with these parameters and no prior beliefs."""
    peer = hmmlearn.PoissonHMM(len(start), lambdas_prior=0.0, lambdas_weight=0.0, init_params="", **settings)
    peer.startprob_, peer.transmat_, peer.lambdas_ = start, transition, rates
    return peer


def test_likelihood_posterior_and_sequence_are_those_of_hmmlearn():
    """The same parameters give the same figures to 1e-8, over trials of unequal length."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    Y, _, truth = chain(0, n_trials=12)
    Y, lengths = Y.astype(float), np.random.default_rng(0).integers(1, 26, 12)
    Y[np.arange(25) >= lengths[:, None]] = np.nan
    flat = Y[~np.isnan(Y).any(axis=2)].astype(int)
    peer, model = peer_model(hmmlearn, *truth), with_parameters(*truth)
    log_p, posterior = peer.score_samples(flat, lengths)
    latents = model.transform(Y)
    assert_allclose(model.log_likelihood(Y).sum(), log_p, rtol=1e-10)
    assert_allclose(latents[~np.isnan(latents).any(axis=2)], posterior, atol=1e-8)
    path = model.predict(Y)
    assert_array_equal(path[path >= 0], peer.predict(flat, lengths))


def test_learning_is_that_of_hmmlearn():
    """EM of hmmlearn from where mitral starts gives the same likelihood at every iteration."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    Y, _, _ = chain(1, n_trials=15)
    first = PoissonHMM(3, n_restarts=1, max_iter=1, rate_floor=1e-9).fit(Y)
    told = first.start_probabilities_, first.transition_, first.rates_
    peer = peer_model(hmmlearn, *told, n_iter=15, tol=-np.inf, params="stl").fit(Y.reshape(-1, 12), [25] * 15)
    model = PoissonHMM(3, n_restarts=1, max_iter=15, tol=1e-300, rate_floor=1e-9).fit(Y)
    assert_allclose(model.log_likelihoods_, list(peer.monitor_.history), rtol=1e-9)


@pytest.mark.parametrize("has_holes", [False, True])
def test_em_never_lowers_the_likelihood(has_holes):
    """The trace ends where the score says."""
    Y = chain(2, n_trials=12)[0].astype(float)
    if has_holes:
        Y[0, 9:] = Y[1, 3] = Y[2, :, 4] = np.nan
    model = PoissonHMM(4, n_restarts=2).fit(Y)
    assert (np.diff(model.log_likelihoods_) >= 0).all() and model.n_iter_ > 3
    assert_allclose(model.log_likelihood(Y).sum(), model.log_likelihoods_[-1], rtol=1e-10)


def test_states_of_sparse_counts_are_recovered_where_a_gaussian_fails():
    """Eight simulations: share of bins given their true state, and rates, with their standard error."""
    share, fit, of_gaussian = [], [], []

    def agreement(path, model_patterns, patterns, s):
        order = [int(np.abs(model_patterns - pattern).sum(axis=1).argmin()) for pattern in patterns]
        return np.mean(np.argsort(order)[path] == s), model_patterns[order]

    for seed in range(8):
        Y, s, (_, _, rates) = chain(seed)
        model, gaussian = PoissonHMM(3).fit(Y), GaussianHMM(3).fit(Y)
        right, found = agreement(model.predict(Y), model.rates_, rates, s)
        share.append(right)
        fit.append(1 - np.sum((found - rates) ** 2) / np.sum((rates - rates.mean(axis=0)) ** 2))
        of_gaussian.append(agreement(gaussian.predict(Y), gaussian.means_, rates, s)[0])
    error = np.std(share, ddof=1) / np.sqrt(8)
    assert np.mean(share) - 3 * error > 0.9 and error < 0.02
    assert np.mean(fit) > 0.95
    assert np.mean(of_gaussian) < np.mean(share)


def test_a_spike_of_a_silent_unit_rules_no_state_out():
    """Rates have a floor: the likelihood stays finite, and the unit is predicted to be almost silent."""
    Y = chain(3, n_trials=10)[0]
    Y[:, :, 0] = 0
    model = PoissonHMM(3).fit(Y)
    Y[0, 3, 0] = 2
    assert np.isfinite(model.score(Y)) and (model.rates_ > 0).all()
    assert model.inverse_transform(model.transform(Y))[:, :, 0].max() < 0.01


def test_what_cannot_be_learned_is_refused():
    """Negative values, in the fit and after it, and settings out of range."""
    Y = chain(4, n_trials=5)[0]
    with pytest.raises(SchemaError, match="PoissonHMM takes counts, and found -1"):
        PoissonHMM(2).fit(Y - 1.0)
    with pytest.raises(SchemaError, match="takes counts"):
        PoissonHMM(2, max_iter=2).fit(Y).transform(Y - 1.0)
    with pytest.raises(ConfigError, match="rate_floor must be a positive number"):
        PoissonHMM(2, rate_floor=0.0).fit(Y)
