"""Mixtures decoded from simulated units whose code of mixtures is known: additive, or suppressed."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mitral.datasets.activity import bin_spikes
from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.datasets.simulate.olfactory import simulate_olfactory_lab
from mitral.decode.across_conditions import generalise_across
from mitral.decode.components import gather_components, label_background, label_fraction, parse_components
from mitral.decode.decoders import make_decoder
from mitral.decode.mixtures import decode_components, mixture_folds
from mitral.decode.score import cross_validate

ODORS = ("w", "x", "y", "z")
PAIRS_AND_TRIPLES = {"+".join(some): dict.fromkeys(some, 1.0) for n in (2, 3) for some in combinations(ODORS, n)}


def smell(*, seed=0, n_units=60, n_blocks=10, mixtures=PAIRS_AND_TRIPLES, subadditivity=0.0, strength=0.8):
    """Spike counts in the half second after inhalation, blocks of all odors and mixtures."""
    lab = simulate_olfactory_lab(
        random_state=seed,
        n_animals=1,
        n_units=(n_units, n_units),
        n_blocks=n_blocks,
        odors=ODORS,
        concentrations=(0.1,),
        mixtures=mixtures,
        subadditivity=subadditivity,
        strength=strength,
    )
    return bin_spikes(lab.sessions["mouse-1"], event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5)


@pytest.fixture(scope="module")
def additive():
    """Activity where a mixture has the sum of its components' gains, and its components."""
    activity = smell()
    return activity, parse_components(activity)


@pytest.fixture(scope="module")
def suppressed():
    """Activity where a mixture has the mean of its components' gains, and its components."""
    activity = smell(subadditivity=1.0)
    return activity, parse_components(activity)


def blocks(activity):
    """Five folds that keep blocks whole."""
    return make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")


def trained_on(data, train, *, metric="balanced_accuracy", **options):
    """Components of mixtures, by logistic regression trained on singles or on mixtures."""
    activity, components = data
    folds = mixture_folds(activity, components, train=train, folds=blocks(activity))
    given = {"n_permutations": 0, "random_state": 0} | options
    return decode_components(activity, components, make_decoder("logistic"), folds, metric=metric, **given)


def test_folds_train_on_one_kind_and_test_on_the_other(additive):
    """Singles have one component, mixtures two or more; mixtures are tested once, in blocks that were not trained."""
    activity, components = additive
    base, n = blocks(activity), components.values.sum(axis=1)
    folds = mixture_folds(activity, components, train="singles", folds=base)
    assert_array_equal((folds == 2).sum("fold"), n > 1)
    assert_array_equal(folds == 1, (base == 1) & (n < 2))
    at_once = mixture_folds(activity, components, train="singles")
    assert_array_equal(at_once.values[0], np.where(n > 1, 2, 1))
    assert folds.attrs["folds"].startswith("trained on singles, tested on mixtures")


def test_scores_are_those_of_a_loop_by_hand(suppressed):
    """One decoder for each component, present or absent."""
    activity, components = suppressed
    result = trained_on(suppressed, "mixtures", metric="auroc")
    X, is_there = activity.values[:, 0], components.values > 0
    folds = mixture_folds(activity, components, train="mixtures", folds=blocks(activity)).values
    for k, name in enumerate(ODORS):
        p = np.full(len(X), np.nan)
        for side in folds:
            fitted = make_decoder("logistic").fit(X[side == 1], is_there[side == 1, k])
            p[side == 2] = fitted.predict_proba(X[side == 2])[:, 1]
        tested = np.isfinite(p)
        assert_allclose(result["score"].sel(component=name), roc_auc_score(is_there[tested, k], p[tested]))
        assert_allclose(result["probability"].max("fold").sel(component=name).values[tested], p[tested])
        assert_array_equal(result["prediction"].max("fold").sel(component=name).values[tested], p[tested] > 0.5)
    assert_allclose(result.attrs["score_mean"], result["score"].mean())


