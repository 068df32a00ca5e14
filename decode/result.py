"""Make, stamp and check a result: scores, predictions, nulls and how they came about.

A result is an ``xr.Dataset`` with attrs ``kind = "decoding"``:

``score (fold)``, ``prediction (fold, trial)``, ``target (trial)``, ``confusion (label, predicted_label)``
and, once a null was drawn, ``null_score (permutation)``. For classes, ``prediction`` and ``target``
are positions on ``label``, -1 where a fold does not test a trial; for numbers, NaN there.
Everything else is in attrs, as plain JSON values.
"""

import getpass
import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from .. import __version__
from ..datasets.errors import ConfigError, SchemaError

RECORDED_PACKAGES = ("numpy", "scipy", "scikit-learn", "xarray", "dask", "zarr", "pandas")
NEEDED = ("score", "prediction", "target")


def check_result(result: xr.Dataset) -> xr.Dataset:
    """Refuse a Dataset that is not a decoding result.

    Returns
    -------
    result, unchanged

    Raises
    ------
    SchemaError : what is missing
    """
    if not isinstance(result, xr.Dataset) or result.attrs.get("kind") != "decoding":
        got = result.attrs.get("kind") if isinstance(result, xr.Dataset) else type(result).__name__
        raise SchemaError(f"expected a result of kind 'decoding', got {got!r}. Make one with cross_validate(...).")
    missing = [name for name in NEEDED if name not in result]
    if missing:
        raise SchemaError(
            f"result {result.attrs.get('name', '?')!r}: expected the variables {', '.join(NEEDED)}, and {missing[0]!r} "
            f"is missing. Keep the result whole, as cross_validate made it."
        )
    return result


def stamp(
    dataset: xr.Dataset, *, config: Mapping[str, Any] | None = None, inputs: Mapping[str, str] | None = None
) -> xr.Dataset:
    """The result with its provenance in attrs: versions, threads, user, time, configuration, inputs.

    Parameters
    ----------
    dataset : any result
    config : resolved configuration, JSON-able
    inputs : session id -> id of the stored object that was read

    Raises
    ------
    ConfigError : a configuration that is not JSON
    """
    attrs = {
        "version": __version__,
        "packages": json.dumps(package_versions(), sort_keys=True),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": json.dumps(blas_threads()),
        "user": _user(),
        "computed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": canonical_json(config or {}),
        "inputs": canonical_json(inputs or {}),
    }
    return dataset.assign_attrs(attrs)


def content_key(config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Hash (64 hex digits) of what a result follows from: configuration, inputs, version of mitral.

    Raises
    ------
    ConfigError : a configuration that is not JSON

    Examples
    --------
    >>> content_key({"a": 1, "b": 2}, {}) == content_key({"b": 2, "a": 1}, {})
    True
    """
    what = canonical_json({"config": config, "inputs": inputs, "version": __version__})
    return hashlib.sha256(what.encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal JSON values: sorted keys, no spaces, no NaN. 1 and 1.0 differ.

    Raises
    ------
    ConfigError : NaN, infinity, or what JSON does not know, such as arrays and paths
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"a configuration holds texts, finite numbers, true or false, lists and tables, and this does not: "
            f"{error}. Convert it, for example with float(...), str(...) or .tolist()."
        ) from error


def package_versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def blas_threads() -> list[dict[str, Any]]:
    """Linear-algebra libraries in use and their number of threads."""
    from threadpoolctl import threadpool_info

    keys = ("user_api", "internal_api", "version", "num_threads")
    return [{key: pool.get(key) for key in keys} for pool in threadpool_info()]


def confusion(target: np.ndarray, prediction: np.ndarray, n_labels: int) -> np.ndarray:
    """Counts (n_labels true, n_labels predicted) over all test trials of all folds.

    Parameters
    ----------
    target : (n_trials,) positions on the labels
    prediction : (n_folds, n_trials) positions, -1 where not tested
    """
    fold, trial = np.nonzero(prediction >= 0)
    cells = target[trial].astype(np.int64) * n_labels + prediction[fold, trial]  # int16 overflows from 182 labels
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in the password database, as in some containers
        return "unknown"
