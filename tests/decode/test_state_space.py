"""State-space decoders: against enumeration of all paths, against Poisson Bayes, and on walks with known truth."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal, poisson
from sklearn.covariance import ledoit_wolf

from mitral.datasets.errors import SchemaError
from mitral.decode.decoders.markov import forward, forward_backward
from mitral.decode.decoders.poisson_bayes import PoissonBayes
from mitral.decode.decoders.state_space import StateSpaceIdentity
from mitral.decode.decoders.state_space_position import StateSpacePosition


def trials_of_classes(*, n_trials=30, n_times=4, n_units=3, n_classes=3, seed=0):
    """Counts whose rates depend on class and bin: (X, y)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_trials) % n_classes
    return rng.poisson(2 * np.exp(0.5 * rng.normal(size=(n_classes, n_times, n_units)))[y]), y


def walks(*, n_trials=6, n_times=300, n_states=8, n_units=12, gain=1.5, seed=0):
    """Counts of units with one preferred place each, on a walk by single steps: (X, y)."""
    rng = np.random.default_rng(seed)
    y = np.zeros((n_trials, n_times), int)
    y[:, 0] = rng.integers(0, n_states, n_trials)
    for t in range(1, n_times):
        y[:, t] = np.clip(y[:, t - 1] + rng.integers(-1, 2, n_trials), 0, n_states - 1)
    tuning = 0.1 + gain * np.exp(-0.5 * (np.arange(n_states)[:, None] - rng.uniform(0, n_states, n_units)) ** 2)
    return rng.poisson(tuning[y]), y


def enumerated(log_likelihood, prior, transition):
    """Causal and whole-trial posteriors (n_times, n_states) of one trial, over all paths."""
    n_times, n_states = log_likelihood.shape
    causal, whole = np.zeros((2, n_times, n_states))
    for last in range(n_times):
        for path in product(range(n_states), repeat=last + 1):
            p = prior[path[0]] * np.exp(log_likelihood[0, path[0]])
            for t in range(1, last + 1):
                p *= transition[path[t - 1], path[t]] * np.exp(log_likelihood[t, path[t]])
            causal[last, path[-1]] += p
            if last == n_times - 1:
                for t, state in enumerate(path):
                    whole[t, state] += p
    return causal / causal.sum(axis=1, keepdims=True), whole / whole.sum(axis=1, keepdims=True)


def test_forward_and_backward_are_the_sums_over_all_paths():
    """Both posteriors, from each of 3^5 paths by itself."""
    rng = np.random.default_rng(0)
    log_likelihood, prior = rng.normal(size=(2, 5, 3)), rng.dirichlet(np.ones(3))
    transition = rng.dirichlet(np.ones(3), size=3)
    for trial in range(2):
        causal, whole = enumerated(log_likelihood[trial], prior, transition)
        assert_allclose(forward(log_likelihood, prior, transition)[trial], causal, rtol=1e-12)
        assert_allclose(forward_backward(log_likelihood, prior, transition)[trial], whole, rtol=1e-12)


def test_a_bin_that_says_nothing_is_bridged():
    """With flat likelihoods the posterior is the prior carried on by the transitions."""
    prior, transition = np.array([0.8, 0.2]), np.array([[0.9, 0.1], [0.3, 0.7]])
    got = forward(np.zeros((1, 3, 2)), prior, transition)[0]
    assert_allclose(got, [prior, prior @ transition, prior @ transition @ transition])


def test_likelihoods_too_small_for_a_float_do_no_harm():
    """A constant of -10,000 in every state cancels, over many bins."""
    log_likelihood = np.random.default_rng(0).normal(size=(1, 500, 2))
    prior, transition = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]])
    for posterior in (forward, forward_backward):
        small = posterior(log_likelihood - 10_000, prior, transition)
        assert_allclose(small, posterior(log_likelihood, prior, transition), rtol=1e-9)


def test_identity_is_the_product_of_bins_up_to_each():
    """At every bin: prior times the Poisson mass of every count so far, normalised."""
    X, y = trials_of_classes()
    fitted = StateSpaceIdentity().fit(X, y)
    grand = X.mean(axis=0)
    rates = np.array([(X[y == k].sum(axis=0) + grand) / (np.sum(y == k) + 1) for k in range(3)])
    mass = np.prod(poisson.pmf(X[:, None], rates), axis=3)  # (trial, class, time)
    joint = np.cumprod(mass, axis=2) / 3
    expected = (joint / joint.sum(axis=1, keepdims=True)).transpose(0, 2, 1)
    assert_allclose(fitted.predict_over_time(X), expected, rtol=1e-9, atol=1e-14)


