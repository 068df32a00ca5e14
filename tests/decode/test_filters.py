"""Wiener and Kalman filters: against least squares, the dense joint Gaussian, and simulations with known truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from mitral.datasets.errors import SchemaError
from mitral.decode.decoders.kalman import KalmanFilter
from mitral.decode.decoders.linear import PENALTIES
from mitral.decode.decoders.moments import Ridge as RidgeOfMoments
from mitral.decode.decoders.moments import choose_penalty, moments, squared_error
from mitral.decode.decoders.wiener import WienerFilter


def walks(*, n_trials=6, n_times=60, n_units=5, n_outputs=2, noise=1.0, seed=0):
    """Activity that is linear in smooth walks, with noise: (X, y)."""
    rng = np.random.default_rng(seed)
    velocity = np.cumsum(0.1 * rng.normal(size=(n_trials, n_times, n_outputs)), axis=1)
    y = np.cumsum(velocity, axis=1) + 5
    X = np.concatenate([y, velocity], axis=2) @ rng.normal(size=(2 * n_outputs, n_units))
    return X + noise * rng.normal(size=X.shape) + 10, y


def test_ridge_of_moments_is_that_of_sklearn_and_adds_up_over_blocks():
    """Weights, intercept and squared error from sums of products, the sums of three blocks added."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 4)) + 3, rng.normal(size=(60, 2)) - 1
    blocks = [moments(X[k::3], Y[k::3]) for k in range(3)]
    fit = RidgeOfMoments(np.sum(blocks, axis=0), 4)
    W = fit.weights(2.0)
    theirs = Ridge(2.0).fit(X, Y)
    assert_allclose(W.T, theirs.coef_, rtol=1e-9)
    assert_allclose(fit.intercept(W), theirs.intercept_, rtol=1e-9)
    residual = Y[::3] - theirs.predict(X[::3])
    assert_allclose(squared_error(blocks[0], W, fit.intercept(W)), np.sum(residual**2), rtol=1e-9)


def test_the_penalty_is_that_of_the_least_held_out_error():
    """By a loop over penalties and blocks with scikit-learn's ridge."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 20)), rng.normal(size=(40, 1))
    Y += X[:, :1]
    blocks = [moments(X[k::4], Y[k::4]) for k in range(4)]
    errors = []
    for alpha in PENALTIES:
        held_out = [np.arange(40) % 4 == k for k in range(4)]
        errors.append(
            sum(np.sum((Y[h].ravel() - Ridge(alpha).fit(X[~h], Y[~h].ravel()).predict(X[h])) ** 2) for h in held_out)
        )
    assert choose_penalty(blocks, 20, PENALTIES) == PENALTIES[int(np.argmin(errors))]


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_the_wiener_filter_is_ridge_on_lagged_activity(alpha):
    """Lags of standardised activity built by a loop, 0 outside the trial; scikit-learn's ridge on them."""
    X, y = walks()
    n_past, n_future = 2, 1
    Z = (X - X.reshape(-1, 5).mean(axis=0)) / X.reshape(-1, 5).std(axis=0)
    lagged = np.zeros((6, 60, 4, 5))
    for t in range(60):
        for position, lag in enumerate(range(-n_past, n_future + 1)):
            if 0 <= t + lag < 60:
                lagged[:, t, position] = Z[:, t + lag]
    expected = Ridge(alpha).fit(lagged[:4].reshape(240, -1), y[:4].reshape(240, -1))
    fitted = WienerFilter(n_past, n_future=n_future, alpha=alpha)
    fitted.fit(X, np.where(np.arange(6)[:, None, None] < 4, y, np.nan))  # scale from all, target from four
    assert_allclose(fitted.predict(X)[4:].reshape(120, -1), expected.predict(lagged[4:].reshape(120, -1)), rtol=1e-7)


