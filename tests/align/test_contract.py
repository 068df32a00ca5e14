"""The contract of every entry of ALIGNERS: a new line in the table is held to it without a new test."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from mitral.align.base import ALIGNERS, make_aligner
from mitral.align.linear import LinearAligner
from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.datasets.tables import resolve

QUICK = {
    "mixture_lds": {"max_iterations": 5},
    "multi_session_cebra": {"n_iterations": 3, "batch_size": 32},
    "shared_private": {"n_components": 1},
    "gromov_wasserstein": {"n_starts": 3},
}
LIBRARIES = {"sinkhorn": "ot", "gromov_wasserstein": "ot", "multi_session_cebra": "cebra"}
HEAVY = {"torch", "cebra", "ot", "pandas", "xarray"}


def valid(name, parameters):
    """Those of the parameters that the aligner has."""
    known = make_aligner(name).get_params()
    return {key: value for key, value in parameters.items() if key in known}


def small(name, **parameters):
    """An aligner with settings that make it quick."""
    return make_aligner(name, **valid(name, {"n_latents": 2} | QUICK.get(name, {}) | parameters))


def entries(names=ALIGNERS):
    """Names as parameters; those of an optional library are skipped where it is not installed."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(find_spec(LIBRARIES[name]) is None, reason=LIBRARIES[name]))
        if name in LIBRARIES
        else name
        for name in names
    ]


LINEAR = [name for name, path in ALIGNERS.items() if issubclass(resolve(name, ALIGNERS, what="aligner"), LinearAligner)]
BY_LABEL = [name for name in ALIGNERS if resolve(name, ALIGNERS, what="aligner").needs_labels]


@pytest.fixture(scope="module")
def problem():
    """Three sessions of 5, 6 and 7 units that see one geometry: 5 conditions, 4 trials each, 3 bins."""
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(5, 3, 2))
    cohort, y = {}, {}
    for number, session in enumerate("abc"):
        labels = rng.permutation(np.repeat(list("vwxyz"), 4))
        position = np.searchsorted(list("vwxyz"), labels)
        loadings = rng.normal(size=(2, 5 + number))
        cohort[session] = latents[position] @ loadings + 0.1 * rng.normal(size=(20, 3, 5 + number)) + 1.0
        y[session] = labels
    return cohort, y


def without(pair, session):
    """The problem without one session."""
    return tuple({name: part for name, part in arrays.items() if name != session} for arrays in pair)


def test_names_are_sorted_and_lead_to_aligners():
    """A table is looked through by people."""
    assert list(ALIGNERS) == sorted(ALIGNERS)
    for name in ALIGNERS:
        assert all(hasattr(make_aligner(name), method) for method in ("fit", "add_session", "transform"))


def test_an_unknown_aligner_or_parameter_is_refused_with_the_nearest():
    """As for decoders and reducers."""
    with pytest.raises(UnknownName, match="unknown aligner 'procrustus'. Nearest: 'procrustes'"):
        make_aligner("procrustus")
    with pytest.raises(ConfigError, match="aligner 'srm' has no parameter 'latents'. Nearest: 'n_latents'"):
        make_aligner("srm", latents=2)


def test_listing_the_aligners_imports_no_library():
    """Names cost nothing: POT and torch are imported by the methods that use them."""
    code = "import json, sys, mitral.align.base; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert loaded & (HEAVY - {"pandas", "xarray"}) == set()


@pytest.mark.parametrize("name", entries())
def test_parameters_survive_a_clone(name):
    """scikit-learn's contract: parameters are kept as given, and a clone is unfitted and equal."""
    aligner = make_aligner(name)
    assert clone(aligner).get_params() == aligner.get_params()
    changed = aligner.set_params(**valid(name, {"n_latents": 4}))
    assert changed is aligner and clone(aligner).get_params() == aligner.get_params()


@pytest.mark.parametrize("name", entries())
def test_every_session_lands_in_one_space(name, problem):
    """Sessions of 5, 6 and 7 units have the same latents, for trials, bins and single patterns alike."""
    cohort, y = problem
    aligner = small(name)
    assert aligner.fit(cohort, y) is aligner
    shapes = {session: aligner.transform(session, X).shape for session, X in cohort.items()}
    assert len(set(shapes.values())) == 1 and shapes["a"][:2] == (20, 3)
    assert all(np.isfinite(aligner.transform(session, X)).all() for session, X in cohort.items())


