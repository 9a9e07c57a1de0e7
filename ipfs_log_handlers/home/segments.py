"""Segments: the append-only files of the spool, each written by one process and read by the keeper.

A segment is made as `<writer>-<n>.tmp`, locked, given its header line, renamed to `.seg` (docs/home.md 1): under its
own name from the start, a keeper could lock and unlink it before its writer does. Only its creator appends; whoever
adopts it never appends or truncates. What the first line does not tell is not known about it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk

__all__ = ["Header", "Piece", "Segment", "SegmentName", "create", "listing", "read", "read_header", "sweep"]

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{1,12})\.seg", re.ASCII)
_LONGEST_LINE: Final = 128 << 20
_SWEPT_AT_MOST: Final = 10


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """Which segment: `<writer>-<number>`."""

    writer: str
    """Sixteen hex digits, drawn by the process that writes it."""
    number: int
    """Counts up per writer and subsystem; compared as a number."""

    @classmethod
    def parse(cls, file_name: str) -> SegmentName | None:
        """The name in `<writer>-<n>.seg`; `None` for any other file."""
        match = _NAME.fullmatch(file_name)
        return cls(match[1], int(match[2])) if match else None

    @property
    def file_name(self) -> str:
        """Its name on the disk."""
        return f"{self.writer}-{self.number}.seg"

    def __str__(self) -> str:
        return f"{self.writer}-{self.number}"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a segment: who writes it and under which policy; never a secret."""

    writer: str
    """Sixteen hex digits."""
    subsystem: str
    """Name of the subsystem."""
    host: str
    """Name of the machine or container."""
    pid: int
    """Process, as it sees itself."""
    started: str
    """When the segment was made, RFC 3339."""
    settings: Mapping[str, Any]
    """Batch policy and store addresses."""

    def __post_init__(self) -> None:
        texts = (self.writer, self.subsystem, self.host, self.started)
        if not all(isinstance(each, str) for each in texts) or type(self.pid) is not int:
            raise FormatError("a header whose members have other types", found=repr((texts, self.pid))[:200])
        if not isinstance(self.settings, Mapping):
            raise FormatError("a header without settings", found=type(self.settings).__name__)

    def encode(self) -> bytes:
        """The line, with its LF."""
        members = {"v": 1, **{name: getattr(self, name) for name in self.__slots__}}
        return line.header(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, raw: bytes) -> Header:
        """Parse the JSON of a header line.

        Raises:
            FormatError: it is not one, or of a version this release does not know.
        """
        try:
            members = json.loads(raw)
            version = members.pop("v")
            if version != 1:
                raise FormatError("a segment of another version", found=version, hint="Upgrade this package.")
            return cls(**members)
        except FormatError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise FormatError("not the header of a segment", found=repr(raw[:80])) from error


@dataclass(slots=True)
class Segment:
    """A segment that this process appends to. The writer's lock guards it."""

    name: SegmentName
    """Which."""
    path: Path
    """Its file."""
    descriptor: int
    """Open for appending, locked."""
    size: int
    """Bytes that were appended, header included."""
    identity: tuple[int, int]
    """Device and inode, to notice a descriptor that was closed under us (docs/home.md 6)."""

    def intact(self) -> bool:
        """Whether the descriptor is still this segment, and the segment still has a name."""
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity and status.st_nlink > 0

    def close(self) -> None:
        """Close it for good; the lock goes, and the keeper may adopt what is not yet consumed."""
        disk.close_locked(self.descriptor)


def create(spool: Path, header: Header, number: int, *, sync: bool) -> Segment:
    """Make the next segment of a writer.

    Args:
        spool: the directory; made with its parents if it is not there.
        header: its first line.
        number: its number.
        sync: let it survive a power cut before the first record is promised to.

    Raises:
        OSError: it cannot be made; nothing is left behind that a reader would take for a segment.
    """
    for _ in range(_SWEPT_AT_MOST):
        # A keeper of another process may take the file for a leftover between its creation and its lock.
        with suppress(BlockingIOError, FileNotFoundError):
            return _create(spool, header, number, sync=sync)
    return _create(spool, header, number, sync=sync)


