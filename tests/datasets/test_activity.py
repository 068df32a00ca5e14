"""Spikes and traces in bins around events: against slow rational arithmetic, at every edge, lazily."""

import math
from fractions import Fraction

import dask.array
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal

from mitral.datasets.activity import bin_spikes, to_hz, traces_around
from mitral.datasets.errors import SchemaError
from mitral.datasets.schema import make_session

RATES = (30_000.0, 24414.0625, 1000.0)


def a_session(event_s, ticks, unit, *, per_s=1000.0, n_units=3, recorded_s=(0.0, 100.0), limits=None):
    """Spikes and the events "onset"; ``limits`` are the recorded start and stop of each trial."""
    limits = dict(zip(("recorded_start", "recorded_stop"), limits, strict=True)) if limits else {}
    return make_session(
        "s1", "m1", trials={"odor": ["a"] * len(event_s), "onset": event_s} | limits,
        trial_units={"onset": "s"} | dict.fromkeys(limits, "s"), units={"unit": [f"u{u}" for u in range(n_units)]},
        recorded_s=recorded_s, spike_ticks=np.asarray(ticks, int), spike_unit=np.asarray(unit, int), ticks_per_s=per_s,
    )  # fmt: skip


def a_long_session(n_trials=120, n_spikes=5000, per_s=1000.0, seed=0):
    """More trials than one block of 50, in random order; one without event, one at either end of the recording."""
    rng = np.random.default_rng(seed)
    event_s = rng.permutation(np.linspace(0.0, 100.0, n_trials))
    event_s[7] = np.nan
    return a_session(event_s, rng.integers(0, int(100 * per_s), n_spikes), rng.integers(0, 3, n_spikes), per_s=per_s)


def a_trace_session(event_s, sample_s, trace, *, recorded_s=(0.0, 100.0)):
    """Samples and the events "onset"."""
    return make_session(
        "s1", "m1", trials={"onset": event_s}, trial_units={"onset": "s"}, recorded_s=recorded_s,
        units={"unit": [f"u{u}" for u in range(np.shape(trace)[1])]}, trace=trace, sample_time_s=sample_s,
    )  # fmt: skip


def exact(number):
    """A float at the value that it is written with."""
    return Fraction(repr(float(number)))


def slow_counts(session, window_s, bin_width_s):
    """Counts by the definition, spike by spike in rational arithmetic; NaN where a bin leaves the recording."""
    per_s = exact(session["spike_time"].attrs["ticks_per_s"])
    start, width = exact(window_s[0]), exact(bin_width_s)
    n_bins = int((exact(window_s[1]) - start) / width)
    out = np.zeros((session.sizes["trial"], n_bins, session.sizes["unit"]))
    for i, event_s in enumerate(session["onset"].values):
        names = ("recorded_start", "recorded_stop")
        limits = [session[n].values[i] for n in names] if names[0] in session else session.attrs["recorded_s"]
        for k in range(n_bins):
            low, high = start + k * width, start + (k + 1) * width
            half = 1 / per_s / 2
            if math.isnan(event_s) or exact(event_s) + low < exact(limits[0]) - half:
                out[i, k] = np.nan
            elif exact(event_s) + high > exact(limits[1]) + half:
                out[i, k] = np.nan
            else:
                event_tick = round(exact(event_s) * per_s)
                for tick, unit in zip(session["spike_time"].values, session["spike_unit"].values, strict=True):
                    out[i, k, unit] += low * per_s <= int(tick) - event_tick < high * per_s
    return out


