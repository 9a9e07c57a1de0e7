"""Destroy keys: then what was encrypted to them can be read by nobody, although its CIDs and signatures still verify.

The steps, each of which can be the last one before a crash: the key is marked as `shredding`, and nothing is encrypted
to it from then on; the act goes into the log; the wrapped secret is overwritten and removed; the mark becomes
`shredded`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.key_directory import MAX_BYTES, KeyFiles, locked, state
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["begin_shred", "finish_shred", "load_mark"]


def begin_shred(place: HomeDir | Path, kid: str, about: Mapping[str, Any]) -> None:
    """Write down that a key is being destroyed. From now on nothing is encrypted to it; it can still be opened.

    Args:
        place: a home, or a key directory.
        kid: the id of the key.
        about: why and when, as JSON; an earlier call keeps its own. `load_mark` reads it.

    Raises:
        OSError: the disk refuses; the key is as before.
    """
    files = KeyFiles.of(place, kid)
    with locked(place):
        if state(place, kid) not in ("shredding", "shredded"):
            files.make_directories()
            disk.replace(files.shredding, line.record(json.dumps({"kid": kid, "about": dict(about)}).encode()))


def load_mark(place: HomeDir | Path, kid: str) -> dict[str, Any]:
    """Read what `begin_shred` wrote down about a key whose destruction has begun.

    Raises:
        FormatError: the mark is missing or damaged.
        OSError: it cannot be read.
    """
    path = KeyFiles.of(place, kid).shredding
    try:
        members = json.loads(line.decode(disk.read(path, MAX_BYTES).removesuffix(b"\n")).json)
        return dict(members["about"])
    except FileNotFoundError as error:
        raise FormatError("the destruction of this key has not begun", where=path) from error
    except (ValueError, KeyError, TypeError, RecursionError, disk.WrongFileError) as error:
        raise FormatError(f"the mark of a key that is destroyed cannot be read: {error}", where=path) from error


def finish_shred(place: HomeDir | Path, kid: str) -> None:
    """Destroy the secret of a key whose destruction has begun: overwrite, remove, and only then say that it is done.

    After a crash the state is still `shredding`: call this again. Copies of the file elsewhere, for example in backups,
    stay; a file system that writes to new places (btrfs, ZFS, most SSDs) may keep the old bytes for some time.

    Raises:
        HomeError: its destruction has not begun.
        OSError: the disk refuses.
    """
    files = KeyFiles.of(place, kid)
    with locked(place):
        found = state(place, kid)
        if found == "shredded":
            return
        if found != "shredding":
            raise HomeError(f"the destruction of {kid} has not begun", where=files.shredding, found=found)
        for path in (files.wrapped, *_leftovers(files)):
            _destroy(path)
        disk.sync_directory(files.directory)
        disk.rename(files.shredding, files.shredded)
        disk.sync_directory(files.directory)


def _leftovers(files: KeyFiles) -> list[Path]:
    """List what a killed process left of the wrapped key; nobody else writes, because the caller holds the lock."""
    prefix = f"{files.wrapped.name}."
    return [files.directory / name for name in disk.names(files.directory) if name.startswith(prefix)]


def _destroy(path: Path) -> None:
    """Overwrite a file with random bytes, synced, and remove it."""
    try:
        descriptor = disk.open_file(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        disk.write_all(descriptor, os.urandom(os.fstat(descriptor).st_size))
        disk.sync_data(descriptor)
    finally:
        disk.close(descriptor)
    disk.remove(path)
