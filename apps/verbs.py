"""What the verbs that read and write a store do, as functions of paths and names that return plain values.

Each returns the JSON value of the verb, and the tables or lines that a person reads instead.
Not here: running a configuration, which needs far more libraries, is in ``runs``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import xarray as xr

from ..datasets.errors import MitralError, SchemaError, UnknownName
from ..datasets.schema import events
from ..datasets.sources import SOURCES, read_sessions
from ..datasets.store import Store
from ..datasets.store.names import check_name
from ..datasets.tables import nearest, resolve
from .messages import Progress
from .rows import Row, column_rows, counted, fact_rows, joined, result_row, session_rows, several
from .words import pairs, toml_value, typed

Tables = dict[str, list[Row]]
Say = Callable[[str], None]
UNKNOWN = 0  # a progress total that nobody knows yet
MOST_PROBLEMS = 20  # of a damaged store, in the terminal; all of them with --json


def open_or_create(path: Path, say: Say) -> Store:
    """The store at ``path``; an empty or absent folder becomes one, and that is said."""
    if (path / "FORMAT.json").exists():
        return Store(path)
    store = Store.create(path)
    say(f"made a new store in {path}")
    return store


def fetch_files(
    source: str, folder: Path, from_folder: Path | None, *, progress: Progress, say: Say
) -> tuple[dict[str, Any], list[str]]:
    """Bring a published set into a folder; its licence is said before anything is downloaded."""
    from ..datasets.sources.fetch import PUBLISHED, fetch

    if source in PUBLISHED:
        say(f"licence: {PUBLISHED[source].licence}")

    def in_kilobytes(name: str, done: int, total: int) -> None:
        progress(f"{name} (kB)", done // 1000, total // 1000)

    brought = fetch(source, folder, from_folder=from_folder, progress=in_kilobytes)
    files = [{"file": str(path), "status": status} for path, status in brought]
    lines = [f"{file['status']}: {file['file']}" for file in files]
    lines.append(f"Next: {typed('ingest', source, folder, '--store', 'lab')}")
    return {"source": source, "folder": str(folder), "files": files}, lines


def ingest_sessions(
    source: str, path: Path, store_path: Path, options: Sequence[str], *, progress: Progress, say: Say
) -> tuple[dict[str, Any], list[str]]:
    """Read every session at ``path`` and save it. Sessions saved before an error stay saved; the error says which.

    The store is opened first, and made, where there is none, once a session could be read.
    """
    store = open_or_create(store_path, say) if _holds_something(store_path) else None
    saved: list[Row] = []
    dropped: dict[str, list[str]] = {}
    try:
        for number, session in enumerate(read_sessions(source, path, **_options(source, options))):
            name = session.attrs["session"]
            progress(f"store {name}", number, UNKNOWN)
            check_name(name, what="session id")
            store = store or open_or_create(store_path, say)
            store.save_session(session)
            saved.append({"session": name, "n_trials": session.sizes["trial"], "n_units": session.sizes["unit"]})
            for sentence in session.attrs.get("dropped", []):
                dropped.setdefault(sentence, []).append(name)
    except MitralError as error:
        if saved:
            error.add_note(f"Saved before this: {several([row['session'] for row in saved])}.")
        raise
    if not saved or store is None:
        raise SchemaError(f"{path} holds no session that {source!r} can read. Look at its files, or name another.")
    progress("stored", len(saved), len(saved))
    for sentence, names in dropped.items():
        say(f"not kept of {several(names)}: {sentence}")
    n_trials, n_units = (sum(row[key] for row in saved) for key in ("n_trials", "n_units"))
    held = f"{counted(n_trials, 'trial')}, {counted(n_units, 'unit')}"
    lines = [
        f"{counted(len(saved), 'session')} in {store_path}: {held}",
        f"Next: {typed('ls', '--store', store_path)}",
    ]
    return {"store": str(store_path), "position": store.position, "sessions": saved, "dropped": dropped}, lines


def list_store(path: Path) -> tuple[dict[str, Any], Tables, list[str]]:
    """The catalogue: sessions and results, oldest first. No recording is opened."""
    store = Store(path)
    sessions, results = _records(store.sessions()), _records(store.results())
    outcome = {"store": str(path), "position": store.position, "sessions": sessions, "results": results}
    tables = {
        f"Sessions of {path}": session_rows(sessions),
        "Results": [result_row(row) for row in results],
    }
    words = ("show", sessions[-1]["session"]) if sessions else ("ingest", "SOURCE", "PATH")
    return outcome, tables, [f"Next: {typed(*words, '--store', path)}"]


def show_entry(path: Path, name: str) -> tuple[dict[str, Any], Tables]:
    """One session or result in detail.

    Raises
    ------
    UnknownName : neither a session nor a result is called that, with the nearest names
    """
    store = Store(path)
    sessions, results = list(store.sessions()["session"]), list(store.results()["name"])
    if name in sessions:
        return _show_session(store, name)
    if name in results:
        return _show_result(store, name)
    raise UnknownName(f"the store {path} has no session and no result {name!r}. {nearest(name, sessions + results)}")


def verify_store(path: Path, *, progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """Every stored file against the manifest of its commit."""
    store = Store(path)
    problems = store.verify(progress=lambda done, total: progress("check", done, total))
    n_entries = len(store.sessions()) + len(store.results())
    words = counted(len(problems), "problem") if problems else "every byte is as it was written"
    summary = f"sessions and results checked: {n_entries}; {words}"
    lines = problems[:MOST_PROBLEMS]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"... and {len(problems) - MOST_PROBLEMS} more; all of them with --json")
    if problems:
        lines.append("What is named above is damaged: restore it from a copy. Everything else can be used.")
    return {"store": str(path), "problems": problems, "summary": summary}, [*lines, summary]


def _show_session(store: Store, name: str) -> tuple[dict[str, Any], Tables]:
    session, record = store.session(name), store.record("session", name)
    columns = {dim: column_rows(session, dim) for dim in ("trial", "unit")}
    outcome = {
        "kind": "session",
        "attrs": _plain(session.attrs),
        "sizes": {str(dim): int(size) for dim, size in session.sizes.items()},
        "events": events(session),
        "trial_columns": [row["column"] for row in columns["trial"]],
        "unit_columns": [row["column"] for row in columns["unit"]],
        "signals": [str(key) for key in session.data_vars if key not in ("spike_time", "spike_unit", "spike_index")],
        "record": {key: record[key] for key in ("number", "user", "host", "time", "object")},
    }
    facts = dict(outcome["attrs"])
    facts |= {f"n_{dim}s": size for dim, size in outcome["sizes"].items() if dim in ("trial", "unit", "spike")}
    facts |= {"events": outcome["events"], "stored": f"{record['time']} by {record['user']}"}
    tables = {f"Session {name}": fact_rows(facts), "Trial columns": columns["trial"], "Unit columns": columns["unit"]}
    return outcome, tables


def _show_result(store: Store, name: str) -> tuple[dict[str, Any], Tables]:
    result = store.result(name)
    attrs = _plain(result.attrs)
    outcome = {"kind": attrs.get("kind"), "name": name, "attrs": attrs}
    variables = result.data_vars if isinstance(result, xr.Dataset) else {str(result.name): result}
    outcome["variables"] = {str(key): list(map(int, array.shape)) for key, array in variables.items()}
    hidden = ("config", "packages", "threads", "inputs")
    tables = {f"Result {name}": fact_rows({key: value for key, value in attrs.items() if key not in hidden})}
    for key in ("config", "inputs"):
        if attrs.get(key):
            flat = _flat(json.loads(attrs[key]))
            tables[key.capitalize()] = [{"key": name, "value": joined(value) or str(value)} for name, value in flat]
    return outcome, tables


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in nested tables."""
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{prefix}.{key}" if prefix else key)


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _options(source: str, words: Sequence[str]) -> dict[str, Any]:
    """Options of a reader; those that are texts by its signature stay as typed, so that mouse 4021 is no number."""
    types = get_type_hints(resolve(source, SOURCES, what="source"))
    return {
        name: text if types.get(name) in (str, str | None) else toml_value(text)
        for name, text in pairs(words, option="--option").items()
    }


def _records(table: Any) -> list[Row]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as Python values."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
