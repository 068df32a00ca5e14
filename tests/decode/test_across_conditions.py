"""Decoding across conditions: folds that hold out levels and trials, codes that generalise and codes that do not."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import balanced_accuracy_score

from mitral.datasets.errors import SchemaError, UnknownName
from mitral.datasets.folds import TEST, TRAIN, make_folds
from mitral.decode.across_conditions import cross_folds, generalise_across, hold_out_folds
from mitral.decode.conditions import label_conditions, pool_conditions
from mitral.decode.decoders import make_decoder
from mitral.decode.score import cross_validate

DOSES = (0.01, 0.1, 1.0)


def design(seed=0, *, shared=1.5, own=0.0, n_blocks=10, n_odors=3, session="s"):
    """Each odor at each dose in each block: a pattern of the odor, and one of the odor at that dose.

    ``shared`` is the size of the first, which a decoder can carry to another dose; ``own`` of the second.
    """
    rng = np.random.default_rng(seed)
    cells = [(o, d) for o in range(n_odors) for d in range(len(DOSES))]
    odor, dose = np.array([cells[k] for _ in range(n_blocks) for k in rng.permutation(len(cells))]).T
    n_units = 20
    pattern = shared * rng.normal(size=(n_odors, 1, n_units)) + own * rng.normal(size=(n_odors, len(DOSES), n_units))
    gain = rng.normal(size=n_units)
    values = pattern[odor, dose if own else 0] + gain * dose[:, None] + rng.normal(size=(len(odor), n_units))
    return xr.DataArray(
        values[:, None],
        dims=("trial", "time", "unit"),
        coords={
            "trial": 100 + np.arange(len(odor)),
            "time": [0.5],
            "unit": [f"{session}/u{u}" for u in range(n_units)],
            "odor": ("trial", np.array(["apple", "pear", "plum"])[odor]),
            "concentration": ("trial", np.array(DOSES)[dose]),
            "decade": ("trial", dose.astype(float)),
            "block": ("trial", np.repeat(np.arange(n_blocks), len(cells))),
        },
        attrs={"session": session, "animal": session, "event": "e", "bin_width_s": 1.0, "units": ""},
    )


def across(activity, target="odor", decoder="lda", **options):
    """``generalise_across`` with a decoder of the table, at a few resamples and without a null unless stated."""
    settings = {"column": "concentration", "n_permutations": 0, "n_bootstrap": 50, "random_state": 0} | options
    return generalise_across(activity, target, make_decoder(decoder), **settings)


def test_each_level_is_tested_on_the_others():
    """One fold a level: all of its trials test, all others train."""
    activity = design()
    folds = hold_out_folds(activity, column="concentration")
    assert_array_equal(folds["held_out"], DOSES)
    for side, level in zip(folds.values, DOSES, strict=True):
        assert_array_equal(side == TEST, activity["concentration"] == level)
        assert_array_equal(side == TRAIN, activity["concentration"] != level)


def test_folds_to_start_from_keep_trials_and_blocks_apart():
    """A fold keeps its test trials of the level and its training trials of others; each trial is tested once."""
    activity = design()
    base = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    folds = hold_out_folds(activity, column="concentration", folds=base)
    assert folds.sizes["fold"] == 15
    assert_array_equal((folds == TEST).sum("fold"), 1)
    assert_array_equal(folds["group"], activity["block"])
    for side, level, start in zip(folds.values, folds["held_out"].values, np.tile(base.values, (3, 1)), strict=True):
        assert_array_equal(side == TEST, (start == TEST) & (activity["concentration"] == level))
        assert_array_equal(side == TRAIN, (start == TRAIN) & (activity["concentration"] != level))


def test_some_levels_may_be_held_out_and_words_are_levels_too():
    """Those that are named, in that order."""
    activity = design()
    assert hold_out_folds(activity, column="concentration", levels=[1.0, 0.01])["held_out"].values.tolist() == [1, 0.01]
    assert hold_out_folds(activity, column="odor")["held_out"].values.tolist() == ["apple", "pear", "plum"]


def test_scores_are_those_of_a_loop_by_hand():
    """Fit on the trials of the other levels, predict those of the level."""
    activity = design(shared=0.4)
    result = across(activity)
    X, y, level = activity.values[:, 0], activity["odor"].values, activity["concentration"].values
    said = np.empty_like(y)
    for dose in DOSES:
        said[level == dose] = make_decoder("lda").fit(X[level != dose], y[level != dose]).predict(X[level == dose])
        expected = balanced_accuracy_score(y[level == dose], said[level == dose])
        assert_allclose(result["held_out_score"].sel(held_out=dose), expected)
    assert_allclose(result.attrs["score_mean"], balanced_accuracy_score(y, said))
    assert 0.4 < result.attrs["score_mean"] < 0.97


def test_a_code_that_is_the_same_at_all_levels_generalises():
    """Each level is decoded far above its null, with an interval around its score."""
    result = across(design(), n_permutations=99)
    assert (result["held_out_score"] > 0.9).all()
    assert_allclose(result["held_out_p_value"], 0.01)
    assert (result["held_out_null_high"] < 0.6).all()
    assert (result["held_out_score_low"] <= result["held_out_score"]).all()
    assert (result["held_out_score"] <= result["held_out_score_high"]).all()
    assert_allclose(result["held_out_chance"], 1 / 3)
    assert result.attrs["p_value"] == 0.01 and result.attrs["null_scheme"].endswith("concentration and each fold")


def test_a_code_of_its_own_at_each_level_does_not_generalise():
    """Decoded within levels as well as before; across them at chance on average over ten simulations (se 0.03)."""
    scores = []
    for seed in range(10):
        activity = design(seed, shared=0.0, own=1.5)
        folds = make_folds(label_conditions(activity, ("odor", "concentration")), target="condition", n_folds=5,
                           random_state=0)  # fmt: skip
        within = cross_validate(activity, "odor", make_decoder("nearest_neighbours"), folds)
        assert within.attrs["score_mean"] > 0.9
        scores.append(across(activity, folds=folds).attrs["score_mean"])
    assert abs(np.mean(scores) - 1 / 3) < 0.12


def test_p_values_of_noise_are_uniform():
    """Labels exchanged within levels: over 40 simulations of noise, p of 0.05 or less is as rare as it should be."""
    options = {"decoder": "nearest_centroid", "n_permutations": 39, "n_bootstrap": 1}
    p = np.array([across(design(seed, shared=0.0, n_blocks=3), **options).attrs["p_value"] for seed in range(40)])
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
    assert abs(p.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 40)


def test_a_target_that_goes_with_the_level_is_not_taken_for_generalisation():
    """Labels that differ between levels in number only: exchanged over levels they would not; within levels, p is fair.

    A decoder that only knows the level has 1/2 of the trials right, and so has its null.
    """
    activity = design(shared=0.0)
    counts = activity["concentration"].values
    label = np.where(counts == 0.01, "rare", "common")
    label[np.flatnonzero(counts == 0.01)[::3]] = "common"
    label[np.flatnonzero(counts != 0.01)[::3]] = "rare"
    activity = activity.assign_coords(kind=("trial", label))
    result = across(activity, "kind", "nearest_centroid", n_permutations=99, metric="accuracy")
    assert result.attrs["p_value"] > 0.1


def test_concentration_of_an_odor_that_was_never_trained():
    """Units that grow with the dose whatever the odor: log concentration of each held-out odor is decoded."""
    result = across(design(), "decade", "ridge", column="odor", metric="mean_absolute_error", n_permutations=19)
    assert result["held_out"].values.tolist() == ["apple", "pear", "plum"]
    assert (result["held_out_score"] < result["held_out_chance"]).all()
    assert result.attrs["p_value"] == result.attrs["p_smallest"] == 0.05
    assert "is_extrapolation" not in result


def test_a_level_beyond_those_trained_on_is_marked():
    """The lowest and the highest are extrapolated, the middle one is not."""
    assert across(design())["is_extrapolation"].values.tolist() == [True, False, True]


def test_grouped_folds_give_an_interval_over_groups():
    """Blocks are kept whole, so they are what is resampled."""
    activity = design()
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    assert across(activity, folds=folds).attrs["interval_over"] == "groups of trials"


def test_two_workers_give_what_one_gives(map_over_processes):
    """Scores, null and interval."""
    one, two = (across(design(n_blocks=3), n_permutations=5, map=each) for each in (map, map_over_processes))
    xr.testing.assert_identical(one, two)


def test_a_pseudo_population_is_scored_without_null_or_interval():
    """Trials of each session are split before they are matched; pseudo-trials are no units of chance."""
    cohort = {name: label_conditions(design(seed, session=name), ("odor", "concentration"))
              for seed, name in enumerate("ab")}  # fmt: skip
    activity, folds = pool_conditions(cohort, n_folds=5, random_state=0)
    result = across(activity, folds=folds)
    assert (result["held_out_score"] > 0.9).all()
    assert "score_low" not in result.attrs and "held_out_score_low" not in result
    with pytest.raises(SchemaError, match="pseudo-trials of other folds hold the same .*Say n_permutations=0"):
        across(activity, folds=folds, n_permutations=9)


def test_a_metric_of_probabilities_is_taken():
    """AUROC of each held-out level."""
    result = across(design(), metric="auroc")
    assert (result["held_out_score"] > 0.95).all() and "probability" in result


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"column": "concentratoin"}, "no trial column 'concentratoin'. Nearest: 'concentration'"),
        ({"column": "odor"}, "'odor' is the target itself"),
        ({"levels": [0.5]}, "concentration 0.5 is in no trial. There are 0.01, 0.1, 1.0"),
        ({"levels": []}, "no level of concentration is to be held out"),
        ({"column": "same"}, "'same' is 1 in all trials, so no level can be held out"),
        ({"column": "odor_again"}, "odor 'apple' is tested at odor_again apple and is in no training trial of another"),
    ],
)
def test_levels_that_cannot_be_held_out_are_refused(options, said):
    """With what there is."""
    activity = design()
    activity = activity.assign_coords(same=("trial", np.ones(90, int)), odor_again=activity["odor"].variable)
    with pytest.raises(SchemaError, match=said):
        across(activity, **options)


def test_what_cross_validate_refuses_is_refused():
    """An unknown metric or target, a decoder without the probabilities that are asked for."""
    with pytest.raises(UnknownName, match="metric 'accurracy'.*Nearest: 'accuracy'"):
        across(design(), metric="accurracy")
    with pytest.raises(SchemaError, match="no trial column 'odour'. Nearest: 'odor'"):
        across(design(), "odour")
    with pytest.raises(SchemaError, match="needs probabilities, and LinearSVC gives no"):
        across(design(), decoder="linear_svm", metric="auroc")


def test_folds_that_cannot_be_narrowed_are_refused():
    """A trial on both sides, no test trial left, no training trial left, folds of other trials."""
    activity = design()
    low = (activity["concentration"] == 0.01).values
    base = make_folds(activity, target="concentration", n_folds=3, random_state=0)
    with pytest.raises(SchemaError, match="trial 10. would be on both sides. Give folds to start from"):
        cross_folds(activity, train=low, test=low)
    with pytest.raises(SchemaError, match="no trial is left to test on"):
        cross_folds(activity, train=~low, test=low & ~low, folds=base)
    with pytest.raises(SchemaError, match="fold 0 has no trial left to train on"):
        cross_folds(activity, train=low & ~low, test=low, folds=base)
    with pytest.raises(SchemaError, match="their ids differ"):
        hold_out_folds(activity, column="odor", folds=base.isel(trial=slice(50)))