@st.composite
def cuts(draw):
    """A session, a window and a bin width: events on and off the tick grid, many spikes on edges of bins."""
    per_s = draw(st.sampled_from(RATES))
    width = draw(st.sampled_from([0.01, 0.05, 0.1, 0.003, 0.7]))
    n_bins, first = draw(st.integers(1, 6)), draw(st.integers(-4, 3))
    window = (first * exact(width), (first + n_bins) * exact(width))
    event_tick = draw(st.lists(st.one_of(st.none(), st.integers(0, int(5 * per_s))), min_size=1, max_size=5))
    off_grid = draw(st.sampled_from([0, Fraction(1, 4), Fraction(-2, 5)]))
    event_s = [np.nan if t is None else max(0.0, float((t + off_grid) / exact(per_s))) for t in event_tick]
    edges = [
        (t or 0) + math.ceil((first + k) * exact(width) * exact(per_s)) + step
        for t in event_tick
        for k in range(n_bins + 1)
        for step in (-1, 0, 1)
    ]
    anywhere = st.integers(0, int(5 * per_s))
    ticks = draw(st.lists(st.one_of(st.sampled_from(edges), anywhere), max_size=30))
    ticks = [min(max(t, 0), int(5 * per_s)) for t in ticks]
    unit = draw(st.lists(st.integers(0, 2), min_size=len(ticks), max_size=len(ticks)))
    session = a_session(event_s, ticks, unit, per_s=per_s, recorded_s=(0.0, 5.0))
    return session, tuple(map(float, window)), width


def has_most_trials(expected, session):
    """Whether at least half of the events have a bin inside the recording; ``bin_spikes`` refuses the others."""
    happened = np.isfinite(session["onset"].values)
    usable = np.isfinite(expected).any(axis=(1, 2))
    return happened.any() and 2 * usable.sum() >= happened.sum()


@settings(max_examples=150)
@given(cuts())
def test_counts_are_those_of_slow_rational_arithmetic(cut):
    """Every spike in the bin where it belongs, NaN exactly where a bin leaves the recording or has no event."""
    session, window_s, width = cut
    expected = slow_counts(session, window_s, width)
    if has_most_trials(expected, session):
        activity = bin_spikes(session, event="onset", window_s=window_s, bin_width_s=width)
        assert_array_equal(activity, expected)
        assert (activity.dtype == np.float32) == bool(np.isnan(expected).any())
    else:
        with pytest.raises(SchemaError, match="NaN in all|lies inside the recording in"):
            bin_spikes(session, event="onset", window_s=window_s, bin_width_s=width)


@pytest.mark.parametrize("per_s", RATES)
def test_a_spike_on_an_edge_belongs_to_the_later_bin(per_s):
    """The tick at an edge, or the first after it, opens the bin; the tick before closes the last."""
    edge = math.ceil(exact(0.1) * exact(per_s))
    session = a_session([1.0], round(per_s) + np.array([edge - 1, edge, edge + 1]), [0, 1, 2], per_s=per_s)
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.2), bin_width_s=0.1)
    assert activity.values[0].tolist() == [[1, 0, 0], [0, 1, 1]]


def test_decimals_are_taken_at_their_written_value():
    """0.3 is 3 bins of 0.1 and 0.7 is 7, though floats say 2.9999999999999996 and 6.999999999999999."""
    assert 0.3 / 0.1 != 3 and 0.7 / 0.1 != 7
    session = a_session([1.0], [1299, 1300, 1699, 1700], [0, 1, 0, 1])
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.7), bin_width_s=0.1)
    assert activity.sizes["time"] == 7
    assert activity.values[0, 2].tolist() == [1, 0, 0] and activity.values[0, 3].tolist() == [0, 1, 0]
    assert activity.values[0, 6].tolist() == [1, 0, 0]


@given(st.lists(st.integers(0, 4999), max_size=50), st.sampled_from([1, 2, 5, 10, 50]))
def test_bins_that_tile_the_recording_conserve_counts(ticks, n_bins):
    """Each spike is counted once, for every width, when the window is the recording."""
    session = a_session([0.0], ticks, np.arange(len(ticks)) % 3, recorded_s=(0.0, 5.0))
    activity = bin_spikes(session, event="onset", window_s=(0.0, 5.0), bin_width_s=5.0 / n_bins)
    assert_array_equal(activity.sum(("trial", "time")), np.bincount(np.arange(len(ticks)) % 3, minlength=3))