def test_an_additive_code_is_read_in_mixtures_by_decoders_of_single_odors(additive):
    """Components that were only smelled alone are ranked right in mixtures, nearly as well as after training there."""
    singles, mixtures = (trained_on(additive, train, metric="auroc") for train in ("singles", "mixtures"))
    assert singles.attrs["score_mean"] > 0.95
    assert mixtures.attrs["score_mean"] - singles.attrs["score_mean"] < 0.03


def test_a_suppressed_code_is_read_by_decoders_of_mixtures_only(suppressed):
    """Half the gain is below the threshold that single odors teach; decoders of mixtures find their own."""
    singles, mixtures = (trained_on(suppressed, train) for train in ("singles", "mixtures"))
    assert singles.attrs["score_mean"] < 0.65
    assert mixtures.attrs["score_mean"] > singles.attrs["score_mean"] + 0.2
    assert mixtures.attrs["exact_match"] > 5 * singles.attrs["exact_match"]


def test_exact_matches_are_trials_with_all_components_right(suppressed):
    """Counted over test trials."""
    result = trained_on(suppressed, "mixtures")
    tested = (result["prediction"] >= 0).any("fold").all("component").values
    right = (result["prediction"].max("fold") == result["target"]).all("component").values
    assert_allclose(result.attrs["exact_match"], right[tested].mean())
    assert_array_equal(result["n_present"], result["target"].values[tested].sum(axis=0))


def test_the_null_moves_all_components_of_a_trial_together(additive):
    """Complements have the same null in every permutation, so the mean over components has a null of its own."""
    activity, components = additive
    present = components.isel(component=0).values
    both = xr.concat([components.isel(component=0), 1 - components.isel(component=0)], dim="component")
    both = both.assign_coords(component=["w", "not w"]).transpose("trial", "component")
    result = decode_components(
        activity, both, make_decoder("pooled_lda"), blocks(activity), n_permutations=29, random_state=0
    )
    assert_allclose(result["null_score"].values[:, 0], result["null_score"].values[:, 1])
    assert np.ptp(result["null_score"].values[:, 0]) > 0.05
    assert result.attrs["p_value"] == pytest.approx(1 / 30) and present.any()
    assert result.attrs["null_low"] < 0.5 < result.attrs["null_high"]
    assert_allclose(result["p_value"], 1 / 30)


def test_units_that_are_blind_to_odor_are_at_chance():
    """Over 12 mice of six units: mean score within 0.03 of half (standard error 0.007), p values uniform (0.083)."""
    scores, p = [], []
    for seed in range(12):
        activity = smell(seed=seed, n_units=6, n_blocks=5, strength=0.0)
        components = parse_components(activity)
        folds = mixture_folds(activity, components, train="mixtures", folds=blocks(activity))
        result = decode_components(
            activity, components, make_decoder("pooled_lda"), folds, n_permutations=19, n_bootstrap=1, random_state=seed
        )
        scores.append(result.attrs["score_mean"])
        p.append(result.attrs["p_value"])
    assert abs(np.mean(scores) - 0.5) < 0.03
    assert abs(np.mean(p) - 0.525) < 4 * 0.083


def test_the_fraction_of_a_component_is_decoded_as_a_number():
    """Five ratios of x and y and both alone; a ridge regression finds most of the variance and the order."""
    ratios = {f"{a:.1f} x": {"x": a, "y": 1 - a} for a in (0.2, 0.4, 0.5, 0.6, 0.8)}
    activity = smell(mixtures=ratios)
    components = gather_components(activity, {name: f"amount of {name}" for name in ODORS})
    kept = label_fraction(activity, components, "x", against="y")
    folds = blocks(kept)
    scores = {
        metric: cross_validate(kept, "fraction", make_decoder("ridge"), folds, metric=metric).attrs["score_mean"]
        for metric in ("r2", "rank_correlation", "mean_absolute_error")
    }
    assert scores["r2"] > 0.6 and scores["rank_correlation"] > 0.8 and scores["mean_absolute_error"] < 0.2


