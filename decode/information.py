"""Mutual information of true and decoded class, and of a unit's response and a state, in bits.

    I = sum_sr p(s, r) log2( p(s, r) / (p(s) p(r)) )

read off a table of counts is too high: a table of chance counts already has some. Two corrections:

- ``panzeri_treves``: minus  [sum_s (R_s - 1) - (R - 1)] / (2 N ln 2), the first term of the bias in 1/N
  (Panzeri & Treves 1996, Network 7:87, eq. 5; R_s by their Bayes count, section 3, so that responses that
  merely were not seen are counted).
- ``shuffle``: minus the mean information of all tables with the same margins, computed exactly and not by
  shuffling (each cell is hypergeometric; Vinh et al. 2010, JMLR 11:2837, eq. 24). Exact where there is no
  information; where there is, it takes too much, as a structured table has less bias than a shuffled one.

Not here: decoding. A confusion table says at least what the decoder keeps, never more than the activity holds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import hypergeom

from ..datasets.errors import SchemaError, UnknownName
from ..datasets.tables import nearest
from .result import check_result, confusion

CORRECTIONS = ("none", "panzeri_treves", "shuffle")


def mutual_information(counts: Any, *, correction: str) -> float:
    """Bits that a response says about a state, from a table of counts.

    Parameters
    ----------
    counts : (n_states, n_responses) whole numbers; a confusion table has true classes in rows
    correction : "none", "panzeri_treves" or "shuffle"; the last two may fall a little below zero

    Raises
    ------
    UnknownName : no such correction
    SchemaError : no table, negative or fractional counts, or none at all

    Examples
    --------
    >>> mutual_information([[50, 0], [0, 50]], correction="none")
    1.0
    >>> mutual_information([[25, 25], [25, 25]], correction="none")
    0.0
    """
    if correction not in CORRECTIONS:
        raise UnknownName(f"no correction {correction!r} of the information. {nearest(correction, CORRECTIONS)}")
    counts = _checked(counts)
    naive = float(_bits(counts).sum())
    if correction == "panzeri_treves":
        return naive - _panzeri_treves(counts)
    return naive - _expected_by_chance(counts) if correction == "shuffle" else naive


def with_information(result: xr.Dataset) -> xr.Dataset:
    """The result with the information of its confusion table.

    Parameters
    ----------
    result : of ``cross_validate`` or ``cross_validate_over_time`` with a classifier

    Returns
    -------
    result with ``information (correction)``, or ``(correction, time)``, in bits, and the attr
    ``information_most``: the entropy of the true classes, which no decoder passes

    Raises
    ------
    SchemaError : not a result, or a continuous target

    Notes
    -----
    A trial that several folds test is counted as often, so the corrections, which count trials, are then too
    small; ``warnings`` say so.
    """
    check_result(result)
    if "label" not in result.coords:
        raise SchemaError(
            f"result of session {result.attrs.get('session', '?')!r}: information needs classes, and target "
            f"{result.attrs.get('target')!r} is continuous. Decode it as classes, or score it by R²."
        )
    truth, n_labels = result["target"].to_numpy(), result.sizes["label"]
    prediction = result["prediction"].transpose("fold", "trial", ...)
    extra = prediction.dims[2:]
    flat = prediction.to_numpy().reshape(*prediction.shape[:2], -1)
    tables = [confusion(truth, flat[:, :, column], n_labels) for column in range(flat.shape[2])]
    bits = [[mutual_information(table, correction=name) for table in tables] for name in CORRECTIONS]
    values = np.array(bits).reshape(len(CORRECTIONS), *prediction.shape[2:])
    n_tests = (flat[:, :, 0] >= 0).sum(axis=0)
    said = list(result.attrs.get("warnings", []))
    if n_tests.max() > 1:
        said.append(f"Trials are tested up to {n_tests.max()} times: the corrections of the information are too small.")
    share = np.bincount(truth[n_tests > 0], minlength=n_labels) / (n_tests > 0).sum()
    entropy = -float(np.sum(share[share > 0] * np.log2(share[share > 0])))
    result = result.assign_coords(correction=list(CORRECTIONS))
    result["information"] = (("correction", *extra), values, {"units": "bit"})
    return result.assign_attrs(information_most=entropy, warnings=said)


def joint_counts(state: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Table of counts (n_states, n_responses) of two discrete series of equal length.

    Raises
    ------
    SchemaError : unequal lengths, or NaN

    Examples
    --------
    >>> joint_counts([0, 0, 1], [5, 7, 7]).tolist()
    [[1, 1], [0, 1]]
    """
    state, response = np.asarray(state), np.asarray(response)
    if state.shape != response.shape or state.ndim != 1 or not state.size:
        raise SchemaError(
            f"joint_counts: expected two series of one length, got shapes {state.shape} and {response.shape}."
        )
    for name, values in (("state", state), ("response", response)):
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise SchemaError(f"joint_counts: {name} {int(np.isnan(values).argmax())} is NaN. Leave such samples out.")
    rows, row = np.unique(state, return_inverse=True)
    columns, column = np.unique(response, return_inverse=True)
    return np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


