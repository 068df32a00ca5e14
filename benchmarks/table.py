"""What every benchmark prints: one row per job, side by side with a peer or a limit, measured in one run."""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One job done by us and by a peer.

    Attributes
    ----------
    job : what was done, with its size
    peer : the other side, with its version
    ours_s, peer_s : median seconds
    spread : (fastest, slowest) of ours, in s
    same_answer : whether both gave the same result, in words
    held_to : the ratio that is promised
    """

    job: str
    peer: str
    ours_s: float
    peer_s: float
    spread: tuple[float, float]
    same_answer: str
    held_to: str

    @property
    def ratio(self) -> float:
        """How many times faster we are."""
        return self.peer_s / self.ours_s


def timed(function: Callable[[], Any], *, repeats: int) -> tuple[list[float], Any]:
    """Seconds of each of ``repeats`` calls, and the last answer."""
    seconds, answer = [], None
    for _ in range(repeats):
        answer = None
        gc.collect()
        start = time.perf_counter()
        answer = function()
        seconds.append(time.perf_counter() - start)
    return seconds, answer


def peak_bytes(function: Callable[[], Any]) -> int:
    """Most memory that a call holds at once, its answer included."""
    gc.collect()
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def row(job: str, peer: str, ours: Sequence[float], theirs: Sequence[float], *, same_answer: str, held_to: str) -> Row:
    """A row from the seconds of both sides."""
    spread = (min(ours), max(ours))
    return Row(job, peer, statistics.median(ours), statistics.median(theirs), spread, same_answer, held_to)


def print_table(rows: Sequence[Row], *, notes: Sequence[str] = ()) -> None:
    """The rows as a table in Markdown, and the notes under it."""
    print("| job | ours | fastest - slowest | peer | peer's | ratio | held to | same answer |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r.job} | {r.ours_s:.3g} s | {r.spread[0]:.3g} - {r.spread[1]:.3g} s | {r.peer} | {r.peer_s:.3g} s "
            f"| {r.ratio:.3g} x | {r.held_to} | {r.same_answer} |"
        )
    for note in notes:
        print(f"\n{note}")
