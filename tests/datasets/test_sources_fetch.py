"""Fetching published files, from a folder and from a server on this machine."""

import hashlib
import http.server
import socket
import threading
import time

import pytest

from mitral.datasets.errors import IntegrityError, SchemaError, StoreError, UnknownName
from mitral.datasets.sources import fetch as fetching
from mitral.datasets.sources.fetch import PUBLISHED, Published, RemoteFile, fetch

CONTENT = {"a.mat": b"A" * 200_000, "b.mat": b"B" * 10}


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with ``CONTENT``, or misbehaves as the first folder of the path says."""

    def do_GET(self):
        _, behaviour, name = self.path.split("/")
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "redirect":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/a.mat")
            return self.end_headers()
        body = {"longer": CONTENT[name] + b"x", "other": b"x" * len(CONTENT[name]), "short": CONTENT[name][:-1]}
        body["broken"] = body["short"]
        self.send_response(200)
        if behaviour == "broken":
            self.send_header("Content-Length", str(len(CONTENT[name])))
        self.end_headers()
        self.wfile.write(body.get(behaviour, CONTENT[name]))

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def server():
    """Address of a server on this machine."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def publish(monkeypatch):
    """Publish ``CONTENT`` as set "toy" at an address; plain http is allowed for this server only here."""

    def at(address, schemes=("https", "http")):
        files = [RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENT.items()]
        monkeypatch.setitem(PUBLISHED, "toy", Published(address, tuple(files), "none"))
        monkeypatch.setattr(fetching, "_SCHEMES", schemes)

    return at


def test_files_are_downloaded_and_then_present(server, publish, tmp_path):
    """The second call downloads nothing, and what came is what was published."""
    publish(f"{server}/right/")
    destination = tmp_path / "new" / "folder"
    assert fetch("toy", destination) == [(destination / name, "downloaded") for name in CONTENT]
    publish("http://127.0.0.1:9/")
    assert fetch("toy", destination) == [(destination / name, "present") for name in CONTENT]
    assert {path.name: path.read_bytes() for path in destination.iterdir()} == CONTENT


def test_progress_counts_up_to_all_bytes(server, publish, tmp_path):
    """Each file ends at its full size and never goes backwards."""
    publish(f"{server}/right/")
    calls = []
    fetch("toy", tmp_path, progress=lambda *call: calls.append(call))
    for name, data in CONTENT.items():
        done = [call[1] for call in calls if call[0] == name]
        assert done == sorted(done) and done[-1] == len(data)


