"""The part of a run that crosses animals: configured, computed once, said in words, drawn and tabled."""

import numpy as np
import pytest

from mitral.align import known_odors, make_aligner
from mitral.apps import charts_over
from mitral.apps.across import lines, values
from mitral.apps.config import make_config
from mitral.apps.cut import cut_cohort
from mitral.apps.pipeline import run
from mitral.apps.report_across import across_section
from mitral.datasets import Store, simulate_olfactory_lab
from mitral.datasets.errors import ConfigError, SchemaError, UnknownName
from mitral.decode import make_decoder

TRANSFER = {"aligner": "srm", "parameters": {"n_latents": 3}, "k": [1, 3], "n_anchors": 4, "n_repeats": 2}


def config(**changes):
    """A small run with few permutations."""
    return make_config(
        {
            "activity": {"window_s": [0.0, 0.3], "bin_width_s": 0.1},
            "decoding": {"decoder": "pooled_lda"},
            "validation": {"n_permutations": 1, "n_bootstrap": 100},
            "trajectory": {"n_latents": 2, "bin_width_s": 0.1},
            "transfer": TRANSFER | changes,
        }
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A store with three simulated mice."""
    store = Store.create(tmp_path_factory.mktemp("across") / "lab")
    lab = simulate_olfactory_lab(random_state=0, n_animals=3, n_units=(20, 25), n_blocks=4)
    for session in lab.sessions.values():
        store.save_session(session)
    return store


@pytest.fixture(scope="module")
def outcome(lab):
    """A run with transfer."""
    return run(config(), lab)


def test_a_run_gives_what_the_functions_give(lab, outcome):
    """The curve at k = 3 is that of ``known_odors`` on the activity of the run."""
    sessions = {name: lab.session(name) for name in ("mouse-1", "mouse-2", "mouse-3")}
    cohort, _ = cut_cohort(sessions, config())
    settings = {"k": 3, "n_repeats": 2, "random_state": 0, "n_bootstrap": 100}
    alone = known_odors(cohort, "odor", make_aligner("srm", n_latents=3), make_decoder("pooled_lda"), **settings)
    np.testing.assert_array_equal(outcome.extras["transfer"]["known"].sel(k=3)["score"], alone["score"])
    assert outcome.extras["transfer"]["new"].attrs["n_anchors"] == 4


def test_results_across_animals_are_saved_and_found_again(lab, outcome):
    """A second run commits nothing; another aligner commits its results and keeps those within animals."""
    before = lab.position
    again = run(config(), lab)
    assert lab.position == before
    assert again.extras["transfer"]["known"].equals(outcome.extras["transfer"]["known"])
    other = run(config(parameters={"n_latents": 2}), lab)
    assert other.names == outcome.names
    assert not other.extras["transfer"]["new"].equals(outcome.extras["transfer"]["new"])


def test_without_an_aligner_nothing_crosses_animals(lab):
    assert run(config(aligner=None), lab).extras == {}


def test_without_anchors_no_new_odors_are_asked_about(lab):
    assert list(run(config(n_anchors=None), lab).extras["transfer"]) == ["known"]


def test_sentences_and_values_say_every_k_and_what_is_found(outcome):
    first, found, new = lines(outcome.extras["transfer"])
    assert "from 1, " in first and first.endswith("from 3.") and "alone" in first
    assert found == f"With 3: {outcome.extras['transfer']['known']['finding'].values[-1]}"
    assert "4 odors that the animal has no label for, aligned on 4 others" in new
    rows = values(outcome.extras["transfer"])
    assert len(rows) == 4 * 3  # lines times (k = 1, k = 3, new)
    (row,) = (row for row in rows if row["k"] == 3 and row["line"] == "aligned")
    assert row["mean"] == float(outcome.extras["transfer"]["known"].sel(k=3, line="aligned")["score_mean"])


def test_the_chart_draws_four_lines_with_their_intervals(outcome):
    figure = charts_over.transfer(outcome.extras["transfer"]["known"])
    assert [trace.name.split(":")[0] for trace in figure.data] == [
        "ceiling",
        "aligned with the other animals",
        "the animal's own trials alone",
        "aligned with shuffled labels",
    ]
    np.testing.assert_allclose(figure.data[1].y, outcome.extras["transfer"]["known"].sel(line="aligned")["score_mean"])
    assert "calibration trials of each odor" in figure.layout.xaxis.title.text


def test_the_chart_of_one_condition_has_a_point_for_each_control(outcome):
    figure = charts_over.transfer(outcome.extras["transfer"]["new"], theme="dark")
    assert [len(trace.y) for trace in figure.data] == [1, 1, 1, 1]


def test_a_chart_of_something_else_is_refused(outcome):
    with pytest.raises(SchemaError, match="expected a transfer result, got kind 'study'. Give what known_odors"):
        charts_over.transfer(outcome.study)


def test_the_section_holds_findings_tables_and_no_markup_from_data(outcome):
    hostile = outcome.extras["transfer"]["new"].assign_attrs(finding="<script>alert(1)</script>", target="<b>odor</b>")
    html = across_section(outcome.extras["transfer"] | {"new": hostile})
    assert "<script>" not in html and "<b>odor" not in html and "&lt;script&gt;" in html
    assert html.count("<table") == 2 and 'data-chart="transfer:known"' in html
    assert across_section({}) == ""


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"aligner": "srn"}, UnknownName, "unknown aligner 'srn'.*srm"),
        ({"parameters": {"latents": 2}}, ConfigError, "latents"),
        ({"k": []}, ConfigError, "transfer.k: expected at least one entry"),
        ({"k": [0]}, ConfigError, "transfer.k: expected at least 1"),
        ({"n_repeat": 2}, ConfigError, "unknown key 'transfer.n_repeat'. .*n_repeats"),
        ({"k": [50]}, SchemaError, "mouse-1"),
        ({"n_anchors": 8}, SchemaError, "8"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(lab, changes, error, message):
    with pytest.raises(error, match=message):
        run(config(**changes), lab)