@pytest.mark.parametrize("per_s", RATES)
def test_a_window_that_is_the_recording_is_whole(per_s):
    """No bin is lost to rounding where the recording's end is no tick."""
    session = a_session([1.0], [], [], per_s=per_s, recorded_s=(0.0, 2.0))
    activity = bin_spikes(session, event="onset", window_s=(-1.0, 1.0), bin_width_s=0.1)
    assert activity.dtype.kind == "u" and activity.sizes["time"] == 20


def test_trials_laid_end_to_end_are_whole():
    """In floats (0.3 k + 0.1) + 0.2 is now and then above 0.3 k + 0.3; the last bin is inside all the same."""
    start = np.array([0.3 * k for k in range(100)])
    stop, event = start + 0.3, start + 0.1
    assert np.any(event + 0.2 > stop)
    session = a_session(event, [], [], recorded_s=(0.0, 31.0), limits=(start, stop))
    activity = bin_spikes(session, event="onset", window_s=(-0.1, 0.2), bin_width_s=0.1)
    assert activity.dtype.kind == "u"


def test_bins_outside_the_recording_are_nan():
    """Before its start and past its end, bin by bin; the rest are counts."""
    session = a_session([2.0, 4.0, 9.5], [2500, 9700], [0, 0], recorded_s=(1.8, 10.0))
    activity = bin_spikes(session, event="onset", window_s=(-0.5, 1.0), bin_width_s=0.25)
    assert_array_equal(np.isnan(activity.values).all(axis=2).sum(axis=1), [2, 0, 2])
    assert_array_equal(np.isnan(activity.values[0, :, 0]), [True, True, False, False, False, False])
    assert_array_equal(np.isnan(activity.values[2, :, 0]), [False, False, False, False, True, True])
    assert activity.values[0, 4, 0] == 1 and activity.values[2, 2, 0] == 1


def test_only_what_was_recorded_of_a_trial_is_counted():
    """Trials laid end to end: a window that reaches into the next trial is NaN there, though spikes are there."""
    ticks = np.arange(0, 3000, 100)
    session = a_session(
        [0.5, 1.5, 2.5], ticks, np.zeros_like(ticks), recorded_s=(0.0, 3.0), limits=([0, 1, 2], [1, 2, 2.75])
    )
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.75), bin_width_s=0.25)
    assert_array_equal(activity.values[:, :, 0], [[3, 2, np.nan], [3, 2, np.nan], [3, np.nan, np.nan]])
    assert_array_equal(activity, slow_counts(session, (0.0, 0.75), 0.25))


def test_a_trial_without_the_event_is_nan():
    """It did not happen, so nothing was counted."""
    session = a_session([1.0, np.nan, 3.0], [1000, 3000], [0, 0])
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.1), bin_width_s=0.1)
    assert_array_equal(activity.values[:, 0, 0], [1, np.nan, 1])


def test_trials_may_stand_in_any_order():
    """Shuffling the trials shuffles the activity, and nothing else."""
    session = a_long_session()
    order = np.random.default_rng(1).permutation(session.sizes["trial"])
    cut = {"event": "onset", "window_s": (-0.5, 0.5), "bin_width_s": 0.1}
    xr.testing.assert_identical(
        bin_spikes(session.isel(trial=order), **cut), bin_spikes(session, **cut).isel(trial=order)
    )


def test_activity_carries_names_columns_and_units():
    """Coordinates of trials and units, bin centres in s, and attributes that say what was cut."""
    session = a_session([1.0, 2.0], [1000], [0]).assign_coords(area=("unit", ["OB", "OB", "PCx"]))
    activity = bin_spikes(session, event="onset", window_s=(-0.1, 0.2), bin_width_s=0.1)
    assert activity.dims == ("trial", "time", "unit") and activity.name == "activity"
    assert activity["time"].values.tolist() == [-0.05, 0.05, 0.15]
    assert activity["area"].values.tolist() == ["OB", "OB", "PCx"] and activity["odor"].dims == ("trial",)
    assert activity.attrs == {
        "session": "s1", "animal": "m1", "event": "onset", "window_s": [-0.1, 0.2], "bin_width_s": 0.1,
        "units": "spikes per bin", "averaged_over_trials": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "bin_width_s, dtype", [(0.01, np.uint8), (0.063, np.uint8), (0.064, np.uint16), (1.0, np.uint16), (20.0, np.uint32)]
)
def test_counts_take_the_smallest_type_that_holds_4000_hz(bin_width_s, dtype):
    """From the bin width alone, so that every session of a study has one type."""
    session = a_session([1.0], [1000], [0])
    activity = bin_spikes(session, event="onset", window_s=(0.0, bin_width_s), bin_width_s=bin_width_s)
    assert activity.dtype == dtype and activity.sum() == 1


