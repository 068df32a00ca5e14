"""From stored sessions to the activity that a configuration asks for: cut, whole, in classes that can be decoded.

What is left out (trials that are not wholly recorded, classes with too few trials, classes that not every
session of a pool has) is said in sentences, which end up among the warnings of the result.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from ..datasets.activity import bin_spikes, traces_around
from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column
from ..decode.concentration import log_concentration
from .config import Config

LOG_CONCENTRATION = "log10_concentration"  # made from the trial column ``concentration`` where a session has no such


class Cut(NamedTuple):
    """Another window than that of ``[activity]``."""

    window_s: tuple[float, float]
    bin_width_s: float
    key: str  # of the configuration that sets the window, for messages


def cut_cohort(
    sessions: Mapping[str, xr.Dataset], config: Config, cut: Cut | None = None
) -> tuple[dict[str, xr.DataArray], list[str]]:
    """Activity of each session, in the classes that all of them have; and what was left out, in sentences.

    Parameters
    ----------
    sessions : session id -> session
    config : what to cut, and which target
    cut : another window than that of ``[activity]``

    Raises
    ------
    SchemaError : as ``cut_activity``; fewer than two classes in common
    """
    cohort = {name: cut_activity(session, config, cut) for name, session in sessions.items()}
    if len(cohort) == 1:
        return cohort, [sentence for activity in cohort.values() for sentence in activity.attrs["left_out"]]
    said = [f"{name}: {sentence}" for name, activity in cohort.items() for sentence in activity.attrs["left_out"]]
    target = config.decoding.target
    labels = {name: trial_column(activity, target) for name, activity in cohort.items()}
    every = np.unique(np.concatenate(list(labels.values())))
    is_shared = np.all([np.isin(every, values) for values in labels.values()], axis=0)
    if is_shared.sum() < 2:
        raise SchemaError(
            f"{len(cohort)} sessions ({next(iter(cohort))!r} to {list(cohort)[-1]!r}) have {is_shared.sum()} classes "
            f"of {target!r} in common, and a pseudo-population needs two. Name fewer sessions in data.sessions."
        )
    if not is_shared.all():
        said.append(f"Left out: {target} {listed(every[~is_shared])}, which not every session has.")
    shared = {name: activity.isel(trial=np.isin(labels[name], every[is_shared])) for name, activity in cohort.items()}
    return shared, said


def cut_activity(session: xr.Dataset, config: Config, cut: Cut | None = None) -> xr.DataArray:
    """Activity of one session as the configuration says, computed.

    Left out are trials that are not recorded in the whole window, those without a logarithm of concentration where
    that is the target, and classes with too few trials;
    the attribute ``left_out`` says which, in sentences.

    Raises
    ------
    SchemaError : no such event or target, no trial with the whole window, or fewer than two classes
        with enough trials
    """
    cut = cut or Cut(config.activity.window_s, config.activity.bin_width_s, "activity.window_s")
    activity = with_target(whole_trials(cut_window(session, config, cut), cut.key), config)
    target, least = config.decoding.target, config.data.min_trials
    labels = trial_column(activity, target)
    if not has_classes(labels):
        return activity
    values, counts = np.unique(labels, return_counts=True)
    few = values[counts < least]
    if len(values) - len(few) < 2:
        raise SchemaError(
            f"session {session.attrs['session']!r}: {len(values) - len(few)} of {len(values)} classes of {target!r} "
            f"have at least {least} trials, and decoding needs two. {_advice(session)}"
        )
    said = [f"Left out: {target} {listed(few)}, with fewer than {least} trials."] if few.size else []
    kept = activity.isel(trial=~np.isin(labels, few))
    return kept.assign_attrs(left_out=[*activity.attrs["left_out"], *said])


def has_classes(labels: np.ndarray) -> bool:
    """Whether trials share values of a target, as odors and concentrations do and reaction times do not.

    Examples
    --------
    >>> has_classes(np.array([0.1, 0.1, 1.0, 1.0])), has_classes(np.array([0.31, 0.29, 0.35, 0.44]))
    (True, False)
    """
    return labels.dtype.kind != "f" or len(np.unique(labels)) <= len(labels) / 2


def with_target(activity: xr.DataArray, config: Config) -> xr.DataArray:
    """The activity with the logarithm of concentration, if that is the target and the session has none.

    ``left_out`` then counts the trials without odor, which have no logarithm.
    """
    if config.decoding.target != LOG_CONCENTRATION or LOG_CONCENTRATION in activity.coords:
        return activity
    made, said = log_concentration(activity, blanks="leave_out"), list(activity.attrs["left_out"])
    n_blank = activity.sizes["trial"] - made.sizes["trial"]
    if n_blank:
        said.append(f"Left out: {n_blank} trials at concentration 0 or without one, which has no logarithm.")
    return made.assign_attrs(left_out=said)


def cut_window(session: xr.Dataset, config: Config, cut: Cut) -> xr.DataArray:
    """Spikes or trace of a session around the event, computed; NaN where nothing was recorded.

    Raises
    ------
    SchemaError : the session has no such signal or event
    """
    signal = config.activity.signal
    has = {"spikes": "spike_time" in session, "trace": "trace" in session}
    if not has[signal]:
        other = next(name for name, is_there in has.items() if is_there)
        raise SchemaError(
            f"session {session.attrs['session']!r} holds no {signal}, which activity.signal asks for, but {other}. "
            f"Set activity.signal to {other!r}, or leave the session out of data.sessions."
        )
    around = bin_spikes if signal == "spikes" else traces_around
    made = around(session, event=config.activity.event, window_s=cut.window_s, bin_width_s=cut.bin_width_s)
    return made.compute()


def whole_trials(activity: xr.DataArray, key: str) -> xr.DataArray:
    """The trials without NaN; ``left_out`` says which others there were.

    Parameters
    ----------
    activity : (trial, time, unit)
    key : of the configuration that sets the window, for the message

    Raises
    ------
    SchemaError : there is no such trial
    """
    is_whole = np.isfinite(activity.to_numpy()).all(axis=(1, 2))
    around = f"the whole window {activity.attrs['window_s']} s around {activity.attrs['event']}"
    if not is_whole.any():
        raise SchemaError(
            f"session {activity.attrs['session']!r}: none of its {is_whole.size} trials is recorded in {around}. "
            f"Shorten {key}, or leave the session out of data.sessions."
        )
    trials = activity["trial"].to_numpy()[~is_whole]
    said = [f"Left out: trial {listed(trials)}, not recorded in {around}."] if trials.size else []
    return activity.isel(trial=is_whole).assign_attrs(left_out=said)


def listed(values: np.ndarray, *, most: int = 5) -> str:
    """The first few values, and how many there are.

    Examples
    --------
    >>> listed(np.arange(9)), listed(np.array(["hexanal"]))
    ('0, 1, 2, 3, 4, … (9 in all)', 'hexanal')
    """
    shown = ", ".join(str(value) for value in values[:most])
    return f"{shown}, … ({len(values)} in all)" if len(values) > most else shown


def _advice(session: xr.Dataset) -> str:
    if session.attrs.get("averaged_over_trials"):
        return (
            "This recording is averaged over trials: one trial stands for each condition, and none is left to test a "
            "decoder on. Leave it out of data.sessions, or decode a target that several of its conditions share."
        )
    return "Lower data.min_trials, choose another decoding.target, or leave the session out of data.sessions."
