"""What is a session and what is not, each refusal with a message that says what to do."""

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mitral.datasets.errors import SchemaError
from mitral.datasets.schema import as_ticks, check_activity, check_session, check_spikes, events, make_session


def arguments(**changed):
    """What makes a session of three trials, two units and 40 s; ``changed`` replaces parts of it."""
    usual = {
        "trials": {"odor": ["a", "b", "a"], "onset": [1.0, np.nan, 21.0]},
        "units": {"unit": ["s1/u0", "s1/u1"], "depth_um": [100.0, 200.0]},
        "trial_units": {"onset": "s"},
        "recorded_s": (0.0, 40.0),
        "spike_ticks": [500, 100, 3000, 39_000],
        "spike_unit": [1, 0, 0, 1],
        "ticks_per_s": 1000,
    }
    return usual | changed


def a_session(**changed):
    return make_session("s1", "m1", **arguments(**changed))


def a_trace_session(**changed):
    """The same with a trace of four samples and no spikes."""
    no_spikes = {"spike_ticks": None, "spike_unit": None, "ticks_per_s": None}
    trace = {"trace": np.arange(8.0).reshape(4, 2), "sample_time_s": [0.0, 10.0, 20.0, 30.0]}
    return a_session(**(no_spikes | trace | changed))


def an_activity(**attrs):
    """Three trials, four bins, two units."""
    return xr.DataArray(
        np.zeros((3, 4, 2)),
        dims=("trial", "time", "unit"),
        coords={"trial": [0, 1, 2], "time": [0.05, 0.15, 0.25, 0.35], "unit": ["u0", "u1"]},
        attrs={"session": "s1", "animal": "m1", "event": "onset", "bin_width_s": 0.1, "units": "Hz"} | attrs,
    )


def test_spikes_are_sorted_by_time_with_their_units():
    """Whatever the order they came in; spikes at one tick keep the order they had."""
    rng = np.random.default_rng(0)
    ticks, unit = rng.choice([100, 500, 900], 80), rng.integers(0, 2, 80)
    session = a_session(spike_ticks=ticks, spike_unit=unit)
    assert session["spike_time"].values.tolist() == sorted(ticks)
    for tick in (100, 500, 900):
        kept = session["spike_unit"].values[session["spike_time"].values == tick]
        assert kept.tolist() == unit[ticks == tick].tolist()


def test_positions_of_units_take_the_smallest_integer_type():
    """300 units need two bytes, 200 one."""
    for n_units, dtype in ((200, np.uint8), (300, np.uint16)):
        units = {"unit": [f"u{u}" for u in range(n_units)]}
        session = a_session(units=units, spike_ticks=[1], spike_unit=[n_units - 1])
        assert session["spike_unit"].dtype == dtype
        assert session["spike_time"].dtype == np.int64


def test_a_data_frame_serves_as_columns():
    """Text is text, missing text is empty, missing numbers are NaN, whole numbers stay whole."""
    frame = pd.DataFrame(
        {
            "odor": pd.Series(["a", None, "b"], dtype="string"),
            "lick": pd.Series([3, None, 5], dtype="Int64"),
            "block": pd.Series([1, 2, 3], dtype=object),
            "mixed": pd.Series(["x", 2, None], dtype=object),
            "raw": [b"x", b"y", b"z"],
            "hit": [True, False, True],
            "onset": [1.0, 2.0, 3.0],
        }
    )
    session = a_session(trials=frame)
    assert session["odor"].values.tolist() == ["a", "", "b"] and session["odor"].dtype.kind == "U"
    np.testing.assert_array_equal(session["lick"], [3.0, np.nan, 5.0])
    assert session["block"].values.tolist() == [1, 2, 3] and session["block"].dtype.kind == "i"
    assert session["mixed"].values.tolist() == ["x", "2", ""]
    assert session["raw"].values.tolist() == ["x", "y", "z"]
    assert session["hit"].dtype == bool


