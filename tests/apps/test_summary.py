"""What a study says, in a table and in words."""

import numpy as np
import pytest
import xarray as xr

from mitral.apps.labels import clean, for_html, for_markdown, for_plotly
from mitral.apps.summary import finding, fitted_on, meaning, readable, table


def test_finding_names_target_count_score_interval_and_chance(study):
    """One sentence a newcomer understands."""
    assert finding(study) == (
        "Odor identity is decoded in 5 of 5 animals: mean balanced accuracy 0.83 "
        "(95\u00a0% interval over animals 0.75–0.91), chance 0.125."
    )


def test_finding_counts_only_what_is_above_chance(study):
    """p above 0.05 does not count, whatever the score."""
    weak = study.assign(p_value=("population", [0.005, 0.4, 0.005, 0.06, 0.005]))
    assert finding(weak).startswith("Odor identity is decoded in 3 of 5 animals")


def test_finding_says_so_when_nothing_is_decoded(study):
    """A null result is a finding."""
    assert finding(study.assign(p_value=("population", np.full(5, 0.5)))).startswith(
        "Odor identity is not decoded above chance in any of 5 animals: mean balanced accuracy"
    )


def test_finding_without_a_null_leaves_chance_open(study):
    """No null, no claim."""
    bare = study.drop_vars(["p_value", "p_smallest", "null_low", "null_high"])
    assert finding(bare).endswith("No null was computed, so it is open whether this is better than chance.")


def test_without_p_the_null_band_decides(study):
    """Where p is missing, a score above the band counts."""
    no_p = study.assign(p_value=("population", np.full(5, np.nan)), score=("population", [0.9, 0.9, 0.13, 0.9, 0.1]))
    assert "in 3 of 5 animals" in finding(no_p)


def test_an_error_counts_when_it_is_below_the_null_band(study):
    """For a mean absolute error smaller is better."""
    error = study.assign(p_value=("population", np.full(5, np.nan)), score=("population", [0.01, 0.5, 0.5, 0.5, 0.5]))
    assert "in 1 of 5 animals" in finding(error.assign_attrs(metric="mean_absolute_error"))


def test_finding_of_one_result_names_it(results):
    """A single result has its own score and interval."""
    said = finding(results["mouse-1"])
    assert said.startswith("Odor identity is decoded in odor-mouse-1: balanced accuracy 0.90")
    assert "interval over trials" in said


def test_finding_without_a_mean_gives_the_range(study):
    """Pooled populations have no mean over animals."""
    pooled = study.copy()
    pooled.attrs = {"kind": "study", "target": "odor", "metric": "balanced_accuracy"}
    assert ": balanced accuracy 0.69 to 0.93, chance 0.125." in finding(pooled)


def test_sessions_of_one_animal_are_counted_as_sessions(study):
    """Five recordings of one mouse are no five animals."""
    assert "in 5 of 5 sessions" in finding(study.assign_coords(animal=("population", ["m"] * 5)))


def test_table_fills_what_a_study_does_not_say(study):
    """Missing numbers are NaN, not zero."""
    assert table(study.drop_vars("p_smallest"))["p_smallest"].isna().all()


def test_readable_table_drops_what_says_nothing(study):
    """Columns that are empty or repeat the population are left out; titles are words."""
    columns = list(readable(table(study)))
    assert "animal" not in columns and "control window" not in columns
    assert {"population", "interval from", "null to", "p", "smallest possible p", "trials"} <= set(columns)


def test_meaning_says_how_small_p_can_be(results):
    """With 200 shuffles p is at least 1/201."""
    words = dict(meaning(results["mouse-1"].attrs))
    assert "cannot be smaller than 0.005" in words["p"]
    assert "repeated 200 times" in words["Null band"]
    assert "Interval: 95\u00a0% over trials" in words


def test_meaning_without_a_null_is_silent_about_p():
    """What was not computed is not explained."""
    assert list(dict(meaning({"metric": "r2"}))) == ["Score: r2", "Chance"]


def test_axes_fitted_on_all_trials_are_for_looking(paths):
    """The picture says that it is no score."""
    assert fitted_on(paths["mouse-1"]) == "These axes were fitted on all 240 trials: for looking; not scored."


def test_axes_fitted_on_some_trials_say_on_how_many(made):
    """Training trials and projected trials are told apart."""
    assert "fitted on 192 of 240 trials; the other 48" in fitted_on(made["trajectory"]("m", n_fitted=192))


def test_axes_that_were_fitted_to_the_target_say_that_the_picture_proves_nothing(paths):
    """A supervised space moves conditions apart on noise too; several targets are named."""
    supervised = paths["mouse-1"].assign_attrs(target=["odor", "concentration"])
    assert "fitted to odor and concentration, which moves its values apart even where" in fitted_on(supervised)


def test_axes_of_unknown_origin_claim_nothing(paths):
    """Without the mark nothing is guessed."""
    assert "is not recorded" in fitted_on(paths["mouse-1"].drop_vars("in_fit"))


@pytest.mark.parametrize(
    ("text", "shown"), [("a\nb", "a b"), ("\u202eb", "\ufffdb"), ("x\x1b[1m", "x\ufffd[1m"), ("né", "né")]
)
def test_clean_text_is_one_line_without_hidden_characters(text, shown):
    """Nothing reorders, hides or rings."""
    assert clean(text) == shown


def test_long_text_is_cut_with_a_mark():
    """A name of 300 characters does not break the layout."""
    assert clean("x" * 300, limit=10) == "xxxxxxxxx…"


def test_escaped_text_holds_no_markup(hostile):
    """Each medium has its own escape."""
    assert not set(for_html(hostile)) & set("<>\"'")
    assert not set(for_plotly(hostile)) & set("<>$%")
    assert "](" not in for_markdown(hostile) and "<" not in for_markdown(hostile).replace("\\<", "")


def test_a_name_for_the_population_is_always_found():
    """A result without a name is called by its session."""
    bare = xr.Dataset(attrs={"kind": "decoding", "session": "day1", "score_mean": 0.5})
    assert table(bare)["population"].tolist() == ["day1"]
