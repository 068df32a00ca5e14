"""Principal components of population activity over all bins of all trials, in memory or block by block."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA as TwoAxisPCA
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, SchemaError
from ...datasets.preprocess import three_axes
from .loadings import signs
from .moments import Moments, block_moments, covariance, leading, map_in_order, shift_near
from .per_bin import PerBin

MANY = 10  # bins per unit from which the covariance is formed; as in scikit-learn


class PCA(PerBin):
    """z = V' (x - mean), V the eigenvectors of the units' covariance with the largest eigenvalues.

    Exact: by a full singular value decomposition, or, of at least ten times as many bins as units and block by block,
    from the covariance in float64. The largest loading of each latent in absolute value is positive, so signs are
    reproducible.

    Parameters
    ----------
    n_latents : how many

    Attributes
    ----------
    loadings_ : (n_units, n_latents), orthonormal columns
    mean_ : (n_units,)
    explained_variance_ratio_ : (n_latents,), of the total variance
    n_bins_ : how many bins it was learned from

    Notes
    -----
    Time O(n_bins · n_units · min(n_bins, n_units)), n_bins = n_trials · n_times. Block by block, memory of
    O(n_workers · (block + n_units²)) and time O(n_bins · n_units² + n_units²), which the first term rules.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(12.0).reshape(2, 2, 3)
    >>> PCA(n_latents=1).fit(X).explained_variance_ratio_.round(6).tolist()
    [1.0]
    """

    def __init__(self, n_latents: int = 3) -> None:
        self.n_latents = n_latents

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn mean and loadings from X (n_trials, n_times, n_units), in float64; ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; more latents than units or bins; activity that never changes
        ConfigError : ``n_latents`` is no whole number of at least 1
        """
        X = self._complete(X)
        n_bins, n_units = X.shape[0] * X.shape[1], X.shape[2]
        q = self._n_latents(n_bins, n_units)
        if n_bins >= MANY * n_units:
            shift = shift_near(X)
            X = X if X.dtype.kind != "f" else X.astype(np.float64, copy=False)
            return self._learn(block_moments(X, shift), shift)
        X = X.astype(np.float64)
        _refuse_constant(np.ptp(X.reshape(-1, n_units), axis=0))
        found = TwoAxisPCA(q, svd_solver="full").fit(X.reshape(-1, n_units))
        return self._keep(found.components_.T, found.mean_, found.explained_variance_ratio_, n_bins)

    def fit_blocks(
        self,
        loads: Sequence[Callable[[], np.ndarray]],
        *,
        trials: Sequence[np.ndarray] | None = None,
        n_workers: int = 2,
    ) -> Self:
        """Learn from activity that need not fit into memory: one pass over blocks of trials or of bins.

        Parameters
        ----------
        loads : each gives a block (n_trials, n_times, n_units) when called, and is called once
        trials : for each block, what to call its trials in a message; None is their positions
        n_workers : blocks that are loaded and summed at once, by threads; the answer does not depend on it

        Raises
        ------
        SchemaError : no blocks; NaN, with the trials; units that differ between blocks; as in ``fit``
        ConfigError : ``n_latents`` is no whole number of at least 1
        """
        if not len(loads):
            raise SchemaError("PCA: there are no blocks to learn from. Check the selection of trials.")
        first = three_axes(loads[0](), "PCA")
        shift, n_units = shift_near(first), first.shape[2]

        def moments(load: Callable[[], np.ndarray]) -> tuple[Moments, np.ndarray]:
            block = np.asarray(load())
            if block.ndim != 3 or block.shape[2] != n_units:
                raise SchemaError(
                    f"PCA: the first block has {n_units} units, and another has the shape {block.shape}. "
                    f"Every block is (n_trials, n_times, n_units) of the same units."
                )
            sums = block_moments(block, shift)
            is_complete = bool(np.isfinite(sums.total).all())
            return sums, np.zeros(len(block), bool) if is_complete else _absent(block)

        kept: list[Callable[[], np.ndarray]] = [lambda: first, *loads[1:]]
        n_trials, sums = 0, Moments(0, np.zeros(n_units), np.zeros((n_units, n_units), order="F"))
        for k, (of_block, absent) in enumerate(map_in_order(moments, kept, n_workers=n_workers)):
            if absent.any():
                names = n_trials + np.arange(len(absent)) if trials is None else np.asarray(trials[k])
                _refuse(names[absent])
            np.add(sums.cross, of_block.cross, out=sums.cross)
            sums = Moments(sums.n + of_block.n, sums.total + of_block.total, sums.cross)
            n_trials += len(absent)
        return self._learn(sums, shift)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents).

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        return (self._complete(self._checked(X)) - self.mean_) @ self.loadings_

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): mean + V z."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T + self.mean_

    def _n_latents(self, n_bins: int, n_units: int) -> int:
        q = self.n_latents
        if not isinstance(q, int | np.integer) or q < 1:
            raise ConfigError(f"PCA: n_latents must be a whole number of at least 1, got {q!r}.")
        if q > min(n_bins, n_units):
            raise SchemaError(
                f"PCA: there are at most {min(n_bins, n_units)} latents in {n_units} units and {n_bins} bins in "
                f"all, and n_latents is {q}. Ask for fewer."
            )
        return int(q)

    def _learn(self, moments: Moments, shift: np.ndarray) -> Self:
        q = self._n_latents(moments.n, len(shift))
        mean, cov = covariance(moments, shift)
        variances = np.diag(cov)
        _refuse_constant(variances)
        values, vectors = leading(cov, q)
        return self._keep(vectors * signs(vectors), mean, values / variances.sum(), moments.n)

    def _keep(self, loadings: np.ndarray, mean: np.ndarray, shares: np.ndarray, n_bins: int) -> Self:
        self.loadings_, self.mean_, self.explained_variance_ratio_ = loadings, mean, shares
        self.n_features_in_, self.n_bins_ = len(mean), n_bins
        return self


def _absent(block: np.ndarray) -> np.ndarray:
    """(n_trials,), whether a trial of a block holds NaN; infinity is refused."""
    return np.isnan(three_axes(block, "PCA")).any(axis=(1, 2))


def _refuse(names: np.ndarray) -> None:
    raise SchemaError(
        f"PCA cannot take NaN, and of one block {len(names)} trials hold some: "
        f"{', '.join(map(str, names[:5]))}{', …' if len(names) > 5 else ''}. Leave them out, or shorten the window."
    )


def _refuse_constant(spread: np.ndarray) -> None:
    if not np.any(spread > 0):
        raise SchemaError(
            f"PCA: all {len(spread)} units are constant, so there is no variance to explain. "
            f"Check the window, and that the trials of the fit hold activity."
        )
