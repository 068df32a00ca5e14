"""Reduced-rank regression: several outputs from few directions of the features, their number chosen inside the fold."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ...datasets.errors import SchemaError
from .linear import PENALTIES
from .moments import Ridge, choose_penalty, moments, spread, squared_error


class ReducedRankRegression(RegressorMixin, BaseEstimator):
    """Y = 1 b' + X W V_r V_r' + noise,  W the ridge solution, V_r the r leading directions of its fit.

    Izenman (1975, eq. 3.1-3.4) with equal weights of the outputs; Semedo et al. (2019, eq. 3-5); with a penalty,
    Mukherjee & Zhu (2011, section 2). The rank is the least whose error on inner folds is within one
    standard error of the best rank (Semedo et al. 2019).

    Parameters
    ----------
    rank : number of predictive dimensions; None chooses it
    alpha : L2 penalty; None chooses it from ``linear.PENALTIES`` at full rank, on the same inner folds
    n_folds : inner folds, shuffled samples
    random_state : seed of the shuffle

    Attributes
    ----------
    rank_, alpha_ : chosen or given
    coef_, intercept_ : (n_outputs, n_features) and (n_outputs,)
    inner_error_, inner_se_ : (n_ranks,) squared error on inner folds relative to that of the training mean, and
        its standard error over folds; absent where the rank was given

    Notes
    -----
    Time O(n_samples · p² + n_folds · (p³ + n_ranks · p · q²)), from sums of products. With one output it is
    ridge regression.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 6))
    >>> Y = X[:, :2] @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(300, 5))
    >>> ReducedRankRegression().fit(X, Y).rank_
    2
    """

    def __init__(
        self, rank: int | None = None, *, alpha: float | None = None, n_folds: int = 10, random_state: int = 0
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.n_folds = n_folds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_samples, n_features), y (n_samples,) or (n_samples, n_outputs).

        Raises
        ------
        SchemaError : a rank or penalty out of range, fewer samples than inner folds
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        Y = y.astype(np.float64).reshape(len(X), -1)
        most = min(X.shape[1], Y.shape[1])
        self._check(len(X), most)
        x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
        blocks = self._blocks(X - x_mean, Y - y_mean)
        self.alpha_ = choose_penalty(blocks, X.shape[1], PENALTIES) if self.alpha is None else float(self.alpha)
        self.rank_ = self._choose_rank(blocks, X.shape[1], most) if self.rank is None else int(self.rank)
        fit = Ridge(np.sum(blocks, axis=0), X.shape[1])
        W = fit.weights(self.alpha_)
        V = fit.leading(W, self.alpha_)[:, : self.rank_]
        W = W @ V @ V.T
        self.coef_ = W.T
        self.intercept_ = y_mean - x_mean @ W
        self._is_single = y.ndim == 1
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n_samples,) or (n_samples, n_outputs), as the target of the fit."""
        check_is_fitted(self)
        Y = validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_
        return Y[:, 0] if self._is_single else Y

    def _check(self, n_samples: int, most: int) -> None:
        if self.rank is not None and not 1 <= self.rank <= most:
            raise SchemaError(
                f"ReducedRankRegression: rank is 1 to {most} with these features and outputs, got {self.rank}. None "
                f"chooses it."
            )
        if self.alpha is not None and not 0 <= self.alpha < np.inf:
            raise SchemaError(f"ReducedRankRegression: alpha is a penalty from 0, got {self.alpha}. None chooses it.")
        if not 2 <= self.n_folds <= n_samples:
            raise SchemaError(
                f"ReducedRankRegression: n_folds is 2 to {n_samples}, the number of training samples, got "
                f"{self.n_folds}. Use fewer inner folds."
            )

    def _blocks(self, X: np.ndarray, Y: np.ndarray) -> list[np.ndarray]:
        splitter = KFold(self.n_folds, shuffle=True, random_state=self.random_state)
        return [moments(X[held_out], Y[held_out]) for _, held_out in splitter.split(X)]

    def _choose_rank(self, blocks: list[np.ndarray], n_features: int, most: int) -> int:
        total = np.sum(blocks, axis=0)
        errors = np.zeros((len(blocks), most))
        for row, block in zip(errors, blocks, strict=True):
            fit = Ridge(total - block, n_features)
            W = fit.weights(self.alpha_)
            V = fit.leading(W, self.alpha_)
            for rank in range(1, most + 1):
                low = W @ V[:, :rank] @ V[:, :rank].T
                row[rank - 1] = squared_error(block, low, fit.intercept(low))
            row /= max(spread(block, fit.y_mean), np.finfo(float).tiny)
        self.inner_error_ = errors.mean(axis=0)
        self.inner_se_ = errors.std(axis=0, ddof=1) / np.sqrt(len(blocks))
        best = int(self.inner_error_.argmin())
        within = self.inner_error_ <= self.inner_error_[best] + self.inner_se_[best]
        return int(np.flatnonzero(within)[0]) + 1


def reduced_rank(*, rank: int | None = None, alpha: float | None = None, random_state: int = 0) -> Pipeline:
    """Reduced-rank regression on features of unit variance.

    Parameters
    ----------
    rank, alpha, random_state : as of ``ReducedRankRegression``; None is chosen on inner folds
    """
    return make_pipeline(StandardScaler(), ReducedRankRegression(rank, alpha=alpha, random_state=random_state))
