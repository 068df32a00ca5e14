"""What is saved comes back as it was, lazily, under its name."""

import warnings

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import Phase, given, settings

from mitral.datasets.errors import ConflictError, LimitError, SchemaError, StoreError, UnknownName
from mitral.datasets.schema import make_session
from mitral.datasets.store import Store, arrays, layout, opening


def a_session(name="m1-day1", *, n_spikes=200, n_samples=0, seed=0, **attrs):
    """A small session with odd text and every usual column."""
    rng = np.random.default_rng(seed)
    trials = {"odor": ["α-pinene", "", "a b"], "odor_onset": [1.0, np.nan, 5.5], "rewarded": [True, False, True]}
    units = {"unit": ["m1/u0", "m1/u1"], "area": ["OB", "PCx"], "depth um": [10.5, 20.25]}
    traces = {
        "trace": rng.normal(size=(n_samples, 2)).astype("f4"),
        "sample_time_s": np.arange(n_samples) / max(30, n_samples / 500),
    }
    sniff = {"sniff": (np.arange(50) / 10, rng.normal(size=50), "a.u.")}
    return make_session(
        name, "m1", trials=trials, units=units, trial_units={"odor_onset": "s"}, recorded_s=(0.0, 600.0),
        spike_ticks=rng.integers(0, 600 * 30_000, n_spikes), spike_unit=rng.integers(0, 2, n_spikes),
        ticks_per_s=30_000, signals=sniff, attrs=attrs, **(traces if n_samples else {}),
    )  # fmt: skip


def a_result(**attrs):
    """A small result with numbers that JSON does not have."""
    scores = xr.Dataset(
        {"score": ("fold", [0.25, 0.75]), "confusion": (("label", "predicted_label"), np.eye(2, dtype=int))},
        coords={"label": ["a", "b"], "predicted_label": ["a", "b"]},
    )
    return scores.assign_attrs({"kind": "decoding", "target": "odor", "p_value": float("nan"), "warnings": []} | attrs)


@pytest.fixture
def store(tmp_path):
    """An empty store in a folder whose name has a space."""
    return Store.create(tmp_path / "lab store")


def test_a_session_comes_back_identical(store):
    """Values, types, dims, coordinates and attributes; spike_index is all that is added."""
    session = a_session(n_samples=90)
    assert store.save_session(session) == "m1-day1"
    found = store.session("m1-day1")
    xr.testing.assert_identical(found.drop_vars("spike_index").compute(), session)
    assert {name: variable.dtype for name, variable in session.variables.items()}.items() <= dict(
        found.dtypes
    ).items() | {(name, variable.dtype) for name, variable in found.coords.items()}


