"""GPFA beside elephant: the fit of 100 trials x 50 bins x 50 units x 8 latents, and the posterior of ragged trials.

    python3 run.py bench gpfa

Fit: both sides start from the same factor analysis and timescales, and stop by the same rule (a step adds less than
1e-8 of the log-likelihood gained since the second one, or 500 passes). elephant cuts trials into overlapping pieces of
20 bins; ours are cut into halves of 25, or left whole. Both models are then scored on the same held-out whole trials by
one function, the exact log-likelihood. Posterior: trials of about 500 bins, no two of one length, under the same
parameters; elephant is given two of them, as each takes long. Both sides have the squared-exponential kernel; ours
runs along the chain, and the largest difference of a latent from elephant's exact mean is shown.
Needs elephant (called, not copied). Set OMP_NUM_THREADS=1 to compare one thread with one thread.
"""

import contextlib
import io
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
from table import print_table, row, timed

from mitral.decode.trajectories.factor_analysis import FactorAnalysis
from mitral.decode.trajectories.gaussian_process import covariance
from mitral.decode.trajectories.gpfa import GPFA
from mitral.decode.trajectories.gpfa_inference import Model, dense_posterior, linear_means
from mitral.decode.trajectories.missing import observed

try:
    from elephant.gpfa import gpfa_core, gpfa_util
except ImportError:
    raise SystemExit("this benchmark needs its peer: pip install 'elephant[extras]==1.2.1'") from None

N_TRIALS, N_BINS, N_UNITS, N_LATENTS, WHITE = 100, 50, 50, 8, 1e-3
TOL, MOST = 1e-8, 500
LENGTHS, N_RAGGED, N_PEER = (480, 520), 40, 2
GROWTH = (50, 100, 200, 500, 1000, 2000)


def simulate(rng: np.random.Generator, lengths: list[int]) -> tuple[list[np.ndarray], Model]:
    """Trials (n_bins, n_units) of the model and its parameters."""
    timescale = np.linspace(3.0, 15.0, N_LATENTS)
    C, R = rng.normal(size=(N_UNITS, N_LATENTS)), rng.uniform(2.0, 8.0, N_UNITS)
    model = Model(C, rng.normal(3.0, 1.0, N_UNITS), R, timescale, "squared_exponential", WHITE)
    roots = np.linalg.cholesky(covariance(model.kernel, timescale, WHITE, max(lengths)))
    trials = []
    for n_bins in lengths:
        latents = np.stack([root[:n_bins, :n_bins] @ rng.normal(size=n_bins) for root in roots], axis=1)
        trials.append(latents @ C.T + model.offset + rng.normal(size=(n_bins, N_UNITS)) * np.sqrt(R))
    return trials, model


def padded(trials: list[np.ndarray]) -> np.ndarray:
    """(n_trials, n_times, n_units), NaN behind shorter trials."""
    X = np.full((len(trials), max(map(len, trials)), N_UNITS), np.nan)
    for row_, trial in zip(X, trials, strict=True):
        row_[: len(trial)] = trial
    return X


def sequences(trials: list[np.ndarray]) -> np.ndarray:
    """Trials as elephant takes them."""
    made = np.empty(len(trials), [("trialId", int), ("T", int), ("y", "O")])
    for k, trial in enumerate(trials):
        made[k] = (k, len(trial), trial.T)
    return made


def as_elephant(model: Model) -> dict[str, Any]:
    """Parameters under elephant's names; a new copy, as its fit writes into it."""
    return {
        "covType": "rbf",
        "gamma": 1 / model.timescale**2,
        "eps": np.full(N_LATENTS, WHITE),
        "d": model.offset.copy(),
        "C": model.C.copy(),
        "R": np.diag(model.R),
        "notes": {"learnKernelParams": True, "learnGPNoise": False, "RforceDiagonal": True},
    }


def from_elephant(found: dict[str, Any]) -> Model:
    """The other way."""
    timescale = 1 / np.sqrt(found["gamma"])
    return Model(found["C"], found["d"], np.diag(found["R"]), timescale, "squared_exponential", WHITE)


