"""Several processes, killed processes and lying file systems: nothing is lost, nothing is half seen."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import xarray as xr

from mitral.datasets.errors import ConflictError, IntegrityError, StoreError
from mitral.datasets.schema import make_session
from mitral.datasets.store import Store, files, log, seal

CHILD = """
import os, signal, sys, time
from pathlib import Path
from mitral.datasets.schema import make_session
from mitral.datasets.store import Store, arrays, files, format, log, objects

def session(name, n):
    return make_session(name, "m1", trials={"odor": ["a", "b"]}, units={"unit": ["u0"]}, trial_units={},
                        recorded_s=(0.0, 10.0), spike_ticks=range(n), spike_unit=[0] * n, ticks_per_s=1000.0)

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(function):
    return lambda *args, **kwargs: (function(*args, **kwargs), die())

store, folder = sys.argv[1], Path(sys.argv[1]).parent
"""

# What the process does last: before it is killed, only the link has made a commit.
STEPS = {
    "a chunk is written": "arrays.read_blocks = die",
    "all is staged": "objects.manifest_of = die",
    "a file is synced": "objects.sync_tree = dying_after(lambda folder: files.sync(next(folder.iterdir())))",
    "all is synced": "objects.sync_tree = dying_after(objects.sync_tree)",
    "the object is published": "os.rename = dying_after(os.rename)",
    "the record is being written": "log.write_synced = die",
    "the record is written": "log.write_synced = dying_after(log.write_synced)",
    "the record is linked": "os.link = dying_after(os.link)",
}


def small(name="m1-day1", n_spikes=5):
    """A session of few bytes."""
    spikes = {"spike_ticks": range(n_spikes), "spike_unit": [0] * n_spikes, "ticks_per_s": 1000.0}
    trials = {"trials": {"odor": ["a", "b"]}, "trial_units": {}}
    return make_session(name, "m1", units={"unit": ["u0"]}, recorded_s=(0.0, 10.0), **spikes, **trials)


def start(code, path):
    """A Python process of its own that runs ``code`` on the store at ``path``."""
    command = [sys.executable, "-c", CHILD + code, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=path.parent)


def race(path, *codes):
    """Run each code in its own process, let all go at once, and return what they print."""
    wait = "(folder / f'ready{os.getpid()}').touch()\nwhile not (folder / 'go').exists(): time.sleep(0.001)\n"
    processes = [start("s = Store(store)\n" + wait + code, path) for code in codes]
    while len(list(path.parent.glob("ready*"))) < len(codes):
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
    (path.parent / "go").touch()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    return [out.strip() for out, _ in outputs]


def for_records(fake):
    """``os.link`` that is ``fake`` for records of the log; zarr links too, and that is not meant."""
    link = os.link
    return lambda source, target: (fake if Path(target).parent.name == "log" else link)(source, target)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return Store.create(tmp_path / "lab")


def test_two_processes_saving_different_sessions_both_succeed(store):
    """Four commits each at the same time: all eight are there, numbered without a gap."""
    code = "print(*[s.save_session(session(f'{who}{i}', i)) for i in range(4)])"
    a, b = race(store.path, "who = 'a'\n" + code, "who = 'b'\n" + code)
    assert store.refresh() == 8 and store.verify() == []
    assert sorted(store.sessions().session) == sorted((a + " " + b).split())
    assert sorted(store.session("b3").spike_time.to_numpy()) == [0, 1, 2]


def test_of_two_processes_saving_one_session_one_wins(store):
    """The loser's error names the winner's record; the winner's content stays."""
    code = """
try:
    s.save_session(session("same", n))
    print("won", n)
except Exception as error:
    print(type(error).__name__, n, error)
"""
    outputs = race(store.path, "n = 3\n" + code, "n = 4\n" + code)
    [won], [lost] = ([o for o in outputs if o.startswith(word)] for word in ("won", "ConflictError"))
    assert (
        "(log record 1)" in lost and f"saved by {store.refresh() and store.record('session', 'same')['user']}" in lost
    )
    assert store.position == 1 and store.session("same").sizes["spike"] == int(won.split()[1])


