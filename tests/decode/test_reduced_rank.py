"""Reduced-rank regression: against a slow one by singular values, and on targets of known rank."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold

from mitral.datasets.errors import SchemaError
from mitral.decode.decoders import make_decoder
from mitral.decode.decoders.linear import PENALTIES
from mitral.decode.decoders.reduced_rank import ReducedRankRegression


def low_rank(*, n_samples=200, n_features=8, n_outputs=6, rank=2, noise=1.0, seed=0):
    """Outputs that follow a few directions of the features, with noise: (X, Y)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + 2
    B = rng.normal(size=(n_features, rank)) @ rng.normal(size=(rank, n_outputs))
    return X, X @ B + noise * rng.normal(size=(n_samples, n_outputs)) - 3


def slow(X, Y, rank, alpha):
    """Ridge, then its fit projected on the leading right singular vectors of the augmented fit."""
    W = Ridge(alpha).fit(X, Y).coef_.T if alpha else LinearRegression().fit(X, Y).coef_.T
    centred = X - X.mean(axis=0)
    V = np.linalg.svd(np.vstack([centred @ W, np.sqrt(alpha) * W]))[2][:rank].T
    return W @ V @ V.T


@pytest.mark.parametrize("alpha", [0.0, 20.0])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_coefficients_are_those_of_the_singular_value_decomposition(rank, alpha):
    """Ridge, projected; at full rank it is ridge itself."""
    X, Y = low_rank()
    fitted = ReducedRankRegression(rank, alpha=alpha).fit(X, Y)
    assert_allclose(fitted.coef_.T, slow(X, Y, rank, alpha), rtol=1e-7, atol=1e-10)
    assert np.linalg.matrix_rank(fitted.coef_) == rank
    assert_allclose(fitted.predict(X).mean(axis=0), Y.mean(axis=0))


def test_the_rank_that_made_the_data_is_found():
    """One, two and four directions, by the one-standard-error rule on inner folds."""
    for rank in (1, 2, 4):
        X, Y = low_rank(rank=rank, n_samples=500)
        assert ReducedRankRegression().fit(X, Y).rank_ == rank


def test_inner_errors_are_those_of_refitting_each_fold():
    """Relative squared error of each rank on each inner fold, by the slow way; the least within one standard error."""
    X, Y = low_rank(noise=4.0)
    fitted = ReducedRankRegression(alpha=1.0, n_folds=5).fit(X, Y)
    errors = []
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        mean_x, mean_y = X[train].mean(axis=0), Y[train].mean(axis=0)
        said = [(X[test] - mean_x) @ slow(X[train], Y[train], rank, 1.0) + mean_y for rank in range(1, 7)]
        errors.append([np.sum((Y[test] - p) ** 2) / np.sum((Y[test] - mean_y) ** 2) for p in said])
    mean, se = np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1) / np.sqrt(5)
    assert_allclose(fitted.inner_error_, mean, rtol=1e-8)
    assert_allclose(fitted.inner_se_, se, rtol=1e-6)
    assert fitted.rank_ == 1 + int(np.flatnonzero(mean <= mean.min() + se[mean.argmin()])[0])


def test_one_output_is_ridge_regression():
    """In the shape of the target; the penalty is chosen from the table of linear decoders."""
    X, Y = low_rank()
    fitted = ReducedRankRegression().fit(X, Y[:, 0])
    assert fitted.alpha_ in PENALTIES and fitted.rank_ == 1
    assert_allclose(fitted.predict(X), Ridge(fitted.alpha_).fit(X, Y[:, 0]).predict(X), rtol=1e-8)


def test_more_features_than_samples_and_constant_ones():
    """Directions in which nothing varies get no weight, also without a penalty."""
    X, Y = low_rank(n_samples=30, n_features=60)
    X[:, 0] = 4.0
    fitted = make_decoder("reduced_rank", alpha=0.0, rank=2).fit(X, Y)
    assert np.isfinite(fitted.predict(X)).all()
    assert_allclose(fitted[-1].coef_[:, 0], 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rank": 7}, "rank is 1 to 6 with these features and outputs, got 7"),
        ({"rank": 0}, "rank is 1 to 6"),
        ({"alpha": -1.0}, "alpha is a penalty from 0, got -1"),
        ({"n_folds": 201}, "n_folds is 2 to 200, the number of training samples, got 201"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    """The range depends on the data, so it is said in the fit."""
    with pytest.raises(SchemaError, match=message):
        ReducedRankRegression(**parameters).fit(*low_rank())