def skaggs_information(state: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Bits per spike that each unit's rate says about a state (Skaggs et al. 1993, NIPS 5:1030).

    I = sum_s p_s (r_s / r) log2(r_s / r),  r_s the mean response in state s, r = sum_s p_s r_s.
    Not corrected for its upward bias.

    Parameters
    ----------
    state : (n_samples,) discrete
    responses : (n_samples, n_units) counts, or any activity that is not negative

    Returns
    -------
    information (n_units,), bit per spike; NaN for a unit that never fires

    Raises
    ------
    SchemaError : lengths differ, or a response is negative or NaN

    Examples
    --------
    >>> skaggs_information([0, 0, 1, 1], [[1, 2], [1, 2], [1, 0], [1, 0]]).tolist()
    [0.0, 1.0]
    """
    state, responses = np.asarray(state), np.asarray(responses, dtype=np.float64)
    if responses.ndim != 2 or state.shape != responses.shape[:1] or not state.size:
        raise SchemaError(
            f"skaggs_information: expected one state for each of the samples of (n_samples, n_units), got shapes "
            f"{state.shape} and {responses.shape}."
        )
    if not (responses >= 0).all():
        unit = int(np.flatnonzero(~(responses >= 0).all(axis=0))[0])
        raise SchemaError(f"skaggs_information: unit {unit} has a response that is negative or NaN. It takes counts.")
    names, position = np.unique(state, return_inverse=True)
    share = np.bincount(position) / len(state)
    rates = np.stack([responses[position == s].mean(axis=0) for s in range(len(names))])
    mean = share @ rates
    ratio = rates / np.where(mean > 0, mean, 1.0)
    terms = ratio * np.log2(np.where(ratio > 0, ratio, 1.0))
    return np.where(mean > 0, share @ terms, np.nan)


def _checked(counts: Any) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.dtype.kind not in "iuf" or not counts.size:
        raise SchemaError(f"expected counts (n_states, n_responses), got shape {counts.shape} of {counts.dtype}.")
    if not (counts >= 0).all() or not (counts == np.floor(counts)).all():
        raise SchemaError("a table of counts holds whole numbers from 0. Count trials, not shares of them.")
    if not counts.sum():
        raise SchemaError("the table of counts is empty: no trial was counted. Were any trials tested?")
    counts = counts.astype(np.int64)
    return counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]


def _bits(counts: np.ndarray) -> np.ndarray:
    """Terms (n_states, n_responses) of the information."""
    n = counts.sum()
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / n
    return counts / n * np.log2(np.where(counts > 0, counts / expected, 1.0))


def _panzeri_treves(counts: np.ndarray) -> float:
    n_responses = counts.shape[1]
    relevant = sum(_relevant(row[row > 0], n_responses) - 1 for row in counts)
    return float((relevant - (n_responses - 1)) / (2 * counts.sum() * np.log(2)))


def _relevant(seen: np.ndarray, most: int) -> int:
    """Responses that a state can give: the number whose expected count of seen ones is nearest to that seen.

    Of R candidates the seen ones have probability (1 - g) (n_r + 1) / (N + R_seen), those unseen share
    g = (R - R_seen) (1 - (N / (N + R_seen))^(1 / N)).
    """
    n, n_seen = int(seen.sum()), len(seen)
    best, smallest = n_seen, np.inf
    for candidate in range(n_seen, most + 1):
        each_unseen = 1 - (n / (n + n_seen)) ** (1 / n) if candidate > n_seen else 0.0
        unseen = candidate - n_seen
        p = (1 - unseen * each_unseen) * (seen + 1) / (n + n_seen) if unseen else seen / n
        if np.any(p < 0):
            break
        expected = np.sum(1 - (1 - p) ** n) + unseen * (1 - (1 - each_unseen) ** n)
        if abs(expected - n_seen) >= smallest:
            break
        best, smallest = candidate, abs(expected - n_seen)
    return best


def _expected_by_chance(counts: np.ndarray) -> float:
    """Mean information of all tables with these margins. Time O(n_states n_responses N) at most."""
    n, rows, columns = int(counts.sum()), counts.sum(axis=1), counts.sum(axis=0)
    found: Mapping[tuple[int, int], float] = {
        (int(a), int(b)): _expected_cell(n, int(a), int(b)) for a in np.unique(rows) for b in np.unique(columns)
    }
    return float(sum(found[int(a), int(b)] for a in rows for b in columns))


def _expected_cell(n: int, row: int, column: int) -> float:
    cell = np.arange(max(1, row + column - n), min(row, column) + 1)
    terms = cell / n * np.log2(n * cell / (row * column))
    return float(np.sum(terms * hypergeom.pmf(cell, n, row, column)))
