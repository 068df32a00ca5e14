"""Encoders of several sessions that are trained together, so that like bins of different sessions come together.

Networks and loss are those of CEBRA (``cebra_embedding``, the home of the packages); the pairs are drawn here, through
indices that are sorted once, so that a step costs the same whatever the number of bins. Rows are bins.
Not here: which conditions sessions share, and scaling (``align/multi_session_cebra``).
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .cebra_embedding import _embed, _library

Weights = dict[str, np.ndarray]
NETWORK = "offset1-model"  # it sees one bin
SEEDING = threading.Lock()  # torch's seed is one for all threads


class Training(NamedTuple):
    """Network and training of every encoder; see ``CEBRA`` for their meaning."""

    n_latents: int
    n_hidden: int
    batch_size: int
    n_iterations: int
    learning_rate: float
    temperature: float


class SharedPairs:
    """For a bin, a bin with the same code in another session: first a session is drawn, then a bin of it.

    Parameters
    ----------
    codes : for each session (n_bins,) int from 0, what a bin shows; bins of one code are like each other

    Notes
    -----
    Bins are numbered through all sessions. Making it costs O(n_bins log n_bins), a draw of m costs O(m).

    Examples
    --------
    >>> pairs = SharedPairs([np.array([0, 1]), np.array([1, 0, 1])])
    >>> rng = np.random.default_rng(0)
    >>> sorted(set(pairs.positives(np.repeat(1, 50), rng).tolist()))
    [2, 4]
    """

    def __init__(self, codes: Sequence[np.ndarray]) -> None:
        self.code = np.concatenate(codes)
        self.n_bins = np.array([len(of_session) for of_session in codes])
        self.start = np.cumsum(self.n_bins) - self.n_bins
        session = np.repeat(np.arange(len(codes)), self.n_bins)
        self.order = np.lexsort((session, self.code))
        runs, self.run_start, self.run_length = np.unique(
            self.code[self.order] * len(codes) + session[self.order], return_index=True, return_counts=True
        )
        self.run_of = np.searchsorted(runs, self.code * len(codes) + session)  # a run: bins of one code and session
        self.first_run = np.searchsorted(runs // len(codes), np.arange(self.code.max() + 2))

    def references(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Bins: sessions are drawn evenly, and bins of a session."""
        session = rng.integers(len(self.start), size=n)
        return self.start[session] + (rng.random(n) * self.n_bins[session]).astype(int)

    def positives(self, references: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A like bin of another session for each; of its own where no other session has the code."""
        run, code = self.run_of[references], self.code[references]
        first, n_runs = self.first_run[code], self.first_run[code + 1] - self.first_run[code]
        step = 1 + (rng.random(len(run)) * (n_runs - 1)).astype(int)
        return self._member(first + (run - first + step) % n_runs, rng)

    def like(self, code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A bin of any session for each code."""
        n_runs = self.first_run[code + 1] - self.first_run[code]
        return self._member(self.first_run[code] + (rng.random(len(code)) * n_runs).astype(int), rng)

    def _member(self, run: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.order[self.run_start[run] + (rng.random(len(run)) * self.run_length[run]).astype(int)]


def train_jointly(
    sessions: Sequence[np.ndarray], pairs: SharedPairs, how: Training, seed: int
) -> tuple[list[Weights], np.ndarray]:
    """Weights of an encoder for each session (n_bins, n_units), and the loss (n_iterations,).

    Raises
    ------
    MissingDependency : cebra is not installed
    """
    torch = _library().torch
    networks = _networks([X.shape[1] for X in sessions], how, seed)
    criterion, optimizer = _objective(networks, how)
    arrays, rng = [torch.from_numpy(X.astype(np.float32)) for X in sessions], np.random.default_rng(seed)
    n, loss = how.batch_size, np.empty(how.n_iterations)
    with _one_thread(torch):
        for step in range(how.n_iterations):
            reference, negative = np.split(pairs.references(2 * n, rng), 2)
            drawn = np.concatenate([reference, pairs.positives(reference, rng), negative])
            by_session = np.argsort(drawn, kind="stable")  # bins are numbered session after session
            rows = np.split(by_session, np.searchsorted(drawn[by_session], pairs.start[1:]))
            parts = [
                network(X[torch.from_numpy(drawn[here] - start)])
                for network, X, start, here in zip(networks, arrays, pairs.start, rows, strict=True)
                if len(here)
            ]
            z = torch.cat(parts)[torch.from_numpy(np.argsort(by_session))]
            loss[step] = _step(criterion, optimizer, *z.split(n))
    return [_weights(network) for network in networks], loss


def train_against(
    X: np.ndarray, code: np.ndarray, pairs: SharedPairs, space: np.ndarray, how: Training, seed: int
) -> Weights:
    """Weights of an encoder for a new session X (n_bins, n_units), into a space that stays as it is.

    Parameters
    ----------
    code : (n_bins,) of the bins of X, as in ``pairs``
    space : (n_bins of all known sessions, n_latents), their embedding, numbered as in ``pairs``
    """
    torch = _library().torch
    (network,) = _networks([X.shape[1]], how, seed)
    criterion, optimizer = _objective([network], how)
    array, known = torch.from_numpy(X.astype(np.float32)), torch.from_numpy(space.astype(np.float32))
    rng = np.random.default_rng(seed)
    with _one_thread(torch):
        for _ in range(how.n_iterations):
            reference = rng.integers(len(X), size=how.batch_size)
            positive, negative = pairs.like(code[reference], rng), pairs.references(how.batch_size, rng)
            z = network(array[torch.from_numpy(reference)])
            _step(criterion, optimizer, z, known[torch.from_numpy(positive)], known[torch.from_numpy(negative)])
    return _weights(network)


def encode(weights: Weights, X: np.ndarray, how: Training) -> np.ndarray:
    """Latents of rows: (n_bins, n_units) -> (n_bins, n_latents) float64, each of length 1."""
    library = _library()
    (network,) = _networks([X.shape[1]], how, 0)
    network.load_state_dict({name: library.torch.from_numpy(value.copy()) for name, value in weights.items()})
    return _embed(network.double().eval(), library, X[:, None])[:, 0]


@contextlib.contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Steps are so small that threads wait for each other: with two on a busy machine they took 18 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _networks(n_units: Sequence[int], how: Training, seed: int) -> list[Any]:
    library = _library()
    with SEEDING, library.torch.random.fork_rng(devices=[]):
        library.torch.manual_seed(seed)
        return [
            library.cebra.models.init(NETWORK, num_neurons=n, num_units=how.n_hidden, num_output=how.n_latents)
            for n in n_units
        ]


def _objective(networks: Sequence[Any], how: Training) -> tuple[Any, Any]:
    """InfoNCE, and Adam over the weights of all networks."""
    library = _library()
    parameters = [weights for network in networks for weights in network.parameters()]
    return (
        library.cebra.models.FixedCosineInfoNCE(temperature=how.temperature),
        library.torch.optim.Adam(parameters, lr=how.learning_rate),
    )


def _step(criterion: Any, optimizer: Any, reference: Any, positive: Any, negative: Any) -> float:
    optimizer.zero_grad()
    loss = criterion(reference, positive, negative)[0]
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _weights(network: Any) -> Weights:
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}
