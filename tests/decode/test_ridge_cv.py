"""Ridge with a penalty chosen by leave-one-out, in closed form for many targets: scikit-learn's numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import RidgeClassifierCV
from sklearn.linear_model import RidgeCV as SklearnRidgeCV

from mitral.decode.closed_form.labelings import Labelings
from mitral.decode.closed_form.ridge_cv import RidgeCV

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1e4)


@st.composite
def problems(draw):
    """Training features, targets and test features; often more units than trials, a constant unit now and then."""
    n, p = draw(st.integers(8, 40)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=(n, p)) * rng.gamma(2.0, 1.0, p)
    X[:, 0] = 3.0 if draw(st.booleans()) and p > 1 else X[:, 0]
    signal = draw(st.sampled_from([0.0, 1.0, 5.0]))
    targets = rng.normal(size=(4, n)) + signal * (X @ rng.normal(size=p))[None] / np.sqrt(p)
    return X, targets, rng.normal(size=(7, p)), rng


@settings(max_examples=60)
@given(problem=problems())
def test_numbers_are_predicted_as_by_scikit_learn(problem):
    """The chosen penalty is its, and predictions agree to 1e-8 of their size."""
    X, targets, test, _ = problem
    ours = RidgeCV(ALPHAS).fit(X).predict(targets, test)
    for row, y in zip(ours, targets, strict=True):
        expected = SklearnRidgeCV(ALPHAS).fit(X, y).predict(test)
        assert_allclose(row, expected, atol=1e-8 * max(1.0, np.abs(expected).max()))


@settings(max_examples=30)
@given(problem=problems())
def test_outputs_share_a_penalty(problem):
    """Two targets of one estimator are given the penalty that is best for both."""
    X, targets, test, _ = problem
    ours = RidgeCV(ALPHAS).fit(X).predict(targets, test, n_joint=2)
    for first in (0, 2):
        expected = SklearnRidgeCV(ALPHAS).fit(X, targets[first : first + 2].T).predict(test).T
        assert_allclose(ours[first : first + 2], expected, atol=1e-8 * max(1.0, np.abs(expected).max()))


@settings(max_examples=60)
@given(problem=problems(), n_classes=st.integers(2, 4))
def test_classes_are_decided_as_by_scikit_learn(problem, n_classes):
    """Decision values of unequal classes, one of them absent from a labeling, agree to 1e-8."""
    X, _, test, rng = problem
    n = len(X)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    labelings = np.array([labels, rng.permutation(labels), np.minimum(labels, max(1, n_classes - 2))])
    ours = RidgeCV(ALPHAS).fit(X).decide(Labelings(labelings, n_classes), test)
    for row, y in zip(ours, labelings, strict=True):
        present = np.unique(y)
        expected = RidgeClassifierCV(ALPHAS).fit(X, y).decision_function(test)
        mine = row[:, present[1]] if len(present) == 2 else row[:, present]
        assert_allclose(mine, expected, atol=1e-8)
