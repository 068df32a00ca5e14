"""Nothing of a test trial reaches a fit: every decoder and reducer is at chance on noise, and planted leaks are caught.

Noise is scored on one split into as many training as test trials, the classes equal on both sides. Given what was
learned, test trials of noise are then independent of their labels, so the number of right predictions over all
simulations has the mean of chance exactly and at most a binomial variance: the tolerance is four standard errors
sqrt(p (1 - p) / n), n the number of predictions. The leaks that are planted here lie at least eight above chance.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from sklearn.base import is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from mitral.datasets.errors import LeakageError, SchemaError
from mitral.datasets.folds import TEST, TRAIN, folds_from_splitter, make_folds
from mitral.datasets.pool import pseudo_population
from mitral.datasets.preprocess import Flatten
from mitral.decode.closed_form import predict_labelings
from mitral.decode.continuous import cross_validate_continuous
from mitral.decode.decoders import DECODERS, DECODERS_OVER_TIME, make_decoder
from mitral.decode.over_time import cross_validate_over_time
from mitral.decode.pooled import cross_validate_pooled
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate, takes_three_axes
from mitral.decode.select_units import SelectUnits
from mitral.decode.steps import steps
from mitral.decode.trajectories import REDUCERS, make_reducer

N_SIMULATIONS, N_ODORS = 15, 4
HUGE = 10**6


# what makes a slow method quick here: leaks do not depend on how well it has converged
QUICK = {
    "cebra": {"n_iterations": 3, "n_seeds": 1},
    "lds": {"max_iter": 20},
    "mixture_lds": {"max_iterations": 10},
    "poisson_lds": {"max_iter": 10},
    "tensor_components": {"n_restarts": 1, "max_iter": 50},
    "umap": {"n_seeds": 1},
}


def behind(reducer, name):
    """A decoder that is handed latents instead of units."""
    decoder = make_decoder(name, **QUICK.get(name, {}))
    between = [] if takes_three_axes(decoder) else [Flatten()]
    return make_pipeline(make_reducer(reducer, **{"n_latents": 3} | QUICK.get(reducer, {})), *between, decoder)


def takes_latents(name):
    """Whether a decoder takes numbers below zero, which counts are not and latents are."""
    return not any(get_tags(step).input_tags.positive_only for step in steps(make_decoder(name)))


PAIRS = [(reducer, "lda") for reducer in REDUCERS] + [
    ("pca", name) for name in DECODERS if name != "lda" and takes_latents(name)
]
CHAINS = {name: make_decoder(name, **QUICK.get(name, {})) for name in DECODERS} | {
    f"{reducer} -> {name}": behind(reducer, name) for reducer, name in PAIRS
}
LIBRARIES = {"umap": "umap", "cebra": "cebra", "tensor_components": "tensorly"}


def trials_of(chains):
    """The chains as parameters; those of an optional library are skipped where it is not installed."""
    return [
        pytest.param(chain, marks=pytest.mark.skipif(find_spec(library) is None, reason=f"needs {library}"))
        if (library := LIBRARIES.get(chain.split(" ->")[0]))
        else chain
        for chain in chains
    ]


def noise(seed, *, n_trials=48, n_times=2, n_units=30, session="s"):
    """Counts that know nothing, more features than trials, and labels."""
    rng = np.random.default_rng(seed)
    odor = np.arange(n_trials) % N_ODORS
    return xr.DataArray(
        rng.poisson(3.0, (n_trials, n_times, n_units)),
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials),
            "time": (np.arange(n_times) + 0.5) * 0.1,
            "unit": [f"{session}/u{u}" for u in range(n_units)],
            "odor": ("trial", odor),
            "dose": ("trial", odor - 1.5),
            "block": ("trial", np.arange(n_trials) // 8),
        },
        attrs={"session": session, "animal": session, "event": "onset", "bin_width_s": 0.1, "units": "spikes per bin"},
    )


def halves(activity, seed=0):
    """One fold: half of the trials of each odor train, the others test."""
    splitter = StratifiedShuffleSplit(1, test_size=0.5, random_state=seed)
    return folds_from_splitter(activity, splitter, target="odor")


def number_right(activity, chain, folds):
    """Right predictions and all predictions of test trials; for numbers, right on which side of 0 they lie."""
    result = cross_validate(activity, "odor" if is_classifier(chain) else "dose", chain, folds)
    tested = folds.values[0] == TEST
    said, truth = result["prediction"].values[0, tested], result["target"].values[tested]
    return (np.sum(said == truth) if is_classifier(chain) else np.sum((said > 0) == (truth > 0))), tested.sum()


def share_right(score_once, *, n_simulations=N_SIMULATIONS):
    """Share of right predictions over simulations, and how many there were."""
    right, n = np.sum([score_once(seed) for seed in range(n_simulations)], axis=0)
    return right / n, n


def is_at_chance(share, n, chance):
    """Within four standard errors."""
    return abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


@pytest.mark.parametrize("chain", trials_of(CHAINS))
def test_noise_is_decoded_at_chance(chain):
    """Every decoder, alone and behind every reducer: 360 predictions, standard error 0.023 (0.026 for numbers)."""
    estimator = CHAINS[chain]

    def once(seed):
        activity = noise(seed)
        return number_right(activity, estimator, halves(activity, seed))

    assert is_at_chance(*share_right(once), 1 / N_ODORS if is_classifier(estimator) else 1 / 2)


@pytest.mark.parametrize("chain", trials_of(CHAINS))
def test_huge_test_trials_change_no_prediction_of_others(chain):
    """The tripwire: half of the test trials are replaced by huge counts, and the other half are predicted as before."""
    activity, estimator = noise(0), CHAINS[chain]
    folds = halves(activity)
    tested = np.flatnonzero(folds.values[0] == TEST)
    poisoned = activity.copy()
    poisoned.values[tested[::2]] = HUGE
    target = "odor" if is_classifier(estimator) else "dose"
    before = cross_validate(activity, target, estimator, folds)["prediction"].values[0]
    after = cross_validate(poisoned, target, estimator, folds)["prediction"].values[0]
    assert_array_equal(after[tested[1::2]], before[tested[1::2]])


@pytest.mark.parametrize("chain", trials_of(CHAINS))
def test_labels_of_test_trials_change_no_prediction(chain):
    """Test trials exchange their labels, and are predicted as before."""
    activity, estimator = noise(0), CHAINS[chain]
    folds = halves(activity)
    tested = np.flatnonzero(folds.values[0] == TEST)
    exchanged = activity.copy()
    for column in ("odor", "dose"):
        values = activity[column].values.copy()
        values[tested] = values[tested][::-1]
        exchanged = exchanged.assign_coords({column: ("trial", values)})
    target = "odor" if is_classifier(estimator) else "dose"
    before = cross_validate(activity, target, estimator, folds)["prediction"]
    assert_array_equal(cross_validate(exchanged, target, estimator, folds)["prediction"], before)


@pytest.mark.parametrize("name", ["nearest_centroid", "pooled_lda", "logistic"])
def test_the_tripwire_holds_at_every_bin(name):
    """Decoding over time, in closed form or by a loop, learns from no test trial."""
    activity = noise(0)
    folds = halves(activity)
    tested = np.flatnonzero(folds.values[0] == TEST)
    poisoned = activity.copy()
    poisoned.values[tested[::2]] = HUGE
    before, after = (
        cross_validate_over_time(each, "odor", make_decoder(name), folds)["prediction"].values[0]
        for each in (activity, poisoned)
    )
    assert_array_equal(after[tested[1::2]], before[tested[1::2]])


@pytest.mark.parametrize("chain", trials_of(name for name in CHAINS if is_classifier(CHAINS[name])))
def test_the_tripwire_holds_for_permuted_labels(chain):
    """Nulls too, in closed form or by a loop, learn from no test trial."""
    activity, estimator = noise(0), CHAINS[chain]
    sides = halves(activity).values
    tested = np.flatnonzero(sides[0] == TEST)
    poisoned = activity.values.copy()
    poisoned[tested[::2]] = HUGE
    labels = np.stack([np.roll(activity["odor"].values, shift) for shift in (0, 1)])
    before, after = (
        predict_labelings(
            values if takes_three_axes(estimator) else values.reshape(48, -1), labels, N_ODORS, estimator, sides
        )[:, 0]
        for values in (activity.values, poisoned)
    )
    assert_array_equal(after[:, tested[1::2]], before[:, tested[1::2]])


def walk(seed):
    """Noise of 24 trials, and a target over time in nine places that it knows nothing of; balanced at the last bin."""
    activity = noise(seed, n_trials=24, n_times=12, n_units=8)
    rng = np.random.default_rng(seed + 1000)
    places = np.clip(np.cumsum(rng.integers(-1, 2, (24, 12)), axis=1), -4, 4).astype(float)
    places[:, -1] = np.tile([-2.0, 2.0, -1.0, 1.0], 6)
    return activity, activity.isel(unit=0, drop=True).copy(data=places)


@pytest.mark.parametrize("name", DECODERS_OVER_TIME)
def test_a_target_over_time_is_at_chance_on_noise(name):
    """The side of 0 in the last bin of each test trial: 180 predictions, standard error 0.037."""

    def once(seed):
        activity, target = walk(seed)
        folds = halves(activity, seed)
        result = cross_validate_continuous(activity, target, make_decoder(name), folds)
        tested = folds.values[0] == TEST
        said = result["prediction"].values[0, tested, -1]
        return np.sum((said > 0) == (target.values[tested, -1] > 0)), tested.sum()

    assert is_at_chance(*share_right(once), 1 / 2)


@pytest.mark.parametrize("name", DECODERS_OVER_TIME)
def test_huge_test_trials_change_no_prediction_of_others_over_time(name):
    """The tripwire for targets over time."""
    activity, target = walk(0)
    folds = halves(activity)
    tested = np.flatnonzero(folds.values[0] == TEST)
    poisoned = activity.copy()
    poisoned.values[tested[::2]] = 1000
    before, after = (
        cross_validate_continuous(each, target, make_decoder(name), folds)["prediction"].values[0]
        for each in (activity, poisoned)
    )
    assert_array_equal(after[tested[1::2]], before[tested[1::2]])


def test_the_tripwire_trips_on_what_is_learned_before_the_split():
    """A planted leak: latents of all trials, their marks rubbed out. Huge test trials then change other predictions."""

    def reduced_before(activity):
        leaky = reduce(activity, make_reducer("pca")).drop_vars("in_fit")
        return cross_validate(leaky, "odor", make_decoder("lda"), folds)["prediction"].values[0]

    activity = noise(0)
    folds = halves(activity)
    tested = np.flatnonzero(folds.values[0] == TEST)
    poisoned = activity.copy()
    poisoned.values[tested[::2]] = HUGE
    assert np.any(reduced_before(activity)[tested[1::2]] != reduced_before(poisoned)[tested[1::2]])


def test_a_trajectory_fitted_on_all_trials_is_refused():
    """Made for looking, it is not scored."""
    activity = noise(0)
    with pytest.raises(LeakageError, match="was fitted on 24 of the trials that it would be scored on"):
        cross_validate(reduce(activity, make_reducer("pca")), "odor", make_decoder("lda"), halves(activity))


def test_a_trajectory_fitted_on_one_test_trial_is_refused():
    """One is enough, and it is named."""
    activity = noise(0)
    folds = halves(activity)
    fit_on = folds.values[0] == TRAIN
    first = np.flatnonzero(~fit_on)[0]
    fit_on[first] = True
    trajectory = reduce(activity, make_reducer("pca"), fit_on=fit_on)
    with pytest.raises(LeakageError, match=f"fitted on 1 of the trials .*first: trial {first}"):
        cross_validate(trajectory, "odor", make_decoder("lda"), folds)


def test_a_trajectory_fitted_on_all_trials_is_refused_over_time_too():
    """By every scorer, not only the one for classes."""
    activity, target = walk(0)
    trajectory = reduce(activity, make_reducer("pca"))
    with pytest.raises(LeakageError, match="was fitted on 12 of the trials"):
        cross_validate_continuous(trajectory, target, make_decoder("ridge"), halves(activity))
    with pytest.raises(LeakageError, match="was fitted on 12 of the trials"):
        cross_validate_over_time(trajectory, "odor", make_decoder("lda"), halves(activity))


def test_a_supervised_embedding_before_the_split_decodes_noise_and_inside_it_does_not():
    """Directions that separate the labels of all trials separate those of the test trials; the mistake scores 1.0."""
    embed = LinearDiscriminantAnalysis(n_components=3)

    def before(seed):
        activity = noise(seed)
        values = embed.fit(activity.values.reshape(48, -1), activity["odor"]).transform(activity.values.reshape(48, -1))
        leaky = activity.isel(time=[0], unit=slice(3)).copy(data=values[:, None])
        return number_right(leaky, make_decoder("nearest_centroid"), halves(activity, seed))

    def inside(seed):
        activity = noise(seed)
        return number_right(activity, make_pipeline(embed, make_decoder("nearest_centroid")), halves(activity, seed))

    assert share_right(before)[0] > 0.9
    assert is_at_chance(*share_right(inside), 1 / N_ODORS)


@pytest.mark.parametrize(
    "select", [SelectKBest(k=20), make_pipeline(SelectUnits(20), Flatten())], ids=["of sklearn", "of mitral"]
)
def test_units_selected_before_the_split_decode_noise_and_inside_it_they_do_not(select):
    """The best 20 of 500 units for the labels of all trials, against the best for those of the training trials."""

    def before(seed):
        activity = noise(seed, n_times=1, n_units=500)
        values = activity.values if "units" in str(select) else activity.values[:, 0]
        best = select.fit(values, activity["odor"].values).transform(values)
        leaky = activity.isel(unit=slice(20)).copy(data=best[:, None])
        return number_right(leaky, make_decoder("lda"), halves(activity, seed))

    def inside(seed):
        activity = noise(seed, n_times=1, n_units=500)
        return number_right(activity, make_pipeline(select, make_decoder("lda")), halves(activity, seed))

    assert share_right(before)[0] > 0.6
    assert is_at_chance(*share_right(inside), 1 / N_ODORS)


class EveryOther:
    """A splitter that looks at no groups."""

    def split(self, X, y, groups):
        """Trials take turns."""
        yield np.arange(0, len(X), 2), np.arange(1, len(X), 2)


class OnBothSides:
    """A splitter that trains on the first test trial as well."""

    def split(self, X, y, groups):
        """Two folds that overlap."""
        yield np.arange(0, 30), np.arange(29, 48)
        yield np.arange(18, 48), np.arange(0, 18)


def test_a_trial_on_both_sides_is_refused():
    """Folds hold one value for a trial, and a splitter that gives two is found out."""
    with pytest.raises(SchemaError, match="OnBothSides puts trial 29 on both sides of a fold"):
        folds_from_splitter(noise(0), OnBothSides(), target="odor")


def test_a_group_on_both_sides_is_refused():
    """A splitter that looks at no groups parts them, and is found out; so are folds that were changed later."""
    activity = noise(0)
    with pytest.raises(SchemaError, match="group .* is on both sides of fold 0"):
        folds_from_splitter(activity, EveryOther(), target="odor", group="block")
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0, group="block")
    folds.values[0, 0] = 3 - folds.values[0, 0]
    with pytest.raises(SchemaError, match="group .* is on both sides of fold 0"):
        cross_validate(activity, "odor", make_decoder("lda"), folds)


def correlated_bins(seed):
    """Trials that each lie somewhere of their own, in six bins alike: noise that is slower than a trial."""
    activity = noise(seed, n_times=6)
    place = np.random.default_rng(seed).normal(size=(48, 1, 30))
    return activity.copy(data=place + 0.3 * np.random.default_rng(seed + 1000).normal(size=activity.shape))


def bins_as_trials(activity):
    """A planted mistake: every bin passes for a trial."""
    trials = np.repeat(np.arange(48), 6)
    bins = activity.isel(trial=trials, time=[0]).copy(data=activity.values.reshape(288, 1, 30))
    return bins.assign_coords(trial=np.arange(288), trial_of_bin=("trial", trials))


def test_bins_of_a_trial_on_both_sides_decode_noise():
    """Why bins may not be parted: with bins as trials, noise that is slow is decoded far above chance."""

    def parted(seed):
        bins = bins_as_trials(correlated_bins(seed))
        return number_right(bins, make_decoder("nearest_neighbours", n_neighbours=1), halves(bins, seed))

    def whole(seed):
        activity = correlated_bins(seed)
        return number_right(activity, make_decoder("nearest_neighbours", n_neighbours=1), halves(activity, seed))

    assert share_right(parted, n_simulations=8)[0] > 0.8
    assert is_at_chance(*share_right(whole), 1 / N_ODORS)


def test_bins_of_a_trial_cannot_be_parted():
    """Folds have no time, a row of features is a whole trial, and bins that pass for trials are kept by their group."""
    activity = correlated_bins(0)
    folds = halves(activity)
    with pytest.raises(SchemaError, match=r"expected a DataArray on \(fold, trial\), got \('fold', 'trial', 'time'\)"):
        cross_validate(activity, "odor", make_decoder("lda"), folds.expand_dims(time=6, axis=2))
    assert cross_validate(activity, "odor", make_decoder("lda"), folds)["prediction"].dims == ("fold", "trial")
    bins = bins_as_trials(activity)
    whole = make_folds(bins, target="odor", n_folds=2, random_state=0, group="trial_of_bin")
    assert np.all(np.ptp(whole.values.reshape(2, 48, 6), axis=2) == 0)
    with pytest.raises(SchemaError, match="group .* is on both sides"):
        folds_from_splitter(bins, EveryOther(), target="odor", group="trial_of_bin")


def cohort_of_noise(seed):
    """Three sessions that know nothing."""
    return {name: noise(1000 * k + seed, n_trials=24, session=name) for k, name in enumerate("abc")}


def drawn_before_the_split(seed):
    """A planted mistake: pseudo-trials drawn with replacement from all trials, then split."""
    rng = np.random.default_rng(seed)
    cohort = cohort_of_noise(seed)
    label = np.repeat(np.arange(N_ODORS), 20)
    drawn = [
        activity.values[[rng.choice(np.flatnonzero(activity["odor"].values == k)) for k in label]]
        for activity in cohort.values()
    ]
    pool = noise(0, n_trials=80, n_units=90).copy(data=np.concatenate(drawn, axis=2))
    pool = pool.assign_coords(odor=("trial", label))
    return number_right(pool, make_decoder("nearest_centroid"), halves(pool, seed))


def test_a_pool_drawn_before_the_split_decodes_noise_and_one_drawn_after_does_not():
    """A trial in pseudo-trials of both sides is recognised; split first, noise is at chance (first fold only)."""

    def split_first(seed):
        decoder = make_decoder("nearest_centroid")
        result = cross_validate_pooled(
            cohort_of_noise(seed), "odor", decoder, n_folds=2, n_repeats=1, random_state=seed
        )
        said = result["prediction"].values[0]
        return np.sum(said[said >= 0] == result["target"].values[said >= 0]), np.sum(said >= 0)

    assert share_right(drawn_before_the_split)[0] > 0.8
    assert is_at_chance(*share_right(split_first, n_simulations=40), 1 / N_ODORS)


def test_a_pool_of_sessions_that_were_not_split_cannot_be_made():
    """Folds of every session are needed before a trial is matched, and they must leave test trials."""
    cohort = cohort_of_noise(0)
    folds = {name: make_folds(activity, target="odor", n_folds=2, random_state=0) for name, activity in cohort.items()}
    with pytest.raises(SchemaError, match="session 'c' has no folds. Split"):
        pseudo_population(cohort, {name: folds[name] for name in "ab"}, target="odor", random_state=0)
    with pytest.raises(SchemaError, match="fold 0 has no test trials"):
        pseudo_population(cohort, folds | {"c": folds["c"].clip(max=TRAIN)}, target="odor", random_state=0)


def test_pseudo_trials_hold_trials_of_their_own_side_only():
    """Every unit's activity of a test pseudo-trial is that of a test trial, in the fold that it belongs to."""
    cohort = {
        name: activity.copy(data=np.broadcast_to(np.arange(24)[:, None, None], activity.shape))
        for name, activity in cohort_of_noise(0).items()
    }
    folds = {name: make_folds(activity, target="odor", n_folds=2, random_state=0) for name, activity in cohort.items()}
    pool, pooled = pseudo_population(cohort, folds, target="odor", random_state=0)
    owner = pool["unit_session"].values
    for fold, side in enumerate(pooled.values):
        for number in (TRAIN, TEST):
            for name in cohort:
                used = np.unique(pool.values[side == number][:, :, owner == name])
                assert np.all(folds[name].values[fold][used] == number)
