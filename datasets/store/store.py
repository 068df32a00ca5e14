"""``Store``: opens a lab store, saves sessions and results into it, and finds them by name."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from ..errors import IntegrityError, SchemaError, UnknownName
from ..schema import check_session
from ..tables import nearest
from . import catalogue, log, objects
from .conflicts import taken
from .files import said_plainly
from .format import check_format, check_writable, create_folders, store_id
from .names import check_name
from .verify import Progress, verify_folder

RESULT_SCHEMA = "result/1"


class Store:
    """A shared folder of sessions and results that never change once they are saved.

    A store seen through this handle stands at ``position``, the number of the last commit that it
    knows; ``refresh`` moves it on. Any number of processes may read and write at the same time.

    Parameters
    ----------
    path : an existing store

    Raises
    ------
    StoreError : ``path`` is no store, or one that needs a newer mitral
    IntegrityError : a broken or missing commit record; the message says which

    Examples
    --------
    >>> import tempfile
    >>> from mitral.datasets.schema import make_session
    >>> session = make_session(
    ...     "m1-day1", "m1", trials={"odor": ["a", "b"], "odor_onset": [1.0, 3.0]},
    ...     units={"unit": ["m1-day1/u0"]}, trial_units={"odor_onset": "s"}, recorded_s=(0.0, 5.0),
    ...     spike_ticks=[1200, 3100], spike_unit=[0, 0], ticks_per_s=1000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store.create(folder)
    ...     key = store.save_session(session)
    ...     print(key, store.position, store.session(key).sizes["spike"], store.verify())
    m1-day1 1 2 []
    """

    def __init__(self, path: str | os.PathLike) -> None:
        with said_plainly(f"the store {path} could not be read"):
            self.path: Path = check_format(path)
            self.id: str = store_id(self.path)
            self._records: list[log.Record] = log.read_on(self.path, [])

    @classmethod
    def create(cls, path: str | os.PathLike) -> "Store":
        """Make an empty store in an absent or empty folder, and open it.

        Raises
        ------
        StoreError : a store is there already, or the folder is not empty, or cannot be written
        """
        return cls(create_folders(path))

    def __repr__(self) -> str:
        """Path and position."""
        return f"Store({str(self.path)!r}, position={self.position})"

    @property
    def position(self) -> int:
        """Number of the last commit that this handle knows; 0 for an empty store."""
        return len(self._records)

    def refresh(self) -> int:
        """Move on to the newest commit.

        Returns
        -------
        position

        Raises
        ------
        IntegrityError : a broken or missing commit record
        """
        with said_plainly(f"the log of {self.path} could not be read"):
            self._records = log.read_on(self.path, self._records)
        return self.position

    def save_session(self, session: xr.Dataset) -> str:
        """Save a session under its id.

        Parameters
        ----------
        session : a Dataset that ``check_session`` accepts; lazy variables are streamed

        Returns
        -------
        session id. Saving the same content again changes nothing

        Raises
        ------
        ConflictError : the id is taken by other content, or differs from a taken one only in case
        SchemaError : not a session, or a name, type or attribute that is not stored
        StoreError : it could not be written; nothing is visible of it
        """
        check_session(session)
        key = check_name(session.attrs["session"], what="session id")
        fields = {
            "schema": session.attrs["schema"],
            "content_key": None,
            "source_sha256": str(session.attrs["source_sha256"]),
            "summary": catalogue.session_summary(session, where=f"session {key!r}"),
        }
        return self._save("session", key, session.drop_vars("spike_index", errors="ignore"), fields)

    def save_result(self, result: xr.Dataset | xr.DataArray, *, name: str, content_key: str) -> str:
        """Save a result, study or trajectory under a name.

        Parameters
        ----------
        result : a Dataset with the attribute ``kind``; or a trajectory (trial, time, latent)
        name : the name to find it by
        content_key : hash of what it was made from (configuration, inputs, version)

        Returns
        -------
        name. If the name is taken by the same ``content_key`` or content, nothing is changed

        Raises
        ------
        ConflictError : the name is taken by another result
        SchemaError : no ``kind``, or a name, type or attribute that is not stored
        StoreError : it could not be written; nothing is visible of it
        """
        name = check_name(name, what="result name")
        if not isinstance(content_key, str) or not content_key:
            raise SchemaError(f"result {name!r}: content_key must be a text that is not empty, got {content_key!r}.")
        dataset, array = _as_dataset(result, name)
        fields = {
            "schema": RESULT_SCHEMA,
            "content_key": content_key,
            "source_sha256": None,
            "summary": catalogue.result_summary(dataset, where=f"result {name!r}"),
        }
        return self._save("result", name, dataset, fields, array=array)

    def session(self, name: str) -> xr.Dataset:
        """A session by its id; coordinates are read, spikes and traces stay lazy.

        Raises
        ------
        UnknownName : no such session at this position; the message lists the nearest
        IntegrityError : metadata or coordinates are damaged; damage in the data shows when they are computed
        """
        return self._open(self.record("session", name), eager=False)

    def result(self, name: str) -> xr.Dataset | xr.DataArray:
        """A result by its name; variables of up to 1 MiB are read, larger ones stay lazy.

        Raises
        ------
        UnknownName : no such result at this position; the message lists the nearest
        IntegrityError : the stored bytes are damaged
        """
        dataset = self._open(self.record("result", name), eager=True)
        array = dataset.encoding.get("array")
        return dataset[array].assign_attrs(dataset.attrs) if array else dataset

    def sessions(self) -> pd.DataFrame:
        """The catalogue of sessions, one row each, newest commit last; no recording is opened."""
        return catalogue.sessions_table(self._records)

    def results(self) -> pd.DataFrame:
        """The catalogue of results, one row each, newest commit last; no result is opened."""
        return catalogue.results_table(self._records)

    def record(self, kind: str, name: str) -> log.Record:
        """The commit record behind a name: who, when, object id, manifest, summary.

        Parameters
        ----------
        kind : "session" or "result"
        name : session id or result name

        Raises
        ------
        UnknownName : no such kind or name at this position; the message lists the nearest
        """
        if kind not in ("session", "result"):
            raise UnknownName(f"a record is of kind 'session' or 'result', got {kind!r}.")
        names = log.live(self._records)
        if (kind, name) not in names:
            known = [key for record_kind, key in names if record_kind == kind]
            raise UnknownName(
                f"the store {self.path} has no {kind} {name!r} at position {self.position}. {nearest(name, known)}"
            )
        return dict(names[kind, name])

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Re-read every byte and hold it against the recorded checksums.

        Parameters
        ----------
        progress : called with (objects done, objects in all)

        Returns
        -------
        problems, one sentence each; empty when all is as it was written
        """
        return verify_folder(self.path, at_least=self.position, progress=progress)

    def _open(self, record: log.Record, *, eager: bool) -> xr.Dataset:
        from .opening import open_object

        with said_plainly(f"{record['kind']} {record['key']!r} could not be read from {self.path}"):
            return open_object(self.path, objects.folder_of(record["object"]), record["manifest"], eager=eager)

    def _save(self, kind: str, key: str, dataset: xr.Dataset, fields: dict, *, array: str | None = None) -> str:
        """Stage, check, publish, commit."""
        with said_plainly(f"{kind} {key!r} could not be saved in {self.path}, and no name stands for it"):
            check_writable(self.path)
            self.refresh()
            if taken(self._records, kind, key, content_key=fields["content_key"], object_id=None):
                return key
            with objects.staging(self.path) as folder:
                manifest = self._stage(folder / "object", dataset, where=f"{kind} {key!r}", array=array)
                object_id = objects.id_of(manifest)

                def is_taken(records: Sequence[log.Record]) -> log.Record | None:
                    return taken(records, kind, key, content_key=fields["content_key"], object_id=object_id)

                if is_taken(self._records) is None:
                    objects.publish(self.path, folder / "object", manifest)
                says = {"operation": "save", "kind": kind, "key": key, "object": object_id, "manifest": manifest}
                self._records, _ = log.publish(self.path, folder, fields | says, self._records, taken=is_taken)
        return key

    def _stage(self, folder: Path, dataset: xr.Dataset, *, where: str, array: str | None) -> objects.Manifest:
        """Write the object apart, open it again as a reader would, and compare."""
        from .encode import write_object
        from .opening import open_object

        write_object(folder, dataset, where=where, array=array)
        manifest = objects.manifest_of(folder)
        found = open_object(self.path, folder.relative_to(self.path).as_posix(), manifest, eager=False)
        _check_same(dataset, found, where=where)
        if where.startswith("session"):
            check_session(found)
        return manifest


def _as_dataset(result: xr.Dataset | xr.DataArray, name: str) -> tuple[xr.Dataset, str | None]:
    """The Dataset to store, and the variable's name if it was a DataArray."""
    array = None
    if isinstance(result, xr.DataArray):
        if result.dims != ("trial", "time", "latent"):
            raise SchemaError(
                f"result {name!r}: a DataArray is saved as a trajectory (trial, time, latent), got dims {result.dims}. "
                f"Put other arrays in a Dataset with the attribute 'kind'."
            )
        array, attrs = "trajectory", {"kind": "trajectory", **result.attrs}
        result = result.drop_attrs(deep=False).to_dataset(name=array).assign_attrs(attrs)
    if not isinstance(result, xr.Dataset):
        raise SchemaError(
            f"result {name!r}: expected an xarray.Dataset with the attribute 'kind', got {type(result).__name__}."
        )
    kind = result.attrs.get("kind")
    if not isinstance(kind, str) or not kind or kind == "session":
        raise SchemaError(
            f"result {name!r}: the attribute 'kind' must say what it is ('decoding', 'study', 'trajectory' ...), "
            f"got {kind!r}. Sessions are saved with save_session."
        )
    return result, array


def _check_same(given: xr.Dataset, found: xr.Dataset, *, where: str) -> None:
    """The staged object must read back as what was given: names, dims, shapes, coordinates."""
    for name, variable in given.variables.items():
        back = found.variables.get(name)
        same = back is not None and (back.dims, back.shape) == (variable.dims, variable.shape)
        if back is not None and same and name in given.coords and variable.chunks is None and back.chunks is None:
            same = variable.equals(back) or variable.astype(str).equals(back)
        if not same or (name in given.coords) != (name in found.coords):
            raise IntegrityError(
                f"{where}: {str(name)!r} does not read back as it was written. Nothing was saved; check the disk."
            )
