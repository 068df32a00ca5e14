"""Geometry: planted arrangements give the scores that follow from them; chance, invariance, honest loops, nulls."""

from functools import partial

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
from mitral.datasets.errors import LeakageError, SchemaError, UnknownName
from mitral.decode import make_decoder
from mitral.decode.conditions import column_dichotomies, dichotomies, label_conditions, pool_conditions
from mitral.decode.geometry import (
    cross_condition_generalisation,
    parallelism,
    shattering,
)
from mitral.decode.geometry_nulls import with_geometry_null, with_shattering_null
from mitral.decode.nulls import exchange_groups

LDA = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)


class LoopedLDA(LinearDiscriminantAnalysis):
    """The same decoder, unknown to the closed forms."""


def cloud(means, *, n_trials=10, noise=0.05, seed=0, columns=None):
    """Activity with ``n_trials`` noisy trials of each mean; columns: name -> value of each condition."""
    rng = np.random.default_rng(seed)
    n_conditions, n_units = means.shape
    condition = np.tile(np.arange(n_conditions), n_trials)
    columns = columns or {"odor": [f"o{k}" for k in range(n_conditions)]}
    values = means[condition] + noise * rng.normal(size=(len(condition), n_units))
    activity = xr.DataArray(
        values[:, None],
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(condition)), "time": [0.0], "unit": np.arange(n_units).astype(str),
            "block": ("trial", np.arange(len(condition)) // n_conditions),
        } | {name: ("trial", np.asarray(of)[condition]) for name, of in columns.items()},
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip
    return label_conditions(activity, list(columns))


def cube(**options):
    """Three binary variables along three orthogonal directions of a 12-unit space: an abstract geometry."""
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 3)))[0]
    return cloud(CUBE @ basis.T, columns=dict(zip("xyz", CUBE.T.astype(int), strict=True)), **options)


def folds_of(activity):
    return make_folds(activity, target="condition", n_folds=5, random_state=0)


def test_an_abstract_geometry_generalises_and_is_parallel():
    """On a cube its three axes have generalisation and parallelism 1; in five units or twelve."""
    activity = cube()
    sides = dichotomies(activity, random_state=0)
    axis = sides["column"].values != ""
    assert axis.sum() == 3
    assert_allclose(cross_condition_generalisation(activity, LDA, sides)["score"].values[axis], 1.0)
    scores = parallelism(activity, sides)["score"].values
    assert np.all(scores[axis] > 0.97) and np.all(scores[~axis] < 0.9)


def test_a_simplex_is_shattered_and_generalises_nothing():
    """Eight conditions in general position: every dichotomy decodes, no coding direction recurs."""
    activity = cloud(np.eye(8), noise=0.02)
    sides = dichotomies(activity, random_state=0)
    assert_allclose(shattering(activity, LDA, folds_of(activity), sides)["score"], 1.0)
    assert_allclose(parallelism(cloud(np.eye(8), noise=0.0), sides)["score"], 0.0, atol=1e-12)
    one = [
        cross_condition_generalisation(cloud(np.eye(8), seed=seed), LDA, sides[:1]).attrs["score_mean"]
        for seed in range(20)
    ]
    assert abs(np.mean(one) - 0.5) < 3 * np.std(one) / np.sqrt(20)


def test_generalisation_of_all_dichotomies_together_says_nothing():
    """Each training set meets every labeling and its mirror image, so the mean over all is one half for any data."""
    activity = cube(noise=0.7)
    result = cross_condition_generalisation(activity, LDA, dichotomies(activity, random_state=0))
    assert_allclose(result.attrs["score_mean"], 0.5, atol=1e-12)
    assert np.ptp(result["score"].values) > 0.5


def test_bending_a_line_shatters_it():
    """Four points on a line: ends and middle do not separate. On a parabola they do."""
    place = np.linspace(-1, 1, 4)
    line, curve = (cloud(np.column_stack([place, bend * place**2])) for bend in (0, 3))
    sides = dichotomies(line, random_state=0)
    ends = [row for row, side in enumerate(sides.values) if side.tolist() == [0, 1, 1, 0]]
    straight, bent = (shattering(a, LDA, folds_of(a), sides)["score"].values[ends] for a in (line, curve))
    assert straight < 0.8 and bent > 0.95


