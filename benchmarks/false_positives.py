"""How often noise is called a signal, and how often a signal is found: simulations of every closed-form default.

    python3 run.py bench false_positives

500 recordings without signal of each kind, decoded by every decoder that has a closed form with its default settings,
p from the null that the documentation names for that kind. The last column is the chance that any of them is called
significant by the p value of the family. A second table has labels that change slowly on a drift, where no exchange of
trials is right, under each scheme. A third compares power with a plain loop of scikit-learn's estimators that permutes,
splits and fits anew, as its ``permutation_test_score`` does, on the same recordings and folds.
Writes docs/false_positives.md, which is typed by nobody. Takes five to nine minutes of one thread.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import xarray as xr
from sklearn.base import clone, is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB

from mitral.datasets.fold_kinds import blocked_folds
from mitral.datasets.folds import make_folds
from mitral.decode.closed_form import solver_for, value_solver_for
from mitral.decode.decoders import DECODERS, make_decoder
from mitral.decode.family import with_family
from mitral.decode.null_schemes import CircularShift, ExchangeBlocks, PseudoSession
from mitral.decode.nulls import with_null
from mitral.decode.score import cross_validate

N_SIMULATIONS, N_PERMUTATIONS, LEVEL = 500, 99, 0.05
N_POWER, N_POWER_PERMUTATIONS, SIGNAL = 200, 39, 0.22
N_UNITS, N_TRIALS, N_FOLDS, BLOCK = 15, 60, 5, 5
STAY = 0.9  # probability that a slow label stays from one trial to the next
PAGE = Path(__file__).resolve().parent.parent / "docs" / "false_positives.md"


def has_closed_form(decoder: Any) -> bool:
    """Whether nulls of this decoder are by closed form."""
    return (solver_for(decoder) if is_classifier(decoder) else value_solver_for(decoder)) is not None


DEFAULTS = {
    name: make_decoder(name)
    for name in DECODERS
    if hasattr(make_decoder(name), "steps") and has_closed_form(make_decoder(name))
}
POWER_OF = {
    "shrinkage LDA": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "Gaussian naive Bayes": GaussianNB(),
}


def recording(labels: np.ndarray, rng: np.random.Generator, *, drift: float = 0.0, signal: float = 0.0) -> xr.DataArray:
    """Noise of one standard deviation, a random walk of ``drift`` a trial in every unit, a pattern of the labels."""
    n = len(labels)
    values = rng.normal(size=(n, 1, N_UNITS)) + drift * np.cumsum(rng.normal(size=(n, 1, N_UNITS)), axis=0)
    values += signal * rng.normal(size=(labels.max() + 1, N_UNITS))[labels][:, None]
    columns = {"odor": ("trial", labels), "block": ("trial", np.arange(n) // BLOCK)}
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={"trial": np.arange(n), "time": [0.0], "unit": [f"u{u}" for u in range(N_UNITS)], **columns},
        attrs={"session": "simulated", "animal": "none", "event": "odor", "bin_width_s": 1.0, "units": "a.u."},
    )


def shuffled(counts: tuple[int, ...]) -> Callable[[np.random.Generator], np.ndarray]:
    """Labels in random order, so many of each."""
    return lambda rng: rng.permutation(np.repeat(np.arange(len(counts)), counts))


def in_blocks(rng: np.random.Generator) -> np.ndarray:
    """One label for each block of trials, as many blocks of both."""
    return np.repeat(rng.permutation(np.arange(N_TRIALS // BLOCK) % 2), BLOCK)


def slow_labels(rng: np.random.Generator, n_trials: int = 120) -> np.ndarray:
    """Labels that change with probability 1 - STAY from trial to trial, of which every block of 30 holds both."""
    while True:
        labels = (np.cumsum(rng.random(n_trials) > STAY) + rng.integers(2)) % 2
        if all(0 < np.delete(labels, at).mean() < 1 for at in np.arange(n_trials).reshape(4, -1)):
            return labels


def stratified(activity: xr.DataArray, seed: int, n_folds: int = N_FOLDS) -> xr.DataArray:
    """The default folds."""
    return make_folds(activity, target="odor", n_folds=n_folds, random_state=seed)


class Kind(NamedTuple):
    """Recordings without signal, and how they are analysed."""

    words: str
    labels: Callable[[np.random.Generator], np.ndarray]
    drift: float
    folds: Callable[[xr.DataArray, int], xr.DataArray]
    scheme: Any = None


KINDS = {
    "plain": Kind("60 trials of 3 odors in random order", shuffled((20, 20, 20)), 0.0, stratified),
    "drift": Kind("the same, every unit drifts as a random walk", shuffled((20, 20, 20)), 0.5, stratified),
    "blocks": Kind(
        "12 blocks of 5 trials of one odor, on the drift; 4 folds of whole blocks, whole blocks exchanged",
        in_blocks,
        0.5,
        lambda activity, seed: blocked_folds(activity, target="odor", n_folds=4, group="block"),
        ExchangeBlocks("block"),
    ),
    "imbalance": Kind("45 trials of one odor, 15 of another", shuffled((45, 15)), 0.0, stratified),
    "few trials": Kind(
        "6 trials of each of 2 odors, 3 folds",
        shuffled((6, 6)),
        0.0,
        lambda activity, seed: stratified(activity, seed, 3),
    ),
}


def contiguous(activity: xr.DataArray, seed: int) -> xr.DataArray:
    """Folds that do not look at the labels."""
    return blocked_folds(activity, target="odor", n_folds=4)


SCHEMES = {
    "trials exchanged": (stratified, None),
    "trials exchanged, folds of contiguous trials": (contiguous, None),
    "labels shifted in time": (contiguous, CircularShift(20)),
    "pseudo-sessions": (contiguous, PseudoSession(slow_labels)),
}


def decoded(activity: xr.DataArray, decoder: Any, folds: xr.DataArray, scheme: Any, seed: int) -> xr.Dataset:
    """Result with its null."""
    asked = {"n_permutations": N_PERMUTATIONS, "random_state": seed, "scheme": scheme}
    return with_null(cross_validate(activity, "odor", decoder, folds), activity, decoder, folds, **asked)


def false_positives(kind: Kind, n_simulations: int) -> dict[str, float]:
    """Share of recordings of noise that are called significant, by each default and by the family."""
    found = {name: 0 for name in (*DEFAULTS, "any, family-wise")}
    for seed in range(n_simulations):
        rng = np.random.default_rng(seed)
        activity = recording(kind.labels(rng), rng, drift=kind.drift)
        folds = kind.folds(activity, seed)
        results = {name: decoded(activity, each, folds, kind.scheme, seed) for name, each in DEFAULTS.items()}
        given = {name: result for name, result in results.items() if "p_value" in result.attrs}
        for name, result in given.items():
            found[name] += result.attrs["p_value"] <= LEVEL + 1e-9
        family = with_family(given) if given else {}
        found["any, family-wise"] += any(r.attrs["p_familywise"] <= LEVEL + 1e-9 for r in family.values())
    return {name: count / n_simulations for name, count in found.items()}


def schemes_on_slow_labels(name: str, n_simulations: int) -> tuple[float, float, float]:
    """Share significant of all recordings; share that gets a p value; share significant if p were always given."""
    make, scheme = SCHEMES[name]
    decoder = DEFAULTS["pooled_lda"]
    called = given = anyway = 0
    for seed in range(n_simulations):
        rng = np.random.default_rng([seed, 1])
        labels = slow_labels(rng)
        activity = recording(labels, rng, drift=0.5)
        result = decoded(activity, decoder, make(activity, seed), scheme, seed)
        null = result["null_score"].to_numpy()
        p = (np.sum(null >= result.attrs["score_mean"]) + 1) / (len(null) + 1)
        given += "p_value" in result.attrs
        called += result.attrs.get("p_value", 1.0) <= LEVEL + 1e-9
        anyway += p <= LEVEL + 1e-9
    return called / n_simulations, given / n_simulations, anyway / n_simulations


def power(name: str, n_simulations: int) -> tuple[float, float, float]:
    """Share of recordings with signal that are found by us and by scikit-learn, and the error of the difference."""
    decoder, ours, theirs = POWER_OF[name], [], []
    for seed in range(n_simulations):
        rng = np.random.default_rng([seed, 2])
        activity = recording(shuffled((20, 20, 20))(rng), rng, signal=SIGNAL)
        folds = stratified(activity, seed)
        result = cross_validate(activity, "odor", decoder, folds)
        asked = {"n_permutations": N_POWER_PERMUTATIONS, "random_state": seed}
        ours.append(with_null(result, activity, decoder, folds, **asked).attrs["p_value"] <= LEVEL + 1e-9)
        theirs.append(plain_p(activity.to_numpy()[:, 0], activity["odor"].to_numpy(), decoder, seed) <= LEVEL + 1e-9)
    difference = np.subtract(ours, theirs, dtype=float)
    return float(np.mean(ours)), float(np.mean(theirs)), float(difference.std() / np.sqrt(n_simulations))


def plain_p(X: np.ndarray, y: np.ndarray, decoder: Any, seed: int) -> float:
    """p of a plain permutation test: for the true labels the folds are those of ``make_folds``."""
    rng = np.random.default_rng([seed, 3])

    def score(labels: np.ndarray) -> float:
        scores = []
        for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(X, labels):
            said = clone(decoder).fit(X[train], labels[train]).predict(X[test])
            scores.append(balanced_accuracy_score(labels[test], said))
        return float(np.mean(scores))

    null = [score(rng.permutation(y)) for _ in range(N_POWER_PERMUTATIONS)]
    return (1 + np.sum(np.array(null) >= score(y))) / (1 + N_POWER_PERMUTATIONS)


def error_of(n_simulations: int) -> float:
    """Standard error of a rate of 0.05."""
    return float(np.sqrt(LEVEL * (1 - LEVEL) / n_simulations))


def study(n_simulations: int, n_power: int) -> tuple[str, bool]:
    """All tables as Markdown, and whether every default holds its level."""
    error, holds = error_of(n_simulations), True
    lines = [
        "# False positives and power",
        "",
        "Made by `python3 run.py bench false_positives`; every figure of this page is written by that script.",
        "",
        "```bash",
        "python3 run.py bench false_positives",
        "```",
        "",
        f"## Noise: how often is p at most {LEVEL}?",
        "",
        f"{n_simulations} recordings of each kind, {N_UNITS} units, {N_PERMUTATIONS} labelings each. "
        f"A rate of {LEVEL} has a standard error of {error:.3f} here, so up to {LEVEL + 2 * error:.3f} is no excess.",
        "Decoders have their default settings; these are all that have a closed form for the null.",
        "The last column is the chance that any of them is significant by `p_familywise`, see `with_family`.",
        "",
        "| recordings | " + " | ".join((*DEFAULTS, "any, family-wise")) + " |",
        "|---" * (len(DEFAULTS) + 2) + "|",
    ]
    for name, kind in KINDS.items():
        rates = false_positives(kind, n_simulations)
        holds &= max(rates.values()) <= LEVEL + 2 * error
        lines.append(f"| {name} | " + " | ".join(f"{rate:.3f}" for rate in rates.values()) + " |")
    lines += ["", *(f"- {name}: {kind.words}." for name, kind in KINDS.items()), ""]
    lines += [
        "## Labels that change slowly, on a drift",
        "",
        f"120 trials; an odor stays for the next trial with probability {STAY}; every unit is a random walk that knows "
        f"nothing of it; pooled LDA; {n_simulations} recordings.",
        "Where labels come in runs, an exchange of trials is given no p value, as the last column shows why.",
        "A shift in time is right for recordings that are stationary, and a random walk is not: "
        "prefer pseudo-sessions, which need the labels of other sessions or the program that drew them.",
        "",
        "| scheme | false positives | p value given | false positives if p were always given |",
        "|---|---|---|---|",
    ]
    for name in SCHEMES:
        called, given, anyway = schemes_on_slow_labels(name, n_simulations)
        holds &= name == "labels shifted in time" or called <= LEVEL + 2 * error
        lines.append(f"| {name} | {called:.3f} | {given:.3f} | {anyway:.3f} |")
    lines += [
        "",
        "## A signal: how often is it found?",
        "",
        f"{n_power} recordings of 60 trials of 3 odors with a weak pattern, {N_POWER_PERMUTATIONS} labelings; beside a "
        f"plain permutation test that refits scikit-learn {sklearn.__version__} on the same recordings and folds.",
        "",
        "| decoder | found by mitral | found by scikit-learn | difference | its standard error |",
        "|---|---|---|---|---|",
    ]
    for name in POWER_OF:
        ours, theirs, of_difference = power(name, n_power)
        holds &= ours - theirs >= -0.05 - 2 * of_difference
        lines.append(f"| {name} | {ours:.2f} | {theirs:.2f} | {ours - theirs:+.2f} | {of_difference:.2f} |")
    return "\n".join(lines) + "\n", holds


def main() -> int:
    """Measure, print, and write the page when all simulations were run; 1 if a default does not hold its level."""
    n_simulations = int(sys.argv[1]) if len(sys.argv) > 1 else N_SIMULATIONS
    start = time.perf_counter()
    page, holds = study(n_simulations, min(N_POWER, n_simulations))
    print(page)
    if n_simulations >= N_SIMULATIONS:
        PAGE.write_text(page, encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s; every default holds its level: {'yes' if holds else 'NO'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
