"""amLDS on its published simulation, beside the figures reported for it, and its cost.

    python3 run.py bench amlds

50 odors, 5 mice of 40 units, 41 bins, 50 trials an odor in the four known mice; 20 test trials an odor in the fifth,
which has loadings of its own. Reported: Herrero-Vidal, Rinberg & Savin (2021), read from the published figures; the
authors' script gave the new mouse the loadings of a known one. Rivals get the same trials: the condition means of the
known mice and the calibration trials, and a nearest-mean or LDA decoder in the space they make.
"""

import time

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits

from mitral.align.base import make_aligner
from mitral.align.mixture_lds import MixtureLDS
from mitral.datasets.simulate.latent_space import LatentSpace, simulate_latent_space
from mitral.decode.trajectories.missing import observed
from mitral.decode.trajectories.mixture_em import Dynamics, Loadings
from mitral.decode.trajectories.mixture_fit import log_joint
from mitral.decode.trajectories.mixture_lds import MixtureLDS as OneAnimal
from mitral.decode.trajectories.mixture_online import MixtureOnline

N_ODORS, N_TEST, NEW = 50, 20, "mouse-5"
KNOWN = [f"mouse-{k}" for k in range(1, 5)]
REPORTED = {
    "all odors": {1: None, 2: 0.93, 5: 0.93, 10: 0.93},
    "one odor": {1: 0.65, 10: 0.80, 50: 0.87},
    "alone": {2: 0.49, 5: 0.81, 10: 0.90},
    "generalised_cca": {2: 0.74, 5: 0.73, 10: 0.72},
    "cca": {2: 0.45, 5: 0.55, 10: 0.58},
    "FA + procrustes": {2: 0.31, 5: 0.30, 10: 0.30},
}


def oracle(space: LatentSpace, X: np.ndarray, y: np.ndarray) -> float:
    """Accuracy with the true parameters of the new mouse."""
    C, R = space.loadings[NEW], space.noise[NEW]
    dynamics = Dynamics(space.A, space.b, space.Q, space.x0, space.Q)
    log_p = log_joint(observed(X), Loadings(C, np.zeros(len(C)), R), dynamics)[:, -1]
    return float(np.mean(space.odors[log_p.argmax(axis=1)] == y))


def by_aligner(space: LatentSpace, name: str, n_trials: int) -> float:
    """Accuracy of LDA on aligned latents of all bins, trained on the known mice and the calibration trials."""
    n = 10 * N_ODORS  # of the known mice: enough for LDA, and quick
    aligner = make_aligner(name, n_latents=3)
    aligner.fit({s: space.trials[s][:n] for s in KNOWN}, {s: space.odor[s][:n] for s in KNOWN})
    X, y = space.trials[NEW], space.odor[NEW]
    aligner.add_session(NEW, X[: n_trials * N_ODORS], y[: n_trials * N_ODORS])
    latents = [aligner.transform(s, space.trials[s][:n]).reshape(n, -1) for s in KNOWN]
    own = aligner.transform(NEW, X)
    train = np.concatenate([*latents, own[: n_trials * N_ODORS].reshape(n_trials * N_ODORS, -1)])
    labels = np.concatenate([*(space.odor[s][:n] for s in KNOWN), y[: n_trials * N_ODORS]])
    decoder = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(train, labels)
    test = own[-N_TEST * N_ODORS :].reshape(N_TEST * N_ODORS, -1)
    return float(np.mean(decoder.predict(test) == y[-N_TEST * N_ODORS :]))


def published(space: LatentSpace) -> MixtureLDS:
    """Print accuracies beside those reported; the fit of the four known mice."""
    aligner = MixtureLDS(3).fit({s: space.trials[s][: 50 * N_ODORS] for s in KNOWN},
                                {s: space.odor[s][: 50 * N_ODORS] for s in KNOWN})  # fmt: skip
    X, y = space.trials[NEW], space.odor[NEW]
    test, truth = X[-N_TEST * N_ODORS :], y[-N_TEST * N_ODORS :]

    def accuracy(here: np.ndarray | slice) -> float:
        aligner.add_session(NEW, X[here], y[here])
        return float(np.mean(aligner.predict(NEW, test) == truth))

    error = np.sqrt(0.95 * 0.05 / len(truth))
    print(f"true parameters: {oracle(space, test, truth):.3f}; standard error about {error:.3f}; chance 0.02\n")
    print("| calibration trials | of | ours | reported |\n|---|---|---|---|")
    for n, reported in REPORTED["all odors"].items():
        print(f"| {n} an odor | all odors | {accuracy(slice(0, n * N_ODORS)):.3f} | {reported or 'not reported'} |")
    for n, reported in REPORTED["one odor"].items():
        each = [accuracy(np.flatnonzero(y[: 50 * N_ODORS] == odor)[:n]) for odor in space.odors[::10]]
        print(f"| {n} | one odor (mean of 5; {min(each):.3f} to {max(each):.3f}) | {np.mean(each):.3f} | {reported} |")
    for n, reported in REPORTED["alone"].items():
        alone = OneAnimal(3).fit(X[: n * N_ODORS], y[: n * N_ODORS])
        print(f"| {n} an odor | the new mouse alone | {alone.score(test, truth):.3f} | {reported} |")
    for name in ("generalised_cca", "cca", "procrustes"):
        for n, reported in REPORTED["FA + procrustes" if name == "procrustes" else name].items():
            print(f"| {n} an odor | {name}, then LDA | {by_aligner(space, name, n):.3f} | {reported} |")
    return aligner