def test_trials_are_numbered_unless_they_have_numbers():
    """Ids of trials are whole numbers, in any order."""
    assert a_session()["trial"].values.tolist() == [0, 1, 2]
    trials = {"trial": [7, 3, 5], "onset": [1.0, 2.0, 3.0]}
    assert a_session(trials=trials)["trial"].values.tolist() == [7, 3, 5]


def test_attributes_are_all_there_and_known_ones_are_kept():
    """What is not known is empty, so that every session has the same attributes."""
    attrs = a_session(attrs={"date": "2026-01-01", "rig": 2}).attrs
    assert (attrs["session"], attrs["animal"], attrs["date"], attrs["rig"]) == ("s1", "m1", "2026-01-01", 2)
    assert attrs["licence"] == "" and attrs["schema"] == "session/1" and attrs["recorded_s"] == [0.0, 40.0]


def test_only_trial_columns_in_seconds_are_events():
    """A concentration has a unit and is no time; a unit column is no trial column."""
    trials = arguments()["trials"] | {"concentration": [1.0, 2.0, 3.0], "lick": [2.0, 3.0, 4.0]}
    session = a_session(trials=trials, trial_units={"onset": "s", "concentration": "ppm", "lick": "s"})
    assert events(session) == ["onset", "lick"]


def test_signals_keep_their_own_clock():
    """A signal of 5 samples beside 3 trials and 4 spikes, its time in s."""
    session = a_session(signals={"sniff": (np.arange(5) / 10, np.arange(5), "a.u.")})
    assert session["sniff"].dims == ("sniff_sample",) and session["sniff"].attrs == {"units": "a.u."}
    assert session["sniff_time"].values.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_session_may_have_no_spikes_at_all():
    """A silent recording is a recording."""
    session = a_session(spike_ticks=[], spike_unit=[])
    assert session.sizes["spike"] == 0 and check_spikes(session) is session


