"""Reducers on three axes: PCA is an eigendecomposition, blind to rotation; the adapter adds nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.decomposition import PCA as TwoAxisPCA
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.decode.trajectories import REDUCERS, make_reducer
from mitral.decode.trajectories.pca import PCA
from mitral.decode.trajectories.per_bin import PerBin


def population(*, n_trials=12, n_times=5, n_units=7, seed=0):
    """Correlated activity (n_trials, n_times, n_units) far from zero."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_trials, n_times, n_units)) @ rng.normal(size=(n_units, n_units)) + 5.0


def test_pca_is_that_of_sklearn():
    """Same latents and variances as scikit-learn's on bins as samples, up to the sign of each latent."""
    X = population()
    mine, theirs = PCA(3).fit(X), TwoAxisPCA(3).fit(X.reshape(-1, 7))
    expected = theirs.transform(X.reshape(-1, 7)).reshape(12, 5, 3)
    sign = np.sign(np.sum(mine.transform(X) * expected, axis=(0, 1)))
    assert_allclose(mine.transform(X) * sign, expected, atol=1e-9)
    assert_allclose(mine.explained_variance_ratio_, theirs.explained_variance_ratio_)


def test_pca_is_the_eigendecomposition_of_the_covariance():
    """Loadings are eigenvectors, explained variance the eigenvalues' share, latents uncorrelated."""
    X = population()
    fitted = PCA(7).fit(X)
    covariance = np.cov(X.reshape(-1, 7).T)
    values = np.linalg.eigvalsh(covariance)[::-1]
    assert_allclose(covariance @ fitted.loadings_, fitted.loadings_ * values, atol=1e-9)
    assert_allclose(fitted.explained_variance_ratio_, values / values.sum())
    assert_allclose(np.cov(fitted.transform(X).reshape(-1, 7).T), np.diag(values), atol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_a_rotation_of_the_units_changes_no_latent(seed):
    """Rotated activity has the same latents, up to sign, and the same explained variance."""
    X = population(seed=seed)
    rotation = ortho_group(7, seed=seed % 1000).rvs()
    plain, rotated = PCA(2).fit(X), PCA(2).fit(X @ rotation)
    assert_allclose(rotated.explained_variance_ratio_, plain.explained_variance_ratio_)
    assert_allclose(np.abs(rotated.transform(X @ rotation)), np.abs(plain.transform(X)), atol=1e-6)  # near ties


def test_all_latents_reconstruct_the_activity():
    """As many latents as units lose nothing."""
    X = population()
    fitted = PCA(7).fit(X)
    assert_allclose(fitted.inverse_transform(fitted.transform(X)), X)


def test_latents_of_a_plane_reconstruct_it():
    """Activity that lies in two dimensions is given back by two latents, which explain all of it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10, 4, 2)) @ rng.normal(size=(2, 7)) + rng.normal(size=7)
    fitted = PCA(2).fit(X)
    assert_allclose(fitted.inverse_transform(fitted.transform(X)), X)
    assert_allclose(fitted.explained_variance_ratio_.sum(), 1.0)


def test_reconstruction_loses_the_variance_that_is_not_explained():
    """Mean squared loss is the sum of the eigenvalues that were left out."""
    X = population()
    fitted = PCA(3).fit(X)
    loss = np.sum((X - fitted.inverse_transform(fitted.transform(X))) ** 2)
    total = np.sum((X - X.mean(axis=(0, 1))) ** 2)
    assert_allclose(loss, total * (1 - fitted.explained_variance_ratio_.sum()))


def test_the_largest_loading_is_positive():
    """Signs are settled, so that two runs draw the same picture."""
    loadings = PCA(7).fit(population()).loadings_
    assert np.all(loadings[np.abs(loadings).argmax(axis=0), np.arange(7)] > 0)


def test_integers_and_floats_give_the_same():
    """Counts in the smallest integer type are computed in float64."""
    counts = np.random.default_rng(0).poisson(3.0, (10, 4, 5))
    assert_array_equal(PCA(2).fit_transform(counts.astype(np.uint8)), PCA(2).fit_transform(counts.astype(float)))


def test_fit_leaves_parameters_and_input_alone():
    """What learns is marked by an underscore; a clone of a fitted reducer is unfitted."""
    X = population()
    before = X.copy()
    fitted = PCA(2).fit(X)
    assert fitted.get_params() == {"n_latents": 2}
    assert [name for name in vars(fitted) if not name.endswith("_")] == ["n_latents"]
    assert list(vars(clone(fitted))) == ["n_latents"]
    assert_array_equal(X, before)


def test_the_adapter_is_the_method_on_all_bins():
    """Every bin of every trial is a sample, and gets its place back."""
    X = population()
    mine = PerBin(TruncatedSVD(3, random_state=0)).fit(X)
    theirs = TruncatedSVD(3, random_state=0).fit(X.reshape(60, 7))
    for trial in (0, 11):
        assert_allclose(mine.transform(X)[trial], theirs.transform(X[trial]))


def test_the_adapter_takes_no_nan_and_says_so():
    """Its tag differs from that of transformers that let NaN pass, so that scorers can name the trials."""
    assert not get_tags(PCA()).input_tags.allow_nan
    assert get_tags(PCA()).input_tags.three_d_array


@pytest.mark.parametrize("reducer", [PCA(2), PerBin(StandardScaler())])
def test_nan_is_refused_with_its_positions(reducer):
    """In the fit and in the transform."""
    X = population()
    holed = X.copy()
    holed[[2, 9], 0, 0] = np.nan
    with pytest.raises(SchemaError, match=r"cannot take NaN, and 2 trials hold some \(positions 2, 9\)"):
        clone(reducer).fit(holed)
    with pytest.raises(SchemaError, match=r"positions 2, 9"):
        clone(reducer).fit(X).transform(holed)


def test_infinity_is_refused():
    """No recording holds it."""
    X = population()
    X[9, 0, 0] = np.inf
    with pytest.raises(SchemaError, match="PCA .* position 9 holds infinity"):
        PCA(2).fit(X)


@pytest.mark.parametrize("n_latents", [0, -1, 2.5, "all", None])
def test_latents_are_a_whole_number(n_latents):
    """scikit-learn's other meanings of the number (a share of the variance, "mle") are not guessed."""
    with pytest.raises(ConfigError, match="n_latents must be a whole number of at least 1, got"):
        PCA(n_latents).fit(population())


@pytest.mark.parametrize(("shape", "most"), [((12, 5, 7), 7), ((2, 3, 7), 6)])
def test_more_latents_than_there_can_be_are_refused(shape, most):
    """At most as many as units or bins, and exactly that many are given."""
    X = np.random.default_rng(0).normal(size=shape)
    assert PCA(most).fit_transform(X).shape[2] == most
    with pytest.raises(SchemaError, match=f"at most {most} latents in 7 units .* n_latents is {most + 1}. Ask"):
        PCA(most + 1).fit(X)


def test_activity_that_never_changes_is_refused():
    """No variance, nothing to explain; a single constant unit is no harm."""
    X = population()
    X[:, :, 3] = 2.0
    assert_allclose(PCA(2).fit(X).loadings_[3], 0.0, atol=1e-12)
    with pytest.raises(SchemaError, match="all 7 units are constant, so there is no variance to explain"):
        PCA(2).fit(np.full((12, 5, 7), 0.1))


@pytest.mark.parametrize("use", ["transform", "inverse_transform"])
def test_an_unfitted_reducer_says_so(use):
    """scikit-learn's own error, which its tools know."""
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(PCA(2), use)(population())


def test_an_adapter_of_nothing_is_refused():
    """It can be made without arguments, as scikit-learn asks, and not fitted."""
    with pytest.raises(ConfigError, match="PerBin needs a transformer on two axes, and got none"):
        PerBin().fit(population())


@pytest.mark.parametrize("X", [np.zeros((3, 4)), np.zeros(3)])
def test_other_axes_are_refused(X):
    """Nothing is guessed from a shape."""
    with pytest.raises(SchemaError, match=r"PCA takes \(n_trials, n_times, n_units\), got shape"):
        PCA().fit(X)


def test_a_reducer_is_made_by_name_with_its_parameters():
    """The table's name, or a dotted path."""
    assert make_reducer("pca", n_latents=5).n_latents == 5
    assert isinstance(make_reducer("mitral.decode.trajectories.pca:PCA"), PCA)
    assert "pca" in REDUCERS


@pytest.mark.parametrize(
    ("name", "parameters", "error", "said"),
    [
        ("pcaa", {}, UnknownName, "unknown reducer 'pcaa'. Nearest: 'pca'"),
        ("pca", {"n_latent": 2}, ConfigError, "reducer 'pca' has no parameter 'n_latent'. Nearest: 'n_latents'"),
    ],
)
def test_a_misspelt_reducer_or_parameter_is_answered_with_the_nearest(name, parameters, error, said):
    """Both before anything is fitted."""
    with pytest.raises(error, match=said):
        make_reducer(name, **parameters)
