"""The part of a run that crosses animals: known odors from few trials of the target animal, and odors new to it.

``pipeline`` calls it where the configuration has ``transfer.aligner``. The computing is in ``align``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import xarray as xr

from ..align import known_odors, make_aligner, new_odors, sweep
from ..datasets.errors import ConfigError
from ..decode.decoders import make_decoder
from .config import Config
from .messages import Progress
from .tasks import Task

LINE_NAMES = {  # of a transfer result, as a reader should read them
    "aligned": "aligned with the other animals",
    "target_only": "the animal's own trials alone",
    "shuffled_anchors": "aligned with shuffled labels",
    "same_animal": "ceiling: all of the animal's own trials",
}


def tasks(config: Config) -> dict[str, Task]:
    """Name of each result -> how it is made; none without an aligner.

    Raises
    ------
    UnknownName, ConfigError : as ``make_aligner``, before anything runs
    """
    if config.transfer.aligner is None:
        return {}
    _aligner(config)
    made = {"known": Task(partial(_known, config))}
    if config.transfer.n_anchors is not None:
        made["new"] = Task(partial(_new, config))
    return made


def lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Sentences for the terminal: what few trials of an animal are worth with and without the others."""
    said = []
    for result in results.values():
        target = str(result.attrs["target"])
        if "k" in result.dims:
            last = result.isel(k=-1)
            of = ", ".join(
                f"{_mean(row, 'aligned')} ({_mean(row, 'target_only')} alone) from {int(row['k'])}"
                for row in (result.isel(k=position) for position in range(result.sizes["k"]))
            )
            said.append(f"Across animals, {target} decoded with calibration trials per {target}: {of}.")
            said.append(f"With {int(last['k'])}: {last['finding'].item()}")
        else:
            asked = f"{result.attrs['n_test']} {target}s that the animal has no label for"
            anchors = f"aligned on {result.attrs['n_anchors']} others"
            said.append(f"Across animals, {asked}, {anchors}: {result.attrs['finding']}")
    return said


def values(results: Mapping[str, xr.Dataset]) -> list[dict[str, Any]]:
    """The same as plain values, a row for each condition and line."""
    rows = []
    for name, result in results.items():
        parts = [result.isel(k=position) for position in range(result.sizes["k"])] if "k" in result.dims else [result]
        for part in parts:
            for line in part["line"].values.tolist():
                at = part.sel(line=line)
                row = {"task": name, "k": int(part["k"]) if "k" in part.coords else None, "line": line}
                numbers = {key: float(at[f"score_{key}"]) for key in ("mean", "low", "high")}
                rows.append(row | {key: None if value != value else value for key, value in numbers.items()})
    return rows


def _mean(row: xr.Dataset, line: str) -> str:
    return f"{float(row['score_mean'].sel(line=line)):.2f}"


def _aligner(config: Config) -> Any:
    return make_aligner(str(config.transfer.aligner), **config.transfer.parameters)


def _known(config: Config, cohort: Mapping[str, xr.DataArray], progress: Progress, map: Callable) -> xr.Dataset:
    settings, checks = config.transfer, config.validation
    decoder = make_decoder(config.decoding.decoder, **config.decoding.parameters)

    def once(k: int) -> xr.Dataset:
        progress(f"across animals, {k} calibration trials", settings.k.index(k), len(settings.k))
        return known_odors(
            dict(cohort),
            config.decoding.target,
            _aligner(config),
            decoder,
            k=k,
            n_repeats=settings.n_repeats,
            n_test=settings.n_test,
            random_state=checks.random_state,
            n_bootstrap=checks.n_bootstrap,
            map=map,
        )

    return sweep(once, settings.k, name="k")


def _new(config: Config, cohort: Mapping[str, xr.DataArray], progress: Progress, map: Callable) -> xr.Dataset:
    settings, checks = config.transfer, config.validation
    progress("across animals, new odors", 0, 1)
    if settings.n_anchors is None:
        raise ConfigError("transfer.n_anchors is not set, so there are no new odors to ask about.")
    return new_odors(
        dict(cohort),
        config.decoding.target,
        _aligner(config),
        n_anchors=settings.n_anchors,
        n_repeats=settings.n_repeats,
        random_state=checks.random_state,
        n_bootstrap=checks.n_bootstrap,
        map=map,
    )
