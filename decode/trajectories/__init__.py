"""Reducers by name: from (trial, time, unit) to (trial, time, latent), on plain arrays.

Add one: a class in a file of this folder with ``fit`` and ``transform`` on three axes, and a line in REDUCERS.
"""

from typing import Any

from ..decoders import build

REDUCERS = {"pca": "mitral.decode.trajectories.pca:PCA"}


def make_reducer(name: str, **parameters: Any) -> Any:
    """A new, unfitted reducer.

    Parameters
    ----------
    name : key of ``REDUCERS``, or "package.module:object" of any transformer on three axes
    parameters : handed to it

    Raises
    ------
    UnknownName : no such reducer
    ConfigError : a parameter that it does not have

    Examples
    --------
    >>> make_reducer("pca", n_latents=2).n_latents
    2
    """
    return build(name, REDUCERS, what="reducer", **parameters)
