"""What trial columns mean, in one place for all readers: events in s, concentration with its unit, ticks, limits.

Reading the columns from a file is ``table_files.py`` and the readers'.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, SchemaError
from ..schema import as_ticks

CONCENTRATION_UNITS = {"dilution": "dilution", "ppm": "ppm", "mol_per_l": "mol/L"}
TAKEN = frozenset({"unit", "time", "spike", "spike_time", "spike_unit", "sample", "sample_time", "trace"})
WIDEST_ROUNDING = 1e-3  # of a tick; more than the noise of a float64 time


def trial_columns(
    table: Mapping[str, np.ndarray], events: Mapping[str, str], *, where: str, concentration_units: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Trial columns under mitral's names, and the unit of those that have one.

    Parameters
    ----------
    table : column name -> (n_trials,) values, as in the file
    events : column name -> name of the event; the values are times in s, NaN where it did not happen
    where : file and table, for messages
    concentration_units : unit of a column that is called plain ``concentration``

    Returns
    -------
    trials : name -> (n_trials,) values; ``concentration_ppm`` has become ``concentration``
    trial_units : name -> "s", or the unit of the concentration

    Raises
    ------
    SchemaError : two columns of one name, text for a number, a concentration without unit, a name that is taken

    Examples
    --------
    >>> table = {"odor": ["a", "b"], "concentration_ppm": [1, 10], "odor_onset_s": [0.5, 2.5]}
    >>> trials, units = trial_columns(table, {"odor_onset_s": "odor_onset"}, where="trials.csv")
    >>> units
    {'concentration': 'ppm', 'odor_onset': 's'}
    """
    trials: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for column, values in table.items():
        name, unit = events.get(column, column), "s" if column in events else ""
        if column.removeprefix("concentration_") in CONCENTRATION_UNITS and column.startswith("concentration_"):
            name, unit = "concentration", CONCENTRATION_UNITS[column.removeprefix("concentration_")]
        elif column == "concentration":
            if not concentration_units:
                raise SchemaError(
                    f"{where}: column 'concentration' has no unit. Call it "
                    f"{', '.join(f'concentration_{ending}' for ending in CONCENTRATION_UNITS)}, or state "
                    f"concentration_units where the reader has that option."
                )
            unit = concentration_units
        if name in trials:
            raise SchemaError(f"{where}: two columns would both be {name!r}, the second is {column!r}. Rename one.")
        if name in TAKEN:
            raise SchemaError(f"{where}: a trial column may not be called {name!r}, a session uses it. Rename it.")
        trials[name] = as_numbers(values, f"{where}: column {column!r}") if unit else np.asarray(values)
        if unit:
            units[name] = unit
    return trials, units


def as_numbers(values: Any, where: str) -> np.ndarray:
    """Values as float64, missing ones NaN.

    Raises
    ------
    SchemaError : the first value that is no number, or infinite, with its row
    """
    values = np.asarray(values)
    numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.isinf(numbers)
    if values.dtype.kind not in "iufb":
        bad |= np.isnan(numbers) & ~np.asarray([_is_blank(value) for value in values], dtype=bool)
    if np.any(bad):
        row = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"{where}, row {row + 1}: expected a number, got {str(values[row])!r}. Leave it empty where there is none."
        )
    return numbers


def spike_ticks(time_s: Any, ticks_per_s: float, *, where: str) -> tuple[np.ndarray, list[str]]:
    """Spike times in s as integer ticks, and a sentence if that moved any.

    Parameters
    ----------
    time_s : (n_spikes,) times in s, in any order
    ticks_per_s : resolution to keep
    where : file and column, for messages

    Raises
    ------
    SchemaError : a time that is missing, no number, infinite or negative, with its row

    Examples
    --------
    >>> spike_ticks([0.5, 0.0014], 1000, where="spikes.csv")
    (array([500,   1]), ['Spike times were rounded to 1/1000 s, by at most 400 microseconds.'])
    """
    time_s = np.asarray(time_s)
    numbers = as_numbers(time_s, where)
    bad = ~(numbers >= 0)
    if np.any(bad):
        row = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"{where}, row {row + 1}: expected a spike time in s, finite and not negative, got {str(time_s[row])!r}. "
            f"Shift the clock, or take out what is not a spike."
        )
    ticks = as_ticks(numbers, ticks_per_s)
    moved = np.max(np.abs(numbers * ticks_per_s - ticks), initial=0.0)
    if moved <= WIDEST_ROUNDING:
        return ticks, []
    return ticks, [
        f"Spike times were rounded to 1/{ticks_per_s:g} s, by at most {moved / ticks_per_s * 1e6:.3g} microseconds."
    ]


def recording_limits(ticks: np.ndarray, ticks_per_s: float, stated: Sequence[float] | None) -> tuple[float, float]:
    """(start, stop) of the recording in s: as stated, else from 0 to the last spike.

    Past the last spike nothing says that the recording went on, so bins there are NaN and not zero.

    Raises
    ------
    ConfigError : ``stated`` is not (start, stop) with start < stop
    """
    if stated is None:
        return 0.0, (float(np.max(ticks, initial=0)) + 1) / ticks_per_s
    limits = np.asarray(stated)
    if limits.shape != (2,) or limits.dtype.kind not in "iuf" or not -np.inf < limits[0] < limits[1] < np.inf:
        raise ConfigError(f"recorded_s: expected (start, stop) of the recording in s, start < stop, got {stated!r}.")
    return float(limits[0]), float(limits[1])


def events_outside(
    trials: Mapping[str, np.ndarray], trial_units: Mapping[str, str], recorded_s: tuple[float, float], *, where: str
) -> list[str]:
    """A sentence for each event that some trials have outside the recording.

    Raises
    ------
    SchemaError : all times of an event are outside, the mark of another clock or of milliseconds
    """
    sentences = []
    start_s, stop_s = recorded_s
    for name in [name for name, unit in trial_units.items() if unit == "s"]:
        times = trials[name][np.isfinite(trials[name])]
        n_outside = int(np.sum((times < start_s) | (times > stop_s)))
        limits = f"({start_s:g} to {stop_s:g} s)"
        if times.size and n_outside == times.size:
            raise SchemaError(
                f"{where}: all times of event {name!r}, {times.min():g} to {times.max():g} s, are outside the "
                f"recording {limits}. Are they in another unit than s, or on another clock? Else state recorded_s."
            )
        if n_outside:
            sentences.append(
                f"{n_outside} of {times.size} times of event {name!r} are outside the recording {limits}; "
                f"bins there are NaN. State recorded_s if it went on without a spike."
            )
    return sentences


def _is_blank(value: Any) -> bool:
    return value is None or value != value or str(value).strip() in ("", "nan", "NaN")
