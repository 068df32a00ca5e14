"""Measures of alignment and of shape, held against their definitions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import fractional_matrix_power, orthogonal_procrustes, qr

from mitral.align import alignment_quality, angular_distance, make_aligner, procrustes_distance, shape_distances
from mitral.align.quality import geometry_of
from mitral.datasets.errors import ConfigError, SchemaError


def whitened(X, alpha):
    """X (alpha + (1 - alpha)(X'X)^-1/2), as Williams et al. define it."""
    X = X - X.mean(axis=0)
    return X @ (alpha * np.eye(X.shape[1]) + (1 - alpha) * fractional_matrix_power(X.T @ X, -0.5))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_angle_is_that_of_the_best_rotation(alpha):
    """Against scipy's orthogonal Procrustes on the partly whitened, scaled shapes."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 20, 5))
    A, B = (part / np.linalg.norm(part) for part in (whitened(X, alpha), whitened(Y, alpha)))
    R, _ = orthogonal_procrustes(B, A)
    assert_allclose(angular_distance(X, Y, alpha=alpha), np.arccos(np.sum(A * (B @ R))), atol=1e-9)


def test_without_whitening_unequal_units_are_padded_by_silence():
    """Six units against four and two of zeros; the distance is that of the best rotation."""
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(15, 6)), rng.normal(size=(15, 4))
    padded = np.pad(Y, ((0, 0), (0, 2)))
    A, B = X - X.mean(axis=0), padded - padded.mean(axis=0)
    assert_allclose(procrustes_distance(X, Y), np.linalg.norm(A - B @ orthogonal_procrustes(B, A)[0]), rtol=1e-9)
    assert_allclose(angular_distance(X, Y), angular_distance(X, padded), atol=1e-7)


def test_shapes_obey_the_triangle_inequality():
    """A metric: for 200 random triples, of both distances; zero for a turned copy, and symmetric."""
    rng = np.random.default_rng(2)
    Q = qr(rng.normal(size=(3, 3)))[0]
    for distance in (angular_distance, procrustes_distance):
        for _ in range(200):
            X, Y, Z = (rng.normal(size=(6, n)) for n in rng.integers(2, 5, 3))
            assert distance(X, Z) <= distance(X, Y) + distance(Y, Z) + 1e-9
        X = rng.normal(size=(6, 3))
        assert distance(X, X @ Q) < 1e-6  # the root of a difference that is zero to 1e-15
        assert_allclose(distance(X, Z), distance(Z, X), atol=1e-9)


def test_shapes_that_cannot_be_compared_are_refused():
    """Other rows, NaN, flat patterns, alpha out of range."""
    X = np.random.default_rng(0).normal(size=(6, 3))
    for distance in (angular_distance, procrustes_distance):
        with pytest.raises(SchemaError, match="shapes have 6 and 5 rows"):
            distance(X, X[:5])
        with pytest.raises(SchemaError, match="or NaN in it"):
            distance(X, X * np.nan)
    with pytest.raises(SchemaError, match="the same pattern in all rows"):
        angular_distance(X, np.ones((6, 3)))
    with pytest.raises(ConfigError, match="alpha lies between 0 and 1, got 2"):
        angular_distance(X, X, alpha=2)


def test_animals_that_share_a_shape_are_nearer_than_permuted_ones(make_cohort):
    """One geometry: every p value is the smallest of 19 permutations; independent ones: p values are not."""
    found = shape_distances(make_cohort(0, n_odors=12), "odor", n_permutations=19, random_state=0)
    off = ~np.eye(4, dtype=bool)
    assert_allclose(found["p_value"].values[off], 0.05)
    assert (found["distance"].values[off] < found["null_mean"].values[off]).all()
    assert_allclose(found["distance"], found["distance"].values.T)
    alone = shape_distances(make_cohort(1, n_odors=12, signal=0.0), "odor", n_permutations=19, random_state=0)
    assert alone["p_value"].values[off].mean() > 0.25  # uniform on 0.05 to 1: 0.525, standard error 0.12 of six pairs
    with pytest.raises(SchemaError, match="n_permutations=0 must be at least 1"):
        shape_distances(make_cohort(0), "odor", n_permutations=0, random_state=0)


def quality(cohort, name="generalised_cca", **settings):
    """Three repeats, three latents."""
    given = {"n_repeats": 3, "random_state": 0} | settings
    return alignment_quality(cohort, "odor", make_aligner(name, n_latents=3), **given)


def test_a_shared_geometry_is_found_on_conditions_that_were_held_out(make_cohort):
    """Correlation near its ceiling, variance shared, small angles; shuffled conditions give none of it."""
    found = quality(make_cohort(0, n_odors=16, noise=0.3))
    assert float(found["correlation"].min()) > 0.8
    assert float(found["correlation"].mean()) < float(found["ceiling"].mean()) + 0.05
    assert float(found["null_correlation"].mean()) < 0.4
    assert float(found["shared_variance"].mean()) > 0.7
    assert float(found["angle_deg"].isel(latent=0).max()) < 20
    assert (found["angle_deg"].diff("latent") >= 0).all()


def test_independent_animals_share_nothing_on_held_out_conditions(make_cohort):
    """Correlation about zero and no variance, though the conditions of the fit were aligned."""
    found = quality(make_cohort(1, n_odors=16, signal=0.0))
    assert abs(float(found["correlation"].mean())) < 0.3
    assert float(found["shared_variance"].mean()) < 0.1


def test_without_noise_nothing_is_lost(make_cohort):
    """All variance of the units is shared, in the same directions."""
    found = quality(make_cohort(2, n_odors=16, noise=1e-6))
    assert float(found["correlation"].min()) > 0.98
    assert float(found["shared_variance"].min()) > 0.9


def test_quality_refuses_what_does_not_fit(make_cohort):
    """Repeats, share, too few conditions."""
    with pytest.raises(ConfigError, match="n_repeats is 1 or more and held_out between 0 and 1"):
        quality(make_cohort(0), n_repeats=0)
    with pytest.raises(SchemaError, match="session 'mouse-0' has 4 conditions in common .* 3 held out"):
        quality(make_cohort(0, n_odors=4))


def test_reliability_and_agreement_see_what_is_there(make_cohort):
    """A clear geometry repeats in halves of an animal's trials and between animals; noise does neither."""
    odors = np.array([f"odor-{k:02d}" for k in range(8)])
    clear, agreement = geometry_of(make_cohort(0, n_odors=8, noise=0.3), "odor", odors)
    assert min(clear.values()) > 0.8 and agreement > 0.4
    noise, agreement = geometry_of(make_cohort(0, n_odors=8, signal=0.0), "odor", odors)
    assert abs(np.mean(list(noise.values()))) < 0.25 and abs(agreement) < 0.35  # 28 distances, four animals
    averaged, _ = geometry_of(make_cohort(0, n_odors=8, n_trials=1), "odor", odors)
    assert np.isnan(list(averaged.values())).all()