def test_the_wiener_filter_finds_a_delay():
    """A target that follows one unit by three bins has one weight, at that lag."""
    X = np.random.default_rng(0).normal(size=(5, 200, 2))
    y = np.roll(X[:, :, 1], 3, axis=1)
    y[:, :3] = np.nan
    coef = WienerFilter(5, alpha=0.0).fit(X, y).coef_
    assert coef.shape == (1, 6, 2)
    assert np.unravel_index(np.abs(coef[0]).argmax(), (6, 2)) == (2, 1)  # position 5 is the present bin
    assert np.sort(np.abs(coef).ravel())[-2] < 0.01


def test_a_causal_wiener_filter_does_not_see_the_future():
    """Changing later bins leaves earlier predictions as they were."""
    X, y = walks()
    fitted = WienerFilter(3).fit(X, y)
    other = X.copy()
    other[:, 30:] = 99
    assert_allclose(fitted.predict(other)[:, :30], fitted.predict(X)[:, :30])


def test_absent_bins_count_as_the_mean_and_are_not_predicted():
    """Short trials, NaN at their end: as if they had ended there."""
    X, y = walks(n_outputs=1)
    X[0, 50:] = np.nan
    fitted = WienerFilter(2, alpha=1.0).fit(X, y)
    said = fitted.predict(X)
    assert np.isnan(said[0, 50:]).all() and np.isfinite(said[0, :50]).all()
    assert_allclose(fitted.predict(X[:1, :50]), said[:1, :50])


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({"n_past": -1}, lambda X, y: (X, y), "n_past is a whole number of bins from 0, got -1"),
        ({"n_future": 1.5}, lambda X, y: (X, y), "n_future is a whole number of bins from 0, got 1.5"),
        ({"alpha": -1.0}, lambda X, y: (X, y), "alpha is a penalty from 0, got -1"),
        ({}, lambda X, y: (X[:1], y[:1]), "one training trial cannot choose the penalty"),
        ({}, lambda X, y: (X, y[:, 0, 0]), "takes a target over time"),
        ({}, lambda X, y: (X, 0 * y), "target is constant"),
        ({}, lambda X, y: (X, np.full_like(y, np.nan)), "known in fewer than two bins .0."),
        ({}, lambda X, y: (X[:, :, 0], y), "takes .n_trials, n_times, n_units."),
    ],
)
def test_the_wiener_filter_refuses_what_it_cannot_learn_from(parameters, change, message):
    """Each with a message that says what to do."""
    with pytest.raises(SchemaError, match=message):
        WienerFilter(**parameters).fit(*change(*walks()))


def dense_posterior(fitted, x):
    """Mean and covariance of all states of one trial given all its activity, from the joint Gaussian."""
    A, W = fitted.transition_, fitted.transition_noise_
    H, Q = fitted.observation_, fitted.observation_noise_
    n_times, k = len(x), len(A)
    covariances = [fitted.start_covariance_]
    for _ in range(n_times - 1):
        covariances.append(A @ covariances[-1] @ A.T + W)
    joint = np.zeros((n_times * k, n_times * k))
    for s in range(n_times):
        block = covariances[s]
        for t in range(s, n_times):
            joint[t * k : (t + 1) * k, s * k : (s + 1) * k] = block
            joint[s * k : (s + 1) * k, t * k : (t + 1) * k] = block.T
            block = A @ block
    seen = np.isfinite(x).all(axis=1)
    observe = np.kron(np.eye(n_times), H)[np.repeat(seen, len(H))]
    gain = joint @ observe.T @ np.linalg.inv(observe @ joint @ observe.T + np.kron(np.eye(seen.sum()), Q))
    mean = gain @ (x[seen] - fitted.unit_mean_).ravel()
    covariance = joint - gain @ observe @ joint
    return mean.reshape(n_times, k) + fitted.state_mean_, covariance.reshape(n_times, k, n_times, k)


