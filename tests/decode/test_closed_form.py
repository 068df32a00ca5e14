"""Closed forms give the very numbers of scikit-learn, for true and permuted labels, whatever the shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB as SklearnGaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from mitral.datasets.errors import SchemaError
from mitral.decode import closed_form
from mitral.decode.closed_form import predict_labelings, predict_labelings_over_bins, predict_values, solver_for
from mitral.decode.closed_form.labelings import Labelings
from mitral.decode.closed_form.lda import LDA
from mitral.decode.closed_form.naive_bayes import GaussianNB
from mitral.decode.closed_form.ridge import Ridge
from mitral.decode.decoders import make_decoder
from mitral.decode.decoders.nearest_centroid import NearestCentroid
from mitral.decode.decoders.pooled_lda import PooledLDA


@st.composite
def problems(draw):
    """Counts (n, p) with a constant unit, imbalanced labels of k classes and three permutations, test trials."""
    n_classes = draw(st.integers(2, 5))
    n = draw(st.integers(3 * n_classes, 40))
    p = draw(st.integers(2, 60))  # often more units than trials
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    train = rng.poisson(rng.gamma(1.0, 2.0, p), (n, p)).astype(float)
    train[:, 0] = 3.0  # a constant unit
    train += rng.normal(0, 0.1, (n, p)) * (np.arange(p) > 0)
    share = rng.dirichlet(np.full(n_classes, 2.0))
    labels = np.concatenate([np.repeat(np.arange(n_classes), 2), rng.choice(n_classes, n - 2 * n_classes, p=share)])
    labelings = np.array([labels, *(rng.permutation(labels) for _ in range(3))])
    return train, labelings, n_classes, rng.poisson(1.5, (7, p)).astype(float)


def pairwise(values):
    """Decision values up to what all classes share; two classes as one column, as scikit-learn gives them."""
    values = values if values.ndim == 2 else np.column_stack([-values / 2, values / 2])
    return values - values.mean(axis=1, keepdims=True)


@settings(max_examples=40, deadline=None)
@given(problem=problems(), shrinkage=st.sampled_from([0.01, 0.3, 0.9, 1.0]))
def test_lda_equals_scikit_learns(problem, shrinkage):
    """Decision values of shrinkage LDA agree to 1e-8 of their size; so do those from the weights."""
    train, labelings, n_classes, test = problem
    solver = LDA(shrinkage).fit(train)
    many = Labelings(labelings, n_classes)
    ours, (weights, constants) = solver.decide(many, test), solver.coefficients(many)
    for row, labels in enumerate(labelings):
        peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(train, labels)
        expected = pairwise(peer.decision_function(test))
        size = max(1.0, np.abs(expected).max())
        assert_allclose(pairwise(ours[row]), expected, atol=1e-8 * size)
        assert_allclose(pairwise(test @ weights[row].T + constants[row]), expected, atol=1e-8 * size)


@settings(max_examples=30, deadline=None)
@given(problem=problems())
def test_pooled_lda_equals_its_plain_form(problem):
    """The Ledoit-Wolf shrinkage of every labeling is scikit-learn's of its residuals; decision values agree."""
    train, labelings, n_classes, test = problem
    ours = LDA(None).fit(train).decide(Labelings(labelings, n_classes), test)
    for row, labels in enumerate(labelings):
        peer = PooledLDA().fit(train, labels)
        means = np.array([train[labels == k].mean(axis=0) for k in range(n_classes)])
        assert peer.shrinkage_ == pytest.approx(ledoit_wolf(train - means[labels], assume_centered=True)[1], abs=1e-12)
        expected = pairwise(peer.decision_function(test))
        assert_allclose(pairwise(ours[row]), expected, atol=1e-8 * max(1.0, np.abs(expected).max()))


