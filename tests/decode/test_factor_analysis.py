"""Factor analysis and probabilistic PCA: scikit-learn's, the joint Gaussian written out, and simulated latents."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA as TwoAxisPCA
from sklearn.decomposition import FactorAnalysis as TwoAxisFactorAnalysis

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.trajectories.factor_analysis import FactorAnalysis, ProbabilisticPCA

BOTH = pytest.mark.parametrize("method", [FactorAnalysis, ProbabilisticPCA])


def population(*, n_trials=40, n_times=6, n_units=9, n_latents=3, seed=0, noise=(0.5, 2.0)):
    """Activity of the model: (X, W, z)."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n_units, n_latents))
    z = rng.normal(size=(n_trials, n_times, n_latents))
    return z @ W.T + 3 + rng.normal(size=(n_trials, n_times, n_units)) * rng.uniform(*noise, n_units), W, z


def flat(X):
    """Every bin of every trial as a sample."""
    return X.reshape(-1, X.shape[2])


@pytest.mark.parametrize("n_latents", [1, 3])
def test_factor_analysis_is_that_of_sklearn(n_latents):
    """Loadings, noise, latents and held-out likelihood, to rounding, after the same iterations."""
    X, *_ = population()
    train, test = X[:30], X[30:]
    mine = FactorAnalysis(n_latents, tol=1e-6).fit(train)
    theirs = TwoAxisFactorAnalysis(n_latents, tol=1e-6, svd_method="lapack").fit(flat(train))
    sign = np.sign(np.sum(mine.loadings_ * theirs.components_.T, axis=0))
    assert mine.n_iter_ == theirs.n_iter_
    assert_allclose(mine.loadings_ * sign, theirs.components_.T, atol=1e-8)
    assert_allclose(mine.noise_variance_, theirs.noise_variance_, atol=1e-8)
    assert_allclose(flat(mine.transform(test)) * sign, theirs.transform(flat(test)), atol=1e-8)
    assert_allclose(mine.score(test), theirs.score(flat(test)), rtol=1e-10)


def test_probabilistic_pca_is_that_of_sklearn():
    """Held-out likelihood, noise variance and the subspace of scikit-learn's PCA."""
    X, *_ = population()
    mine, theirs = ProbabilisticPCA(3).fit(X[:30]), TwoAxisPCA(3).fit(flat(X[:30]))
    assert_allclose(mine.score(X[30:]), theirs.score(flat(X[30:])), rtol=1e-10)
    assert_allclose(mine.noise_variance_, theirs.noise_variance_, rtol=1e-10)
    assert subspace_angles(mine.loadings_, theirs.components_.T).max() < 1e-7


@BOTH
def test_the_score_is_the_gaussian_density(method):
    """Mean log density of N(mean, W W' + diag psi), from scipy."""
    X, *_ = population()
    fitted = method(2).fit(X)
    cov = fitted.loadings_ @ fitted.loadings_.T + np.diag(fitted.noise_variance_)
    assert_allclose(fitted.score(X[:3]), multivariate_normal(fitted.mean_, cov).logpdf(flat(X[:3])).mean(), rtol=1e-10)


@BOTH
def test_latents_and_left_out_units_are_conditional_means_of_the_joint_gaussian(method):
    """E[z | x] and E[x_u | the other units], from the covariance of (z, x) written out."""
    X, *_ = population()
    fitted = method(2).fit(X)
    W, x = fitted.loadings_, X[4, 2] - fitted.mean_
    cov = W @ W.T + np.diag(fitted.noise_variance_)
    assert_allclose(fitted.transform(X)[4, 2], W.T @ np.linalg.solve(cov, x), atol=1e-10)
    others = np.arange(9) != 5
    expected = cov[5, others] @ np.linalg.solve(cov[np.ix_(others, others)], x[others]) + fitted.mean_[5]
    assert_allclose(fitted.leave_unit_out(X)[4, 2, 5], expected, atol=1e-10)


@BOTH
def test_loadings_are_ordered_and_signed(method):
    """By variance (of FA in units of the noise), the largest loading of each latent positive; units turned or not."""
    X, *_ = population()
    fitted, turned = method(3).fit(X), method(3).fit(X[:, :, ::-1])
    weighted = fitted.loadings_ / np.sqrt(fitted.noise_variance_)[:, None]
    gram = weighted.T @ weighted
    assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-8)
    assert (np.diff(np.diag(gram)) < 0).all()
    assert (np.take_along_axis(fitted.loadings_, np.abs(fitted.loadings_).argmax(axis=0)[None], 0) > 0).all()
    assert_allclose(turned.loadings_[::-1], fitted.loadings_, atol=1e-6)


