"""One false-positive rate for several analyses of the same trials: decoders, windows or unit sets that were tried.

All see the same relabelings, so the smallest p of each relabeling is known, with however many analyses hang together:

    p_familywise,i = share of labelings, the true one included, whose smallest p over the family is at most p_i

(Westfall & Young 1993, minimum p). Unlike Bonferroni's it costs little where the analyses agree.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from ..datasets.errors import SchemaError
from . import metrics
from .result import check_result

SAME = ("target", "folds", "null_scheme", "null_random_state", "n_permutations", "n_trials")


def with_family(results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The results with a p value that holds for the best of them.

    Parameters
    ----------
    results : name -> result with a null, all of the same trials, folds, scheme, seed and number of permutations

    Returns
    -------
    name -> result with attrs ``p_familywise`` and ``family`` (names of all)

    Raises
    ------
    SchemaError : no results, one without a null or a p value, nulls of other labelings

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import cross_validate, make_decoder, with_null
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1, n_blocks=5).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=5, random_state=0)
    >>> results = {}
    >>> for name in ("nearest_centroid", "naive_bayes"):
    ...     found = cross_validate(activity, "odor", make_decoder(name), folds)
    ...     results[name] = with_null(found, activity, make_decoder(name), folds, n_permutations=49, random_state=0)
    >>> with_family(results)["naive_bayes"].attrs["p_familywise"]
    0.02
    """
    if not results:
        raise SchemaError("a family needs at least one result, got none. Decode, and add a null, first.")
    names = list(results)
    first = results[names[0]]
    for name, result in results.items():
        check_result(result)
        if "null_score" not in result or "p_value" not in result.attrs:
            said = next((w for w in result.attrs.get("warnings", []) if w.startswith("No p value")), "")
            raise SchemaError(f"result {name!r} has no p value. {said or 'Add a null, with_null(...), first.'}")
        differ = [key for key in SAME if result.attrs.get(key) != first.attrs.get(key)]
        if differ or not np.array_equal(result["trial"].to_numpy(), first["trial"].to_numpy()):
            what = differ[0] if differ else "trial"
            raise SchemaError(
                f"results {names[0]!r} and {name!r} differ in {what} ({first.attrs.get(what)!r} and "
                f"{result.attrs.get(what)!r}), so their labelings are not the same. Make all nulls with the same "
                f"trials, folds, n_permutations and random_state."
            )
    p_of_labelings = np.stack([_p_of_every_labeling(result) for result in results.values()])
    smallest = p_of_labelings.min(axis=0)
    return {
        name: result.assign_attrs(
            p_familywise=max(float(np.mean(smallest <= p[0] + 1e-12)), result.attrs["p_smallest"]), family=names
        )
        for (name, result), p in zip(results.items(), p_of_labelings, strict=True)
    }


def _p_of_every_labeling(result: xr.Dataset) -> np.ndarray:
    """The share (n_permutations + 1,) of all labelings that score at least as well as each; the true one first."""
    sign = -1.0 if result.attrs["metric"] in metrics.SMALLER_IS_BETTER else 1.0
    scores = sign * np.append(result.attrs["score_mean"], result["null_score"].to_numpy())
    return rankdata(-np.round(scores, 12), method="max") / len(scores)
