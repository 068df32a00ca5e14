"""Poisson LDS: the mode is where the slope is zero, as dense Newton finds it; evidence by quadrature; recovery."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import block_diag, subspace_angles
from scipy.optimize import minimize
from scipy.stats import norm, poisson

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.dynamics import Dynamics
from mitral.decode.trajectories.lds import LDS
from mitral.decode.trajectories.poisson_laplace import Laplace, counts, gradient, lower_bound, posterior
from mitral.decode.trajectories.poisson_lds import PoissonLDS, _climb


def simulate(seed, *, n_trials=30, n_times=30, n_units=20, d=3, rate=1.0):
    """Counts, latents and loadings: a rotation and a decaying latent drive the log rates."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0.15, 0.4)
    rotation = 0.97 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    A = block_diag(rotation, 0.9 * np.eye(d))[:d, :d]
    z = rng.normal(size=(n_trials, n_times, d))
    for t in range(1, n_times):
        z[:, t] = z[:, t - 1] @ A.T + np.sqrt(0.1) * z[:, t]
    C, offset = 0.5 * rng.normal(size=(n_units, d)), np.log(rate) + 0.5 * rng.normal(size=n_units)
    return rng.poisson(np.exp(z @ C.T + offset)), z, C


def holed(Y):
    """Short trials, a missing bin, a missing unit, a single missing number."""
    Y = Y.astype(float)
    Y[0, 5:] = np.nan
    Y[1, 2] = np.nan
    Y[2, :, 3] = np.nan
    Y[3, 4, 1] = np.nan
    return Y


def problem(seed, *, d=2, n_times=8, n_units=6):
    """Counts with holes, and a model that has not been fitted to them."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    dynamics = Dynamics(
        0.5 * rng.normal(size=(d, d)),
        rng.normal(size=d),
        0.3 * np.eye(d) + 0.1 * root @ root.T,
        rng.normal(size=d),
        np.eye(d),
    )
    C, offset = rng.normal(size=(n_units, d)), rng.normal(size=n_units)
    return holed(rng.poisson(2.0, (5, n_times, n_units))), C, offset, dynamics


def dense_precision(dynamics, n_times):
    """Precision (T d, T d) and mean (T d) of the latents of a trial."""
    A, b, Q, x0, Q0 = dynamics
    d = len(A)
    onward = np.eye(n_times * d)
    for t in range(1, n_times):
        onward[t * d : (t + 1) * d, (t - 1) * d : t * d] = -A
    spread = block_diag(Q0, *[Q] * (n_times - 1))
    mean = np.linalg.solve(onward, np.concatenate([x0, np.tile(b, n_times - 1)]))
    return onward.T @ np.linalg.inv(spread) @ onward, mean


def dense_newton(y, C, offset, dynamics):
    """Mode, covariance and Laplace's evidence of one trial, by plain Newton steps with full matrices."""
    n_times, d = len(y), C.shape[1]
    precision, mean = dense_precision(dynamics, n_times)
    there = ~np.isnan(y.ravel())
    load, seen = np.kron(np.eye(n_times), C)[there], y.ravel()[there]
    base = np.tile(offset, n_times)[there]
    z = mean.copy()
    for _ in range(200):
        rate = np.exp(load @ z + base)
        slope = load.T @ (seen - rate) - precision @ (z - mean)
        z = z + 0.3 * np.linalg.solve(precision + load.T * rate @ load, slope)
    rate = np.exp(load @ z + base)
    total = precision + load.T * rate @ load
    log_joint = poisson.logpmf(seen, rate).sum() - 0.5 * (z - mean) @ precision @ (z - mean)
    evidence = log_joint + 0.5 * (np.linalg.slogdet(precision)[1] - np.linalg.slogdet(total)[1])
    return z.reshape(n_times, d), np.linalg.inv(total).reshape(n_times, d, n_times, d), evidence


def test_mode_covariance_and_evidence_are_those_of_dense_newton():
    """For whole, short and holed trials: full matrices and plain steps, written here, give the same."""
    Y, C, offset, dynamics = problem(0)
    found = posterior(counts(Y), C, offset, dynamics)
    for trial, y in enumerate(Y):
        mode, cov, evidence = dense_newton(y, C, offset, dynamics)
        assert_allclose(found.mean[trial], mode, atol=1e-8)
        assert_allclose(found.log_evidence[trial], evidence, rtol=1e-10)
        for t in range(8):
            assert_allclose(found.cov[trial, t], cov[t, :, t], atol=1e-8)
            if t:
                assert_allclose(found.lag_cov[trial, t - 1], cov[t, :, t - 1], atol=1e-8)


@pytest.mark.parametrize("n_latents", [1, 4])
def test_the_slope_at_the_mode_is_zero(n_latents):
    """To 1e-8, from a start of its own and from far away."""
    Y, C, offset, dynamics = problem(1, d=n_latents)
    data = counts(Y)
    far = 5 * np.random.default_rng(0).normal(size=(5, 8, n_latents))
    for start in (None, far):
        found = posterior(data, C, offset, dynamics, start=start)
        assert np.abs(gradient(data, found.mean, C, offset, dynamics)).max() < 1e-8


