"""A run: from the sessions of a store to saved results, trajectories and one table over populations.

Nothing is decided here that is not in the configuration. Each population's result is saved as soon
as it is done, under a name that follows from what it was computed from, and is found again if it
has been computed before.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

import numpy as np
import xarray as xr
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from threadpoolctl import threadpool_limits

from ..datasets.errors import ConfigError, MitralError, UnknownName
from ..datasets.folds import folds_from_splitter, make_folds, trial_column
from ..datasets.preprocess import Flatten, GaussianSmooth, SquareRoot
from ..datasets.store import Store
from ..datasets.tables import nearest
from ..decode.decoders import make_decoder
from ..decode.intervals import hierarchical_interval, with_interval
from ..decode.nulls import with_null
from ..decode.pooled import cross_validate_pooled, with_pooled_null
from ..decode.reduce import reduce
from ..decode.result import content_key, stamp
from ..decode.score import cross_validate
from ..decode.trajectories import make_reducer
from .across import check_transfer, transfer_tasks
from .config import Config
from .cut import cut_cohort, cut_window, has_classes, listed, whole_trials
from .messages import Progress

TABLE_COLUMNS = ("score", "score_low", "score_high", "null_low", "null_high", "p_value", "chance", "control_score")
MISSING = float("nan")


@dataclass(frozen=True)
class Run:
    """What a run leaves: the study, one result for each population, one trajectory for each session.

    Attributes
    ----------
    study : table over populations, kind "study"
    results : population -> result
    trajectories : session id -> trajectory
    names : population -> name of its result in the store; the study's stands in its attrs
    transfers : "known" and "new" -> result across animals, where the configuration has an aligner
    """

    study: xr.Dataset
    results: dict[str, xr.Dataset]
    trajectories: dict[str, xr.DataArray]
    names: dict[str, str]
    transfers: dict[str, xr.Dataset]


def run(
    config: Config, store: Store, *, progress: Progress | None = None, threads: int = 1, map: Callable = map
) -> Run:
    """Decode every population that the configuration names, and save what comes out.

    Parameters
    ----------
    config : what to do
    store : where sessions come from and results go
    progress : called with (what, done, total)
    threads : of the linear algebra libraries; recorded in every result
    map : as the builtin; called over permutations and repeats

    Returns
    -------
    run

    Raises
    ------
    UnknownName : no session fits ``data.sessions``
    ConfigError : a configuration that does not fit the sessions
    SchemaError : data that cannot be decoded as asked, with the session's name
    """
    tell = progress or (lambda what, done, total: None)
    _check_methods(config)
    check_transfer(config)
    pools, said = _pools(store, select_sessions(store, config.data.sessions), config)
    results: dict[str, xr.Dataset] = {}
    trajectories: dict[str, xr.DataArray] = {}
    names: dict[str, str] = {}
    with threadpool_limits(limits=threads):
        for done, (population, members) in enumerate(pools.items()):
            tell(f"decode {population}", done, len(pools))
            try:
                sessions = {name: store.session(name) for name in members}
                new = [name for name in members if name not in trajectories]
                trajectories |= {name: _trajectory(sessions[name], config) for name in new}
                names[population], results[population] = _decoded(population, sessions, config, store, map)
            except MitralError as error:
                kept = "; what was done before it is kept" if done else ""
                error.add_note(f"Stopped at {population}{kept}.")
                raise
        selected = list(dict.fromkeys(name for members in pools.values() for name in members))
        transfers = _transfers(selected, config, store, tell, map)
        tell("done", len(pools), len(pools))
        inputs = {name: store.record("session", name)["object"] for name in trajectories}
        key = content_key(config.resolved(), inputs)
        name = f"{_slug(config.name)}-{key[:10]}"
        study = _found(store, name)
        if study is None:
            study = _study(config, results, names).assign_attrs(name=name, title=config.name, left_out=said)
            study = _save(store, study, name, key, config, inputs)
    return Run(study, results, trajectories, names, transfers)


def select_sessions(store: Store, patterns: tuple[str, ...]) -> list[str]:
    """Ids of the sessions that fit any of the patterns, in the store's order.

    Raises
    ------
    UnknownName : a pattern that nothing fits, with the nearest ids
    """
    known = [str(session) for session in store.sessions()["session"]]
    for pattern in patterns:
        if not any(_fits(session, pattern) for session in known):
            hint = nearest(pattern, known) if known else "The store holds no sessions yet: mitral ingest SOURCE PATH."
            raise UnknownName(f"data.sessions: no session of the store fits {pattern!r}. {hint}")
    return [session for session in known if any(_fits(session, pattern) for pattern in patterns)]


def _check_methods(config: Config) -> None:
    """Refuse a decoder or reducer that cannot be made, before hours of work."""
    reducer = make_reducer(config.trajectory.reducer, **{"n_latents": 1} | config.trajectory.parameters)
    for key, name, made, method in (
        ("decoding.decoder", config.decoding.decoder, _decoder(config), "predict"),
        ("trajectory.reducer", config.trajectory.reducer, reducer, "transform"),
    ):
        if not hasattr(made, "fit") or not hasattr(made, method):
            raise ConfigError(f"{key} = {name!r} is a {type(made).__name__}, without fit and {method}. Give another.")


def _pools(store: Store, sessions: list[str], config: Config) -> tuple[dict[str, list[str]], list[str]]:
    """Population -> its sessions: each session alone, and those that share ``pool_by``; and what is not pooled."""
    pools: dict[str, list[str]] = {}
    said: list[str] = []
    if "session" in config.decoding.populations:
        pools |= {session: [session] for session in sessions}
    if "pseudo-population" in config.decoding.populations:
        joined: dict[str, list[str]] = {}
        for session in sessions:
            units = store.session(session)
            if config.decoding.pool_by not in units.coords or units[config.decoding.pool_by].dims != ("unit",):
                columns = [str(n) for n, c in units.coords.items() if c.dims == ("unit",)]
                raise ConfigError(
                    f"decoding.pool_by = {config.decoding.pool_by!r}: session {session!r} has no such unit column. "
                    f"{nearest(config.decoding.pool_by, columns)}"
                )
            values = np.unique(units[config.decoding.pool_by].to_numpy())
            if len(values) > 1:
                raise ConfigError(
                    f"decoding.pool_by = {config.decoding.pool_by!r}: session {session!r} has units of several "
                    f"({str(values[0])!r}, {str(values[1])!r}), and whole sessions are pooled. Choose another column, "
                    f"or leave the session out of data.sessions."
                )
            joined.setdefault(f"{values[0]} (pooled)", []).append(session)
        pools |= {name: members for name, members in joined.items() if len(members) > 1}
        alone = [members[0] for members in joined.values() if len(members) == 1]
        if alone:
            column = config.decoding.pool_by
            said = [f"Not pooled, as no other session has the same {column}: {listed(np.array(alone))}."]
    if not pools:
        raise ConfigError(
            f"decoding.populations = ['pseudo-population'], but no two of {len(sessions)} sessions share their "
            f"{config.decoding.pool_by}. Add 'session', or more sessions to data.sessions."
        )
    return pools, said


def _decoded(
    population: str, sessions: Mapping[str, xr.Dataset], config: Config, store: Store, map: Callable
) -> tuple[str, xr.Dataset]:
    """Name and result of a population, from the store if it has been computed before."""
    inputs = {name: store.record("session", name)["object"] for name in sessions}
    key, name = _key(inputs, config, population)
    result = _found(store, name)
    if result is None:
        result = _save(store, _decode(population, sessions, config, map), name, key, config, inputs)
    return name, result


def _decode(population: str, sessions: Mapping[str, xr.Dataset], config: Config, map: Callable) -> xr.Dataset:
    checks, estimator = config.validation, _estimator(config)
    cohort, said = cut_cohort(sessions, config)
    try:
        result = _scored(cohort, estimator, config, map)
    except InvalidParameterError as error:
        raise ConfigError(f"decoding.parameters of {config.decoding.decoder!r}: {error}") from error
    common: dict[str, Any] = {"n_permutations": checks.n_permutations, "random_state": checks.random_state, "map": map}
    if len(cohort) == 1:
        (activity,) = cohort.values()
        result = with_null(result, activity, estimator, _folds(activity, config), **common)
        result = with_interval(result, n_bootstrap=checks.n_bootstrap, random_state=checks.random_state)
    else:
        result = with_pooled_null(result, cohort, estimator, n_folds=checks.n_folds, group=checks.group, **common)
    control = None
    if config.decoding.control_window_s is not None:  # the same chain where nothing can be known yet
        cohort, said_too = cut_cohort(sessions, config, config.decoding.control_window_s)
        control = _scored(cohort, estimator, config, map).attrs["score_mean"]
        said += [f"Control window: {sentence}" for sentence in said_too if sentence not in said]
    warnings = [*result.attrs["warnings"], *said]
    return result.assign_attrs(
        name=population, random_state=checks.random_state, control_score=control, warnings=warnings
    )


def _transfers(
    selected: list[str], config: Config, store: Store, progress: Progress, map: Callable
) -> dict[str, xr.Dataset]:
    """Results across animals by task, each from the store if it has been computed before."""
    tasks = transfer_tasks(config)
    if not tasks:
        return {}
    inputs = {name: store.record("session", name)["object"] for name in selected}
    cohort: dict[str, xr.DataArray] = {}
    done = {}
    for task, compute in tasks.items():
        key, name = _key(inputs, config, f"across animals {task}", leave_out=("data", "trajectory"))
        found = _found(store, name)
        if found is None:
            if not cohort:
                cohort, _ = cut_cohort({each: store.session(each) for each in selected}, config)
            found = _save(store, compute(cohort, progress, map), name, key, config, inputs)
        done[task] = found
    return done


def _scored(cohort: Mapping[str, xr.DataArray], estimator: Any, config: Config, map: Callable) -> xr.Dataset:
    """Cross-validated decoding of one session, or of several as a pseudo-population."""
    checks, decoding = config.validation, config.decoding
    if len(cohort) == 1:
        (activity,) = cohort.values()
        return cross_validate(activity, decoding.target, estimator, _folds(activity, config), metric=decoding.metric)
    return cross_validate_pooled(
        cohort,
        decoding.target,
        estimator,
        n_folds=checks.n_folds,
        n_repeats=checks.n_repeats,
        random_state=checks.random_state,
        group=checks.group,
        metric=decoding.metric,
        map=map,
    )


def _folds(activity: xr.DataArray, config: Config) -> xr.DataArray:
    checks, target = config.validation, config.decoding.target
    if not has_classes(trial_column(activity, target)):  # nothing to stratify by
        splitter = (KFold if checks.group is None else GroupKFold)(
            checks.n_folds, shuffle=True, random_state=checks.random_state
        )
        return folds_from_splitter(activity, splitter, target=target, group=checks.group)
    return make_folds(
        activity, target=target, n_folds=checks.n_folds, random_state=checks.random_state, group=checks.group
    )


def _decoder(config: Config) -> Any:
    return make_decoder(config.decoding.decoder, **config.decoding.parameters)


def _estimator(config: Config) -> Any:
    is_count = config.activity.signal == "spikes" and config.activity.square_root
    return make_pipeline(SquareRoot(), Flatten(), _decoder(config)) if is_count else _decoder(config)


def _trajectory(session: xr.Dataset, config: Config) -> xr.DataArray:
    settings = config.trajectory
    activity = cut_window(session, config, settings.window_s, settings.bin_width_s)
    activity = whole_trials(activity, "trajectory.window_s")
    steps: list[Any] = [SquareRoot()] if config.activity.signal == "spikes" and config.activity.square_root else []
    if settings.smooth_sd_s > 0:
        steps.append(GaussianSmooth(sd_bins=settings.smooth_sd_s / settings.bin_width_s))
    n_latents = min(settings.n_latents, activity.sizes["unit"])
    reducer = make_reducer(settings.reducer, **{"n_latents": n_latents} | settings.parameters)
    is_supervised = bool(get_tags(reducer).target_tags.required)
    target = config.decoding.target if is_supervised else None
    return reduce(activity, make_pipeline(*steps, reducer), target=target)


def _key(
    inputs: Mapping[str, str],
    config: Config,
    population: str,
    *,
    leave_out: tuple[str, ...] = ("data", "trajectory", "transfer"),
) -> tuple[str, str]:
    """Content key and name of a population's result, from the sections of the configuration that matter to it."""
    what = {name: value for name, value in config.resolved().items() if name not in leave_out}
    key = content_key(what | {"population": population, "min_trials": config.data.min_trials}, inputs)
    return key, f"{_slug(config.name)}-{_slug(population)}-{key[:10]}"


