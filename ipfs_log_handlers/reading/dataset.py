"""A home's records, one after the other as they were logged; each batch is verified before any of it is seen.

A subsystem is read batch after batch, its former logs first, then what still lies in the spool. Writers and a keeper
may be at work meanwhile: where lines move from the spool into a batch while they are read, the last sequence number
that was shown of each writer tells what is still to be shown, so no record comes twice and none is missed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from ipfs_log_handlers.errors import FormatError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest
from ipfs_log_handlers.home import segments
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.reading.batch import OpenBatch, checked_lines, open_batch
from ipfs_log_handlers.reading.fetch import Fetcher
from ipfs_log_handlers.reading.logs import Log, confirmed, logs_of, policy_of
from ipfs_log_handlers.reading.spooled import pieces

__all__ = ["Dataset", "Gap", "with_subsystem"]

_HELD: Final = 32 << 20
"""Bytes of lines up to which a verified batch is held; a larger one is inflated a second time."""
_PATIENCE: Final = 8
"""Rounds after which a home that never rests is only read up to where it was at the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records that could not be shown."""

    kind: Literal["absent", "damaged"]
    """`absent`: the payload has left the home and no store gave it; `damaged`: it is not what was signed or written."""
    subsystem: str
    """Whose."""
    log: str
    """In which log; in the spool the newest there is, empty before the first batch."""
    index: int | None
    """Which batch; `None`: the head of the log, or no batch yet."""
    reason: str
    """In words."""
    segment: str | None = None
    """Which segment of the spool, where the bytes are in no batch yet."""

    def __str__(self) -> str:
        if self.segment is not None:
            return f"{self.subsystem}: {self.reason}"
        batch = "" if self.index is None else f" batch {self.index}"
        return f"{self.subsystem}{batch} is {self.kind}: {self.reason}"


class Dataset:
    """The records of a home.

    Args:
        home: the home.
        on_gap: told of each batch, and of each piece of the spool, that could not be shown; reading goes on behind it.
        token: credential for the stores that are asked for payloads which have left the home.
    """

    def __init__(self, home: Home, on_gap: Callable[[Gap], None], *, token: str | None = None) -> None:
        self._home = home
        self._on_gap = on_gap
        self._fetcher = Fetcher(token)

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self._fetcher.close()

    def records(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[dict[str, Any]]:
        """The records of a subsystem in log order, each as it was logged, with its `subsystem`."""
        for line in self.lines(subsystem, sealed_only=sealed_only):
            yield _labelled(line, subsystem)

    def lines(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[bytes]:
        """The JSON of the same records, without `subsystem`.

        Args:
            subsystem: one that has a directory in the home.
            sealed_only: leave out what is not in a batch yet.
        """
        room = self._home.room(subsystem)
        walk = _Walk(room, self._on_gap)
        while True:
            logs = logs_of(room)
            walk.tell_troubles(logs)
            if not (yield from self._sealed(walk, logs)):
                continue
            if sealed_only:
                return
            names = segments.listing(room.spool)
            if walk.moved_since(logs):
                if walk.has_shown_what_was(logs):
                    return
                continue
            if (yield from walk.spooled(names, logs)):
                return

    def batch(self, wanted: Cid) -> Iterator[tuple[str, bytes]] | None:
        """The lines of one batch, each with its subsystem.

        Args:
            wanted: CID of the manifest or of the payload.

        Returns:
            `None` when no batch of the home has this CID.
        """
        for room in self._home.rooms():
            for log in logs_of(room):
                for index in range(log.newest + 1):
                    with suppress(FormatError, OSError):
                        facts = log.batches.facts(index)
                        if wanted in (facts.cid, facts.manifest.payload):
                            return ((room.name, line) for line in self._batch(log, index, _Walk(room, self._on_gap)))
        return None

    def _sealed(self, walk: _Walk, logs: list[Log]) -> Generator[bytes, None, bool]:
        """Show the batches that were not shown yet; `False` when a log has moved meanwhile."""
        for log in logs:
            for index in range(walk.shown_batches.get(log.name, 0), log.newest + 1):
                try:
                    yield from self._batch(log, index, walk)
                except FileNotFoundError:
                    if walk.moved_since(logs):
                        return False
                    self._gap(log, index, "damaged", "its file is missing")
                walk.shown_batches[log.name] = index + 1
        return True

    def _batch(self, log: Log, index: int, walk: _Walk) -> Iterator[bytes]:
        """The lines of one batch that were not shown yet; a gap when it cannot be verified."""
        try:
            with open_batch(log.batches.files(index)) as batch:
                manifest = batch.manifest()
                if (manifest.log, manifest.index) != (log.name, index):
                    raise FormatError("another batch", expected=index, found=f"{manifest.log} batch {manifest.index}")
                if manifest.encoding == UNIXFS:
                    return
                verified = self._verified(batch, manifest, log)
                yield from walk.fresh(manifest, verified) if walk.shown else verified
                walk.note(log, manifest)
        except FileNotFoundError:
            raise
        except StoreError as error:
            self._gap(log, index, "absent", str(error))
        except (FormatError, VerificationError, OSError) as error:
            self._gap(log, index, "damaged", str(error))

    def _verified(self, batch: OpenBatch, manifest: Manifest, log: Log) -> Iterator[bytes]:
        """All lines of a batch, once all of them are verified."""
        elsewhere = None
        if manifest.payload not in batch:
            elsewhere = partial(self._fetcher.get, addresses=self._holders(log, manifest.index))
        if manifest.raw <= _HELD:
            yield from list(checked_lines(manifest, batch.payload(manifest, elsewhere)))
            return
        for _ in checked_lines(manifest, batch.payload(manifest, elsewhere)):
            pass
        yield from checked_lines(manifest, batch.payload(manifest, elsewhere))

    def _holders(self, log: Log, index: int) -> list[str]:
        """Addresses of the stores that may have a payload, those that confirmed it first."""
        marks = confirmed(log, 1).marks
        holders = [mark.address for mark in marks if mark.has(index)]
        return list(dict.fromkeys((*holders, *policy_of(self._home, self._home.room(log.subsystem)).stores)))

    def _gap(self, log: Log, index: int, kind: Literal["absent", "damaged"], reason: str) -> None:
        self._on_gap(Gap(kind=kind, subsystem=log.subsystem, log=log.name, index=index, reason=reason))


class _Walk:
    """How far one reading of a subsystem has come."""

    def __init__(self, room: Room, on_gap: Callable[[Gap], None]) -> None:
        self._room = room
        self._on_gap = on_gap
        self._rounds = 0
        self._told: set[str] = set()
        self._due = {str(name): _size(room, name) for name in segments.listing(room.spool)}
        self.shown_batches: dict[str, int] = {}
        """By log: how many batches were shown."""
        self.shown: dict[str, int] = {}
        """By writer: the last sequence number that was shown from the spool, or from a log without a head."""

    def tell_troubles(self, logs: list[Log]) -> None:
        for log in logs:
            if log.trouble is not None and log.shelf.path == self._room.path:
                self._tell(log.name, log.name, log.trouble)

    def _tell(self, what: str, log: str, reason: str, segment: str | None = None) -> None:
        """Tell of damage, once."""
        if what not in self._told:
            self._told.add(what)
            subsystem = self._room.name
            gap = Gap(kind="damaged", subsystem=subsystem, log=log, index=None, reason=reason, segment=segment)
            self._on_gap(gap)

    def moved_since(self, logs: list[Log]) -> bool:
        """Whether the keeper has sealed something, or begun a new log, since `logs` were looked at."""
        return _positions(logs_of(self._room)) != _positions(logs)

    def has_shown_what_was(self, logs: list[Log]) -> bool:
        """Whether, in a home that never rests, all is shown that was durable when the reading began."""
        self._rounds += 1
        consumed = _consumed(logs)
        return self._rounds > _PATIENCE and all(
            consumed.get(name, 0) >= size or not (self._room.spool / f"{name}.seg").exists()
            for name, size in self._due.items()
        )

    def fresh(self, manifest: Manifest, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines of a batch that were not shown from the spool already; `sources` tells whose they are."""
        for writer, _, first, last in manifest.sources:
            known = self.shown.get(writer, 0)
            for seq in range(first, last + 1):
                line = next(lines, None)
                if line is None:
                    return
                if seq > known:
                    yield line
        yield from lines

    def note(self, log: Log, manifest: Manifest) -> None:
        """Note whose records a batch had, where no head tells what of the spool is consumed."""
        if log.sealed is None:
            for writer, _, _, last in manifest.sources:
                self.shown[writer] = max(last, self.shown.get(writer, 0))

    def spooled(self, names: list[SegmentName], logs: list[Log]) -> Generator[bytes, None, bool]:
        """Show the lines beyond the consumed offsets; `False` when the keeper has taken a segment away meanwhile."""
        consumed = _consumed(logs)
        for name in names:
            try:
                yield from self._segment(name, consumed.get(str(name), 0), logs[-1].name if logs else "")
            except FileNotFoundError:
                if self.moved_since(logs):
                    return False
        return True

    def _segment(self, name: SegmentName, offset: int, log: str) -> Iterator[bytes]:
        for piece in pieces(self._room.spool / name.file_name, offset):
            if piece.kind == "damage":
                found = f"{piece.end - piece.start} bytes at {piece.start} of segment {name} are damaged and left out"
                reason = f"{found}; `ipfs-logs doctor` tells more"
                self._tell(f"{name} {piece.start}", log, reason, str(name))
            for line in piece.records:
                seq = _seq(line)
                if seq > self.shown.get(name.writer, 0):
                    self.shown[name.writer] = seq
                    yield line


