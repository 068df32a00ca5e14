"""Gaussian-process factor analysis: smooth latents seen through noisy units, trials of unequal length welcome."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, SchemaError
from .factor_analysis import FactorAnalysis
from .gaussian_process import KERNELS
from .gpfa_inference import Model, Posterior, dense_posterior, has_whole_bins, linear_means, linear_posterior
from .gpfa_learning import Learner, learn_by_em, learn_by_quasi_newton, segments
from .loadings import noise_floor, orthonormalise
from .missing import Observed, observed
from .with_gaps import WithGaps, check_positive, check_whole, inside, n_seen, trial_ends

LEAST_NOISE = 0.01  # of a unit's variance, as Yu et al.
LEAST_WHITE = 1e-6
START_BINS = 5.0
DENSE_BINS = 60  # up to here the dense form is quick


class GPFA(WithGaps):
    """y_t = C x_t + offset + N(0, diag R); each latent x_k a Gaussian process over the bins of a trial.

    Yu et al. (2009, equations 1-3), fitted by expectation maximisation (appendix B) from factor analysis. The latents
    that ``transform`` gives are orthonormalised (their section "Visualizing trajectories"): C x = U (D V' x), U
    orthonormal, in order of the variance that they share, the largest loading of each positive.

    Parameters
    ----------
    n_latents : how many
    bin_width_s : width of a bin in s, so that timescales are in s; 1.0 gives them in bins
    kernel : "squared_exponential" as in the paper, or "matern12", "matern32", "matern52"
    start_timescale_s : timescale of every latent before the fit; None is 5 bins
    white : share of a latent's variance that is white noise; 1e-3 in the paper
    segment_bins : longer trials are cut into pieces of at most so many bins for the fit, as in the paper's code (20);
        few make the fit quick, and should be several timescales
    form : of the posterior after the fit. "dense" is exact, cubic in the number of bins; "linear" is linear in it,
        exact for Matérn kernels (1e-8) and within 1e-4 of a latent's prior sd for the squared exponential;
        "auto" is linear where a trial has more than 60 bins or the kernel is Matérn
    optimiser : "quasi_newton", EM steps and then L-BFGS-B with the exact slopes that the E step gives, or "em"
    tol : stop when a step adds less than this share of the log-likelihood gained since the second one
    max_iter : most passes over the segments

    Attributes
    ----------
    loadings_ : (n_units, n_latents), U
    C_ : (n_units, n_latents), loadings of the latents with timescales ``timescale_s_``
    rotation_ : (n_latents, n_latents), D V', from those latents to the ones of ``transform``
    timescale_s_ : (n_latents,), in descending order of the variance that each column of C_ explains
    offset_, noise_variance_ : (n_units,), offset and R
    explained_variance_ratio_ : (n_latents,), squared singular values of C_ as a share of the model's total variance
    log_likelihoods_ : of the segments together, after each step; never falls
    n_iter_ : how many

    Notes
    -----
    NaN is absent: bins at the end of shorter trials, whole units of a trial, single bins. Trials with the same absent
    bins and units share one factorisation.
    Fit: time O(n_iter · n_patterns · (n_latents · segment_bins)³). Posterior, linear form: O(n_times · D³ + n_trials ·
    n_times · D²) with D = 8, 1, 2 or 3 states for each latent.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> slow = np.sin(np.arange(20) / 4 + rng.uniform(0, 6, (30, 1)))
    >>> X = slow[:, :, None] * rng.normal(size=10) + 0.5 * rng.normal(size=(30, 20, 10))
    >>> X[0, 15:] = np.nan
    >>> GPFA(n_latents=1, bin_width_s=0.02).fit_transform(X).shape
    (30, 20, 1)
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        bin_width_s: float = 1.0,
        kernel: str = "squared_exponential",
        start_timescale_s: float | None = None,
        white: float = 1e-3,
        segment_bins: int = 50,
        form: str = "auto",
        optimiser: str = "quasi_newton",
        tol: float = 1e-6,
        max_iter: int = 500,
    ) -> None:
        self.n_latents = n_latents
        self.bin_width_s = bin_width_s
        self.kernel = kernel
        self.start_timescale_s = start_timescale_s
        self.white = white
        self.segment_bins = segment_bins
        self.form = form
        self.optimiser = optimiser
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from X (n_trials, n_times, n_units), NaN where absent; ``y`` is not used.

        Raises
        ------
        SchemaError : more latents than units or bins; activity that never changes; a unit that is always absent
        ConfigError : a parameter out of range
        """
        self._check_parameters()
        X = self._for_fit(X, self.n_latents)
        there = ~np.isnan(X)
        cut = observed(segments(X, trial_ends(X), int(self.segment_bins)))
        centre = np.nanmean(X, axis=(0, 1))
        floor = noise_floor(np.nanvar(X, axis=(0, 1)), LEAST_NOISE)
        filled = np.where(there, X, centre).reshape(1, -1, X.shape[2])[:, there.any(axis=2).ravel()]
        start = FactorAnalysis(self.n_latents, tol=1e-2).fit(filled)
        timescale = START_BINS if self.start_timescale_s is None else self.start_timescale_s / self.bin_width_s
        model = Model(
            start.loadings_, np.zeros(len(centre)), np.maximum(start.noise_variance_, floor),
            np.full(self.n_latents, float(timescale)), self.kernel, float(self.white),
        )  # fmt: skip
        shifted = cut._replace(values=np.where(cut.present[cut.pattern], cut.values - centre, 0.0))
        learner = Learner(shifted, floor)
        learn = learn_by_em if self.optimiser == "em" else learn_by_quasi_newton
        model, self.log_likelihoods_ = learn(learner, model, tol=self.tol, max_iter=self.max_iter)
        self.n_iter_ = len(self.log_likelihoods_)
        return self._finish(model._replace(offset=model.offset + centre))

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Posterior mean of the orthonormalised latents; NaN after the end of a shorter trial.

        Raises
        ------
        SchemaError : another number of units than in the fit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        return self._latents(X, inside(X))

    def posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n_trials, n_times, n_latents) and covariance (n_trials, n_times, n_latents, n_latents) of the latents.

        Raises
        ------
        SchemaError : another number of units than in the fit, a trial that is NaN throughout
        """
        data = observed(self._for_transform(X))
        find = linear_posterior if self._is_linear(data) else dense_posterior
        found = find(data, self._model())
        cov = self.rotation_ @ found.cov @ self.rotation_.T
        return found.mean @ self.rotation_.T, cov[data.pattern]

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_latents) -> (n_trials, n_times, n_units): U z + offset."""
        check_is_fitted(self, "loadings_")
        return np.asarray(Z) @ self.loadings_.T + self.offset_

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Log p(x) of each trial, (n_trials,), over what is present in it."""
        return self._means(observed(self._for_transform(X)), self._model()).log_likelihood

    def score(self, X: np.ndarray, y: Any = None) -> float:
        """Mean log-likelihood of a bin of X, in nats: ``log_likelihood`` of all trials, by the bins that they have."""
        return float(self.log_likelihood(X).sum() / n_seen(np.asarray(X, float)))

    def leave_unit_out(self, X: np.ndarray) -> np.ndarray:
        """Each unit predicted from all others of the whole trial, (n_trials, n_times, n_units); NaN after its end.

        Time that of ``transform`` times the number of units.

        Raises
        ------
        SchemaError : another number of units than in the fit, one unit, a trial that is NaN throughout
        """
        X = self._for_transform(X)
        if X.shape[2] == 1:
            raise SchemaError("GPFA: there is one unit, and no other to predict it from. Add units.")
        there, model, said = inside(X), self._model(), np.empty(X.shape)
        for unit in range(X.shape[2]):
            others = np.arange(X.shape[2]) != unit  # left out whole: trials of whole bins stay such
            part = model._replace(C=model.C[others], offset=model.offset[others], R=model.R[others])
            said[:, :, unit] = self._inside(X[:, :, others], there, part) @ model.C[unit] + model.offset[unit]
        return said

    def _latents(self, X: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
        return self._inside(X, is_inside, self._model()) @ self.rotation_.T

    def _inside(self, X: np.ndarray, is_inside: np.ndarray, model: Model) -> np.ndarray:
        """Posterior means in the bins ``is_inside``, of which the last may be missing in X."""
        data = observed(X)
        if (data.n_bins[data.pattern] < is_inside.sum(axis=1)).any():
            data = data._replace(n_bins=np.full(len(data.n_bins), X.shape[1]))
        return np.where(is_inside[:, :, None], self._means(data, model).mean, np.nan)

    def _check_parameters(self) -> None:
        check_whole(self.segment_bins, "segment_bins", "GPFA")
        check_whole(self.max_iter, "max_iter", "GPFA")
        check_positive(self.bin_width_s, "bin_width_s", "GPFA")
        if self.start_timescale_s is not None:
            check_positive(self.start_timescale_s, "start_timescale_s", "GPFA")
        if self.kernel not in KERNELS:
            raise ConfigError(f"GPFA: kernel is one of {', '.join(KERNELS)}, got {self.kernel!r}.")
        if self.form not in ("auto", "dense", "linear"):
            raise ConfigError(f"GPFA: form is 'auto', 'dense' or 'linear', got {self.form!r}.")
        if self.optimiser not in ("quasi_newton", "em"):
            raise ConfigError(f"GPFA: optimiser is 'quasi_newton' or 'em', got {self.optimiser!r}.")
        if not LEAST_WHITE <= self.white < 1:
            raise ConfigError(f"GPFA: white is a share from {LEAST_WHITE} to below 1, got {self.white!r}.")

    def _finish(self, model: Model) -> Self:
        order = np.argsort(-np.square(model.C).sum(axis=0), kind="stable")
        self.C_, self.offset_, self.noise_variance_ = model.C[:, order], model.offset, model.R
        self.timescale_s_ = model.timescale[order] * self.bin_width_s
        self.loadings_, self.rotation_ = orthonormalise(self.C_)
        shared = np.square(self.rotation_).sum(axis=1)
        self.explained_variance_ratio_ = shared / (shared.sum() + model.R.sum())
        return self

    def _model(self) -> Model:
        timescale = self.timescale_s_ / self.bin_width_s
        return Model(self.C_, self.offset_, self.noise_variance_, timescale, self.kernel, float(self.white))

    def _is_linear(self, data: Observed) -> bool:
        if self.form == "auto":
            return self.kernel != "squared_exponential" or int(data.n_bins.max()) > DENSE_BINS
        return self.form == "linear"

    def _means(self, data: Observed, model: Model) -> Posterior:
        if not self._is_linear(data):
            return dense_posterior(data, model)
        return linear_means(data, model) if has_whole_bins(data) else linear_posterior(data, model)
