"""What the null exchanges: trials, whole blocks, shifts in time, or labels of other sessions.

Which one: the unit that could have come in another order in the experiment. Where labels and activity both change
slowly, trials are not exchangeable, and even shifts in time give false positives (Harris 2020,
doi 10.1101/2020.11.29.402719); labels of other sessions, or of the program that drew them, do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, lgamma
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from ..datasets.fold_kinds import check_order
from ..datasets.folds import trial_column
from .exchange import arrangements, exchange_groups, exchange_words, knows_labels, permutations, streams


class Drawn(NamedTuple):
    """Labels under the null.

    Attributes
    ----------
    labels : (n_labelings, n_trials) as the truth: class positions, or values
    n_arrangements : how many different ones the scheme allows, the true one included
    words : the scheme
    """

    labels: np.ndarray
    n_arrangements: float
    words: str


class Scheme(Protocol):
    """A way to draw labels as likely as the true ones if the target does not matter."""

    def draw(
        self,
        truth: np.ndarray,
        activity: xr.DataArray,
        folds: xr.DataArray,
        *,
        labels: np.ndarray | None,
        n_permutations: int,
        random_state: int,
    ) -> Drawn:
        """Labels of the null: ``labels`` names the class positions of ``truth``, or is None for values."""


@dataclass(frozen=True)
class ExchangeTrials:
    """Labels of trials change places, between trials that the folds treat alike.

    Parameters
    ----------
    within : trial coordinate inside whose groups labels are exchanged, beside the folds and their groups
    in_random_order : labels came in random order in the experiment, whatever the order that trials are listed in: no
        look at whether they come in runs
    """

    within: str | None = None
    in_random_order: bool = False

    def draw(
        self,
        truth: np.ndarray,
        activity: xr.DataArray,
        folds: xr.DataArray,
        *,
        labels: np.ndarray | None,
        n_permutations: int,
        random_state: int,
    ) -> Drawn:
        """Labels of the null."""
        groups = exchange_groups(activity, folds, self.within)
        drawn = permutations(truth, n_permutations, random_state, within=groups)
        words = "labels of whole trials permuted " + exchange_words(folds, self.within)
        return Drawn(drawn, arrangements(truth, groups), words)


@dataclass(frozen=True)
class ExchangeBlocks:
    """Whole blocks change places: the sequence of labels of one block goes to another of as many trials.

    For labels that were set block by block. Where the folds are stratified by the labels, only blocks that they treat
    alike change places; ``leave_one_group_out`` and ``blocked_folds`` let all blocks do so.

    Parameters
    ----------
    block : trial coordinate
    """

    block: str

    def draw(
        self,
        truth: np.ndarray,
        activity: xr.DataArray,
        folds: xr.DataArray,
        *,
        labels: np.ndarray | None,
        n_permutations: int,
        random_state: int,
    ) -> Drawn:
        """Labels of the null."""
        names = trial_column(activity, self.block)
        members = [np.flatnonzero(names == name) for name in np.unique(names)]
        if len(members) < 2:
            raise SchemaError(
                f"session {activity.attrs['session']!r}: all trials are of one {self.block}, so no blocks can change "
                f"places. Use another column, or ExchangeTrials()."
            )
        is_bound = knows_labels(folds)
        sets: dict[Any, list[np.ndarray]] = {}
        for trials in members:
            treated = folds.to_numpy()[:, trials].tobytes() if is_bound else b""
            sets.setdefault((len(trials), treated), []).append(trials)
        drawn = np.tile(truth, (n_permutations, 1))
        for row, seed in zip(drawn, streams(n_permutations, random_state), strict=True):
            rng = np.random.default_rng(seed)
            for blocks in sets.values():
                for place, source in zip(blocks, rng.permutation(len(blocks)), strict=True):
                    row[place] = truth[blocks[source]]
        log = 0.0
        for blocks in sets.values():
            alike = np.unique(np.stack([truth[trials] for trials in blocks]), axis=0, return_counts=True)[1]
            log += lgamma(len(blocks) + 1) - sum(lgamma(count + 1) for count in alike)
        words = f"label sequences of whole {self.block}s of equal length exchanged"
        words += " between those that the folds treat alike" if is_bound else ""
        return Drawn(drawn, exp(log) if log < 690 else float("inf"), words)


@dataclass(frozen=True)
class CircularShift:
    """Labels are shifted in time against activity, what falls off the end coming back at the start.

    Every shift is used at most once. A shift keeps the runs of the labels, and asks that both are stationary: slow
    drift in both still gives false positives (see ``docs/false_positives.md``).

    Parameters
    ----------
    min_shift : fewest trials, forwards or backwards; longer than labels and activity remember themselves
    """

    min_shift: int

    def draw(
        self,
        truth: np.ndarray,
        activity: xr.DataArray,
        folds: xr.DataArray,
        *,
        labels: np.ndarray | None,
        n_permutations: int,
        random_state: int,
    ) -> Drawn:
        """Labels of the null."""
        check_order(activity, "shifts in time")
        refuse_folds_that_know(folds, activity, "shifted in time")
        n = len(truth)
        n_shifts = n - 2 * self.min_shift + 1
        if self.min_shift < 1 or n_shifts < 1:
            raise SchemaError(
                f"session {activity.attrs['session']!r}: min_shift must lie between 1 and {n // 2} of {n} trials, got "
                f"{self.min_shift}."
            )
        chosen = some_of(n_shifts, n_permutations, random_state)
        drawn = np.stack([np.roll(truth, self.min_shift + shift) for shift in chosen])
        words = f"labels shifted in time by {self.min_shift} trials or more, circularly"
        return Drawn(drawn, n_shifts + 1, words)


@dataclass(frozen=True)
class PseudoSession:
    """Labels that this session could have had: those of other sessions, or of the program that drew them.

    Parameters
    ----------
    source : sequences of labels, one of each other session, at least as long as this one (the first trials are used);
        or a function from a numpy Generator to the labels of one session
    words : where the labels come from, for the result
    """

    source: Sequence[Any] | Callable[[np.random.Generator], Any]
    words: str = ""

    def draw(
        self,
        truth: np.ndarray,
        activity: xr.DataArray,
        folds: xr.DataArray,
        *,
        labels: np.ndarray | None,
        n_permutations: int,
        random_state: int,
    ) -> Drawn:
        """Labels of the null."""
        refuse_folds_that_know(folds, activity, "taken from other sessions")
        seeds = streams(n_permutations, random_state)
        if callable(self.source):
            sequences = [self.source(np.random.default_rng(seed)) for seed in seeds]
            said = self.words or "a function that draws them as the experiment did"
        else:
            sequences = [self.source[i] for i in some_of(len(self.source), n_permutations, random_state)]
            said = self.words or f"{len(self.source)} other sessions"
        where = f"session {activity.attrs['session']!r}"
        if not sequences:
            raise SchemaError(f"{where}: labels of other sessions are needed for the null, and none were given.")
        pairs = enumerate(sequences)
        drawn = np.stack([_encoded(each, truth, labels, f"{where}: label sequence {i}") for i, each in pairs])
        n_ways = float("inf") if callable(self.source) else len(np.unique(np.vstack([truth, drawn]), axis=0))
        return Drawn(drawn, n_ways, f"labels of pseudo-sessions, from {said}")


def refuse_folds_that_know(folds: xr.DataArray, activity: xr.DataArray, what: str) -> None:
    """Refuse folds stratified by the true labels for labels that would not be stratified.

    Raises
    ------
    SchemaError : such folds
    """
    if knows_labels(folds):
        raise SchemaError(
            f"session {activity.attrs['session']!r}: these folds are stratified by the true labels, and labels {what} "
            f"would not be, so their scores would lie below chance. Use folds that do not look at the labels, such as "
            f"blocked_folds(...) or leave_one_group_out(...), for the result and its null."
        )


def some_of(n: int, at_most: int, random_state: int) -> np.ndarray:
    """All of n positions, or ``at_most`` of them at random.

    Raises
    ------
    SchemaError : fewer than one is asked for
    """
    if at_most < 1:
        raise SchemaError(f"n_permutations must be at least 1, got {at_most}.")
    return np.arange(n) if n <= at_most else np.sort(np.random.default_rng(random_state).permutation(n)[:at_most])


def _encoded(sequence: Any, truth: np.ndarray, labels: np.ndarray | None, where: str) -> np.ndarray:
    """The first labels of a sequence as positions, or values, like the truth."""
    values = np.asarray(sequence)
    if values.ndim != 1 or len(values) < len(truth):
        raise SchemaError(
            f"{where} has shape {values.shape}, and {len(truth)} trials need as many labels. Leave shorter sessions "
            f"out, or decode only as many trials as all have."
        )
    values = values[: len(truth)]
    if labels is None:
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise SchemaError(f"{where} must hold finite numbers, as the target does, got {values.dtype}.")
        return values.astype(np.float64)
    unknown = np.setdiff1d(values, labels)
    if unknown.size:
        raise SchemaError(
            f"{where} holds {str(unknown[0])!r}, which never occurs in this session. Give sessions with the same "
            f"classes."
        )
    return np.searchsorted(labels, values).astype(truth.dtype)
