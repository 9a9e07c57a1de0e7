"""Import the libraries that only SQL and data frames need, or raise an error with the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["load"]

_IN_EXTRA: Final = frozenset({"duckdb", "pyarrow", "pytz"})
"""The libraries of the extra `query`; others are installed by their own name."""


def load(name: str, wanted_by: str) -> Any:
    """Import a library that is not needed to log.

    Args:
        name: the module.
        wanted_by: the function that needs it, for the error.

    Raises:
        ConfigurationError: the library is not installed; the error has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        library = name.partition(".")[0]
        missing = "'ipfs_log_handlers[query]'" if library in _IN_EXTRA else library
        raise ConfigurationError(
            f"{wanted_by} needs {library}, which is not installed", hint=f"Run: pip install {missing}"
        ) from error
