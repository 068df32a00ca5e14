"""A run: from the sessions of a store to saved results, trajectories and one table over populations.

Nothing is decided here that is not in the configuration. Each population's result is saved as soon
as it is done, under a name that follows from what it was computed from, and is found again if it
has been computed before.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, cast

import numpy as np
import xarray as xr
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from threadpoolctl import threadpool_limits

from ..datasets.errors import ConfigError, MitralError, UnknownName
from ..datasets.preprocess import GaussianSmooth, SquareRoot
from ..datasets.store import Store
from ..datasets.tables import nearest
from ..decode.intervals import hierarchical_interval, with_interval
from ..decode.nulls import with_null
from ..decode.pooled import cross_validate_pooled, with_pooled_null
from ..decode.reduce import reduce
from ..decode.result import content_key, stamp
from ..decode.score import cross_validate
from ..decode.trajectories import make_reducer
from .config import Config
from .cut import Cut, cut_cohort, cut_window, listed, whole_trials, with_target
from .extras import EXTRAS
from .labels import spoken
from .messages import Progress
from .methods import decoder_of, estimator_of, folds_of, takes_roots
from .tasks import Task

TABLE_COLUMNS = ("score", "score_low", "score_high", "null_low", "null_high", "p_value", "chance", "control_score")
MISSING = float("nan")
SECTIONS_OF_RESULTS = ("name", "activity", "decoding", "validation")  # of the configuration; all results follow them


@dataclass(frozen=True)
class Run:
    """What a run leaves: the study, one result for each population, one trajectory for each session.

    Attributes
    ----------
    study : table over populations, kind "study"
    results : population -> result
    trajectories : session id -> trajectory
    names : population -> name of its result in the store; the study's stands in its attrs
    extras : optional section of the configuration -> task -> result, of those that it has
    """

    study: xr.Dataset
    results: dict[str, xr.Dataset]
    trajectories: dict[str, xr.DataArray]
    names: dict[str, str]
    extras: dict[str, dict[str, xr.Dataset]]


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
                names[population], results[population] = _kept(
                    population, members, partial(_decode, population, sessions, config, map), config=config, store=store
                )
            except MitralError as error:
                kept = "; what was done before it is kept" if done else ""
                error.add_note(f"Stopped at {population}{kept}.")
                raise
        selected = list(dict.fromkeys(name for members in pools.values() for name in members))
        extras = _extras(selected, config, store, tell, map)
        tell("done", len(pools), len(pools))
        inputs = {name: store.record("session", name)["object"] for name in trajectories}
        key = content_key(config.resolved(), inputs)
        name = f"{_slug(config.name)}-{key[:10]}"
        study = _found(store, name)
        if study is None:
            study = _study(config, results, names).assign_attrs(name=name, title=config.name, left_out=said)
            study = _save(store, study, name, key, config, inputs)
    return Run(study, results, trajectories, names, extras)


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
        ("decoding.decoder", config.decoding.decoder, decoder_of(config), "predict"),
        ("trajectory.reducer", config.trajectory.reducer, reducer, "transform"),
    ):
        if not hasattr(made, "fit") or not hasattr(made, method):
            raise ConfigError(f"{key} = {name!r} is a {type(made).__name__}, without fit and {method}. Give another.")
    for part in EXTRAS.values():
        part.tasks(config)


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


def _decode(population: str, sessions: Mapping[str, xr.Dataset], config: Config, map: Callable) -> xr.Dataset:
    checks, estimator = config.validation, estimator_of(config)
    cohort, said = cut_cohort(sessions, config)
    try:
        result = _scored(cohort, estimator, config, map)
    except InvalidParameterError as error:
        raise ConfigError(f"decoding.parameters of {config.decoding.decoder!r}: {error}") from error
    common: dict[str, Any] = {"n_permutations": checks.n_permutations, "random_state": checks.random_state, "map": map}
    if len(cohort) == 1:
        (activity,) = cohort.values()
        result = with_null(result, activity, estimator, folds_of(activity, config), **common)
        result = with_interval(result, n_bootstrap=checks.n_bootstrap, random_state=checks.random_state)
    else:
        result = with_pooled_null(result, cohort, estimator, n_folds=checks.n_folds, group=checks.group, **common)
    control = None
    window = config.decoding.control_window_s
    if window is not None:  # the same chain where nothing can be known yet; it need not hold whole bins of the run
        cut = Cut(window, min(config.activity.bin_width_s, window[1] - window[0]), "decoding.control_window_s")
        cohort, said_too = cut_cohort(sessions, config, cut)
        control = _scored(cohort, estimator, config, map).attrs["score_mean"]
        said += [f"Control window: {sentence}" for sentence in said_too if sentence not in said]
    warnings = [*result.attrs["warnings"], *said]
    return result.assign_attrs(
        name=population, random_state=checks.random_state, control_score=control, warnings=warnings
    )


def _extras(
    selected: list[str], config: Config, store: Store, progress: Progress, map: Callable
) -> dict[str, dict[str, xr.Dataset]]:
    """Results of the optional sections: section -> task -> result."""
    done: dict[str, dict[str, xr.Dataset]] = {}
    for section, part in EXTRAS.items():
        keep = partial(_kept, config=config, store=store, section=section)
        for name, task in part.tasks(config).items():
            what = f"{section} {name}"
            make = partial(_over_sessions, task, what, selected, config, store, keep, progress, map)
            _, done.setdefault(section, {})[name] = keep(what, selected, make)
    return done


def _over_sessions(
    task: Task,
    what: str,
    selected: list[str],
    config: Config,
    store: Store,
    keep: Callable[..., tuple[str, xr.Dataset]],
    progress: Progress,
    map: Callable,
) -> xr.Dataset:
    """The result of a task over all sessions, after those of each session, which are kept too."""
    if task.each is None:
        cohort, _ = cut_cohort({session: store.session(session) for session in selected}, config)
        return task.together(cohort, progress, map)
    each = {}
    for done, session in enumerate(selected):
        progress(f"{spoken(what)}, {session}", done, len(selected))
        try:
            _, each[session] = keep(f"{what} {session}", [session], partial(task.each, store.session(session), map))
        except MitralError as error:
            error.add_note(f"Stopped at {spoken(what)} of {session}; what was done before it is kept.")
            raise
    return task.together(each, progress, map)


def _scored(cohort: Mapping[str, xr.DataArray], estimator: Any, config: Config, map: Callable) -> xr.Dataset:
    """Cross-validated decoding of one session, or of several as a pseudo-population."""
    checks, decoding = config.validation, config.decoding
    if len(cohort) == 1:
        (activity,) = cohort.values()
        folds = folds_of(activity, config)
        return cross_validate(activity, decoding.target, estimator, folds, metric=decoding.metric)
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


def _trajectory(session: xr.Dataset, config: Config) -> xr.DataArray:
    settings = config.trajectory
    cut = Cut(settings.window_s, settings.bin_width_s, "trajectory.window_s")
    activity = with_target(whole_trials(cut_window(session, config, cut), cut.key), config)
    steps: list[Any] = [SquareRoot()] if takes_roots(config) else []
    if settings.smooth_sd_s > 0:
        steps.append(GaussianSmooth(sd_bins=settings.smooth_sd_s / settings.bin_width_s))
    n_latents = min(settings.n_latents, activity.sizes["unit"])
    reducer = make_reducer(settings.reducer, **{"n_latents": n_latents} | settings.parameters)
    is_supervised = bool(get_tags(reducer).target_tags.required)
    target = config.decoding.target if is_supervised else None
    return reduce(activity, make_pipeline(*steps, reducer), target=target)


def _kept(
    what: str,
    members: Iterable[str],
    compute: Callable[[], xr.Dataset],
    *,
    config: Config,
    store: Store,
    section: str | None = None,
) -> tuple[str, xr.Dataset]:
    """Name and result, from the store if it has been computed before from the same sessions and sections."""
    inputs = {name: store.record("session", name)["object"] for name in members}
    uses = (*SECTIONS_OF_RESULTS, *([section] if section else []))
    settings = {name: value for name, value in config.resolved().items() if name in uses}
    key = content_key(settings | {"population": what, "min_trials": config.data.min_trials}, inputs)
    name = f"{_slug(config.name)}-{_slug(what)}-{key[:10]}"
    found = _found(store, name)
    return name, found if found is not None else _save(store, compute(), name, key, config, inputs)


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
