"""Every aligner on every real cohort: decoding in an animal that is left out, beside the figures to be held.

    python3 run.py bench transfer_real

Settings (latents, share, measure of identification) are chosen inside the folds, from what serves the other animals;
nothing is tuned on this table. Intervals are over animals. With a path as argument the table is also written there, as
the page docs/alignment_results.md is.
"""

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from real_cohorts import ROOT, bees, burton, burton_trials, chae, gratings, images, iurilli, worms
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mitral.align import ALIGNERS, known_odors, make_aligner, new_odors
from mitral.datasets.errors import MitralError
from mitral.decode import make_decoder

NAMES = [
    "none", "procrustes", "srm", "cca", "generalised_cca", "ridge", "similarity", "sinkhorn", "gromov_wasserstein",
    "mixture_lds", "shared_private",
]  # fmt: skip
SLOW = ("gromov_wasserstein", "sinkhorn", "mixture_lds", "shared_private")  # one setting each
MANY = ("Burton 2022", "Chae 2019", "92 images")  # conditions, for these: minutes
FEW = ("gromov_wasserstein", "mixture_lds", "shared_private")


def settings_of(name: str, latents: tuple[int, ...]) -> list:
    """Candidates of which one is chosen inside the folds."""
    if name in SLOW:
        latents = latents[-1:]
    return [make_aligner(name, n_latents=d) for d in latents]


def new(load: Callable, n_anchors: int, latents: tuple[int, ...], n_repeats: int, name: str) -> xr.Dataset:
    """New odors in a new animal."""
    cohort = load()
    aligners = settings_of(name, latents)
    return new_odors(cohort, "condition", aligners, n_anchors=n_anchors, n_repeats=n_repeats, random_state=0)


def known(load: Callable, k: int, n_test: int, latents: tuple[int, ...], n_repeats: int, name: str) -> xr.Dataset:
    """Known conditions with k calibration trials each."""
    decoder = make_decoder("pooled_lda")
    settings: dict = {"k": k, "n_test": n_test, "n_repeats": n_repeats, "random_state": 0}
    if name == "shared_private":
        settings["shares"] = (1.0,)  # it weighs the others itself
    return known_odors(load(), "condition", settings_of(name, latents), decoder, **settings)


def by_name(load: Callable, name: str) -> xr.Dataset:
    """Units that correspond by name, without any calibration trial."""
    settings = {"k": 0, "n_test": 1, "n_repeats": 1, "random_state": 0}
    return known_odors(load(), "condition", make_aligner(name), make_decoder("pooled_lda"), **settings)


