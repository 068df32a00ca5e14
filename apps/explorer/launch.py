"""The command that starts the explorer, with the safe settings of ``.streamlit/config.toml``.

The store reaches the pages by the environment variable ``MITRAL_STORE``, which the caller sets.
"""

import ipaddress
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...datasets.errors import ConfigError, StoreError

HERE = Path(__file__).parent
STORE_VARIABLE = "MITRAL_STORE"


def app_command(store_path: str | Path, *, port: int = 8501, address: str = "127.0.0.1") -> list[str]:
    """Arguments of the process that serves the explorer.

    Parameters
    ----------
    store_path : folder of the lab store
    port : 1 to 65535
    address : loopback only, as the explorer has no login yet

    Returns
    -------
    argv; run it with ``app_environment(store_path)``

    Raises
    ------
    ConfigError : an address that others can reach, or no port
    StoreError : no such folder

    Examples
    --------
    >>> app_command(".", port=8600)[1:5]
    ['-P', '-m', 'streamlit', 'run']
    """
    if not _is_loopback(address):
        raise ConfigError(
            f"address = {address!r}: the explorer has no login yet, so it serves this machine only. "
            f"Use 127.0.0.1, and reach it from elsewhere through an SSH tunnel: ssh -L {port}:127.0.0.1:{port} HOST."
        )
    if not 1 <= port <= 65535:
        raise ConfigError(f"port = {port!r}: expected a number from 1 to 65535.")
    if not Path(store_path).is_dir():
        raise StoreError(
            f"there is no folder {str(store_path)!r}. Make a store with: mitral demo, or mitral ingest SOURCE PATH."
        )
    settings = tomllib.loads((HERE / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    settings["server"] |= {"address": address, "port": port}
    flags = [f"--{name}={value}" for name, value in _flat(settings)]
    return [sys.executable, "-P", "-m", "streamlit", "run", str(HERE / "main.py"), *flags]


def app_environment(store_path: str | Path) -> dict[str, str]:
    """Environment of that process: this one's, and the store."""
    return os.environ | {STORE_VARIABLE: str(Path(store_path).resolve())}


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value of every setting, as the command line takes them."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{key}", str(item)) for item in value)
        else:
            yield f"{prefix}{key}", str(value).lower() if isinstance(value, bool) else str(value)
