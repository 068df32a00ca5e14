"""The part of a run that says how many: scores from few units, or few training trials, and what they tend to.

``pipeline`` calls it where the configuration has ``[how_many]``. The computing is in ``decode``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import xarray as xr

from ..decode.curves import learning_curve, mean_curve, neuron_dropping, size_dim
from ..decode.saturation import fit_saturation
from .config import Config, HowMany
from .cut import cut_activity
from .labels import spoken
from .methods import estimator_of, folds_of
from .rows import counted
from .summary import number
from .tasks import Task, interval_words, metric_words, plain, with_left_out

CURVES: dict[str, Callable[..., xr.Dataset]] = {"n_units": neuron_dropping, "n_trials": learning_curve}
FEWEST_SIZES = 3  # to which a saturation is fitted
SIZE_WORDS = {"n_units": "units", "n_trials": "training trials"}


def tasks(config: Config) -> dict[str, Task]:
    """Name of each curve -> how it is made; none without the section."""
    settings = config.how_many
    if settings is None:
        return {}
    return {
        dim.removeprefix("n_"): Task(partial(_together, config), partial(_curve, config, settings, dim))
        for dim in CURVES
        if getattr(settings, dim)
    }


def lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Sentences for the terminal: the score at each size, and what it tends to."""
    said = []
    for curve in results.values():
        dim = size_dim(curve)
        at = ", ".join(f"{number(score)} from {size}" for size, score in zip(*_points(curve, dim), strict=True))
        of = counted(curve.attrs["n_animals"], "animal")
        said.append(f"How many {size_words(curve)}: {metric_words(curve)} {at} (mean of {of}).")
        said += [tends_to(curve)] * ("asymptote" in curve.attrs)
        said += [f"Note: {warning}" for warning in curve.attrs["warnings"]]
    return said


def values(results: Mapping[str, xr.Dataset]) -> list[dict[str, Any]]:
    """The same as plain values: a curve each, with a row for each size."""
    out = []
    for curve in results.values():
        dim = size_dim(curve)
        parts = [name for name in ("score", "score_low", "score_high", "fitted") if name in curve]
        rows = [
            {dim: int(size)} | {name: plain(curve[name].sel({dim: size})) for name in parts}
            for size in curve[dim].values
        ]
        fit = {
            name: curve.attrs.get(name)
            for name in ("saturation", "asymptote", "asymptote_low", "asymptote_high", "is_asymptote_determined")
            + ("n_half", "n_half_low", "n_half_high")
        }
        out.append({"over": dim, "scores": rows, "warnings": curve.attrs["warnings"]} | fit)
    return out


def size_words(curve: xr.Dataset) -> str:
    """What the curve runs over: units, or training trials (of each class, where there are classes)."""
    dim = size_dim(curve)
    if dim == "n_units":
        return SIZE_WORDS[dim]
    of_each = f" of each {spoken(curve.attrs['target'])}" if curve.attrs["n_trials_of"] == "each class" else ""
    return f"{SIZE_WORDS[dim]}{of_each}"


def tends_to(curve: xr.Dataset) -> str:
    """What the fitted saturation says, or that it says nothing."""
    attrs, what = curve.attrs, SIZE_WORDS[size_dim(curve)]
    if not attrs["is_asymptote_determined"]:
        low, high = (number(attrs[f"asymptote_{end}"]) for end in ("low", "high"))
        return f"What it tends to with ever more {what} is not determined (between {low} and {high}): do not quote it."
    asymptote, half = (
        interval_words(attrs[name], attrs[f"{name}_low"], attrs[f"{name}_high"]) for name in ("asymptote", "n_half")
    )
    return (
        f"With ever more {what} it tends to {asymptote}, and half of the rise from chance is reached with {half} "
        f"({attrs['saturation']} form; intervals over {attrs['saturation_over']})."
    )


def _points(curve: xr.Dataset, dim: str) -> tuple[list[int], list[float]]:
    return curve[dim].values.tolist(), curve["score"].values.tolist()


def _curve(config: Config, settings: HowMany, dim: str, session: xr.Dataset, map: Callable) -> xr.Dataset:
    """Curve of one session, over the sizes that it has the units for."""
    activity = cut_activity(session, config)
    sizes, n_units = list(getattr(settings, dim)), activity.sizes["unit"]
    if dim == "n_units" and min(sizes) <= n_units:
        sizes = [size for size in sizes if size <= n_units]
    curve = CURVES[dim](
        activity,
        config.decoding.target,
        estimator_of(config),
        folds_of(activity, config),
        **{dim: sizes},
        n_repeats=settings.n_repeats,
        random_state=config.validation.random_state,
        metric=config.decoding.metric,
        map=map,
    )
    return with_left_out(curve, activity)


def _together(config: Config, curves: Mapping[str, xr.Dataset], progress: Any, map: Callable) -> xr.Dataset:
    """The mean curve over animals, with its saturation where there are sizes enough; of one session, its own curve."""
    checks, rows = config.validation, list(curves.values())
    seed: dict[str, Any] = {"random_state": checks.random_state, "n_bootstrap": checks.n_bootstrap}
    curve = mean_curve(rows, **seed) if len(rows) > 1 else rows[0].assign_attrs(n_animals=1, n_sessions=1)
    left_out = [warning for warning in curve.attrs["warnings"] if not warning.startswith("Left out, as")]
    asked = set(getattr(config.how_many, size_dim(curve)))
    absent = sorted(asked - set(curve[size_dim(curve)].values.tolist()))
    if absent:
        what = SIZE_WORDS[size_dim(curve)]
        left_out.append(f"Left out: {', '.join(map(str, absent))} {what}, which not every session has.")
    curve = curve.assign_attrs(warnings=left_out)
    if curve.sizes[size_dim(curve)] < FEWEST_SIZES:
        return curve
    over = "animals" if curve.attrs["n_animals"] > 1 else "random subsets"
    fitted = fit_saturation(curve, **seed)  # whose warning ``tends_to`` says
    return fitted.assign_attrs(saturation_over=over, warnings=left_out)