@pytest.mark.parametrize(
    "values",
    [np.array([0, 1, 1, 0, 1], dtype) for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
    + [np.array([1.5, np.nan, np.inf, -np.inf, -0.0], dtype) for dtype in ("f4", "f8")]
    + [np.array([True, False, True, True, False]), np.array(["é", "", "x", "x", "漢字"])]
    + [np.array(["x", "y", "", "x", "z"], dtype=object), pd.array(["x", "y", "", "x", "z"], dtype="string")]
    + [
        np.array(["2024-01-02T03:04:05.678", "NaT", "1969-12-31", "2000", "2100"], dtype=f"M8[{u}]")
        for u in ("s", "ns")
    ]
    + [np.arange(5, dtype=">i4")],
    ids=lambda values: f"{values.dtype}",
)
def test_every_type_comes_back(store, values):
    """As data variable and as coordinate; text comes back as numpy text, integers in native byte order."""
    result = xr.Dataset({"value": ("x", values)}, coords={"column": ("x", values)}, attrs={"kind": "study"})
    store.save_result(result, name="r", content_key="k")
    found = store.result("r")
    for name in ("value", "column"):
        np.testing.assert_array_equal(found[name].to_numpy(), np.asarray(values))
        kind = np.asarray(values).dtype
        assert found[name].dtype == (kind.newbyteorder("=") if kind.kind != "O" else found[name].dtype)
        assert found[name].dtype.kind != "O"


def test_scalars_and_empty_arrays_come_back(store):
    """No dims and no elements are shapes like others."""
    result = xr.Dataset(
        {"empty": ("x", np.zeros(0, "f4")), "scalar": 2.5}, coords={"word": "odor"}, attrs={"kind": "study"}
    )
    store.save_result(result, name="r", content_key="k")
    xr.testing.assert_identical(store.result("r"), result)


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes here
@given(data=st.data())
def test_any_small_session_comes_back_identical(tmp_path_factory, data):
    """Whatever text, times, spikes and chunks in memory: equal content comes back, under one object id."""
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    n_trials, n_units, n_spikes = (data.draw(st.integers(least, 6)) for least in (1, 1, 0))
    floats = st.floats(allow_infinity=False, width=64)
    draw = {"odor": text, "odor_onset": floats, "note": text, "block": st.integers(-(2**40), 2**40)}
    trials = {name: data.draw(st.lists(kind, min_size=n_trials, max_size=n_trials)) for name, kind in draw.items()}
    session = make_session(
        "any", "m", trials=trials, units={"unit": [f"u{i}" for i in range(n_units)]}, recorded_s=(0.0, 100.0),
        trial_units={"odor_onset": "s"}, ticks_per_s=1000.0,
        spike_ticks=np.array(data.draw(st.lists(st.integers(0, 99_999), min_size=n_spikes, max_size=n_spikes)), int),
        spike_unit=np.array([i % n_units for i in range(n_spikes)], int),
        attrs={"note": data.draw(text), "more": data.draw(st.dictionaries(text, st.integers(), max_size=3))},
    )  # fmt: skip
    store = Store.create(tmp_path_factory.mktemp("store"))
    store.save_session(session)
    found = store.session("any")
    xr.testing.assert_identical(found.drop_vars("spike_index").compute(), session)
    assert store.save_session(session.chunk()) == store.save_session(found) == "any"
    assert store.position == 1 and store.verify() == []


def test_chunks_in_memory_leave_no_trace_on_disk(store, tmp_path, monkeypatch):
    """A sharded trace and blocks of spikes, written from dask in other chunks, give the same object id."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 64)
    monkeypatch.setattr(layout, "SHARD_BYTES", 2**20)
    monkeypatch.setattr(layout, "ONE_CHUNK_BYTES", 2**20)
    session = a_session(n_spikes=1000, n_samples=300_000)
    store.save_session(session)
    other = Store.create(tmp_path / "other")
    other.save_session(session.chunk({"spike": 77, "sample": 12_345, "unit": 1}))
    assert other.record("session", "m1-day1")["object"] == store.record("session", "m1-day1")["object"]
    assert len([e for e in other.record("session", "m1-day1")["manifest"] if e["path"].startswith("trace/c/")]) == 3
    xr.testing.assert_identical(other.session("m1-day1").drop_vars("spike_index").compute(), session)


def test_opening_and_selecting_compute_nothing(store, no_compute):
    """A session of any size opens at once; only coordinates and the spike index are read."""
    words = {"word": ("sample", np.array(["a", "b"] * 45)), "day": ("sample", np.arange(90).astype("M8[ns]"))}
    saved = a_session(n_samples=90).assign(words)
    store.save_session(saved)
    with no_compute():
        session = Store(store.path).session("m1-day1")
        part = session.isel(sample=slice(3, 9), spike=slice(0, 10), unit=[1])
        assert part.trace.shape == (6, 1) and session.spike_index.to_numpy().size == 1
    assert all(session[name].chunks for name in ("spike_time", "spike_unit", "trace", "sniff", "word", "day"))
    xr.testing.assert_identical(session[["word", "day"]].compute(), saved[["word", "day"]])
    assert not any(column.chunks for column in session.coords.values())


def test_a_large_coordinate_is_cut_and_stays_lazy(store, monkeypatch):
    """A clock of hours at kilohertz is not read on open; the ids of trials and units always are."""
    for module in (layout, opening):
        monkeypatch.setattr(module, "COORDINATE_BYTES", 100)
    monkeypatch.setattr(layout, "BLOCKS", {1: (64,), 2: (32, 1), 3: (50, 125, 50)})
    trials = {"trials": {"trial": np.arange(50), "odor": ["a"] * 50}, "trial_units": {}}
    trace = {"trace": np.zeros((300, 1)), "sample_time_s": np.arange(300.0)}
    session = make_session("long", "m1", units={"unit": ["u0"]}, recorded_s=(0.0, 300.0), **trials, **trace)
    store.save_session(session)
    found = store.session("long")
    assert found.sample_time.chunks and not found.trial.chunks
    xr.testing.assert_identical(found.compute(), session)


def test_writing_a_lazy_session_holds_a_block_at_a_time(store):
    """Each block of a dask array is computed once, and none is larger than what is written at once."""
    import dask.array as da

    seen = []

    def block(block_info=None):
        seen.append(block_info[None]["chunk-shape"])
        return np.full(block_info[None]["chunk-shape"], len(seen), "f4")

    trace = da.map_blocks(block, chunks=((100_000,) * 4, (64,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    session = a_session().drop_vars(["spike_time", "spike_unit"]).isel(unit=[0] * 64).assign_coords(unit=np.arange(64))
    session = session.assign(trace=(("sample", "unit"), trace)).assign_coords(
        sample_time=("sample", np.arange(4e5) / 1000)
    )
    store.save_session(session)
    assert seen == [(100_000, 64)] * 4
    assert "spike_index" not in store.session("m1-day1")


def test_the_spike_index_names_the_first_tick_of_each_block(store, monkeypatch):
    """A window finds its chunks without reading a spike."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 64)
    session = a_session(n_spikes=200)
    store.save_session(session)
    found = store.session("m1-day1")
    assert found.spike_index.attrs == {"spikes_per_block": 64}
    np.testing.assert_array_equal(found.spike_index, session.spike_time[::64])
    assert found.spike_time.chunks == ((64, 64, 64, 8),)


def test_an_index_that_came_with_the_session_is_made_anew(store, monkeypatch):
    """A part of a stored session carries an index that no longer fits."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 64)
    store.save_session(a_session(n_spikes=200))
    part = store.session("m1-day1").isel(spike=slice(10, None)).assign_attrs(session="part")
    store.save_session(part)
    np.testing.assert_array_equal(store.session("part").spike_index, part.spike_time[::64])
    silent = part.drop_vars(["spike_time", "spike_unit"]).assign_attrs(session="silent")
    silent = silent.assign(trace=(("sample", "unit"), np.zeros((3, 2)))).assign_coords(
        sample_time=("sample", [0.0, 1, 2])
    )
    store.save_session(silent)
    assert "spike_index" not in store.session("silent")


def test_a_window_of_spikes_reads_its_block_only(store, monkeypatch):
    """One of four chunks is read for ten spikes."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 64)
    store.save_session(a_session(n_spikes=200))
    session, read = store.session("m1-day1"), []
    get = arrays.CheckedFiles.get

    async def counted(self, key, *args, **kwargs):
        read.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(arrays.CheckedFiles, "get", counted)
    session.spike_time.isel(spike=slice(70, 80)).to_numpy()
    assert [key for key in read if "/c/" in key] == ["spike_time/c/1"]


@pytest.mark.parametrize(
    "part",
    [
        np.s_[:5],
        np.s_[290:310:3, 1],
        np.s_[::-1],
        np.s_[[300, 2, 2]],
        np.s_[7],
        np.s_[:, [1, 0]],
        np.s_[5:5],
        np.s_[-9:],
    ],
)
def test_any_selection_of_a_sharded_trace_is_that_of_numpy(store, monkeypatch, part):
    """Slices, steps, lists and single values, handed down to the file or not."""
    monkeypatch.setattr(layout, "ONE_CHUNK_BYTES", 2**10)
    monkeypatch.setattr(layout, "BLOCKS", {1: (256,), 2: (32, 1), 3: (50, 125, 50)})
    session = a_session(n_samples=320)
    store.save_session(session)
    np.testing.assert_array_equal(store.session("m1-day1").trace[part], session.trace[part])


def test_the_object_is_plain_zarr(store):
    """zarr and xarray open it without mitral and without a warning; text is codes and categories."""
    store.save_session(a_session(n_samples=90))
    [folder] = (store.path / "objects").glob("*/*")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(folder, consolidated=False)
        group = zarr.open_group(folder, mode="r")
    assert plain.trace.dims == ("sample", "unit") and {"odor", "area", "sample_time"} <= set(plain.coords)
    words = np.array(group["odor"].attrs["categories"])[group["odor"][:]]
    assert words.tolist() == ["α-pinene", "", "a b"]
    codecs = [codec["name"] for codec in group["trace"].metadata.to_dict()["codecs"]]
    assert codecs == ["bytes", "blosc", "crc32c"]


def test_a_trajectory_comes_back_as_an_array(store):
    """With its coordinates and attributes; its kind is written down."""
    trajectory = xr.DataArray(
        np.arange(12.0).reshape(3, 2, 2), dims=("trial", "time", "latent"),
        coords={"time": [0.0, 0.1], "in_fit": ("trial", [True, False, True])},
        attrs={"session": "m1-day1", "explained_variance": [0.5, 0.25]},
    )  # fmt: skip
    store.save_result(trajectory, name="pca", content_key="k")
    expected = trajectory.rename("trajectory").assign_attrs(kind="trajectory")
    xr.testing.assert_identical(store.result("pca"), expected)
    assert store.results().kind.tolist() == ["trajectory"]
    with pytest.raises(SchemaError, match=r"saved as a trajectory \(trial, time, latent\), got dims \('trial',\)"):
        store.save_result(trajectory[:, 0, 0], name="line", content_key="k")


def test_a_result_comes_back_with_numbers_that_json_lacks(store):
    """NaN in attributes is stored in strict JSON and is NaN again."""
    store.save_result(a_result(), name="odor, all mice", content_key="k")
    found = store.result("odor, all mice")
    assert np.isnan(found.attrs["p_value"]) and not found.score.chunks
    xr.testing.assert_equal(found, a_result())
    assert np.isnan(store.results().p_value[0])
    for entry in (store.path / "log").iterdir():
        assert b"NaN," not in entry.read_bytes().replace(b'"NaN"', b"")


def test_large_variables_of_a_result_stay_lazy(store):
    """More than 1 MiB is read when it is asked for."""
    store.save_result(a_result().assign(null=("draw", np.zeros(200_000))), name="r", content_key="k")
    assert store.result("r").null.chunks and not store.result("r").score.chunks


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.datetime64("2024-01-01"), "got datetime.date"),
        (b"x", "got b'x'"),
        (1j, "got 1j"),
        ({1: 2}, "the key 1 is not text"),
        ({"float": "NaN"}, "is how NaN and infinity are stored"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_an_attribute_that_json_lacks_is_refused(store, value, words):
    """Nothing is turned into text in silence; the message names the attribute."""
    with pytest.raises(SchemaError, match=f"(?s)result 'r'.*'odd'.*{words}"):
        store.save_result(a_result(config=[1]).assign_attrs(odd=value), name="r", content_key="k")
    assert store.position == 0


def test_attributes_that_are_too_deep_or_too_long_are_refused(store):
    """They would not open again."""
    deep = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(LimitError, match="nested more than 16 deep"):
        store.save_result(a_result(deep=deep), name="r", content_key="k")
    with pytest.raises(LimitError, match="at most 1,000,000"):
        store.save_result(a_result(long="x" * 1_100_000), name="r", content_key="k")
    with pytest.raises(LimitError, match="different texts take"):
        many = np.array([f"{i:020d}" for i in range(60_000)])
        store.save_result(a_result().assign_coords(note=("n", many)), name="r", content_key="k")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.assign(z=("x", [1j])), "type complex128 is not stored"),
        (lambda d: d.assign(z=("x", np.array([1], "m8[s]"))), "Convert it to seconds"),
        (lambda d: d.assign(z=("x", np.array(["a", 2.5], object))), "1 of 2 values are neither .* at position 1"),
        (lambda d: d.stack(pair=("label", "predicted_label")), "'pair' is a MultiIndex"),
        (lambda d: d.assign_attrs(coordinates="label"), "'coordinates' is reserved"),
        (lambda d: d.assign(z=("x", ["a"], {"categories": []})), "'categories' is how"),
        (lambda d: d.assign({"a/b": 1}), "looks like a path"),
        (lambda d: d.assign({"zarr.json": 1}), "belong to zarr"),
        (lambda d: d.assign_attrs(kind=""), "'kind' must say what it is"),
        (lambda d: d.assign_attrs(kind="session"), "saved with save_session"),
        (lambda d: d.score.to_numpy(), "expected an xarray.Dataset"),
    ],
)
def test_what_cannot_be_stored_is_refused(store, change, words):
    """Before anything is written, with the variable's name."""
    with pytest.raises(SchemaError, match=words):
        store.save_result(change(a_result()), name="r", content_key="k")
    assert store.position == 0 and not list((store.path / "staging").iterdir())


