"""NWB: a round trip through pynwb, odd and old files, and files that point outside themselves."""

import datetime
import sys

import numpy as np
import pytest

from mitral.datasets.errors import ConfigError, MissingDependency, SchemaError
from mitral.datasets.schema import events
from mitral.datasets.sources import read_sessions

pynwb = pytest.importorskip("pynwb")
h5py = pytest.importorskip("h5py")

SPIKES = {3: [0.1, 0.5, 7.25], 8: [0.3], 5: [2.0, 6.5]}
EDGE = "formats/nwb_edge"


def a_file(*, subject="m1", session_id="m1-day1", units=True, trials=True, electrodes=True):
    """A small recording in memory: three units on two electrodes, three trials."""
    start = datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)
    file = pynwb.NWBFile("a test", "id-1", start, session_id=session_id)
    if subject:
        file.subject = pynwb.file.Subject(subject_id=subject, species="Mus musculus", sex="F", age="P90D")
    if units:
        add_units(file, electrodes)
    if trials:
        add_trials(file)
    return file


def add_units(file, electrodes):
    """Spikes, an area through electrodes, and columns of several kinds."""
    if electrodes:
        device = file.create_device("probe")
        group = file.create_electrode_group("shank0", "a shank", "brain", device)
        for location in ("OB", "AON"):
            file.add_electrode(location=location, group=group)
    file.add_unit_column("quality", "of the sorting")
    file.add_unit_column("waveform", "mean")
    for place, (unit, times) in enumerate(SPIKES.items()):
        on = {"electrodes": [[0], [1], [0, 1]][place]} if electrodes else {}
        file.add_unit(id=unit, spike_times=times, quality="good", waveform=[0.0, 1.0], **on)


def add_trials(file):
    """Odor, concentration, an event that did not happen once, text and ragged columns."""
    for name in ("odor", "concentration_ppm", "odor_onset_time", "block"):
        file.add_trial_column(name, "a column")
    file.add_trial_column("licks", "times", index=True)
    for place, odor in enumerate(("hexanal", "β-ionone", "hexanal")):
        onset = np.nan if place == 1 else 2.0 * place + 0.5
        file.add_trial(
            start_time=2.0 * place, stop_time=2.0 * place + 1.5, odor=odor, concentration_ppm=10.0 * place,
            odor_onset_time=onset, block=place, licks=[0.1] * place,
        )  # fmt: skip


def write(path, file):
    """The file on disk, and its path."""
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


@pytest.fixture
def nwb(tmp_path):
    """A right file on disk."""
    return write(tmp_path / "day1.nwb", a_file())


def read(path, **options):
    """The one session of the file."""
    (session,) = read_sessions("nwb", path, **options)
    return session


def refused(path, match, error=SchemaError, **options):
    """The file is refused with these words."""
    with pytest.raises(error, match=match):
        read(path, **options)


def test_every_spike_comes_back_with_its_unit(nwb):
    """Times and units equal what pynwb was given."""
    session = read(nwb)
    seconds = session["spike_time"].to_numpy() / session["spike_time"].attrs["ticks_per_s"]
    names = session["unit"].to_numpy()[session["spike_unit"].to_numpy()]
    assert {unit: seconds[names == f"m1-day1/{unit}"].tolist() for unit in SPIKES} == SPIKES


def test_trial_columns_and_events_come_back(nwb):
    """Numbers, text, and a time that did not happen; start and stop become events."""
    session = read(nwb)
    assert events(session) == ["trial_start", "trial_stop", "odor_onset_time"]
    np.testing.assert_array_equal(session["odor_onset_time"], [0.5, np.nan, 4.5])
    np.testing.assert_array_equal(session["trial_stop"], [1.5, 3.5, 5.5])
    assert session["odor"].to_numpy().tolist() == ["hexanal", "β-ionone", "hexanal"]
    np.testing.assert_array_equal(session["concentration"], [0, 10, 20])
    assert session["concentration"].attrs["units"] == "ppm"
    assert session["block"].to_numpy().tolist() == [0, 1, 2]


