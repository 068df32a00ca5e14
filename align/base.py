"""What every aligner is: keyed by session, from the units of each to one space; and the table of them, by name.

Here are the protocol, the checks of input that all aligners share, and ``make_aligner``.
Not here: the methods, one file each, and labelled data (``cohort.py``).

Add one: a class in a file of this folder with ``_fit``, ``_add`` and ``_transform``, and a line in ALIGNERS.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from ..datasets.errors import ConfigError, SchemaError, UnknownName
from ..datasets.tables import nearest
from ..decode.decoders import build

ALIGNERS = {
    "cca": "mitral.align.cca:CCA",
    "generalised_cca": "mitral.align.generalised_cca:GeneralisedCCA",
    "gromov_wasserstein": "mitral.align.transport:GromovWasserstein",
    "mixture_lds": "mitral.align.mixture_lds:MixtureLDS",
    "multi_session_cebra": "mitral.align.multi_session_cebra:MultiSessionCEBRA",
    "none": "mitral.align.none:Unaligned",
    "procrustes": "mitral.align.procrustes:Procrustes",
    "ridge": "mitral.align.ridge:RidgeToShared",
    "shared_private": "mitral.align.shared_private:SharedPrivate",
    "similarity": "mitral.align.similarity:SimilarityMatching",
    "sinkhorn": "mitral.align.transport:Sinkhorn",
    "srm": "mitral.align.srm:SharedResponse",
}
Arrays = Mapping[str, np.ndarray]


def make_aligner(name: str, **parameters: Any) -> Any:
    """A new, unfitted aligner.

    Parameters
    ----------
    name : key of ``ALIGNERS``, or "package.module:object" of any class with the methods of ``Aligner``
    parameters : handed to it

    Raises
    ------
    UnknownName : no such aligner
    ConfigError : a parameter that it does not have

    Examples
    --------
    >>> make_aligner("none", n_latents=2).n_latents
    2
    """
    return build(name, ALIGNERS, what="aligner", **parameters)


class Aligner(BaseEstimator):
    """Base of all aligners: the checks, and which sessions are known.

    A session is an array (n_trials, n_times, n_units) with a label for each trial, or without labels
    (n_conditions, n_times, n_units), where trials are matched by their position. (n_trials, n_units) is one bin.
    Sessions may differ in units, trials and conditions, not in bins. A method overrides ``_fit``, ``_add`` and
    ``_transform``, and where needed the class attributes.

    Attributes
    ----------
    sessions_ : names of the sessions in the fit, in order
    units_ : session -> number of units, of all sessions that can be transformed
    conditions_ : sorted labels of all sessions in the fit
    n_times_ : bins of a trial; None where trials may differ in length
    """

    needs_labels = True  # whether trials are matched by their label; False: by what they look like
    takes_gaps = False  # whether trials may hold NaN and sessions may differ in bins
    needs_overlap = True  # whether a session must share a condition with another one

    sessions_: list[str]
    units_: dict[str, int]
    conditions_: np.ndarray
    n_times_: int | None

    def fit(self, cohort: Arrays, y: Arrays | None = None) -> Self:
        """Learn the shared space and the map of every session into it.

        Parameters
        ----------
        cohort : session -> (n_trials, n_times, n_units), at least two
        y : session -> (n_trials,) labels; None matches trials by position

        Raises
        ------
        SchemaError : one session, no condition in common, a single condition, other bins, NaN, labels that do not
            fit, fewer conditions or units than latents; always with the session
        ConfigError : a parameter out of its range
        """
        if not isinstance(cohort, Mapping):
            raise SchemaError(f"an aligner takes {{session: array}}, got {type(cohort).__name__}. Key the arrays.")
        if len(cohort) < 2:
            only = f", and here is only {next(iter(cohort))!r}" if cohort else ""
            raise SchemaError(f"alignment needs at least two sessions{only}. Reduce one session with a reducer.")
        arrays = {session: self._checked(session, X) for session, X in cohort.items()}
        first = next(iter(arrays))
        self.n_times_ = None if self.takes_gaps else arrays[first].shape[1]
        for session, X in arrays.items():
            self._check_bins(session, X, f"session {first!r} has")
        labels = self._labels(arrays, y)
        if self.needs_labels:
            _check_conditions(labels, needs_overlap=self.needs_overlap)
        self._check_n_latents()
        self.conditions_ = np.unique(np.concatenate(list(labels.values())))
        self._by_position = y is None
        self.sessions_ = list(arrays)
        self.units_ = {session: X.shape[2] for session, X in arrays.items()}
        self._fit(arrays, labels)
        return self

    def add_session(self, session: str, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        """Learn the map of one new session from its calibration trials; the shared space stays as it is.

        Parameters
        ----------
        session : its name; one that was added before is learned anew, one of the fit is refused
        X : (n_trials, n_times, n_units)
        y : (n_trials,) labels, of which some at least are in the fit; None as in ``fit``

        Raises
        ------
        SchemaError : as ``fit``, with the session
        """
        self._check_fitted()
        if session in self.sessions_:
            raise SchemaError(f"session {session!r} is in the fit already. Transform it, or add under another name.")
        array = self._checked(session, X, may_be_empty=True)
        self._check_bins(session, array, "the fit had")
        if y is None and self.needs_labels and not (self._by_position and len(array) == len(self.conditions_)):
            raise SchemaError(
                f"session {session!r}: {type(self).__name__} matches trials by their label, and these {len(array)} "
                f"have none. Pass y, one label for each."
            )
        labels = np.arange(len(array)) if y is None else _checked_labels(session, array, y)
        if self.needs_labels and self.needs_overlap and len(labels) and not np.isin(labels, self.conditions_).any():
            raise SchemaError(
                f"session {session!r} has no condition in common with the fit: it has {_shown(np.unique(labels))}, the "
                f"fit {_shown(self.conditions_)}. Check the labels, or record some of them."
            )
        n_units = array.shape[2]
        self._add(session, array, labels)
        self.units_[session] = n_units
        return self

    def transform(self, session: str, X: np.ndarray) -> np.ndarray:
        """Activity of a known session in the shared space: (..., n_units) -> (..., n_latents).

        Raises
        ------
        UnknownName : a session that was neither in fit nor added
        SchemaError : other units than in fit, or NaN
        """
        self._check_fitted()
        if session not in self.units_:
            raise UnknownName(
                f"aligner knows no session {session!r}. {nearest(session, self.units_)} "
                f"Give it calibration trials with add_session({session!r}, ...)."
            )
        array = np.asarray(X)
        if array.ndim < 1 or array.shape[-1] != self.units_[session]:
            n_units = array.shape[-1] if array.ndim else 0
            raise SchemaError(
                f"session {session!r}: the aligner was fitted on {self.units_[session]} units and got {n_units}. "
                f"Pass the units used in fit, or add_session under another name."
            )
        self._check_finite(session, array)
        return self._transform(session, array.astype(np.float64, copy=False))

    def fit_transform(self, cohort: Arrays, y: Arrays | None = None) -> dict[str, np.ndarray]:
        """All sessions in the space that is learned from them."""
        self.fit(cohort, y)
        return {session: self.transform(session, X) for session, X in cohort.items()}

    # ---- what a method overrides ----

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        """From checked float64 arrays on three axes and their labels."""
        raise NotImplementedError  # pragma: no cover

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        raise NotImplementedError  # pragma: no cover

    def _transform(self, session: str, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError  # pragma: no cover

    # ---- checks ----

    def _check_fitted(self) -> None:
        if not hasattr(self, "units_"):
            raise SchemaError(f"{type(self).__name__} is not fitted. Call fit({{session: array, ...}}) first.")

    def _checked(self, session: str, X: np.ndarray, *, may_be_empty: bool = False) -> np.ndarray:
        array = np.asarray(X)
        if array.ndim == 2:
            array = array[:, None]
        if array.ndim != 3 or array.dtype.kind not in "biuf" or 0 in array.shape[1:]:
            raise SchemaError(
                f"session {session!r}: an aligner takes numbers on (n_trials, n_times, n_units), got {array.dtype} of "
                f"shape {np.shape(X)}. Cut trials with bin_spikes or traces_around."
            )
        if not len(array) and not may_be_empty:
            raise SchemaError(f"session {session!r} has no trials, so there is nothing to align. Leave it out.")
        self._check_finite(session, array)
        return array.astype(np.float64, copy=False)

    def _check_finite(self, session: str, array: np.ndarray) -> None:
        if array.dtype.kind != "f" or self.takes_gaps:
            return
        absent = ~np.isfinite(array)
        if absent.any():
            rows = np.flatnonzero(absent.any(axis=tuple(range(1, array.ndim)))) if array.ndim > 1 else np.array([0])
            raise SchemaError(
                f"session {session!r}: {type(self).__name__} needs a number in every bin, and {len(rows)} trials hold "
                f"NaN or infinity: position {_shown(rows)}. Leave them out, or use a shorter window."
            )

    def _check_bins(self, session: str, X: np.ndarray, whose: str) -> None:
        if self.n_times_ is not None and X.shape[1] != self.n_times_:
            raise SchemaError(
                f"session {session!r} has {X.shape[1]} time bins, {whose} {self.n_times_}. "
                f"Cut all sessions by one window and bin."
            )

    def _check_n_latents(self) -> None:
        n_latents = getattr(self, "n_latents", None)
        if n_latents is not None and (not isinstance(n_latents, int | np.integer) or n_latents < 1):
            raise ConfigError(f"{type(self).__name__}: n_latents is a whole number from 1, got {n_latents!r}.")

    def _labels(self, arrays: dict[str, np.ndarray], y: Arrays | None) -> dict[str, np.ndarray]:
        if y is not None:
            missing = [session for session in arrays if session not in y]
            if missing:
                raise SchemaError(f"session {missing[0]!r} has no labels in y. Give (n_trials,) for every session.")
            return {session: _checked_labels(session, X, y[session]) for session, X in arrays.items()}
        first = next(iter(arrays))
        for session, X in arrays.items():
            if self.needs_labels and len(X) != len(arrays[first]):
                raise SchemaError(
                    f"session {session!r} has {len(X)} trials and {first!r} {len(arrays[first])}: without labels they "
                    f"are matched by position. Pass y={{session: labels}}."
                )
        return {session: np.arange(len(X)) for session, X in arrays.items()}


def condition_means(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n_conditions,), sorted, and means (n_conditions, n_times, n_units) over the trials of each.

    Examples
    --------
    >>> labels, means = condition_means(np.array([[[1.0]], [[5.0]], [[3.0]]]), np.array(["a", "b", "a"]))
    >>> labels.tolist(), means.ravel().tolist()
    (['a', 'b'], [2.0, 5.0])
    """
    labels, position = np.unique(y, return_inverse=True)
    if len(labels) == len(X):
        return labels, X[np.argsort(position, kind="stable")]
    sums = np.zeros((len(labels), *X.shape[1:]))
    np.add.at(sums, position, X)
    return labels, sums / np.bincount(position)[:, None, None]