def test_spikes_out_of_order_are_refused(store, monkeypatch):
    """The index would lead a window to the wrong chunk; the seam between two blocks is checked too."""
    monkeypatch.setattr(layout, "SPIKES_PER_BLOCK", 4)
    for times in ([1, 3, 2, 4, 5], [1, 2, 3, 9, 8]):
        session = a_session(n_spikes=5).assign(spike_time=("spike", np.array(times), {"ticks_per_s": 30_000.0}))
        with pytest.raises(SchemaError, match="'spike_time' is not sorted between"):
            store.save_session(session)
    session = a_session(n_spikes=5)
    beyond = session.assign(spike_unit=("spike", [0, 1, 2, 0, 0], session.spike_unit.attrs))
    with pytest.raises(SchemaError, match="positions 0 to 2, but there are 2 units"):
        store.save_session(beyond)


def test_a_session_that_breaks_the_schema_is_refused(store):
    """The store holds checked sessions only."""
    with pytest.raises(SchemaError, match="it has no trials"):
        store.save_session(a_session().isel(trial=[]))


def test_names_that_differ_in_case_only_conflict(store):
    """People cannot tell them apart, and some file systems neither."""
    store.save_session(a_session("m1-day1"))
    with pytest.raises(
        ConflictError, match=r"'M1-Day1' differs only in case from 'm1-day1', saved by .* \(log record 1\)"
    ):
        store.save_session(a_session("M1-Day1"))
    store.save_result(a_result(), name="M1-Day1", content_key="k")


