"""A two-class problem with a null of label shuffles: decodanda's ``decode`` beside ``cross_validate``, ``with_null``.

    python3 run.py bench decodanda_two_class

Which of two odors, from 200 units in 80 trials; nine tenths of the trials train, ten splits, 100 shuffles, the same
shrinkage LDA on both sides. The question is one, the schemes are not: decodanda draws its splits and its training
vectors at random (with replacement, balanced), we use each trial once as a test. So the answers agree as two
estimates of one accuracy do: the job counts as the same if the accuracies and the nulls' means differ by less than
three of their standard errors. Needs decodanda (GPL-3; it is called, not copied). Set OMP_NUM_THREADS=1 to compare
one thread with one thread.
"""

import contextlib
import io
import warnings
from importlib.metadata import version

import numpy as np
import xarray as xr
from permutation_test import ESTIMATOR, N_FOLDS, N_TRIALS, N_UNITS, make_activity
from sklearn.base import clone
from table import print_table, row, timed

from mitral.datasets import make_folds
from mitral.decode import cross_validate, with_null

try:
    from decodanda import Decodanda
except ImportError:
    raise SystemExit("this benchmark needs its peer: pip install decodanda==0.8.6") from None

N_SHUFFLES, SIGNAL = 100, 0.2


def main() -> None:
    """Measure and print."""
    activity = make_activity(SIGNAL)
    folds = make_folds(activity, target="odor", n_folds=N_FOLDS, random_state=0)
    recording = {
        "raster": activity.to_numpy()[:, 0],
        "odor": activity["odor"].to_numpy(),
        "trial": activity["trial"].to_numpy(),
    }

    def ours() -> xr.Dataset:
        result = cross_validate(activity, "odor", ESTIMATOR, folds)
        return with_null(result, activity, ESTIMATOR, folds, n_permutations=N_SHUFFLES, random_state=0)

    def theirs() -> tuple[float, np.ndarray]:
        np.random.seed(0)  # noqa: NPY002  decodanda draws from numpy's global stream
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = Decodanda(recording, {"odor": ["a", "b"]}, classifier=clone(ESTIMATOR))
            found, null = problem.decode((N_FOLDS - 1) / N_FOLDS, cross_validations=N_FOLDS, nshuffles=N_SHUFFLES)
        return float(found["odor"]), np.asarray(null["odor"])

    ours()  # loads what is imported late
    our_s, result = timed(ours, repeats=7)
    peer_s, (peer_score, peer_null) = timed(theirs, repeats=1)
    score, null = result.attrs["score_mean"], result["null_score"].to_numpy()
    apart = abs(score - peer_score) / np.sqrt(2 * score * (1 - score) / N_TRIALS)
    spread = np.hypot(null.std() / np.sqrt(len(null)), peer_null.std() / np.sqrt(len(peer_null)))
    null_apart = abs(null.mean() - peer_null.mean()) / spread
    same = "yes" if apart < 3 and null_apart < 3 else "no"
    numbers = f"accuracy {score:.3f} and {peer_score:.3f}, null {null.mean():.3f} and {peer_null.mean():.3f}"
    job = f"2 odors, {N_UNITS} units, {N_TRIALS} trials, {N_FOLDS} splits, {N_SHUFFLES} shuffles"
    print_table(
        [
            row(
                job, f"decodanda {version('decodanda')} decode", our_s, peer_s,
                same_answer=f"{same}, {numbers}", held_to="faster",
            )
        ],
        notes=[
            f"Accuracies differ by {apart:.1f} standard errors of the difference, nulls' means by {null_apart:.1f}. "
            f"p = {result.attrs['p_value']:.3g} and {(np.sum(peer_null >= peer_score) + 1) / (N_SHUFFLES + 1):.3g}."
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
