"""From a file or a simulation to a checked trial x time x unit array, in a store."""

if "." not in __name__:
    raise ImportError("import mitral.datasets, not 'datasets': these folders are parts of the package mitral.")

from .activity import bin_spikes, to_hz, traces_around
from .fold_kinds import blocked_folds, leave_one_group_out, repeated_folds
from .folds import check_folds, folds_from_splitter, make_folds
from .pool import condition_means, pseudo_population
from .purge import purge, purged_folds
from .schema import check_activity, check_session, events, make_session
from .simulate.latent_space import simulate_latent_space
from .simulate.olfactory import simulate_olfactory_lab
from .sources import SOURCES, read_sessions
from .store import Store

__all__ = [
    "SOURCES",
    "Store",
    "bin_spikes",
    "blocked_folds",
    "check_activity",
    "check_folds",
    "check_session",
    "condition_means",
    "events",
    "folds_from_splitter",
    "leave_one_group_out",
    "make_folds",
    "make_session",
    "pseudo_population",
    "purge",
    "purged_folds",
    "read_sessions",
    "repeated_folds",
    "simulate_latent_space",
    "simulate_olfactory_lab",
    "to_hz",
    "traces_around",
]