def test_the_same_content_again_changes_nothing(store):
    """Also from another handle that has not seen it, and from the store itself."""
    other = Store(store.path)
    store.save_session(a_session())
    assert other.save_session(a_session()) == "m1-day1"
    assert store.save_session(store.session("m1-day1")) == "m1-day1"
    assert store.refresh() == other.position == 1


def test_other_content_under_a_taken_id_conflicts(store):
    """The error says who, when, which record, and what to do; the first stays."""
    store.save_session(a_session())
    record = store.record("session", "m1-day1")
    words = rf"other content, saved by {record['user']} on .* at {record['time']} \(log record 1\).*another name"
    with pytest.raises(ConflictError, match=words.replace("+", r"\+")):
        store.save_session(a_session(seed=1))
    assert store.record("session", "m1-day1") == record and store.verify() == []


def test_a_result_made_of_the_same_is_not_saved_twice(store):
    """Same content key: computed again, perhaps at another time; other key: conflict."""
    store.save_result(a_result(), name="r", content_key="k")
    assert store.save_result(a_result(computed_at="later"), name="r", content_key="k") == "r"
    assert store.position == 1 and "computed_at" not in store.result("r").attrs
    assert store.save_result(a_result(), name="r", content_key="other") == "r"
    with pytest.raises(ConflictError, match="result 'r' is there already with other content"):
        store.save_result(a_result(n_trials=3), name="r", content_key="other")
    with pytest.raises(SchemaError, match="content_key must be a text"):
        store.save_result(a_result(), name="r2", content_key="")


