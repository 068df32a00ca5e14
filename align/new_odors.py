"""New odors in a new animal: aligned on anchor odors, it is asked about odors that it never gave a label for.

Anchors and test odors are split before any alignment. All animals are aligned on the anchors alone; the patterns of
the test odors in the other animals are the candidates, and a test trial of the left-out animal is given to the nearest.
A model with a posterior over conditions (``predict_proba``) learns the test odors from the other animals, and names the
trial itself. Of the left-out animal nothing but anchors is ever seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.errors import ConfigError, SchemaError
from ..decode.score import describe
from .across import align_new, best_setting, derange, of_conditions, some_animals
from .base import condition_means
from .cohort import Cohort, CohortArrays, cohort_arrays
from .identify import MEASURES, identify, ranks
from .linear import Block, consensus
from .quality import geometry_of
from .transfer import common_conditions, no_control
from .transfer_result import LINES, attach_reliability, transfer_result

Map = Callable[..., Iterable[Any]]
CHOICES = ("random", "spread")


def new_odors(
    cohort: Cohort,
    target: str,
    aligner: Any,
    *,
    n_anchors: int,
    n_repeats: int,
    random_state: int,
    n_test: int | None = None,
    choice: str = "random",
    measures: Sequence[str] = MEASURES,
    n_sources: int | None = None,
    targets: Sequence[str] | None = None,
    n_bootstrap: int = 500,
    map: Map = map,
) -> xr.Dataset:
    """Identify odors in every animal that only the other animals have been labelled on.

    Parameters
    ----------
    cohort : session -> activity (trial, time, unit), single trials or averages, on the same bins
    target : trial column, such as "odor"; the values that all sessions have are used
    aligner : unfitted, or several of which one is chosen without the left-out animal
    n_anchors : odors that all animals are aligned on
    n_repeats : random splits into anchors and test odors, the same for all animals
    random_state : seed
    n_test : test odors, the candidates; None takes all that are no anchors
    choice : "random" anchors, or "spread": those that differ most in the other animals, by pivoted Cholesky
    measures : of ``identify``, of which one is chosen without the left-out animal
    n_sources, targets, n_bootstrap, map : as in ``known_odors``

    Returns
    -------
    dataset of kind "transfer" (see ``transfer_result``) with top_5 (line, session), setting and measure (session).
    ``target_only`` is at chance by construction. ``same_animal`` aligns with other sessions of the same animal where
    there are some, else compares with the animal's own other trials; absent where neither is there

    Raises
    ------
    SchemaError : one animal only, fewer odors in common than anchors and two test odors; whatever the aligner refuses
    ConfigError : n_anchors, n_repeats or choice out of range; nothing to choose a setting from
    """
    arrays = cohort_arrays(cohort, target)
    names = list(targets) if targets is not None else list(cohort)
    conditions = common_conditions(arrays, target, fewest=4)
    n_test = len(conditions) - n_anchors if n_test is None else n_test
    _check_numbers(n_anchors, n_test, n_repeats, len(conditions), choice)
    aligners = tuple(aligner) if isinstance(aligner, list | tuple) else (aligner,)
    plan = _Plan(conditions, aligners, tuple(measures), n_anchors, n_test, choice, random_state, n_repeats, n_sources)
    done = list(map(partial(_new, arrays, plan), names))
    found = {name: outcome.lines for name, outcome in zip(names, done, strict=True)}
    result = transfer_result(
        found,
        {name: _positions(arrays, plan, name) for name in names},
        {name: arrays.animals[name] for name in names},
        chance=1 / n_test,
        rival="shuffled_anchors",
        by_chance=("target_only",),
        classwise=False,
        n_bootstrap=n_bootstrap,
        random_state=random_state,
        attrs={
            "task": "new odors", "target": target, "n_anchors": int(n_anchors), "n_test": int(n_test),
            "n_repeats": int(n_repeats), "choice": choice,
            "n_sources": -1 if n_sources is None else int(n_sources),
            "aligner": "; ".join(describe(a) for a in aligners),
            "notes": [
                "Target-only is at chance by construction: the animal's own labels name no new odor.",
                *no_control(aligners),
            ],
        },
    )  # fmt: skip
    top = [[o.top_5.get(line, np.nan) for o in done] for line in LINES]
    top[LINES.index("target_only")] = [min(1.0, 5 / n_test)] * len(names)
    result["top_5"] = (("line", "session"), top)
    result = result.assign_coords(
        setting=("session", [describe(aligners[o.setting]) for o in done]),
        measure=("session", [plan.measures[o.measure] for o in done]),
    )
    return attach_reliability(result, *geometry_of({name: cohort[name] for name in names}, target, conditions))


@dataclass(frozen=True)
class _Plan:
    conditions: np.ndarray
    aligners: tuple[Any, ...]
    measures: tuple[str, ...]
    n_anchors: int
    n_test: int
    choice: str
    random_state: int
    n_repeats: int
    n_sources: int | None = None


@dataclass(frozen=True)
class _Outcome:
    lines: dict[str, np.ndarray]
    top_5: dict[str, float]
    setting: int
    measure: int


def spread_order(values: dict[str, np.ndarray], labels: dict[str, np.ndarray], conditions: np.ndarray) -> np.ndarray:
    """Conditions (n_conditions,) in the order in which each adds most that the ones before it do not tell.

    Pivoted Cholesky of the similarity of conditions over sessions, with noise of a tenth of its mean diagonal: the
    next condition is the one whose pattern is predicted worst from those already chosen.

    Parameters
    ----------
    values, labels : session -> (n_trials, n_times, n_units), (n_trials,); all have all conditions
    """
    blocks = {}
    for session, X in values.items():
        _, means = condition_means(*of_conditions(X, labels[session], conditions))
        flat = means.reshape(len(conditions), -1)
        blocks[session] = Block(np.arange(len(conditions)), flat - flat.mean(axis=0), flat.mean(axis=0))
    Z = consensus(blocks, len(conditions), len(conditions))
    K = Z @ Z.T
    noise = 0.1 * float(np.mean(np.diag(K)))
    order: list[int] = []
    for _ in range(len(conditions)):
        rest = np.diag(K).copy()
        rest[order] = -np.inf
        pick = int(rest.argmax())
        order.append(pick)
        K = K - np.outer(K[:, pick], K[pick]) / (K[pick, pick] + noise)
    return conditions[order]


def _check_numbers(n_anchors: int, n_test: int, n_repeats: int, n_conditions: int, choice: str) -> None:
    for name, value, least in (("n_anchors", n_anchors, 2), ("n_repeats", n_repeats, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ConfigError(f"new_odors: {name} is a whole number from {least}, got {value!r}.")
    if choice not in CHOICES:
        raise ConfigError(f"new_odors: choice is one of {', '.join(CHOICES)}, got {choice!r}.")
    if n_test < 2 or n_anchors + n_test > n_conditions:
        raise SchemaError(
            f"new_odors: {n_conditions} conditions are common to all sessions, and {n_anchors} anchors with {n_test} "
            f"test odors (two or more) do not fit. Ask for fewer anchors."
        )


def _positions(arrays: CohortArrays, plan: _Plan, session: str) -> np.ndarray:
    """Label positions (n_trials,); labels that not all sessions have are beyond the last."""
    y = arrays.labels[session]
    return np.where(np.isin(y, plan.conditions), np.searchsorted(plan.conditions, y), len(plan.conditions))


def _odors(
    arrays: CohortArrays, plan: _Plan, sources: Sequence[str], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Anchors and test odors as positions; spread anchors are chosen from what the sources show."""
    order = rng.permutation(len(plan.conditions))
    tests, rest = order[: plan.n_test], order[plan.n_test :]
    if plan.choice == "spread":
        labels = {name: _positions(arrays, plan, name) for name in sources}
        rest = spread_order({name: arrays.values[name] for name in sources}, labels, np.sort(rest))
    return np.sort(rest[: plan.n_anchors]), np.sort(tests)


