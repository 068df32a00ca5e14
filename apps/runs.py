"""What ``mitral run`` does: a configuration file, a run on a store, its report, and the words for both.

The computing is in ``pipeline``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from ..datasets.errors import StoreError
from ..datasets.store import Store
from .config import read_config
from .extras import extra_lines, extra_values
from .messages import Progress
from .pipeline import Run, run
from .report import write_report
from .rows import run_lines, score_row, score_values, warnings_of
from .verbs import Tables
from .words import pairs, typed


def run_file(
    config_path: Path,
    store_path: Path,
    report: Path | None,
    overrides: Sequence[str],
    *,
    threads: int,
    progress: Progress,
) -> tuple[dict[str, Any], Tables, list[str]]:
    """Run a configuration file on a store and write the report."""
    config = read_config(config_path, pairs(overrides, option="--set"))
    if report is not None and not report.parent.is_dir():
        raise StoreError(f"--report {report}: there is no folder {report.parent}. Make it, or give another file name.")
    store = Store(store_path)
    outcome = run(config, store, progress=progress, threads=threads)
    report = report or Path(f"{outcome.study.attrs['name']}.html")
    write_run_report(report, outcome, store_path)
    value, tables, lines = describe_run(outcome, report, store_path)
    return value, tables, [*lines, f"Next: {typed('app', '--store', store_path)}"]


def write_run_report(path: Path, outcome: Run, store_path: Path) -> None:
    """The HTML report of a run on the store at ``store_path``."""
    known = provenance(outcome.study) | {"store": str(store_path)}
    write_report(path, outcome.study, outcome.results, outcome.trajectories, provenance=known, extras=outcome.extras)


def describe_run(outcome: Run, report: Path, store_path: Path) -> tuple[dict[str, Any], Tables, list[str]]:
    """JSON value, table and sentences of a run."""
    study, attrs = outcome.study, outcome.study.attrs
    rows = score_values(study)
    summary = ("score_mean", "score_low", "score_high", "interval_over", "target", "metric")
    value = {"name": attrs["name"], "store": str(store_path), "report": str(report)}
    value |= {name: attrs.get(name) for name in summary}
    value["populations"] = [row | {"result": outcome.names[row["population"]]} for row in rows]
    value["warnings"] = warnings_of(outcome.results)
    title = f"{attrs['title']}: {attrs['metric'].replace('_', ' ')} of {attrs['target']}"
    value |= extra_values(outcome.extras)
    lines = [*run_lines(study, outcome.results), *extra_lines(outcome.extras), f"Report: {report}"]
    return value, {title: [score_row(row) for row in rows]}, lines


def provenance(study: xr.Dataset) -> dict[str, Any]:
    """How a study came about, as plain values for the report."""
    attrs = study.attrs
    keys = ("name", "version", "python", "machine", "user", "computed_at", "store_position")
    known = {key: attrs[key] for key in keys if key in attrs}
    for key in ("config", "inputs", "packages", "threads"):
        known[key] = json.loads(attrs.get(key, "{}"))
    return known
