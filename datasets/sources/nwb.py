"""NWB files through pynwb: the units table, the trials table, the subject.

``start_time`` and ``stop_time`` of a trial become the events ``trial_start`` and ``trial_stop``; columns that end in
``_time`` are events in s under their own names. A file that points outside itself (external links, external storage,
virtual datasets) is refused before pynwb opens it: it could read any file that this process can.
Damaged bytes are refused where the HDF5 library reports them; it can also crash the process on damaged structure
(seen about once in a thousand flipped bits), so a service should read uploads in a process of their own.
Not here: imaging traces, behaviour, other interval tables; what a file holds of these is named in ``dropped``.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ConfigError, MissingDependency, MitralError, SchemaError
from ..schema import make_session
from ..tables import nearest
from .columns import TAKEN, events_outside, recording_limits, spike_ticks, trial_columns
from .files import sha256_of

TICKS_PER_S = 30000.0  # where the file states no resolution
EVENT_ENDING = "_time"
RENAMED_EVENTS = {"start_time": "trial_start", "stop_time": "trial_stop"}
NOT_COLUMNS = frozenset({"spike_times", "electrodes", "electrode_group", "obs_intervals"})  # read in other ways


def read_nwb(
    path: Path,
    *,
    session: str | None = None,
    animal: str | None = None,
    licence: str | None = None,
    ticks_per_s: float | None = None,
    recorded_s: Sequence[float] | None = None,
    events: Sequence[str] | None = None,
    concentration_units: str | None = None,
) -> Iterator[xr.Dataset]:
    """One session per NWB file.

    Parameters
    ----------
    path : an ``.nwb`` file, or a folder of them, read in the order of their names
    session, animal : ids; else the file's session id (or name, if it has none) and subject id
    licence : of the data, if known; NWB has no field for it
    ticks_per_s : resolution to keep spike times at; else the file's, else 30000; rounding is reported in ``dropped``
    recorded_s : (start, stop) of the recording in s; from 0 to the last spike unless stated
    events : trial columns that are times in s; those that end in ``_time`` unless stated
    concentration_units : unit of a trial column called ``concentration``, such as "dilution"

    Yields
    ------
    session

    Raises
    ------
    MissingDependency : pynwb is not installed
    SchemaError : no NWB file, a damaged one, one that points outside itself, one without units or trials
    ConfigError : no animal is known, or one id is stated for several files
    """
    files = sorted(path.glob("*.nwb")) if path.is_dir() else [path]
    if not files:
        names = [file.name for file in path.iterdir()]
        raise SchemaError(f"{path.name}: the folder holds no .nwb file. {nearest('.nwb', names)}")
    if len(files) > 1 and (session or animal):
        raise ConfigError(f"{path.name} holds {len(files)} NWB files; one session or animal cannot name all. Give one.")
    stated: dict[str, Any] = {"session": session, "animal": animal, "licence": licence or ""}
    stated |= {"ticks_per_s": ticks_per_s, "recorded_s": recorded_s}
    for file in files:
        _check_self_contained(file)
        with warnings.catch_warnings(record=True) as caught:  # of an old file; kept with the session, not printed
            warnings.simplefilter("always")
            made = _read_file(file, stated, events, concentration_units)
        if caught:
            made.attrs["note"] = "pynwb: " + " ".join(sorted({str(warning.message) for warning in caught}))
        yield made


def _read_file(
    path: Path, stated: Mapping[str, Any], events: Sequence[str] | None, concentration_units: str | None
) -> xr.Dataset:
    io, content = _open(path)
    try:
        with io:
            return _session(content, path, stated, events, concentration_units)
    except MitralError:
        raise
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:  # h5py, of bytes that it meets only now
        raise SchemaError(f"{path.name}: the HDF5 file is damaged: {error}. Copy it again.") from error


def _open(path: Path) -> tuple[Any, Any]:
    pynwb = _library("pynwb")
    io = None
    try:
        io = pynwb.NWBHDF5IO(str(path), "r")
        return io, io.read()
    except Exception as error:  # pynwb and hdmf raise errors of many kinds, with no common base
        if io is not None:
            io.close()
        raise SchemaError(f"{path.name}: pynwb cannot read it: {error}. Check it with pynwb.validate.") from error


def _library(name: str) -> Any:
    try:
        import h5py
        import pynwb
    except ModuleNotFoundError as error:
        raise MissingDependency(f'reading NWB needs {error.name}, not installed: pip install "mitral[nwb]"') from error
    return {"h5py": h5py, "pynwb": pynwb}[name]


def _check_self_contained(path: Path) -> None:
    """Refuse what is not whole HDF5, or has data in other files."""
    h5py = _library("h5py")
    if not h5py.is_hdf5(path):
        raise SchemaError(f"{path.name}: expected an NWB file, which is HDF5, and it is not. Check it, and its size.")
    try:
        with h5py.File(path, "r") as file:
            outside = _outside(file, h5py)
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:
        raise SchemaError(f"{path.name}: the HDF5 file is truncated or damaged: {error}. Copy it again.") from error
    if outside:
        raise SchemaError(f"{path.name}: {outside}. Only whole files are read; export all into one with pynwb.")


def _outside(root: Any, h5py: Any) -> str:
    """What below ``root`` points to another file; "" if nothing does. Follows no link."""
    groups, seen = [root], set()
    while groups:
        group = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        for name in group if address not in seen else ():
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                return f"{group.name.rstrip('/')}/{name} is a link to the file {link.filename!r}"
            member = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(member, h5py.Dataset) and (member.external or member.is_virtual):
                return f"the data of {member.name} are in another file"
            if isinstance(member, h5py.Group):
                groups.append(member)
        seen.add(address)
    return ""


def _session(
    content: Any, path: Path, stated: Mapping[str, Any], events: Sequence[str] | None, concentration_units: str | None
) -> xr.Dataset:
    _check_has_tables(content, path)
    session_id = stated["session"] or content.session_id or path.stem
    animal = stated["animal"] or (content.subject and content.subject.subject_id)
    if not animal:
        raise ConfigError(f"{path.name}: the file names no subject. State the option animal.")
    trials, trial_units, dropped = _trials(content.trials, path, events, concentration_units)
    units, unit_dropped = _units(content.units, session_id, trials, path)
    per_s = stated["ticks_per_s"] or _resolution(content.units) or TICKS_PER_S
    times, spike_unit = _spikes(content.units, path)
    ticks, rounded = spike_ticks(times, per_s, where=f"{path.name}: units column 'spike_times'")
    recorded = recording_limits(ticks, per_s, stated["recorded_s"])
    outside = events_outside(trials, trial_units, recorded, where=f"{path.name}: trials")
    not_read = [f"Not {part}: {', '.join(names)} (not read yet)." for part, names in _other_parts(content).items()]
    return make_session(
        session_id,
        animal,
        trials=trials,
        units=units,
        trial_units=trial_units,
        recorded_s=recorded,
        spike_ticks=ticks,
        spike_unit=spike_unit,
        ticks_per_s=float(per_s),
        attrs={
            "date": content.session_start_time.date().isoformat(),
            "licence": stated["licence"],
            "source": f"nwb: {path.name}",
            "source_sha256": sha256_of(path),
            "dropped": dropped + unit_dropped + rounded + outside + not_read,
        },
    )


def _check_has_tables(content: Any, path: Path) -> None:
    tables = {"units": content.units, "trials": content.trials}
    for name, table in tables.items():
        if table is None or len(table) == 0:
            held = {f"{what} {', '.join(names)}" for what, names in _other_parts(content).items()}
            held |= {f"{len(other)} {what}" for what, other in tables.items() if other is not None and len(other)}
            raise SchemaError(
                f"{path.name}: it has no {name}, which a session needs; it holds "
                f"{'; '.join(sorted(held)) or 'no data'}. Add the table of {name} with pynwb, or use another reader."
            )
    _ragged(content.units, "spike_times", path)


def _other_parts(content: Any) -> dict[str, list[str]]:
    """Names of what the file holds beside units and trials, by part of the file."""
    parts = {
        "acquisition": content.acquisition,
        "processing": content.processing,
        "stimulus": content.stimulus,
        "intervals": content.intervals or {},
    }
    named = {part: sorted(name for name in held if name != "trials") for part, held in parts.items()}
    return {part: names for part, names in named.items() if names}


def _ragged(table: Any, name: str, path: Path) -> tuple[np.ndarray, Any]:
    """Where each row of a ragged column ends, and the column of all values."""
    column: Any = table[name] if name in table.colnames else None
    if type(column).__name__ != "VectorIndex":
        raise SchemaError(
            f"{path.name}: the units table has no list {name!r} per unit, only {', '.join(table.colnames)}. "
            f"Export it again."
        )
    ends = np.asarray(column.data[:], dtype=np.int64)
    if np.any(np.diff(ends, prepend=0) < 0) or len(ends) != len(table) or ends[-1] != len(column.target.data):
        raise SchemaError(
            f"{path.name}: the index of {name!r} does not fit its {len(column.target.data)} values. Export it again."
        )
    return ends, column.target


def _plain_columns(table: Any, taken: frozenset[str] | set[str], what: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns that hold one number or text a row, and a sentence for each other one."""
    columns, dropped = {}, []
    for name in [name for name in table.colnames if name not in NOT_COLUMNS]:
        column = table[name]
        values = np.asarray(column.data[:]) if type(column).__name__ == "VectorData" else None
        if values is None or values.ndim != 1 or not _is_plain(values):
            dropped.append(f"{what} column {name!r}: it does not hold one number or text per row.")
        elif name in taken:
            dropped.append(f"{what} column {name!r}: a session uses this name itself, or for a trial column.")
        else:
            columns[name] = values
    return columns, dropped


