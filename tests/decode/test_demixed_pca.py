"""Demixed PCA: an analysis of variance, reduced-rank regression by brute force, planted factors, forms of labels."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from mitral.datasets.errors import ConfigError, LeakageError, SchemaError
from mitral.datasets.folds import make_folds
from mitral.decode import cross_validate, make_decoder, make_reducer, reduce
from mitral.decode.trajectories.demixed_pca import PENALTIES, DemixedPCA
from mitral.decode.trajectories.marginalise import grid_of, part, sets_of

NAMES = ("odor", "concentration")


def planted(*, n_repeats=8, n_times=12, n_units=20, noise=1.0, seed=0):
    """Activity with an axis of each odor pattern, of concentration and of time: (X, y, their patterns)."""
    rng = np.random.default_rng(seed)
    odor, dose = (level.ravel() for level in np.meshgrid(np.arange(3), np.arange(4), indexing="ij"))
    y = np.tile(np.stack([odor, dose], axis=1), (n_repeats, 1))
    patterns = np.linalg.qr(rng.normal(size=(n_units, 4)))[0].T * 4
    time = np.linspace(0, 1, n_times)
    X = np.sin(3 * time)[:, None] * patterns[0] + (y[:, 1, None, None] - 1.5) * time[:, None] * patterns[1]
    X = X + (np.array([[1.0, 0], [-0.5, 0.9], [-0.5, -0.9]])[y[:, 0]] @ patterns[2:])[:, None]
    return X + noise * rng.normal(size=X.shape) + 5, y, patterns


def weighted_rows(X, y):
    """(activity, condition means) of every bin of every trial, conditions in equal weight; and the weights."""
    cell = y[:, 0] * 4 + y[:, 1]
    means = np.stack([X[cell == c].mean(axis=0) for c in range(12)])
    weight = np.repeat(1 / np.bincount(cell)[cell], X.shape[1])
    centre = means.mean(axis=(0, 1))
    return (X - centre).reshape(-1, X.shape[2]), (means - centre).reshape(3, 4, *X.shape[1:]), cell, weight


def test_parts_are_orthogonal_and_sum_to_the_whole():
    """And each is what an analysis of variance says: the first by its definition, averages of averages taken off."""
    means = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    means -= means.mean(axis=(0, 1, 2))
    sets = sets_of(NAMES, has_time=True, joins_time=False)
    parts = {name: part(means, axes) for name, (axes,) in sets.items()}
    assert len(parts) == 7
    assert_allclose(sum(parts.values()), means, atol=1e-12)
    products = [[np.vdot(a, b) for a in parts.values()] for b in parts.values()]
    assert_allclose(products, np.diag(np.diag(products)), atol=1e-10)
    odor = means.mean(axis=(1, 2), keepdims=True)
    time = means.mean(axis=(0, 1), keepdims=True)
    assert_allclose(parts["odor"], np.broadcast_to(odor, means.shape), atol=1e-12)
    expected = means.mean(axis=1, keepdims=True) - odor - time
    assert_allclose(parts["odor x time"], np.broadcast_to(expected, means.shape), atol=1e-12)


@pytest.mark.parametrize("joins_time", [True, False])
def test_marginal_variances_sum_to_the_total(joins_time):
    """All shares together are 1, and each is the size of its part."""
    X, y, _ = planted()
    fitted = DemixedPCA(2, factors=NAMES, joins_time=joins_time, alpha=1e-3).fit(X, y)
    assert_allclose(sum(fitted.marginal_variance_.values()), 1.0)
    _, means, _, _ = weighted_rows(X, y)
    time = np.square(part(means, (2,))).sum() / np.square(means).sum()
    assert_allclose(fitted.marginal_variance_["time"], time, rtol=1e-10)
    assert_allclose(fitted.variance_by_marginalisation_.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["time", "odor", "concentration", "odor x concentration"])
def test_decoders_are_the_reduced_rank_regression_by_brute_force(name):
    """No F and D' found by a general minimiser have a smaller loss, with unequal numbers of trials too."""
    X, y, _ = planted(n_units=5, n_times=3, n_repeats=4, noise=2.0)
    X, y = X[:-7], y[:-7]
    alpha, q = 0.03, 2
    rows, means, cell, weight = weighted_rows(X, y)
    axes = sets_of(NAMES, has_time=True, joins_time=True)[name]
    target = sum(part(means, one) for one in axes).reshape(12, 3, 5)[cell].reshape(-1, 5)
    penalty = alpha * np.sum(weight[:, None] * rows**2)

    def loss(vector):
        F, D = vector.reshape(2, 5, -1)
        rest = target - rows @ D @ F.T
        return np.sum(weight[:, None] * rest**2) + penalty * np.sum((F @ D.T) ** 2)

    fitted = DemixedPCA(q, factors=NAMES, keep=(name,), alpha=alpha).fit(X, y)
    mine = loss(np.stack([fitted.loadings_, fitted.decoders_]).ravel())
    rng = np.random.default_rng(0)
    found = [minimize(loss, rng.normal(size=20), options={"gtol": 1e-9}) for _ in range(3)]
    best = min(found, key=lambda one: one.fun)
    assert_allclose(mine, best.fun, rtol=1e-7)
    F, D = best.x.reshape(2, 5, q)
    assert_allclose(fitted.loadings_ @ fitted.decoders_.T, F @ D.T, atol=1e-3 * np.abs(F @ D.T).max())
    assert_allclose(fitted.loadings_.T @ fitted.loadings_, np.eye(q), atol=1e-10)


