"""LDS: the dense joint Gaussian, an EM written from the textbook, a likelihood that never falls, latents recovered."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import block_diag, subspace_angles

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.dynamics import canonical, moments, update
from mitral.decode.trajectories.lds import LDS


def simulate(seed, *, n_trials=40, n_times=30, n_units=15, d=3, noise=(0.3, 2.0)):
    """Activity, latents and loadings of a rotation with a decaying third latent, unit noise of unequal variance."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0.15, 0.4)
    rotation = 0.97 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    A = block_diag(rotation, 0.9 * np.eye(d))[:d, :d]
    C, R = rng.normal(size=(n_units, d)), rng.uniform(*noise, n_units)
    z = rng.normal(size=(n_trials, n_times, d))
    for t in range(1, n_times):
        z[:, t] = z[:, t - 1] @ A.T + np.sqrt(0.1) * z[:, t]
    X = z @ C.T + 3 * rng.normal(size=n_units) + np.sqrt(R) * rng.normal(size=(n_trials, n_times, n_units))
    return X, z, C, A


def holed(X):
    """Short trials, missing bins, units missing in a trial, single missing numbers; three trials miss the same."""
    X = X.copy()
    X[:3, 20:] = np.nan
    X[3, 12:] = np.nan
    X[4, 5:9] = np.nan
    X[5:7, :, 2] = np.nan
    X[8, 3, 4] = np.nan
    return X


def joint(model, n_times):
    """Mean and covariance of the latents of a trial (T d), and the loadings of all bins, from the fitted model."""
    A, b, Q = model.dynamics_, model.drive_, model.drive_cov_
    mean, cov = [model.start_], [[model.start_cov_]]
    for _ in range(1, n_times):
        mean.append(A @ mean[-1] + b)
        cov.append([A @ block for block in cov[-1]])
        cov[-1].append(A @ cov[-2][-1] @ A.T + Q)
    full = np.block(
        [[cov[max(t, s)][min(t, s)] if t >= s else cov[s][t].T for s in range(n_times)] for t in range(n_times)]
    )
    return np.concatenate(mean), full, np.kron(np.eye(n_times), model.loadings_)


def test_latents_and_likelihood_are_those_of_the_dense_joint_gaussian():
    """Of a fitted model, for whole, short and holed trials: conditioning one Gaussian of all bins gives the same."""
    X = holed(simulate(0, n_trials=12, n_units=8)[0])[:10, :24]
    model = LDS(2, max_iter=5).fit(X)
    mean, cov, load = joint(model, 24)
    latents, log_p = model.transform(X), model.log_likelihood(X)
    for trial in (0, 3, 4, 5, 8, 9):
        there = ~np.isnan(X[trial].ravel())
        C, R = load[there], np.tile(model.noise_variance_, 24)[there]
        residual = (X[trial] - model.offset_).ravel()[there] - C @ mean
        total = C @ cov @ C.T + np.diag(R)
        expected = (mean + cov @ C.T @ np.linalg.solve(total, residual)).reshape(24, 2)
        end = 12 if trial == 3 else 20 if trial == 0 else 24
        assert_allclose(latents[trial, :end], expected[:end], atol=1e-8)
        assert np.isnan(latents[trial, end:]).all()
        squares = residual @ np.linalg.solve(total, residual)
        assert_allclose(log_p[trial], -0.5 * (squares + np.linalg.slogdet(2 * np.pi * total)[1]), rtol=1e-9)


