"""Multi-session CEBRA: a network for every session, trained together so that like bins of all sessions come together.

Not here: networks, loss and drawing of pairs (``decode/trajectories/joint_encoders``).
"""

from typing import Any, NamedTuple

import numpy as np

from ..datasets.errors import ConfigError, SchemaError
from ..decode.trajectories.consistency import consistency, mean_agreement, most_typical
from ..decode.trajectories.joint_encoders import SharedPairs, Training, Weights, encode, train_against, train_jointly
from .base import Aligner, condition_means


class _Encoder(NamedTuple):
    """A network, and what is done to units before it: chosen in ``order``, less their mean, over their scale."""

    order: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: Weights


class MultiSessionCEBRA(Aligner):
    """Schneider, Lee & Mathis (2023), over sessions: bins of one condition and time bin meet on a sphere.

    Every session s has an encoder z = f_s(x), |z| = 1, and all are trained together, by the least of

        - z'z⁺ / temperature + log sum exp(z'z⁻ / temperature)

    z⁺ is a bin of another session with the same label and the same time bin, z⁻ any bin of any session. A session that
    is added trains an encoder of its own by the same rule, against the embedding of the sessions in the fit, which
    stays as it is. Encoders see one bin; they are the network "offset1-model" of the package cebra.

    Parameters
    ----------
    n_latents : at least 2: a point on a circle, a sphere ...
    n_hidden : width of the networks
    batch_size : bins, like bins, and other bins in a step
    n_iterations : steps
    learning_rate, temperature : of the training
    n_seeds : runs, from random_state, random_state + 1 ...; the run that the others agree with best is kept
    random_state : first seed

    Attributes
    ----------
    loss_ : (n_seeds, n_iterations)
    seed_ : of the run that was kept
    consistency_ : (n_seeds, n_seeds), R² of the best linear map from one run's latents to another's, of all sessions
    consistency_score_ : mean over pairs of runs; NaN of one run

    Notes
    -----
    Differs from the package: units are scaled to mean 0 and variance 1, sessions are matched by label and time bin,
    and units and trials are brought into an order of their own, so that the order they come in changes nothing.
    Networks learn what no linear map can, and fit the noise of the trials that they see: where sessions are related
    linearly, a linear aligner decodes noisy trials better. Time O(n_seeds · n_iterations · (batch_size · weights of a
    network + n_sessions)); a step costs the same however many trials there are.
    """

    def __init__(
        self,
        n_latents: int = 5,
        *,
        n_hidden: int = 32,
        batch_size: int = 512,
        n_iterations: int = 300,
        learning_rate: float = 3e-3,
        temperature: float = 1.0,
        n_seeds: int = 1,
        random_state: int = 0,
    ) -> None:
        self.n_latents = n_latents
        self.n_hidden = n_hidden
        self.batch_size = batch_size
        self.n_iterations = n_iterations
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.n_seeds = n_seeds
        self.random_state = random_state

    # ---- what the base asks for ----

    def _fit(self, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
        how, names = self._training(), sorted(cohort, key=str)
        prepared = {s: self._prepared(cohort[s], y[s]) for s in names}
        rows = [prepared[s][0] for s in names]
        self._pairs = SharedPairs([prepared[s][1] for s in names])
        runs, spaces = [], []
        for k in range(int(self.n_seeds)):
            runs.append(train_jointly(rows, self._pairs, how, int(self.random_state) + k))
            parts = [encode(weights, X, how) for weights, X in zip(runs[k][0], rows, strict=True)]
            spaces.append(np.concatenate(parts))
        self.consistency_ = consistency(spaces)
        self.consistency_score_ = mean_agreement(self.consistency_)
        kept = most_typical(self.consistency_)
        self.seed_, self.loss_ = int(self.random_state) + kept, np.array([loss for _, loss in runs])
        self._space, self._how = spaces[kept], how
        self._encoders = {
            s: prepared[s][2]._replace(weights=weights) for s, weights in zip(names, runs[kept][0], strict=True)
        }

    def _add(self, session: str, X: np.ndarray, y: np.ndarray) -> None:
        known = np.isin(y, self.conditions_)
        if not known.any():
            raise SchemaError(
                f"session {session!r} has no calibration trials, and MultiSessionCEBRA trains an encoder from them. "
                f"Give it some."
            )
        rows, code, encoder = self._prepared(X[known], y[known])
        weights = train_against(rows, code, self._pairs, self._space, self._how, self.seed_)
        self._encoders[session] = encoder._replace(weights=weights)

    def _transform(self, session: str, X: np.ndarray) -> np.ndarray:
        encoder = self._encoders[session]
        rows = (X[..., encoder.order] - encoder.mean) / encoder.scale
        latents = encode(encoder.weights, rows.reshape(-1, X.shape[-1]), self._how)
        return latents.reshape(*X.shape[:-1], latents.shape[1])

    def _check_n_latents(self) -> None:
        super()._check_n_latents()
        smallest = {"n_latents": 2, "n_hidden": 2, "batch_size": 1, "n_iterations": 1, "n_seeds": 1}
        for name, least in smallest.items():
            value: Any = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"MultiSessionCEBRA: {name} is a whole number from {least}, got {value!r}.")
        if not (self.learning_rate > 0 and self.temperature > 0):
            raise ConfigError(
                f"MultiSessionCEBRA: learning_rate and temperature are above 0, got {self.learning_rate!r} and "
                f"{self.temperature!r}."
            )

    # ---- pieces ----

    def _training(self) -> Training:
        return Training(
            int(self.n_latents), int(self.n_hidden), int(self.batch_size), int(self.n_iterations),
            float(self.learning_rate), float(self.temperature),
        )  # fmt: skip

    def _prepared(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Encoder]:
        """Rows (n_bins, n_units) for the network, what each shows, and an encoder that has no weights yet."""
        units = _order_of_units(X, y)
        X = X[..., units]
        condition = np.searchsorted(self.conditions_, y)
        trials = np.lexsort((_as_numbers(X.reshape(len(X), -1)), condition))
        X, condition = X[trials], condition[trials]
        mean, scale = X.mean(axis=(0, 1)), X.std(axis=(0, 1))
        scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        code = (condition[:, None] * X.shape[1] + np.arange(X.shape[1])).ravel()
        return ((X - mean) / scale).reshape(-1, X.shape[2]), code, _Encoder(units, mean, scale, {})


def _order_of_units(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An order that depends on what units do, and not on how they or the trials were ordered."""
    moments = [condition_means(values, y)[1] for values in (X, X**2)]
    return np.argsort(sum(_as_numbers(each.reshape(-1, X.shape[2]).T) for each in moments), kind="stable")


def _as_numbers(rows: np.ndarray) -> np.ndarray:
    """A number (n_rows,) that differs between rows that differ."""
    return np.sum(rows * np.cos(np.arange(1, rows.shape[1] + 1)), axis=1)
