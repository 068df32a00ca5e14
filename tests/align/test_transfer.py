"""Known odors and new odors in a new animal, on cohorts whose truth is known."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.align import align, known_odors, make_aligner, new_odors, plan_anchors, shared_means, sweep, until
from mitral.align.across import best_setting, log_posterior
from mitral.align.identify import identify, ranks
from mitral.align.new_odors import spread_order
from mitral.align.transfer_result import LINES
from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.decode import make_decoder

LDA = make_decoder("pooled_lda")


def known(cohort, aligner=None, **settings):
    """Known odors with settings that are quick."""
    given = {"k": 2, "n_repeats": 2, "random_state": 0, "n_bootstrap": 20, "n_test": 3} | settings
    return known_odors(cohort, "odor", aligner or make_aligner("generalised_cca", n_latents=3), LDA, **given)


def new(cohort, aligner=None, **settings):
    """New odors with settings that are quick."""
    given = {"n_anchors": 10, "n_repeats": 2, "random_state": 0, "n_bootstrap": 20, "measures": ("lda",)} | settings
    return new_odors(cohort, "odor", aligner or make_aligner("generalised_cca", n_latents=3), **given)


@pytest.fixture(scope="module")
def shared(make_cohort):
    """Four animals that see one geometry of 6 odors in 3 latents, with much noise."""
    return make_cohort(0, noise=2.5)


@pytest.fixture(scope="module")
def many_odors(make_cohort):
    """Four animals, 16 odors, 4 trials each, one bin, little noise."""
    return make_cohort(1, n_odors=16, n_trials=4, n_times=1)


# ---- known odors ----


def test_others_help_where_geometry_is_shared(make_cohort):
    """One calibration trial of 12 odors in 2 latents: aligned beats the animal's own data, and the finding says so."""
    cohort = make_cohort(0, n_odors=12, n_latents=2, n_times=3, n_trials=4, noise=1.5)
    result = known(cohort, make_aligner("generalised_cca", n_latents=2), k=1, n_repeats=3)
    mean = dict(zip(result["line"].values.tolist(), result["score_mean"].values.tolist(), strict=True))
    assert mean["aligned"] > mean["target_only"] + 0.1
    assert mean["shuffled_anchors"] < 0.2 < mean["same_animal"]
    assert result.attrs["gain_low"] > 0
    assert result.attrs["finding"].startswith("Aligned (0.") and "beats target only" in result.attrs["finding"]
    assert (result["reliability"] > 0.3).all() and result.attrs["agreement"] > 0.3


def test_independent_animals_are_told_not_to_share(make_cohort):
    """Each animal has a geometry of its own: little share is chosen, aligned is not below target-only by its error."""
    cohort = {name: make_cohort(seed)[name] for seed, name in enumerate(f"mouse-{k}" for k in range(4))}
    result = known(cohort, k=3, n_repeats=3)
    assert float(result["share"].max()) <= 0.5
    assert result.attrs["gain"] > -max(result.attrs["gain_se"], 0.02)
    assert "no transfer is claimed" in result.attrs["finding"] or "use the animal's own data" in result.attrs["finding"]
    assert abs(result.attrs["agreement"]) < 0.4  # 15 distances: standard error 0.27, the mean of four


def test_the_lines_are_those_that_are_promised(shared):
    """Four lines with intervals over animals around their means."""
    result = known(shared)
    assert result["line"].values.tolist() == list(LINES)
    assert (result["score_low"] <= result["score_mean"]).all() and (result["score_mean"] <= result["score_high"]).all()
    assert_allclose(result["score"].mean("session"), result["score_mean"])
    assert result.attrs["interval_over"] == "animals, then trials" and result.attrs["chance"] == 1 / 6
    assert result.attrs["n_animals"] == 4


def test_no_share_is_target_only(shared):
    """A share of zero leaves nothing but the animal's own trials; the finding says that they are the same."""
    result = known(shared, shares=(0.0,))
    assert_allclose(result["score"].sel(line="aligned"), result["score"].sel(line="target_only"))
    assert "being the same: no transfer is claimed" in result.attrs["finding"]


def test_the_ceiling_has_more_trials_and_equals_target_only_where_k_takes_all(shared):
    """Six trials of an odor: three test, three calibrate, and nothing is left for the ceiling to add."""
    result = known(shared, k=3)
    assert_allclose(result["score"].sel(line="same_animal"), result["score"].sel(line="target_only"))