def dense_em_step(model, X):
    """The next A, b, Q, x0, Q0, C, offset and R from posteriors of every trial's dense Gaussian."""
    n_trials, n_times, n_units = X.shape
    d = len(model.start_)
    mean, cov, load = joint(model, n_times)
    S = {name: 0.0 for name in ("first", "second0", "now", "before", "cross", "last", "start")}
    zz, xz, xx, n = np.zeros((n_units, d + 1, d + 1)), np.zeros((n_units, d + 1)), np.zeros(n_units), np.zeros(n_units)
    lags = 0
    for x in X:
        there = ~np.isnan(x.ravel())
        C, R = load[there], np.tile(model.noise_variance_, n_times)[there]
        gain = np.linalg.solve(C @ cov @ C.T + np.diag(R), C @ cov).T
        m = mean + gain @ ((x - model.offset_).ravel()[there] - C @ mean)
        P = (cov - gain @ C @ cov).reshape(n_times, d, n_times, d)
        m = m.reshape(n_times, d)
        end = np.flatnonzero(~np.isnan(x).all(axis=1)).max() + 1
        second = [[np.outer(m[t], m[s]) + P[t, :, s] for s in range(end)] for t in range(end)]
        S["first"] += m[0]
        S["second0"] += second[0][0]
        for t in range(1, end):
            S["now"], S["before"] = S["now"] + second[t][t], S["before"] + second[t - 1][t - 1]
            S["cross"] += second[t][t - 1]
            S["last"], S["start"] = S["last"] + m[t], S["start"] + m[t - 1]
            lags += 1
        for t in range(end):
            bordered = np.block([[second[t][t], m[t][:, None]], [m[t][None], np.ones((1, 1))]])
            for u in np.flatnonzero(~np.isnan(x[t])):
                zz[u] += bordered
                xz[u] += x[t, u] * np.append(m[t], 1)
                xx[u] += x[t, u] ** 2
                n[u] += 1
    b_of = S["last"] / lags, S["start"] / lags
    A = (S["cross"] - lags * np.outer(*b_of)) @ np.linalg.inv(S["before"] - lags * np.outer(b_of[1], b_of[1]))
    b = b_of[0] - A @ b_of[1]
    x0 = S["first"] / n_trials
    weights = np.array([np.linalg.solve(zz[u], xz[u]) for u in range(n_units)])
    R = (xx - 2 * np.sum(weights * xz, axis=1) + np.einsum("ui,uij,uj->u", weights, zz, weights)) / n
    Q0 = S["second0"] / n_trials - np.outer(x0, x0)
    Q = (S["now"] - A @ S["cross"].T - np.outer(b, S["last"])) / lags
    return {"A": A, "b": b, "Q": Q, "x0": x0, "Q0": Q0, "C": weights[:, :d], "offset": weights[:, d], "R": R}


def seen_by_units(found):
    """What does not depend on the gauge: R, and means and covariances of the units at the first bins."""
    C, A, x0, Q0 = (found[name] for name in ("C", "A", "x0", "Q0"))
    ahead = A @ x0 + found["b"], A @ Q0 @ A.T + found["Q"]
    means = [
        C @ x0 + found["offset"],
        C @ ahead[0] + found["offset"],
        C @ (A @ ahead[0] + found["b"]) + found["offset"],
    ]
    return [found["R"], *means, C @ Q0 @ C.T, C @ A @ Q0 @ C.T, C @ ahead[1] @ C.T, C @ A @ ahead[1] @ C.T]


@pytest.mark.parametrize("has_holes", [False, True])
def test_an_iteration_is_that_of_em_written_out_densely(has_holes):
    """From the same model: the maximiser of the expected log density, with sums over every bin, unit and trial."""
    X = simulate(1, n_trials=10, n_times=12, n_units=6, d=2)[0]
    X = holed(X)[:, :12] if has_holes else X
    X = np.where(np.arange(12)[:, None] < 9, X, np.nan) if has_holes else X
    model = LDS(2, max_iter=3, tol=1e-12).fit(X)
    following = LDS(2, max_iter=4, tol=1e-12).fit(X)
    mine = {
        "A": following.dynamics_, "b": following.drive_, "Q": following.drive_cov_, "x0": following.start_,
        "Q0": following.start_cov_, "C": following.loadings_, "offset": following.offset_,
        "R": following.noise_variance_,
    }  # fmt: skip
    for one, other in zip(seen_by_units(mine), seen_by_units(dense_em_step(model, X)), strict=True):
        assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("n_latents", [1, 3, 6])
@pytest.mark.parametrize("has_holes", [False, True])
def test_em_never_lowers_the_likelihood(n_latents, has_holes):
    """With too few, right and too many latents; the trace ends at the likelihood of the model that is kept."""
    X = simulate(2)[0]
    X = holed(X) if has_holes else X
    model = LDS(n_latents, n_restarts=2, max_iter=60).fit(X)
    assert (np.diff(model.log_likelihoods_) >= 0).all() and model.n_iter_ > 5
    assert_allclose(model.log_likelihood(X).sum(), model.log_likelihoods_[-1], rtol=1e-9)
    assert model.log_likelihoods_[-1] == model.log_likelihood_of_starts_.max()


