"""Components of mixtures: which of them a trial has and how much of each, read from names or columns.

Components are data beside the activity: amounts (trial, component), 0 where a component is absent. Functions are told
how to read them; nothing is guessed. Two targets follow from them, a fraction and a presence on backgrounds.
Not here: decoding components (``mixtures``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.folds import trial_column
from ..datasets.tables import nearest


def parse_components(
    activity: xr.DataArray, *, column: str = "odor", separator: str = "+", blank: Sequence[str] = ()
) -> xr.DataArray:
    """Components of each trial from names such as "eugenol + hexanal": 1 where one is in the name, else 0.

    Parameters
    ----------
    activity : only its trial coordinates are used
    column : trial column of names
    separator : what stands between components; blanks around it do not count
    blank : names that stand for no odor at all, such as "air"

    Returns
    -------
    components (trial, component), float64

    Raises
    ------
    SchemaError : no such column, numbers, a name with an empty part or a component twice, one component only

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> activity = xr.DataArray(np.zeros((3, 1, 1)), dims=("trial", "time", "unit"), coords={
    ...     "trial": range(3), "time": [0.0], "unit": ["u"], "odor": ("trial", ["a", "b", "a + b"])},
    ...     attrs={"session": "s", "animal": "m", "event": "e", "bin_width_s": 1.0, "units": ""})
    >>> parse_components(activity).values.tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    values = trial_column(activity, column)
    where = f"session {activity.attrs['session']!r}: {column!r}"
    if values.dtype.kind not in "UO":
        raise SchemaError(f"{where} holds {values.tolist()[0]!r}, no names. For amounts use gather_components(...).")
    parts_of = {}
    for name in np.unique(values.astype(str)).tolist():
        parts = [] if name in blank else [part.strip() for part in name.split(separator)]
        if "" in parts or len(set(parts)) < len(parts):
            what = "an empty part" if "" in parts else "a component twice"
            raise SchemaError(f"{where} {name!r} has {what} between {separator!r}. Name each component once.")
        parts_of[name] = parts
    found = sorted({part for parts in parts_of.values() for part in parts})
    amounts = np.array([[float(part in parts_of[str(name)]) for part in found] for name in values])
    return check_components(_components(activity, amounts.reshape(len(values), -1), found), activity)


def gather_components(activity: xr.DataArray, columns: Mapping[str, str]) -> xr.DataArray:
    """Amounts of components from trial columns of numbers.

    Parameters
    ----------
    activity : only its trial coordinates are used
    columns : component -> trial column that holds its amount, 0 where it is absent

    Returns
    -------
    components (trial, component), float64

    Raises
    ------
    SchemaError : no such column, words, missing or negative amounts, fewer than two components
    """
    gathered = []
    for component, column in columns.items():
        values = trial_column(activity, column)
        if values.dtype.kind not in "iufb":
            raise SchemaError(
                f"session {activity.attrs['session']!r}: {column!r} of component {component!r} holds "
                f"{values.tolist()[0]!r}, and an amount is a number. For names use parse_components(...)."
            )
        gathered.append(values.astype(np.float64))
    amounts = np.stack(gathered, axis=1) if gathered else np.zeros((activity.sizes["trial"], 0))
    return check_components(_components(activity, amounts, list(columns)), activity)


def check_components(components: xr.DataArray, activity: xr.DataArray) -> xr.DataArray:
    """Refuse components that do not belong to the trials of an activity, or are no amounts.

    Returns
    -------
    components, unchanged

    Raises
    ------
    SchemaError : no DataArray (trial, component), other trials, fewer than two components, one twice, amounts that
        are missing or negative
    """
    where = f"components for session {activity.attrs.get('session', '?')!r}"
    if not isinstance(components, xr.DataArray) or components.dims != ("trial", "component"):
        got = components.dims if isinstance(components, xr.DataArray) else type(components).__name__
        raise SchemaError(
            f"{where}: expected a DataArray on (trial, component), got {got}. Make it by parse_components(...) or "
            f"gather_components(...)."
        )
    if not np.array_equal(components["trial"].to_numpy(), activity["trial"].to_numpy()):
        raise SchemaError(
            f"{where}: they are of {components.sizes['trial']} trials, the activity has {activity.sizes['trial']}, and "
            f"their ids differ. Select the same trials of both."
        )
    names = components["component"].to_numpy().tolist()
    if len(set(names)) < max(len(names), 2):
        what = f"{len(names)}" if len(names) < 2 else "one twice among"
        raise SchemaError(f"{where}: there are {what} {names}, and a mixture has two different ones at least.")
    amounts = components.to_numpy()
    wrong = ~(np.isfinite(amounts) & (amounts >= 0)).all(axis=1)
    if wrong.any():
        trials = components["trial"].to_numpy()[wrong]
        raise SchemaError(
            f"{where}: amounts are numbers from 0, and {wrong.sum()} trials have others (first: trial {trials[0]}). "
            f"Write 0 where a component is absent."
        )
    return components


