"""Every error that mitral raises on purpose, with the exit code of the command line.

    MitralError                      1  unexpected
    ├── UnknownName (LookupError)    2  no such session, result, decoder, source ...
    ├── MissingDependency (ImportError) 2  an optional library is not installed
    ├── ConfigError (ValueError)     3  a configuration file or value
    ├── SchemaError (ValueError)     4  data that breaks the session or activity schema
    ├── LeakageError (ValueError)    4  test data would reach a fit
    ├── StoreError (OSError)         4  the lab store cannot do what was asked
    │   ├── IntegrityError           4  stored bytes are not what was written
    │   └── ConflictError            5  somebody else has written that name
    └── LimitError (MemoryError)     7  larger than the set limit

Each also refines a builtin, so that ``except ValueError`` still works.
A message has four parts: what was expected, what came, where, what to do.
"""


class MitralError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UnknownName(MitralError, LookupError):
    """A name that nothing carries; the message lists the nearest valid ones."""

    exit_code = 2


class MissingDependency(MitralError, ImportError):
    """An optional library is needed and absent; the message holds the install line."""

    exit_code = 2


class ConfigError(MitralError, ValueError):
    """A configuration that cannot be run as it is written."""

    exit_code = 3


class SchemaError(MitralError, ValueError):
    """Data that do not fit the session, activity, folds or result schema."""

    exit_code = 4


class LeakageError(MitralError, ValueError):
    """Something learned from test trials would be scored on them."""

    exit_code = 4


class StoreError(MitralError, OSError):
    """The lab store cannot do what was asked."""

    exit_code = 4


class IntegrityError(StoreError):
    """Stored bytes are not the bytes that were written."""


class ConflictError(StoreError):
    """A name is already taken by another writer."""

    exit_code = 5


class LimitError(MitralError, MemoryError):
    """Larger than the set limit; refused before it is loaded."""

    exit_code = 7
