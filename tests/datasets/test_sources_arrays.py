"""Spike and trial tables of a folder, and every way in which they can be wrong."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitral.datasets.errors import ConfigError, SchemaError
from mitral.datasets.schema import events
from mitral.datasets.sources import read_sessions

SPIKES = "spike_time_s,unit\n0.5,10\n1.25,10\n0.1,2\n2.75,2\n3.9,2\n"
TRIALS = "odor,concentration_ppm,odor_onset_s,reward_s,block\nhexanal,10,1.0,1.5,a\nNone,0,2.0,,b\n"
UNITS = "unit,area,depth_um\n2,OB,100\n10,PCx,250\n07,PCx,300\n"


@pytest.fixture
def folder(tmp_path):
    """A right folder of tables, to be spoilt by each test."""
    tmp_path = tmp_path / "day1"
    tmp_path.mkdir()
    (tmp_path / "spikes.csv").write_text(SPIKES)
    (tmp_path / "trials.csv").write_text(TRIALS)
    return tmp_path


def read(folder, **options):
    """The one session of the folder."""
    (session,) = read_sessions("arrays", folder, **({"session": "s1", "animal": "m1"} | options))
    return session


def refused(folder, match, error=SchemaError, **options):
    """The folder is refused with these words."""
    with pytest.raises(error, match=match):
        read(folder, **options)


def spikes_of(session, unit):
    """Spike times in s of one unit."""
    place = session["unit"].to_numpy().tolist().index(unit)
    ticks = session["spike_time"].to_numpy()[session["spike_unit"].to_numpy() == place]
    return ticks / session["spike_time"].attrs["ticks_per_s"]


def test_each_unit_has_the_spikes_of_its_rows(folder):
    """Unit-sorted rows become time-sorted spikes, each still of its unit."""
    session = read(folder)
    np.testing.assert_array_equal(spikes_of(session, "s1/2"), [0.1, 2.75, 3.9])
    np.testing.assert_array_equal(spikes_of(session, "s1/10"), [0.5, 1.25])
    assert np.all(np.diff(session["spike_time"]) >= 0)


def test_units_without_a_table_are_in_natural_order(folder):
    """Unit 2 comes before unit 10."""
    assert read(folder)["unit"].to_numpy().tolist() == ["s1/2", "s1/10"]


def test_columns_that_end_in_s_are_events_and_an_empty_cell_is_nan(folder):
    """The reward that did not come is NaN; other columns keep their names and types."""
    session = read(folder)
    assert events(session) == ["odor_onset", "reward"]
    np.testing.assert_array_equal(session["reward"], [1.5, np.nan])
    assert session["block"].to_numpy().tolist() == ["a", "b"]


def test_an_odor_called_none_stays_text(folder):
    """What pandas takes for missing is a name here."""
    assert read(folder)["odor"].to_numpy().tolist() == ["hexanal", "None"]


@pytest.mark.parametrize("ending, unit", [("dilution", "dilution"), ("ppm", "ppm"), ("mol_per_l", "mol/L")])
def test_concentration_carries_the_unit_of_its_column(folder, ending, unit):
    """The column's name says the unit, and the values stay."""
    (folder / "trials.csv").write_text(TRIALS.replace("concentration_ppm", f"concentration_{ending}"))
    concentration = read(folder)["concentration"]
    assert concentration.attrs["units"] == unit
    np.testing.assert_array_equal(concentration, [10, 0])


def test_the_units_table_sets_order_columns_and_silent_units(folder):
    """A unit without a spike is kept, and "07" is not 7."""
    (folder / "units.csv").write_text(UNITS)
    session = read(folder)
    assert session["unit"].to_numpy().tolist() == ["s1/2", "s1/10", "s1/07"]
    assert session["area"].to_numpy().tolist() == ["OB", "PCx", "PCx"]
    assert spikes_of(session, "s1/07").size == 0


def test_npz_tables_equal_csv_tables(folder):
    """The same columns as arrays give the same session, but for the source's hash."""
    from_csv = read(folder)
    for name in ("spikes", "trials"):
        (folder / f"{name}.csv").unlink()
    np.savez(folder / "spikes.npz", spike_time_s=[0.5, 1.25, 0.1, 2.75, 3.9], unit=[10, 10, 2, 2, 2])
    np.savez(
        folder / "trials.npz", odor=["hexanal", "None"], concentration_ppm=[10, 0], odor_onset_s=[1.0, 2.0],
        reward_s=[1.5, np.nan], block=["a", "b"],
    )  # fmt: skip
    from_npz = read(folder)
    assert from_npz.attrs.pop("source_sha256") != from_csv.attrs.pop("source_sha256")
    assert from_npz.identical(from_csv)


