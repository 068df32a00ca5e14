"""What transfer across animals does with arrays: align one session with others, shuffle anchors, choose a setting.

Settings are chosen by pretending that each source session in turn is the new animal. So neither the target's test
trials nor its labels take part in the choice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.base import clone

from ..datasets.errors import ConfigError, SchemaError

Arrays = Mapping[str, np.ndarray]


def align_new(aligner: Any, values: Arrays, labels: Arrays, session: str, X: np.ndarray, y: np.ndarray) -> Any:
    """An aligner fitted on source sessions, with one new session added from its calibration trials.

    With a single source the two are fitted together, as one session makes no shared space.

    Parameters
    ----------
    aligner : cloned
    values, labels : source session -> (n_trials, n_times, n_units), (n_trials,)
    session, X, y : the new one; no trials at all borrow a map, where the aligner can
    """
    if len(values) > 1:
        return clone(aligner).fit(values, labels).add_session(session, X, y)
    return clone(aligner).fit({**values, session: X}, {**labels, session: y})


def derange(labels: np.ndarray, rng: np.random.Generator, *, among: np.ndarray | None = None) -> np.ndarray:
    """Labels under other names: every condition takes the name of another one, all its trials the same.

    Parameters
    ----------
    labels : (n_trials,)
    among : names to choose from; None are those of ``labels``

    Examples
    --------
    >>> derange(np.array([0, 0, 1]), np.random.default_rng(0)).tolist()
    [1, 1, 0]
    """
    names, position = np.unique(labels, return_inverse=True)
    pool = names if among is None else np.unique(among)
    if len(pool) < 2:
        raise SchemaError(f"shuffled anchors need two conditions to exchange, got {len(pool)}. Give more conditions.")
    order = rng.permutation(len(pool))
    onto = np.empty_like(order)
    onto[order] = np.roll(order, 1)  # a single cycle: nothing stays in its place
    return pool[onto[np.searchsorted(pool, names)]][position]


def best_setting(
    settings: Sequence[Any],
    pretenders: Iterable[Any],
    score_of: Callable[[Any, Any], Sequence[float]],
    *,
    cautious: bool = False,
) -> tuple[int, int]:
    """The setting, and the option within it, that does best on average over pretended targets.

    Parameters
    ----------
    settings : what is fitted, such as aligners
    pretenders : pretended targets
    score_of : (setting, pretender) -> a score for each option, larger is better; a SchemaError rules the setting out
    cautious : the first option is only left for one that beats it over pretenders by the lower end of Student's
        one-sided interval of 95 %; the best of several options beats it by luck otherwise

    Returns
    -------
    position of the setting, position of the option; the first of equals

    Raises
    ------
    SchemaError : no setting can be fitted; the message of the last one
    ConfigError : there is nobody to pretend
    """
    pretenders = list(pretenders)
    if not pretenders:
        raise ConfigError(
            "settings are chosen by pretending that each source animal is the new one, which needs at least three "
            "animals. Give one aligner and one option (a share, a measure) instead of several."
        )
    best, last = (-np.inf, 0, 0), None
    for number, setting in enumerate(settings):
        try:
            scores = np.array([score_of(setting, pretender) for pretender in pretenders])
        except SchemaError as error:
            last = error
            continue
        mean = scores.mean(axis=0)
        option = int(np.argmax(mean))
        gained = scores[:, option] - scores[:, 0]
        if cautious and len(gained) > 1 and gained.mean() <= least_gain(gained):
            option = 0
        if mean[option] > best[0]:
            best = (float(mean[option]), number, option)
    if best[0] == -np.inf and last is not None:
        raise last
    return best[1], best[2]


def least_gain(gained: np.ndarray) -> float:
    """What a mean of gains (n > 1) has to exceed: Student's 95 % quantile times its standard error."""
    return float(student.ppf(0.95, len(gained) - 1) * gained.std(ddof=1) / np.sqrt(len(gained)))


def log_posterior(decoder: Any, X: np.ndarray, n_labels: int) -> np.ndarray:
    """Log posterior (n_samples, n_labels) of a fitted classifier on label positions; unseen labels are -inf.

    A classifier without probabilities gives the softmax of its decision values.

    Raises
    ------
    ConfigError : a classifier with neither
    """
    if hasattr(decoder, "predict_proba"):
        found = np.log(np.maximum(decoder.predict_proba(X), 1e-300))
    elif hasattr(decoder, "decision_function"):
        values = np.asarray(decoder.decision_function(X))
        values = np.column_stack([np.zeros(len(values)), values]) if values.ndim == 1 else values
        found = values - values.max(axis=1, keepdims=True)
        found = found - np.log(np.exp(found).sum(axis=1, keepdims=True))
    else:
        raise ConfigError(
            f"transfer weighs posteriors, and {type(decoder).__name__} gives neither probabilities nor decision "
            f"values. Use another decoder, such as 'pooled_lda'."
        )
    out = np.full((len(X), n_labels), -np.inf)
    out[:, np.asarray(decoder.classes_, int)] = found
    return out


def some_animals(sources: Sequence[str], animals: Mapping[str, str], n_animals: int | None, seed: Any) -> list[str]:
    """Sessions of a random choice of animals, in the order of ``sources``; None keeps all.

    Raises
    ------
    SchemaError : fewer animals than asked for, or none asked for
    """
    names = list(dict.fromkeys(animals[session] for session in sources))
    if n_animals is None:
        return list(sources)
    if not 1 <= n_animals <= len(names):
        raise SchemaError(f"n_sources={n_animals}, and there are {len(names)} other animals. Take 1 to that many.")
    kept = {names[k] for k in np.random.default_rng(seed).permutation(len(names))[:n_animals]}
    return [session for session in sources if animals[session] in kept]


def of_conditions(X: np.ndarray, y: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The trials of some conditions, and their labels."""
    here = np.isin(y, kept)
    return X[here], y[here]
