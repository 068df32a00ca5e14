"""Alignment by optimal transport of conditions: with labels that may be wrong, or without any label.

Needs the library POT (``pip install mitral[transport]``), which is imported here and nowhere else.
"""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..datasets.errors import ConfigError, MissingDependency
from .base import condition_means
from .linear import Block, LinearAligner, LinearMap, polar, principal_axes
from .procrustes import Procrustes

N_PARTNERS = 4  # second partners that are tried for every first one


class Sinkhorn(Procrustes):
    """Procrustes whose matching of conditions is itself learned, with the labels as a first guess.

        min over R, P  sum_ij P_ij (|l_i R - m_j|² / scale + label_cost [label_i ≠ label_j]) - epsilon entropy(P)

    Rotation R and coupling P of a session's conditions with those of the template are solved in turn, P by Sinkhorn's
    iterations (Cuturi 2013, NeurIPS 26; with a rotation: Grave et al. 2019, AISTATS). A condition that was labelled
    wrongly can move to where it belongs; a large ``label_cost`` is Procrustes.

    Parameters
    ----------
    n_latents, n_iterations, tolerance : as ``Procrustes``
    label_cost : cost of a match against the labels; the mean squared distance of two conditions is 1
    epsilon : smoothing of the coupling, in the same unit
    n_rounds : most rounds of coupling and rotation

    Attributes
    ----------
    template_, maps_ : as ``LinearAligner``; the template is that of generalised Procrustes by the labels
    couplings_ : session -> (n_conditions, n_conditions) of its own conditions, rows sum to one
    """

    def __init__(
        self,
        n_latents: int | None = None,
        *,
        label_cost: float = 1.0,
        epsilon: float = 0.05,
        n_rounds: int = 10,
        n_iterations: int = 100,
        tolerance: float = 1e-4,
    ):
        super().__init__(n_latents, n_iterations=n_iterations, tolerance=tolerance)
        self.label_cost = label_cost
        self.epsilon = epsilon
        self.n_rounds = n_rounds

    def _template(self, blocks: dict[str, Block], n_rows: int, n_latents: int) -> np.ndarray:
        if not (self.epsilon > 0 and self.label_cost >= 0 and self.n_rounds >= 1):
            raise ConfigError(
                f"Sinkhorn: epsilon is above 0, label_cost 0 or more and n_rounds 1 or more, got {self.epsilon}, "
                f"{self.label_cost} and {self.n_rounds}."
            )
        self.couplings_: dict[str, np.ndarray] = {}
        return super()._template(blocks, n_rows, n_latents)

    def _map(self, session: str, block: Block) -> LinearMap:
        template = self.template_[np.unique(block.rows // self.template_.shape[1])]
        n_conditions, raw = len(template), block.values + block.offset
        scale, against = _scale(template), self.label_cost * (1.0 - np.eye(n_conditions))
        found, coupling = super()._map(session, block), np.eye(n_conditions)
        for _ in range(self.n_rounds):
            cost = _square_distances(found(raw).reshape(template.shape), template) / scale + against
            previous, coupling = coupling, _sinkhorn(cost, self.epsilon)
            found = _onto(self, session, block, coupling, template)
            if np.abs(coupling - previous).max() < 1e-9:
                break
        self.couplings_[session] = coupling
        return found


class GromovWasserstein(LinearAligner):
    """Match conditions of different sessions by their distances alone, then rotate; labels are never compared.

        min over P  sum_ijkl (D_ik - D'_jl)² P_ij P_kl,  D the distances between the conditions of each session

    Mémoli 2011, Found Comput Math 11:417; conditional gradient from several starts (Peyré et al. 2016, ICML). Where the
    geometry is symmetric (a ring of equal steps, say) several matchings fit equally well. They are found from the
    starts, and the coupling is their mean: a match that cannot be known is not claimed.

    Parameters
    ----------
    n_latents : principal components of each session
    n_starts : starts beside the uniform one, the best of those that follow from the partners of two conditions
    tolerance : matchings within this share of the uniform coupling's loss count as equally good
    reference : session that the others are matched to; None takes the one with most conditions, then most units
    random_state : seed of what decides ties in the starts

    Attributes
    ----------
    template_ : (n_conditions of the reference, n_times, n_latents)
    maps_ : as ``LinearAligner``
    couplings_ : session -> (n_own_conditions, n_conditions of the reference), rows sum to one
    n_matchings_ : session -> number of equally good matchings that were found
    ambiguity_ : session -> 0 where every condition has one partner, 1 where any would do

    Notes
    -----
    ``y`` only says which trials of a session are of one condition. Time O((n_conditions + n_starts) n_conditions³)
    in practice, with exact transport for the starts.
    """

    needs_labels = False
    needs_overlap = False

    def __init__(
        self,
        n_latents: int | None = None,
        *,
        n_starts: int = 10,
        tolerance: float = 0.01,
        reference: str | None = None,
        random_state: int = 0,
    ):
        self.n_latents = n_latents
        self.n_starts = n_starts
        self.tolerance = tolerance
        self.reference = reference
        self.random_state = random_state

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        if self.reference is not None and self.reference not in cohort:
            raise ConfigError(f"GromovWasserstein: the reference {self.reference!r} is no session of the fit.")
        blocks = {session: _whole_block(X, y[session]) for session, X in cohort.items()}
        self.reference_ = self.reference or max(blocks, key=lambda session: blocks[session].values.shape)
        self.n_latents_ = self._n_latents(blocks)
        first = blocks[self.reference_]
        U, s, _ = principal_axes(first.values, self.n_latents_)
        n_times = next(iter(cohort.values())).shape[1]
        template = np.pad(U * s, ((0, 0), (0, self.n_latents_ - len(s))))
        self.template_ = template.reshape(-1, n_times, self.n_latents_)
        self._distances = _distances(first, n_times)
        self.couplings_: dict[str, np.ndarray] = {}
        self.n_matchings_: dict[str, int] = {}
        self.ambiguity_: dict[str, float] = {}
        self.maps_ = {session: self._map(session, block) for session, block in blocks.items()}

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        if not len(X):
            self.maps_[session] = self._mean_map(session, X.shape[2])
            return
        block = _whole_block(X, y)
        self._check_size(session, block, self.n_latents_)
        self.maps_[session] = self._map(session, block)

    def _map(self, session: str, block: Block) -> LinearMap:
        n_times = self.template_.shape[1]
        if session == self.reference_:
            coupling, n_matchings = np.eye(len(self.template_)), 1
        else:
            coupling, n_matchings = self._matched(_distances(block, n_times))
        n = coupling.shape[1]
        self.couplings_[session] = coupling
        self.n_matchings_[session] = n_matchings
        self.ambiguity_[session] = float((1 - coupling.max(axis=1).mean()) / (1 - 1 / n))
        return _onto(self, session, block, coupling, self.template_)

    def _weights(self, session: str, block: Block, wanted: np.ndarray) -> np.ndarray:
        U, s, axes = principal_axes(block.values, wanted.shape[1])
        return axes @ polar((U * s).T @ wanted)

    def _starts(self, distances: np.ndarray, uniform: np.ndarray) -> list[np.ndarray]:
        """The uniform coupling, and the best of those that follow from the partners of two conditions.

        Two conditions of the session are given every pair of partners that are about as far apart, and the others
        follow by their distances to the two: so all matchings of a symmetric geometry are among the starts.
        """
        rng = np.random.default_rng(self.random_state)
        p, q = uniform.sum(axis=1), uniform.sum(axis=0)
        second = int(np.argsort(distances[0], kind="stable")[len(distances) // 2])
        found = []
        for i, profile in enumerate(self._distances):
            for j in np.argsort(np.abs(profile - distances[0, second]), kind="stable")[:N_PARTNERS]:
                if i != j:
                    cost = (distances[0][:, None] - profile) ** 2
                    cost += (distances[second][:, None] - self._distances[j]) ** 2
                    coupling = _cheapest(cost + 1e-6 * rng.random(cost.shape), p, q)
                    found.append((_loss(distances, self._distances, coupling), coupling))
        found.sort(key=lambda pair: pair[0])
        return [uniform] + [coupling for _, coupling in found[: self.n_starts]]

    def _matched(self, distances: np.ndarray) -> tuple[np.ndarray, int]:
        """The mean of all matchings that fit as well as the best one (n_own, n_reference), and their number."""
        ot = _ot()
        n, m = len(distances), len(self._distances)
        p, q = np.full(n, 1 / n), np.full(m, 1 / m)
        uniform = np.outer(p, q)
        worst = _loss(distances, self._distances, uniform)
        found: list[tuple[float, np.ndarray]] = []
        for initial in self._starts(distances, uniform):
            coupling = ot.gromov.gromov_wasserstein(
                distances, self._distances, p, q, loss_fun="square_loss", G0=initial, symmetric=True
            )
            found.append((_loss(distances, self._distances, coupling), coupling * n))
        best = min(loss for loss, _ in found)
        different: list[np.ndarray] = []
        for loss, coupling in found:
            is_good = loss <= best + self.tolerance * worst
            if is_good and all(np.abs(coupling - other).max() > 0.25 for other in different):
                different.append(coupling)
        return np.mean(different, axis=0), len(different)


def _onto(aligner: LinearAligner, session: str, block: Block, coupling: np.ndarray, template: np.ndarray) -> LinearMap:
    """The map of a session whose conditions are coupled with rows of a template."""
    wanted = np.einsum("ij,jtd->itd", coupling, template).reshape(-1, template.shape[2])
    shift = wanted.mean(axis=0)
    return LinearMap(block.offset, aligner._weights(session, block, wanted - shift), shift)


def _whole_block(X: np.ndarray, y: np.ndarray) -> Block:
    """All conditions of a session, whatever their names."""
    means = condition_means(X, y)[1]
    values = means.reshape(-1, means.shape[2])
    offset = values.mean(axis=0)
    return Block(np.arange(len(values)), values - offset, offset)


def _square_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) summed over bins and latents, from (n, n_times, d) and (m, n_times, d)."""
    a, b = first.reshape(len(first), -1), second.reshape(len(second), -1)
    return np.maximum(np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T, 0.0)


def _scale(template: np.ndarray) -> float:
    """Mean squared distance between two conditions."""
    n = len(template)
    total = float(_square_distances(template, template).sum())
    return total / (n * (n - 1)) if n > 1 and total > 0 else 1.0


def _distances(block: Block, n_times: int) -> np.ndarray:
    """(n_conditions, n_conditions) with a mean square of one, so that sessions of any number of units compare."""
    patterns = block.values.reshape(-1, n_times, block.values.shape[1])
    return np.sqrt(_square_distances(patterns, patterns) / _scale(patterns))


def _loss(first: np.ndarray, second: np.ndarray, coupling: np.ndarray) -> float:
    """sum_ijkl (D_ik - D'_jl)² P_ij P_kl, in three matrix products."""
    p, q = coupling.sum(axis=1), coupling.sum(axis=0)
    return float(p @ first**2 @ p + q @ second**2 @ q - 2 * np.sum(first @ coupling @ second.T * coupling))


def _cheapest(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Coupling with margins p and q of the least cost: one to one where both sides are as many."""
    if cost.shape[0] != cost.shape[1]:
        return np.asarray(_ot().emd(p, q, cost))
    coupling = np.zeros_like(cost)
    coupling[linear_sum_assignment(cost)] = 1 / len(cost)
    return coupling


def _sinkhorn(cost: np.ndarray, epsilon: float) -> np.ndarray:
    """Coupling with uniform margins, scaled so that rows sum to one."""
    n = len(cost)
    margin = np.full(n, 1 / n)
    cost = cost - cost.min(axis=1, keepdims=True)
    cost = cost - cost.min(axis=0)  # absorbed by the margins; now no row or column underflows
    coupling = _ot().sinkhorn(margin, margin, cost, epsilon, numItermax=300, stopThr=1e-7, warn=False)
    return coupling / coupling.sum(axis=1, keepdims=True)


def _ot() -> Any:
    try:
        import ot
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "alignment by optimal transport needs the library POT, which is not installed: "
            "pip install mitral[transport]"
        ) from error
    return ot
