"""Find the home of a user, and distinguish a home from a directory of another program."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from ipfs_log_handlers.config import homes_directory
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.batch_files import BatchFiles
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.writable import why_not_made

__all__ = ["LEVEL_HINT", "check_home", "default_homes", "is_home", "only_home"]

LEVEL_HINT: Final = "If a program should have logged here: a logger drops INFO and DEBUG until its level is set."
"""The usual reason why a home is missing or empty although a program logs there."""


def check_home(home: HomeDir) -> None:
    """Refuse a directory that is missing or that is not a home.

    An empty directory may become a home, so it is accepted.

    Raises:
        HomeError: there is no such directory, or it contains no log.
        OSError: the directory, or a directory in it, cannot be read, so a log in it would not be seen.
    """
    if not home.path.is_dir():
        obstacle = why_not_made(home.path)
        missing = f"nothing was logged here yet: there is no home at {home.path}"
        if obstacle is not None:
            raise HomeError(f"{missing}, and it cannot be made: {obstacle}")
        raise HomeError(missing, hint=LEVEL_HINT)
    with os.scandir(home.path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not os.access(entry.path, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), entry.path)
    if not (is_home(home) or _is_empty(home.path)):
        raise HomeError(f"{home.path} is not a home of ipfs-logs: it contains no log")


def is_home(home: HomeDir) -> bool:
    """Return whether a keeper has worked in a directory, or it contains a log, imported logs, or keys of periods.

    If no keeper has worked there, names alone prove nothing: `/var` has a `spool`, and `/usr/bin` a `head`.
    """
    ours = (home.key, home.lock, home.imported / "lock", home.keys / "lock")
    return any(map(disk.exists, ours)) or any(map(_holds_a_log, home.subsystem_dirs()))


def _holds_a_log(subsystem_dir: SubsystemDir) -> bool:
    from ipfs_log_handlers.home import pending_archives

    with contextlib.suppress(OSError):
        return bool(
            segments.listing(subsystem_dir.spool)
            or pending_archives.listing(subsystem_dir.archived)
            or disk.names(subsystem_dir.acts)
            or not BatchFiles(subsystem_dir.current.batches).is_empty()
            or subsystem_dir.former_log_dirs()
        )
    return False


def _is_empty(path: Path) -> bool:
    """Return whether a directory contains only hidden files, and files that `mkfs` or an import begins with."""
    names = [name for name in os.listdir(path) if not name.startswith(".") and name != "lost+found"]
    return not names or (names == ["imported-logs"] and not disk.names(path / names[0]))


def default_homes() -> list[Path]:
    """List the homes in the directory of default homes; return none if this directory cannot be read.

    A name that begins with a dot is no home: `.known-logs` holds the heads that a reader remembers.

    Raises:
        ConfigurationError: there is no such directory, because the user has no home directory.
    """
    try:
        return sorted(path for path in homes_directory().iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:
        return []


def only_home() -> Path:
    """Return the only home in the directory of default homes.

    Raises:
        HomeError: there is no home, or more than one.
        ConfigurationError: there is no such directory, because the user has no home directory.
    """
    homes = default_homes()
    if len(homes) == 1:
        return homes[0]
    if not homes:
        raise HomeError(
            f"nothing was logged here yet: there is no home under {homes_directory()}; "
            "name another directory with --home or IPFS_LOGS_HOME",
            hint=LEVEL_HINT,
        )
    listed = ", ".join(map(str, homes))
    raise HomeError(f"there are {len(homes)} homes; choose one with --home or IPFS_LOGS_HOME: {listed}")
