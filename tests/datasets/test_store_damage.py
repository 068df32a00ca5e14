"""Whatever happens to stored bytes is found: by verify, and by the read that meets it."""

import json
import os
import shutil

import numpy as np
import pytest
import xarray as xr

from mitral.datasets.errors import IntegrityError, LimitError, StoreError
from mitral.datasets.schema import make_session
from mitral.datasets.store import Store, layout, limits, log, objects, seal, verify_folder
from mitral.datasets.store.arrays import StoredArray
from mitral.datasets.store.opening import open_object


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with one session: four blocks of spikes, and a trace of several blocks in one shard."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 64)
    monkeypatch.setattr(layout, "ONE_CHUNK_BYTES", 2**10)
    monkeypatch.setattr(layout, "BLOCKS", {1: (256,), 2: (32, 2), 3: (50, 125, 50)})
    rng = np.random.default_rng(0)
    session = make_session(
        "m1", "m1", trials={"odor": ["a", "b"]}, units={"unit": ["u0", "u1"]}, recorded_s=(0.0, 99.0), trial_units={},
        spike_ticks=rng.integers(0, 99_000, 250), spike_unit=rng.integers(0, 2, 250), ticks_per_s=1000.0,
        trace=rng.normal(size=(320, 2)), sample_time_s=np.arange(320) / 10,
    )  # fmt: skip
    store = Store.create(tmp_path / "lab")
    store.save_session(session)
    return store


def stored(store, path):
    """Where a file of the one object lies."""
    return store.path / objects.folder_of(store.record("session", "m1")["object"]) / path


def flip(path, position=None):
    """Change one bit of a file, in its middle unless told."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 4
    path.write_bytes(data)


def test_a_changed_bit_in_any_file_is_found(store):
    """Every file of the object, one after the other; verify names that file and no other."""
    entries = store.record("session", "m1")["manifest"]
    assert len(entries) > 12
    for entry in entries:
        path = stored(store, entry["path"])
        good = path.read_bytes()
        flip(path)
        assert store.verify() == [f"session 'm1': {path}: changed, its sha256 is not the recorded one"]
        path.write_bytes(good)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated, .* bytes"),
        (lambda path: path.write_bytes(b""), "truncated, 0 of"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "lengthened"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.rename(path.parent.parent.parent / "x"), path.symlink_to("x")), "symbolic link in place"),
        (lambda path: (path.unlink(), path.mkdir()), "folder in place"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "FIFO in place"),
        (lambda path: (path.parent / "9").write_bytes(b"x"), r"added \(file\)"),
        (lambda path: (path.parent / "8").symlink_to("/etc/passwd"), r"added \(symbolic link\)"),
    ],
)
def test_every_kind_of_damage_to_a_file_is_found(store, damage, words):
    """Verify says what happened, and to which file."""
    damage(stored(store, "spike_time/c/1"))
    found = [problem for problem in store.verify() if str(stored(store, "spike_time/c")) in problem]
    assert len(found) == 1
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found[0])


def test_swapped_files_are_found(store):
    """Two chunks, each whole in itself, in each other's place: by verify and by the read."""
    first, second = stored(store, "spike_time/c/0"), stored(store, "spike_time/c/1")
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1]), second.write_bytes(data[0])
    assert len(store.verify()) == 2
    with pytest.raises(IntegrityError, match="spike_time/c/[01]: expected sha256"):
        store.session("m1").spike_time.compute()


def test_a_whole_object_that_is_gone_is_found(store):
    """As a name without a folder."""
    folder = stored(store, "")
    folder.rename(store.path / "quarantine" / "x")
    assert store.verify() == [f"session 'm1': {folder}: the whole object is missing"]
    with pytest.raises(IntegrityError, match="zarr.json is missing"):
        store.session("m1")
    folder.symlink_to(store.path / "quarantine" / "x")
    assert store.verify() == [f"session 'm1': {folder}: symbolic link on the way to the object"]
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.session("m1")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "spike_time/c/1: expected sha256"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "spike_time/c/1: expected .* bytes, got"),
        (lambda path: path.unlink(), "spike_time/c/1: expected .* bytes, got no file"),
        (lambda path: (path.rename(path.parent.parent / "x"), path.symlink_to("../x")), "symbolic link"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is a FIFO"),
    ],
)
def test_reading_a_damaged_chunk_is_an_error_and_not_zeros(store, damage, words):
    """The other chunks can still be read; zarr alone would give zeros for a missing one."""
    damage(stored(store, "spike_time/c/1"))
    session = store.session("m1")
    assert session.spike_time[:64].to_numpy()[0] == session.spike_index[0]
    with pytest.raises(IntegrityError, match=f"(?s){words}"):
        session.spike_time[60:70].to_numpy()