def test_the_likelihood_of_factor_analysis_never_falls():
    """Each iteration adds to it or stands still, and the last is the training score."""
    X, *_ = population(seed=3)
    fitted = FactorAnalysis(2, tol=0.0, max_iter=60).fit(X)
    assert (np.diff(fitted.log_likelihoods_) > -1e-7).all()
    assert_allclose(fitted.log_likelihoods_[-1], 240 * fitted.score(X), rtol=1e-3)


@BOTH
def test_reconstruction_is_the_loadings_times_the_latents(method):
    """``inverse_transform`` of all-but-noiseless activity gives it back."""
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(30, 5, 2)) @ rng.normal(size=(2, 7))
    fitted = method(2).fit(clean + 1e-3 * rng.normal(size=clean.shape))
    assert_allclose(fitted.inverse_transform(fitted.transform(clean)), clean, atol=0.02)  # 10 sd of the noise


@BOTH
def test_simulated_latents_are_recovered(method):
    """Over ten simulations: mean R² of the true latents from the found ones above 0.93, largest angle below 10°.

    The standard error of the mean R² over simulations is below 0.005, and that of the angle below 0.5°.
    """
    r2, angle = [], []
    for seed in range(10):
        X, W, z = population(n_trials=100, n_units=40, seed=seed)
        fitted = method(3).fit(X)
        angle.append(np.degrees(subspace_angles(fitted.loadings_, W).max()))
        found = np.column_stack([flat(fitted.transform(X)), np.ones(600)])
        rest = flat(z) - found @ np.linalg.lstsq(found, flat(z), rcond=None)[0]
        r2.append(1 - np.square(rest).sum() / np.square(flat(z) - flat(z).mean(axis=0)).sum())
    assert np.std(r2, ddof=1) / np.sqrt(10) < 0.005 and np.std(angle, ddof=1) / np.sqrt(10) < 0.5
    assert np.mean(r2) > 0.93 and np.mean(angle) < 10


@BOTH
def test_units_that_never_change_do_no_harm(method):
    """A silent unit leaves the latents of the others alone, and its first spike is not impossible."""
    X, *_ = population()
    X[:, :, 4] = 0.0
    fitted = method(2).fit(X)
    new = X[:1].copy()
    new[0, 0, 4] = 1.0
    assert np.isfinite(fitted.transform(new)).all()
    assert fitted.score(new) > fitted.score(X[:1]) - 10


@BOTH
def test_what_cannot_be_fitted_is_refused(method):
    """More latents than units or bins, constant activity, no number of latents."""
    X, *_ = population()
    name = method.__name__
    with pytest.raises(SchemaError, match=f"{name}: there are at most 9 latents in 9 units and 240 bins .* is 10"):
        method(10).fit(X)
    with pytest.raises(SchemaError, match="at most 2 latents in 9 units and 2 bins"):
        method(3).fit(X[:1, :2])
    with pytest.raises(SchemaError, match=f"{name}: all 9 units are constant"):
        method(2).fit(np.ones((4, 3, 9)))
    with pytest.raises(ConfigError, match=f"{name}: n_latents must be a whole number of at least 1, got 2.5"):
        method(2.5).fit(X)


def test_probabilistic_pca_needs_noise():
    """As many latents as units, or activity that they explain whole, leaves no noise to model."""
    X, *_ = population()
    with pytest.raises(SchemaError, match="9 latents in 9 units leave no unit of noise"):
        ProbabilisticPCA(9).fit(X)
    rng = np.random.default_rng(0)
    with pytest.raises(SchemaError, match="2 latents explain all variance of 24 bins"):
        ProbabilisticPCA(2).fit(rng.normal(size=(6, 4, 2)) @ rng.normal(size=(2, 5)))


def test_the_number_of_iterations_is_checked():
    """None is no fit."""
    with pytest.raises(ConfigError, match="max_iter must be a whole number of at least 1, got 0"):
        FactorAnalysis(2, max_iter=0).fit(population()[0])
