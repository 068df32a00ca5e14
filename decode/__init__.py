"""From activity to trajectories, labels and values, validated without leakage."""

if "." not in __name__:
    raise ImportError("import mitral.decode, not 'decode': these folders are parts of the package mitral.")

from .across_conditions import generalise_across, hold_out_folds
from .balance import Balanced
from .calibration import (
    brier_score,
    expected_calibration_error,
    predict_probabilities,
    reliability_curve,
    with_probabilities,
)
from .components import gather_components, label_background, label_fraction, parse_components
from .concentration import label_error, log_concentration
from .conditions import column_dichotomies, dichotomies, label_conditions, pool_conditions
from .continuous import cross_validate_continuous, cut_at
from .continuous_null import with_continuous_null
from .curves import learning_curve, mean_curve, neuron_dropping, pooled_curve
from .decoders import DECODERS, DECODERS_OVER_TIME, make_decoder
from .dimensionality import participation_ratio
from .dissimilarity import compare_dissimilarity, crossnobis, dissimilarity, noise_ceiling, with_comparison_null
from .family import with_family
from .geometry import cross_condition_generalisation, parallelism, shattering
from .geometry_nulls import with_geometry_null, with_shattering_null
from .importance import permutation_importance, single_unit_scores
from .information import mutual_information, skaggs_information, with_information
from .intervals import hierarchical_interval, with_interval
from .mixtures import decode_components, mixture_folds
from .nested import cross_validate_nested, with_nested_null
from .null_schemes import CircularShift, ExchangeBlocks, ExchangeTrials, PseudoSession
from .nulls import with_null
from .online import OnlineDecoder
from .onset import clusters, onset, onset_interval
from .open_set import cross_validate_open_set, known_auroc
from .over_time import cross_validate_over_time, cumulate, generalise_over_time, with_null_over_time
from .pooled import cross_validate_pooled, with_pooled_null
from .reduce import reduce
from .result import check_result
from .saturation import fit_saturation
from .score import cross_validate
from .select_latents import select_latents
from .select_units import SelectUnits
from .separation import separation_over_time
from .trajectories import REDUCERS, make_reducer
from .trajectories.mixture_online import MixtureOnline
from .trajectory_measures import mean_trajectories, speed, tangling, variability_ellipses

__all__ = [
    "DECODERS",
    "DECODERS_OVER_TIME",
    "REDUCERS",
    "Balanced",
    "CircularShift",
    "ExchangeBlocks",
    "ExchangeTrials",
    "MixtureOnline",
    "OnlineDecoder",
    "PseudoSession",
    "SelectUnits",
    "brier_score",
    "check_result",
    "clusters",
    "column_dichotomies",
    "compare_dissimilarity",
    "cross_condition_generalisation",
    "cross_validate",
    "cross_validate_continuous",
    "cross_validate_nested",
    "cross_validate_open_set",
    "cross_validate_over_time",
    "cross_validate_pooled",
    "crossnobis",
    "cumulate",
    "cut_at",
    "decode_components",
    "dichotomies",
    "dissimilarity",
    "expected_calibration_error",
    "fit_saturation",
    "gather_components",
    "generalise_across",
    "generalise_over_time",
    "hierarchical_interval",
    "hold_out_folds",
    "known_auroc",
    "label_background",
    "label_conditions",
    "label_error",
    "label_fraction",
    "learning_curve",
    "log_concentration",
    "make_decoder",
    "make_reducer",
    "mean_curve",
    "mean_trajectories",
    "mixture_folds",
    "mutual_information",
    "neuron_dropping",
    "noise_ceiling",
    "onset",
    "onset_interval",
    "parallelism",
    "parse_components",
    "participation_ratio",
    "permutation_importance",
    "pool_conditions",
    "pooled_curve",
    "predict_probabilities",
    "reduce",
    "reliability_curve",
    "select_latents",
    "separation_over_time",
    "shattering",
    "single_unit_scores",
    "skaggs_information",
    "speed",
    "tangling",
    "variability_ellipses",
    "with_comparison_null",
    "with_continuous_null",
    "with_family",
    "with_geometry_null",
    "with_information",
    "with_interval",
    "with_nested_null",
    "with_null",
    "with_null_over_time",
    "with_pooled_null",
    "with_probabilities",
    "with_shattering_null",
]
