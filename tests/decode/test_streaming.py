"""PCA of activity that is larger than memory: the same subspace from one pass over its blocks, and nothing loaded."""

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA as TwoAxisPCA
from sklearn.pipeline import make_pipeline

from mitral.datasets.errors import LeakageError, SchemaError
from mitral.datasets.folds import make_folds
from mitral.datasets.preprocess import GaussianSmooth, SquareRoot, ZScore
from mitral.decode.decoders import make_decoder
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate
from mitral.decode.streaming import can_stream
from mitral.decode.trajectories.moments import Moments, block_moments, covariance, leading, map_in_order, shift_near
from mitral.decode.trajectories.pca import PCA


def of_float32(seed=0, *, shape=(60, 20, 7), offset=100.0):
    """Correlated float32 activity far from zero."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) @ rng.normal(size=(shape[2], shape[2])) + offset).astype(np.float32)


def lazily(values, make_activity, chunks):
    """A lazy activity whose values know in which chunk they lie."""
    activity = make_activity(n_trials=len(values), n_times=values.shape[1], n_units=values.shape[2])
    return activity.copy(data=dask.array.from_array(values, chunks=chunks))


def loads_of(X, edges):
    """Functions that load blocks of trials of X."""
    return [lambda part=part: part for part in np.split(X, edges)]


def exact(X):
    """Mean and covariance of bins in one go, in float64."""
    rows = X.reshape(-1, X.shape[2]).astype(float)
    return rows.mean(axis=0), np.cov(rows.T)


@given(st.lists(st.integers(1, 59), max_size=5, unique=True), st.integers(0, 100))
def test_blocks_of_any_size_have_the_moments_of_the_whole(edges, seed):
    """However the trials are cut, mean and covariance are those of all bins together."""
    X = of_float32(seed).astype(float)
    shift = shift_near(X[:3])
    parts = [block_moments(load(), shift) for load in loads_of(X, sorted(edges))]
    whole = Moments(*(sum(of) for of in zip(*parts, strict=True)))
    mean, cov = covariance(whole, shift)
    assert_allclose(mean, exact(X)[0])
    assert_allclose(cov, exact(X)[1], rtol=1e-9, atol=1e-9)


def test_small_counts_are_summed_exactly():
    """Products of counts in float32 lose nothing: sums of y y' are those of integer arithmetic, to the last bit."""
    counts = np.random.default_rng(0).poisson(4.0, (30, 200, 5)).astype(np.uint8)
    shift = shift_near(counts)
    whole = counts.reshape(-1, 5).astype(np.int64) - shift.astype(np.int64)
    found = block_moments(counts, shift)
    assert_array_equal(np.triu(found.cross), np.triu(whole.T @ whole))
    assert_array_equal(found.total, whole.sum(axis=0))


def test_large_counts_are_summed_exactly_too():
    """Counts whose sums of squares do not fit into float32 are summed in float64."""
    counts = np.random.default_rng(0).integers(0, 60000, (3, 400, 4)).astype(np.uint16)
    shift = shift_near(counts)
    whole = counts.reshape(-1, 4).astype(np.int64) - shift.astype(np.int64)
    assert_array_equal(np.triu(block_moments(counts, shift).cross), np.triu(whole.T @ whole))


def test_float32_activity_far_from_zero_keeps_its_subspace():
    """A thousand standard deviations from zero, with a first block of other mean: angles below 1e-5."""
    X = of_float32(shape=(400, 25, 30), offset=3000.0)
    X[:50] += 20.0
    fitted = PCA(5).fit_blocks(loads_of(X, [50, 120, 300]))
    assert subspace_angles(fitted.loadings_, PCA(5).fit(X.astype(float)).loadings_).max() < 1e-5


