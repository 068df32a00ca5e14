"""Clocks whose offset, drift and pulses are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mitral.datasets.clocks import fit_clock, onsets_of
from mitral.datasets.errors import SchemaError


def rig(seed, *, n=600, offset=1234.5, drift_ppm=50.0, jitter_s=0.0005, lost=0.1, spurious=0.02):
    """Pulses at random intervals, seen by two clocks that each lose some and invent some: (reference, own)."""
    rng = np.random.default_rng(seed)
    true = np.cumsum(rng.uniform(2.0, 8.0, n))
    seen = []
    for shift, rate in ((offset, 1 + drift_ppm * 1e-6), (0.0, 1.0)):
        kept = true[rng.random(n) > lost]
        extra = rng.uniform(true[0], true[-1], int(spurious * n))
        seen.append(shift + rate * np.sort(np.r_[kept + rng.normal(0, jitter_s, len(kept)), extra]))
    return seen


@pytest.mark.parametrize("drift_ppm", [-200.0, 0.0, 50.0, 200.0])
@pytest.mark.parametrize("seed", range(5))
def test_offset_and_drift_are_recovered_to_under_a_millisecond_over_the_recording(seed, drift_ppm):
    """50 minutes, 10 % of the pulses lost on each side, 2 % spurious, jitter of 0.5 ms."""
    reference, own = rig(seed, drift_ppm=drift_ppm)
    clock = fit_clock(reference, own)
    at = np.linspace(own[0], own[-1], 100)
    assert np.abs(clock.to_reference(at) - (1234.5 + (1 + drift_ppm * 1e-6) * at)).max() < 0.001
    assert clock.n_matched > 0.95 * 0.9**2 * 600 and clock.wander_s < 0.001
    assert clock.drift_ppm == pytest.approx(drift_ppm, abs=0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-5e4, 5e4), st.floats(-300, 300))
def test_shared_pulses_without_jitter_give_the_line_back(seed, offset, drift_ppm):
    """Exact to the rounding of the times, whatever the offset and the drift."""
    own = np.cumsum(np.random.default_rng(seed).uniform(0.5, 3.0, 80))
    clock = fit_clock(offset + (1 + drift_ppm * 1e-6) * own, own)
    assert clock.n_matched == 80
    assert_allclose(clock.to_reference(own), offset + (1 + drift_ppm * 1e-6) * own, atol=1e-8)


def test_one_clock_may_have_seen_only_a_part():
    reference, own = rig(3, n=900)
    clock = fit_clock(reference, own[500:620])
    assert abs(clock.to_reference(own[560]) - (1234.5 + 1.00005 * own[560])) < 0.001


def test_a_drift_that_changes_shows_as_wander():
    """A clock that is 20 ms late in the middle: its line does not fit, and the report says so."""
    own = np.cumsum(np.random.default_rng(0).uniform(2.0, 8.0, 400))
    bent = own + 0.02 * np.sin(np.pi * own / own[-1])
    clock = fit_clock(bent, own, tolerance_s=0.03)
    assert clock.wander_s > 0.004 and "wander" in clock.describe()
    assert fit_clock(own, own).wander_s < 1e-9


def test_pulses_at_equal_intervals_are_ambiguous_and_refused():
    with pytest.raises(SchemaError, match="match at more than one offset .*whole intervals apart. Cut both"):
        fit_clock(np.arange(3.0, 103.0), np.arange(90.0))


def test_other_recordings_have_no_pulses_in_common():
    rng = np.random.default_rng(0)
    first, second = (np.cumsum(rng.uniform(20.0, 80.0, 12)) for _ in range(2))
    with pytest.raises(SchemaError, match="no pulses in common: 12 pulses .* and 12 .*Check that both are onsets"):
        fit_clock(first, second, tolerance_s=0.001)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.0, 2.0, 3.0], r"own clock has pulses of shape \(3,\); expected a list of at least 4"),
        ([1.0, 2.0, 1.5, 3.0, 4.0], "own clock runs backwards or stands still: pulse 2 is at 1.5 s after 2 s"),
        ([1.0, 2.0, 2.0, 3.0], "pulse 2 is at 2 s after 2 s. Split the recording"),
        ([1.0, np.nan, 2.0, 3.0], "pulse 1 is at nan"),
    ],
)
def test_a_broken_clock_is_refused(times, message):
    with pytest.raises(SchemaError, match=message):
        fit_clock(np.cumsum(np.random.default_rng(0).uniform(1, 2, 50)), np.array(times))


def test_onsets_are_interpolated_to_the_crossing():
    """A ramp of one unit per second through 0.5, sampled at 10 Hz off its grid."""
    time = np.arange(0, 2, 0.1) + 0.033
    assert_allclose(onsets_of(time, time, threshold=0.5), [0.5], atol=1e-12)


@pytest.mark.parametrize(
    ("signal", "message"),
    [(np.zeros(5), "runs from 0 to 0 and never rises through 1"), (np.zeros((2, 2)), "are two lists of one length")],
)
def test_a_line_without_onsets_is_refused(signal, message):
    with pytest.raises(SchemaError, match=message):
        onsets_of(signal, np.arange(5.0), threshold=1.0)
