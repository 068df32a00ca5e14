"""Reducers by name: from (trial, time, unit) to (trial, time, latent), on plain arrays.

Add one: a class in a file of this folder with ``fit`` and ``transform`` on three axes, and a line in REDUCERS.
"""

from typing import Any

from ..decoders import build

REDUCERS = {
    "cebra": "mitral.decode.trajectories.cebra_embedding:CEBRA",
    "demixed_pca": "mitral.decode.trajectories.demixed_pca:DemixedPCA",
    "factor_analysis": "mitral.decode.trajectories.factor_analysis:FactorAnalysis",
    "gpfa": "mitral.decode.trajectories.gpfa:GPFA",
    "hmm": "mitral.decode.trajectories.hmm:GaussianHMM",
    "isomap": "mitral.decode.trajectories.isomap:Isomap",
    "lds": "mitral.decode.trajectories.lds:LDS",
    "mixture_lds": "mitral.decode.trajectories.mixture_lds:MixtureLDS",
    "pca": "mitral.decode.trajectories.pca:PCA",
    "poisson_hmm": "mitral.decode.trajectories.poisson_hmm:PoissonHMM",
    "poisson_lds": "mitral.decode.trajectories.poisson_lds:PoissonLDS",
    "probabilistic_pca": "mitral.decode.trajectories.factor_analysis:ProbabilisticPCA",
    "tensor_components": "mitral.decode.trajectories.tensor_components:TensorComponents",
    "umap": "mitral.decode.trajectories.umap_embedding:UMAP",
}


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
