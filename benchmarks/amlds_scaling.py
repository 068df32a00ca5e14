"""How the cost of one EM iteration of amLDS grows with trials, animals and bins: measured, with slopes.

    python3 run.py bench amlds_scaling
    python benchmarks/amlds_scaling.py docs/images/amlds_scaling.svg      the same, and the figure

The published simulation with 20 odors; what does not grow stays at 4 animals, 20 trials an odor and 41 bins. Processor
time of one thread, the fastest of three: a fit of 12 iterations less one of 4, over 8, so that the start is left out.
A slope of 1 on two logarithmic axes is linear.
"""

import sys
import time
from pathlib import Path

import numpy as np
from scaling import slope
from threadpoolctl import threadpool_limits

from mitral.align.mixture_lds import MixtureLDS
from mitral.datasets.simulate.latent_space import simulate_latent_space

REPEATS, FEW, MANY = 3, 4, 12
AT = {"animals": 4, "trials an odor": 20, "bins": 41}
SIZES = {"trials an odor": (10, 20, 40, 80, 160), "animals": (2, 4, 8, 16), "bins": (20, 41, 82, 164, 328)}
LINEAR = 1.15  # a larger slope over the last two doublings is reported as not linear


def iteration_s(sizes: dict[str, int]) -> float:
    """Seconds of processor time of one EM iteration."""
    space = simulate_latent_space(
        random_state=0,
        n_animals=sizes["animals"],
        n_odors=20,
        n_trials=sizes["trials an odor"],
        n_times=sizes["bins"],
    )
    found = []
    for n_iterations in (FEW, MANY):
        aligner = MixtureLDS(n_latents=3, max_iterations=n_iterations, tolerance=1e-300)
        times = []
        for _ in range(REPEATS):
            start = time.process_time()
            aligner.fit(space.trials, space.odor)
            times.append(time.process_time() - start)
        if len(aligner.log_likelihood_) < n_iterations:
            raise SystemExit(f"EM stopped after {len(aligner.log_likelihood_)} of {n_iterations} iterations.")
        found.append(min(times))
    return (found[1] - found[0]) / (MANY - FEW)


def draw(cost: dict[str, np.ndarray], path: Path) -> None:
    """A panel for each thing that grows."""
    import matplotlib
    from matplotlib.figure import Figure

    from mitral.apps.figures import SETTINGS
    from mitral.apps.palette import BLUE, GREY

    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(180 / 25.4, 55 / 25.4), layout="constrained")
        for axes, (grows, seconds) in zip(figure.subplots(1, len(cost), sharey=True), cost.items(), strict=True):
            sizes = np.asarray(SIZES[grows], float)
            axes.plot(sizes, 1e3 * seconds, marker="o", markersize=3, color=BLUE, label="measured")
            axes.plot(sizes, 1e3 * seconds[-1] * sizes / sizes[-1], linestyle=":", color=GREY, label="linear")
            axes.set(xscale="log", yscale="log", xlabel=f"number of {grows}", xticks=SIZES[grows])
            axes.set(yticks=(3, 10, 30), ylim=(2, 60))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
            axes.minorticks_off()
        figure.axes[0].set_ylabel("one EM iteration (ms)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        figure.savefig(path, metadata={"Date": None}, transparent=True)


def main() -> None:
    """Measure and print; draw where a path is given."""
    with threadpool_limits(limits=1):
        iteration_s(AT | {"trials an odor": 5})  # loads what is imported late
        cost = {
            grows: np.array([iteration_s(AT | {grows: size}) for size in sizes]) for grows, sizes in SIZES.items()
        }
    print("| grows | sizes | ms an iteration | slope over all | over the last two doublings | linear |")
    print("|---|---|---|---|---|---|")
    for grows, seconds in cost.items():
        x = np.asarray(SIZES[grows], float)
        last = slope(x[-3:], seconds[-3:])
        print(
            f"| {grows} | {', '.join(map(str, SIZES[grows]))} | {', '.join(f'{1e3 * s:.3g}' for s in seconds)} "
            f"| {slope(x, seconds):.2f} | {last:.2f} | {'yes' if last <= LINEAR else 'no'} |"
        )
    if len(sys.argv) > 1:
        draw(cost, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