@settings(max_examples=30, deadline=None)
@given(problem=problems(), alpha=st.sampled_from([0.1, 1.0, 100.0]))
def test_ridge_equals_scikit_learns(problem, alpha):
    """Class decisions and regression of numbers agree to 1e-8."""
    train, labelings, n_classes, test = problem
    solver = Ridge(alpha).fit(train)
    ours = solver.decide(Labelings(labelings, n_classes), test)
    numbers = labelings + 0.5 * np.arange(labelings.shape[1])
    predicted = solver.predict(numbers, test)
    for row, labels in enumerate(labelings):
        expected = RidgeClassifier(alpha=alpha).fit(train, labels).decision_function(test)
        assert_allclose(ours[row] if expected.ndim == 2 else ours[row][:, 1], expected, atol=1e-8)
        assert_allclose(predicted[row], SklearnRidge(alpha).fit(train, numbers[row]).predict(test), atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(problem=problems())
def test_naive_bayes_equals_scikit_learns(problem):
    """Joint log probabilities agree to 1e-8 of their size, units that are constant in a class included."""
    train, labelings, n_classes, test = problem
    ours = GaussianNB(1e-9).fit(train).decide(Labelings(labelings, n_classes), test)
    for row, labels in enumerate(labelings):
        expected = SklearnGaussianNB().fit(train, labels).predict_joint_log_proba(test)
        assert_allclose(ours[row], expected, rtol=1e-8, atol=1e-6)


ESTIMATORS = {
    "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "scaled lda": make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)),
    "pooled lda": make_decoder("pooled_lda"),
    "centroid": make_pipeline(NearestCentroid()),
    "ridge": make_decoder("ridge_classifier", alpha=2.0),
    "naive bayes": SklearnGaussianNB(),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_predictions_are_those_of_the_loop(name, monkeypatch):
    """Out-of-fold predictions of true and permuted labels, by closed form and by fitting anew, are the same."""
    rng = np.random.default_rng(5)
    labels = np.arange(36) % 3
    features = rng.normal(size=(36, 20)) + 0.5 * labels[:, None]
    labelings = np.array([labels, *(rng.permutation(labels) for _ in range(5))])
    sides = np.where(np.arange(36) // 12 == np.arange(3)[:, None], 2, 1).astype(np.int8)
    assert solver_for(ESTIMATORS[name]) is not None
    fast = predict_labelings(features, labelings, 3, ESTIMATORS[name], sides)
    bins = predict_labelings_over_bins([features], labelings, 3, ESTIMATORS[name], sides)
    monkeypatch.setattr(closed_form, "solver_for", lambda estimator: None)
    slow = predict_labelings(features, labelings, 3, ESTIMATORS[name], sides)
    assert_array_equal(fast, slow)
    fold, trial = np.nonzero(sides == 2)
    assert_array_equal(bins[:, :, 0], slow[:, fold, trial])


def test_batches_change_nothing(monkeypatch):
    """Labelings in batches of one give what one batch gives."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 8)), np.arange(30) % 2
    labelings = np.array([rng.permutation(labels) for _ in range(7)])
    sides = np.where(np.arange(30) < 15, 1, 2).astype(np.int8)[None]
    whole = predict_labelings(features, labelings, 2, ESTIMATORS["lda"], sides)
    monkeypatch.setattr(closed_form, "LARGEST_BATCH", 1)
    assert_array_equal(predict_labelings(features, labelings, 2, ESTIMATORS["lda"], sides), whole)


def test_a_class_that_is_absent_from_training_is_never_chosen():
    """A permutation may leave a class out of a training set; then no test trial is given to it."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 5))
    labels = np.array([[0] * 5 + [1] * 5 + [2] * 10])
    sides = np.array([[1] * 10 + [2] * 10], np.int8)
    for estimator in ESTIMATORS.values():
        predicted = predict_labelings(features, labels, 3, estimator, sides)[0, 0, 10:]
        assert set(predicted) <= {0, 1}


@pytest.mark.parametrize(
    "estimator",
    [
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        LinearDiscriminantAnalysis(solver="svd"),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=[0.5, 0.5]),
        RidgeClassifier(class_weight="balanced"),
        SklearnGaussianNB(priors=[0.5, 0.5]),
        make_pipeline(SelectKBest(k=2), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)),
    ],
)
def test_what_has_no_closed_form_is_left_to_the_loop(estimator):
    """Other parameters, and steps that look at labels, would give other numbers."""
    assert solver_for(estimator) is None
    with pytest.raises(SchemaError, match=r"has no closed form. Ask solver_for first"):
        predict_labelings_over_bins([np.zeros((2, 2))], np.zeros((1, 2), int), 2, estimator, np.array([[1, 2]]))


@pytest.mark.parametrize("n_units", [8, 60])
def test_many_targets_of_numbers_share_one_factorisation(n_units):
    """Out-of-fold predictions of ridge regression for true and permuted numbers are scikit-learn's."""
    rng = np.random.default_rng(0)
    features, sides = rng.normal(size=(40, n_units)), np.where(np.arange(40) % 4 == np.arange(4)[:, None], 2, 1)
    targets = np.array([rng.permutation(rng.normal(size=40)) for _ in range(3)])
    estimator = make_pipeline(StandardScaler(), SklearnRidge(2.0))
    found = predict_values(features, targets, estimator, sides)
    for target, prediction in zip(targets, found, strict=True):
        for side, row in zip(sides, prediction, strict=True):
            expected = clone(estimator).fit(features[side == 1], target[side == 1]).predict(features[side == 2])
            assert_allclose(row[side == 2], expected, atol=1e-10)
            assert np.isnan(row[side == 1]).all()


def test_numbers_without_a_closed_form_are_refused():
    """A regressor that needs a loop says so."""
    with pytest.raises(SchemaError, match="SVR has no closed form. Ask value_solver_for first"):
        predict_values(np.zeros((4, 2)), np.zeros((1, 4)), SVR(), np.array([[1, 1, 2, 2]]))
