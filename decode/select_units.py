"""Choose units inside the fold: a step of the estimator, fitted on training trials alone.

Chosen on all trials before the split, units carry the labels of the test trials: of shuffled labels a decoder
then reads three times chance from a real recording (see ``tests/test_real_geometry.py``).
"""

from typing import Any, Self

import numpy as np

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.preprocess import ThreeAxes, three_axes
from ..datasets.tables import nearest

RULES = ("anova", "variance")


class SelectUnits(ThreeAxes):
    """Keep the units that differ most between classes, or that vary most, in the training trials.

    Parameters
    ----------
    n_units : how many to keep; all where there are fewer
    by : "anova", the F statistic of the mean over bins between classes; or "variance" of it over trials, which
        does not look at the labels

    Attributes
    ----------
    kept_ : (n_units,) positions, ascending
    strength_ : (n_units_in,) F or variance; a unit that never varies has 0

    Examples
    --------
    >>> import numpy as np
    >>> X = np.zeros((4, 1, 2))
    >>> X[:, 0, 1] = [0, 1, 4, 5]
    >>> SelectUnits(1).fit(X, [0, 0, 1, 1]).kept_.tolist()
    [1]
    """

    def __init__(self, n_units: int = 20, *, by: str = "anova") -> None:
        self.n_units = n_units
        self.by = by

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Rank the units of X (n_trials, n_times, n_units); y (n_trials,) classes, not needed for "variance".

        Raises
        ------
        UnknownName : no such rule
        SchemaError : NaN, fewer than one unit asked for, no classes for "anova", or numbers that are no classes
        """
        X = three_axes(X, "SelectUnits").astype(np.float64)
        if self.by not in RULES:
            raise UnknownName(f"SelectUnits has no rule {self.by!r}. {nearest(self.by, RULES)}")
        if self.n_units < 1:
            raise SchemaError(f"SelectUnits: n_units must be at least 1, got {self.n_units}.")
        if np.isnan(X).any():
            raise SchemaError("SelectUnits needs a number in every bin, and found NaN. Leave those trials out.")
        means = X.mean(axis=1)
        self.n_features_in_ = X.shape[2]
        self.strength_ = means.var(axis=0) if self.by == "variance" else _f_statistic(means, y)
        order = np.argsort(-self.strength_, kind="stable")
        self.kept_ = np.sort(order[: self.n_units])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """The kept units (n_trials, n_times, n_units)."""
        return self._checked(X)[:, :, self.kept_]


def _f_statistic(means: np.ndarray, y: Any) -> np.ndarray:
    """F (n_units,) of one-way analysis of variance; 0 where a unit never varies, inf where only classes do."""
    if y is None:
        raise SchemaError("SelectUnits by 'anova' needs the classes, fit(X, y). By 'variance' it does without.")
    names, position = np.unique(np.asarray(y), return_inverse=True)
    n, k = len(means), len(names)
    if k < 2 or k == n or len(position) != n:
        raise SchemaError(
            f"SelectUnits by 'anova' needs two classes or more, of several trials, got {k} values in {len(position)} "
            f"labels for {n} trials. For a continuous target select by 'variance'."
        )
    of_class = np.stack([means[position == c].mean(axis=0) for c in range(k)])
    between = np.bincount(position) @ (of_class - means.mean(axis=0)) ** 2 / (k - 1)
    within = np.sum((means - of_class[position]) ** 2, axis=0) / (n - k)
    varies = means.max(axis=0) > means.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, between / within, 0.0)