def test_explained_variance_is_that_of_the_reconstruction():
    """Of each latent alone, from the condition means; descending, and signed by the largest loading."""
    X, y, _ = planted()
    fitted = DemixedPCA(4, factors=NAMES, alpha=1e-4).fit(X, y)
    _, means, _, _ = weighted_rows(X, y)
    flat = means.reshape(-1, 20)
    for F, D, share in zip(fitted.loadings_.T, fitted.decoders_.T, fitted.explained_variance_ratio_, strict=True):
        rest = flat - np.outer(flat @ D, F)
        assert_allclose(1 - np.square(rest).sum() / np.square(flat).sum(), share, rtol=1e-9)
        assert F[np.abs(F).argmax()] > 0
    assert (np.diff(fitted.explained_variance_ratio_) <= 0).all()
    assert_allclose(
        fitted.inverse_transform(fitted.transform(X)), fitted.transform(X) @ fitted.loadings_.T + fitted.mean_
    )


def test_planted_factors_are_demixed():
    """Over eight simulations each latent tells of one factor and lies along its pattern.

    Mean share of its own factor above 0.9 and mean cosine with the pattern above 0.95, both with a standard error below
    0.01 over simulations.
    """
    share, cosine = [], []
    for seed in range(8):
        X, y, patterns = planted(seed=seed)
        fitted = DemixedPCA(4, factors=NAMES).fit(X, y)
        assert sorted(fitted.marginalisation_) == ["concentration", "odor", "odor", "time"]
        own = [fitted.marginalisations_.index(name) for name in fitted.marginalisation_]
        share.append(fitted.variance_by_marginalisation_[np.arange(4), own].min())
        planes = {"time": patterns[:1], "concentration": patterns[1:2], "odor": patterns[2:]}
        along = [
            np.linalg.norm(planes[name] / 4 @ F)
            for name, F in zip(fitted.marginalisation_, fitted.loadings_.T, strict=True)
        ]
        cosine.append(min(along))
    assert np.std(share, ddof=1) / np.sqrt(8) < 0.01 and np.std(cosine, ddof=1) / np.sqrt(8) < 0.01
    assert np.mean(share) > 0.9 and np.mean(cosine) > 0.95


def test_the_penalty_is_chosen_by_left_out_trials():
    """More noise asks for more of it; the error of the chosen one is the least; and it is chosen alike every time."""
    quiet, loud = planted(noise=0.5), planted(noise=6.0)
    first = DemixedPCA(4).fit(*loud[:2])
    assert first.alpha_ > DemixedPCA(4).fit(*quiet[:2]).alpha_
    assert first.alpha_ == PENALTIES[first.inner_error_.argmin()] == DemixedPCA(4).fit(*loud[:2]).alpha_
    assert first.inner_error_[-1] > first.inner_error_.min()


def test_labels_may_be_columns_or_fields():
    """A structured array names its factors; columns of words are the same labels as columns of numbers."""
    X, y, _ = planted()
    plain = DemixedPCA(3, factors=NAMES, alpha=1e-3).fit(X, y)
    fields = np.empty(len(y), [("odor", "U8"), ("concentration", float)])
    fields["odor"], fields["concentration"] = np.array(["a", "b", "c"])[y[:, 0]], 10.0 ** y[:, 1]
    named = DemixedPCA(3, alpha=1e-3).fit(X, fields)
    assert_array_equal(named.marginalisation_, plain.marginalisation_)
    assert_allclose(named.transform(X), plain.transform(X))
    assert DemixedPCA(1, alpha=1e-3).fit(X, y[:, 0]).marginalisations_ == ("time", "target")
    assert grid_of(y, len(y), None, "DemixedPCA").names == ("factor 1", "factor 2")


def test_one_bin_has_no_time():
    """Then the factors alone are told apart."""
    X, y, _ = planted()
    fitted = DemixedPCA(2, factors=NAMES).fit(X[:, 6:7], y)
    assert fitted.marginalisations_ == ("odor", "concentration", "odor x concentration")


