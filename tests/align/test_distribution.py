"""Transfer over a dask cluster: the same numbers as on one machine, whatever the number of workers."""

import numpy as np
import pytest

from mitral.align import known_odors, make_aligner, new_odors
from mitral.datasets import bin_spikes, simulate_olfactory_lab
from mitral.decode import make_decoder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort():
    """Counts of four simulated mice."""
    lab = simulate_olfactory_lab(random_state=0, n_animals=4, n_units=(20, 25), n_blocks=4)
    how = {"event": "inhalation_onset", "window_s": (0.0, 0.3), "bin_width_s": 0.3}
    return {name: bin_spikes(session, **how) for name, session in lab.sessions.items()}


@pytest.fixture(scope="module", params=[1, 2])
def over_cluster(request):
    """A ``map`` over a cluster of that many worker processes."""
    distributed = pytest.importorskip("distributed", exc_type=ImportError)
    with (
        distributed.LocalCluster(n_workers=request.param, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield lambda function, *values: client.gather(client.map(function, *values, pure=False))


def test_known_odors_are_the_same_over_a_cluster(cohort, over_cluster):
    settings = {"k": 2, "n_repeats": 2, "random_state": 0, "n_bootstrap": 100}
    here, there = (
        known_odors(cohort, "odor", make_aligner("srm", n_latents=3), make_decoder("pooled_lda"), map=each, **settings)
        for each in (map, over_cluster)
    )
    np.testing.assert_array_equal(here["score"], there["score"])
    assert here.attrs["finding"] == there.attrs["finding"]


def test_new_odors_are_the_same_over_a_cluster(cohort, over_cluster):
    settings = {"n_anchors": 4, "n_repeats": 2, "random_state": 0, "n_bootstrap": 100}
    here, there = (
        new_odors(cohort, "odor", make_aligner("procrustes", n_latents=3), map=each, **settings)
        for each in (map, over_cluster)
    )
    np.testing.assert_array_equal(here["score"], there["score"])
