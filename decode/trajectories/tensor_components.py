"""Tensor component analysis: each latent is one time course of one group of units, scaled from trial to trial."""

from typing import Any, Self

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import MissingDependency, SchemaError
from .loadings import check_fit, signs
from .per_bin import PerBin
from .with_gaps import check_positive, check_whole

RIDGE = 1e-12  # of the normal equations, for activity of mean square 1: collinear components stay solvable


class TensorComponents(PerBin):
    """x_ntu = sum_r a_nr b_tr c_ur + e;  latents are z_ntr = a_nr b_tr, so x = C z.

    Canonical polyadic decomposition by alternating least squares (Williams et al. 2018, equation 1), the work of
    TensorLy's ``parafac``, from several random starts, the smallest error kept. Unlike loadings of PCA, the
    components need not be orthogonal, and for more than one they are unique up to order and sign in general.
    C has columns of length 1 and the time courses a mean square of 1, so a_nr is the size of component r in trial n.
    Components are in descending order of the variance they explain; the largest loading and the largest bin of each
    time course are positive, and the sign that is left is in a. Activity is not centred, because a mean would be one
    component more: what units do in all bins of all trials becomes a component, unless it is taken away before.

    A new trial is projected on what was learned: time courses and loadings are fixed, and its a_n is the least-squares
    solution. Hence every trial needs the bins of the fit, and none may be missing.

    Parameters
    ----------
    n_latents : how many components
    n_restarts : random starts
    max_iter : of alternating least squares, for each start
    tol : a start ends once an iteration lowers the relative error by less
    random_state : seed of the starts

    Attributes
    ----------
    loadings_ : (n_units, n_latents), c
    time_courses_ : (n_times, n_latents), b
    trial_factors_ : (n_trials, n_latents), a of the trials of the fit
    explained_variance_ratio_ : (n_latents,), covariance of each component with the activity, over all bins of each
        unit, as a share of the variance of the activity
    error_of_starts_ : (n_restarts,), norm of what is left, relative to that of the activity
    similarity_of_starts_ : (n_restarts,), to the start that was kept: mean over matched components of the product of
        the three factors' absolute cosines; values well below 1 with equal errors say that there are too many latents

    Raises
    ------
    MissingDependency : TensorLy is not installed

    Notes
    -----
    Time O(n_restarts · n_iter · n_trials · n_times · n_units · n_latents).
    """

    def __init__(
        self, n_latents: int = 3, *, n_restarts: int = 4, max_iter: int = 500, tol: float = 1e-7, random_state: int = 0
    ) -> None:
        self.n_latents = n_latents
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn components from X (n_trials, n_times, n_units); ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; one trial or one bin; more latents than units or bins; activity that never changes
        ConfigError : a parameter out of its range
        MissingDependency : TensorLy is not installed
        """
        X = self._complete(X).astype(np.float64)
        for name in ("n_restarts", "max_iter"):
            check_whole(getattr(self, name), name, "TensorComponents")
        check_positive(self.tol, "tol", "TensorComponents")
        rank = check_fit(X, self.n_latents, "TensorComponents")
        if min(X.shape[:2]) < 2:
            raise SchemaError(
                f"TensorComponents: {X.shape[0]} trials of {X.shape[1]} bins are a matrix, whose components are not "
                f"unique. It needs at least two trials of two bins; use pca."
            )
        self.n_features_in_ = X.shape[2]
        size = np.sqrt(np.mean(X**2))
        seeds = np.random.SeedSequence(self.random_state).generate_state(self.n_restarts)
        starts = [_parafac(X / size, rank, int(seed), self.max_iter, self.tol) for seed in seeds]
        self.error_of_starts_ = np.array([_error(X / size, factors) for factors in starts])
        best = starts[int(self.error_of_starts_.argmin())]
        self.similarity_of_starts_ = np.array([_similarity(best, factors) for factors in starts])
        courses, loadings = (_unit(factor) * signs(factor) for factor in best[1:])
        self.time_courses_, self.loadings_ = courses * np.sqrt(X.shape[1]), loadings
        z, centred = self.transform(X), X - X.mean(axis=(0, 1))
        shares = np.einsum("ntr,ntr->r", z, centred @ loadings) / np.sum(centred**2)
        order = np.argsort(-shares, kind="stable")
        self.time_courses_, self.loadings_ = self.time_courses_[:, order], loadings[:, order]
        self.explained_variance_ratio_ = shares[order]
        self.trial_factors_ = self.trial_sizes(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """a_nr b_tr of each trial, (n_trials, n_times, n_latents), from its least-squares sizes a_n.

        Raises
        ------
        SchemaError : NaN, or another number of units or bins than in the fit
        """
        return self.trial_sizes(X)[:, None] * self.time_courses_

    def trial_sizes(self, X: np.ndarray) -> np.ndarray:
        """How strong each component is in each trial: a, (n_trials, n_latents). Errors as in ``transform``."""
        X = self._complete(self._checked(X))
        if X.shape[1] != len(self.time_courses_):
            raise SchemaError(
                f"TensorComponents was fitted on trials of {len(self.time_courses_)} bins and got {X.shape[1]}. "
                f"Pass the window and bin width used in fit."
            )
        return np.einsum("ntr,tr->nr", X @ self.loadings_, self.time_courses_) @ self._inverse_gram()

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): C z."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T

    def _inverse_gram(self) -> np.ndarray:
        gram = (self.loadings_.T @ self.loadings_) * (self.time_courses_.T @ self.time_courses_)
        return np.linalg.pinv(gram, rcond=1e-10, hermitian=True)


def _parafac(X: np.ndarray, rank: int, seed: int, max_iter: int, tol: float) -> list[np.ndarray]:
    """Trial, time and unit factors of one start."""
    try:
        from tensorly.decomposition import parafac
    except ImportError as error:
        raise MissingDependency(
            'tensor components need tensorly, not installed: pip install "mitral[tensor]"'
        ) from error
    found = parafac(X, rank, n_iter_max=max_iter, init="random", tol=tol, random_state=seed, l2_reg=RIDGE * X.size)
    return [found.factors[0] * found.weights, found.factors[1], found.factors[2]]


def _error(X: np.ndarray, factors: list[np.ndarray]) -> float:
    left = X - np.einsum("nr,tr,ur->ntu", *factors)
    return float(np.linalg.norm(left) / np.linalg.norm(X))


def _unit(factor: np.ndarray) -> np.ndarray:
    """Columns of length 1; a column of zeros stays."""
    length = np.linalg.norm(factor, axis=0)
    return factor / np.where(length > 0, length, 1.0)


def _similarity(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Mean over components, matched as well as can be, of the product of the factors' absolute cosines."""
    product = np.prod([np.abs(_unit(a).T @ _unit(b)) for a, b in zip(one, other, strict=True)], axis=0)
    return float(product[linear_sum_assignment(-product)].mean())
