"""GPFA: the dense joint Gaussian written out, the linear-time form, learning that never falls, simulated latents."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.gaussian_process import CHAIN_ERROR, KERNELS, chain, covariance, covariance_and_slope
from mitral.decode.trajectories.gpfa import GPFA
from mitral.decode.trajectories.gpfa_inference import Model, dense_posterior, linear_means, linear_posterior
from mitral.decode.trajectories.gpfa_learning import Learner, _Space, segments
from mitral.decode.trajectories.missing import observed

MATERN = KERNELS[1:]


def kappa(kernel, lag, tau):
    """The kernels, from their definitions."""
    r = np.abs(lag) / tau
    if kernel == "squared_exponential":
        return np.exp(-(r**2) / 2)
    a = {"matern12": 1.0, "matern32": np.sqrt(3), "matern52": np.sqrt(5)}[kernel] * r
    return {"matern12": 1.0, "matern32": 1 + a, "matern52": 1 + a + a**2 / 3}[kernel] * np.exp(-a)


def simulated(
    *, n_trials=12, n_times=20, n_units=8, timescale=(3.0, 8.0), kernel="squared_exponential", noise=0.6, seed=0
):
    """Activity of the model: (X, x, model), timescales in bins."""
    rng = np.random.default_rng(seed)
    K = covariance(kernel, np.array(timescale), 1e-3, n_times)
    x = np.stack([rng.multivariate_normal(np.zeros(n_times), one, n_trials) for one in K], axis=2)
    C = rng.normal(size=(n_units, len(timescale)))
    offset, R = rng.normal(size=n_units), noise * rng.uniform(0.5, 1.5, n_units)
    X = x @ C.T + offset + rng.normal(size=(n_trials, n_times, n_units)) * np.sqrt(R)
    return X, x, Model(C, offset, R, np.array(timescale), kernel, 1e-3)


def with_holes(X, seed=0):
    """Shorter trials, a unit that is missing in some, single bins and a whole bin that are missing."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random(X.shape) < 0.05, np.nan, X)
    X[1, 13:], X[2, 9:], X[3, 13:] = np.nan, np.nan, np.nan
    X[4:6, :, 2], X[5, 7] = np.nan, np.nan
    return X


