"""The contract of every entry of every table: a new line in a table is held to it without a new test.

Decoders are handed counts, in the axes that their first step takes. Leakage is in ``test_leakage``.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from mitral.datasets.errors import MissingDependency, SchemaError
from mitral.datasets.simulate import SIMULATORS
from mitral.datasets.sources import SOURCES
from mitral.datasets.tables import resolve
from mitral.decode.decoders import DECODERS, DECODERS_OVER_TIME, make_decoder
from mitral.decode.metrics import METRICS
from mitral.decode.score import takes_three_axes
from mitral.decode.steps import steps
from mitral.decode.trajectories import REDUCERS, make_reducer

TABLES = {
    "mitral.decode.decoders:DECODERS": DECODERS,
    "mitral.decode.decoders:DECODERS_OVER_TIME": DECODERS_OVER_TIME,
    "mitral.decode.trajectories:REDUCERS": REDUCERS,
    "mitral.decode.metrics:METRICS": METRICS,
    "mitral.datasets.sources:SOURCES": SOURCES,
    "mitral.datasets.simulate:SIMULATORS": SIMULATORS,
}
CLASSIFIERS = [name for name in DECODERS if is_classifier(make_decoder(name))]
HEAVY = (
    "torch", "cebra", "umap", "pynwb", "hdmf", "distributed", "plotly", "matplotlib", "streamlit", "h5py", "ot",
    "tensorly",
)  # fmt: skip


def problem(name, *, n_trials=36, n_units=5, n_classes=3, strength=1.0, seed=0):
    """Decoder, counts in its axes, and a target that they know: (decoder, X, y)."""
    rng = np.random.default_rng(seed)
    decoder = make_decoder(name)
    state = np.arange(n_trials) % n_classes
    rates = 4 * np.exp(strength * rng.normal(size=(n_classes, n_units)))
    X = rng.poisson(rates[state][:, None], (n_trials, 2, n_units))
    y = state if is_classifier(decoder) else state + rng.normal(0, 0.1, n_trials)
    return decoder, X if takes_three_axes(decoder) else X.reshape(n_trials, -1), y


def turned_units(X):
    """The same activity with its units in reverse, within each bin."""
    n_units = X.shape[-1] if X.ndim == 3 else X.shape[1] // 2
    return X.reshape(len(X), 2, n_units)[:, :, ::-1].reshape(X.shape)


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_every_table_is_there(table):
    """No line of a table points at nothing."""
    for name in TABLES[table]:
        assert callable(resolve(name, TABLES[table], what="entry")), name


def test_listing_the_tables_imports_no_heavy_library():
    """Names cost nothing: a fresh Python that lists them has imported no optional or slow library."""
    listing = "; ".join(f"from {table.replace(':', ' import ')}" for table in TABLES)
    code = f"import sys, json; {listing}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    imported = {module.split(".")[0] for module in json.loads(done.stdout)}
    assert imported & set(HEAVY) == set()


@pytest.mark.parametrize("name", DECODERS | DECODERS_OVER_TIME)
def test_a_decoder_is_made_without_arguments_and_cloned(name):
    """A clone has the parameters of the original and has learned nothing."""
    decoder = make_decoder(name)
    assert str(clone(decoder).get_params()) == str(decoder.get_params())
    assert hasattr(decoder, "fit") and hasattr(decoder, "predict")


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_learns_what_is_there(name):
    """Strong codes are decoded: far above chance for classes, most of the variance for numbers."""
    decoder, X, y = problem(name, n_trials=90)
    said = decoder.fit(X[:60], y[:60]).predict(X[60:])
    if is_classifier(decoder):
        assert np.mean(said == y[60:]) > 0.8
    else:
        assert 1 - np.sum((said - y[60:]) ** 2) / np.sum((y[60:] - y[60:].mean()) ** 2) > 0.5


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_deterministic(name):
    """Two fits agree to the last bit, whatever numpy's global generator was at."""
    decoder, X, y = problem(name)
    first = clone(decoder).fit(X, y).predict(X)
    np.random.default_rng().normal()
    assert_array_equal(clone(decoder).fit(X, y).predict(X), first)
    assert_array_equal(decoder.fit(X, y).fit(X, y).predict(X), first)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_leaves_its_input_and_parameters_alone(name):
    """What is handed to it is handed to other folds too."""
    decoder, X, y = problem(name)
    before, target, parameters = X.copy(), y.copy(), str(decoder.get_params())
    decoder.fit(X, y).predict(X)
    assert_array_equal(X, before)
    assert_array_equal(y, target)
    assert str(clone(decoder).get_params()) == parameters


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_takes_more_features_than_samples(name):
    """Recordings have more units than trials: predictions are there, finite and better than chance."""
    decoder, X, y = problem(name, n_units=40, n_trials=30)
    said = decoder.fit(X[:21], y[:21]).predict(X[21:])
    if is_classifier(decoder):
        assert np.mean(said == y[21:]) > 0.6
    else:
        assert np.corrcoef(said, y[21:])[0, 1] > 0.5


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_takes_units_that_never_change(name):
    """Silent units and units that always fire alike are common: no warning, finite, and as good as without them."""
    decoder, X, y = problem(name, n_trials=60)
    X[..., 0], X[..., 1] = 0, 7
    said = decoder.fit(X[:45], y[:45]).predict(X[45:])
    if is_classifier(decoder):
        assert np.mean(said == y[45:]) > 0.6
    else:
        assert np.isfinite(said).all() and np.corrcoef(said, y[45:])[0, 1] > 0.5


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
def test_units_that_start_to_fire_in_the_test_do_no_harm(name):
    """A unit that was silent in training and fires in a test trial gives a prediction that is finite, or a class."""
    decoder, X, y = problem(name)
    X[..., 0] = 0
    new = X.copy()
    new[..., 0] = 5
    said = decoder.fit(X, y).predict(new)
    assert np.isin(said, y).all() if is_classifier(decoder) else np.isfinite(said).all()