def test_streamed_pca_is_that_of_sklearn():
    """Loadings, mean and variances of blocks in float64 are those of one decomposition of the whole."""
    X = of_float32().astype(float)
    fitted, theirs = PCA(3).fit_blocks(loads_of(X, [10, 35])), TwoAxisPCA(3, svd_solver="full").fit(X.reshape(-1, 7))
    sign = np.sign(np.sum(fitted.loadings_ * theirs.components_.T, axis=0))
    assert_allclose(fitted.loadings_ * sign, theirs.components_.T, atol=1e-8)
    assert_allclose(fitted.mean_, theirs.mean_)
    assert_allclose(fitted.explained_variance_ratio_, theirs.explained_variance_ratio_)
    assert fitted.n_bins_ == 1200


def test_in_memory_and_by_covariance_are_one_answer():
    """Ten bins a unit is where the method changes; the numbers do not."""
    X = of_float32(shape=(10, 10, 10)).astype(float)
    by_covariance, by_svd = PCA(4).fit(X), PCA(4).fit(X[:9])
    assert_allclose(by_svd.loadings_, PCA(4).fit_blocks(loads_of(X[:9], [])).loadings_, atol=1e-9)
    components = np.linalg.svd(X.reshape(100, 10) - X.mean(axis=(0, 1)))[2][:4]
    assert_allclose(np.abs(by_covariance.loadings_), np.abs(components.T), atol=1e-9)


@pytest.mark.parametrize("n_workers", [1, 4])
def test_the_number_of_workers_changes_nothing(n_workers):
    """Blocks are added in their order, to the last bit."""
    X = of_float32()
    assert_array_equal(
        PCA(3).fit_blocks(loads_of(X, range(5, 60, 5)), n_workers=n_workers).loadings_,
        PCA(3).fit_blocks(loads_of(X, range(5, 60, 5)), n_workers=2).loadings_,
    )


def test_no_more_blocks_are_loaded_than_workers_need():
    """Memory holds a few blocks, whatever their number: loading waits for the sums."""
    loaded = []
    made = map_in_order(lambda load: load(), [lambda k=k: loaded.append(k) for k in range(20)], n_workers=2)
    for taken in range(1, 6):
        next(made)
        assert len(loaded) <= taken + 2
    made.close()
    assert len(loaded) <= 8


