"""Tables of columns from ``<name>.csv`` or ``<name>.npz``: strict about text, never a pickle, never a guess.

CSV is UTF-8 (a byte-order mark is accepted), comma-separated, with one header line.
An npz holds one 1-D array a column.
What the columns mean is ``columns.py`` and the readers'.
"""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import SchemaError
from ..tables import nearest

SUFFIXES = (".csv", ".npz")
HEAD_BYTES = 1 << 16


def find_table(folder: Path, name: str) -> Path:
    """The file of table ``name`` in ``folder``.

    Raises
    ------
    SchemaError : the table is absent, or there are two
    """
    found = find_tables(folder, name)
    if not found:
        names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
        raise SchemaError(f"{folder.name}: expected {name}.csv or {name}.npz. {nearest(f'{name}.csv', names)}")
    return found[0]


def find_tables(folder: Path, name: str) -> list[Path]:
    """The file of an optional table as a list of one, or none.

    Raises
    ------
    SchemaError : there are two
    """
    found = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise SchemaError(f"{folder.name}: both {found[0].name} and {found[1].name} are there. Keep one of them.")
    return found


def read_table(path: Path, *, needs: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of a table.

    Parameters
    ----------
    path : a ``.csv`` or ``.npz`` file
    needs : columns that must be there
    text : columns to take as text as it stands, so that unit "07" stays "07"; they come as categories

    Returns
    -------
    table, one row at least; an empty cell of a number is NaN

    Raises
    ------
    SchemaError : not a table, a column missing, repeated or of another length, no rows, an empty cell of text
    """
    table = _read_npz(path, text) if path.suffix == ".npz" else _read_csv(path, text)
    for column in needs:
        if column not in table:
            raise SchemaError(f"{path.name}: column {column!r} is missing. {nearest(column, table.columns)}")
    if len(table) == 0:
        raise SchemaError(f"{path.name}: it has columns but no rows. Export it again, or leave the recording out.")
    for column in [name for name in text if name in table]:
        empty = table[column].isna().to_numpy() | (table[column].astype(object).to_numpy() == "")
        if np.any(empty):
            row = int(np.flatnonzero(empty)[0]) + 1
            raise SchemaError(f"{path.name}, row {row}: {column!r} is empty. Name it, as 'blank', or delete the row.")
    return table


def _read_csv(path: Path, text: Sequence[str]) -> pd.DataFrame:
    header = _header(path)
    numbers = {name: ["", "nan", "NaN"] for name in header if name not in text}
    try:
        table = pd.read_csv(
            path,
            encoding="utf-8-sig",
            dtype={name: str for name in header if name in text},  # "category" would make a number of "07"
            keep_default_na=False,  # pandas would take an odor called "None" or an area "NA" for missing
            na_values=numbers,
            skipinitialspace=True,
            low_memory=False,
        )
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path.name}: byte {error.start} is not UTF-8. Save the table as CSV in UTF-8.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SchemaError(f"{path.name}: not a table of {len(header)} columns: {error}. Export it again.") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise SchemaError(f"{path.name}: rows have more values than the {len(header)} names above. Name every column.")
    return table.astype({name: "category" for name in header if name in text})


def _header(path: Path) -> list[str]:
    """Column names of a CSV file, after what is plainly no CSV has been refused."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        raise SchemaError(f"{path.name}: the file is empty. Export the table again.")
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SchemaError(f"{path.name}: expected CSV in UTF-8, got UTF-16 or a binary file. Save it as CSV in UTF-8.")
    first = head.splitlines()[0].decode("utf-8-sig", errors="replace")
    header = [name.strip() for name in next(csv.reader([first]), [])]
    if len(header) == 1 and (";" in first or "\t" in first):
        raise SchemaError(f"{path.name}: columns are separated by ';' or tabs. Use commas, and a point in numbers.")
    _check_names(header, path)
    return header


def _read_npz(path: Path, text: Sequence[str]) -> pd.DataFrame:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:  # TypeError: a .npy
        raise SchemaError(
            f"{path.name}: not an npz of plain arrays: {error}. Save numbers and text with numpy.savez, no objects."
        ) from error
    _check_names(list(columns), path)
    for name, values in columns.items():
        if values.ndim != 1 or len(values) != len(next(iter(columns.values()))):
            raise SchemaError(
                f"{path.name}: array {name!r} has shape {values.shape}, and all must be 1-D and of one length. "
                f"Save one value a row."
            )
        if values.dtype.kind not in "iufbUS":
            raise SchemaError(f"{path.name}: array {name!r} is of type {values.dtype}. Save it as numbers or as text.")
    return pd.DataFrame({name: _as_text(values) if name in text else values for name, values in columns.items()})


def _as_text(values: np.ndarray) -> pd.Categorical:
    codes, names = pd.factorize(values)
    return pd.Categorical.from_codes(codes, [name.decode() if isinstance(name, bytes) else str(name) for name in names])


def _check_names(names: Sequence[str], path: Path) -> None:
    repeated = [name for name in names if list(names).count(name) > 1]
    if repeated or "" in names or not names:
        fault = f"column {repeated[0]!r} occurs twice" if repeated else "a column has no name"
        raise SchemaError(f"{path.name}: {fault}. Give each column its own name in the first line.")
