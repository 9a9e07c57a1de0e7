"""Inspect, list, open and read the files of a home without following a link.

A home may come from a stranger, unpacked from an archive. So every path below a home is opened directory by directory,
and a symbolic link below the home is never followed: each call in this module uses a name relative to the opened
directory above it. Only a regular file is opened, of at most the size that its kind can have; a pipe in the place of a
file neither blocks nor is read. Other modules use these functions through `disk`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from posix import close as _close_at_once
from typing import Final

from ipfs_log_handlers.accelerator.state import ACCELERATOR

__all__ = [
    "WrongFileError",
    "add_root",
    "at",
    "check_regular",
    "close",
    "exists",
    "file_names",
    "is_directory",
    "is_root",
    "move_away",
    "names",
    "open_below",
    "open_directory",
    "open_file",
    "open_listing",
    "read",
    "read_beginning",
    "read_part",
    "status",
    "stream",
]

MAX_FILE_BYTES: Final = 64 << 20
"""Bytes of a file that is read as a whole, unless its kind has a smaller limit."""
OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
"""Flags of every open file: no link is followed, and no call waits for a pipe or a terminal."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a directory to list or to sync it."""
_WALK: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a directory only to reach the files below it."""


class WrongFileError(OSError):
    """A link, a pipe, a directory, or a file of too many bytes is in the place of a file.

    Readers treat this as damage of this one file, and continue with the others.
    """


_OTHER_KINDS: Final = {
    stat.S_IFLNK: (errno.ELOOP, "a symbolic link, which is not followed,"),
    stat.S_IFDIR: (errno.EISDIR, "a directory"),
    stat.S_IFIFO: (errno.EINVAL, "a pipe"),
    stat.S_IFSOCK: (errno.EINVAL, "a socket"),
}
"""By type of a file that is not regular: error number, and name in messages."""

# -- descriptors

_MAX_LOWEST_NUMBER: Final = 3072
"""Largest first number of our descriptors; it is limited, because the kernel copies the descriptor table at a fork."""

close: Final = _close_at_once
"""Close a descriptor at once; all code of this package calls this function in place of `os.close`.

