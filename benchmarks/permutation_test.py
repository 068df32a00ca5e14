"""1000 label permutations of a 10-fold shrinkage LDA, 200 units x 80 trials: ``with_null`` beside scikit-learn.

    python3 run.py bench permutation_test

scikit-learn's ``permutation_test_score`` refits every fold for every permutation. It is timed on the first
N_PEER permutations and scaled to all 1001 labelings, as its cost is the same for each; both sides have the same
folds. Same answer: the true labels' score, and the scores of the very permutations that scikit-learn drew. Ours is
the whole call, from activity to p value. Set OMP_NUM_THREADS=1 to compare one thread with one thread.
"""

import time

import numpy as np
import sklearn
import xarray as xr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import permutation_test_score
from table import print_table, row, timed

from mitral.datasets import make_folds
from mitral.datasets.folds import TEST, TRAIN
from mitral.decode import cross_validate, with_null
from mitral.decode.closed_form import predict_labelings

N_UNITS, N_TRIALS, N_FOLDS, N_PERMUTATIONS, N_PEER = 200, 80, 10, 1000, 30
ESTIMATOR = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)


def make_activity(signal: float = 0.12) -> xr.DataArray:
    """Two odors, whose means differ by a faint signal in every unit (its noise has standard deviation 1)."""
    rng = np.random.default_rng(0)
    odor = np.tile(["a", "b"], N_TRIALS // 2)
    values = rng.normal(size=(N_TRIALS, 1, N_UNITS)) + signal * (odor == "b")[:, None, None]
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(N_TRIALS), "time": [0.0], "unit": [f"u{u}" for u in range(N_UNITS)],
            "odor": ("trial", odor),
        },
        attrs={"session": "benchmark", "animal": "none", "event": "odor", "bin_width_s": 1.0, "units": "a.u."},
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    activity = make_activity()
    folds = make_folds(activity, target="odor", n_folds=N_FOLDS, random_state=0)
    X, y = activity.to_numpy()[:, 0], (activity["odor"].to_numpy() == "b").astype(int)
    splits = [(np.flatnonzero(side == TRAIN), np.flatnonzero(side == TEST)) for side in folds.to_numpy()]
    result = cross_validate(activity, "odor", ESTIMATOR, folds)

    def ours() -> xr.Dataset:
        return with_null(result, activity, ESTIMATOR, folds, n_permutations=N_PERMUTATIONS, random_state=0)

    def theirs() -> tuple[float, np.ndarray, float]:
        return permutation_test_score(ESTIMATOR, X, y, cv=splits, n_permutations=N_PEER, random_state=0)

    ours()  # loads what is imported late
    our_s, with_p = timed(ours, repeats=7)
    peer_s, (score, peer_null, _) = timed(theirs, repeats=3)
    scaled = [seconds * (N_PERMUTATIONS + 1) / (N_PEER + 1) for seconds in peer_s]
    differ = np.abs(fold_accuracy(X, y, folds.to_numpy(), peer_null.size) - np.append(score, peer_null)).max()
    job = f"{N_PERMUTATIONS} permutations, {N_FOLDS}-fold LDA(0.3), {N_TRIALS} trials, {N_UNITS} units"
    start = time.process_time()
    ours()
    print_table(
        [
            row(
                job, f"scikit-learn {sklearn.__version__} permutation_test_score", our_s, scaled,
                same_answer="yes" if differ < 1e-12 else f"no, scores differ by {differ:.3g}", held_to="500 x",
            )
        ],
        notes=[
            f"scikit-learn measured on {N_PEER} permutations and scaled to {N_PERMUTATIONS}. Scores of the true labels "
            f"and of its {N_PEER} permutations differ by at most {differ:.1g}.",
            f"p = {with_p.attrs['p_value']:.3g}; ours took {time.process_time() - start:.3g} s of processor time.",
        ],
    )  # fmt: skip


def fold_accuracy(X: np.ndarray, y: np.ndarray, sides: np.ndarray, n_permutations: int) -> np.ndarray:
    """Mean over folds of accuracy of the true labels and of scikit-learn's permutations, all by one factorisation."""
    random = np.random.RandomState(0)  # scikit-learn's own stream, in its order
    labels = np.stack([y] + [y[random.permutation(len(y))] for _ in range(n_permutations)])
    predicted = predict_labelings(X, labels, 2, ESTIMATOR, sides)
    right = predicted == labels[:, None, :]
    return np.mean([right[:, fold, side == TEST].mean(axis=1) for fold, side in enumerate(sides)], axis=0)


if __name__ == "__main__":
    main()
