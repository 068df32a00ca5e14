"""Concentration as a target: logarithms, blanks, and errors in decades."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.datasets.errors import SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode.concentration import label_error, log_concentration
from mitral.decode.decoders import make_decoder
from mitral.decode.score import cross_validate


def with_concentration(activity, values, units=None):
    """The activity with a trial column ``concentration``."""
    values = np.resize(np.asarray(values), activity.sizes["trial"])
    return activity.assign_coords(concentration=("trial", values, {"units": units} if units else {}))


def test_decades_are_counted_with_their_unit(make_activity):
    """The logarithm to base ten, and whose logarithm it is; trials and activity stay as they are."""
    activity = with_concentration(make_activity(), [1e-4, 0.1, 1, 100], "ppm")
    logged = log_concentration(activity)
    assert logged["log10_concentration"].values[:4].tolist() == [-4, -1, 0, 2]
    assert logged["log10_concentration"].attrs["units"] == "log10 ppm"
    assert logged.drop_vars("log10_concentration").identical(activity)


def test_two_roundings_of_one_concentration_are_one_level(make_activity):
    """0.001 and 0.1 * 0.01 differ in the last bit, and are one class of an ordinal decoder."""
    activity = with_concentration(make_activity(), [0.001, 0.1 * 0.01, 0.01, 0.1 * 0.1])
    assert len(np.unique(activity["concentration"])) > 2
    assert len(np.unique(log_concentration(activity)["log10_concentration"])) == 2


def test_any_column_of_concentrations_is_taken(make_activity):
    """By its name."""
    activity = with_concentration(make_activity(), [1, 10]).rename(concentration="delivered")
    assert log_concentration(activity, column="delivered")["log10_concentration"].values[:2].tolist() == [0, 1]


@pytest.mark.parametrize("blank", [0.0, np.nan])
def test_blanks_are_refused_or_left_out_and_counted(make_activity, blank):
    """A trial without odor has no logarithm; the result says how many were left out."""
    activity = with_concentration(make_activity(strength=0.5), [blank, 0.1, 1, 10])
    with pytest.raises(SchemaError, match=r"in 10 trials \(100, 104, 108, 112, 116, …\).*blanks='leave_out'"):
        log_concentration(activity)
    left = log_concentration(activity, blanks="leave_out")
    assert left.sizes["trial"] == 30 and left["log10_concentration"].values[:3].tolist() == [-1, 0, 1]
    folds = make_folds(left, target="log10_concentration", n_folds=2, random_state=0)
    result = cross_validate(left, "log10_concentration", make_decoder("ridge"), folds)
    assert result.attrs["left_out"] == "10 trials without concentration"


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (["high", "low"], {}, "'concentration' holds 'high', and a concentration is a number"),
        ([-2.0, 1.0], {}, "negative in 20 trials .first: 100.*If it is a logarithm already"),
        ([0.0], {"blanks": "leave_out"}, "0 or missing in all trials"),
        ([0.0, 1.0], {"blanks": "drop"}, "blanks is 'refuse' or 'leave_out', got 'drop'"),
        ([1.0], {"column": "concentratoin"}, "no trial column 'concentratoin'. Nearest: 'concentration'"),
        ([1.0], {"column": "unit"}, "no trial column 'unit'"),
    ],
)
def test_what_is_no_concentration_is_refused(make_activity, values, options, said):
    """Words, logarithms, blanks only, an unknown treatment of them, no such column."""
    with pytest.raises(SchemaError, match=said):
        log_concentration(with_concentration(make_activity(), values), **options)


def test_errors_of_classes_are_in_decades(make_activity):
    """Levels two decades apart count two, which counting classes would not."""
    activity = log_concentration(with_concentration(make_activity(), [1, 100, 1000]))
    folds = make_folds(activity, target="log10_concentration", n_folds=3, random_state=0)
    result = cross_validate(activity, "log10_concentration", make_decoder("ordinal"), folds)
    said = result["label"].values[result["prediction"].max("fold").values]
    assert_allclose(label_error(result), np.mean(np.abs(said - activity["log10_concentration"].values)))
    steps = cross_validate(activity, "log10_concentration", make_decoder("ordinal"), folds, metric="mean_class_error")
    assert label_error(result) > steps.attrs["score_mean"]


@pytest.mark.parametrize(("target", "decoder", "kind"), [("odor", "lda", "words"), ("dose", "ridge", "no classes")])
def test_words_and_numbers_have_no_distance_between_labels(make_activity, target, decoder, kind):
    """With the metric to use instead."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    result = cross_validate(activity, target, make_decoder(decoder), folds)
    with pytest.raises(SchemaError, match=f"target '{target}' has {kind}, and a distance needs classes"):
        label_error(result)
