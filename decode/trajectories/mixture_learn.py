"""From labelled trials of one or more animals to a fitted mixture of linear dynamical systems.

Centre, start in every way that the data allow, run the best start to convergence, bring into canonical form.
Not here: the estimators, which check their input and name sessions (``mixture_lds``, and in ``mitral.align``).
"""

from collections.abc import Mapping

import numpy as np

from .missing import Observed, observed
from .mixture_em import Design, Dynamics, Loadings, assign
from .mixture_fit import Fit, best_of, canonical, moved, run_em
from .mixture_start import (
    Means,
    condition_means,
    correlation_start,
    factor_start,
    first_dynamics,
    flat_prior,
)

STARTS = ("auto", "factor", "correlation")
SHORT = 8  # iterations after which starts are compared


def free_design(n_conditions: int, *, has_own_noise: bool = False, ridge: float = 1e-2) -> Design:
    """Every condition an odor of its own, with b and x0 free."""
    return Design(np.arange(n_conditions), np.ones((n_conditions, 1)), has_own_noise, ridge)


def centred(X: np.ndarray) -> tuple[Observed, np.ndarray]:
    """Trials less the mean of each unit over what is present, and that mean (n_units,); 0 for a unit never seen."""
    X = np.asarray(X, float)
    present = ~np.isnan(X)
    centre = np.where(present, X, 0.0).sum(axis=(0, 1)) / np.maximum(present.sum(axis=(0, 1)), 1)
    return observed(X - centre), centre


def learn(
    trials: Mapping[str, np.ndarray],
    condition: Mapping[str, np.ndarray],
    design: Design,
    n_latents: int,
    *,
    start: str,
    n_restarts: int,
    tolerance: float,
    max_iterations: int,
    random_state: int,
) -> Fit:
    """Fit loadings of every animal and dynamics of every condition.

    Parameters
    ----------
    trials : name -> (n_trials, n_times, n_units), NaN where absent; bins agree
    condition : name -> (n_trials,), positions of the conditions
    design : how conditions hang together
    start : one of ``STARTS``; "auto" tries both where units may correspond, that is, where their numbers agree
    n_restarts : further starts, with latents that are disturbed by noise
    tolerance : stop when an iteration gains less than this, in nats for each trial
    max_iterations : stop here at the latest
    random_state : of the restarts

    Returns
    -------
    fit in canonical form; its traces belong to the parameters before that
    """
    data, centre, means = {}, {}, {}
    for name, X in trials.items():
        data[name], centre[name] = centred(X)
        means[name] = condition_means(data[name], condition[name], len(design.owner))
    assigned = {name: assign(data[name], condition[name]) for name in trials}
    priors = {name: flat_prior(means[name], n_latents, ridge=design.ridge) for name in trials}
    both = {name: (data[name], means[name]) for name in trials}
    begun = [
        run_em(assigned, loadings, dynamics, design, priors, tolerance=tolerance, max_iterations=SHORT)
        for loadings, dynamics in _starts(both, design, n_latents, start, n_restarts, random_state)
    ]
    best = best_of(begun)
    rest = run_em(
        assigned, best.loadings, best.dynamics, design, priors,
        tolerance=tolerance, max_iterations=max(max_iterations - len(best.objective), 1),
    )  # fmt: skip
    return _finished(best, rest, centre)


def _starts(
    animals: Mapping[str, tuple[Observed, Means]],
    design: Design,
    d: int,
    start: str,
    n_restarts: int,
    random_state: int,
) -> list[tuple[dict[str, Loadings], Dynamics]]:
    may_correspond = len({len(means.grand) for _, means in animals.values()}) == 1
    ways = [correlation_start] if start != "factor" and len(animals) > 1 else []
    if start == "factor" or len(animals) == 1 or (start == "auto" and may_correspond):
        ways.append(factor_start)
    made = [way(animals, d) for way in ways]
    rng = np.random.default_rng(random_state)
    for restart in range(n_restarts):
        loadings, latents = made[restart % len(ways)]
        turn = np.eye(d) + 0.5 * rng.normal(size=(d, d))
        noise = 0.3 * latents.std(axis=(0, 1)) * rng.normal(size=latents.shape)
        turned = {name: Loadings(one.C @ np.linalg.inv(turn), one.offset, one.R) for name, one in loadings.items()}
        made.append((turned, (latents + noise) @ turn.T))
    return [(loadings, first_dynamics(latents, design)) for loadings, latents in made]


def _finished(begun: Fit, rest: Fit, centre: Mapping[str, np.ndarray]) -> Fit:
    """The whole trace, canonical latents, and offsets of the activity as it came."""
    loadings, dynamics, G, g = canonical(rest.loadings, rest.dynamics)
    return Fit(
        {name: Loadings(one.C, one.offset + centre[name], one.R) for name, one in loadings.items()},
        dynamics,
        moved(rest.moments, G, g),
        np.concatenate([begun.log_likelihood, rest.log_likelihood]),
        np.concatenate([begun.objective, rest.objective]),
        rest.has_converged,
    )
