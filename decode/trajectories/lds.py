"""Linear dynamical system with Gaussian observations, learned by EM from trials of any length."""

from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from .dynamics import Dynamics, Moments, at_least, bordered, canonical, moments, stable, update
from .gaussian_chain import Smoothed
from .missing import Observed, observed, smooth_trials
from .with_gaps import WithGaps, check_positive, check_whole, expectation_maximisation, inside, n_seen

LAGS = 2  # neighbours that the first start looks at
LEAST_NOISE = 1e-6  # of a unit's variance
LEAST_DRIVE = 1e-9  # eigenvalues of Q and Q0, as a share of the variance of the first latents


class _Model(NamedTuple):
    C: np.ndarray  # (n_units, d)
    offset: np.ndarray  # (n_units,), of values that are centred
    R: np.ndarray  # (n_units,)
    dynamics: Dynamics


class _Trials(NamedTuple):
    data: Observed  # values are centred
    is_inside: np.ndarray  # (n_trials, n_times)
    weight: np.ndarray  # (n_patterns, n_times), number of trials of the pattern that have the bin
    n: np.ndarray  # (n_units,), numbers present
    total: np.ndarray  # (n_units,), their sum
    square: np.ndarray  # (n_units,), the sum of their squares
    is_by_bin: bool  # bins are present or missing in all units at once