@pytest.mark.parametrize("n_derivatives", [0, 1])
def test_the_kalman_smoother_is_the_dense_joint_gaussian(n_derivatives):
    """Means and covariances of every bin, with a bin that is absent."""
    X, y = walks(noise=3.0)
    fitted = KalmanFilter(n_derivatives, is_causal=False).fit(X, y)
    x = X[0, :8].copy()
    x[3, 1] = np.nan
    mean, covariance = fitted.predict_state(x[None])
    expected_mean, expected_covariance = dense_posterior(fitted, x)
    assert_allclose(mean[0], expected_mean, rtol=1e-7)
    for t in range(8):
        assert_allclose(covariance[0, t], expected_covariance[t, :, t], rtol=1e-6, atol=1e-9)


def test_the_kalman_filter_is_the_dense_joint_gaussian_of_the_past():
    """At every bin: the last state given the activity so far."""
    X, y = walks(noise=3.0)
    fitted = KalmanFilter().fit(X, y)
    mean, covariance = fitted.predict_state(X[:1, :8])
    for t in range(8):
        expected_mean, expected_covariance = dense_posterior(fitted, X[0, : t + 1])
        assert_allclose(mean[0, t], expected_mean[t], rtol=1e-7)
        assert_allclose(covariance[0, t], expected_covariance[t, :, t], rtol=1e-6, atol=1e-9)


def test_kalman_parameters_are_least_squares():
    """A and H by regression on training states, W the covariance of the rest, from pairs inside trials only."""
    X, y = walks(n_outputs=1)
    fitted = KalmanFilter(0).fit(X, y)
    state, activity = y - y.mean(), X - X.reshape(-1, 5).mean(axis=0)
    before, after = state[:, :-1].reshape(-1, 1), state[:, 1:].reshape(-1, 1)
    slope = Ridge(0.0, fit_intercept=False).fit(before, after).coef_
    assert_allclose(fitted.transition_, np.atleast_2d(slope))
    assert_allclose(fitted.transition_noise_, np.atleast_2d(np.mean((after - before @ np.atleast_2d(slope)) ** 2)))
    expected = np.linalg.lstsq(state.reshape(-1, 1), activity.reshape(-1, 5), rcond=None)[0].T
    assert_allclose(fitted.observation_, expected)


def test_the_kalman_filter_beats_the_wiener_filter_where_its_model_holds():
    """A linear Gaussian simulation with much noise: held-out error, filter and then smoother below one bin's ridge."""
    X, y = walks(n_trials=20, n_times=200, noise=8.0)
    train, test = slice(0, 15), slice(15, 20)
    errors = []
    for decoder in (WienerFilter(0), KalmanFilter(), KalmanFilter(is_causal=False)):
        said = decoder.fit(X[train], y[train]).predict(X[test])
        errors.append(np.mean((said - y[test]) ** 2))
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


def test_a_kalman_filter_takes_more_units_than_bins_and_silent_ones():
    """The shrunk observation noise has an inverse; a constant unit tells nothing."""
    X, y = walks(n_trials=2, n_times=10, n_units=50, n_outputs=1)
    X[:, :, 0] = 0
    said = KalmanFilter().fit(X, y).predict(X)
    assert said.shape == y.shape and np.corrcoef(said.ravel(), y.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({"n_derivatives": 3}, lambda X, y: (X, y), "n_derivatives is 0, 1 or 2, got 3"),
        ({}, lambda X, y: (X, 0 * y), "target is constant"),
        ({"n_derivatives": 0}, lambda X, y: (X[:, :1], y[:, :1]), "no training trial has two known bins in a row"),
        ({"n_derivatives": 0}, lambda X, y: (y.copy(), y), "activity is a function of the target without rest"),
        ({}, lambda X, y: (X, y[:, :, 0].astype(str)), "takes a target over time, numbers"),
    ],
)
def test_the_kalman_filter_refuses_what_it_cannot_learn_from(parameters, change, message):
    """Each with a message that says what to do."""
    with pytest.raises(SchemaError, match=message):
        KalmanFilter(**parameters).fit(*change(*walks()))
