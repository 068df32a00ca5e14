"""Incidents that a review found: each was wrong once, and is held here."""

import dask.array
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.folds import folds_from_splitter, make_folds
from mitral.datasets.preprocess import Flatten, GaussianSmooth
from mitral.decode.decoders import make_decoder
from mitral.decode.intervals import with_interval
from mitral.decode.nulls import with_null
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate
from mitral.decode.trajectories import make_reducer

CENTROID = make_decoder("nearest_centroid")


@pytest.mark.parametrize(("name", "n_units"), [("ridge_classifier", 10), ("nearest_centroid", 100)])
def test_p_values_on_noise_with_stratified_folds_are_not_too_small(make_activity, name, n_units):
    """Of 100 recordings of noise at most 0.2 have p up to 0.2 (standard error 0.04, within 3), about chance.

    Incident: folds are stratified by the true labels and not by permuted ones, so the null lay below chance
    (ridge_classifier: null mean 0.38, true mean 0.48, 36 % of noise at p <= 0.2).
    """
    p_values, centre = [], []
    for seed in range(100):
        activity = make_activity(n_trials=20, n_times=1, n_units=n_units, seed=seed)
        folds = make_folds(activity, target="odor", n_folds=5, random_state=seed)
        decoder = make_decoder(name, **({"alpha": 1000.0} if name == "ridge_classifier" else {}))
        result = cross_validate(activity, "odor", decoder, folds)
        result = with_null(result, activity, decoder, folds, n_permutations=19, random_state=seed)
        p_values.append(result.attrs["p_value"])
        centre.append(float(result["null_score"].mean()))
    assert np.mean(np.array(p_values) <= 0.2 + 1e-9) < 0.2 + 3 * 0.04
    assert abs(np.mean(centre) - 0.5) < 0.01


def test_permuted_labels_leave_every_class_in_training(make_activity):
    """Four trials in two folds; some permutations train on one class, where scikit-learn fails."""
    activity = make_activity(n_trials=4, n_times=1, n_units=3)
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    result = cross_validate(activity, "odor", make_decoder("logistic"), folds)
    with_null(result, activity, make_decoder("logistic"), folds, n_permutations=30, random_state=0)


def test_a_null_on_other_folds_than_the_result_is_refused(make_activity):
    """The docstring says so."""
    activity = make_activity()
    two, four = (make_folds(activity, target="odor", n_folds=n, random_state=0) for n in (2, 4))
    with pytest.raises(SchemaError, match="folds"):
        result = cross_validate(activity, "odor", CENTROID, two)
        with_null(result, activity, CENTROID, four, n_permutations=2, random_state=0)


def test_an_old_p_value_does_not_stay(make_activity):
    """A second null with too few arrangements takes the first one's p away."""
    activity = make_activity()
    activity = activity.assign_coords(house=("trial", np.unique(activity["odor"], return_inverse=True)[1]))
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = cross_validate(activity, "odor", CENTROID, folds)
    for within in (None, "house"):
        result = with_null(result, activity, CENTROID, folds, n_permutations=3, random_state=0, within=within)
    assert "p_value" not in result.attrs


@pytest.mark.parametrize("name", ["target", "score", "prediction", "fold", "label"])
def test_trial_columns_may_be_called_as_variables_of_a_result(make_activity, name):
    """Xarray's ValueError is no message; the column is kept or refused by name."""
    activity = make_activity().assign_coords({name: ("trial", np.arange(40))})
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    assert cross_validate(activity, "odor", CENTROID, folds)["target"].dtype == np.int16


