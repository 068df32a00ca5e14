"""The demo: a simulated lab of five mice, stored, decoded and reported, with the example configuration."""

from pathlib import Path
from typing import Any

from ..datasets.simulate.olfactory import simulate_olfactory_lab
from .config import Config, make_config
from .messages import Progress
from .pipeline import run
from .runs import describe_run, write_run_report
from .verbs import Say, Tables, open_or_create
from .words import typed

SEED = 2021
DEMO: dict[str, Any] = {
    "name": "odor identity in five mice",
    "data": {"sessions": ["mouse-*"]},
    "activity": {"event": "inhalation_onset", "window_s": [0.0, 0.3], "bin_width_s": 0.1},
    "decoding": {"target": "odor", "decoder": "pooled_lda", "control_window_s": [-0.3, 0.0]},
    "validation": {"n_folds": 5, "group": "block", "n_permutations": 200},
    "transfer": {"aligner": "srm", "parameters": {"n_latents": 5}, "n_anchors": 5, "n_repeats": 3},
}


def demo_config() -> Config:
    """The demo's configuration; ``examples/odor_identity_demo.toml`` is the same, by test."""
    return make_config(DEMO, where="demo")


def run_demo(
    folder: Path, *, threads: int, progress: Progress, say: Say
) -> tuple[dict[str, Any], Tables, list[str]]:
    """Simulate, store, decode and report into ``folder``; the JSON value, table and lines of the run."""
    store_path, report = folder / "lab", folder / "report.html"
    store = open_or_create(store_path, say)
    progress("simulate five mice", 0, 1)
    sessions = simulate_olfactory_lab(random_state=SEED).sessions
    for number, (name, session) in enumerate(sessions.items()):
        progress(f"store {name}", number, len(sessions))
        store.save_session(session)
    outcome = run(demo_config(), store, progress=progress, threads=threads)
    write_run_report(report, outcome, store_path)
    value, tables, lines = describe_run(outcome, report, store_path)
    return value, tables, [*lines, *_next(store_path)]


def _next(store: Path) -> list[str]:
    commands = {
        typed("app", "--store", store): "look at sessions and results in the browser",
        typed("ls", "--store", store): "list what the store holds",
        typed("show", "mouse-1", "--store", store): "one session in detail",
        typed("ingest", "--help"): "bring in recordings of your own",
    }
    width = max(map(len, commands))
    return ["", "What to type next:", *(f"  {command:<{width}}  {what}" for command, what in commands.items())]
