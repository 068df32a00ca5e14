"""The configuration of a run: one TOML file, every default in one place, checked before anything runs.

    name = "odor identity"
    [data]        which sessions
    [activity]    event, window, bins, what is done to the counts
    [decoding]    target, decoder, populations
    [validation]  folds, repeats, permutations, seed
    [trajectory]  reducer for looking

Every number has its unit in its name. An unknown key is an error that names the nearest valid one.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..datasets.errors import ConfigError
from ..datasets.tables import nearest

Window = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the file: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Which sessions of the store."""

    sessions: tuple[str, ...] = ("*",)  # ids, or patterns with * and ?
    min_trials: int = Field(default=5, ge=2)  # classes with fewer trials are left out, and counted


class Activity(Section):
    """How activity is cut from a session."""

    signal: Literal["spikes", "trace"] = "spikes"
    event: str = "inhalation_onset"
    window_s: Window = (0.0, 0.5)
    bin_width_s: Positive = 0.1
    square_root: bool = True  # of counts, inside the fold


class Decoding(Section):
    """What is decoded, by what, from which populations."""

    target: str = "odor"
    decoder: str = "lda"
    parameters: dict[str, Any] = Field(default_factory=dict)  # of the decoder
    metric: str | None = None  # None: balanced accuracy for classes, R2 for numbers
    populations: tuple[Literal["session", "pseudo-population"], ...] = ("session",)
    pool_by: str = "area"  # unit column: one pseudo-population for each of its values
    control_window_s: Window | None = None  # a window before the stimulus, expected at chance


class Validation(Section):
    """Who trains, who tests, and what chance is."""

    n_folds: int = Field(default=5, ge=2)
    group: str | None = None  # trial column whose trials never part; labels are permuted within it
    n_repeats: int = Field(default=10, ge=1)  # of split and matching, for pseudo-populations
    n_permutations: int = Field(default=200, ge=1)
    n_bootstrap: int = Field(default=1000, ge=100)
    random_state: int = Field(default=0, ge=0)


class Trajectory(Section):
    """Trajectories for looking, fitted on all trials and never scored."""

    reducer: str = "pca"
    parameters: dict[str, Any] = Field(default_factory=dict)
    n_latents: int = Field(default=3, ge=1)
    window_s: Window = (-0.2, 0.6)
    bin_width_s: Positive = 0.02
    smooth_sd_s: NotNegative = 0.03


class Config(Section):
    """A whole run."""

    name: str = Field(default="odor identity", min_length=1, max_length=60)
    data: Data = Data()
    activity: Activity = Activity()
    decoding: Decoding = Decoding()
    validation: Validation = Validation()
    trajectory: Trajectory = Trajectory()

    @model_validator(mode="after")
    def _windows_go_forward(self) -> "Config":
        windows = {
            "activity.window_s": self.activity.window_s,
            "decoding.control_window_s": self.decoding.control_window_s,
            "trajectory.window_s": self.trajectory.window_s,
        }
        for key, window in windows.items():
            if window is not None and not window[0] < window[1]:
                raise ValueError(f"{key} must be (start, stop) with start < stop, got {window}")
        return self

    def resolved(self) -> dict[str, Any]:
        """All keys with their values, JSON-able; what results are named by."""
        return self.model_dump(mode="json")


def read_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> Config:
    """The configuration in a TOML file.

    Parameters
    ----------
    path : the file
    overrides : dotted key -> value in TOML notation, as ``--set validation.n_folds=10`` gives

    Raises
    ------
    ConfigError : no such file, no TOML, an unknown key with its nearest valid one, a value out of bounds
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {str(path)!r}. Give the path of a TOML configuration.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as text: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}.") from error
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    return make_config(values, where=str(path))


def make_config(values: Mapping[str, Any], *, where: str = "configuration") -> Config:
    """A checked configuration from nested mappings.

    Raises
    ------
    ConfigError : as ``read_config``

    Examples
    --------
    >>> make_config({"validation": {"n_folds": 10}}).validation.n_folds
    10
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_in_words(problem) for problem in error.errors())) from error


def _in_words(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = Config
        for part in problem["loc"][:-1]:
            section = section.model_fields[part].annotation
        return f"unknown key {key!r}. {nearest(str(problem['loc'][-1]), section.model_fields)}"
    if not key:
        return str(problem["msg"]).removeprefix("Value error, ")
    return f"{key} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _override(values: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section!r} is a value, not a section.")
    try:
        values[name] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[name] = text  # a bare word is taken as text