def test_a_trace_session_has_its_samples_in_seconds():
    """Imaging and photometry, without spikes."""
    session = a_trace_session(trace_units="dF/F")
    assert session["trace"].attrs == {"units": "dF/F"} and "spike_time" not in session
    assert check_session(session) is session and check_spikes(session) is session


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"trials": {"odor": []}, "trial_units": {}}, "no trials.*look at its source"),
        ({"trials": {}, "trial_units": {}}, "no trials"),
        ({"units": {"unit": []}, "spike_ticks": [], "spike_unit": []}, "no units"),
        ({"units": {"area": ["OB", "OB"]}}, "'unit' is missing. Every unit needs an id"),
        ({"units": {"unit": ["u", "u"]}}, "unit 'u' occurs 2 times"),
        ({"trials": {"trial": [1, 2, 2], "onset": [1, 2, 3]}}, "trial '2' occurs 2 times"),
        ({"trials": {"trial": [1.0, 2.0, 3.0], "onset": [1, 2, 3]}}, "trial ids must be integers, got float64"),
        ({"trials": {"odor": ["a", "b", "a"], "onset": [1.0, 2.0]}}, r"'onset' has shape \(2,\), expected \(3,\)"),
        ({"trials": {"odor": "a", "onset": [1.0, 2.0]}}, r"'odor' has shape \(\)"),
        ({"trials": {"odor": [["a"], ["b"]], "onset": [1, 2]}}, r"'odor' has shape \(2, 1\)"),
        ({"units": {"unit": ["u0", "u1"], "area": ["OB"]}}, r"'area' has shape \(1,\), expected \(2,\), one value"),
        ({"units": {"unit": ["u0", "u1"], "odor": ["x", "y"]}}, "column of units may not be called 'odor'"),
        ({"trials": {"time": [1, 2, 3], "onset": [1, 2, 3]}}, "may not be called 'time'.*Rename"),
        ({"trials": {"unit": [1, 2, 3], "onset": [1, 2, 3]}}, "may not be called 'unit'"),
        ({"units": {"unit": ["a", "b"], "trial": [1, 2]}}, "may not be called 'trial'"),
        ({"trial_units": {"onest": "s"}}, "trial_units names 'onest'.*Nearest: 'onset'"),
    ],
)
def test_wrong_columns_are_refused(changed, match):
    """Nothing missing, twice, of another length, or under a name that the session uses itself."""
    with pytest.raises(SchemaError, match=match):
        a_session(**changed)


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"spike_ticks": [0.5, 1.0, 2.0, 3.0]}, r"spike times must be integers .*got float64.*as_ticks"),
        ({"spike_unit": [0.0, 1.0, 1.0, 0.0]}, "spike units must be integers"),
        ({"spike_ticks": [1, 2, 3]}, r"spike times \(3,\) and spike units \(4,\)"),
        ({"spike_unit": None}, r"spike units \(\) must be two lists of one length"),
        ({"ticks_per_s": None}, "need ticks_per_s, a positive number; got None"),
        ({"ticks_per_s": 0}, "ticks_per_s, a positive number"),
        ({"ticks_per_s": float("nan")}, "ticks_per_s, a positive number"),
        ({"ticks_per_s": float("inf")}, "ticks_per_s, a positive number"),
        ({"ticks_per_s": "1000"}, "ticks_per_s, a positive number; got '1000'"),
        ({"spike_unit": [1, 0, 0, 2]}, "positions 0 to 2, but there are 2 units"),
        ({"spike_unit": [1, 0, 0, -1]}, "positions -1 to 1, but there are 2 units"),
        ({"spike_ticks": [-500, 100, 3000, 39_000]}, "run from -0.5 to 39 s, outside the recording"),
        ({"spike_ticks": [500, 100, 3000, 41_000]}, "outside the recording .*0 to 40 s.*true limits"),
        ({"spike_ticks": None}, "neither 'spike_time' nor 'trace'"),
    ],
)
def test_wrong_spikes_are_refused(changed, match):
    """Float ticks, wrong lengths, negative times, times past the end, units that are not there."""
    with pytest.raises(SchemaError, match=match):
        a_session(**changed)


@pytest.mark.parametrize(
    "limits", [(40.0, 0.0), (1.0, 1.0), (0.0, np.inf), (np.nan, 1.0), (0.0,), 40.0, None, ("0", "1")]
)
def test_limits_of_the_recording_must_be_two_numbers_in_order(limits):
    """Reversed, empty, infinite or not numbers: refused, with what came."""
    with pytest.raises(SchemaError, match=r"'recorded_s' must be \(start, stop\).*start < stop; got"):
        a_session(recorded_s=limits)


@pytest.mark.parametrize(
    "name, value", [("session", ""), ("session", "  "), ("animal", ""), ("animal", 7), ("session", None)]
)
def test_session_and_animal_need_names(name, value):
    """An empty name, or a number, is none."""
    names = {"session": "s1", "animal": "m1"} | {name: value}
    with pytest.raises(SchemaError, match=f"attribute '{name}' must be a name"):
        make_session(names["session"], names["animal"], **arguments())