def test_session_toml_states_what_options_overrule(folder):
    """Ids and the recording's limits can stand beside the tables."""
    (folder / "session.toml").write_text('session = "t"\nanimal = "m7"\nrecorded_s = [0, 9.5]\ndate = "2026-11-24"\n')
    (session,) = read_sessions("arrays", folder, animal="m8")
    assert (session.attrs["session"], session.attrs["animal"], session.attrs["date"]) == ("t", "m8", "2026-11-24")
    assert session.attrs["recorded_s"] == [0, 9.5]


def test_rounding_of_spike_times_is_reported(folder):
    """Times off the grid are rounded to it, and the session says by how much at most."""
    (folder / "spikes.csv").write_text("spike_time_s,unit\n0.0014,1\n2.5,1\n")
    session = read(folder, ticks_per_s=1000)
    assert session["spike_time"].to_numpy().tolist() == [1, 2500]
    assert session.attrs["dropped"] == ["Spike times were rounded to 1/1000 s, by at most 400 microseconds."]


def test_a_column_of_spikes_that_is_not_read_is_reported(folder):
    """Nothing is left out in silence."""
    (folder / "spikes.csv").write_text("spike_time_s,unit,amplitude\n0.5,1,80\n2.5,1,70\n")
    assert "column 'amplitude' was not read" in read(folder).attrs["dropped"][0]


def test_the_recording_ends_at_the_last_spike_unless_stated(folder):
    """Nothing tells that the recording went on in silence, so bins there must be NaN."""
    assert read(folder).attrs["recorded_s"] == pytest.approx([0, 3.9 + 1 / 30000])
    assert read(folder, recorded_s=(0, 20)).attrs["recorded_s"] == [0, 20]


def test_events_past_the_last_spike_are_counted(folder):
    """Some trials may lie past the last spike; the session says how many."""
    (folder / "trials.csv").write_text("odor,odor_onset_s\na,1\na,50\n")
    assert "1 of 2 times of event 'odor_onset' are outside" in read(folder).attrs["dropped"][0]
    assert read(folder, recorded_s=(0, 60)).attrs["dropped"] == []


def test_a_byte_order_mark_is_accepted(folder):
    """Excel writes one in front of UTF-8."""
    (folder / "spikes.csv").write_bytes(b"\xef\xbb\xbf" + SPIKES.encode())
    assert read(folder).sizes["spike"] == 5


def test_unicode_and_spaces_in_names_stay(folder):
    """Odd names of odors and units are names."""
    (folder / "spikes.csv").write_text('spike_time_s, unit\n0.5,"../ä b, c"\n2.5,"../ä b, c"\n', encoding="utf-8")
    (folder / "trials.csv").write_text("odor,odor_onset_s\nβ-ionone 1%,1\n", encoding="utf-8")
    session = read(folder)
    assert session["unit"].item() == "s1/../ä b, c"
    assert session["odor"].item() == "β-ionone 1%"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(0, 3)), min_size=1, max_size=30))
def test_ticks_survive_csv_in_any_order(folder, spikes):
    """Times on the grid of the recording come back exactly, however the rows are ordered."""
    rows = [f"{tick / 30000!r},{unit}" for tick, unit in spikes]
    (folder / "spikes.csv").write_text("spike_time_s,unit\n" + "\n".join(rows) + "\n")
    session = read(folder, recorded_s=(0, 2000))
    units = [name.removeprefix("s1/") for name in session["unit"].to_numpy()]
    back = zip(session["spike_time"].to_numpy().tolist(), session["spike_unit"].to_numpy(), strict=True)
    assert sorted((tick, units[place]) for tick, place in back) == sorted((tick, str(unit)) for tick, unit in spikes)


