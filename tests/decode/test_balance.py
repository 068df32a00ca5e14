"""Resampling inside the fold: equal classes, the same draw for the same seed, nothing of a test trial."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression

from mitral.datasets.errors import SchemaError, UnknownName
from mitral.datasets.folds import make_folds
from mitral.decode.balance import Balanced
from mitral.decode.decoders import make_decoder
from mitral.decode.score import cross_validate

Y = np.array(["a"] * 5 + ["b"] * 12 + ["c"] * 8)
X = np.random.default_rng(0).normal(size=(25, 3)) + (Y == "b")[:, None]


@pytest.mark.parametrize(("how", "n_each"), [("under", 5), ("over", 12)])
def test_classes_are_equal_in_training(how, n_each):
    """Down to the rarest without a trial twice, or up to the commonest with every trial kept."""
    fitted = Balanced(LogisticRegression(), how=how).fit(X, Y)
    assert np.unique(Y[fitted.used_], return_counts=True)[1].tolist() == [n_each] * 3
    if how == "under":
        assert len(set(fitted.used_)) == 15
    else:
        assert set(fitted.used_) == set(range(25))


@pytest.mark.parametrize("how", ["under", "over"])
def test_it_is_the_estimator_on_the_drawn_trials(how):
    """Predictions and probabilities are those of the estimator fitted on them; a seed repeats the draw."""
    fitted = Balanced(LogisticRegression(), how=how, random_state=3).fit(X, Y)
    plain = LogisticRegression().fit(X[fitted.used_], Y[fitted.used_])
    assert_array_equal(fitted.predict(X), plain.predict(X))
    assert_array_equal(fitted.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(fitted.decision_function(X), plain.decision_function(X))
    assert_array_equal(Balanced(LogisticRegression(), how=how, random_state=3).fit(X, Y).used_, fitted.used_)
    assert not np.array_equal(Balanced(LogisticRegression(), how=how, random_state=4).fit(X, Y).used_, fitted.used_)


def test_the_rare_class_is_found_again(make_activity):
    """5 of 45 trials: a decoder that knows shares hardly ever says the rare odor; balanced, it is found more often."""
    activity = make_activity(n_trials=90, n_units=4, n_times=1, strength=0.6, seed=1)
    is_kept = (activity["odor"].values != "odor 1") | (np.arange(90) % 4 == 0)
    activity = activity.isel(trial=np.flatnonzero(is_kept))
    folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    decoder = make_decoder("logistic")
    plain, balanced = (
        cross_validate(activity, "odor", each, folds)["confusion"].values for each in (decoder, Balanced(decoder))
    )
    assert balanced[1, 1] / balanced[1].sum() > plain[1, 1] / plain[1].sum() + 0.1


def test_steps_on_three_axes_are_handed_three_axes(make_activity):
    """A pipeline that begins with a smoother works inside."""
    from sklearn.pipeline import make_pipeline

    from mitral.datasets.preprocess import BoxcarSmooth, Flatten

    activity = make_activity(n_trials=30, n_times=4)
    chain = Balanced(make_pipeline(BoxcarSmooth(), Flatten(), make_decoder("nearest_centroid")))
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    assert cross_validate(activity, "odor", chain, folds)["score"].notnull().all()


def test_bad_input_is_refused():
    """An unknown way, nothing to fit, labels of other trials, and no probabilities where there are none."""
    with pytest.raises(UnknownName, match="no way 'undr'. Nearest: 'under'"):
        Balanced(LogisticRegression(), how="undr").fit(X, Y)
    with pytest.raises(SchemaError, match="needs a classifier"):
        Balanced().fit(X, Y)
    with pytest.raises(SchemaError, match="25 trials and 24 labels"):
        Balanced(LogisticRegression()).fit(X, Y[1:])
    assert not hasattr(Balanced(make_decoder("linear_svm")), "predict_proba")
