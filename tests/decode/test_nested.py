"""Settings chosen inside the training side: equal to a plain double loop, blind to test trials, honest about groups."""

import json
from functools import partial

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import GroupKFold, ParameterGrid
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.fold_kinds import repeated_folds
from mitral.datasets.folds import TEST, TRAIN, folds_from_splitter, make_folds
from mitral.datasets.purge import purged_folds
from mitral.decode.exchange import exchange_groups, permutations
from mitral.decode.nested import cross_validate_nested, with_nested_null
from mitral.decode.score import cross_validate

SHRINKAGE = {"shrinkage": [0.05, 0.5, 0.95]}
LDA = LinearDiscriminantAnalysis(solver="lsqr")


def by_loops(X, y, estimator, sides, settings, score):
    """The same by plain scikit-learn: predictions (n_folds, n_trials) and chosen settings."""
    said, chosen = np.full(sides.shape, np.nan), []
    for f, outer in enumerate(sides):
        scores = []
        for setting in settings:
            truths, guesses = [], []
            for j, other in enumerate(sides):
                train, test = (outer == TRAIN) & (other == TRAIN), (outer == TRAIN) & (other == TEST)
                if j != f and test.any():
                    fitted = clone(estimator).set_params(**setting).fit(X[train], y[train])
                    truths, guesses = [*truths, y[test]], [*guesses, fitted.predict(X[test])]
            scores.append(score(np.concatenate(truths), np.concatenate(guesses)))
        chosen.append(int(np.argmax(scores)))
        fitted = clone(estimator).set_params(**settings[chosen[-1]]).fit(X[outer == TRAIN], y[outer == TRAIN])
        said[f, outer == TEST] = fitted.predict(X[outer == TEST])
    return said, chosen


@pytest.mark.parametrize(
    ("estimator", "settings"),
    [(LDA, SHRINKAGE), (KNeighborsClassifier(), {"n_neighbors": [1, 5], "p": [1, 2]}), (LinearSVC(), {"C": [1e-4, 1]})],
    ids=["closed form", "loop", "loop without probabilities"],
)
@pytest.mark.parametrize("group", [None, "block"])
def test_it_is_the_plain_double_loop(make_activity, estimator, settings, group):
    """Predictions, choices and score are those of two nested loops over scikit-learn fits."""
    activity = make_activity(n_trials=40, n_units=20, strength=0.4, n_times=1, seed=3)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0, group=group)
    result = cross_validate_nested(activity, "odor", estimator, folds, settings=settings)
    y = np.unique(activity["odor"], return_inverse=True)[1]
    tried = list(ParameterGrid(settings))
    said, chosen = by_loops(activity.values[:, 0], y, estimator, folds.values, tried, balanced_accuracy_score)
    assert_array_equal(result["chosen"], chosen)
    assert_array_equal(result["prediction"].values[folds.values == TEST], said[folds.values == TEST])
    pooled = said[folds.values == TEST]
    truth = np.broadcast_to(y, said.shape)[folds.values == TEST]
    assert_allclose(result.attrs["score_mean"], balanced_accuracy_score(truth, pooled))
    assert result.attrs["n_settings"] == len(tried) == result.sizes["setting"] == len(json.loads(result.settings))


def test_numbers_are_chosen_by_r2(make_activity):
    """A ridge penalty for a dose, by the plain double loop."""
    activity = make_activity(n_trials=30, n_units=8, n_times=1)
    activity.values[:] += 0.8 * activity["dose"].values[:, None, None] * np.arange(8)
    folds = folds_from_splitter(activity, GroupKFold(5), target="dose", group="block")
    result = cross_validate_nested(activity, "dose", Ridge(), folds, settings={"alpha": [0.1, 10.0, 1000.0]})
    tried = [{"alpha": alpha} for alpha in (0.1, 10.0, 1000.0)]
    said, chosen = by_loops(activity.values[:, 0], activity["dose"].values, Ridge(), folds.values, tried, r2_score)
    assert_array_equal(result["chosen"], chosen)
    assert_allclose(result["prediction"].values, said, atol=1e-8)


