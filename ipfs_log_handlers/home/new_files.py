"""Make files of a home, for this user alone whatever the umask, and write to descriptors."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ipfs_log_handlers.home.paths import OPEN, at, check_regular, close, move_away, open_listing

__all__ = ["make_files", "new_file", "write_all"]


def new_file(path: Path, flags: int) -> int:
    """Open a file with mode 0600, whatever the umask, and make it if it is missing. No link is followed.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    with at(path) as (name, above):
        if not flags & os.O_EXCL:
            with contextlib.suppress(FileNotFoundError):
                check_regular(os.stat(name, dir_fd=above, follow_symlinks=False), path, None)
        descriptor = move_away(os.open(name, flags | os.O_CREAT | OPEN, 0o600, dir_fd=above))
    try:
        stat_result = os.fstat(descriptor)
        check_regular(stat_result, path, None)
        if stat.S_IMODE(stat_result.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        close(descriptor)
        raise
    return descriptor


def make_files(directory: Path, names: Iterable[str], content: bytes) -> None:
    """Make small files with the same content and mode 0600, not synced; existing files are not changed.

    Raises:
        OSError: the disk refuses; the refused file is removed, and earlier ones stay.
    """
    above = open_listing(directory)
    try:
        for name in names:
            with contextlib.suppress(FileExistsError):
                _make_file(above, name, content)
    finally:
        close(above)


def _make_file(above: int, name: str, content: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN, 0o600, dir_fd=above)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        write_all(descriptor, content)
    except OSError:
        os.unlink(name, dir_fd=above)
        raise
    finally:
        close(descriptor)


def write_all(descriptor: int, data: bytes) -> int:
    """Write all bytes, with as many calls as necessary; return their number."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)