def test_equal_content_is_stored_once(store):
    """Two names, one object."""
    store.save_result(a_result(), name="a", content_key="1")
    store.save_result(a_result(), name="b", content_key="2")
    assert len(list((store.path / "objects").glob("*/*"))) == 1
    assert store.results().name.tolist() == ["a", "b"] and store.verify() == []


def test_a_reader_stays_at_its_position(store):
    """What is saved later shows after refresh only."""
    reader = Store(store.path)
    store.save_session(a_session())
    assert reader.position == 0 and reader.sessions().empty
    with pytest.raises(UnknownName, match=r"no session 'm1-day1' at position 0. There are none yet."):
        reader.session("m1-day1")
    assert reader.refresh() == 1
    assert reader.session("m1-day1").sizes["unit"] == 2


def test_the_catalogue_says_what_is_there_without_opening(store, monkeypatch):
    """Sizes, odors, areas, who and when; newest last."""
    store.save_session(a_session("b", date="2024-01-02"))
    store.save_session(a_session("a", n_spikes=5))
    store.save_result(a_result(score_mean=0.5, config="x" * 1000), name="r", content_key="k")
    for path in (store.path / "objects").glob("*/*/*"):
        path.rename(path.with_suffix(".gone"))
    table = Store(store.path).sessions()
    assert table.session.tolist() == ["b", "a"] and table.n_spikes.tolist() == [200, 5]
    assert table.odors[0] == ["", "a b", "α-pinene"] and table.areas[0] == ["OB", "PCx"] and table.n_trials[0] == 3
    assert table.record.tolist() == [1, 2] and table.saved_by.notna().all() and table.date[0] == "2024-01-02"
    results = Store(store.path).results()
    assert results.score_mean.tolist() == [0.5] and results.content_key.tolist() == ["k"] and "config" not in results