@pytest.mark.parametrize("kind", ["grouped", "purged", "repeated"])
def test_inner_folds_keep_apart_what_the_outer_folds_do(make_activity, kind):
    """By spying on every fit of the choosing: no group of a tested trial, and no neighbour of it, trains.

    The trap: inner folds that shuffle trials choose settings that know the block.
    """
    activity = make_activity(n_trials=60, n_units=3, n_times=1)
    activity.values[:, 0, 0] = np.arange(60)  # every trial can be told by its first feature
    if kind == "grouped":
        folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    elif kind == "purged":
        folds = purged_folds(activity, target="odor", n_folds=5, gap_trials=2)
    else:
        folds = repeated_folds(activity, target="odor", n_folds=3, n_repeats=2, random_state=0)
    Spy.seen = []
    cross_validate_nested(activity, "odor", Spy(), folds, settings={"setting": [1, 2]})
    outer = folds.values
    n_inner = 0
    for train, test in Spy.seen:
        assert not set(train) & set(test)
        if kind == "grouped":
            block = activity["block"].values
            assert not set(block[train]) & set(block[test])
        if kind == "purged":
            assert np.abs(train[:, None] - test).min() > 2
        is_outer = any(
            set(train) == set(np.flatnonzero(s == TRAIN)) and set(test) == set(np.flatnonzero(s == TEST)) for s in outer
        )
        n_inner += not is_outer
    assert n_inner == 2 * {"grouped": 10, "purged": 10, "repeated": 6}[kind]


class Spy(KNeighborsClassifier):
    """Remembers which trials it was fitted on and asked about."""

    seen: list = []

    def __init__(self, setting=1):
        super().__init__()
        self.setting = setting

    def fit(self, X, y):
        """Which trials, by their first feature."""
        self.fitted_ = X[:, 0].astype(int)
        return super().fit(X, y)

    def predict(self, X):
        """Which trials, by their first feature."""
        Spy.seen.append((self.fitted_, X[:, 0].astype(int)))
        return super().predict(X)


def test_test_trials_choose_nothing(make_activity):
    """Absurd activity and labels in the tested trials of a fold leave its choice as it was."""
    activity = make_activity(n_trials=40, n_units=20, n_times=1, strength=0.4)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    tested = folds.values[0] == TEST
    poisoned = activity.copy(data=np.where(tested[:, None, None], 1e4 * activity.values, activity.values))
    odor = activity["odor"].values.copy()
    odor[tested] = odor[tested][::-1]
    poisoned = poisoned.assign_coords(odor=("trial", odor))
    one, two = (cross_validate_nested(each, "odor", LDA, folds, settings=SHRINKAGE) for each in (activity, poisoned))
    assert one["chosen"].values[0] == two["chosen"].values[0]
    assert_array_equal(one["inner_score"].values[0], two["inner_score"].values[0])


def test_the_best_of_many_settings_is_above_chance_and_the_nested_score_is_not(make_activity):
    """Thirty settings that only draw other features, on noise: the best on the same folds is far above one half.

    Nested, 40 recordings of 60 trials give a mean within three standard errors, 0.065 / sqrt(40), of 0.5.
    """
    settings = {"seed": list(range(30))}
    best, nested = [], []
    for seed in range(40):
        activity = make_activity(n_trials=60, n_units=40, n_times=1, seed=seed)
        folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
        result = cross_validate_nested(activity, "odor", RandomFeature(), folds, settings=settings)
        nested.append(result.attrs["score_mean"])
        if seed < 8:
            scores = [cross_validate(activity, "odor", RandomFeature(s), folds).attrs["score_mean"] for s in range(30)]
            best.append(max(scores))
    assert np.mean(best) > 0.6
    assert abs(np.mean(nested) - 0.5) < 3 * 0.065 / np.sqrt(40)


