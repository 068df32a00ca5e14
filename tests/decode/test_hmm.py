"""Gaussian HMM: the sums over all sequences written out, hmmlearn's figures, EM that never falls, states recovered."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.hmm import GaussianHMM
from mitral.decode.trajectories.state_sequences import log_likelihood, most_likely, states


def chain(seed, *, n_trials=30, n_times=25, n_units=8, n_states=3, apart=2.0):
    """Activity, true states and parameters (start, transition, means, variances); states come in order."""
    rng = np.random.default_rng(seed)
    transition = 0.85 * np.eye(n_states) + 0.15 * np.roll(np.eye(n_states), 1, axis=1)
    start = np.array([0.9] + [0.1 / (n_states - 1)] * (n_states - 1))
    means, variances = 4 + apart * rng.normal(size=(n_states, n_units)), rng.uniform(0.5, 2, (n_states, n_units))
    s = np.empty((n_trials, n_times), int)
    s[:, 0] = rng.choice(n_states, n_trials, p=start)
    for t in range(1, n_times):
        s[:, t] = [rng.choice(n_states, p=transition[k]) for k in s[:, t - 1]]
    X = means[s] + np.sqrt(variances[s]) * rng.normal(size=(n_trials, n_times, n_units))
    return X, s, (start, transition, means, variances)


def with_parameters(start, transition, means, variances):
    """A model that has not learned but been told."""
    model = GaussianHMM(len(start))
    model.n_features_in_, model.mean_ = means.shape[1], means.mean(axis=0)
    model.start_probabilities_, model.transition_, model.means_, model.variances_ = start, transition, means, variances
    return model


def every_sequence(x, start, transition, means, variances):
    """Posterior, expected passages, log p(x) and the best sequence from all sequences of a trial."""
    n_times, n_states = len(x), len(start)
    density = norm.logpdf(x[:, None], means, np.sqrt(variances))
    density = np.where(np.isnan(density), 0.0, density).sum(axis=2)
    log_start, log_transition = np.log(np.maximum(start, 1e-300)), np.log(np.maximum(transition, 1e-300))
    posterior, passages, best = np.zeros((n_times, n_states)), np.zeros((n_states, n_states)), (-np.inf, ())
    total = 0.0
    for path in product(range(n_states), repeat=n_times):
        p = log_start[path[0]] + density[np.arange(n_times), path].sum()
        p += sum(log_transition[i, j] for i, j in zip(path, path[1:], strict=False))
        best = max(best, (p, path))
        posterior[np.arange(n_times), path] += np.exp(p)
        for i, j in zip(path, path[1:], strict=False):
            passages[i, j] += np.exp(p)
        total += np.exp(p)
    return posterior / total, passages / total, np.log(total), best[1]


def holed(X):
    """A short trial, a missing bin, a missing unit, a single missing number."""
    X = X.copy()
    X[1, 4:] = np.nan
    X[2, 2] = np.nan
    X[3, :, 1] = np.nan
    X[4, 3, 0] = np.nan
    return X


def test_posterior_likelihood_and_best_sequence_are_the_sums_over_all_sequences():
    """3 states and 6 bins: 729 sequences written out, for whole, short and holed trials."""
    X, _, truth = chain(0, n_trials=6, n_times=6, n_units=2, apart=0.7)
    X = holed(X)
    model = with_parameters(*truth)
    posterior, path, log_p = model.transform(X), model.predict(X), model.log_likelihood(X)
    for trial, x in enumerate(X):
        x = x[:4] if trial == 1 else x
        expected, _, total, best = every_sequence(x, *truth)
        assert_allclose(posterior[trial, : len(x)], expected, atol=1e-12)
        assert_allclose(log_p[trial], total, rtol=1e-12)
        assert_array_equal(path[trial, : len(x)], best)
    assert np.isnan(posterior[1, 4:]).all() and (path[1, 4:] == -1).all()


def test_expected_passages_are_the_sums_over_all_sequences_of_the_bins_that_a_trial_has():
    """A short trial adds only its own passages."""
    X, _, truth = chain(1, n_trials=2, n_times=6, n_units=2, apart=0.7)
    density = norm.logpdf(X[:, :, None], truth[2], np.sqrt(truth[3])).sum(axis=3)
    is_inside = np.ones((2, 6), bool)
    is_inside[1, 3:] = False
    found = states(np.where(is_inside[:, :, None], density, 0.0), is_inside, truth[0], truth[1])
    expected = every_sequence(X[0], *truth)[1] + every_sequence(X[1, :3], *truth)[1]
    assert_allclose(found.transitions, expected, atol=1e-12)
    assert_allclose(found.transitions.sum(), 5 + 2)


def test_likelihoods_of_any_size_do_not_underflow():
    """Densities of exp(-100000) and passages that cannot be: finite, and the impossible sequence has no part."""
    density = np.array([[[-1e5, -2e5], [-3e5, -1e5], [-1e5, -9e5]]])
    transition = np.array([[0.5, 0.5], [0.0, 1.0]])
    found = states(density, np.ones((1, 3), bool), np.array([1.0, 0.0]), transition)
    assert_allclose(found.probability[0], [[1, 0], [1, 0], [1, 0]])
    assert_allclose(found.log_likelihood, -5e5 + np.log(0.25))
    assert_allclose(log_likelihood(density, np.array([1.0, 0.0]), transition), found.log_likelihood)
    assert_array_equal(most_likely(density, np.array([1.0, 0.0]), transition), [[0, 0, 0]])


def peer_model(hmmlearn, start, transition, means, variances, **settings):
    """hmmlearn's model with these parameters and no prior beliefs."""
    peer = hmmlearn.GaussianHMM(
        len(start), covariance_type="diag", covars_prior=0.0, covars_weight=1.0, min_covar=1e-12, init_params="",
        **settings,
    )  # fmt: skip
    peer.startprob_, peer.transmat_, peer.means_, peer.covars_ = start, transition, means, variances
    return peer


