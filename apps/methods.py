"""The decoder, what comes before it, and the folds that a configuration asks for.

Not here: what they are given (``cut``) and what is made with them (``pipeline`` and the optional sections).
"""

from typing import Any

import xarray as xr
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline

from ..datasets.folds import folds_from_splitter, make_folds, trial_column
from ..datasets.preprocess import Flatten, SquareRoot
from ..decode.decoders import make_decoder
from .config import Config
from .cut import has_classes


def decoder_of(config: Config) -> Any:
    """The decoder by itself.

    Raises
    ------
    UnknownName, ConfigError : as ``make_decoder``
    """
    return make_decoder(config.decoding.decoder, **config.decoding.parameters)


def takes_roots(config: Config) -> bool:
    """Whether the square root of counts is taken."""
    return config.activity.signal == "spikes" and config.activity.square_root


def estimator_of(config: Config) -> Any:
    """The decoder after the steps that are fitted with it in every fold."""
    decoder = decoder_of(config)
    return make_pipeline(SquareRoot(), Flatten(), decoder) if takes_roots(config) else decoder


def folds_of(activity: xr.DataArray, config: Config) -> xr.DataArray:
    """Folds over the trials, stratified by the target where it has classes; groups stay whole.

    Raises
    ------
    SchemaError : as ``make_folds``
    """
    checks, target = config.validation, config.decoding.target
    if not has_classes(trial_column(activity, target)):  # nothing to stratify by
        splitter = (KFold if checks.group is None else GroupKFold)(
            checks.n_folds, shuffle=True, random_state=checks.random_state
        )
        return folds_from_splitter(activity, splitter, target=target, group=checks.group)
    return make_folds(
        activity, target=target, n_folds=checks.n_folds, random_state=checks.random_state, group=checks.group
    )
