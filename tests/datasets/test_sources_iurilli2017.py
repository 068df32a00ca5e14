"""Iurilli & Datta 2017: counts of the published files, both file forms, and files that are not of that layout."""

import struct

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse

from mitral.datasets.errors import SchemaError, UnknownName
from mitral.datasets.schema import events
from mitral.datasets.sources import read_sessions
from mitral.datasets.sources.iurilli2017 import PANELS, SETS

FOLDER = "olfactory/iurilli_2017"
COUNTS = {  # sessions, units, spikes, trials, odors
    "aPCx_15": (10, 199, 782808, 150, 15),
    "plCoA_15": (15, 355, 581630, 150, 15),
    "plCoA_AA": (12, 249, 235885, 100, 10),
    "plCoA_CS": (13, 334, 628322, 150, 3),
}


def write_mat(path, matrices, n_odors=15):
    """A file of the published layout: one experiment, one shank, one unit per spike matrix."""
    cells = np.zeros(
        (1, len(matrices)), dtype=[(name, object) for name in ("odor", "spikeSNR", "isolationDistance", "L_Ratio")]
    )
    for place, matrix in enumerate(matrices):
        odor = np.zeros((1, n_odors), dtype=[("spikeMatrix", object)])
        for k in range(n_odors):
            odor[0, k]["spikeMatrix"] = scipy.sparse.csc_matrix(matrix)
        cells[0, place] = (odor, np.array([[1.0, 5.0]]), np.array([[20.0]]), np.array([[0.1]]))
    sua = np.zeros((1, 1), dtype=[("cell", object)])
    sua[0, 0]["cell"] = cells
    shank = np.zeros((1, 2), dtype=[("SUA", object)])
    shank[0, 0]["SUA"], shank[0, 1]["SUA"] = np.zeros((0, 0)), sua
    espe = np.zeros((1, 1), dtype=[("shank", object)])
    espe[0, 0]["shank"] = shank
    scipy.io.savemat(path, {"espe": espe})


def a_matrix():
    """10 trials x 10000 ms with three spikes."""
    matrix = np.zeros((10, 10000))
    matrix[0, 3], matrix[0, 4000], matrix[9, 9999] = 1, 1, 1
    return matrix


@pytest.fixture(scope="module")
def published(data_folder):
    """All sessions of the published files, read once."""
    return list(read_sessions("iurilli2017", data_folder(FOLDER)))


def of_set(sessions, name):
    """The sessions of one set."""
    return [session for session in sessions if session.attrs["session"].startswith(f"iurilli2017-{name}-")]


@pytest.mark.parametrize("name", SETS)
def test_counts_equal_those_of_the_published_files(published, name):
    """Sessions, units, spikes, trials and odors are those that the data's README states."""
    sessions = of_set(published, name)
    n_units, n_spikes = (sum(session.sizes[dim] for session in sessions) for dim in ("unit", "spike"))
    (n_trials,) = {session.sizes["trial"] for session in sessions}
    (n_odors,) = {len(np.unique(session["odor"])) for session in sessions}
    assert (len(sessions), n_units, n_spikes, n_trials, n_odors) == COUNTS[name]


@pytest.mark.parametrize("name", ["aPCx_15", "plCoA_15", "plCoA_CS"])
def test_the_original_and_the_npz_form_give_equal_sessions(published, data_folder, name):
    """Two readers of two file forms agree on every spike, unit and trial; only the npz has no SNR."""
    from_npz = read_sessions("iurilli2017", data_folder(f"{FOLDER}/{name}.npz"))
    for original, converted in zip(of_set(published, name), from_npz, strict=True):
        assert original.attrs["source"] == f"iurilli2017: {name}.mat"
        original = original.assign_attrs({key: converted.attrs[key] for key in ("source", "source_sha256")})
        assert original.drop_vars("snr").identical(converted.drop_vars("snr"))
        assert np.all(np.isfinite(original["snr"])) and np.all(np.isnan(converted["snr"]))