def test_ids_and_date_come_from_the_file(nwb):
    """Subject, session id and date are the file's; a unit's area is its electrodes'."""
    session = read(nwb)
    assert [session.attrs[name] for name in ("animal", "session", "date")] == ["m1", "m1-day1", "2026-11-24"]
    assert session["area"].to_numpy().tolist() == ["OB", "AON", "AON+OB"]
    assert session["quality"].to_numpy().tolist() == ["good"] * 3


def test_what_is_not_read_is_said(nwb):
    """Columns that hold more than one value a row are named."""
    dropped = read(nwb).attrs["dropped"]
    assert any("trials column 'licks'" in sentence for sentence in dropped)
    assert any("units column 'waveform'" in sentence for sentence in dropped)


def test_options_overrule_the_file(nwb):
    """Ids, resolution and limits may be stated."""
    session = read(nwb, session="s", animal="a", ticks_per_s=1000.0, recorded_s=(0, 9), licence="CC0")
    assert session.attrs["session"] == "s" and session.attrs["animal"] == "a" and session.attrs["licence"] == "CC0"
    assert session["spike_time"].attrs["ticks_per_s"] == 1000 and session.attrs["recorded_s"] == [0, 9]


def test_the_resolution_of_the_file_is_kept(tmp_path):
    """Where the file states a resolution, spike times are ticks of it."""
    file = a_file(units=False)
    file.units = pynwb.misc.Units(name="units", description="sorted", resolution=1 / 1250)
    file.units.add_unit(spike_times=[0.0008, 7.0])
    assert read(write(tmp_path / "a.nwb", file))["spike_time"].to_numpy().tolist() == [1, 8750]


def test_columns_that_are_times_can_be_stated(tmp_path):
    """A column that does not end in _time is an event when it is stated; then only those are."""
    path = write(tmp_path / "a.nwb", a_file())
    assert events(read(path, events=["block"])) == ["trial_start", "trial_stop", "block"]
    refused(path, "trials have no column 'odor_onset'. Nearest: 'odor_onset_time'", ConfigError, events=["odor_onset"])


def test_a_concentration_needs_its_unit(tmp_path):
    """A bare concentration is refused until its unit is stated."""
    file = a_file(trials=False)
    file.add_trial_column("concentration", "how much")
    for place in range(2):
        file.add_trial(start_time=float(place), stop_time=place + 0.5, concentration=0.1)
    path = write(tmp_path / "a.nwb", file)
    refused(path, "column 'concentration' has no unit")
    assert read(path, concentration_units="dilution")["concentration"].attrs["units"] == "dilution"


def test_a_folder_streams_its_files(tmp_path):
    """Each file becomes a session, in the order of their names, one at a time."""
    for day in (2, 1):
        write(tmp_path / f"day{day}.nwb", a_file(session_id=f"s{day}"))
    sessions = read_sessions("nwb", tmp_path)
    assert next(sessions).attrs["session"] == "s1"
    (tmp_path / "day2.nwb").write_bytes(b"")
    with pytest.raises(SchemaError, match="day2.nwb: expected an NWB file"):
        next(sessions)


def test_one_id_cannot_name_several_files(tmp_path):
    """Two sessions of one id would overwrite each other."""
    for day in (1, 2):
        write(tmp_path / f"day{day}.nwb", a_file())
    refused(tmp_path, "holds 2 NWB files; one session or animal cannot name all", ConfigError, session="s")


def test_a_folder_without_nwb_files_is_refused(tmp_path):
    """The message names what is there."""
    (tmp_path / "day1.nwb.zip").write_bytes(b"")
    refused(tmp_path, "the folder holds no .nwb file.*day1.nwb.zip")


def test_a_file_without_session_id_is_named_by_its_file(tmp_path):
    """The file's name serves where the lab gave no session id."""
    assert read(write(tmp_path / "x 1.nwb", a_file(session_id=None))).attrs["session"] == "x 1"


