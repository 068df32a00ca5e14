"""The parts of a store that need no folder: names, attributes, and how arrays are cut."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mitral.datasets.errors import SchemaError
from mitral.datasets.store import attributes, encode, layout, names


@pytest.mark.parametrize("name", ["mouse 1", "Ω-día", "a.b", "-", "x" * 120, "漢字", "<b>", "=cmd|x"])
def test_good_names_are_taken(name):
    """Spaces, Unicode and punctuation never meet the file system."""
    assert names.check_name(name, what="session id") == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        (".", "looks like a path"),
        ("..", "looks like a path"),
        ("../../etc/passwd", "looks like a path"),
        ("a\\b", "looks like a path"),
        ("a\nb", r"U\+000A"),
        ("a\x00", r"U\+0000"),
        ("a\u202eb", r"U\+202E"),
        (" a", "Use 'a'"),
        ("a ", "Use 'a'"),
        ("x" * 121, "121 characters; at most 120"),
        ("e\u0301", "Use 'é'"),
        (7, "is text, got 7"),
    ],
)
def test_bad_names_are_refused(name, words):
    """With the rule, and the name that would do."""
    with pytest.raises(SchemaError, match=words):
        names.check_name(name, what="session id")


def test_names_of_variables_are_folder_names():
    """What zarr keeps for itself, and what no file system takes."""
    for name in ("__a", "c", "zarr.json", "é" * 101):
        with pytest.raises(ValueError, match="belong to zarr"):
            names.check_variable(name, where="x")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
        max_leaves=8,
    )
)
def test_attributes_come_back(value):
    """Any JSON value, and NaN and infinity at any depth."""
    stored = json.loads(json.dumps(attributes.to_json(value, where="x"), allow_nan=False))
    assert repr(attributes.from_json(stored)) == repr(_sorted(value))


def _sorted(value):
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


def test_large_arrays_are_sharded_with_checked_indexes():
    """Blocks of (50, 125, 50) in shards; dask reads whole blocks and never across a shard."""
    for shape in ((600, 500, 400), (60, 2000, 1000), (7, 130, 3000)):
        chunks, shards = layout.stored_grid(("trial", "time", "unit"), shape, np.dtype("f4"), is_coord=False)
        assert chunks == tuple(min(a, b) for a, b in zip((50, 125, 50), shape, strict=True)) or chunks[1:] == (125, 50)
        read = layout.read_grid(chunks, shards, np.dtype("f4"))
        assert all(s % r == 0 and r % c == 0 for s, r, c in zip(shards, read, chunks, strict=True))
        assert np.prod(shards) * 4 <= layout.SHARD_BYTES
        assert read[0] == chunks[0] or np.prod(read) * 4 <= layout.READ_BYTES


def test_saving_and_opening_in_other_chunk_grids_agree():
    """The regions that are written cover an array once, whole chunks each."""
    for shape, region in (((10, 7), (4, 3)), ((5,), (8,)), ((), ())):
        count = np.zeros(shape, int)
        for part in encode._regions(shape, region):
            count[part] += 1
        assert (count == 1).all()
