"""Labelled reduction: the reducer's numbers with the activity's names, and the fitted trials marked."""

import dask.array
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import TruncatedSVD
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import SchemaError
from mitral.datasets.preprocess import Flatten, GaussianSmooth, ZScore
from mitral.decode.reduce import reduce
from mitral.decode.steps import steps
from mitral.decode.trajectories import make_reducer
from mitral.decode.trajectories.pca import PCA
from mitral.decode.trajectories.per_bin import PerBin


def test_latents_are_those_of_the_reducer(make_activity):
    """The labelled layer computes nothing of its own."""
    activity = make_activity()
    assert_array_equal(reduce(activity, PCA(2)).values, PCA(2).fit_transform(activity.values))


def test_names_of_trials_and_bins_are_kept(make_activity):
    """Trial columns, time and where it came from stay; units and their unit of measurement do not."""
    activity = make_activity()
    trajectory = reduce(activity, PCA(2))
    assert trajectory.dims == ("trial", "time", "latent")
    for name in ("trial", "time", "odor", "dose", "block"):
        assert_array_equal(trajectory[name], activity[name])
    kept = {name: activity.attrs[name] for name in ("session", "animal", "event", "bin_width_s", "window_s")}
    assert trajectory.attrs == kept | {
        "kind": "trajectory",
        "units": "a.u.",
        "reducer": "PCA(n_latents=2)",
        "n_units": 6,
        "explained_variance": PCA(2).fit(activity.values).explained_variance_ratio_.tolist(),
    }


def test_every_trial_is_marked_when_all_are_fitted(make_activity):
    """A trajectory for looking may not be scored on any of its trials."""
    assert reduce(make_activity(), PCA(2))["in_fit"].values.all()


def test_only_the_fitted_trials_are_marked_and_matter(make_activity):
    """Others are carried through the space that was learned without them."""
    activity = make_activity()
    fit_on = np.arange(40) < 25
    trajectory = reduce(activity, PCA(2), fit_on=fit_on)
    assert_array_equal(trajectory["in_fit"], fit_on)
    activity.values[~fit_on] *= 1e6
    assert_array_equal(reduce(activity, PCA(2), fit_on=fit_on).values[fit_on], trajectory.values[fit_on])
    assert_allclose(trajectory.values, PCA(2).fit(activity.values[fit_on]).transform(make_activity().values))


def test_a_pipeline_ends_in_the_reducer_that_explains(make_activity):
    """Explained variance is that of the last step, after what was done to the activity before."""
    activity = make_activity()
    trajectory = reduce(activity, make_pipeline(GaussianSmooth(1.0), make_pipeline(ZScore(), PCA(2))))
    scaled = make_pipeline(GaussianSmooth(1.0), ZScore()).fit_transform(activity.values)
    assert_allclose(trajectory.attrs["explained_variance"], PCA(2).fit(scaled).explained_variance_ratio_)


def test_a_reducer_that_explains_nothing_has_an_empty_list(make_activity):
    """Only what the reducer knows is said."""
    trajectory = reduce(make_activity(), PerBin(TruncatedSVD(2)))
    assert trajectory.attrs["explained_variance"] == []


def test_the_reducer_that_was_given_stays_unfitted(make_activity):
    """It is cloned."""
    reducer = make_reducer("pca", n_latents=2)
    reduce(make_activity(), reducer)
    assert not hasattr(reducer, "loadings_")


def test_a_lazy_activity_gives_the_same_and_is_computed_once(make_activity, no_compute):
    """Checks compute nothing."""
    activity = make_activity()
    lazy = activity.copy(data=dask.array.from_array(activity.values, chunks=(10, 2, 6)))
    reducer = PerBin(TruncatedSVD(2, random_state=0))
    with no_compute(at_most=1):
        xr.testing.assert_identical(reduce(lazy, reducer), reduce(activity, reducer))


def test_values_for_each_bin_are_handed_to_the_reducer(make_activity):
    """A target over time reaches the fit for the trials of the fit, and its name is kept."""

    class Listens(PCA):
        def fit(self, X, y=None):
            heard.append(y)
            return super().fit(X)

    heard, activity = [], make_activity()
    place = activity.isel(unit=0, drop=True).rename("place")
    trajectory = reduce(activity, Listens(2), target=place, fit_on=np.arange(40) < 30)
    assert_array_equal(heard[-1], place[:30])
    assert trajectory.attrs["target"] == "place"
    with pytest.raises(SchemaError, match="target 'place' has dims .*The first difference is in 'trial'"):
        reduce(activity, Listens(2), target=place[1:])
    with pytest.raises(SchemaError, match="The first difference is in 'time'"):
        reduce(activity, Listens(2), target=place[:, :1])


@pytest.mark.parametrize(
    ("fit_on", "said"),
    [
        (np.ones(39, bool), r"fit_on holds bool of shape \(39,\), expected \(40,\) bools"),
        (np.ones((40, 1), bool), r"shape \(40, 1\)"),
        (np.arange(40), r"fit_on holds int64 of shape \(40,\), expected \(40,\) bools"),
        (np.zeros(40, bool), "fit_on marks no trial, so there is nothing to fit on"),
    ],
    ids=["too short", "two axes", "positions", "none"],
)
def test_trials_to_fit_on_are_one_truth_for_each(make_activity, fit_on, said):
    """Incident: positions 0 ... 39 were read as truths, and all but the first trial were fitted on."""
    with pytest.raises(SchemaError, match=said):
        reduce(make_activity(), PCA(2), fit_on=fit_on)


@pytest.mark.parametrize("reducer", [PCA(2), make_pipeline(GaussianSmooth(1.0), PCA(2))], ids=["alone", "smoothed"])
def test_trials_with_nan_are_named_by_id(make_activity, reducer):
    """Not by their position among the fitted trials, and also where they are not fitted."""
    activity = make_activity()
    activity.values[3, 0, 0] = np.nan
    with pytest.raises(SchemaError, match="PCA needs a number in every bin, .*1 trials hold NaN .*: trial 103. Leave"):
        reduce(activity, reducer, fit_on=np.arange(40) >= 2)


def test_a_reducer_that_joins_bins_is_refused(make_activity):
    """A trajectory has a place for every trial and bin."""
    with pytest.raises(SchemaError, match=r"keeps trials and bins.* made \(40, 4\) of \(40, 2, 6\)"):
        reduce(make_activity(), make_pipeline(PCA(2), Flatten()))


def test_another_thing_than_an_activity_is_refused(make_activity):
    """A trajectory is not reduced again by mistake."""
    with pytest.raises(SchemaError, match=r"expected dims .*trial.*time.*unit"):
        reduce(reduce(make_activity(), PCA(2)), PCA(1))


def test_steps_see_through_pipelines_and_searches():
    """In order, without steps that pass everything on."""
    from sklearn.model_selection import GridSearchCV

    inner = make_pipeline(ZScore(), "passthrough", PCA(2))
    chain = make_pipeline(GaussianSmooth(1.0), GridSearchCV(inner, {"pca__n_latents": [1, 2]}))
    assert [type(step).__name__ for step in steps(chain)] == ["GaussianSmooth", "ZScore", "PCA"]