@pytest.mark.parametrize("measure", ["generalisation", "shattering"])
def test_closed_form_and_honest_loop_agree(measure):
    """Sharing factorisations between dichotomies changes no score."""
    activity = cube(noise=0.7)
    sides = dichotomies(activity, random_state=0)
    fast, slow = (
        cross_condition_generalisation(activity, lda, sides)
        if measure == "generalisation"
        else shattering(activity, lda, folds_of(activity), sides)
        for lda in (LDA, LoopedLDA(solver="lsqr", shrinkage=0.3))
    )
    assert np.ptp(fast["score"].values) > 0.2
    assert_allclose(fast["score"], slow["score"], atol=1e-12)


def test_generalisation_equals_a_slow_reference():
    """All pairs of conditions from opposite sides held out, the decoder fitted on the others."""
    activity = cube(noise=0.7)
    sides = column_dichotomies(activity, "y")
    X, side = activity.values[:, 0], dict(zip(sides["condition"].values, sides.values[0], strict=True))
    condition = activity["condition"].values
    y = np.array([side[c] for c in condition])
    scores = []
    for a in (c for c in side if side[c] == 0):
        for b in (c for c in side if side[c] == 1):
            train = (condition != a) & (condition != b)
            fitted = clone(LDA).fit(X[train], y[train])
            scores.append(np.mean([fitted.score(X[condition == c], y[condition == c]) for c in (a, b)]))
    assert_allclose(cross_condition_generalisation(activity, LDA, sides)["score"].values, np.mean(scores))


def test_parallelism_equals_a_slow_reference():
    """The best over all pairings of the mean cosine between coding vectors."""
    from itertools import combinations, permutations

    activity = cloud(np.random.default_rng(0).normal(size=(6, 5)), noise=0.0, n_trials=2)
    sides = dichotomies(activity, random_state=0)
    means = np.stack([activity.values[activity["condition"].values == c][0, 0] for c in sides["condition"].values])
    expected = []
    for side in sides.values:
        first, second = means[side == 0], means[side == 1]
        of_pairing = []
        for order in permutations(range(3)):
            v = first - second[list(order)]
            v /= np.linalg.norm(v, axis=1, keepdims=True)
            of_pairing.append(np.mean([v[i] @ v[j] for i, j in combinations(range(3), 2)]))
        expected.append(max(of_pairing))
    assert_allclose(parallelism(activity, sides)["score"], expected)


def test_an_odd_number_of_conditions_leaves_one_unpaired():
    """Of five points on two parallel edges the best pairing is exact, whatever the fifth."""
    means = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 9]], float)
    activity = cloud(means, noise=0.0, n_trials=2)
    sides = dichotomies(activity, random_state=0)
    row = sides.values.tolist().index([0, 1, 0, 1, 1])
    assert_allclose(parallelism(activity, sides)["score"].values[row], 1.0)


def test_units_in_another_order_or_basis_change_nothing():
    """Scores of a permuted population are the same, and parallelism of a rotated one."""
    activity = cube(noise=0.5)
    sides = dichotomies(activity, random_state=0)
    order = np.random.default_rng(2).permutation(12)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    for measure in (
        partial(cross_condition_generalisation, estimator=LDA, sides=sides),
        partial(parallelism, sides=sides),
    ):
        assert_allclose(measure(activity.isel(unit=order))["score"], measure(activity)["score"], atol=1e-9)
    rotated = activity.copy(data=activity.values @ rotation)
    assert_allclose(parallelism(rotated, sides)["score"], parallelism(activity, sides)["score"], atol=1e-9)


def test_noise_is_at_chance():
    """Over 60 recordings without signal the mean of both decoding measures is 0.5 within 3 standard errors."""
    found = []
    for seed in range(60):
        activity = cloud(np.zeros((6, 8)), noise=1.0, seed=seed)
        sides = dichotomies(activity, random_state=0)[:2]
        found.append([
            cross_condition_generalisation(activity, LDA, sides).attrs["score_mean"],
            shattering(activity, LDA, folds_of(activity), sides).attrs["score_mean"],
        ])  # fmt: skip
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(np.mean(found, axis=0) - 0.5) < 3 * error + 0.01)  # folds of equal classes sit 0.01 below