def reversals(name: str) -> dict[str, tuple[float, float, float]]:
    """Area under the curve for reversals in the second half of a left-out worm: line -> mean, low, high over worms.

    Aligned on 8 bins of velocity in the worm's first half, decoded by the other worms' reversals.
    """
    found = worms()
    edges = np.quantile(np.concatenate([worm["velocity"] for worm in found.values()]), np.linspace(0, 1, 9)[1:-1])
    labels = {key: np.digitize(worm["velocity"], edges) for key, worm in found.items()}
    lines: dict[str, list[float]] = {}
    for target in found:
        half = len(labels[target]) // 2
        truth = found[target]["reversal"][half:]
        sources = [key for key in found if key != target]
        train = np.concatenate([found[key]["reversal"] for key in sources])
        values = {key: found[key]["traces"][:, None] for key in sources}
        X = found[target]["traces"]
        rng = np.random.default_rng(0)
        wrong = np.roll(labels[target][:half], rng.integers(half // 4, 3 * half // 4))
        for line, y in (("aligned", labels[target][:half]), ("shuffled_anchors", wrong)):
            aligner = make_aligner(name, n_latents=5).fit(values, {key: labels[key] for key in sources})
            aligner.add_session(target, X[:half, None], y)
            latents = np.concatenate([aligner.transform(key, values[key])[:, 0] for key in sources])
            score = _auc(latents, train, aligner.transform(target, X[half:]), truth)
            lines.setdefault(line, []).append(score)
        own = _auc(X[:half], found[target]["reversal"][:half], X[half:], truth)
        lines.setdefault("target_only", []).append(own)
        named = np.concatenate([found[key]["named"] for key in sources])
        lines.setdefault("matched by name", []).append(_auc(named, train, found[target]["named"][half:], truth))
    return {line: _over_animals(np.array(values)) for line, values in lines.items()}


def _auc(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, truth: np.ndarray) -> float:
    scale = X.std(axis=0) + 1e-9
    fitted = LogisticRegression(C=0.01, max_iter=500, class_weight="balanced").fit(X / scale, y)
    return float(roc_auc_score(truth, fitted.decision_function(X_test / scale)))


def _over_animals(values: np.ndarray) -> tuple[float, float, float]:
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


UNTREATED = partial(bees, first_block=False)
COHORTS = {
    "Burton 2022, 93 new odors, 92 anchors (4 mice)": (partial(new, burton, 92, (40, 80), 2), "0.32 (mouse 0.41)"),
    "Chae 2019, 29 new odors, 28 anchors (5 mice)": (partial(new, chae, 28, (10, 20), 3), "0.28 (mouse 0.50)"),
    "92 images, 46 new, 46 anchors (monkey, 4 humans)": (partial(new, images, 46, (10, 20), 2), ""),
    "Burton tuning with sampled trials, 20 odors, k=1": (partial(known, burton_trials, 1, 4, (10,), 2), "must gain"),
    "V1 gratings, 8 directions, k=8 (7 mice)": (partial(known, gratings, 8, 8, (7,), 1), "0.232, unaligned 0.133"),
    "Iurilli 2017 piriform, 15 odors, k=4 (8 experiments)": (partial(known, iurilli, 4, 2, (5,), 3), "not below own"),
    "Bees, 10 concentrations, k=1 (7 untreated bees)": (partial(known, UNTREATED, 1, 1, (5,), 2), ""),
}  # fmt: skip


def row(cohort: str, name: str, lines: dict[str, tuple[float, float, float]], held_to: str, chance: float) -> str:
    """One line of the table."""
    cells = []
    for line in ("target_only", "aligned", "shuffled_anchors", "same_animal"):
        mean, low, high = lines.get(line, (np.nan,) * 3)
        cells.append("—" if not np.isfinite(mean) else f"{mean:.3f} ({low:.3f} – {high:.3f})")
    return f"| {cohort} | {name} | {' | '.join(cells)} | {chance:.3f} | {held_to} |"


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    said = [
        "| cohort | aligner | target only | aligned | shuffled anchors | same animal | chance | to be held |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(said), flush=True)
    start, notes = time.perf_counter(), []
    wanted = [name for name in NAMES if name in ALIGNERS]
    for cohort, (task, held_to) in COHORTS.items():
        for name in wanted:
            if name in FEW and cohort.startswith(MANY):
                continue
            try:
                result = task(name)
            except (MitralError, OSError) as error:
                notes.append(f"{cohort}, {name}: {error}")
                continue
            parts = zip(result["line"].values.tolist(), result["score_mean"].values, result["score_low"].values,
                        result["score_high"].values, strict=True)  # fmt: skip
            lines = {line: (mean, low, high) for line, mean, low, high in parts}
            said.append(row(cohort, name, lines, held_to, result.attrs["chance"]))
            print(said[-1], flush=True)
        said_of = result.attrs["agreement"]
        notes.append(f"{cohort}: geometry of an animal and of the others correlates by {said_of:.2f} (Spearman).")
    everyone = by_name(partial(bees, first_block=True), "none")
    lines = {"aligned": tuple(float(everyone[f"score_{part}"].sel(line="aligned")) for part in ("mean", "low", "high"))}
    count = f"Bees, 10 concentrations, left out one at a time ({everyone.attrs['n_animals']} bees)"
    said.append(row(count, "none, by the names of glomeruli", lines, "", 0.1))
    print(said[-1], flush=True)
    for name in wanted:
        if name in FEW:
            continue
        try:
            lines = reversals(name)
        except (MitralError, OSError, ImportError) as error:
            notes.append(f"Worms, {name}: {error}")
            continue
        said.append(row("Worms, reversals, area under the curve (7)", name, lines, "by name 0.765, PCA 0.545", 0.5))
        print(said[-1], flush=True)
    if "matched by name" in lines:
        mean, low, high = lines["matched by name"]
        notes.append(f"Worms, units matched by name, same second halves: {mean:.3f} ({low:.3f} – {high:.3f}).")
    notes.append("Worms: aligned on 8 bins of velocity in the first half of the one left out, tested on the second.")
    notes.append(f"{time.perf_counter() - start:.0f} s in all; intervals of 95 % over animals.")
    print("\n" + "\n".join(notes))
    if len(sys.argv) > 1:
        page = Path(sys.argv[1])
        title = [
            "# Every aligner on every cohort",
            "",
            "Made by `benchmarks/transfer_real.py`; to make it again, give that script this file as its argument.",
            "What the lines mean is told in [alignment](alignment.md).",
            "Latents, shares and measures are chosen inside the folds; intervals of 95 % are over animals.",
            "",
        ]
        page.write_text("\n".join([*title, *said, "", *(f"- {note}" for note in notes), ""]), encoding="utf-8")


if __name__ == "__main__":
    if not ROOT.is_dir():
        print(f"no recordings at {ROOT}: set MITRAL_DATA")
    else:
        main()
