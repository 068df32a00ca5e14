"""Print figures: right size, editable text at 7 pt, the same bytes each time."""

import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from mitral.apps.figures import save_figure
from mitral.datasets.errors import ConfigError, StoreError, UnknownName

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def inputs(study, results, paths):
    """What each kind of figure shows."""
    return {"accuracy": study, "confusion": results["mouse-4"], "trajectories": paths["mouse-1"]}


def texts(path):
    """Text elements of an SVG."""
    return list(ElementTree.parse(path).iter(f"{SVG}text"))


def words(path):
    """What the text elements of an SVG say."""
    return ["".join(text.itertext()) for text in texts(path)]


@pytest.mark.parametrize("kind", ["accuracy", "confusion", "trajectories"])
@pytest.mark.parametrize("width_mm", [85, 180])
def test_svg_is_as_wide_as_a_column_and_its_text_is_7_pt(kind, width_mm, inputs, tmp_path):
    """A figure fits the journal: 85 or 180 mm, and every letter is text of 7 pt that can be edited."""
    path = save_figure(kind, inputs[kind], tmp_path / "figure.svg", width_mm=width_mm)
    width_pt = float(ElementTree.parse(path).getroot().get("width").removesuffix("pt"))
    assert width_pt == pytest.approx(width_mm / 25.4 * 72, abs=0.01)
    sizes = [re.search(r"font(?:-size)?: ([\d.]+)px", text.get("style")).group(1) for text in texts(path)]
    assert sizes and set(sizes) == {"7"}


@pytest.mark.parametrize("form", ["svg", "pdf"])
@pytest.mark.parametrize("kind", ["accuracy", "confusion", "trajectories"])
def test_the_same_data_give_the_same_bytes(kind, form, inputs, tmp_path):
    """No date and no random ids, so that a figure under version control changes only with its data."""
    first, second = (save_figure(kind, inputs[kind], tmp_path / f"{n}.{form}") for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_pdf_holds_text_as_truetype_and_no_date(inputs, tmp_path):
    """Fonts of type 42 can be edited; type 3 cannot."""
    content = save_figure("accuracy", inputs["accuracy"], tmp_path / "figure.pdf").read_bytes()
    assert b"/CIDFontType2" in content and b"/Type3" not in content and b"CreationDate" not in content


def test_print_says_what_the_screen_says(inputs, tmp_path):
    """Names, axis titles and what the band is are in the figure."""
    said = " ".join(words(save_figure("accuracy", inputs["accuracy"], tmp_path / "a.svg")))
    assert all(
        word in said for word in ("mouse-3", "balanced accuracy", "chance", "null band", "interval over animals")
    )
    said = words(save_figure("trajectories", inputs["trajectories"], tmp_path / "t.svg"))
    assert {"latent 1 (23 % of variance)", "citral", "inhalation onset"} <= set(said)


def test_one_latent_is_printed_against_time(made, tmp_path):
    """The time axis carries the event and the unit."""
    path = save_figure("trajectories", made["trajectory"]("m", n_latents=1), tmp_path / "t.svg", color="concentration")
    assert "time from inhalation onset (s)" in words(path)


def test_a_name_with_dollar_signs_is_no_formula(made, hostile, tmp_path):
    """Matplotlib would typeset it, or fail; here it is text, cut to a length that fits."""
    odors = ["$x^2$", "$\\href{x}$", hostile, "d"]
    path = save_figure("confusion", made["result"]("m", 0.8, odors=odors), tmp_path / "c.svg")
    assert {"$x^2$", "<img src=x oner…"} <= set(words(path))


def test_settings_of_matplotlib_are_left_alone(inputs, tmp_path):
    """A notebook that saves a figure keeps its own style."""
    before = dict(matplotlib.rcParams)
    save_figure("accuracy", inputs["accuracy"], tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("kind", "name", "width_mm", "error", "said"),
    [
        ("acuracy", "a.svg", 85, UnknownName, "unknown figure 'acuracy'. Nearest: 'accuracy'"),
        ("accuracy", "a.svg", 100, ConfigError, "85 mm .one column. or 180 mm"),
        ("accuracy", "a.png", 85, ConfigError, "ends in .svg or .pdf"),
    ],
)
def test_what_cannot_be_printed_is_refused(kind, name, width_mm, error, said, inputs, tmp_path):
    """Kinds, widths and endings are few; the error lists them."""
    with pytest.raises(error, match=said):
        save_figure(kind, inputs["accuracy"], tmp_path / name, width_mm=width_mm)


def test_a_folder_that_is_absent_is_named(inputs, tmp_path):
    """The error says which file and what to do."""
    with pytest.raises(StoreError, match="cannot be written: .*Give a file name in a folder that exists"):
        save_figure("accuracy", inputs["accuracy"], tmp_path / "absent" / "a.svg")