def test_latents_are_recovered():
    """Ten simulations: angle to the true loadings and share of the latents' variance, with their standard error."""
    angles, shares = [], []
    for seed in range(10):
        X, z, C, _ = simulate(seed)
        model = LDS(3).fit(X)
        angles.append(np.degrees(subspace_angles(model.loadings_, C).max()))
        said, truth = model.transform(X).reshape(-1, 3), (z - z.mean(axis=(0, 1))).reshape(-1, 3)
        left = truth - said @ np.linalg.lstsq(said, truth, rcond=None)[0]
        shares.append(1 - np.sum(left**2) / np.sum(truth**2))
    error = np.std(angles, ddof=1) / np.sqrt(10), np.std(shares, ddof=1) / np.sqrt(10)
    assert np.mean(angles) + 3 * error[0] < 8 and error[0] < 1
    assert np.mean(shares) - 3 * error[1] > 0.9 and error[1] < 0.01


def test_dynamics_are_recovered_where_unit_noise_is_very_unequal():
    """Private variances from 0.1 to 20: principal components would follow the noisiest unit, and do not lead EM."""
    found = []
    for seed in range(5):
        X, _, _, A = simulate(seed, n_trials=60, noise=(0.1, 20.0))
        model = LDS(3).fit(X)
        found.append(np.sort(np.abs(np.linalg.eigvals(model.dynamics_))) - np.sort(np.abs(np.linalg.eigvals(A))))
    assert np.abs(np.mean(found, axis=0)).max() < 0.04 and np.abs(found).max() < 0.12


def test_held_out_likelihood_is_highest_at_the_true_number_of_latents():
    """On trials that were not fitted."""
    X = simulate(3, n_trials=60)[0]
    scores = [LDS(d).fit(X[:40]).score(X[40:]) for d in (1, 2, 3, 5)]
    assert np.argmax(scores) == 2


def test_gaps_are_filled_from_the_rest():
    """Hidden bins and hidden units are predicted better than by their mean, and better than by neighbours' average."""
    X, z, C, _ = simulate(4)
    model = LDS(3).fit(X[:30])
    hidden = X[30:].copy()
    hidden[:, 10:13] = np.nan
    signal = z[30:] @ C.T
    signal += (X[30:] - signal).mean(axis=(0, 1))
    error = np.mean((model.inverse_transform(model.transform(hidden)) - signal)[:, 11] ** 2)
    assert error < 0.6 * np.mean((hidden[:, [9, 13]].mean(axis=1) - signal[:, 11]) ** 2)
    left_out = model.leave_unit_out(X[30:])
    assert np.sum((left_out - X[30:]) ** 2) < 0.75 * np.sum((X[30:] - X[30:].mean(axis=(0, 1))) ** 2)


def test_leave_unit_out_does_not_see_the_unit():
    """Whatever the unit did, its prediction is the same."""
    X = simulate(5, n_trials=8)[0]
    model = LDS(2, max_iter=10).fit(X)
    changed = X.copy()
    changed[:, :, 3] = 0
    assert_array_equal(model.leave_unit_out(changed)[:, :, 3], model.leave_unit_out(X)[:, :, 3])


def test_loadings_are_orthonormal_ordered_and_signed():
    """Latents are uncorrelated over the bins of the fit, variances descend, the largest loading is positive."""
    X = simulate(6)[0]
    model = LDS(3).fit(X)
    C = model.loadings_
    assert_allclose(C.T @ C, np.eye(3), atol=1e-9)
    assert (C[np.abs(C).argmax(axis=0), np.arange(3)] > 0).all()
    assert (np.diff(model.explained_variance_ratio_) < 0).all() and model.explained_variance_ratio_.sum() < 1
    latents = model.transform(X).reshape(-1, 3)
    assert_allclose(latents.mean(axis=0), 0, atol=1e-6)
    cov = np.cov(latents.T)
    assert np.abs(cov - np.diag(np.diag(cov))).max() < 0.1 * cov.max()  # posterior variance is not in the means


