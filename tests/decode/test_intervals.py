"""Intervals cover the truth as often as they say, and resample what was sampled."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode import metrics
from mitral.decode.decoders import make_decoder
from mitral.decode.intervals import hierarchical_interval, with_interval
from mitral.decode.pooled import cross_validate_pooled
from mitral.decode.score import cross_validate


def decoded(right, *, n_labels=4, groups=None, animal="m", session="s"):
    """A result in which the given trials are predicted right; classes take turns."""
    truth = (np.arange(len(right)) % n_labels).astype(np.int16)
    said = np.where(right, truth, (truth + 1) % n_labels).astype(np.int16)
    coords = {"label": np.arange(n_labels), "predicted_label": np.arange(n_labels)}
    if groups is not None:
        coords["group"] = ("trial", groups)
    variables = {"score": ("fold", [0.0]), "prediction": (("fold", "trial"), said[None]), "target": ("trial", truth)}
    attrs = {"kind": "decoding", "metric": "balanced_accuracy", "target": "odor", "animal": animal, "session": session}
    attrs["score_mean"] = metrics.balanced_accuracy(truth, said)
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def limits(interval):
    """(low, high) of a result or a dict."""
    attrs = getattr(interval, "attrs", interval)
    return attrs["score_low"], attrs["score_high"]


def coverage(intervals, truth):
    """Share of intervals that hold the truth."""
    return np.mean([low <= truth <= high for low, high in map(limits, intervals)])


def test_the_interval_over_trials_covers_the_truth():
    """300 recordings of 80 trials, each right with probability 0.6: 95 % hold 0.6 (standard error 0.0126, within 3)."""
    rng = np.random.default_rng(0)
    drawn = [with_interval(decoded(rng.random(80) < 0.6), n_bootstrap=200, random_state=s) for s in range(300)]
    assert abs(coverage(drawn, 0.6) - 0.95) < 3 * 0.0126


def test_the_interval_over_groups_covers_the_truth():
    """300 recordings of 20 blocks that differ (sd 0.15): 95 % hold the mean (standard error 0.0126, within 3)."""
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(20), 12)
    drawn = []
    for seed in range(300):
        level = rng.uniform(0.34, 0.86, 20)
        right = rng.random(240) < level[block]
        drawn.append(with_interval(decoded(right, groups=block), n_bootstrap=300, random_state=seed))
    assert abs(coverage(drawn, 0.6) - 0.95) < 3 * 0.0126


def test_a_metric_of_probabilities_is_resampled_with_its_probabilities():
    """The interval of the area under the curve holds the score, is narrower with more trials, and is no point."""
    rng = np.random.default_rng(0)

    def result(n):
        here = decoded(rng.random(n) < 0.6)
        p = rng.random((1, n, 4)) + 0.8 * np.eye(4)[here["target"].values][None]
        here = here.assign(probability=(("fold", "trial", "label"), p / p.sum(axis=2, keepdims=True)))
        score = metrics.auroc(here["target"].values, here["probability"].values[0])
        return here.assign_attrs(metric="auroc", score_mean=score)

    few, many = (with_interval(result(n), n_bootstrap=300, random_state=0) for n in (40, 640))
    for each in (few, many):
        assert limits(each)[0] < each.attrs["score_mean"] < limits(each)[1]
    assert 2 < np.diff(limits(few))[0] / np.diff(limits(many))[0] < 8  # the square root of 16 is 4


@pytest.mark.slow
def test_the_interval_over_animals_covers_the_truth():
    """300 labs of 5 mice that differ (sd 0.15): at least 95 % hold the mean, less 3 standard errors of 0.0126.

    The trials' noise is counted twice, so it may hold more often, but not always: at most 0.998.
    """
    rng = np.random.default_rng(0)
    drawn = []
    for seed in range(300):
        level = rng.uniform(0.34, 0.86, 5)
        mice = [decoded(rng.random(60) < p, animal=f"m{k}", session=f"s{k}") for k, p in enumerate(level)]
        drawn.append(hierarchical_interval(mice, n_bootstrap=200, random_state=seed))
    assert 0.95 - 3 * 0.0126 < coverage(drawn, 0.6) < 0.998


def test_the_interval_over_trials_is_that_of_the_normal_approximation():
    """With many trials: score plus and minus 1.96 sqrt(sum_k p_k (1 - p_k) / n_k) / 4 over four classes."""
    right = np.random.default_rng(0).random(2000) < np.array([0.5, 0.6, 0.7, 0.8])[np.arange(2000) % 4]
    low, high = limits(with_interval(decoded(right), n_bootstrap=4000, random_state=0))
    share = right.reshape(500, 4).mean(axis=0)
    half = 1.96 * np.sqrt(np.sum(share * (1 - share) / 500)) / 4
    assert_allclose([low, high], share.mean() + np.array([-half, half]), atol=0.1 * half)  # 4000 resamples


def test_a_smaller_level_gives_a_narrower_interval():
    """And the level is recorded."""
    result = decoded(np.random.default_rng(0).random(80) < 0.6)
    half = with_interval(result, random_state=0, n_bootstrap=200, level=0.5)
    most = with_interval(result, random_state=0, n_bootstrap=200)
    assert limits(most)[0] < limits(half)[0] < limits(half)[1] < limits(most)[1]
    assert (half.attrs["interval_level"], most.attrs["interval_level"]) == (0.5, 0.95)


def test_whole_groups_are_resampled():
    """Two blocks, one all right and one all wrong: resamples are all, half or none right, and nothing between."""
    right = np.repeat([True, False], 40)
    grouped = with_interval(decoded(right, groups=np.repeat([0, 1], 40)), n_bootstrap=50, random_state=0)
    assert limits(grouped) == (0.0, 1.0)
    assert grouped.attrs["interval_over"] == "groups of trials"
    alone = with_interval(decoded(right), n_bootstrap=50, random_state=0)
    assert limits(alone)[0] > 0.3
    assert alone.attrs["interval_over"] == "trials"


def test_every_class_stays_in_every_resample():
    """A class of one trial is never lost: its trial is right, so no resample falls below 1/4 times its share."""
    result = decoded(np.array([True, False, False, False]))
    assert limits(with_interval(result, n_bootstrap=50, random_state=0)) == (0.25, 0.25)


def test_trials_that_no_fold_tests_are_left_out():
    """The interval is over tested trials."""
    result = decoded(np.arange(80) < 40)
    result["prediction"][0, 40:] = -1
    assert limits(with_interval(result, n_bootstrap=20, random_state=0)) == (1.0, 1.0)


def test_a_continuous_target_has_an_interval(make_activity):
    """R² is resampled over trials, where a fold tests them."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "dose", make_decoder("ridge"), folds)
    result = with_interval(result, n_bootstrap=50, random_state=0)
    low, high = limits(result)
    assert low < result.attrs["score_mean"] < high


