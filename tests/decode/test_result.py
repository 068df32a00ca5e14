"""Results: their checks, their provenance, and attributes that survive JSON."""

import getpass
import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from sklearn.metrics import confusion_matrix

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode import result as made
from mitral.decode.decoders import make_decoder
from mitral.decode.intervals import with_interval
from mitral.decode.nulls import with_null
from mitral.decode.pooled import cross_validate_pooled, with_pooled_null
from mitral.decode.reduce import reduce
from mitral.decode.result import canonical_json, check_result, confusion, content_key, stamp
from mitral.decode.score import cross_validate
from mitral.decode.trajectories import make_reducer


@pytest.fixture
def result(make_activity):
    """A finished result with interval, null and provenance."""
    activity, decoder = make_activity(), make_decoder("nearest_centroid")
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    scored = cross_validate(activity, "odor", decoder, folds)
    scored = with_null(scored, activity, decoder, folds, n_permutations=3, random_state=0)
    scored = with_interval(scored, n_bootstrap=10, random_state=0)
    return stamp(scored, config={"decoder": "nearest_centroid"}, inputs={"s": "0" * 64})


def test_attributes_of_a_result_survive_json(result):
    """What a store writes as JSON is read back equal."""
    assert json.loads(json.dumps(result.attrs, allow_nan=False)) == result.attrs


def test_attributes_of_a_pooled_result_survive_json(make_activity):
    """Also those that only pseudo-populations have."""
    cohort = {name: make_activity(seed=k, session=name, animal=name) for k, name in enumerate("ab")}
    decoder = make_decoder("nearest_centroid")
    pooled = cross_validate_pooled(cohort, "odor", decoder, n_folds=2, n_repeats=2, random_state=0)
    pooled = with_pooled_null(pooled, cohort, decoder, n_folds=2, n_permutations=2, random_state=0)
    assert json.loads(json.dumps(pooled.attrs, allow_nan=False)) == pooled.attrs


def test_attributes_of_a_trajectory_survive_json(make_activity):
    """Also the list of explained variances."""
    attrs = reduce(make_activity(), make_reducer("pca")).attrs
    assert json.loads(json.dumps(attrs, allow_nan=False)) == attrs


def test_a_stamp_says_what_the_numbers_came_from(result):
    """Versions, threads, configuration and inputs are there, as JSON texts."""
    assert json.loads(result.attrs["config"]) == {"decoder": "nearest_centroid"}
    assert json.loads(result.attrs["inputs"]) == {"s": "0" * 64}
    assert json.loads(result.attrs["packages"])["numpy"] == np.__version__
    assert {pool["user_api"] for pool in json.loads(result.attrs["threads"])} >= {"blas"}


def test_a_package_that_is_not_installed_is_recorded_as_absent(monkeypatch):
    """Provenance never fails for want of a package."""
    monkeypatch.setattr(made, "RECORDED_PACKAGES", ("numpy", "no-such-package"))
    assert made.package_versions() == {"numpy": np.__version__, "no-such-package": "absent"}


def test_an_unknown_user_is_recorded_as_unknown(monkeypatch):
    """Containers may have no entry for the user."""

    def no_entry():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", no_entry)
    assert stamp(xr.Dataset()).attrs["user"] == "unknown"


def test_the_content_key_ignores_the_order_of_keys_and_nothing_else():
    """Equal configurations have one key; another value, input or seed has another."""
    key = content_key({"seed": 1, "bins": [1, 2]}, {"s": "a"})
    assert key == content_key({"bins": [1, 2], "seed": 1}, {"s": "a"})
    one = {"seed": 1, "bins": [1, 2]}
    others = [({"seed": 2, "bins": [1, 2]}, "a"), ({"seed": 1, "bins": [2, 1]}, "a"), (one, "b")]
    assert len({key, *(content_key(config, {"s": stored}) for config, stored in others)}) == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.arange(2), {1, 2}, {"a": 1, 2: 3}])
def test_a_configuration_that_is_not_json_is_refused(value):
    """A hash of something that has no one text would name nothing."""
    with pytest.raises(ConfigError, match="this does not: .* Convert it"):
        canonical_json({"bin": value})


def test_confusion_is_that_of_sklearn():
    """Counts of test trials over all folds, true labels in rows; trials that no fold tests are not counted."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 30).astype(np.int16)
    prediction = rng.integers(-1, 3, (2, 30)).astype(np.int16)
    said = [confusion_matrix(truth[row >= 0], row[row >= 0], labels=range(3)) for row in prediction]
    assert_array_equal(confusion(truth, prediction, 3), sum(said))


def test_confusion_counts_two_hundred_labels():
    """Incident: positions are int16, and their product with the number of labels overflowed from 182 on."""
    truth = np.arange(200, dtype=np.int16)
    assert_array_equal(confusion(truth, truth[None], 200), np.eye(200))


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (xr.Dataset(), "expected a result of kind 'decoding', got None. Make one with cross_validate"),
        (xr.Dataset(attrs={"kind": "study"}), "got 'study'"),
        (np.zeros(3), "got 'ndarray'"),
    ],
)
def test_another_thing_than_a_result_is_refused(thing, said):
    """The message says what came and what makes one."""
    with pytest.raises(SchemaError, match=said):
        check_result(thing)


@pytest.mark.parametrize("name", ["score", "prediction", "target"])
def test_a_result_without_a_variable_is_refused(result, name):
    """The message names the variable."""
    with pytest.raises(SchemaError, match=f"and '{name}' is missing. Keep the result whole"):
        check_result(result.drop_vars(name))


def test_a_whole_result_passes_unchanged(result):
    """The check returns its argument."""
    assert check_result(result) is result
