"""Flush: wait until what this process logged has reached the end of its journey, or the one deadline is over.

Only files are looked at: the head, the marks of the stores. So it is all the same whether the keeper is a thread of
this process, of another one, or a sidecar (docs/home.md 18 to 21).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import head, requests, shipped
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.logging_lock import inside_dictconfig
from ipfs_log_handlers.stores.address import store_name

__all__ = ["Archives", "Source", "Waiter", "flush"]

_POLL_FIRST: Final = 0.002
_POLL_LONGEST: Final = 0.05
_IN_VAIN: Final = 1.0
"""Seconds that are waited in all, and for sealing only, from a deadline in vain to the next answer of a store."""


class Source(Protocol):
    """A writer, as far as a flush is concerned."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    def position(self) -> tuple[SegmentName, int] | None:
        """The segment and offset behind its last record."""


class Archives(Protocol):
    """An archiver, as far as a flush is concerned."""

    settings: Settings
    """The settings in force."""
    activity: int
    """How many archives it has made."""

    def waiting(self, consumed: Mapping[str, int]) -> bool:
        """Whether one of them is in no batch."""


class Waiter(Protocol):
    """The process that waits: `process.HomeProcess`."""

    home: Home
    gave_up_at: float | None
    """When a deadline began that passed in vain; `None` while all is well."""
    waited_in_vain: float
    """Seconds that were waited since, all handlers together."""

    @property
    def writers(self) -> Mapping[str, Source]:
        """By subsystem."""

    @property
    def archivers(self) -> Mapping[str, Archives]:
        """By subsystem."""

    @property
    def keeping(self) -> bool:
        """Whether this process is the keeper."""

    def wants_thread(self) -> bool:
        """Whether it may be."""

    def start_thread(self) -> bool:
        """Have the keeper's thread run."""

    def ask(self) -> None:
        """Have it seal and ship everything."""

    def keep_here(self, seconds: float, *, ship: bool) -> bool:
        """Be the keeper on the calling thread; `False` when another process is."""


Targets = Mapping[str, tuple[SegmentName, int] | None]
"""By subsystem: how far its segments must be consumed; `None` where only archives are waited for."""


def flush(process: Waiter, timeout: float) -> bool:
    """Seal and ship everything that this process logged to a home; see `process.HomeProcess.flush`."""
    targets = _targets(process)
    if not targets:
        return True
    if not process.wants_thread():
        return False
    begun = time.time()
    waiting_since = time.monotonic()
    if _settled(process, targets, begun):
        return True
    if inside_dictconfig():
        process.ask()
        return False
    if process.gave_up_at is not None and not _answered_since(process, process.gave_up_at):
        left = min(timeout, _IN_VAIN - process.waited_in_vain)
        _wait(process, targets, begun, waiting_since + left, ship=False)
        process.waited_in_vain += time.monotonic() - waiting_since
        return False
    done = _wait(process, targets, begun, waiting_since + timeout, ship=True)
    passed = time.monotonic() - waiting_since >= timeout
    process.gave_up_at, process.waited_in_vain = begun if passed and not done else None, 0.0
    return done


def _targets(process: Waiter) -> Targets:
    """What this process has put into the spool of each subsystem."""
    found = {name: writer.position() for name, writer in list(process.writers.items())}
    archived = [name for name, archiver in list(process.archivers.items()) if archiver.activity]
    return {
        name: found.get(name)
        for name in dict.fromkeys((*found, *archived))
        if found.get(name) is not None or name in archived
    }


def _wait(process: Waiter, targets: Targets, begun: float, until: float, *, ship: bool) -> bool:
    request: Path | None = None
    pause = _POLL_FIRST
    try:
        while True:
            settled = _settled(process, targets, begun, ship=ship)
            left = until - time.monotonic()
            if settled is not None or left <= 0:
                return settled is True
            if not process.start_thread():
                if process.keep_here(left, ship=ship):
                    return _settled(process, targets, begun, ship=ship) is True
            elif pause == _POLL_FIRST:
                process.ask()
            if pause > _POLL_FIRST and request is None and not process.keeping:
                with contextlib.suppress(OSError):
                    request = requests.ask(process.home.requests)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _POLL_LONGEST)
    finally:
        if request is not None:
            requests.drop(request)


def _settled(process: Waiter, targets: Targets, begun: float, *, ship: bool = True) -> bool | None:
    """True when all is shipped (or sealed); False when a store refused since `begun`; None while it goes on."""
    verdict: bool | None = True
    for name, position in targets.items():
        found = _settled_one(process, name, position, begun if ship else None)
        if found is False:
            return False
        verdict = verdict if found else None
    return verdict


def _settled_one(
    process: Waiter, name: str, position: tuple[SegmentName, int] | None, begun: float | None
) -> bool | None:
    room = process.home.room(name)
    try:
        sealed = head.load(room.current.head)
    except (FormatError, OSError):
        return None
    consumed = sealed.consumed if sealed is not None else {}
    archiver = process.archivers.get(name)
    if archiver is not None and archiver.waiting(consumed):
        return None
    if position is not None:
        segment, offset = position
        there = (room.spool / segment.file_name).exists()
        if there and (offset < 0 or sealed is None or consumed.get(str(segment), 0) < offset):
            return None
    settings = _settings_of(process, name)
    if sealed is None or begun is None or not settings.kubo:
        return True
    marks = [shipped.load(room.current.shipped, store_name(address), sealed.log, address) for address in settings.kubo]
    waited_for = [mark for mark in marks if mark.missing(sealed.index)]
    if len(marks) - len(waited_for) >= settings.replicas:
        return True
    refused = [
        mark.trouble is not None and mark.trouble.at >= begun and mark.trouble.kind in ("refused", "denied")
        for mark in waited_for
    ]
    return False if all(refused) else None


def _settings_of(process: Waiter, name: str) -> Settings:
    writer = process.writers.get(name)
    return writer.settings if writer is not None else process.archivers[name].settings


def _answered_since(process: Waiter, moment: float) -> bool:
    """Whether some store has confirmed a batch since then."""
    for name in {*process.writers, *process.archivers}:
        directory = process.home.room(name).current.shipped
        for store, mark in shipped.load_all(directory).items():
            with contextlib.suppress(OSError):
                if mark.trouble is None and os.stat(directory / store).st_mtime >= moment:
                    return True
    return False
