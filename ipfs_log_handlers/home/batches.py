"""Sealed batches: one CARv1 file each, `batches/<index // 1000>/<index>.car`, whose roots are manifest and head block.

The manifest comes first, then the head block, then what the manifest links: whoever wants the facts of a batch reads
two kilobytes, whatever the payload. A CAR above the `head` does not exist for any reader.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk

__all__ = ["Batches", "Facts"]

_FILE: Final = re.compile(r"([0-9]{6,})\.car", re.ASCII)


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
class Batches:
    """The directory of one log's batches."""

    path: Path
    """`<home>/<subsystem>/batches`."""

    def file(self, index: int) -> Path:
        """The file of a batch, there or not."""
        return self.path / f"{index // 1000:03}" / f"{index:06}.car"

    def indexes(self) -> list[int]:
        """The batches that have a file, in order, whatever the head says."""
        found: list[int] = []
        for directory in _entries(self.path):
            found += [
                int(match[1])
                for entry in _entries(directory)
                if (match := _FILE.fullmatch(entry.name)) and self.file(int(match[1])) == entry
            ]
        return sorted(found)

    def write(self, index: int, manifest: Cid, head: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> int:
        """Write and sync a batch, file and directory entry. One that was there under the same index is replaced.

        Args:
            index: its number.
            manifest: CID of the manifest; its block comes first.
            head: CID of the head block; its block comes second.
            blocks: all blocks, in the order in which they shall stand.

        Returns:
            Bytes of the file.
        """
        path = self.file(index)
        for directory in (self.path, path.parent):
            if not directory.is_dir():
                disk.ensure_directory(directory)
                disk.sync_directory(directory.parent)
        size = disk.write_new(path, _car(manifest, head, blocks))
        disk.sync_directory(path.parent)
        return size

    def facts(self, index: int) -> Facts:
        """Manifest and head block of a batch, each block hashed.

        Raises:
            FormatError: the file is not a batch of ours, or another one's.
            FileNotFoundError: it is not there.
        """
        path = self.file(index)
        try:
            with path.open("rb", buffering=0) as stream:
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
        with self.file(index).open("rb", buffering=0) as stream:
            yield from car.Reader(stream)

    def has_payload(self, index: int, payload: Cid) -> bool:
        """Whether the file still holds the payload's root block (retention may have taken it away)."""
        with self.file(index).open("rb", buffering=0) as stream:
            return any(cid == payload for cid, _, _ in car.scan(stream))

    def remove_above(self, index: int) -> None:
        """Delete the batches above `index`: they were written, but never became part of the log."""
        for each in self.indexes():
            if each > index:
                disk.remove(self.file(each))

    def sweep(self) -> None:
        """Remove what a keeper left half written when it was killed as it stripped a batch. For the keeper alone."""
        for directory in _entries(self.path):
            disk.sweep(directory)

    def strip(self, index: int) -> int:
        """Take the payload out of a batch's file, atomically; manifest, head block and evidence stay.

        On a disk that has no room even for the smaller file, the file is cut behind them: they stand first. A reader
        who is just then in the payload sees it end.

        Returns:
            Bytes freed.
        """
        path = self.file(index)
        facts = self.facts(index)
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


def _entries(path: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [path / name for name in os.listdir(path)]
    return []