def test_an_empty_catalogue_has_its_columns(store):
    """So that a page and a script need no special case."""
    assert {"session", "animal", "n_units", "saved_by"} <= set(store.sessions().columns)
    assert {"name", "kind", "score_mean"} <= set(store.results().columns)


def test_unknown_names_are_answered_with_the_nearest(store):
    """A typing error shows what was meant."""
    store.save_session(a_session())
    with pytest.raises(UnknownName, match=r"no session 'm1-day2' at position 1. Nearest: 'm1-day1'"):
        store.session("m1-day2")
    with pytest.raises(UnknownName, match="no result 'm1-day1'"):
        store.result("m1-day1")
    with pytest.raises(UnknownName, match="'session' or 'result', got 'decoding'"):
        store.record("decoding", "x")


def test_a_commit_record_says_where_it_comes_from(store):
    """Who, where, when, with what, and from which file."""
    store.save_session(a_session(source_sha256="ab" * 32))
    record = store.record("session", "m1-day1")
    assert {"user", "host", "time", "tool", "write_id", "object", "manifest", "schema", "summary"} <= record.keys()
    assert (record["operation"], record["number"], record["source_sha256"]) == ("save", 1, "ab" * 32)
    assert record["time"].endswith("+00:00") and record["tool"].startswith("mitral ")


@pytest.mark.parametrize(
    ("make", "words"), [("missing", "no folder"), ("file", "is a file"), ("folder", "no FORMAT.json")]
)
def test_what_is_no_store_is_not_opened(tmp_path, make, words):
    """And the message says how one is made."""
    path = tmp_path / "lab"
    if make == "file":
        path.write_text("x")
    if make == "folder":
        path.mkdir()
    with pytest.raises(StoreError, match=words):
        Store(path)
    if make != "file":
        with pytest.raises(StoreError, match=r"Store\.create\(.*mitral ingest \.\.\. --store"):
            Store(path)


def test_create_refuses_what_is_there(tmp_path):
    """A store, a file, or a folder with something in it; nothing is changed."""
    Store.create(tmp_path / "store")
    with pytest.raises(StoreError, match=r"is a store already. Open it with Store\("):
        Store.create(tmp_path / "store")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file; a store is a folder"):
        Store.create(tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    with pytest.raises(StoreError, match=r"is not empty \(it holds 'notes.txt'\)"):
        Store.create(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(StoreError, match="no store could be made in"):
        Store.create(tmp_path / "file" / "below")


def test_odd_names_are_checked_and_found_again(store):
    """Sessions and results have names by the same rule, and a good one is found however odd."""
    store.save_result(a_result(), name="Ω-día 2", content_key="k")
    assert store.results().name.tolist() == ["Ω-día 2"] and store.result("Ω-día 2").sizes["fold"] == 2
    with pytest.raises(SchemaError, match="result name '../x' looks like a path"):
        store.save_result(a_result(), name="../x", content_key="k")
    with pytest.raises(SchemaError, match="session id 'a/b' looks like a path"):
        store.save_session(a_session("a/b"))
