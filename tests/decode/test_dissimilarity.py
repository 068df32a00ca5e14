"""Dissimilarities: unbiased without signal, equal to slow references and rsatoolbox, invariant where they must be."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from scipy.spatial.distance import pdist, squareform

from mitral.datasets import make_folds
from mitral.datasets.errors import LeakageError, SchemaError, UnknownName
from mitral.datasets.folds import TEST, TRAIN
from mitral.decode.dissimilarity import (
    compare_dissimilarity,
    crossnobis,
    dissimilarity,
    make_dissimilarity,
    noise_ceiling,
    with_comparison_null,
)

N_CONDITIONS, N_RUNS = 5, 4
ODORS = np.tile([f"odor {k}" for k in range(N_CONDITIONS)], N_RUNS)


def activity_of(values, odor=ODORS):
    return xr.DataArray(
        values[:, None, :],
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(values)), "time": [0.0], "unit": np.arange(values.shape[1]).astype(str),
            "odor": ("trial", odor), "run": ("trial", np.arange(len(values)) // N_CONDITIONS),
        },
        attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 0.1, "units": ""},
    )  # fmt: skip


def by_run(activity, n_folds=N_RUNS):
    return make_folds(activity, target="odor", n_folds=n_folds, random_state=0, group="run")


def recording(seed=0, signal=1.0, n_units=7):
    rng = np.random.default_rng(seed)
    means = signal * rng.normal(size=(N_CONDITIONS, n_units))
    mixing = np.eye(n_units) + 0.3 * rng.normal(size=(n_units, n_units))
    return activity_of(np.tile(means, (N_RUNS, 1)) + rng.normal(size=(len(ODORS), n_units)) @ mixing)


def matrix_of(seed, n=6, animal=""):
    values = squareform(np.random.default_rng(seed).uniform(1, 2, n * (n - 1) // 2))
    return make_dissimilarity(values, [f"c{k}" for k in range(n)], animal=animal)


def test_distances_are_those_of_scipy():
    """Squared Euclidean per unit, and one less the correlation, of the condition means."""
    activity = recording()
    means = np.stack([activity.values[odor == ODORS].mean(axis=0)[0] for odor in np.unique(ODORS)])
    euclidean = dissimilarity(activity, "odor", distance="euclidean")["dissimilarity"]
    correlation = dissimilarity(activity, "odor", distance="correlation")["dissimilarity"]
    assert_allclose(euclidean, squareform(pdist(means, "sqeuclidean")) / means.shape[1], atol=1e-12)
    assert_allclose(correlation, squareform(pdist(means, "correlation")), atol=1e-12)


def test_crossnobis_equals_a_slow_reference():
    """The mean over folds of products of training and test differences, weighed by the given noise, pair by pair."""
    activity = recording()
    folds, noise = by_run(activity), np.cov(np.random.default_rng(1).normal(size=(7, 50)))
    found = crossnobis(activity, "odor", folds, noise_covariance=noise)["dissimilarity"].values
    values, names = activity.values[:, 0], np.unique(ODORS)
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            expected = 0.0
            for side in folds.values:
                train, test = (
                    values[(side == role) & (first == ODORS)].mean(axis=0)
                    - values[(side == role) & (second == ODORS)].mean(axis=0)
                    for role in (TRAIN, TEST)
                )
                expected += train @ np.linalg.inv(noise) @ test / 7 / len(folds)
            assert_allclose(found[i, j], expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_distances_agree_with_rsatoolbox():
    """Same definitions as rsatoolbox 0.3.2, crossnobis with a given precision, leaving runs out."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    activity = recording()
    noise = np.cov(np.random.default_rng(1).normal(size=(7, 50)))
    theirs = Dataset(activity.values[:, 0], obs_descriptors={"odor": ODORS, "run": activity["run"].values})
    upper = np.triu_indices(N_CONDITIONS, 1)
    for distance in ("euclidean", "correlation"):
        ours = dissimilarity(activity, "odor", distance=distance)["dissimilarity"].values[upper]
        assert_allclose(ours, calc_rdm(theirs, method=distance, descriptor="odor").dissimilarities[0], atol=1e-10)
    ours = crossnobis(activity, "odor", by_run(activity), noise_covariance=noise)["dissimilarity"].values[upper]
    rdm = calc_rdm(theirs, method="crossnobis", descriptor="odor", cv_descriptor="run", noise=np.linalg.inv(noise))
    assert_allclose(ours, rdm.dissimilarities[0], atol=1e-10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("ours", "theirs"), [("pearson", "corr"), ("spearman", "spearman"), ("kendall", "tau-a")])
