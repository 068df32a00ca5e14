"""The Kalman smoother in information form against the dense joint Gaussian, which is written here from the model."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.decode.trajectories.gaussian_chain import filter_, smooth


def spread(rng, d):
    """A random positive definite matrix."""
    root = rng.normal(size=(d, d))
    return root @ root.T / d + 0.3 * np.eye(d)


def chain(rng, d, n_times, *, changes=False):
    """Random dynamics A, b, Q, x0, Q0; all change with time if asked."""
    n_lags = n_times - 1
    A, Q = 0.8 * np.linalg.qr(rng.normal(size=(d, d)))[0], spread(rng, d)
    if changes:
        A = 0.6 * rng.normal(size=(n_lags, d, d)) / np.sqrt(d)
        Q = np.array([spread(rng, d) for _ in range(n_lags)]).reshape(n_lags, d, d)
    return A, rng.normal(size=(n_lags, d)), Q, rng.normal(size=d), spread(rng, d)


def prior(A, b, Q, x0, Q0, n_times):
    """Mean (T d) and covariance (T d, T d) of the whole chain."""
    d = len(x0)
    A, Q = (np.broadcast_to(m, (n_times - 1, d, d)) for m in (A, Q))
    mean, cov = np.zeros((n_times, d)), np.zeros((n_times, d, n_times, d))
    mean[0], cov[0, :, 0] = x0, Q0
    for t in range(1, n_times):
        mean[t] = A[t - 1] @ mean[t - 1] + b[t - 1]
        for s in range(t):
            cov[t, :, s] = A[t - 1] @ cov[t - 1, :, s]
            cov[s, :, t] = cov[t, :, s].T
        cov[t, :, t] = A[t - 1] @ cov[t - 1, :, t - 1] @ A[t - 1].T + Q[t - 1]
    return mean.ravel(), cov.reshape(n_times * d, n_times * d)


def dense(y, C, R, present, parameters, n_seen=None):
    """Posterior mean, covariance and log p(y) of all bins given the first ``n_seen``, from the joint Gaussian."""
    n_times, n_units = y.shape
    mean, cov = prior(*parameters, n_times)
    n_seen = n_times if n_seen is None else n_seen
    seen = (present & (np.arange(n_times) < n_seen)[:, None]).ravel()
    load = np.kron(np.eye(n_times), C)[seen]
    residual = y.ravel()[seen] - load @ mean
    total = load @ cov @ load.T + np.diag(np.tile(R, n_times)[seen])
    gain = np.linalg.solve(total, load @ cov).T
    log_p = -0.5 * (residual @ np.linalg.solve(total, residual) + np.linalg.slogdet(2 * np.pi * total)[1])
    return mean + gain @ residual, cov - gain @ load @ cov, log_p


def observed(rng, n_trials, n_times, n_units, d, present):
    """Data, loadings and noise, and what the chain is handed: (y, C, R, information, potential, left out)."""
    y, C, R = rng.normal(size=(n_trials, n_times, n_units)), rng.normal(size=(n_units, d)), rng.uniform(0.3, 2, n_units)
    weight = present / R
    information = np.einsum("tu,ui,uj->tij", weight, C, C)
    potential = (y * weight) @ C
    left_out = -0.5 * np.sum((y**2 / R + np.log(2 * np.pi * R)) * present, axis=2)
    return y, C, R, information, potential, left_out


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("n_times", [1, 2, 9])
@pytest.mark.parametrize("holes", [False, True])
def test_the_smoother_equals_the_dense_joint_gaussian(n_times, holes, changes):
    """Means, covariances, neighbouring covariances and evidence agree to 1e-9, with missing bins and units too."""
    rng = np.random.default_rng(n_times)
    d, n_units = 3, 5
    present = np.ones((n_times, n_units), bool)
    if holes:
        present = rng.random((n_times, n_units)) < 0.6
        present[n_times // 2] = False
    parameters = chain(rng, d, n_times, changes=changes)
    y, C, R, information, potential, left_out = observed(rng, 4, n_times, n_units, d, present)
    found = smooth(information, potential, *parameters)
    for trial in range(4):
        mean, cov, log_p = dense(y[trial], C, R, present, parameters)
        cov = cov.reshape(n_times, d, n_times, d)
        assert_allclose(found.mean[trial], mean.reshape(n_times, d), atol=1e-9)
        assert_allclose(found.log_normaliser[trial] + left_out[trial].sum(), log_p, rtol=1e-10)
    for t in range(n_times):
        assert_allclose(found.cov[t], cov[t, :, t], atol=1e-9)
        if t:
            assert_allclose(found.lag_cov[t - 1], cov[t, :, t - 1], atol=1e-9)


def test_the_filter_knows_the_past_alone():
    """At each bin, mean, covariance and the evidence so far are those of the joint Gaussian of the bins up to it."""
    rng = np.random.default_rng(3)
    present = rng.random((6, 4)) < 0.8
    parameters = chain(rng, 2, 6)
    y, C, R, information, potential, left_out = observed(rng, 2, 6, 4, 2, present)
    found = filter_(information, potential, *parameters)
    so_far = np.cumsum(found.log_evidence + left_out, axis=1)
    for t in range(6):
        mean, cov, log_p = dense(y[1], C, R, present, parameters, n_seen=t + 1)
        assert_allclose(found.mean[1, t], mean.reshape(6, 2)[t], atol=1e-9)
        assert_allclose(found.cov[t], cov.reshape(6, 2, 6, 2)[t, :, t], atol=1e-9)
        assert_allclose(so_far[1, t], log_p, rtol=1e-10)


def test_without_input_and_with_one_trial_it_is_the_textbook_smoother():
    """The classical predict-update-RTS recursions with gain matrices, written here, give the same."""
    rng = np.random.default_rng(4)
    A, _, Q, x0, Q0 = chain(rng, 2, 30)
    y, C, R, information, potential, _ = observed(rng, 1, 30, 4, 2, np.ones((30, 4), bool))
    m, P, means, covs, ahead = x0, Q0, [], [], []
    for t in range(30):
        if t:
            m, P = A @ m, A @ P @ A.T + Q
        ahead.append((m, P))
        K = P @ C.T @ np.linalg.inv(C @ P @ C.T + np.diag(R))
        m, P = m + K @ (y[0, t] - C @ m), P - K @ C @ P
        means.append(m)
        covs.append(P)
    for t in range(28, -1, -1):
        J = covs[t] @ A.T @ np.linalg.inv(ahead[t + 1][1])
        means[t] = means[t] + J @ (means[t + 1] - ahead[t + 1][0])
        covs[t] = covs[t] + J @ (covs[t + 1] - ahead[t + 1][1]) @ J.T
    found = smooth(information, potential, A, np.zeros(2), Q, x0, Q0)
    assert_allclose(found.mean[0], means, atol=1e-10)
    assert_allclose(found.cov, covs, atol=1e-10)


def test_groups_on_leading_axes_are_the_groups_one_by_one():
    """Two animals (information) by three stimuli (dynamics) in one call are the six calls."""
    rng = np.random.default_rng(5)
    information = np.array([[spread(rng, 2)] * 7 for _ in range(2)])
    stimuli = [chain(rng, 2, 7) for _ in range(3)]
    potential = rng.normal(size=(2, 3, 4, 7, 2))
    A, b, Q, x0, Q0 = (np.array(part) for part in zip(*stimuli, strict=True))
    together = smooth(information[:, None], potential, A, b, Q, x0, Q0)
    for animal in range(2):
        for stimulus in range(3):
            alone = smooth(information[animal], potential[animal, stimulus], *stimuli[stimulus])
            for one, all_ in zip(alone, together, strict=True):
                assert_allclose(all_[animal, stimulus], one, atol=1e-12)


def test_the_steady_state_changes_nothing():
    """Covariances that have settled are not computed again; the answer is that of the recursion run to its end."""
    rng = np.random.default_rng(6)
    A, b, Q, x0, Q0 = chain(rng, 3, 300)
    information = np.broadcast_to(spread(rng, 3), (300, 3, 3))
    potential = rng.normal(size=(2, 300, 3))
    settled = smooth(information, potential, A, b, Q, x0, Q0)
    jitter = 1 + 1e-14 * (np.arange(299) % 2)[:, None, None]  # constant to rounding, and not recognised as constant
    run = smooth(information, potential, A * jitter, b, Q, x0, Q0)
    for one, other in zip(settled, run, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_covariances_stay_positive_when_almost_everything_is_known():
    """Precise observations of slow, nearly noiseless dynamics: no eigenvalue below zero over 2000 bins."""
    rng = np.random.default_rng(7)
    information = 1e8 * np.broadcast_to(np.diag([1.0, 1e-6]), (2000, 2, 2))
    potential = rng.normal(size=(1, 2000, 2))
    found = smooth(information, potential, 0.9999 * np.eye(2), np.zeros(2), 1e-9 * np.eye(2), np.zeros(2), np.eye(2))
    assert np.isfinite(found.mean).all()
    assert (np.linalg.eigvalsh(found.cov) > 0).all()
