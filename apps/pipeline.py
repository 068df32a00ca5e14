"""A run: from the sessions of a store to saved results, trajectories and one table over populations.

Nothing is decided here that is not in the configuration. Each population's result is saved as soon
as it is done, under a name that follows from what it was computed from, and is found again if it
has been computed before.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import xarray as xr
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from ..datasets.activity import bin_spikes, traces_around
from ..datasets.errors import ConfigError, SchemaError, UnknownName
from ..datasets.folds import make_folds, trial_column
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
from .config import Config
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
    names : what each was saved as in the store
    """

    study: xr.Dataset
    results: dict[str, xr.Dataset]
    trajectories: dict[str, xr.DataArray]
    names: dict[str, str]


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
    sessions = select_sessions(store, config.data.sessions)
    pools = _pools(store, sessions, config)
    total = len(pools) + len(sessions)
    results, trajectories, names = {}, {}, {}
    with threadpool_limits(limits=threads):
        for done, (population, members) in enumerate(pools.items()):
            tell(f"decode {population}", done, total)
            key, name = _key(store, members, config, population)
            results[population] = _found(store, name) or _save(
                store, _decode(population, {s: store.session(s) for s in members}, config, map), name, key, members, config
            )
            names[population] = name
        for done, session in enumerate(sessions, start=len(pools)):
            tell(f"trajectory {session}", done, total)
            trajectories[session] = _trajectory(store.session(session), config)
        tell("done", total, total)
    study = _study(config, results, names)
    inputs = {session: store.record("session", session)["object"] for session in sessions}
    key = content_key(config.resolved(), inputs)
    names["study"] = f"{_slug(config.name)}-{key[:10]}"
    study = stamp(study.assign_attrs(name=names["study"], title=config.name), config=config.resolved(), inputs=inputs)
    if _found(store, names["study"]) is None:
        store.save_result(study.assign_attrs(store_position=store.position), name=names["study"], content_key=key)
    return Run(store.result(names["study"]), results, trajectories, names)


def select_sessions(store: Store, patterns: tuple[str, ...]) -> list[str]:
    """Ids of the sessions that fit any of the patterns, in the store's order.

    Raises
    ------
    UnknownName : a pattern that nothing fits, with the nearest ids
    """
    known = [str(session) for session in store.sessions()["session"]]
    for pattern in patterns:
        if not any(fnmatchcase(session, pattern) for session in known):
            hint = nearest(pattern, known) if known else "The store holds no sessions yet: mitral ingest SOURCE PATH."
            raise UnknownName(f"no session of the store fits {pattern!r}. {hint}")
    return [session for session in known if any(fnmatchcase(session, pattern) for pattern in patterns)]


def cut_activity(session: xr.Dataset, config: Config, window_s: tuple[float, float] | None = None) -> xr.DataArray:
    """Activity of a session as the configuration says, without classes that have too few trials.

    Raises
    ------
    SchemaError : no such event or target, or fewer than two classes with enough trials
    """
    cut = bin_spikes if config.activity.signal == "spikes" else traces_around
    window = window_s or config.activity.window_s
    width = config.activity.bin_width_s
    if window_s is not None:  # the control window need not hold a whole number of the run's bins
        width = min(width, window[1] - window[0])
    activity = cut(session, event=config.activity.event, window_s=window, bin_width_s=width)
    labels = trial_column(activity, config.decoding.target)
    values, counts = np.unique(labels, return_counts=True)
    if labels.dtype.kind == "f" and len(values) > len(labels) / 2:
        return activity
    few = values[counts < config.data.min_trials]
    if len(values) - len(few) < 2:
        raise SchemaError(
            f"session {session.attrs['session']!r}: {len(values) - len(few)} classes of {config.decoding.target!r} have at "
            f"least {config.data.min_trials} trials, and decoding needs two. Lower data.min_trials, or leave the session out."
        )
    kept = activity.isel(trial=~np.isin(labels, few))
    return kept.assign_attrs(kept.attrs | {"left_out": [str(value) for value in few]})


def _pools(store: Store, sessions: list[str], config: Config) -> dict[str, list[str]]:
    """Population -> its sessions: each session alone, and the sessions that share ``pool_by``."""
    pools: dict[str, list[str]] = {}
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
                    f"({values[0]!r}, {values[1]!r}), and pools join whole sessions."
                )
            joined.setdefault(f"{values[0]} (pooled)", []).append(session)
        pools |= {name: members for name, members in joined.items() if len(members) > 1}
    if not pools:
        raise ConfigError("no population to decode: pseudo-populations need two sessions of one kind. Add 'session'.")
    return pools


