"""Make the directories of a home, check their owner, and sync them. Other modules call these through `disk`."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import paths

__all__ = ["check_owner", "ensure_directory", "sync_directory"]


def ensure_directory(path: Path, *, sync: bool = False) -> None:
    """Make a directory for this user alone, or check that the existing one belongs to this user.

    If other users can enter a directory inside a home, its mode is set to 0700. The mode of an existing home does not
    change, and missing directories above the home are made with 0755 at most.

    Args:
        path: the directory; missing directories above it are made and synced, too.
        sync: sync the directory itself, too, also if another process made it and did not sync it.

    Raises:
        HomeError: it belongs to another user, or is a link or a file.
        OSError: it cannot be made.
    """
    is_home = paths.is_root(path)
    above = _missing_above(path)
    made = False
    for parent in reversed(above):
        _make_parent(parent)
    with contextlib.suppress(FileExistsError), paths.at(path) as (name, parent_descriptor):
        os.mkdir(name, 0o700, dir_fd=parent_descriptor)
        made = True
    stat_result = check_owner(path)
    open_to_others = bool(stat_result.st_mode & 0o077) and not is_home
    if open_to_others or (made and stat.S_IMODE(stat_result.st_mode) != 0o700):  # a umask may have changed the mode
        _set_mode(path, 0o700)
    for directory in [path, *above] if sync else above:
        sync_directory(directory.parent)


def _missing_above(path: Path) -> list[Path]:
    """List the directories above that are missing, the nearest first."""
    missing = []
    for parent in path.parents:
        if paths.exists(parent):
            break
        missing.append(parent)
    return missing


def _make_parent(path: Path) -> None:
    """Make a directory above a home with mode 0755 without the bits of the umask, but always usable for this user."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
        mode = stat.S_IMODE(os.stat(path, follow_symlinks=False).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(path, mode | 0o700)


def _set_mode(path: Path, mode: int) -> None:
    descriptor = paths.open_listing(path) if not paths.is_root(path) else None
    if descriptor is None:
        os.chmod(path, mode)
        return
    try:
        os.fchmod(descriptor, mode)
    finally:
        paths.close(descriptor)


def check_owner(path: Path) -> os.stat_result:
    """Return the status of a directory that belongs to this user.

    Raises:
        HomeError: it belongs to another user, or is a link or a file.
        OSError: the name does not exist.
    """
    stat_result = paths.status(path)
    if not stat.S_ISDIR(stat_result.st_mode):
        raise HomeError("this is not a directory", where=path, hint="Links are not followed: name the directory.")
    if stat_result.st_uid != os.geteuid():
        raise HomeError(
            "the directory belongs to another user",
            where=path,
            expected=f"owner {os.geteuid()}",
            found=stat_result.st_uid,
            hint="Set home= or IPFS_LOGS_HOME to a directory of your own.",
        )
    return stat_result


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory survive a power cut."""
    descriptor = paths.open_listing(path)
    try:
        os.fsync(descriptor)
    finally:
        paths.close(descriptor)