def test_the_same_seed_gives_the_same_interval():
    """Another seed gives another one."""
    result = decoded(np.random.default_rng(0).random(80) < 0.6)
    once, again, other = (limits(with_interval(result, n_bootstrap=50, random_state=seed)) for seed in (1, 1, 2))
    assert once == again != other


def test_the_interval_over_animals_is_wider_where_animals_differ():
    """Mean of two mice at 0.9 and two at 0.3: wider than one interval over the trials of all four."""
    rng = np.random.default_rng(0)
    right = [rng.random(80) < p for p in (0.9, 0.9, 0.3, 0.3)]
    mice = [decoded(r, animal=f"m{k}") for k, r in enumerate(right)]
    over_animals = limits(hierarchical_interval(mice, n_bootstrap=300, random_state=0))
    over_trials = limits(with_interval(decoded(np.concatenate(right)), n_bootstrap=300, random_state=0))
    assert np.diff(over_animals) > 2 * np.diff(over_trials)


def test_animals_weigh_alike_whatever_their_sessions():
    """The mean is over animals: three sessions of one mouse weigh as much as one session of another."""
    poor, good = np.zeros(40, bool), np.ones(40, bool)
    sessions = [decoded(poor, animal="a", session=f"a{k}") for k in range(3)] + [decoded(good, animal="b", session="b")]
    interval = hierarchical_interval(sessions, n_bootstrap=20, random_state=0)
    assert interval["score_mean"] == 0.5
    assert interval["n_animals"] == 2


@pytest.mark.parametrize(
    ("animals", "words"),
    [
        ("ab", "animals, then trials"),
        ("aab", "animals, then sessions, then trials"),
        ("aa", "sessions, then trials of one animal"),
        ("a", "trials of one animal"),
    ],
)
def test_the_words_say_what_was_resampled(animals, words):
    """Levels of which there is only one are not resampled, and not named."""
    right = np.arange(40) % 3 > 0
    results = [decoded(right, animal=animal, session=str(k)) for k, animal in enumerate(animals)]
    assert hierarchical_interval(results, n_bootstrap=20, random_state=0)["interval_over"] == words


def test_groups_that_were_kept_whole_are_resampled_whole():
    """Also below animals: the words say groups of trials."""
    blocks = np.arange(40) // 8
    mice = [decoded(np.arange(40) % 3 > 0, animal=animal, groups=blocks) for animal in "ab"]
    over = hierarchical_interval(mice, n_bootstrap=20, random_state=0)["interval_over"]
    assert over == "animals, then groups of trials"


def test_no_results_are_refused():
    """A mean over nothing is no number."""
    with pytest.raises(SchemaError, match="at least one result, got none"):
        hierarchical_interval([], random_state=0)


@pytest.mark.parametrize(("attr", "other"), [("metric", "accuracy"), ("target", "dose")])
def test_results_without_a_common_mean_are_refused(attr, other):
    """Scores of different metrics or targets are not averaged."""
    one = decoded(np.ones(8, bool))
    with pytest.raises(SchemaError, match=f"results have different {attr}s .*Take one at a time"):
        hierarchical_interval([one, one.assign_attrs({attr: other})], random_state=0)


@pytest.mark.parametrize("interval", [with_interval, lambda result, **said: hierarchical_interval([result], **said)])
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"n_bootstrap": 0}, "n_bootstrap must be at least 1, got 0"),
        ({"level": 95}, "level must lie between 0 and 1, got 95. For 95 % say level=0.95"),
        ({"level": 0.0}, "level must lie between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(interval, setting, said):
    """Percent for shares, and no resamples, are answered before anything is drawn."""
    with pytest.raises(ConfigError, match=said):
        interval(decoded(np.ones(8, bool)), random_state=0, **setting)


def test_another_thing_than_a_result_is_refused():
    """An interval belongs to a result."""
    with pytest.raises(SchemaError, match="kind 'decoding'"):
        with_interval(xr.Dataset(), random_state=0)


def test_pooled_repeats_are_refused(make_activity):
    """Pseudo-trials are no sample of an animal; the spread over repeats is there already."""
    cohort = {name: make_activity(seed=k, session=name, animal=name) for k, name in enumerate("ab")}
    pooled = cross_validate_pooled(cohort, "odor", make_decoder("lda"), n_folds=2, n_repeats=2, random_state=0)
    with pytest.raises(SchemaError, match="of pooled repeats, .*are the spread over repeats"):
        with_interval(pooled, random_state=0)
