"""Keep `batches/index`: the place of each batch of a log, and the sums up to it. It is a cache of the batch files.

The file is a header and then one row for each batch, 64 bytes each: the row of batch `n` is at `64 * (n + 1)`, so one
read finds it among any number of batches. Every row has a checksum and the sums of records and bytes of all batches up
to its own. The records that wait for a store or are shipped, and the space of a subsystem on the disk, are differences
of two rows, so no logging call and no verb counts batches (docs/home.md 33).

Only the keeper writes this file, without a sync. A row that is missing, incomplete or older than the batch files is not
an error: `Batches` then reads the files, and the keeper makes the index again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

from ipfs_log_handlers.home import disk

if TYPE_CHECKING:  # the CID module loads OpenSSL, which logging does not need
    from ipfs_log_handlers.format.cid import Cid

__all__ = ["ROW_BYTES", "SMALL_BYTES", "BatchIndex", "IndexHeader", "Row", "short_digest"]

ROW_BYTES: Final = 64
"""Bytes of a row, and of the header."""
SMALL_BYTES: Final = 32 << 10
"""Bytes up to which a batch is small: a file of its own would take clearly more space than its blocks."""
_MAGIC: Final = b"ipfslogs"
_VERSION: Final = 1
"""Version of this file; an index of another version is made anew."""
_HEADER: Final = struct.Struct("<I8sHHQQ32x")
"""Checksum of all other bytes, magic, version, `whole`, bytes held, number of the first batch with a payload."""
_ROW: Final = struct.Struct("<IIBxHIII8s8sQQQ")
"""Checksum of all other bytes, number, flags, blocks, pack, offset, length, digests, sums, time."""
_CHECKSUM_BYTES: Final = 4
"""Bytes of the checksum at the beginning of a row."""
_FLAGS_AT: Final = 8
_MANIFEST_AT: Final = 24
_PAYLOAD_AT: Final = 32
"""Offsets in a row, in bytes: of the flags, of the digest of the manifest, of the digest of the payload."""
_PACKED: Final = 1
_ARCHIVE: Final = 2
_STRIPPED: Final = 4
_UNREADABLE: Final = 8
"""Flags of a row: the batch is in a pack, is an archive, has lost its payload, cannot be read."""
_DISK_BLOCK: Final = 512
"""Bytes of the unit in which `stat` counts what a file takes."""
_ROWS_AHEAD: Final = 4096
"""Number of rows that are searched, when a payload is deleted, for the next batch that still has one."""
_PIECE_ROWS: Final = 16_384
"""Rows that are read at once: 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHeader:
    """The values in the index for all batches together."""

    held: int = 0
    """Bytes that the batches take on the disk now."""
    first_held: int = 0
    """Number of a batch before which no payload is left in the home."""
    whole: bool = True
    """Whether every batch got its row: then the sums include all batches."""

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        body = _HEADER.pack(0, _MAGIC, _VERSION, self.whole, self.held, self.first_held)[_CHECKSUM_BYTES:]
        return crc32(body).to_bytes(4, "little") + body

    @classmethod
    def decode(cls, data: bytes) -> IndexHeader | None:
        """Parse the 64 bytes; `None` if they are damaged or of another version."""
        if len(data) != ROW_BYTES or crc32(data[_CHECKSUM_BYTES:]) != int.from_bytes(data[:4], "little"):
            return None
        _, magic, version, whole, held, first_held = _HEADER.unpack(data)
        if (magic, version) != (_MAGIC, _VERSION):
            return None
        return cls(held=held, first_held=first_held, whole=bool(whole))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The values in the index for one batch."""

    index: int
    """Number of the batch."""
    manifest: bytes = bytes(8)
    """First 8 bytes of the digest in the manifest's CID; zeros if the batch could not be read."""
    payload: bytes = bytes(8)
    """First 8 bytes of the digest in the payload's CID."""
    sealed: int = 0
    """Time at which the batch was sealed, microseconds since 1970."""
    records_through: int = 0
    """Records in all batches up to this one."""
    bytes_through: int = 0
    """Bytes of all batches up to this one when they were sealed; used for the bytes that wait for a store."""
    length: int = 0
    """Bytes of the batch's file, or of its blocks in a pack."""
    allocated: int = 0
    """Bytes that the batch's own file takes on the disk; 0 if the batch is in a pack."""
    pack: int | None = None
    """Number of the pack that contains this batch; `None`: it has a file of its own."""
    offset: int = 0
    """Offset of its first block's section in the pack."""
    is_archive: bool = False
    """Whether its payload is an archived file or directory."""
    stripped: bool = False
    """Whether its payload was deleted from the home."""
    unreadable: bool = False
    """Whether the batch was damaged when the row was made."""

    def after(self, before: Row | None, *, records: int, size: int | None = None) -> Row:
        """Return this row with the sums of the row before it and its own records and bytes.

        Args:
            before: the row before it.
            records: records of the batch.
            size: bytes with which the batch counts; `None`: its length if it is small, else the bytes that its file
                takes on the disk.
        """
        if size is None:
            size = self.length if self.length <= SMALL_BYTES else self.allocated
        if before is None:
            return replace(self, records_through=records, bytes_through=size)
        records += before.records_through
        return replace(self, records_through=records, bytes_through=before.bytes_through + size)

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        flags = _PACKED * (self.pack is not None) | _ARCHIVE * self.is_archive | _STRIPPED * self.stripped
        flags |= _UNREADABLE * self.unreadable
        blocks = min(self.allocated // _DISK_BLOCK, 0xFFFF)
        place = (self.pack or 0, self.offset, min(self.length, 0xFFFF_FFFF))
        sums = (self.records_through, self.bytes_through, self.sealed)
        body = _ROW.pack(0, self.index, flags, blocks, *place, self.manifest, self.payload, *sums)[_CHECKSUM_BYTES:]
        return crc32(body).to_bytes(4, "little") + body

    @classmethod
    def decode(cls, data: bytes, index: int) -> Row | None:
        """Parse the 64 bytes; `None` if they are damaged or the row of another batch."""
        if len(data) != ROW_BYTES or crc32(data[_CHECKSUM_BYTES:]) != int.from_bytes(data[:4], "little"):
            return None
        _, number, flags, blocks, pack, offset, length, manifest, payload, records, size, sealed = _ROW.unpack(data)
        if number != index:
            return None
        return cls(
            index=number,
            manifest=manifest,
            payload=payload,
            sealed=sealed,
            records_through=records,
            bytes_through=size,
            length=length,
            allocated=blocks * _DISK_BLOCK,
            pack=pack if flags & _PACKED else None,
            offset=offset,
            is_archive=bool(flags & _ARCHIVE),
            stripped=bool(flags & _STRIPPED),
            unreadable=bool(flags & _UNREADABLE),
        )


def short_digest(cid: Cid) -> bytes:
    """Return the 8 bytes that a row stores of a CID."""
    return bytes(cid)[4:12]


def _is_intact(row: bytes) -> bool:
    """Return whether the checksum of a row is right."""
    return len(row) == ROW_BYTES and crc32(row[_CHECKSUM_BYTES:]) == int.from_bytes(row[:_CHECKSUM_BYTES], "little")


class BatchIndex:
    """Read and write the index of one log.

    Args:
        batches: the directory `batches` of the log.
    """

    __slots__ = ("path",)

    def __init__(self, batches: Path) -> None:
        self.path = batches / "index"

    # -- read

    def header(self) -> IndexHeader | None:
        """Read the header; `None` if there is no index, or if it is damaged.

        Bytes that the keeper writes at this moment may look damaged once, so header and rows are then read again.
        """
        return IndexHeader.decode(self._read(0, ROW_BYTES)) or IndexHeader.decode(self._read(0, ROW_BYTES))

    def is_whole(self) -> bool:
        """Return whether every batch got its row, so that the sums include all batches."""
        header = self.header()
        return header is not None and header.whole

    def count(self) -> int:
        """Count the rows, by the length of the file."""
        try:
            size = disk.status(self.path).st_size
        except OSError:
            return 0
        return max(0, size // ROW_BYTES - 1)

    def row(self, index: int) -> Row | None:
        """Read the row of one batch; `None` if there is none, or if it is damaged."""
        if index < 0:
            return None
        at = ROW_BYTES * (index + 1)
        return Row.decode(self._read(at, ROW_BYTES), index) or Row.decode(self._read(at, ROW_BYTES), index)

    def rows(self, first: int, count: int) -> Iterator[Row]:
        """Read the rows of `count` batches from number `first` on, without those that are missing or damaged."""
        first = max(0, first)
        data = self._read(ROW_BYTES * (first + 1), ROW_BYTES * count)
        for number in range(len(data) // ROW_BYTES):
            row = Row.decode(data[ROW_BYTES * number : ROW_BYTES * (number + 1)], first + number)
            if row is not None:
                yield row

    def newest(self) -> Row | None:
        """Read the row of the newest batch; if it is damaged, the row before it; `None` if neither can be read."""
        count = self.count()
        return self.row(count - 1) or self.row(count - 2)

    def candidates(self, cid: Cid, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` whose manifest or payload has these first 8 bytes of a digest."""
        wanted = short_digest(cid)
        for first, data in self._pieces(newest):
            at = data.find(wanted)
            while at >= 0:
                if at % ROW_BYTES in (_MANIFEST_AT, _PAYLOAD_AT):
                    yield first + at // ROW_BYTES
                at = data.find(wanted, at + 1)

    def archives(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` whose payload is an archived file or directory."""
        for first, data in self._pieces(newest):
            flags = data[_FLAGS_AT::ROW_BYTES]
            yield from (first + number for number, flag in enumerate(flags) if flag & _ARCHIVE)

    def with_payload(self, first: int, newest: int) -> Iterator[int]:
        """Yield the batches from `first` to `newest`, without those that have no payload in the home."""
        header = self.header()
        next_index = max(first, header.first_held if header is not None else 0)
        while next_index <= newest:
            data = self._read(ROW_BYTES * (next_index + 1), ROW_BYTES * min(_PIECE_ROWS, newest + 1 - next_index))
            if not data:
                yield from range(next_index, newest + 1)
                return
            for number, flags in enumerate(data[_FLAGS_AT::ROW_BYTES], next_index):
                start = ROW_BYTES * (number - next_index)
                if not flags & _STRIPPED or not _is_intact(data[start : start + ROW_BYTES]):
                    yield number
            next_index += max(1, len(data) // ROW_BYTES)

    def small_files(self, first: int, last: int) -> Iterator[Row]:
        """Yield the rows from `first` to `last` of the small batches that have a file of their own."""
        for start in range(max(0, first), last + 1, _PIECE_ROWS):
            data = self._read(ROW_BYTES * (start + 1), ROW_BYTES * min(_PIECE_ROWS, last + 1 - start))
            for number, flags in enumerate(data[_FLAGS_AT::ROW_BYTES]):
                if not flags & (_PACKED | _UNREADABLE):
                    row = Row.decode(data[ROW_BYTES * number : ROW_BYTES * (number + 1)], start + number)
                    if row is not None and row.length <= SMALL_BYTES:
                        yield row

    def doubtful(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` without a reliable row: their files must be read."""
        reached = 0
        for first, data in self._pieces(newest) if self.is_whole() else ():
            for number in range(len(data) // ROW_BYTES):
                row = data[ROW_BYTES * number : ROW_BYTES * (number + 1)]
                if not _is_intact(row) or row[_FLAGS_AT] & _UNREADABLE:
                    yield first + number
            reached = first + len(data) // ROW_BYTES
        yield from range(reached, newest + 1)

    def _pieces(self, newest: int) -> Iterator[tuple[int, bytes]]:
        """Read the rows up to `newest` in pieces of bounded size: the number of the first row, and their bytes."""
        for first in range(0, newest + 1, _PIECE_ROWS):
            data = self._read(ROW_BYTES * (first + 1), ROW_BYTES * min(_PIECE_ROWS, newest + 1 - first))
            if not data:
                return
            yield first, data

    def _read(self, offset: int, size: int) -> bytes:
        """Read a number of bytes of the file from an offset on; fewer at its end, none without a file."""
        with suppress(OSError):
            descriptor = disk.open_file(self.path)
            try:
                return os.pread(descriptor, size, offset)
            finally:
                disk.close(descriptor)
        return b""

    # -- write; only for the keeper. After an OSError some rows must be made again; no batch is affected.

    def add(self, row: Row, held: int) -> None:
        """Note a batch that was just sealed.

        Args:
            row: its row, with the sums of the row before it, if there is one.
            held: bytes that its files take on the disk.

        Raises:
            OSError: the disk refuses.
        """
        header = self.header() if row.index else IndexHeader()
        if header is None or (row.index and self.row(row.index - 1) is None):
            header = replace(header or IndexHeader(), whole=False)
        self._put([row], replace(header, held=header.held + held))

    def change(self, row: Row, *, grown: int) -> None:
        """Note that the file of a batch was written again; the sums stay.

        Args:
            row: the new row of the batch; its sums are ignored.
            grown: additional bytes of the batch on the disk.

        Raises:
            OSError: the disk refuses.
        """
        header, before = self.header(), self.row(row.index)
        if header is not None and before is not None:
            row = replace(row, records_through=before.records_through, bytes_through=before.bytes_through)
            self._put([row], replace(header, held=max(0, header.held + grown)))

    def place(self, rows: Iterable[Row], *, grown: int) -> None:
        """Note the new places of batches.

        Args:
            rows: their rows.
            grown: additional bytes of the batches on the disk; negative if they take less.

        Raises:
            OSError: the disk refuses.
        """
        header = self.header()
        if header is not None:
            self._put(list(rows), replace(header, held=max(0, header.held + grown)))

    def strip(self, rows: Sequence[Row], *, freed: int) -> None:
        """Note that payloads were deleted from the home.

        Args:
            rows: the rows of their batches, with their new places and lengths.
            freed: freed bytes on the disk.

        Raises:
            OSError: the disk refuses.
        """
        header = self.header()
        if header is None:
            return
        self._put([replace(row, stripped=True) for row in rows], replace(header, held=max(0, header.held - freed)))
        first_held = header.first_held
        if any(row.index == first_held for row in rows):
            later = self.rows(first_held, _ROWS_AHEAD)
            first_held = next(
                (row.index for row in later if not row.stripped), min(self.count(), first_held + _ROWS_AHEAD)
            )
            self._put([], replace(header, held=max(0, header.held - freed), first_held=first_held))

    def cut(self, count: int, *, freed: int) -> None:
        """Remove the rows from number `count` on, whose batches are deleted.

        Raises:
            OSError: the disk refuses.
        """
        header = self.header()
        if header is None or self.count() <= count:
            return
        header = replace(header, held=max(0, header.held - freed), first_held=min(header.first_held, count))
        descriptor = disk.new_file(self.path, os.O_RDWR)
        try:
            disk.truncate(descriptor, ROW_BYTES * (count + 1))
            os.pwrite(descriptor, header.encode(), 0)
        finally:
            disk.close(descriptor)

    def replace(self, rows: Iterable[Row], header: IndexHeader) -> None:
        """Replace this index by another one.

        Raises:
            OSError: the disk refuses; the old index stays.
        """
        data = b"".join((header.encode(), *(row.encode() for row in rows)))
        disk.replace(self.path, data, sync=False)

    def _put(self, rows: Sequence[Row], header: IndexHeader) -> None:
        """Write rows and the matching header. Rows of successive batches are one write."""
        descriptor = disk.new_file(self.path, os.O_RDWR)
        try:
            for first, data in _runs(rows):
                os.pwrite(descriptor, data, ROW_BYTES * (first + 1))
            os.pwrite(descriptor, header.encode(), 0)
        finally:
            disk.close(descriptor)


def _runs(rows: Sequence[Row]) -> Iterator[tuple[int, bytes]]:
    """Join the rows of successive batches: the number of the first, and their bytes."""
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place].index != rows[place - 1].index + 1:
            yield rows[start].index, b"".join(row.encode() for row in rows[start:place])
            start = place