def _checked_labels(session: str, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    labels = np.asarray(y)
    if labels.shape != (len(X),):
        raise SchemaError(
            f"session {session!r} has {len(X)} trials and labels of shape {labels.shape}. Give one label for each."
        )
    is_float = labels.dtype.kind == "f"
    absent = ~np.isfinite(labels) if is_float else np.array([v is None or v == "" for v in labels.tolist()], bool)
    if absent.any():
        raise SchemaError(
            f"session {session!r}: the label of {absent.sum()} trials is missing, the first at position "
            f"{absent.argmax()}. Leave those trials out."
        )
    return labels.astype(str) if labels.dtype.kind == "O" else labels


def _check_conditions(labels: dict[str, np.ndarray], *, needs_overlap: bool) -> None:
    """Refuse a session with a single condition, and one that shares none with any other."""
    found = {session: set(y.tolist()) for session, y in labels.items()}
    for session, own in found.items():
        if len(own) < 2:
            raise SchemaError(
                f"session {session!r} has a single condition ({next(iter(own))!r}), which fits any space. Give the fit "
                f"two or more, or add the session afterwards with add_session."
            )
        others = set().union(*(theirs for name, theirs in found.items() if name != session))
        if needs_overlap and not own & others:
            raise SchemaError(
                f"session {session!r} has no condition in common with any other: it has {_shown(sorted(own))}, they "
                f"have {_shown(sorted(others))}. Check the labels, or leave it out."
            )


def _shown(values: Any, *, most: int = 3) -> str:
    values = list(values.tolist() if isinstance(values, np.ndarray) else values)
    return ", ".join(map(repr, values[:most])) + (f", … ({len(values)})" if len(values) > most else "")