def test_the_slope_is_the_derivative_of_the_joint_log_density():
    """By differences of the Poisson and Gaussian log densities of scipy."""
    Y, C, offset, dynamics = problem(2)
    y, z = Y[1], np.random.default_rng(0).normal(size=(8, 2))
    precision, mean = dense_precision(dynamics, 8)

    def log_joint(z):
        away = z.ravel() - mean
        return np.nansum(poisson.logpmf(y, np.exp(z @ C.T + offset))) - 0.5 * away @ precision @ away

    slope = gradient(counts(Y[1:2]), z[None], C, offset, dynamics)[0]
    for t, k in ((0, 0), (2, 1), (7, 1)):
        step = np.zeros((8, 2))
        step[t, k] = 1e-5
        assert_allclose(slope[t, k], (log_joint(z + step) - log_joint(z - step)) / 2e-5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("level", "tolerance"), [(0.0, 0.03), (4.0, 0.003)])
def test_evidence_is_close_to_the_integral_and_the_bound_below_it(level, tolerance):
    """Two bins of one latent on a fine grid: the higher the counts, the closer."""
    rng = np.random.default_rng(0)
    dynamics = Dynamics(np.array([[0.8]]), np.zeros(1), np.array([[0.2]]), np.zeros(1), np.array([[0.5]]))
    C, offset = rng.normal(size=(5, 1)), np.full(5, level)
    Y = rng.poisson(np.exp(level), (3, 2, 5)).astype(float)
    grid = np.linspace(-4, 4, 801)
    log_prior = norm.logpdf(grid, 0, np.sqrt(0.5))[:, None] + norm.logpdf(grid, 0.8 * grid[:, None], np.sqrt(0.2))
    found = posterior(counts(Y), C, offset, dynamics)
    bound = lower_bound(counts(Y), found, C, offset)
    for trial, y in enumerate(Y):
        first, second = (poisson.logpmf(bin_, np.exp(grid[:, None] * C[:, 0] + offset)).sum(axis=1) for bin_ in y)
        integral = (
            np.log(np.sum(np.exp(log_prior + first[:, None] + second + 50 * level))) + 2 * np.log(0.01) - 50 * level
        )
        assert abs(found.log_evidence[trial] - integral) < tolerance
        assert integral - 5 * tolerance < bound[trial] <= integral


def test_bins_after_the_end_change_nothing():
    """A trial padded by NaN has the latents and the evidence of the trial without."""
    Y, C, offset, dynamics = problem(3)
    padded = np.concatenate([Y, np.full((5, 4, 6), np.nan)], axis=1)
    short, long = (posterior(counts(y), C, offset, dynamics) for y in (Y, padded))
    assert_allclose(long.mean[:, :8], short.mean, atol=1e-9)
    assert_allclose(long.log_evidence, short.log_evidence, rtol=1e-12)


def test_blocks_of_trials_are_the_trials_together(monkeypatch):
    """Memory is bounded by solving some trials at a time; the answer is that of all at once."""
    Y, C, offset, dynamics = problem(4)
    together = posterior(counts(Y), C, offset, dynamics)
    monkeypatch.setattr("mitral.decode.trajectories.poisson_laplace.BLOCK", 32)
    for one, other in zip(posterior(counts(Y), C, offset, dynamics), together, strict=True):
        assert_allclose(one, other, atol=1e-9)


def test_loadings_climb_to_the_top_of_the_expected_log_likelihood():
    """Repeated, they are where a general optimiser ends, for each unit; absent counts have no part."""
    rng = np.random.default_rng(5)
    Y, C, offset, _ = problem(5)
    data = counts(Y)
    root = rng.normal(size=(5, 8, 2, 2))
    found = Laplace(rng.normal(size=(5, 8, 2)), 0.05 * root @ np.swapaxes(root, 2, 3), *[np.empty(0)] * 3)
    prior, typical = 0.01 * np.eye(3), np.zeros(6)
    W, o = C, offset
    for _ in range(10):
        W, o = _climb(W, o, found, data, prior, typical)

    def loss(w, unit):
        log_rate = found.mean @ w[:2] + w[2]
        expected = np.exp(log_rate + 0.5 * np.einsum("i,ntij,j->nt", w[:2], found.cov, w[:2]))
        return np.nansum(expected * data.present[:, :, unit] - Y[:, :, unit] * log_rate) + 0.005 * w @ w

    for unit in range(6):
        best = minimize(loss, np.zeros(3), args=(unit,), method="BFGS", options={"gtol": 1e-7})
        assert_allclose(np.append(W[unit], o[unit]), best.x, atol=1e-4)


