"""Several animals, one space: alignment, and decoding in an animal from the data of others."""

if "." not in __name__:
    raise ImportError("import mitral.align, not 'align': these folders are parts of the package mitral.")

from .anchors import plan_anchors
from .base import ALIGNERS, Aligner, make_aligner
from .cohort import align, shared_means, until
from .mixture_concentration import ConcentrationLDS
from .mixture_lds import MixtureLDS
from .mixture_ratio import ratio_posterior
from .new_odors import new_odors
from .procrustes import procrustes_by_value
from .quality import alignment_quality, shape_distances
from .reduced import ReducedAligner
from .shapes import angular_distance, procrustes_distance
from .shared_private import SharedPrivate
from .transfer import known_odors
from .transfer_result import sweep

__all__ = [
    "ALIGNERS",
    "Aligner",
    "ConcentrationLDS",
    "MixtureLDS",
    "ReducedAligner",
    "SharedPrivate",
    "align",
    "alignment_quality",
    "angular_distance",
    "known_odors",
    "make_aligner",
    "new_odors",
    "plan_anchors",
    "procrustes_by_value",
    "procrustes_distance",
    "ratio_posterior",
    "shape_distances",
    "shared_means",
    "sweep",
    "until",
]
