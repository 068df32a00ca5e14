"""Published recordings: from their address, or a folder, to a local folder, each file held to its sha256.

Only https, only the files listed here, never more bytes than listed. Reading them is the readers'.
"""

import http.client
import os
import shutil
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import IntegrityError, StoreError, UnknownName
from ..tables import nearest
from .files import check_folder, sha256_of
from .iurilli2017 import LICENCE

ANSWER_S = 20.0  # longest wait for a server to say anything
LONGEST_S = 900.0  # longest download of one file
BLOCK_BYTES = 1 << 16
_SCHEMES = ("https",)

Progress = Callable[[str, int, int], None]


class RemoteFile(NamedTuple):
    """A published file and what it must be."""

    name: str
    n_bytes: int
    sha256: str


class Published(NamedTuple):
    """A published set: where its files are and what may be done with them."""

    address: str
    files: tuple[RemoteFile, ...]
    licence: str


PUBLISHED = {
    "iurilli2017": Published(
        "https://raw.githubusercontent.com/dattalab/Population-coding-in-an-Innately-Relevant-Olfactory-Area/"
        "9ad456f57c9735a358e43239c0b48276ccceb000/IurilliAndDatta2017_Data/",
        (
            RemoteFile("aPCx_15.mat", 3359905, "e2af68e56e5fc0754bb51c2b0bebff3ff23b1bca01dd9ff11d73a1249be86db8"),
            RemoteFile("plCoA_15.mat", 3721096, "fa70c18e5f706c25d9f18d4207ddac2be8431c5b19f3eb5bb276566d54b4068e"),
            RemoteFile("plCoA_CS.mat", 3769467, "53f4c0beeeebefb949b082c326d6308d5c2d66b515ba4deab023cc26046af5d4"),
        ),
        LICENCE,
    ),
}


def fetch(
    name: str, destination: Path | str, *, from_folder: Path | str | None = None, progress: Progress | None = None
) -> list[tuple[Path, str]]:
    """Bring the files of a published set into a folder; what is there already and right stays.

    Parameters
    ----------
    name : key of ``PUBLISHED``
    destination : folder, made if it is absent
    from_folder : copy from this folder instead of downloading, with the same check
    progress : called with (file name, bytes so far, bytes in all)

    Returns
    -------
    (file, status) for each file, status "present", "copied" or "downloaded"

    Raises
    ------
    UnknownName : no such set
    StoreError : no answer from the address, a file missing in ``from_folder``, or no place to write
    IntegrityError : a file is not the published one; nothing is left of a wrong download, a wrong file stays untouched
    """
    if name not in PUBLISHED:
        raise UnknownName(f"there is no published set {name!r} to fetch. {nearest(name, PUBLISHED)}")
    published, folder = PUBLISHED[name], Path(destination)
    if from_folder is not None:
        check_folder(Path(from_folder), holds=", ".join(file.name for file in published.files))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {str(folder)!r}: {error.strerror}. Choose another.") from error
    return [_bring(file, folder, published.address, name, from_folder, progress or _silent) for file in published.files]


def _silent(name: str, done: int, total: int) -> None:
    """Report nothing."""


def _bring(
    file: RemoteFile, folder: Path, address: str, set_name: str, from_folder: Path | str | None, progress: Progress
) -> tuple[Path, str]:
    target = folder / file.name
    if target.exists():
        _check(target, file, "Move it away and fetch again")
        progress(file.name, file.n_bytes, file.n_bytes)
        return target, "present"
    try:
        handle, part = tempfile.mkstemp(dir=folder, prefix=f".{file.name}.", suffix=".part")
    except OSError as error:
        raise StoreError(f"cannot write in {str(folder)!r}: {error.strerror}. Choose another destination.") from error
    try:
        with os.fdopen(handle, "wb") as out:
            if from_folder is not None:
                _copy(Path(from_folder) / file.name, out)
            else:
                _download(f"{address}{file.name}", out, file, set_name, progress)
        _check(Path(part), file, "Nothing was kept")
        os.chmod(part, 0o644)  # mkstemp makes it private; a shared folder should not be
        os.replace(part, target)
    finally:
        Path(part).unlink(missing_ok=True)
    progress(file.name, file.n_bytes, file.n_bytes)
    return target, "copied" if from_folder is not None else "downloaded"


def _check(path: Path, file: RemoteFile, advice: str) -> None:
    found = sha256_of(path)
    if found != file.sha256:
        raise IntegrityError(
            f"{file.name}: expected {file.n_bytes} bytes with sha256 {file.sha256[:12]}…, "
            f"got {path.stat().st_size} bytes with {found[:12]}…: this is not the published file. {advice}."
        )


def _copy(source: Path, out: IO[bytes]) -> None:
    try:
        with source.open("rb") as file:
            shutil.copyfileobj(file, out)
    except OSError as error:
        raise StoreError(f"cannot copy {str(source)!r}: {error.strerror}. Check the folder of --from.") from error


def _download(address: str, out: IO[bytes], file: RemoteFile, set_name: str, progress: Progress) -> None:
    """Stream ``address`` into ``out``; too long, too slow or not https is an error."""
    _check_scheme(address)
    until, done = time.monotonic() + LONGEST_S, 0
    try:
        with urllib.request.build_opener(_SafeRedirects).open(address, timeout=ANSWER_S) as answer:
            while block := answer.read1(BLOCK_BYTES):
                done += len(block)
                if done > file.n_bytes:
                    raise IntegrityError(f"{address}: expected {file.n_bytes} bytes, more came. Nothing was kept.")
                if time.monotonic() > until:
                    raise TimeoutError(f"not finished after {LONGEST_S:g} s")
                out.write(block)
                progress(file.name, done, file.n_bytes)
    except StoreError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise StoreError(
            f"cannot download {address}: {reason}. If this machine is offline, get the file on another and give "
            f"its folder: mitral fetch {set_name} --from FOLDER"
        ) from error


def _check_scheme(address: str) -> None:
    scheme = urllib.parse.urlsplit(address).scheme
    if scheme not in _SCHEMES:
        raise StoreError(f"{address}: only https is used, not {scheme or 'a plain path'}. The address is not followed.")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Refuse another scheme, else as usual."""
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