def test_many_writers_lose_nothing(store):
    """Six handles in threads, four commits each, all racing for the same numbers."""

    def write(who):
        own = Store(store.path)
        for i in range(4):
            own.save_result(xr.Dataset(attrs={"kind": "study", "i": i}), name=f"{who}-{i}", content_key=f"{who}{i}")

    threads = [threading.Thread(target=write, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.refresh() == 24 and store.verify() == []
    assert set(store.results().name) == {f"{who}-{i}" for who in range(6) for i in range(4)}


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_at_any_step_leaves_the_store_valid(store, step):
    """Killed right after the step: either nothing is visible, or, once the record is linked, all is."""
    store.save_session(small("before"))
    process = start(f"s = Store(store)\n{STEPS[step]}\ns.save_session(session('killed', 7))", store.path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    is_committed = step == "the record is linked"
    assert store.refresh() == 1 + is_committed and store.verify() == []
    assert ("killed" in store.sessions().session.tolist()) == is_committed
    assert store.save_session(small("killed", 7)) == "killed"  # the way is free, and the same content is no conflict
    assert store.refresh() == 2 and store.session("killed").sizes["spike"] == 7 and store.verify() == []


def test_a_creation_that_was_killed_can_be_repeated(tmp_path):
    """A folder is a store only when FORMAT.json is there; without it the leftovers are no obstacle."""
    process = start("os.link = die\nStore.create(store)", tmp_path / "lab")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(StoreError, match="no FORMAT.json"):
        Store(tmp_path / "lab")
    assert Store.create(tmp_path / "lab").verify() == []


def test_of_several_creations_at_once_one_wins(tmp_path):
    """The others are told to open it."""
    for turn in range(10):
        path, errors, made = tmp_path / f"lab{turn}", [], []
        barrier = threading.Barrier(4)

        def create(path=path, errors=errors, made=made, barrier=barrier):
            barrier.wait()
            try:
                made.append(Store.create(path).id)
            except StoreError as refused:
                errors.append(str(refused))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1 and all("Open it" in words for words in errors) and len(errors) == 3
        assert Store(path).id == made[0]


@pytest.mark.parametrize("code", [errno.EIO, errno.EEXIST, errno.ESTALE])
def test_a_link_that_succeeds_but_reports_an_error_is_one_commit(store, monkeypatch, code):
    """NFS loses replies: our own write_id under the number means success, and it is not written twice."""
    link = os.link

    def lying(source, target):
        link(source, target)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(log.os, "link", for_records(lying))
    assert store.save_session(small()) == "m1-day1"
    monkeypatch.undo()
    assert Store(store.path).position == 1 and store.verify() == []


def test_a_link_that_fails_once_is_tried_again(store, monkeypatch):
    """Read back, not there, tried again."""
    link, calls = os.link, []

    def failing_once(source, target):
        calls.append(target)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        link(source, target)

    monkeypatch.setattr(log.os, "link", for_records(failing_once))
    assert store.save_session(small()) == "m1-day1"
    assert len(calls) == 2 and store.position == 1


def test_a_file_system_without_links_is_named(store, monkeypatch):
    """Bounded, and nothing is visible."""

    def never(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(log.os, "link", for_records(never))
    with pytest.raises(StoreError, match="Operation not permitted.*hard links.*Nothing is visible"):
        store.save_session(small())
    assert Store(store.path).position == 0 and store.verify() == []


def test_a_number_that_stays_taken_but_unreadable_ends_the_attempts(store, monkeypatch):
    """As with a stale client: bounded, with an error, not for ever."""
    monkeypatch.setattr(log, "ATTEMPTS", 4)
    monkeypatch.setattr(log, "LONGEST_PAUSE_S", 0.0)

    def taken(source, target):
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(log.os, "link", for_records(taken))
    with pytest.raises(StoreError, match="the commit to .* failed: .*File exists"):
        store.save_session(small())


def another_commits_first(store, monkeypatch, session):
    """Another handle saves ``session`` at the last moment, when our record is about to be linked."""
    link, other = os.link, Store(store.path)

    def beaten(source, target):
        monkeypatch.setattr(log.os, "link", link)
        other.save_session(session)
        link(source, target)

    monkeypatch.setattr(log.os, "link", for_records(beaten))


def test_a_commit_that_loses_the_number_takes_the_next(store, monkeypatch):
    """Another writer links first; ours follows, and both are there."""
    another_commits_first(store, monkeypatch, small("other"))
    store.save_session(small())
    assert store.sessions().session.tolist() == ["other", "m1-day1"] and store.verify() == []


def test_a_key_that_is_taken_at_the_last_moment_conflicts(store, monkeypatch):
    """The check stands after the lost race, not only before it."""
    another_commits_first(store, monkeypatch, small(n_spikes=9))
    with pytest.raises(ConflictError, match=r"\(log record 1\)"):
        store.save_session(small())
    assert store.refresh() == 1 and store.session("m1-day1").sizes["spike"] == 9


def test_equal_content_that_was_saved_at_the_last_moment_is_no_conflict(store, monkeypatch):
    """Two writers of the same: both succeed, one record."""
    another_commits_first(store, monkeypatch, small())
    assert store.save_session(small()) == "m1-day1"
    assert store.refresh() == 1 and store.verify() == []


def test_a_stale_listing_hides_no_commit(store, monkeypatch):
    """Records are found by name; the listing only betrays gaps."""
    other = Store(store.path)
    store.save_session(small("a"))
    store.save_session(small("b"))
    monkeypatch.setattr(log.os, "listdir", lambda path: [])
    assert other.refresh() == 2
    other.save_session(small("c"))
    assert store.refresh() == 3


def test_a_gap_in_the_log_is_named(store):
    """A record is never deleted; what follows it is not believed."""
    for name in "abc":
        store.save_session(small(name))
    (store.path / log.record_path(2)).unlink()
    with pytest.raises(IntegrityError, match="log record 2 .* is missing, although record 3 is there"):
        Store(store.path)
    assert any("log record 2" in problem and "missing" in problem for problem in store.verify())


def test_a_newest_record_that_is_gone_is_missed_by_who_knew_it(store):
    """No later record betrays it, but an open handle does."""
    store.save_session(small())
    (store.path / log.record_path(1)).unlink()
    assert [problem for problem in store.verify() if "log record 1" in problem and "is missing" in problem]


def test_every_changed_bit_of_a_record_is_found(store):
    """Each bit of each byte flipped: no record is read as if it were whole."""
    store.save_session(small())
    good = (store.path / log.record_path(1)).read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="^record 1 "):
            seal.check_seal(bytes(bad), seal.parse(bytes(bad), where="record 1"), where="record 1")


def test_a_changed_record_is_named(store):
    """A user's name that was edited is not believed."""
    store.save_session(small())
    path = store.path / log.record_path(1)
    path.write_bytes(path.read_bytes().replace(b'"user":"', b'"user":"x'))
    with pytest.raises(IntegrityError, match="log record 1 .* was changed: its bytes do not match"):
        Store(store.path)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_record_is_named(store, cut):
    """Also one of no bytes."""
    store.save_session(small())
    path = store.path / log.record_path(1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match="log record 1 "):
        Store(store.path)
    assert [problem for problem in store.verify() if problem.startswith("log record 1 ")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": 7}, "says that it is number 7"),
        ({"previous": "0" * 64}, "does not follow record 1"),
        ({"operation": "save", "manifest": None, "user": None}, None),
    ],
)
def test_a_record_in_the_wrong_place_is_named(store, change, words):
    """Sealed well, yet not the one that belongs there."""
    store.save_session(small("a"))
    store.save_session(small("b"))
    path = store.path / log.record_path(2)
    record = json.loads(path.read_bytes())
    if words is None:
        record, words = {key: value for key, value in record.items() if key != "manifest"}, "has no field 'manifest'"
    else:
        record |= change
    path.write_bytes(seal.sealed(record))
    with pytest.raises(IntegrityError, match=f"log record 2 .*{words}"):
        Store(store.path)
    assert any("log record 2" in problem for problem in store.verify())


def test_unknown_fields_and_operations_are_kept(store):
    """A record of a later version: its fields are there for who knows them, and names stay as they are."""
    store.save_session(small("a"))
    seen = store.record("session", "a")
    later = {**seen, "operation": "annotate", "number": 2, "previous": seen["seal"], "note": "ripples"}
    (store.path / log.record_path(2)).write_bytes(seal.sealed(later))
    gone = {**later, "operation": "remove", "number": 3}
    assert store.refresh() == 2 and store.sessions().session.tolist() == ["a"] and store.verify() == []
    gone["previous"] = log.read_record(store.path, 2, previous=None)["seal"]
    (store.path / log.record_path(3)).write_bytes(seal.sealed(gone))
    assert store.refresh() == 3 and store.sessions().empty
    assert log.read_record(store.path, 2, previous=None)["note"] == "ripples"


@pytest.mark.parametrize("function", ["write_synced", "sync"])
def test_a_full_disk_or_a_failed_sync_is_no_commit(store, monkeypatch, function):
    """The error is passed on in words; a failed fsync is not tried again and not believed."""
    calls = []

    def failing(*args):
        calls.append(args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, function, failing)
    monkeypatch.setattr(log, "write_synced", failing)
    with pytest.raises(StoreError, match="session 'm1-day1' could not be saved .* no name stands for it: .*No space"):
        store.save_session(small())
    assert Store(store.path).position == 0 and store.verify() == [] and not list((store.path / "staging").iterdir())


def test_a_commit_that_the_disk_did_not_confirm_is_not_acknowledged(store, monkeypatch):
    """The record is visible, but it may not outlive a power failure: an error that says so."""

    def failing(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(log, "sync", failing)
    with pytest.raises(StoreError, match="log record 1 .* is visible, but the disk did not confirm it"):
        store.save_session(small())
    monkeypatch.undo()
    assert store.save_session(small()) == "m1-day1" and store.position == 1


def test_an_interrupted_save_leaves_no_staging(store, monkeypatch):
    """Ctrl-C while writing: what was staged is swept."""

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    monkeypatch.setattr("mitral.datasets.store.objects.sync_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save_session(small())
    assert not list((store.path / "staging").iterdir()) and store.verify() == []


def test_a_user_without_a_name_can_save(store, monkeypatch):
    """As in a container with a bare user id."""

    def nameless():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(log.getpass, "getuser", nameless)
    store.save_session(small())
    assert store.record("session", "m1-day1")["user"] == f"uid {os.getuid()}"
