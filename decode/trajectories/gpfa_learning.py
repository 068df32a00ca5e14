"""Expectation maximisation for GPFA: sufficient statistics of segments, one step, and its acceleration.

E step: the dense posterior of ``gpfa_inference``, one factorisation for all segments with the same absent bins.
M step: C, offset and R by regression on the posterior moments (Yu et al. 2009, appendix B); each timescale by Fisher
scoring on  -½ [n log|K| + tr(K^-1 S)],  S = sum over trials of E[x x'], which holds the trials whatever their number.
The scale of each latent is expanded and folded back into C (parameter-expanded EM, Liu et al. 1998).
The moments of the E step also give the slope of the likelihood, so that a quasi-Newton search may go on from there.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from .gaussian_process import covariance, covariance_and_slope
from .gpfa_inference import Model, dense_pattern
from .missing import Observed, information, potential

SCORING_STEPS = 2
EM_STEPS = 5  # before the quasi-Newton search
MEMORY = 20  # steps that the search remembers


class Moments(NamedTuple):
    """What the M step needs of the posterior.

    Attributes
    ----------
    second : (n_patterns, n_times, q, q), sum over trials of E[x_t x_t']
    first : (n_patterns, n_times, q), sum over trials of E[x_t]
    with_units : (n_units, q), sum of y E[x_t]
    over_time : n_bins -> (number of trials, sum over them of E[x_k x_k'] (q, n_bins, n_bins))
    """

    second: np.ndarray
    first: np.ndarray
    with_units: np.ndarray
    over_time: dict[int, tuple[int, np.ndarray]]


def segments(X: np.ndarray, n_bins: np.ndarray, length: int) -> np.ndarray:
    """Trials cut into pieces of at most ``length`` bins, as equal as can be: (n_segments, length, n_units).

    Parameters
    ----------
    X : (n_trials, n_times, n_units), NaN where absent
    n_bins : (n_trials,), bins up to the last one with anything present

    Examples
    --------
    >>> segments(np.arange(5.0).reshape(1, 5, 1), np.array([5]), 3)[:, :, 0].tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, nan]]
    """
    pieces = []
    for trial, n in zip(X, n_bins, strict=True):
        n_pieces = -(-int(n) // length)
        pieces += np.array_split(trial[:n], n_pieces) if n_pieces else []
    cut = np.full((len(pieces), max(map(len, pieces)), X.shape[2]), np.nan)
    for row, piece in zip(cut, pieces, strict=True):
        row[: len(piece)] = piece
    return cut


class Learner:
    """EM steps on fixed data.

    Parameters
    ----------
    data : segments, from ``observed``
    floor : (n_units,), least private variance
    """

    def __init__(self, data: Observed, floor: np.ndarray) -> None:
        self.data, self.floor = data, floor
        self.trials = [np.flatnonzero(data.pattern == p) for p in range(len(data.present))]
        weight = np.array([len(trials) for trials in self.trials])
        self.n_present = np.einsum("p,ptu->u", weight, data.present)
        rows = data.values.reshape(-1, data.values.shape[2])
        self.rows, self.sums, self.squares = rows, rows.sum(axis=0), np.square(rows).sum(axis=0)
        self.bounds = np.log(0.2), np.log(20.0 * max(data.n_bins.max(), 5))

    def step(self, model: Model) -> tuple[Model, float]:
        """The next model, whose likelihood is no lower, and the log-likelihood of this one."""
        moments, likelihood = self.moments(model)
        timescale, scale = self._timescales(model, moments.over_time)
        C, offset, R = self._regression(moments)
        return model._replace(C=C * np.sqrt(scale), offset=offset, R=R, timescale=timescale), likelihood

    def slope(self, model: Model) -> tuple[float, tuple[np.ndarray, ...]]:
        """Log-likelihood, and its slope in C, offset, log R and log timescale (Fisher's identity)."""
        moments, likelihood = self.moments(model)
        C, offset, R = model.C, model.offset, model.R
        present = self.data.present.reshape(-1, len(R)).T.astype(float)
        q = C.shape[1]
        first = present @ moments.first.reshape(-1, q)
        second = (present @ moments.second.reshape(-1, q * q)).reshape(-1, q, q)
        centred = moments.with_units - offset[:, None] * first  # sum of (y - offset) E[x]
        spread = np.einsum("uij,uj->ui", second, C)
        rest = self.sums - np.einsum("ui,ui->u", first, C) - self.n_present * offset
        squares = self.squares - 2 * offset * self.sums + self.n_present * offset**2
        squares += np.einsum("ui,ui->u", C, spread - 2 * centred)
        slope_det, slope_quadratic = self.log_prior(model, np.log(model.timescale), moments.over_time)[4:]
        return likelihood, (
            (centred - spread) / R[:, None], rest / R, 0.5 * (squares / R - self.n_present),
            0.5 * (slope_quadratic - slope_det),
        )  # fmt: skip

    def moments(self, model: Model) -> tuple[Moments, float]:
        """Sums over trials of the posterior moments, and the log-likelihood."""
        data, q = self.data, model.C.shape[1]
        H, h = information(data.present, model.C, model.R), potential(data, model.C, model.offset, model.R)
        K = covariance(model.kernel, model.timescale, model.white, int(data.n_bins.max()))
        mean = np.zeros(h.shape)
        second = np.zeros((*data.present.shape[:2], q, q))
        first = np.zeros(second.shape[:3])
        over_time: dict[int, tuple[int, np.ndarray]] = {}
        likelihood = self._left_out(model)
        for pattern, (n_bins, here) in enumerate(zip(data.n_bins.tolist(), self.trials, strict=True)):
            part = dense_pattern(K[:, :n_bins, :n_bins], H[pattern, :n_bins], h[here, :n_bins])
            likelihood += float(part.evidence.sum())
            count = len(here)
            by_latent = part.mean.transpose(1, 2, 0)  # (q, n_bins, n)
            own = by_latent @ by_latent.swapaxes(1, 2) + count * part.over_time
            before = over_time.get(n_bins, (0, 0.0))
            over_time[n_bins] = (before[0] + count, before[1] + own)
            by_time = np.ascontiguousarray(part.mean.transpose(2, 1, 0))  # (n_bins, q, n)
            second[pattern, :n_bins] = by_time @ by_time.swapaxes(1, 2) + count * part.in_bin
            first[pattern, :n_bins] = by_time.sum(axis=2)
            mean[here, :n_bins] = part.mean.transpose(0, 2, 1)
        return Moments(second, first, self.rows.T @ mean.reshape(-1, q), over_time), likelihood

    def _left_out(self, model: Model) -> float:
        """The part of the log-likelihood that does not know the latents."""
        centred = self.squares - 2 * model.offset * self.sums + self.n_present * model.offset**2
        return -0.5 * float(centred @ (1 / model.R) + self.n_present @ np.log(2 * np.pi * model.R))

    def _regression(self, moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """C, offset and R of each unit over the bins in which it is present."""
        present = self.data.present.reshape(-1, self.data.present.shape[2]).T.astype(float)
        q = moments.first.shape[2]
        n_units = len(present)
        products = np.empty((n_units, q + 1, q + 1))
        products[:, :q, :q] = (present @ moments.second.reshape(-1, q * q)).reshape(n_units, q, q)
        products[:, :q, q] = products[:, q, :q] = present @ moments.first.reshape(-1, q)
        products[:, q, q] = self.n_present
        with_units = np.column_stack([moments.with_units, self.sums])
        weights = np.linalg.solve(products, with_units[:, :, None])[:, :, 0]
        R = (self.squares - np.einsum("ui,ui->u", weights, with_units)) / self.n_present
        return weights[:, :q], weights[:, q], np.maximum(R, self.floor)

    def _timescales(self, model: Model, over_time: dict[int, tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Timescales that raise the expected log prior of the latents, and the scale of their variance."""
        now = np.log(model.timescale)
        value, slope, spread, scale = self.log_prior(model, now, over_time)[:4]
        for _ in range(SCORING_STEPS):
            step = np.clip(slope / np.maximum(spread, 1e-12), -1.0, 1.0)
            for _ in range(3):
                ahead = np.clip(now + step, *self.bounds)
                other = self.log_prior(model, ahead, over_time)[:4]
                better = other[0] >= value
                now = np.where(better, ahead, now)
                value, slope, spread, scale = (
                    np.where(better, new, old) for new, old in zip(other, (value, slope, spread, scale), strict=True)
                )
                if better.all():
                    break
                step = np.where(better, 0.0, step / 4)
            if (np.abs(step) < 1e-3).all():
                break
        return np.exp(now), scale

    def log_prior(
        self, model: Model, log_timescale: np.ndarray, over_time: dict[int, tuple[int, np.ndarray]]
    ) -> tuple[np.ndarray, ...]:
        """Expected log prior at the best scale, its slope and Fisher information in log tau, and that scale; (q,).

        Then the two sums of the slope at a scale of 1: of log|K| and of tr(K^-1 S), the latter with its sign turned.
        """
        log_det, quadratic, slope_det, slope_quadratic, fisher = np.zeros((5, len(log_timescale)))
        n_all = 0
        for n_bins, (count, S) in over_time.items():
            K, dK = covariance_and_slope(model.kernel, np.exp(log_timescale), model.white, n_bins)
            root = np.linalg.cholesky(K)
            inverse = np.linalg.inv(K)
            relative, moved = inverse @ dK, inverse @ S
            log_det += 2 * count * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
            quadratic += np.einsum("ktt->k", moved)
            slope_det += count * np.einsum("ktt->k", relative)
            slope_quadratic += np.einsum("kts,kst->k", moved, relative)
            fisher += 0.5 * count * np.einsum("kts,kst->k", relative, relative)
            n_all += count * n_bins
        value = -0.5 * (log_det + n_all * np.log(quadratic))
        slope = 0.5 * (n_all * slope_quadratic / quadratic - slope_det)
        spread = fisher - 0.5 * slope_det**2 / n_all
        return value, slope, spread, quadratic / n_all, slope_det, slope_quadratic


def learn_by_em(learner: Learner, model: Model, *, tol: float, max_iter: int) -> tuple[Model, np.ndarray]:
    """Step until one adds less than ``tol`` of what was gained since the second, the rule of Yu et al.'s code.

    Returns
    -------
    model, and the log-likelihood before each step; never falling
    """
    said: list[float] = []
    for _ in range(max_iter):
        after, likelihood = learner.step(model)
        said.append(likelihood)
        if has_converged(said, tol):
            break
        model = after
    return model, np.array(said)


def learn_by_quasi_newton(learner: Learner, model: Model, *, tol: float, max_iter: int) -> tuple[Model, np.ndarray]:
    """A few EM steps, then L-BFGS-B on the same likelihood until the same rule holds.

    The E step gives the exact slope of the log-likelihood (Fisher's identity), so an iteration costs as much as one of
    EM, and many fewer are needed where latents are alike.

    Returns
    -------
    model, and the log-likelihood after each iteration; never falling
    """
    model, before = learn_by_em(learner, model, tol=tol, max_iter=min(max_iter, EM_STEPS))
    said = before.tolist()
    if len(said) == max_iter or has_converged(said, tol):
        return model, np.array(said)
    space = _Space(learner, model)
    calls = 0

    def lost(vector: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        likelihood, slope = learner.slope(space.model(vector))
        return -likelihood / space.n, -space.flat(slope) / space.n

    def after(intermediate_result: OptimizeResult) -> None:
        said.append(-intermediate_result.fun * space.n)
        if has_converged(said, tol) or calls + EM_STEPS >= max_iter:
            raise StopIteration

    options = {"maxiter": max_iter, "maxfun": max_iter, "maxcor": MEMORY, "ftol": 0.0, "gtol": 0.0}
    found = minimize(
        lost, space.start, jac=True, method="L-BFGS-B", bounds=space.bounds, callback=after, options=options
    )
    return space.model(found.x), np.array(said)


def has_converged(said: list[float], tol: float) -> bool:
    """Whether the last step added less than ``tol`` of what was gained since the second."""
    return len(said) > 2 and said[-1] - said[1] < (1 + tol) * (said[-2] - said[1])


class _Space:
    """Parameters as one vector, each on the scale of its own uncertainty, with bounds."""

    def __init__(self, learner: Learner, model: Model) -> None:
        self.like, self.root, self.n = model, np.sqrt(model.R), float(learner.n_present.mean())
        moments, _ = learner.moments(model)
        spread = learner.log_prior(model, np.log(model.timescale), moments.over_time)[2]
        self.widths = (self.root[:, None], self.root, np.sqrt(2.0), np.sqrt(self.n / np.maximum(spread, 1e-3 * self.n)))
        self.start = self.flat(
            (model.C / self.root[:, None] ** 2, model.offset / self.root**2, np.log(model.R) / 2,
             np.log(model.timescale) / self.widths[3] ** 2)
        )  # fmt: skip
        free = [(None, None)] * (model.C.size + len(self.root))
        floors = [(low, None) for low in np.log(learner.floor) / self.widths[2]]
        self.bounds = free + floors + [tuple(np.array(learner.bounds) / width) for width in self.widths[3]]

    def flat(self, parts: tuple[np.ndarray, ...]) -> np.ndarray:
        """Slopes in the parameters as slopes in the vector."""
        return np.concatenate([(part * width).ravel() for part, width in zip(parts, self.widths, strict=True)])

    def model(self, vector: np.ndarray) -> Model:
        """The parameters that a vector stands for."""
        n_units, q = self.like.C.shape
        flat_C, *others = np.split(vector, np.cumsum([n_units * q, n_units, n_units]))
        C = flat_C.reshape(n_units, q) * self.widths[0]
        offset, log_R, log_timescale = (part * width for part, width in zip(others, self.widths[1:], strict=True))
        return self.like._replace(C=C, offset=offset, R=np.exp(log_R), timescale=np.exp(log_timescale))
