"""What the pages know: the store of this server, and what was read from it, cached by plain identifiers.

Every cached function takes (store path, position of the log, name): a new commit is a new key, and no
array or Dataset is ever hashed. What they return is shared by all browsers: pages do not change it.
"""

import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
import xarray as xr

from ...datasets.errors import SchemaError, StoreError
from ...datasets.store import Store
from .launch import STORE_VARIABLE

ROWS_SHOWN = 200
SHOWN_KINDS = ("study", "decoding")
SESSION_COLUMNS = ("session", "animal", "date", "n_trials", "n_units", "odors", "areas", "source",
                   "saved_by", "saved_at")  # fmt: skip


class Catalogue(NamedTuple):
    """What the log of a store says, at one position: tables of sessions and of results that can be shown."""

    path: str
    position: int
    sessions: pd.DataFrame
    results: pd.DataFrame


def catalogue() -> Catalogue:
    """The catalogue of this server's store, with the commits of others since the last look.

    Raises
    ------
    StoreError : no store was named, there is none, or its log cannot be read
    """
    path = os.environ.get(STORE_VARIABLE, "")
    if not path:
        raise StoreError("the explorer was started without a store.")
    position = _store(path).refresh()
    return Catalogue(path, position, *_tables(path, position))


def totals(lab: Catalogue) -> dict[str, int]:
    """How much the store holds."""
    sessions = lab.sessions
    counts = {"animals": sessions["animal"].nunique(), "sessions": len(sessions)}
    counts |= {name: int(sessions[f"n_{name}"].sum()) for name in ("trials", "units")}
    return counts | {"results": len(lab.results)}


def start_command() -> str:
    """What to type to start the explorer on this store."""
    path = os.environ.get(STORE_VARIABLE, "")
    return f"mitral app --store {shlex.quote(path) if path else 'LAB'}"


def command(verb: str) -> str:
    """A command line on this store, to be typed."""
    return f"{verb} --store {shlex.quote(os.environ.get(STORE_VARIABLE, '') or 'LAB')}"


@st.cache_resource(max_entries=16, show_spinner=False)
def result(path: str, position: int, name: str) -> xr.Dataset:
    """A result or study, read whole.

    Raises
    ------
    SchemaError : it is an array
    """
    loaded = _store(path).result(name).load()
    if not isinstance(loaded, xr.Dataset):
        raise SchemaError(f"{name!r} is an array, not a result or a study. Open it with Store(path).result(name).")
    return loaded


@st.cache_resource(max_entries=16, show_spinner=False)
def explained(path: str, position: int, name: str) -> tuple[dict[str, Any], list[str]]:
    """What explains the numbers of a result, and its warnings; a study leaves part of both to its results.

    Returns
    -------
    attributes, and sentences with the populations that they are about
    """
    study = result(path, position, name)
    if study.attrs.get("kind") != "study":
        return dict(study.attrs), list(study.attrs.get("warnings", []))
    names = (study["population"].values, study["result"].values)
    members = {str(p): result(path, position, str(r)) for p, r in zip(*names, strict=True)}
    about: dict[str, list[str]] = {}
    for population, member in members.items():
        for warning in member.attrs.get("warnings", []):
            about.setdefault(warning, []).append(population)
    first = next(iter(members.values())).attrs if members else {}
    return {**first, **study.attrs}, [f"{warning} ({', '.join(who)})" for warning, who in about.items()]


@st.cache_resource(max_entries=16, show_spinner=False)
def columns(path: str, position: int, session: str, dim: str) -> pd.DataFrame:
    """The first rows of the trial or unit table of a session; spikes and traces are not read."""
    opened = _store(path).session(session)
    names = [str(name) for name, column in opened.coords.items() if column.dims == (dim,)]
    names.sort(key=lambda name: name != dim)
    head = opened[names].isel({dim: slice(ROWS_SHOWN)}).load()
    table = pd.DataFrame({name: head[name].to_numpy() for name in names})
    units = {name: head[name].attrs.get("units", "") for name in names}
    return table.rename(columns={name: f"{name} ({unit})" for name, unit in units.items() if unit})


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(path: str) -> Store:
    if not Path(path).is_dir():
        raise StoreError(f"there is no folder {path!r}.")
    return Store(path)


@st.cache_resource(max_entries=8, show_spinner=False)
def _tables(path: str, position: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    store = _store(path)
    sessions, results = store.sessions(), store.results()
    shown = [name for name in SESSION_COLUMNS if name in sessions]
    return sessions[shown], results[results["kind"].isin(SHOWN_KINDS)]
