"""What the command line prints: progress on stderr, tables or one JSON value on stdout.

Rich is imported only where something is drawn. Text from data is never read as Rich markup.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WIDTH_OF_A_FILE = 160  # characters, where stdout is no terminal
WIDEST_KEPT = 24  # a column up to this wide is never broken; wider ones share what is left
MOST_ROWS = 25  # of a table; a long lab must not flood the screen
BETWEEN_LINES_S = 1.0  # of progress, where stderr is no terminal
Progress = Callable[[str, int, int], None]
Rows = Sequence[Mapping[str, Any]]  # of a table, all with the same columns


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
        print(printable(text), file=sys.stderr, flush=True)

    def result(
        self,
        outcome: Any,
        *,
        tables: Mapping[str, Rows] | None = None,
        lines: Sequence[str] = (),
        most_rows: int = MOST_ROWS,
    ) -> None:
        """What the verb was for, on stdout: the JSON value, or tables (title -> rows, the last of them) and lines."""
        try:
            if self.as_json:
                print(as_json(outcome))
            else:
                for title, rows in (tables or {}).items():
                    _print_table(title, rows, most_rows)
                for line in lines:
                    print(printable(line))
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has seen enough, as in `mitral ls | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar on stderr while the block runs; without a terminal, a line now and then."""
        if not sys.stderr.isatty():
            yield self._plain_progress()
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

            def tell(what: str, done: int, total: int) -> None:
                bars.update(task, description=printable(what), completed=done, total=total or None)

            yield tell

    def _plain_progress(self) -> Progress:
        last, said_at = "", -math.inf

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last, said_at
            now = time.monotonic()
            if what != last and (now - said_at >= BETWEEN_LINES_S or done == total):
                self.say(f"[{done}/{total or '?'}] {what}")
                last, said_at = what, now

        return tell


def as_json(value: Any) -> str:
    """The value as one line of JSON; NaN and infinities are null, which JSON has no other word for."""
    return json.dumps(_finite(value), ensure_ascii=False, default=str)


def printable(text: str) -> str:
    r"""Text with control characters (ANSI escapes in names) made visible; lines stay lines.

    Examples
    --------
    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _print_table(title: str, rows: Rows, most_rows: int) -> None:
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print(printable(f"{title}: none"))
        return
    if len(rows) > most_rows:
        title = f"{title}: the last {most_rows} of {len(rows)} (all of them with --json)"
    shown = rows[-most_rows:]
    print(printable(title))
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    table.collapse_padding, table.pad_edge = True, False  # 80 characters hold the table of a run
    for column in rows[0]:
        cells = [row[column] for row in shown]
        is_number = all(isinstance(cell, int | float) for cell in cells)
        is_narrow = max(len(_cell(cell)) for cell in [column, *cells]) <= WIDEST_KEPT
        table.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_narrow)
    for row in shown:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    RichConsole(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return printable(str(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