class RandomFeature(LinearDiscriminantAnalysis):
    """The sign of one feature about its class means."""

    def __init__(self, seed=0):
        super().__init__()
        self.seed = seed

    def fit(self, X, y):
        """Means of the classes in the feature."""
        self.classes_ = np.unique(y)
        self.means_ = np.array([X[y == k, self.seed].mean() for k in self.classes_])
        return self

    def predict(self, X):
        """The nearest mean."""
        return self.classes_[np.abs(X[:, self.seed, None] - self.means_).argmin(axis=1)]


@pytest.mark.parametrize(
    ("estimator", "settings", "target"),
    [
        (LDA, SHRINKAGE, "odor"),
        (KNeighborsClassifier(), {"n_neighbors": [1, 7]}, "odor"),
        (Ridge(), {"alpha": [1.0, 100.0]}, "dose"),
    ],
    ids=["closed form", "loop", "numbers"],
)
def test_the_null_chooses_anew(make_activity, estimator, settings, target):
    """Each null score is what ``cross_validate_nested`` gives for that labeling."""
    activity = make_activity(n_trials=24, n_times=1)
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    result = cross_validate_nested(activity, target, estimator, folds, settings=settings)
    asked = {"settings": settings, "n_permutations": 4, "random_state": 1}
    result = with_nested_null(result, activity, estimator, folds, **asked)
    assert result.attrs["null_scheme"].endswith("settings chosen anew")
    values = activity[target].values
    values = np.unique(values, return_inverse=True)[1] if target == "odor" else values
    labelings = permutations(values, 4, 1, within=exchange_groups(activity, folds, None))
    for row, score in zip(labelings, result["null_score"].values, strict=True):
        moved = activity.assign_coords({target: ("trial", row)})
        again = cross_validate_nested(moved, target, estimator, folds, settings=settings)
        assert_allclose(score, again.attrs["score_mean"])


def test_probabilities_can_choose(make_activity):
    """A metric of probabilities is scored on them, inside and outside."""
    activity = make_activity(n_trials=40, strength=1.0, n_times=1)
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate_nested(activity, "odor", LDA, folds, settings=SHRINKAGE, metric="log_loss")
    assert_array_equal(result["chosen"], result["inner_score"].values.argmin(axis=1))
    assert_allclose(result["probability"].values[folds.values == TEST].sum(axis=1), 1.0)
    assert (
        with_nested_null(result, activity, LDA, folds, settings=SHRINKAGE, n_permutations=2, random_state=0).sizes[
            "permutation"
        ]
        == 2
    )


def test_two_workers_equal_one(make_activity, map_over_processes):
    """The number of processes changes nothing."""
    activity = make_activity(n_trials=24, n_times=1)
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    once = partial(cross_validate_nested, activity, "odor", LDA, folds, settings=SHRINKAGE)
    xr.testing.assert_identical(once(), once(map=map_over_processes))


def test_what_cannot_be_chosen_is_refused(make_activity):
    """Misspelt parameters, nothing to choose, twice the same, too few folds, a null of other settings."""
    activity = make_activity(n_trials=24, n_times=1)
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    once = partial(cross_validate_nested, activity, "odor", LDA)
    with pytest.raises(ConfigError, match="no parameter 'shrinkag'. Nearest: 'shrinkage'"):
        once(folds, settings={"shrinkag": [1]})
    with pytest.raises(ConfigError, match="a parameter and its values"):
        once(folds, settings={})
    with pytest.raises(ConfigError, match="shrinkage=0.5 is there twice"):
        once(folds, settings=[{"shrinkage": 0.5}, {"shrinkage": 0.5}])
    with pytest.raises(SchemaError, match="none of 1 leaves two classes"):
        once(make_folds(activity, target="odor", n_folds=2, random_state=0), settings=SHRINKAGE)
    result = once(folds, settings=SHRINKAGE)
    null = {"n_permutations": 2, "random_state": 0}
    with pytest.raises(SchemaError, match="was made with other settings"):
        with_nested_null(result, activity, LDA, folds, settings={"shrinkage": [0.1]}, **null)
