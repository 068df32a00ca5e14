"""Sniffs of a simulated sensor whose inhalations are known."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets import bin_spikes, make_session
from mitral.datasets.errors import SchemaError
from mitral.datasets.simulate.rig import simulate_sniff
from mitral.datasets.sniff import (
    find_sniffs,
    inhalations,
    sniffs_as_trials,
    to_phase,
    to_time,
    with_first_inhalation,
)

NEGATIVE = {"sensor": "pressure", "inhalation_is": "negative"}


def session(time, values, *, valve=(2.0, 6.0, 10.0), spikes=(1000,)):
    """A session of one unit whose trials begin at ``valve``, with a sniff signal."""
    return make_session(
        "s",
        "m",
        trials={"odor": ["a"] * len(valve), "odor_onset": np.array(valve)},
        trial_units={"odor_onset": "s"},
        units={"unit": ["s/u0"]},
        recorded_s=(0.0, float(time[-1]) + 1),
        spike_ticks=np.array(spikes),
        spike_unit=np.zeros(len(spikes), int),
        ticks_per_s=1000,
        signals={"sniff": (time, values, "a.u.")},
    )


def share_found(seeds, **how):
    """Share of the true onsets with one within 5 ms, and of the onsets found that are near none."""
    found, n, spurious, n_said = 0, 0, 0, 0
    for seed in seeds:
        time, pressure, true, _ = simulate_sniff(random_state=seed, duration_s=120.0, **how)
        said, _, _ = inhalations(time, pressure, **NEGATIVE)
        apart = np.abs(true[:, None] - said)
        found, n = found + (apart.min(axis=1) < 0.005).sum(), n + len(true)
        spurious, n_said = spurious + (apart.min(axis=0) > 0.02).sum(), n_said + len(said)
    return found / n, spurious / n_said


def test_onsets_of_clean_sniffs_are_within_5_ms():
    """99 % of about 2,000 inhalations in 12 minutes; the standard error of a share of 0.99 is 0.002."""
    found, spurious = share_found(range(6))
    assert found >= 0.99 and spurious < 0.005


def test_onsets_with_noise_and_movement_are_within_5_ms():
    """95 % with noise of a twentieth of an inhalation and two swings a minute, each up to three inhalations high."""
    found, spurious = share_found(range(6), noise=0.05, artefacts_per_min=2.0)
    assert found >= 0.95 and spurious < 0.01


def test_the_sign_and_the_sensor_change_nothing_but_their_form():
    """A mirrored signal, and a thermistor: the integral of the flow, which warms and cools behind it."""
    time, pressure, true, ends = simulate_sniff(random_state=0, duration_s=60.0)
    onset, end, _ = inhalations(time, pressure, **NEGATIVE)
    mirrored, _, _ = inhalations(time, -3 * pressure + 7, sensor="flow", inhalation_is="positive")
    assert_allclose(mirrored, onset, atol=1e-9)
    warmth = np.cumsum(pressure) / 500
    thermal, _, _ = inhalations(time, warmth, sensor="thermistor", inhalation_is="negative")
    assert np.mean(np.abs(true[:, None] - thermal).min(axis=1) < 0.005) > 0.9
    assert np.median(np.abs(ends[:, None] - end).min(axis=1)) < 0.002


def test_a_gap_in_the_signal_lowers_the_quality_and_drops_nothing():
    time, pressure, true, ends = simulate_sniff(random_state=1, duration_s=20.0)
    pressure[(time > true[10] - 0.005) & (time < ends[10] + 0.005)] = np.nan
    onset, _, quality = inhalations(time, pressure, **NEGATIVE)
    inside = (onset > true[10] - 0.02) & (onset < ends[10])
    assert (quality[inside] == 0).all() and (quality > 0.3).mean() > 0.9


def test_the_first_inhalation_after_the_valve_and_its_lag_become_columns():
    """Lags are those of the true onsets; a valve after the last sniff has none and is named."""
    time, pressure, true, _ = simulate_sniff(random_state=2, duration_s=20.0)
    here = session(time, pressure, valve=(2.0, 6.0, 10.0, 19.99))
    sniffs = find_sniffs(here)
    done = with_first_inhalation(here, sniffs)
    expected = np.array([true[np.searchsorted(true, valve)] for valve in (2.0, 6.0, 10.0)])
    assert_allclose(done["inhalation_onset"].values[:3], expected, atol=0.005)
    assert_allclose(done["inhalation_lag"].values[:3], expected - [2.0, 6.0, 10.0], atol=0.005)
    assert np.isnan(done["inhalation_onset"].values[3]) and done.attrs["trials_without_inhalation"] == [3]
    assert bin_spikes(done, event="inhalation_onset", window_s=(0.0, 0.2), bin_width_s=0.1).sizes["trial"] == 4


def test_sniffs_become_trials_that_remember_theirs():
    """Three sniffs of each of three trials: numbers, groups, and onsets in order, within each trial."""
    time, pressure, true, _ = simulate_sniff(random_state=3, duration_s=20.0)
    here = session(time, pressure)
    many = sniffs_as_trials(here, find_sniffs(here), n_sniffs=3)
    assert many["of_trial"].values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert many["sniff_number"].values.tolist() == [1, 2, 3] * 3
    first = np.searchsorted(true, [2.0, 6.0, 10.0])
    assert_allclose(many["inhalation_onset"].values, np.ravel([true[k : k + 3] for k in first]), atol=0.005)
    assert bin_spikes(many, event="inhalation_onset", window_s=(0.0, 0.1), bin_width_s=0.1).sizes["trial"] == 9


def table(onset, end):
    """A sniff table of session s."""
    columns = {"inhalation_onset": ("sniff", np.array(onset)), "inhalation_end": ("sniff", np.array(end))}
    return xr.Dataset(columns | {"quality": ("sniff", np.ones(len(onset)))}, attrs={"session": "s"})


def test_warping_to_phase_and_back_is_exact():
    time, pressure, _, _ = simulate_sniff(random_state=4, duration_s=30.0)
    sniffs = find_sniffs(session(time, pressure))
    inside = np.linspace(sniffs["inhalation_onset"].values[0], sniffs["inhalation_onset"].values[-1], 5000)
    assert_allclose(to_time(to_phase(inside, sniffs), sniffs), inside, atol=1e-9)


def test_phase_counts_sniffs_and_aligns_the_ends_of_inhalations():
    sniffs = table([0.0, 0.4, 1.0, 1.5], [0.1, 0.7, 1.2, 1.6])  # shares 1/4, 1/2 and 2/5: the median is 2/5
    assert_allclose(to_phase(np.array([0.0, 0.1, 0.4, 0.7, 1.0, 1.5]), sniffs), [0, 0.4, 1, 1.4, 2, 3], atol=1e-9)
    assert np.isnan(to_phase(np.array([-0.1, 1.6]), sniffs)).all()


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (np.zeros(1000), NEGATIVE, "is 0 throughout, so there are no inhalations. Was the sensor connected"),
        (np.full(1000, np.nan), NEGATIVE, "holds no number"),
        (np.ones(1000), NEGATIVE | {"sensor": "nose"}, "sensor 'nose'; expected one of pressure, flow, thermistor"),
        (np.ones(1000), NEGATIVE | {"inhalation_is": "down"}, "must be 'negative' or 'positive', got 'down'"),
    ],
)
def test_a_signal_without_sniffs_is_refused(values, how, message):
    with pytest.raises(SchemaError, match=message):
        inhalations(np.arange(1000) / 500, values, **how)


def test_a_signal_that_is_too_slow_is_refused():
    with pytest.raises(SchemaError, match="the signal has 10 samples per s, and an onset needs at least"):
        inhalations(np.arange(100) / 10, np.sin(np.arange(100.0)), **NEGATIVE)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda s, t: find_sniffs(s, signal="snif"), "no signal 'snif' with a clock. .*sniff"),
        (lambda s, t: with_first_inhalation(s, t, event="valve"), "'valve' is no event"),
        (lambda s, t: with_first_inhalation(s, t.assign_attrs(session="x")), "these sniffs are of session 'x'"),
        (lambda s, t: with_first_inhalation(s, t, within_s=1e-6), "no trial has an inhalation within 1e-06 s"),
        (lambda s, t: sniffs_as_trials(s, t, n_sniffs=0), "n_sniffs must be at least 1, got 0"),
        (lambda s, t: sniffs_as_trials(s, t, n_sniffs=1, within_s=1e-6), "no trial has an inhalation within"),
        (lambda s, t: to_phase(np.zeros(2), t.isel(sniff=[0])), "phase needs two sniffs"),
    ],
)
def test_what_does_not_fit_is_refused(do, message):
    time, pressure, _, _ = simulate_sniff(random_state=5, duration_s=15.0)
    here = session(time, pressure)
    with pytest.raises(SchemaError, match=message):
        do(here, find_sniffs(here))


def test_a_rig_that_cannot_be_is_refused():
    with pytest.raises(SchemaError, match="expected at least 1 s at 50 Hz"):
        simulate_sniff(random_state=0, rate_hz=10.0)
