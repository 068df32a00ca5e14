"""Mixture of linear dynamical systems within one animal: an odor is what moves the latents.

Not here: the loop and its steps (``mixture_em`` and its neighbours), several animals (``mitral.align``).
"""

from typing import Any, Self

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import SchemaError
from .missing import Observed, observed
from .mixture_fit import log_evidence, log_joint, mean_latents
from .mixture_learn import free_design, learn
from .with_gaps import WithGaps, check_positive, check_whole

ONLY = "trials"  # the name of the one animal


class MixtureLDS(ClassifierMixin, WithGaps):
    """z_1 | k ~ N(x0_k, Q0), z_t | k ~ N(A_k z_{t-1} + b_{k,t}, Q), x_t ~ N(C z_t + offset, diag R).

    Class k has dynamics, loadings and noise are shared by all classes: the form for one animal of the aligned mixture
    of latent dynamical systems. As a decoder it gives the posterior over classes, at every bin from the past alone;
    as a reducer the posterior mean of the latents over all classes, for which no label is needed. Trials may be
    ragged (NaN at their end), and units or bins may be missing (NaN).

    Parameters
    ----------
    n_latents : how many
    has_own_noise : Q and Q0 of each class for itself; else one for all
    n_restarts : further, disturbed starts
    ridge : of A and C
    tolerance : EM stops when an iteration gains less than this, in nats for each trial
    max_iterations : of EM, at most
    random_state : of restarts

    Attributes
    ----------
    classes_ : (n_classes,); a single one, None, where no labels were given
    dynamics_ : A, b, Q, x0, Q0 of each class
    loadings_, offset_, noise_ : (n_units, n_latents), (n_units,), (n_units,) variance
    log_likelihood_, objective_ : (n_iterations,), the second with log priors never falls
    converged_ : whether EM stopped by its tolerance
    explained_variance_ratio_ : (n_latents,), of the variance of all units under the model

    Notes
    -----
    The single-animal form of Herrero-Vidal, Rinberg & Savin (2021, NeurIPS). Latents have mean 0 and covariance I over
    classes and bins, ordered by what they explain.
    Time of an iteration O(n_trials · n_times · (n_units d + d²) + n_classes · n_times · d³).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["rose", "fish"], 20)
    >>> drive = np.where(y == "rose", 1.0, -1.0)[:, None, None] * np.linspace(0, 2, 6)[:, None]
    >>> X = drive * rng.normal(size=8) + rng.normal(size=(40, 6, 8))
    >>> MixtureLDS(n_latents=1).fit(X[::2], y[::2]).score(X[1::2], y[1::2])
    1.0
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        has_own_noise: bool = False,
        n_restarts: int = 0,
        ridge: float = 1e-2,
        tolerance: float = 1e-3,
        max_iterations: int = 200,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.has_own_noise = has_own_noise
        self.n_restarts = n_restarts
        self.ridge = ridge
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        """X (n_trials, n_times, n_units), y (n_trials,) classes; without y all trials are one class.

        Raises
        ------
        SchemaError : no three axes, other labels than one a trial, no trials, a trial or a unit that is NaN
            throughout, more latents than units or bins, units that are all constant
        ConfigError : a parameter out of its range
        """
        check_whole(self.n_restarts, "n_restarts", "MixtureLDS", at_least=0)
        check_whole(self.max_iterations, "max_iterations", "MixtureLDS")
        check_positive(self.tolerance, "tolerance", "MixtureLDS")
        check_positive(self.ridge, "ridge", "MixtureLDS")
        X = self._for_fit(X, self.n_latents)
        self.classes_, position = _classes(y, len(X))
        self._n_bins = X.shape[1]
        fit = learn(
            {ONLY: X}, {ONLY: position},
            free_design(len(self.classes_), has_own_noise=self.has_own_noise, ridge=self.ridge), int(self.n_latents),
            start="factor", n_restarts=self.n_restarts, tolerance=self.tolerance,
            max_iterations=self.max_iterations, random_state=self.random_state,
        )  # fmt: skip
        self._loadings, self.dynamics_ = fit.loadings[ONLY], fit.dynamics
        self.loadings_, self.offset_, self.noise_ = self._loadings
        self.log_likelihood_, self.objective_ = fit.log_likelihood, fit.objective
        self.converged_ = fit.has_converged
        shared = np.sum(self.loadings_**2, axis=0)
        self.explained_variance_ratio_ = shared / (shared.sum() + self.noise_.sum())
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Posterior mean of the latents (n_trials, n_times, n_latents) given the whole trial; NaN after its end."""
        check_is_fitted(self)
        X = self._for_transform(X)
        return self._latents(X, np.broadcast_to(True, X.shape[:2]))

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): C z + offset."""
        check_is_fitted(self)
        return np.asarray(Z) @ self.loadings_.T + self.offset_

    def predict_over_time(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_times, n_classes) given the activity up to and including each bin."""
        return softmax(self._log_joint(X), axis=2)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_classes) given the whole trial."""
        return softmax(self._log_joint(X)[:, -1], axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each trial (n_trials,)."""
        return self.classes_[self._log_joint(X)[:, -1].argmax(axis=1)]

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """log p(x) of each trial (n_trials,), in nats, with the class unknown."""
        check_is_fitted(self)
        values = log_evidence(self._data(self._for_transform(X)), self._loadings, self.dynamics_)[:, -1]
        return logsumexp(values + self._log_prior(), axis=1)

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        z = mean_latents(self._data(X), self._loadings, self.dynamics_, self._log_prior())
        return np.where(is_inside[:, :, None], z[:, : X.shape[1]], np.nan)

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        X = self._for_transform(X)
        return log_joint(self._data(X), self._loadings, self.dynamics_)[:, : X.shape[1]]

    def _log_prior(self) -> np.ndarray:
        return np.full(len(self.classes_), -np.log(len(self.classes_)))

    def _data(self, X: np.ndarray) -> Observed:
        """Trials with NaN bins up to the number of bins of the fit."""
        if X.shape[1] > self._n_bins:
            raise SchemaError(
                f"MixtureLDS was fitted on {self._n_bins} bins a trial and got {X.shape[1]}. Cut the same window; bins "
                f"that are not known yet may be NaN."
            )
        return observed(np.pad(X, ((0, 0), (0, self._n_bins - X.shape[1]), (0, 0)), constant_values=np.nan))


def _classes(y: Any, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and the position of each trial's."""
    if y is None:
        return np.array([None]), np.zeros(n_trials, int)
    y = np.asarray(y)
    if y.shape != (n_trials,):
        raise SchemaError(f"MixtureLDS takes one label for each of {n_trials} trials, got shape {y.shape}.")
    check_classification_targets(y)
    return np.unique(y, return_inverse=True)
