"""UMAP of single bins, from several seeds, with a score of how well the seeds agree."""

import hashlib
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, IntegrityError, MissingDependency, SchemaError
from ...datasets.preprocess import three_axes
from .consistency import consistency, mean_agreement, most_typical
from .isomap import refuse_few
from .loadings import check_fit
from .model_files import pack, read_model, unpack, write_model
from .per_bin import PerBin
from .with_gaps import check_positive, check_whole

KIND, FILE = "umap", "embedding.npz"
ROWS_AT_ONCE = 4096


class UMAP(PerBin):
    """McInnes, Healy & Melville (2018): bins that are neighbours in activity become neighbours among the latents.

    The picture depends on the seed, so several are run; ``consistency_score_`` says how far they agree, and the run
    that the others agree with best is kept. Distances between groups, and their sizes, mean little.

    New bins are placed by the bins of the fit, each by itself:  z = sum_k w_k z_k / sum_k w_k,  w_k = 1 / d_k², over
    the ``n_neighbors`` nearest at distances d_k; a bin of the fit gets its own place. This differs from umap-learn,
    whose placing of one bin depends on the others that it is handed together with.

    Parameters
    ----------
    n_latents : how many
    n_neighbors : neighbours of each bin: few show detail, many the whole
    min_dist : how close bins may lie, from 0 to ``spread`` 1
    target_weight : None leaves the labels ``y`` alone; from 0 (activity only) to 1 (labels only) they pull bins of
        one label together. It is then a supervised method, and belongs inside the folds
    metric : distance between bins in the fit, as umap-learn names it
    n_seeds : runs, from random_state, random_state + 1 ...
    random_state : first seed

    Attributes
    ----------
    embedding_ : (n_trials, n_times, n_latents), of the bins of the fit, by the run that was kept
    consistency_ : (n_seeds, n_seeds), R² of the best linear map from one run's latents to another's
    consistency_score_ : mean over pairs of runs; NaN of one run
    seed_ : of the run that was kept

    Notes
    -----
    Time about O(n_bins^1.14 · n_units) a seed, on one thread, so that runs are reproducible.
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        target_weight: float | None = None,
        metric: str = "euclidean",
        n_seeds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.target_weight = target_weight
        self.metric = metric
        self.n_seeds = n_seeds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.target_weight is not None
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from all bins of X (n_trials, n_times, n_units); labels y (n_trials,) or (n_trials, n_times).

        Raises
        ------
        MissingDependency : umap-learn is not installed
        SchemaError : NaN; no more bins than neighbours; no labels where they are to be used
        ConfigError : a parameter out of range
        """
        library = _library()
        X = self._complete(three_axes(X, "UMAP"))
        n_latents = check_fit(X, self.n_latents, "UMAP")
        self._check_parameters()
        rows = np.ascontiguousarray(X.reshape(-1, X.shape[2]), np.float64)
        refuse_few(len(rows), int(self.n_neighbors), "UMAP")
        labels, how = (None, {}) if self.target_weight is None else _labels(y, X.shape[:2], float(self.target_weight))
        runs = [
            library.UMAP(
                n_components=n_latents, n_neighbors=int(self.n_neighbors), min_dist=float(self.min_dist),
                metric=self.metric, random_state=int(self.random_state) + k, n_jobs=1, **how,
            ).fit_transform(rows.astype(np.float32), labels)
            for k in range(int(self.n_seeds))
        ]  # fmt: skip
        self.consistency_ = consistency(runs)
        self.consistency_score_ = mean_agreement(self.consistency_)
        kept = most_typical(self.consistency_)
        self.seed_ = int(self.random_state) + kept
        return self._keep(rows, np.asarray(runs[kept], np.float64).reshape(*X.shape[:2], n_latents))

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents), each bin by itself.

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        X = self._complete(self._checked(X))
        rows = X.reshape(-1, X.shape[2]).astype(np.float64)
        placed = [self._place(rows[start : start + ROWS_AT_ONCE]) for start in range(0, len(rows), ROWS_AT_ONCE)]
        return np.concatenate(placed).reshape(*X.shape[:2], -1)

    def save(self, folder: str | Path, *, trials: np.ndarray) -> None:
        """Write parameters, ids of the trials of the fit, and their latents into a new folder, without pickle.

        The activity itself is not written; ``load`` is handed it again.

        Parameters
        ----------
        trials : (n_trials,), ids of the trials of the fit, in its order

        Raises
        ------
        SchemaError : not one id for each trial of the fit
        ConflictError, StoreError : the folder is there, or cannot be written
        """
        check_is_fitted(self, "embedding_")
        trials = np.asarray(trials)
        if trials.shape != (len(self.embedding_),) or trials.dtype.kind not in "iuU":
            raise SchemaError(
                f"UMAP was fitted on {len(self.embedding_)} trials, and trials has the shape {trials.shape} of "
                f"{trials.dtype}. Pass the ids of the trials of the fit: activity['trial'].to_numpy()."
            )
        about = {
            "parameters": self.get_params(), "seed": self.seed_, "activity_sha256": _hash_rows(self.rows_),
        }  # fmt: skip
        arrays = {"embedding": self.embedding_, "consistency": self.consistency_, "trials": trials}
        write_model(Path(folder), KIND, FILE, pack(arrays), about)

    @classmethod
    def load(cls, folder: str | Path, X: np.ndarray, *, trials: np.ndarray) -> Self:
        """The fitted reducer that ``save`` wrote, given the activity that it was fitted on, and more if you like.

        Parameters
        ----------
        X : (n_trials, n_times, n_units), in which the trials of the fit are found by their ids
        trials : (n_trials,) ids

        Raises
        ------
        SchemaError : trials of the fit are absent
        StoreError, IntegrityError, LimitError : the folder is damaged, too large, or of another kind; activity that
            is not what was fitted on
        """
        numbers, about = read_model(Path(folder), KIND, FILE)
        arrays = unpack(numbers)
        place = {trial: k for k, trial in enumerate(np.asarray(trials).tolist())}
        absent = [trial for trial in arrays["trials"].tolist() if trial not in place]
        if absent:
            raise SchemaError(
                f"UMAP in {folder}: {len(absent)} of the {len(arrays['trials'])} trials of its fit are not there, the "
                f"first is {absent[0]!r}. Pass the activity that it was fitted on."
            )
        X = three_axes(X, "UMAP")[[place[trial] for trial in arrays["trials"].tolist()]]
        rows = np.ascontiguousarray(X.reshape(-1, X.shape[2]), np.float64)
        if _hash_rows(rows) != about["activity_sha256"]:
            raise IntegrityError(
                f"UMAP in {folder}: the activity of its trials is not what it was fitted on (its hash differs). "
                f"Cut it as it was cut then."
            )
        loaded = cls(**about["parameters"])
        loaded.consistency_, loaded.seed_ = arrays["consistency"], int(about["seed"])
        loaded.consistency_score_ = mean_agreement(loaded.consistency_)
        return loaded._keep(rows, arrays["embedding"])

    def _check_parameters(self) -> None:
        for name in ("n_neighbors", "n_seeds"):
            check_whole(getattr(self, name), name, "UMAP", at_least=2 if name == "n_neighbors" else 1)
        if self.min_dist != 0:
            check_positive(self.min_dist, "min_dist", "UMAP")
        if self.target_weight is not None and not 0 <= self.target_weight <= 1:
            raise ConfigError(f"UMAP: target_weight is None or from 0 to 1, got {self.target_weight!r}.")

    def _keep(self, rows: np.ndarray, embedding: np.ndarray) -> Self:
        self.rows_, self.embedding_, self.n_features_in_ = rows, embedding, rows.shape[1]
        self.nearest_ = NearestNeighbors(n_neighbors=int(self.n_neighbors)).fit(rows)
        return self

    def _place(self, rows: np.ndarray) -> np.ndarray:
        near = self.nearest_.kneighbors(rows, return_distance=False)
        squared = np.square(rows[:, None] - self.rows_[near]).sum(axis=2)  # exact: a bin of the fit is at 0
        is_same = squared == 0
        weight = np.where(is_same.any(axis=1, keepdims=True), is_same, 1 / np.where(is_same, 1.0, squared))
        z = self.embedding_.reshape(len(self.rows_), -1)[near]
        return (weight[:, :, None] * z).sum(axis=1) / weight.sum(axis=1, keepdims=True)