def test_a_single_calibration_odor_names_them_all(make_cohort):
    """Two trials of one odor over 6 bins: the others' data say what the other odors look like."""
    cohort = make_cohort(2, n_times=6, n_latents=2, noise=0.3)
    odor = "odor-00"
    result = known(cohort, make_aligner("ridge", n_latents=2), calibrate_on=[odor])
    assert float(result["score_mean"].sel(line="aligned")) > 0.6  # chance 1/6
    assert_allclose(result["score"].sel(line="target_only"), 1 / 6)
    assert "Target-only is at chance by construction" in result.attrs["finding"]


def test_zero_shot_needs_units_that_correspond(make_cohort):
    """Channels of a grid: one animal's map serves another. Units that differ are refused, with the session."""
    cohort = make_cohort(3, n_animals=1, n_trials=12)
    whole = next(iter(cohort.values()))
    grid = {
        f"m{k}": whole.isel(trial=np.arange(len(whole)) % 3 == k).assign_attrs(session=f"m{k}", animal=f"m{k}")
        for k in range(3)
    }
    smallest = min(np.unique(a["odor"], return_counts=True)[1].min() for a in grid.values())
    result = known(grid, make_aligner("none"), k=0, n_test=int(smallest), n_repeats=1)
    assert float(result["score_mean"].sel(line="aligned")) > 0.7
    assert float(result["score_mean"].sel(line="shuffled_anchors")) < 0.4
    with pytest.raises(SchemaError, match="session 'mouse-0' has no calibration trials"):
        known(make_cohort(0), k=0)


def test_one_worker_equals_many(shared, many_odors):
    """map may be anything: threads give the very same numbers."""
    aligners = [make_aligner("srm", n_latents=d) for d in (2, 3)]
    with ThreadPoolExecutor(3) as pool:
        for task, cohort in ((known, shared), (new, many_odors)):
            xr.testing.assert_identical(task(cohort, aligners), task(cohort, aligners, map=pool.map))


def test_only_some_animals_may_be_targets(shared):
    """A target's numbers do not hang on which others are targets too."""
    whole, part = known(shared), known(shared, targets=["mouse-2"])
    assert_allclose(part["score"].sel(session="mouse-2"), whole["score"].sel(session="mouse-2"))
    assert part.sizes["session"] == 1 and np.isnan(part.attrs["gain_low"])


