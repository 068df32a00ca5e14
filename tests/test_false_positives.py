"""The study of false positives, in small: every closed-form default, every kind of recording; and its page."""

import importlib.util

import numpy as np
import pytest

N_SIMULATIONS = 60


@pytest.fixture(scope="module")
def study(checkout):
    """The script in benchmarks/, as a module."""
    spec = importlib.util.spec_from_file_location("false_positives", checkout / "benchmarks" / "false_positives.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_study_covers_every_closed_form_default(study):
    """Decoders are found by asking which have a closed form, so that a new one is studied too."""
    assert {"naive_bayes", "nearest_centroid", "pooled_lda", "ridge", "ridge_classifier"} <= set(study.DEFAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "drift", "blocks", "imbalance", "few trials"])
def test_noise_is_called_a_signal_no_more_often_than_asked(study, kind):
    """60 recordings: 0.05 and 3 standard errors, 0.05 + 3 sqrt(0.05 * 0.95 / 60) = 0.134, each default and the family.

    One of 30 rates above 3 errors by chance alone has a probability of about 0.05; seeds are fixed.
    """
    rates = study.false_positives(study.KINDS[kind], N_SIMULATIONS)
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_SIMULATIONS)
    assert {name: rate for name, rate in rates.items() if rate > limit} == {}


@pytest.mark.slow
def test_labels_that_change_slowly_are_given_no_p_by_trials(study):
    """Exchanged all the same, trials find noise in most recordings; pseudo-sessions do not."""
    called, given, anyway = study.schemes_on_slow_labels("trials exchanged", 20)
    assert called == 0 and given <= 0.1 and anyway > 0.5
    called, given, _ = study.schemes_on_slow_labels("pseudo-sessions", N_SIMULATIONS)
    assert given == 1 and called <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_SIMULATIONS)


def test_the_page_is_written_by_the_script(study, checkout):
    """Its rows and columns are those of the script, and every default holds its level there."""
    page = (checkout / "docs" / "false_positives.md").read_text(encoding="utf-8")
    assert "python3 run.py bench false_positives" in page
    assert f"{study.N_SIMULATIONS} recordings of each kind" in page
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows}
    assert table["recordings"] == [*study.DEFAULTS, "any, family-wise"]
    limit = 0.05 + 2 * study.error_of(study.N_SIMULATIONS)
    assert all(float(rate) <= limit for kind in study.KINDS for rate in table[kind])