def test_the_largest_count_of_a_type_is_kept():
    """255 fit in a byte; nothing wraps around."""
    session = a_session([1.0], np.r_[np.full(255, 1000), 50_000], np.zeros(256))
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.01), bin_width_s=0.01)
    assert activity.dtype == np.uint8 and activity.values[0, 0, 0] == 255


@pytest.mark.parametrize("is_lazy", [False, True])
def test_more_spikes_than_the_type_holds_are_refused(is_lazy):
    """Not wrapped around to a small count; the message names the session, the trial and the unit."""
    session = a_session(np.arange(60.0) + 1, np.r_[np.full(256, 58_000), 100, 90_000], np.full(258, 2))
    session = session.assign_coords(trial=np.arange(60) + 1000)
    with pytest.raises(SchemaError, match="session 's1', trial 1057: 256 spikes of the unit at position 2 in one bin"):
        session = chunked(session, 100) if is_lazy else session
        bin_spikes(session, event="onset", window_s=(0.0, 0.01), bin_width_s=0.01).compute()


def chunked(session, sizes):
    """Spikes lazy, in chunks of these sizes; all else in memory, as a store gives it."""
    variables = {name: session[name].variable for name in ("spike_time", "spike_unit")}
    lazy = {
        name: xr.Variable("spike", dask.array.from_array(v.values, chunks=(sizes,)), v.attrs)
        for name, v in variables.items()
    }
    return session.assign(lazy)


def with_index(session, per_block):
    """Chunked and indexed as the store does."""
    first = session["spike_time"].values[::per_block]
    index = xr.Variable("spike_block", first, {"spikes_per_block": per_block})
    return chunked(session, per_block).assign(spike_index=index)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=12), st.integers(0, 10), st.sampled_from(RATES))
def test_lazy_counts_equal_counts_for_every_chunking(sizes, seed, per_s):
    """Chunks of any sizes, also empty ones, across trials of 3 blocks in random order."""
    session = a_long_session(n_spikes=sum(sizes), per_s=per_s, seed=seed)
    lazy = chunked(session, tuple(sizes))
    lazy["spike_unit"] = session["spike_unit"].chunk({"spike": -1})
    cut = {"event": "onset", "window_s": (-0.2, 0.4), "bin_width_s": 0.2}
    activity = bin_spikes(lazy, **cut)
    assert activity.chunks[0] == (50, 50, 20)
    xr.testing.assert_identical(activity.compute(), bin_spikes(session, **cut))


@pytest.mark.parametrize("per_block", [1, 7, 1000, 5000, 9999])
def test_lazy_counts_with_an_index_equal_counts(per_block):
    """Whole blocks and a last one that is shorter; one block alone; every spike a block."""
    session = a_long_session(n_spikes=5000 if per_block > 1 else 100)
    cut = {"event": "onset", "window_s": (-0.2, 0.4), "bin_width_s": 0.2}
    xr.testing.assert_identical(
        bin_spikes(with_index(session, per_block), **cut).compute(), bin_spikes(session, **cut)
    )


@pytest.mark.parametrize("kept", [slice(100, None), slice(0, 250), slice(200, 900), slice(37, None), slice(0, 0)])
def test_an_index_of_other_spikes_is_not_believed(kept):
    """Selecting spikes leaves ``spike_index`` as it was; counts are those of the spikes that are left."""
    session = with_index(a_long_session(n_spikes=1000).sortby("onset"), 100).isel(spike=kept)
    cut = {"event": "onset", "window_s": (-0.2, 0.4), "bin_width_s": 0.2}
    assert_array_equal(bin_spikes(session, **cut), bin_spikes(session.drop_vars("spike_index").compute(), **cut))