def test_damage_in_a_part_of_a_shard_is_found_by_its_reader(store):
    """The checksum of the inner chunk fails; parts beside it can still be read."""
    [path] = [e["path"] for e in store.record("session", "m1")["manifest"] if e["path"].startswith("trace/c/")]
    flip(stored(store, path), 10)
    session = store.session("m1")
    with pytest.raises(IntegrityError, match="'trace' cannot be decoded .*checksum.*store.verify"):
        session.trace[:5].to_numpy()
    assert np.isfinite(session.trace[300:].to_numpy()).all()


def test_damage_in_the_index_of_a_shard_is_found(store):
    """The last bytes of a shard say where its parts lie."""
    [path] = [e["path"] for e in store.record("session", "m1")["manifest"] if e["path"].startswith("trace/c/")]
    flip(stored(store, path), -20)
    with pytest.raises(IntegrityError, match="'trace' cannot be decoded"):
        store.session("m1").trace[300:].to_numpy()


def test_changed_metadata_and_coordinates_are_found_on_open(store):
    """A changed shape or odor would be believed otherwise."""
    for path in ("zarr.json", "trace/zarr.json", "odor/zarr.json", "odor/c/0"):
        good = stored(store, path).read_bytes()
        flip(stored(store, path))
        with pytest.raises(IntegrityError, match=path.replace(".", r"\.")):
            store.session("m1")
        stored(store, path).write_bytes(good)
    store.session("m1")


def test_verify_reports_progress_and_odd_files(store):
    """One call for each object; a stray file in the log is named."""
    calls = []
    (store.path / "log" / "notes.txt").write_text("x")
    assert store.verify(progress=lambda done, total: calls.append((done, total))) == [
        f"{store.path / 'log' / 'notes.txt'}: added; the log holds records only"
    ]
    assert calls == [(1, 1)]


def test_a_store_that_cannot_be_opened_can_be_verified(store):
    """From its path: a broken FORMAT.json, or a record that is a link."""
    path = store.path / log.record_path(1)
    path.rename(store.path / "x")
    path.symlink_to("../x")
    with pytest.raises(IntegrityError, match="symbolic link"):
        Store(store.path)
    assert [problem for problem in verify_folder(store.path) if "symbolic link" in problem]
    good = (store.path / "FORMAT.json").read_bytes()
    for position in range(len(good)):
        flip(store.path / "FORMAT.json", position)
        try:
            assert verify_folder(store.path) != []
        except StoreError as error:  # a changed word is another format, a changed number a newer one
            assert "format" in str(error) or "newer" in str(error)
        (store.path / "FORMAT.json").write_bytes(good)


def test_an_unreferenced_object_is_not_a_problem(store, tmp_path):
    """A writer may be at work; what it left is not seen. If damaged, it is not taken for the real one."""
    other = Store.create(tmp_path / "other")
    other.save_session(store.session("m1"))
    os.unlink(other.path / log.record_path(1))
    again = Store(other.path)
    assert again.verify() == [] and again.sessions().empty
    [folder] = (other.path / "objects").glob("*/*")
    good = (folder / "unit" / "c" / "0").read_bytes()
    flip(folder / "unit" / "c" / "0")
    with pytest.raises(IntegrityError, match="unit/c/0: changed.*move that folder away"):
        again.save_session(store.session("m1"))
    (folder / "unit" / "c" / "0").write_bytes(good)
    assert again.save_session(store.session("m1")) == "m1" and again.verify() == []


def rewrite_format(store, **change):
    """A FORMAT.json of another version, sealed as it should be."""
    path = store.path / "FORMAT.json"
    path.write_bytes(seal.sealed(seal.parse(path.read_bytes(), where="x") | change))


def test_a_newer_format_is_refused_in_clear_words(store):
    """A reader that is too old says what to do; one that may only read does not write."""
    rewrite_format(store, min_writer=2)
    assert Store(store.path).session("m1").sizes["unit"] == 2
    with pytest.raises(StoreError, match="needs writer version 2, this mitral writes 1"):
        Store(store.path).save_session(store.session("m1").assign_attrs(session="m2"))
    rewrite_format(store, min_reader=2)
    with pytest.raises(StoreError, match="needs reader version 2, this mitral has 1.*pip install --upgrade"):
        Store(store.path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "of format 'other'"),
        ({"min_reader": "1"}, "'min_reader' must be a number"),
        ({"min_reader": None}, "'min_reader' must be a number"),
    ],
)
def test_another_format_is_not_opened(store, change, words):
    """Only what says that it is a mitral store."""
    rewrite_format(store, **change)
    with pytest.raises(StoreError, match=words):
        Store(store.path)