def _is_plain(values: np.ndarray) -> bool:
    return values.dtype.kind in "iufbUS" or all(isinstance(value, str | bytes) for value in values)


def _trials(
    table: Any, path: Path, events: Sequence[str] | None, concentration_units: str | None
) -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    columns, dropped = _plain_columns(table, TAKEN | {"trial"}, "trials")
    ending = [name for name, values in columns.items() if name.endswith(EVENT_ENDING) and values.dtype.kind in "iuf"]
    chosen = ending if events is None else [*RENAMED_EVENTS, *events]
    unknown = [name for name in chosen if name not in columns]
    if unknown:
        raise ConfigError(f"{path.name}: trials have no column {unknown[0]!r}. {nearest(unknown[0], columns)}")
    names = {name: RENAMED_EVENTS.get(name, name) for name in chosen}
    where = f"{path.name}: trials"
    trials, units = trial_columns(columns, names, where=where, concentration_units=concentration_units)
    return {"trial": np.asarray(table.id[:]), **trials}, units, dropped


def _units(table: Any, session: str, trials: Mapping[str, Any], path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    columns, dropped = _plain_columns(table, TAKEN | {"trial", *trials}, "units")
    areas = _areas(table, path)
    if areas is not None and "area" not in columns:
        columns["area"] = areas
    return {"unit": np.asarray([f"{session}/{name}" for name in table.id[:]]), **columns}, dropped


def _areas(table: Any, path: Path) -> np.ndarray | None:
    """Area of each unit, from its electrodes or their group; several are joined by "+"."""
    if "electrodes" in table.colnames:
        ends, region = _ragged(table, "electrodes", path)
        location = np.asarray([str(value) for value in region.table["location"].data[:]])
        each = np.split(location[np.asarray(region.data[:], dtype=np.int64)], ends[:-1])
        return np.asarray(["+".join(sorted(set(names.tolist()))) for names in each], dtype=str)
    if "electrode_group" in table.colnames:
        return np.asarray([str(group.location or "") for group in table["electrode_group"].data], dtype=str)
    return None


def _resolution(table: Any) -> float | None:
    """Ticks a second that the file states, if it does."""
    resolution_s = getattr(table, "resolution", None)
    return 1 / float(resolution_s) if resolution_s and resolution_s > 0 else None


def _spikes(table: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times in s and positions on ``unit`` of all spikes, unit by unit."""
    ends, times = _ragged(table, "spike_times", path)
    return np.asarray(times.data[:], dtype=np.float64), np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