def test_cutting_computes_nothing(no_compute):
    """With the index of a store nothing is read before the activity is; without it, first spikes are read once."""
    session = a_long_session()
    cut = {"event": "onset", "window_s": (-0.2, 0.4), "bin_width_s": 0.2}
    with no_compute():
        activity = bin_spikes(with_index(session, 500), **cut)
        activity.isel(trial=slice(0, 10)).sel(unit=["u1"])
    with no_compute(at_most=1):
        bin_spikes(chunked(session, 500), **cut)


def test_a_session_that_is_lazy_throughout_gives_the_same():
    """``session.chunk(...)`` makes the columns lazy too."""
    session = a_long_session()
    cut = {"event": "onset", "window_s": (-0.2, 0.4), "bin_width_s": 0.2}
    xr.testing.assert_identical(bin_spikes(session.chunk({"spike": 500}), **cut).compute(), bin_spikes(session, **cut))


def test_a_trial_reads_only_the_chunks_that_it_touches():
    """20 chunks of about 5 s, one trial of 1 s: the chunk that holds it, and one more if it crosses an edge."""
    session, read = with_index(a_long_session().isel(trial=[0]), 250), []
    session = session.assign_coords(onset=("trial", [50.0], {"units": "s"}))
    counted = session["spike_time"].data.map_blocks(lambda block: (read.append(block[0]), block)[1], dtype=np.int64)
    session["spike_time"] = ("spike", counted, session["spike_time"].attrs)
    read.clear()
    bin_spikes(session, event="onset", window_s=(-0.5, 0.5), bin_width_s=0.5).compute()
    assert 1 <= len(read) <= 2 and 45_000 < min(read) <= max(read) < 50_500


def test_rates_are_counts_over_the_bin_width():
    """float32, NaN stay NaN, the units say Hz; a rate is not divided twice."""
    session = a_session([1.0, 99.99], [1000, 1001], [0, 0])
    rates = to_hz(bin_spikes(session, event="onset", window_s=(0.0, 0.02), bin_width_s=0.01))
    assert_allclose(rates.values[:, :, 0], [[200, 0], [0, np.nan]])
    assert rates.dtype == np.float32 and rates.attrs["units"] == "Hz" and rates.attrs["event"] == "onset"
    with pytest.raises(SchemaError, match="'s1' is in 'Hz', not in spikes per bin"):
        to_hz(rates)


def slow_means(session, window_s, bin_width_s):
    """Mean of the samples of each bin, sample by sample; NaN where there is none, or one is NaN."""
    start, width = exact(window_s[0]), exact(bin_width_s)
    n_bins = int((exact(window_s[1]) - start) / width)
    out = np.full((session.sizes["trial"], n_bins, session.sizes["unit"]), np.nan)
    start_s, stop_s = session.attrs["recorded_s"]
    for i, event_s in enumerate(session["onset"].values):
        for k in range(n_bins):
            low, high = exact(event_s) + start + k * width, exact(event_s) + start + (k + 1) * width
            mine = [j for j, t in enumerate(session["sample_time"].values) if low <= exact(t) < high]
            if mine and low >= exact(start_s) and high <= exact(stop_s):
                out[i, k] = session["trace"].values[mine].mean(axis=0)
    return out


@st.composite
def trace_cuts(draw):
    """Samples at multiples of 10 ms with gaps, some NaN; events and windows on the same grid, so edges are hit."""
    at = sorted(draw(st.sets(st.integers(0, 300), min_size=1, max_size=60)))
    seed = draw(st.integers(0, 1000))
    trace = np.random.default_rng(seed).normal(size=(len(at), 2))
    trace[draw(st.lists(st.integers(0, len(at) - 1), max_size=3)), 1] = np.nan
    event_s = [t / 100 for t in draw(st.lists(st.integers(0, 300), min_size=1, max_size=5))]
    width, first, n_bins = draw(st.sampled_from([0.01, 0.03, 0.25])), draw(st.integers(-3, 2)), draw(st.integers(1, 5))
    window = (float(first * exact(width)), float((first + n_bins) * exact(width)))
    return a_trace_session(event_s, np.array(at) / 100, trace, recorded_s=(0.0, 3.0)), window, width


