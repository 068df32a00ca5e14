"""mitral: decoding neural populations, from recordings to odors, across animals.

Nothing is imported here. Take what you need from the subpackages:
``mitral.datasets``, ``mitral.decode``, ``mitral.apps``.
"""

__version__ = "0.1.0"