def test_units_in_another_order_have_the_same_latents():
    """Latents and likelihood are those of the units, not of their order."""
    X = simulate(7)[0]
    order = np.random.default_rng(0).permutation(15)
    plain, turned = LDS(3).fit(X), LDS(3).fit(X[:, :, order])
    assert_allclose(turned.transform(X[:, :, order]), plain.transform(X), atol=1e-6)
    assert_allclose(turned.loadings_, plain.loadings_[order], atol=1e-6)


def test_the_gauge_changes_nothing_that_can_be_observed():
    """Any invertible mixing and shift of the latents leads to the same canonical model."""
    rng = np.random.default_rng(0)
    mean, lag = 2 + rng.normal(size=(9, 6, 3)), np.zeros((1, 5, 3, 3))
    cov, there, weight = np.broadcast_to(np.eye(3), (1, 6, 3, 3)), np.ones((9, 6), bool), np.full((1, 6), 9.0)
    G, C = rng.normal(size=(3, 3)), rng.normal(size=(7, 3))
    sums = moments(mean, cov, lag, there, weight)
    shift = rng.normal(size=3)
    mixed = moments(mean @ G.T + shift, G @ cov @ G.T, lag, there, weight)
    one, other = canonical(C, sums), canonical(C @ np.linalg.inv(G), mixed)
    assert_allclose(C @ one.inverse, C @ np.linalg.inv(G) @ other.inverse, atol=1e-9)
    for a, b in zip(one.turn(update(sums, 1e-9)), other.turn(update(mixed, 1e-9)), strict=True):
        assert_allclose(a, b, atol=1e-7)


def test_one_long_trial_and_a_silent_unit_are_enough():
    """Finite parameters and likelihood, also of trials in which the silent unit fires."""
    X = simulate(8, n_trials=1, n_times=400)[0]
    X[:, :, 0] = 2.0
    model = LDS(3).fit(X)
    X[0, 5, 0] = 3.0
    assert np.isfinite(model.score(X)) and (model.noise_variance_ > 0).all()
    assert (np.linalg.eigvalsh(model.start_cov_) > 0).all()


@pytest.mark.parametrize(
    ("n_latents", "change", "said"),
    [
        (7, lambda X: X, "at most 6 latents in 6 units and 100 bins"),
        (3, lambda X: X[:1, :2], "at most 2 latents in 6 units and 2 bins"),
        (3, lambda X: X[:, :1], "longest trial of the fit has 1 bins.*at least 2"),
        (3, np.ones_like, "all 6 units are constant"),
        (3, lambda X: np.where(np.arange(6) < 4, 1.0, X), "only 2 of the 6 units change, and n_latents is 3"),
        (3, lambda X: np.where(np.arange(10)[:, None, None] == 4, np.nan, X), "1 trials are NaN .*position 4"),
        (3, lambda X: np.where(np.arange(6) == 1, np.nan, X), "unit at position 1 is NaN in all 10 trials"),
        (3, lambda X: np.full_like(X, np.nan), "10 trials are NaN in every bin"),
    ],
)
def test_what_cannot_be_learned_is_refused(n_latents, change, said):
    """With what came and what to do."""
    X = simulate(9, n_trials=10, n_times=10, n_units=6)[0]
    with pytest.raises(SchemaError, match=said):
        LDS(n_latents).fit(change(X))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_latents": 1.0}, "n_latents must be a whole number of at least 1"),
        ({"n_restarts": 0}, "n_restarts must be a whole number of at least 1"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"tol": -1}, "tol must be a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    """At the fit, by name."""
    with pytest.raises(ConfigError, match=said):
        LDS(**settings).fit(simulate(9, n_trials=4)[0])


def test_one_unit_is_not_predicted_from_nothing():
    """Leaving it out leaves none."""
    X = simulate(9, n_trials=4)[0][:, :, :1]
    with pytest.raises(SchemaError, match="there is one unit, and no other to predict it from"):
        LDS(1, max_iter=2).fit(X).leave_unit_out(X)
