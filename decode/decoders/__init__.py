"""Decoders by name: scikit-learn pipelines on (n_samples, n_features), scaled inside the fold.

Add one: a function or class in a file of this folder and a line in DECODERS.
"""

import inspect
from typing import Any

from ...datasets.errors import ConfigError
from ...datasets.tables import nearest, resolve

DECODERS = {
    "gaussian": "mitral.decode.decoders.gaussian:gaussian",
    "kernel_ridge": "mitral.decode.decoders.kernel:kernel_ridge",
    "kernel_svm": "mitral.decode.decoders.kernel:kernel_svm",
    "lda": "mitral.decode.decoders.linear:lda",
    "linear_svm": "mitral.decode.decoders.linear:linear_svm",
    "logistic": "mitral.decode.decoders.linear:logistic",
    "mixture_lds": "mitral.decode.trajectories.mixture_lds:MixtureLDS",
    "naive_bayes": "mitral.decode.decoders.naive_bayes:naive_bayes",
    "nearest_centroid": "mitral.decode.decoders.nearest_centroid:nearest_centroid",
    "nearest_neighbours": "mitral.decode.decoders.nearest_neighbours:nearest_neighbours",
    "ordinal": "mitral.decode.decoders.ordinal:ordinal",
    "poisson_bayes": "mitral.decode.decoders.poisson_bayes:PoissonBayes",
    "pooled_lda": "mitral.decode.decoders.pooled_lda:pooled_lda",
    "reduced_rank": "mitral.decode.decoders.reduced_rank:reduced_rank",
    "ridge": "mitral.decode.decoders.linear:ridge",
    "ridge_classifier": "mitral.decode.decoders.linear:ridge_classifier",
    "state_space": "mitral.decode.decoders.state_space:StateSpaceIdentity",
}
DECODERS_OVER_TIME = {  # for a target over time, (n_trials, n_times): cross_validate_continuous
    "kalman": "mitral.decode.decoders.kalman:KalmanFilter",
    "state_space_position": "mitral.decode.decoders.state_space_position:StateSpacePosition",
    "wiener": "mitral.decode.decoders.wiener:WienerFilter",
}


def make_decoder(name: str, **parameters: Any) -> Any:
    """A new, unfitted decoder.

    Parameters
    ----------
    name : key of ``DECODERS`` or ``DECODERS_OVER_TIME``, or "package.module:object" of any scikit-learn estimator
    parameters : handed to it

    Raises
    ------
    UnknownName : no such decoder
    ConfigError : a parameter that it does not have

    Examples
    --------
    >>> make_decoder("ridge", alpha=10.0).steps[-1][1].alpha
    10.0
    """
    return build(name, DECODERS | DECODERS_OVER_TIME, what="decoder", **parameters)


def build(name: str, table: dict[str, str], *, what: str, **parameters: Any) -> Any:
    """Resolve a name in a table and call it with checked parameters.

    Raises
    ------
    UnknownName : no such entry
    ConfigError : a dotted path to something else than an estimator class; a parameter that it does not
        have, with the nearest ones
    """
    factory = resolve(name, table, what=what)
    if name not in table and not (inspect.isclass(factory) and hasattr(factory, "fit")):
        raise ConfigError(
            f"{what} {name!r}: a dotted path must lead to a class with a method fit, and this is "
            f"{type(factory).__name__} {getattr(factory, '__name__', factory)!r}. Nothing else is called from a name."
        )
    valid = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in valid.values())
    for parameter in parameters:
        if parameter not in valid and not takes_any:
            raise ConfigError(f"{what} {name!r} has no parameter {parameter!r}. {nearest(parameter, valid)}")
    return factory(**parameters)
