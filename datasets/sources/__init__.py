"""Readers: from the files of a lab or a published set to checked sessions.

A reader is a function in its own file, listed in ``SOURCES``::

    read(path: Path, *, option=default, ...) -> Iterator[xr.Dataset]

It yields one checked session at a time, so that a folder of many recordings streams. Each session carries the attrs

``source``         the reader's name and the file's name: ``"nwb: day1.nwb"``
``source_sha256``  of the file, or of the list of files, that it was read from (``files.sha256_of``)
``licence``        what the publisher says of the data; ``""`` when nothing is known
``dropped``        list of sentences: what the files hold that the session does not, or holds changed, and why

and may carry ``note``, what a user must know about the recording. Options are keyword-only, and a reader guesses
no meaning: what the file does not say is an option or an error. A recording at ``path`` is read, never changed.

To add a format: one file, one line in ``SOURCES``, one row in the documentation. What readers share is in
``files.py`` (paths, hashes), ``table_files.py`` (CSV and npz tables) and ``columns.py`` (events, concentration, ticks).
Downloading published sets is in ``fetch.py``; writing is the store's.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from ..errors import ConfigError, SchemaError
from ..schema import check_session
from ..tables import nearest, resolve
from .files import check_exists

SOURCES = {
    "arrays": "mitral.datasets.sources.arrays:read_arrays",
    "iurilli2017": "mitral.datasets.sources.iurilli2017:read_iurilli2017",
    "nwb": "mitral.datasets.sources.nwb:read_nwb",
}
SOURCE_ATTRS = ("source", "source_sha256", "licence", "dropped")

__all__ = ["SOURCES", "SOURCE_ATTRS", "read_sessions"]


def read_sessions(source: str, path: Path | str, **options: Any) -> Iterator[xr.Dataset]:
    r"""The sessions found at ``path``, one at a time.

    Parameters
    ----------
    source : name in ``SOURCES``, or a dotted path ``"my_lab.readers:read"`` of a function with the same contract
    path : file or folder
    options : options of that reader

    Returns
    -------
    iterator of sessions; name, path and options are checked at once, files as the iterator comes to them

    Raises
    ------
    UnknownName : no such source
    SchemaError : nothing is at ``path``, or what is there is not what the reader expects
    ConfigError : an option that the reader does not have
    MissingDependency : the reader's library is not installed

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "spikes.csv").write_text("spike_time_s,unit\n0.5,1\n2.5,1\n")
    ...     _ = Path(folder, "trials.csv").write_text("odor,odor_onset_s\nhexanal,1.0\n")
    ...     (session,) = read_sessions("arrays", folder, session="m1-day1", animal="m1")
    >>> session["unit"].item(), session["odor"].item(), session["spike_time"].to_numpy().tolist()
    ('m1-day1/1', 'hexanal', [15000, 75000])
    """
    read = resolve(source, SOURCES, what="source")
    parameters = inspect.signature(read).parameters.values()
    valid = [option.name for option in parameters if option.kind is option.KEYWORD_ONLY]
    for name in options:
        if name not in valid:
            raise ConfigError(f"source {source!r} has no option {name!r}. {nearest(name, valid)}")
    return _checked(read(check_exists(Path(path)), **options), source)


def _checked(sessions: Iterator[xr.Dataset], source: str) -> Iterator[xr.Dataset]:
    """The same sessions, each held to the reader contract."""
    for session in sessions:
        check_session(session)
        missing = [name for name in SOURCE_ATTRS if name not in session.attrs]
        if missing:
            raise SchemaError(
                f"source {source!r}: session {session.attrs['session']!r} has no attribute {missing[0]!r}. "
                f"A reader sets {', '.join(SOURCE_ATTRS)}."
            )
        yield session
