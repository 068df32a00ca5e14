"""The configuration of a run: one TOML file, every default in one place, checked before anything runs.

    name = "odor identity"
    [data]        which sessions
    [activity]    event, window, bins, what is done to the counts
    [decoding]    target, decoder, populations
    [validation]  folds, repeats, permutations, seed
    [trajectory]  reducer for looking
    [transfer]    aligner: decoding in each animal from the others' data

    and these, each done where the section stands in the file, if only as its name:
    [over_time]      decoding at each time bin, with its onset
    [how_many]       decoding from few units, or few trials
    [across_levels]  decoding at concentrations, or levels of another column, that the decoder has not seen

Every number has its unit in its name. An unknown key is an error that names the nearest valid one.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..datasets.errors import ConfigError
from ..datasets.tables import nearest
from .words import toml_value

LONGEST_S = 100.0  # farthest that a window may reach from its event
MOST_BINS = 10_000  # in one window
LARGEST_SEED = 2**32 - 1  # of numpy's oldest generator, which scikit-learn takes


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError("texts, finite numbers, true or false, and lists or tables of these") from error
    return parameters


Seconds = Annotated[float, Field(ge=-LONGEST_S, le=LONGEST_S, allow_inf_nan=False)]
Window = tuple[Seconds, Seconds]
BinWidth = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
Sizes = tuple[Annotated[int, Field(ge=1, le=10_000)], ...]
Parameters = Annotated[dict[str, Any], AfterValidator(_plain)]


class Section(BaseModel):
    """A table of the file: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Which sessions of the store."""

    sessions: tuple[str, ...] = Field(default=("*",), min_length=1)  # ids, or patterns with * and ?
    min_trials: int = Field(default=5, ge=2)  # classes with fewer trials are left out, and counted


class Activity(Section):
    """How activity is cut from a session."""

    signal: Literal["spikes", "trace"] = "spikes"
    event: str = "inhalation_onset"
    window_s: Window = (0.0, 0.5)
    bin_width_s: BinWidth = 0.1
    square_root: bool = True  # of counts, inside the fold


class Decoding(Section):
    """What is decoded, by what, from which populations."""

    target: str = "odor"
    decoder: str = "lda"
    parameters: Parameters = Field(default_factory=dict)  # of the decoder
    metric: str | None = None  # None: balanced accuracy for classes, R2 for numbers
    populations: tuple[Literal["session", "pseudo-population"], ...] = Field(default=("session",), min_length=1)
    pool_by: str = "area"  # unit column: one pseudo-population for each of its values
    control_window_s: Window | None = None  # a window before the stimulus, expected at chance


class Validation(Section):
    """Who trains, who tests, and what chance is."""

    n_folds: int = Field(default=5, ge=2, le=1000)
    group: str | None = None  # trial column whose trials never part; labels are permuted within it
    n_repeats: int = Field(default=10, ge=1, le=10_000)  # of split and matching, for pseudo-populations
    n_permutations: int = Field(default=200, ge=1, le=1_000_000)
    n_bootstrap: int = Field(default=1000, ge=100, le=1_000_000)
    random_state: int = Field(default=0, ge=0, le=LARGEST_SEED)


class Trajectory(Section):
    """Trajectories for looking, fitted on all trials and never scored."""

    reducer: str = "pca"
    parameters: Parameters = Field(default_factory=dict)  # of the reducer
    n_latents: int = Field(default=3, ge=1, le=1000)
    window_s: Window = (-0.2, 0.6)
    bin_width_s: BinWidth = 0.02
    smooth_sd_s: float = Field(default=0.03, ge=0, le=LONGEST_S, allow_inf_nan=False)


class Transfer(Section):
    """Decoding in each animal from the others' data; not done without an aligner."""

    aligner: str | None = None
    parameters: Parameters = Field(default_factory=dict)  # of the aligner
    k: Sizes = Field(default=(1, 2, 5, 10), min_length=1)  # trials a class
    n_test: int | None = Field(default=None, ge=1)  # test trials of each class; None takes half of the fewest
    n_anchors: int | None = Field(default=None, ge=1)  # classes to align on for new odors; None asks about none
    n_repeats: int = Field(default=5, ge=1, le=10_000)  # random splits


class OverTime(Section):
    """Decoding of each session at each time bin."""

    window_s: Window = (-0.2, 0.6)
    bin_width_s: BinWidth = 0.05
    growing: bool = False  # windows that grow from the first bin, in place of single bins
    generalise: bool = False  # also train at each bin and test at every other
    n_permutations: int = Field(default=200, ge=19, le=1_000_000)  # of fewer none could give p = 0.05


