"""The explorer: safe settings, designed states, and a page that a real browser shows without a fault."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import mitral
from mitral.apps.explorer.launch import app_command, app_environment
from mitral.datasets.errors import ConfigError, StoreError
from mitral.datasets.schema import make_session
from mitral.datasets.store import Store

EXPLORER = Path(mitral.__file__).parent / "apps" / "explorer"
PATIENCE_S = 60


def small_session(name, odors, *, animal="m1"):
    """Twelve trials, three units, a few spikes."""
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, 24_000, 200))
    return make_session(
        name,
        animal,
        trials={"odor": np.resize(odors, 12), "odor_onset": np.arange(12) * 2.0},
        units={"unit": [f"{name}/u{n}" for n in range(3)], "area": ["bulb"] * 3},
        trial_units={"odor_onset": "s"},
        recorded_s=(0.0, 24.0),
        spike_ticks=ticks,
        spike_unit=rng.integers(0, 3, ticks.size),
        ticks_per_s=1000,
        attrs={"date": "2026-11-24", "source": "made up"},
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory, results, study):
    """A store with two sessions, a result and a study."""
    path = tmp_path_factory.mktemp("explorer") / "lab"
    store = Store.create(path)
    for name in ("mouse-1-day1", "mouse-2-day1"):
        store.save_session(small_session(name, ["citral", "limonene"], animal=name[:7]))
    for name, result in results.items():
        warned = result.assign_attrs(warnings=["Classes are unequal."]) if name in ("mouse-2", "mouse-4") else result
        store.save_result(warned, name=f"odor-{name}", content_key=name[-1] * 64)
    bare = study.copy()
    bare.attrs = {key: value for key, value in study.attrs.items() if key not in ("n_permutations", "null_scheme")}
    store.save_result(bare, name="five-mice", content_key="a" * 64)
    return path


@pytest.fixture
def opened(monkeypatch):
    """A function that runs the explorer's script on a store, without a browser."""

    def run(path, **query):
        monkeypatch.setenv("MITRAL_STORE", str(path))
        app = AppTest.from_file(str(EXPLORER / "main.py"), default_timeout=PATIENCE_S)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return run


def said(app):
    """All text of a page that is no table or chart, with Markdown's escapes taken away."""
    parts = [*app.markdown, *app.text, *app.subheader, *app.title, *app.caption, *app.warning]
    return " ".join(str(part.value) for part in parts).replace("\\", "")


def tables(app):
    """The tables of a page."""
    return [table.value for table in app.dataframe]


def test_the_page_shows_the_finding_and_the_sessions(opened, lab):
    """The last study with its finding and table, the catalogue, and the trials of the first session."""
    app = opened(lab)
    assert not app.exception
    assert "Odor identity is decoded in 5 of 5 animals" in said(app)
    scores, sessions, trials, units = tables(app)
    assert scores["population"].tolist() == [f"mouse-{n}" for n in range(1, 6)]
    assert sessions["session"].tolist() == ["mouse-1-day1", "mouse-2-day1"]
    assert list(trials)[:1] == ["trial"] and "odor_onset (s)" in trials and len(trials) == 12
    assert units["unit"].tolist() == [f"mouse-1-day1/u{n}" for n in range(3)]


def test_the_page_explains_the_numbers_in_plain_words(opened, lab):
    """What score, chance, null band and p mean stands beside them."""
    words = said(opened(lab))
    assert "averaged over the classes" in words and "cannot be told from chance" in words


def test_a_study_tells_the_warnings_of_its_results_and_over_what_p_runs(opened, lab):
    """A study leaves warnings and the null to its results; the page gathers them, each once."""
    app = opened(lab)
    assert [str(part.value).replace("\\", "") for part in app.warning] == ["Classes are unequal. (mouse-2, mouse-4)"]
    assert "cannot be smaller than 0.005" in said(app)


