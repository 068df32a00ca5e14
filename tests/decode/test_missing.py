"""Ragged trials, missing units and bins: the posterior is that of what is there."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mitral.decode.trajectories.missing import blocks, left_out, observed, smooth_trials

from .test_gaussian_chain import chain, dense


@pytest.fixture
def holed():
    """Nine trials of five units: three whole, three short, one without a unit, two with single holes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 7, 5)) + 3
    X[3:6, 5:] = np.nan
    X[6, :, 2] = np.nan
    X[7, 3] = X[8, 1, 4] = np.nan
    return X


def test_trials_with_the_same_holes_share_a_pattern(holed):
    """Five kinds of trial, each with the bins and units that it has, and its length."""
    data = observed(holed)
    assert len(data.present) == 5
    assert_array_equal(data.present[data.pattern], ~np.isnan(holed))
    assert_array_equal(data.n_bins[data.pattern], [7, 7, 7, 5, 5, 5, 7, 7, 7])
    assert_array_equal(data.values, np.nan_to_num(holed))


def test_each_trial_has_the_posterior_of_its_own_joint_gaussian(holed):
    """Means, covariances and log p(x), whatever is missing."""
    rng = np.random.default_rng(1)
    parameters = chain(rng, 2, 7)
    C, offset, R = rng.normal(size=(5, 2)), rng.normal(size=5), rng.uniform(0.5, 2, 5)
    data = observed(holed)
    found = smooth_trials(data, C, offset, R, *parameters)
    log_p = found.log_normaliser + left_out(data, offset, R).sum(axis=1)
    for trial, x in enumerate(holed):
        mean, cov, expected = dense(np.nan_to_num(x) - offset, C, R, ~np.isnan(x), parameters)
        assert_allclose(found.mean[trial], mean.reshape(7, 2), atol=1e-9)
        assert_allclose(found.cov[data.pattern[trial], 3], cov.reshape(7, 2, 7, 2)[3, :, 3], atol=1e-9)
        assert_allclose(log_p[trial], expected, rtol=1e-10)


def test_every_trial_is_in_one_block_and_padding_is_bounded():
    """Groups of 1 to 40 trials: each trial is counted once, and blocks are at most twice the trials."""
    group = np.random.default_rng(2).permutation(np.repeat(np.arange(40), np.arange(1, 41)))
    made = blocks(group)
    counted = np.concatenate([block.trials[block.counts > 0] for block in made])
    assert_array_equal(np.sort(counted), np.arange(len(group)))
    for block in made:
        assert_array_equal(group[block.trials], np.broadcast_to(block.groups[:, None], block.trials.shape))
    assert sum(block.trials.size for block in made) <= 2 * len(group)
