"""The shared lab store: sessions and results, saved once, never changed, found by name.

``Store`` is all that most code needs; ``verify_folder`` re-hashes a store that cannot be opened.
The format on disk is described where it is written: ``format`` (the root), ``log`` (commit records),
``objects`` (published folders) and ``encode`` (a Dataset as plain zarr v3).
"""

from .store import Store
from .verify import verify_folder

__all__ = ["Store", "verify_folder"]
