"""Pseudo-populations: split before they are matched, repeated, and better than their sessions where units add up."""

import dask.array
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.activity import bin_spikes
from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.datasets.pool import pseudo_population
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.decode.decoders import make_decoder
from mitral.decode.pooled import cross_validate_pooled, with_pooled_null
from mitral.decode.score import cross_validate

DECODER = make_decoder("nearest_centroid")


@pytest.fixture
def cohort(make_activity):
    """Three sessions of two mice that know the odor a little."""
    names = {"a1": "a", "a2": "a", "b1": "b"}
    return {
        name: make_activity(n_trials=36, n_odors=3, strength=0.4, seed=k, session=name, animal=animal)
        for k, (name, animal) in enumerate(names.items())
    }


def pooled(cohort, **changes):
    """Three repeats of two folds."""
    settings = {"n_folds": 2, "n_repeats": 3, "random_state": 0} | changes
    return cross_validate_pooled(cohort, "odor", DECODER, **settings)


def test_units_of_a_simulated_lab_add_up():
    """A pool of mice decodes odors better than the best mouse alone, and its null stays at chance."""
    lab = simulate_olfactory_lab(random_state=1, n_animals=3, n_units=(8, 12), n_blocks=6, concentrations=(0.1,))
    cohort = {
        name: bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
        for name, session in lab.sessions.items()
    }
    result = pooled(cohort, n_folds=3, n_repeats=5)
    result = with_pooled_null(result, cohort, DECODER, n_folds=3, n_permutations=19, random_state=0)
    alone = [
        cross_validate(a, "odor", DECODER, make_folds(a, target="odor", n_folds=3, random_state=0)).attrs["score_mean"]
        for a in cohort.values()
    ]
    assert result.attrs["score_mean"] > max(alone) > result.attrs["null_high"]
    assert result.attrs["p_value"] == 1 / 20
    assert result.attrs["null_low"] < result.attrs["chance"] == 1 / 8 < result.attrs["null_high"]


def test_the_first_repeat_is_split_matched_and_decoded(cohort):
    """The same by hand: folds of each session from a stream of its own, then pseudo-trials, then decoding."""
    streams = [int(s) for s in np.random.SeedSequence(0).spawn(3)[0].generate_state(4)]
    folds = {
        name: make_folds(activity, target="odor", n_folds=2, random_state=stream)
        for (name, activity), stream in zip(cohort.items(), streams[1:], strict=True)
    }
    activity, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=streams[0])
    alone = cross_validate(activity, "odor", DECODER, pooled_folds)
    result = pooled(cohort)
    assert_array_equal(result["prediction"], alone["prediction"])
    assert result["repeat_score"].values[0] == alone.attrs["score_mean"]


def test_repeats_are_summarised(cohort):
    """Mean, lowest, highest and spread over repeats; confusion of all of them."""
    result = pooled(cohort)
    repeats = result["repeat_score"].values
    said = [result.attrs[f"score_{name}"] for name in ("mean", "low", "high", "sd")]
    assert_allclose(said, [repeats.mean(), repeats.min(), repeats.max(), repeats.std(ddof=1)])
    assert result.attrs["interval_over"] == "3 repeats of split and matching (lowest to highest)"
    assert result["confusion"].sum() == 3 * 36


def test_one_repeat_has_no_spread(cohort):
    """One number has a standard deviation of none, said as 0."""
    assert pooled(cohort, n_repeats=1).attrs["score_sd"] == 0.0


def test_the_result_says_what_was_pooled(cohort):
    """Animals, sessions and units are counted, and lost correlations are warned of."""
    attrs = pooled(cohort).attrs
    assert attrs["population"] == "pseudo-population"
    assert [attrs[name] for name in ("n_animals", "n_sessions", "n_units")] == [2, 3, 18]
    assert attrs["sessions"] == ["a1", "a2", "b1"]
    assert any("correlations between them are lost" in said for said in attrs["warnings"])


def test_repeats_have_streams_of_their_own(cohort):
    """More repeats begin with the same ones."""
    assert_array_equal(pooled(cohort, n_repeats=5)["repeat_score"][:3], pooled(cohort)["repeat_score"])