def _library() -> Any:
    """umap-learn, imported when it is needed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # says that Tensorflow is absent, which is not needed
            import umap
    except ModuleNotFoundError as error:
        raise MissingDependency(f'UMAP needs {error.name}, not installed: pip install "mitral[umap]"') from error
    return umap


def _labels(y: Any, shape: tuple[int, ...], weight: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels of every bin as umap-learn takes them, and how it is to take them: as classes, or as numbers."""
    labels = None if y is None else np.asarray(y)
    if labels is None or labels.shape not in (shape[:1], shape) or labels.dtype.kind not in "iufbUO":
        came = "none" if labels is None else f"{labels.dtype} of shape {labels.shape}"
        raise SchemaError(
            f"UMAP with target_weight takes labels, (n_trials,) or (n_trials, n_times) = {shape}, and got {came}. "
            f"Name a target, or leave target_weight at None."
        )
    of_bins = np.broadcast_to(labels if labels.ndim == 2 else labels[:, None], shape).ravel()
    is_number = labels.dtype.kind == "f"
    how = {"target_metric": "l2" if is_number else "categorical", "target_weight": weight}
    return (of_bins.astype(np.float64) if is_number else np.unique(of_bins, return_inverse=True)[1]), how


def _hash_rows(rows: np.ndarray) -> str:
    return hashlib.sha256(str(rows.shape).encode() + rows.tobytes()).hexdigest()