def test_a_store_without_its_folders_is_broken(store):
    """A log that is gone is not an empty log."""
    (store.path / "log").rename(store.path / "gone")
    with pytest.raises(IntegrityError, match="has no folder 'log'"):
        Store(store.path)
    (store.path / "log").symlink_to("gone")
    with pytest.raises(IntegrityError, match="has no folder 'log'"):
        Store(store.path)


def forge(store, **change):
    """Commit a record of someone else's making, well sealed."""
    record = {
        **store.record("session", "m1"),
        "number": 2,
        "previous": store.record("session", "m1")["seal"],
        "key": "forged",
    }
    (store.path / log.record_path(2)).write_bytes(seal.sealed(record | change))
    return Store(store.path)


@pytest.mark.parametrize("object_id", ["../../../etc", "", None, "A" * 64, "a" * 63])
def test_a_forged_object_id_leads_nowhere(store, object_id):
    """An id is 64 hexadecimal digits; nothing else becomes a path."""
    forged = forge(store, object=object_id)
    with pytest.raises(IntegrityError, match="expected an object id"):
        forged.session("forged")
    assert any("expected an object id" in problem for problem in forged.verify())


@pytest.mark.parametrize("path", ["../../../FORMAT.json", "/etc/passwd", "a//b", "", "a\0"])
def test_a_forged_manifest_leads_nowhere(store, path):
    """Paths stay in the object."""
    manifest = [*store.record("session", "m1")["manifest"], {"path": path, "size": 1, "sha256": "0" * 64}]
    forged = forge(store, manifest=manifest)
    with pytest.raises(IntegrityError, match="leaves the object"):
        forged.session("forged")
    assert any("leaves the object" in problem for problem in forged.verify())


def test_a_manifest_without_a_chunk_is_not_opened(store):
    """zarr would read it as zeros; the object id does not fit either."""
    manifest = [e for e in store.record("session", "m1")["manifest"] if e["path"] != "spike_time/c/1"]
    forged = forge(store, manifest=manifest)
    with pytest.raises(IntegrityError, match="'spike_time' should have 4 chunk files, its manifest lists 3"):
        forged.session("forged")
    assert any("does not belong to its id" in problem for problem in forged.verify())
    for entry in ({"path": "x"}, {"path": None, "size": 1, "sha256": ""}, 7):
        forged = forge(store, manifest=[entry])
        with pytest.raises(IntegrityError, match="manifest entry .* is broken"):
            forged.session("forged")
        assert any("is broken" in problem for problem in forged.verify())


ARRAY = {
    "shape": [10, 10], "data_type": "int16", "zarr_format": 3, "node_type": "array", "dimension_names": ["a", "b"],
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 5]}},
    "codecs": [{"name": "bytes"}, {"name": "blosc"}, {"name": "crc32c"}],
}  # fmt: skip


def grid(*sizes):
    """A chunk grid of this chunk shape."""
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(sizes)}}}


def sharded(*sizes, codec="blosc"):
    """Codecs with shards of these inner chunks."""
    inner = {"chunk_shape": list(sizes), "codecs": [{"name": codec}], "index_codecs": [{"name": "crc32c"}]}
    return {"codecs": [{"name": "sharding_indexed", "configuration": inner}]}


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"shape": [10**15, 1]}, LimitError, "elements"),
        ({"shape": [10**400, 1]}, LimitError, "elements"),
        ({"shape": [10**4, 10**5]} | grid(10**4, 10**5), LimitError, "bytes in a chunk"),
        ({"shape": [10**4, 10**4]} | grid(1, 1), LimitError, "chunks"),
        (grid(10**9, 10**9) | sharded(1, 1), LimitError, "chunks in a shard"),
        ({"attributes": {"x": "y" * 2_100_000}}, LimitError, "bytes of attributes"),
        (grid(0, 5), IntegrityError, "that mitral writes"),
        ({"shape": [-1, 5]}, IntegrityError, "that mitral writes"),
        ({"shape": [1.5, 5]}, IntegrityError, "that mitral writes"),
        ({"shape": None}, IntegrityError, "no metadata of"),
        (grid(5), IntegrityError, "that mitral writes"),
        ({"zarr_format": 2}, IntegrityError, "that mitral writes"),
        ({"dimension_names": ["a", None]}, IntegrityError, "that mitral writes"),
        ({"attributes": []}, IntegrityError, "that mitral writes"),
        ({"attributes": {"x": "\ud800"}}, IntegrityError, "surrogates not allowed"),
        ({"data_type": "string"}, StoreError, "type 'string'"),
        ({"data_type": {"name": "numpy.datetime64"}}, StoreError, "type"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, StoreError, "codec 'numcodecs.pickle'"),
        (sharded(5, 5, codec="pickle"), StoreError, "codec 'pickle'"),
        (sharded(0, 5), IntegrityError, "that mitral writes"),
        ({"codecs": [{}]}, IntegrityError, "KeyError"),
    ],
)
def test_metadata_beyond_the_limits_is_refused_before_zarr_sees_it(change, kind, words):
    """Memory bombs, unknown codecs and types, and what is no array at all."""
    limits.check_array(ARRAY, where="x/zarr.json")
    with pytest.raises(kind, match=f"x/zarr.json.*{words}"):
        limits.check_array(ARRAY | change, where="x/zarr.json")


