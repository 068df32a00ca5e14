"""Importance: a planted unit is found, noise is not, families are controlled, and both agree with plain loops."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score

from mitral.datasets import make_folds
from mitral.datasets.errors import LeakageError, SchemaError
from mitral.datasets.folds import TEST, TRAIN
from mitral.decode import cross_validate, make_decoder, make_reducer, reduce, with_null
from mitral.decode.importance import permutation_importance, single_unit_scores

LDA = make_decoder("lda", shrinkage=0.3)


class LoopedLDA(LinearDiscriminantAnalysis):
    """The same decoder, unknown to the closed forms."""


def recording(seed=0, *, informative=(2,), n_units=6, n_trials=40, n_times=2):
    """Two odors; the informative units fire two standard deviations more to the second."""
    rng = np.random.default_rng(seed)
    odor = np.tile(["a", "b"], n_trials // 2)
    values = rng.normal(size=(n_trials, n_times, n_units))
    values[:, :, list(informative)] += 2.0 * (odor == "b")[:, None, None]
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials), "time": 0.1 * np.arange(n_times), "unit": [f"u{u}" for u in range(n_units)],
            "odor": ("trial", odor), "size": ("trial", (odor == "b") + 0.1 * rng.normal(size=n_trials)),
            "area": ("unit", np.where(np.arange(n_units) < n_units // 2, "bulb", "cortex")),
        },
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip


def folds_of(activity):
    return make_folds(activity, target="odor", n_folds=5, random_state=0)


@pytest.mark.parametrize("estimator", [LDA, LoopedLDA(solver="lsqr", shrinkage=0.3), make_decoder("nearest_centroid")])
def test_each_unit_alone_scores_as_if_it_were_the_recording(estimator):
    """Score and null of a unit are those of cross_validate and with_null on that unit alone."""
    activity = recording()
    folds = folds_of(activity)
    found = single_unit_scores(activity, "odor", estimator, folds, n_permutations=25, random_state=3)
    for unit in ("u0", "u2"):
        alone = activity.sel(unit=[unit])
        plain = cross_validate(alone, "odor", estimator, folds)
        plain = with_null(plain, alone, estimator, folds, n_permutations=25, random_state=3)
        assert_allclose(found["score"].sel(unit=unit), plain.attrs["score_mean"])
        assert_allclose(found["null_score"].sel(unit=unit), plain["null_score"])
        assert_allclose(found["p_value"].sel(unit=unit), plain.attrs["p_value"])


def test_a_planted_unit_is_found_among_many():
    """The one informative unit of thirty has the least family-wise p; its coordinates stay with it."""
    activity = recording(informative=(17,), n_units=30)
    found = single_unit_scores(activity, "odor", LDA, folds_of(activity), n_permutations=199, random_state=0)
    assert found["score"].values.argmax() == 17
    assert found["p_familywise"].values[17] == 1 / 200
    assert found["area"].values[17] == "cortex"


def test_the_family_of_units_is_controlled():
    """Of 60 recordings of 15 units without signal, one with any family-wise p up to 0.05 is as rare as 5 %
    (within 3 standard errors); uncorrected p values hit in more than a fifth.
    """
    corrected, plain = [], []
    for seed in range(60):
        activity = recording(seed, informative=(), n_units=15, n_times=1)
        found = single_unit_scores(
            activity, "odor", make_decoder("nearest_centroid"), folds_of(activity), n_permutations=39, random_state=seed
        )
        corrected.append(bool((found["p_familywise"] <= 0.05).any()))
        plain.append(bool((found["p_value"] <= 0.05).any()))
    assert np.mean(corrected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert np.mean(plain) > 0.2


def test_a_continuous_target_is_decoded_unit_by_unit():
    """A regressor goes the honest way; the planted unit has the highest R²."""
    activity = recording()
    found = single_unit_scores(
        activity, "size", make_decoder("ridge", alpha=1.0), folds_of(activity), n_permutations=19, random_state=0
    )
    assert found["score"].values.argmax() == 2 and found.attrs["metric"] == "r2"
    assert found["p_familywise"].values[2] == 0.05


def test_steps_on_three_axes_see_one_unit_over_time():
    """A smoother runs over the bins of a unit, not over units."""
    from sklearn.pipeline import make_pipeline

    from mitral.datasets.preprocess import BoxcarSmooth, Flatten

    activity = recording(n_times=5)
    estimator = make_pipeline(BoxcarSmooth(3), Flatten(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3))
    found = single_unit_scores(activity, "odor", estimator, folds_of(activity), n_permutations=1, random_state=0)
    plain = cross_validate(activity.sel(unit=["u2"]), "odor", estimator, folds_of(activity))
    assert_allclose(found["score"].sel(unit="u2"), plain.attrs["score_mean"])


def test_too_few_orders_of_labels_give_no_p():
    """Within blocks of one odor labels cannot be exchanged, so there is no p value."""
    activity = recording(n_trials=20).assign_coords(block=("trial", np.tile([0, 1], 10)))
    found = single_unit_scores(
        activity, "odor", LDA, folds_of(activity), n_permutations=5, random_state=0, within="block"
    )
    assert "p_value" not in found


def test_shuffling_the_planted_unit_costs_all_and_others_nothing():
    """Without the one informative unit accuracy falls to chance; family-wise p says so, and only of it."""
    activity = recording(n_trials=80)
    found = permutation_importance(activity, "odor", LDA, folds_of(activity), n_repeats=99, random_state=0)
    importance = found["importance"].values
    assert importance.argmax() == 2
    assert_allclose(found.attrs["score_mean"] - importance[2], 0.5, atol=0.08)
    assert np.all(np.abs(np.delete(importance, 2)) < 0.05)
    assert found["p_familywise"].values[2] == found.attrs["p_smallest"] == 0.01
    assert found["importance_low"].values[2] > 0.2


def test_importance_equals_a_slow_reference():
    """Fit per fold, exchange one unit between test trials, predict, score all tests together."""
    activity = recording(n_trials=30)
    folds = folds_of(activity)
    found = permutation_importance(activity, "odor", LDA, folds, n_repeats=4, random_state=5)
    X, y = activity.values, (activity["odor"].values == "b").astype(int)
    rng = np.random.default_rng(5)
    predicted, truth = [[] for _ in range(4)], []
    for side in folds.values:
        train, test = np.flatnonzero(side == TRAIN), np.flatnonzero(side == TEST)
        fitted = clone(LDA).fit(X[train].reshape(len(train), -1), y[train])
        truth += y[test].tolist()
        for row in predicted:
            shuffled = X[test].copy()
            shuffled[:, :, 2] = shuffled[rng.permutation(len(test))][:, :, 2]
            row += fitted.predict(shuffled.reshape(len(test), -1)).tolist()
    expected = [balanced_accuracy_score(truth, row) for row in predicted]
    assert_allclose(found["shuffled_score"].sel(unit="u2"), expected)


def test_twins_cost_little_alone_and_all_together():
    """Units that say the same stand in for each other: shuffled as a group they cost what neither does alone."""
    activity = recording(n_trials=80, n_units=4, n_times=1)
    activity[:, :, 3] = activity[:, :, 2]
    activity = activity.assign_coords(kind=("unit", ["x", "y", "twin", "twin"]))
    alone = permutation_importance(activity, "odor", LDA, folds_of(activity), n_repeats=50, random_state=0)
    group = permutation_importance(
        activity, "odor", LDA, folds_of(activity), group="kind", n_repeats=50, random_state=0
    )
    together = float(group["importance"].sel(unit_group="twin"))
    assert together > 0.25
    assert float(alone["importance"].values[2:].max()) < 0.6 * together
    assert group["n_members"].sel(unit_group="twin") == 2


def test_areas_share_the_order_of_units():
    """Renaming the areas or reordering the units changes no importance."""
    activity = recording()
    options = {"group": "area", "n_repeats": 10, "random_state": 0}
    one = permutation_importance(activity, "odor", LDA, folds_of(activity), **options)
    other = permutation_importance(activity.isel(unit=[5, 3, 1, 0, 2, 4]), "odor", LDA, folds_of(activity), **options)
    assert_allclose(one["shuffled_score"], other["shuffled_score"])


def test_noise_has_no_important_unit():
    """Of 40 recordings without signal, one with any family-wise p up to 0.05 is as rare as 5 % (3 standard errors)."""
    hits = []
    for seed in range(40):
        activity = recording(seed, informative=(), n_times=1, n_trials=30)
        found = permutation_importance(activity, "odor", LDA, folds_of(activity), n_repeats=39, random_state=seed)
        hits.append(bool((found["p_familywise"] <= 0.05).any()))
    assert np.mean(hits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)


def test_an_error_that_rises_is_importance():
    """For mean absolute error importance is the rise, and the planted unit has the largest."""
    activity = recording(n_trials=80)
    found = permutation_importance(
        activity, "size", make_decoder("ridge", alpha=1.0), folds_of(activity), n_repeats=20, random_state=0,
        metric="mean_absolute_error",
    )  # fmt: skip
    assert found["importance"].values.argmax() == 2 and found["importance"].values[2] > 0.1
    assert found["p_value"].values[2] == 1 / 21


def test_constant_units_have_no_importance():
    """A silent unit shuffled is itself."""
    activity = recording()
    activity[:, :, 4] = 0.0
    found = permutation_importance(activity, "odor", LDA, folds_of(activity), n_repeats=5, random_state=0)
    assert_array_equal(found["importance"].values[4], 0.0)
    assert found["p_value"].values[4] == found["p_familywise"].values[4] == 1.0


def test_what_has_no_importance_is_refused():
    """No such coordinate, one group, no repeat, a fold of one trial, a trajectory that saw the test trials."""
    activity = recording()
    folds = folds_of(activity)

    def ask(activity=activity, folds=folds, n_repeats=2, **options):
        return permutation_importance(activity, "odor", LDA, folds, n_repeats=n_repeats, random_state=0, **options)

    with pytest.raises(SchemaError, match="no unit coordinate 'aera'. Nearest: 'area'"):
        ask(group="aera")
    with pytest.raises(SchemaError, match="is 'bulb' for all units"):
        ask(activity.isel(unit=[0, 1]), group="area")
    with pytest.raises(SchemaError, match="n_repeats must be at least 1"):
        ask(n_repeats=0)
    alone = folds.copy()
    alone[0] = np.where(np.arange(40) == 0, TEST, TRAIN)
    with pytest.raises(SchemaError, match="fold 0 tests one trial"):
        ask(folds=alone)
    seen = reduce(activity, make_reducer("pca", n_latents=2))
    with pytest.raises(LeakageError, match="fitted on 40 of the trials"):
        ask(seen)
    with pytest.raises(LeakageError, match="fitted on 40 of the trials"):
        single_unit_scores(seen, "odor", LDA, folds, n_permutations=1, random_state=0)
    with pytest.raises(SchemaError, match="n_permutations must be at least 1"):
        single_unit_scores(activity, "odor", LDA, folds, n_permutations=0, random_state=0)
