"""One false-positive rate for a family of analyses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode.decoders import make_decoder
from mitral.decode.family import with_family
from mitral.decode.nulls import attach_null, with_null
from mitral.decode.score import cross_validate

NAMES = ("nearest_centroid", "naive_bayes", "ridge_classifier")


def results_of(activity, names=NAMES, **null):
    """Results of several decoders with nulls of the same labelings."""
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    asked = {"n_permutations": 19, "random_state": 0} | null
    found = {name: cross_validate(activity, "odor", make_decoder(name), folds) for name in names}
    return {name: with_null(each, activity, make_decoder(name), folds, **asked) for name, each in found.items()}


def test_the_familywise_p_is_that_of_a_loop(make_activity):
    """By a loop over labelings: how many have a smallest p at most that of the true one."""
    results = results_of(make_activity(n_trials=24, strength=0.3))
    family = with_family(results)
    scores = np.array([np.append(r.attrs["score_mean"], r["null_score"].values) for r in results.values()])
    p = np.array([[np.mean(row >= score) for score in row] for row in np.round(scores, 12)])
    for name, own in zip(NAMES, p, strict=True):
        expected = np.mean([p[:, labeling].min() <= own[0] for labeling in range(20)])
        assert_allclose(family[name].attrs["p_familywise"], expected)
        assert family[name].attrs["p_familywise"] >= family[name].attrs["p_value"]
        assert family[name].attrs["family"] == list(NAMES)


def test_a_family_of_one_keeps_its_p(make_activity):
    """Nothing was tried beside it, so nothing is to be paid."""
    (only,) = with_family(results_of(make_activity(n_trials=24), NAMES[:1])).values()
    assert_allclose(only.attrs["p_familywise"], only.attrs["p_value"])


def test_copies_cost_nothing(make_activity):
    """The same analysis under three names has the p of one."""
    (only,) = results_of(make_activity(n_trials=24), NAMES[:1]).values()
    family = with_family({"a": only, "b": only, "c": only})
    assert_allclose(family["b"].attrs["p_familywise"], only.attrs["p_value"])


def test_other_labelings_make_no_family(make_activity):
    """Nulls of another seed, or none, cannot be compared labeling by labeling."""
    activity = make_activity(n_trials=24)
    results = results_of(activity)
    other = results_of(activity, NAMES[:1], random_state=1)
    with pytest.raises(SchemaError, match="differ in null_random_state"):
        with_family(results | {"other": other[NAMES[0]]})
    with pytest.raises(SchemaError, match="'bare' has no p value. Add a null"):
        with_family({"bare": other[NAMES[0]].drop_vars("null_score")})
    no_p = attach_null(other[NAMES[0]], np.zeros(9), 5.0, scheme="few")
    with pytest.raises(SchemaError, match="'few' has no p value. No p value: the labels can be arranged in 5 ways"):
        with_family({"few": no_p})
    with pytest.raises(SchemaError, match="at least one result, got none"):
        with_family({})