WRONG_SPIKES = {
    "nan": ("spike_time_s,unit\n0.5,1\nnan,1\n", "spikes.csv.*row 2: expected a spike time .* got 'nan'"),
    "empty cell": ("spike_time_s,unit\n0.5,1\n,1\n", "spikes.csv.*row 2: expected a spike time"),
    "inf": ("spike_time_s,unit\n0.5,1\ninf,1\n", "row 2: expected a number, got 'inf'"),
    "negative": ("spike_time_s,unit\n-0.5,1\n2,1\n", "row 1: expected a spike time .* got '-0.5'"),
    "text": ("spike_time_s,unit\n0.5,1\nlate,1\n", "row 2: expected a number, got 'late'"),
    "decimal comma": ('spike_time_s,unit\n"0,5",1\n', "row 1: expected a number, got '0,5'"),
    "no unit": ("spike_time_s,unit\n0.5,1\n0.7,\n", "spikes.csv, row 2: 'unit' is empty"),
    "milliseconds": ("spike_time_ms,unit\n500,1\n", "column 'spike_time_s' is missing. Nearest: 'spike_time_ms'"),
    "no rows": ("spike_time_s,unit\n", "spikes.csv: it has columns but no rows"),
    "empty file": ("", "spikes.csv: the file is empty"),
    "semicolons": ("spike_time_s;unit\n0,5;1\n", "spikes.csv: columns are separated by ';' or tabs"),
    "column twice": ("spike_time_s,unit,unit\n0.5,1,1\n", "column 'unit' occurs twice"),
    "nameless column": ("spike_time_s,unit,\n0.5,1,1\n", "a column has no name"),
    "long rows": ("spike_time_s,unit\n0.5,1,9\n0.6,1,9\n", "rows have more values than the 2 names"),
    "one long row": ("spike_time_s,unit\n0.5,1\n0.6,1,9\n", "not a table of 2 columns"),
    "UTF-16": (SPIKES.encode("utf-16"), "got UTF-16 or a binary file"),
    "binary": (b"\x89HDF\r\n\x1a\n\0\0", "got UTF-16 or a binary file"),
    "Latin-1": ("spike_time_s,unit\n0.5,ä\n".encode("latin-1"), "is not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG_SPIKES)
def test_a_wrong_spike_table_is_refused(folder, case):
    """Each fault is named with its file, and where there is one, its row."""
    content, match = WRONG_SPIKES[case]
    (folder / "spikes.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(folder, match)


WRONG_TRIALS = {
    "no rows": ("odor,odor_onset_s\n", "trials.csv: it has columns but no rows"),
    "no odor": ("odour,odor_onset_s\na,1\n", "column 'odor' is missing. Nearest: 'odour'"),
    "empty odor": ("odor,odor_onset_s\na,1\n,2\n", "trials.csv, row 2: 'odor' is empty"),
    "no event": ("odor,odor_onset\na,1\n", "no column is an event time.*Nearest: 'odor_onset'"),
    "text event": ("odor,odor_onset_s\na,1\na,soon\n", "'odor_onset_s', row 2: expected a number, got 'soon'"),
    "infinite event": ("odor,odor_onset_s\na,1\na,inf\n", "'odor_onset_s', row 2: expected a number, got 'inf'"),
    "milliseconds": ("odor,odor_onset_s\na,1000\na,2000\n", "all times of event 'odor_onset'.*outside the recording"),
    "trial twice": ("trial,odor,odor_onset_s\n1,a,1\n1,a,2\n", "trial .*1.* occurs 2 times"),
    "row twice": ("odor,odor_onset_s\na,1\nb,2\na,1\n", "trials.csv, row 3: the same trial"),
    "name twice": ("odor,odor_onset_s,odor_onset\na,1,2\n", "two columns would both be 'odor_onset'"),
    "name taken": ("odor,odor_onset_s,time\na,1,2\n", "a trial column may not be called 'time'"),
    "concentration": ("odor,odor_onset_s,concentration\na,1,2\n", "column 'concentration' has no unit"),
    "two units": (
        "odor,odor_onset_s,concentration_ppm,concentration_dilution\na,1,2,3\n",
        "two columns would both be 'concentration'",
    ),
    "high": ("odor,odor_onset_s,concentration_ppm\na,1,high\n", "'concentration_ppm', row 1: expected a number"),
}


@pytest.mark.parametrize("case", WRONG_TRIALS)
def test_a_wrong_trial_table_is_refused(folder, case):
    """Each fault is named with its file, and where there is one, its row."""
    content, match = WRONG_TRIALS[case]
    (folder / "trials.csv").write_text(content)
    refused(folder, match)


WRONG_UNITS = {
    "unit twice": ("unit\n2\n10\n2\n", "unit .*'s1/2'.* occurs 2 times"),
    "unit missing": ("unit\n2\n11\n", "unit '10' has spikes but no row in units.csv. Nearest: '11'"),
    "trial column": ("unit,block\n2,x\n10,y\n", "column 'block' is also a trial column"),
    "no unit column": ("id\n2\n10\n", "units.csv: column 'unit' is missing"),
}


@pytest.mark.parametrize("case", WRONG_UNITS)
def test_a_wrong_unit_table_is_refused(folder, case):
    """Units must be unique and complete."""
    content, match = WRONG_UNITS[case]
    (folder / "units.csv").write_text(content)
    refused(folder, match)


def test_milliseconds_under_the_name_of_seconds_are_implausible(folder):
    """A unit whose thousand spikes are never within half a second of each other is refused, not converted."""
    rows = "".join(f"{time_ms},1\n" for time_ms in range(0, 2_000_000, 1000))
    (folder / "spikes.csv").write_text("spike_time_s,unit\n" + rows)
    refused(folder, "never closer than 1000 s.*milliseconds")


def test_spikes_outside_the_stated_recording_are_refused(folder):
    """A recording that ends before its spikes is a mistake in one of the two."""
    refused(folder, "outside the recording", recorded_s=(0, 2))


@pytest.mark.parametrize(
    "name, match", [("spikes", "expected spikes.csv or spikes.npz"), ("trials", "expected trials.csv")]
)
def test_a_missing_table_is_named(folder, name, match):
    """The message lists what the folder holds instead."""
    (folder / f"{name}.csv").rename(folder / f"{name}.txt")
    refused(folder, f"{match}.*Nearest: '{name}.txt'")


def test_a_table_in_two_forms_is_refused(folder):
    """Nobody can tell which of the two is meant."""
    np.savez(folder / "spikes.npz", spike_time_s=[0.5], unit=[1])
    refused(folder, "both spikes.csv and spikes.npz are there")


WRONG_NPZ = {
    "objects": ({"spike_time_s": np.array([0.5, None], dtype=object), "unit": [1, 1]}, "not an npz of plain arrays"),
    "lengths": ({"spike_time_s": [0.5, 0.6], "unit": [1]}, "array 'unit' has shape"),
    "two dims": ({"spike_time_s": [[0.5]], "unit": [[1]]}, "array 'spike_time_s' has shape"),
    "complex": ({"spike_time_s": np.array([1j]), "unit": [1]}, "array 'spike_time_s' is of type complex128"),
}


@pytest.mark.parametrize("case", WRONG_NPZ)
def test_a_wrong_npz_is_refused(folder, case):
    """Objects are never unpickled, and arrays must be columns."""
    arrays, match = WRONG_NPZ[case]
    (folder / "spikes.csv").unlink()
    np.savez(folder / "spikes.npz", **arrays)
    refused(folder, match)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_is_refused(folder, content):
    """Empty, other and truncated files get the same clear words."""
    (folder / "spikes.csv").unlink()
    (folder / "spikes.npz").write_bytes(content)
    refused(folder, "spikes.npz: not an npz of plain arrays")


def test_ids_must_be_stated(folder):
    """Neither session nor animal is guessed from the folder's name."""
    refused(folder, "the id of the animal must be stated", ConfigError, animal=None)
    refused(folder, "the id of the session must be stated", ConfigError, session=" ")


@pytest.mark.parametrize(
    "text, match",
    [
        ('sesion = "t"', "session.toml in day1: unknown key 'sesion'. Nearest: 'session'"),
        ("session = ", "not TOML in UTF-8"),
        ('ticks_per_s = "fast"', "ticks_per_s: expected a positive number"),
        ("recorded_s = [5, 1]", "recorded_s: expected .start, stop."),
        ("recorded_s = 5", "recorded_s: expected .start, stop."),
        ('recorded_s = ["a", "b"]', "recorded_s: expected .start, stop."),
    ],
)
def test_a_wrong_session_toml_is_refused(folder, text, match):
    """Unknown keys and wrong values are configuration errors."""
    (folder / "session.toml").write_text(text)
    refused(folder, match, ConfigError)