def test_an_unknown_animal_must_be_stated(tmp_path):
    """Without a subject the animal is asked for, never guessed."""
    path = write(tmp_path / "a.nwb", a_file(subject=None))
    refused(path, "a.nwb: the file names no subject. State the option animal", ConfigError)
    assert read(path, animal="m9").attrs["animal"] == "m9"


def test_a_file_without_units_or_trials_says_what_it_holds(tmp_path):
    """The message names the table that is missing and what is there instead."""
    refused(
        write(tmp_path / "a.nwb", a_file(trials=False)), "it has no trials, which a session needs; it holds 3 units"
    )
    refused(write(tmp_path / "b.nwb", a_file(units=False)), "it has no units, which a session needs; it holds 3 trials")


def test_units_without_spike_times_are_refused(tmp_path):
    """A units table of quality alone is no recording."""
    file = a_file(units=False)
    file.add_unit_column("quality", "of the sorting")
    file.add_unit(quality="good")
    refused(write(tmp_path / "a.nwb", file), "no list 'spike_times' per unit, only quality")


def test_a_column_named_as_the_sessions_own_is_left_out(tmp_path):
    """A trial column called "time" would collide with the time of an activity, and is reported."""
    file = a_file()
    file.add_trial_column("time", "of day", data=[1.0, 2.0, 3.0])
    file.add_unit_column("odor", "best", data=["a", "b", "c"])
    dropped = " ".join(read(write(tmp_path / "a.nwb", file)).attrs["dropped"])
    assert "trials column 'time': a session uses this name" in dropped
    assert "units column 'odor': a session uses this name itself, or for a trial column" in dropped


@pytest.mark.parametrize("time, match", [(np.nan, "got 'nan'"), (-0.5, "got '-0.5'"), (np.inf, "got 'inf'")])
def test_an_impossible_spike_time_is_refused(tmp_path, time, match):
    """NaN, negative and infinite spike times are named with their row."""
    file = a_file(units=False)
    file.add_unit(spike_times=[0.5, time])
    refused(write(tmp_path / "a.nwb", file), f"'spike_times', row 2: expected .*{match}")


def test_trials_on_another_clock_are_refused(tmp_path):
    """Trials that all begin after the last spike were timed in another unit or by another clock."""
    file = a_file(trials=False)
    file.add_trial(start_time=1000.0, stop_time=2000.0)
    path = write(tmp_path / "a.nwb", file)
    refused(path, "trials: all times of event 'trial_start'.*outside the recording")
    assert read(path, recorded_s=(0, 3000)).sizes["trial"] == 1


def test_no_area_is_invented(tmp_path):
    """Units without electrodes have no area."""
    assert "area" not in read(write(tmp_path / "a.nwb", a_file(electrodes=False))).coords


def test_truncated_files_are_refused(nwb):
    """Cut at any length, a file is refused, never half read."""
    whole = nwb.read_bytes()
    for length in (0, 4, 100, len(whole) // 3, len(whole) - 1):
        nwb.write_bytes(whole[:length])
        refused(nwb, "day1.nwb: (expected an NWB file, which is HDF5|the HDF5 file is truncated)")


def test_a_damaged_table_is_refused(nwb):
    """An index that does not fit its spikes, and a table that lost a part, are named."""
    with h5py.File(nwb, "r+") as file:
        file["units/spike_times_index"][:] = [3, 2, 6]
    refused(nwb, "index of 'spike_times' does not fit its 6 values")
    with h5py.File(nwb, "r+") as file:
        del file["units/spike_times"]
    refused(nwb, "day1.nwb: ")


def test_damage_inside_the_spike_times_is_refused(tmp_path):
    """Bytes that HDF5 meets only while it reads the data are damage, not a crash."""
    file = a_file(units=False)
    file.add_unit(spike_times=np.arange(5000) / 100)
    path = write(tmp_path / "a.nwb", file)
    with h5py.File(path, "r+") as stored:
        times = stored["units/spike_times"][:]
        attributes = dict(stored["units/spike_times"].attrs)
        del stored["units/spike_times"]
        again = stored["units"].create_dataset("spike_times", data=times, chunks=(5000,), fletcher32=True)
        again.attrs.update(attributes)
        start = again.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start + 100] ^= 1
    path.write_bytes(content)
    refused(path, "a.nwb: the HDF5 file is damaged: .* Copy it again")


