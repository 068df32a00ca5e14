"""The configuration: what it takes, what it refuses and in which words, and that defaults stand in one place."""

import ast
import json
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

import mitral
from mitral.apps.config import LONGEST_S, Config, make_config, read_config
from mitral.apps.demo import demo_config
from mitral.datasets.errors import ConfigError

IN_CONFIG_ONLY = {"window_s", "control_window_s", "bin_width_s", "smooth_sd_s", "min_trials"}


def leaves(section, prefix=()):
    """(path of names, field) of every key that holds a value."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, (*prefix, name))
        else:
            yield (*prefix, name), field


@pytest.fixture
def file(tmp_path):
    """A function that writes a text, or bytes, and gives the path."""

    def write(content):
        path = tmp_path / "run.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(values, match):
    """These values are refused with these words."""
    with pytest.raises(ConfigError, match=match):
        make_config(values)


def test_every_key_has_a_default():
    """An empty file is a valid configuration, so every default stands in config.py."""
    assert make_config({}) == Config()
    assert [path for path, field in leaves(Config) if field.is_required()] == []


def test_defaults_of_the_analysis_stand_nowhere_else():
    """No function of the package has a window, bin, smoothing or minimum of trials of its own."""
    wrong = [
        f"{file.name}: {node.name}({argument.arg})"
        for file in Path(mitral.__file__).parent.glob("[ad]*/**/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name != "__init__"
        for argument, default in defaults(node)
        if argument.arg in IN_CONFIG_ONLY and ast.unparse(default) != "None"
    ]
    assert wrong == []


def defaults(node):
    """(argument, default) of every argument that has one."""
    place = len(node.args.args) - len(node.args.defaults)
    yield from zip(node.args.args[place:], node.args.defaults, strict=True)
    yield from ((a, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None)


def test_the_example_is_what_the_demo_runs(checkout):
    """Whoever copies examples/odor_identity_demo.toml starts from the demo."""
    assert read_config(checkout / "examples" / "odor_identity_demo.toml") == demo_config()


def test_resolved_holds_every_key_as_json():
    """What results are named by says every value, defaults too, in plain JSON."""
    resolved = json.loads(json.dumps(demo_config().resolved(), allow_nan=False))
    for path, _ in leaves(Config):
        value = resolved
        for name in path:
            value = value[name]
    assert resolved["activity"]["window_s"] == [0.0, 0.3]


def test_a_configuration_cannot_be_changed():
    """A run is named by its configuration, so nothing may change it on the way."""
    with pytest.raises(ValueError, match="frozen"):
        Config().validation.n_folds = 3


def test_a_number_may_be_written_as_integer():
    """``window_s = [0, 1]`` is the window from 0.0 to 1.0 s, and names the same results."""
    integers = make_config({"activity": {"window_s": [0, 1]}})
    assert integers.resolved() == make_config({"activity": {"window_s": [0.0, 1.0]}}).resolved()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"activty": {}}, r"unknown key 'activty'\. Nearest: 'activity'"),
        ({"activity": {"bin_width": 0.1}}, r"unknown key 'activity\.bin_width'\. Nearest: 'bin_width_s'"),
        ({"validation": {"n_fold": 3}}, r"unknown key 'validation\.n_fold'\. Nearest: 'n_folds'"),
        ({"n_folds": 3}, r"unknown key 'n_folds'\. It belongs in \[validation\]"),
        ({"activity": {"reducer": "pca"}}, r"unknown key 'activity\.reducer'\. It belongs in \[trajectory\]"),
        ({"trajectory": {"bin_widths_s": 1}}, r"unknown key 'trajectory\.bin_widths_s'\. Nearest: 'bin_width_s'"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(values, match):
    """A misspelt key would otherwise be a default that nobody chose."""
    refused(values, match)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"validation": {"n_folds": 1}}, r"validation\.n_folds: expected at least 2, got 1\."),
        ({"validation": {"n_folds": 2.5}}, r"validation\.n_folds: expected a whole number, got 2\.5\."),
        ({"validation": {"n_folds": "five"}}, r"n_folds: expected a whole number, got 'five'\."),
        ({"validation": {"n_permutations": 0}}, r"n_permutations: expected at least 1, got 0\."),
        ({"validation": {"n_permutations": 10**30}}, r"n_permutations: expected at most 1000000, got 10+\."),
        ({"validation": {"random_state": -1}}, r"random_state: expected at least 0, got -1\."),
        ({"validation": {"random_state": 2**32}}, r"random_state: expected at most 4294967295, got 4294967296\."),
        ({"data": {"min_trials": 1}}, r"data\.min_trials: expected at least 2, got 1\."),
        ({"data": {"sessions": []}}, r"data\.sessions: expected at least one entry, got \[\]\."),
        ({"data": {"sessions": "mouse-1"}}, r"data\.sessions: expected a list in square brackets, got 'mouse-1'\."),
        ({"data": 3}, r"data: expected a section with keys, got 3\."),
        ({"activity": {"window_s": [0.5]}}, r"window_s: expected \[start, stop\] \(seconds\), got \[0\.5\]\."),
        ({"activity": {"window_s": [0, 1, 2]}}, r"window_s: expected \[start, stop\] \(seconds\), got \[0, 1, 2\]\."),
        ({"activity": {"window_s": [0.5, 0.0]}}, r"activity\.window_s must be \[start, stop\] with start < stop"),
        ({"decoding": {"control_window_s": [0, 0]}}, r"decoding\.control_window_s must be \[start, stop\]"),
        ({"trajectory": {"window_s": [1, -1]}}, r"trajectory\.window_s must be \[start, stop\]"),
        ({"activity": {"bin_width_s": 0}}, r"activity\.bin_width_s: expected greater than 0 \(seconds\), got 0\."),
        ({"activity": {"bin_width_s": 1e-9}}, r"activity\.window_s = \[0\.0, 0\.5\] holds over 10000 bins of 1e-09 s"),
        ({"activity": {"square_root": "maybe"}}, r"square_root: expected true or false, got 'maybe'\."),
        ({"activity": {"signal": "rates"}}, r"activity\.signal: expected 'spikes' or 'trace', got 'rates'\."),
        ({"decoding": {"parameters": 3}}, r"parameters: expected a table, such as \{ alpha = 1\.0 \}, got 3\."),
        ({"decoding": {"populations": ["cell"]}}, r"expected 'session' or 'pseudo-population', got 'cell'\."),
        ({"name": ""}, r"name: expected at least 1 character, got ''\."),
    ],
)
def test_a_value_out_of_bounds_is_refused_in_plain_words(values, match):
    """The message says the key, what was expected and what came."""
    refused(values, match)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("1e309"), -float("inf")])
@pytest.mark.parametrize("key", ["activity.bin_width_s", "trajectory.smooth_sd_s", "validation.n_folds"])
def test_no_number_is_infinite_or_nan(key, number):
    """TOML knows nan and inf, and 1e309 is read as inf; none is a setting."""
    section, name = key.split(".")
    refused({section: {name: number}}, rf"{name}: expected a finite number")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_is_refused_inside_lists_and_parameters(number):
    """Free parameters are part of the name of a result, and NaN is not even equal to itself."""
    refused({"activity": {"window_s": [0.0, number]}}, r"activity\.window_s: expected a finite number")
    refused({"decoding": {"parameters": {"C": number}}}, r"decoding\.parameters: expected .*finite numbers")


def test_milliseconds_for_seconds_are_refused():
    """A window of 500 s around a sniff is implausible; nothing is converted."""
    refused({"activity": {"window_s": [0, 500]}}, r"window_s: expected at most 100 \(seconds\), got 500")
    refused({"trajectory": {"bin_width_s": 20 * LONGEST_S}}, r"bin_width_s: expected at most 100 \(seconds\)")


def test_all_wrong_keys_are_named_at_once():
    """Two mistakes take one attempt to find, each is said once."""
    refused(
        {"validation": {"n_folds": 0, "n_repeats": 0}, "activity": {"bins": 1}},
        r"^configuration: unknown key 'activity\.bins'.* validation\.n_folds: .* validation\.n_repeats: ",
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("name = odor", r"run\.toml' is not valid TOML: .*line 1.*texts need quotes"),
        ("[data\n", r"is not valid TOML"),
        ("a = 1\na = 2", r"is not valid TOML"),
        (b"name = '\xff\xfe'", r"run\.toml' cannot be read as text: .*Give a TOML file in UTF-8"),
        ("x = " + "9" * 5000, r"is not valid TOML"),
        ("x = " + "[" * 5000, r"is not valid TOML"),
        ("[activity]\nbin_width_s = 1e309", r"run\.toml: activity\.bin_width_s: expected a finite number"),
    ],
    ids=["no-quotes", "open-section", "twice", "not-utf-8", "long-number", "deep", "1e309"],
)
def test_a_file_that_is_no_configuration_is_refused(file, content, match):
    """The message names the file, and where in it, as far as is known."""
    with pytest.raises(ConfigError, match=match):
        read_config(file(content))


def test_a_path_that_is_no_file_is_refused(tmp_path):
    """Absent, or a folder."""
    with pytest.raises(ConfigError, match=r"there is no file '.*absent\.toml'\. Give the path"):
        read_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"cannot be read as text: .*[Dd]irectory"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("validation.n_folds", "7", 7),
        ("activity.window_s", "[0.0, 1.0]", (0.0, 1.0)),
        ("activity.event", "odor_onset", "odor_onset"),
        ("data.sessions", '["m 1", "mouse-*"]', ("m 1", "mouse-*")),
        ("decoding.parameters.shrinkage", "0.5", {"shrinkage": 0.5}),
        ("activity.square_root", "false", False),
    ],
)
def test_set_overrides_the_file(file, key, text, value):
    """Values are TOML; a bare word is text; sections that the file has not are made."""
    config = read_config(file("[validation]\nn_folds = 3"), {key: text})
    section, name = key.split(".")[:2]
    assert getattr(getattr(config, section), name) == value


def test_set_refuses_what_the_file_would(file):
    """An override is checked as if it stood in the file."""
    for key, text, match in (
        ("validation.n_fold", "7", r"unknown key 'validation\.n_fold'\. Nearest: 'n_folds'"),
        ("validation.n_folds", "1e309", "expected a finite number"),
        ("name.first", "x", r"--set name\.first=x: 'name' is a value, not a section"),
    ):
        with pytest.raises(ConfigError, match=match):
            read_config(file("name = 'a'"), {key: text})


def test_a_written_configuration_reads_back(file):
    """The configuration that a report shows, saved as a file, is the one that was run."""
    from mitral.apps.report_made import as_toml

    text = as_toml(demo_config().resolved())
    assert make_config(tomllib.loads(text)) == demo_config()
    assert read_config(file(text)) == demo_config()