@pytest.mark.parametrize("behaviour", ["other", "short", "broken", "longer"])
def test_a_file_that_is_not_the_published_one_leaves_nothing(server, publish, tmp_path, behaviour):
    """Other bytes, fewer bytes and more bytes are all refused, and no file stays."""
    publish(f"{server}/{behaviour}/")
    with pytest.raises(StoreError, match="Nothing was kept|cannot download"):
        fetch("toy", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_hash_is_an_integrity_error(server, publish, tmp_path):
    """The message names both hashes."""
    publish(f"{server}/other/")
    with pytest.raises(
        IntegrityError, match="a.mat: expected 200000 bytes with sha256 .* this is not the published file"
    ):
        fetch("toy", tmp_path)


def test_more_bytes_than_published_stop_the_download(server, publish, tmp_path):
    """A server cannot fill the disk."""
    publish(f"{server}/longer/")
    with pytest.raises(IntegrityError, match="expected 200000 bytes, more came"):
        fetch("toy", tmp_path)


def test_no_answer_names_the_address_and_the_way_around(publish, tmp_path):
    """Offline, the message says what to type."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        publish(address)
        with pytest.raises(StoreError, match=f"cannot download {address}a.mat: .*mitral fetch toy --from FOLDER"):
            fetch("toy", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_is_said(server, publish, tmp_path):
    """A 404 names the address."""
    publish(f"{server}/missing/")
    with pytest.raises(StoreError, match="cannot download .*/missing/a.mat: Not Found"):
        fetch("toy", tmp_path)


def test_a_silent_server_does_not_hang(publish, tmp_path, monkeypatch):
    """A server that accepts and says nothing is given up after the longest wait."""
    monkeypatch.setattr(fetching, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.monotonic()
        with pytest.raises(StoreError, match="cannot download .*timed out"):
            fetch("toy", tmp_path)
    assert time.monotonic() - start < 5


def test_a_download_that_never_ends_is_given_up(server, publish, tmp_path, monkeypatch):
    """Bytes that trickle cannot keep a download alive past its limit."""
    publish(f"{server}/right/")
    monkeypatch.setattr(fetching, "LONGEST_S", -1.0)
    with pytest.raises(StoreError, match="not finished after -1 s"):
        fetch("toy", tmp_path)


def test_only_https_is_used(server, publish, tmp_path):
    """A plain http address is never opened."""
    publish(f"{server}/right/", schemes=("https",))
    with pytest.raises(StoreError, match="only https is used, not http"):
        fetch("toy", tmp_path)


def test_a_redirect_to_another_scheme_is_not_followed(server, publish, tmp_path):
    """A server cannot send the download elsewhere by ftp or file."""
    publish(f"{server}/redirect/")
    with pytest.raises(StoreError, match="ftp://127.0.0.1/a.mat: only https is used, not ftp"):
        fetch("toy", tmp_path)


def test_every_published_address_is_https_at_a_fixed_commit():
    """No set points at a branch that may move."""
    for published in PUBLISHED.values():
        assert published.address.startswith("https://") and published.address.endswith("/")
        assert any(len(part) == 40 and int(part, 16) for part in published.address.split("/") if part.isalnum())
        assert all(len(file.sha256) == 64 for file in published.files)


def test_files_are_copied_from_a_folder(publish, tmp_path):
    """With a folder no address is opened, and the hash is checked all the same."""
    publish("http://127.0.0.1:9/")
    (tmp_path / "from").mkdir()
    for name, data in CONTENT.items():
        (tmp_path / "from" / name).write_bytes(data)
    to = tmp_path / "to"
    assert fetch("toy", to, from_folder=tmp_path / "from") == [(to / name, "copied") for name in CONTENT]
    assert (to / "a.mat").read_bytes() == CONTENT["a.mat"]


def test_a_wrong_file_in_the_folder_is_refused(publish, tmp_path):
    """A local file of that name with other bytes is not the published one."""
    publish("http://127.0.0.1:9/")
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a.mat").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="a.mat: .*got 5 bytes"):
        fetch("toy", tmp_path / "to", from_folder=tmp_path / "from")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_folder_without_the_file_is_named(publish, tmp_path):
    """The message names the file and the option."""
    publish("http://127.0.0.1:9/")
    with pytest.raises(StoreError, match="cannot copy .*a.mat.*No such file.*--from"):
        fetch("toy", tmp_path / "to", from_folder=tmp_path)
    with pytest.raises(SchemaError, match="no file or folder"):
        fetch("toy", tmp_path / "to", from_folder=tmp_path / "absent")


def test_a_wrong_file_at_the_destination_is_not_overwritten(publish, tmp_path):
    """It may be somebody's own file."""
    publish("http://127.0.0.1:9/")
    (tmp_path / "a.mat").write_bytes(b"mine")
    with pytest.raises(IntegrityError, match="a.mat: .*Move it away and fetch again"):
        fetch("toy", tmp_path)
    assert (tmp_path / "a.mat").read_bytes() == b"mine"


def test_a_destination_that_is_a_file_is_refused(publish, tmp_path):
    """A folder cannot be made where a file is."""
    publish("http://127.0.0.1:9/")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot make the folder"):
        fetch("toy", tmp_path / "file")


def test_a_destination_without_permission_is_refused(publish, tmp_path, monkeypatch):
    """The message says where it could not write; simulated, since root may write everywhere."""

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    publish("http://127.0.0.1:9/")
    monkeypatch.setattr(fetching.tempfile, "mkstemp", refuse)
    with pytest.raises(StoreError, match="cannot write in"):
        fetch("toy", tmp_path)


def test_an_unknown_set_lists_the_known(tmp_path):
    """A misspelt set is answered with the right one."""
    with pytest.raises(UnknownName, match="no published set 'iurili2017' to fetch. Nearest: 'iurilli2017'"):
        fetch("iurili2017", tmp_path)


def test_the_published_hashes_are_those_of_the_files_at_hand(data_folder, tmp_path):
    """Copying the real files passes their check."""
    done = fetch("iurilli2017", tmp_path, from_folder=data_folder("olfactory/iurilli_2017"))
    assert [(path.name, status) for path, status in done] == [
        (f"{name}.mat", "copied") for name in ("aPCx_15", "plCoA_15", "plCoA_CS")
    ]
