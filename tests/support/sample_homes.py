"""Make homes as programs leave them: written by the real handler, sealed and shipped by the real keeper."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_log_handlers import IPFSHandler, open_home
from ipfs_log_handlers.format import car
from ipfs_log_handlers.home import disk, head, lock
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.new_log import end_log
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.monitoring.status import status as subsystem_statuses

__all__ = [
    "Writing",
    "batches_of",
    "counts",
    "end",
    "head_of",
    "key_of",
    "log",
    "make",
    "numbers",
    "publish",
    "record",
    "rewrite",
    "seal",
    "ship",
    "splice",
    "status",
    "strip",
    "subsystem_dir",
]


def record(number: int, **fields: Any) -> logging.LogRecord:
    """Return a LogRecord with a number that identifies it."""
    made = logging.LogRecord(f"app.{number % 3}", 20 + 10 * (number % 2), __file__, 1, "did %d", (number,), None)
    made.__dict__.update({"number": number, **fields})
    return made


class Writing:
    """A program that logs to a home, in this process, and is never the keeper."""

    def __init__(self, home: Path, subsystem: str = "audit", *, records: int = 10, **settings: Any) -> None:
        batch = {"records": records, **settings.pop("batch", {})}
        self.handler = IPFSHandler(subsystem, home=home, keeper="none", batch=batch, **settings)

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self.handler.close()

    def log(self, numbers: range) -> None:
        """Log these numbers."""
        for number in numbers:
            self.handler.handle(record(number))


def log(home: Path, numbers: range, subsystem: str = "audit", **settings: Any) -> None:
    """Log these numbers and close the handler."""
    with Writing(home, subsystem, **settings) as writing:
        writing.log(numbers)


def seal(home: Path) -> None:
    """Seal all records that wait."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=120, stores=())


def ship(home: Path, *stores: str) -> None:
    """Seal all records that wait, and ship them."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=120, stores=stores)


def publish(home: Path, *stores: str) -> None:
    """Publish what is shipped, as `ipfs-logs publish` does."""
    open_home(home).publish(stores)


def make(home: Path, count: int = 30, subsystem: str = "audit", **settings: Any) -> None:
    """Log and seal records in batches of ten."""
    log(home, range(count), subsystem, **settings)
    seal(home)


def subsystem_dir(home: Path, subsystem: str = "audit") -> SubsystemDir:
    """Return the directory of a subsystem."""
    return HomeDir(home).subsystem_dir(subsystem)


def batches_of(home: Path, subsystem: str = "audit") -> Batches:
    """Return the batches of the current log."""
    return Batches(subsystem_dir(home, subsystem).current.batches)


def head_of(home: Path, index: int | None = None) -> str:
    """Return the CID of the head block that was signed with a batch; without a number, of the newest one."""
    batches = batches_of(home)
    return batches.facts(max(batches.indexes()) if index is None else index).head_cid.text


def key_of(home: Path) -> str:
    """Return the verifier key of a home."""
    key = open_home(home).public_key()
    assert key is not None
    return key.verifier


def damage(home: Path, index: int = 1) -> None:
    """Flip the last byte of a batch."""
    flip_last_byte(Batches(subsystem_dir(home).current.batches).file(index))


def flip_last_byte(path: Path) -> None:
    """Change the last byte of a file, whatever it is."""
    *others, last = path.read_bytes()
    path.write_bytes(bytes([*others, last ^ 0xFF]))


def cut_off(home: Path, index: int) -> None:
    """Empty the file of a batch."""
    Batches(subsystem_dir(home).current.batches).file(index).write_bytes(b"")


def end(home: Path, subsystem: str = "audit") -> None:
    """End the log; the next batch begins a new one."""
    held = lock.take(HomeDir(home))
    assert held is not None
    with contextlib.closing(_Closing(held)):
        end_log(subsystem_dir(home, subsystem), head.load(subsystem_dir(home, subsystem).current.head))


def status(home: Path) -> list[dict[str, Any]]:
    """Return the status of each subsystem as JSON values."""
    return [each.as_json() for each in subsystem_statuses(home)]


def counts(home: Path) -> tuple[int, int, int]:
    """Durable, sealed, shipped of the only subsystem."""
    (found,) = status(home)
    return found["durable"], found["sealed"], found["shipped"]


class _Closing:
    def __init__(self, held: lock.KeeperLock) -> None:
        self.close = held.release


def strip(home: Path, index: int, subsystem: str = "audit") -> None:
    """Delete the payload of a batch, as retention does."""
    assert Batches(subsystem_dir(home, subsystem).current.batches).strip(index) > 0


def splice(source: Path, target: Path) -> None:
    """Replace the file of one batch by that of another."""
    shutil.copyfile(source, target)


def numbers(records: Iterator[dict[str, Any]]) -> list[int]:
    """Return the numbers of records."""
    return [record["number"] for record in records]


def rewrite(path: Path, blocks: dict[Any, bytes]) -> None:
    """Write the file of a batch again with other blocks and the same roots."""
    with path.open("rb") as stream:
        roots = car.Reader(stream).roots
    disk.replace(path, car.encode(roots, blocks.items()))
