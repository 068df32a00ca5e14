"""Labelled cohorts: from several activities and an aligner to latents that all sessions share.

Here names and coordinates are handled; what is learned is in the method modules. Not here: decoding across animals
(``transfer.py``) and how good an alignment is (``quality.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import clone

from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column
from ..decode.score import describe

Cohort = Mapping[str, xr.DataArray]


@dataclass(frozen=True)
class CohortArrays:
    """A cohort as plain arrays, which can be sent to a worker.

    Attributes
    ----------
    values : session -> (n_trials, n_times, n_units) float64
    labels : session -> (n_trials,) of the target
    animals : session -> animal
    """

    values: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    animals: dict[str, str]

    def others(self, session: str) -> list[str]:
        """Sessions of other animals."""
        return [name for name, animal in self.animals.items() if animal != self.animals[session]]


def cohort_arrays(cohort: Cohort, target: str) -> CohortArrays:
    """The values, labels and animals of a cohort, checked.

    Raises
    ------
    SchemaError : fewer than two sessions, other bins, events or units of activity, no such column, NaN
    """
    if len(cohort) < 2:
        only = f", here is only {next(iter(cohort))!r}" if cohort else ""
        raise SchemaError(f"a cohort holds at least two sessions{only}. Decode one with cross_validate.")
    first, reference = next(iter(cohort.items()))
    values, labels, animals = {}, {}, {}
    for session, activity in cohort.items():
        labels[session] = trial_column(activity, target)
        bins, expected = activity["time"].to_numpy(), reference["time"].to_numpy()
        if bins.shape != expected.shape or not np.allclose(bins, expected):
            raise SchemaError(f"session {session!r} has other time bins than {first!r}. Cut all by one window and bin.")
        for name in ("event", "units"):
            if activity.attrs[name] != reference.attrs[name]:
                raise SchemaError(
                    f"session {session!r} has {name} {activity.attrs[name]!r}, {first!r} has "
                    f"{reference.attrs[name]!r}. Cut all sessions in the same way."
                )
        values[session] = activity.to_numpy().astype(np.float64)
        absent = ~np.isfinite(values[session]).all(axis=(1, 2))
        if absent.any():
            trials = ", ".join(map(str, activity["trial"].to_numpy()[absent][:5]))
            raise SchemaError(
                f"session {session!r}: {absent.sum()} trials hold NaN or infinity (trial {trials}). "
                f"Leave them out, or use a shorter window."
            )
        animals[session] = str(activity.attrs["animal"])
    return CohortArrays(values, labels, animals)


def align(
    cohort: Cohort, target: str, aligner: Any, *, fit_on: Mapping[str, np.ndarray] | None = None
) -> xr.DataArray:
    """Trials of all sessions in one space.

    Parameters
    ----------
    cohort : session -> activity (trial, time, unit) on the same bins
    target : trial column whose values are the conditions that sessions share, such as "odor"
    aligner : from ``make_aligner``, or ``ReducedAligner(reducer, aligner)``; it is cloned
    fit_on : session -> (n_trials,) bool, trials to fit on; None fits on all, for looking and not for scoring

    Returns
    -------
    trajectory (trial, time, latent) of all trials, session after session, with the trial columns ``session``,
    ``animal``, those that all sessions have, ``trial_of_session`` and ``in_fit``, which ``cross_validate`` refuses to
    score. attrs ``warnings`` name sessions whose match is ambiguous

    Raises
    ------
    SchemaError : as ``cohort_arrays``; ``fit_on`` that does not fit; whatever the aligner refuses, with the session

    Examples
    --------
    >>> from mitral.align import make_aligner
    >>> from mitral.datasets import bin_spikes, simulate_olfactory_lab
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=2, n_blocks=2)
    >>> cohort = {name: bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
    ...           for name, session in lab.sessions.items()}
    >>> latents = align(cohort, "odor", make_aligner("procrustes", n_latents=3))
    >>> latents.dims, latents["animal"].values[0].item()
    (('trial', 'time', 'latent'), 'mouse-1')
    """
    arrays = cohort_arrays(cohort, target)
    in_fit = {session: _mask(session, len(y), fit_on) for session, y in arrays.labels.items()}
    fitted = clone(aligner).fit(
        {session: X[in_fit[session]] for session, X in arrays.values.items()},
        {session: y[in_fit[session]] for session, y in arrays.labels.items()},
    )
    latents = np.concatenate([fitted.transform(session, X) for session, X in arrays.values.items()])
    reference = next(iter(cohort.values()))
    sizes = [len(y) for y in arrays.labels.values()]
    animals = sorted(set(arrays.animals.values()))
    columns = {name: ("trial", values) for name, values in _shared_columns(cohort).items()}
    return xr.DataArray(
        latents,
        dims=("trial", "time", "latent"),
        coords=columns
        | {
            "trial": np.arange(sum(sizes)),
            "time": reference["time"],
            "latent": np.arange(latents.shape[2]),
            target: ("trial", np.concatenate(list(arrays.labels.values())), reference[target].attrs),
            "session": ("trial", np.repeat(list(cohort), sizes)),
            "animal": ("trial", np.repeat(list(arrays.animals.values()), sizes)),
            "trial_of_session": ("trial", np.concatenate([a["trial"].to_numpy() for a in cohort.values()])),
            "in_fit": ("trial", np.concatenate(list(in_fit.values()))),
        },
        attrs={name: v for name, v in reference.attrs.items() if name != "units"}
        | {
            "kind": "trajectory",
            "units": "a.u.",
            "session": f"{len(cohort)} aligned sessions",
            "animal": ", ".join(animals),
            "animals": animals,
            "sessions": list(cohort),
            "aligner": describe(aligner),
            "n_units": int(sum(X.shape[2] for X in arrays.values.values())),
            "warnings": ambiguities(fitted),
        },
        name="trajectory",
    )


def until(cohort: Cohort, stop_s: float) -> dict[str, xr.DataArray]:
    """The cohort up to a time, for a curve of what is known by then (``sweep`` over times).

    Raises
    ------
    SchemaError : no bin before that time, with the session
    """
    cut = {session: activity.isel(time=activity["time"].to_numpy() < stop_s) for session, activity in cohort.items()}
    for session, activity in cut.items():
        if not activity.sizes["time"]:
            raise SchemaError(f"session {session!r} has no bin before {stop_s} s. Ask for a later time.")
    return cut


def shared_means(latents: xr.DataArray, target: str) -> xr.DataArray:
    """Mean latents of every condition in every session: (session, condition, time, latent).

    Parameters
    ----------
    latents : of ``align``
    target : the conditions

    Returns
    -------
    mean, NaN where a session lacks a condition

    Raises
    ------
    SchemaError : no such column, or trajectories that were not aligned
    """
    labels = trial_column(latents, target)
    if "session" not in latents.coords or latents["session"].dims != ("trial",):
        raise SchemaError(
            f"session {latents.attrs.get('session', '?')!r}: latents of one session are no cohort. "
            f"Make them with align(...)."
        )
    owner, values = latents["session"].to_numpy(), latents.to_numpy()
    sessions, conditions = list(dict.fromkeys(owner.tolist())), np.unique(labels)
    means = np.full((len(sessions), len(conditions), *values.shape[1:]), np.nan)
    for i, session in enumerate(sessions):
        for j, condition in enumerate(conditions):
            here = (owner == session) & (labels == condition)
            if here.any():
                means[i, j] = values[here].mean(axis=0)
    coords = {"session": sessions, "condition": conditions, "time": latents["time"], "latent": latents["latent"]}
    return xr.DataArray(means, dims=tuple(coords), coords=coords, attrs=latents.attrs, name="mean")


def ambiguities(aligner: Any) -> list[str]:
    """A sentence for every session that a label-free aligner could not match with certainty."""
    found = getattr(getattr(aligner, "aligner_", aligner), "n_matchings_", {})
    return [
        f"Session {session!r}: {n} matchings of its conditions fit equally well, so which is right cannot be known."
        for session, n in found.items()
        if n > 1
    ]


def _mask(session: str, n_trials: int, fit_on: Mapping[str, np.ndarray] | None) -> np.ndarray:
    if fit_on is None:
        return np.ones(n_trials, bool)
    if session not in fit_on:
        raise SchemaError(f"session {session!r} is not in fit_on. Give a mask for every session.")
    mask = np.asarray(fit_on[session])
    if mask.shape != (n_trials,) or mask.dtype != bool or not mask.any():
        raise SchemaError(
            f"session {session!r}: fit_on holds {mask.dtype} of shape {mask.shape}, expected ({n_trials},) bools of "
            f"which some are True."
        )
    return mask


def _shared_columns(cohort: Cohort) -> dict[str, np.ndarray]:
    """Trial columns that all sessions have, end to end."""
    names = [
        {str(name) for name, column in activity.coords.items() if column.dims == ("trial",)} - {"trial"}
        for activity in cohort.values()
    ]
    return {
        name: np.concatenate([activity[name].to_numpy() for activity in cohort.values()])
        for name in sorted(set.intersection(*names))
    }
