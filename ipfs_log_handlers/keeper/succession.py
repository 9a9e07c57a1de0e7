"""Succession: which log a keeper continues, and when it must begin a new one (docs/home.md 10).

A signed index is never signed twice. So where the head is lost, copied or rolled back, the log that was ends: its files
move to `former/`, and a new log begins whose first manifest carries the old checkpoint as evidence. What the old log
had consumed stays consumed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.manifest import UNIXFS
from ipfs_log_handlers.home import disk, head, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import Sealed
from ipfs_log_handlers.home.layout import Room, Shelf

__all__ = ["Standing", "end_log", "stand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a log stands when a keeper takes it over."""

    sealed: Sealed | None
    """The head to continue from; `None`: a new log begins with the next batch."""
    inherited: Sealed | None = None
    """The head of the log before a new one, for its offsets and counts; `None` when it has none or it is lost."""
    evidence: bytes | None = None
    """The last signed checkpoint of the log before a new one."""
    floors: Mapping[str, int] = field(default_factory=dict)
    """Last sequence number of each writer in the batches of a log whose head was lost."""
    archived: frozenset[str] = frozenset()
    """Names of the archives in these batches."""
    why: str | None = None
    """Why a new log begins, when one does though there was another before."""


def stand(room: Room, key_name: str | None) -> Standing:
    """Look where the log of a subsystem stands; end it first when it cannot be continued.

    Args:
        room: the subsystem's directory, there. The caller holds the keeper's lock.
        key_name: name of the home's key; `None` when it has none yet.

    Raises:
        OSError: the disk refuses.
    """
    shelf = room.current
    try:
        sealed = head.load(shelf.head)
        why = None if sealed is None else _broken(room, sealed, key_name)
        if sealed is None and not _never_began(room) and Batches(shelf.batches).indexes():
            why = "the head is missing beside batches"
    except FormatError:
        sealed, why = None, "the head is damaged"
    if why is not None:
        end_log(room, sealed)
        sealed = None
    disk.remove(room.beginning)
    if sealed is not None:
        return Standing(sealed=sealed)
    former = room.former_shelves()
    return Standing(sealed=None, why=why) if not former else _after(former, why)


def _never_began(room: Room) -> bool:
    """Whether a keeper died over the first batch of a log. Nobody has seen it, and its lines are in the spool still."""
    batches = Batches(room.current.batches)
    if not room.beginning.exists() or any(batches.indexes()):
        return False
    batches.remove_above(-1)
    return True


def _broken(room: Room, sealed: Sealed, key_name: str | None) -> str | None:
    """Why this head cannot be continued; `None` when it can."""
    machine = disk.machine_id()
    if sealed.machine and machine and sealed.machine != machine:
        return "the home came from another machine"
    if sealed.inode != os.stat(room.path).st_ino:
        return "the home was copied"
    if key_name is None or key_name_of(sealed.log) != key_name:
        return "the key is another one"
    marks = shipped.load_all(room.current.shipped).values()
    if any(mark.log == sealed.log and max((mark.upto, *mark.beyond)) > sealed.index for mark in marks):
        return "a store has batches beyond the head"
    try:
        Batches(room.current.batches).facts(sealed.index)
    except FileNotFoundError:
        return "the newest batch is missing"
    except FormatError:
        return "the newest batch is damaged"
    return None


def end_log(room: Room, sealed: Sealed | None) -> Shelf:
    """Move the files of the current log to `former/`.

    The head goes last. A crash in between leaves it, and the next keeper moves on into the same place: it is named
    after the log.
    """
    draw = sealed.log[-8:] if sealed is not None else _draw_of_newest(room)
    halfway = [shelf for shelf in room.former_shelves() if shelf.path.name.endswith(draw) and not shelf.head.exists()]
    to = halfway[-1] if halfway else room.next_former(draw)
    disk.ensure_directory(room.former)
    disk.ensure_directory(to.path)
    current = room.current
    for here, there in ((current.batches, to.batches), (current.shipped, to.shipped), (current.head, to.head)):
        with suppress(FileNotFoundError):
            os.rename(here, there)
        disk.sync_directory(to.path)
        disk.sync_directory(room.path)
    return to


def _draw_of_newest(room: Room) -> str:
    batches = Batches(room.current.batches)
    for index in reversed(batches.indexes()):
        with suppress(FormatError, OSError):
            return batches.facts(index).manifest.log[-8:]
    return os.urandom(4).hex()


def _after(shelves: Sequence[Shelf], why: str | None) -> Standing:
    """The standing of a log that begins after these, oldest first."""
    with suppress(FormatError):
        inherited = head.load(shelves[-1].head)
        if inherited is not None:
            return Standing(sealed=None, inherited=inherited, evidence=inherited.head.checkpoint, why=why)
    evidence: bytes | None = None
    floors: dict[str, int] = {}
    archived: set[str] = set()
    for shelf in shelves:  # all of them: what an older log had sealed of a segment may be all that was
        batches = Batches(shelf.batches)
        for index in batches.indexes():
            with suppress(FormatError, OSError):
                facts = batches.facts(index)
                evidence = facts.head.checkpoint
                if facts.manifest.encoding == UNIXFS:
                    archived.add(str(facts.manifest.meta.get("archive")))
                for writer, _, _, last in facts.manifest.sources:
                    floors[writer] = max(last, floors.get(writer, 0))
    return Standing(sealed=None, evidence=evidence, floors=floors, archived=frozenset(archived), why=why)
