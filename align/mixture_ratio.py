"""How much of each of two odors is in a mixture, with dynamics between those of its components.

Not here: the fit (``mixture_lds``).
"""

import numpy as np
from scipy.special import softmax

from ..datasets.errors import SchemaError
from ..decode.trajectories.mixture_em import Dynamics
from ..decode.trajectories.mixture_fit import log_joint
from .mixture_lds import MixtureLDS

RATIOS = np.linspace(0, 1, 21)


def between(dynamics: Dynamics, first: int, second: int, ratios: np.ndarray) -> Dynamics:
    """Every parameter on the straight line from odor ``first`` (ratio 0) to odor ``second`` (ratio 1).

    Examples
    --------
    >>> one = np.ones((2, 1, 1)) * np.array([0.2, 0.6])[:, None, None]
    >>> line = between(Dynamics(one, one, one, one[:, 0], one), 0, 1, np.array([0.5]))
    >>> float(line.A.item())
    0.4
    """
    ratios = np.asarray(ratios, float)

    def line(part: np.ndarray) -> np.ndarray:
        share = ratios.reshape(-1, *[1] * (part.ndim - 1))
        return (1 - share) * part[first] + share * part[second]

    return Dynamics(*map(line, dynamics))


def ratio_posterior(
    aligner: MixtureLDS, session: str, X: np.ndarray, first: object, second: object, *, ratios: np.ndarray = RATIOS
) -> np.ndarray:
    """Posterior over the share of ``second`` in mixtures of two odors, at every bin from the past alone.

    Parameters
    ----------
    aligner : fitted on the single odors
    session : known to it
    X : (n_trials, n_times, n_units)
    first, second : odors of the fit
    ratios : (n_ratios,) shares of the second, equally probable beforehand

    Returns
    -------
    posterior (n_trials, n_times, n_ratios)

    Raises
    ------
    SchemaError : an odor that is not in the fit; the same odor twice; shares outside 0 to 1
    """
    one, other = aligner._positions(session, np.array([first, second]))
    if one == other:
        raise SchemaError(f"session {session!r}: a mixture has two odors, and both are {first!r}. Name two.")
    ratios = np.asarray(ratios, float)
    if ratios.size == 0 or ratios.min() < 0 or ratios.max() > 1:
        raise SchemaError(f"session {session!r}: ratios are shares from 0 to 1, got {ratios.tolist()}.")
    data, loadings = aligner._known(session, X)
    return softmax(log_joint(data, loadings, between(aligner.dynamics_, int(one), int(other), ratios)), axis=2)