def test_another_result_and_session_can_be_chosen(opened, lab):
    """The choice changes the finding and the tables."""
    app = opened(lab)
    app.selectbox(key="result").set_value("odor-mouse-1")
    app.selectbox(key="session").set_value("mouse-2-day1")
    app.run()
    assert "is decoded in odor-mouse-1" in said(app)
    assert tables(app)[-1]["unit"].tolist() == [f"mouse-2-day1/u{n}" for n in range(3)]


def test_a_link_opens_what_was_chosen(opened, lab):
    """The address holds the session, so a copied link shows the same."""
    assert opened(lab, session="mouse-2-day1").selectbox(key="session").value == "mouse-2-day1"


def test_a_link_to_nothing_shows_the_first_session(opened, lab):
    """A value from an address is checked against the catalogue."""
    app = opened(lab, session="<script>", result="../../etc/passwd")
    assert not app.exception and app.selectbox(key="session").value == "mouse-1-day1"


def test_a_commit_of_somebody_else_appears_at_the_next_look(opened, lab, tmp_path):
    """The page follows the log; nothing old is shown from a cache."""
    path = tmp_path / "lab"
    store = Store.create(path)
    store.save_session(small_session("first", ["a", "b"]))
    app = opened(path)
    Store(path).save_session(small_session("second", ["a", "b"]))
    assert len(tables(app)[0]) == 1 and tables(app.run())[0]["session"].tolist() == ["first", "second"]


def test_an_empty_store_says_what_to_type(opened, tmp_path):
    """A new lab is led to its first recording and its first result."""
    Store.create(tmp_path / "lab")
    app = opened(tmp_path / "lab")
    assert not app.exception and "This store is empty" in said(app)
    assert f"mitral ingest SOURCE PATH --store {tmp_path / 'lab'}" in [code.value for code in app.code]


def test_a_store_that_is_absent_says_what_to_type(opened, tmp_path):
    """The cause, and the command that makes one."""
    app = opened(tmp_path / "absent")
    assert not app.exception and "there is no folder" in said(app)
    assert "mitral demo" in [code.value for code in app.code]


def test_a_folder_that_is_no_store_says_so(opened, tmp_path):
    """Any other folder is refused by the store, and the page says why."""
    (tmp_path / "notes.txt").write_text("no store")
    app = opened(tmp_path)
    assert not app.exception and "No lab store" in said(app)


def test_without_a_named_store_nothing_is_opened(monkeypatch):
    """The page has no box for a path: the store comes from the command line only."""
    monkeypatch.delenv("MITRAL_STORE", raising=False)
    app = AppTest.from_file(str(EXPLORER / "main.py"), default_timeout=PATIENCE_S).run()
    assert not app.exception and "started without a store" in said(app)
    assert not app.text_input and "mitral app --store LAB" in [code.value for code in app.code]


def test_a_result_that_cannot_be_read_leaves_the_rest_of_the_page(opened, tmp_path, study):
    """A damaged result is named, with what to type; the sessions are still there."""
    store = Store.create(tmp_path / "lab")
    store.save_session(small_session("day1", ["a", "b"]))
    before = {file for file in (tmp_path / "lab").rglob("*") if file.is_file()}
    store.save_result(study, name="five-mice", content_key="2" * 64)
    for file in set((tmp_path / "lab" / "objects").rglob("*")) - before:
        if file.is_file():
            file.chmod(0o644)
            file.write_bytes(b"\x00" * file.stat().st_size)
    app = opened(tmp_path / "lab")
    assert not app.exception and "This result cannot be read" in said(app)
    assert tables(app)[0]["session"].tolist() == ["day1"]


@pytest.fixture
def attacked(tmp_path, made, hostile):
    """A store in which every text attacks its reader."""
    path = tmp_path / "attacked"
    store = Store.create(path)
    store.save_session(small_session("day1", [hostile[:150], "b"], animal=hostile[:100]))
    attack = {"name": hostile[:200], "warnings": [hostile, "www.evil.org me@evil.org"], "null_scheme": hostile}
    result = made["result"]("m", 0.8, n_repeats=6).assign_attrs(attack)
    store.save_result(result, name="attack", content_key="3" * 64)
    return path


