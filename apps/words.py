"""What is typed on a command line: NAME=VALUE words taken apart, and commands as they can be typed next."""

import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import ConfigError


def pairs(words: Sequence[str], *, option: str) -> dict[str, str]:
    """Name -> text of the value, of words such as ``validation.n_folds=10``.

    Raises
    ------
    ConfigError : a word without a name or without "="

    Examples
    --------
    >>> pairs(["animal=m1"], option="--option")
    {'animal': 'm1'}
    """
    out = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{option}: expected NAME=VALUE, got {word!r}. Write it without spaces around '='.")
        out[name.strip()] = value.strip()
    return out


def toml_value(text: str) -> Any:
    """A value as it stands on a command line: in TOML notation, or else text.

    Examples
    --------
    >>> toml_value("[0.0, 0.5]"), toml_value("lda")
    ([0.0, 0.5], 'lda')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def typed(*words: str | Path) -> str:
    """A ``mitral`` command as it can be typed here: where the program is not on the path, with its own.

    Examples
    --------
    >>> typed("ls", "--store", "our lab").partition(" ")[2]
    "ls --store 'our lab'"
    """
    program = "mitral"
    if shutil.which(program) is None and os.path.basename(sys.argv[0]) == program:
        program = os.path.relpath(sys.argv[0]) if os.path.dirname(sys.argv[0]) else sys.argv[0]
    return shlex.join([program, *map(str, words)])