def test_likelihood_posterior_and_sequence_are_those_of_hmmlearn():
    """The same parameters give the same figures to 1e-8, over trials of unequal length."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    X, _, truth = chain(2, n_trials=12, apart=0.6)
    lengths = np.random.default_rng(0).integers(1, 26, 12)
    X[np.arange(25) >= lengths[:, None]] = np.nan
    flat = X[~np.isnan(X).any(axis=2)]
    peer, model = peer_model(hmmlearn, *truth), with_parameters(*truth)
    log_p, posterior = peer.score_samples(flat, lengths)
    latents = model.transform(X)
    assert_allclose(model.log_likelihood(X).sum(), log_p, rtol=1e-10)
    assert_allclose(latents[~np.isnan(latents).any(axis=2)], posterior, atol=1e-8)
    path = model.predict(X)
    assert_array_equal(path[path >= 0], peer.predict(flat, lengths))


def test_learning_is_that_of_hmmlearn():
    """EM of hmmlearn from where mitral starts gives the same parameters and the same likelihood at every iteration."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    X, _, _ = chain(3, n_trials=15, apart=0.8)
    first = GaussianHMM(3, n_restarts=1, max_iter=1, variance_floor=1e-9).fit(X)
    settings = {"n_iter": 20, "tol": -np.inf, "params": "stmc"}
    told = first.start_probabilities_, first.transition_, first.means_, first.variances_
    peer = peer_model(hmmlearn, *told, **settings).fit(X.reshape(-1, 8), [25] * 15)
    model = GaussianHMM(3, n_restarts=1, max_iter=21, tol=1e-300, variance_floor=1e-9).fit(X)
    assert_allclose(model.log_likelihoods_[:20], list(peer.monitor_.history), rtol=1e-9)
    order = [int(np.abs(peer.means_ - mean).sum(axis=1).argmin()) for mean in model.means_]
    assert_allclose(model.means_, peer.means_[order], atol=1e-7)
    assert_allclose(model.variances_, np.array([np.diag(c) for c in peer.covars_])[order], atol=1e-7)
    assert_allclose(model.transition_, peer.transmat_[np.ix_(order, order)], atol=1e-7)


@pytest.mark.parametrize("n_states", [2, 5])
def test_em_never_lowers_the_likelihood(n_states):
    """With holes and with more states than there are; the trace ends where the score says."""
    X = holed(chain(4, n_trials=12, apart=0.8)[0])
    model = GaussianHMM(n_states, n_restarts=2).fit(X)
    assert (np.diff(model.log_likelihoods_) >= 0).all() and len(model.log_likelihoods_) > 3
    assert_allclose(model.log_likelihood(X).sum(), model.log_likelihoods_[-1], rtol=1e-10)
    assert model.log_likelihoods_[-1] == model.log_likelihood_of_starts_.max()


