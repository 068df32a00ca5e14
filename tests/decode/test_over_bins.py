"""Decoders of all bins and folds at once are those of scikit-learn, fitted fold by fold and bin by bin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mitral.decode.closed_form import solver_for, value_solver_for
from mitral.decode.closed_form.moments import moments_of_folds
from mitral.decode.closed_form.over_bins import linear_over_bins
from mitral.decode.decoders.nearest_centroid import NearestCentroid
from mitral.decode.decoders.pooled_lda import PooledLDA
from mitral.decode.steps import steps

ESTIMATORS = {
    "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "lda, little shrinkage": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.001),
    "pooled lda": PooledLDA(),
    "ridge": RidgeClassifier(2.0),
    "centroid": NearestCentroid(),
}
ESTIMATORS |= {f"{name}, scaled": make_pipeline(StandardScaler(), estimator) for name, estimator in ESTIMATORS.items()}


def sides_of(n, splitter):
    """(n_folds, n) of 1 train and 2 test."""
    sides = np.ones((splitter.get_n_splits(np.zeros(n)), n), np.int8)
    for side, (_, test) in zip(sides, splitter.split(np.zeros(n)), strict=True):
        side[test] = 2
    return sides


@st.composite
def problems(draw):
    """Counts (n_times, n, p) with a constant unit and an offset, imbalanced classes, folds of several kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_classes, p = draw(st.integers(2, 4)), draw(st.integers(2, 40))
    n = draw(st.integers(6 * n_classes, 40))
    bins = rng.poisson(rng.gamma(1.0, 2.0, p), (3, n, p)) + rng.normal(0, 0.1, (3, n, p))
    bins[:, :, 0] = 0.1
    bins[:, :, 1] += draw(st.sampled_from([0.0, 100.0]))
    truth = np.concatenate([np.repeat(np.arange(n_classes), 5), rng.integers(0, n_classes, n - 5 * n_classes)])
    splitters = (KFold(4), RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), LeaveOneOut())
    sides = sides_of(n, draw(st.sampled_from(splitters)))[:, rng.permutation(n)]
    sides[:, -1] = 0  # a trial that no fold uses
    return bins, truth, sides[[np.any(side == 2) for side in sides]]


def decision_values(fitted, X):
    """Values (n, n_classes) less their mean over classes; scikit-learn gives two classes as one column.

    That column is the difference of two for LDA, and the regression of -1 and 1 for ridge.
    """
    if isinstance(list(steps(fitted))[-1], NearestCentroid):
        *before, final = steps(fitted)
        for step in before:
            X = step.transform(X)
        values = -0.5 * np.sum((X[:, None] - final.centroids_) ** 2, axis=2)
    else:
        values = fitted.decision_function(X)
    if values.ndim == 1:
        values = np.column_stack([-values, values])
        values /= 1 if isinstance(list(steps(fitted))[-1], RidgeClassifier) else 2
    return values - values.mean(axis=1, keepdims=True)


def assert_equals_a_loop(bins, truth, sides, estimator):
    """Decision values of every fold and bin, to 1e-8 of their size."""
    _, weights = linear_over_bins(list(steps(estimator)))
    for side, found in zip(sides, weights(bins, truth, sides), strict=True):
        assert_array_equal(found.classes, np.unique(truth[side == 1]))
        for time, X in enumerate(bins):
            expected = decision_values(clone(estimator).fit(X[side == 1], truth[side == 1]), X[side == 2])
            ours = X[side == 2] @ found.weights[time].T + found.constants[time]
            size = max(1.0, np.abs(expected).max())
            assert_allclose(ours - ours.mean(axis=1, keepdims=True), expected, rtol=0, atol=1e-8 * size)


@pytest.mark.filterwarnings("ignore:Only one sample available")  # scikit-learn on a class of one training trial
@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=8, deadline=None)
@given(problem=problems())
def test_decision_values_are_scikit_learns(name, problem):
    """Whatever the shapes and folds: more units than trials, few trials of a class, repeated and single-trial folds."""
    assert_equals_a_loop(*problem, ESTIMATORS[name])


@pytest.mark.parametrize("name", ["lda", "lda, scaled", "ridge", "pooled lda, scaled"])
@pytest.mark.parametrize("p", [5, 60])
def test_an_outlier_of_the_test_set_does_not_touch_the_decoder(name, p):
    """A trial 10^8 times larger than the others is a test trial once; sums over all trials would lose eight digits."""
    rng = np.random.default_rng(0)
    bins, truth, sides = rng.normal(size=(2, 40, p)), np.arange(40) % 3, sides_of(40, KFold(5))
    bins[:, 0] *= 1e8
    sides = sides[:1]
    sides = np.concatenate([sides, np.where(np.arange(40) < 8, 0, np.where(np.arange(40) < 16, 2, 1))[None]])
    assert_equals_a_loop(bins, truth, sides.astype(np.int8), ESTIMATORS[name])


@pytest.mark.parametrize("p", [4, 60])
def test_a_class_that_no_trial_of_a_fold_trains_is_never_chosen(p):
    """Leaving out the only block with an odor leaves the other odors to choose from."""
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], 8)
    bins, sides = rng.normal(size=(2, 24, p)), np.ones((2, 24), np.int8)
    sides[0, truth == 0], sides[1, ::2] = 2, 2
    for name in ("lda", "ridge", "centroid"):
        assert_equals_a_loop(bins, truth, sides, ESTIMATORS[name])


@pytest.mark.parametrize("p", [4, 60])
def test_a_silent_bin_says_the_commonest_class(p):
    """A bin without a spike has no covariance; LDA falls back on the prior, as scikit-learn's does."""
    truth = np.arange(24) % 3 % 2
    bins = np.zeros((2, 24, p))
    bins[1] = np.random.default_rng(2).normal(size=(24, p))
    assert_equals_a_loop(bins, truth, sides_of(24, KFold(4)), ESTIMATORS["lda"])


def test_scatter_is_summed_once_per_trial_where_folds_share_trials():
    """Five folds have five blocks; the moments of a fold are those of its training trials."""
    rng = np.random.default_rng(3)
    bins, truth, sides = rng.normal(5.0, 1.0, (2, 50, 6)), np.arange(50) % 2, sides_of(50, KFold(5))
    seen = 0
    for at, fold, found in moments_of_folds(bins, truth, sides, scales=False):
        X = bins[at][:, sides[fold] == 1]
        labels = truth[sides[fold] == 1]
        means = np.stack([X[:, labels == k].mean(axis=1) for k in (0, 1)], axis=1)
        assert_allclose(found.means + found.mean, means, atol=1e-12)
        residuals = X - means[:, labels]
        assert_allclose(found.scatter, np.einsum("tnp,tnq->tpq", residuals, residuals), atol=1e-11)
        seen += 1
    assert seen == 5


def test_a_search_has_no_closed_form():
    """What a search would choose is not what stands in its estimator."""
    search = GridSearchCV(ESTIMATORS["lda"], {"shrinkage": [0.1, 0.9]})
    assert solver_for(search) is None
    assert solver_for(make_pipeline(StandardScaler(), search)) is None
    assert value_solver_for(make_pipeline(StandardScaler(), GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}))) is None
