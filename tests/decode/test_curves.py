"""Curves: equal to plain decoding at full size, test sets whole, intervals over what was drawn."""

from functools import partial

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import TEST, TRAIN
from mitral.decode import cross_validate, make_decoder
from mitral.decode.curves import learning_curve, mean_curve, neuron_dropping, pooled_curve, size_dim

LDA = make_decoder("lda", shrinkage=0.3)


def recording(seed=0, signal=1.0, n_units=12, n_trials=40, animal="m", session="s"):
    """Two odors; every unit holds the same small share of the signal."""
    rng = np.random.default_rng(seed)
    odor = np.tile(["a", "b"], n_trials // 2)
    values = rng.normal(size=(n_trials, 1, n_units)) + signal * (odor == "b")[:, None, None]
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials), "time": [0.0], "unit": [f"{session}/u{u}" for u in range(n_units)],
            "odor": ("trial", odor), "strength": ("trial", (odor == "b") + 0.01 * np.arange(n_trials)),
        },
        attrs={"session": session, "animal": animal, "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip


def folds_of(activity, n_folds=5):
    return make_folds(activity, target="odor", n_folds=n_folds, random_state=0)


class Recorder(LinearDiscriminantAnalysis):
    """Notes the sizes of what it is fitted on and asked for."""

    seen: list = []

    def fit(self, X, y):
        Recorder.seen.append((X.shape[1], *np.bincount(y)))
        return super().fit(X, y)

    def predict(self, X):
        Recorder.seen.append(len(X))
        return super().predict(X)


def test_all_units_give_the_plain_score_in_every_repeat():
    """At full size there is one subset, so no spread, and the score is that of cross_validate."""
    activity = recording()
    curve = neuron_dropping(activity, "odor", LDA, folds_of(activity), n_units=(12, 3), n_repeats=4, random_state=0)
    plain = cross_validate(activity, "odor", LDA, folds_of(activity)).attrs["score_mean"]
    assert curve["n_units"].values.tolist() == [3, 12]
    assert_array_equal(curve["repeat_score"].sel(n_units=12), plain)
    assert curve["score_low"].sel(n_units=12) == curve["score_high"].sel(n_units=12) == plain
    assert np.ptp(curve["repeat_score"].sel(n_units=3).values) > 0


def test_more_units_decode_better_where_all_carry_signal():
    """With equal independent shares of the signal accuracy follows the normal integral of d' = s sqrt(n) / 2."""
    from scipy.stats import norm

    activity = recording(signal=0.6, n_units=24, n_trials=400)
    sizes = (1, 4, 16, 24)
    curve = neuron_dropping(
        activity,
        "odor",
        make_decoder("nearest_centroid"),
        folds_of(activity),
        n_units=sizes,
        n_repeats=10,
        random_state=0,
    )
    assert_allclose(curve["score"], norm.cdf(0.6 * np.sqrt(sizes) / 2), atol=0.05)  # 400 trials: standard error 0.025


def test_all_training_trials_give_the_plain_score():
    """Learning from all there are is cross_validate."""
    activity = recording()
    curve = learning_curve(activity, "odor", LDA, folds_of(activity), n_trials=(2, 16), n_repeats=3, random_state=0)
    plain = cross_validate(activity, "odor", LDA, folds_of(activity)).attrs["score_mean"]
    assert_array_equal(curve["repeat_score"].sel(n_trials=16), plain)
    assert curve["score"].sel(n_trials=2) < plain


def test_few_trials_are_drawn_from_training_trials_alone():
    """Every fit sees so many trials of each class; every test set stays whole."""
    activity = recording()
    folds = folds_of(activity)
    Recorder.seen.clear()
    learning_curve(activity, "odor", Recorder(), folds, n_trials=(3,), n_repeats=2, random_state=0)
    assert Recorder.seen == [item for _ in range(10) for item in ((12, 3, 3), 8)]


def test_a_continuous_target_counts_all_trials_together():
    """A regressor learns from n trials, not n of each class, and says so."""
    activity = recording(n_trials=60)
    folds = folds_of(activity)
    curve = learning_curve(
        activity, "strength", make_decoder("ridge", alpha=1.0), folds, n_trials=(5, 48), n_repeats=2, random_state=0
    )
    assert curve.attrs["n_trials_of"] == "all trials together" and curve.attrs["metric"] == "r2"
    assert curve["score"].sel(n_trials=48) > curve["score"].sel(n_trials=5)


@pytest.mark.parametrize(
    "curve_of", [partial(neuron_dropping, n_units=(2, 8)), partial(learning_curve, n_trials=(2, 8))]
)
def test_noise_stays_at_chance_at_every_size(curve_of):
    """Without signal the mean over 30 recordings is one half, within 3 standard errors and the bias of folds."""
    scores = []
    for seed in range(30):
        activity = recording(seed=seed, signal=0.0, n_trials=20)
        scores.append(curve_of(activity, "odor", LDA, folds_of(activity), n_repeats=3, random_state=0)["score"].values)
    error = np.std(scores, axis=0) / np.sqrt(len(scores))
    assert np.all(np.abs(np.mean(scores, axis=0) - 0.5) < 3 * error)


def test_workers_do_not_change_a_curve():
    """Repeat i draws from its own stream, whatever the order in which repeats are done."""

    def backwards(function, items):
        return reversed([function(item) for item in reversed(list(items))])

    activity = recording()
    options = {"n_units": (2, 5), "n_repeats": 4, "random_state": 7}
    one = neuron_dropping(activity, "odor", LDA, folds_of(activity), **options)
    other = neuron_dropping(activity, "odor", LDA, folds_of(activity), map=backwards, **options)
    xr.testing.assert_identical(one, other)


def test_a_pseudo_population_draws_units_of_all_sessions():
    """Units of three animals together decode better than fewer; the result says what it is."""
    lab = simulate_olfactory_lab(random_state=0, n_animals=3, n_units=(8, 10), n_blocks=6, concentrations=(0.1,))
    cohort = {
        name: bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
        for name, session in lab.sessions.items()
    }
    n_all = sum(activity.sizes["unit"] for activity in cohort.values())
    curve = pooled_curve(
        partial(neuron_dropping, n_units=(2, n_all)), cohort, "odor", LDA, n_folds=3, n_repeats=4, random_state=0
    )
    assert curve.attrs["population"] == "pseudo-population" and curve.attrs["n_repeats"] == 4
    assert curve["score"].values[1] > curve["score"].values[0] + 0.1
    assert np.ptp(curve["repeat_score"].values[1]) > 0  # trials are matched anew
    learned = pooled_curve(
        partial(learning_curve, n_trials=(2, 4)), cohort, "odor", LDA, n_folds=3, n_repeats=3, random_state=0
    )
    assert learned["score"].values[1] > learned["score"].values[0]


def test_the_mean_curve_weighs_animals_and_not_sessions():
    """Two sessions of one animal count as one: (mean(a1, a2) + b) / 2, over the sizes that all have."""
    curves = [
        neuron_dropping(a, "odor", LDA, folds_of(a), n_units=sizes, n_repeats=3, random_state=0)
        for a, sizes in (
            (recording(0, animal="A", session="s0"), (2, 6, 12)),
            (recording(1, animal="A", session="s1"), (2, 6)),
            (recording(2, animal="B", session="s2"), (2, 6)),
        )
    ]
    mean = mean_curve(curves, random_state=0)
    a1, a2, b = (curve["score"].sel(n_units=[2, 6]).values for curve in curves)
    assert_allclose(mean["score"], ((a1 + a2) / 2 + b) / 2)
    assert_allclose(mean["animal_score"].sel(animal="B"), b)
    assert mean.attrs["n_animals"] == 2 and mean.attrs["interval_over"].startswith("animals")
    assert "n_units 12" in mean.attrs["warnings"][-1]


def test_the_interval_of_the_mean_is_over_animals():
    """A hundred repeats do not narrow it: with animals at 0.5 and 0.9 it reaches from one to the other."""
    curve = xr.Dataset(
        {"repeat_score": (("n_units", "repeat"), np.zeros((1, 100)))},
        coords={"n_units": [5]},
        attrs={"kind": "curve", "metric": "accuracy", "chance": 0.5, "session": "s", "warnings": []},
    )
    curves = [(curve + level).assign_attrs(curve.attrs | {"animal": name}) for name, level in (("A", 0.5), ("B", 0.9))]
    mean = mean_curve(curves, random_state=0)
    assert_allclose([mean["score_low"][0], mean["score"][0], mean["score_high"][0]], [0.5, 0.7, 0.9])
    alone = mean_curve(curves[:1], random_state=0)
    assert alone.attrs["interval_over"] == "repeats of one animal"


def test_folds_with_trials_apart_keep_them_apart():
    """Trials that a fold does not use are not drawn."""
    activity = recording()
    folds = folds_of(activity)
    folds[:, :10] = 0
    Recorder.seen.clear()
    learning_curve(activity, "odor", Recorder(), folds, n_trials=(10,), n_repeats=1, random_state=0)
    n_test = (folds == TEST).sum("trial").values
    assert Recorder.seen[1::2] == n_test.tolist()
    assert (folds == TRAIN).sum() > 0


@pytest.mark.parametrize("sizes", [(), (0, 3), (13,)])
def test_sizes_that_do_not_exist_are_refused(sizes):
    """None, nought, or more units than there are."""
    activity = recording()
    with pytest.raises(SchemaError, match=r"n_units must be numbers from 1 to 12 \(the 12 units\)"):
        neuron_dropping(activity, "odor", LDA, folds_of(activity), n_units=sizes, n_repeats=1, random_state=0)


def test_more_trials_than_a_class_has_are_refused():
    """The smallest class of the smallest training set bounds the curve."""
    activity = recording()
    with pytest.raises(SchemaError, match="n_trials must be numbers from 1 to 16"):
        learning_curve(activity, "odor", LDA, folds_of(activity), n_trials=(17,), n_repeats=1, random_state=0)
    with pytest.raises(SchemaError, match=r"cannot be fitted on n_trials 1: .* Leave that number out"):
        learning_curve(activity, "odor", LDA, folds_of(activity), n_trials=(1,), n_repeats=1, random_state=0)


def test_no_repeat_and_no_curve_are_refused():
    """A curve needs a repeat; a mean needs curves that are alike."""
    activity = recording()
    make = partial(neuron_dropping, activity, "odor", LDA, folds_of(activity), random_state=0)
    with pytest.raises(SchemaError, match="n_repeats must be at least 1"):
        make(n_units=(2,), n_repeats=0)
    with pytest.raises(SchemaError, match="got none"):
        mean_curve([], random_state=0)
    with pytest.raises(SchemaError, match="kind 'curve'"):
        size_dim(xr.Dataset())
    two, three = make(n_units=(2,), n_repeats=1), make(n_units=(3,), n_repeats=1)
    with pytest.raises(SchemaError, match="no n_units in common"):
        mean_curve([two, three], random_state=0)
    with pytest.raises(SchemaError, match="have no common mean"):
        mean_curve([two, two.assign_attrs(metric="accuracy")], random_state=0)
