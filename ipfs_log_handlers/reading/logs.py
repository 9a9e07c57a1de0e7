"""The logs of a subsystem as a reader finds them: which there are, how far each is sealed, what stores have confirmed.

Nothing here takes a lock or writes: writers and a keeper may be at work on the home meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.home import head, segments, settings, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import Sealed
from ipfs_log_handlers.home.layout import Home, Room, Shelf
from ipfs_log_handlers.home.segments import Header, SegmentName
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.home.shipped import Mark

__all__ = ["Confirmed", "Log", "confirmed", "headers", "logs_of", "policy_of", "signers", "titles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log, at the moment it was looked at."""

    subsystem: str
    """Its subsystem."""
    name: str
    """Its name; empty when no file tells it any more."""
    shelf: Shelf
    """Where its files were."""
    newest: int
    """Number of its newest batch; -1 when there is none."""
    sealed: Sealed | None
    """Its head file; `None` when that is missing or damaged, and `newest` is what the batches tell."""
    trouble: str | None = None
    """What is wrong with its head file."""

    @property
    def batches(self) -> Batches:
        """Its batches."""
        return Batches(self.shelf.batches)

    @property
    def draw(self) -> str:
        """The eight hex digits at the end of its name; empty when nothing tells them any more."""
        former = self.shelf.path.name != self.subsystem
        return (self.name or (self.shelf.path.name if former else ""))[-8:]


def logs_of(room: Room) -> list[Log]:
    """The logs of a subsystem that have batches, oldest first.

    Raises:
        OSError: the home cannot be read.
    """
    while True:
        shelves = room.shelves()
        found = [log for shelf in shelves if (log := _log_on(room, shelf)) is not None]
        if shelves == room.shelves():  # else the current log has just ended and moved
            return found


def _log_on(room: Room, shelf: Shelf) -> Log | None:
    trouble = None
    try:
        sealed = head.load(shelf.head)
    except FormatError as error:
        sealed, trouble = None, str(error)
    if sealed is not None:
        return Log(subsystem=room.name, name=sealed.log, shelf=shelf, newest=sealed.index, sealed=sealed)
    batches = Batches(shelf.batches)
    indexes = batches.indexes()
    if trouble is None and len(indexes) > 1 and shelf.path == room.path:
        trouble = "the head is missing beside batches"  # beside the first alone, it may be on its way
    for index in reversed(indexes):
        with suppress(FormatError, OSError):
            name = batches.facts(index).manifest.log
            return Log(subsystem=room.name, name=name, shelf=shelf, newest=index, sealed=None, trouble=trouble)
    if trouble is None:
        return None
    return Log(subsystem=room.name, name="", shelf=shelf, newest=max(indexes, default=-1), sealed=None, trouble=trouble)


def titles(logs: Sequence[Log]) -> dict[Path, str]:
    """What people call the logs of one subsystem, by shelf: `audit`, or `audit 3e2c27c5` where there are several."""
    return {
        log.shelf.path: f"{log.subsystem} {log.draw or 'current'}" if len(logs) > 1 else log.subsystem for log in logs
    }


def signers(logs: Iterable[Log]) -> list[str]:
    """The names of the keys that have signed these logs, of those whose name can be read, in their order."""
    found: dict[str, None] = {}
    for log in logs:
        with suppress(FormatError):
            found[key_name_of(log.name)] = None
    return list(found)


def policy_of(home: Home, room: Room) -> Policy:
    """The policy of a subsystem: that of its newest segment, else `settings.json`, else what is registered."""
    policy = settings.load(room.settings, Policy.default(home.path, room.name))
    newest = max((header for _, header in headers(room)), key=lambda header: header.started, default=None)
    return policy if newest is None else Policy.from_json(newest.settings, policy)


def headers(room: Room) -> list[tuple[SegmentName, Header]]:
    """The headers of the segments in a spool, of those that can be read."""
    found = []
    for name in segments.listing(room.spool):
        with suppress(OSError, FormatError):
            found.append((name, segments.read_header(room.spool / name.file_name)))
    return found


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What stores have confirmed of one log."""

    marks: Sequence[Mark]
    """One for each store."""
    replicas: int
    """Stores that must confirm a batch before it is shipped."""

    def has(self, index: int) -> bool:
        """Whether a batch is shipped."""
        return sum(mark.has(index) for mark in self.marks) >= self.replicas

    def missing(self, newest: int) -> list[int]:
        """The batches up to `newest` that are not shipped, in order."""
        reached = sorted((mark.upto for mark in self.marks), reverse=True)
        base = reached[self.replicas - 1] if len(reached) >= self.replicas else -1
        aside = {each.index for mark in self.marks for each in mark.aside}
        doubtful = sorted(index for index in aside if index <= min(base, newest))
        return [index for index in (*doubtful, *range(base + 1, newest + 1)) if not self.has(index)]

    @property
    def aside(self) -> frozenset[int]:
        """The batches that some store has named as bad."""
        return frozenset(each.index for mark in self.marks for each in mark.aside if not self.has(each.index))


def confirmed(log: Log, replicas: int, addresses: Sequence[str] | None = None) -> Confirmed:
    """What stores have confirmed of a log.

    Args:
        log: the log.
        replicas: stores that must confirm.
        addresses: only these stores; `None`: all that ever did.
    """
    marks = shipped.load_all(log.shelf.shipped).values()
    own = [mark for mark in marks if mark.log == log.name and (addresses is None or mark.address in addresses)]
    return Confirmed(own, replicas)
