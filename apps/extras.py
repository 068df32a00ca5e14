"""The optional sections of a run, in the order in which they are done, said and reported."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import xarray as xr

from . import across, across_levels, how_many, over_time

EXTRAS: dict[str, ModuleType] = {  # section of the configuration -> its tasks, lines and values
    "over_time": over_time,
    "how_many": how_many,
    "across_levels": across_levels,
    "transfer": across,
}
Extras = Mapping[str, Mapping[str, xr.Dataset]]  # section -> task -> result


def extra_lines(extras: Extras) -> list[str]:
    """Sentences for the terminal."""
    return [line for section, results in extras.items() for line in EXTRAS[section].lines(results)]


def extra_values(extras: Extras) -> dict[str, Any]:
    """Section -> the same as plain values."""
    return {section: EXTRAS[section].values(results) for section, results in extras.items()}