def joint(y, model):
    """Mean (T, q), covariance (T, q, T, q) of x given y (T, n_units), and log p(y), from the joint Gaussian."""
    there = ~np.isnan(y)
    n_times, q = len(y), model.C.shape[1]
    lag = np.arange(n_times)[:, None] - np.arange(n_times)
    prior = np.zeros((n_times, q, n_times, q))
    for k, tau in enumerate(model.timescale):
        prior[:, k, :, k] = (1 - model.white) * kappa(model.kernel, lag, tau) + model.white * (lag == 0)
    prior = prior.reshape(n_times * q, n_times * q)
    load = np.kron(np.eye(n_times), model.C)[there.ravel()]
    total = load @ prior @ load.T + np.diag(np.tile(model.R, n_times)[there.ravel()])
    rest = (y - model.offset)[there]
    gain = np.linalg.solve(total, load @ prior).T
    log_p = multivariate_normal(np.zeros(len(rest)), total).logpdf(rest)
    cov = prior - gain @ load @ prior
    return (gain @ rest).reshape(n_times, q), cov.reshape(n_times, q, n_times, q), log_p


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", [dense_posterior, linear_posterior])
def test_the_posterior_is_that_of_the_joint_gaussian(kernel, form):
    """Means, covariances and likelihood with ragged trials, missing units and bins: 1e-8, and 1e-5 where stated."""
    tolerance = 2e-5 if kernel == "squared_exponential" and form is linear_posterior else 1e-8
    X, _, model = simulated(kernel=kernel)
    X = with_holes(X)
    data = observed(X)
    found = form(data, model)
    for trial, y in enumerate(X):
        n_bins = data.n_bins[data.pattern[trial]]
        mean, cov, log_p = joint(y[:n_bins], model)
        assert_allclose(found.mean[trial, :n_bins], mean, atol=tolerance)
        assert np.isnan(found.mean[trial, n_bins:]).all()
        assert_allclose(
            found.cov[data.pattern[trial], :n_bins], np.einsum("taib,ti->tab", cov, np.eye(n_bins)), atol=tolerance
        )
        assert_allclose(found.log_likelihood[trial], log_p, rtol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("white", [1e-6, 0.2])
def test_one_pass_over_trials_of_all_lengths_is_each_trial_by_itself(kernel, white):
    """The covariances that trials of unequal length share are those of each trial alone."""
    tolerance = 2e-5 if kernel == "squared_exponential" else 1e-8
    X, _, model = simulated(kernel=kernel, n_times=60, timescale=(1.5, 12.0))
    for trial, n_bins in enumerate((60, 41, 1, 7, 59)):
        X[trial, n_bins:] = np.nan
    model = model._replace(white=white)
    one_pass, each = linear_means(observed(X), model), dense_posterior(observed(X), model)
    assert_allclose(one_pass.mean, each.mean, atol=tolerance)
    assert_allclose(one_pass.log_likelihood, each.log_likelihood, rtol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("tau", [0.2, 1.0, 7.0, 90.0])
def test_the_chain_has_the_covariance_of_the_kernel(kernel, tau):
    """At every lag the covariance of the chain is the kernel, within the error that is stated for it."""
    made = chain(kernel, np.array([tau]), 0.0)
    state, found = made.Q0 @ made.readout[0], []
    for _ in range(300):
        found.append(made.readout[0] @ state)
        state = made.A @ state
    assert_allclose(found, kappa(kernel, np.arange(300), tau), atol=CHAIN_ERROR[kernel])
    assert_allclose(made.A @ made.Q0 @ made.A.T + made.Q, made.Q0, atol=1e-12)
    assert np.linalg.eigvalsh(made.Q).min() > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_slope_of_the_kernel_is_its_derivative(kernel):
    """In log timescale, against central differences."""
    tau, step = np.array([0.7, 4.0]), 1e-5
    _, slope = covariance_and_slope(kernel, tau, 0.01, 12)
    ends = [covariance(kernel, tau * np.exp(sign * step), 0.01, 12) for sign in (1, -1)]
    assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("kernel", ["squared_exponential", "matern32"])
def test_the_slope_of_the_likelihood_is_its_derivative(kernel):
    """In all parameters at once, against finite differences, with holes."""
    X, _, model = simulated(kernel=kernel, n_times=10)
    learner = Learner(observed(with_holes(X[:7])), np.full(8, 1e-3))
    space = _Space(learner, model)
    off = space.start + 0.1 * np.random.default_rng(0).normal(size=len(space.start))

    def likelihood(vector):
        return learner.moments(space.model(vector))[1]

    error = check_grad(likelihood, lambda v: space.flat(learner.slope(space.model(v))[1]), off, epsilon=1e-6)
    assert error < 1e-4 * np.linalg.norm(space.flat(learner.slope(space.model(off))[1]))
    assert_allclose(likelihood(off), dense_posterior(learner.data, space.model(off)).log_likelihood.sum(), rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("optimiser", ["em", "quasi_newton"])
def test_learning_never_lowers_the_likelihood(kernel, optimiser):
    """With holes and ragged trials too, and the last value is the score of the trials."""
    X, *_ = simulated(kernel=kernel, n_times=14, n_trials=10)
    X = with_holes(X)
    fitted = GPFA(2, kernel=kernel, optimiser=optimiser, tol=0.0, max_iter=25, form="dense").fit(X)
    said = fitted.log_likelihoods_
    assert len(said) > 10 and said[-1] > said[0] + 1
    assert (np.diff(said) > -1e-8 * abs(said[0])).all()
    n_bins = (~np.isnan(X)).any(axis=2).sum()
    assert fitted.score(X) * n_bins >= said[-1] - 1e-6


def test_quasi_newton_ends_where_em_ends():
    """Both find the same maximum; EM needs more passes."""
    X, *_ = simulated(n_trials=30, noise=0.3)
    quick = GPFA(2, tol=1e-9).fit(X)
    slow = GPFA(2, tol=1e-9, optimiser="em", max_iter=2000).fit(X)
    assert_allclose(quick.score(X), slow.score(X), rtol=1e-6)
    assert_allclose(quick.timescale_s_, slow.timescale_s_, rtol=1e-2)
    assert quick.n_iter_ < slow.n_iter_


def test_simulated_latents_and_timescales_are_recovered():
    """Over eight simulations: subspace within 5°, R² of latents above 0.9, timescales within 3 standard errors.

    Standard errors over simulations: below 0.6° for the angle, 0.01 for R², 5 % for the timescales.
    """
    angle, r2, log_ratio = [], [], []
    for seed in range(8):
        X, x, model = simulated(n_trials=60, n_times=25, n_units=30, timescale=(2.0, 6.0), seed=seed)
        fitted = GPFA(2, bin_width_s=0.02).fit(X)
        angle.append(np.degrees(subspace_angles(fitted.loadings_, model.C).max()))
        found = fitted.transform(X).reshape(-1, 2)
        truth = x.reshape(-1, 2)
        rest = truth - found @ np.linalg.lstsq(found, truth, rcond=None)[0]
        r2.append(1 - np.square(rest).sum() / np.square(truth).sum())
        log_ratio.append(np.log(np.sort(fitted.timescale_s_) / 0.02 / [2.0, 6.0]))
    error = np.std(log_ratio, axis=0, ddof=1) / np.sqrt(8)
    assert np.std(angle, ddof=1) / np.sqrt(8) < 0.6 and np.std(r2, ddof=1) / np.sqrt(8) < 0.01 and (error < 0.05).all()
    assert np.mean(angle) < 5 and np.mean(r2) > 0.9
    assert (np.abs(np.mean(log_ratio, axis=0)) < 3 * error + 0.01).all()


def test_bin_width_only_names_the_unit_of_timescales():
    """Twice the bin width gives twice the timescale in s, and the same latents."""
    X, *_ = simulated()
    narrow, wide = GPFA(2, bin_width_s=0.01).fit(X), GPFA(2, bin_width_s=0.02).fit(X)
    assert_allclose(wide.timescale_s_, 2 * narrow.timescale_s_)
    assert_allclose(wide.transform(X), narrow.transform(X))


def test_latents_are_orthonormalised_ordered_and_signed():
    """U is orthonormal, U z is C x, shared variance descends, largest loadings are positive, units may be turned."""
    X, *_ = simulated(timescale=(3.0, 8.0, 5.0))
    fitted, turned = GPFA(3).fit(X), GPFA(3).fit(X[:, :, ::-1])
    U = fitted.loadings_
    assert_allclose(U.T @ U, np.eye(3), atol=1e-10)
    assert_allclose(U @ fitted.rotation_, fitted.C_, atol=1e-10)
    assert (np.diff(fitted.explained_variance_ratio_) < 0).all()
    assert (np.take_along_axis(U, np.abs(U).argmax(axis=0)[None], axis=0) > 0).all()
    plain = dense_posterior(observed(X), fitted._model()).mean @ fitted.C_.T + fitted.offset_
    assert_allclose(fitted.inverse_transform(fitted.transform(X)), plain, atol=1e-10)
    assert_allclose(turned.score(X[:, :, ::-1]), fitted.score(X), rtol=1e-5)


@pytest.mark.parametrize("form", ["dense", "linear"])
def test_a_left_out_unit_is_predicted_from_the_others_alone(form):
    """Its own activity has no say: the prediction is the joint Gaussian's with that unit taken out."""
    X, *_ = simulated(n_trials=6, kernel="matern32")
    X[1, 12:] = np.nan
    fitted = GPFA(2, kernel="matern32", form=form, max_iter=20).fit(X)
    predicted = fitted.leave_unit_out(X)
    y = X[1, :12].copy()
    y[:, 3] = np.nan
    mean, *_ = joint(y, fitted._model())
    assert_allclose(predicted[1, :12, 3], mean @ fitted.C_[3] + fitted.offset_[3], atol=1e-7)
    assert np.isnan(predicted[1, 12:]).all()


def test_posterior_of_the_estimator_is_rotated_with_its_latents():
    """Mean as ``transform``; covariances turned by the same matrix; NaN behind a shorter trial."""
    X, *_ = simulated()
    X[2, 9:] = np.nan
    fitted = GPFA(2).fit(X)
    mean, cov = fitted.posterior(X)
    assert_allclose(mean, fitted.transform(X), atol=1e-10)
    expected = joint(X[2, :9], fitted._model())[1][4, :, 4, :]
    assert_allclose(cov[2, 4], fitted.rotation_ @ expected @ fitted.rotation_.T, atol=1e-9)
    assert np.isnan(cov[2, 9:]).all()


def test_units_that_never_change_do_no_harm():
    """A silent unit leaves the latents of the others alone, and its first spike is not impossible."""
    X, *_ = simulated()
    silent = np.concatenate([X, np.zeros((12, 20, 1))], axis=2)
    fitted, without = GPFA(2, tol=1e-8).fit(silent), GPFA(2, tol=1e-8).fit(X)
    assert_allclose(fitted.transform(silent), without.transform(X), atol=1e-3)
    new = silent[:1].copy()
    new[0, 0, 8] = 1.0
    assert fitted.log_likelihood(new)[0] > fitted.log_likelihood(silent[:1])[0] - 10


def test_long_trials_are_cut_for_the_fit():
    """Pieces as equal as can be, nothing twice, nothing lost; short trials stay whole."""
    X = np.arange(2 * 11.0).reshape(2, 11, 1)
    X[1, 4:] = np.nan
    cut = segments(X, np.array([11, 4]), 5)
    lengths = (~np.isnan(cut[:, :, 0])).sum(axis=1)
    assert lengths.tolist() == [4, 4, 3, 4]
    assert cut[~np.isnan(cut)].tolist() == [*range(11), 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kernel": "cosine"}, "kernel is one of squared_exponential, matern12, matern32, matern52, got 'cosine'"),
        ({"form": "fast"}, "form is 'auto', 'dense' or 'linear', got 'fast'"),
        ({"optimiser": "adam"}, "optimiser is 'quasi_newton' or 'em', got 'adam'"),
        ({"white": 0.0}, "white is a share from 1e-06 to below 1, got 0.0"),
        ({"bin_width_s": 0.0}, "bin_width_s must be a positive number, got 0.0"),
        ({"start_timescale_s": -1.0}, "start_timescale_s must be a positive number, got -1.0"),
        ({"segment_bins": 0}, "segment_bins must be a whole number of at least 1, got 0"),
        ({"n_latents": 0}, "n_latents must be a whole number of at least 1, got 0"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, said):
    """By name, with what they may be."""
    with pytest.raises(ConfigError, match=said):
        GPFA(**parameters).fit(simulated()[0])


def test_activity_that_cannot_be_fitted_is_refused():
    """More latents than units, constant units, a unit that is never there, a trial of nothing but NaN, one unit."""
    X, *_ = simulated()
    with pytest.raises(SchemaError, match="GPFA: there are at most 8 latents in 8 units"):
        GPFA(9).fit(X)
    with pytest.raises(SchemaError, match="GPFA: all 8 units are constant"):
        GPFA(2).fit(np.ones((5, 6, 8)))
    absent = X.copy()
    absent[:, :, 3] = np.nan
    with pytest.raises(SchemaError, match="GPFA: the unit at position 3 is NaN in all 12 trials"):
        GPFA(2).fit(absent)
    absent = X.copy()
    absent[4] = np.nan
    with pytest.raises(SchemaError, match="GPFA: 1 trials are NaN in every bin and unit, the first at position 4"):
        GPFA(2, max_iter=3).fit(X).score(absent)
    with pytest.raises(SchemaError, match="GPFA: there is one unit, and no other to predict it from"):
        GPFA(1, max_iter=3).fit(X[:, :, :1]).leave_unit_out(X[:, :, :1])


@pytest.mark.parametrize("form", ["dense", "linear"])
def test_a_unit_that_alone_reaches_the_end_of_a_trial_is_predicted_there(form):
    """Where all others have ended the latents are carried on, in either form."""
    X, *_ = simulated(n_trials=6)
    X[1, 12:, 1:] = np.nan
    fitted = GPFA(2, form=form, max_iter=20).fit(X)
    y = X[1].copy()
    y[:, 0] = np.nan
    mean, *_ = joint(y, fitted._model())
    assert_allclose(fitted.leave_unit_out(X)[1, :, 0], mean @ fitted.C_[0] + fitted.offset_[0], atol=2e-5)
