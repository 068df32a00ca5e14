"""What each verb of the command does, as functions of paths and names that return plain values.

Each returns the JSON value of the verb, and the tables or lines that a person reads instead.
"""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import ConfigError, MitralError, SchemaError, UnknownName
from ..datasets.schema import events
from ..datasets.sources import read_sessions
from ..datasets.store import Store
from ..datasets.tables import nearest
from .config import read_config
from .messages import Progress
from .pipeline import Run, run
from .report import write_report

Rows = list[dict[str, Any]]
UNKNOWN = 0  # a progress total that nobody knows yet


def open_or_create(path: Path, say: Callable[[str], None]) -> Store:
    """The store at ``path``; an empty or absent folder becomes one, and that is said."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        store = Store.create(path)
        say(f"made a new store in {path}")
        return store
    return Store(path)


def ingest_sessions(
    source: str,
    path: Path,
    store_path: Path,
    options: Sequence[str],
    *,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[str]]:
    """Read every session at ``path`` and save it. Sessions saved before an error stay saved; the error says which."""
    sessions = read_sessions(source, path, **_options(options))
    store = open_or_create(store_path, say)
    saved: list[dict[str, Any]] = []
    dropped: dict[str, list[str]] = {}
    try:
        for number, session in enumerate(sessions):
            name = session.attrs["session"]
            progress(f"store {name}", number, UNKNOWN)
            store.save_session(session)
            saved.append({"session": name, "n_trials": session.sizes["trial"], "n_units": session.sizes["unit"]})
            for sentence in session.attrs.get("dropped", []):
                dropped.setdefault(sentence, []).append(name)
        progress("stored", len(saved), len(saved))
    except MitralError as error:
        if saved:
            error.add_note(f"{len(saved)} sessions were saved before this: {saved[0]['session']} ... {saved[-1]['session']}.")
        raise
    if not saved:
        raise SchemaError(f"{path} holds no session that {source!r} can read. Look at the files, or choose another source.")
    for sentence, names in dropped.items():
        say(f"left out in {_several(names)}: {sentence}")
    n_trials, n_units = (sum(row[key] for row in saved) for key in ("n_trials", "n_units"))
    lines = [
        f"{len(saved)} sessions in {store_path}: {n_trials} trials, {n_units} units",
        f"Next: mitral ls --store {store_path}",
    ]
    return {"store": str(store_path), "position": store.position, "sessions": saved, "dropped": dropped}, lines


def list_store(path: Path) -> tuple[dict[str, Any], dict[str, Rows]]:
    """The catalogue: sessions and results, oldest first. No recording is opened."""
    store = Store(path)
    sessions, results = _rows(store.sessions()), _rows(store.results())
    outcome = {"store": str(path), "position": store.position, "sessions": sessions, "results": results}
    tables = {
        f"Sessions of {path}": [_session_row(row) for row in sessions],
        "Results": [_result_row(row) for row in results],
    }
    return outcome, tables


def show_entry(path: Path, name: str) -> tuple[dict[str, Any], dict[str, Rows]]:
    """One session or result in detail.

    Raises
    ------
    UnknownName : neither a session nor a result is called that, with the nearest names
    """
    store = Store(path)
    sessions, results = ([str(key) for key in table[column]] for table, column in
                         ((store.sessions(), "session"), (store.results(), "name")))
    if name in sessions:
        return _show_session(store, name)
    if name in results:
        return _show_result(store, name)
    raise UnknownName(f"the store {path} has no session and no result {name!r}. {nearest(name, sessions + results)}")


def verify_store(path: Path, *, progress: Progress) -> dict[str, Any]:
    """Every stored file against the manifest of its commit."""
    store = Store(path)
    problems = store.verify(progress=progress)
    entries = len(store.sessions()) + len(store.results())
    words = "every byte is as it was written" if not problems else f"{len(problems)} problems"
    return {"store": str(path), "problems": problems, "summary": f"{entries} entries checked: {words}"}


def run_file(
    config_path: Path, store_path: Path, report: Path | None, overrides: Sequence[str], *, threads: int, progress: Progress
) -> tuple[dict[str, Any], dict[str, Rows], list[str]]:
    """Run a configuration file on a store and write the report."""
    config = read_config(config_path, _overrides(overrides))
    store = Store(store_path)
    outcome = run(config, store, progress=progress, threads=threads)
    report = report or Path(f"{outcome.names['study']}.html")
    write_run_report(report, outcome)
    return describe_run(outcome, report, store_path)


def write_run_report(path: Path, outcome: Run) -> None:
    """The HTML report of a run."""
    write_report(path, outcome.study, outcome.results, outcome.trajectories, provenance=provenance(outcome.study))


def describe_run(outcome: Run, report: Path, store_path: Path) -> tuple[dict[str, Any], dict[str, Rows], list[str]]:
    """JSON value, table and closing lines of a run."""
    study = outcome.study
    names = ("score", "score_low", "score_high", "chance", "null_high", "p_value", "control_score", "n_trials", "n_units")
    rows = []
    for position, population in enumerate(study["population"].to_numpy()):
        at = study.isel(population=position)
        rows.append({"population": str(population)} | {name: at[name].item() for name in names})
    value = {
        "name": outcome.names["study"],
        "store": str(store_path),
        "report": str(report),
        "score_mean": study.attrs.get("score_mean"),
        "score_low": study.attrs.get("score_low"),
        "score_high": study.attrs.get("score_high"),
        "interval_over": study.attrs.get("interval_over"),
        "target": study.attrs["target"],
        "metric": study.attrs["metric"],
        "populations": [row | {"result": outcome.names[row["population"]]} for row in rows],
    }
    title = f"{study.attrs['title']}: {study.attrs['metric'].replace('_', ' ')} of {study.attrs['target']}"
    lines = []
    if "score_mean" in study.attrs:
        lines.append(
            f"Mean over {study.attrs['n_animals']} animals: {study.attrs['score_mean']:.3f} "
            f"({study.attrs['score_low']:.3f} to {study.attrs['score_high']:.3f}, "
            f"{100 * study.attrs['interval_level']:.0f} % interval over {study.attrs['interval_over']}); "
            f"chance {study.attrs['chance']:.3f}"
        )
    warned: dict[str, list[str]] = {}
    for result in outcome.results.values():
        for said in result.attrs["warnings"]:
            warned.setdefault(said, []).append(result.attrs["name"])
    lines += [f"Note on {_several(names)}: {said}" for said, names in warned.items()]
    lines += [f"Report: {report}", f"Next: mitral app --store {store_path}"]
    return value, {title: [_table_row(row) for row in rows]}, lines


def provenance(study: xr.Dataset) -> dict[str, Any]:
    """How a study came about, as plain values for the report."""
    attrs = study.attrs
    keys = ("name", "version", "python", "machine", "user", "computed_at", "store_position")
    known = {key: attrs[key] for key in keys if key in attrs}
    for key in ("config", "inputs", "packages", "threads"):
        known[key] = json.loads(attrs.get(key, "{}"))
    return known


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "population": row["population"],
        "score": f"{row['score']:.3f}",
        "interval": f"{row['score_low']:.3f} to {row['score_high']:.3f}",
        "chance": f"{row['chance']:.3f}",
        "null 97.5 %": f"{row['null_high']:.3f}",
        "p": "none" if np.isnan(row["p_value"]) else f"{row['p_value']:.3g}",
    }
    if not np.isnan(row["control_score"]):
        out["before stimulus"] = f"{row['control_score']:.3f}"
    return out | {"trials": row["n_trials"], "units": row["n_units"]}


def _show_session(store: Store, name: str) -> tuple[dict[str, Any], dict[str, Rows]]:
    session, record = store.session(name), store.record("session", name)
    columns = {
        dim: [str(key) for key, column in session.coords.items() if column.dims == (dim,)] for dim in ("trial", "unit")
    }
    outcome = {
        "kind": "session",
        "attrs": _plain(session.attrs),
        "sizes": {str(dim): int(size) for dim, size in session.sizes.items()},
        "events": events(session),
        "trial_columns": columns["trial"],
        "unit_columns": columns["unit"],
        "signals": [str(key) for key in session.data_vars if key not in ("spike_time", "spike_unit", "spike_index")],
        "record": {key: record[key] for key in ("number", "user", "host", "time", "object") if key in record},
    }
    facts = {key: value for key, value in outcome["attrs"].items() if value not in ("", [], None)}
    facts |= {f"n_{dim}s": size for dim, size in outcome["sizes"].items() if dim in ("trial", "unit", "spike")}
    facts |= {"events": ", ".join(outcome["events"]), "stored": f"{record['time']} by {record['user']}"}
    tables = {f"Session {name}": [{"what": key, "value": _joined(value) or str(value)} for key, value in facts.items()]}
    for dim in ("trial", "unit"):
        rows = [
            {"column": key, "unit": session[key].attrs.get("units", ""), "values": _summary(session[key].to_numpy())}
            for key in columns[dim]
        ]
        tables[f"{dim} columns".capitalize()] = rows
    return outcome, tables


def _show_result(store: Store, name: str) -> tuple[dict[str, Any], dict[str, Rows]]:
    result = store.result(name)
    attrs = _plain(result.attrs)
    outcome = {"kind": attrs.get("kind"), "name": name, "attrs": attrs}
    outcome["variables"] = {str(key): list(map(int, result[key].shape)) for key in result.data_vars}
    hidden = ("config", "packages", "threads", "inputs")
    rows = [{"what": key, "value": _cell(value)} for key, value in attrs.items() if key not in hidden and value not in ([], "")]
    tables = {f"Result {name}": rows}
    for key in ("config", "inputs"):
        if attrs.get(key):
            tables[key.capitalize()] = [{"key": k, "value": str(v)} for k, v in _flat(json.loads(attrs[key]))]
    return outcome, tables


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}.{key}" if prefix else key)]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _joined(value) or str(value)


def _summary(values: np.ndarray) -> str:
    """A few distinct values, or the range."""
    distinct = np.unique(values)
    if len(distinct) <= 6:
        return ", ".join(map(str, distinct.tolist()))
    if values.dtype.kind in "iuf":
        return f"{np.nanmin(values):g} to {np.nanmax(values):g}"
    return f"{', '.join(map(str, distinct[:4].tolist()))}, … ({len(distinct)})"


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    return {key: _value(text) for key, text in _overrides(pairs).items()}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _overrides(pairs: Sequence[str]) -> dict[str, str]:
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"expected NAME=VALUE, got {pair!r}.")
        out[key.strip()] = value.strip()
    return out


def _rows(table: Any) -> Rows:
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _session_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session": row["session"],
        "animal": row["animal"],
        "date": row["date"],
        "trials": row["n_trials"],
        "units": row["n_units"],
        "odors": len(row["odors"]) if isinstance(row["odors"], list) else 0,
        "areas": _joined(row["areas"]),
        "saved": row["saved_at"][:10],
    }


def _result_row(row: Mapping[str, Any]) -> dict[str, Any]:
    score = row["score_mean"]
    return {
        "name": row["name"],
        "kind": row["kind"],
        "target": _joined(row["target"]),
        "score": "" if score is None or np.isnan(score) else f"{score:.3f}",
        "saved": row["saved_at"][:10],
    }


def _joined(value: Any) -> str:
    """A list as text; nothing for what is not there."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else ""


def _several(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as Python values."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