def test_two_workers_equal_one(cohort, map_over_processes):
    """The number of processes changes neither repeats nor permutations."""
    one, two = pooled(cohort), pooled(cohort, map=map_over_processes)
    settings = {"n_folds": 2, "n_permutations": 3, "random_state": 0}
    one = with_pooled_null(one, cohort, DECODER, **settings)
    two = with_pooled_null(two, cohort, DECODER, map=map_over_processes, **settings)
    xr.testing.assert_identical(one, two)


@pytest.fixture
def blind(make_activity):
    """Three sessions that know nothing of the odor."""
    names = "abc"
    return {name: make_activity(n_trials=36, n_odors=3, seed=k, session=name) for k, name in enumerate(names)}


def test_null_scores_of_noise_are_at_chance(blind):
    """Permuted, split and matched anew: the mean of 60 is 1/3 within four of its standard errors."""
    result = pooled(blind, n_repeats=1)
    null = with_pooled_null(result, blind, DECODER, n_folds=2, n_permutations=60, random_state=0)["null_score"]
    assert abs(float(null.mean()) - 1 / 3) < 4 * float(null.std()) / np.sqrt(60)


def test_the_null_is_compared_with_one_repeat(blind):
    """A mean over repeats varies less than one permuted repeat, so p compares the first repeat, not the mean."""
    result = pooled(blind, random_state=2)
    result = with_pooled_null(result, blind, DECODER, n_folds=2, n_permutations=39, random_state=0)
    null, first = result["null_score"].values, result["repeat_score"].values[0]
    assert np.sum(null >= first) != np.sum(null >= result.attrs["score_mean"])
    assert_allclose(result.attrs["p_value"], (np.sum(null >= first) + 1) / 40)
    assert result.attrs["null_scheme"].endswith("compared with the first repeat")


def test_blocks_stay_whole_in_pools_and_their_null(cohort):
    """Groups are kept by the folds of each session and by the exchange of labels, and named."""
    whole = {
        name: activity.assign_coords(
            odor=("trial", np.tile(["odor 0", "odor 1", "odor 2"], 12)), block=("trial", np.arange(36) // 6)
        )
        for name, activity in cohort.items()
    }
    result = pooled(whole, group="block")
    result = with_pooled_null(result, whole, DECODER, n_folds=2, n_permutations=3, random_state=0, group="block")
    assert "labels of whole trials permuted within each session and block" in result.attrs["null_scheme"]


def test_lazy_sessions_give_the_same_and_are_computed_once(cohort, no_compute):
    """Each session is loaded once, however many repeats there are."""
    lazy = {n: a.copy(data=dask.array.from_array(a.values, chunks=(9, 2, 6))) for n, a in cohort.items()}
    with no_compute(at_most=3):
        lazily = pooled(lazy)
    xr.testing.assert_identical(lazily, pooled(cohort))


def test_no_repeat_is_refused(cohort):
    """A mean over none is no number."""
    with pytest.raises(SchemaError, match="n_repeats must be at least 1, got 0"):
        pooled(cohort, n_repeats=0)


def test_one_session_is_no_pool(cohort):
    """It is decoded by ``cross_validate``."""
    with pytest.raises(SchemaError, match="joins at least two sessions, got 1"):
        pooled({"a1": cohort["a1"]})


def test_sessions_without_a_class_in_common_are_refused(cohort):
    """What ``pseudo_population`` refuses is refused here."""
    fewer = cohort["b1"].isel(trial=cohort["b1"]["odor"].values != "odor 1")
    with pytest.raises(SchemaError, match="'b1' and 'a1' do not share odor 'odor 1'"):
        pooled(cohort | {"b1": fewer})


def test_a_pooled_null_needs_a_pooled_result(cohort):
    """Incident: the result of one session was let in, and failed with a message about something else."""
    activity = cohort["a1"]
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    result = cross_validate(activity, "odor", DECODER, folds)
    with pytest.raises(SchemaError, match=r"has no repeat_score, .* or use with_null"):
        with_pooled_null(result, cohort, DECODER, n_folds=2, n_permutations=2, random_state=0)


def test_no_permutation_is_refused(cohort):
    """A null of nothing is no null."""
    with pytest.raises(SchemaError, match="n_permutations must be at least 1, got 0"):
        with_pooled_null(pooled(cohort), cohort, DECODER, n_folds=2, n_permutations=0, random_state=0)
