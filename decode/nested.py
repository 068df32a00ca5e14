"""Settings chosen inside each training side, so that the score is of the choosing too (Cawley & Talbot 2010).

The inner folds of an outer fold are the other outer folds, cut down to its training trials:

    inner test  = trials that fold j tests and fold f trains on,   inner training = trials that both train on,

so what the outer folds keep apart (groups, blocks, gaps between neighbours) stays apart inside too, and nothing has to
hand groups down to the estimator. A trial that fold f tests is in neither.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from ..datasets.errors import ConfigError, SchemaError
from ..datasets.folds import TEST, TRAIN, UNUSED
from ..datasets.tables import nearest
from . import metrics
from .closed_form import predict_labelings, predict_values, value_solver_for
from .null_schemes import Scheme
from .nulls import attach_null, chosen_scheme, that_can_be_trained, without_p_of_runs
from .prepare import Problem, prepare
from .result import check_result, confusion
from .score import Map, fold_scores, frame_of, held_out, pooled_score, predict_folds, trial_columns

Settings = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


def cross_validate_nested(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    settings: Settings,
    metric: str | None = None,
    map: Map = map,
) -> xr.Dataset:
    """Choose the estimator's settings on the training trials of each fold, then score its test trials.

    Parameters
    ----------
    activity, target, estimator, folds, metric : as in ``cross_validate``; at least three folds
    settings : parameter of the estimator -> values to try, all combinations; or a sequence of such choices. Of
        settings that score alike the first is taken
    map : as the builtin; called once over the settings

    Returns
    -------
    result as of ``cross_validate``, with ``chosen (fold)`` (position on ``setting``), ``inner_score (fold, setting)``;
    attrs ``n_settings`` and ``settings`` (JSON). Inner scores are those that chose, so no score to report

    Raises
    ------
    ConfigError : no settings, or a parameter that the estimator does not have
    SchemaError : too few folds to choose inside them; as ``cross_validate``

    Notes
    -----
    n_settings · n_folds · (n_folds - 1) / 2 fits to choose, as folds f and j share the fit without both.

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1, n_blocks=5).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    >>> decoder = make_decoder("lda", shrinkage=0.5)
    >>> shrinkage = {"lineardiscriminantanalysis__shrinkage": [0.01, 0.1, 0.9]}
    >>> result = cross_validate_nested(activity, "odor", decoder, folds, settings=shrinkage)
    >>> result.attrs["n_settings"], result["chosen"].dims
    (3, ('fold',))
    """
    candidates, words = _candidates(estimator, settings)
    problem = prepare(activity, target, candidates[0], folds, metric=metric)
    pairs = _Pairs(problem, folds)
    chosen, inner = _choose(problem, problem.truth[None], candidates, pairs, map)
    scored, said = [], []
    for side, position in zip(problem.sides, chosen[0], strict=True):
        given = (problem.features, problem.truth, candidates[position], side[None])
        scored.append(held_out(*given, problem.metric)[0])
        said.append(predict_folds(*given)[0] if metrics.needs_probabilities(problem.metric) else scored[-1])
    tested, out_of_fold = problem.sides == TEST, np.stack(scored)
    result = xr.Dataset(
        {
            "score": ("fold", fold_scores(problem.score_of, problem.truth, out_of_fold, tested)),
            "prediction": (("fold", "trial"), np.stack(said)),
            "target": ("trial", problem.truth),
            "chosen": ("fold", chosen[0]),
            "inner_score": (("fold", "setting"), inner[0]),
        },
        coords={"fold": folds["fold"], "setting": words, **trial_columns(problem.activity)},
    )
    if problem.labels is not None:
        result = result.assign_coords(label=problem.labels, predicted_label=problem.labels)
        counts = confusion(problem.truth, result["prediction"].to_numpy(), problem.n_labels)
        result["confusion"] = (("label", "predicted_label"), counts)
    if metrics.needs_probabilities(problem.metric):
        result["probability"] = (("fold", "trial", "label"), out_of_fold)
    if "group" in folds.coords:
        result = result.assign_coords(group=folds["group"])
    frame = frame_of(problem.activity, target, estimator, folds, problem.metric, problem.truth, problem.for_classes)
    return result.assign_attrs(
        frame,
        score_mean=pooled_score(problem.score_of, problem.truth, out_of_fold, tested),
        n_settings=len(candidates),
        settings=json.dumps(words),
        selection="inside each training side, by the other folds cut down to it",
    )


def with_nested_null(
    result: xr.Dataset,
    activity: xr.DataArray,
    estimator: Any,
    folds: xr.DataArray,
    *,
    settings: Settings,
    n_permutations: int,
    random_state: int,
    within: str | None = None,
    scheme: Scheme | None = None,
    map: Map = map,
) -> xr.Dataset:
    """The result with the scores of labels of the null, the choosing of settings included in each.

    Parameters
    ----------
    result : of ``cross_validate_nested`` on the same activity, estimator, folds and settings
    n_permutations, random_state, within, scheme : as in ``with_null``
    map : as the builtin; called over the settings

    Raises
    ------
    SchemaError : other settings than those of the result; as ``with_null``
    """
    check_result(result)
    candidates, words = _candidates(estimator, settings)
    if result.attrs.get("settings") != json.dumps(words):
        raise SchemaError(
            f"session {result.attrs.get('session', '?')!r}: the result was made with other settings "
            f"({result.attrs.get('settings', 'none')}) than {json.dumps(words)}. Pass those it was made with."
        )
    scheme = chosen_scheme(within, scheme)
    problem = prepare(activity, result.attrs["target"], candidates[0], folds, metric=result.attrs["metric"])
    pairs = _Pairs(problem, folds)
    seeded = {"n_permutations": n_permutations, "random_state": random_state}
    drawn = scheme.draw(problem.truth, problem.activity, folds, labels=problem.labels, **seeded)
    drawn = that_can_be_trained(drawn, np.concatenate([problem.sides, pairs.sides]), problem.activity)
    chosen, _ = _choose(problem, drawn.labels, candidates, pairs, map)
    scored: Any = [[None] * len(problem.sides) for _ in drawn.labels]
    for position, candidate in enumerate(candidates):
        for fold, side in enumerate(problem.sides):
            rows = np.flatnonzero(chosen[:, fold] == position)
            if rows.size:
                found = _out_of_fold(problem, drawn.labels[rows], candidate, side[None])
                for row, values in zip(rows, found, strict=True):
                    scored[row][fold] = values[0]
    tested = problem.sides == TEST
    null = [
        pooled_score(problem.score_of, labels, np.stack(rows), tested)
        for labels, rows in zip(drawn.labels, scored, strict=True)
    ]
    out = attach_null(result, np.array(null), drawn.n_arrangements, scheme=f"{drawn.words}; settings chosen anew")
    out = without_p_of_runs(out, problem.truth, problem.activity, folds, scheme)
    return out.assign_attrs(null_random_state=random_state)


class _Pairs:
    """Inner folds: one for every two outer folds f < j, whose fit serves both.

    Attributes
    ----------
    sides : (n_pairs, n_trials) 1 where both train, 2 where one trains and the other tests
    of_fold : for each outer fold, (pairs, is_test (n_pairs of it, n_trials)): the trials that it chooses by
    """

    def __init__(self, problem: Problem, folds: xr.DataArray) -> None:
        outer = problem.sides
        repeat = folds["repeat"].to_numpy() if "repeat" in folds.coords else np.zeros(len(outer))
        self.sides = np.empty((0, outer.shape[1]), np.int8)
        found: list[np.ndarray] = []
        self.of_fold: list[tuple[list[int], list[np.ndarray]]] = [([], []) for _ in outer]
        for f in range(len(outer)):
            for j in range(f + 1, len(outer)):
                both = (outer[f] == TRAIN) & (outer[j] == TRAIN)
                by_f, by_j = (outer[f] == TRAIN) & (outer[j] == TEST), (outer[j] == TRAIN) & (outer[f] == TEST)
                if repeat[f] != repeat[j] or len(np.unique(problem.truth[both])) < 2:
                    continue
                for fold, mine in ((f, by_f), (j, by_j)):
                    if mine.any():
                        self.of_fold[fold][0].append(len(found))
                        self.of_fold[fold][1].append(mine)
                found.append(np.where(both, TRAIN, np.where(by_f | by_j, TEST, UNUSED)).astype(np.int8))
        without = [fold for fold, (pairs, _) in enumerate(self.of_fold) if not pairs]
        if without:
            raise SchemaError(
                f"session {problem.activity.attrs['session']!r}: settings are chosen in fold {without[0]} by the other "
                f"folds, and none of {len(outer) - 1} leaves two classes to train on and trials to test. Use three "
                f"folds or more, that test different trials."
            )
        self.sides = np.stack(found)


def _candidates(estimator: Any, settings: Settings) -> tuple[list[Any], list[str]]:
    """The estimator with each of the settings, and these in words."""
    tried = list(ParameterGrid(dict(settings))) if isinstance(settings, Mapping) else [dict(each) for each in settings]
    if not tried or not all(tried):
        raise ConfigError(
            f"settings to choose from are a parameter and its values, such as "
            f"{{'lineardiscriminantanalysis__shrinkage': [0.1, 0.5]}}, got {settings!r}."
        )
    valid = estimator.get_params()
    for each in tried:
        for name in each:
            if name not in valid:
                raise ConfigError(f"the estimator has no parameter {name!r}. {nearest(name, valid)}")
    words = [", ".join(f"{name}={value!r}" for name, value in each.items()) for each in tried]
    if len(set(words)) < len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise ConfigError(f"setting {twice} is there twice. Give each once, so that their number is honest.")
    return [clone(estimator).set_params(**each) for each in tried], words


def _choose(
    problem: Problem, labels: np.ndarray, candidates: list[Any], pairs: _Pairs, map: Map
) -> tuple[np.ndarray, np.ndarray]:
    """Position of the best setting (n_labelings, n_folds), and inner scores (n_labelings, n_folds, n_settings)."""
    once = partial(_inner_scores, problem, labels, pairs)
    inner = np.stack(list(map(once, candidates)), axis=2)
    sign = -1.0 if problem.metric in metrics.SMALLER_IS_BETTER else 1.0
    return np.nan_to_num(sign * inner, nan=-np.inf).argmax(axis=2), inner


def _inner_scores(problem: Problem, labels: np.ndarray, pairs: _Pairs, candidate: Any) -> np.ndarray:
    """Scores (n_labelings, n_folds) of one setting over all inner test predictions of each outer fold."""
    found = _out_of_fold(problem, labels, candidate, pairs.sides)
    scores = np.empty((len(labels), len(pairs.of_fold)))
    for fold, (rows, tests) in enumerate(pairs.of_fold):
        tested = np.stack(tests)
        for labeling, (truth, values) in enumerate(zip(labels, found, strict=True)):
            scores[labeling, fold] = pooled_score(problem.score_of, truth, values[rows], tested)
    return scores


def _out_of_fold(problem: Problem, labels: np.ndarray, candidate: Any, sides: np.ndarray) -> np.ndarray:
    """What the metric scores, (n_labelings, n_sides, n_trials[, n_labels]); by closed form where there is one."""
    if metrics.needs_probabilities(problem.metric):
        return np.stack([held_out(problem.features, each, candidate, sides, problem.metric) for each in labels])
    if problem.for_classes:
        return predict_labelings(problem.features, labels, problem.n_labels, candidate, sides)
    if value_solver_for(candidate) is not None:
        return predict_values(problem.features, labels, candidate, sides)
    return np.stack([predict_folds(problem.features, each, candidate, sides) for each in labels])