def test_hdf5_that_is_no_nwb_is_refused(tmp_path):
    """Any other HDF5 file is answered by pynwb's reason."""
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file["x"] = 1
    refused(tmp_path / "a.nwb", "a.nwb: pynwb cannot read it")


def test_an_external_link_is_refused(nwb, tmp_path):
    """A file may not bring in another file by a link."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = [1.0]
    with h5py.File(nwb, "r+") as file:
        file["analysis/link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
    refused(nwb, "/analysis/link is a link to the file '.*secret.h5'")


def test_external_storage_is_refused(nwb, tmp_path):
    """A data set whose bytes are another file could show any file of this machine."""
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(nwb, "r+") as file:
        file["analysis"].create_dataset("x", shape=(64,), dtype="u1", external=[(str(tmp_path / "secret"), 0, 64)])
    refused(nwb, "the data of /analysis/x are in another file")


def test_a_virtual_dataset_is_refused(nwb, tmp_path):
    """The same by a virtual data set."""
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", shape=(4,))
    with h5py.File(nwb, "r+") as file:
        file["analysis"].create_virtual_dataset("x", layout)
    refused(nwb, "the data of /analysis/x are in another file")


def test_links_in_a_circle_end(nwb):
    """A group that holds itself does not hang the check."""
    with h5py.File(nwb, "r+") as file:
        file["analysis/again"] = file["analysis"]
        file["analysis/soft"] = h5py.SoftLink("/units")
    with pytest.raises(SchemaError, match="day1.nwb: pynwb cannot read it"):
        read(nwb)


@pytest.mark.parametrize(
    "name, match",
    [
        ("1.0.2_str_pub.nwb", "it has no units, which a session needs; it holds no data"),
        ("1.1.2_nwbfile.nwb", "it has no units, which a session needs; it holds no data"),
        ("1.5.1_timeseries_no_data.nwb", "it holds acquisition test_timeseries"),
        ("2.1.0_nwbfile_with_extension.nwb", "it holds acquisition test_ts"),
        ("2.2.0_subject_no_age__reference.nwb", "it has no units"),
        ("A8604-211122.nwb", "it has no trials, which a session needs; it holds 3 units; intervals epochs"),
        ("LantyerEtAl2018_170328_AB_277_ST50_C.nwb", "it has no units.* it holds acquisition VoltageClampSeries_01"),
    ],
)
def test_real_files_that_hold_no_population_fail_politely(data_folder, name, match):
    """Old and odd files are read far enough to say what is missing."""
    refused(data_folder(f"{EDGE}/{name}"), match)


def test_a_real_file_with_trials_added_is_read(data_folder, tmp_path):
    """The three real units of a published file come with their spikes, areas and warnings."""
    path = tmp_path / "a.nwb"
    path.write_bytes(data_folder(f"{EDGE}/A8604-211122.nwb").read_bytes())
    with h5py.File(path, "r") as file:
        n_spikes, first = file["units/spike_times"].shape[0], file["units/spike_times"][:].min()
    with pytest.warns(DeprecationWarning), pynwb.NWBHDF5IO(str(path), "r+") as io:
        content = io.read()
        content.add_trial(start_time=float(first), stop_time=float(first) + 1)
        io.write(content)
    session = read(path, animal="A8604")
    assert session.sizes["unit"] == 3 and session.sizes["spike"] == n_spikes
    assert "deprecated" in session.attrs["note"]


def test_without_pynwb_the_install_line_is_given(nwb, monkeypatch):
    """The library is optional; the message is what to type."""
    monkeypatch.setitem(sys.modules, "pynwb", None)
    refused(nwb, r'reading NWB needs pynwb, not installed: pip install "mitral\[nwb\]"', MissingDependency)
