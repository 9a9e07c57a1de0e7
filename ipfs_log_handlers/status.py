"""Status: counters and health of a home, one mapping for each subsystem, from the home alone.

Manifests are read only where a log is shipped in part; a home of any size whose stores have everything, or nothing,
answers from its heads and marks.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.home import archives, disk, lock, quarantine, segments
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.home.space import spool_bytes, store_bytes
from ipfs_log_handlers.keeper.draft import last_seq
from ipfs_log_handlers.losses import dropped_in
from ipfs_log_handlers.reading.live import disagreements
from ipfs_log_handlers.reading.logs import Confirmed, Log, confirmed, logs_of, policy_of
from ipfs_log_handlers.reading.spooled import pieces

__all__ = ["Counts", "Here", "status"]

_TRIES: Final = 5


class Counts(Protocol):
    """What a writer of this process knows and has told no file yet: `writer.Writer`."""

    incomplete: int
    """Records without the fields that their event requires."""

    @property
    def untold(self) -> Mapping[str, int]:
        """Records that were dropped, by reason, and stand in no segment."""


class Here(Protocol):
    """This process in the home: `process.HomeProcess`."""

    @property
    def writers(self) -> Mapping[str, Counts]:
        """By subsystem."""

    failures: dict[str, int]
    """What failed where nobody could be told (a record, at exit, as a store was closed), and how often."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """What its keeper complains of, by subsystem or address."""


def status(home: Path, process: Here | None = None, *, own: str | None = None) -> list[dict[str, Any]]:
    """Counters and health of each subsystem of a home, by name.

    A subsystem that cannot be read is told all the same, with why as its `last_error`.

    Args:
        home: the home; it need not be there yet.
        process: adds what only this process knows.
        own: the subsystem to tell of where something failed and there is no other.

    Raises:
        OSError: the home cannot be read, and there is no subsystem to tell that of.
    """
    where = Home(home)
    names = set() if process is None else set(process.writers)
    instead = set() if own is None else {own}
    try:
        keeper = lock.holder(where)
        names |= {room.name for room in where.rooms()}
    except OSError as error:
        names = names or instead
        if not names:
            raise
        trouble = _refusal(home, error)
        return [_unread(where, name, trouble, None, process) for name in sorted(names)]
    if not names and process is not None and process.failures:
        names = instead
    return [_of_room(where, where.room(name), keeper, process) for name in sorted(names)]


def _refusal(path: Path, error: OSError) -> str:
    """Why a directory cannot be had."""
    return f"{path} cannot be {'read' if os.path.isdir(path) else 'made'}: {error.strerror or error}"


def _of_room(home: Home, room: Room, keeper: dict[str, Any] | None, process: Here | None) -> dict[str, Any]:
    try:
        found, stores = _read(home, room, keeper)
    except OSError as error:
        return _unread(home, room.name, _refusal(room.path, error), keeper, process)
    if process is None:
        return found
    found["last_error"] = found["last_error"] or _never_made(home.path, process.writers.get(room.name))
    return _with_process(found, stores, process)


def _unread(home: Home, name: str, trouble: str, keeper: dict[str, Any] | None, process: Here | None) -> dict[str, Any]:
    """What is told of a subsystem of which nothing can be read."""
    numbers = ("durable", "sealed", "shipped", "quarantined", "set_aside", "archives_waiting")
    found: dict[str, Any] = {
        "subsystem": name,
        **dict.fromkeys((*numbers, "spool_bytes", "store_bytes", "bounded_bytes"), 0),
        "max_spool_bytes": Policy.default(home.path, name).max_spool_bytes,
        **dict.fromkeys(("oldest_unshipped", "head", "next_retry")),
        "dropped": {},
        "keeper": keeper,
        "last_error": trouble,
        "warnings": [],
    }
    return found if process is None else _with_process(found, (), process)


def _never_made(home: Path, writer: Counts | None) -> str | None:
    """Why there is no home though something was logged."""
    if writer is None or os.path.isdir(home):
        return None
    reasons = [os.strerror(getattr(errno, reason)) for reason in writer.untold if reason in errno.errorcode.values()]
    return f"{home} cannot be made: {reasons[-1]}" if reasons else None


def _read(home: Home, room: Room, keeper: dict[str, Any] | None) -> tuple[dict[str, Any], Sequence[str]]:
    """What the home tells of a subsystem, and the stores that it ships to."""
    logs, told, spooled = _look(room)
    policy = policy_of(home, room)
    marked = [(log, confirmed(log, policy.replicas, policy.stores or None)) for log in logs]
    sealed = _sealed(logs, told)
    dropped = _dropped(logs, told) + spooled.dropped
    newest = logs[-1].sealed if logs else None
    error, retry = _trouble(marked)
    found: dict[str, Any] = {
        "subsystem": room.name,
        "durable": sealed + spooled.records,
        "sealed": sealed,
        "shipped": _shipped(marked, sealed),
        "dropped": dict(dropped),
        "quarantined": max(quarantine.count(room.quarantine), newest.quarantined if newest is not None else 0),
        "set_aside": sum(len(marks.aside) for _, marks in marked),
        "archives_waiting": spooled.archives,
        "spool_bytes": disk.allocated(room.spool) + disk.allocated(room.archived),
        "store_bytes": store_bytes(room),
        "bounded_bytes": spool_bytes(room, policy.replicas if policy.stores else 0),
        "max_spool_bytes": policy.max_spool_bytes,
        "oldest_unshipped": _oldest(marked, spooled, policy),
        "head": newest.cid.text if newest is not None else None,
        "keeper": keeper,
        "last_error": next((log.trouble for log in reversed(logs) if log.trouble), error),
        "next_retry": retry,
        "warnings": [*spooled.unreadable, *disagreements(home, room)],
    }
    return found, policy.stores


def _with_process(found: dict[str, Any], stores: Sequence[str], process: Here) -> dict[str, Any]:
    writer = process.writers.get(found["subsystem"])
    if writer is not None:
        found["dropped"] = dict(Counter(found["dropped"]) + Counter(writer.untold))
    for key in (found["subsystem"], "keeper", *stores):
        found["last_error"] = found["last_error"] or process.troubles.get(key)
    found["incomplete"] = writer.incomplete if writer is not None else 0
    found["failures"] = dict(process.failures)
    return found


@dataclass(slots=True)
class _Told:
    """What the batches of a log tell where its head is lost."""

    records: int
    dropped: Counter[str]
    last: dict[str, int]
    """By writer: the last sequence number that is in a batch."""


@dataclass(slots=True)
class _Spooled:
    """What lies in the spool and in no batch."""

    records: int
    dropped: Counter[str]
    oldest: int | None
    unreadable: list[str]
    """Segments that cannot be read, and why."""
    archives: int = 0


def _look(room: Room) -> tuple[list[Log], dict[str, _Told], _Spooled]:
    """Logs and spool at one moment: looked at again when a batch was sealed in between."""
    logs = logs_of(room)
    for _ in range(_TRIES):
        told = {log.name: _tell(log) for log in logs if log.sealed is None}
        spooled = _spooled(room, logs, told)
        again = logs_of(room)
        if again == logs:
            break
        logs = again
    return logs, told, spooled


def _tell(log: Log) -> _Told:
    told = _Told(0, Counter(), {})
    for manifest in _manifests(log, range(log.newest + 1)):
        told.records += manifest.records
        told.dropped.update(manifest.dropped)
        for writer, _, _, last in manifest.sources:
            told.last[writer] = max(last, told.last.get(writer, 0))
    return told


def _manifests(log: Log, indexes: Iterable[int]) -> Iterator[Manifest]:
    """The manifests of some batches of a log, of those that can be read."""
    for index in indexes:
        with suppress(FormatError, OSError):
            yield log.batches.facts(index).manifest


def _spooled(room: Room, logs: Sequence[Log], told: Mapping[str, _Told]) -> _Spooled:
    """Count what is behind the offsets in the head; where that is lost, behind what the batches name."""
    newest = logs[-1].sealed if logs else None
    consumed = newest.consumed if newest is not None else {}
    last: dict[str, int] = {}
    if newest is None:
        for each in (told.get(log.name) or _tell(log) for log in logs):
            last |= {writer: max(seq, last.get(writer, 0)) for writer, seq in each.last.items()}
    found = _Spooled(0, Counter(), None, [])
    for name in segments.listing(room.spool):
        try:
            _count(room.spool / name.file_name, consumed.get(str(name), 0), last.get(name.writer, 0), found)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable.append(f"segment {name} cannot be read: {error.strerror or error}")
    for archive in archives.listing(room.archived):
        if str(archive) not in consumed:
            found.archives += 1
            found.oldest = archive.moment if found.oldest is None else min(found.oldest, archive.moment)
    return found


def _count(path: Path, offset: int, sealed: int, found: _Spooled) -> None:
    """Count what a segment holds from an offset on, without the records up to the number that is sealed."""
    dropped: Counter[str] = Counter()
    for piece in pieces(path, offset):
        records = [each for each in piece.records if last_seq([each]) > sealed] if sealed else piece.records
        if len(records) < len(piece.records):
            dropped.clear()  # what was told before a sealed record is in its batch
        found.records += len(records)
        if piece.kind == "control":
            dropped.update(dropped_in(piece.json))
        elif records and (moment := _time_of(records[0])) is not None:
            found.oldest = moment if found.oldest is None else min(found.oldest, moment)
    found.dropped.update(dropped)


def _time_of(line: bytes) -> int | None:
    try:
        return micros(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return None


def _sealed(logs: Sequence[Log], told: Mapping[str, _Told]) -> int:
    """Records in all logs. A head counts those before it too, unless the head before it was lost."""
    total = 0
    for before, log in pairwise((None, *logs)):
        if log is None:
            continue
        if log.sealed is None:
            total += told[log.name].records
        elif before is not None and before.sealed is None:
            total += log.sealed.records
        else:
            total += log.sealed.records - (before.sealed.records if before is not None and before.sealed else 0)
    return total


def _dropped(logs: Sequence[Log], told: Mapping[str, _Told]) -> Counter[str]:
    total: Counter[str] = Counter()
    for log, after in pairwise((*logs, None)):
        if log is None:
            continue
        if log.sealed is None:
            total += told[log.name].dropped
        elif after is None or after.sealed is None:
            total += Counter(log.sealed.dropped)
    return total


def _records(log: Log, indexes: Sequence[int]) -> int:
    """Records in some batches of a log."""
    return sum(manifest.records for manifest in _manifests(log, indexes))


def _shipped(marked: Sequence[tuple[Log, Confirmed]], sealed: int) -> int:
    """Records in the batches that enough stores have confirmed; counted where there are fewer manifests to read."""
    missing = [(log, marks.missing(log.newest)) for log, marks in marked]
    behind = sum(len(indexes) for _, indexes in missing)
    total = sum(log.newest + 1 for log, _ in missing)
    if behind == total:
        return 0
    if behind <= total - behind:
        return sealed - sum(_records(log, indexes) for log, indexes in missing)
    return sum(_records(log, sorted(set(range(log.newest + 1)) - set(indexes))) for log, indexes in missing)


def _oldest(marked: Sequence[tuple[Log, Confirmed]], spooled: _Spooled, policy: Policy) -> float | None:
    """Age of the oldest record that is not shipped; `None` when there is none, or nowhere to ship to."""
    if not policy.stores:
        return None
    moments = [] if spooled.oldest is None else [spooled.oldest]
    for log, marks in marked:
        for index in marks.missing(log.newest)[:1]:
            with suppress(FormatError, OSError):
                moments.append(log.batches.facts(index).manifest.first)
    return max(0.0, round(time.time() - min(moments) / 1e6, 3)) if moments else None


def _trouble(marked: Sequence[tuple[Log, Confirmed]]) -> tuple[str | None, str | None]:
    """What went wrong last with a store that still lacks something, and when it is tried again."""
    troubles = [
        mark.trouble
        for log, marks in marked
        for mark in marks.marks
        if mark.trouble is not None and mark.missing(log.newest)
    ]
    if not troubles:
        return None, None
    last = max(troubles, key=lambda trouble: trouble.at)
    return last.message, rfc3339(int(last.next_retry * 1_000_000))