def test_a_curve_over_k_rises_to_the_ceiling(shared):
    """sweep: one dimension more, with a finding for every point."""
    curve = sweep(lambda k: known(shared, k=k), [1, 3], name="k")
    assert curve["score_mean"].dims == ("k", "line") and curve["k"].values.tolist() == [1, 3]
    own = curve["score_mean"].sel(line="target_only")
    assert own[1] > own[0]
    assert curve["finding"].dims == ("k",) and curve.attrs["kind"] == "transfer_curve"
    with pytest.raises(SchemaError, match="there are no values to try"):
        sweep(known, [], name="k")
    with pytest.raises(SchemaError, match="made no transfer result"):
        sweep(lambda k: 1, [1], name="k")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"k": -1}, ConfigError, "k is a whole number from 0, got -1"),
        ({"n_repeats": 0}, ConfigError, "n_repeats is a whole number from 1, got 0"),
        ({"n_test": 0}, ConfigError, "n_test is a whole number from 1, got 0"),
        ({"k": 4}, SchemaError, "session 'mouse-0' has 6 trials of its rarest odor, and k=4 .* need 7"),
        ({"shares": (2.0,)}, ConfigError, "shares lie between 0 and 1"),
        ({"calibrate_on": ["rose"]}, SchemaError, "calibrate_on names 'rose'"),
        ({"calibrate_on": []}, SchemaError, "calibrate_on names no label"),
        ({"targets": ["rat"]}, SchemaError, "targets name the session 'rat'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message, shared):
    """With what to do."""
    with pytest.raises(error, match=message):
        known(shared, **settings)


def test_cohorts_that_cannot_transfer_are_refused(shared, make_cohort):
    """One session, one animal, other bins, NaN, other events, nothing in common, two animals and a choice to make."""
    first = shared["mouse-0"]
    with pytest.raises(SchemaError, match="at least two sessions, here is only 'mouse-0'"):
        known({"mouse-0": first})
    same = {name: activity.assign_attrs(animal="m") for name, activity in shared.items()}
    with pytest.raises(SchemaError, match="all 4 sessions are of one animal"):
        known(same)
    with pytest.raises(SchemaError, match="session 'mouse-1' has other time bins than 'mouse-0'"):
        known(shared | {"mouse-1": shared["mouse-1"].isel(time=[0])})
    with pytest.raises(SchemaError, match="session 'mouse-1' has event 'valve'"):
        known(shared | {"mouse-1": shared["mouse-1"].assign_attrs(event="valve")})
    holed = shared["mouse-1"].copy()
    holed[3, 0, 0] = np.nan
    with pytest.raises(SchemaError, match=r"session 'mouse-1': 1 trials hold NaN or infinity \(trial 3\)"):
        known(shared | {"mouse-1": holed})
    strange = shared["mouse-1"].assign_coords(odor=("trial", np.full(36, "rose")))
    with pytest.raises(SchemaError, match="session 'mouse-1' has 1 values of 'odor', and all .* have 0 in common"):
        known(shared | {"mouse-1": strange})
    with pytest.raises(ConfigError, match="which needs at least three animals. Give one aligner and one option"):
        known({name: shared[name] for name in ("mouse-0", "mouse-1")})
    pair = {name: shared[name] for name in ("mouse-0", "mouse-1")}
    assert known(pair, shares=(1.0,)).sizes["session"] == 2


def test_more_source_animals_help(make_cohort):
    """Curve over source animals, whose noise averages out; more than there are is refused."""
    cohort = make_cohort(4, n_animals=5, n_odors=16, n_trials=1, n_times=1, noise=0.8)
    curve = sweep(lambda n: new(cohort, n_sources=n, n_repeats=4), [1, 4], name="n_sources")
    aligned = curve["score_mean"].sel(line="aligned")
    assert aligned[1] > aligned[0] + 0.04  # one standard error of 120 predictions
    with pytest.raises(SchemaError, match="n_sources=5, and there are 4 other animals"):
        known(make_cohort(0, n_animals=5), n_sources=5)


def test_a_curve_over_time_says_what_is_known_by_then(shared):
    """Up to the first bin, and with the second: the cohort is cut, not the decoder."""
    both = sweep(lambda stop: known(until(shared, stop), shares=(1.0,)), [0.1, 0.2], name="stop_s")
    assert both["score_mean"].sel(stop_s=0.2, line="aligned") > both["score_mean"].sel(stop_s=0.1, line="aligned")
    assert_allclose(both["score"].sel(stop_s=0.2), known(shared, shares=(1.0,))["score"])
    with pytest.raises(SchemaError, match="session 'mouse-0' has no bin before 0.01 s"):
        until(shared, 0.01)


# ---- new odors ----


def test_odors_that_were_never_labelled_are_named(many_odors):
    """Six candidates, ten anchors: far above chance, where shuffled anchors and the target alone are at chance."""
    result = new(many_odors)
    mean = dict(zip(result["line"].values.tolist(), result["score_mean"].values.tolist(), strict=True))
    assert mean["aligned"] > 0.7 and mean["same_animal"] > 0.7
    assert mean["target_only"] == result.attrs["chance"] == 1 / 6
    assert mean["shuffled_anchors"] < 1 / 6 + 4 * np.sqrt(1 / 6 * 5 / 6 / 48)  # 4 animals, 2 splits, 6 odors
    assert "beats shuffled anchors" in result.attrs["finding"]
    assert (result["top_5"] >= result["score"] - 1e-12).all()
    assert set(result["measure"].values) == {"lda"}


def test_the_ceiling_is_another_session_of_the_same_animal(make_cohort):
    """Averages have no other half; a second session of the animal serves, and without one there is no ceiling."""
    twice = make_cohort(2, n_odors=16, n_trials=1, sessions_each=2, noise=0.2)
    result = new(twice)
    assert float(result["score"].sel(line="same_animal").min()) > 0.5
    assert np.isnan(result["reliability"]).all()
    once = {name: activity for name, activity in twice.items() if name.endswith("-0")}
    result = new(once)
    assert np.isnan(result["score_mean"].sel(line="same_animal")) and "ceiling" not in result.attrs["finding"]


def test_settings_are_chosen_by_pretending(many_odors):
    """One latent cannot hold a geometry of three: the larger space is chosen, for every animal."""
    aligners = [make_aligner("generalised_cca", n_latents=d) for d in (1, 3)]
    result = new(many_odors, aligners, measures=("cosine", "lda"))
    assert set(result["setting"].values) == {"GeneralisedCCA(n_latents=3)"}


def test_a_setting_that_does_not_fit_is_passed_over(many_odors):
    """Twelve latents of eight units: ruled out; if none fits, the reason is given."""
    fitting, too_large = (make_aligner("srm", n_latents=d) for d in (3, 9))
    assert set(new(many_odors, [too_large, fitting])["setting"].values) == {"SharedResponse(n_latents=3)"}
    with pytest.raises(SchemaError, match="session 'mouse-0' has 8 units, fewer than 9 latents"):
        new(many_odors, [too_large, too_large])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_anchors": 1}, ConfigError, "n_anchors is a whole number from 2, got 1"),
        ({"n_anchors": 15}, SchemaError, "16 conditions are common to all sessions, and 15 anchors"),
        ({"n_test": 8}, SchemaError, "10 anchors with 8 test odors"),
        ({"choice": "best"}, ConfigError, "choice is one of random, spread, got 'best'"),
        ({"measures": ("manhattan",)}, UnknownName, "no measure 'manhattan'"),
    ],
)
def test_new_odors_refuse_numbers_that_do_not_fit(settings, error, message, many_odors):
    """With what to do."""
    with pytest.raises(error, match=message):
        new(many_odors, **settings)


