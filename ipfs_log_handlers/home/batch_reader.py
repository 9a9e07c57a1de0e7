"""Read sealed batches by their numbers, from files or packs, and ask the index about them.

A batch is a CARv1 whose roots are manifest and head block: manifest first, then the head block, then the blocks that
the manifest links, so that manifest and head block are in the first two kilobytes. It is sealed into a file of its own,
`batches/<index // 1000>/<index>.car`, and small batches are moved into packs later (`packs.py`). Only this module, and
`batches.py`, which writes batches, know where a batch is. The blocks of an archived file or directory are beside it in
a CAR of their own, `<index>.payload.car`, the same file that waited for the batch. Readers ignore a batch above the
`head`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from heapq import merge
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, packs
from ipfs_log_handlers.home.batch_files import A_DIRECTORY, BatchFiles
from ipfs_log_handlers.home.index import SMALL_BYTES, BatchIndex, Row, short_digest
from ipfs_log_handlers.home.packs import MAX_PACK_BYTES, PackedBatch
from ipfs_log_handlers.home.paths import MAX_FILE_BYTES

__all__ = ["BatchHeader", "BatchReader", "header_in"]


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The content of the first two blocks of a batch."""

    cid: Cid
    """CID of the manifest."""
    manifest: Manifest
    """The manifest, whose block had this CID."""
    head_cid: Cid
    """CID of the head block."""
    head: Head
    """The head block that was signed with this batch; its signature is not checked here."""


class _Packed(NamedTuple):
    """The bytes of a batch in a pack."""

    pack: int
    """Number of the pack in its directory."""
    place: PackedBatch
    """The place of the batch in the pack."""
    sections: bytes
    """Its sections."""


