"""The report is one file that holds everything, says what its numbers mean, and runs nothing but its own."""

import base64
import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser

import pytest

from mitral.apps.report import write_report
from mitral.apps.report_made import as_toml
from mitral.apps.summary import finding
from mitral.datasets.errors import SchemaError, StoreError

CONFIG = {"name": "odor", "decoding": {"target": "odor", "parameters": {"shrinkage": 0.3}}, "data": {"sessions": ["*"]}}


class Parsed(HTMLParser):
    """What a browser would find: elements with their attributes, scripts, and the text that is shown."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.scripts, self.shown, self.inside = [], [], [], None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note the element; remember when a script or style begins."""
        self.elements.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        """Leave a script or style."""
        self.inside = None

    def handle_data(self, data):
        """Text of a script, or text that is shown."""
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside is None:
            self.shown.append(data)

    def tags(self, name):
        """Attributes of every element of that name."""
        return [attrs for tag, attrs in self.elements if tag == name]

    @property
    def text(self):
        """All text that is shown, with single spaces."""
        return " ".join(" ".join(self.shown).split())

    @property
    def drawn(self):
        """What the page draws, read from its data block."""
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def report(study, results, paths, tmp_path_factory):
    """The report of the made-up study."""
    provenance = {"store": "lab", "config": CONFIG, "inputs": {"mouse-1-day1": "ab12"}, "python": "3.11.7"}
    path = tmp_path_factory.mktemp("report") / "report.html"
    warned = results | {"mouse-4": results["mouse-4"].assign_attrs(warnings=["Classes are unequal (21 to 35 trials)."])}
    return write_report(path, study, warned, paths, provenance=provenance)


@pytest.fixture(scope="module")
def parsed(report):
    """The report, parsed."""
    return Parsed(report)


@pytest.fixture(scope="module")
def attacked(made, hostile, tmp_path_factory):
    """A report in which every text from data attacks its reader."""
    odors = [hostile[: 150 + n] + str(n) for n in range(3)]
    attack = {"warnings": [hostile], "target": "odor"}
    attack |= dict.fromkeys(("estimator", "user", "folds", "null_scheme", "event", "interval_over", "version"), hostile)
    results = {
        name: made["result"](name, 0.8, odors=odors, n_repeats=6).assign_attrs(attack) for name in (hostile, "b")
    }
    study = made["study"](results).assign_attrs(title=hostile, name=hostile, metric=hostile)
    paths = {
        hostile: made["trajectory"](hostile, odors=odors, n_repeats=6).assign_attrs(event=hostile, reducer=hostile)
    }
    provenance = {
        "store": hostile,
        "config": {hostile: {hostile: hostile}},
        "inputs": {hostile: hostile},
        hostile: hostile,
    }
    path = tmp_path_factory.mktemp("report") / "attacked.html"
    return write_report(path, study, results, paths, provenance=provenance)


def test_it_opens_with_the_finding_in_one_sentence(parsed, study):
    """What was found comes first, in plain words."""
    assert " ".join(finding(study).split()) in parsed.text
    assert parsed.text.index("Odor identity is decoded") < parsed.text.index("How it was made")


def test_it_loads_nothing_from_elsewhere(parsed):
    """No address in any place from which a browser would load; plotly.js is inside, once."""
    for tag, attrs in parsed.elements:
        assert not {"src", "srcset", "poster", "background", "action", "data"} & set(attrs), (tag, attrs)
        assert attrs.get("href", "#").startswith("#"), (tag, attrs)
    assert [tag for tag, _ in parsed.elements if tag in ("link", "iframe", "object", "embed", "base", "img")] == []
    assert sum("plotly.js v" in script[:200] for script in parsed.scripts) == 1


def test_its_style_loads_nothing(report):
    """No font, image or sheet from elsewhere."""
    (style,) = re.findall(r"<style>(.*?)</style>", report.read_text(encoding="utf-8"), re.DOTALL)
    assert "url(" not in style and "@import" not in style


