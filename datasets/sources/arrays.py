"""A folder with a table of spikes and a table of trials, the form that any lab can export.

::

    spikes.csv    spike_time_s, unit            one row a spike, in any order (they are sorted by time, exactly)
    trials.csv    odor, concentration_ppm, odor_onset_s, ...     one row a trial
    units.csv     unit, area, depth_um, ...     optional, one row a unit
    session.toml  session = "m1-day1" ...       optional, the options below

Each table may instead be an ``.npz`` with one 1-D array a column. In ``trials``, a column that ends in ``_s`` is an
event in s (``odor_onset_s`` becomes the event ``odor_onset``; leave it empty where it did not happen), and
``concentration_dilution``, ``concentration_ppm`` or ``concentration_mol_per_l`` becomes ``concentration`` with that
unit. An optional column ``trial`` holds whole numbers. All other columns are kept under their names.
Unit ids become ``"<session>/<unit>"``. Not here: traces, sniff and other signals.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import ConfigError, SchemaError
from ..schema import make_session
from ..tables import nearest
from .columns import TAKEN, events_outside, recording_limits, spike_ticks, trial_columns
from .files import check_folder, sha256_of
from .table_files import find_table, find_tables, read_table

TICKS_PER_S = 30000.0  # the usual sampling rate of an electrophysiology system
OPTIONS = ("session", "animal", "date", "licence", "ticks_per_s", "recorded_s")


def read_arrays(
    path: Path,
    *,
    session: str | None = None,
    animal: str | None = None,
    date: str | None = None,
    licence: str | None = None,
    ticks_per_s: float | None = None,
    recorded_s: Sequence[float] | None = None,
) -> Iterator[xr.Dataset]:
    """The one session of a folder of tables.

    Parameters
    ----------
    path : folder with ``spikes`` and ``trials``, and ``units`` if known
    session, animal : ids; must be stated here or in ``session.toml``, which an option overrules
    date, licence : of the recording, if known
    ticks_per_s : resolution to keep spike times at, 30000 unless stated; rounding is reported in ``dropped``
    recorded_s : (start, stop) of the recording in s; from 0 to the last spike unless stated

    Yields
    ------
    session

    Raises
    ------
    SchemaError : a table is missing or wrong, no trials, units or trials twice, impossible spike times
    ConfigError : session or animal is not stated, or an option has a wrong value
    """
    folder = check_folder(path, holds="spikes.csv and trials.csv")
    given = dict(zip(OPTIONS, (session, animal, date, licence, ticks_per_s, recorded_s), strict=True))
    stated = _session_toml(folder) | {name: value for name, value in given.items() if value is not None}
    session_id, animal_id = _stated_name(stated, "session", folder), _stated_name(stated, "animal", folder)
    files = [find_table(folder, "spikes"), find_table(folder, "trials"), *find_tables(folder, "units")]
    spikes_file, trials_file, *units_file = files
    trials, trial_units = _trials(trials_file)
    spikes = read_table(spikes_file, needs=("spike_time_s", "unit"), text=("unit",))
    units, spike_unit = _units(units_file, spikes["unit"], trials)
    per_s = _positive(stated.get("ticks_per_s", TICKS_PER_S))
    ticks, dropped = spike_ticks(spikes["spike_time_s"], per_s, where=f"{spikes_file.name}: column 'spike_time_s'")
    recorded = recording_limits(ticks, per_s, stated.get("recorded_s"))
    dropped += events_outside(trials, trial_units, recorded, where=trials_file.name)
    dropped += [
        f"{spikes_file.name}: column {column!r} was not read; a session keeps the time and unit of a spike."
        for column in spikes.columns
        if column not in ("spike_time_s", "unit")
    ]
    units["unit"] = _in_session(units["unit"], session_id)
    used = [*files, *(file for file in (folder / "session.toml",) if file.is_file())]
    yield make_session(
        session_id,
        animal_id,
        trials=trials,
        units=units,
        trial_units=trial_units,
        recorded_s=recorded,
        spike_ticks=ticks,
        spike_unit=spike_unit,
        ticks_per_s=per_s,
        attrs={
            "date": str(stated.get("date", "")),
            "licence": str(stated.get("licence", "")),
            "source": f"arrays: {folder.resolve().name}",
            "source_sha256": sha256_of(*used),
            "dropped": dropped,
        },
    )


def _session_toml(folder: Path) -> dict[str, Any]:
    path = folder / "session.toml"
    if not path.is_file():
        return {}
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} in {folder.name}: not TOML in UTF-8: {error}.") from error
    for name in stated:
        if name not in OPTIONS:
            raise ConfigError(f"{path.name} in {folder.name}: unknown key {name!r}. {nearest(name, OPTIONS)}")
    return stated


def _stated_name(stated: Mapping[str, Any], name: str, folder: Path) -> str:
    value = stated.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{folder.name}: the id of the {name} must be stated, as text; got {value!r}. "
            f'Give the option {name}, or write {name} = "..." in session.toml.'
        )
    return value


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ConfigError(f"ticks_per_s: expected a positive number, such as 30000, got {value!r}.")
    return float(value)


def _trials(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    table = read_table(path, needs=("odor",), text=("odor",))
    events = {name: name.removesuffix("_s") for name in table if name.endswith("_s") and len(name) > len("_s")}
    if not events:
        raise SchemaError(
            f"{path.name}: no column is an event time; its name would end in '_s', such as odor_onset_s. "
            f"{nearest('odor_onset_s', table.columns)}"
        )
    happened = table[list(events)].notna().any(axis=1)
    repeated = table.drop(columns="trial", errors="ignore").duplicated() & happened
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0]) + 1
        raise SchemaError(f"{path.name}, row {row}: the same trial with the same event times stands above. Delete one.")
    columns = {str(name): np.asarray(table[name]) for name in table}
    return trial_columns(columns, events, where=path.name)


def _units(
    files: Sequence[Path], spike_unit: pd.Series, trials: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Unit columns of the table, if there is one, and for each spike its position on ``unit``."""
    codes, names = spike_unit.cat.codes.to_numpy(), [str(name) for name in spike_unit.cat.categories]
    units = {"unit": np.asarray(sorted(names, key=_natural), dtype=str)}
    for path in files:
        table = read_table(path, needs=("unit",), text=("unit",))
        units = {str(name): np.asarray(table[name]) for name in table}
        clash = [name for name in units if name in trials or name in TAKEN - {"unit"} or name == "trial"]
        if clash:
            raise SchemaError(f"{path.name}: column {clash[0]!r} is also a trial column or a session's own. Rename it.")
    position = {str(name): place for place, name in enumerate(units["unit"])}
    unknown = [name for name in names if name not in position]
    if unknown:
        raise SchemaError(
            f"unit {unknown[0]!r} has spikes but no row in {files[0].name}. {nearest(unknown[0], position)} "
            f"Add its row, or take its spikes out."
        )
    return units, np.asarray([position[name] for name in names])[codes]


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort key that puts unit 2 before unit 10."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name


def _in_session(names: np.ndarray, session: str) -> np.ndarray:
    prefix = f"{session}/"
    return np.asarray([name if str(name).startswith(prefix) else f"{prefix}{name}" for name in names], dtype=str)