def _positions(logs: list[Log]) -> list[tuple[str, int, str]]:
    return [(log.name, log.newest, log.shelf.path.name) for log in logs]


def _consumed(logs: list[Log]) -> Mapping[str, int]:
    """The offsets in the newest head; a log that follows another inherits them."""
    return logs[-1].sealed.consumed if logs and logs[-1].sealed is not None else {}


def _size(room: Room, name: SegmentName) -> int:
    with suppress(OSError):
        return os.stat(room.spool / name.file_name, follow_symlinks=False).st_size
    return 0


def _seq(line: bytes) -> int:
    """The sequence number, which stands last in every line."""
    with suppress(ValueError):
        return int(line[line.rindex(b'"seq":') + 6 : -1])
    return 1 << 63


def with_subsystem(line: bytes, subsystem: str) -> bytes:
    """The JSON of a record with its `subsystem` added; a field of that name that was logged becomes `subsystem_`.

    A line that Python cannot read (nested too deep, a number too long) stays as it is but for the last key.
    """
    if b'"subsystem"' in line:
        with suppress(ValueError, RecursionError, TypeError, AttributeError):
            return json.dumps(_labelled(line, subsystem), separators=(",", ":"), ensure_ascii=False).encode()
    return b'%b,"subsystem":"%b"}' % (line[:-1], subsystem.encode("ascii"))


def _labelled(line: bytes, subsystem: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line)
    if "subsystem" in record:
        record["subsystem_"] = record.pop("subsystem")
    record["subsystem"] = subsystem
    return record