@pytest.mark.parametrize("name", entries(LINEAR))
def test_patterns_are_mapped_whatever_the_axes_before_the_units(name, problem):
    """(..., n_units) -> (..., n_latents): a trial, a bin and a table of bins give the same latents."""
    cohort, y = problem
    aligner = small(name).fit(cohort, y)
    whole = aligner.transform("b", cohort["b"])
    assert_allclose(aligner.transform("b", cohort["b"][3, 1]), whole[3, 1], atol=1e-12)
    assert_allclose(aligner.transform("b", cohort["b"][None]), whole[None], atol=1e-12)


@pytest.mark.parametrize("name", entries())
def test_an_aligner_is_deterministic_and_leaves_its_input_alone(name, problem):
    """Two fits agree to the last bit, and the arrays are as they were."""
    cohort, y = problem
    before = {session: X.copy() for session, X in cohort.items()}
    first, second = (small(name).fit(cohort, y).transform("c", cohort["c"]) for _ in range(2))
    assert_array_equal(first, second)
    assert all(np.array_equal(before[session], X) for session, X in cohort.items())


@pytest.mark.parametrize("name", entries(name for name in ALIGNERS if name != "none"))
def test_permuting_units_changes_nothing(name, problem):
    """Units have no order: shuffle those of one session, in the fit and after it."""
    cohort, y = problem
    order = np.random.default_rng(1).permutation(6)
    plain = small(name).fit(cohort, y)
    shuffled = small(name).fit(cohort | {"b": cohort["b"][..., order]}, y)
    moved = shuffled.transform("b", cohort["b"][..., order])
    tolerance = 1e-7 if name in LINEAR else 1e-4  # sums in another order, over the rounds of an iteration
    assert_allclose(moved, plain.transform("b", cohort["b"]), atol=tolerance)
    assert_allclose(shuffled.transform("a", cohort["a"]), plain.transform("a", cohort["a"]), atol=tolerance)


@pytest.mark.parametrize("name", entries(LINEAR))
def test_a_copy_that_is_added_lands_on_the_original(name, problem):
    """add_session follows the rule of fit: the same trials under a new name have the same latents."""
    cohort, y = problem
    aligner = small(name).fit(cohort, y)
    aligner.add_session("copy", cohort["b"], y["b"])
    assert_allclose(aligner.transform("copy", cohort["b"]), aligner.transform("b", cohort["b"]), atol=1e-7)


@pytest.mark.parametrize("name", entries())
def test_adding_a_session_moves_no_other(name, problem):
    """The shared space is frozen."""
    cohort, y = problem
    aligner = small(name).fit(*without(problem, "c"))
    before = aligner.transform("a", cohort["a"])
    aligner.add_session("c", cohort["c"][:16], y["c"][:16])
    assert_array_equal(aligner.transform("a", cohort["a"]), before)
    assert aligner.transform("c", cohort["c"]).shape == before.shape


@pytest.mark.parametrize("name", entries(BY_LABEL))
def test_the_order_of_trials_does_not_matter(name, problem):
    """Trials are matched by their label, not by their place."""
    cohort, y = problem
    order = np.random.default_rng(2).permutation(20)
    plain = small(name).fit(cohort, y)
    mixed = small(name).fit(cohort | {"a": cohort["a"][order]}, y | {"a": y["a"][order]})
    tolerance = 1e-9 if name in LINEAR else 1e-4
    assert_allclose(mixed.transform("b", cohort["b"]), plain.transform("b", cohort["b"]), atol=tolerance)


@pytest.mark.parametrize("name", entries(BY_LABEL))
def test_a_session_may_lack_a_condition(name, problem):
    """Unequal conditions: one session has never met 'z', and is aligned by the others."""
    cohort, y = problem
    kept = y["b"] != "z"
    aligner = small(name).fit(cohort | {"b": cohort["b"][kept]}, y | {"b": y["b"][kept]})
    assert np.isfinite(aligner.transform("b", cohort["b"])).all()


@pytest.mark.parametrize("name", entries())
def test_one_session_is_refused(name, problem):
    """There is nothing to align it with."""
    cohort, y = problem
    with pytest.raises(SchemaError, match="at least two sessions, and here is only 'a'"):
        small(name).fit({"a": cohort["a"]}, {"a": y["a"]})


@pytest.mark.parametrize("name", entries())
def test_an_unknown_session_is_refused_with_the_nearest(name, problem):
    """And the message says how to add it."""
    cohort, y = problem
    aligner = small(name).fit(cohort, y)
    with pytest.raises(UnknownName, match="no session 'd'.*add_session"):
        aligner.transform("d", cohort["a"])


