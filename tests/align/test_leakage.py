"""Nothing of a test trial reaches an alignment: every aligner is at chance on noise, and wrong labels teach nothing.

Animals are independent noise, so a prediction is right by chance alone: the number of right ones over n predictions has
a standard error of sqrt(p (1 - p) / n), and the tolerance is four of them.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mitral.align import ALIGNERS, ReducedAligner, align, known_odors, make_aligner, new_odors
from mitral.align.across import derange
from mitral.align.cohort import cohort_arrays
from mitral.align.new_odors import _new, _positions
from mitral.align.new_odors import _Plan as NewPlan
from mitral.align.transfer import _known, _plan
from mitral.datasets.errors import LeakageError
from mitral.datasets.folds import make_folds
from mitral.decode import cross_validate, make_decoder, make_reducer

QUICK = {
    "mixture_lds": {"max_iterations": 3},
    "multi_session_cebra": {"n_iterations": 3, "batch_size": 32},
    "shared_private": {"n_components": 1},
    "gromov_wasserstein": {"n_starts": 1},
}
LIBRARIES = {"sinkhorn": "ot", "gromov_wasserstein": "ot", "multi_session_cebra": "cebra"}
HUGE = 1e6


def chains():
    """Every aligner, and one behind a reducer."""
    made = {}
    for name in ALIGNERS:
        aligner = make_aligner(name)
        wanted = {"n_latents": 3} | QUICK.get(name, {})
        made[name] = aligner.set_params(**{k: v for k, v in wanted.items() if k in aligner.get_params()})
    made["pca -> procrustes"] = ReducedAligner(make_reducer("pca", n_latents=4), make_aligner("procrustes"))
    return made


CHAINS = chains()
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(LIBRARIES[name]) is None, reason=LIBRARIES[name]))
    if name in LIBRARIES
    else name
    for name in CHAINS
]


def share(chain):
    """Only the shared space decides, so that every prediction hangs on the alignment."""
    fixed = {"shares": (1.0,), "k": 2, "n_test": 4, "n_bootstrap": 5}
    return {"aligner": CHAINS[chain], "decoder": make_decoder("pooled_lda")} | fixed


@pytest.mark.parametrize("chain", NAMES)
def test_independent_animals_are_decoded_at_chance(chain, make_cohort):
    """Known odors: 4 animals, 3 splits of 24 test trials; those of other splits are partly the same: 96 count."""
    result = known_odors(make_cohort(0, signal=0.0), "odor", **share(chain), n_repeats=3, random_state=0)
    score = float(result["score"].sel(line="aligned").mean())
    assert abs(score - 1 / 6) < 4 * np.sqrt(1 / 6 * 5 / 6 / 96)


@pytest.mark.parametrize("chain", NAMES)
def test_new_odors_of_independent_animals_are_named_at_chance(chain, make_cohort):
    """4 animals, 3 splits, 4 test odors, one trial each (the other is the ceiling's): 48 predictions."""
    cohort = make_cohort(5, signal=0.0, n_odors=10, n_trials=2)
    result = new_odors(
        cohort, "odor", CHAINS[chain], n_anchors=6, n_repeats=3, random_state=0, measures=("cosine",), n_bootstrap=5
    )
    score = float(result["score"].sel(line="aligned").mean())
    assert abs(score - 1 / 4) < 4 * np.sqrt(1 / 4 * 3 / 4 / 48)


@pytest.mark.parametrize("chain", NAMES)
def test_shuffled_anchors_teach_nothing(chain, make_cohort):
    """With a geometry that all share, exchanged names leave the shuffled line at chance or below.

    An aligner that compares no labels cannot be misled by them, and the result says so.
    """
    result = known_odors(make_cohort(1), "odor", **share(chain), n_repeats=2, random_state=0)
    score = float(result["score"].sel(line="shuffled_anchors").mean())
    if getattr(CHAINS[chain], "needs_labels", True):
        assert score < 1 / 6 + 4 * np.sqrt(1 / 6 * 5 / 6 / 32)  # 4 animals, 2 splits, about 4 independent names in each
    else:
        assert "compares no labels, so shuffled anchors are no control" in result.attrs["finding"]


@pytest.mark.parametrize("chain", NAMES)
def test_huge_test_trials_change_no_prediction_of_others(chain, make_cohort):
    """The tripwire: half of the target's test trials are replaced, and the other half are predicted as before."""
    cohort = make_cohort(2)
    before, after = {}, {}
    for found in (before, after):
        arrays = cohort_arrays(cohort, "odor")
        plan = _plan(arrays, "odor", CHAINS[chain], make_decoder("pooled_lda"), 2, 1, 2, None, (1.0,))
        if before:
            arrays.values["mouse-1"][np.flatnonzero(before["aligned"][0] >= 0)[::2]] = HUGE
        found |= _known(arrays, plan, "mouse-1", np.random.SeedSequence(0)).lines
    tested = np.flatnonzero(before["aligned"][0] >= 0)
    assert_array_equal(after["aligned"][0, tested[1::2]], before["aligned"][0, tested[1::2]])


@pytest.mark.parametrize("chain", NAMES)
def test_a_new_odor_is_never_learned_from(chain, make_cohort):
    """Test odors of the target are replaced by huge ones, all but one trial, which is named as before."""
    cohort = make_cohort(3, n_odors=8, n_trials=2)
    before, after = {}, {}
    for found in (before, after):
        arrays = cohort_arrays(cohort, "odor")
        conditions = np.unique(arrays.labels["mouse-0"])
        plan = NewPlan(conditions, (CHAINS[chain],), ("euclidean",), 5, 3, "random", 0, 1)
        if before:
            tests = np.unique(_positions(arrays, plan, "mouse-1")[before["aligned"][0] >= 0])
            kept = np.flatnonzero(before["aligned"][0] >= 0)[0]
            of_tests = np.flatnonzero(np.isin(_positions(arrays, plan, "mouse-1"), tests))
            arrays.values["mouse-1"][np.setdiff1d(of_tests, kept)] = HUGE
        found |= _new(arrays, plan, "mouse-1").lines
    assert after["aligned"][0, kept] == before["aligned"][0, kept]


def test_settings_are_chosen_without_the_left_out_animal(make_cohort):
    """The target's activity is replaced by noise, and the same setting and share are chosen."""
    cohort = make_cohort(4)
    aligners = [make_aligner("procrustes", n_latents=d) for d in (1, 2, 4)]
    found = []
    for scale in (1.0, HUGE):
        arrays = cohort_arrays(cohort, "odor")
        arrays.values["mouse-2"][:] *= scale
        plan = _plan(arrays, "odor", aligners, make_decoder("pooled_lda"), 2, 1, 2, None, (0.0, 0.5, 1.0))
        outcome = _known(arrays, plan, "mouse-2", np.random.SeedSequence(0))
        found.append((outcome.setting, outcome.share))
    assert found[0] == found[1]


def test_aligned_trials_that_were_fitted_on_are_not_scored(make_cohort):
    """The planted leak: align on all trials, then cross-validate."""
    latents = align(make_cohort(0), "odor", make_aligner("procrustes", n_latents=3))
    folds = make_folds(latents, target="odor", n_folds=3, random_state=0)
    with pytest.raises(LeakageError, match="was fitted on .* of the trials that it would be scored on"):
        cross_validate(latents, "odor", make_decoder("pooled_lda"), folds)


def test_aligning_before_the_split_would_have_decoded_noise(make_cohort):
    """Why that is refused: on independent noise, alignment fitted on the test trials decodes far above chance."""
    rng = np.random.default_rng(0)
    right = []
    for _ in range(5):
        y = np.repeat(np.arange(4), 2)
        cohort = {s: rng.normal(size=(8, 1, 40)) for s in "ab"}
        latents = make_aligner("procrustes").fit_transform(cohort, {s: y for s in "ab"})
        train, test = (latents[s].reshape(8, -1) for s in "ab")
        right.append(np.mean(make_decoder("nearest_centroid").fit(train, y).predict(test) == y))
    assert np.mean(right) > 0.6  # chance 0.25, standard error 0.07


def test_deranged_names_are_all_wrong():
    """Every condition takes another's name, all its trials the same; among more names too."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(7), 3)
    for _ in range(20):
        wrong = derange(y, rng)
        assert (wrong != y).all() and sorted(wrong) == sorted(y)
        assert (derange(y[:3], rng, among=np.arange(7)) != y[:3]).all()
