"""Leaks that are planted: each reads noise far above chance when it is made, and the package refuses or avoids it.

Every test has two halves: the mistake, made by hand, decodes noise (so the test could see it), and what the package
does instead stays at chance, or refuses. Chance is measured with its standard error over simulations.
"""

import numpy as np
import pytest
import xarray as xr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import LeakageError
from mitral.datasets.fold_kinds import blocked_folds
from mitral.datasets.folds import TEST, TRAIN, make_folds
from mitral.datasets.pool import pseudo_population
from mitral.datasets.purge import purged_folds
from mitral.decode.balance import Balanced
from mitral.decode.continuous import cross_validate_continuous
from mitral.decode.exchange import come_in_runs
from mitral.decode.nulls import with_null
from mitral.decode.pooled import cross_validate_pooled
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate
from mitral.decode.select_units import SelectUnits

N_SIMULATIONS = 12
LDA = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)


def noise(seed, *, n_trials=40, n_times=1, n_units=30, odor=None, session="s"):
    """Activity that knows nothing of the odor."""
    rng = np.random.default_rng([seed, len(session)])
    odor = rng.permutation(np.arange(n_trials) % 2) if odor is None else odor
    return xr.DataArray(
        rng.normal(size=(n_trials, n_times, n_units)),
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(n_trials),
            "time": (np.arange(n_times) + 0.5) * 0.1,
            "unit": [f"{session}/u{u}" for u in range(n_units)],
            "odor": ("trial", np.array(["lime", "musk"])[odor]),
        },
        attrs={"session": session, "animal": session, "event": "onset", "bin_width_s": 0.1, "units": "a.u."},
    )


def score(activity, estimator, folds, target="odor"):
    """Balanced accuracy over all test trials."""
    return cross_validate(activity, target, estimator, folds).attrs["score_mean"]


def folds_of(activity, seed=0, n_folds=5):
    """Stratified folds of single trials."""
    return make_folds(activity, target="odor", n_folds=n_folds, random_state=seed)


def mean_and_error(once, n_simulations=N_SIMULATIONS):
    """Mean over simulations and its standard error."""
    scores = np.array([once(seed) for seed in range(n_simulations)])
    return scores.mean(), scores.std(ddof=1) / np.sqrt(n_simulations)


def is_not_above_chance(once, chance=0.5, **asked):
    """Within three standard errors, or below: folds of few trials lie below chance."""
    mean, error = mean_and_error(once, **asked)
    return mean < chance + 3 * error


def test_selection_before_the_split():
    """20 of 500 units chosen on all trials read noise; chosen inside the fold they do not, and latents are marked."""

    def leaky(seed):
        activity = noise(seed, n_units=500)
        kept = SelectUnits(20).fit(activity.values, activity["odor"].values).kept_
        return score(activity.isel(unit=kept), LDA, folds_of(activity, seed))

    def honest(seed):
        activity = noise(seed, n_units=500)
        return score(activity, make_pipeline(SelectKBest(k=20), LDA), folds_of(activity, seed))

    assert mean_and_error(leaky)[0] > 0.75
    assert is_not_above_chance(honest)


def test_time_bins_of_one_trial_are_never_on_both_sides():
    """Bins as samples in shuffled folds read the trial; folds are over trials, for single bins and over time too."""

    def activity_with_trial_offsets(seed):
        activity = noise(seed, n_trials=24, n_times=15, n_units=10)
        offset = np.random.default_rng(seed + 100).normal(size=(24, 1, 10))
        return activity + 2 * offset

    def leaky(seed):
        activity = activity_with_trial_offsets(seed)
        X, y = activity.values.reshape(-1, 10), np.repeat(activity["odor"].values, 15)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        return cross_val_score(KNeighborsClassifier(5), X, y, cv=folds).mean()

    def honest(seed):
        activity = activity_with_trial_offsets(seed)
        place = np.where(activity["odor"].values == "lime", -1.0, 1.0)
        target = activity.isel(unit=0, drop=True).copy(data=np.tile(place[:, None], 15))
        folds = folds_of(activity, seed)
        result = cross_validate_continuous(activity, target, KNeighborsClassifier(5), folds)
        said = result["prediction"].values[folds.values == TEST]
        return np.mean(said == np.broadcast_to(target.values, (5, 24, 15))[folds.values == TEST])

    assert mean_and_error(leaky)[0] > 0.9
    assert is_not_above_chance(honest)


def test_a_pseudo_population_before_the_split():
    """Pseudo-trials split anew share trials: refused; drawn by hand they read noise, and split first they do not."""

    def cohort_of(seed):
        return {name: noise(seed, n_trials=12, n_units=20, session=name) for name in ("a", "bb", "ccc")}

    def leaky(seed):
        rng = np.random.default_rng(seed)
        odor = np.repeat(["lime", "musk"], 30)
        columns = []
        for activity in cohort_of(seed).values():
            own = [rng.choice(np.flatnonzero(activity["odor"].values == name)) for name in odor]
            columns.append(activity.values[own, 0])
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        return cross_val_score(LDA, np.hstack(columns), odor, cv=folds).mean()

    def honest(seed):
        cohort = cohort_of(seed)
        result = cross_validate_pooled(cohort, "odor", LDA, n_folds=3, n_repeats=2, random_state=seed)
        return result.attrs["score_mean"]

    assert mean_and_error(leaky)[0] > 0.75
    assert is_not_above_chance(honest)
    cohort = cohort_of(0)
    folds = {name: folds_of(each, n_folds=3) for name, each in cohort.items()}
    pool, _ = pseudo_population(cohort, folds, target="odor", random_state=0)
    with pytest.raises(LeakageError, match="matched for different folds"):
        folds_of(pool, n_folds=2)


