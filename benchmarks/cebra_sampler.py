"""CEBRA with behaviour labels and without, beside the package itself; and what a draw of pairs costs over many bins.

    python3 run.py bench cebra_sampler

20,000 bins of 120 units in one trial, batch 512, two latents of behaviour over time, the ten-bin network of the
package on both sides, one thread. The same objective: losses of both sides are compared at the end of training, and
so is how well the behaviour of held-out bins is read out from the latents by their nearest neighbours.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from table import Row, print_table, row, timed
from threadpoolctl import threadpool_limits

from mitral.datasets.errors import MissingDependency
from mitral.decode import make_reducer
from mitral.decode.trajectories.contrastive_pairs import LabelPairs, labels_of_bins

N_BINS, N_UNITS, N_LATENTS, BATCH, OFFSET = 20_000, 120, 3, 512, 10
N_ITERATIONS, N_TIMED = 150, 40
LEARNING_RATE = 1e-3
ARCHITECTURE = "offset10-model"


def walk(n_bins: int, rng: np.random.Generator) -> np.ndarray:
    """A walk in a square, (n_bins, 2), float32."""
    place = np.cumsum(rng.normal(0, 0.03, (n_bins, 2)), axis=0)
    return (np.abs((place + 1) % 4 - 2) - 1).astype(np.float32)  # reflected at the walls


def recording(n_bins: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts (n_bins, N_UNITS) that follow a walk, and the walk, float32."""
    rng = np.random.default_rng(seed)
    place = walk(n_bins, rng)
    centres = rng.uniform(-1, 1, (N_UNITS, 2))
    rates = 2 * np.exp(-np.square(place[:, None] - centres).sum(axis=2) / 0.3)
    return rng.poisson(rates).astype(np.float32), place


def ours(X: np.ndarray, y: np.ndarray, positives: str, n_iterations: int) -> Any:
    """A fit of mitral's reducer, one seed."""
    reducer = make_reducer(
        "cebra", n_latents=N_LATENTS, positives=positives, time_offset=OFFSET, architecture=ARCHITECTURE,
        batch_size=BATCH, n_iterations=n_iterations, learning_rate=LEARNING_RATE, n_seeds=1,
    )  # fmt: skip
    return reducer.fit(X[None], y[None])


def theirs(X: np.ndarray, y: np.ndarray, positives: str, n_iterations: int) -> Any:
    """A fit of the package's own estimator."""
    import cebra
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, the package draws from the global generator
    model = cebra.CEBRA(
        model_architecture=ARCHITECTURE, batch_size=BATCH, max_iterations=n_iterations, learning_rate=LEARNING_RATE,
        time_offsets=OFFSET, output_dimension=N_LATENTS, num_hidden_units=32, device="cpu", verbose=False,
        conditional="time" if positives == "time" else "time_delta", temperature=1.0,
    )  # fmt: skip
    return model.fit(X) if positives == "time" else model.fit(X, y)


def read_out(latents: np.ndarray, place: np.ndarray) -> float:
    """R² of the place in the last fifth of the recording, by 25 neighbours among the latents of the rest."""
    cut = len(place) * 4 // 5
    said = KNeighborsRegressor(25).fit(latents[:cut], place[:cut]).predict(latents[cut:])
    truth = place[cut:]
    return float(1 - np.square(said - truth).sum() / np.square(truth - truth.mean(axis=0)).sum())


def training(positives: str, held_to: str) -> Row:
    """A row: the time of a few steps in turn, and loss and read-out after a whole training of each side."""
    X, place = recording(N_BINS)
    mine, peers = [], []
    ours(X[:2000], place[:2000], positives, 1)  # loads what is imported late
    for _ in range(2):
        mine += timed(lambda: ours(X, place, positives, N_TIMED), repeats=1)[0]
        peers += timed(lambda: theirs(X, place, positives, N_TIMED), repeats=1)[0]
    cut = N_BINS * 4 // 5
    whole, other = (fit(X[:cut], place[:cut], positives, N_ITERATIONS) for fit in (ours, theirs))
    losses = [np.mean(each[-20:]) for each in (whole.loss_[0], other.state_dict_["loss"].numpy())]
    found = [read_out(z, place) for z in (whole.transform(X[None])[0], other.transform(X))]
    answer = (
        f"loss after {N_ITERATIONS} steps {losses[0]:.3f}, theirs {losses[1]:.3f}; "
        f"place read out of new bins R² {found[0]:.2f}, theirs {found[1]:.2f}"
    )
    job = f"{N_TIMED} steps, {positives}, {N_BINS} bins x {N_UNITS} units, batch {BATCH}"
    return row(job, "cebra 0.6.1, CPU", mine, peers, same_answer=answer, held_to=held_to)


def drawing(n_bins: int) -> tuple[Row, float]:
    """A row: one batch of pairs by behaviour; and our median seconds."""
    import torch
    from cebra.distributions import TimedeltaDistribution

    place = walk(n_bins, np.random.default_rng(0))
    pairs, rng = LabelPairs(labels_of_bins(place[None], 1, n_bins, "it"), 1, n_bins, OFFSET), np.random.default_rng(0)
    peer = TimedeltaDistribution(torch.from_numpy(place), OFFSET)
    mine, _ = timed(lambda: pairs.positives(pairs.references(BATCH, rng), rng), repeats=30)
    them, _ = timed(lambda: peer.sample_conditional(peer.sample_prior(BATCH)), repeats=2)
    steps = peer.time_difference[OFFSET : OFFSET + 500]
    found = peer.index.search(peer.data[n_bins // 2] + steps).numpy()
    same = np.mean(pairs.groups[0].nearest(place[n_bins // 2] + pairs.steps[:500], np.zeros(500)) == found)
    job = f"one batch of {BATCH} pairs, {n_bins} bins"
    made = row(job, "cebra's sampler", mine, them, same_answer=f"same partner for {same:.1%} of steps", held_to="-")
    return made, float(np.median(mine))


def main() -> None:
    """Measure and print."""
    try:
        make_reducer("cebra", n_seeds=1, n_iterations=1).fit(np.random.default_rng(0).poisson(2.0, (4, 5, 6)))
    except MissingDependency as absent:
        print(f"Not measured: {absent}")
        return
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with threadpool_limits(limits=1):
        drawn = {n_bins: drawing(n_bins) for n_bins in (20_000, 100_000, 200_000)}
        rows = [training("behaviour", "2.5 x"), training("time", "1 x"), *(made for made, _ in drawn.values())]
    growth = drawn[200_000][1] / drawn[20_000][1]
    print_table(rows, notes=[f"A draw of ours costs {growth:.2g} times as much at 200,000 bins as at 20,000."])


if __name__ == "__main__":
    main()