def _decode(population: str, sessions: Mapping[str, xr.Dataset], config: Config, map: Callable) -> xr.Dataset:
    checks, decoding = config.validation, config.decoding
    estimator = _estimator(config)
    cohort = {name: cut_activity(session, config).compute() for name, session in sessions.items()}
    common: dict[str, Any] = {"random_state": checks.random_state, "map": map}
    if len(cohort) == 1:
        (activity,) = cohort.values()
        result = _score_session(activity, estimator, config)
        folds = _folds(activity, config)
        result = with_null(result, activity, estimator, folds, n_permutations=checks.n_permutations, **common)
        result = with_interval(result, n_bootstrap=checks.n_bootstrap, random_state=checks.random_state)
    else:
        common |= {"n_folds": checks.n_folds, "group": checks.group}
        result = cross_validate_pooled(
            cohort, decoding.target, estimator, n_repeats=checks.n_repeats, metric=decoding.metric, **common
        )
        result = with_pooled_null(result, cohort, estimator, n_permutations=checks.n_permutations, **common)
    left_out = sorted({value for activity in cohort.values() for value in activity.attrs.get("left_out", [])})
    if left_out:
        said = f"Left out, with fewer than {config.data.min_trials} trials: {', '.join(left_out)}."
        result = result.assign_attrs(warnings=[*result.attrs["warnings"], said])
    result = result.assign_attrs(control_score=_control(sessions, estimator, config, map))
    return result.assign_attrs(name=population, random_state=checks.random_state)


def _score_session(activity: xr.DataArray, estimator: Any, config: Config) -> xr.Dataset:
    folds = _folds(activity, config)
    return cross_validate(activity, config.decoding.target, estimator, folds, metric=config.decoding.metric)


def _folds(activity: xr.DataArray, config: Config) -> xr.DataArray:
    checks = config.validation
    return make_folds(
        activity,
        target=config.decoding.target,
        n_folds=checks.n_folds,
        random_state=checks.random_state,
        group=checks.group,
    )


def _control(sessions: Mapping[str, xr.Dataset], estimator: Any, config: Config, map: Callable) -> float | None:
    """Score of the same chain in the control window, where nothing can be known yet; None if not asked for."""
    window = config.decoding.control_window_s
    if window is None:
        return None
    cohort = {name: cut_activity(session, config, window).compute() for name, session in sessions.items()}
    if len(cohort) == 1:
        (activity,) = cohort.values()
        return _score_session(activity, estimator, config).attrs["score_mean"]
    checks = config.validation
    pooled = cross_validate_pooled(
        cohort,
        config.decoding.target,
        estimator,
        n_folds=checks.n_folds,
        n_repeats=checks.n_repeats,
        random_state=checks.random_state,
        group=checks.group,
        metric=config.decoding.metric,
        map=map,
    )
    return pooled.attrs["score_mean"]


def _estimator(config: Config) -> Any:
    decoder = make_decoder(config.decoding.decoder, **config.decoding.parameters)
    is_count = config.activity.signal == "spikes" and config.activity.square_root
    return make_pipeline(SquareRoot(), Flatten(), decoder) if is_count else decoder


def _trajectory(session: xr.Dataset, config: Config) -> xr.DataArray:
    settings = config.trajectory
    cut = bin_spikes if config.activity.signal == "spikes" else traces_around
    activity = cut(
        session, event=config.activity.event, window_s=settings.window_s, bin_width_s=settings.bin_width_s
    ).compute()
    complete = np.isfinite(activity.to_numpy()).all(axis=(1, 2))
    if not complete.any():
        raise SchemaError(
            f"session {session.attrs['session']!r}: no trial has the whole window {settings.window_s} s of the trajectory. "
            f"Shorten trajectory.window_s."
        )
    activity = activity.isel(trial=complete)
    steps: list[Any] = [SquareRoot()] if config.activity.signal == "spikes" and config.activity.square_root else []
    if settings.smooth_sd_s > 0:
        steps.append(GaussianSmooth(sd_bins=settings.smooth_sd_s / settings.bin_width_s))
    n_latents = min(settings.n_latents, activity.sizes["unit"])
    steps.append(make_reducer(settings.reducer, n_latents=n_latents, **settings.parameters))
    return reduce(activity, make_pipeline(*steps))


def _key(store: Store, members: list[str], config: Config, population: str) -> tuple[str, str]:
    """Content key and name of a population's result. The trajectory section does not matter to it."""
    inputs = {session: store.record("session", session)["object"] for session in members}
    what = {name: value for name, value in config.resolved().items() if name not in ("data", "trajectory")}
    key = content_key(what | {"population": population, "min_trials": config.data.min_trials}, inputs)
    return key, f"{_slug(config.name)}-{_slug(population)}-{key[:10]}"


def _found(store: Store, name: str) -> xr.Dataset | None:
    try:
        return store.result(name)
    except UnknownName:
        return None


def _save(store: Store, result: xr.Dataset, name: str, key: str, members: list[str], config: Config) -> xr.Dataset:
    inputs = {session: store.record("session", session)["object"] for session in members}
    result = stamp(result, config=config.resolved(), inputs=inputs).assign_attrs(store_position=store.position)
    store.save_result(result, name=name, content_key=key)
    return store.result(name)


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
    summary = (
        hierarchical_interval(alone, n_bootstrap=config.validation.n_bootstrap, random_state=config.validation.random_state)
        if alone
        else {}
    )
    attrs = {name: rows[0].attrs[name] for name in ("target", "metric", "chance", "event", "window_s", "bin_width_s")}
    attrs |= {"kind": "study", "n_sessions": len(alone), "n_animals": 0} | summary
    return xr.Dataset(table, coords=coords, attrs=attrs)


def _number(value: Any) -> float:
    return MISSING if value is None else float(value)


def _slug(text: str) -> str:
    """Letters, digits and single hyphens."""
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:40] or "run"
