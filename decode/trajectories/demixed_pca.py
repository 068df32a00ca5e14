"""Demixed principal components: latents that each tell of one thing, an odor, a concentration, or time alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, SchemaError
from ...datasets.preprocess import three_axes
from .loadings import check_fit, signs
from .marginalise import Grid, grid_of, part, sets_of
from .per_bin import PerBin
from .with_gaps import check_whole

PENALTIES = tuple(np.logspace(-7, 1, 17))
RELATIVE_RANK = 1e-9  # eigenvalues below this share of the largest are of no direction


class DemixedPCA(PerBin):
    """Decoders D and encoders F of each marginalisation X_m of the activity X:  least |X_m - F D' X|² + mu |F D'|².

    Kobak et al. (2016, equations 1-8): regularised reduced-rank regression from the activity of single trials to each
    part of the condition means. Every combination of labels weighs the same, however many trials it has: condition
    means G = M'M and the covariance N of single trials around them enter as

        A = G_m (G + N + mu I)^-1,   F = leading eigenvectors of G_m (G + N + mu I)^-1 G_m,   D' = F' A

    Of the latents of all marginalisations those that explain most of the condition means are kept. A supervised
    method: it belongs inside the folds, and a trajectory of it is scored on no trial that it was fitted on.

    Parameters
    ----------
    n_latents : how many in all
    factors : names of the factors in ``y``; None as in ``marginalise.grid_of``
    keep : names of the marginalisations that latents may come from, as ("odor",); None is all
    joins_time : whether what a factor does differently over time counts as that factor's, as in the paper; else as
        "odor x time"
    alpha : penalty, mu = alpha · trace(G + N); None chooses it from ``PENALTIES`` on inner folds
    n_folds : inner folds, at most as many as the smallest condition has trials
    random_state : seed of the inner folds

    Attributes
    ----------
    loadings_ : (n_units, n_latents), encoders F
    decoders_ : (n_units, n_latents), D
    marginalisation_ : (n_latents,), what each latent tells of
    explained_variance_ratio_ : (n_latents,), descending; share of the condition means' variance that F D' of each gives
    variance_by_marginalisation_ : (n_latents, n_marginalisations), shares of each latent's variance over conditions and
        time; rows sum to 1
    marginalisations_ : their names
    marginal_variance_ : name -> share of the variance of the condition means; sums to 1
    mean_ : (n_units,), over conditions and time
    alpha_ : chosen or given
    inner_error_ : (n_penalties,), mean over inner folds of the error relative to predicting the mean; absent where
        alpha was given

    Notes
    -----
    Time O(n_samples · n_units² + n_folds · n_penalties · n_marginalisations · n_units³).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> odor = np.arange(24) % 3
    >>> X = rng.normal(size=(24, 5, 8)) + 2 * rng.normal(size=(3, 8))[odor][:, None]
    >>> DemixedPCA(n_latents=2, keep=("odor",), factors=("odor",)).fit(X, odor).marginalisation_.tolist()
    ['odor', 'odor']
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        factors: Sequence[str] | None = None,
        keep: Sequence[str] | None = None,
        joins_time: bool = True,
        alpha: float | None = None,
        n_folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.factors = factors
        self.keep = keep
        self.joins_time = joins_time
        self.alpha = alpha
        self.n_folds = n_folds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from X (n_trials, n_times, n_units) and labels y: (n_trials,), (n_trials, n_factors) or structured.

        Raises
        ------
        SchemaError : NaN; labels that do not span a grid; more latents than there are; conditions of one trial, where
            alpha is to be chosen
        ConfigError : a parameter out of range; a name in ``keep`` that is no marginalisation
        """
        X = self._complete(three_axes(X, "DemixedPCA")).astype(np.float64)
        q = check_fit(X, self.n_latents, "DemixedPCA")
        grid = grid_of(y, len(X), self.factors, "DemixedPCA")
        sets = sets_of(grid.names, has_time=X.shape[1] > 1, joins_time=self.joins_time)
        kept = self._kept(tuple(sets))
        self.n_features_in_ = X.shape[2]
        problem = _problem(X, grid, sets)
        self.mean_, self.marginalisations_ = problem.mean, tuple(sets)
        total = np.trace(problem.signal)
        self.marginal_variance_ = {name: float(np.trace(G) / total) for name, G in problem.parts.items()}
        self.alpha_ = self._choose(X, grid, sets, kept, q) if self.alpha is None else float(self.alpha)
        found = {name: _solve(problem, name, self.alpha_, q) for name in kept}
        return self._gather(problem, found, q)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """D' (x - mean): (n_trials, n_times, n_units) -> (n_trials, n_times, n_latents).

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        return (self._complete(self._checked(X)) - self.mean_) @ self.decoders_

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): F z + mean."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T + self.mean_

    def _kept(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if self.alpha is not None and not 0 < self.alpha < np.inf:
            raise ConfigError(f"DemixedPCA: alpha must be above 0, got {self.alpha!r}. None chooses it.")
        check_whole(self.n_folds, "n_folds", "DemixedPCA", at_least=2)
        kept = names if self.keep is None else tuple(self.keep)
        unknown = [name for name in kept if name not in names]
        if unknown or not kept:
            raise ConfigError(
                f"DemixedPCA: keep names marginalisations, of which there are {', '.join(map(repr, names))}; got "
                f"{self.keep!r}. Leave out {unknown[0]!r}." if unknown else
                f"DemixedPCA: keep names no marginalisation. None keeps all: {', '.join(map(repr, names))}."
            )  # fmt: skip
        return kept

    def _choose(self, X: np.ndarray, grid: Grid, sets: dict, kept: tuple[str, ...], q: int) -> float:
        """The penalty with which trials that were left out give back the condition means of the others best."""
        n_folds = min(int(self.n_folds), int(grid.counts.min()))
        if n_folds < 2:
            raise SchemaError(
                "DemixedPCA: the smallest condition has one trial, so none can be left out to choose the penalty. "
                "Give alpha, or leave that condition out."
            )
        rng = np.random.default_rng(self.random_state)
        fold = np.empty(len(X), int)
        for cell in range(len(grid.counts)):
            members = rng.permutation(np.flatnonzero(grid.cell == cell))
            fold[members] = np.arange(len(members)) % n_folds
        errors = np.zeros((n_folds, len(PENALTIES)))
        for k in range(n_folds):
            train = _problem(X[fold != k], _only(grid, fold != k), sets)
            test = _problem(X[fold == k], _only(grid, fold == k), sets, mean=train.mean)
            errors[k] = [_error(train, test, kept, penalty, q) for penalty in PENALTIES]
        self.inner_error_ = errors.mean(axis=0)
        return float(PENALTIES[int(self.inner_error_.argmin())])

    def _gather(self, problem: "_Problem", found: dict[str, tuple[np.ndarray, np.ndarray]], q: int) -> Self:
        F = np.concatenate([encoders for encoders, _ in found.values()], axis=1)
        D = np.concatenate([decoders for _, decoders in found.values()], axis=1)
        names = np.repeat(list(found), [encoders.shape[1] for encoders, _ in found.values()])
        if len(names) < q:
            raise SchemaError(
                f"DemixedPCA: the marginalisations {', '.join(found)} have {len(names)} latents in all, and n_latents "
                f"is {q}. Ask for fewer."
            )
        own = np.einsum("ul,uv,vl->l", D, problem.signal, D)  # variance of each latent over conditions and time
        along = np.einsum("ul,uv,vl->l", F, problem.signal, D)
        explained = (2 * along - own * np.square(F).sum(axis=0)) / np.trace(problem.signal)
        order = np.argsort(-explained, kind="stable")[:q]
        sign = signs(F[:, order])
        self.loadings_, self.decoders_ = F[:, order] * sign, D[:, order] * sign
        self.marginalisation_, self.explained_variance_ratio_ = names[order], explained[order]
        spread = [np.einsum("ul,uv,vl->l", self.decoders_, G, self.decoders_) for G in problem.parts.values()]
        self.variance_by_marginalisation_ = np.stack(spread, axis=1) / np.sum(spread, axis=0)[:, None]
        return self


class _Problem(NamedTuple):
    """Second moments of condition means and single trials.

    Attributes
    ----------
    mean : (n_units,)
    means : (n_conditions, n_times, n_units), condition means less ``mean``
    by_part : name -> the part of ``means`` of that marginalisation
    parts : name -> G_m (n_units, n_units)
    signal, noise : G and N, sums over conditions and time
    """

    mean: np.ndarray
    means: np.ndarray
    by_part: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]
    signal: np.ndarray
    noise: np.ndarray