def fit_rows() -> tuple[list, list[str]]:
    """The fit, in halves of trials and of whole trials."""
    trials, _ = simulate(np.random.default_rng(0), [N_BINS] * (2 * N_TRIALS))
    train, test = trials[:N_TRIALS], observed(np.array(trials[N_TRIALS:]))
    X = np.array(train)
    start = FactorAnalysis(N_LATENTS, tol=1e-2).fit(X)
    np.random.seed(0)  # elephant's cuts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut = gpfa_util.cut_trials(sequences(train))

    def held_out(model: Model) -> float:
        return float(dense_posterior(test, model).log_likelihood.sum())

    def theirs() -> dict[str, Any]:
        begin = Model(start.loadings_, start.mean_, start.noise_variance_, np.full(N_LATENTS, 5.0), "", WHITE)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gpfa_core.em(as_elephant(begin), cut, max_iters=MOST, tol=TOL)

    peer_s, (found, _, said, _) = timed(theirs, repeats=1)
    reached = held_out(from_elephant(found))
    rows, notes = [], [f"elephant took {len(said)} iterations; held-out log-likelihood {reached:.1f}."]
    for pieces, length, held_to in (("halves of trials", 25, "10 x"), ("whole trials", N_BINS, "")):
        gpfa = GPFA(N_LATENTS, segment_bins=length, start_timescale_s=5.0, tol=TOL, max_iter=MOST)
        our_s, fitted = timed(lambda gpfa=gpfa: gpfa.fit(X), repeats=3)
        ours = held_out(fitted._model())
        same = f"{'yes' if ours >= reached else 'no'}, held-out log-likelihood {ours - reached:+.1f}"
        job = f"fit, {N_TRIALS} x {N_BINS} x {N_UNITS}, {N_LATENTS} latents, {pieces}"
        rows.append(row(job, "elephant EM", our_s, peer_s, same_answer=same, held_to=held_to))
        notes.append(f"Ours, {pieces}: {fitted.n_iter_} iterations, held-out log-likelihood {ours:.1f}.")
    return rows, notes


def posterior_row() -> tuple[Any, list[str]]:
    """Ragged trials of about 500 bins, seconds per trial."""
    rng = np.random.default_rng(1)
    lengths = rng.permutation(np.arange(*LENGTHS))[:N_RAGGED].tolist()
    trials, model = simulate(rng, lengths)
    data = observed(padded(trials))

    def theirs() -> Any:
        return gpfa_core.exact_inference_with_ll(sequences(trials[:N_PEER]), as_elephant(model), get_ll=False)

    peer_s, (exact, _) = timed(theirs, repeats=1)
    our_s, found = timed(lambda: linear_means(data, model), repeats=5)
    difference = max(np.abs(found.mean[k, : lengths[k]] - exact[k]["latent_variable"].T).max() for k in range(N_PEER))
    same = f"{'yes' if difference < 1e-4 else 'no'}, latents (prior sd 1) differ by at most {difference:.1e}"
    job = f"posterior of one of {N_RAGGED} ragged trials of about 500 bins"
    ours, peers = [s / N_RAGGED for s in our_s], [s / N_PEER for s in peer_s]
    grown = []
    for n_bins in GROWTH:
        one, _ = simulate(rng, [n_bins] * 4)
        data_of = observed(np.array(one))
        seconds, _ = timed(lambda data_of=data_of: linear_means(data_of, model), repeats=3)
        grown.append(f"{n_bins}: {1e3 * min(seconds):.0f} ms")
    notes = [f"Posterior of 4 trials by number of bins: {', '.join(grown)}."]
    return row(job, "elephant transform", ours, peers, same_answer=same, held_to="100 x"), notes


def main() -> None:
    """Measure and print."""
    rows, notes = fit_rows()
    posterior, more = posterior_row()
    print_table([*rows, posterior], notes=[f"elephant {version('elephant')}.", *notes, *more])


if __name__ == "__main__":
    main()
