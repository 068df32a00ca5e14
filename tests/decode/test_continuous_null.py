"""Nulls of decoding over time: the shifted target through the whole chain, fast and slow alike, honest on noise."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import folds_from_splitter, make_folds
from mitral.decode import continuous_null
from mitral.decode.continuous import cross_validate_continuous
from mitral.decode.continuous_null import with_continuous_null
from mitral.decode.decoders import make_decoder


def smooth(rng, shape, memory):
    """Autoregressive noise along the first axis, of variance one."""
    out = rng.normal(size=shape)
    for step in range(1, shape[0]):
        out[step] = memory * out[step - 1] + np.sqrt(1 - memory**2) * out[step]
    return out


@pytest.fixture
def recording(make_activity):
    """A function that makes activity and target over time of one session in 6 trials, and three folds."""

    def make(*, seed=0, strength=0.0, n_outputs=None, holes=False, memory=0.9):
        rng = np.random.default_rng(seed)
        activity = make_activity(n_trials=6, n_times=60)
        outputs = smooth(rng, (360, n_outputs or 1), memory)
        values = smooth(rng, (360, 6), memory) + strength * outputs[:, :1]
        activity = activity.copy(data=values.reshape(6, 60, 6))
        truth = outputs.reshape(6, 60, -1)
        if holes:
            activity.values[1, 50:] = np.nan
            truth[2, 3:5] = np.nan
        dims = ("trial", "time") if n_outputs is None else ("trial", "time", "output")
        coords = {"trial": activity["trial"], "time": activity["time"]}
        target = xr.DataArray(truth[:, :, 0] if n_outputs is None else truth, dims=dims, coords=coords, name="place")
        return activity, target, folds_from_splitter(activity, KFold(3), target="block")

    return make


def null_of(recording, estimator, **asked):
    """The result with its null."""
    activity, target, folds = recording
    result = cross_validate_continuous(activity, target, estimator, folds)
    asked = {"min_shift_s": 3.0, "n_permutations": 9, "random_state": 0} | asked
    return with_continuous_null(result, activity, target, estimator, folds, **asked)


@pytest.mark.parametrize("estimator", [Ridge(1.0), RidgeCV([0.1, 100.0]), make_pipeline(StandardScaler(), Ridge(5.0))])
@pytest.mark.parametrize("n_outputs", [None, 2])
@pytest.mark.parametrize("holes", [False, True])
def test_the_closed_form_is_the_loop(recording, estimator, n_outputs, holes, monkeypatch):
    """Scores of every shift agree to 1e-8, with several outputs and with bins that are absent."""
    made = recording(strength=0.3, n_outputs=n_outputs, holes=holes)
    fast = null_of(made, estimator)["null_score"].values
    monkeypatch.setattr(continuous_null, "value_solver_for", lambda estimator: None)
    assert_allclose(fast, null_of(made, estimator)["null_score"].values, atol=1e-8)


@pytest.mark.parametrize("name", ["wiener", "ridge"])
def test_the_null_is_the_whole_chain_on_the_shifted_target(recording, name):
    """Each null score is what ``cross_validate_continuous`` gives for the target rolled over the session."""
    activity, target, folds = made = recording(strength=0.3)
    estimator = make_decoder(name)
    result = null_of(made, estimator, n_permutations=400)
    assert result.sizes["permutation"] == 360 - 2 * 30 + 1
    for shift in (0, 117):
        rolled = target.copy(data=np.roll(target.values.ravel(), 30 + shift).reshape(6, 60))
        again = cross_validate_continuous(activity, rolled, estimator, folds).attrs["score_mean"]
        assert_allclose(result["null_score"].values[shift], again, atol=1e-8)
        if name == "ridge":
            break
    b = np.sum(result["null_score"].values >= result.attrs["score_mean"])
    assert_allclose(result.attrs["p_value"], (b + 1) / 302)
    assert "shifted in time" in result.attrs["null_scheme"]


def test_batches_change_nothing(recording, monkeypatch):
    """A few shifts at a time give what all at once give."""
    made = recording(strength=0.3)
    whole = null_of(made, Ridge())
    monkeypatch.setattr(continuous_null, "PREDICTIONS_AT_ONCE", 2500)
    xr.testing.assert_allclose(null_of(made, Ridge()), whole, atol=1e-12)


def test_a_code_of_the_target_is_beyond_its_null(recording):
    """A target that the units follow has the smallest p."""
    assert null_of(recording(strength=1.0), Ridge(), n_permutations=99).attrs["p_value"] == 1 / 100


def test_stationary_noise_that_changes_slowly_is_not_found(recording):
    """150 recordings, both sides slow (0.9 a bin) and independent: p at most 0.05 in 0.05, standard error 0.018."""
    p = [null_of(recording(seed=seed), Ridge(), n_permutations=39).attrs["p_value"] for seed in range(150)]
    assert np.mean(np.array(p) <= 0.05 + 1e-9) <= 0.05 + 3 * 0.018


def test_what_cannot_be_shifted_is_refused(recording, make_activity):
    """Too long and no shifts, other results, folds that are stratified or of other trials."""
    activity, target, folds = made = recording()
    with pytest.raises(SchemaError, match=r"0.1 to 18 s\), got 20.0"):
        null_of(made, Ridge(), min_shift_s=20.0)
    with pytest.raises(SchemaError, match="got 0.0"):
        null_of(made, Ridge(), min_shift_s=0.0)
    with pytest.raises(SchemaError, match="n_permutations must be at least 1"):
        null_of(made, Ridge(), n_permutations=0)
    asked = {"min_shift_s": 3.0, "n_permutations": 9, "random_state": 0}
    with pytest.raises(SchemaError, match="expected a result of cross_validate_continuous"):
        with_continuous_null(xr.Dataset(), activity, target, Ridge(), folds, **asked)
    result = cross_validate_continuous(activity, target, Ridge(), folds)
    with pytest.raises(SchemaError, match="test other trials"):
        with_continuous_null(result, activity, target, Ridge(), folds[:2], **asked)
    stratified = make_folds(activity, target="odor", n_folds=2, random_state=0)
    result = cross_validate_continuous(activity, target, Ridge(), stratified)
    with pytest.raises(SchemaError, match="stratified by the true labels"):
        with_continuous_null(result, activity, target, Ridge(), stratified, **asked)
