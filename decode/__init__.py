"""From activity to trajectories, labels and values, validated without leakage."""

if "." not in __name__:
    raise ImportError("import mitral.decode, not 'decode': these folders are parts of the package mitral.")

from .decoders import DECODERS, make_decoder
from .intervals import hierarchical_interval, with_interval
from .nulls import with_null
from .reduce import reduce
from .result import check_result
from .score import cross_validate
from .trajectories import REDUCERS, make_reducer

__all__ = [
    "DECODERS",
    "REDUCERS",
    "check_result",
    "cross_validate",
    "hierarchical_interval",
    "make_decoder",
    "make_reducer",
    "reduce",
    "with_interval",
    "with_null",
]
