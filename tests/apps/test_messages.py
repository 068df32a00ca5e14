"""What the terminal shows: one JSON value or tables, progress that does not flood, text that cannot act."""

import json
import math
import re

import pytest

from mitral.apps import messages
from mitral.apps.messages import MOST_ROWS, Console, printable

ROWS = [{"population": "mouse-1", "score": 0.8125, "trials": 240}, {"population": "día 2", "score": 1 / 3, "trials": 9}]


@pytest.fixture
def on_a_terminal(monkeypatch, capsys):
    """A function that makes stdout or stderr a terminal of 80 columns."""

    def pretend(stream):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")

    return pretend


def test_json_is_one_value_on_one_line(capsys):
    """A program reads stdout whole; NaN and infinities, which JSON has not, are null."""
    value = {"score": math.nan, "rows": ({"p": math.inf}, [1, "é"]), "none": None}
    Console(True).result(value, tables={"a table": ROWS}, lines=["a line"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"score": None, "rows": [{"p": None}, [1, "é"]], "none": None}


def test_tables_and_lines_are_for_people(capsys):
    """Title, header, rows, lines; floats in three digits, nothing for NaN."""
    rows = [*ROWS, {"population": "mouse-3", "score": math.nan, "trials": 5}]
    Console(False).result({}, tables={"Sessions of lab": rows}, lines=["Next: mitral app"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip("─ ")]
    assert lines[0] == ["Sessions", "of", "lab"]
    assert lines[1] == ["population", "score", "trials"]
    assert lines[2:5] == [["mouse-1", "0.812", "240"], ["día", "2", "0.333", "9"], ["mouse-3", "5"]]
    assert lines[5] == ["Next:", "mitral", "app"]


def test_an_empty_table_says_so(capsys):
    """A header over nothing would look like a fault."""
    Console(False).result({}, tables={"Results": []})
    assert capsys.readouterr().out.strip() == "Results: none"


def test_a_long_table_is_cut_and_says_so(capsys):
    """A lab of a thousand sessions does not flood the screen; the newest stand last and stay."""
    rows = [{"session": f"s{number}"} for number in range(1000)]
    Console(False).result({}, tables={"Sessions": rows})
    out = capsys.readouterr().out
    assert f"Sessions: the last {MOST_ROWS} of 1000 (all of them with --json)" in out
    assert len(out.splitlines()) < MOST_ROWS + 8
    assert "s999" in out and "s974" not in out


def test_the_table_of_a_run_fits_80_columns(capsys, on_a_terminal):
    """Numbers are never broken over lines on the narrowest usual terminal."""
    on_a_terminal("stdout")
    row = {"score": "0.892", "interval": "0.850 to 0.929", "chance": "0.125", "p": "0.005", "control": "0.133"}
    long = {"population": "posterolateral cortical amygdala (pooled)"} | row | {"trials": 240, "units": 355}
    Console(False).result({}, tables={"A study": [{**long, "population": "mouse-1"}, long]})
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("0.850 to 0.929") == 2


def test_text_from_data_is_shown_and_not_obeyed(capsys):
    """An odor called like a colour, a cursor movement or markup is printed as its characters."""
    name = "\x1b[31mred\x1b[0m [bold]b[/bold] \u202eabc \x07"
    console = Console(False)
    console.result({}, tables={f"title {name}": [{"odor": name}]}, lines=[name])
    console.say(name)
    with console.progress() as progress:
        progress(name, 1, 1)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not set(text) & {"\x1b", "\u202e", "\x07"}
        assert r"\x1b[31mred" in text and "[bold]b[/bold]" in text


def test_json_keeps_names_as_they_are(capsys):
    """Programs get the very text; JSON itself makes control characters harmless."""
    Console(True).result({"name": "\x1b[31mβ-ionone"})
    out = capsys.readouterr().out
    assert "\x1b" not in out and json.loads(out) == {"name": "\x1b[31mβ-ionone"}


def test_printable_leaves_text_alone():
    """Letters of any language, marks and line ends stay."""
    text = "día 2: β-ionone, 1 µM,\n日本語"
    assert printable(text) == text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    """A log of a thousand steps in a second holds a few lines, always the last one, and none twice."""
    clock = iter([0.0, 0.1, 0.2, 1.5, 1.6, 1.7, 1.8])
    monkeypatch.setattr(messages.time, "monotonic", lambda: next(clock))
    with Console(False).progress() as progress:
        for step in ("a", "b", "c", "d", "e"):
            progress(step, ord(step) - ord("a"), 5)
        progress("done", 5, 5)
        progress("done", 5, 5)
    assert capsys.readouterr().err.splitlines() == ["[0/5] a", "[3/5] d", "[5/5] done"]


def test_an_unknown_total_is_a_question_mark(capsys):
    """Reading a folder, nobody knows yet how many sessions there are."""
    with Console(False).progress() as progress:
        progress("store m1", 0, 0)
    assert capsys.readouterr().err == "[0/?] store m1\n"


def test_progress_on_a_terminal_is_a_bar_on_stderr(capsys, on_a_terminal):
    """Stdout stays clean for the result."""
    on_a_terminal("stderr")
    with Console(False).progress() as progress:
        progress("decode mouse-1", 1, 2)
        progress("done", 2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "done" in err and "2/2" in err
