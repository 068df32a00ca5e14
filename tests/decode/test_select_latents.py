"""The number of latents: the true one of simulations is found, and test trials have no say."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.datasets.folds import TEST, TRAIN, folds_from_splitter
from mitral.datasets.preprocess import GaussianSmooth
from mitral.decode.select_latents import one_standard_error, select_latents
from mitral.decode.trajectories import make_reducer


def simulated(*, n_latents=3, n_trials=40, n_times=12, n_units=15, noise=(0.7, 1.3), seed=0):
    """Activity of smooth latents and private noise, two odors."""
    rng = np.random.default_rng(seed)
    lag = np.arange(n_times)[:, None] - np.arange(n_times)
    root = np.linalg.cholesky(np.exp(-0.5 * (lag / 3.0) ** 2) + 1e-3 * np.eye(n_times))
    latents = np.einsum("ts,nsk->ntk", root, rng.normal(size=(n_trials, n_times, n_latents)))
    loadings = np.linalg.qr(rng.normal(size=(n_units, n_latents)))[0].T * 3.0
    values = latents @ loadings + rng.normal(size=(n_trials, n_times, n_units)) * rng.uniform(*noise, n_units) + 4
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": 50 + np.arange(n_trials),
            "time": np.arange(n_times) / 10,
            "unit": [f"u{k}" for k in range(n_units)],
            "odor": ("trial", np.arange(n_trials) % 2),
        },
        attrs={"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.1, "units": "a.u."},
    )


def split(activity, n_folds=4):
    """Folds over trials."""
    return folds_from_splitter(activity, KFold(n_folds, shuffle=True, random_state=0), target="odor")


@pytest.mark.parametrize("measure", ["log_likelihood", "leave_unit_out"])
@pytest.mark.parametrize("name", ["factor_analysis", "probabilistic_pca", "gpfa"])
def test_the_true_number_of_latents_is_found(name, measure):
    """Three were simulated, and three are chosen among one to five, by either measure, where the model is right."""
    activity = simulated(noise=(1.0, 1.0) if name == "probabilistic_pca" else (0.7, 1.3))
    found = select_latents(activity, make_reducer(name), split(activity), n_latents=range(1, 6), measure=measure)
    assert found.attrs["n_latents_chosen"] == 3
    assert found["fold_score"].sizes == {"n_latents": 5, "fold": 4}


def test_the_true_number_is_found_in_most_simulations():
    """Of twenty, at least seventeen: with 0.95 right each, fewer have a probability below 0.02."""
    right = 0
    for seed in range(20):
        activity = simulated(seed=seed, n_latents=2, n_times=6, n_units=10)
        found = select_latents(activity, make_reducer("factor_analysis"), split(activity), n_latents=range(1, 5))
        right += found.attrs["n_latents_chosen"] == 2
    assert right >= 17


def test_scores_are_those_of_a_fit_on_training_trials():
    """Each by hand: log-likelihood of the test trials of a fold, and R² against the training mean by unit."""
    activity = simulated(n_trials=20)
    folds = split(activity)
    values, side = activity.values, folds.values[2]
    fitted = make_reducer("factor_analysis", n_latents=2).fit(values[side == TRAIN])
    test = values[side == TEST]
    spread, mean = values[side == TRAIN].var(axis=(0, 1)), values[side == TRAIN].mean(axis=(0, 1))
    said = {
        "leave_unit_out": fitted.leave_unit_out(test),
        "r2": fitted.inverse_transform(fitted.transform(test)),
    }
    expected = {
        name: 1 - np.sum((test - x) ** 2 / spread) / np.sum((test - mean) ** 2 / spread) for name, x in said.items()
    }
    expected["log_likelihood"] = fitted.score(test)
    for measure, value in expected.items():
        found = select_latents(activity, make_reducer("factor_analysis"), folds, n_latents=[2, 3], measure=measure)
        assert_allclose(found["fold_score"].sel(n_latents=2, fold=2), value, rtol=1e-10)


def test_test_trials_of_one_fold_change_no_other_score():
    """Nothing is learned from them: huge test trials of one fold change the score of that fold alone."""
    activity = simulated(n_trials=30)
    folds = split(activity, 3)
    folds.values[1:, folds.values[0] == TEST] = 0  # the trials that fold 0 tests are used nowhere else
    poisoned = activity.copy()
    poisoned.values[folds.values[0] == TEST] *= 1e3
    plain, other = (
        select_latents(a, make_reducer("factor_analysis"), folds, n_latents=[1, 2])["fold_score"]
        for a in (activity, poisoned)
    )
    assert (other.sel(fold=0) != plain.sel(fold=0)).all()
    assert_allclose(other.sel(fold=[1, 2]), plain.sel(fold=[1, 2]), rtol=0)


def test_the_rule_of_one_standard_error():
    """Differences are taken within folds: a common rise and fall of folds hides nothing."""
    common = np.array([0.0, 5.0, -5.0, 1.0])
    gain = np.array([[0.0] * 4, [1.0, 1.1, 0.9, 1.0], [1.0, 1.2, 0.8, 1.1], [0.9, 1.0, 0.9, 0.9]])
    chosen, best, behind, error = one_standard_error(common + gain)
    assert (chosen, best) == (1, 2)
    assert_allclose(behind[0], 1.025)
    assert_allclose(error[0], np.std(gain[2], ddof=1) / 2)
    assert behind[2] == error[2] == 0


def test_a_pipeline_is_measured_by_its_last_step():
    """In the activity that this step is handed, which is made by steps fitted on training trials."""
    activity = simulated(n_trials=20)
    smooth = GaussianSmooth(sd_bins=1.0)
    pipeline = make_pipeline(smooth, make_reducer("factor_analysis"))
    found = select_latents(activity, pipeline, split(activity), n_latents=[2])
    by_hand = activity.copy(data=smooth.fit_transform(activity.values))
    expected = select_latents(by_hand, make_reducer("factor_analysis"), split(activity), n_latents=[2])
    assert_allclose(found["fold_score"], expected["fold_score"])
    assert pipeline[-1].n_latents == 3


def test_a_supervised_reducer_is_handed_the_labels_of_training_trials():
    """Demixed PCA by its reconstruction, with the warning that this curve does not choose."""
    activity = simulated(n_trials=32)
    found = select_latents(
        activity, make_reducer("demixed_pca", alpha=1e-3), split(activity), n_latents=[1, 2], target="odor"
    )
    assert found.attrs["metric"] == "r2" and found.attrs["target"] == "odor"
    assert "describes and does not choose" in found.attrs["warnings"][0]


def test_ragged_trials_are_taken_by_reducers_that_take_them():
    """And refused, with the trials, by those that do not."""
    activity = simulated(n_trials=24)
    activity.values[3, 7:] = np.nan
    gpfa = make_reducer("gpfa", max_iter=10)
    for measure in ("log_likelihood", "leave_unit_out", "r2"):
        found = select_latents(activity, gpfa, split(activity), n_latents=[1, 2], measure=measure)
        assert np.isfinite(found["fold_score"]).all()
    with pytest.raises(
        SchemaError, match="FactorAnalysis needs a number in every bin, and 1 trials hold NaN.* trial 53"
    ):
        select_latents(activity, make_reducer("factor_analysis"), split(activity), n_latents=[1, 2])


def test_the_largest_candidate_may_be_too_small():
    """If it is best and chosen, the result says so."""
    activity = simulated()
    found = select_latents(activity, make_reducer("factor_analysis"), split(activity), n_latents=[1, 2])
    assert "The best candidate is the largest, 2" in found.attrs["warnings"][0]


def test_the_result_says_what_it_is():
    """Kind, measure, rule, candidates in order, and where it comes from."""
    activity = simulated(n_trials=16)
    found = select_latents(activity, make_reducer("probabilistic_pca"), split(activity), n_latents=[3, 1])
    assert found["n_latents"].values.tolist() == [1, 3]
    assert found.attrs["kind"] == "latents" and found.attrs["session"] == "s" and found.attrs["n_trials"] == 16
    assert found.attrs["reducer"] == "ProbabilisticPCA()" and found["score"].attrs["units"] == "nats per bin"
    assert_allclose(found["score"], found["fold_score"].mean("fold"))


def test_two_workers_give_what_one_gives(map_over_processes):
    """The map is called once, over candidates and folds."""
    activity = simulated(n_trials=16)
    one, two = (
        select_latents(activity, make_reducer("factor_analysis"), split(activity), n_latents=[1, 2], map=which)
        for which in (map, map_over_processes)
    )
    xr.testing.assert_identical(one, two)


def test_what_cannot_be_measured_is_refused():
    """No candidates, one fold, an unknown measure, a reducer that lacks it or has no latents, constant units."""
    activity = simulated(n_trials=16)
    folds, reducer = split(activity), make_reducer("factor_analysis")
    with pytest.raises(SchemaError, match=r"n_latents must be whole numbers of at least 1, got \[0, 2\]"):
        select_latents(activity, reducer, folds, n_latents=[0, 2])
    with pytest.raises(SchemaError, match="a standard error needs at least two folds, got 1"):
        select_latents(activity, reducer, folds[:1], n_latents=[1, 2])
    with pytest.raises(UnknownName, match="there is no measure 'likelihood'"):
        select_latents(activity, reducer, folds, n_latents=[1], measure="likelihood")
    with pytest.raises(ConfigError, match="DemixedPCA cannot be measured by 'log_likelihood'. It has 'r2'"):
        select_latents(activity, make_reducer("demixed_pca"), folds, n_latents=[1], measure="log_likelihood")
    with pytest.raises(ConfigError, match="GaussianSmooth has no parameter n_latents"):
        select_latents(activity, GaussianSmooth(), folds, n_latents=[1])
    silent = activity.copy()
    silent.values[:, :, 4] = 2.0
    with pytest.raises(SchemaError, match="1 units never change in the training trials of fold 0 .first: 'u4'"):
        select_latents(silent, reducer, folds, n_latents=[1], measure="leave_unit_out")