def labelled(X, y):
    """The activity with its labels as trial columns."""
    columns = {"odor": np.array(["a", "b", "c"])[y[:, 0]], "concentration": 10.0 ** y[:, 1]}
    return xr.DataArray(
        X,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(X)),
            "time": np.arange(X.shape[1]) / 10,
            "unit": list(map(str, range(X.shape[2]))),
        }
        | {name: ("trial", values) for name, values in columns.items()},
        attrs={"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.1, "units": "a.u."},
    )


def test_it_is_refused_outside_the_folds_and_runs_inside():
    """A trajectory of it, made from all trials and their labels, is not scored; inside the folds it decodes."""
    X, y, _ = planted(n_times=4)
    activity = labelled(X, y)
    folds = make_folds(activity, target="odor", n_folds=3, random_state=0)
    outside = reduce(activity, make_reducer("demixed_pca"), target=["odor", "concentration"])
    assert outside.attrs["target"] == ["odor", "concentration"] and outside["in_fit"].all()
    with pytest.raises(LeakageError, match="was fitted on 96 of the trials that it would be scored on"):
        cross_validate(outside, "odor", make_decoder("lda"), folds)
    from sklearn.pipeline import make_pipeline

    from mitral.datasets.preprocess import Flatten

    inside = make_pipeline(make_reducer("demixed_pca", n_latents=3), Flatten(), make_decoder("lda"))
    assert cross_validate(activity, "odor", inside, folds).attrs["score_mean"] > 0.9


def test_reduce_says_what_is_missing():
    """Without labels, without that column, without any column."""
    X, y, _ = planted(n_times=4)
    activity, reducer = labelled(X, y), make_reducer("demixed_pca")
    with pytest.raises(SchemaError, match="DemixedPCA learns from labels of trials and got none. Pass y, or target="):
        reduce(activity, reducer)
    with pytest.raises(SchemaError, match="there is no trial column 'odour'"):
        reduce(activity, reducer, target="odour")
    with pytest.raises(SchemaError, match="target names no trial column"):
        reduce(activity, reducer, target=[])


def test_labels_that_span_no_grid_are_refused():
    """A combination without trials is named; so are one level, a wrong number of labels, and names that do not fit."""
    X, y, _ = planted()
    some = (y != [1, 2]).any(axis=1)
    with pytest.raises(
        SchemaError, match="needs every combination of labels, and 1 of 12 .*first: odor 1, concentration 2"
    ):
        DemixedPCA(2, factors=NAMES).fit(X[some], y[some])
    with pytest.raises(SchemaError, match="'target' is 0 in all 96 trials"):
        DemixedPCA(2).fit(X, np.zeros(96, int))
    with pytest.raises(SchemaError, match=r"expected labels \(96,\) or \(96, n_factors\), got shape \(95,\)"):
        DemixedPCA(2).fit(X, y[1:, 0])
    with pytest.raises(SchemaError, match="2 factors need as many names, none of them 'time'"):
        DemixedPCA(2, factors=("odor", "time")).fit(X, y)


def test_what_cannot_be_fitted_is_refused():
    """More latents than marginalisations have, a single trial of a condition, constant units, NaN, wrong parameters."""
    X, y, _ = planted()
    with pytest.raises(SchemaError, match="marginalisations odor have 2 latents in all, and n_latents is 3"):
        DemixedPCA(3, factors=NAMES, keep=("odor",), joins_time=False).fit(X, y)
    once = np.unique(y, axis=0, return_index=True)[1]
    with pytest.raises(SchemaError, match="the smallest condition has one trial, .* Give alpha"):
        DemixedPCA(2).fit(X[once], y[once])
    assert DemixedPCA(2, alpha=0.01).fit(X[once], y[once]).transform(X).shape == (96, 12, 2)
    with pytest.raises(SchemaError, match="DemixedPCA: all 20 units are constant"):
        DemixedPCA(2).fit(np.ones_like(X), y)
    holed = X.copy()
    holed[7, 3, 2] = np.nan
    with pytest.raises(SchemaError, match="DemixedPCA cannot take NaN, and 1 trials hold some .positions 7"):
        DemixedPCA(2).fit(holed, y)
    with pytest.raises(
        ConfigError, match="keep names marginalisations, of which there are 'time', 'target'; .* 'odor'"
    ):
        DemixedPCA(2, keep=("odor",)).fit(X, y[:, 0])
    with pytest.raises(ConfigError, match="keep names no marginalisation"):
        DemixedPCA(2, keep=()).fit(X, y)
    with pytest.raises(ConfigError, match="alpha must be above 0, got 0"):
        DemixedPCA(2, alpha=0).fit(X, y)
    with pytest.raises(ConfigError, match="n_folds must be a whole number of at least 2, got 1"):
        DemixedPCA(2, n_folds=1).fit(X, y)