# ---- anchors ----


def test_the_plan_says_how_many_anchors_and_which(many_odors):
    """More anchors name more; the fewest that reach what is wanted; the order holds every odor once."""
    plan = plan_anchors(
        many_odors, "odor", make_aligner("generalised_cca", n_latents=2), wanted=0.6, n_anchors=[4, 11], n_test=5,
        n_repeats=2, random_state=0, measures=("lda",), n_bootstrap=5,
    )  # fmt: skip
    mean = plan["score_mean"].sel(choice="random")
    assert mean[1] > mean[0] and plan.attrs["chance"] == 0.2
    assert sorted(plan["anchor"].values) == [f"odor-{k:02d}" for k in range(16)]
    reached = mean.n_anchors.values[mean.values >= 0.6]
    assert plan["fewest"].sel(choice="random") == (reached[0] if len(reached) else -1)
    assert "Begin with odor-" in plan.attrs["finding"]


def test_a_plan_that_cannot_be_reached_says_so(many_odors):
    """An accuracy of 1 with three anchors and one latent."""
    settings = {"n_test": 6, "n_repeats": 1, "random_state": 0, "measures": ("lda",), "n_bootstrap": 5}
    aligner = make_aligner("generalised_cca", n_latents=1)
    plan = plan_anchors(many_odors, "odor", aligner, wanted=1.0, n_anchors=[3], **settings)
    assert (plan["fewest"] == -1).all()
    assert plan.attrs["finding"].startswith("No number of anchors up to 3 reaches 1.00")
    with pytest.raises(ConfigError, match="wanted lies between 0 and 1"):
        plan_anchors(many_odors, "odor", aligner, wanted=0.0, n_anchors=[3], **settings)


def test_spread_anchors_take_one_of_each_kind_first():
    """Three clusters of four odors: the first three anchors are of three clusters."""
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(3, 10))
    X = np.repeat(centres, 4, axis=0) + 0.1 * rng.normal(size=(12, 10))
    labels = np.arange(12)
    values = {s: X[:, None] @ np.diag(rng.normal(size=10)) for s in "ab"}
    order = spread_order(values, {s: labels for s in "ab"}, labels)
    assert sorted(order[:3] // 4) == [0, 1, 2]
    assert sorted(order) == list(range(12))


# ---- the parts ----


def test_identification_by_each_measure():
    """A pattern at three times a template: by angle it is that one, by distance another; lda weighs noisy axes down."""
    templates = [np.array([[1.0, 0.0], [4.0, 3.0]])]
    pattern = np.array([[4.0, 0.2]])
    assert identify(pattern, templates, measure="cosine").argmax() == 0
    assert identify(np.array([[3.0, 1.2]]), templates, measure="euclidean").argmax() == 1
    noisy = [np.array([[1.0, 0.0], [-1.0, 0.0]]) + np.array([0.0, y]) for y in (-9.0, 9.0, -5.0, 5.0)]
    assert identify(np.array([[0.5, 8.0]]), noisy, measure="lda").argmax() == 0
    assert ranks(np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 0.0]]), np.array([2, 0])).tolist() == [1, 1]


