"""Shared and private: what an animal's odors have in common with other animals', as far as the data say so.

Not here: the Gaussian process over conditions (``condition_kernel``).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf

from ..datasets.errors import ConfigError
from .base import Aligner
from .condition_kernel import Posterior, Tunings, evidence, infer, tunings

SHARES = np.linspace(0, 1, 6)
NOISE_SHARE = 0.5  # of the variance, where no animal repeats a condition
N_USUAL = 10.0  # trials that the usual noise of other animals counts for
N_PERMUTED = 3
UNSURE = 0.1  # weight of "any share" beside the shares of the known animals


class _Animal(NamedTuple):
    """One animal with units in units of their noise.

    scale (n_units,), noise; noise (n_units, n_units), correlation of noise; courses (n_times, n_components);
    means (n_components, n_conditions, n_units); n (n_conditions,)
    """

    scale: np.ndarray
    noise: np.ndarray
    courses: np.ndarray
    means: np.ndarray
    n: np.ndarray


class SharedPrivate(Aligner):
    """f_u ~ N(level, a_u [s S + (1 - s) I]) over conditions: S is shared by animals, the rest is private.

    Units need not correspond: what animals share is which odors are alike. The share s of a new animal is learned
    from its own few trials and from how much the known animals share with each other; where nothing is shared it is
    near 0, and the animal is decoded from its own data alone. Odors that the new animal never had are known through
    those that it had. Empirical Bayes throughout: noise, strength of response of each unit, share.

    Parameters
    ----------
    n_latents : coordinates of the shared space for ``transform``, at most the number of conditions
    n_components : courses over time in which responses are described
    share : None learns it; a number from 0 (nothing) to 1 fixes it

    Attributes
    ----------
    conditions_ : (n_conditions,)
    share_ : session -> posterior mean of s; the share of the variance of odor responses that follows other animals
    shared_evidence_ : session -> log likelihood of its responses, in nats, above that with the conditions of the known
        animals permuted (the best of three). Only where it is well above 0 do odors mean the same in this animal as
        in the others: a high share alone may come from tunings of a common form, whatever the odors are
    share_posterior_ : session -> (n_shares,) over ``SHARES``
    similarity_ : S (n_conditions, n_conditions)

    Notes
    -----
    Decodes by log p(x | k) = sum over units and courses of log N(x; mean_k, 1 + variance of mean_k), after whitening
    by the noise covariance (Ledoit & Wolf 2004). With ``share=0`` it is that classifier on the animal's own data.
    Time of ``add_session`` O(n_shares · n_components · n_conditions² (n_conditions + n_units)).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> odors = rng.normal(size=(6, 2))
    >>> def mouse(n_trials):
    ...     y = np.tile(np.arange(6), n_trials)
    ...     return odors[y] @ rng.normal(size=(2, 15)) + rng.normal(size=(len(y), 15)), y
    >>> mice = {name: mouse(8) for name in "abc"}
    >>> aligner = SharedPrivate().fit({m: X for m, (X, _) in mice.items()}, {m: y for m, (_, y) in mice.items()})
    >>> bool(aligner.add_session("d", *mouse(2)).share_["d"] > 0.5)
    True
    """

    def __init__(self, n_latents: int = 5, *, n_components: int = 3, share: float | None = None) -> None:
        self.n_latents = n_latents
        self.n_components = n_components
        self.share = share

    def predict_proba(self, session: str, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_conditions) given the whole trial, columns as ``conditions_``."""
        return softmax(self._log_p(session, self._array(session, X)), axis=1)

    def predict(self, session: str, X: np.ndarray) -> np.ndarray:
        """Most probable condition of each trial (n_trials,), also of those the animal never had."""
        return self.conditions_[self.predict_proba(session, X).argmax(axis=1)]

    # ---- what the base asks for ----

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        known_shares = [_noise_share(X, y[s]) for s, X in cohort.items() if _repeats(y[s])]
        self._noise_share = float(np.median(known_shares)) if known_shares else NOISE_SHARE
        self._animals = {s: self._described(X, y[s], self.conditions_) for s, X in cohort.items()}
        self._known = self._tunings_of(list(cohort))
        self.similarity_ = np.mean([known.similarity for known in self._known], axis=0)
        self.share_: dict[str, float] = {}
        self.shared_evidence_: dict[str, float] = {}
        self.share_posterior_: dict[str, np.ndarray] = {}
        self._posteriors: dict[str, list[Posterior]] = {}
        self._prior = np.zeros(len(SHARES))
        for session in cohort:
            self._learn(session, self._tunings_of([s for s in cohort if s != session]))
        known = np.mean([self.share_posterior_[s] for s in cohort], axis=0)
        self._prior = np.log((1 - UNSURE) * known + UNSURE / len(SHARES))

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        if not len(X):
            self._animals.pop(session, None)
            return
        here = np.isin(y, self.conditions_)
        self._animals[session] = self._described(X[here], y[here], self.conditions_)
        self._learn(session, self._known)

    def _transform(self, session: str, X: np.ndarray) -> np.ndarray:
        """Posterior mean, bin by bin, of the coordinates of the condition; prior N(0, I)."""
        d = min(self.n_latents, len(self.conditions_))
        size, vectors = np.linalg.eigh(self.similarity_)
        coordinates = vectors[:, ::-1][:, :d] * np.sqrt(np.maximum(size[::-1][:d], 0))
        coordinates = coordinates * _signs(coordinates)
        animal, posteriors = self._animals[session], self._posteriors[session]
        three = X if X.ndim == 3 else np.atleast_2d(X)[:, None]
        means = np.stack([one.mean for one in posteriors])
        level = means.mean(axis=1)
        onto = np.linalg.pinv(coordinates - coordinates.mean(axis=0))
        by_course = np.einsum("dk,jku->jdu", onto, means - level[:, None])
        W = np.einsum("jt,jdu->tdu", np.linalg.pinv(animal.courses), by_course)
        centred = three / animal.scale - np.linalg.pinv(animal.courses).T @ level
        precision = W @ np.swapaxes(W, 1, 2) + np.eye(d)
        z = np.linalg.solve(precision, np.einsum("tdu,ntu->tdn", W, centred))
        z = np.pad(np.moveaxis(z, 2, 0), ((0, 0), (0, 0), (0, self.n_latents - d)))
        return z.reshape(*X.shape[:-1], self.n_latents)

    def _check_n_latents(self) -> None:
        super()._check_n_latents()
        if self.n_components < 1 or (self.share is not None and not 0 <= self.share <= 1):
            raise ConfigError(
                f"SharedPrivate: n_components ({self.n_components}) is at least 1, share ({self.share}) None or a "
                f"number from 0 to 1."
            )

    # ---- pieces ----

    def _tunings_of(self, sessions: list[str]) -> list[Tunings]:
        """Of each course."""
        animals = [self._animals[s] for s in sessions]
        n = [animal.n for animal in animals]
        n_courses = min(len(animal.means) for animal in self._animals.values())
        return [tunings([animal.means[j] for animal in animals], n) for j in range(n_courses)]

    def _learn(self, session: str, known: list[Tunings]) -> None:
        """Share and responses of one animal, given the tunings of others."""
        animal = self._animals[session]
        courses = list(zip(animal.means, known, strict=True))
        if self.share is None:
            posterior = _shares(courses, animal.n, self._prior)
            share = float(SHARES[posterior.argmax()])
            self.share_[session] = float(posterior @ SHARES)
        else:
            posterior, share = (SHARES == self.share).astype(float), self.share
            self.share_[session] = share
        self.share_posterior_[session] = posterior
        self.shared_evidence_[session] = _above_permuted(courses, animal.n, share)
        self._posteriors[session] = [infer(means, animal.n, of_others, share) for means, of_others in courses]

    def _described(self, X: np.ndarray, y: np.ndarray, conditions: np.ndarray) -> _Animal:
        """Units in units of their noise, and time by the courses that responses take."""
        position = np.searchsorted(conditions, y)
        n = np.bincount(position, minlength=len(conditions)).astype(float)
        means = np.full((len(conditions), *X.shape[1:]), np.nan)
        for k in np.flatnonzero(n):
            means[k] = X[position == k].mean(axis=0)
        repeats = n[position] > 1
        n_free = int(repeats.sum() - (n > 1).sum())
        spent = np.sqrt(n[position] / np.maximum(n[position] - 1, 1))[:, None, None]
        residual = ((X - means[position]) * spent)[repeats]
        courses = _courses(means[n > 0], residual if n_free else _deviations(X), min(self.n_components, X.shape[1]))
        total = np.var(_scores(courses, X), axis=1).mean(axis=0)
        usual = self._noise_share * np.maximum(total, 1e-6 * total.max() + 1e-300)
        flat = _scores(courses, residual).reshape(-1, X.shape[2])
        own = np.mean(flat**2, axis=0) if n_free else usual
        scale = np.sqrt((n_free * own + N_USUAL * usual) / (n_free + N_USUAL))
        noise = ledoit_wolf(flat / scale, assume_centered=True)[0] if n_free else np.eye(X.shape[2])
        size = np.sqrt(np.diag(noise))
        return _Animal(scale, noise / np.outer(size, size), courses, _scores(courses, means) / scale, n)

    def _log_p(self, session: str, X: np.ndarray) -> np.ndarray:
        """Log density (n_trials, n_conditions) of the courses of each trial, with the doubt about each mean."""
        animal, posteriors = self._animals[session], self._posteriors[session]
        log_p = np.zeros((len(X), len(self.conditions_)))
        for x, one in zip(_scores(animal.courses, X) / animal.scale, posteriors, strict=True):
            for k, (mean, variance) in enumerate(zip(one.mean, one.variance, strict=True)):
                root = np.linalg.cholesky(animal.noise + np.diag(variance))
                half = solve_triangular(root, (x - mean).T, lower=True)
                log_p[:, k] -= 0.5 * np.sum(half**2, axis=0) + np.log(np.diag(root)).sum()
        return log_p

    def _array(self, session: str, X: np.ndarray) -> np.ndarray:
        self.transform(session, X)  # refuses what it cannot take
        array = np.asarray(X, float)
        return array if array.ndim == 3 else array[:, None]