def test_leading_eigenvectors_of_many_units_are_exact():
    """The iteration for many units gives what the full decomposition gives, also where eigenvalues are equal."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    values = np.concatenate([[9.0, 5.0, 5.0, 2.0], rng.uniform(0, 1, 596)])
    found, vectors = leading(basis * values @ basis.T, 4)
    assert_allclose(found, values[:4])
    assert subspace_angles(vectors, basis[:, :4]).max() < 1e-7


def test_a_lazy_activity_is_streamed_and_stays_lazy(make_activity):
    """Every chunk is read once in the fit, and the trajectory reads nothing until it is asked for."""
    X, reads = of_float32(), []

    def read(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = lazily(X, make_activity, (20, 10, 4))
    lazy = lazy.copy(data=dask.array.map_blocks(read, lazy.data, dtype=X.dtype, meta=X[:0]))
    trajectory = reduce(lazy, PCA(2))
    assert sorted(reads) == [(i, j, k) for i in range(3) for j in range(2) for k in range(2)]
    assert isinstance(trajectory.data, dask.array.Array) and trajectory.chunks == ((20,) * 3, (10, 10), (2,))
    in_memory = reduce(lazy.copy(data=X), PCA(2))
    assert_allclose(trajectory.compute(), in_memory, atol=1e-4)  # float32
    assert_allclose(trajectory.attrs.pop("explained_variance"), in_memory.attrs.pop("explained_variance"))
    assert trajectory.attrs == in_memory.attrs and trajectory["in_fit"].all()


def test_only_marked_trials_are_read_for_the_fit(make_activity):
    """Other trials may be anything; chunks of theirs alone are not read."""
    X = of_float32()
    fit_on = np.arange(60) < 20
    whole = reduce(lazily(X, make_activity, (20, 20, 7)), PCA(2), fit_on=fit_on).compute()
    X[30:] = 1e6
    again = reduce(lazily(X, make_activity, (20, 20, 7)), PCA(2), fit_on=fit_on).compute()
    assert_array_equal(again[:30], whole[:30])


def test_smoothing_before_it_is_streamed_too(make_activity):
    """Transformers that learn nothing see whole trials, so that chunks of time leave no seam."""
    X = np.abs(of_float32().astype(float))
    chain = make_pipeline(SquareRoot(), GaussianSmooth(2.0), PCA(2))
    lazy = lazily(X, make_activity, (20, 5, 7))
    assert can_stream(lazy, chain) and not can_stream(lazy, make_pipeline(ZScore(), PCA(2)))
    assert_allclose(reduce(lazy, chain).compute(), reduce(lazy.copy(data=X), chain), atol=1e-5)  # float32


def test_nan_in_a_chunk_is_refused_with_the_trials(make_activity):
    """By id: in the fit at once; in a trial that is only carried through when it is computed."""
    X = of_float32()
    X[41, 3, 2] = X[45, 0, 0] = np.nan
    lazy = lazily(X, make_activity, (20, 10, 7))
    with pytest.raises(SchemaError, match="PCA cannot take NaN, and of one block 2 trials hold some: 141, 145. Leave"):
        reduce(lazy, PCA(2))
    trajectory = reduce(lazy, PCA(2), fit_on=np.arange(60) < 30)
    assert np.isfinite(trajectory[:40].compute()).all()
    with pytest.raises(SchemaError, match="session 's': 2 trials of a block hold NaN .*: trial 141, 145. Leave"):
        trajectory.compute()


def test_nan_in_a_block_is_refused_by_position_where_there_are_no_names():
    """Positions count through all blocks; NaN in the very first block is found too."""
    for trial in (0, 17):
        X = of_float32()
        X[trial, 0, 0] = np.nan
        with pytest.raises(SchemaError, match=f"of one block 1 trials hold some: {trial}. Leave"):
            PCA(2).fit_blocks(loads_of(X, [10, 30]))


@pytest.mark.parametrize(
    ("loads", "said"),
    [
        ([], "there are no blocks to learn from"),
        (
            loads_of(of_float32(), [10])[:1] + loads_of(of_float32(shape=(5, 4, 6)), []),
            r"first block has 7 .*\(5, 4, 6",
        ),
        (loads_of(np.ones((5, 4, 3)) * 0.1, [2]), "all 3 units are constant"),
        (loads_of(of_float32(shape=(1, 1, 7)), []), "at most 1 latents in 7 units and 1 bins"),
    ],
    ids=["none", "other units", "constant", "too few bins"],
)
def test_blocks_that_cannot_be_learned_from_are_refused(loads, said):
    """As in the fit of one array."""
    with pytest.raises(SchemaError, match=said):
        PCA(2).fit_blocks(loads)


def test_a_lazy_trajectory_of_all_trials_is_not_scored(make_activity):
    """Its marks are there before its numbers."""
    lazy = lazily(of_float32(), make_activity, (20, 10, 7))
    trajectory = reduce(lazy, PCA(2))
    folds = make_folds(lazy, target="odor", n_folds=2, random_state=0)
    with pytest.raises(LeakageError, match="was fitted on 60 of the trials|was fitted on 30 of the trials"):
        cross_validate(trajectory, "odor", make_decoder("lda"), folds)


def test_a_store_is_reduced_chunk_by_chunk(make_activity, tmp_path):
    """From zarr on disk, the subspace is that of the loaded array."""
    X = of_float32()
    lazily(X, make_activity, (20, 20, 7)).drop_attrs().drop_vars("odor").drop_vars("unit").to_dataset(name="a").to_zarr(
        tmp_path / "a.zarr", consolidated=False
    )
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as stored:
        lazy = stored["a"].assign_attrs(make_activity().attrs).assign_coords(unit=np.arange(7))
        assert_allclose(reduce(lazy, PCA(2)).compute(), reduce(lazy.load(), PCA(2)), atol=1e-4)  # float32