def _problem(X: np.ndarray, grid: Grid, sets: dict, mean: np.ndarray | None = None) -> _Problem:
    n_times, n_units = X.shape[1:]
    sums = np.zeros((len(grid.counts), n_times, n_units))
    np.add.at(sums, grid.cell, X)
    means = sums / grid.counts[:, None, None]
    rest = (X - means[grid.cell]) / np.sqrt(grid.counts)[grid.cell, None, None]
    rest = rest.reshape(-1, n_units)
    mean = means.mean(axis=(0, 1)) if mean is None else mean
    means = means - mean
    on_grid = means.reshape(*grid.shape, n_times, n_units)
    by_part = {
        name: np.sum([part(on_grid, axes) for axes in together], axis=0).reshape(-1, n_units)
        for name, together in sets.items()
    }
    parts = {name: values.T @ values for name, values in by_part.items()}
    flat = means.reshape(-1, n_units)
    return _Problem(mean, means, by_part, parts, flat.T @ flat, rest.T @ rest)


def _only(grid: Grid, some: np.ndarray) -> Grid:
    cell = grid.cell[some]
    return grid._replace(cell=cell, counts=np.bincount(cell, minlength=len(grid.counts)))


def _solve(problem: _Problem, name: str, alpha: float, q: int) -> tuple[np.ndarray, np.ndarray]:
    """Encoders and decoders (n_units, at most q) of one marginalisation."""
    G = problem.parts[name]
    spread = problem.signal + problem.noise
    penalised = spread + alpha * np.trace(spread) * np.eye(len(G))
    A = np.linalg.solve(penalised, G)  # A'
    values, vectors = np.linalg.eigh(G @ A)
    n_found = int((values > RELATIVE_RANK * values[-1]).sum()) if values[-1] > 0 else 0
    F = vectors[:, ::-1][:, : min(q, n_found)]
    return F, A @ F


def _error(train: _Problem, test: _Problem, kept: tuple[str, ...], alpha: float, q: int) -> float:
    """Of giving back the parts of the training means from test trials, relative to their size, summed over parts."""
    lost = size = 0.0
    spread = test.signal + test.noise
    flat = test.means.reshape(-1, test.means.shape[2])
    for name in kept:
        F, D = _solve(train, name, alpha, q)
        target = train.by_part[name]
        shared = np.einsum("nl,nl->", target @ F, flat @ D)
        lost += float(np.square(target).sum() - 2 * shared + np.einsum("ul,uv,vl->", D, spread, D))
        size += float(np.square(target).sum())
    return lost / size
