"""Make, read and erase the keys of pseudonyms: one for each subsystem and month, in `keys/pseudonyms/` of the home.

`keys/pseudonyms/<subsystem>/<period>` holds one line: 64 hex digits, 0600. It is made when it is first used, by any
process that logs, and never leaves the home. `<period>.erased` says that the key was erased: it is never made again,
and values of this period are hidden then.

Of processes that make a key at the same time one wins, and all use its key: temporary file, sync, link (which replaces
nothing), sync of the directory. Erasing writes the mark first: after a crash a key is whole or unusable, and `remove`
can be called again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import time
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, secret_file
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["load", "load_or_make", "period_of", "periods", "pseudonym", "remove"]

_KEY_BYTES: Final = 32
"""Bytes of a key: as many as HMAC-SHA-256 uses well."""
_LINE: Final = re.compile(rb"[0-9a-f]{64}\n")
"""The content of the file of a key."""
_PERIOD: Final = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?|-W[0-9]{2})?", re.ASCII)
_ERASED: Final = ".erased"
"""End of the name of the mark of an erased key."""
_MAX_TRIES: Final = 8
"""Tries to make a key: another process may make it, or sweep the temporary file away."""


def period_of(seconds: float) -> str:
    """Return the period of a time: the month in UTC, such as `2026-03`."""
    return time.strftime("%Y-%m", time.gmtime(seconds))


def load(home: HomeDir, subsystem: str, period: str) -> bytes | None:
    """Read a key; `None` if it was never made, or was erased.

    Raises:
        HomeError: other users can read the file, it belongs to another user, or it holds no key.
        OSError: it cannot be read.
    """
    path = _path(home, subsystem, period)
    if disk.exists(_mark_of(path)):
        return None
    line = secret_file.read(path, "the key of pseudonyms", if_read=", and log under a new one from the next month on.")
    if line is None:
        return None
    if _LINE.fullmatch(line) is None:
        raise HomeError("not a key of pseudonyms", where=path, hint="Restore it from a backup.")
    return bytes.fromhex(line[:-1].decode("ascii"))


def load_or_make(home: HomeDir, subsystem: str, period: str) -> bytes | None:
    """Read a key, and make it if there is none; all processes get the same. `None` if it was erased.

    Raises:
        HomeError: as `load`.
        OSError: it cannot be read or made.
    """
    for _ in range(_MAX_TRIES):
        key = load(home, subsystem, period)
        path = _path(home, subsystem, period)
        if key is not None or disk.exists(_mark_of(path)):
            return key
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            _make(home, path)
    raise HomeError("the key of pseudonyms cannot be made: other processes remove its file", where=path)


def _make(home: HomeDir, path: Path) -> None:
    """Write a new key, unless there is one; one that was erased meanwhile is removed again."""
    home.make()
    for directory in (home.keys, home.pseudonym_keys, path.parent):
        disk.ensure_directory(directory, sync=True)
    fresh = path.with_name(f"{path.name}.{os.urandom(8).hex()}.tmp")
    disk.write_new(fresh, [os.urandom(_KEY_BYTES).hex().encode("ascii") + b"\n"])
    try:
        disk.link(fresh, path)
    finally:
        disk.remove(fresh)
        disk.sync_directory(path.parent)
    if disk.exists(_mark_of(path)):
        _destroy(path)


def pseudonym(key: bytes, period: str, text: str) -> str:
    """Return the pseudonym of a value.

    Args:
        key: the key of the period.
        period: the period.
        text: the value as text.
    """
    digest = hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
    return f"pseudonym_{period}_{digest}"


def periods(home: HomeDir, subsystem: str) -> list[str]:
    """List the periods of a subsystem that have a key, oldest first."""
    directory = home.pseudonym_keys / subsystem
    names = set(disk.file_names(directory))
    return sorted(name for name in names if _PERIOD.fullmatch(name) and name + _ERASED not in names)


def remove(home: HomeDir, subsystem: str, period: str) -> bool:
    """Erase the key of a period, for good: its pseudonyms can be computed by nobody then, and no new key is made.

    A program that runs stops to use the key within a second of its next record. The disk may keep old bytes in blocks
    that are not in use any more, and a backup has its own copy.

    Returns:
        Whether there was a key.

    Raises:
        OSError: the disk refuses; call it again. The key is unusable from the first step on.
    """
    path = _path(home, subsystem, period)
    if not disk.is_directory(path.parent):
        home.make()
        for directory in (home.keys, home.pseudonym_keys, path.parent):
            disk.ensure_directory(directory, sync=True)
    disk.replace(_mark_of(path), b"")
    disk.sweep(path.parent)
    return _destroy(path)


def _destroy(path: Path) -> bool:
    """Overwrite the file of a key, and remove it."""
    try:
        descriptor = disk.open_file(path, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        disk.write_all(descriptor, bytes(_KEY_BYTES * 2 + 1))
        disk.sync_data(descriptor)
    finally:
        disk.close(descriptor)
    disk.remove(path)
    disk.sync_directory(path.parent)
    return True


def _mark_of(path: Path) -> Path:
    return path.with_name(path.name + _ERASED)


def _path(home: HomeDir, subsystem: str, period: str) -> Path:
    if not home.may_be_subsystem(subsystem) or _PERIOD.fullmatch(period) is None:
        raise HomeError("not a subsystem and a period", found=f"{subsystem} {period}", expected="such as audit 2026-03")
    return home.pseudonym_keys / subsystem / period