def test_a_target_is_found_on_a_background_that_was_never_trained(additive):
    """Each background is held out in turn; the interval and the null are over trials of that background."""
    activity, components = additive
    labelled = label_background(activity, components, "x")
    result = generalise_across(
        labelled, "is_present", make_decoder("logistic"), column="background", n_permutations=0, random_state=0
    )
    assert result["held_out"].values.tolist() == ["w", "w+y", "w+z", "y", "y+z", "z"]
    assert result.attrs["score_mean"] > 0.85
    said, truth = result["prediction"].max("fold"), result["target"]
    assert_allclose(result.attrs["score_mean"], balanced_accuracy_score(truth, said))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": "pairs"}, "train is one of 'singles', 'mixtures', 'all', got 'pairs'"),
        ({"train": "singles", "test": "none"}, "test is one of"),
        ({"train": "mixtures"}, "would be on both sides. Give folds to start from"),
    ],
)
def test_folds_of_other_kinds_are_refused(additive, options, said):
    """An unknown kind, and the same trials on both sides."""
    with pytest.raises(SchemaError, match=said):
        mixture_folds(*additive, **options)


def test_a_recording_without_mixtures_is_refused(additive):
    """The separator may be wrong."""
    activity, components = additive
    singles = np.flatnonzero(components.values.sum(axis=1) < 2)
    with pytest.raises(SchemaError, match="there are no trials of mixtures to test on.*right separator"):
        mixture_folds(activity.isel(trial=singles), components.isel(trial=singles), train="singles")


def test_what_cannot_be_decoded_as_components_is_refused(additive):
    """A regressor; a component that is everywhere; probabilities where there are none; components of other trials."""
    activity, components = additive
    folds, settings = blocks(activity), {"n_permutations": 0, "random_state": 0}
    with pytest.raises(SchemaError, match="RidgeCV predicts numbers. Use a classifier; for ratios use label_fraction"):
        decode_components(activity, components, make_decoder("ridge"), folds, **settings)
    for value, state in ((1, "all"), (0, "no")):
        fixed = components.copy(data=np.where(np.arange(4) == 2, value, components.values))
        with pytest.raises(SchemaError, match=f"component 'y' is in {state} trials"):
            decode_components(activity, fixed, make_decoder("lda"), folds, **settings)
    with pytest.raises(SchemaError, match="metric 'auroc' needs probabilities, and LinearSVC"):
        decode_components(activity, components, make_decoder("linear_svm"), folds, metric="auroc", **settings)
    with pytest.raises(SchemaError, match="their ids differ"):
        decode_components(activity, components.isel(trial=slice(9)), make_decoder("lda"), folds, **settings)


def test_components_that_come_in_runs_get_no_p_value(additive):
    """Trials in the order of their odors drift with them; the scores stay, and the warning says what to do."""
    activity, components = additive
    order = np.argsort(activity["odor"].values, kind="stable")
    activity, components = activity.isel(trial=order), components.isel(trial=order)
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    result = decode_components(
        activity, components, make_decoder("pooled_lda"), folds, n_permutations=19, random_state=0
    )
    assert "p_value" not in result and "p_value" not in result.attrs and result.attrs["null_high"] < 0.7
    assert any("labels come in runs" in line for line in result.attrs["warnings"])


def test_orders_that_cannot_be_trained_are_left_out_for_all_components_alike(additive):
    """A component of few trials may be missing from training by chance; every component keeps the same orders."""
    activity, components = additive
    rare = components.copy()
    rare.values[:, 0] = 0.0
    rare.values[:3, 0] = 1.0
    sides = np.where(np.arange(activity.sizes["trial"]) % 2 == 0, 1, 2).astype(np.int8)[None]
    folds = xr.DataArray(sides, dims=("fold", "trial"), coords={"trial": activity["trial"], "fold": [0]})
    sides[0, :3] = 1, 1, 2
    activity = activity.assign_attrs(population="session")
    result = decode_components(
        activity, rare, make_decoder("nearest_centroid"), folds, n_permutations=19, random_state=0
    )
    assert result["null_score"].shape[1] == 4 and 1 <= result["null_score"].shape[0] <= 19
    with pytest.raises(SchemaError, match="components gives no null. Say n_permutations=0"):
        decode_components(
            activity.assign_attrs(population="pseudo-population"),
            *(rare, make_decoder("nearest_centroid"), folds),
            n_permutations=19,
            random_state=0,
        )