def test_states_and_parameters_are_recovered():
    """Ten simulations: share of bins given their true state, transitions and means; with their standard error."""
    share, passages, patterns = [], [], []
    for seed in range(10):
        X, s, (_, transition, means, _) = chain(seed, n_trials=40, apart=1.0)
        model = GaussianHMM(3, n_restarts=3).fit(X)
        order = [int(np.abs(model.means_ - mean).sum(axis=1).argmin()) for mean in means]
        share.append(np.mean(np.argsort(order)[model.predict(X)] == s))
        passages.append(np.abs(model.transition_[np.ix_(order, order)] - transition).max())
        patterns.append(1 - np.sum((model.means_[order] - means) ** 2) / np.sum((means - means.mean(axis=0)) ** 2))
    error = np.std(share, ddof=1) / np.sqrt(10)
    assert np.mean(share) - 3 * error > 0.95 and error < 0.02
    assert np.mean(patterns) > 0.98 and np.mean(passages) < 0.05  # 1000 bins: standard error of a passage 0.02


def test_held_out_likelihood_prefers_the_true_number_of_states():
    """Two states are too few for three, on trials that were not fitted."""
    X, _, _ = chain(5, n_trials=40)
    two, three = (GaussianHMM(k).fit(X[:30]).score(X[30:]) for k in (2, 3))
    assert three > two + 0.3


def test_states_come_in_the_order_of_time():
    """Trials that pass through three states have them numbered in that order, whatever the seed."""
    rng = np.random.default_rng(0)
    X = np.repeat(3 * rng.normal(size=(3, 6)), 5, axis=0) + rng.normal(size=(10, 15, 6))
    for seed in range(3):
        path = GaussianHMM(3, random_state=seed).fit(X).predict(X)
        assert_array_equal(path, np.broadcast_to(np.repeat([0, 1, 2], 5), (10, 15)))


def test_a_missing_unit_is_predicted_by_the_state():
    """Hidden from the model, its mean in the state of the bin is given back."""
    X, s, (_, _, means, _) = chain(6)
    model = GaussianHMM(3).fit(X)
    hidden = X.copy()
    hidden[:, :, 0] = np.nan
    said = model.inverse_transform(model.transform(hidden))[:, :, 0]
    assert np.corrcoef(said.ravel(), means[s][:, :, 0].ravel())[0, 1] > 0.95


def test_a_silent_unit_does_no_harm():
    """A unit that never changes has a variance above 0, and the likelihood is finite, also when it starts to fire."""
    X, _, _ = chain(7, n_trials=10)
    X[:, :, 0] = 0
    model = GaussianHMM(3).fit(X)
    X[0, 3, 0] = 5
    assert np.isfinite(model.score(X)) and (model.variances_ > 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda X: X[:, :1], "longest trial of the fit has 1 bins"),
        (lambda X: np.ones_like(X), "all 8 units are constant"),
        (lambda X: np.where(np.arange(len(X))[:, None, None] == 2, np.nan, X), "1 trials are NaN .*position 2"),
        (lambda X: np.where(np.arange(8) == 5, np.nan, X), "unit at position 5 is NaN in all 4 trials"),
        (lambda X: X[:0], "at least one trial, bin and unit"),
        (lambda X: X[:1, :2], "2 bins in all cannot visit 3 states"),
        (lambda X: (X > 4)[:, :, :1].astype(float), "only 2 different patterns"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, said):
    """With what came and what to do."""
    X, _, _ = chain(8, n_trials=4)
    with pytest.raises(SchemaError, match=said):
        GaussianHMM(3).fit(change(X))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_latents": 0}, "n_latents must be a whole number of at least 1"),
        ({"n_restarts": 1.5}, "n_restarts must be a whole number"),
        ({"max_iter": True}, "max_iter must be a whole number"),
        ({"tol": 0}, "tol must be a positive number"),
        ({"variance_floor": -1.0}, "variance_floor must be a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    """At the fit, by name."""
    with pytest.raises(ConfigError, match=said):
        GaussianHMM(**settings).fit(chain(9, n_trials=4)[0])


def test_an_empty_trial_is_refused_in_the_transform():
    """It has no states."""
    X, _, _ = chain(10, n_trials=4)
    model = GaussianHMM(2).fit(X)
    with pytest.raises(SchemaError, match="1 trials are NaN in every bin and unit, the first at position 0"):
        model.predict(np.full((1, 25, 8), np.nan))