@pytest.mark.parametrize("name", entries())
def test_other_units_than_in_fit_are_refused(name, problem):
    """The session is named."""
    cohort, y = problem
    aligner = small(name).fit(cohort, y)
    with pytest.raises(SchemaError, match="session 'b': the aligner was fitted on 6 units and got 5"):
        aligner.transform("b", cohort["b"][..., :5])


@pytest.mark.parametrize("name", entries(BY_LABEL))
def test_no_condition_in_common_is_refused(name, problem):
    """In the fit and when a session is added."""
    cohort, y = problem
    strange = np.char.add("other ", y["c"])
    with pytest.raises(SchemaError, match="session 'c' has no condition in common"):
        small(name).fit(cohort, y | {"c": strange})
    with pytest.raises(SchemaError, match="session 'c' has no condition in common with the fit"):
        small(name).fit(*without(problem, "c")).add_session("c", cohort["c"], strange)


@pytest.mark.parametrize("name", entries(BY_LABEL))
def test_an_animal_with_a_single_odor_is_refused(name, problem):
    """One condition fits any space."""
    cohort, y = problem
    kept = y["b"] == "v"
    with pytest.raises(SchemaError, match="session 'b' has a single condition"):
        small(name).fit(cohort | {"b": cohort["b"][kept]}, y | {"b": y["b"][kept]})


@pytest.mark.parametrize("name", entries(LINEAR))
def test_fewer_conditions_than_latents_are_refused(name, problem):
    """Five conditions in one bin span at most four dimensions."""
    cohort, y = problem
    first = {session: X[:, :1] for session, X in cohort.items()}
    with pytest.raises(SchemaError, match="session 'a' has 5 rows .* and 5 latents need at least 6"):
        small(name, n_latents=5).fit(first, y)


@pytest.mark.parametrize("name", entries(name for name in ALIGNERS if not make_aligner(name).takes_gaps))
def test_nan_is_refused_with_the_session_and_trial(name, problem):
    """In fit, add_session and transform."""
    cohort, y = problem
    holed = cohort["b"].copy()
    holed[3, 1, 2] = np.nan
    aligner = small(name).fit(*without(problem, "b"))
    for use in (
        lambda: small(name).fit(cohort | {"b": holed}, y),
        lambda: aligner.add_session("b", holed, y["b"]),
        lambda: small(name).fit(cohort, y).transform("b", holed),
    ):
        with pytest.raises(SchemaError, match="session 'b'.* 1 trials hold NaN or infinity: position 3"):
            use()


@pytest.mark.parametrize("name", entries())
def test_bad_labels_are_refused(name, problem):
    """Too few, missing ones, and none for a session."""
    cohort, y = problem
    with pytest.raises(SchemaError, match="session 'b' has 20 trials and labels of shape"):
        small(name).fit(cohort, y | {"b": y["b"][:5]})
    with pytest.raises(SchemaError, match="session 'c' has no labels in y"):
        small(name).fit(cohort, {"a": y["a"], "b": y["b"]})
    with pytest.raises(SchemaError, match="session 'b': the label of 1 trials is missing, the first at position 2"):
        small(name).fit(cohort, y | {"b": np.where(np.arange(20) == 2, "", y["b"])})


def test_other_input_is_refused(problem):
    """Not a cohort, bins that differ, numbers on four axes, a session twice, trials without labels."""
    cohort, y = problem
    aligner = small("procrustes")
    with pytest.raises(SchemaError, match="takes {session: array}, got list"):
        aligner.fit([cohort["a"]])
    with pytest.raises(SchemaError, match="Procrustes is not fitted"):
        aligner.transform("a", cohort["a"])
    with pytest.raises(SchemaError, match="session 'b' has 2 time bins, session 'a' has 3"):
        aligner.fit(cohort | {"b": cohort["b"][:, :2]}, y)
    with pytest.raises(SchemaError, match="session 'b': an aligner takes numbers on"):
        aligner.fit(cohort | {"b": cohort["b"][None]}, y)
    with pytest.raises(SchemaError, match="session 'b' has no trials"):
        aligner.fit(cohort | {"b": cohort["b"][:0]}, y)
    with pytest.raises(SchemaError, match="without labels they are matched by position"):
        aligner.fit(cohort | {"b": cohort["b"][:7]})
    with pytest.raises(ConfigError, match="n_latents is a whole number from 1, got 0"):
        small("procrustes", n_latents=0).fit(cohort, y)
    aligner.fit(cohort, y)
    with pytest.raises(SchemaError, match="session 'a' is in the fit already"):
        aligner.add_session("a", cohort["a"], y["a"])
    with pytest.raises(SchemaError, match="session 'd': Procrustes matches trials by their label"):
        aligner.add_session("d", cohort["a"])
