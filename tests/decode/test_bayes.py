"""Bayes decoders of a trial's class, and the others of scikit-learn: against it, against brute force, or a truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal, poisson
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.decode.decoders import make_decoder
from mitral.decode.decoders.kernel import PENALTIES
from mitral.decode.decoders.poisson_bayes import PoissonBayes, poisson_posterior


def counts_of_classes(*, n_samples=60, n_features=7, n_classes=3, seed=0):
    """Poisson counts of classes that overlap, unequal in number: (X, y)."""
    rng = np.random.default_rng(seed)
    y = np.sort(rng.integers(0, n_classes, n_samples))
    return rng.poisson(np.exp(0.7 * rng.normal(size=(n_classes, n_features)))[y]), y


def test_posterior_over_states_is_that_of_brute_force():
    """Each entry from the probability mass of every count, multiplied over units and normalised over states."""
    rng = np.random.default_rng(0)
    counts, rates, prior = rng.poisson(2.0, (20, 5)), rng.uniform(0.1, 4.0, (6, 5)), rng.uniform(0, 1, 6)
    joint = prior * np.prod(poisson.pmf(counts[:, None, :], rates), axis=2)
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert_allclose(poisson_posterior(counts, rates, prior=prior), expected, rtol=1e-10, atol=1e-14)
    uniform = poisson_posterior(counts, rates)
    assert_allclose(uniform, poisson_posterior(counts, rates, prior=np.full(6, 2.0)), rtol=1e-12)


def test_a_state_that_was_never_visited_has_no_posterior():
    """A prior of 0 is not a small one."""
    assert poisson_posterior(np.array([[9]]), np.array([[1.0], [9.0]]), prior=np.array([1, 0])).tolist() == [[1.0, 0.0]]


def test_posterior_of_many_spikes_does_not_underflow():
    """Logarithms: a thousand units with a hundred spikes each still sum to one."""
    rates = np.random.default_rng(0).uniform(50, 150, (4, 1000))
    posterior = poisson_posterior(np.full((1, 1000), 100), rates)
    assert_allclose(posterior.sum(), 1.0)
    assert np.isfinite(posterior).all()


@pytest.mark.parametrize(
    ("counts", "rates", "prior", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 3)), None, "of the same units, got .3, 2. and .4, 3."),
        (np.ones(3), np.ones((4, 3)), None, "takes counts .n_bins, n_units."),
        (np.ones((3, 2)), np.array([[1.0, 0.0], [1.0, np.nan]]), None, "above 0 in every state, and 2 are not"),
        (-np.ones((3, 2)), np.ones((4, 2)), None, "takes counts, and found -1"),
        (np.ones((3, 2)), np.ones((4, 2)), np.ones(3), "one weight from 0 for each of 4 states"),
        (np.ones((3, 2)), np.ones((4, 2)), np.zeros(4), "Count how often"),
    ],
)
def test_posterior_of_what_does_not_fit_is_refused(counts, rates, prior, message):
    """Shapes, rates of 0, negative counts and priors without weight."""
    with pytest.raises(SchemaError, match=message):
        poisson_posterior(counts, rates, prior=prior)


def test_poisson_bayes_is_the_posterior_of_its_rates():
    """Rates under the Gamma prior, from the formula; the posterior from the probability mass of every count."""
    X, y = counts_of_classes()
    fitted = PoissonBayes(2.0).fit(X, y)
    n = np.bincount(y)
    rates = np.array([(X[y == k].sum(axis=0) + 2.0 * X.mean(axis=0)) / (n[k] + 2.0) for k in range(3)])
    assert_allclose(fitted.rates_, rates)
    joint = n / len(y) * np.prod(poisson.pmf(X[:, None, :], rates), axis=2)
    assert_allclose(fitted.predict_proba(X), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-14)
    assert_array_equal(fitted.predict(X), joint.argmax(axis=1))


def test_poisson_bayes_with_equal_classes_ignores_how_frequent_they_were():
    """A uniform prior leaves the rates alone, and takes the class shares out of the posterior."""
    X, y = counts_of_classes()
    uniform = PoissonBayes(is_prior_uniform=True).fit(X, y)
    assert_allclose(uniform.predict_proba(X), poisson_posterior(X, uniform.rates_), rtol=1e-9, atol=1e-14)


def test_a_unit_silent_in_a_class_does_not_rule_it_out():
    """One spike of a unit that was silent in training favours no class; of one silent in one class, only so far."""
    X = np.array([[0, 3, 0], [0, 4, 0], [2, 0, 0], [3, 0, 0]])
    fitted = PoissonBayes().fit(X, [0, 0, 1, 1])
    assert_allclose(fitted.predict_proba([[0, 3, 1]]), fitted.predict_proba([[0, 3, 0]]))
    assert fitted.predict([[1, 6, 0]]).tolist() == [0]


def test_two_classes_have_one_decision_column():
    """Positive for the second class; the posterior is its logistic function."""
    X, y = counts_of_classes(n_classes=2)
    fitted = PoissonBayes().fit(X, y)
    assert_allclose(1 / (1 + np.exp(-fitted.decision_function(X))), fitted.predict_proba(X)[:, 1])


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [({}, [[-1.0], [2.0]], "takes counts, and found -1"), ({"prior_trials": 0.0}, [[1.0], [2.0]], "above 0, got 0")],
)
def test_poisson_bayes_refuses_what_is_no_count_and_no_prior(parameters, X, message):
    """Negative values have no Poisson probability; without a prior one spike could rule a class out."""
    with pytest.raises(SchemaError, match=message):
        PoissonBayes(**parameters).fit(X, [0, 1])
    with pytest.raises(SchemaError, match="takes counts, and found -2"):
        PoissonBayes().fit([[1.0], [2.0]], [0, 1]).predict([[-2.0]])


def test_the_gaussian_decoder_is_a_full_gaussian_for_each_class():
    """The posterior from densities with a Ledoit-Wolf covariance of each class, on standardised features."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = np.einsum("ij,ijk->ik", rng.normal(size=(60, 4)), rng.normal(size=(3, 4, 4))[y]) + rng.normal(size=(3, 4))[y]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    joint = np.zeros((60, 3))
    for k in range(3):
        of_class = (Z[y == k] - Z[y == k].mean(axis=0)) / Z[y == k].std(axis=0)
        scale = Z[y == k].std(axis=0)
        covariance = scale[:, None] * ledoit_wolf(of_class, assume_centered=True)[0] * scale
        joint[:, k] = multivariate_normal(Z[y == k].mean(axis=0), covariance).pdf(Z) / 3
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert_allclose(make_decoder("gaussian").fit(X, y).predict_proba(X), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "parameters", "theirs"),
    [
        ("naive_bayes", {"var_smoothing": 0.1}, GaussianNB(var_smoothing=0.1)),
        ("gaussian", {"shrinkage": 0.3}, QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.3)),
        ("nearest_neighbours", {"n_neighbours": 3}, KNeighborsClassifier(3)),
        ("kernel_svm", {"C": 2.0, "gamma": 0.1}, SVC(C=2.0, gamma=0.1)),
    ],
)
def test_named_classifiers_are_those_of_sklearn_on_standardised_features(name, parameters, theirs):
    """Another name and other defaults, the same predictions."""
    X, y = counts_of_classes()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert_array_equal(make_decoder(name, **parameters).fit(X, y).predict(X), theirs.fit(Z, y).predict(Z))


