"""Speed, tangling, means and ellipses of trajectories whose truth is known."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from mitral.datasets.errors import SchemaError
from mitral.decode.trajectory_measures import mean_trajectories, speed, tangling, variability_ellipses


def trajectory(values, **columns):
    """A labelled trajectory with bins of 0.1 s."""
    values = np.asarray(values, float)
    coords = {"trial": np.arange(values.shape[0]), "time": 0.1 * np.arange(values.shape[1])}
    coords |= {name: ("trial", column) for name, column in columns.items()}
    coords["latent"] = np.arange(values.shape[2])
    attrs = {"session": "s", "animal": "a", "event": "onset", "bin_width_s": 0.1, "units": "a.u."}
    return xr.DataArray(values, dims=("trial", "time", "latent"), coords=coords, attrs=attrs)


def circles(n_times=400, turns=1.0):
    """A path that goes round the unit circle once in ``0.1 n_times / turns`` s."""
    angle = 2 * np.pi * turns * np.arange(n_times) / n_times
    return trajectory(np.stack([np.cos(angle), np.sin(angle)], axis=1)[None])


def test_means_are_those_of_numpy_and_count_their_trials():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3, 2))
    means = mean_trajectories(trajectory(values, odor=list("abaab")), by="odor")
    assert means["condition"].values.tolist() == ["a", "b"] and means["n_trials"].values.tolist() == [3, 2]
    assert_allclose(means.values, [values[[0, 2, 3]].mean(axis=0), values[[1, 4]].mean(axis=0)])


def test_a_circle_is_run_at_constant_speed():
    """Circumference over duration; central differences shorten an arc of h by h³/6, here 4e-5 of it."""
    path = circles()
    assert_allclose(speed(path).values[0, 1:-1], 2 * np.pi / 40, rtol=1e-4)


def test_speed_of_a_rotated_path_is_the_same():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 6, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert_allclose(speed(trajectory(values @ turn)).values, speed(trajectory(values)).values)


def test_tangling_of_a_linear_flow_is_bounded_by_its_rate():
    """On a circle dz = w J z, so |dz - dz'| = w |z - z'| and Q < w², w = 2 pi / 40 s."""
    inner = tangling(circles()).values[0, 1:-1]
    assert (inner < (2 * np.pi / 40) ** 2).all() and (inner > 0.9 * (2 * np.pi / 40) ** 2).all()


def test_a_figure_eight_is_tangled_where_it_crosses_itself():
    angle = 2 * np.pi * np.arange(400) / 400
    eight = trajectory(np.stack([np.sin(angle), np.sin(2 * angle)], axis=1)[None])
    found = tangling(eight).values[0]
    assert min(abs(found.argmax() - 200), found.argmax(), 400 - found.argmax()) <= 2
    assert found.max() > 5 * np.median(tangling(circles()).values)


def test_tangling_equals_its_definition():
    rng = np.random.default_rng(2)
    path = trajectory(rng.normal(size=(2, 5, 3)))
    steps = np.gradient(path.values, 0.1, axis=1).reshape(10, 3)
    states = path.values.reshape(10, 3)
    softening = 0.1 * states.var(axis=0).sum()
    expected = [
        max(np.sum((steps[i] - steps[j]) ** 2) / (np.sum((states[i] - states[j]) ** 2) + softening) for j in range(10))
        for i in range(10)
    ]
    assert_allclose(tangling(path).values.ravel(), expected)


def test_ellipses_recover_spread_and_angle():
    """4,000 trials: the standard error of a standard deviation is sd / sqrt(2 n) = 0.011 sd, of the angle 0.013."""
    rng = np.random.default_rng(3)
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    values = (rng.normal(size=(4000, 2, 2)) * [2.0, 1.0]) @ turn.T + [3.0, -1.0]
    found = variability_ellipses(trajectory(values, odor=["a"] * 4000), by="odor", n_sd=1.5)
    assert_allclose(found["half_axis"].values[0], [[3.0, 1.5]] * 2, rtol=4 * 0.011)
    assert_allclose(found["angle"].values[0], 0.5, atol=4 * 0.013)
    assert_allclose(found["center"].values[0], [[3.0, -1.0]] * 2, atol=4 * 2 / np.sqrt(4000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mean_trajectories(trajectory(np.zeros((2, 2, 1))), by="odor"), "trial column .*odor"),
        (lambda: mean_trajectories(trajectory(np.zeros((2, 2, 1))).T, by="odor"), "expected dims .* Make a trajectory"),
        (lambda: speed(trajectory(np.zeros((2, 1, 3)))), "two bins, got .* Use more bins"),
        (lambda: tangling(trajectory(np.full((2, 3, 3), np.nan))), "missing .*Shorten the window"),
        (lambda: tangling(trajectory(np.ones((2, 3, 3)))), "all states are equal. Check the window"),
        (
            lambda: variability_ellipses(trajectory(np.zeros((2, 3, 1)), odor=["a", "a"]), by="odor"),
            "needs two latents, and this trajectory has one",
        ),
        (
            lambda: variability_ellipses(trajectory(np.zeros((2, 3, 2)), odor=["a", "a"]), by="odor"),
            "odor = 'a' has 2 trials, and a spread needs three",
        ),
        (
            lambda: variability_ellipses(trajectory(np.full((3, 3, 2), np.nan), odor=["a"] * 3), by="odor"),
            "every bin of every trial, and some are missing",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(make, message):
    with pytest.raises(SchemaError, match=message):
        make()
