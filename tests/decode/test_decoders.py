"""The decoders of mitral's own, and how decoders are made; every decoder is held to ``test_contracts``."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.neighbors import NearestCentroid as TheirNearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from mitral.datasets.errors import ConfigError, MissingDependency, SchemaError, UnknownName
from mitral.decode.decoders import DECODERS, make_decoder
from mitral.decode.decoders.nearest_centroid import NearestCentroid
from mitral.decode.decoders.pooled_lda import PooledLDA


def clouds(*, n_classes=3, n_samples=60, n_features=5, seed=0):
    """Overlapping Gaussian classes: (X, y)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    return rng.normal(size=(n_samples, n_features)) + rng.normal(size=(n_classes, n_features))[y], y


@pytest.mark.parametrize("n_classes", [2, 5])
def test_nearest_centroid_is_that_of_sklearn(n_classes):
    """The same predictions as scikit-learn's class of this name, by another formula."""
    X, y = clouds(n_classes=n_classes)
    assert_array_equal(NearestCentroid().fit(X, y).predict(X), TheirNearestCentroid().fit(X, y).predict(X))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_nearest_centroid_is_the_class_of_the_least_distance(n_classes):
    """The definition, and centroids that are means."""
    X, y = clouds(n_classes=n_classes)
    fitted = NearestCentroid().fit(X, y)
    centroids = np.array([X[y == k].mean(axis=0) for k in range(n_classes)])
    assert_allclose(fitted.centroids_, centroids)
    assert_array_equal(fitted.predict(X), np.linalg.norm(X[:, None] - centroids, axis=2).argmin(axis=1))


def test_a_sample_between_two_centroids_goes_to_the_first_class():
    """Ties are settled alike for two classes and for three."""
    for X, y in (([[0.0], [2.0]], [0, 1]), ([[0.0], [2.0], [9.0]], [0, 1, 2])):
        assert NearestCentroid().fit(X, y).predict([[1.0]]).tolist() == [0]


def test_the_decision_of_two_classes_is_one_column():
    """Positive for the second class, as scikit-learn's tools expect."""
    X, y = clouds(n_classes=2)
    fitted = NearestCentroid().fit(X, y)
    assert_array_equal(fitted.decision_function(X) > 0, fitted.predict(X) == 1)


def test_pooled_lda_without_shrinkage_is_lda():
    """With very many trials and a covariance that is not round, nothing is shrunk: the classes are those of LDA."""
    X, y = clouds(n_samples=6000)
    X *= np.arange(1, 6)
    mine, theirs = PooledLDA().fit(X, y), LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    assert mine.shrinkage_ < 0.02
    assert np.mean(mine.predict(X) == theirs.predict(X)) > 0.999


@pytest.mark.parametrize("n_features", [5, 80])
def test_pooled_lda_is_lda_with_its_own_shrinkage(n_features):
    """Given the shrinkage that it chose, scikit-learn's LDA gives the same probabilities."""
    X, y = clouds(n_features=n_features)
    mine = PooledLDA().fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=mine.shrinkage_).fit(X, y)
    assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-12)


def test_pooled_lda_without_variance_within_classes_is_refused():
    """Classes that are points have no covariance."""
    with pytest.raises(SchemaError, match="no feature varies within the classes"):
        PooledLDA().fit(np.array([[0.0], [0.0], [1.0], [1.0]]), [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("name", "parameters", "final"),
    [
        ("lda", {}, LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        ("lda", {"shrinkage": 0.3}, LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)),
        ("ridge", {"alpha": 2.0}, Ridge(alpha=2.0)),
        ("ridge_classifier", {"alpha": 2.0}, RidgeClassifier(alpha=2.0)),
    ],
)
def test_a_named_decoder_is_the_pipeline_that_it_says(name, parameters, final):
    """Its predictions are those of the parts put together by hand."""
    X, y = clouds()
    before = [] if name == "lda" else [("scale", StandardScaler())]
    by_hand = Pipeline([*before, ("decode", final)])
    assert_array_equal(make_decoder(name, **parameters).fit(X, y).predict(X), by_hand.fit(X, y).predict(X))


@pytest.mark.parametrize(("name", "final"), [("ridge", RidgeCV), ("ridge_classifier", RidgeClassifierCV)])
def test_a_penalty_that_is_not_given_is_chosen_from_the_list(name, final):
    """Over ten decades in eight steps, on the training trials."""
    decoder = make_decoder(name)
    assert type(decoder.steps[-1][1]) is final
    assert decoder.fit(*clouds()).steps[-1][1].alpha_ in [10.0**k for k in range(-2, 6)]


@pytest.mark.parametrize("name", ["logistic", "linear_svm"])
def test_strength_of_the_penalty_is_handed_on(name):
    """C means what it means in scikit-learn."""
    assert make_decoder(name, C=7.0).steps[-1][1].C == 7.0


@pytest.mark.parametrize("name", DECODERS)
def test_two_decoders_of_one_name_share_nothing(name):
    """Each call makes a new one."""
    assert make_decoder(name) is not make_decoder(name)


def test_a_dotted_path_serves_as_a_decoder():
    """Any estimator of any package, without registration."""
    assert make_decoder("sklearn.linear_model:Ridge", alpha=3.0).alpha == 3.0


@pytest.mark.parametrize(
    ("name", "parameters", "error", "said"),
    [
        ("ldaa", {}, UnknownName, "unknown decoder 'ldaa'. Nearest: 'lda'"),
        ("lda", {"shrinkag": 1}, ConfigError, "decoder 'lda' has no parameter 'shrinkag'. Nearest: 'shrinkage'"),
        ("no.such.module:Decoder", {}, UnknownName, "there is no module 'no.such.module'"),
        ("sklearn.svm:NoSuchSVC", {}, UnknownName, "module 'sklearn.svm' has no 'NoSuchSVC'"),
    ],
)
def test_a_wrong_name_or_parameter_is_answered_with_the_nearest(name, parameters, error, said):
    """Before anything is fitted."""
    with pytest.raises(error, match=said):
        make_decoder(name, **parameters)


def test_a_decoder_of_a_library_that_is_absent_says_what_to_install(tmp_path, monkeypatch):
    """The install line names the library, not the decoder."""
    (tmp_path / "lab_decoders.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="needs the library 'no_such_library', .*pip install no_such_library"):
        make_decoder("lab_decoders:Mine")