@pytest.mark.parametrize("scheme", ["labels", "units"])
def test_an_abstract_geometry_beats_both_nulls(scheme):
    """The axes of a cube are more parallel and general than shuffled labels and than randomly placed clouds."""
    activity = cube(noise=0.2)
    sides = column_dichotomies(activity, "x")
    for measure in (
        partial(cross_condition_generalisation, estimator=LDA, sides=sides),
        partial(parallelism, sides=sides),
    ):
        result = measure(activity)
        found = with_geometry_null(result, activity, measure, scheme=scheme, n_permutations=39, random_state=0)
        assert found["p_value"].values <= 0.05
        assert found["null_score"].dims == ("permutation", "dichotomy")
        assert found.attrs["p_smallest"] == 1 / 40


def test_randomly_placed_clouds_do_not_beat_the_geometric_null():
    """A random code is decodable, yet no more abstract than random: p up to 0.05 in 5 % of 40 (3 standard errors)."""
    p = []
    for seed in range(40):
        activity = cloud(np.random.default_rng(seed).normal(size=(4, 20)), noise=0.3, n_trials=4, seed=seed)
        sides = dichotomies(activity, random_state=0)[:1]
        measure = partial(parallelism, sides=sides)
        found = with_geometry_null(
            measure(activity), activity, measure, scheme="units", n_permutations=19, random_state=seed
        )
        p.append(found.attrs["p_value"])
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)


def test_the_geometric_null_keeps_clouds_decodable():
    """Clouds in random places are shattered as before, while generalisation falls to about one half."""
    activity = cube(noise=0.1)
    sides = column_dichotomies(activity, "x")
    measure = partial(shattering, estimator=LDA, folds=folds_of(activity), sides=sides)
    found = with_geometry_null(measure(activity), activity, measure, scheme="units", n_permutations=20, random_state=0)
    assert found["null_score"].mean() > 0.85
    measure = partial(cross_condition_generalisation, estimator=LDA, sides=sides)
    found = with_geometry_null(measure(activity), activity, measure, scheme="units", n_permutations=50, random_state=0)
    assert abs(float(found["null_score"].mean()) - 0.5) < 0.15


def test_the_shared_null_of_shattering_is_the_honest_one():
    """All permutations in one factorisation give the distribution of permuting and rerunning, and the same p."""
    activity = cube(noise=0.8)
    folds, sides = folds_of(activity), column_dichotomies(activity, "x")
    measure = partial(shattering, estimator=LDA, folds=folds, sides=sides)
    options = {"n_permutations": 200, "random_state": 0}
    fast = with_shattering_null(measure(activity), activity, LDA, folds, sides, **options)
    tested_in = activity.assign_coords(tested_in=("trial", exchange_groups(activity, folds, None)))
    slow = with_geometry_null(measure(activity), tested_in, measure, scheme="labels", within="tested_in", **options)
    assert_allclose(fast["null_score"], slow["null_score"], atol=1e-12)
    assert fast.attrs["p_value"] == slow.attrs["p_value"]


def test_the_family_of_dichotomies_is_controlled():
    """Without signal, some of 3 dichotomies has a family-wise p up to 0.05 in 5 % of 50 (within 3 standard errors)."""
    hits = []
    for seed in range(50):
        activity = cloud(np.zeros((4, 6)), noise=1.0, seed=seed)
        sides = dichotomies(activity, random_state=0)
        folds = folds_of(activity)
        result = shattering(activity, LDA, folds, sides)
        found = with_shattering_null(result, activity, LDA, folds, sides, n_permutations=99, random_state=seed)
        hits.append(bool((found["p_familywise"] <= 0.05).any()))
    assert np.mean(hits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 50)


def test_labels_are_exchanged_within_groups():
    """With every condition once in a block, exchange within blocks keeps that so."""
    activity = cube()
    seen = []

    def measure(data):
        seen.append(data["condition"].values.reshape(10, 8))
        return parallelism(data, column_dichotomies(activity, "x"))

    with_geometry_null(
        measure(activity), activity, measure, scheme="labels", n_permutations=3, random_state=0, within="block"
    )
    assert all(len(set(row)) == 8 for order in seen for row in order)
    assert not np.array_equal(seen[0], seen[1])


