"""Ordered classes: one decoder for each step up, and probabilities that follow from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from mitral.datasets.errors import SchemaError
from mitral.decode.decoders import make_decoder
from mitral.decode.decoders.ordinal import OrdinalClassifier


def dose_response(seed, *, n=120, n_levels=5, n_units=12, bend=1.0):
    """Counts of units that respond to a dose along a bent path, and the dose in decades."""
    rng = np.random.default_rng(seed)
    level = np.arange(n) % n_levels
    step = level[:, None] / (n_levels - 1)
    first, second = rng.normal(size=(2, n_units))
    log_rate = 1.0 + step * first + bend * np.sin(np.pi * step) * second
    return rng.poisson(np.exp(log_rate)), level - 4.0


def test_probabilities_are_differences_of_the_steps():
    """Ten lines by hand, where the probabilities of the steps fall as they should."""
    X, y = dose_response(0, n_levels=3)
    model = OrdinalClassifier(LogisticRegression(max_iter=2000)).fit(X, y)
    above = [LogisticRegression(max_iter=2000).fit(X, y > k).predict_proba(X)[:, 1] for k in (-4, -3)]
    p = model.predict_proba(X)
    falls = above[0] >= above[1]
    assert falls.sum() > 80  # of 120
    expected = np.column_stack([1 - above[0], above[0] - above[1], above[1]])
    assert_allclose(p[falls], expected[falls])
    assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])


@given(st.integers(0, 30))
def test_probabilities_are_probabilities(seed):
    """They sum to one and none is below zero, also where steps contradict one another."""
    X, y = dose_response(seed, n=25, n_levels=5, bend=3.0)
    p = OrdinalClassifier().fit(X[:20], y[:20]).predict_proba(X)
    assert_allclose(p.sum(axis=1), 1)
    assert p.min() >= 0


def test_the_order_turned_round_turns_the_probabilities_round():
    """Neither end of the order is special."""
    X, y = dose_response(0, n=40, bend=3.0)
    exact = LogisticRegression(tol=1e-10, max_iter=5000)
    up, down = (OrdinalClassifier(exact).fit(X, target).predict_proba(X) for target in (y, -y))
    assert_allclose(up, down[:, ::-1], atol=1e-6)


def test_two_classes_give_the_decoder_itself():
    """There is one step."""
    X, y = dose_response(0, n_levels=2)
    expected = LogisticRegression().fit(X, y).predict_proba(X)
    assert_allclose(OrdinalClassifier(LogisticRegression()).fit(X, y).predict_proba(X), expected)


def test_on_a_bent_path_it_errs_by_less_than_decoders_that_know_no_order_or_one_line():
    """Mean steps off over ten simulations of 60 training trials: below ridge and multinomial regression."""
    errors = {"ordinal": [], "logistic": [], "ridge": []}
    for seed in range(10):
        X, y = dose_response(seed, n_units=8)
        for name, found in errors.items():
            said = make_decoder(name).fit(X[:60], y[:60]).predict(X[60:])
            found.append(np.mean(np.abs(np.clip(np.round(said), -4, 0) - y[60:])))
    means = {name: np.mean(found) for name, found in errors.items()}
    assert means["ordinal"] < means["ridge"] and means["ordinal"] < 1.02 * means["logistic"]
    assert means["ordinal"] < 0.5 * 1.2  # 1.2 is that of always saying the middle of five


def test_one_class_is_refused():
    """There is no step."""
    with pytest.raises(SchemaError, match="needs two classes or more, and got one class"):
        OrdinalClassifier().fit([[0.0], [1.0]], [3, 3])


def test_a_step_without_probabilities_is_refused():
    """Differences of decision values mean nothing."""
    with pytest.raises(SchemaError, match="OrdinalClassifier needs probabilities, and LinearSVC gives none"):
        OrdinalClassifier(LinearSVC()).fit([[0.0], [1.0]], [0, 1])