class LDS(WithGaps):
    """z_1 ~ N(x0, Q0),  z_t ~ N(A z_{t-1} + b, Q),  x_t ~ N(C z_t + offset, diag R); latents are E[z_t | x].

    EM (Shumway & Stoffer 1982; Ghahramani & Hinton 1996, eq. 14-25) with one covariance recursion for all trials that
    miss the same bins, which stops where it reaches its steady state, and all trials' means as matrix products.
    Beyond the sources: many trials, b and an offset, missing bins and units, floors of R, Q and Q0, Q0 centred.
    Loadings are orthonormal; latents are centred and uncorrelated over the bins of the fit, in descending order of
    variance; the largest loading of each is positive.

    Parameters
    ----------
    n_latents : how many
    n_restarts : starts; the first is at what bins share with their neighbours, the others at random subspaces
    max_iter : most iterations of each start
    tol : EM stops once an iteration gains less log-likelihood than this per bin, in nats
    random_state : seed of the random starts

    Attributes
    ----------
    loadings_ : (n_units, n_latents), C
    offset_, noise_variance_ : (n_units,), offset and R
    dynamics_, drive_, drive_cov_ : (n_latents, n_latents), (n_latents,), (n_latents, n_latents): A, b and Q
    start_, start_cov_ : (n_latents,) and (n_latents, n_latents), x0 and Q0
    explained_variance_ratio_ : (n_latents,), variance of C z over the bins of the fit, of the model's total
    log_likelihoods_ : (n_iter_,), log p(X) at each iteration of the start that was kept; it never falls
    log_likelihood_of_starts_ : (n_restarts,), where each start ended
    is_converged_ : whether the last gain was below ``tol``

    Notes
    -----
    An iteration takes time O(n_patterns · n_settle · d³ + n_trials · n_times · d (d + n_units)); n_settle is the number
    of bins until the covariances are steady.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.sin(np.arange(30) / 4 + rng.uniform(0, 6, (20, 1)))[:, :, None] * rng.normal(size=8)
    >>> X += 0.3 * rng.normal(size=X.shape)
    >>> model = LDS(n_latents=2).fit(X)
    >>> model.transform(X).shape, float(model.explained_variance_ratio_.sum().round(1))
    ((20, 30, 2), 0.8)
    """

    def __init__(
        self, n_latents: int = 3, *, n_restarts: int = 1, max_iter: int = 300, tol: float = 1e-5, random_state: int = 0
    ) -> None:
        self.n_latents = n_latents
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from X (n_trials, n_times, n_units), NaN where nothing was recorded; ``y`` is not used.

        Raises
        ------
        SchemaError : more latents than bins or than units that change, only trials of one bin, a trial or a unit that
            is NaN throughout
        ConfigError : a parameter out of its range
        """
        X = self._for_fit(X, self.n_latents, n_bins=2)
        for name in ("n_restarts", "max_iter"):
            check_whole(getattr(self, name), name, "LDS")
        check_positive(self.tol, "tol", "LDS")
        present = ~np.isnan(X)
        self.mean_ = np.where(present, X, 0.0).sum(axis=(0, 1)) / present.sum(axis=(0, 1))
        trials = self._trials(X)
        variance = trials.square / trials.n
        noise_floor = LEAST_NOISE * np.where(variance > 0, variance, variance[variance > 0].min())
        runs = []
        for seed in [None, *np.random.SeedSequence(self.random_state).spawn(self.n_restarts - 1)]:
            start, drive_floor = _start(trials, int(self.n_latents), noise_floor, seed)
            step = partial(_step, trials=trials, noise_floor=noise_floor, drive_floor=drive_floor)
            least_gain = self.tol * n_seen(X)
            runs.append(expectation_maximisation(start, step, max_iter=self.max_iter, least_gain=least_gain))
        self.log_likelihood_of_starts_ = np.array([run.objective[-1] for run in runs])
        best = runs[int(self.log_likelihood_of_starts_.argmax())]
        self.log_likelihoods_, self.is_converged_ = np.array(best.objective), best.is_converged
        self.n_iter_ = len(best.objective)
        return self._keep(best.state, trials)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Posterior mean of the latents given the whole trial, (n_trials, n_times, n_latents); NaN after its end.

        Raises
        ------
        SchemaError : another number of units than in the fit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        return self._latents(X, inside(X))

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): C z + offset."""
        return np.asarray(Z) @ self.loadings_.T + self.offset_

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of each trial, (n_trials,), over what is present in it."""
        trials = self._trials(self._for_transform(X))
        model = self._model()
        centred = trials.data.values - model.offset
        present = trials.data.present[trials.data.pattern]
        squares = (np.square(centred) * present).sum(axis=1) @ (1 / model.R)
        rest = -0.5 * (squares + present.sum(axis=1) @ np.log(2 * np.pi * model.R))
        return _smooth(model, trials).log_normaliser + rest

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        return np.where(is_inside[:, :, None], _smooth(self._model(), self._trials(X)).mean, np.nan)

    def _trials(self, X: np.ndarray) -> _Trials:
        data, present = observed(X - self.mean_), ~np.isnan(X)
        is_inside = np.arange(X.shape[1]) < data.n_bins[:, None]
        size = np.bincount(data.pattern, minlength=len(data.present))
        some, all_ = data.present.any(axis=2), data.present.all(axis=2)
        return _Trials(
            data,
            is_inside[data.pattern],
            is_inside * size[:, None].astype(float),
            present.sum(axis=(0, 1)),
            data.values.sum(axis=(0, 1)),
            np.square(data.values).sum(axis=(0, 1)),
            bool((some == all_).all()),
        )

    def _model(self) -> _Model:
        dynamics = Dynamics(self.dynamics_, self.drive_, self.drive_cov_, self.start_, self.start_cov_)
        return _Model(self.loadings_, self.offset_ - self.mean_, self.noise_variance_, dynamics)

    def _keep(self, model: _Model, trials: _Trials) -> Self:
        gauge = canonical(model.C, _sums(_smooth(model, trials), trials))
        self.loadings_ = model.C @ gauge.inverse
        self.offset_ = model.offset + model.C @ gauge.centre + self.mean_
        self.noise_variance_ = model.R
        self.dynamics_, self.drive_, self.drive_cov_, self.start_, self.start_cov_ = gauge.turn(model.dynamics)
        shared = gauge.scale**2
        self.explained_variance_ratio_ = shared / (shared.sum() + model.R.sum())
        return self


def _smooth(model: _Model, trials: _Trials) -> Smoothed:
    return smooth_trials(trials.data, model.C, model.offset, model.R, *model.dynamics)


def _sums(found: Smoothed, trials: _Trials) -> Moments:
    return moments(found.mean, found.cov, found.lag_cov, trials.is_inside, trials.weight)


def _step(now: _Model, trials: _Trials, noise_floor: np.ndarray, drive_floor: float) -> tuple[float, _Model]:
    """log p(X) under ``now``, and the model of the next iteration."""
    found = _smooth(now, trials)
    squares = trials.square - 2 * now.offset * trials.total + now.offset**2 * trials.n
    rest = -0.5 * np.sum(squares / now.R + trials.n * np.log(2 * np.pi * now.R))
    sums = _sums(found, trials)
    C, offset, R = _loadings(found, sums, trials)
    following = _Model(C, offset, np.maximum(R, noise_floor), update(sums, drive_floor))
    return float(found.log_normaliser.sum() + rest), following


def _loadings(found: Smoothed, sums: Moments, trials: _Trials) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """C, offset and R: regression of each unit on the latents over the bins where it is present."""
    d, values = found.mean.shape[2], trials.data.values
    n_units = values.shape[2]
    latents = found.mean.reshape(-1, d)
    with_latents = values.reshape(-1, n_units).T @ latents  # absent values are 0
    with_latents = np.column_stack([with_latents, trials.total])
    if trials.is_by_bin:
        square = _by_bin(found, sums, trials)
        weights = np.linalg.solve(square, with_latents.T).T
    else:
        square = _by_unit(found, trials)
        weights = np.linalg.solve(square, with_latents[:, :, None])[:, :, 0]
    left = trials.square - np.sum(weights * with_latents, axis=1)
    return weights[:, :d], weights[:, d], left / trials.n


def _by_bin(found: Smoothed, sums: Moments, trials: _Trials) -> np.ndarray:
    """Sum of E [z, 1][z, 1]' over the bins that are present, (d + 1, d + 1)."""
    present = trials.data.present[:, :, 0]
    if present.all():
        return bordered(sums.square, sums.total, sums.n_bins)
    d = found.mean.shape[2]
    there = present[trials.data.pattern]
    z = found.mean[there]
    share = trials.weight * present
    spread = share.reshape(-1) @ found.cov.reshape(-1, d * d)
    return bordered(z.T @ z + spread.reshape(d, d), z.sum(axis=0), float(there.sum()))