@pytest.mark.parametrize("n_classes", [2, 12])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_takes_two_and_many_classes(name, n_classes):
    """Both are decoded, and every prediction is one of the classes."""
    decoder, X, y = problem(name, n_trials=12 * n_classes, n_units=12, n_classes=n_classes, strength=1.5)
    test = np.arange(len(y)) >= 9 * n_classes
    said = decoder.fit(X[~test], y[~test]).predict(X[test])
    assert np.isin(said, y).all()
    assert np.mean(said == y[test]) > 0.8


@pytest.mark.parametrize("named", ["texts", "integers out of order", "truths"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_of_a_classifier_may_be_called_anything(name, named):
    """Texts, numbers or truths: the same trials are given to the same classes."""
    decoder, X, y = problem(name, n_classes=2)
    names = {
        "texts": np.array(["limonene", "musk"]),
        "integers out of order": np.array([-3, 40]),
        "truths": np.array([False, True]),
    }
    expected = names[named][clone(decoder).fit(X, y).predict(X)]
    said = decoder.fit(X, names[named][y]).predict(X)
    assert_array_equal(said, expected)
    assert_array_equal(decoder.classes_, names[named])


@pytest.mark.parametrize("name", DECODERS)
def test_the_order_of_units_does_not_matter(name):
    """Units in reverse give the same predictions, to rounding and the tolerance of iterative solvers."""
    decoder, X, y = problem(name)
    plain = clone(decoder).fit(X, y).predict(X)
    turned = clone(decoder).fit(turned_units(X), y).predict(turned_units(X))
    if is_classifier(decoder):
        assert_array_equal(turned, plain)
    else:
        assert_allclose(turned, plain, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", DECODERS)
def test_the_order_of_trials_does_not_matter(name):
    """Training trials in another order, not sorted by class, teach the same."""
    decoder, X, y = problem(name, n_trials=60)
    order = np.random.default_rng(0).permutation(60)
    plain = clone(decoder).fit(X, y).predict(X)
    shuffled = clone(decoder).fit(X[order], y[order]).predict(X)
    if is_classifier(decoder):
        assert np.mean(shuffled == plain) > 0.98  # solvers with a seed visit trials in order
    else:
        assert_allclose(shuffled, plain, atol=0.05 * np.std(y))  # inner folds follow the order


@pytest.mark.parametrize("name", DECODERS)
def test_a_trial_is_predicted_alike_alone_and_among_others(name):
    """No decoder adapts to the test trials: each is predicted from itself and what was learned."""
    decoder, X, y = problem(name)
    fitted = decoder.fit(X[:24], y[:24])
    together = fitted.predict(X[24:])
    alone = np.concatenate([fitted.predict(X[k : k + 1]) for k in range(24, 36)])
    assert_allclose(alone, together, rtol=1e-9)


# what makes a slow method quick here; its defaults are tried in its own tests
QUICK = {"cebra": {"n_iterations": 3, "n_seeds": 1}, "umap": {"n_seeds": 1}}


def small(name, **parameters):
    """A reducer with settings that make it quick; skipped where its library is not installed."""
    return make_reducer(name, **(QUICK.get(name, {}) | parameters))


def fitted(reducer, X):
    """The reducer fitted on X, with two classes of trials where it learns from a target."""
    y = np.arange(len(X)) % 2 if get_tags(reducer).target_tags.required else None
    try:
        return reducer.fit(X, y)
    except MissingDependency as absent:
        pytest.skip(str(absent))


def takes_gaps(name):
    """Whether a reducer says that it takes trials of unequal length and missing bins."""
    return get_tags(make_reducer(name)).input_tags.allow_nan


def reduced(name, X):
    """Latents of a reducer fitted on X, at most two."""
    return fitted(small(name, n_latents=2), X).transform(X)


@pytest.fixture
def counts():
    """Counts (n_trials, n_times, n_units) with a shared slow rhythm."""
    rng = np.random.default_rng(0)
    drive = np.sin(np.arange(9) / 2)[:, None] * rng.normal(size=6)
    return rng.poisson(np.exp(1.0 + drive), (14, 9, 6))


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_is_made_without_arguments_and_cloned(name):
    """A clone has the parameters of the original and has learned nothing."""
    reducer = make_reducer(name)
    assert str(clone(reducer).get_params()) == str(reducer.get_params())
    assert takes_three_axes(reducer)


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_keeps_trials_and_bins(name, counts):
    """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents), finite floats."""
    latents = reduced(name, counts)
    assert latents.shape == (14, 9, 2)
    assert latents.dtype.kind == "f" and np.isfinite(latents).all()


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_is_deterministic_and_leaves_its_input_alone(name, counts):
    """Two fits agree to the last bit."""
    before = counts.copy()
    assert_array_equal(reduced(name, counts), reduced(name, counts))
    assert_array_equal(counts, before)


@pytest.mark.parametrize("name", REDUCERS)
def test_a_trial_is_reduced_alike_alone_and_among_others(name, counts):
    """What is learned is learned in the fit; a new trial is carried through it by itself."""
    reducer = fitted(small(name, n_latents=2), counts[:10])
    alone = np.concatenate([reducer.transform(counts[k : k + 1]) for k in range(10, 14)])
    assert_allclose(alone, reducer.transform(counts[10:]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in REDUCERS if not takes_gaps(name)])
def test_a_reducer_refuses_nan_and_names_the_trials(name, counts):
    """In the fit and in the transform."""
    holed = counts.astype(float)
    holed[3, 2, 1] = np.nan
    complete = fitted(small(name), counts)
    for use in (lambda X: fitted(small(name), X), complete.transform):
        with pytest.raises(SchemaError, match="NaN.* 1 trials .*position.* 3"):
            use(holed)


@pytest.mark.parametrize("name", [name for name in REDUCERS if takes_gaps(name)])
def test_a_reducer_that_takes_gaps_carries_short_trials_and_missing_bins(name, counts):
    """The bins that a shorter trial has, and all bins of whole trials, have finite latents."""
    holed = counts.astype(float)
    holed[3, 6:] = np.nan
    holed[5, 2] = np.nan
    latents = fitted(small(name, n_latents=2), holed).transform(holed)
    assert latents.shape == (14, 9, 2)
    assert np.isfinite(latents[3, :6]).all() and np.isfinite(np.delete(latents, [3, 5], axis=0)).all()


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_refuses_other_units(name, counts):
    """Units have no names here, but their number must agree."""
    reducer = fitted(small(name), counts)
    with pytest.raises(SchemaError, match="was fitted on 6 units and got 5. Pass the units used in fit"):
        reducer.transform(counts[:, :, :5])


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_refuses_two_axes(name, counts):
    """Trials and bins are not told apart by guessing."""
    with pytest.raises(SchemaError, match=r"takes \(n_trials, n_times, n_units\), got shape \(14, 6\)"):
        fitted(small(name), counts[:, 0])


def own_estimators():
    """The last step of every decoder that is a class of mitral on two axes; scikit-learn checks its own."""
    finals = [list(steps(make_decoder(name)))[-1] for name in DECODERS]
    return [final for final in finals if type(final).__module__.startswith("mitral.") and not takes_three_axes(final)]


TOLD_OTHERWISE = "refused with a message of mitral, in other words than the check looks for"
HANDS_NEGATIVES = "hands negative values to a decoder of counts"
EXPECTED = {
    "PooledLDA": {"check_fit2d_1sample": TOLD_OTHERWISE},
    "PoissonBayes": {
        "check_positive_only_tag_during_fit": TOLD_OTHERWISE,
        "check_decision_proba_consistency": HANDS_NEGATIVES,
    },
    "ReducedRankRegression": {"check_fit2d_1sample": TOLD_OTHERWISE},
}


def expected_failures(estimator):
    """Checks of scikit-learn that an estimator may fail, each with the reason."""
    return EXPECTED.get(type(estimator).__name__, {})


@pytest.mark.filterwarnings("ignore")  # as in scikit-learn's own runs: the checks hand over degenerate data
@parametrize_with_checks(own_estimators(), expected_failed_checks=expected_failures)
def test_own_estimators_pass_the_checks_of_sklearn(estimator, check):
    """Fit, predict, clone, tags, shapes and messages are those of any scikit-learn estimator."""
    check(estimator)