def test_comparisons_agree_with_rsatoolbox(ours, theirs):
    """Correlations and noise ceilings of rsatoolbox 0.3.2, with ties."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs, compare

    vectors = np.round(np.random.default_rng(0).uniform(1, 3, (4, 15)), 1)
    animals = {f"m{k}": make_dissimilarity(squareform(v), list("abcdef")) for k, v in enumerate(vectors)}
    rdms = RDMs(vectors)
    assert_allclose(
        compare_dissimilarity(animals["m0"], animals["m1"], comparison=ours), compare(rdms[0], rdms[1], theirs)[0, 0]
    )
    ceiling = noise_ceiling(animals, comparison=ours)
    assert_allclose([ceiling["lower"], ceiling["upper"]], boot_noise_ceiling(rdms, method=theirs))


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_crossnobis_is_zero_on_average_without_signal(draw):
    """Over 300 recordings without signal the mean lies within 3 standard errors of zero; plain distances do not."""
    rng = np.random.default_rng(0)
    upper = np.triu_indices(N_CONDITIONS, 1)
    crossed, plain = [], []
    for _ in range(300):
        activity = activity_of(getattr(rng, draw)(size=(len(ODORS), 6)))
        crossed.append(crossnobis(activity, "odor", by_run(activity))["dissimilarity"].values[upper].mean())
        plain.append(dissimilarity(activity, "odor", distance="euclidean")["dissimilarity"].values[upper].mean())
    error = np.std(crossed) / np.sqrt(len(crossed))
    assert abs(np.mean(crossed)) < 3 * error
    assert np.mean(plain) > 10 * error


def test_crossnobis_recovers_a_planted_distance():
    """With known unit noise the mean over 200 recordings is the true squared distance per unit, within 3 errors."""
    found = []
    means = np.zeros((N_CONDITIONS, 6))
    means[0, 0], means[1, 1] = 2.0, 1.0
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(size=(len(ODORS), 6))
        activity = activity_of(np.tile(means, (N_RUNS, 1)) + noise)
        matrix = crossnobis(activity, "odor", by_run(activity), noise_covariance=np.eye(6))["dissimilarity"].values
        found.append([matrix[0, 1], matrix[0, 2], matrix[2, 3]])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(np.mean(found, axis=0) - np.array([5, 4, 0]) / 6) < 3 * error)


def test_crossnobis_does_not_depend_on_the_basis():
    """Any invertible mixing of the units, the noise with them, leaves the distances."""
    activity = recording()
    mixing = np.random.default_rng(5).normal(size=(7, 7))
    noise = np.cov(np.random.default_rng(1).normal(size=(7, 50)))
    folds = by_run(activity)
    mixed = activity.copy(data=activity.values @ mixing)
    assert_allclose(
        crossnobis(mixed, "odor", folds, noise_covariance=mixing.T @ noise @ mixing)["dissimilarity"],
        crossnobis(activity, "odor", folds, noise_covariance=noise)["dissimilarity"],
        atol=1e-8,
    )


def test_more_units_than_trials_are_taken():
    """The noise covariance is shrunk, so it is never singular."""
    matrix = crossnobis(recording(n_units=60), "odor", by_run(recording(n_units=60)))["dissimilarity"].values
    assert np.isfinite(matrix).all()
    assert_allclose(matrix, matrix.T)
    assert matrix[np.triu_indices(N_CONDITIONS, 1)].mean() > 0.3


def test_tau_a_counts_pairs():
    """Concordant less discordant over all pairs; a model with ties earns less than one that orders them right."""
    first, second = matrix_of(0), matrix_of(1)
    a, b = (m["dissimilarity"].values[np.triu_indices(6, 1)].round(1) for m in (first, second))
    pairs = [(i, j) for i in range(15) for j in range(i)]
    expected = np.mean([np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs])
    rounded = [make_dissimilarity(squareform(v), first["condition"].values) for v in (a, b)]
    assert_allclose(compare_dissimilarity(*rounded, comparison="kendall"), expected)


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "kendall"])
def test_comparison_does_not_depend_on_scale_or_on_the_order_of_conditions(comparison):
    """Twice the distances plus one, conditions reversed: the same correlation."""
    first, second = matrix_of(0), matrix_of(1)
    scaled = make_dissimilarity(2 * second["dissimilarity"].values[::-1, ::-1] + 1, second["condition"].values[::-1])
    assert_allclose(
        compare_dissimilarity(first, scaled, comparison=comparison),
        compare_dissimilarity(first, second, comparison=comparison),
    )


def test_a_comparison_null_keeps_its_level():
    """Of 100 pairs of unrelated matrices 5 % have p up to 0.05 (within 3 standard errors); a copy has the least."""
    p = [
        with_comparison_null(matrix_of(s), matrix_of(s + 500), comparison="pearson", n_permutations=99, random_state=s)
        for s in range(100)
    ]
    assert np.mean([found["p_value"] <= 0.05 for found in p]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    same = with_comparison_null(matrix_of(0), matrix_of(0), comparison="spearman", n_permutations=99, random_state=0)
    assert same["score"] == 1.0
    assert same["p_value"] == same["p_smallest"] == 0.01


def test_equal_animals_have_a_ceiling_of_one():
    """If all animals agree, a perfect model reaches 1; with private noise the lower bound is below the upper."""
    same = {f"m{k}": matrix_of(0) for k in range(3)}
    assert_allclose(list(noise_ceiling(same, comparison="spearman").values()), [1, 1, 3])
    different = {f"m{k}": matrix_of(k) for k in range(4)}
    ceiling = noise_ceiling(different, comparison="pearson")
    assert ceiling["lower"] < 0.2 < ceiling["upper"]  # unrelated animals: 0 in truth, 1 / sqrt(4) with themselves in


def test_the_true_geometry_lies_between_the_ceilings():
    """On 8 animals with private noise, the matrix that they share correlates between lower and upper (mean of 20)."""
    inside = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shared = rng.uniform(1, 2, 45)
        noisy = [np.abs(shared + 0.3 * rng.normal(size=45)) for _ in range(8)]
        animals = {f"m{k}": make_dissimilarity(squareform(v), list("abcdefghij")) for k, v in enumerate(noisy)}
        model = make_dissimilarity(squareform(shared), list("abcdefghij"))
        reached = np.mean([compare_dissimilarity(m, model, comparison="pearson") for m in animals.values()])
        ceiling = noise_ceiling(animals, comparison="pearson")
        inside.append([reached - ceiling["lower"], ceiling["upper"] - reached])
    assert np.all(np.mean(inside, axis=0) > 0)


def test_unknown_names_are_met_with_the_nearest():
    """Distances and comparisons are few, and crossnobis is a function of its own."""
    with pytest.raises(UnknownName, match="takes folds"):
        dissimilarity(recording(), "odor", distance="crossnobis")
    with pytest.raises(UnknownName, match="'spearman'"):
        compare_dissimilarity(matrix_of(0), matrix_of(1), comparison="spearmann")


def test_data_without_distances_are_refused():
    """One condition, NaN, a flat mean, folds without a condition, a noise that is none."""
    activity = recording()
    with pytest.raises(SchemaError, match="in all trials, so there is no distance"):
        dissimilarity(activity.isel(trial=[0, N_CONDITIONS]), "odor", distance="euclidean")
    with pytest.raises(SchemaError, match="1 trials hold NaN"):
        dissimilarity(activity.where(activity["trial"] > 0), "odor", distance="euclidean")
    with pytest.raises(SchemaError, match="the same in all units"):
        dissimilarity(activity.where(activity["odor"] != "odor 1", 1.0), "odor", distance="correlation")
    folds = by_run(activity)
    hidden = folds.where(~((folds == TEST) & (activity["odor"] == "odor 2")), 0).astype(np.int8)
    with pytest.raises(SchemaError, match="'odor 2' has no test trial in fold 0"):
        crossnobis(activity, "odor", hidden)
    with pytest.raises(SchemaError, match=r"shape \(7, 7\), got \(2, 2\)"):
        crossnobis(activity, "odor", folds, noise_covariance=np.eye(2))
    with pytest.raises(SchemaError, match="not positive definite"):
        crossnobis(activity, "odor", folds, noise_covariance=-np.eye(7))
    with pytest.raises(SchemaError, match="do not differ"):
        crossnobis(activity.copy(data=np.zeros(activity.shape)), "odor", folds)


def test_a_trajectory_fitted_on_test_trials_is_refused():
    """Cross-validated distances in a space that has seen the test trials are not cross-validated."""
    activity = recording().rename(unit="latent").assign_coords(in_fit=("trial", np.ones(len(ODORS), bool)))
    folds = by_run(recording())
    with pytest.raises(LeakageError, match="fitted on"):
        crossnobis(activity, "odor", folds)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0, 1], [1, 0]], "three or more conditions"),
        ([[0, 1, 2], [3, 0, 1], [2, 1, 0]], "symmetric matrix"),
        ([[0, np.nan, 2], [np.nan, 0, 1], [2, 1, 0]], "without NaN"),
    ],
)
def test_what_is_no_dissimilarity_matrix_is_refused(matrix, message):
    """Fewer than three conditions, no symmetry, NaN."""
    with pytest.raises(SchemaError, match=message):
        make_dissimilarity(matrix, list("abc")[: len(matrix)])


def test_matrices_that_do_not_compare_are_refused():
    """Other conditions, a constant, one animal, no matrix, no permutation."""
    with pytest.raises(SchemaError, match="different conditions"):
        compare_dissimilarity(matrix_of(0), matrix_of(0, n=5), comparison="pearson")
    constant = make_dissimilarity(np.ones((3, 3)), list("abc"))
    with pytest.raises(SchemaError, match="are all 1"):
        compare_dissimilarity(constant, constant, comparison="pearson")
    with pytest.raises(SchemaError, match="at least two animals"):
        noise_ceiling({"m": matrix_of(0)}, comparison="pearson")
    with pytest.raises(SchemaError, match="kind 'dissimilarity'"):
        compare_dissimilarity(matrix_of(0), np.zeros(3), comparison="pearson")
    with pytest.raises(SchemaError, match="at least 1, got 0"):
        with_comparison_null(matrix_of(0), matrix_of(1), comparison="pearson", n_permutations=0, random_state=0)
