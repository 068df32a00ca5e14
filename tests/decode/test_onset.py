"""Onsets and clusters: a planted onset is found, noise has none, and the words say what a cluster is."""

import numpy as np
import pytest
import xarray as xr

from mitral.datasets.errors import SchemaError
from mitral.decode.onset import clusters, onset, onset_interval


def course(score, *, null, metric="accuracy"):
    """A result over time with a given score and null (n_permutations, n_times)."""
    score, null = np.asarray(score, float), np.asarray(null, float)
    m = len(null)
    p = (np.sum(null.max(axis=1)[:, None] >= score, axis=0) + 1) / (m + 1)
    return xr.Dataset(
        {"score": ("time", score), "null_score": (("permutation", "time"), null), "p_familywise": ("time", p)},
        coords={"time": (np.arange(len(score)) + 0.5) * 0.1},
        attrs={"session": "s", "target": "odor", "metric": metric, "bin_width_s": 0.1},
    )


def noise(seed, n_times=10, m=99):
    """Scores around 0.5 that are correlated from bin to bin."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.02, (m + 1, n_times + 2))
    return 0.5 + (steps[:, :-2] + steps[:, 1:-1] + steps[:, 2:])


def test_the_planted_onset_is_found():
    """The score leaves the null for good at bin 6, and for one bin only at bin 2."""
    values = noise(0)
    score = values[0].copy()
    score[2], score[6:] = 0.9, 0.9
    found = onset(course(score, null=values[1:]))
    assert found["onset_s"] == pytest.approx(0.65)
    assert "from 0.65 s (2 bins in a row" in found["meaning"]
    assert onset(course(score, null=values[1:]), n_bins_in_row=1)["onset_s"] == pytest.approx(0.25)


def test_noise_has_an_onset_no_more_often_than_the_level():
    """Of 300 courses of noise, those with an onset are not above 0.05 by more than 3 standard errors."""
    hits = 0
    for seed in range(300):
        values = noise(seed)
        hits += onset(course(values[0], null=values[1:]), n_bins_in_row=1)["onset_s"] is not None
    assert hits / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_an_interval_over_animals_holds_their_onsets():
    """Five animals with onsets 0.35 to 0.75 s: the median is the third, and the interval lies among them."""
    results = []
    for animal in range(5):
        values = noise(animal)
        score = values[0].copy()
        score[3 + animal :] = 0.9
        results.append(course(score, null=values[1:]))
    found = onset_interval(results, random_state=0)
    assert found["onset_s"] == pytest.approx(0.55)
    assert 0.35 <= found["onset_low_s"] <= 0.55 <= found["onset_high_s"] <= 0.75
    assert (found["n_animals"], found["n_without_onset"]) == (5, 0)


def test_animals_without_onset_are_infinitely_late():
    """Where most animals have none, so has the cohort."""
    never = course(np.full(10, 0.5), null=noise(0)[1:])
    found = onset_interval([never, never, never], random_state=0)
    assert found["onset_s"] is None and found["onset_high_s"] is None and found["n_without_onset"] == 3


def test_a_cluster_has_its_mass_and_a_p_value():
    """Bins 4 to 6 stand out: one cluster of small p, whose text warns against reading an onset from it."""
    values = noise(1)
    score = values[0].copy()
    score[4:7] = 0.8
    found = clusters(course(score, null=values[1:]))
    best = int(found["mass"].values.argmax())
    assert found["start_s"].values[best] <= 0.45 <= 0.65 <= found["stop_s"].values[best]
    assert found["p_value"].values[best] == pytest.approx(0.01)
    assert "is no onset" in found.attrs["meaning"]


def test_a_small_error_is_a_good_score():
    """For a mean absolute error, clusters lie below the null."""
    values = noise(2)
    score = values[0].copy()
    score[4:7] = 0.1
    found = clusters(course(score, null=values[1:], metric="mean_absolute_error"))
    assert found["p_value"].values.min() == pytest.approx(0.01)


def test_results_without_a_null_are_refused():
    """Nothing is significant without chance."""
    bare = course([0.5], null=[[0.5]]).drop_vars(["null_score", "p_familywise"])
    with pytest.raises(SchemaError, match=r"no family-wise p values. Draw a null first"):
        onset(bare)
    with pytest.raises(SchemaError, match=r"no null over time. Draw one first"):
        clusters(bare)
    with pytest.raises(SchemaError, match="needs at least one result, got none"):
        onset_interval([], random_state=0)