def _by_unit(found: Smoothed, trials: _Trials) -> np.ndarray:
    """Sum of E [z, 1][z, 1]' over the bins where each unit is present, (n_units, d + 1, d + 1)."""
    n_trials, n_times, d = found.mean.shape
    present, pattern = trials.data.present, trials.data.pattern
    ones = np.concatenate([found.mean, np.ones((n_trials, n_times, 1))], axis=2)
    order = np.argsort(pattern, kind="stable")
    starts = np.searchsorted(pattern[order], np.arange(len(present)))
    products = ones[order][..., :, None] * ones[order][..., None, :]
    square = np.add.reduceat(products, starts, axis=0)
    square[..., :d, :d] += trials.weight[..., None, None] * found.cov
    flat = present.reshape(-1, present.shape[2]).T.astype(float) @ square.reshape(-1, (d + 1) ** 2)
    return flat.reshape(-1, d + 1, d + 1)


def _lagged(values: np.ndarray) -> np.ndarray:
    """Products of neighbouring bins, summed, (n_units, n_lags · n_units): private noise adds nothing to them."""
    n_units = values.shape[2]
    products = []
    for k in range(1, min(LAGS, values.shape[1] - 1) + 1):
        late, early = values[:, k:].reshape(-1, n_units), values[:, :-k].reshape(-1, n_units)
        products.append(late.T @ early)
    return np.hstack(products)


def _start(trials: _Trials, d: int, noise_floor: np.ndarray, seed: Any) -> tuple[_Model, float]:
    """The subspace that bins share with their neighbours, or a random one, with dynamics by regression.

    Returns
    -------
    the model, and the least eigenvalue of its Q and Q0
    """
    values = trials.data.values
    n_units = values.shape[2]
    variance = trials.square / trials.n
    spread = np.sqrt(np.maximum(variance, noise_floor))
    if seed is None:
        C = np.linalg.svd(_lagged(values / spread), full_matrices=False)[0][:, :d]
    else:
        C = np.random.default_rng(seed).normal(size=(n_units, d))
    C = np.linalg.qr(spread[:, None] * C)[0]
    z = values @ C
    none = np.zeros((len(trials.weight), values.shape[1], d, d))
    sums = moments(z, none, none[:, 1:], trials.is_inside, trials.weight)
    scale = float(np.trace(sums.square)) / (sums.n_bins * d)
    ridge = sums.before + 1e-3 * scale * sums.n_lags * np.eye(d)
    A = stable(np.linalg.solve(ridge, sums.cross.T).T)
    cov = at_least(sums.square / sums.n_bins, 1e-3 * scale)
    drive = at_least(cov - A @ cov @ A.T, 1e-2 * scale)
    R = np.maximum(variance - np.sum((C @ cov) * C, axis=1), np.maximum(0.1 * variance, noise_floor))
    dynamics = Dynamics(A, np.zeros(d), drive, sums.first / sums.n_trials, cov)
    return _Model(C, np.zeros(n_units), R, dynamics), LEAST_DRIVE * scale