def test_workers_do_not_change_the_null():
    """Backwards or forwards, permutation i is the same."""
    activity = cube()
    measure = partial(parallelism, sides=column_dichotomies(activity, "x"))

    def backwards(function, items):
        return reversed([function(item) for item in reversed(list(items))])

    options = {"scheme": "units", "n_permutations": 5, "random_state": 1}
    one = with_geometry_null(measure(activity), activity, measure, **options)
    other = with_geometry_null(measure(activity), activity, measure, map=backwards, **options)
    xr.testing.assert_identical(one, other)


def test_a_pseudo_population_is_pooled_and_measured():
    """Odor generalises over concentrations in units of three animals; the null permutes inside each session."""
    lab = simulate_olfactory_lab(
        random_state=0,
        n_animals=3,
        n_units=(15, 20),
        odors=("apple", "banana"),
        n_blocks=6,
        concentrations=(0.1, 0.3, 1.0),
    )
    cohort = {
        name: label_conditions(
            bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5),
            ("odor", "concentration"),
        )
        for name, session in lab.sessions.items()
    }

    def measure(cohort):
        activity, folds = pool_conditions(cohort, n_folds=3, random_state=0)
        return shattering(activity, make_decoder("lda", shrinkage=0.5), folds, sides)

    pooled, folds = pool_conditions(cohort, n_folds=3, random_state=0)
    sides = column_dichotomies(pooled, "odor")
    result = measure(cohort)
    assert result.attrs["score_mean"] > 0.9
    found = with_geometry_null(result, cohort, measure, scheme="labels", n_permutations=19, random_state=0)
    assert found.attrs["p_value"] == 0.05
    general = cross_condition_generalisation(pooled, make_decoder("lda", shrinkage=0.5), sides)
    assert general.attrs["score_mean"] > 0.7
    assert general.attrs["n_trials"] < pooled.sizes["trial"]  # every recorded trial once
    with pytest.raises(SchemaError, match="Pass the cohort"):
        with_geometry_null(general, pooled, measure, scheme="labels", n_permutations=1, random_state=0)


def test_what_cannot_be_measured_is_refused():
    """A regressor, one condition a side, too many pairings, NaN, a seen trajectory, other folds."""
    activity = cube()
    sides = dichotomies(activity, random_state=0)
    with pytest.raises(SchemaError, match="is no classifier"):
        cross_condition_generalisation(activity, make_decoder("ridge"), sides)
    with pytest.raises(SchemaError, match="is no classifier"):
        shattering(activity, make_decoder("ridge"), folds_of(activity), sides)
    two = cloud(np.eye(2))
    for measure in (partial(cross_condition_generalisation, estimator=LDA), parallelism):
        with pytest.raises(SchemaError, match="at least two conditions on each side"):
            measure(two, sides=dichotomies(two, random_state=0))
    many = cloud(np.eye(18), n_trials=2)
    with pytest.raises(SchemaError, match="have 362880 pairings"):
        parallelism(many, dichotomies(many, most=1, random_state=0))
    with pytest.raises(SchemaError, match="trials hold NaN"):
        parallelism(activity.where(activity["trial"] > 0), sides)
    seen = activity.rename(unit="latent").assign_coords(in_fit=("trial", np.ones(80, bool)))
    with pytest.raises(LeakageError, match="fitted on"):
        cross_condition_generalisation(seen, LDA, sides)
    with pytest.raises(SchemaError, match="their ids differ"):
        shattering(activity, LDA, folds_of(activity)[:, 1:], sides)


def test_nulls_that_do_not_exist_are_refused():
    """A misspelt scheme, a result of another kind, no permutation."""
    activity = cube()
    measure = partial(parallelism, sides=column_dichotomies(activity, "x"))
    with pytest.raises(UnknownName, match="'units'"):
        with_geometry_null(measure(activity), activity, measure, scheme="unit", n_permutations=1, random_state=0)
    with pytest.raises(SchemaError, match="kind 'geometry'"):
        with_geometry_null(xr.Dataset(), activity, measure, scheme="units", n_permutations=1, random_state=0)
    with pytest.raises(SchemaError, match="at least 1, got 0"):
        with_geometry_null(measure(activity), activity, measure, scheme="units", n_permutations=0, random_state=0)
    measure = partial(shattering, estimator=LDA, folds=folds_of(activity), sides=column_dichotomies(activity, "x"))
    with pytest.raises(SchemaError, match="Use with_shattering_null"):
        with_geometry_null(measure(activity), activity, measure, scheme="labels", n_permutations=1, random_state=0)
