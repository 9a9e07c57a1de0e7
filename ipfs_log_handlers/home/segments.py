"""Read and write segments: the append-only files of the spool, each written by one process and read by the keeper.

A segment is made as `<writer>-<n>.tmp`, locked, given its header line, and renamed to `.seg` (docs/home.md 1): if it
had its final name from the start, a keeper could lock and unlink it before its writer locks it. Only its creator
appends to it; a keeper that adopts it never appends or truncates. The first line of a segment contains its metadata.

The segments of a subsystem are numbered in the order in which they are made, because a clock may be set back. The file
`order` beside the spool counts them: each new segment appends one byte, and the length of the file is its number.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ipfs_log_handlers.accelerator.state import ACCELERATOR, SegmentBase
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, file_identity
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir

__all__ = [
    "MAX_BYTES",
    "Header",
    "Segment",
    "SegmentName",
    "Span",
    "create",
    "is_copy",
    "listing",
    "newest_header",
    "open_segment",
    "read",
    "read_header",
    "read_headers",
    "sweep",
]

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{1,12})\.seg", re.ASCII)
_SEARCH_BYTES: Final = 1 << 20
"""Bytes that are read at once during the search for a line after damage."""
MAX_BYTES: Final = 256 << 20
"""Largest number of bytes of a segment: a writer begins the next one at 8 MiB, and a record has at most 64 MiB."""
_MAX_TRIES: Final = 10
"""Largest number of tries to make a segment: a keeper may remove its file before it is locked."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """The name of a segment: `<writer>-<number>`."""

    writer: str
    """Sixteen random hex digits, chosen by the process that writes it."""
    number: int
    """Counts up for each writer and subsystem; compared as a number."""

    @classmethod
    def parse(cls, file_name: str) -> SegmentName | None:
        """Parse a file name `<writer>-<n>.seg`; return `None` for any other file."""
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
    """The first line of a segment: its writer and its policy; never a secret."""

    writer: str
    """Sixteen hex digits."""
    subsystem: str
    """Name of the subsystem."""
    host: str
    """Name of the machine or container."""
    pid: int
    """Process number, in its own namespace."""
    started: str
    """Time at which the segment was made, RFC 3339; only for people, because a clock may be set back."""
    settings: Mapping[str, Any]
    """Batch policy and store addresses."""
    order: int = 0
    """Number of the segment among all segments of its subsystem, in the order in which they were made."""

    def __post_init__(self) -> None:
        texts = (self.writer, self.subsystem, self.host, self.started)
        numbers = (self.pid, self.order)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise FormatError("a member of the header has a wrong type", found=repr((*texts, *numbers))[:200])
        if not isinstance(self.settings, Mapping):
            raise FormatError("a header without settings", found=type(self.settings).__name__)

    def encode(self) -> bytes:
        """Return the header line, with its LF."""
        members = {"v": 1, **{name: getattr(self, name) for name in self.__slots__}}
        return line.header(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, raw: bytes) -> Header:
        """Parse the JSON of a header line.

        Raises:
            FormatError: it is not a header, or of a version that this release does not know.
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


def newest_header(headers: Iterable[Header]) -> Header | None:
    """Find the header of the segment that was made last; of equal numbers, use the last one given."""
    newest: Header | None = None
    for header in headers:
        if newest is None or header.order >= newest.order:
            newest = header
    return newest


class Segment(SegmentBase):
    """A segment that this process appends to. The writer's lock guards it.

    Args:
        name: name of the segment.
        path: its file.
        descriptor: open for appending, locked.
        size: bytes that were appended, header included.
        status: of the open file. Its device and inode show a descriptor that the program has closed (docs/home.md 6).
    """

    __slots__ = ("name", "path")

    def __init__(self, name: SegmentName, path: Path, descriptor: int, size: int, status: os.stat_result) -> None:
        self.name = name
        self.path = path
        self.descriptor = descriptor
        self.size = size
        self.device = status.st_dev
        self.inode = status.st_ino

    def intact(self) -> bool:
        """Return whether the descriptor is still this segment, and the segment still has a name."""
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            return False
        return self._is_same(status) and status.st_nlink > 0

    def lines_after(self, offset: int) -> int:
        """Count the lines from an offset on, by the file's name, because the descriptor may now be another file."""
        try:
            descriptor = disk.open_file(self.path)
        except OSError:
            return 0
        try:
            status = os.fstat(descriptor)
            if not self._is_same(status):
                return 0
            return os.pread(descriptor, max(0, self.size - offset), offset).count(b"\n")
        finally:
            disk.close(descriptor)

    def _is_same(self, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) == (self.device, self.inode)

    def close(self) -> None:
        """Close it finally; this releases the lock, and the keeper may adopt the lines that are not consumed."""
        disk.close_locked(self.descriptor)