class HowMany(Section):
    """Decoding of each session from random subsets; at least one of the two lists."""

    n_units: Sizes = ()  # sizes of the subsets of units
    n_trials: Sizes = ()  # training trials of each class; of all together for a target of numbers
    n_repeats: int = Field(default=20, ge=1, le=10_000)  # random subsets of each size

    @model_validator(mode="after")
    def _has_sizes(self) -> "HowMany":
        if not self.n_units and not self.n_trials:
            raise ValueError("n_units or n_trials with at least one size, such as n_units = [5, 10, 20, 40]")
        return self


class AcrossLevels(Section):
    """Decoding of each session at levels of a trial column that the decoder has not seen."""

    column: str = "concentration"


class Config(Section):
    """A whole run."""

    name: str = Field(default="odor identity", min_length=1, max_length=60)
    data: Data = Data()
    activity: Activity = Activity()
    decoding: Decoding = Decoding()
    validation: Validation = Validation()
    trajectory: Trajectory = Trajectory()
    transfer: Transfer = Transfer()
    over_time: OverTime | None = None
    how_many: HowMany | None = None
    across_levels: AcrossLevels | None = None

    @model_validator(mode="after")
    def _windows_hold_bins(self) -> "Config":
        windows: dict[str, tuple[Any, float]] = {
            "activity.window_s": (self.activity.window_s, self.activity.bin_width_s),
            "decoding.control_window_s": (self.decoding.control_window_s, self.activity.bin_width_s),
            "trajectory.window_s": (self.trajectory.window_s, self.trajectory.bin_width_s),
        }
        if self.over_time is not None:
            windows["over_time.window_s"] = (self.over_time.window_s, self.over_time.bin_width_s)
        for key, (window, bin_width_s) in windows.items():
            if window is None:
                continue
            if not window[0] < window[1]:
                raise ValueError(f"{key} must be [start, stop] with start < stop, got {list(window)}")
            if (window[1] - window[0]) / bin_width_s > MOST_BINS:
                raise ValueError(f"{key} = {list(window)} holds over {MOST_BINS} bins of {bin_width_s} s; widen them")
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
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {str(path)!r}. Give the path of a TOML configuration.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as text: {error}. Give a TOML file in UTF-8.") from error
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and numbers of thousands of digits
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}. Correct it there; texts need quotes.") from error
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
        said = {problem["loc"][:2]: _in_words(problem) for problem in reversed(error.errors())}  # first of each key
        raise ConfigError(f"{where}: {' '.join(reversed(said.values()))}") from error


def _in_words(problem: Any) -> str:
    names = [part for part in problem["loc"] if isinstance(part, str)]
    key = ".".join(names)
    if problem["type"] == "extra_forbidden":
        return _unknown(names)
    if not key:
        return f"{str(problem['msg']).removeprefix('Value error, ')}."
    expected = EXPECTED.get(problem["type"], str(problem["msg"]))
    for theirs, ours in PHRASES.items():
        expected = expected.replace(theirs, ours)
    unit = " (seconds)" if names[-1].endswith("_s") else ""
    return f"{key}: expected {expected}{unit}, got {problem['input']!r}."


EXPECTED = {  # type of a pydantic error -> what a user should give
    "tuple_type": "a list in square brackets",
    "too_short": "at least one entry",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "missing": "[start, stop]",
    "too_long": "[start, stop]",
    "dict_type": "a table, such as { alpha = 1.0 }",
    "model_type": "a section with keys",
    "bool_parsing": "true or false",
}
PHRASES = {
    "Value error, ": "",
    "Input should be ": "",
    "String should have ": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def _unknown(names: list[str]) -> str:
    """What to say of a key that does not exist; one that stands in another section is found there."""
    section: Any = Config
    for name in names[:-1]:
        section = _section(section.model_fields[name])
    *_, last = names
    homes = [home for home, field in Config.model_fields.items() if last in _keys(field)]
    if homes:
        return f"unknown key {'.'.join(names)!r}. It belongs in [{'] or ['.join(homes)}]."
    return f"unknown key {'.'.join(names)!r}. {nearest(last, section.model_fields)}"


def _section(field: Any) -> Any:
    """The section that a field of ``Config`` holds; of one that may be absent, what it is when it is there."""
    return next((kind for kind in get_args(field.annotation) if kind is not type(None)), field.annotation)


def _keys(field: Any) -> tuple[str, ...]:
    return tuple(getattr(_section(field), "model_fields", ()))


def _override(values: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}={text}: {section!r} is a value, not a section. Give SECTION.KEY=VALUE.")
    values[name] = toml_value(text)  # a bare word is taken as text
