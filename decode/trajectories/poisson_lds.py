"""Linear dynamical system behind spike counts: Poisson observations, learned by EM with Laplace's approximation."""

from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import Tags

from ..decoders.observations import refuse_negative
from .dynamics import Dynamics, Moments, at_least, bordered, canonical, moments, stable, update
from .poisson_laplace import HIGHEST, Counts, Laplace, counts, lower_bound, posterior
from .with_gaps import WithGaps, check_positive, check_whole, expectation_maximisation, inside, n_seen

LEAST_DRIVE = 1e-9  # eigenvalues of Q and Q0; latents have a variance of about 1 at the start
MOST_DRIVE = 1.0  # standard deviation of a unit's log rate at the start
LEAST_SIGNAL = 0.05  # variance of a latent at the start, in that of Poisson noise


class _Model(NamedTuple):
    C: np.ndarray
    offset: np.ndarray
    dynamics: Dynamics
    mode: np.ndarray | None  # of the last iteration, where the next begins


class PoissonLDS(WithGaps):
    """z_1 ~ N(x0, Q0),  z_t ~ N(A z_{t-1} + b, Q),  y_tu ~ Poisson(exp(c_u' z_t + offset_u)); latents: mode of z | y.

    Macke et al. (2011, equations 1-3 and section 2.2) by Laplace-EM: the posterior of each trial is the Gaussian at its
    mode; C and offset climb the expected log-likelihood  sum y (c'm + o) - exp(c'm + o + ½ c'Pc)  by Newton's method,
    under a weak Gaussian prior that keeps units with few spikes finite; A, Q, x0, Q0 in closed form.
    Beyond the source: missing bins and units, trials of any length, and the moments of the counts as a start.
    Loadings are orthonormal; latents are centred and uncorrelated over the bins of the fit, in descending order of
    variance of the log rates; the largest loading of each is positive.

    Parameters
    ----------
    n_latents : how many
    max_iter : most iterations
    tol : stop once an iteration raises the lower bound by less than this per bin, in nats
    ridge : precision of the prior that holds a unit's log rates over the bins of the fit near that of its mean count

    Attributes
    ----------
    loadings_, offset_ : (n_units, n_latents) and (n_units,), of log counts per bin
    dynamics_, drive_, drive_cov_ : (n_latents, n_latents), (n_latents,), (n_latents, n_latents): A, b and Q
    start_, start_cov_ : (n_latents,) and (n_latents, n_latents), x0 and Q0
    log_rate_variance_ : (n_latents,), of C z over the bins of the fit, from each latent
    lower_bounds_ : (n_iter_,), of log p(Y), at each iteration. The mode is not the best Gaussian for the bound, so
        EM is not sure to raise it; the fit stops, and keeps the iteration before, when it falls
    is_converged_ : whether it stopped before ``max_iter``

    Notes
    -----
    An iteration takes time O(n_trials · n_times · (n_units d² + d³)).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> drive = np.sin(np.arange(30) / 4 + rng.uniform(0, 6, (20, 1)))
    >>> Y = rng.poisson(np.exp(drive[:, :, None] * rng.uniform(0.5, 1, 8)))
    >>> z = PoissonLDS(n_latents=1, max_iter=20).fit_transform(Y)
    >>> bool(np.corrcoef(z.ravel(), drive.ravel())[0, 1] > 0.9)
    True
    """

    def __init__(self, n_latents: int = 3, *, max_iter: int = 100, tol: float = 1e-4, ridge: float = 1e-2) -> None:
        self.n_latents = n_latents
        self.max_iter = max_iter
        self.tol = tol
        self.ridge = ridge

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from counts X (n_trials, n_times, n_units), NaN where nothing was recorded; ``y`` is not used.

        Raises
        ------
        SchemaError : a negative value, more latents than bins or than units that change, only trials of one bin, a
            trial or a unit that is NaN throughout
        ConfigError : a parameter out of its range
        """
        X = self._for_fit(X, self.n_latents, n_bins=2)
        check_whole(self.max_iter, "max_iter", "PoissonLDS")
        check_positive(self.tol, "tol", "PoissonLDS")
        check_positive(self.ridge, "ridge", "PoissonLDS")
        refuse_negative(X, "PoissonLDS")
        data, is_inside = counts(X), inside(X)
        typical = _typical(data)
        run = expectation_maximisation(
            _start(data, int(self.n_latents), typical),
            lambda now: _step(now, data, is_inside, typical, self.ridge),
            max_iter=self.max_iter,
            least_gain=self.tol * n_seen(X),
        )
        self.lower_bounds_, self.is_converged_ = np.array(run.objective), run.is_converged
        self.n_iter_ = len(run.objective)
        model = run.state
        gauge = canonical(model.C, _sums(_posterior(model, data), is_inside))
        self.loadings_, self.offset_ = model.C @ gauge.inverse, model.offset + model.C @ gauge.centre
        self.dynamics_, self.drive_, self.drive_cov_, self.start_, self.start_cov_ = gauge.turn(model.dynamics)
        self.log_rate_variance_ = gauge.scale**2
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Most likely latents given the whole trial, (n_trials, n_times, n_latents); NaN after its end.

        Raises
        ------
        SchemaError : a negative value, another number of units than in the fit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        refuse_negative(X, "PoissonLDS")
        return self._latents(X, inside(X))

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): rates exp(C z + offset), in counts a bin."""
        return np.exp(np.asarray(Z) @ self.loadings_.T + self.offset_)

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Laplace's approximation of log p(x) of each trial, (n_trials,), over what is present in it."""
        X = self._for_transform(X)
        refuse_negative(X, "PoissonLDS")
        return _posterior(self._model(), counts(X)).log_evidence

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        return np.where(is_inside[:, :, None], _posterior(self._model(), counts(X)).mean, np.nan)

    def _model(self) -> _Model:
        dynamics = Dynamics(self.dynamics_, self.drive_, self.drive_cov_, self.start_, self.start_cov_)
        return _Model(self.loadings_, self.offset_, dynamics, None)


