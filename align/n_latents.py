"""How many latents: the fewest within one standard error of the best held-out log likelihood."""

from typing import Any

import numpy as np
from sklearn.base import clone

from ..datasets.errors import SchemaError

N_FOLDS = 3


def choose_n_latents(
    aligner: Any, cohort: dict[str, np.ndarray], y: dict[str, np.ndarray]
) -> tuple[int, dict[int, float]]:
    """Cross-validate the candidates ``aligner.n_latents``.

    Trials of each animal and odor are dealt to three folds in random order. The fewest latents are taken whose mean
    log likelihood of a held-out trial lies below the best by no more than the standard error of that difference over
    trials.

    Returns
    -------
    number chosen, and number -> mean held-out log likelihood of a trial given its odor, in nats

    Raises
    ------
    SchemaError : an odor with fewer than two trials in an animal, with the session
    """
    rng = np.random.default_rng(aligner.random_state)
    fold = {session: _dealt(session, labels, rng) for session, labels in y.items()}
    values = {}
    for n_latents in sorted({int(n) for n in aligner.n_latents}):
        held_out = []
        for left_out in range(N_FOLDS):
            part = clone(aligner).set_params(n_latents=n_latents)
            kept = {session: fold[session] != left_out for session in cohort}
            part.fit({s: cohort[s][k] for s, k in kept.items()}, {s: y[s][k] for s, k in kept.items()})
            held_out += [part.log_likelihood(s, cohort[s][~k], y[s][~k]) for s, k in kept.items() if not k.all()]
        values[n_latents] = np.concatenate(held_out)
    best = max(values, key=lambda n: values[n].mean())
    for n_latents, found in values.items():
        away = values[best] - found
        if away.mean() <= away.std(ddof=1) / np.sqrt(len(away)):
            return n_latents, {n: float(v.mean()) for n, v in values.items()}
    return best, {n: float(v.mean()) for n, v in values.items()}


def _dealt(session: str, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold of each trial: those of one odor are dealt round after round."""
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        here = np.flatnonzero(labels == label)
        if len(here) < 2:
            raise SchemaError(
                f"session {session!r}: odor {label!r} has one trial, so none can be held out to choose n_latents. "
                f"Give one n_latents."
            )
        fold[rng.permutation(here)] = (np.arange(len(here)) + rng.integers(N_FOLDS)) % N_FOLDS
    return fold