def test_posteriors_of_decoders_with_and_without_probabilities():
    """Rows sum to one; labels that were not learned are impossible; a decoder with neither is refused."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2 * 2
    for name in ("pooled_lda", "nearest_centroid"):
        found = log_posterior(make_decoder(name).fit(X, y), X, 4)
        assert_allclose(np.exp(found).sum(axis=1), 1.0)
        assert (found[:, [1, 3]] == -np.inf).all()
    with pytest.raises(ConfigError, match="neither probabilities nor decision values"):
        log_posterior(make_decoder("ridge").fit(X, y), X, 4)


def test_the_best_setting_is_the_first_of_equals():
    """Two settings of two options, for two pretenders."""
    table = {("x", 1): [0.0, 1.0], ("x", 2): [1.0, 0.0], ("y", 1): [0.5, 0.6], ("y", 2): [0.5, 0.6]}
    assert best_setting(["x", "y"], [1, 2], lambda setting, pretender: table[setting, pretender]) == (1, 1)
    assert best_setting(["x"], [1, 2], lambda setting, pretender: table[setting, pretender]) == (0, 0)


def test_caution_leaves_the_first_option_only_for_a_clear_gain():
    """A gain of 0.1 that all four pretenders share is taken; the same mean gain with a spread of 0.5 is not."""
    clear = {k: [0.5, 0.6 + 0.01 * k] for k in range(4)}
    noisy = {0: [0.5, 1.0], 1: [0.5, 0.1], 2: [0.5, 1.0], 3: [0.5, 0.3]}
    assert best_setting(["x"], range(4), lambda setting, k: clear[k], cautious=True) == (0, 1)
    assert best_setting(["x"], range(4), lambda setting, k: noisy[k], cautious=True) == (0, 0)
    assert best_setting(["x"], range(4), lambda setting, k: noisy[k]) == (0, 1)


# ---- cohort ----


def test_aligned_trials_keep_their_columns(shared):
    """Session, animal, odor and number of every trial; only some are in the fit."""
    fit_on = {name: np.arange(36) < 24 for name in shared}
    latents = align(shared, "odor", make_aligner("srm", n_latents=3), fit_on=fit_on)
    assert latents.sizes == {"trial": 144, "time": 2, "latent": 3}
    second = latents.isel(trial=latents["session"] == "mouse-1")
    assert (second["odor"].values == shared["mouse-1"]["odor"].values).all()
    assert (second["in_fit"].values == (second["trial_of_session"].values < 24)).all()
    assert latents.attrs["animals"] == [f"mouse-{k}" for k in range(4)] and latents.attrs["warnings"] == []
    means = shared_means(latents, "odor")
    assert means.dims == ("session", "condition", "time", "latent")
    expected = second.values[second["odor"].values == "odor-02"].mean(axis=0)
    assert_allclose(means.sel(session="mouse-1", condition="odor-02"), expected)


def test_an_ambiguous_match_is_a_warning_of_the_trajectory(make_cohort):
    """A ring of odors without labels between animals."""
    pytest.importorskip("ot")
    angle = np.arange(6) * np.pi / 3
    ring = np.repeat(np.column_stack([np.cos(angle), np.sin(angle)]), 6, axis=0)[:, None]
    cohort = {}
    for name, activity in make_cohort(0, n_times=1, n_animals=2).items():
        cohort[name] = activity.isel(unit=[0, 1]).sortby("odor").copy(data=ring)
    latents = align(cohort, "odor", make_aligner("gromov_wasserstein"))
    assert len(latents.attrs["warnings"]) == 1 and "cannot be known" in latents.attrs["warnings"][0]


def test_masks_that_do_not_fit_are_refused(shared):
    """The session is named; latents of one session are no cohort."""
    aligner = make_aligner("srm", n_latents=3)
    with pytest.raises(SchemaError, match="session 'mouse-0' is not in fit_on"):
        align(shared, "odor", aligner, fit_on={})
    with pytest.raises(SchemaError, match="session 'mouse-0': fit_on holds bool of shape"):
        align(shared, "odor", aligner, fit_on={name: np.ones(5, bool) for name in shared})
    one = shared["mouse-0"].rename(unit="latent")
    with pytest.raises(SchemaError, match="latents of one session are no cohort"):
        shared_means(one, "odor")
