"""Online decoding: one bin of activity at a time in, the posterior over odors out.

``OnlineDecoder.from_decoder`` takes a fitted decoder over; ``update`` then gives the numbers that the decoder
gives offline, from arrays that are made once. What is saved is arrays and JSON: nothing that is loaded can
run code. Not here: fitting; how each decoder is brought into this form (``online_forms``); the files
(``online_files``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import IntegrityError, SchemaError
from .online_files import read_folder, write_folder
from .online_forms import take_over

RULES = ("add", "cumulate", "move")


class OnlineDecoder:
    """Posterior over labels, updated by one bin of activity x at a time.

    With e_t = weights[t] x + constants[t], by rule:

    ======== ========================================================================
    add      log p_t = start + e_1 + ... + e_t: a label for the whole trial
    cumulate log p_t = start + weights[t] (x_1 + ... + x_t) + constants[t]: activity since the trial's start
    move     p_t ∝ exp(e_t) · (p_{t-1} @ transition), p_0 from start: a state that moves
    ======== ========================================================================

    Parameters
    ----------
    weights : (n_times, n_labels, n_units); one time serves every bin of trials of any length
    constants : (n_times, n_labels)
    start : (n_labels,) log prior
    transition : (n_labels, n_labels) for "move", else None
    labels : (n_labels,) what the columns of the posterior mean
    rule : one of ``RULES``
    bin_width_s : width of the bins that are to be fed
    is_counts : refuse negative values

    Raises
    ------
    SchemaError : arrays that do not fit together, or are not finite

    Notes
    -----
    Time O(n_labels · n_units) a bin, and O(n_labels²) more for "move"; no memory is taken in ``update``.
    """

    def __init__(
        self,
        weights: np.ndarray,
        constants: np.ndarray,
        start: np.ndarray,
        *,
        labels: Sequence[Any],
        rule: str,
        bin_width_s: float,
        is_counts: bool,
        transition: np.ndarray | None = None,
    ) -> None:
        self._weights = np.ascontiguousarray(weights, dtype=np.float64)
        self._constants = np.ascontiguousarray(constants, dtype=np.float64)
        self._start = np.ascontiguousarray(start, dtype=np.float64)
        self._transition = None if transition is None else np.ascontiguousarray(transition, dtype=np.float64)
        self.labels = np.asarray(labels)
        self.rule, self.bin_width_s, self.is_counts = rule, float(bin_width_s), bool(is_counts)
        self._check()
        _, n_labels, n_units = self._weights.shape
        self._x, self._seen = np.zeros(n_units), np.zeros(n_units)
        self._evidence, self._bin, self._ahead, self._posterior = (np.zeros(n_labels) for _ in range(4))
        self.reset()

    @classmethod
    def from_decoder(
        cls, decoder: Any, *, n_units: int, bin_width_s: float, labels: Sequence[Any] | None = None
    ) -> Self:
        """Take a fitted decoder over.

        Parameters
        ----------
        decoder : one of

            - ``StateSpaceIdentity``: a label for the whole trial
            - ``StateSpacePosition`` (causal): a state that moves
            - ``PoissonBayes`` on bins side by side: a label for the whole trial, right in its last bin
            - LDA, ``PooledLDA`` or logistic regression, alone or after ``StandardScaler``, on the counts cumulated
              since the trial's start (``cumulate``); a list of them, one for each bin, or one for all bins
        n_units : units in a bin
        bin_width_s : width of the bins that it was fitted on
        labels : names of the decoder's classes, in their order; None takes the classes themselves

        Raises
        ------
        SchemaError : a decoder that has no such form, features that are not of n_units, labels of another number
        """
        parts, classes = take_over(decoder, n_units)
        names = list(classes if labels is None else labels)
        if len(names) != len(classes):
            raise SchemaError(f"OnlineDecoder: {len(names)} labels for {len(classes)} classes. Give one for each.")
        return cls(**parts, labels=names, bin_width_s=bin_width_s)

    @property
    def n_units(self) -> int:
        """Values that ``update`` takes."""
        return self._weights.shape[2]

    @property
    def n_times(self) -> int | None:
        """Bins in a trial; None if any number."""
        return None if len(self._weights) == 1 and self.rule != "add" else len(self._weights)

    def reset(self) -> None:
        """Begin a new trial: nothing of the last one is kept."""
        self._time = 0
        self._seen.fill(0.0)
        self._evidence[:] = self._start
        self._normalise()

    def update(self, activity: np.ndarray) -> np.ndarray:
        """Take in the next bin.

        Parameters
        ----------
        activity : (n_units,) counts, or what the decoder was fitted on

        Returns
        -------
        posterior (n_labels,): a view that the next call overwrites; copy it to keep it

        Raises
        ------
        SchemaError : another number of units, a value that is no number or, for counts, negative; more bins than the
            decoder was fitted on. The state stays as it was
        """
        self._check_room()
        self._read(activity)
        row = 0 if len(self._weights) == 1 else self._time
        x = self._x
        if self.rule == "cumulate":
            self._seen += x
            x = self._seen
        np.dot(self._weights[row], x, out=self._bin)
        self._bin += self._constants[row]
        if self.rule == "add":
            self._evidence += self._bin
        elif self.rule == "cumulate":
            np.add(self._start, self._bin, out=self._evidence)
        self._time += 1
        return self._moved(self._bin) if self.rule == "move" else self._normalise()

    def skip(self) -> np.ndarray:
        """Let a lost bin pass, that tells nothing; return the posterior as ``update`` does.

        Raises
        ------
        SchemaError : counts that are cumulated cannot miss a bin; more bins than the decoder was fitted on
        """
        if self.rule == "cumulate":
            raise SchemaError("OnlineDecoder: counts since the trial's start cannot miss a bin. Reset, or feed zeros.")
        self._check_room()
        self._bin.fill(0.0)
        self._time += 1
        return self._moved(self._bin) if self.rule == "move" else self._normalise()

    def replay(self, activity: np.ndarray) -> np.ndarray:
        """Feed recorded trials bin by bin, each from a reset.

        Parameters
        ----------
        activity : (n_times, n_units) of one trial or (n_trials, n_times, n_units); bins that are NaN are skipped

        Returns
        -------
        posterior, with n_labels in place of n_units
        """
        activity = np.asarray(activity)
        if activity.ndim not in (2, 3):
            raise SchemaError(
                f"OnlineDecoder.replay takes (n_times, n_units) or (n_trials, n_times, n_units), got {activity.shape}."
            )
        trials = activity[None] if activity.ndim == 2 else activity
        out = np.empty((*trials.shape[:2], len(self.labels)))
        for i, trial in enumerate(trials):
            self.reset()
            for t, x in enumerate(trial):
                is_absent = activity.dtype.kind == "f" and np.isnan(x).any()
                out[i, t] = self.skip() if is_absent else self.update(x)
        self.reset()
        return out[0] if activity.ndim == 2 else out

    def save(self, path: Path | str) -> None:
        """Write a folder with ``arrays.npz`` and ``decoder.json``, which holds their hash.

        Raises
        ------
        ConflictError : something is there already
        StoreError : the folder cannot be written
        """
        arrays = {"weights": self._weights, "constants": self._constants, "start": self._start}
        if self._transition is not None:
            arrays["transition"] = self._transition
        about = {
            "rule": self.rule,
            "bin_width_s": self.bin_width_s,
            "is_counts": self.is_counts,
            "labels": self.labels.tolist(),
        }
        write_folder(Path(path), arrays, about)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises
        ------
        StoreError : nothing is there, or it cannot be read
        IntegrityError : it is not what was written, or of another format
        LimitError : larger than 1 GB
        """
        arrays, about = read_folder(Path(path))
        try:
            return cls(**about, **arrays)
        except (TypeError, ValueError) as error:
            raise IntegrityError(f"{path} does not hold a decoder: {error} Save it anew.") from error

    def _check(self) -> None:
        weights, constants, start = self._weights, self._constants, self._start
        if self.rule not in RULES:
            raise SchemaError(f"OnlineDecoder: rule is one of {', '.join(RULES)}, got {self.rule!r}.")
        if weights.ndim != 3 or 0 in weights.shape:
            raise SchemaError(f"OnlineDecoder: weights are (n_times, n_labels, n_units), got {weights.shape}.")
        n_times, n_labels, _ = weights.shape
        fits = constants.shape == (n_times, n_labels) and start.shape == (n_labels,) == self.labels.shape
        if self.rule == "move":
            fits = fits and self._transition is not None and self._transition.shape == (n_labels, n_labels)
        if not fits or self.labels.dtype.kind not in "iufbU":
            raise SchemaError(
                f"OnlineDecoder: constants, start, labels and transition do not fit weights of {n_labels} labels and "
                f"{n_times} times. Make one by OnlineDecoder.from_decoder."
            )
        arrays = [weights, constants, start] + ([] if self._transition is None else [self._transition])
        if not all(np.isfinite(array).all() for array in arrays):
            raise SchemaError("OnlineDecoder: weights, constants, start or transition are not finite. See the decoder.")
        if self._transition is not None and not np.all(self._transition > 0):
            raise SchemaError("OnlineDecoder: transitions are above 0, so that no state is ruled out. See the decoder.")
        if not 0 < self.bin_width_s < np.inf:
            raise SchemaError(f"OnlineDecoder: bin_width_s is a positive number of seconds, got {self.bin_width_s}.")

    def _check_room(self) -> None:
        n_times = self.n_times
        if n_times is not None and self._time >= n_times:
            raise SchemaError(
                f"OnlineDecoder: the decoder was fitted on trials of {n_times} bins, and this is one more. Call "
                f"reset() at the start of each trial."
            )

    def _read(self, activity: np.ndarray) -> None:
        """Into the array for one bin, checked."""
        values = np.asarray(activity)
        if values.shape != self._x.shape or values.dtype.kind not in "iufb":
            raise SchemaError(
                f"OnlineDecoder takes {self.n_units} numbers a bin, got {values.dtype} {values.shape}. Feed all units "
                f"in the order of the fit."
            )
        np.copyto(self._x, values, casting="unsafe")
        low, high = self._x.min(), self._x.max()
        if not (low > -np.inf and high < np.inf):
            raise SchemaError("OnlineDecoder: a bin holds NaN or infinity. Let a lost bin pass by skip().")
        if self.is_counts and low < 0:
            raise SchemaError(f"OnlineDecoder takes counts, and found {low:.3g}. Feed spike counts, not traces.")

    def _moved(self, evidence: np.ndarray) -> np.ndarray:
        """The last posterior, moved on by the transitions (not into the first bin) and weighed by the evidence."""
        if self._time > 1 and self._transition is not None:
            np.dot(self._posterior, self._transition, out=self._ahead)
            np.copyto(self._posterior, self._ahead)
        evidence -= evidence.max()
        np.exp(evidence, out=evidence)
        self._posterior *= evidence
        self._posterior /= self._posterior.sum()
        return self._posterior

    def _normalise(self) -> np.ndarray:
        np.subtract(self._evidence, self._evidence.max(), out=self._posterior)
        np.exp(self._posterior, out=self._posterior)
        self._posterior /= self._posterior.sum()
        return self._posterior