def _create(spool: Path, header: Header, number: int, *, sync: bool) -> Segment:
    for directory in (spool.parent.parent, spool.parent, spool):
        disk.ensure_directory(directory, sync=sync)
    name = SegmentName(header.writer, number)
    path = spool / name.file_name
    fresh = path.with_suffix(".tmp")
    descriptor = disk.open_append(fresh)
    if descriptor is None:
        raise OSError(errno.EAGAIN, "somebody locked a segment as it was made", os.fspath(fresh))
    try:
        first = header.encode()
        if os.write(descriptor, first) != len(first):
            raise OSError(errno.ENOSPC, "no room for the header of a segment", os.fspath(fresh))
        if sync:
            disk.sync_data(descriptor)
        os.rename(fresh, path)
        if sync:
            disk.sync_directory(spool)
        status = os.fstat(descriptor)
    except BaseException:
        disk.close_locked(descriptor)
        disk.remove(fresh)
        raise
    return Segment(name, path, descriptor, len(first), (status.st_dev, status.st_ino))


def listing(spool: Path) -> list[SegmentName]:
    """The segments in a spool, by writer and number. Links, pipes and directories of such a name are none."""
    try:
        with os.scandir(spool) as entries:
            files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(name for file in files if (name := SegmentName.parse(file)))


def sweep(spool: Path) -> None:
    """Remove segments that a process died over before they had a name. Nothing was ever promised about those."""
    try:
        with os.scandir(spool) as entries:
            leftovers = [
                spool / entry.name
                for entry in entries
                if entry.name.endswith(".tmp") and entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return
    for path in leftovers:
        try:
            descriptor = disk.open_locked(path, os.O_RDWR)
        except OSError:
            continue
        if descriptor is not None:
            if disk.same_file(descriptor, path):
                disk.remove(path)
            disk.close_locked(descriptor)


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands in a segment from `start` to `end`."""

    kind: Literal["records", "header", "control", "blank", "damage", "pending", "end"]
    """`pending`: not yet a whole valid line; `end`: nothing more; `damage`: bytes that are no line, to quarantine."""
    start: int
    """Offset of its first byte."""
    end: int
    """Offset behind it; `start` for `pending` and `end`."""
    records: tuple[bytes, ...] = ()
    """The JSON of each record."""
    json: bytes = b""
    """The JSON of a header or control line."""


def read(descriptor: int, offset: int, *, owner_gone: bool, most: int = 64 << 10) -> Piece:
    """Look at a segment from an offset at which a line begins.

    Args:
        descriptor: the segment, open for reading.
        offset: where to begin.
        owner_gone: the caller holds the segment's lock, so nobody writes to it: what is not a valid line is damage.
            Otherwise it may be a line that is still being written, and is `pending`.
        most: bytes to read; more only for a longer line.
    """
    block = os.pread(descriptor, most, offset)
    if not block:
        return Piece("end", offset, offset)
    found, used = line.records(block)
    if found:
        return Piece("records", offset, offset + used, tuple(found))
    if block[:1] == b"\n":
        return Piece("blank", offset, offset + len(block) - len(block.lstrip(b"\n")))
    stop = block.find(b"\n")
    if stop < 0:
        if len(block) == most and most < _LONGEST_LINE:
            return read(descriptor, offset, owner_gone=owner_gone, most=most * 4)
    else:
        try:
            found_line = line.decode(block[:stop])
        except FormatError:
            pass
        else:
            return Piece(_KINDS[found_line.kind], offset, offset + stop + 1, json=found_line.json)
    if not owner_gone:
        return Piece("pending", offset, offset)
    return Piece("damage", offset, _after_damage(descriptor, offset, block))


_KINDS: Final[dict[bytes, Literal["header", "control"]]] = {line.HEADER: "header", line.CONTROL: "control"}


def _after_damage(descriptor: int, offset: int, block: bytes) -> int:
    """Offset of the next whole valid line, or of the end of the file."""
    size = os.fstat(descriptor).st_size
    rest = block + b"".join(_rest(descriptor, offset + len(block)))
    following = next(line.next_line(rest, 1), None)
    return offset + following if following is not None else max(size, offset + len(rest))


def _rest(descriptor: int, offset: int) -> Iterator[bytes]:
    while chunk := os.pread(descriptor, 1 << 20, offset):
        yield chunk
        offset += len(chunk)


def read_header(path: Path) -> Header:
    """The header of a segment.

    Raises:
        FormatError: the first line is not a whole valid header.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        piece = read(descriptor, 0, owner_gone=False)
    finally:
        os.close(descriptor)
    if piece.kind != "header":
        raise FormatError("a segment without its header", where=path)
    return Header.decode(piece.json)