def _new(arrays: CohortArrays, plan: _Plan, session: str) -> _Outcome:
    """Everything about one left-out session; this is what ``map`` distributes."""
    others, number = arrays.others(session), list(arrays.values).index(session)
    sources = some_animals(others, arrays.animals, plan.n_sources, [plan.random_state, 3, number])
    setting, measure = 0, 0
    if len(plan.aligners) * len(plan.measures) > 1:
        pretenders = []
        for inner in range(-(-4 // len(sources))):  # random splits of their own, whatever the splits that are scored
            rng = np.random.default_rng([plan.random_state, 1, inner])
            for name in sources:
                rest = [other for other in sources if arrays.animals[other] != arrays.animals[name]]
                if rest:
                    pretenders.append((name, rest, *_odors(arrays, plan, rest, rng)))
        setting, measure = best_setting(plan.aligners, pretenders, partial(_pretend, arrays, plan))
    chosen, measures = plan.aligners[setting], plan.measures[measure : measure + 1]
    siblings = [name for name in arrays.values if name != session and name not in others]
    y = _positions(arrays, plan, session)
    lines: dict[str, list[np.ndarray]] = {}
    places: dict[str, list[np.ndarray]] = {}
    for repeat in range(plan.n_repeats):
        rng = np.random.default_rng([plan.random_state, 0, repeat])
        anchors, tests = _odors(arrays, plan, sources, rng)
        rng = np.random.default_rng([plan.random_state, 2, repeat, number])
        tested, other_half = _halves(y, tests, rng, split=not siblings)
        given = (session, anchors, tests, tested)
        fits = {"aligned": _fits(arrays, plan, chosen, measures, sources, *given)[0]}
        fits["shuffled_anchors"] = _fits(arrays, plan, chosen, measures, sources, *given, shuffle=rng)[0]
        if siblings:
            fits["same_animal"] = _fits(arrays, plan, chosen, measures, siblings, *given)[0]
        elif other_half is not None:
            X = arrays.values[session].reshape(len(y), -1)
            own = condition_means(X[other_half][:, None], y[other_half])[1][:, 0]
            fits["same_animal"] = identify(X[tested], [own], measure=measures[0])
        truth = np.searchsorted(tests, y[tested])
        for line, fit in fits.items():
            row = np.full(len(y), -1, np.int16)
            row[tested] = tests[fit.argmax(axis=1)]
            lines.setdefault(line, []).append(row)
            places.setdefault(line, []).append(ranks(fit, truth))
    top_5 = {line: float(np.mean(np.concatenate(found) < 5)) for line, found in places.items()}
    return _Outcome({line: np.array(rows) for line, rows in lines.items()}, top_5, setting, measure)


def _pretend(
    arrays: CohortArrays, plan: _Plan, aligner: Any, pretender: tuple[str, list[str], np.ndarray, np.ndarray]
) -> list[float]:
    """Mean reciprocal rank of the true odor by every measure, in a source session that is taken for the new one."""
    session, sources, anchors, tests = pretender
    y = _positions(arrays, plan, session)
    tested = np.flatnonzero(np.isin(y, tests))
    truth = np.searchsorted(tests, y[tested])
    fits = _fits(arrays, plan, aligner, plan.measures, sources, session, anchors, tests, tested)
    return [float(np.mean(1 / (1 + ranks(fit, truth)))) for fit in fits]


def _fits(
    arrays: CohortArrays,
    plan: _Plan,
    aligner: Any,
    measures: Sequence[str],
    sources: Sequence[str],
    session: str,
    anchors: np.ndarray,
    tests: np.ndarray,
    tested: np.ndarray,
    *,
    shuffle: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """How well each tested trial fits each test odor, (n_tested, n_tests), by every measure.

    An aligner with a posterior over conditions also learns the test odors of the sources, and needs no measure.
    """
    is_model = hasattr(aligner, "predict_proba")
    labels = {name: _positions(arrays, plan, name) for name in (*sources, session)}
    seen = np.union1d(anchors, tests) if is_model else anchors
    learned = {name: of_conditions(arrays.values[name], labels[name], seen) for name in sources}
    X, y = of_conditions(arrays.values[session], labels[session], anchors)
    if shuffle is not None:
        y = derange(y, shuffle)
    values, known = ({name: pair[part] for name, pair in learned.items()} for part in (0, 1))
    fitted = align_new(aligner, values, known, session, X, y)
    trials = arrays.values[session][tested]
    if is_model:
        found = np.full((len(trials), len(plan.conditions)), -np.inf)
        found[:, fitted.conditions_] = np.log(np.maximum(fitted.predict_proba(session, trials), 1e-300))
        return [found[:, tests]] * len(measures)
    templates = []
    for name in sources:
        own, positions = of_conditions(arrays.values[name], labels[name], tests)
        means = condition_means(fitted.transform(name, own), positions)[1]
        templates.append(means.reshape(len(tests), -1))
    patterns = fitted.transform(session, trials).reshape(len(tested), -1)
    return [identify(patterns, templates, measure=measure) for measure in measures]


def _halves(
    y: np.ndarray, tests: np.ndarray, rng: np.random.Generator, *, split: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Trials of the test odors; where the own other trials are the ceiling, half of them and the other half."""
    of_each = [rng.permutation(np.flatnonzero(y == odor)) for odor in tests]
    if not split or min(map(len, of_each)) < 2:
        return np.sort(np.concatenate(of_each)), None
    tested = np.concatenate([trials[: len(trials) // 2] for trials in of_each])
    return np.sort(tested), np.sort(np.concatenate([trials[len(trials) // 2 :] for trials in of_each]))