def test_a_concentration_series_names_the_chemical_and_its_dilution(published):
    """Three odors at five dilutions each, ten trials of every pair."""
    session = of_set(published, "plCoA_CS")[0]
    pairs, counts = np.unique(
        list(zip(session["odor"].to_numpy(), session["concentration"].to_numpy(), strict=True)),
        axis=0,
        return_counts=True,
    )
    assert len(pairs) == 15 and set(counts) == {10}
    assert session["concentration"].attrs["units"] == "dilution"
    assert sorted(set(session["concentration"].to_numpy())) == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def test_all_sets_are_read_in_order_with_unique_ids(published):
    """The default reads every set that is there; ids of sessions and units never repeat."""
    names = [session.attrs["session"] for session in published]
    units = np.concatenate([session["unit"].to_numpy() for session in published])
    assert names[0] == "iurilli2017-aPCx_15-01" and names[-1] == "iurilli2017-plCoA_CS-13"
    assert len(set(names)) == len(names) == 50
    assert len(np.unique(units)) == len(units) == 1137


def test_published_stimuli_stand_in_the_module_as_in_the_table(data_folder):
    """Names and concentrations equal pyrfume's table, row by row."""
    table = pd.read_csv(data_folder(f"{FOLDER}/stimuli.csv"))
    for panel, (odors, concentrations, unit) in PANELS.items():
        rows = table[table["odorant panel"] == panel].sort_values("odor")
        column = {"ppm": "conc in ppm", "dilution": "conc dilution from 85 mM"}[unit]
        assert rows["odor name"].tolist() == list(odors)
        assert rows[column].tolist() == list(concentrations)


def test_trials_lie_end_to_end_with_the_inhalation_at_four_seconds(tmp_path):
    """Every spike falls into its own trial at its own millisecond, and the last one ends the recording."""
    write_mat(tmp_path / "aPCx_15.mat", [a_matrix()])
    (session,) = read_sessions("iurilli2017", tmp_path)
    assert events(session) == ["inhalation_onset", "recorded_start", "recorded_stop"]
    trial = session["spike_time"].to_numpy() // 10000
    ms = session["spike_time"].to_numpy() % 10000
    assert ms.reshape(15, 3).tolist() == [[3, 4000, 9999]] * 15
    assert session["repeat"].to_numpy()[trial].reshape(15, 3).tolist() == [[0, 0, 9]] * 15
    assert len(set(session["odor"].to_numpy()[trial])) == 15
    assert set((session["inhalation_onset"] - session["recorded_start"]).to_numpy()) == {4.0}
    assert session.attrs["recorded_s"] == [0, 1500]


def test_quality_of_a_unit_is_kept(tmp_path):
    """Shank, L-ratio, isolation distance and the best SNR come with the unit."""
    write_mat(tmp_path / "plCoA_15.mat", [a_matrix(), a_matrix()])
    (session,) = read_sessions("iurilli2017", tmp_path / "plCoA_15.mat")
    assert session["unit"].to_numpy().tolist() == [f"iurilli2017-plCoA_15-01/u00{k}" for k in (0, 1)]
    row = {name: session[name].to_numpy()[1] for name in ("shank", "l_ratio", "isolation_distance", "snr", "area")}
    assert row == {
        "shank": 1, "l_ratio": 0.1, "isolation_distance": 20, "snr": 5, "area": "posterolateral cortical amygdala",
    }  # fmt: skip


def test_what_is_not_known_is_said(tmp_path):
    """The session states that mouse and odor order are unknown, and the licence."""
    write_mat(tmp_path / "aPCx_15.mat", [a_matrix()])
    (session,) = read_sessions("iurilli2017", tmp_path)
    assert "which mouse" in session.attrs["note"] and "order of odors" in session.attrs["note"]
    assert "No licence file" in session.attrs["licence"]


def test_an_unknown_set_lists_the_nearest(tmp_path):
    """A misspelt set is no empty result."""
    with pytest.raises(UnknownName, match="no set 'apcx_15'. Nearest: 'aPCx_15'"):
        list(read_sessions("iurilli2017", tmp_path, set="apcx_15"))


def test_a_folder_without_the_set_says_how_to_get_it(tmp_path):
    """The message holds the command."""
    with pytest.raises(SchemaError, match="none of aPCx_15.mat.*mitral fetch iurilli2017"):
        list(read_sessions("iurilli2017", tmp_path))
    with pytest.raises(SchemaError, match="there is no plCoA_CS.mat. Get it with: mitral fetch iurilli2017"):
        list(read_sessions("iurilli2017", tmp_path, set=["plCoA_CS"]))


def test_a_file_of_another_name_is_refused(tmp_path):
    """The name says which odors were given, so it must be the published one."""
    (tmp_path / "mine.mat").write_bytes(b"")
    with pytest.raises(SchemaError, match="expected aPCx_15 or .* got 'mine.mat'. Keep the published name"):
        list(read_sessions("iurilli2017", tmp_path / "mine.mat"))