@pytest.mark.parametrize(
    "trials, trial_units, match",
    [
        ({"onset": [1.0, np.inf, 2.0]}, {"onset": "s"}, "'onset' is infinite in trial 1. Use NaN"),
        ({"onset": ["1", "2", "x"]}, {"onset": "s"}, "'onset' must be numbers in s, got <U1"),
        ({"onset": [True, False, True]}, {"onset": "s"}, "'onset' must be numbers in s, got bool"),
        ({"concentration": [1.0, 2.0, 3.0]}, {}, "'concentration' has no unit. Say dilution, ppm or mol/L"),
        ({"recorded_start": [0, 1, 2]}, {"recorded_start": "s"}, "come together; only 'recorded_start'"),
        ({"recorded_stop": [0, 1, 2]}, {"recorded_stop": "s"}, "come together; only 'recorded_stop'"),
        (
            {"recorded_start": [0, 1, 2], "recorded_stop": [1, 2, 3]},
            {"recorded_start": "s"},
            "'recorded_stop' must be a trial column in s",
        ),
        (
            {"trial": [4, 5, 6], "recorded_start": [0, 3, 2], "recorded_stop": [1, 2, 3]},
            {"recorded_start": "s", "recorded_stop": "s"},
            "trial 5 was recorded from 3 to 2 s; .*Leave out trials",
        ),
        (
            {"recorded_start": [0.0, 1.0, np.nan], "recorded_stop": [1.0, 2.0, 3.0]},
            {"recorded_start": "s", "recorded_stop": "s"},
            "trial 2 was recorded from nan to 3.0 s",
        ),
    ],
)
def test_wrong_events_are_refused(trials, trial_units, match):
    """Times are finite numbers or NaN; limits of trials are whole, in order, in s; a concentration has a unit."""
    with pytest.raises(SchemaError, match=match):
        a_session(trials=trials, trial_units=trial_units)


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"trace": np.zeros((2, 4))}, r"trace has shape \(2, 4\).*\(4, 2\) by sample_time_s and the unit ids"),
        ({"trace": np.zeros(4)}, r"trace has shape \(4,\)"),
        ({"trace": np.full((4, 2), "x")}, "expected numbers"),
        ({"sample_time_s": None}, r"expected numbers .*\(1, 2\) by sample_time_s"),
        ({"sample_time_s": [0.0, 10.0, 10.0, 30.0]}, "'sample_time' must increase, in s; sample 2 is at 10.0"),
        ({"sample_time_s": [np.nan, 1.0, 2.0, 3.0]}, "sample 0 is at nan"),
        ({"sample_time_s": [0.0, 1.0, 2.0, np.inf]}, "sample 3 is at inf"),
        ({"sample_time_s": [0.0, 1e4, 2e4, 3e4]}, "from 0 to 30000 s, the recording from 0 to 40 s. Is .* in seconds"),
        ({"trace": np.zeros((0, 2)), "sample_time_s": []}, "samples of 'trace' are none"),
    ],
)
def test_wrong_traces_are_refused(changed, match):
    """Another shape, a clock that does not increase, milliseconds for seconds."""
    with pytest.raises(SchemaError, match=match):
        a_trace_session(**changed)


@pytest.mark.parametrize(
    "name, signal, match",
    [
        ("sniff", ([0.0, 1.0], [1.0], "a.u."), r"times \(2,\) and values \(1,\)"),
        ("sniff", ([0.0, 0.0], [1.0, 2.0], "a.u."), "must be finite and increase"),
        ("sniff", ([0.0, np.nan], [1.0, 2.0], "a.u."), "must be finite and increase"),
        ("onset", ([0.0], [1.0], "a.u."), "a signal may not be called 'onset'"),
        ("trace", ([0.0], [1.0], "a.u."), "a signal may not be called 'trace'"),
        ("spike", ([0.0], [1.0], "a.u."), "a signal may not be called 'spike', 'spike' is in use"),
    ],
)
def test_wrong_signals_are_refused(name, signal, match):
    """Two lengths, a clock that does not increase, a name that the session uses."""
    with pytest.raises(SchemaError, match=match):
        a_session(signals={name: signal})


def test_milliseconds_for_seconds_are_implausible():
    """Spikes of a unit that are never within half a second of each other; said, and not converted."""
    rng = np.random.default_rng(0)
    spike_ms = np.cumsum(rng.integers(2, 300, 1500))
    with pytest.raises(SchemaError, match="never closer than 2 s, among 1500 spikes.*milliseconds"):
        a_session(spike_ticks=spike_ms * 1000, spike_unit=np.zeros(1500, int), recorded_s=(0, 1e6))


