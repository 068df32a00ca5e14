"""Known odors in a new animal: decoded from the data of other animals and a few calibration trials of its own.

Leave one animal out. Of the left-out animal, k trials of each odor calibrate and other trials test; the split comes
before any alignment. Not here: odors that the animal never gave a label for (``new_odors.py``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import ConfigError, SchemaError
from ..decode.decoders import make_decoder
from ..decode.score import describe, takes_three_axes
from .across import align_new, best_setting, derange, log_posterior, some_animals
from .cohort import Cohort, CohortArrays, cohort_arrays
from .quality import geometry_of
from .transfer_result import attach_reliability, transfer_result

Map = Callable[..., Iterable[Any]]
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def known_odors(
    cohort: Cohort,
    target: str,
    aligner: Any,
    decoder: Any,
    *,
    k: int,
    n_repeats: int,
    random_state: int,
    n_test: int | None = None,
    calibrate_on: Sequence[Any] | None = None,
    shares: Sequence[float] = SHARES,
    n_sources: int | None = None,
    targets: Sequence[str] | None = None,
    n_bootstrap: int = 500,
    map: Map = map,
) -> xr.Dataset:
    """Decode a target in every animal from the others' trials and k of its own for each label.

        log p(odor | x) = (1 - share) log p_own(odor | x) + share log p_shared(odor | aligned x)

    The own posterior comes from a decoder of the animal's k trials in its own units, the shared one from a decoder of
    all animals' trials in the shared space, or is the aligner's own where it has one (``predict_proba``). A share of 0
    is target-only, 1 is the shared space alone.

    Parameters
    ----------
    cohort : session -> activity (trial, time, unit) with single trials, on the same bins
    target : trial column, such as "odor"; the labels that all sessions have are used
    aligner : unfitted, or several of which one is chosen without the left-out animal
    decoder : classifier with posteriors (or decision values), cloned
    k : calibration trials of each label; 0 is zero-shot (units must correspond, and the share is 1)
    n_repeats : random splits of the left-out animal's trials
    random_state : seed; every session has a stream of its own
    n_test : test trials of each label; None takes half of the fewest
    calibrate_on : the labels that have calibration trials, for example a single odor; None takes all
    shares : of which one is chosen without the left-out animal, from what serves its sources; needs three animals. A
        share of 0 is only left for one that clearly beats it there (``across.best_setting``)
    n_sources : number of other animals to learn from, a random choice for every session; None takes all
    targets : sessions to decode in; None takes all
    n_bootstrap : of the intervals
    map : as the builtin; called once over the sessions

    Returns
    -------
    dataset of kind "transfer" (see ``transfer_result``): score (line, session), score_mean, score_low, score_high
    (line), prediction (line, session, repeat, trial) is not kept; share and setting (session), reliability (session);
    attrs ``finding``, ``gain``, ``chance``, ``agreement``

    Raises
    ------
    SchemaError : one animal only, fewer than two labels in common, fewer than k + n_test trials of one, with the
        session; whatever the aligner refuses
    ConfigError : k, n_repeats, shares out of range; nothing to choose a share from

    Notes
    -----
    ``same_animal`` trains on all trials of the animal that do not test. Where not all labels have calibration trials
    there is no own posterior: then the share is 1 and target-only is at chance. With k = 1 the own decoder is the
    nearest mean, whatever ``decoder`` is.
    """
    arrays = cohort_arrays(cohort, target)
    plan = _plan(arrays, target, aligner, decoder, k, n_repeats, n_test, calibrate_on, shares, n_sources)
    names = list(targets) if targets is not None else list(cohort)
    _check_targets(names, arrays)
    seeds = np.random.SeedSequence(random_state).spawn(len(cohort))
    stream = dict(zip(cohort, seeds, strict=True))
    done = list(map(partial(_known, arrays, plan), names, [stream[name] for name in names]))
    found = {name: outcome.lines for name, outcome in zip(names, done, strict=True)}
    notes = []
    if not plan.has_own:
        notes.append("Target-only is at chance by construction: its calibration trials do not tell the labels apart.")
    notes += no_control(plan.aligners)
    result = transfer_result(
        found,
        {name: np.searchsorted(plan.conditions, arrays.labels[name]) for name in names},
        {name: arrays.animals[name] for name in names},
        chance=1 / len(plan.conditions),
        rival="target_only",
        by_chance=() if plan.has_own else ("target_only",),
        n_bootstrap=n_bootstrap,
        random_state=random_state,
        attrs={
            "task": "known odors", "target": target, "k": int(k), "n_repeats": int(n_repeats), "n_test": plan.n_test,
            "n_sources": -1 if n_sources is None else int(n_sources),
            "n_labels": len(plan.conditions), "aligner": "; ".join(describe(a) for a in plan.aligners),
            "decoder": describe(decoder), "notes": notes,
        },
    )  # fmt: skip
    result = result.assign_coords(
        share=("session", [outcome.share for outcome in done]),
        setting=("session", [describe(plan.aligners[outcome.setting]) for outcome in done]),
    )
    return attach_reliability(result, *geometry_of({name: cohort[name] for name in names}, target, plan.conditions))


@dataclass(frozen=True)
class _Plan:
    conditions: np.ndarray
    aligners: tuple[Any, ...]
    decoder: Any
    k: int
    n_repeats: int
    n_test: int
    calibrated: np.ndarray
    shares: tuple[float, ...]
    n_sources: int | None

    @property
    def has_own(self) -> bool:
        """Whether the animal's own calibration trials tell all labels apart."""
        return self.k > 0 and len(self.calibrated) == len(self.conditions)


