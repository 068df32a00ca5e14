"""What the command line prints: progress on stderr, tables or one JSON value on stdout.

Rich is imported only where something is drawn. Text from data is never read as Rich markup.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WIDTH_OF_A_FILE = 160  # characters, where stdout is no terminal
Progress = Callable[[str, int, int], None]


class Console:
    """Where a verb's words go.

    Parameters
    ----------
    as_json : one JSON value on stdout instead of text
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """A line of information, on stderr."""
        print(_printable(text), file=sys.stderr, flush=True)

    def result(
        self, outcome: Any, *, tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, lines: Sequence[str] = ()
    ) -> None:
        """What the verb was for, on stdout: the JSON value, or tables (title -> rows) and lines."""
        if self.as_json:
            print(json.dumps(_finite(outcome), ensure_ascii=False, default=str))
            return
        for title, rows in (tables or {}).items():
            _print_table(title, rows)
        for line in lines:
            print(_printable(line))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar on stderr while the block runs; without a terminal, one line per step."""
        if not sys.stderr.isatty():
            last = ""

            def plain(what: str, done: int, total: int) -> None:
                nonlocal last
                if what != last:
                    self.say(f"[{done}/{total or '?'}] {what}")
                last = what

            yield plain
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=RichConsole(stderr=True)) as bars:
            task = bars.add_task("", total=None)
            yield lambda what, done, total: bars.update(task, description=_printable(what), completed=done, total=total or None)


def _print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    out = RichConsole(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    if not rows:
        out.print(Text(f"{title}: none"))
        return
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for position, column in enumerate(rows[0]):
        number = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return _printable(str(value))


def _printable(text: str) -> str:
    """Text with control characters (ANSI escapes, newlines in names) made visible."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _finite(value: Any) -> Any:
    """The value with NaN and infinities as null, which JSON has no other word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