def test_a_trial_column_called_group_is_no_group_of_folds(make_activity):
    """The interval then resampled it, although the folds parted it."""
    activity = make_activity().assign_coords(group=("trial", np.arange(40) // 10))
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    result = with_interval(cross_validate(activity, "odor", CENTROID, folds), n_bootstrap=10, random_state=0)
    assert result.attrs["interval_over"] == "trials"


def test_a_search_over_three_axes_is_handed_three_axes(make_activity):
    """GridSearchCV has no tag of three axes; what is inside decides (next(steps(estimator)))."""
    activity = make_activity()
    chain = make_pipeline(GaussianSmooth(), Flatten(), CENTROID)
    search = GridSearchCV(chain, {"gaussiansmooth__sd_bins": [0.5, 1.0]}, cv=2)
    cross_validate(activity, "odor", search, make_folds(activity, target="odor", n_folds=4, random_state=0))


def test_units_of_a_trajectory_are_those_it_was_made_from(make_activity):
    """N_units counted latents."""
    activity = make_activity()
    fold = make_folds(activity, target="odor", n_folds=4, random_state=0).isel(fold=[0])
    trajectory = reduce(activity, make_reducer("pca", n_latents=2), fit_on=fold.values[0] == 1)
    assert cross_validate(trajectory, "odor", CENTROID, fold).attrs["n_units"] == 6


def test_an_animal_with_a_comma_is_one_animal(make_activity):
    """The name was split."""
    activity = make_activity(animal="mouse, brown")
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    assert cross_validate(activity, "odor", CENTROID, folds).attrs["n_animals"] == 1


def test_a_lazy_activity_is_computed_once(make_activity, no_compute):
    """It was computed for the check of NaN, and again for the decoder."""
    activity = make_activity()
    lazy = activity.copy(data=dask.array.from_array(activity.values, chunks=(10, 2, 6)))
    folds = make_folds(lazy, target="odor", n_folds=4, random_state=0)
    with no_compute(at_most=1):
        cross_validate(lazy, "odor", CENTROID, folds)


def test_a_fold_that_trains_on_one_class_is_refused(make_activity):
    """IndexError of scikit-learn."""
    activity = make_activity()
    fold = make_folds(activity, target="odor", n_folds=4, random_state=0).isel(fold=[0]).copy()
    fold.values[0, (activity["odor"].values == "odor 0") & (fold.values[0] == 1)] = 0
    with pytest.raises(SchemaError, match="fold 0"):
        cross_validate(activity, "odor", make_decoder("lda"), fold)


@pytest.mark.parametrize(
    ("target", "said"), [([2.0] * 40, "is 2.0 in all 40"), (["lime", "musk"] * 20, r"words \('lime'\)")]
)
def test_values_in_messages_are_plain(make_activity, target, said):
    """Np.float64(2.0) and np.str_('lime') are no words."""
    activity = make_activity().assign_coords(smell=("trial", target))
    folds = make_folds(activity, target="odor", n_folds=4, random_state=0)
    with pytest.raises(SchemaError, match=said):
        cross_validate(activity, "smell", make_decoder("ridge"), folds)


@pytest.mark.parametrize("path", ["math:pi", "builtins:dict", "os:system", "subprocess:run"])
def test_a_path_to_something_else_than_an_estimator_is_refused(path):
    """A configuration names a decoder; no function that it happens to name is called."""
    with pytest.raises(ConfigError, match=path):
        make_decoder(path, alpha=1)


def test_concentrations_are_decoded_as_numbers(make_activity):
    """Stratification took floats for no classes: log concentration could not be decoded."""
    activity = make_activity().assign_coords(level=("trial", np.tile([0.001, 0.01, 0.1, 1.0], 10)))
    folds = make_folds(activity, target="level", n_folds=5, random_state=0)
    assert cross_validate(activity, "level", make_decoder("ridge", alpha=1.0), folds).attrs["metric"] == "r2"


def test_a_null_on_repeated_folds_is_refused(make_activity):
    """Hardly any two trials are treated alike by repeated folds, so p was 0.38 for a score of 0.9."""
    activity = make_activity()
    splitter = RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=0)
    folds = folds_from_splitter(activity, splitter, target="odor")
    result = cross_validate(activity, "odor", CENTROID, folds)
    with pytest.raises(SchemaError, match="is tested in 2 folds, and a null by permutation needs"):
        with_null(result, activity, CENTROID, folds, n_permutations=3, random_state=0)