def test_latents_are_recovered():
    """Eight simulations, a spike or two a bin: angle to the loadings, share of the latents' variance."""
    angles, shares, of_gaussian = [], [], []
    for seed in range(8):
        Y, z, C = simulate(seed)
        model = PoissonLDS(3, tol=1e-3).fit(Y)
        angles.append(np.degrees(subspace_angles(model.loadings_, C).max()))
        of_gaussian.append(np.degrees(subspace_angles(LDS(3, tol=1e-3).fit(Y).loadings_, C).max()))
        said, truth = model.transform(Y).reshape(-1, 3), (z - z.mean(axis=(0, 1))).reshape(-1, 3)
        left = truth - said @ np.linalg.lstsq(said, truth, rcond=None)[0]
        shares.append(1 - np.sum(left**2) / np.sum(truth**2))
    error = np.std(angles, ddof=1) / np.sqrt(8), np.std(shares, ddof=1) / np.sqrt(8)
    assert np.mean(angles) + 3 * error[0] < 15 and error[0] < 2
    assert np.mean(shares) - 3 * error[1] > 0.9 and error[1] < 0.01
    assert np.mean(angles) < 0.5 * np.mean(of_gaussian)


@pytest.mark.parametrize("has_holes", [False, True])
def test_learning_raises_the_lower_bound(has_holes):
    """The mode is not the best Gaussian for it, so a fall ends the fit; it rises well beyond the start."""
    Y = simulate(9, n_trials=15)[0]
    model = PoissonLDS(2).fit(holed(Y) if has_holes else Y)
    assert (np.diff(model.lower_bounds_) >= 0).all() and model.n_iter_ > 4
    assert model.lower_bounds_[-1] > model.lower_bounds_[0] + 0.1 * Y[..., 0].size
    assert model.lower_bounds_[-1] < model.log_likelihood(holed(Y) if has_holes else Y).sum()


def test_held_out_likelihood_prefers_the_true_number_of_latents():
    """Three, of one and three, on trials that were not fitted."""
    Y = simulate(10, n_trials=40)[0]
    one, three = (PoissonLDS(d, tol=1e-3).fit(Y[:30]) for d in (1, 3))
    assert three.score(Y[30:]) > one.score(Y[30:])


def test_hidden_units_and_bins_are_predicted():
    """Closer to the true rate than the unit's mean is."""
    Y, z, C = simulate(11)
    model = PoissonLDS(3, tol=1e-3).fit(Y[:22])
    hidden = Y[22:].astype(float)
    hidden[:, 12] = np.nan
    for said, seen in (
        (model.inverse_transform(model.transform(hidden))[:, 12], Y[22:, 12]),
        (model.leave_unit_out(Y[22:]), Y[22:]),
    ):
        assert np.sum(seen * np.log(said) - said) > np.sum(seen * np.log(Y.mean(axis=(0, 1))) - Y.mean(axis=(0, 1)))


def test_loadings_are_orthonormal_ordered_and_signed():
    """As principal components of the log rates."""
    model = PoissonLDS(3, max_iter=10).fit(simulate(12)[0])
    C = model.loadings_
    assert_allclose(C.T @ C, np.eye(3), atol=1e-9)
    assert (C[np.abs(C).argmax(axis=0), np.arange(3)] > 0).all()
    assert (np.diff(model.log_rate_variance_) < 0).all()


def test_silent_units_and_bursts_do_no_harm():
    """A unit that never fires, one that fires once, and a test trial with a million spikes a bin: all finite."""
    Y = simulate(13, n_trials=10)[0]
    Y[:, :, 0] = 0
    Y[:, :, 1] = 0
    Y[3, 7, 1] = 1
    model = PoissonLDS(2, max_iter=20).fit(Y)
    burst = Y[:2].copy()
    burst[0] = 10**6
    assert np.isfinite(model.loadings_).all() and np.isfinite(model.offset_).all()
    assert np.isfinite(model.transform(burst)).all() and np.isfinite(model.score(burst))


@pytest.mark.parametrize(
    ("n_latents", "change", "said"),
    [
        (7, lambda Y: Y, "at most 6 latents in 6 units"),
        (3, lambda Y: Y[:, :1], "longest trial of the fit has 1 bins"),
        (3, np.ones_like, "all 6 units are constant"),
        (3, lambda Y: np.where(np.arange(6) < 4, 1, Y), "only 2 of the 6 units change"),
        (3, lambda Y: Y - 1.0, "PoissonLDS takes counts, and found -1"),
        (3, lambda Y: np.where(np.arange(10)[:, None, None] == 4, np.nan, Y), "1 trials are NaN .*position 4"),
    ],
)
def test_what_cannot_be_learned_is_refused(n_latents, change, said):
    """With what came and what to do."""
    Y = np.random.default_rng(14).poisson(1.0, (10, 10, 6))
    with pytest.raises(SchemaError, match=said):
        PoissonLDS(n_latents).fit(change(Y))


@pytest.mark.parametrize("settings", [{"max_iter": 0}, {"tol": 0.0}, {"ridge": -1.0}, {"n_latents": 2.5}])
def test_settings_out_of_range_are_refused(settings):
    """At the fit, by name."""
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} must be a"):
        PoissonLDS(**settings).fit(simulate(15, n_trials=4)[0])


def test_negative_values_are_refused_in_the_transform():
    """Traces have no log rate."""
    Y = simulate(16, n_trials=5)[0]
    model = PoissonLDS(2, max_iter=2).fit(Y)
    for use in (model.transform, model.score):
        with pytest.raises(SchemaError, match="takes counts"):
            use(Y - 1.0)
