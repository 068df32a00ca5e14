"""Which labels may change places under the null, in how many ways, and whether they come in runs.

A permuted data set must be as likely as the true one if the target does not matter, and as well stratified.
"""

from math import exp, lgamma

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, permute_labels, trial_column

FEWEST_ARRANGEMENTS = 20  # below this no p of 0.05 exists, whatever the score
MOST_RUNS_SD = 3.0  # neighbours that share labels so much more often than exchanged labels do (0.1 % by chance)
N_ORDERS = 200  # random orders that neighbours are compared with


def streams(n_permutations: int, random_state: int) -> list[np.random.SeedSequence]:
    """A random stream for every permutation, the same whatever the number of workers.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    if n_permutations < 1:
        raise SchemaError(f"n_permutations must be at least 1, got {n_permutations}.")
    return np.random.SeedSequence(random_state).spawn(n_permutations)


def permutations(truth: np.ndarray, n_permutations: int, random_state: int, *, within: np.ndarray | None) -> np.ndarray:
    """Permuted labels (n_permutations, n_trials), one random stream each.

    Raises
    ------
    SchemaError : fewer than one permutation
    """
    seeds = streams(n_permutations, random_state)
    return np.array([permute_labels(truth, np.random.default_rng(seed), within=within) for seed in seeds])


def arrangements(truth: np.ndarray, groups: np.ndarray | None) -> float:
    """Number of different orders of the labels when they are exchanged within groups.

    The product over groups of multinomial coefficients; infinity above 1e300.

    Examples
    --------
    >>> import numpy as np
    >>> round(arrangements(np.array([0, 0, 1, 1]), None))
    6
    >>> round(arrangements(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])))
    1
    """
    log = 0.0
    for group in [None] if groups is None else np.unique(groups):
        here = truth if groups is None else truth[groups == group]
        counts = np.unique(here, return_counts=True)[1]
        log += lgamma(len(here) + 1) - sum(lgamma(count + 1) for count in counts)
    return exp(log) if log < 690 else float("inf")


def exchange_groups(activity: xr.DataArray, folds: xr.DataArray, within: str | None) -> np.ndarray:
    """Groups (n_trials,) inside which labels are exchangeable.

    Trials that every fold treats alike, of one group of the folds and of one value of ``within``. Folds are
    stratified by the true labels; labels exchanged between folds would not be, and scores of the null would
    lie below chance (nearest centroid on noise: 0.46 where the truth reads 0.53).

    Raises
    ------
    SchemaError : a trial that several folds test, as repeated or random folds do
    """
    times_tested = (folds.to_numpy() == TEST).sum(axis=0)
    if times_tested.max() > 1:
        trial = folds["trial"].to_numpy()[times_tested.argmax()]
        raise SchemaError(
            f"session {activity.attrs['session']!r}: trial {trial} is tested in {times_tested.max()} folds, and a null "
            f"by permutation needs folds that test each trial at most once. Use the folds of one repeat for the null."
        )
    columns = [np.unique(folds.to_numpy(), axis=1, return_inverse=True)[1].ravel()]
    if "group" in folds.coords:
        columns.append(np.unique(folds["group"].to_numpy(), return_inverse=True)[1])
    if within is not None:
        columns.append(np.unique(trial_column(activity, within), return_inverse=True)[1])
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].ravel()


def exchange_words(folds: xr.DataArray, within: str | None) -> str:
    """The groups of ``exchange_groups`` in words."""
    names = [str(folds["group"].attrs.get("column", "group"))] if "group" in folds.coords else []
    names += [within] if within is not None and within not in names else []
    names += [] if "group" in folds.coords else ["each fold"]
    return f"within {' and '.join(names)}"


def knows_labels(folds: xr.DataArray) -> bool:
    """Whether the folds were stratified by the true labels, so that other labels would be less well balanced."""
    return "stratified" in str(folds.attrs.get("folds", "")).lower()


def exchange_blocks(activity: xr.DataArray, folds: xr.DataArray, within: str | None) -> np.ndarray:
    """Blocks (n_trials,) that labels never leave: groups of the folds and of ``within``; one if there are none."""
    columns = [np.zeros(folds.sizes["trial"], int)]
    if "group" in folds.coords:
        columns.append(np.unique(folds["group"].to_numpy(), return_inverse=True)[1])
    if within is not None:
        columns.append(np.unique(trial_column(activity, within), return_inverse=True)[1])
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].ravel()


def come_in_runs(truth: np.ndarray, groups: np.ndarray | None = None, *, blocks: np.ndarray | None = None) -> bool:
    """Whether neighbouring trials share labels far more often than after exchange within groups.

    Labels that come in runs are not exchangeable where activity drifts: a permutation test then finds the drift
    (``docs/false_positives.md`` has the rates).

    Parameters
    ----------
    truth : (n_trials,) in the order of the recording; class positions, or numbers
    groups : (n_trials,) inside which labels are exchanged
    blocks : (n_trials,) that labels never leave; neighbours are those of one block

    Examples
    --------
    >>> import numpy as np
    >>> come_in_runs(np.repeat([0, 1], 10)), come_in_runs(np.tile([0, 1], 10))
    (True, False)
    """
    groups = np.zeros(len(truth), int) if groups is None else np.unique(groups, return_inverse=True)[1]
    place = np.argsort(groups, kind="stable")
    random = np.random.default_rng(0).random((N_ORDERS, len(truth)))
    orders = np.empty((N_ORDERS, len(truth)), truth.dtype)
    orders[:, place] = truth[np.argsort(groups + random, axis=1)]
    by_block = np.arange(len(truth)) if blocks is None else np.argsort(blocks, kind="stable")
    is_pair = np.ones(len(truth) - 1, bool) if blocks is None else np.diff(blocks[by_block]) == 0
    if not is_pair.any():
        return False
    before, after = by_block[:-1][is_pair], by_block[1:][is_pair]
    is_class = truth.dtype.kind in "iu"

    def alike(labels: np.ndarray) -> np.ndarray:
        first, second = labels[..., before], labels[..., after]
        return np.mean(first == second if is_class else -((second - first) ** 2), axis=-1)

    expected = alike(orders)
    return bool(alike(truth) > expected.mean() + MOST_RUNS_SD * expected.std() + 1e-12)
