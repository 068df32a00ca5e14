"""The mixture of linear dynamical systems: EM climbs, its steps are exact, and it finds what was simulated."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.simulate.latent_space import simulate_latent_space
from mitral.decode.trajectories.missing import observed
from mitral.decode.trajectories.mixture_em import (
    Design,
    Dynamics,
    Loadings,
    Moments,
    assign,
    assign_all,
    expect,
    update_dynamics,
)
from mitral.decode.trajectories.mixture_fit import canonical, log_evidence, marginals, moved, run_em
from mitral.decode.trajectories.mixture_lds import MixtureLDS
from mitral.decode.trajectories.mixture_learn import centred, free_design, learn
from mitral.decode.trajectories.mixture_start import condition_means, first_dynamics, flat_prior

from .test_gaussian_chain import dense

SETTINGS = {"start": "auto", "n_restarts": 0, "tolerance": 1e-12, "max_iterations": 40, "random_state": 0}


def holes(X, rng):
    """The same trials with short ones, a missing unit, and missing bins."""
    X = X.copy()
    X[::3, -3:] = np.nan
    X[1, :, 2] = np.nan
    X[rng.random(X.shape) < 0.02] = np.nan
    return X


@pytest.fixture(scope="module")
def small():
    """Three mice, four odors, six trials of each, eight units, ten bins, three latents."""
    return simulate_latent_space(random_state=0, n_animals=3, n_odors=4, n_trials=6, n_units=8, n_times=10)


def inputs(space, *, holed=False, unequal=False):
    """Trials and positions of odors; mouse-2 has two units fewer if asked, and mouse-3 lacks the last odor."""
    rng = np.random.default_rng(1)
    trials, condition = {}, {}
    for name, X in space.trials.items():
        keep = space.odor[name] != ("odor-04" if name == "mouse-3" else "")
        X = X[keep][:, :, : 6 if unequal and name == "mouse-2" else None]
        trials[name] = holes(X, rng) if holed else X
        condition[name] = np.searchsorted(space.odors, space.odor[name][keep])
    return trials, condition


def a_model(rng, n_conditions, n_times, d, n_units):
    """Dynamics and loadings, drawn."""
    A = 0.5 * rng.normal(size=(n_conditions, d, d)) / np.sqrt(d)
    roots = rng.normal(size=(2, n_conditions, d, d))
    Q, Q0 = roots @ np.swapaxes(roots, -1, -2) / d + 0.2 * np.eye(d)
    b, x0 = rng.normal(size=(n_conditions, n_times - 1, d)), rng.normal(size=(n_conditions, d))
    C, offset, R = rng.normal(size=(n_units, d)), rng.normal(size=n_units), rng.uniform(0.3, 2, n_units)
    return Dynamics(A, b, Q, x0, Q0), Loadings(C, offset, R)


@pytest.mark.parametrize(
    ("holed", "unequal", "has_own_noise"),
    [(False, False, False), (True, False, True), (True, True, False), (False, True, True)],
)
def test_em_never_lowers_its_objective(small, holed, unequal, has_own_noise):
    """Over 40 iterations, with ragged trials, missing units, bins and odors, and unequal units."""
    trials, condition = inputs(small, holed=holed, unequal=unequal)
    design = free_design(4, has_own_noise=has_own_noise)
    fit = learn(trials, condition, design, 3, **SETTINGS)
    assert len(fit.objective) > 30
    assert np.diff(fit.objective).min() > -1e-8 * abs(fit.objective[-1])


def test_em_climbs_without_labels_and_with_frozen_dynamics(small):
    """Trials that are given to every odor; loadings alone are learned, and the likelihood is that of the mixture."""
    rng = np.random.default_rng(2)
    dynamics, loadings = a_model(rng, 4, 10, 3, 8)
    data, _ = centred(small.trials["mouse-1"])
    means = condition_means(data, np.zeros(24, int), 4)
    fit = run_em(
        {"m": assign_all(data, 4)}, {"m": loadings}, dynamics, free_design(4), {"m": flat_prior(means, 3, ridge=0.1)},
        tolerance=1e-12, max_iterations=20, is_frozen=True,
    )  # fmt: skip
    assert np.diff(fit.objective).min() > -1e-9 * abs(fit.objective[-1])
    assert_array_equal(fit.dynamics.A, dynamics.A)
    mixture = np.logaddexp.reduce(log_evidence(data, loadings, dynamics)[:, -1], axis=1) - np.log(4)
    assert_allclose(fit.log_likelihood[0], mixture.sum(), rtol=1e-12)


def test_the_e_step_is_that_of_the_dense_joint_gaussian(small):
    """Likelihood and moments of three odors, with holes, from the joint Gaussian of every trial by itself."""
    rng = np.random.default_rng(3)
    dynamics, loadings = a_model(rng, 3, 10, 2, 8)
    X = holes(small.trials["mouse-1"][:9], rng)
    condition = np.arange(9) % 3
    data = observed(X)
    seen = expect(assign(data, condition), loadings, dynamics)
    first, cross = np.zeros((3, 10, 2)), np.zeros((3, 9, 2, 2))
    for trial, k in enumerate(condition):
        there = ~np.isnan(X[trial])
        parameters = tuple(part[k] for part in dynamics)
        mean, cov, log_p = dense(np.nan_to_num(X[trial]) - loadings.offset, loadings.C, loadings.R, there, parameters)
        assert_allclose(seen.log_p[trial], log_p, rtol=1e-10)
        mean, cov = mean.reshape(10, 2), cov.reshape(10, 2, 10, 2)
        n_bins = data.n_bins[data.pattern[trial]]
        first[k, :n_bins] += mean[:n_bins]
        for t in range(1, n_bins):
            cross[k, t - 1] += cov[t, :, t - 1] + np.outer(mean[t], mean[t - 1])
    assert_allclose(seen.moments.first, first, atol=1e-9)
    assert_allclose(seen.moments.cross, cross, atol=1e-9)


def expected_objective(moments, dynamics, design):
    """What the M-step of the dynamics maximises, written out term by term."""
    total = 0.0
    for k, (A, b, Q, x0, Q0) in enumerate(zip(*dynamics, strict=True)):
        for t in range(len(b) + 1):
            n, s, S = moments.n[k, t], moments.first[k, t], moments.second[k, t]
            if t == 0:
                square, cov = S - np.outer(s, x0) - np.outer(x0, s) + n * np.outer(x0, x0), Q0
            else:
                c, s0, S0 = moments.cross[k, t - 1], moments.before[k, t - 1], moments.before_second[k, t - 1]
                u, cov = b[t - 1], Q
                square = S - A @ c.T - c @ A.T + A @ S0 @ A.T + n * np.outer(u, u)
                for half in (np.outer(s, u), -A @ np.outer(s0, u)):
                    square = square - half - half.T
            total -= 0.5 * (n * np.linalg.slogdet(cov)[1] + np.trace(np.linalg.solve(cov, square)))
    first = np.unique(design.owner, return_index=True)[1]
    return total - 0.5 * sum(
        design.ridge * np.trace(np.linalg.solve(dynamics.Q[k], dynamics.A[k] @ dynamics.A[k].T)) for k in first
    )


@pytest.mark.parametrize("has_own_noise", [False, True])
@pytest.mark.parametrize("is_smooth", [False, True])
def test_the_m_step_is_the_joint_maximum_over_a_b_and_q(small, is_smooth, has_own_noise):
    """No small change of A, b, Q, x0 or Q0 within the model gains; with b free, or linear in a basis."""
    rng = np.random.default_rng(4)
    dynamics, loadings = a_model(rng, 4, 10, 2, 8)
    owner = np.array([0, 0, 0, 1]) if is_smooth else np.arange(4)
    basis = np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 2.0], [1.0, 0.0]]) if is_smooth else np.ones((4, 1))
    onto = np.block([[basis[:3] @ np.linalg.pinv(basis[:3]), np.zeros((3, 1))], [np.zeros((1, 3)), np.eye(1)]])
    design = Design(owner, basis, has_own_noise, ridge=0.5)
    trials, condition = inputs(small, holed=True)
    moments = expect(assign(observed(trials["mouse-1"]), condition["mouse-1"]), loadings, dynamics).moments
    best = update_dynamics(moments, dynamics, design)
    top = expected_objective(moments, best, design)
    for part in range(5):
        for _ in range(6):
            change = 1e-3 * rng.normal(size=best[part].shape)
            if part in (2, 4):
                change = change + np.swapaxes(change, -1, -2)
            if part in (0, 2, 4):
                same = owner if part == 0 or has_own_noise else np.zeros(4, int)
                change = change[same]
            elif is_smooth:
                change = np.tensordot(onto, change, axes=1)
            changed = best._replace(**{best._fields[part]: best[part] + change})
            assert expected_objective(moments, changed, design) < top + 1e-9


def test_growing_dynamics_are_held_below_one():
    """Latents that double from bin to bin: A stays stable, and the step still gains."""
    rng = np.random.default_rng(5)
    z = np.cumprod(np.full((30, 8, 1), 2.0), axis=1) * rng.normal(size=(30, 1, 1))
    first, second = z.sum(axis=0)[None], np.einsum("ntd,nte->tde", z, z)[None] + 0.1
    cross = np.einsum("ntd,nte->tde", z[:, 1:], z[:, :-1])[None]
    moments = Moments(np.full((1, 8), 30.0), first, second, first[:, :-1], second[:, :-1], cross)
    begun = first_dynamics(np.zeros((1, 8, 1)), free_design(1))
    grown = update_dynamics(moments, begun, free_design(1))
    assert 0.99 < grown.A[0, 0, 0] <= 0.999
    assert expected_objective(moments, grown, free_design(1)) > expected_objective(moments, begun, free_design(1))


def test_canonical_latents_are_the_same_model(small):
    """Likelihoods are as before, latents have mean 0 and covariance I over odors and bins, and moments move along."""
    rng = np.random.default_rng(6)
    dynamics, loadings = a_model(rng, 4, 10, 3, 8)
    trials, condition = inputs(small, holed=True)
    data = observed(trials["mouse-1"])
    turned, new, G, g = canonical({"m": loadings}, dynamics)
    assert_allclose(log_evidence(data, turned["m"], new), log_evidence(data, loadings, dynamics), rtol=1e-9)
    mean, cov = marginals(new)
    assert_allclose(mean.mean(axis=(0, 1)), 0, atol=1e-12)
    total = cov.mean(axis=(0, 1)) + np.einsum("kti,ktj->ij", mean, mean) / 40
    assert_allclose(total, np.eye(3), atol=1e-12)
    explained = np.sum(turned["m"].C ** 2 / turned["m"].R[:, None], axis=0)
    assert (np.diff(explained) < 0).all()
    given = assign(data, condition["mouse-1"])
    before, after = expect(given, loadings, dynamics).moments, expect(given, turned["m"], new).moments
    for one, other in zip(moved(before, G, g), after, strict=True):
        assert_allclose(one, other, atol=1e-8)


def test_simulated_parameters_are_recovered():
    """Two mice, three odors, 60 trials: what no rotation changes is found.

    Means of units over trials have the standard error sqrt((C P C' + R) / 60), about 0.1 with the settings here; the
    fit, which smooths over units, must come closer than that. Eigenvalues of A have the standard error
    sqrt((1 - a²) / (n_trials n_lags)), 0.012 if latents were seen; twice that for noise, and 4 of them.
    """
    space = simulate_latent_space(random_state=1, n_animals=2, n_odors=3, n_trials=60, n_units=30, n_times=30)
    condition = {name: np.searchsorted(space.odors, odor) for name, odor in space.odor.items()}
    fit = learn(space.trials, condition, free_design(3, has_own_noise=True), 3, **SETTINGS | {"max_iterations": 150})
    truth, _ = marginals(Dynamics(space.A, space.b, space.Q, space.x0, space.Q))
    found, _ = marginals(fit.dynamics)
    for name in space.trials:
        expected = truth @ space.loadings[name].T
        C, offset, R = fit.loadings[name]
        away = found @ C.T + offset - expected
        by_mean = condition_means(observed(space.trials[name]), condition[name], 3).mean - expected
        assert np.sqrt(np.mean(away**2)) < 0.7 * np.sqrt(np.mean(by_mean**2))
        assert_allclose(R, space.noise[name], rtol=0.15, atol=0.01)
    for k in range(3):
        one, other = (np.sort_complex(np.linalg.eigvals(A[k])) for A in (fit.dynamics.A, space.A))
        assert np.abs(one - other).max() < 4 * 2 * np.sqrt(1 / (120 * 29))


@pytest.fixture(scope="module")
def mouse():
    """One mouse of 20 units, 5 odors, 16 trials of each."""
    space = simulate_latent_space(random_state=2, n_animals=1, n_odors=5, n_trials=16, n_units=20, n_times=12)
    return space.trials["mouse-1"], space.odor["mouse-1"]


def test_odors_are_decoded_from_trials_with_holes_bin_by_bin(mouse):
    """The posterior sharpens with time, is that of the cut trial at every bin, and ragged trials are decoded too."""
    X, y = mouse
    fitted = MixtureLDS().fit(X[:60], y[:60])
    posterior = fitted.predict_over_time(X[60:])
    right = np.mean(fitted.classes_[posterior.argmax(axis=2)] == y[60:, None], axis=0)
    assert right[-1] > 0.9 and right[-1] > right[0]
    assert_allclose(fitted.predict_proba(X[60:, :5]), posterior[:, 4], atol=1e-12)
    assert np.mean(fitted.predict(holes(X[60:], np.random.default_rng(0))) == y[60:]) > 0.8


def test_permuting_units_permutes_loadings_alone(mouse):
    """Latents and posteriors are as before."""
    X, y = mouse
    order = np.random.default_rng(0).permutation(20)
    plain, turned = MixtureLDS(max_iterations=15).fit(X, y), MixtureLDS(max_iterations=15).fit(X[:, :, order], y)
    assert_allclose(turned.loadings_, plain.loadings_[order], atol=1e-7)
    assert_allclose(turned.transform(X[:, :, order]), plain.transform(X), atol=1e-7)


def test_latents_need_no_label_and_give_the_units_back(mouse):
    """C z + offset explains most of what odors and time explain; bins after the end of a trial are NaN."""
    X, y = mouse
    fitted = MixtureLDS().fit(X[:60], y[:60])
    Z = fitted.transform(holes(X[60:], np.random.default_rng(0)))
    assert_array_equal(np.isnan(Z).any(axis=(1, 2)), np.arange(20) % 3 == 0)
    Z = fitted.transform(X[60:])
    residual = X[60:] - fitted.inverse_transform(Z)
    assert_allclose(residual.var(axis=(0, 1)), fitted.noise_, rtol=0.5, atol=0.02)


def test_without_labels_there_is_one_class(mouse):
    """For looking: one system with a free mean course; the likelihood of held-out trials is lower than with odors."""
    X, y = mouse
    plain, odors = MixtureLDS().fit(X[:60]), MixtureLDS().fit(X[:60], y[:60])
    assert plain.classes_.tolist() == [None]
    assert plain.log_likelihood(X[60:]).mean() < odors.log_likelihood(X[60:]).mean()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_latents": 0}, ConfigError, "n_latents must be a whole number of at least 1, got 0"),
        ({"n_latents": 21}, SchemaError, "at most 20 latents in 20 units"),
        ({"tolerance": 0.0}, ConfigError, "tolerance must be a positive number, got 0.0"),
        ({"ridge": -1.0}, ConfigError, "ridge must be a positive number"),
        ({"max_iterations": 0}, ConfigError, "max_iterations must be a whole number of at least 1"),
        ({"n_restarts": -1}, ConfigError, "n_restarts must be a whole number of at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(mouse, parameters, error, message):
    """With the value that came."""
    with pytest.raises(error, match=message):
        MixtureLDS(**parameters).fit(*mouse)


def test_bad_input_is_refused(mouse):
    """Labels of another number, and trials that are longer than those of the fit."""
    X, y = mouse
    with pytest.raises(SchemaError, match="one label for each of 80 trials, got shape .79"):
        MixtureLDS().fit(X, y[1:])
    fitted = MixtureLDS(max_iterations=2).fit(X[:, :6], y)
    with pytest.raises(SchemaError, match="was fitted on 6 bins a trial and got 12. Cut the same window"):
        fitted.predict(X)


def test_restarts_never_end_lower(mouse):
    """The best of several starts is at least as good as the one start, after the short runs that compare them."""
    X, y = mouse
    one, several = (MixtureLDS(max_iterations=9, n_restarts=n).fit(X, y) for n in (0, 3))
    assert several.objective_[7] >= one.objective_[7]
