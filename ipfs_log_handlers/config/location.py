"""Choose the default home of a program: a directory of its own in the user's state directory."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["default_home", "homes_directory", "program_name"]


def program_name() -> str:
    """Return the name of this program for its default home: the name of its script or package, else `python`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec is not None and spec.name != "__main__" else ""
    if not name:
        script = Path(getattr(main, "__file__", None) or "python")
        while script.stem == "__main__":  # of a zipapp, `shop.pyz/__main__.py`, or of a directory that is run
            script = script.absolute().parent
        name = "python" if script.name.startswith("<") else script.stem  # `<stdin>`
    clean = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).strip(".")
    return clean[:100] or "python"


def default_home() -> Path:
    """Return the default home: the program's own directory in the user's state directory."""
    return homes_directory() / program_name()


def homes_directory() -> Path:
    """Return the directory of default homes, one for each program.

    It is `ipfs-logs` in the first directory of `STATE_DIRECTORY`, which systemd sets for a service with
    `StateDirectory=`; else in `XDG_STATE_HOME`; else in the directory that is usual for state on this system.

    Raises:
        ConfigurationError: the user has no home directory.
    """
    for directory in (*os.environ.get("STATE_DIRECTORY", "").split(":"), os.environ.get("XDG_STATE_HOME", "")):
        if os.path.isabs(directory):
            return Path(directory) / "ipfs-logs"
    import platformdirs

    directory = ""
    with contextlib.suppress(RuntimeError, KeyError):
        directory = platformdirs.user_state_dir("ipfs-logs", appauthor=False)
    if not os.path.isabs(directory):
        raise ConfigurationError(
            "there is no directory for logs: this user has no home directory (HOME is not set)",
            where="home",
            hint="Set IPFS_LOGS_HOME to a directory that this user can write, or HOME.",
        )
    return Path(directory)