def create(spool: Path, header: Header, number: int, *, sync: bool) -> Segment:
    """Make the next segment of a writer.

    Args:
        spool: the directory; made with its parents if it is missing.
        header: its first line; this function sets its `order`.
        number: its number.
        sync: sync it, so that it survives a power cut before its first record.

    Raises:
        OSError: it cannot be made; no file is left that a reader would treat as a segment.
    """
    for _ in range(_MAX_TRIES):
        # Between creation and lock, a keeper of another process may treat the file as a leftover.
        with suppress(BlockingIOError, FileNotFoundError):
            return _create(spool, header, number, sync=sync)
    return _create(spool, header, number, sync=sync)


def _create(spool: Path, header: Header, number: int, *, sync: bool) -> Segment:
    HomeDir(spool.parent.parent).make(sync=sync)
    for directory in (spool.parent, spool):
        disk.ensure_directory(directory, sync=sync)
    name = SegmentName(header.writer, number)
    path = spool / name.file_name
    header = replace(header, order=_next_order(spool))
    fresh = path.with_suffix(".tmp")
    descriptor = disk.open_append(fresh)
    if descriptor is None:
        raise OSError(errno.EAGAIN, "another process holds the lock of a new segment", os.fspath(fresh))
    try:
        first = header.encode()
        if os.write(descriptor, first) != len(first):
            raise OSError(errno.ENOSPC, "no room for the header of a segment", os.fspath(fresh))
        if sync:
            disk.sync_data(descriptor)
        disk.rename(fresh, path)
        if sync:
            disk.sync_directory(spool)
        status = os.fstat(descriptor)
    except BaseException:
        disk.close_locked(descriptor)
        disk.remove(fresh)
        raise
    return Segment(name, path, descriptor, len(first), status)


def _next_order(spool: Path) -> int:
    """Return the number of a new segment of the subsystem: greater than the number of every earlier segment.

    An append moves the file position to its own end, so that no two processes get the same number. If the file was
    lost, the numbers continue after those in the spool.
    """
    descriptor = disk.new_file(SubsystemDir(spool.parent).order, os.O_WRONLY | os.O_APPEND)
    try:
        disk.write_all(descriptor, b"." * (_greatest_order(spool, descriptor) + 1))
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        disk.close(descriptor)


def _greatest_order(spool: Path, order: int) -> int:
    """Return the greatest number in the spool if the file `order` is new, else 0: then its length counts them.

    The second look at the length is for processes that make the first segments at the same time: a segment in the spool
    whose number is counted in this file must not be counted once more.
    """
    if os.fstat(order).st_size:
        return 0
    greatest = max((header.order for _, header in read_headers(spool)), default=0)
    return 0 if os.fstat(order).st_size else greatest


def listing(spool: Path) -> list[SegmentName]:
    """List the segments in a spool by writer and number; leave out links, pipes and directories with such names."""
    return sorted(name for file in disk.file_names(spool) if (name := SegmentName.parse(file)))