def label_fraction(
    activity: xr.DataArray, components: xr.DataArray, component: str, *, against: str
) -> xr.DataArray:
    """Trials that hold one component or another and nothing else, with the trial column ``fraction``.

    Parameters
    ----------
    activity, components : see ``gather_components``
    component, against : fraction is amount of the first / amount of both

    Returns
    -------
    activity of these trials with the column ``fraction``, 0 to 1; the others are counted in the attr ``left_out``

    Raises
    ------
    SchemaError : no such component, no such trials
    """
    check_components(components, activity)
    first, second = (_position(components, name) for name in (component, against))
    amounts = components.to_numpy()
    both = amounts[:, first] + amounts[:, second]
    is_kept = (both > 0) & (np.delete(amounts, [first, second], axis=1) == 0).all(axis=1)
    if not is_kept.any():
        raise SchemaError(f"no trial holds {component!r} and {against!r} and nothing else. Name two that were mixed.")
    kept = activity.isel(trial=np.flatnonzero(is_kept))
    if not is_kept.all():
        kept = kept.assign_attrs(left_out=f"{np.sum(~is_kept)} trials of other components")
    fraction = amounts[is_kept, first] / both[is_kept]
    return kept.assign_coords(fraction=("trial", fraction, {"units": f"{component} / ({component} + {against})"}))


def label_background(activity: xr.DataArray, components: xr.DataArray, component: str) -> xr.DataArray:
    """The activity with the trial columns ``is_present``, of a target component, and ``background``, the others.

    Parameters
    ----------
    activity, components : see ``parse_components``
    component : the target

    Returns
    -------
    activity of the trials whose background is met with the target and without it; those of other backgrounds are
    counted in the attr ``left_out``. ``generalise_across(..., "is_present", column="background")`` holds each
    background out in turn

    Raises
    ------
    SchemaError : no such component, fewer than two backgrounds that are met with and without the target
    """
    check_components(components, activity)
    target = _position(components, component)
    is_there = components.to_numpy() > 0
    names = components["component"].to_numpy().astype(str)
    others = np.arange(len(names)) != target
    background = np.array(["+".join(names[others & row]) or "nothing" for row in is_there])
    present = is_there[:, target]
    both = np.intersect1d(background[present], background[~present])
    if len(both) < 2:
        raise SchemaError(
            f"component {component!r} is met with and without on {len(both)} backgrounds "
            f"({', '.join(both) or 'none'}), and two are needed to hold one out. Choose another target, or score it by "
            f"decode_components(...)."
        )
    is_kept = np.isin(background, both)
    kept = activity.isel(trial=np.flatnonzero(is_kept))
    if not is_kept.all():
        kept = kept.assign_attrs(left_out=f"{np.sum(~is_kept)} trials of backgrounds with or without the target only")
    return kept.assign_coords(
        is_present=("trial", present[is_kept].astype(np.int8)), background=("trial", background[is_kept])
    )


def _components(activity: xr.DataArray, amounts: np.ndarray, names: list[str]) -> xr.DataArray:
    coords = {"trial": activity["trial"].to_numpy(), "component": names}
    return xr.DataArray(amounts, dims=("trial", "component"), coords=coords, name="components")


def _position(components: xr.DataArray, name: str) -> int:
    names = components["component"].to_numpy().tolist()
    if name not in names:
        raise SchemaError(f"there is no component {name!r}. {nearest(name, names)}")
    return names.index(name)
