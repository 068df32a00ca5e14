"""From activity to trajectories, labels and values, validated without leakage."""

if "." not in __name__:
    raise ImportError("import mitral.decode, not 'decode': these folders are parts of the package mitral.")

from .decoders import DECODERS, make_decoder
from .intervals import hierarchical_interval, with_interval
from .nulls import with_null
from .onset import clusters, onset, onset_interval
from .over_time import cross_validate_over_time, cumulate, generalise_over_time, with_null_over_time
from .pooled import cross_validate_pooled, with_pooled_null
from .reduce import reduce
from .result import check_result
from .score import cross_validate
from .trajectories import REDUCERS, make_reducer

__all__ = [
    "DECODERS",
    "REDUCERS",
    "check_result",
    "clusters",
    "cross_validate",
    "cross_validate_over_time",
    "cross_validate_pooled",
    "cumulate",
    "generalise_over_time",
    "hierarchical_interval",
    "make_decoder",
    "make_reducer",
    "onset",
    "onset_interval",
    "reduce",
    "with_interval",
    "with_null",
    "with_null_over_time",
    "with_pooled_null",
]