@pytest.mark.parametrize("content", [b"", b"not matlab" * 20, b"\x89HDF\r\n\x1a\n" * 40])
def test_a_file_that_is_no_matlab_file_is_refused(tmp_path, content):
    """Empty, other and newer files are answered in one way."""
    (tmp_path / "aPCx_15.mat").write_bytes(content)
    with pytest.raises(SchemaError, match="aPCx_15.mat: expected a MATLAB v5 file with the struct 'espe'"):
        list(read_sessions("iurilli2017", tmp_path))


def test_a_truncated_matlab_file_is_refused(tmp_path):
    """A copy that broke off is never half a set."""
    write_mat(tmp_path / "whole.mat", [a_matrix()])
    whole = (tmp_path / "whole.mat").read_bytes()
    for length in (100, 200, len(whole) // 2, len(whole) - 1):
        (tmp_path / "aPCx_15.mat").write_bytes(whole[:length])
        with pytest.raises(SchemaError, match="aPCx_15.mat: expected a MATLAB v5 file"):
            list(read_sessions("iurilli2017", tmp_path))


def test_another_struct_of_that_name_is_refused(tmp_path):
    """A variable called espe that is not laid out as published is named with its experiment."""
    espe = np.zeros((1, 1), dtype=[("shank", object)])
    espe[0, 0]["shank"] = np.ones((1, 3))
    scipy.io.savemat(tmp_path / "aPCx_15.mat", {"espe": espe})
    with pytest.raises(SchemaError, match="experiment 1 is not laid out as published"):
        list(read_sessions("iurilli2017", tmp_path))


@pytest.mark.parametrize(
    "matrix, n_odors", [(np.zeros((9, 10000)), 15), (np.full((10, 10000), 2.0), 15), (np.zeros((10, 10000)), 16)]
)
def test_a_spike_matrix_of_another_form_is_refused(tmp_path, matrix, n_odors):
    """Nine repeats, two spikes in a millisecond, or a sixteenth odor do not fit the set."""
    write_mat(tmp_path / "aPCx_15.mat", [matrix], n_odors=n_odors)
    with pytest.raises(SchemaError, match="expected 15 odors of 10 trials x 10000 ms"):
        list(read_sessions("iurilli2017", tmp_path))


@pytest.mark.parametrize("numbers", [(5, 12, 0, 0, 9), (5, 40004, 0, 0, 0)], ids=["rows", "columns"])
def test_a_sparse_index_beyond_the_matrix_is_refused(tmp_path, numbers):
    """A flipped bit in an index made scipy write outside its memory and ended Python; found by flipping bits."""
    path = tmp_path / "aPCx_15.mat"
    write_mat(path, [a_matrix()])
    right, wrong = (struct.pack("<5i", *entry) for entry in (numbers, (*numbers[:4], 2_000_000)))
    assert right in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(right, wrong))
    with pytest.raises(SchemaError, match="experiment 1 is not laid out as published|expected a MATLAB v5 file"):
        list(read_sessions("iurilli2017", tmp_path))


def write_npz(path, **changed):
    """The npz form with two spikes of one unit."""
    columns = {"spike_unit": [0, 0], "spike_odor": [0, 14], "spike_trial": [0, 9], "spike_ms": [0, 9999]}
    quality = {f"unit_{name}": [0] for name in ("session", "shank", "L_ratio", "isolation", "snr")}
    np.savez(path, **(columns | quality | changed))


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"spike_odor": [0, 15]}, "spike_odor must hold 0 to 14"),
        ({"spike_trial": [0, 10]}, "spike_trial must hold 0 to 9"),
        ({"spike_ms": [-1, 5]}, "spike_ms must hold 0 to 9999"),
        ({"spike_unit": np.array([None, 0], dtype=object)}, "not the npz form of a set"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path, changed, match):
    """Values beyond the design, and objects, are refused."""
    write_npz(tmp_path / "aPCx_15.npz", **changed)
    with pytest.raises(SchemaError, match=match):
        list(read_sessions("iurilli2017", tmp_path))


def test_the_original_is_preferred_to_the_npz(tmp_path):
    """Where both are there, the authors' file is read."""
    write_npz(tmp_path / "aPCx_15.npz")
    write_mat(tmp_path / "aPCx_15.mat", [a_matrix()])
    (session,) = read_sessions("iurilli2017", tmp_path)
    assert session.attrs["source"] == "iurilli2017: aPCx_15.mat"