def _posterior(model: _Model, data: Counts) -> Laplace:
    return posterior(data, model.C, model.offset, model.dynamics, start=model.mode)


def _sums(found: Laplace, is_inside: np.ndarray) -> Moments:
    return moments(found.mean, found.cov, found.lag_cov, is_inside, is_inside.astype(float))


def _step(now: _Model, data: Counts, is_inside: np.ndarray, typical: np.ndarray, ridge: float) -> tuple[float, _Model]:
    """The lower bound under ``now``, and the model of the next iteration."""
    found = _posterior(now, data)
    sums = _sums(found, is_inside)
    prior = ridge * bordered(sums.square, sums.total, sums.n_bins) / sums.n_bins  # of C z + offset: of no gauge
    C, offset = _climb(now.C, now.offset, found, data, prior, typical)
    bound = lower_bound(data, found, now.C, now.offset).sum()
    return float(bound), _Model(C, offset, update(sums, LEAST_DRIVE), found.mean)


def _climb(
    C: np.ndarray, offset: np.ndarray, found: Laplace, data: Counts, precision: np.ndarray, typical: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """C and offset of a higher expected log posterior: Newton steps of all units at once, halved where they overshoot.

    The curvature takes the posterior covariance of a unit's bins for their mean, so that it is matrix products.
    """
    d, n_units = C.shape[1], len(C)
    m = np.concatenate([found.mean, np.ones((*found.mean.shape[:2], 1))], axis=2).reshape(-1, d + 1)
    P = found.cov.reshape(-1, d * d)
    present = data.present.reshape(-1, n_units)
    with_counts = data.values.reshape(-1, n_units).T @ m
    pairs = (m[:, :, None] * m[:, None, :]).reshape(len(m), -1)
    centre = np.column_stack([np.zeros((n_units, d)), typical])

    def value_at(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        squares = (w[:, :d, None] * w[:, None, :d]).reshape(n_units, -1)
        rate = present * np.exp(np.minimum(m @ w.T + 0.5 * (P @ squares.T), HIGHEST))
        away = w - centre
        return np.sum(w * with_counts, axis=1) - rate.sum(axis=0) - 0.5 * np.sum(away @ precision * away, axis=1), rate

    w = np.column_stack([C, offset])
    value, rate = value_at(w)
    for _ in range(3):
        total, first = rate.sum(axis=0)[:, None], rate.T @ m
        spread = (rate.T @ P).reshape(-1, d, d)
        pull = np.einsum("uij,uj->ui", spread, w[:, :d])
        slope = with_counts - first - (w - centre) @ precision
        slope[:, :d] -= pull
        shift = np.column_stack([pull / total, np.zeros(n_units)])
        curve = (rate.T @ pairs).reshape(-1, d + 1, d + 1) + precision
        curve += shift[:, :, None] * first[:, None, :] + first[:, :, None] * shift[:, None, :]
        curve += total[:, :, None] * shift[:, :, None] * shift[:, None, :]
        curve[:, :d, :d] += spread
        step = np.linalg.solve(curve, slope[:, :, None])[:, :, 0]
        length = np.ones((n_units, 1))
        for _ in range(30):
            new_value, new_rate = value_at(w + length * step)
            is_lower = ~(new_value >= value)
            if not is_lower.any():
                break
            length[is_lower] /= 2
        length[is_lower] = 0.0  # at the top to rounding
        w = w + length * step
        value, rate = value_at(w)
    return w[:, :d], w[:, d]


def _typical(data: Counts) -> np.ndarray:
    """Log of each unit's mean count, (n_units,); half a spike more, so that a silent unit has one."""
    return np.log((data.values.sum(axis=(0, 1)) + 0.5) / data.present.sum(axis=(0, 1)))


def _start(data: Counts, d: int, typical: np.ndarray) -> _Model:
    """From moments of the counts: the variance beyond Poisson noise, and how neighbouring bins vary together.

    Cov(y) = D + D Cov(log rate) D for small variances, D the mean counts (Buesing et al. 2012, section 3.2, to first
    order); neighbouring bins have no Poisson noise in common.
    """
    n_units = len(typical)
    root = np.exp(typical / 2)
    scaled = data.present * (data.values - np.exp(typical)) / root
    flat, there = scaled.reshape(-1, n_units), data.present.reshape(-1, n_units)
    same = flat.T @ flat / np.maximum(there.T @ there, 1) - np.eye(n_units)
    values, vectors = np.linalg.eigh(same)
    signal, U = np.sqrt(np.maximum(values[: -d - 1 : -1], LEAST_SIGNAL)), vectors[:, : -d - 1 : -1]
    late, early = scaled[:, 1:].reshape(-1, n_units), scaled[:, :-1].reshape(-1, n_units)
    now, before = data.present[:, 1:].reshape(-1, n_units), data.present[:, :-1].reshape(-1, n_units)
    neighbours = late.T @ early / np.maximum(now.T @ before, 1)
    A = stable(U.T @ neighbours @ U / np.outer(signal, signal))
    C = U * signal / root[:, None]
    C /= np.maximum(np.linalg.norm(C, axis=1) / MOST_DRIVE, 1)[:, None]  # units with few spikes have wild moments
    dynamics = Dynamics(A, np.zeros(d), at_least(np.eye(d) - A @ A.T, 0.01), np.zeros(d), np.eye(d))
    return _Model(C, typical - 0.5 * np.square(C).sum(axis=1), dynamics, None)
