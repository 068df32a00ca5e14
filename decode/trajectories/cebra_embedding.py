"""CEBRA of one session, from several seeds, with a score of how well they agree; its pairs are drawn quickly."""

import functools
import itertools
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ...datasets.errors import ConfigError, IntegrityError, MissingDependency
from ...datasets.preprocess import three_axes
from ...datasets.tables import nearest
from .consistency import consistency, mean_agreement, most_typical
from .contrastive_pairs import LabelPairs, TimePairs, labels_of_bins
from .loadings import check_fit
from .model_files import read_model, write_model
from .per_bin import PerBin
from .with_gaps import check_positive, check_whole

KIND, FILE = "cebra", "weights.safetensors"
POSITIVES = ("time", "behaviour", "hybrid")
TRIALS_AT_ONCE = 64
BEHAVIOUR_LATENTS = 3  # of a hybrid: the first latents serve behaviour and time, the others time, as in CEBRA


class CEBRA(PerBin):
    """Schneider, Lee & Mathis (2023): a network that brings like bins together and pushes all others apart.

    For a bin x, a like bin x⁺ and others x⁻ it learns z = f(x), |z| = 1, by the least of

        - z'z⁺ / temperature + log sum exp(z'z⁻ / temperature)

    What is like is chosen by ``positives``; see ``contrastive_pairs``. Networks, loss and training are those of the
    package cebra; pairs are drawn by trees, and trials keep to themselves: no window and no pair reaches from one
    into the next, and at the ends of a trial its first and last bins are repeated. The fit depends on the seed, so
    several are run, and the run that the others agree with best is kept.

    Parameters
    ----------
    n_latents : how many, at least 2: a point on a circle, a sphere ...
    positives : "time" leaves labels alone; "behaviour" uses them, and "hybrid" both: supervised methods, which belong
        inside the folds. Texts and integers are classes, floats are numbers; scale several numbers alike
    time_offset : bins between two that are like in time, or between two whose change of behaviour is typical
    architecture : of the network, as the package names it; "offset1-model" sees one bin, "offset10-model" ten
    n_hidden : width of the network
    batch_size : bins, like bins, and other bins in a step
    n_iterations : steps
    learning_rate, temperature : of the training
    n_seeds : runs, from random_state, random_state + 1 ...
    random_state : first seed

    Attributes
    ----------
    embedding_ : (n_trials, n_times, n_latents), of the bins of the fit, by the run that was kept
    consistency_ : (n_seeds, n_seeds), R² of the best linear map from one run's latents to another's
    consistency_score_ : mean over pairs of runs; NaN of one run
    loss_ : (n_seeds, n_iterations)
    seed_ : of the run that was kept
    weights_ : name -> array, of its network

    Notes
    -----
    Time O(n_seeds · n_iterations · batch_size · (weights of the network + log n_bins)).
    """

    def __init__(
        self,
        n_latents: int = 3,
        *,
        positives: str = "time",
        time_offset: int = 1,
        architecture: str = "offset1-model",
        n_hidden: int = 32,
        batch_size: int = 512,
        n_iterations: int = 1000,
        learning_rate: float = 3e-4,
        temperature: float = 1.0,
        n_seeds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.positives = positives
        self.time_offset = time_offset
        self.architecture = architecture
        self.n_hidden = n_hidden
        self.batch_size = batch_size
        self.n_iterations = n_iterations
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.n_seeds = n_seeds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.positives != "time"
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from all bins of X (n_trials, n_times, n_units), and labels y as ``labels_of_bins`` takes them.

        Raises
        ------
        MissingDependency : cebra is not installed
        SchemaError : NaN; trials that are too short; no labels where they are to be used
        ConfigError : a parameter out of range; a network of another name
        """
        library = _library()
        X = self._complete(three_axes(X, "CEBRA"))
        check_fit(X, self.n_latents, "CEBRA")
        self._check_parameters()
        self.n_features_in_ = X.shape[2]
        pairs = self._pairs(X, y)
        runs = [self._train(library, X, pairs, int(self.random_state) + k) for k in range(int(self.n_seeds))]
        embeddings = [_embed(self._rebuilt(library, weights), library, X) for weights, _ in runs]
        self.consistency_ = consistency([z.reshape(-1, z.shape[2]) for z in embeddings])
        self.consistency_score_ = mean_agreement(self.consistency_)
        kept = most_typical(self.consistency_)
        self.seed_, self.weights_, self.embedding_ = int(self.random_state) + kept, runs[kept][0], embeddings[kept]
        self.loss_ = np.array([loss for _, loss in runs])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents), each trial by itself.

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        X = self._complete(self._checked(X))
        library = _library()
        return _embed(self._rebuilt(library, self.weights_), library, X)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and parameters (JSON) into a new folder; nothing in it can run code.

        Raises
        ------
        ConflictError, StoreError : the folder is there, or cannot be written
        """
        check_is_fitted(self, "weights_")
        about = {
            "parameters": self.get_params(), "n_units": self.n_features_in_, "seed": self.seed_,
            "consistency": self.consistency_.tolist(), "loss": self.loss_.tolist(),
        }  # fmt: skip
        write_model(Path(folder), KIND, FILE, _library().tensors.save(self.weights_), about)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The fitted reducer that ``save`` wrote, its network rebuilt from its parameters; without ``embedding_``.

        Raises
        ------
        StoreError, IntegrityError, LimitError : the folder is damaged, too large, or of another kind
        """
        library = _library()
        numbers, about = read_model(Path(folder), KIND, FILE)
        loaded = cls(**about["parameters"])
        loaded.n_features_in_, loaded.seed_ = int(about["n_units"]), int(about["seed"])
        loaded.consistency_, loaded.loss_ = np.array(about["consistency"]), np.array(about["loss"])
        loaded.consistency_score_ = mean_agreement(loaded.consistency_)
        loaded.weights_ = library.tensors.load(numbers)
        expected = {name: tuple(value.shape) for name, value in loaded._network(library).state_dict().items()}
        if {name: value.shape for name, value in loaded.weights_.items()} != expected:
            raise IntegrityError(f"{folder}: the weights are not those of {loaded!r}. Save the model anew.")
        return loaded

    def _check_parameters(self) -> None:
        check_whole(self.n_latents, "n_latents", "CEBRA", at_least=2)
        for name in ("time_offset", "batch_size", "n_iterations", "n_seeds"):
            check_whole(getattr(self, name), name, "CEBRA")
        check_whole(self.n_hidden, "n_hidden", "CEBRA", at_least=2)
        for name in ("learning_rate", "temperature"):
            check_positive(getattr(self, name), name, "CEBRA")
        if self.positives not in POSITIVES:
            raise ConfigError(f"CEBRA: positives is {', '.join(map(repr, POSITIVES))}, got {self.positives!r}.")

    def _pairs(self, X: np.ndarray, y: Any) -> dict[str, Any]:
        """By "time", by "behaviour", or by both."""
        shape, offset = (X.shape[0], X.shape[1]), int(self.time_offset)
        found: dict[str, Any] = {} if self.positives == "behaviour" else {"time": TimePairs(*shape, offset)}
        if self.positives != "time":
            found["behaviour"] = LabelPairs(labels_of_bins(y, *shape, "CEBRA"), *shape, offset)
        return found

    def _network(self, library: "_Library") -> Any:
        names = library.cebra.models.get_options()
        if self.architecture not in names:
            raise ConfigError(f"CEBRA has no network {self.architecture!r}. {nearest(str(self.architecture), names)}")
        network = library.cebra.models.init(
            self.architecture, num_neurons=self.n_features_in_, num_units=int(self.n_hidden),
            num_output=int(self.n_latents),
        )  # fmt: skip
        if len(network.get_offset()) > 1 and not isinstance(network, library.cebra.models.ConvolutionalModelMixin):
            raise ConfigError(f"CEBRA: {self.architecture!r} is no convolution over bins. Take 'offset10-model'.")
        return network

    def _rebuilt(self, library: "_Library", weights: dict[str, np.ndarray]) -> Any:
        network = self._network(library)
        network.load_state_dict({name: library.torch.from_numpy(value.copy()) for name, value in weights.items()})
        return network.double().eval()  # so that a trial is carried through alike alone and among others

    def _train(
        self, library: "_Library", X: np.ndarray, pairs: dict[str, Any], seed: int
    ) -> tuple[dict[str, np.ndarray], list[float]]:
        """Weights and losses of one run."""
        torch, cebra = library.torch, library.cebra
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._network(library)
            criterion = cebra.models.FixedCosineInfoNCE(temperature=float(self.temperature))
            parameters = itertools.chain(network.parameters(), criterion.parameters())
            given = {
                "model": network, "criterion": criterion, "tqdm_on": False,
                "optimizer": torch.optim.Adam(parameters, lr=float(self.learning_rate)),
            }  # fmt: skip
            if self.positives == "hybrid":
                n_behaviour = min(BEHAVIOUR_LATENTS, int(self.n_latents))
                given |= {"num_behavior_features": n_behaviour, "ignore_deprecation_warning": True}
                solver = cebra.solver.init("single-session-hybrid", **given)
            else:
                solver = library.together(**given)
            dataset = library.trials(X, network)
            solver.fit(library.batches(dataset, pairs, seed, int(self.n_iterations), int(self.batch_size)))
        return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}, solver.history


class _Library(NamedTuple):
    """What is imported when it is needed, and the classes that build on it."""

    cebra: Any
    torch: Any
    tensors: Any
    trials: Any
    batches: Any
    together: Any


@functools.cache
def _library() -> _Library:
    """The packages, and trials, batches and a solver of ours behind CEBRA's interfaces."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which cebra uses at import
            import cebra
            import cebra.data
            import cebra.models
            import cebra.solver
            import safetensors.numpy
            import torch
    except ModuleNotFoundError as error:
        raise MissingDependency(f'CEBRA needs {error.name}, not installed: pip install "mitral[cebra]"') from error

    class Trials(cebra.data.SingleSessionDataset):
        """Windows of single bins, which stay inside their trial."""

        def __init__(self, X: np.ndarray, network: Any) -> None:
            super().__init__(device="cpu")
            self.configure_for(network)
            self.n_times, self.input_dimension_ = X.shape[1:]
            padded = _padded(X.astype(np.float32), self.offset)
            self.n_padded = padded.shape[1]
            self.neural = torch.from_numpy(padded.reshape(-1, X.shape[2]))
            self.window = torch.arange(len(self.offset))

        @property
        def input_dimension(self) -> int:
            return self.input_dimension_

        def __len__(self) -> int:
            return len(self.neural) // self.n_padded * self.n_times

        def __getitem__(self, index: Any) -> Any:
            start = index // self.n_times * self.n_padded + index % self.n_times
            return self.neural[start[:, None] + self.window].transpose(2, 1)

    class Batches(cebra.data.Loader):
        """Batches of pairs from ``contrastive_pairs``, each from its own generator."""

        def __init__(self, dataset: Trials, pairs: dict[str, Any], seed: int, n_steps: int, batch_size: int) -> None:
            super().__init__(dataset=dataset, num_steps=n_steps, batch_size=batch_size)
            self.pairs, self.rng = pairs, np.random.default_rng(seed)

        def get_indices(self, num_samples: int) -> Any:
            drawn = next(iter(self.pairs.values())).references(2 * num_samples, self.rng)
            reference, negative = drawn[:num_samples], drawn[num_samples:]
            order = [name for name in ("behaviour", "time") if name in self.pairs]
            positive = np.concatenate([self.pairs[name].positives(reference, self.rng) for name in order])
            return cebra.data.BatchIndex(*map(torch.from_numpy, (reference, positive, negative)))

    class Together(cebra.solver.SingleSessionSolver):
        """One pass through the network for all bins of a batch, which costs less than three."""

        def _inference(self, batch: Any) -> Any:
            parts = (batch.reference, batch.positive, batch.negative)
            z = self.model(torch.cat(parts))
            return cebra.data.Batch(*z.split([len(part) for part in parts]))

    return _Library(cebra, torch, safetensors.numpy, Trials, Batches, Together)


def _padded(X: np.ndarray, offset: Any) -> np.ndarray:
    """Trials with their first and last bins repeated, so that every bin has a whole window."""
    return np.pad(X, ((0, 0), (offset.left, offset.right - 1), (0, 0)), mode="edge")


def _embed(network: Any, library: _Library, X: np.ndarray) -> np.ndarray:
    """Latents of all bins, (n_trials, n_times, n_latents) float64."""
    torch, n_trials, n_times = library.torch, len(X), X.shape[1]
    found = np.empty((n_trials, n_times, network.num_output))
    with torch.no_grad():
        for start in range(0, n_trials, TRIALS_AT_ONCE):
            part = X[start : start + TRIALS_AT_ONCE].astype(np.float64)
            if isinstance(network, library.cebra.models.ConvolutionalModelMixin):
                padded = _padded(part, network.get_offset()).transpose(0, 2, 1)
                z = network(torch.from_numpy(np.ascontiguousarray(padded))).numpy()
                z = z.reshape(len(part), -1, n_times).transpose(0, 2, 1)
            else:
                z = network(torch.from_numpy(part.reshape(-1, part.shape[2]))).numpy()
            found[start : start + len(part)] = z.reshape(len(part), n_times, -1)
    return found
