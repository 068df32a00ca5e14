"""Factor analysis and probabilistic principal components: each bin by itself is Gaussian, x = W z + mean + noise."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, SchemaError
from .loadings import check_fit, noise_floor, signs
from .per_bin import PerBin

SMALL = 1e-12  # as in scikit-learn, so that iterates agree
LEAST_NOISE = 1e-6  # of a unit's variance


class _PrivateNoise(PerBin):
    """z ~ N(0, I),  x | z ~ N(W z + mean, diag psi), and what follows from it once W and psi are known."""

    def __init__(self, n_latents: int = 3) -> None:
        self.n_latents = n_latents

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Posterior mean of z: (n_trials, n_times, n_units) -> (n_trials, n_times, n_latents).

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        return (self._complete(self._checked(X)) - self.mean_) @ self._to_latents()

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): W z + mean."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T + self.mean_

    def score(self, X: np.ndarray, y: Any = None) -> float:
        """Mean log-likelihood of a bin of X, in nats: log N(x; mean, W W' + diag psi).

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        X = self._complete(self._checked(X)) - self.mean_
        cov = self._covariance()
        squares = np.einsum("...u,...u->...", X @ np.linalg.inv(cov), X)
        return float(-0.5 * (squares.mean() + np.linalg.slogdet(2 * np.pi * cov)[1]))

    def leave_unit_out(self, X: np.ndarray) -> np.ndarray:
        """Each unit predicted from all others of its bin: E[x_u | the other units], (n_trials, n_times, n_units).

        x_u - [P (x - mean)]_u / P_uu,  P = (W W' + diag psi)^-1.
        """
        X = self._complete(self._checked(X))
        precision = np.linalg.inv(self._covariance())
        return X - (X - self.mean_) @ precision / np.diag(precision)

    def _covariance(self) -> np.ndarray:
        return self.loadings_ @ self.loadings_.T + np.diag(self.noise_variance_)

    def _to_latents(self) -> np.ndarray:
        """psi^-1 W (I + W' psi^-1 W)^-1, (n_units, n_latents)."""
        weighted = self.loadings_ / self.noise_variance_[:, None]
        return np.linalg.solve(np.eye(weighted.shape[1]) + self.loadings_.T @ weighted, weighted.T).T

    def _begin(self, X: np.ndarray) -> tuple[np.ndarray, int]:
        """Covariance of the units in float64, and the number of bins; sets what is known before the fit."""
        X = self._complete(X)
        check_fit(X, self.n_latents, type(self).__name__)
        self.n_features_in_ = X.shape[2]
        rows = X.reshape(-1, X.shape[2]).astype(np.float64)
        self.mean_ = rows.mean(axis=0)
        rows -= self.mean_
        return rows.T @ rows / len(rows), len(rows)

    def _finish(self, W: np.ndarray, psi: np.ndarray) -> Self:
        self.loadings_ = W * signs(W)
        self.noise_variance_ = psi
        shared = np.square(self.loadings_).sum(axis=0)
        self.explained_variance_ratio_ = shared / (shared.sum() + psi.sum())
        return self


class FactorAnalysis(_PrivateNoise):
    """x = W z + mean + e,  z ~ N(0, I),  e ~ N(0, diag psi): each unit has a noise variance of its own.

    Maximum likelihood by the iteration of scikit-learn (Barber 2012, algorithm 21.1), on the covariance instead of
    the data, so that an iteration costs the same for any number of bins. W' diag(psi)^-1 W is diagonal, in descending
    order, and the largest loading of each latent is positive.

    Parameters
    ----------
    n_latents : how many
    tol : stop when an iteration adds less to the log-likelihood of all bins, in nats
    max_iter : most iterations

    Attributes
    ----------
    loadings_ : (n_units, n_latents), W
    noise_variance_ : (n_units,), psi
    mean_ : (n_units,)
    explained_variance_ratio_ : (n_latents,), squared loadings as a share of the model's total variance
    log_likelihoods_ : (n_iter_,), of all bins together, after each iteration

    Notes
    -----
    Time O(n_samples · n_units² + n_iter · n_units³), n_samples = n_trials · n_times.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 10, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(50, 10, 8))
    >>> FactorAnalysis(n_latents=2).fit_transform(X).shape
    (50, 10, 2)
    """

    def __init__(self, n_latents: int = 3, *, tol: float = 1e-4, max_iter: int = 1000) -> None:
        self.n_latents = n_latents
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from all bins of X (n_trials, n_times, n_units); ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; more latents than units or bins; activity that never changes
        ConfigError : ``n_latents`` or ``max_iter`` is no whole number of at least 1
        """
        if not isinstance(self.max_iter, int | np.integer) or self.max_iter < 1:
            raise ConfigError(f"FactorAnalysis: max_iter must be a whole number of at least 1, got {self.max_iter!r}.")
        cov, n_samples = self._begin(X)
        variance = np.diag(cov)
        floor = noise_floor(variance, LEAST_NOISE)
        psi, said = np.ones(len(cov)), [-np.inf]
        for _ in range(self.max_iter):
            root = np.sqrt(psi) + SMALL
            values, vectors = np.linalg.eigh(cov / root / root[:, None])
            values, vectors = values[::-1], vectors[:, ::-1]
            q = self.n_latents
            W = np.sqrt(np.maximum(values[:q] - 1, 0)) * vectors[:, :q] * root[:, None]
            said.append(_log_likelihood(values, q, psi, n_samples))
            if said[-1] - said[-2] < self.tol:
                break  # with the psi that W belongs to
            psi = np.maximum(variance - np.square(W).sum(axis=1), floor)
        self.log_likelihoods_ = np.array(said[1:])
        self.n_iter_ = len(self.log_likelihoods_)
        return self._finish(W, np.maximum(psi, floor))


class ProbabilisticPCA(_PrivateNoise):
    """x = W z + mean + e,  z ~ N(0, I),  e ~ N(0, sigma² I): principal components as a model with a likelihood.

    Tipping & Bishop (1999, equations 7 and 8), in closed form:  sigma² the mean of the discarded eigenvalues of the
    units' covariance,  W = V (Lambda - sigma² I)^½.  The largest loading of each latent is positive.

    Parameters
    ----------
    n_latents : how many, fewer than units

    Attributes
    ----------
    loadings_ : (n_units, n_latents), W
    noise_variance_ : (n_units,), sigma² in each
    mean_ : (n_units,)
    explained_variance_ratio_ : (n_latents,), squared loadings as a share of the total variance

    Notes
    -----
    Time O(n_samples · n_units² + n_units³), n_samples = n_trials · n_times.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 10, 4)) * [3.0, 2.0, 1.0, 1.0]
    >>> ProbabilisticPCA(n_latents=2).fit(X).noise_variance_.round(1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from all bins of X (n_trials, n_times, n_units); ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; as many latents as units, or more; more than bins; no variance beyond the latents
        ConfigError : ``n_latents`` is no whole number of at least 1
        """
        cov, n_samples = self._begin(X)
        q = int(self.n_latents)
        if q == len(cov):
            raise SchemaError(
                f"ProbabilisticPCA: {q} latents in {q} units leave no unit of noise. Ask for fewer latents than units."
            )
        values, vectors = np.linalg.eigh(cov * n_samples / max(n_samples - 1, 1))  # as scikit-learn's
        values, vectors = values[::-1], vectors[:, ::-1]
        noise = values[q:].mean()
        if noise <= SMALL * values[0]:
            raise SchemaError(
                f"ProbabilisticPCA: {q} latents explain all variance of {n_samples} bins, so none is left for noise. "
                f"Ask for fewer latents, or fit on more bins."
            )
        return self._finish(vectors[:, :q] * np.sqrt(np.maximum(values[:q] - noise, 0)), np.full(len(cov), noise))


def _log_likelihood(values: np.ndarray, q: int, psi: np.ndarray, n_samples: int) -> float:
    """Of all bins, at the best W for these psi; ``values`` are eigenvalues of psi^-½ cov psi^-½, descending."""
    constant = len(psi) * np.log(2 * np.pi) + q + np.log(psi).sum()
    return -0.5 * n_samples * (constant + np.log(np.maximum(values[:q], SMALL)).sum() + values[q:].sum())
