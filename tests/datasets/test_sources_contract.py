"""The contract of all readers, and the function in front of them."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.datasets.schema import make_session
from mitral.datasets.sources import SOURCES, read_sessions
from mitral.datasets.sources.files import check_folder, sha256_of
from mitral.datasets.tables import resolve


def read_without_hash(path, *, animal="m1"):
    """A reader that forgets ``source_sha256`` among others."""
    yield make_session(
        path.name, animal, trials={"onset": [1.0]}, units={"unit": ["u"]}, trial_units={"onset": "s"},
        recorded_s=(0, 2), spike_ticks=[1], spike_unit=[0], ticks_per_s=1000,
    )  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_each_listed_source_is_a_function(name):
    """No line of the table points at nothing."""
    assert callable(resolve(name, SOURCES, what="source"))


def test_an_unknown_source_lists_the_nearest(tmp_path):
    """A misspelt reader is answered with the right one."""
    with pytest.raises(UnknownName, match="unknown source 'iurilli'. Nearest: 'iurilli2017'"):
        read_sessions("iurilli", tmp_path)


def test_a_missing_path_says_how_far_it_exists(tmp_path):
    """The message names the deepest folder that is there."""
    with pytest.raises(SchemaError, match="no file or folder .*day1.* but not what follows") as caught:
        read_sessions("nwb", tmp_path / "lab" / "day1.nwb")
    assert f"{str(tmp_path)!r} exists" in str(caught.value)


def test_an_unknown_option_lists_the_nearest(tmp_path):
    """Options are checked before any file is opened."""
    with pytest.raises(ConfigError, match="source 'arrays' has no option 'animl'. Nearest: 'animal'"):
        read_sessions("arrays", tmp_path, animl="m1")


def test_a_reader_of_another_package_is_held_to_the_contract(tmp_path):
    """A dotted path serves as a source, and a session without the reader's attrs is refused."""
    sys.modules["lab_readers"] = sys.modules[__name__]
    try:
        with pytest.raises(SchemaError, match="has no attribute 'dropped'. A reader sets source"):
            list(read_sessions("lab_readers:read_without_hash", tmp_path, animal="m2"))
    finally:
        del sys.modules["lab_readers"]


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    """A reader of folders says what the folder should hold."""
    (tmp_path / "spikes.csv").write_text("spike_time_s,unit\n")
    with pytest.raises(SchemaError, match="expected a folder that holds spikes.csv.*got the file 'spikes.csv'"):
        check_folder(tmp_path / "spikes.csv", holds="spikes.csv and trials.csv")


def test_the_hash_of_one_file_is_its_sha256(tmp_path):
    """The hash is the one that ``sha256sum`` prints, also across blocks."""
    content = np.random.default_rng(0).bytes((1 << 20) + 7)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_several_files_depends_on_content_and_names_not_order(tmp_path):
    """Listing files in another order changes nothing; a changed byte or name does."""
    a, b, c = (tmp_path / name for name in "abc")
    a.write_text("1")
    b.write_text("2")
    c.write_text("2")
    assert sha256_of(a, b) == sha256_of(b, a)
    assert sha256_of(a, b) != sha256_of(a, c)
    before = sha256_of(a, b)
    b.write_text("3")
    assert sha256_of(a, b) != before


def test_listing_sources_imports_no_reader():
    """Names of sources cost no heavy import."""
    code = "import sys, mitral.datasets.sources; print([m for m in ('pynwb', 'h5py', 'scipy.io') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pynwb" not in printed