def test_kernel_ridge_is_that_of_sklearn_on_a_standardised_target():
    """With a given penalty; the target's mean and scale go out and in again."""
    X, y = counts_of_classes()
    y = y + 100.0
    Z, t = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    expected = KernelRidge(kernel="rbf", alpha=0.5).fit(Z, t).predict(Z) * y.std() + y.mean()
    assert_allclose(make_decoder("kernel_ridge", alpha=0.5).fit(X, y).predict(X), expected)


def test_kernel_ridge_chooses_a_penalty_for_noise_that_is_large():
    """Inner folds: the largest penalty where there is nothing to learn, a small one for a smooth function."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (80, 1))
    chosen = {}
    for name, y in (("noise", rng.normal(size=80)), ("sine", np.sin(3 * X[:, 0]))):
        fitted = make_decoder("kernel_ridge").fit(X, y)
        chosen[name] = fitted[-1].regressor_.best_params_["alpha"]
    assert chosen["noise"] == PENALTIES[-1]
    assert chosen["sine"] <= 0.01


def test_any_estimator_of_sklearn_is_made_by_its_dotted_path():
    """No registration; parameters are checked before the call, and an unknown module is named."""
    made = make_decoder("sklearn.ensemble:RandomForestClassifier", n_estimators=7, random_state=1)
    assert isinstance(made, RandomForestClassifier) and made.n_estimators == 7
    assert isinstance(make_decoder("sklearn.decomposition:PCA"), PCA)
    with pytest.raises(ConfigError, match="has no parameter 'n_tree'"):
        make_decoder("sklearn.ensemble:RandomForestClassifier", n_tree=7)
