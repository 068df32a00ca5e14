"""A reducer before an aligner: every session is first reduced by a copy of its own, then aligned."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from .base import Arrays


class ReducedAligner(BaseEstimator):
    """An aligner on trajectories: any reducer before any aligner.

    The reducer is fitted on the trials of a session that the aligner is fitted on, so inside the folds.

    Parameters
    ----------
    reducer : from ``make_reducer``, or a pipeline on three axes; it is cloned for every session
    aligner : from ``make_aligner``; it is cloned

    Attributes
    ----------
    reducers_ : session -> fitted reducer
    aligner_ : fitted on the trajectories

    Examples
    --------
    >>> from mitral.align.base import make_aligner
    >>> from mitral.decode import make_reducer
    >>> rng = np.random.default_rng(0)
    >>> cohort = {"a": rng.normal(size=(8, 2, 6)), "b": rng.normal(size=(8, 2, 9))}
    >>> chain = ReducedAligner(make_reducer("pca", n_latents=4), make_aligner("procrustes"))
    >>> chain.fit(cohort).transform("b", cohort["b"]).shape
    (8, 2, 4)
    """

    def __init__(self, reducer: Any, aligner: Any):
        self.reducer = reducer
        self.aligner = aligner

    def fit(self, cohort: Arrays, y: Arrays | None = None) -> Self:
        """As ``Aligner.fit``, on the trajectories of every session."""
        self.reducers_ = {session: self._fitted(X, None if y is None else y[session]) for session, X in cohort.items()}
        reduced = {session: self._reduced(session, X) for session, X in cohort.items()}
        self.aligner_ = clone(self.aligner).fit(reduced, y)
        return self

    def add_session(self, session: str, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        """As ``Aligner.add_session``; the reducer of the session is learned from the same trials."""
        self.reducers_[session] = self._fitted(X, y)
        self.aligner_.add_session(session, self._reduced(session, X), y)
        return self

    def transform(self, session: str, X: np.ndarray) -> np.ndarray:
        """As ``Aligner.transform``, for trials (n_trials, n_times, n_units)."""
        if session not in self.reducers_:
            return self.aligner_.transform(session, X)  # says which sessions it knows
        return self.aligner_.transform(session, self._reduced(session, X))

    def fit_transform(self, cohort: Arrays, y: Arrays | None = None) -> Mapping[str, np.ndarray]:
        """All sessions in the space that is learned from them."""
        self.fit(cohort, y)
        return {session: self.transform(session, X) for session, X in cohort.items()}

    def _fitted(self, X: np.ndarray, y: np.ndarray | None) -> Any:
        return clone(self.reducer).fit(np.asarray(X), y)

    def _reduced(self, session: str, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.reducers_[session].transform(np.asarray(X)))