def test_identity_at_the_last_bin_is_poisson_bayes_on_bins_side_by_side():
    """Two ways to the same posterior, decision and class."""
    X, y = trials_of_classes(n_trials=31)
    flat = X.reshape(31, -1)
    over, plain = StateSpaceIdentity().fit(X, y), PoissonBayes().fit(flat, y)
    assert_allclose(over.predict_proba(X), plain.predict_proba(flat), rtol=1e-9, atol=1e-14)
    assert_allclose(over.predict_over_time(X)[:, -1], over.predict_proba(X))
    assert_allclose(over.decision_function(X), plain.decision_function(flat))
    assert_array_equal(over.predict(X), plain.predict(flat))


def test_identity_of_two_classes_has_one_decision_column():
    """Positive for the second class."""
    X, y = trials_of_classes(n_classes=2)
    fitted = StateSpaceIdentity().fit(X, y)
    assert_array_equal(fitted.decision_function(X) > 0, fitted.predict(X) == 1)


def test_gaussian_identity_is_the_density_of_bins_up_to_each():
    """Traces: normal densities with one covariance, estimated from all residuals together."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = rng.normal(size=(24, 3, 2)) + rng.normal(size=(2, 3, 2))[y]
    fitted = StateSpaceIdentity("gaussian", prior_trials=0.5).fit(X, y)
    means = np.array([(X[y == k].sum(axis=0) + 0.5 * X.mean(axis=0)) / 12.5 for k in range(2)])
    covariance, _ = ledoit_wolf((X - means[y]).reshape(-1, 2), assume_centered=True)
    density = np.array(
        [[[multivariate_normal(means[k, t], covariance).pdf(x[t]) for t in range(3)] for k in range(2)] for x in X]
    )
    joint = np.cumprod(density, axis=2) / 2
    expected = (joint / joint.sum(axis=1, keepdims=True)).transpose(0, 2, 1)
    assert_allclose(fitted.predict_over_time(X), expected, rtol=1e-9, atol=1e-14)


def test_an_absent_bin_leaves_the_posterior_where_it_was():
    """NaN says nothing, in training and in test."""
    X, y = trials_of_classes()
    fitted = StateSpaceIdentity().fit(X, y)
    holed = X.astype(float)
    holed[:, 2, 1] = np.nan
    posterior = fitted.predict_over_time(holed)
    assert_allclose(posterior[:, 2], posterior[:, 1])
    holed[:, 2] = np.nan
    assert_allclose(fitted.predict_over_time(holed), posterior)
    assert_allclose(StateSpaceIdentity().fit(holed, y).predict_over_time(X)[:, 1], posterior[:, 1])


@pytest.mark.parametrize(
    ("parameters", "X", "y", "message"),
    [
        ({"observation": "binomial"}, np.ones((2, 2, 2)), [0, 1], "poisson or gaussian, got 'binomial'"),
        ({}, np.ones((2, 4)), [0, 1], "takes .n_trials, n_times, n_units., got shape .2, 4."),
        ({}, np.ones((2, 2, 2)), [[0, 1], [0, 1]], "one label for each of 2 trials, got shape .2, 2."),
        ({}, -np.ones((2, 2, 2)), [0, 1], "takes counts, and found -1"),
        ({"observation": "gaussian"}, np.ones((2, 2, 2)), [0, 1], "no unit varies around its mean"),
        ({}, np.full((2, 2, 2), np.nan), [0, 1], "trial at position 0 is NaN in every bin"),
        ({"prior_trials": -1.0}, np.ones((2, 2, 2)), [0, 1], "weight in trials above 0"),
    ],
)
def test_identity_refuses_what_it_cannot_learn_from(parameters, X, y, message):
    """Each with a message that says what to do."""
    with pytest.raises(SchemaError, match=message):
        StateSpaceIdentity(**parameters).fit(X, y)


def test_identity_refuses_other_units_bins_and_negative_counts_at_test():
    """What was fitted is what is taken."""
    X, y = trials_of_classes()
    fitted = StateSpaceIdentity().fit(X, y)
    with pytest.raises(SchemaError, match="fitted on 3 units and got 2"):
        fitted.predict(X[:, :, :2])
    with pytest.raises(SchemaError, match="fitted on 4 bins a trial and got 3"):
        fitted.predict(X[:, :3])
    with pytest.raises(SchemaError, match="takes counts, and found -6"):
        fitted.predict(X - 10)


def test_position_is_the_sum_over_all_paths():
    """The posterior of a fitted decoder, by enumeration with its own tables, causal and not."""
    X, y = walks(n_times=40, n_states=3, n_units=4)
    for is_causal in (True, False):
        fitted = StateSpacePosition(is_causal=is_causal).fit(X, y)
        test = X[:1, :5]
        terms = np.stack([poisson.logpmf(x, np.exp(fitted.weights_[0])).sum(axis=1) for x in test[0]])
        both = enumerated(terms, np.exp(fitted.log_prior_), fitted.transition_)
        assert_allclose(fitted.predict_proba(test)[0], both[0 if is_causal else 1], rtol=1e-9, atol=1e-14)


def test_transitions_and_occupancy_are_counted():
    """Moves between neighbouring known bins, one pseudo-count a state; none across trials or unknown bins."""
    y = np.array([[0.0, 1.0, 1.0, np.nan, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]])
    X = np.ones((2, 5, 1))
    X[1, 4] = np.nan
    fitted = StateSpacePosition().fit(X, y)
    moves = np.array([[1.0, 1.0], [1.0, 2.0]]) + 0.5  # from 0: 0 0, 0 1; from 1: 1 0, and 1 1 twice
    assert_allclose(fitted.transition_, moves / moves.sum(axis=1, keepdims=True))
    assert_allclose(np.exp(fitted.log_prior_), [4.5 / 9, 4.5 / 9])


def test_position_is_followed_better_than_without_dynamics_and_best_by_the_smoother():
    """Weak activity: where the animal was tells where it is, and where it will be tells more."""
    X, y = walks(gain=0.5)
    train, test = slice(0, 4), slice(4, 6)
    flat = PoissonBayes().fit(X[train].reshape(-1, 12), y[train].ravel())
    errors = [np.abs(flat.predict(X[test].reshape(-1, 12)) - y[test].ravel()).mean()]
    for is_causal in (True, False):
        fitted = StateSpacePosition(is_causal=is_causal).fit(X[train], y[train])
        errors.append(np.abs(fitted.predict(X[test]) - y[test]).mean())
    assert errors[0] > 1.3 * errors[1] > 1.5 * errors[2]


def test_the_prediction_has_the_least_expected_error_of_all_states():
    """The median state of the posterior, not its mode."""
    X, y = walks(gain=0.3)
    fitted = StateSpacePosition().fit(X, y)
    posterior, said = fitted.predict_proba(X[:1])[0], fitted.predict(X[:1])[0]
    expected_error = posterior @ np.abs(fitted.states_[:, None] - fitted.states_)
    assert_allclose(expected_error[np.arange(len(said)), said.astype(int)], expected_error.min(axis=1))


def test_a_continuous_position_is_binned_between_its_ends():
    """Equal bins from the least to the largest training value; their centres are predicted."""
    X, y = walks()
    fitted = StateSpacePosition(n_states=8).fit(X, y * 0.5 + 3)
    assert_allclose(fitted.states_, 3 + 3.5 * (np.arange(8) + 0.5) / 8)
    assert np.isin(fitted.predict(X), fitted.states_).all()


def test_an_absent_bin_has_no_position():
    """NaN in, NaN out, in the shape of the target."""
    X, y = walks()
    fitted = StateSpacePosition().fit(X, y[:, :, None])
    holed = X.astype(float)
    holed[0, 7, 3] = np.nan
    said = fitted.predict(holed)
    assert said.shape == (6, 300, 1)
    assert np.argwhere(np.isnan(said)).tolist() == [[0, 7, 0]]


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({"observation": "x"}, lambda X, y: (X, y), "poisson or gaussian"),
        ({"n_states": 1}, lambda X, y: (X, y), "n_states is 2 to 1000, got 1"),
        ({}, lambda X, y: (X, y + np.random.default_rng(0).normal(size=y.shape)), "takes 1800 values, more than 1000"),
        ({}, lambda X, y: (X, np.stack([y, y], axis=2)), "decodes one output, got 2"),
        ({}, lambda X, y: (X, y[:, 0]), "target over time, numbers on .* got int64 .6,."),
        ({}, lambda X, y: (X, y[:, :-1]), "with 6 trials of 300 bins, got int64 .6, 299."),
        ({}, lambda X, y: (X, y.astype(str)), "takes a target over time, numbers"),
        ({}, lambda X, y: (X, np.zeros_like(y)), "target is constant"),
        ({}, lambda X, y: (X - 1, y), "takes counts, and found -1"),
    ],
)
def test_position_refuses_what_it_cannot_learn_from(parameters, change, message):
    """Shapes, words, constants, negative counts, parameters out of range."""
    with pytest.raises(SchemaError, match=message):
        StateSpacePosition(**parameters).fit(*change(*walks()))


def test_position_refuses_negative_counts_and_other_units_at_test():
    """What was fitted is what is taken."""
    X, y = walks()
    fitted = StateSpacePosition().fit(X, y)
    with pytest.raises(SchemaError, match="takes counts, and found -1"):
        fitted.predict(X - 1)
    with pytest.raises(SchemaError, match="fitted on 12 units and got 3"):
        fitted.predict(X[:, :, :3])