@dataclass(frozen=True)
class _Outcome:
    lines: dict[str, np.ndarray]
    share: float
    setting: int


@dataclass(frozen=True)
class _Split:
    calibrate: np.ndarray
    rest: np.ndarray
    test: np.ndarray


def _plan(
    arrays: CohortArrays,
    target: str,
    aligner: Any,
    decoder: Any,
    k: int,
    n_repeats: int,
    n_test: int | None,
    calibrate_on: Sequence[Any] | None,
    shares: Sequence[float],
    n_sources: int | None = None,
) -> _Plan:
    conditions = common_conditions(arrays, target, fewest=2)
    counts = {session: min(np.sum(y == c) for c in conditions) for session, y in arrays.labels.items()}
    fewest = min(counts, key=lambda session: counts[session])
    n_test = max(1, counts[fewest] // 2) if n_test is None else n_test
    for name, value, least in (("k", k, 0), ("n_repeats", n_repeats, 1), ("n_test", n_test, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ConfigError(f"known_odors: {name} is a whole number from {least}, got {value!r}.")
    if counts[fewest] < k + n_test:
        raise SchemaError(
            f"session {fewest!r} has {counts[fewest]} trials of its rarest {target}, and k={k} for calibration with "
            f"{n_test} for testing need {k + n_test}. Ask for fewer, or leave it out."
        )
    calibrated = conditions if calibrate_on is None else np.unique(np.asarray(list(calibrate_on)))
    absent = np.setdiff1d(calibrated, conditions)
    if len(absent) or not len(calibrated):
        raise SchemaError(
            f"calibrate_on names {str(absent[0])!r}, which not all sessions have."
            if len(absent)
            else "calibrate_on names no label. Give at least one, or None for all."
        )
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise ConfigError(f"known_odors: shares lie between 0 and 1, got {list(shares)}.")
    aligners = tuple(aligner) if isinstance(aligner, list | tuple) else (aligner,)
    if k == 0 or len(calibrated) < len(conditions):
        shares = (1.0,)
    return _Plan(conditions, aligners, decoder, k, n_repeats, n_test, calibrated, tuple(sorted(set(shares))), n_sources)


def common_conditions(arrays: CohortArrays, target: str, *, fewest: int) -> np.ndarray:
    """The labels that all sessions have.

    Raises
    ------
    SchemaError : one animal; fewer in common than asked for, with the session that has fewest
    """
    if len(set(arrays.animals.values())) < 2:
        raise SchemaError(
            f"all {len(arrays.animals)} sessions are of one animal ({next(iter(arrays.animals.values()))!r}), so there "
            f"is nobody to learn from. The attr 'animal' of an activity says whose it is."
        )
    found = {session: set(y.tolist()) for session, y in arrays.labels.items()}
    conditions = np.array(sorted(set.intersection(*found.values())))
    if len(conditions) < fewest:
        session = min(found, key=lambda name: len(found[name]))
        raise SchemaError(
            f"session {session!r} has {len(found[session])} values of {target!r}, and all sessions have "
            f"{len(conditions)} in common, fewer than {fewest}. Check the labels, or leave sessions out."
        )
    return conditions


def no_control(aligners: Sequence[Any]) -> list[str]:
    """A sentence where the shuffled line says nothing."""
    if all(getattr(aligner, "needs_labels", True) for aligner in aligners):
        return []
    return ["The aligner compares no labels, so shuffled anchors are no control."]


def _check_targets(names: Sequence[str], arrays: CohortArrays) -> None:
    unknown = [name for name in names if name not in arrays.values]
    if unknown or not names:
        raise SchemaError(f"targets name the session {(unknown or ['none'])[0]!r}, which is not in the cohort.")


def _split(y: np.ndarray, plan: _Plan, rng: np.random.Generator) -> _Split:
    """Within each label: k trials to calibrate with, n_test to test, and the rest."""
    parts: dict[str, list[int]] = {"calibrate": [], "rest": [], "test": []}
    for condition in plan.conditions:
        trials = rng.permutation(np.flatnonzero(y == condition))
        test, pool = trials[: plan.n_test], trials[plan.n_test :]
        k = plan.k if condition in plan.calibrated else 0
        parts["test"] += test.tolist()
        parts["calibrate"] += pool[:k].tolist()
        parts["rest"] += pool[k:].tolist()
    return _Split(*(np.array(sorted(part), int) for part in parts.values()))


def _known(arrays: CohortArrays, plan: _Plan, session: str, seed: np.random.SeedSequence) -> _Outcome:
    """Everything about one left-out session; this is what ``map`` distributes."""
    picking, choosing, testing = seed.spawn(3)
    sources = some_animals(arrays.others(session), arrays.animals, plan.n_sources, picking)
    setting, option = 0, 0
    if len(plan.aligners) * len(plan.shares) > 1:
        pretenders = []
        for name, stream in zip(sources, choosing.spawn(len(sources)), strict=True):
            others = [other for other in sources if arrays.animals[other] != arrays.animals[name]]
            if others:
                pretenders.append((name, others, stream))
        is_guarded = plan.shares[0] == 0.0  # to share nothing is what any other share has to beat
        pretend = partial(_pretend, arrays, plan)
        setting, option = best_setting(plan.aligners, pretenders, pretend, cautious=is_guarded)
    share, aligner = plan.shares[option], plan.aligners[setting]
    X, y = arrays.values[session], np.searchsorted(plan.conditions, arrays.labels[session])
    lines: dict[str, list[np.ndarray]] = {}
    for stream in testing.spawn(plan.n_repeats):
        rng = np.random.default_rng(stream)
        split = _split(arrays.labels[session], plan, rng)
        c, t = split.calibrate, split.test
        wrong = derange(y[c], rng, among=np.arange(len(plan.conditions))) if len(c) else y[c]
        own = _own(plan, X[c], y[c], X[t])
        shared = _shared(arrays, plan, aligner, sources, session, X[c], y[c], X[t]) if share > 0 else own
        found = {"aligned": _weighed(own, shared, share)}
        mistaken = _own(plan, X[c], wrong, X[t])
        shuffled = mistaken
        if share > 0:
            shift = None if len(c) else rng
            shuffled = _shared(arrays, plan, aligner, sources, session, X[c], wrong, X[t], shuffle=shift)
        found["shuffled_anchors"] = _weighed(mistaken, shuffled, share)
        if own is not None:
            found["target_only"] = own
        pool = np.concatenate([c, split.rest])
        if len(np.unique(y[pool])) == len(plan.conditions):
            found["same_animal"] = _posterior(plan, X[pool], y[pool], X[t])
        for line, posterior in found.items():
            row = np.full(len(y), -1, np.int16)
            row[t] = posterior.argmax(axis=1)
            lines.setdefault(line, []).append(row)
    return _Outcome({line: np.array(rows) for line, rows in lines.items()}, share, setting)


def _pretend(arrays: CohortArrays, plan: _Plan, aligner: Any, pretender: tuple[str, list[str], Any]) -> list[float]:
    """Accuracy of every share in a source session that is taken for the new one."""
    session, sources, stream = pretender
    X, y = arrays.values[session], np.searchsorted(plan.conditions, arrays.labels[session])
    right = []
    for repeat in stream.spawn(min(2, plan.n_repeats)):
        split = _split(arrays.labels[session], plan, np.random.default_rng(repeat))
        c, t = split.calibrate, np.concatenate([split.test, split.rest])
        own = _own(plan, X[c], y[c], X[t])
        shared = _shared(arrays, plan, aligner, sources, session, X[c], y[c], X[t])
        right.append([np.mean(_weighed(own, shared, share).argmax(axis=1) == y[t]) for share in plan.shares])
    return np.mean(right, axis=0).tolist()


def _own(plan: _Plan, X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray | None:
    return _posterior(plan, X, y, X_test) if plan.has_own else None


def _shared(
    arrays: CohortArrays,
    plan: _Plan,
    aligner: Any,
    sources: Sequence[str],
    session: str,
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    *,
    shuffle: np.random.Generator | None = None,
) -> np.ndarray:
    """Posterior of a decoder of all animals' trials in the shared space; ``shuffle`` renames the sources' labels."""
    values, labels = {}, {}
    for name in sources:
        kept = np.isin(arrays.labels[name], plan.conditions)
        values[name] = arrays.values[name][kept]
        labels[name] = np.searchsorted(plan.conditions, arrays.labels[name][kept])
        if shuffle is not None:
            labels[name] = derange(labels[name], shuffle)
    fitted = align_new(aligner, values, labels, session, X, y)
    if hasattr(fitted, "predict_proba"):
        found = np.full((len(X_test), len(plan.conditions)), -np.inf)
        found[:, fitted.conditions_] = np.log(np.maximum(fitted.predict_proba(session, X_test), 1e-300))
        return found
    latents = [fitted.transform(name, values[name]) for name in sources]
    if len(X):
        latents.append(fitted.transform(session, X))
    train = np.concatenate([labels[name] for name in sources] + [y])
    return _posterior(plan, np.concatenate(latents), train, fitted.transform(session, X_test))


def _posterior(plan: _Plan, X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Log posterior of the test trials; one trial of a label shows no spread, so that then the nearest mean decides."""
    decoder = make_decoder("nearest_centroid") if np.unique(y, return_counts=True)[1].max() == 1 else plan.decoder
    if not takes_three_axes(decoder):
        X, X_test = X.reshape(len(X), -1), X_test.reshape(len(X_test), -1)
    return log_posterior(clone(decoder).fit(X, y), X_test, len(plan.conditions))


def _weighed(own: np.ndarray | None, shared: np.ndarray | None, share: float) -> np.ndarray:
    """The weighed sum of log posteriors; one that is absent has no weight."""
    if own is None or shared is None or share in (0.0, 1.0):
        found = shared if own is None or (share > 0 and shared is not None) else own
        return np.asarray(found)
    return (1 - share) * np.maximum(own, -700.0) + share * np.maximum(shared, -700.0)