def _found(store: Store, name: str) -> xr.Dataset | None:
    try:
        return cast(xr.Dataset, store.result(name))
    except UnknownName:
        return None


def _save(
    store: Store, result: xr.Dataset, name: str, key: str, config: Config, inputs: Mapping[str, str]
) -> xr.Dataset:
    result = stamp(result, config=config.resolved(), inputs=inputs).assign_attrs(store_position=store.position)
    store.save_result(result, name=name, content_key=key)
    return cast(xr.Dataset, store.result(name))


def _study(config: Config, results: Mapping[str, xr.Dataset], names: Mapping[str, str]) -> xr.Dataset:
    """The table over populations, with the mean over animals where sessions were decoded alone."""
    rows = list(results.values())
    table = {
        column: ("population", [_number(row.attrs.get("score_mean" if column == "score" else column)) for row in rows])
        for column in TABLE_COLUMNS
    }
    for column in ("n_trials", "n_units"):
        table[column] = ("population", [int(row.attrs[column]) for row in rows])
    coords = {"population": list(results), "result": ("population", [names[population] for population in results])}
    for column in ("animal", "session"):
        coords[column] = ("population", [str(row.attrs[column]) for row in rows])
    alone = [row for row in rows if row.attrs["population"] == "session"]
    checks = config.validation
    summary: dict[str, Any] = {}
    if alone:
        summary = hierarchical_interval(alone, n_bootstrap=checks.n_bootstrap, random_state=checks.random_state)
    attrs = {name: rows[0].attrs[name] for name in ("target", "metric", "event", "window_s", "bin_width_s")}
    attrs["chance"] = float(np.mean([row.attrs["chance"] for row in alone or rows]))
    attrs |= {"kind": "study", "n_sessions": len(alone), "n_animals": 0} | summary
    return xr.Dataset(table, coords=coords, attrs=attrs)


def _number(value: Any) -> float:
    return MISSING if value is None else float(value)


def _fits(session: str, pattern: str) -> bool:
    """Whether a session id is the pattern, or fits it; only * and ? stand for something else than themselves."""
    return session == pattern or fnmatchcase(session, pattern.replace("[", "[[]"))


def _slug(text: str) -> str:
    """Letters, digits and single hyphens, in Unicode normal form C as the store asks."""
    return re.sub(r"[^\w]+", "-", unicodedata.normalize("NFC", text.lower()))[:40].strip("-") or "run"
