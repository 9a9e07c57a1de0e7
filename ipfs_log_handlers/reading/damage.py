"""What is damaged in a subsystem's directory: which file, and in which way. Reads all of it; writes and locks nothing.

Narrower than `verify`, which checks every claim: here only what a disk does to files counts, for that is what
`ipfs-logs doctor` names and, with `--repair`, mends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.home import disk, head, segments, settings, shipped
from ipfs_log_handlers.home.layout import Room, Shelf
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.reading.batch import OpenBatch, open_batch
from ipfs_log_handlers.reading.logs import Log, logs_of, titles
from ipfs_log_handlers.reading.spooled import pieces

__all__ = ["Damage", "damaged_batches", "find", "leftovers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One file that is not what it should be."""

    kind: Literal["batch", "head", "mark", "settings", "segment", "leftover"]
    """What it is: `leftover` is a temporary file of a process that was killed."""
    log: str
    """What the log that it belongs to is called: its subsystem, with part of its name where there are several."""
    shelf: Shelf
    """The files of that log."""
    path: Path
    """The file."""
    found: str
    """In words."""
    index: int | None = None
    """Which batch."""

    @property
    def title(self) -> str:
        """What it is called: `audit batch 0`."""
        return f"{self.log} {self.kind}" + ("" if self.index is None else f" {self.index}")


def find(room: Room) -> Iterator[Damage]:
    """Everything that is damaged in a subsystem: settings, log after log head, batches and marks, then the spool.

    Raises:
        OSError: the home cannot be read.
    """
    try:
        settings.read(room.settings)
    except FormatError as error:
        yield Damage(kind="settings", log=room.name, shelf=room.current, path=room.settings, found=str(error))
    except FileNotFoundError:
        pass
    logs = logs_of(room)
    called = titles(logs)
    for log in logs:
        title = called[log.shelf.path]
        trouble = log.trouble
        if log.sealed is None and trouble is None and log.shelf.path != room.path:
            trouble = "the head is missing beside batches"
        if trouble is not None:
            yield Damage(kind="head", log=title, shelf=log.shelf, path=log.shelf.head, found=trouble)
        yield from damaged_batches(log, title)
    for shelf in room.shelves():
        yield from _marks(shelf, called.get(shelf.path, room.name))
    yield from _segments(room)


def leftovers(room: Room) -> Iterator[Damage]:
    """Temporary files; a live keeper has some too, so nobody may be the keeper now."""
    called = titles(logs_of(room))
    for shelf in room.shelves():
        title = called.get(shelf.path, room.name)
        places = [shelf.path, shelf.shipped, *sorted(path for path in shelf.batches.glob("*") if path.is_dir())]
        for path in (each for place in places for each in sorted(place.glob("*.tmp"))):
            yield Damage(kind="leftover", log=title, shelf=shelf, path=path, found="left by a process that was killed")


def damaged_batches(log: Log, title: str) -> Iterator[Damage]:
    """The batches of one log that are missing, cut, or have a block that is not what its CID names.

    Args:
        log: the log.
        title: what it is called.
    """
    marks = [mark for mark in shipped.load_all(log.shelf.shipped).values() if mark.log == log.name]
    for index in range(log.newest + 1):
        path = log.batches.file(index)
        try:
            with open_batch(log.batches.files(index)) as batch:
                trouble = _trouble(batch, log, index, confirmed=any(mark.has(index) for mark in marks))
        except FileNotFoundError:
            trouble = "its file is missing"
        except (FormatError, VerificationError, OSError) as error:
            trouble = str(error)
        if trouble:
            yield Damage(kind="batch", log=title, shelf=log.shelf, path=path, found=trouble, index=index)


def _trouble(batch: OpenBatch, log: Log, index: int, *, confirmed: bool) -> str | None:
    for section in batch.sections:
        batch.at(section)
    manifest = batch.manifest()
    if (manifest.log, manifest.index) != (log.name, index):
        return f"it is batch {manifest.index} of {manifest.log}"
    signed = batch.head()
    if (signed.log, signed.index, signed.manifest) != (log.name, index, batch.cid):
        return f"its head block is that of batch {signed.index} of {signed.log}"
    missing = [cid for cid in manifest.evidence if cid not in batch]
    if manifest.payload in batch:
        missing += [cid for cid in batch.below(manifest.payload) if cid not in batch]
    elif not confirmed:
        missing.append(manifest.payload)
    return f"block {missing[0]} is missing" if missing else None


def _marks(shelf: Shelf, title: str) -> Iterator[Damage]:
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(shelf.shipped)):
            if not name.endswith(".tmp"):
                try:
                    Mark.decode(disk.read(shelf.shipped / name))
                except FormatError as error:
                    path = shelf.shipped / name
                    yield Damage(kind="mark", log=title, shelf=shelf, path=path, found=str(error))


def _segments(room: Room) -> Iterator[Damage]:
    """What is no line in the part of the spool that is in no batch yet."""
    consumed: Mapping[str, int] = {}
    with suppress(FormatError):
        sealed = head.load(room.current.head)
        consumed = sealed.consumed if sealed is not None else {}
    for name in segments.listing(room.spool):
        path = room.spool / name.file_name
        with suppress(FileNotFoundError):
            for piece in pieces(path, consumed.get(str(name), 0)):
                if piece.kind == "damage":
                    found = f"bytes {piece.start} to {piece.end} of {name} are no line"
                    yield Damage(kind="segment", log=room.name, shelf=room.current, path=path, found=found)
