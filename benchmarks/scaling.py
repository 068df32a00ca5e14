"""How the cost grows with permutations, trials and bins: measured, with the slope on two logarithmic axes.

    python3 run.py bench scaling
    python benchmarks/scaling.py docs/images/scaling.svg      the same, and the figure

Shrinkage LDA at every bin, 3 classes, 60 units, 5 folds, one thread; processor time, the fastest of three. A slope of
1 is linear. Time generalisation has a score for every pair of bins, so its slope over bins lies between 1 and 2.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits

from mitral.datasets import make_folds
from mitral.decode import cross_validate_over_time, generalise_over_time, with_null_over_time

N_UNITS, N_CLASSES, N_FOLDS, REPEATS = 60, 3, 5, 3
LDA = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
LINEAR = 1.15  # a larger slope over the last two doublings is reported as not linear
AT = {"permutations": 200, "trials": 200, "bins": 10}  # what the other sizes are while one grows
JOBS = {  # name: (what grows, sizes, largest slope)
    "null": ("permutations", (250, 500, 1000, 2000, 4000), LINEAR),
    "null ": ("trials", (250, 500, 1000, 2000, 4000), LINEAR),
    "null  ": ("bins", (10, 20, 40, 80, 160), LINEAR),
    "each bin": ("trials", (500, 1000, 2000, 4000, 8000), LINEAR),
    "each bin ": ("bins", (100, 200, 400, 800, 1600), LINEAR),
    "time generalisation": ("bins", (25, 50, 100, 200, 400), 2 * LINEAR),
}


def make_activity(n_trials: int, n_bins: int) -> xr.DataArray:
    """Gaussian activity with a faint class mean."""
    rng = np.random.default_rng(0)
    odor = np.arange(n_trials) % N_CLASSES
    values = rng.normal(size=(n_trials, n_bins, N_UNITS)) + 0.2 * rng.normal(size=(N_CLASSES, 1, N_UNITS))[odor]
    coords = {
        "trial": np.arange(n_trials),
        "time": (np.arange(n_bins) + 0.5) * 0.01,
        "unit": [f"s/u{u}" for u in range(N_UNITS)],
        "odor": ("trial", odor),
    }
    attrs = {"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.01, "units": "a.u."}
    return xr.DataArray(values, dims=("trial", "time", "unit"), coords=coords, attrs=attrs)


def job(name: str, sizes: dict[str, int]) -> Callable[[], Any]:
    """The call to be timed, with what it needs made ahead."""
    activity = make_activity(sizes["trials"], sizes["bins"])
    folds = make_folds(activity, target="odor", n_folds=N_FOLDS, random_state=0)
    given = (activity, "odor", LDA, folds)
    if name.startswith("each bin"):
        return lambda: cross_validate_over_time(*given)
    if name.startswith("time generalisation"):
        return lambda: generalise_over_time(*given)
    result, n = cross_validate_over_time(*given), sizes["permutations"]
    return lambda: with_null_over_time(result, activity, LDA, folds, n_permutations=n, random_state=0)


def seconds(call: Callable[[], Any]) -> float:
    """Processor time of the fastest of three calls."""
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def slope(sizes: np.ndarray, cost: np.ndarray) -> float:
    """Of a straight line through the points on two logarithmic axes."""
    return float(np.polyfit(np.log(sizes), np.log(cost), 1)[0])


def measure() -> dict[str, np.ndarray]:
    """Seconds of every job at every size."""
    found = {}
    with threadpool_limits(limits=1):
        job("null", {**AT, "bins": 2})()  # loads what is imported late
        for name, (grows, sizes, _) in JOBS.items():
            found[name] = np.array([seconds(job(name, {**AT, grows: size})) for size in sizes])
    return found


def print_rows(found: dict[str, np.ndarray]) -> None:
    """Seconds and slopes, in Markdown."""
    print("| job | grows | sizes | seconds | slope over all | over the last two doublings | linear |")
    print("|---|---|---|---|---|---|---|")
    for name, cost in found.items():
        grows, sizes, most = JOBS[name]
        x = np.asarray(sizes, float)
        over_all, last = slope(x, cost), slope(x[-3:], cost[-3:])
        word = ("yes" if last <= most else "no") if most == LINEAR else ("in pairs" if last <= most else "no")
        print(
            f"| {name.strip()} | {grows} | {', '.join(map(str, sizes))} | {', '.join(f'{s:.3g}' for s in cost)} "
            f"| {over_all:.2f} | {last:.2f} | {word} |"
        )
    rest = ", ".join(f"{size} {name}" for name, size in AT.items())
    print(f"\n{N_UNITS} units, {N_CLASSES} classes, {N_FOLDS} folds; what does not grow stays at {rest}.")


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """Cost against size, a panel for each thing that grows."""
    import matplotlib
    from matplotlib.figure import Figure

    from mitral.apps.figures import SETTINGS
    from mitral.apps.palette import GREY, OKABE_ITO

    colors = dict(zip(("null", "each bin", "time generalisation"), OKABE_ITO, strict=False))
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(180 / 25.4, 62 / 25.4), layout="constrained")
        panels = dict(zip(AT, figure.subplots(1, len(AT), sharey=True), strict=True))
        for name, cost in found.items():
            grows, sizes, _ = JOBS[name]
            axes = panels[grows]
            axes.plot(sizes, cost, marker="o", markersize=3, color=colors[name.strip()], label=name.strip())
            axes.plot(sizes, cost[-1] * np.asarray(sizes) / sizes[-1], linestyle=":", color=GREY, label="linear")
        for grows, axes in panels.items():
            axes.set(xscale="log", yscale="log", xlabel=f"number of {grows}")
            ticks = sorted({size for grown, sizes, _ in JOBS.values() if grown == grows for size in sizes[::2]})
            axes.set_xticks(ticks if grows != "bins" else (10, 25, 100, 400, 1600))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
        named = {
            label: line
            for axes in panels.values()
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(named.values()), list(named), loc="outside upper left", ncols=len(named))
        panels["permutations"].set_ylabel("processor time (s)")
        figure.savefig(path, metadata={"Date": None}, transparent=True)


def main() -> None:
    """Measure and print; draw where a path is given."""
    found = measure()
    print_rows(found)
    if len(sys.argv) > 1:
        draw(found, Path(sys.argv[1]))
        print(f"\n{sys.argv[1]}")


if __name__ == "__main__":
    main()