def test_too_many_or_nested_nodes_are_refused():
    """mitral stores one group of arrays."""
    limits.check_nodes({"zarr.json": 0, "a/zarr.json": 0}, where="x")
    with pytest.raises(LimitError, match="one group of at most 10,000 arrays"):
        limits.check_nodes({f"{i}/zarr.json": 0 for i in range(10_001)}, where="x")
    with pytest.raises(LimitError, match="one group"):
        limits.check_nodes({"a/b/zarr.json": 0}, where="x")


def test_a_group_that_mitral_did_not_write_is_not_opened(tmp_path):
    """Its coordinates would be guessed."""
    xr.Dataset({"a": ("x", [1, 2])}).to_zarr(tmp_path / "g", zarr_format=3, consolidated=False)
    manifest = objects.manifest_of(tmp_path / "g")
    with pytest.raises(IntegrityError, match="no '_mitral' attribute"):
        open_object(tmp_path, "g", manifest, eager=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coords": ["unit", "odour"]}, "do not make a Dataset"),
        ({"array": "nothing"}, "do not make a Dataset"),
        ({"decode": {"trace": "text"}}, "float64 cannot be decoded as 'text'"),
        ({"decode": {"spike_time": "datetime64[evil]"}}, r"int64 cannot be decoded as 'datetime64\[evil\]'"),
        ({"decode": None}, "no '_mitral' attribute"),
    ],
)
def test_a_group_that_contradicts_itself_is_not_opened(store, tmp_path, change, words):
    """What is said of the arrays must fit them."""
    shutil.copytree(stored(store, ""), tmp_path / "g")
    metadata = json.loads((tmp_path / "g" / "zarr.json").read_text())
    metadata["attributes"]["_mitral"] |= change
    (tmp_path / "g" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(IntegrityError, match=words):
        open_object(tmp_path, "g", objects.manifest_of(tmp_path / "g"), eager=True)


def test_a_code_without_a_text_is_an_error(store, tmp_path):
    """Cut the list of texts: the codes that stood for them are not read as others."""
    shutil.copytree(stored(store, ""), tmp_path / "g")
    metadata = json.loads((tmp_path / "g" / "odor" / "zarr.json").read_text())
    metadata["attributes"]["categories"] = ["a"]
    (tmp_path / "g" / "odor" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(IntegrityError, match="odor: code 1 stands for none of 1 texts"):
        open_object(tmp_path, "g", objects.manifest_of(tmp_path / "g"), eager=True)


@pytest.mark.parametrize(
    "data", [b'{"a": NaN}', b"", b"[1]", b"{", b"[" * 100_000, b"\xff", b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_not_a_json_object_is_named(data):
    """Also nested too deep for the parser, and a number of 5000 digits."""
    with pytest.raises(IntegrityError, match="file x"):
        seal.parse(data, where="file x")


def test_a_file_beyond_its_limit_is_not_read(store, monkeypatch):
    """A record or metadata file of gigabytes."""
    monkeypatch.setattr(log, "MAX_RECORD_BYTES", 100)
    with pytest.raises(LimitError, match="at most 100 are read"):
        Store(store.path)
    assert any("at most 100 are read" in problem for problem in store.verify())


def test_an_unreadable_file_is_an_error_in_words(store, monkeypatch):
    """An error of the operating system names what was being read."""
    session = store.session("m1")

    def failing(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", failing)
    for read in (session.spike_time.compute, lambda: store.session("m1"), store.refresh, lambda: Store(store.path)):
        with pytest.raises(StoreError, match="could not be read.*Permission denied"):
            read()


def test_a_lazy_array_can_be_sent_to_another_process(store):
    """Workers open the array by themselves: the open handle stays at home."""
    session = store.session("m1")
    [array] = [value for value in session.trace.data.dask.values() if isinstance(value, StoredArray)]
    first = array[:5]
    copy = StoredArray.__new__(StoredArray)
    copy.__dict__.update(array.__getstate__())
    assert copy._array is None
    np.testing.assert_array_equal(copy[:5], first)
