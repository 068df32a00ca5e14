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


def condition_means(activity: xr.DataArray, by: str | Sequence[str]) -> xr.DataArray:
    """Mean over the trials of each condition.

    Parameters
    ----------
    activity : (trial, time, unit), or a trajectory (trial, time, latent)
    by : trial columns that make a condition, for example ("odor", "concentration")

    Returns
    -------
    activity with one trial per condition, in sorted order, ``n_averaged`` trials in each; float32.
    Bins that are NaN in some trials are averaged over the others. A condition is ``in_fit`` if one of
    its trials is

    Raises
    ------
    SchemaError : no column, no such column, or missing values in it

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.array([1.0, 5.0, 3.0]).reshape(3, 1, 1), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(3), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> condition_means(activity, "odor").values.ravel().tolist()
    [2.0, 5.0]
    """
    by = (by,) if isinstance(by, str) else tuple(by)
    if not by:
        raise SchemaError("condition_means: 'by' names at least one trial column, such as 'odor'; got none.")
    columns = [trial_column(activity, name) for name in by]
    keys = list(zip(*[column.tolist() for column in columns], strict=True))
    conditions = sorted(set(keys))
    values = activity.to_numpy().astype(np.float64)
    means, members = [], []
    for condition in conditions:
        here = np.array([key == condition for key in keys])
        members.append(here)
        present = np.isfinite(values[here])
        total = np.where(present, values[here], 0.0).sum(axis=0)
        n_present = present.sum(axis=0)
        means.append(np.where(n_present > 0, total / np.maximum(n_present, 1), np.nan))
    kept = {name: c for name, c in activity.coords.items() if c.dims in (("time",), activity.dims[2:])}
    out = xr.DataArray(np.array(means, np.float32), dims=activity.dims, coords=kept, name=activity.name)
    out = out.assign_coords(trial=np.arange(len(conditions)), n_averaged=("trial", np.sum(members, axis=1)))
    if "in_fit" in activity.coords:
        in_fit = activity["in_fit"].to_numpy()
        out = out.assign_coords(in_fit=("trial", [bool(in_fit[here].any()) for here in members]))
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
    activity (trial, time, unit) of pseudo-trials; the column ``fold_of_trial`` says to which fold each belongs
    folds (fold, trial) over them: 0 in other folds than their own

    Raises
    ------
    SchemaError : fewer than two sessions, folds missing for one, unequal numbers of folds, other
        time bins, event or units of activity, a unit in two sessions, other classes, a class without
        trials on one side of a fold

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=2, n_units=(3, 4), n_blocks=2, concentrations=(0.1,))
    >>> cohort = {name: bin_spikes(session, event="odor_onset", window_s=(0.0, 1.0), bin_width_s=1.0)
    ...           for name, session in lab.sessions.items()}
    >>> folds = {name: make_folds(activity, target="odor", n_folds=2, random_state=0)
    ...          for name, activity in cohort.items()}
    >>> pooled, pooled_folds = pseudo_population(cohort, folds, target="odor", random_state=0)
    >>> pooled.sizes["unit"] == sum(activity.sizes["unit"] for activity in cohort.values())
    True
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
                    what = "training" if side == TRAIN else "test"
                    raise SchemaError(
                        f"session {shortest!r}: {target} {str(value)!r} has no {what} trial in fold {fold}. "
                        f"Use fewer folds, or leave that class or session out."
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
        raise SchemaError(
            f"a pseudo-population joins at least two sessions, got {len(cohort)}. Decode one with cross_validate."
        )
    first, reference = next(iter(cohort.items()))
    classes = set(trial_column(reference, target).tolist())
    owner: dict[str, str] = {}
    for session, activity in cohort.items():
        check_activity(activity)
        if session not in folds:
            raise SchemaError(f"session {session!r} has no folds. Split every session with make_folds, then pool.")
        check_folds(folds[session], activity)
        if folds[session].sizes["fold"] != folds[first].sizes["fold"]:
            raise SchemaError(
                f"session {session!r} has {folds[session].sizes['fold']} folds, {first!r} has "
                f"{folds[first].sizes['fold']}. Split all sessions into the same number."
            )
        bins, expected = activity["time"].to_numpy(), reference["time"].to_numpy()
        if bins.shape != expected.shape or not np.allclose(bins, expected):
            raise SchemaError(f"session {session!r} has other time bins than {first!r}. Cut all by one window and bin.")
        for name in ("event", "units"):
            if activity.attrs[name] != reference.attrs[name]:
                raise SchemaError(
                    f"session {session!r} has {name} {activity.attrs[name]!r}, {first!r} has "
                    f"{reference.attrs[name]!r}. Cut all sessions in the same way."
                )
        for unit in activity["unit"].to_numpy().tolist():
            if unit in owner:
                raise SchemaError(
                    f"unit {unit!r} is in session {owner[unit]!r} and in {session!r}. Unit ids are unique in a lab: "
                    f"name them after their session, or take out the session that is there twice."
                )
            owner[unit] = session
        other = classes ^ set(trial_column(activity, target).tolist())
        if other:
            raise SchemaError(
                f"session {session!r} and {first!r} do not share {target} {sorted(other)[0]!r}. "
                f"Select the classes in common."
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
        "animals": animals,
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
            target: ("trial", label_of, reference[target].attrs),
            "fold_of_trial": ("trial", fold_of),
        },
        attrs=attrs,
        name="activity",
    )
    n_folds = int(fold_of.max()) + 1
    side = np.where(fold_of == np.arange(n_folds)[:, None], side_of, UNUSED).astype(np.int8)
    coords = {"trial": trial, "fold": np.arange(n_folds)}
    folds = xr.DataArray(side, dims=("fold", "trial"), coords=coords, name="folds")
    folds.attrs["folds"] = f"{n_folds} folds, trials of each session split first, then matched into pseudo-trials"
    return activity, check_folds(folds, activity)
