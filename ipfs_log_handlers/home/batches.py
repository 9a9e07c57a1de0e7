"""Write, move and shrink sealed batches; batch_reader.py reads them, and describes their form on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encoding import encoding_of
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, packs
from ipfs_log_handlers.home.batch_reader import BatchHeader, BatchReader, header_in
from ipfs_log_handlers.home.index import SMALL_BYTES, IndexHeader, Row, short_digest
from ipfs_log_handlers.home.packs import MAX_PACK_BYTES, PackedBatch

__all__ = ["Batches"]


@dataclass(frozen=True, slots=True)
class Batches(BatchReader):
    """The batches of one log. Only the keeper, or a repair that holds its lock, may change them."""

    def write(
        self,
        index: int,
        manifest: Cid,
        head: Cid,
        blocks: Iterable[tuple[Cid, bytes]],
        archive: Path | None = None,
    ) -> int:
        """Write and sync a batch, files and directory entries. An older batch with the same index is replaced.

        Args:
            index: its number.
            manifest: CID of the manifest; its block comes first.
            head: CID of the head block; its block comes second.
            blocks: all blocks, in the order of the file.
            archive: a CAR, synced, that gets a second name beside the batch; nothing is copied.

        Returns:
            Bytes of the file.
        """
        path, beside, blocks = self.file(index), self.payload_file(index), tuple(blocks)
        for directory in (self.path, path.parent):
            existed = disk.is_directory(directory)
            disk.ensure_directory(directory)
            if not existed:
                disk.sync_directory(directory.parent)
        disk.remove(beside)
        if archive is not None:
            disk.link(archive, beside)
        size = disk.write_new(path, _car(manifest, head, blocks))
        disk.sync_directory(path.parent)
        with suppress(OSError, FormatError):
            row = self._row(index, Manifest.decode(blocks[0][1]), self._index.row(index - 1))
            self._index.add(row, self._held(row))
        return size

    def write_anew(self, index: int, manifest: Cid, head: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Replace the damaged file of a batch in one step; arguments as for `write`."""
        path, before, blocks = self.file(index), _allocated(self.file(index)), tuple(blocks)
        disk.ensure_directory(path.parent)
        disk.replace(path, b"".join(_car(manifest, head, blocks)), beside=self.path / path.name)
        with suppress(OSError, FormatError):
            row = self._row(index, Manifest.decode(blocks[0][1]), None)
            self._index.change(row, grown=_allocated(path) - before)

    def remove_above(self, index: int) -> None:
        """Delete the batches after `index`: they were written, but never became part of the log.

        Reads only the directory of `index` and later ones, so that a keeper starts equally fast in an old home.
        """
        freed = 0
        for path in self.files_from(index + 1):
            freed += _allocated(path)
            disk.remove(path)
        with suppress(OSError):
            self._index.cut(index + 1, freed=freed)

    def sweep(self) -> None:
        """Remove temporary files of a keeper that was killed while it replaced a file. Only for the keeper."""
        disk.sweep(self.path)

    # -- delete payloads

    def strip(self, *indexes: int) -> int:
        """Delete the payloads of batches from the home; manifests, head blocks and evidence stay.

        A batch's own file is replaced in one step. If the disk has no space even for the smaller file, the file is cut
        after these blocks, which come first; a reader that is in the payload at this moment sees its end. A pack is
        written anew, once for all its batches.

        Returns:
            Bytes freed.

        Raises:
            FormatError: a batch in a file of its own is damaged and was not changed. A damaged batch in a pack is
                skipped.
            OSError: the disk refuses; later batches are not changed.
        """
        freed = 0
        by_pack: dict[Path, list[int]] = {}
        for index in indexes:
            beside = self.payload_file(index)
            if disk.exists(beside):
                freed += disk.status(beside).st_size
                allocated = _allocated(beside)
                disk.remove(beside)
                self._note_stripped(index, allocated)
            elif disk.exists(self.file(index)):
                freed += self._cut_down(index)
            else:
                by_pack.setdefault(self.where(index), []).append(index)
        return freed + sum(self._cut_down_pack(path, members) for path, members in by_pack.items())

    def _cut_down(self, index: int) -> int:
        """Replace a batch's file by one without the payload; return the bytes freed."""
        path, facts = self.file(index), self.facts(index)
        before, allocated = disk.status(path).st_size, _allocated(path)
        keep = _kept(facts)
        fresh = b"".join(_car(facts.cid, facts.head_cid, [block for block in self.blocks(index) if block[0] in keep]))
        try:
            disk.replace(path, fresh, beside=self.path / path.name)
        except OSError as error:
            if error.errno not in disk.NO_ROOM or disk.read_beginning(path, len(fresh)) != fresh:
                raise
            disk.cut(path, len(fresh))
        self._note_stripped(index, allocated - _allocated(path))
        return before - len(fresh)

    def _note_stripped(self, index: int, freed: int) -> None:
        """Note in the index that a payload was deleted, and the new size of the batch."""
        with suppress(OSError):
            row = self._index.row(index)
            if row is not None and row.pack is None:
                status = disk.status(self.file(index))
                row = replace(row, length=status.st_size, allocated=status.st_blocks * 512)
            self._index.strip([] if row is None else [row], freed=freed)

    def _cut_down_pack(self, path: Path, indexes: Sequence[int]) -> int:
        """Write a pack anew without the payloads of its undamaged batches; return the bytes freed."""
        headers = [header for index in indexes if (header := self._undamaged(index)) is not None]
        before = disk.status(path).st_size
        packs.rewrite(path, self.path / path.name, strip={header.manifest.index: _kept(header) for header in headers})
        freed = before - disk.status(path).st_size
        with suppress(OSError):
            rows = self._rows_in(path)
            self._index.place(rows.values(), grown=0)
            stripped = [rows[index] for header in headers if (index := header.manifest.index) in rows]
            self._index.strip(stripped, freed=freed)
        return freed

    def _undamaged(self, index: int) -> BatchHeader | None:
        """Read manifest and head block, and hash every block; `None` if a block is damaged."""
        with suppress(FormatError):
            header = self.facts(index)
            for _ in self.blocks(index):
                pass
            return header
        return None

    # -- packs

    def pack(self, indexes: Iterable[int]) -> list[int]:
        """Move small batches of one directory from files of their own into packs (docs/home.md 36).

        A batch that is damaged, or larger than `SMALL_BYTES`, stays where it is; likewise a batch that a backup has
        brought back, where another log has this number in a pack.

        Args:
            indexes: numbers of the batches, in order.

        Returns:
            Numbers of the batches that were moved.

        Raises:
            OSError: the disk refuses; every batch is in its file, in a pack, or in both.
        """
        waiting = [(index, sections) for index in indexes if (sections := self._small_sections(index)) is not None]
        packed = self._packed_beside(waiting[0][0]) if waiting else ()
        done: list[tuple[int, PackedBatch]] = []
        fresh: list[tuple[int, bytes]] = []
        for index, sections in waiting:
            old = self._searched(index) if index in packed else None
            if old is not None and old.sections == sections:
                packs.sync(self.pack_file(index, old.pack))  # a keeper was killed before it deleted this file
                done.append((old.pack, old.place))
                continue
            if old is not None and packs.log_of(old.sections) not in (None, packs.log_of(sections)):
                continue  # a backup was copied over the log; the keeper sorts its batches
            if old is not None:  # a repair has written the batch again
                path = self.pack_file(index, old.pack)
                packs.rewrite(path, self.path / path.name, drop=[index], strip={})
                with suppress(OSError):
                    self._index.place(self._rows_in(path).values(), grown=0)
            fresh.append((index, sections))
        while fresh:
            pack, count = self._room_for(fresh)
            root = packs.first_cid(fresh[0][1])
            path = self.pack_file(fresh[0][0], pack)
            done += [(pack, place) for place in packs.append(path, root, fresh[:count])]
            fresh = fresh[count:]
        self._note_packed(done)
        for _, place in done:
            disk.remove(self.file(place.index))
        return [place.index for _, place in done]

    def _small_sections(self, index: int) -> bytes | None:
        """Read the sections of a small batch in a file of its own; `None` if it is not small, or is damaged."""
        with suppress(OSError, FormatError, VerificationError):
            data = disk.read(self.file(index), SMALL_BYTES)
            cids = {cid for cid, _ in car.decode(data)[1]}
            header = self._checked(index, header_in(BytesIO(data)))
            sections = packs.sections_of(data)
            if cids >= _kept(header) and packs.as_car(sections) == data:
                return sections
        return None

    def _packed_beside(self, index: int) -> set[int]:
        """List the batches in the packs of the directory of a batch; a pack that cannot be read has none."""
        found: set[int] = set()
        for pack in self.packs(self.directory(index).name):
            with suppress(OSError):
                found.update(packs.read(self.pack_file(index, pack)).batches)
        return found

    def _room_for(self, batches: Sequence[tuple[int, bytes]]) -> tuple[int, int]:
        """Choose a pack, and count how many of these batches fit into it, at least one."""
        numbers = self.packs(self.directory(batches[0][0]).name)
        pack = numbers[-1] if numbers else 0
        used = 0
        if numbers:
            path = self.pack_file(batches[0][0], pack)
            used = disk.status(path).st_size
            if used + len(batches[0][1]) > MAX_PACK_BYTES or not packs.read(path).whole:
                pack, used = pack + 1, 0
        count = 0
        for _, sections in batches:
            used += len(sections)
            if count and used > MAX_PACK_BYTES:
                break
            count += 1
        return pack, count

    def _note_packed(self, places: Sequence[tuple[int, PackedBatch]]) -> None:
        """Note in the index the batches that are in a pack now."""
        rows, grown = [], 0
        first = min((place.index for _, place in places), default=0)
        count = max((place.index for _, place in places), default=-1) + 1 - first
        known = {row.index: row for row in self._index.rows(first, count)} if count > 0 else {}
        for pack, place in places:
            row = known.get(place.index)
            if row is not None:
                rows.append(replace(row, pack=pack, offset=place.offset, length=place.length, allocated=0))
            grown += place.length - _allocated(self.file(place.index))
        with suppress(OSError):
            self._index.place(sorted(rows, key=lambda row: row.index), grown=grown)

    def _rows_in(self, path: Path) -> dict[int, Row]:
        """Return the rows of the batches in a pack, by number, with their current places."""
        pack = int(path.stem.rpartition("-")[2])
        rows = {}
        for index, place in sorted(packs.read(path).batches.items()):
            row = self._index.row(index)
            if row is not None and row.pack == pack:
                rows[index] = replace(row, offset=place.offset, length=place.length)
        return rows

    # -- rows of the index

    def index_again(self, newest: Callable[[], int]) -> Iterator[None]:
        """Make the index anew from the batches, and yield after each batch; batches may be sealed during this time.

        Args:
            newest: function that returns the number of the newest sealed batch.

        Raises:
            OSError: the disk refuses.
        """
        rows: list[Row] = []
        held, reached = 0, newest()
        while len(rows) <= reached or len(rows) <= (reached := newest()):
            index, manifest, has_payload = len(rows), None, True
            with suppress(FormatError, OSError):
                manifest = self.facts(index).manifest
                has_payload = self.has_payload(index, manifest.payload)
            rows.append(replace(self._row(index, manifest, rows[-1] if rows else None), stripped=not has_payload))
            held += self._held(rows[-1])
            yield
        first_held = next((row.index for row in rows if not row.stripped), len(rows))
        self._index.replace(rows, IndexHeader(held=held, first_held=first_held))

    def _row(self, index: int, manifest: Manifest | None, before: Row | None) -> Row:
        """Make the row of a batch from its place; `manifest` is `None` if the batch cannot be read."""
        row = Row(index=index, unreadable=manifest is None)
        size: int | None = None
        try:
            status = disk.status(self.file(index))
            row = replace(row, length=status.st_size, allocated=status.st_blocks * 512)
        except FileNotFoundError:
            found = self._searched(index)
            if found is not None:
                row = replace(row, pack=found.pack, offset=found.place.offset, length=found.place.length)
                size = len(packs.as_car(found.sections))  # the size with which it was counted when it was sealed
        if manifest is not None:
            row = replace(
                row,
                manifest=short_digest(manifest.cid),
                payload=short_digest(manifest.payload),
                sealed=manifest.sealed,
                is_archive=not encoding_of(manifest.encoding).has_records,
            )
        return row.after(before, records=0 if manifest is None else manifest.records, size=size)

    def _held(self, row: Row) -> int:
        """Return the bytes that a batch takes on the disk, with the blocks of its archive."""
        own = row.allocated if row.pack is None else row.length
        return own + _allocated(self.payload_file(row.index))


def _kept(facts: BatchHeader) -> set[Cid]:
    """Return the CIDs of the blocks that stay when the payload of a batch is deleted."""
    return {facts.cid, facts.head_cid, *facts.manifest.evidence} - {facts.manifest.payload}


def _allocated(path: Path) -> int:
    """Return the bytes that a file takes on the disk; 0 if the file does not exist."""
    try:
        return disk.status(path).st_blocks * 512
    except OSError:
        return 0


def _car(manifest: Cid, head: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    yield car.header([manifest, head])
    for cid, block in blocks:
        yield car.section_head(cid, len(block))
        yield block
