"""Homes as programs leave them: written by the real handler, sealed and shipped by the real keeper."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.format import car
from ipfs_log_handlers.home import disk, head, lock
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.loop import NoGuest
from ipfs_log_handlers.keeper.succession import end_log
from ipfs_log_handlers.keeper.thread import keep_now

__all__ = ["Writing", "end", "log", "make", "numbers", "record", "rewrite", "room", "seal", "ship", "splice", "strip"]


def record(number: int, **fields: Any) -> logging.LogRecord:
    """A record with a number to know it by."""
    made = logging.LogRecord(f"app.{number % 3}", 20 + 10 * (number % 2), __file__, 1, "did %d", (number,), None)
    made.__dict__.update({"number": number, **fields})
    return made


class Writing:
    """A program that logs to a home, in this process, and never keeps it."""

    def __init__(self, home: Path, subsystem: str = "audit", *, records: int = 10, **settings: Any) -> None:
        self.handler = IPFSHandler(subsystem, home=home, keeper="none", batch={"records": records}, **settings)

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self.handler.close()

    def log(self, numbers: range) -> None:
        """Log these numbers."""
        for number in numbers:
            self.handler.handle(record(number))


def log(home: Path, numbers: range, subsystem: str = "audit", **settings: Any) -> None:
    """Log these numbers and end."""
    with Writing(home, subsystem, **settings) as writing:
        writing.log(numbers)


def seal(home: Path) -> None:
    """Seal all that waits."""
    assert keep_now(Home(home), NoGuest(), timeout=20, stores=())


def ship(home: Path, *stores: str) -> None:
    """Seal all that waits, and ship it."""
    assert keep_now(Home(home), NoGuest(), timeout=20, stores=stores)


def make(home: Path, count: int = 30, subsystem: str = "audit", **settings: Any) -> None:
    """Log and seal: batches of ten."""
    log(home, range(count), subsystem, **settings)
    seal(home)


def room(home: Path, subsystem: str = "audit") -> Room:
    """The directory of a subsystem."""
    return Home(home).room(subsystem)


def end(home: Path, subsystem: str = "audit") -> None:
    """End the log; the next batch begins a new one."""
    held = lock.take(Home(home))
    assert held is not None
    with contextlib.closing(_Closing(held)):
        end_log(room(home, subsystem), head.load(room(home, subsystem).current.head))


class _Closing:
    def __init__(self, held: lock.KeeperLock) -> None:
        self.close = held.release


def strip(home: Path, index: int, subsystem: str = "audit") -> None:
    """Take the payload of a batch away, as retention does."""
    assert Batches(room(home, subsystem).current.batches).strip(index) > 0


def splice(source: Path, target: Path) -> None:
    """Put one batch's file in the place of another's."""
    shutil.copyfile(source, target)


def numbers(records: Iterator[dict[str, Any]]) -> list[int]:
    """What was logged."""
    return [each["number"] for each in records]


def rewrite(path: Path, blocks: dict[Any, bytes]) -> None:
    """Write a batch's file anew with other blocks under the same roots."""
    with path.open("rb") as stream:
        roots = car.Reader(stream).roots
    disk.replace(path, car.encode(roots, blocks.items()))