def test_hostile_text_stays_text(opened, attacked):
    """Names from data reach Markdown with every mark escaped; tables and the choice show them as they are."""
    app = opened(attacked)
    assert not app.exception
    for part in [*app.markdown, *app.warning]:
        bare = str(part.value).replace("\\\\", "")
        assert "](" not in bare and "<" not in bare.replace("\\<", "") and "$" not in bare.replace("\\$", "")


def test_in_a_real_browser_hostile_text_is_no_link_and_runs_nothing(attacked, watched, tmp_path):
    """Streamlit turned a bare address in an escaped warning into a link; nothing from data may be one."""
    with served(attacked, tmp_path / "log.txt") as address:
        seen = watched(address)
        seen.page.locator('[data-testid="stAlert"]').first.wait_for(timeout=1000 * PATIENCE_S)
        seen.page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
        assert seen.page.locator('[data-testid="stMain"] a, [data-testid="stMain"] img').count() == 0
        assert seen.dialogs == [] and seen.errors == [] and seen.overflow() == 0
        assert seen.foreign([address, address.replace("http", "ws")]) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::", "lab.example.org", ""])
def test_an_address_that_others_reach_is_refused(address, lab):
    """There is no login yet, so the explorer serves this machine only."""
    with pytest.raises(ConfigError, match="no login yet, so it serves this machine only"):
        app_command(lab, address=address)


def test_a_port_that_is_none_is_refused(lab):
    """Ports are numbers from 1 to 65535."""
    with pytest.raises(ConfigError, match="port = 0: expected a number from 1 to 65535"):
        app_command(lab, port=0)


def test_a_folder_that_is_absent_is_refused_before_a_server_starts(tmp_path):
    """The command line says it at once, not a page later."""
    with pytest.raises(StoreError, match="there is no folder .*mitral demo"):
        app_command(tmp_path / "absent")


def test_the_command_carries_safe_settings(lab):
    """Loopback, no statistics to others, no traceback to readers, no watcher, a set of host names."""
    command = app_command(lab, port=8600)
    for flag in (
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.headless=true",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
        "--server.fileWatcherType=none",
        "--client.toolbarMode=viewer",
        "--server.enableXsrfProtection=true",
        "--server.allowedHosts=127.0.0.1",
        "--server.allowedHosts=localhost",
    ):
        assert flag in command, flag
    assert command[:5] == [sys.executable, "-P", "-m", "streamlit", "run"]


def test_the_store_reaches_the_page_by_the_environment(lab):
    """An absolute path, so that the folder in which the server runs does not matter."""
    assert app_environment(lab)["MITRAL_STORE"] == str(lab.resolve())


def test_pages_are_short():
    """A page lays out; over 100 lines it has begun to compute."""
    for page in (EXPLORER / "pages").glob("*.py"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 100, page.name


@contextlib.contextmanager
def served(path, log):
    """The address of the explorer, started as ``mitral app`` starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    above = str(Path(mitral.__file__).parent.parent)
    known = os.pathsep.join([above, *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w") as out:
        process = subprocess.Popen(
            app_command(path, port=port), env=app_environment(path) | {"PYTHONPATH": known}, stdout=out, stderr=out
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/_stcore/health", process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def _wait_for(url, process, log):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as reply:
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"no answer from {url}: {log.read_text()}")


def test_a_real_browser_shows_the_page_without_a_fault(lab, watched, tmp_path):
    """The table of sessions and the chart appear; no error in the console, no request beyond this machine."""
    with served(lab, tmp_path / "log.txt") as address:
        seen = watched(address)
        seen.page.get_by_text("Odor identity is decoded in 5 of 5 animals").wait_for(timeout=1000 * PATIENCE_S)
        seen.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        seen.page.get_by_text("mouse-5").first.wait_for()
        seen.page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
        assert seen.page.locator('[data-testid="stDataFrame"]:visible').count() == 3
        assert seen.errors == [] and seen.overflow() == 0
        assert seen.foreign([address, address.replace("http", "ws")]) == []
        assert "Traceback" not in (tmp_path / "log.txt").read_text()