def test_milliseconds_are_implausible_also_when_no_unit_has_a_thousand_spikes():
    """Many slow units together tell as much as one fast unit."""
    unit = np.arange(2000) % 20
    ticks = np.arange(2000) * 1000 * 100
    units = {"unit": [f"u{u}" for u in range(20)]}
    with pytest.raises(SchemaError, match="never closer than 2000 s, among 2000 spikes of 20 units"):
        a_session(units=units, spike_ticks=ticks, spike_unit=unit, recorded_s=(0, 1e6))


def test_one_close_pair_makes_a_slow_recording_plausible():
    """A unit that fires once in 10 s is slow, and not in milliseconds."""
    ticks = np.sort(np.r_[np.arange(1500) * 10_000, 100])
    assert a_session(spike_ticks=ticks, spike_unit=np.zeros(1501, int), recorded_s=(0, 1e6)).sizes["spike"] == 1501


@pytest.mark.parametrize("recorded_s", [(0.0, 0.4), (0.0, 400.0)])
def test_seconds_divided_by_a_thousand_are_implausible(recorded_s):
    """400 s of spikes within 0.4 s, whether or not the recording's limits were divided too."""
    rng = np.random.default_rng(0)
    ticks = rng.integers(0, 12_000, 4000)
    with pytest.raises(SchemaError, match="4000 spikes of unit 's1/u0' lie within 0.4 s, .* no neuron is as fast"):
        a_session(spike_ticks=ticks, spike_unit=np.zeros(4000, int), ticks_per_s=30_000, recorded_s=recorded_s)


@pytest.mark.parametrize("n_spikes", [5000, 100])
def test_ordinary_rates_are_plausible(n_spikes):
    """50 Hz over 100 s; and 100 spikes at one instant, which may be a burst."""
    ticks = np.random.default_rng(0).integers(0, 3_000_000, n_spikes) if n_spikes > 100 else np.zeros(100, int)
    session = a_session(spike_ticks=ticks, spike_unit=np.zeros(n_spikes, int), ticks_per_s=30_000, recorded_s=(0, 100))
    assert session.sizes["spike"] == n_spikes


def test_selecting_units_of_a_session_is_refused():
    """Positions in ``spike_unit`` would count by other units; the order of units matters too."""
    session = a_session()
    for broken in (session.isel(unit=[1]), session.isel(unit=[1, 0]), session.sel(unit=["s1/u0"])):
        with pytest.raises(SchemaError, match=r"units are not those that 'spike_unit' counts by.*activity.sel"):
            check_session(broken)


def test_selecting_trials_of_a_session_is_allowed():
    """Trials are cut one by one, so any of them may be left out."""
    part = a_session().isel(trial=[2, 0])
    assert check_session(part)["trial"].values.tolist() == [2, 0]


def test_checking_structure_computes_nothing(no_compute):
    """Spikes and traces may be larger than memory; columns may be lazy too."""
    limits = {"recorded_start": [0.0, 9.0, 20.0], "recorded_stop": [9.0, 20.0, 40.0]}
    trials, trial_units = arguments()["trials"] | limits, {"onset": "s"} | dict.fromkeys(limits, "s")
    session = a_session(
        trials=trials, trial_units=trial_units, trace=np.zeros((2, 2)), sample_time_s=[0.0, 1.0]
    ).chunk({"spike": 2, "sample": 1, "trial": 1})
    with no_compute():
        check_session(session)


def test_unsorted_spikes_are_found():
    """A file may hold what ``make_session`` would have sorted."""
    session = a_session()
    session["spike_time"].values[:] = [100, 3000, 500, 39_000]
    with pytest.raises(SchemaError, match="spike 2 is earlier than the one before it. Sort spikes"):
        check_spikes(session)