gevent (since 25.8.1) replaces `os.close`: it closes everything but a regular file later, when the event loop of the
calling thread runs. The thread of the keeper runs no such loop, so every directory would stay open.
"""


def move_away(descriptor: int) -> int:
    """Give an open file a high number, and close the low one; return the new number.

    Programs close ranges of low numbers when they become daemons, and their next files get these numbers: a write to
    our descriptor would then write to their file.
    """
    soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = _MAX_LOWEST_NUMBER if soft_limit < 0 else min(_MAX_LOWEST_NUMBER, soft_limit * 3 // 4)
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    except OSError:  # no high number is free
        return descriptor
    close(descriptor)
    return moved


# -- paths below a home

_roots: set[str] = set()
"""Paths of the homes that this process knows. Links above a home, and a home that is itself a link, are followed."""


def add_root(home: Path) -> None:
    """Register the path of a home: from now on no link below it is followed."""
    _roots.add(os.fspath(home))


def is_root(path: Path) -> bool:
    """Return whether a path is that of a home, and not of a file or directory below a home."""
    return os.fspath(path) in _roots


def _split(path: str) -> tuple[str, list[str]]:
    """Split a path into its home and the names below it; outside of homes, the first part is the whole path."""
    root = path
    while root:
        if root in _roots:
            return root, [name for name in path[len(root) :].split("/") if name]
        root = root.rpartition("/")[0]
    return path, []


def open_below(path: str, flags: int = _WALK) -> int:
    """Open a directory name by name, beginning at its home, without following a link."""
    root, below = _split(path)
    descriptor = os.open(root, flags if not below else _WALK)
    for number, name in enumerate(below, 1):
        above = descriptor
        try:
            descriptor = os.open(name, (flags if number == len(below) else _WALK) | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise NotADirectoryError(errno.ENOTDIR, "a link or a file in the place of a directory", path) from error
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            close(above)
    return descriptor if flags == _WALK else move_away(descriptor)


def open_directory(path: Path) -> int:
    """Open a directory, to read its status; the caller closes the descriptor. No link is followed.

    Raises:
        OSError: it cannot be opened; `NotADirectoryError` if it is not a directory.
    """
    return open_below(os.fspath(path))


def open_listing(path: Path) -> int:
    """Open a directory to list it or to sync it; the caller closes the descriptor. No link is followed.

    Raises:
        OSError: it cannot be opened, or is not a directory.
    """
    return open_below(os.fspath(path), DIRECTORY)


@contextlib.contextmanager
def at(path: Path) -> Iterator[tuple[str, int | None]]:
    """Open the directory above a path; yield the name and the descriptor; the path and `None` outside of homes."""
    text = os.fspath(path)
    if text in _roots or not _split(text)[1]:
        yield text, None
        return
    above, _, name = text.rstrip("/").rpartition("/")
    descriptor = open_below(above)
    try:
        yield name, descriptor
    except OSError as error:
        if error.filename == name:  # messages name the whole path
            error.filename = text
        raise
    finally:
        close(descriptor)


def status(path: Path) -> os.stat_result:
    """Return the status of a file or directory; of a link, the status of the link itself.

    Raises:
        OSError: it cannot be read; `FileNotFoundError` if the name does not exist.
    """
    with at(path) as (name, above):
        return os.stat(name, dir_fd=above, follow_symlinks=False)


def exists(path: Path) -> bool:
    """Return whether this name exists, also as a link that leads nowhere."""
    try:
        status(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_directory(path: Path) -> bool:
    """Return whether this name is a directory; a link to a directory is not one."""
    try:
        return stat.S_ISDIR(status(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def names(path: Path) -> list[str]:
    """List a directory; return no name if it is missing, a link or a file.

    Raises:
        OSError: the directory cannot be read.
    """
    return _list(path, os.listdir)


def file_names(path: Path) -> list[str]:
    """List the regular files of a directory; return no name if it is missing, a link or a file.

    Raises:
        OSError: the directory cannot be read.
    """
    return _list(path, _regular_files)


def _regular_files(descriptor: int) -> list[str]:
    with os.scandir(descriptor) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


def _list(path: Path, listing: Callable[[int], list[str]]) -> list[str]:
    try:
        descriptor = open_below(os.fspath(path), DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return listing(descriptor)
    finally:
        close(descriptor)


def open_file(path: Path, flags: int = os.O_RDONLY, *, max_bytes: int | None = None) -> int:
    """Open a regular file that exists; the caller closes the descriptor.

    Args:
        path: the file; no link is followed.
        flags: as for `os.open`.
        max_bytes: size above which the file is refused; `None`: any size.

    Raises:
        OSError: it cannot be opened, is not a regular file (a pipe, a device, a link), or is too large;
            `FileNotFoundError` if the name does not exist.
    """
    with at(path) as (name, above):
        check_regular(os.stat(name, dir_fd=above, follow_symlinks=False), path, max_bytes)
        descriptor = move_away(os.open(name, flags | OPEN, dir_fd=above))
    try:
        check_regular(os.fstat(descriptor), path, max_bytes)
    except BaseException:
        close(descriptor)
        raise
    return descriptor


def check_regular(stat_result: os.stat_result, path: Path, max_bytes: int | None) -> None:
    """Refuse a file that is not regular, or is too large.

    Raises:
        WrongFileError: it is another kind of file, or has more than `max_bytes`.
    """
    if not stat.S_ISREG(stat_result.st_mode):
        number, kind = _OTHER_KINDS.get(stat.S_IFMT(stat_result.st_mode), (errno.EINVAL, "a device"))
        raise WrongFileError(number, f"{kind} in the place of a file", os.fspath(path))
    if max_bytes is not None and stat_result.st_size > max_bytes:
        reason = f"{stat_result.st_size} bytes, where a file has at most {max_bytes}"
        raise WrongFileError(errno.EFBIG, reason, os.fspath(path))


# -- reading


def read(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole small file.

    It is not read through a buffered stream: a fork during the reading would leave the lock of the stream locked in the
    child.

    Args:
        path: the file; no link is followed.
        max_bytes: the largest size that a file of its kind can have.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger; `FileNotFoundError` when it does not exist.
    """
    descriptor = open_file(path, max_bytes=max_bytes)
    try:
        data = _read(descriptor, max_bytes + 1)
    finally:
        close(descriptor)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"a file that grew beyond {max_bytes} bytes", os.fspath(path))
    return data


def read_beginning(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read the first bytes of a file of any size; raises as `read`."""
    descriptor = open_file(path)
    try:
        return _read(descriptor, max_bytes)
    finally:
        close(descriptor)


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Read at most `size` bytes of a file from an offset on.

    The accelerator does it in one step: a reader of many files then waits less for the GIL.

    Args:
        path: the file; no link is followed.
        offset: place of the first byte.
        size: number of bytes.

    Returns:
        Fewer bytes where the file ends, none after its end.

    Raises:
        OSError: as `stream`.
    """
    root, below = _split(os.fspath(path))
    if ACCELERATOR is not None and below:
        data: bytes | bool | None = ACCELERATOR.read_below(root, below, offset, size)
        if isinstance(data, bytes):
            return data
        if data is False:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    with stream(path) as file:
        left = file.seek(0, os.SEEK_END) - offset
        file.seek(offset)
        return file.read(min(left, size)) if left > 0 else b""


def _read(descriptor: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    while max_bytes > 0 and (part := os.read(descriptor, min(max_bytes, 1 << 20))):
        parts.append(part)
        max_bytes -= len(part)
    return b"".join(parts)


def stream(path: Path, *, max_bytes: int | None = None) -> FileIO:
    """Open a file to be read, unbuffered.

    Args:
        path: the file; no link is followed.
        max_bytes: size above which the file is refused; `None`: any size.

    Raises:
        OSError: it cannot be opened, is not a regular file, or is too large; `FileNotFoundError` when it does not
            exist.
    """
    return FileIO(path, "rb", opener=lambda _, __: open_file(path, max_bytes=max_bytes))
