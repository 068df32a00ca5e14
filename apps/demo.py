"""The demo: a simulated lab of five mice, stored, decoded and reported, with the example configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..datasets.simulate.olfactory import simulate_olfactory_lab
from .config import Config, make_config
from .messages import Progress
from .pipeline import run
from .verbs import Rows, describe_run, open_or_create, write_run_report

SEED = 2021
DEMO: dict[str, Any] = {
    "name": "odor identity in five mice",
    "data": {"sessions": ["mouse-*"]},
    "activity": {"event": "inhalation_onset", "window_s": [0.0, 0.3], "bin_width_s": 0.1},
    "decoding": {"target": "odor", "decoder": "lda", "parameters": {"shrinkage": 0.3}, "control_window_s": [-0.3, 0.0]},
    "validation": {"n_folds": 5, "group": "block", "n_permutations": 200},
}


def demo_config() -> Config:
    """The demo's configuration; ``examples/odor_identity_demo.toml`` is the same, by test."""
    return make_config(DEMO, where="demo")


def run_demo(
    folder: Path, *, threads: int, progress: Progress, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Rows], list[str]]:
    """Simulate, store, decode and report into ``folder``; the JSON value, table and lines of the run."""
    store_path, report = folder / "lab", folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    store = open_or_create(store_path, say)
    progress("simulate five mice", 0, 1)
    sessions = simulate_olfactory_lab(random_state=SEED).sessions
    for number, session in enumerate(sessions.values()):
        progress(f"store {session.attrs['session']}", number, len(sessions))
        store.save_session(session)
    outcome = run(demo_config(), store, progress=progress, threads=threads)
    write_run_report(report, outcome)
    value, tables, lines = describe_run(outcome, report, store_path)
    return value, tables, [*lines[:-1], *_next(store_path)]


def _next(store_path: Path) -> list[str]:
    return [
        "",
        "What to type next:",
        f"  mitral app --store {store_path}              look at sessions and results in the browser",
        f"  mitral ls --store {store_path}               list what the store holds",
        f"  mitral show mouse-1 --store {store_path}     one session in detail",
        "  mitral ingest arrays FOLDER --store lab     your own recordings",
    ]