def without(session, name):
    """A copy without one attribute."""
    return session.drop_attrs(deep=False).assign_attrs({k: v for k, v in session.attrs.items() if k != name})


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda s: s["spike_time"], "expected a session .*got DataArray"),
        (lambda s: None, "expected a session .*got NoneType"),
        (lambda s: without(s, "licence"), "attribute 'licence' is missing. Expected session, animal"),
        (lambda s: without(s, "recorded_s"), "'recorded_s' must be"),
        (lambda s: s.assign_attrs(schema="session/9"), "schema is 'session/9', this version reads 'session/1'. Update"),
        (lambda s: s.assign_attrs(recorded_s=[9, 1]), r"start < stop; got \[9, 1\]"),
        (lambda s: s.drop_vars("spike_unit"), "must both be on dim 'spike'"),
        (lambda s: s.assign(spike_time=s.spike_time.astype(float)), "integer ticks and .* positions; got float64"),
        (lambda s: s.assign(spike_time=s.spike_time.drop_attrs()), "needs the attribute ticks_per_s"),
        (lambda s: s.drop_vars("trial"), "coordinate 'trial' is missing"),
        (lambda s: s.isel(trial=[]), "it has no trials"),
        (lambda s: s.assign(trace=(("unit", "sample"), np.zeros((2, 3)))), r"'trace' must be on \(sample, unit\)"),
        (lambda s: s.assign(trace=(("sample", "unit"), np.zeros((3, 2)))), "with a coordinate 'sample_time'"),
    ],
)
def test_a_broken_session_is_refused(spoil, match):
    """Attributes, dims, types and coordinates, in sessions that were not made by ``make_session``."""
    with pytest.raises(SchemaError, match=match):
        check_session(spoil(a_session()))


def test_an_activity_passes_unchanged_and_uncomputed(no_compute):
    """The check reads names and coordinates only."""
    activity = an_activity().chunk({"trial": 1})
    with no_compute():
        assert check_activity(activity) is activity
    assert isinstance(activity.data, dask.array.Array)


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda a: a.values, "expected an activity .*got ndarray"),
        (lambda a: a.transpose("unit", "time", "trial"), r"got \('unit', .*Use .transpose\('trial', 'time'"),
        (lambda a: a.isel(time=0), r"got \('trial', 'unit'\). Cut one from a session"),
        (lambda a: a.isel(trial=[]), "it has no trials. A selection may have left nothing"),
        (lambda a: a.isel(unit=[]), "it has no units"),
        (lambda a: without(a, "event"), "attribute 'event' is missing"),
        (lambda a: a.drop_vars("unit"), "coordinate 'unit' is missing"),
        (lambda a: a.drop_vars("time"), "coordinate 'time' is missing"),
        (lambda a: a.assign_coords(unit=["u", "u"]), "unit 'u' occurs 2 times"),
        (lambda a: a.assign_coords(trial=[1, 1, 2]), "trial '1' occurs 2 times"),
        (lambda a: a.isel(time=[0, 1, 3]), "not in order and equally spaced"),
        (lambda a: a.isel(time=[3, 2, 1]), "not in order and equally spaced"),
        (lambda a: a.assign_coords(time=[0.1, np.nan, 0.3, 0.4]), "not in order and equally spaced"),
    ],
)
def test_what_is_no_activity_is_refused(spoil, match):
    """Other dims, nothing left, repeated ids, bins that are not on a line."""
    with pytest.raises(SchemaError, match=match):
        check_activity(spoil(an_activity()))


def test_seconds_become_the_nearest_tick():
    """Exact for every tick of an hour at the usual rates."""
    for rate in (1000.0, 24414.0625, 30_000.0):
        ticks = np.random.default_rng(0).integers(0, int(3600 * rate), 10_000)
        np.testing.assert_array_equal(as_ticks(ticks / rate, rate), ticks)


@pytest.mark.parametrize("time", [np.nan, np.inf, -0.001, 1.7e18])
def test_times_that_are_no_ticks_are_refused(time):
    """NaN, infinity, before zero, or nanoseconds since 1970, with the position of the first."""
    with pytest.raises(SchemaError, match="spike 1 is at .*shift the clock, or drop"):
        as_ticks([0.5, time, 1.0], 30_000)