@dataclass(frozen=True, slots=True)
class BatchReader(BatchFiles):
    """Read the batches of one log; no method changes one."""

    @contextmanager
    def streams(self, index: int) -> Iterator[list[BinaryIO]]:
        """Open a batch: its CAR, whether it is a file or a part of a pack, and the CAR of its archive if it has one.

        Raises:
            OSError: it cannot be read; `FileNotFoundError` if it is missing.
        """
        with ExitStack() as stack:
            streams = [stack.enter_context(self._open(index))]
            with suppress(FileNotFoundError):
                streams.append(stack.enter_context(disk.stream(self.payload_file(index))))
            yield streams

    def _open(self, index: int) -> BinaryIO:
        """Open the CAR of a batch. A file of its own is used first: the keeper deletes it after its pack is synced."""
        try:
            return cast("BinaryIO", disk.stream(self.file(index)))
        except FileNotFoundError:
            place = self._packed(index)
            if place is None:
                return cast("BinaryIO", disk.stream(self.file(index)))  # a repair may just have written this file
            return BytesIO(packs.as_car(place.sections))

    def _packed(self, index: int) -> _Packed | None:
        """Find a batch in a pack: at the place in its row, if it is there, else by a search."""
        row = self._index.row(index)
        by_row = None if row is None else self._at_row(row)
        if row is not None and by_row is not None and packs.is_batch(by_row.sections, row.manifest):
            return by_row
        return self._searched(index) or by_row  # the place in the row is right, but the batch is damaged there

    def _at_row(self, row: Row) -> _Packed | None:
        if row.pack is None:
            return None
        place = PackedBatch(row.index, row.offset, min(row.length, MAX_PACK_BYTES))
        with suppress(OSError):
            return self._read_place(row.pack, place)
        return None

    def _searched(self, index: int) -> _Packed | None:
        for pack in reversed(self.packs(self.directory(index).name)):
            with suppress(OSError):
                place = packs.read(self.pack_file(index, pack)).batches.get(index)
                if place is not None:
                    return self._read_place(pack, place)
        return None

    def _read_place(self, pack: int, place: PackedBatch) -> _Packed | None:
        """Read the sections of a batch in a pack; `None` if the pack is shorter."""
        sections = disk.read_part(self.pack_file(place.index, pack), place.offset, place.length)
        return _Packed(pack, place, sections) if sections else None

    def where(self, index: int) -> Path:
        """Name the file of a batch: its own file, or a pack; its own file also if there is none."""
        if not disk.exists(self.file(index)):
            place = self._packed(index)
            if place is not None:
                return self.pack_file(index, place.pack)
        return self.file(index)

    def files(self, index: int) -> list[Path]:
        """Name the file of a batch, as `where` does, and the file of its archive if it has one."""
        beside = self.payload_file(index)
        return [self.where(index), *([beside] if disk.exists(beside) else [])]

    def content(self, index: int) -> bytes:
        """Read the CAR of a batch unchanged, without the blocks of an archive; empty bytes if it is missing."""
        path = self.file(index)
        with suppress(FileNotFoundError):
            return disk.read_part(path, 0, MAX_FILE_BYTES)
        place = self._packed(index)
        if place is not None:
            return packs.as_car(place.sections)
        with suppress(FileNotFoundError):  # a repair may just have written this file
            return disk.read_part(path, 0, MAX_FILE_BYTES)
        return b""

    def manifest(self, index: int) -> Manifest:
        """Read and hash only the manifest of a batch; faster than `facts`, which describes damage better.

        Raises:
            FormatError: the file does not contain a batch, or contains another batch.
            OSError: the batch is missing, or cannot be read.
        """
        with self._open(index) as stream:
            reader = car.Reader(stream)
            cid, block = next(iter(reader), (None, b""))
        if cid is None or reader.roots[0] != cid:
            raise FormatError("not a batch", expected="a manifest as first block and root", where=self.where(index))
        manifest = Manifest.decode(block)
        if manifest.index != index:
            raise FormatError("a batch under a wrong number", expected=index, found=manifest.index)
        return manifest

    def facts(self, index: int) -> BatchHeader:
        """Read the manifest and the head block of a batch; both are hashed.

        Raises:
            FormatError: the file does not contain a batch, or contains another batch.
            FileNotFoundError: the batch is missing.
        """
        try:
            with self._open(index) as stream:
                header = header_in(stream)
        except (FormatError, VerificationError, disk.WrongFileError) as error:
            raise self._unreadable(index, error) from error
        return self._checked(index, header)

    def small(self, index: int) -> tuple[BatchHeader, bytes] | None:
        """Read the header and the CAR of a small batch with records; the blocks after the first two are not hashed.

        Returns:
            `None` where the CAR has more than `SMALL_BYTES`, or the batch is an archive.

        Raises:
            FormatError, FileNotFoundError: as for `facts`.
        """
        try:
            with self._open(index) as stream:
                data = stream.read(SMALL_BYTES + 1)
            if len(data) > SMALL_BYTES:
                return None
            header = header_in(BytesIO(data))
        except (FormatError, VerificationError, disk.WrongFileError) as error:
            raise self._unreadable(index, error) from error
        has_records = header.manifest.payload_encoding.has_records
        return (self._checked(index, header), data) if has_records else None

    def _unreadable(self, index: int, error: Exception) -> FormatError:
        reason = error.strerror if isinstance(error, disk.WrongFileError) else str(error)
        return FormatError(
            f"a batch cannot be read: {reason}",
            where=self.where(index),
            hint="`ipfs-logs verify` names the damage.",
        )

    def _checked(self, index: int, header: BatchHeader) -> BatchHeader:
        """Return the header if it is that of this batch, else raise `FormatError`."""
        if header.manifest.index != index or header.head.manifest != header.cid:
            raise FormatError(
                "a batch under a wrong number",
                where=self.where(index),
                expected=index,
                found=header.manifest.index,
            )
        return header

    def blocks(self, index: int) -> Iterator[tuple[Cid, bytes]]:
        """Yield all blocks of a batch in their order, each hashed; holds one block in memory.

        Raises:
            FormatError: from the damaged block on.
        """
        with self.streams(index) as streams:
            for stream in streams:
                yield from car.Reader(stream)

    def has_payload(self, index: int, payload: Cid) -> bool:
        """Return whether the payload's root block is in the home; retention may have deleted it."""
        with self.streams(index) as streams:
            return len(streams) > 1 or any(cid == payload for cid, _, _ in car.scan(streams[0]))

    def is_whole(self, header: BatchHeader) -> bool:
        """Return whether the home has every block that a batch links, and each block of the batch has its hash."""
        manifest = header.manifest
        try:
            cids = {cid for cid, _ in self.blocks(manifest.index)}
        except (FormatError, OSError):
            return False
        return {manifest.payload, *manifest.evidence} <= cids

    def is_packed(self, index: int) -> bool:
        """Return whether a batch is in a pack; the blocks of an archive do not matter."""
        return not any(disk.exists(path) for path in (self.file(index), self.payload_file(index)))

    def held(self, indexes: Iterable[int]) -> list[int]:
        """List the given batches whose payload is or may be in the home."""
        return [index for index in indexes if (row := self._index.row(index)) is None or not row.stripped]

    # -- the batches in the directory

    def indexes(self) -> list[int]:
        """List the batches in the directory, in order, independent of the head."""
        found = set(self.own_files())
        for directory in self.directories():
            numbers = self.packs(directory)
            if numbers:
                self._add_packed(int(directory) * A_DIRECTORY, numbers, found)
        return sorted(found)

    def credible_indexes(self) -> list[int]:
        """List the batches in the directory, in order, without batches whose number is far above all others."""
        end = self.credible_end()
        return [index for index in self.indexes() if index < end]

    def _add_packed(self, first: int, numbers: Sequence[int], found: set[int]) -> None:
        """Add the batches in the packs of a directory, from the index; if the index lacks them, from the packs."""
        count = self._index.count() if self._index.is_whole() else 0
        found.update(row.index for row in self._index.rows(first, A_DIRECTORY) if row.pack in numbers)
        if count <= first or not found.issuperset(range(first, min(count, first + A_DIRECTORY))):
            for pack in numbers:
                with suppress(OSError):
                    numbers_here = range(first, first + A_DIRECTORY)
                    found.update(
                        index for index in packs.read(self.pack_file(first, pack)).batches if index in numbers_here
                    )

    # -- the index

    @property
    def _index(self) -> BatchIndex:
        return BatchIndex(self.path)

    def records_through(self, index: int) -> int | None:
        """Return the number of records in all batches up to `index`; `None` if the index does not have it."""
        if index < 0:
            return 0
        row = self._index.row(index) if self._index.is_whole() else None
        return None if row is None else row.records_through

    def with_cid(self, cid: Cid, newest: int) -> int | None:
        """Find the batch, up to `newest`, whose manifest or payload has this CID; `None` if there is none."""
        for find in (partial(self._index.candidates, cid), self._index.doubtful):
            for index in find(newest):
                with suppress(FormatError, OSError):
                    header = self.facts(index)
                    if cid in (header.cid, header.manifest.payload):
                        return index
        return None

    def has_manifest(self, index: int, cid: str) -> bool:
        """Say whether the manifest of a batch has this CID, as the index or else the manifest itself says.

        The manifest names all manifests before it, so that none of these is another one.
        """
        with suppress(FormatError, OSError):
            row = self._index.row(index)
            if row is not None and not row.unreadable:
                return short_digest(Cid.parse(cid)) == row.manifest
            return self.facts(index).cid.text == cid
        return False

    def archives(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` that may contain an archive; the index says that all others contain none."""
        numbers = merge(self._index.archives(newest), self._index.doubtful(newest))
        return (number for number, _ in groupby(numbers))

    def index_problem(self, newest: int) -> tuple[Path, str] | None:
        """Describe damage of the index: the file and the damage. Reads all rows up to `newest`."""
        path, header = self._index.path, self._index.header()
        if header is None:
            return (path, "its header is damaged") if disk.exists(path) else None
        damaged = (index for index in self._index.doubtful(newest) if self._index.row(index) is None)
        first = next(damaged, None) if header.whole else None
        return None if first is None else (path, f"the row of batch {first} is damaged or missing")

    def with_payload(self, first: int, newest: int) -> Iterator[int]:
        """Yield the batches from `first` to `newest` whose payload may be in the home; all others have none there."""
        if not self._index.is_whole():
            return iter(range(first, newest + 1))
        return self._index.with_payload(first, newest)

    def small_files(self, first: int, last: int) -> Iterator[Row]:
        """Yield the rows of the small batches from `first` to `last` that have a file of their own."""
        return self._index.small_files(first, last)

    def newest_in_index(self) -> int | None:
        """Return the number of the newest batch in the index; `None` if the index may be wrong."""
        count = self._index.count() if self._index.is_whole() else 0
        return count - 1 if count and not disk.exists(self.file(count)) else None

    def index_is_whole(self, newest: int) -> bool:
        """Return whether the index has the sums of all batches up to `newest`. Reads one row."""
        return newest < 0 or (self._index.is_whole() and self._index.row(newest) is not None)


def header_in(stream: BinaryIO) -> BatchHeader:
    """Read the first two blocks of a batch's CAR.

    Raises:
        FormatError, VerificationError: it is no batch, or one of them is damaged.
    """
    reader = car.Reader(stream)
    blocks = iter(reader)
    cid, block = next(blocks, (None, b""))
    head_cid, head_block = next(blocks, (None, b""))
    if cid is None or head_cid is None or reader.roots != (cid, head_cid):
        raise FormatError("not a batch", expected="manifest and head block as first blocks and roots")
    return BatchHeader(cid, Manifest.decode(block), head_cid, Head.decode(head_block))
