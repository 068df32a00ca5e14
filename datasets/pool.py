"""Pooling: means over the trials of a condition, and pseudo-populations over sessions.

A pseudo-population joins units that were not recorded together. It is built from folds, never from
whole sets: a trial of a session trains or tests, in every pseudo-trial that holds it (drawn before
the split, noise decodes at 0.93 where chance is 0.5). Correlations between units of different
sessions are absent from it by construction, and the result says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from .errors import SchemaError
from .folds import TEST, TRAIN, UNUSED, check_folds, trial_column
from .schema import check_activity


def condition_means(activity: xr.DataArray, by: Sequence[str]) -> xr.DataArray:
    """Mean over the trials of each condition.

    Parameters
    ----------
    activity : (trial, time, unit)
    by : trial columns that make a condition, for example ("odor", "concentration")

    Returns
    -------
    activity with one trial per condition, in sorted order, ``n_averaged`` trials in each; float32.
    Bins that are NaN in some trials are averaged over the others.

    Raises
    ------
    SchemaError : no such column, or missing values in it
    """
    columns = [trial_column(activity, name) for name in by]
    keys = list(zip(*[column.tolist() for column in columns], strict=True))
    conditions = sorted(set(keys))
    values = activity.to_numpy().astype(np.float64)
    means, counts = [], []
    for condition in conditions:
        here = np.array([key == condition for key in keys])
        present = np.isfinite(values[here])
        total = np.where(present, values[here], 0.0).sum(axis=0)
        n_present = present.sum(axis=0)
        means.append(np.where(n_present > 0, total / np.maximum(n_present, 1), np.nan))
        counts.append(int(here.sum()))
    units = {name: c for name, c in activity.coords.items() if c.dims in (("unit",), ("time",))}
    out = xr.DataArray(np.array(means, np.float32), dims=("trial", "time", "unit"), coords=units, name="activity")
    out = out.assign_coords(trial=np.arange(len(conditions)), n_averaged=("trial", counts))
    for position, name in enumerate(by):
        out = out.assign_coords({name: ("trial", np.array([c[position] for c in conditions]), activity[name].attrs)})
    return out.assign_attrs(activity.attrs | {"averaged_over_trials": True})


def pseudo_population(
    cohort: Mapping[str, xr.DataArray],
    folds: Mapping[str, xr.DataArray],
    *,
    target: str,
    random_state: int,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Units of several sessions side by side, in pseudo-trials that share a label.

    Within each fold and class, training trials of the sessions are matched at random among
    themselves, and test trials among themselves, each used at most once; the session with the
    fewest decides how many.

    Parameters
    ----------
    cohort : session id -> activity on the same time bins
    folds : session id -> its folds; every session has the same number of folds
    target : trial column whose classes all sessions share
    random_state : seed of the matching

    Returns
    -------
    activity (trial, time, unit) of pseudo-trials; the column ``fold`` says which they belong to
    folds (fold, trial) over them: 0 in other folds than their own

    Raises
    ------
    SchemaError : fewer than two sessions, folds missing for one, unequal numbers of folds, other
        time bins, other classes, a class without trials on one side of a fold
    """
    sessions = list(cohort)
    _check_poolable(cohort, folds, target)
    rng = np.random.default_rng(random_state)
    labels = {s: trial_column(cohort[s], target) for s in sessions}
    classes = np.unique(np.concatenate(list(labels.values())))
    n_folds = folds[sessions[0]].sizes["fold"]
    rows: dict[str, list[int]] = {s: [] for s in sessions}
    fold_of, side_of, label_of = [], [], []
    for fold in range(n_folds):
        for side in (TRAIN, TEST):
            for value in classes:
                candidates = {
                    s: np.flatnonzero((folds[s].values[fold] == side) & (labels[s] == value)) for s in sessions
                }
                shortest = min(sessions, key=lambda s: len(candidates[s]))
                n = len(candidates[shortest])
                if n == 0:
                    raise SchemaError(
                        f"session {shortest!r}: {target} {value!r} has no {'training' if side == TRAIN else 'test'} trial "
                        f"in fold {fold}. Use fewer folds, or leave that class or session out."
                    )
                for s in sessions:
                    rows[s] += rng.permutation(candidates[s])[:n].tolist()
                fold_of += [fold] * n
                side_of += [side] * n
                label_of += [value] * n
    values = np.concatenate([cohort[s].to_numpy()[rows[s]] for s in sessions], axis=2)
    return _labelled_pool(cohort, sessions, values, np.array(fold_of), np.array(side_of), np.array(label_of), target)


def _check_poolable(cohort: Mapping[str, xr.DataArray], folds: Mapping[str, xr.DataArray], target: str) -> None:
    if len(cohort) < 2:
        raise SchemaError(f"a pseudo-population joins at least two sessions, got {len(cohort)}.")
    first, reference = next(iter(cohort.items()))
    classes = set(trial_column(reference, target).tolist())
    for session, activity in cohort.items():
        check_activity(activity)
        if session not in folds:
            raise SchemaError(f"session {session!r} has no folds. Split first: make_folds for every session, then pool.")
        check_folds(folds[session], activity)
        if folds[session].sizes["fold"] != folds[first].sizes["fold"]:
            raise SchemaError(
                f"session {session!r} has {folds[session].sizes['fold']} folds, {first!r} has {folds[first].sizes['fold']}."
            )
        bins, expected = activity["time"].to_numpy(), reference["time"].to_numpy()
        if bins.shape != expected.shape or not np.allclose(bins, expected):
            raise SchemaError(f"session {session!r} has other time bins than {first!r}. Cut all with one window and bin.")
        other = classes ^ set(trial_column(activity, target).tolist())
        if other:
            raise SchemaError(
                f"session {session!r} and {first!r} do not share {target} {sorted(other)[0]!r}. Select the classes in common."
            )


def _labelled_pool(
    cohort: Mapping[str, xr.DataArray],
    sessions: Sequence[str],
    values: np.ndarray,
    fold_of: np.ndarray,
    side_of: np.ndarray,
    label_of: np.ndarray,
    target: str,
) -> tuple[xr.DataArray, xr.DataArray]:
    reference = cohort[sessions[0]]
    trial = np.arange(len(fold_of))
    units = np.concatenate([cohort[s]["unit"].to_numpy() for s in sessions])
    owner = np.repeat(sessions, [cohort[s].sizes["unit"] for s in sessions])
    animals = sorted({str(cohort[s].attrs["animal"]) for s in sessions})
    attrs = dict(reference.attrs) | {
        "session": f"pseudo-population of {len(sessions)} sessions",
        "animal": ", ".join(animals),
        "population": "pseudo-population",
        "sessions": list(sessions),
    }
    activity = xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": trial,
            "time": reference["time"],
            "unit": units,
            "unit_session": ("unit", owner),
            target: ("trial", label_of),
            "fold_of_trial": ("trial", fold_of),
        },
        attrs=attrs,
        name="activity",
    )
    n_folds = int(fold_of.max()) + 1
    side = np.where(fold_of == np.arange(n_folds)[:, None], side_of, UNUSED).astype(np.int8)
    folds = xr.DataArray(side, dims=("fold", "trial"), coords={"trial": trial, "fold": np.arange(n_folds)}, name="folds")
    folds.attrs["folds"] = f"{n_folds} folds, trials of each session split first, then matched into pseudo-trials"
    return activity, check_folds(folds, activity)
