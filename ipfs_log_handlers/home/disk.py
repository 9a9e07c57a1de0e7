"""Write, sync, rename and link the files of a home; the door to all files of a home.

No other module calls `open`, `fsync`, `rename`, `link`, `unlink` or `flock` for a file of a home
(`home/test_disk.py::test_no_other_module_touches_the_files_of_a_home`), but those whose functions can be called here:
`paths.py`, which looks at, opens and reads them, `directories.py` and `new_files.py`, which make them, and
`locked_files.py`, which locks them; and `volume.py`, which measures. All others call `disk`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home.directories import check_owner, ensure_directory, sync_directory
from ipfs_log_handlers.home.locked_files import (
    check_ours,
    close_locked,
    close_ours,
    identity_of,
    open_append,
    open_locked,
    same_file,
    take_lock,
)
from ipfs_log_handlers.home.new_files import make_files, new_file, write_all
from ipfs_log_handlers.home.paths import (
    WrongFileError,
    add_root,
    at,
    close,
    exists,
    file_names,
    is_directory,
    move_away,
    names,
    open_directory,
    open_file,
    open_listing,
    read,
    read_beginning,
    read_part,
    status,
    stream,
)

__all__ = [
    "NO_ROOM",
    "WrongFileError",
    "add_root",
    "check_owner",
    "close",
    "close_locked",
    "copy_part",
    "cut",
    "ensure_directory",
    "exists",
    "file_names",
    "is_directory",
    "link",
    "make_files",
    "move_away",
    "names",
    "new_file",
    "next_data",
    "open_append",
    "open_directory",
    "open_file",
    "open_listing",
    "open_locked",
    "overwrite",
    "read",
    "read_beginning",
    "read_part",
    "remove",
    "remove_directory",
    "rename",
    "replace",
    "same_file",
    "status",
    "stream",
    "sweep",
    "sync_data",
    "sync_directory",
    "take_lock",
    "truncate",
    "write_all",
    "write_new",
]

NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
"""Error numbers that mean that the disk, or this user's share of it, is full."""
_COPY_BYTES: Final = 1 << 20
"""Bytes that are copied at once."""


def write_new(path: Path, chunks: Iterable[bytes] | Callable[[int], bytes]) -> int:
    """Write a new file and sync its data and size; an older file of that name is removed first.

    If a step fails, no file is left at `path`, and no sync is tried again on the same file.

    Args:
        path: the file.
        chunks: its content, in pieces; or a function that gets the descriptor of the new file and returns the content.

    Returns:
        Bytes of the file.
    """
    remove(path)
    descriptor = new_file(path, os.O_WRONLY | os.O_EXCL)
    identity = identity_of(descriptor)
    try:
        size = 0
        for chunk in [chunks(descriptor)] if callable(chunks) else chunks:
            check_ours(descriptor, identity)
            size += write_all(descriptor, chunk)
        os.fsync(descriptor)
        check_ours(descriptor, identity)
    except BaseException:
        close_ours(descriptor, identity)
        with contextlib.suppress(OSError):
            remove(path)
        raise
    close(descriptor)
    return size


def copy_part(source: int, start: int, end: int, path: Path) -> None:
    """Write the bytes `start` to `end` of an open file to a new file, synced; holes stay holes and take no space.

    If a step fails, no file is left at `path`.
    """
    remove(path)
    descriptor = new_file(path, os.O_WRONLY | os.O_EXCL)
    try:
        offset = start
        while offset < end:
            data = min(next_data(source, offset), end)
            piece = os.pread(source, min(_COPY_BYTES, end - data), data)
            os.lseek(descriptor, data - start, os.SEEK_SET)
            write_all(descriptor, piece)
            offset = data + len(piece)
            if not piece:
                break
        os.ftruncate(descriptor, offset - start)
        os.fsync(descriptor)
    except BaseException:
        close(descriptor)
        with contextlib.suppress(OSError):
            remove(path)
        raise
    close(descriptor)


def truncate(descriptor: int, size: int) -> None:
    """Shorten an open file, or lengthen it by a hole. Not synced."""
    os.ftruncate(descriptor, size)


def overwrite(descriptor: int, data: bytes) -> None:
    """Replace the content of a small open file in place. Not synced, and not in one step."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def replace(
    path: Path,
    data: bytes | Iterator[bytes] | Callable[[int], bytes],
    *,
    sync: bool = True,
    beside: Path | None = None,
) -> None:
    """Replace a file in one step: after a crash either the old or the new content is there.

    Args:
        path: the file; it need not exist.
        data: the new content, whole or in pieces; or a function, as for `write_new`.
        sync: let the new content survive a power cut on return.
        beside: a file on the same disk; the `.tmp` file is written in its directory. `None`: `path`.
    """
    beside = path if beside is None else beside
    fresh = beside.with_name(f"{beside.name}.{os.getpid()}.tmp")
    try:
        if sync:
            write_new(fresh, [data] if isinstance(data, bytes) else data)
        else:
            descriptor = new_file(fresh, os.O_WRONLY | os.O_TRUNC)
            try:
                pieces = [data(descriptor)] if callable(data) else [data] if isinstance(data, bytes) else data
                write_all(descriptor, b"".join(pieces))
            finally:
                close(descriptor)
        rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(fresh)
        raise
    if sync:
        sync_directory(path.parent)


def rename(path: Path, to: Path) -> None:
    """Rename a file or directory; an existing file with the new name is replaced. Not synced."""
    with at(path) as (name, above), at(to) as (other_name, other_above):
        try:
            os.rename(name, other_name, src_dir_fd=above, dst_dir_fd=other_above)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path), None, os.fspath(to)) from error


def link(path: Path, to: Path) -> None:
    """Give a file a second name, not synced.

    Raises:
        FileExistsError: the name exists already.
    """
    with at(path) as (name, above), at(to) as (other_name, other_above):
        try:
            os.link(name, other_name, src_dir_fd=above, dst_dir_fd=other_above, follow_symlinks=False)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path), None, os.fspath(to)) from error


def cut(path: Path, size: int) -> None:
    """Shorten a file, synced; this needs no new space."""
    descriptor = open_file(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        close(descriptor)


def next_data(descriptor: int, offset: int) -> int:
    """Find the first byte at or after an offset that is not in a hole of a sparse file; else the end of the file.

    If the file system cannot distinguish holes from zeros, the result is the offset itself.
    """
    seek_data = getattr(os, "SEEK_DATA", None)
    if seek_data is None:
        return offset
    size = os.fstat(descriptor).st_size  # before the call, because bytes that are appended later are not a hole
    try:
        return os.lseek(descriptor, offset, seek_data)
    except OSError as error:
        return max(offset, size) if error.errno == errno.ENXIO else offset


def remove(path: Path) -> None:
    """Unlink a file if it exists; of a symbolic link, the link itself is removed."""
    with contextlib.suppress(FileNotFoundError), at(path) as (name, above):
        os.unlink(name, dir_fd=above)


def remove_directory(path: Path) -> None:
    """Remove an empty directory if it exists; a link is not removed.

    Raises:
        OSError: it is not empty, or not a directory.
    """
    with contextlib.suppress(FileNotFoundError), at(path) as (name, above):
        os.rmdir(name, dir_fd=above)


def sweep(path: Path) -> None:
    """Remove the temporary files that a killed process left in `replace`; call this only while no other process writes.

    A directory that is a link is not changed.
    """
    for name in names(path):
        if name.endswith(".tmp"):
            remove(path / name)


def sync_data(descriptor: int) -> None:
    """Sync the bytes of an open file, so that they survive a power cut."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