def test_its_policy_lets_only_its_own_scripts_run(parsed):
    """The browser refuses any script whose hash is not that of the two in the page, and any connection."""
    (policy,) = [meta["content"] for meta in parsed.tags("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in parsed.scripts[1:]}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy and "http" not in policy


def test_it_draws_accuracy_confusions_and_trajectories(parsed, study, results, paths):
    """One accuracy chart, and a confusion and a trajectory for every population that can be chosen."""
    names = parsed.drawn["charts"]
    assert sorted(names) == sorted(
        ["accuracy", *(f"confusion:n{n}" for n in range(5)), *(f"trajectory:n{n}" for n in range(5))]
    )
    marks = [trace for trace in names["accuracy"]["data"] if trace.get("name") == "score and its interval"]
    assert len(marks) == 1 and len(parsed.tags("select")) == 2 and len(parsed.tags("option")) == 10


def test_the_table_holds_the_scores_and_how_small_p_can_be(parsed, study):
    """Each population stands in the table with score, interval, chance, null band and p."""
    for value in study["score"].to_numpy():
        assert f" {value:.2f} " in parsed.text
    assert "smallest possible p" in parsed.text and " 0.005 " in parsed.text


def test_every_chart_has_a_text_and_a_table(parsed):
    """Who cannot see a chart finds what it shows and its numbers."""
    charts = [attrs for tag, attrs in parsed.elements if tag == "div" and "data-chart" in attrs]
    assert len(charts) == 3 and all(attrs["role"] == "img" for attrs in charts)
    assert all(chart["alt"].startswith("Chart of ") for chart in parsed.drawn["charts"].values())
    assert len(parsed.tags("caption")) == len(parsed.tags("table")) == 1 + 5 + 5 + 2


def test_headings_descend_without_gaps(parsed):
    """A screen reader can walk the page."""
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_it_says_on_which_trials_the_axes_were_fitted(parsed):
    """A picture of all trials is no score."""
    assert "These axes were fitted on all 240 trials: for looking; not scored." in parsed.text


def test_it_repeats_each_warning_with_the_population(parsed):
    """A warning reaches the reader before the details."""
    assert "Classes are unequal (21 to 35 trials). (mouse-4)" in parsed.text


def test_it_says_what_the_numbers_mean_and_how_they_were_made(parsed):
    """Metric, chance, null, interval, p; data, folds, seeds, versions, threads, store."""
    for words in (
        "averaged over the classes", "shuffled targets", "p = (b + 1) / (m + 1)", "are drawn again",
        "5 folds of whole blocks", "labels of whole trials permuted within block", "Seed 0", "Threads 2",
        "scikit-learn 1.9.1", "Store position 6", "3.11.7", "mouse-1-day1 ab12", "0 to 0.5 s from inhalation_onset",
    ):  # fmt: skip
        assert words in parsed.text, words


def test_it_says_what_to_type_next(parsed):
    """The commands carry the store and the name of this run."""
    assert "mitral app --store lab" in parsed.text
    assert "study = store.result('odor identity in five mice')" in parsed.text


def test_its_configuration_can_be_run_again(parsed):
    """The settings stand there as TOML that reads back to the same values."""
    assert tomllib.loads(as_toml(CONFIG)) == CONFIG
    assert "[decoding.parameters] shrinkage = 0.3" in parsed.text


def test_toml_of_odd_keys_and_text_reads_back():
    """Names with spaces and quotes survive; None, the default, is left out."""
    odd = {"a b": {'"q"': "line\nbreak \u202e é"}, "none": None, "flag": True}
    assert tomllib.loads(as_toml(odd)) == {"a b": {'"q"': "line\nbreak \u202e é"}, "flag": True}


def test_hostile_text_makes_no_element_and_no_attribute(attacked, hostile):
    """Whatever names hold, the page has its own three scripts, no images, no handlers, no links."""
    parsed = Parsed(attacked)
    assert len(parsed.scripts) == 3
    assert not [tag for tag, _ in parsed.elements if tag in ("img", "a", "b", "iframe", "svg")]
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
    assert "<img src=x onerror=alert(1)>" in parsed.text and "\u202e" not in parsed.text
    assert "<" not in attacked.read_text(encoding="utf-8").split('id="charts">')[1].split("</script>")[0]


def test_one_result_without_a_study_is_reported(results, tmp_path):
    """No study, no trajectories: the report is shorter and still whole."""
    parsed = Parsed(write_report(tmp_path / "r.html", None, {"m": results["mouse-1"]}, {}, provenance={}))
    assert set(parsed.drawn["charts"]) == {"accuracy", "confusion:n1"}
    assert "Trajectories" not in [text.strip() for text in parsed.shown]


def test_a_continuous_target_has_no_confusion(results, tmp_path):
    """A regression is reported without the matrix that it has not."""
    result = results["mouse-1"].drop_vars("confusion").assign_attrs(metric="r2", target="concentration")
    parsed = Parsed(write_report(tmp_path / "r.html", None, {"m": result}, {}, provenance={}))
    assert set(parsed.drawn["charts"]) == {"accuracy"}


def test_a_recording_that_cannot_be_colored_is_left_out_and_counted(study, results, made, tmp_path):
    """Trials with 240 different odors cannot be told apart; the report says how many recordings it draws."""
    names = [f"odor {n}" for n in range(240)]
    many = made["trajectory"]("m").assign_coords(odor=("trial", names))
    paths = {"few": made["trajectory"]("m"), "many": many}
    parsed = Parsed(write_report(tmp_path / "r.html", study, results, paths, provenance={}))
    assert "1 of 2 recordings are drawn here." in parsed.text


def test_neither_study_nor_single_result_is_refused(results, tmp_path):
    """Which of five results should be told first is not guessed."""
    with pytest.raises(SchemaError, match="exactly one result; got no study and 5 results"):
        write_report(tmp_path / "r.html", None, results, {}, provenance={})


def test_the_same_run_gives_the_same_bytes(study, results, paths, tmp_path):
    """Nothing of the clock or of chance is in the page."""
    one, two = (write_report(tmp_path / f"{n}.html", study, results, paths, provenance={}) for n in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_a_report_that_cannot_be_published_leaves_the_old_one(study, results, tmp_path, monkeypatch):
    """Writing goes beside the file and is renamed: a failure leaves the old content and no crumbs."""
    path = tmp_path / "r.html"
    path.write_text("old")

    def full_disk(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StoreError, match="cannot be written: no space left on device"):
        write_report(path, study, results, {}, provenance={})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_in_a_browser_every_chart_is_drawn_and_nothing_is_fetched(report, watched):
    """Three charts appear, WebGL included; no error in the console, no request to the network."""
    seen = watched(report.as_uri())
    seen.page.wait_for_selector("#chart-trajectory canvas")
    assert seen.page.locator(".js-plotly-plot .main-svg").count() >= 3
    assert seen.page.locator(".gl-container canvas").count() == 1
    assert seen.errors == [] and seen.foreign(["file://"]) == []


def test_in_a_browser_one_choice_changes_both_charts(report, results, watched):
    """Choosing a mouse shows its confusion and its trajectory, with its words."""
    seen = watched(report.as_uri(), dark=True)
    seen.page.select_option("#pick-confusion", label="mouse-4")
    assert seen.page.input_value("#pick-trajectory") == seen.page.input_value("#pick-confusion") == "n3"
    counts = results["mouse-4"]["confusion"].to_numpy()
    shown = seen.page.locator('[data-part="confusion"]:visible p').all_inner_texts()
    assert shown == [f"{counts.trace()} of {counts.sum()} test trials are decoded correctly."]
    assert seen.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_hostile_text_does_nothing(attacked, watched, width):
    """No dialog, no error, no request, and the page is no wider than its window."""
    seen = watched(attacked.as_uri(), width=width)
    seen.page.wait_for_selector("#chart-trajectory canvas")
    assert seen.dialogs == [] and seen.errors == [] and seen.foreign(["file://"]) == []
    assert seen.overflow() == 0


def test_in_a_browser_a_phone_sees_all_of_it(report, watched):
    """At 390 pixels tables scroll in their own frame, not the page."""
    assert watched(report.as_uri(), width=390).overflow() == 0