def is_copy(path: Path) -> bool:
    """Say whether a segment was last written before its file was made: a copy of it was brought back.

    Where the file system does not tell the birth of files, no copy is recognised.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = open_segment(path)
    try:
        birth = file_identity.birth_ns(descriptor)
        return birth is not None and os.fstat(descriptor).st_mtime_ns < birth
    finally:
        disk.close(descriptor)


def sweep(spool: Path) -> None:
    """Remove segments of processes that died before the rename. They contain no record."""
    for path in [spool / name for name in disk.file_names(spool) if name.endswith(".tmp")]:
        try:
            descriptor = disk.open_locked(path, os.O_RDWR)
        except OSError:
            continue
        if descriptor is not None:
            if disk.same_file(descriptor, path):
                disk.remove(path)
            disk.close_locked(descriptor)


@dataclass(frozen=True, slots=True)
class Span:
    """The content of a segment from `start` to `end`."""

    kind: Literal["records", "header", "control", "blank", "damage", "pending", "end"]
    """`pending`: not yet a complete line; `end`: no more bytes; `damage`: bytes that are not a line, to quarantine."""
    start: int
    """Offset of its first byte."""
    end: int
    """Offset after its last byte; `start` for `pending` and `end`."""
    records: tuple[bytes, ...] = ()
    """The JSON of each record."""
    json: bytes = b""
    """The JSON of a header or control line."""


def read(descriptor: int, offset: int, *, owner_gone: bool, most: int = 64 << 10) -> Span:
    """Read a span of a segment, from an offset at which a line begins.

    Args:
        descriptor: the segment, open for reading.
        offset: offset of the first byte.
        owner_gone: whether the caller holds the segment's lock, so that no process writes to it. Then bytes that are
            not a line are damage; otherwise they may be a line that is still being written, and are `pending`.
        most: bytes to read; more only for a longer line.
    """
    block = os.pread(descriptor, most, offset)
    if not block:
        return Span("end", offset, offset)
    records, used = line.records(block, _SPLIT)
    if records:
        return Span("records", offset, offset + used, tuple(records))
    if block[:1] == b"\n":
        return Span("blank", offset, offset + len(block) - len(block.lstrip(b"\n")))
    stop = block.find(b"\n")
    if stop < 0:
        if len(block) == most and most < line.MAX_LINE_BYTES and line.may_begin(block):
            return read(descriptor, offset, owner_gone=owner_gone, most=min(most * 4, line.MAX_LINE_BYTES))
    else:
        try:
            decoded = line.decode(block[:stop])
        except FormatError:
            pass
        else:
            return Span(_KINDS[decoded.kind], offset, offset + stop + 1, json=decoded.json)
    if not owner_gone:
        return Span("pending", offset, offset)
    return Span("damage", offset, _after_damage(descriptor, offset))


_SPLIT: Final = line.split_records if ACCELERATOR is None else ACCELERATOR.split_records
_KINDS: Final[dict[bytes, Literal["header", "control"]]] = {line.HEADER: "header", line.CONTROL: "control"}


def _after_damage(descriptor: int, damaged: int) -> int:
    """Find the next complete line after the damaged bytes that begin at `damaged`; else the end of the file.

    The file is read in pieces, and holes of a sparse file are skipped; the memory is bounded by the longest line.
    """
    start = offset = damaged  # offsets of the bytes since the last LF, and of the bytes that must still be read
    stretch = bytearray()
    while True:
        data = disk.next_data(descriptor, offset)
        if data > offset:  # no line contains the zeros of a hole
            stretch.clear()
            start = offset = data
        chunk = os.pread(descriptor, _SEARCH_BYTES, offset)
        if not chunk:
            return offset
        offset += len(chunk)
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            stretch += end
            offset_in_stretch = line.find_at_end(bytes(stretch), int(start == damaged))
            if offset_in_stretch is not None:
                return start + offset_in_stretch
            start += len(stretch) + 1
            stretch.clear()
        stretch += rest
        if len(stretch) > 2 * line.MAX_LINE_BYTES:
            start += len(stretch) - line.MAX_LINE_BYTES
            del stretch[: -line.MAX_LINE_BYTES]


def open_segment(path: Path) -> int:
    """Open a segment for reading; the caller closes the descriptor.

    Raises:
        OSError: it cannot be read, or is not a segment: a link, a pipe, or larger than a segment can be.
    """
    return disk.open_file(path, max_bytes=MAX_BYTES)


def read_header(path: Path) -> Header:
    """Read the header of a segment.

    Raises:
        FormatError: the first line is not a whole valid header.
        OSError: it cannot be read.
    """
    descriptor = open_segment(path)
    try:
        span = read(descriptor, 0, owner_gone=False)
    finally:
        disk.close(descriptor)
    if span.kind != "header":
        raise FormatError("a segment without its header", where=path)
    return Header.decode(span.json)


def read_headers(spool: Path) -> list[tuple[SegmentName, Header]]:
    """Read the headers of all segments in a spool, and leave out those that cannot be read."""
    readable = []
    for name in listing(spool):
        with suppress(OSError, FormatError):
            readable.append((name, read_header(spool / name.file_name)))
    return readable
