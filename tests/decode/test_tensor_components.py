"""Tensor components: recovered up to order and sign, TensorLy's own error, new trials by least squares."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.datasets.errors import ConfigError, MissingDependency, SchemaError
from mitral.decode.trajectories.tensor_components import TensorComponents


def components(seed, *, n_trials=30, n_times=15, n_units=12, rank=3, noise=0.0):
    """Activity and its factors: sizes per trial, smooth time courses, loadings."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=(n_trials, rank)), rng.normal(size=(n_units, rank))
    b = np.exp(
        -0.5 * np.square(np.arange(n_times)[:, None] - n_times * rng.permutation(np.linspace(0.2, 0.8, rank))) / 4
    )
    X = np.einsum("nr,tr,ur->ntu", a, b, c)
    return X + noise * X.std() * rng.normal(size=X.shape), (a, b, c)


def cosines(found, truth):
    """Absolute cosine of each true component with the found one that is nearest in all three factors, (3, rank)."""
    each = [
        np.abs((one / np.linalg.norm(one, axis=0)).T @ (other / np.linalg.norm(other, axis=0)))
        for one, other in zip(found, truth, strict=True)
    ]
    nearest = np.prod(each, axis=0).argmax(axis=0)
    assert sorted(nearest) == list(range(len(nearest)))
    return np.array([cosine[nearest, np.arange(len(nearest))] for cosine in each])


@pytest.fixture
def tensorly():
    """The library, or the test is skipped."""
    return pytest.importorskip("tensorly")


def fitted(model):
    """Its three factors."""
    return model.trial_factors_, model.time_courses_, model.loadings_


def test_components_are_found_up_to_order_and_sign(tensorly):
    """Without noise exactly, in all three factors, and the activity is given back."""
    X, truth = components(0)
    model = TensorComponents(3, tol=1e-12).fit(X)
    assert_allclose(cosines(fitted(model), truth), 1, atol=1e-6)
    assert_allclose(model.inverse_transform(model.transform(X)), X, atol=1e-5)


def test_components_are_recovered_from_noise(tensorly):
    """Ten simulations with as much noise as signal: cosines of the factors, and the signal explained, with errors."""
    found, explained = [], []
    for seed in range(10):
        X, truth = components(seed, noise=1.0)
        model = TensorComponents(3, n_restarts=2).fit(X)
        found.append(cosines(fitted(model), truth).min())
        signal = np.einsum("nr,tr,ur->ntu", *truth)
        left = signal - model.inverse_transform(model.transform(X))
        explained.append(1 - np.sum(left**2) / np.sum(signal**2))
    for values in (found, explained):
        error = np.std(values, ddof=1) / np.sqrt(10)
        assert np.mean(values) - 3 * error > 0.93 and error < 0.015


def test_the_error_is_that_of_the_library(tensorly):
    """parafac of the same activity from its own start reaches the same error and the same components."""
    from tensorly.decomposition import parafac

    X, _ = components(1, noise=0.5)
    model = TensorComponents(3, tol=1e-10).fit(X)
    theirs = parafac(X, 3, n_iter_max=2000, tol=1e-12, init="svd")
    left = np.linalg.norm(X - tensorly.cp_to_tensor(theirs)) / np.linalg.norm(X)
    assert_allclose(model.error_of_starts_.min(), left, rtol=1e-6)
    assert_allclose(cosines(fitted(model), theirs.factors), 1, atol=1e-4)


def test_a_new_trial_has_its_least_squares_sizes(tensorly):
    """As a regression of the whole trial on the components, and independent of the other trials."""
    X, _ = components(2, noise=0.5)
    model = TensorComponents(3).fit(X[:20])
    design = np.einsum("tr,ur->tur", model.time_courses_, model.loadings_).reshape(-1, 3)
    expected = np.linalg.lstsq(design, X[20:].reshape(10, -1).T, rcond=None)[0].T
    assert_allclose(model.trial_sizes(X[20:]), expected, atol=1e-9)
    assert_allclose(model.transform(X[25:26]), expected[5:6, None] * model.time_courses_, atol=1e-9)
    assert_allclose(model.trial_factors_, model.trial_sizes(X[:20]))


def test_shares_of_variance_add_up(tensorly):
    """Of components that explain everything, they sum to one; and they descend."""
    X, _ = components(3)
    shares = TensorComponents(3, tol=1e-12).fit(X).explained_variance_ratio_
    assert_allclose(shares.sum(), 1, atol=1e-5)
    assert (np.diff(shares) <= 0).all()


def test_scale_and_sign_are_settled(tensorly):
    """Loadings of length one, time courses of mean square one, both with their largest value positive."""
    model = TensorComponents(3).fit(components(4, noise=0.3)[0])
    assert_allclose(np.linalg.norm(model.loadings_, axis=0), 1)
    assert_allclose(np.mean(model.time_courses_**2, axis=0), 1)
    for factor in (model.loadings_, model.time_courses_):
        assert (factor[np.abs(factor).argmax(axis=0), np.arange(3)] > 0).all()


def test_starts_agree_on_what_is_there_and_not_on_more(tensorly):
    """At the true number of components every start finds the same ones; with noise fitted too, they differ."""
    X, _ = components(5, noise=0.5)
    assert TensorComponents(3).fit(X).similarity_of_starts_.min() > 0.99
    assert TensorComponents(6, max_iter=100).fit(X).similarity_of_starts_.min() < 0.9


@pytest.mark.parametrize(
    ("n_latents", "change", "said"),
    [
        (3, lambda X: X[:1], "1 trials of 15 bins are a matrix"),
        (3, lambda X: X[:, :1], "30 trials of 1 bins are a matrix"),
        (13, lambda X: X, "at most 12 latents in 12 units"),
        (3, np.ones_like, "all 12 units are constant"),
        (3, lambda X: np.where(np.arange(30)[:, None, None] == 7, np.nan, X), "cannot take NaN, and 1 trials .* 7"),
    ],
)
def test_what_cannot_be_learned_is_refused(n_latents, change, said):
    """With what came and what to do."""
    with pytest.raises(SchemaError, match=said):
        TensorComponents(n_latents).fit(change(components(6)[0]))


@pytest.mark.parametrize("settings", [{"n_latents": 0}, {"n_restarts": 0}, {"max_iter": 1.5}, {"tol": 0}])
def test_settings_out_of_range_are_refused(settings):
    """At the fit, by name."""
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} must be a"):
        TensorComponents(**settings).fit(components(7)[0])


def test_trials_of_other_bins_are_refused(tensorly):
    """A time course has a size only in the bins that it was learned in."""
    X, _ = components(8)
    with pytest.raises(SchemaError, match="fitted on trials of 15 bins and got 14"):
        TensorComponents(2).fit(X).transform(X[:, :14])


def test_without_the_library_the_install_line_is_told(monkeypatch):
    """It is optional."""
    monkeypatch.setitem(sys.modules, "tensorly.decomposition", None)
    with pytest.raises(MissingDependency, match=r'need tensorly, not installed: pip install "mitral\[tensor\]"'):
        TensorComponents(2).fit(components(9)[0])
