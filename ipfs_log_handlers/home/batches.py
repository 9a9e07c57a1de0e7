"""Sealed batches: one CARv1 file each, `batches/<index // 1000>/<index>.car`, whose roots are manifest and head block.

The manifest comes first, then the head block, then what the manifest links: whoever wants the facts of a batch reads
two kilobytes, whatever the payload. The blocks of an archived file or directory lie beside it in a CAR of their own,
`<index>.payload.car`, which is the very file that waited for the batch. A CAR above the `head` does not exist for any
reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.batch_files import BatchFiles

__all__ = ["Batches", "Facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the first two blocks of a batch say."""

    cid: Cid
    """CID of the manifest."""
    manifest: Manifest
    """The manifest, whose block had this CID."""
    head_cid: Cid
    """CID of the head block."""
    head: Head
    """The head block that was signed with this batch; its signature is not checked here."""


@dataclass(frozen=True, slots=True)
class Batches(BatchFiles):
    """The directory of one log's batches."""

    def write(
        self,
        index: int,
        manifest: Cid,
        head: Cid,
        blocks: Iterable[tuple[Cid, bytes]],
        archive: Path | None = None,
    ) -> int:
        """Write and sync a batch, files and directory entries. One that was there under the same index is replaced.

        Args:
            index: its number.
            manifest: CID of the manifest; its block comes first.
            head: CID of the head block; its block comes second.
            blocks: all blocks, in the order in which they shall stand.
            archive: a CAR, synced, that gets a second name beside the batch; nothing is copied.

        Returns:
            Bytes of the file.
        """
        path, beside = self.file(index), self.payload_file(index)
        for directory in (self.path, path.parent):
            there = directory.is_dir()
            disk.ensure_directory(directory)
            if not there:
                disk.sync_directory(directory.parent)
        disk.remove(beside)
        if archive is not None:
            os.link(archive, beside, follow_symlinks=False)
        size = disk.write_new(path, _car(manifest, head, blocks))
        disk.sync_directory(path.parent)
        return size

    def write_anew(self, index: int, manifest: Cid, head: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        """Put a batch, as `write` takes it, in the place of its damaged file in one step."""
        path = self.file(index)
        disk.ensure_directory(path.parent)
        disk.replace(path, b"".join(_car(manifest, head, blocks)))

    def facts(self, index: int) -> Facts:
        """Manifest and head block of a batch, each block hashed.

        Raises:
            FormatError: the file is not a batch of ours, or another one's.
            FileNotFoundError: it is not there.
        """
        path = self.file(index)
        try:
            with disk.stream(path) as stream:
                reader = car.Reader(stream)
                blocks = iter(reader)
                cid, block = next(blocks, (None, b""))
                head_cid, head_block = next(blocks, (None, b""))
            if cid is None or head_cid is None or reader.roots != (cid, head_cid):
                raise FormatError("not a batch", expected="manifest and head block as first blocks and roots")
            facts = Facts(cid, Manifest.decode(block), head_cid, Head.decode(head_block))
        except (FormatError, VerificationError) as error:
            raise FormatError(
                f"a batch cannot be read: {error}", where=path, hint="`ipfs-logs verify` says what is damaged."
            ) from error
        if facts.manifest.index != index or facts.head.manifest != cid:
            raise FormatError("a batch under a wrong number", where=path, expected=index, found=facts.manifest.index)
        return facts

    def blocks(self, index: int) -> Iterator[tuple[Cid, bytes]]:
        """All blocks of a batch in file order, each hashed; memory of one block.

        Raises:
            FormatError: from the damaged block on.
        """
        for path in self.files(index):
            with disk.stream(path) as stream:
                yield from car.Reader(stream)

    def has_payload(self, index: int, payload: Cid) -> bool:
        """Whether the file still holds the payload's root block (retention may have taken it away)."""
        if self.payload_file(index).exists():
            return True
        with disk.stream(self.file(index)) as stream:
            return any(cid == payload for cid, _, _ in car.scan(stream))

    def remove_above(self, index: int) -> None:
        """Delete the batches above `index`: they were written, but never became part of the log."""
        for numbers, file in ((self.indexes, self.file), (self.payloads, self.payload_file)):
            for each in numbers():
                if each > index:
                    disk.remove(file(each))

    def sweep(self) -> None:
        """Remove what a keeper left half written when it was killed as it stripped a batch. For the keeper alone."""
        for directory in self.entries(self.path):
            disk.sweep(directory)

    def strip(self, index: int) -> int:
        """Take the payload out of a batch's file, atomically; manifest, head block and evidence stay.

        On a disk that has no room even for the smaller file, the file is cut behind them: they stand first. A reader
        who is just then in the payload sees it end.

        Returns:
            Bytes freed.
        """
        path, beside = self.file(index), self.payload_file(index)
        facts = self.facts(index)
        if beside.exists():
            size = beside.stat().st_size
            disk.remove(beside)
            return size
        keep = {facts.cid, facts.head_cid, *facts.manifest.evidence} - {facts.manifest.payload}
        before = path.stat().st_size
        kept = [(cid, block) for cid, block in self.blocks(index) if cid in keep]
        fresh = b"".join(_car(facts.cid, facts.head_cid, kept))
        try:
            disk.replace(path, fresh)
        except OSError as error:
            if error.errno not in disk.NO_ROOM or disk.read(path, len(fresh)) != fresh:
                raise
            disk.cut(path, len(fresh))
        return before - path.stat().st_size


def _car(manifest: Cid, head: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    yield car.header([manifest, head])
    for cid, block in blocks:
        yield car.section_head(cid, len(block))
        yield block