def _shares(courses: list[tuple[np.ndarray, Tunings]], n: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Posterior (n_shares,) of the share."""
    return softmax(np.array([_log_p(courses, n, share) for share in SHARES]) + log_prior)


def _log_p(courses: list[tuple[np.ndarray, Tunings]], n: np.ndarray, share: float) -> float:
    return sum(evidence(means, n, known, share) for means, known in courses)


def _above_permuted(courses: list[tuple[np.ndarray, Tunings]], n: np.ndarray, share: float) -> float:
    rng = np.random.default_rng(0)
    by_chance = []
    for _ in range(N_PERMUTED):
        order = rng.permutation(len(n))
        permuted = [(means, known._replace(tuning=known.tuning[:, order])) for means, known in courses]
        by_chance.append(_log_p(permuted, n, share))
    return _log_p(courses, n, share) - max(by_chance)


def _repeats(y: np.ndarray) -> bool:
    return len(np.unique(y)) < len(y)


def _deviations(X: np.ndarray) -> np.ndarray:
    return X - X.mean(axis=0)


def _noise_share(X: np.ndarray, y: np.ndarray) -> float:
    """Variance between trials of one condition as a share of all variance, median over units."""
    labels, position, n = np.unique(y, return_inverse=True, return_counts=True)
    means = np.stack([X[position == k].mean(axis=0) for k in range(len(labels))])
    within = np.sum((X - means[position]) ** 2, axis=(0, 1)) / max(len(y) - len(labels), 1) / X.shape[1]
    total = np.mean(_deviations(X) ** 2, axis=(0, 1))
    return float(np.clip(np.median(within[total > 0] / total[total > 0]), 0.05, 1.0)) if (total > 0).any() else 1.0


def _scores(courses: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Each course in each trial: (n_trials, n_times, n_units) -> (n_components, n_trials, n_units)."""
    return np.einsum("tj,ntu->jnu", courses, X)


def _courses(means: np.ndarray, residual: np.ndarray, n_components: int) -> np.ndarray:
    """(n_times, n_components): courses with most response for their noise, scaled to noise 1."""
    T = means.shape[1]
    centred = means - means.mean(axis=0)
    signal = np.einsum("ktu,ksu->ts", centred, centred)
    noise = np.einsum("ntu,nsu->ts", residual, residual) / max(residual.shape[0] * residual.shape[2], 1)
    noise = 0.9 * noise + (0.1 * np.trace(noise) / T + 1e-12) * np.eye(T)
    root = np.linalg.cholesky(noise)
    half = np.linalg.solve(root, np.linalg.solve(root, signal).T)
    _, vectors = np.linalg.eigh(half)
    courses = np.linalg.solve(root.T, vectors[:, ::-1][:, :n_components])
    return courses * _signs(courses)


def _signs(columns: np.ndarray) -> np.ndarray:
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