def test_a_supervised_embedding_before_the_split():
    """One discriminant of all trials reads noise; marked, it is refused; inside the fold it is at chance."""

    def leaky(seed):
        activity = noise(seed, n_units=60)
        latent = LinearDiscriminantAnalysis().fit_transform(activity.values[:, 0], activity["odor"].values)
        by_hand = activity.isel(unit=[0]).copy(data=latent[:, None])
        return score(by_hand, LDA, folds_of(activity, seed))

    def honest(seed):
        activity = noise(seed, n_units=60)
        return score(activity, make_pipeline(LinearDiscriminantAnalysis(), LDA), folds_of(activity, seed))

    assert mean_and_error(leaky)[0] > 0.85
    assert is_not_above_chance(honest)
    activity = noise(0, n_times=3)
    with pytest.raises(LeakageError, match="fitted on 40 of the trials"):
        score(reduce(activity, SelectUnits(3, by="variance")), LDA, folds_of(activity))


RARE = np.array([0] * 32 + [1] * 8)


def test_resampling_before_the_split():
    """A rare class drawn again up to the common one, then split: copies train and test. Inside the fold they do not."""

    def leaky(seed):
        activity = noise(seed, odor=np.random.default_rng(seed).permutation(RARE))
        fitted = Balanced(LDA, how="over", random_state=seed).fit(activity.values[:, 0], activity["odor"].values)
        twice = activity.isel(trial=fitted.used_).assign_coords(trial=np.arange(64))  # new names hide the copies
        return score(twice, KNeighborsClassifier(1), folds_of(twice, seed))

    def honest(seed):
        activity = noise(seed, odor=np.random.default_rng(seed).permutation(RARE))
        chain = Balanced(KNeighborsClassifier(1), how="over", random_state=seed)
        return score(activity, chain, folds_of(activity, seed))

    assert mean_and_error(leaky)[0] > 0.7
    assert is_not_above_chance(honest)


@pytest.mark.parametrize("how", ["under", "over"])
def test_resampling_is_handed_no_test_trial(how):
    """The trials that a fold draws from are its training trials; tests are neither copied nor left out."""
    activity = noise(0, odor=np.random.default_rng(0).permutation(RARE))
    activity.values[:, 0, 0] = np.arange(40)
    folds = folds_of(activity)
    chain = Balanced(KNeighborsClassifier(1), how=how)
    for side in folds.values:
        fitted = chain.fit(activity.values[side == TRAIN, 0], activity["odor"].values[side == TRAIN])
        drawn = activity.values[side == TRAIN, 0, 0][fitted.used_].astype(int)
        assert not set(drawn) & set(np.flatnonzero(side == TEST))
    prediction = cross_validate(activity, "odor", chain, folds)["prediction"].values
    assert np.all((prediction >= 0) == (folds.values == TEST))


def slow(seed, n_trials=240):
    """Activity that drifts, and odors that change slowly: neighbours share both."""
    rng = np.random.default_rng(seed + 500)
    odor = np.cumsum(rng.random(n_trials) < 0.08) % 2
    drift = np.cumsum(rng.normal(size=(n_trials, 1, 5)), axis=0)
    return noise(seed, n_trials=n_trials, n_units=5, odor=odor) + drift


def test_neighbours_of_test_trials_under_slow_labels():
    """Drift and odors that change slowly: neighbours give a test trial away; a gap of 25 trials does not.

    The nearest neighbour in activity is the nearest trial in time. No p value comes out of shuffled trials either.
    """

    def with_attrs(seed):
        return slow(seed)

    def leaky(seed):
        activity = with_attrs(seed)
        return score(activity, KNeighborsClassifier(3), folds_of(activity, seed))

    def purged(seed):
        activity = with_attrs(seed)
        folds = purged_folds(activity, target="odor", n_folds=4, gap_trials=25)
        return score(activity, KNeighborsClassifier(3), folds)

    assert mean_and_error(leaky)[0] > 0.8
    assert is_not_above_chance(purged, n_simulations=20)
    for seed in range(3):
        activity = with_attrs(seed)
        folds = folds_of(activity)
        assert come_in_runs((activity["odor"].values == "musk").astype(int), None)
        result = cross_validate(activity, "odor", LDA, folds)
        assert any("Labels come in runs" in said for said in result.attrs["warnings"])
        result = with_null(result, activity, LDA, folds, n_permutations=19, random_state=0)
        assert "p_value" not in result.attrs


def test_a_gap_takes_more_of_the_drift_than_blocks_alone():
    """At the borders of contiguous blocks neighbours still train; the gap takes them out: scores there fall."""

    def at_borders(make_folds_of):
        right = []
        for seed in range(20):
            activity = slow(seed)
            folds = make_folds_of(activity)
            result = cross_validate(activity, "odor", KNeighborsClassifier(1), folds)
            edge = np.isin(np.arange(240) % 20, (0, 19)) & (np.arange(240) % 239 > 0)
            is_tested = (folds.values == TEST) & edge
            truth = np.broadcast_to(result["target"].values, is_tested.shape)[is_tested]
            right.append(np.mean(result["prediction"].values[is_tested] == truth))
        return np.mean(right)

    blocks = at_borders(lambda activity: blocked_folds(activity, target="odor", n_folds=4, n_blocks=12))
    gap = at_borders(lambda activity: purged_folds(activity, target="odor", n_folds=4, n_blocks=12, gap_trials=4))
    assert blocks > gap + 0.1