@settings(max_examples=100)
@given(trace_cuts())
def test_means_are_those_of_samples_taken_one_by_one(cut):
    """Gaps give NaN, a NaN sample gives NaN in its unit and bin only, samples on edges belong to the later bin."""
    session, window_s, width = cut
    ends = [session["onset"].values + limit for limit in window_s]
    if not 2 * np.sum((ends[1] - width >= -1e-9) & (ends[0] + width <= 3.0 + 1e-9)) >= session.sizes["trial"]:
        return
    expected = slow_means(session, window_s, width)
    eager = traces_around(session, event="onset", window_s=window_s, bin_width_s=width)
    assert_allclose(eager, expected, rtol=1e-6, atol=1e-6)  # the means are float32
    for size in (1, 7, 1000):
        lazy = traces_around(session.chunk({"sample": size}), event="onset", window_s=window_s, bin_width_s=width)
        xr.testing.assert_identical(lazy.compute(), eager)


def test_mean_traces_keep_units_and_are_float32():
    """dF/F stays dF/F."""
    session = a_trace_session([1.0, 2.0], np.arange(400) / 100, np.ones((400, 2), np.float32), recorded_s=(0, 4))
    session["trace"].attrs["units"] = "dF/F"
    activity = traces_around(session, event="onset", window_s=(-0.5, 0.5), bin_width_s=0.25)
    assert activity.dtype == np.float32 and activity.attrs["units"] == "dF/F" and (activity == 1).all()


def test_cutting_traces_computes_nothing(no_compute):
    """Only the samples of the trials that are asked for are read, and not before."""
    n = 10_000
    session = a_trace_session(np.arange(1.0, 99), np.arange(n) / 100, np.arange(2.0 * n).reshape(n, 2))
    lazy = session.assign(trace=session["trace"].chunk({"sample": 100}))
    cut = {"event": "onset", "window_s": (-0.5, 0.5), "bin_width_s": 0.1}
    with no_compute():
        activity = traces_around(lazy, **cut)
        part = activity.isel(trial=slice(60, 70))
    assert activity.chunks[0] == (50, 48)
    assert_array_equal(part, traces_around(session, **cut).isel(trial=slice(60, 70)))


def test_trial_averaged_recordings_say_so():
    """One trial per condition; what is decoded from it has no trial-to-trial variability."""
    session = a_trace_session([0.5, 1.5], np.arange(20) / 10, np.ones((20, 2)), recorded_s=(0, 2))
    session.attrs["averaged_over_trials"] = True
    activity = traces_around(session, event="onset", window_s=(0.0, 0.5), bin_width_s=0.1)
    assert activity.attrs["averaged_over_trials"] is True