def hard() -> None:
    """12 odors, 20 units, Q = R = 1.5, 5 trials an odor in the known mice: beside the true parameters."""
    print("\n| loadings differ by | trials an odor in the new mouse | ours | true parameters |\n|---|---|---|---|")
    for difference in (0.1, 1.0):
        found: dict[int, list[tuple[float, float]]] = {1: [], 3: []}
        for seed in range(4):
            space = simulate_latent_space(random_state=seed, n_odors=12, n_trials=25, n_units=20, process_noise=1.5,
                                          observation_noise=1.5, difference=difference)  # fmt: skip
            aligner = MixtureLDS(3).fit({s: space.trials[s][:60] for s in KNOWN},
                                        {s: space.odor[s][:60] for s in KNOWN})  # fmt: skip
            X, y = space.trials[NEW], space.odor[NEW]
            for n, row in found.items():
                said = aligner.add_session(NEW, X[: 12 * n], y[: 12 * n]).predict(NEW, X[60:])
                row.append((float(np.mean(said == y[60:])), oracle(space, X[60:], y[60:])))
        for n, row in found.items():
            ours, best = np.mean(row, axis=0)
            print(f"| {difference} | {n} | {ours:.3f} | {best:.3f} |")


def cost(space: LatentSpace, aligner: MixtureLDS) -> None:
    """Seconds of the fit, of adding a session, of one update; ten iterations at half and whole sizes."""
    n = 50 * N_ODORS
    start = time.perf_counter()
    whole = MixtureLDS(3).fit({s: X[:n] for s, X in space.trials.items()}, {s: y[:n] for s, y in space.odor.items()})
    fit_s = time.perf_counter() - start
    start = time.perf_counter()
    aligner.add_session(NEW, space.trials[NEW][: 5 * N_ODORS], space.odor[NEW][: 5 * N_ODORS])
    add_s = time.perf_counter() - start
    rng = np.random.default_rng(0)
    online = MixtureOnline(Loadings(rng.normal(size=(200, 3)), np.zeros(200), np.ones(200)), whole.dynamics_)
    X = rng.normal(size=(41, 200))
    rounds = []
    for _ in range(50):
        online.reset()
        start = time.perf_counter()
        for x in X:
            online.update(x)
        rounds.append((time.perf_counter() - start) / len(X))
    print("\n| job | seconds | held to |\n|---|---|---|")
    steps = len(whole.objective_)
    print(f"| fit of 5 mice x 2500 trials, {steps} iterations, converged: {whole.converged_} | {fit_s:.2f} | 60 |")
    print(f"| add_session, 5 trials an odor | {add_s:.3f} | 2 |")
    print(f"| posterior update, 50 odors, 200 units | {np.median(rounds):.2e} | 1e-4 |")
    print("\n| ten iterations | half | whole | ratio |\n|---|---|---|---|")
    for what in ("trials", "mice", "bins"):
        seconds = []
        for share in (0.5, 1.0):
            kept = list(space.trials)[: round(4 * share) if what == "mice" else 4]
            n_trials, n_bins = round(n * share) if what == "trials" else n, round(40 * share) if what == "bins" else 40
            model = MixtureLDS(3, max_iterations=10, tolerance=1e-9, start="correlation")
            start = time.perf_counter()
            labels = {s: space.odor[s][:n_trials] for s in kept}
            model.fit({s: space.trials[s][:n_trials, :n_bins] for s in kept}, labels)
            seconds.append(time.perf_counter() - start)
        print(f"| half the {what} | {seconds[0]:.2f} s | {seconds[1]:.2f} s | {seconds[1] / seconds[0]:.2f} |")


def main() -> None:
    """Measure and print."""
    space = simulate_latent_space(random_state=0, n_trials=50 + N_TEST)
    with threadpool_limits(limits=2):
        aligner = published(space)
        hard()
        cost(space, aligner)


if __name__ == "__main__":
    main()
