"""How many anchor odors a new animal needs, and which: planned on the animals that are already there.

Each animal in turn is taken for the new one (``new_odors``), for every number of anchors, chosen at random or spread.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import ConfigError
from .cohort import Cohort, cohort_arrays
from .new_odors import CHOICES, Map, new_odors, spread_order
from .transfer import common_conditions
from .transfer_result import sweep


def plan_anchors(
    cohort: Cohort,
    target: str,
    aligner: Any,
    *,
    wanted: float,
    n_anchors: Sequence[int],
    n_test: int,
    n_repeats: int,
    random_state: int,
    map: Map = map,
    **settings: Any,
) -> xr.Dataset:
    """Accuracy for new odors by number and choice of anchors, and the fewest that reach what is wanted.

    Parameters
    ----------
    cohort, target, aligner : as in ``new_odors``
    wanted : accuracy (share of test odors named right) that is asked for
    n_anchors : numbers to try
    n_test : candidates, the same for every number, so that chance is the same
    n_repeats, random_state, map : as in ``new_odors``
    settings : further ones of ``new_odors``: ``measures``, ``targets``, ``n_bootstrap``

    Returns
    -------
    dataset of kind "anchor_plan": score_mean, score_low, score_high (choice, n_anchors) of the aligned line,
    ``fewest (choice)``, the number that reaches ``wanted`` (-1 where none does), ``anchor (rank)``, all odors in the
    order in which to use them: first those that differ most; attr ``finding``

    Raises
    ------
    ConfigError : ``wanted`` outside 0 to 1, no numbers; SchemaError : as ``new_odors``
    """
    if not 0 < wanted <= 1 or not len(n_anchors):
        raise ConfigError(f"plan_anchors: wanted lies between 0 and 1 and n_anchors holds numbers, got {wanted}.")
    numbers = sorted(set(n_anchors))
    curves = {}
    for choice in CHOICES:
        task = partial(
            _with, cohort, target, aligner,
            {"n_test": n_test, "n_repeats": n_repeats, "random_state": random_state, "choice": choice, "map": map}
            | settings,
        )  # fmt: skip
        curves[choice] = sweep(task, numbers, name="n_anchors").sel(line="aligned", drop=True)
    names = ["score_mean", "score_low", "score_high"]
    plan = xr.concat([curve[names] for curve in curves.values()], dim=xr.DataArray(list(CHOICES), dims="choice"))
    reached = plan["score_mean"].to_numpy() >= wanted
    fewest = [numbers[int(row.argmax())] if row.any() else -1 for row in reached]
    arrays = cohort_arrays(cohort, target)
    conditions = common_conditions(arrays, target, fewest=4)
    order = spread_order(arrays.values, arrays.labels, conditions)
    plan = plan.drop_attrs().assign_coords(choice=list(CHOICES), n_anchors=numbers)
    plan = plan.assign(fewest=("choice", fewest), anchor=("rank", order)).assign_coords(rank=np.arange(len(order)))
    attrs = {
        "kind": "anchor_plan", "target": target, "wanted": float(wanted), "n_test": int(n_test), "chance": 1 / n_test,
        "n_animals": len(set(arrays.animals.values())), "interval_over": curves["random"].attrs["interval_over"],
    }  # fmt: skip
    return plan.assign_attrs(attrs | {"finding": _say(plan, wanted, n_test, order)})


def _with(cohort: Cohort, target: str, aligner: Any, settings: dict[str, Any], n_anchors: int) -> xr.Dataset:
    return new_odors(cohort, target, aligner, n_anchors=n_anchors, **settings)


def _say(plan: xr.Dataset, wanted: float, n_test: int, order: np.ndarray) -> str:
    fewest = dict(zip(plan["choice"].to_numpy().tolist(), plan["fewest"].to_numpy().tolist(), strict=True))
    best = {c: float(plan["score_mean"].sel(choice=c).max()) for c in fewest}
    most = int(plan["n_anchors"].max())
    if max(fewest.values()) < 0:
        return (
            f"No number of anchors up to {most} reaches {wanted:.2f} among {n_test} new odors: the best is "
            f"{max(best.values()):.2f}. More anchors, or more animals, are needed."
        )
    said = [
        f"{fewest[c]} {c} anchors reach {wanted:.2f}"
        if fewest[c] > 0
        else f"{c} anchors do not reach it up to {most} ({best[c]:.2f})"
        for c in fewest
    ]
    first = ", ".join(map(str, order[:5].tolist()))
    return f"Among {n_test} new odors, {'; '.join(said)}. Begin with {first}."