@pytest.mark.parametrize(
    "window_s, bin_width_s, match",
    [
        ((0.0, 0.25), 0.1, r"holds 2.5 bins, not a whole number.*nearest window is \(0, 0.2\)"),
        ((0.0, 0.26), 0.1, r"nearest window is \(0, 0.3\)"),
        ((1.0, 0.0), 0.1, r"start < stop and a positive bin width in s, got window_s=\(1, 0\)"),
        ((0.0, 0.0), 0.1, "start < stop"),
        ((0.0, 1.0), 0.0, "positive bin width in s, got .*bin_width_s=0"),
        ((0.0, 1.0), -0.1, "positive bin width"),
        ((0.0, np.nan), 0.1, "both finite and in s; got"),
        ((0.0, np.inf), 0.1, "both finite and in s; got"),
        ((0.0, 1.0), np.nan, "both finite and in s; got"),
        ((0.0, 1.0), None, "both finite and in s; got"),
        (0.5, 0.1, "window_s must be .start, stop.*got 0.5"),
        ((0.0, 0.5, 1.0), 0.1, "window_s must be"),
        (("a", "b"), 0.1, "window_s must be"),
        ((0.0, 500), 10, "500 s long and no trial can hold it: at most 100 s .*are these milliseconds"),
        ((0, 500), 0.01, "are these milliseconds"),
        ((0.0, 0.5), 10, r"wider than the window, window_s=\(0, 0.5\), bin_width_s=10. .*is one in milliseconds"),
        ((0.0, 0.001), 0.0001, r"shorter than a tick of the recording \(1/1000 s\)"),
    ],
)
def test_a_window_that_cannot_be_cut_is_refused(window_s, bin_width_s, match):
    """No whole bins, no order, no numbers, milliseconds for seconds in the window, the bins or both."""
    session = a_session([1.0, 2.0], [1000], [0])
    with pytest.raises(SchemaError, match=match):
        bin_spikes(session, event="onset", window_s=window_s, bin_width_s=bin_width_s)


@pytest.mark.parametrize(
    "event_s, match",
    [
        ([1000.0, 2000.0, 3000.0], "recording in 3 of 3 trials; in trial 0 the event is at 1000 s, and 0 to 100 s"),
        ([50.0, 1000.0, 2000.0], "recording in 2 of 3 trials; in trial 1 .*in seconds.*session.isel"),
        ([np.nan, np.nan, 1e300], "recording in 1 of 1 trials"),
        ([np.nan, np.nan, np.nan], "'onset' is NaN in all 3 trials"),
        ([np.arange(20) * 4e-3 + 1][0], "'onset' of 20 trials follow each other every 0.004 s"),
    ],
)
def test_events_that_were_not_recorded_are_refused(event_s, match):
    """On another clock, in milliseconds, divided into thousandths, or never; one stray event is NaN and no error."""
    session = a_session(event_s, [1000], [0])
    with pytest.raises(SchemaError, match=match):
        bin_spikes(session, event="onset", window_s=(0.0, 0.5), bin_width_s=0.1)


def test_a_stray_event_gives_nan_and_no_error():
    """A few trials past the end, however far, cost those trials only."""
    session = a_session([1.0, 2.0, 1e300, -5.0], [1000, 2000], [0, 0])
    activity = bin_spikes(session, event="onset", window_s=(0.0, 0.5), bin_width_s=0.5)
    assert_array_equal(activity.values[:, 0, 0], [1, 1, np.nan, np.nan])


def test_an_unknown_event_is_refused():
    """A column that is no time, or a name that is no column; the nearest event is named."""
    session = a_session([1.0], [1000], [0])
    for name in ("onst", "odor", "trial"):
        with pytest.raises(SchemaError, match=f"'{name}' is no event .*'onset'"):
            bin_spikes(session, event=name, window_s=(0.0, 0.5), bin_width_s=0.1)


def test_spikes_and_traces_are_not_confused():
    """The message names the function that fits."""
    cut = {"event": "onset", "window_s": (0.0, 0.5), "bin_width_s": 0.1}
    with pytest.raises(SchemaError, match=r"'s1' has no trace. Use bin_spikes"):
        traces_around(a_session([1.0], [1000], [0]), **cut)
    with pytest.raises(SchemaError, match=r"'s1' has no spikes. Use traces_around"):
        bin_spikes(a_trace_session([1.0], [0.0, 1.0], np.ones((2, 1))), **cut)


def test_selecting_units_before_cutting_is_refused():
    """Positions would count by other units; the activity is where units are selected."""
    session = a_session([1.0], [1000, 1001], [0, 2])
    cut = {"event": "onset", "window_s": (0.0, 0.5), "bin_width_s": 0.5}
    with pytest.raises(SchemaError, match="units are not those"):
        bin_spikes(session.isel(unit=[2]), **cut)
    assert bin_spikes(session, **cut).sel(unit=["u2"]).values.ravel().tolist() == [1]
