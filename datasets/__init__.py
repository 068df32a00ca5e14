"""From a file or a simulation to a checked trial x time x unit array, in a store."""

if "." not in __name__:
    raise ImportError("import mitral.datasets, not 'datasets': these folders are parts of the package mitral.")

from .activity import bin_spikes, to_hz, traces_around
from .folds import check_folds, folds_from_splitter, make_folds
from .pool import condition_means, pseudo_population
from .schema import check_activity, check_session, events, make_session
from .simulate.latent_space import simulate_latent_space
from .simulate.olfactory import simulate_olfactory_lab
from .sources import SOURCES, read_sessions
from .store import Store

__all__ = [
    "SOURCES",
    "Store",
    "bin_spikes",
    "check_activity",
    "check_folds",
    "check_session",
    "condition_means",
    "events",
    "folds_from_splitter",
    "make_folds",
    "make_session",
    "pseudo_population",
    "read_sessions",
    "simulate_latent_space",
    "simulate_olfactory_lab",
    "to_hz",
    "traces_around",
]
