"""Keep a reserve: space and inodes that are freed on a full disk, so that earlier records can still be sealed.

`reserve` is a preallocated file. It is emptied when sealing needs its space, and stays empty until the disk has enough
space again: an empty reserve tells the writers of all processes to begin no segment, so that sealing can use the disk.
The small files in `reserve-files/` take inodes, for a disk on which only inodes are missing. Some of them are kept for
the counts of dropped records (`home.drop_reports`), which a writer writes into a file that already has its block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, volume

__all__ = [
    "FILES",
    "FILE_BYTES",
    "MAX_BYTES",
    "Room",
    "full",
    "give_up",
    "is_given_up",
    "is_in_use",
    "make",
    "make_files",
    "make_first",
    "make_room",
    "missing_bytes",
    "room",
    "take_file",
    "wanted_bytes",
    "with_reserve",
]

_T = TypeVar("_T")

MAX_BYTES: Final = 4 << 20
"""Bytes of the reserve on a disk of 32 MiB or more: two batches of 1 MiB, with heads, manifests and directories."""
_SHARE_OF_DISK: Final = 8
"""On a smaller disk the reserve is the size of the disk divided by this number, rounded down to whole blocks."""
_BLOCK_BYTES: Final = 4096
"""Bytes of a block of the disk, to which the size of the reserve is rounded."""
FILES: Final = 24
"""Number of small files of the reserve, except on a very small disk."""
FILE_BYTES: Final = 4096
"""Bytes of such a file: one block, whose content is really written, so that the disk has allocated it."""
_KEPT_FILES: Final = 8
"""Number of files that sealing leaves for the counts of dropped records, unless no other files are left."""
_INODES_SHARE: Final = 4
"""On a small disk these files take at most the number of inodes divided by this number."""
_FILES_SHARE: Final = 16
"""These files may take in addition the reserve's bytes divided by this number."""
_KEPT_SHARE: Final = 16
"""Sealing leaves the reserve's bytes divided by this number free, for delivery states and for files without payload."""
_MIN_BATCH_BYTES: Final = 16 << 10
"""Bytes of lines below which sealing does not begin, because a manifest may take as much."""
_MIN_INODES: Final = 3
"""Inodes that a batch needs: its file, and one for the new head or delivery state until it replaces the old one."""
_MANY_INODES: Final = 2 * FILES
"""Free inodes above which their number does not matter."""
_UNLIMITED_INODES: Final = 1 << 32
"""Inodes that count as free on a file system that does not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The space and inodes that sealing may use now."""

    bytes: int
    """Free bytes, without those that are kept for delivery states."""
    inodes: int
    """Free inodes."""
    has_many_bytes: bool
    """Whether the disk is not nearly full, so that sealing need not check the bytes."""

    @property
    def has_many_inodes(self) -> bool:
        """Whether sealing need not check the inodes. Otherwise a batch takes as many records as it can."""
        return self.inodes >= _MANY_INODES

    @property
    def max_raw_bytes(self) -> int:
        """Bytes of lines that certainly fit: compression makes them smaller, or a little larger."""
        return max(0, self.bytes // 2)

    @property
    def fits_inodes(self) -> bool:
        """Whether there are inodes for one batch."""
        return self.inodes >= _MIN_INODES

    def fits(self, *, urgent: bool) -> bool:
        """Check whether a small batch fits.

        Args:
            urgent: a flush waits for the batch. The last inodes are kept for such batches: each batch takes an inode
                permanently, and a segment frees one only when all its records are sealed.
        """
        min_inodes = _MIN_INODES if urgent else 2 * _MIN_INODES
        return (self.has_many_bytes or self.max_raw_bytes >= _MIN_BATCH_BYTES) and self.inodes >= min_inodes


def wanted_bytes(path: Path) -> int:
    """Return the size of the complete reserve on this disk, in bytes.

    Raises:
        OSError: the state of the disk cannot be read.
    """
    volume = os.statvfs(path.parent)
    share = volume.f_blocks * volume.f_frsize // _SHARE_OF_DISK
    return min(MAX_BYTES, share - share % _BLOCK_BYTES) if share else MAX_BYTES


def make(path: Path) -> bool:
    """Make the reserve and its files if they are missing or empty and the disk has space for twice as much.

    Args:
        path: the file `reserve` of a home.

    Returns:
        Whether the reserve is complete now.
    """
    try:
        wanted, size = wanted_bytes(path), _size(path)
        if size is not None and size >= wanted:
            return True
        if volume.free_bytes(path.parent) < 2 * wanted:
            return False
        descriptor = disk.new_file(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        _allocate(descriptor, wanted)
    except OSError:
        with contextlib.suppress(OSError):
            if size is None:
                disk.remove(path)
            else:
                disk.truncate(descriptor, 0)
        return False
    finally:
        disk.close(descriptor)
    return True


def make_files(path: Path) -> None:
    """Make the missing small files of the reserve, if the disk has space for twice as many.

    Args:
        path: the file `reserve` of a home.
    """
    with contextlib.suppress(OSError, HomeError):
        directory = _files(path)
        wanted = _wanted_files(path)
        missing = {str(number) for number in range(wanted)}.difference(disk.names(directory))
        free, inodes = _free(path)
        if not missing or inodes < 2 * wanted or free < 2 * wanted * FILE_BYTES:
            return
        disk.ensure_directory(directory)
        disk.make_files(directory, sorted(missing), b"\n" * FILE_BYTES)


def make_first(path: Path, *, with_files: bool) -> None:
    """Make the first reserve of a home: a flood of records may fill the disk before there is a keeper.

    Args:
        path: the file `reserve` of the home.
        with_files: also make the small files, which takes some milliseconds; otherwise the keeper of this process does
            it.
    """
    with contextlib.suppress(OSError):
        if _size(path) is None:
            make(path)
            if with_files:
                make_files(path)


def _wanted_files(path: Path) -> int:
    volume = os.statvfs(path.parent)
    inodes = volume.f_files or _UNLIMITED_INODES
    return max(1, min(FILES, inodes // _INODES_SHARE, wanted_bytes(path) // _FILES_SHARE // FILE_BYTES))


def take_file(path: Path, to: Path) -> bool:
    """Rename a small file of the reserve; its content is empty lines.

    Args:
        path: the file `reserve` of a home.
        to: its new path.

    Returns:
        Whether there was one.

    Raises:
        OSError: it cannot be renamed.
    """
    for name in _numbered(_files(path)):
        with contextlib.suppress(FileNotFoundError):  # another process took it
            disk.rename(_files(path) / name, to)
            return True
    return False


def _numbered(directory: Path) -> list[str]:
    """List the files that no process has taken, the highest number first."""
    return sorted((name for name in disk.names(directory) if name.isdecimal()), key=int, reverse=True)


def _allocate(descriptor: int, size: int) -> None:
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        disk.overwrite(descriptor, bytes(size))
    else:
        allocate(descriptor, 0, size)


def _files(path: Path) -> Path:
    return path.with_name("reserve-files")


def _size(path: Path) -> int | None:
    """Return the size of the reserve; `None` if it is missing, or not a file."""
    try:
        status = disk.status(path)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _free(path: Path) -> tuple[int, int]:
    """Return the bytes and the inodes that this user may still use; some file systems do not count inodes."""
    file_system = os.statvfs(path.parent)
    return volume.free_bytes(path.parent), file_system.f_favail if file_system.f_files else _UNLIMITED_INODES


def is_given_up(path: Path) -> bool:
    """Return whether the reserve is empty, because sealing uses its space; `False` if it cannot be looked at."""
    with contextlib.suppress(OSError):
        return _size(path) == 0
    return False


def is_in_use(path: Path) -> bool:
    """Return whether sealing uses the reserve, and the disk has no space yet to make it complete again.

    Then no new segment may begin: it would take the space that sealing needs in order to free space.
    """
    with contextlib.suppress(OSError):
        size = _size(path)
        return size is not None and size < wanted_bytes(path) and not make(path)
    return False


def with_reserve(path: Path, step: Callable[[], _T]) -> _T:
    """Run a step that writes; on a full disk free the reserve, and run the step again from its start.

    Args:
        path: the file `reserve` of the home.
        step: the step.

    Raises:
        OSError: as the step; for a full disk, only if there was no reserve or it was too small.
    """
    for free in (give_up, _give_up_last_files):
        try:
            return step()
        except OSError as error:
            if error.errno not in disk.NO_ROOM or not free(path):
                raise
    return step()


def room(path: Path) -> Room:
    """Return the space and inodes that sealing may use now.

    Raises:
        OSError: the state of the disk cannot be read.
    """
    wanted = wanted_bytes(path)
    free, inodes = _free(path)
    return Room(
        bytes=max(0, free - wanted // _KEPT_SHARE),
        inodes=inodes,
        has_many_bytes=free >= 2 * wanted,
    )


def missing_bytes(path: Path) -> int:
    """Return the bytes that must be freed on a disk that is nearly full; 0 while there is space for a reserve.

    Raises:
        OSError: the state of the disk cannot be read.
    """
    wanted, free = wanted_bytes(path), volume.free_bytes(path.parent)
    is_whole = (_size(path) or 0) >= wanted
    return 0 if free >= (wanted if is_whole else 2 * wanted) else 4 * wanted - free


def give_up(path: Path) -> bool:
    """Free the space and the inodes of the reserve; return whether there were any.

    The empty file stays, as a sign for the writers, and some of the small files, for the counts of dropped records.
    This step needs no space.

    Args:
        path: the file `reserve` of a home.
    """
    freed = False
    with contextlib.suppress(OSError):
        if _size(path):
            disk.cut(path, 0)
            freed = True
    with contextlib.suppress(OSError):
        freed |= _remove_files(path, min(_KEPT_FILES, _wanted_files(path) // 3))
    return freed


def make_room(path: Path, *, urgent: bool) -> Room:
    """Free the part of the reserve that a batch needs, and return the space that sealing may use now.

    Args:
        path: the file `reserve` of the home.
        urgent: a flush request waits for the batch.

    Raises:
        OSError: not even a small batch fits, and no reserve is left; or the state of the disk cannot be read.
    """
    available = room(path)
    for free in (give_up, _give_up_last_files):
        if not available.fits(urgent=urgent) and free(path):
            available = room(path)
    if not available.fits(urgent=urgent):
        raise full(path)
    return available


def _give_up_last_files(path: Path) -> bool:
    """Free the files that are kept for the counts of dropped records, if only inodes are missing."""
    with contextlib.suppress(OSError):
        return _free(path)[1] < _MIN_INODES and _remove_files(path, 0)
    return False


def _remove_files(path: Path, kept: int) -> bool:
    names = _numbered(_files(path))[kept:]
    for name in names:
        disk.remove(_files(path) / name)
    return bool(names)


def full(path: Path) -> OSError:
    """Return the error for a disk on which a batch does not fit even into the reserve."""
    free, inodes = _free(path)
    what = (
        f"{free:,} bytes and {inodes:,} inodes are free" if inodes < _UNLIMITED_INODES else f"{free:,} bytes are free"
    )
    return OSError(
        errno.ENOSPC, f"the disk is full: {what}, which is too little to seal a batch", os.fspath(path.parent)
    )
