"""Open one batch for reading: blocks are hashed when they are read, and records are checked before they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import directory, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.encryption import Revealed
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.merkle import RecordTree
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.reader.source import BlockSource, CarBlocks

__all__ = [
    "BatchFile",
    "OpenBatch",
    "checked_lines",
    "decrypted",
    "in_steps",
    "open_batch",
    "record_in_tree",
]

_LINES_A_STEP: Final = 256
"""Number of lines that are hashed or counted in one step; more take more memory, fewer take more time."""
_BYTES_A_STEP: Final = 1 << 20
"""Bytes of lines above which a step takes no further line, because a record may have 64 MiB."""


class OpenBatch:
    """A batch with a source of its blocks.

    Args:
        source: the source of the blocks.
        cid: CID of the manifest.
        head_cid: CID of the head block that was signed with the batch.
    """

    def __init__(self, source: BlockSource, cid: Cid, head_cid: Cid) -> None:
        self.source = source
        self.cid = cid
        self.head_cid = head_cid

    def __contains__(self, cid: Cid) -> bool:
        return cid in self.source

    def block(self, cid: Cid) -> bytes:
        """Return a block after hashing it; raises as `BlockSource.block`."""
        return self.source.block(cid)

    def manifest(self) -> Manifest:
        """Decode the manifest.

        Raises:
            FormatError: its block is not a manifest.
            VerificationError: its block is damaged.
        """
        return Manifest.decode(self.block(self.cid))

    def head(self) -> Head:
        """Decode the head block that was signed with this batch; the signature is not checked here."""
        return Head.decode(self.block(self.head_cid))

    def payload(self, manifest: Manifest, source: BlockSource | None = None) -> Iterator[bytes]:
        """Yield the bytes of the payload in pieces, each block hashed by its source.

        Args:
            manifest: the manifest of the batch.
            source: gives the blocks of the payload; `None`: the source of the batch.
        """
        return unixfs.read(manifest.payload, (source or self.source).block, max_bytes=manifest.size, hashed=False)

    def below(self, root: Cid) -> set[Cid]:
        """List the blocks of a file or directory, the root included.

        Args:
            root: CID of the root.
        """
        seen, waiting = {root}, [root]
        while waiting:
            cid = waiting.pop()
            links = {link for link, _ in directory.links(cid, self.block(cid))} if cid.codec == DAG_PB else set()
            waiting.extend(links - seen)
            seen |= links
        return seen


class BatchFile(OpenBatch):
    """A batch in its files: its own CAR, and the CAR of its archive if it has one.

    Args:
        streams: the files, open.
        hashed: as for `CarBlocks`.

    Raises:
        FormatError: a file is not a CAR, or is cut, or its first blocks are not its roots.
    """

    def __init__(self, *streams: BinaryIO, hashed: bool = True) -> None:
        self.blocks = CarBlocks(*streams, hashed=hashed)
        """The blocks and their places."""
        roots = self.blocks.roots
        first = self.blocks.sections[:2]
        if len(first) != 2 or tuple(section.cid for section in first) != roots or first[1].stream is not streams[0]:
            raise FormatError("not a batch", expected="manifest and head block as first blocks and as roots")
        super().__init__(self.blocks, *roots)

    def payload(self, manifest: Manifest, source: BlockSource | None = None) -> Iterator[bytes]:
        """Yield the bytes of the payload as `OpenBatch.payload`, but not more bytes than the files have.

        Raises:
            FormatError: the payload is larger: a tree that names the same block again and again has no end.
        """
        held = sum(section.size for section in self.blocks.sections)
        if source is None and manifest.payload_encoding.has_records and manifest.size > held:
            raise FormatError("a payload is larger than its file", expected=f"at most {held}", found=manifest.size)
        return super().payload(manifest, source)


@contextmanager
def open_batch(batches: Batches, index: int, *, hashed: bool = True) -> Iterator[BatchFile]:
    """Open a batch of a home.

    Args:
        batches: the batches of its log.
        index: its number.
        hashed: as for `CarBlocks`.

    Raises:
        FormatError: as `BatchFile`.
        OSError: it does not exist or cannot be read.
    """
    with batches.streams(index) as streams:
        yield BatchFile(*streams, hashed=hashed)


def in_steps(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Group lines into steps; only the lines of one step are in memory, however long they are."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if len(held) >= _LINES_A_STEP or size >= _BYTES_A_STEP:
            yield held
            held, size = [], 0
    if held:
        yield held


def decrypted(manifest: Manifest, chunks: Iterable[bytes]) -> tuple[Iterator[bytes], int]:
    """Return the payload as its encoding reads it, and its bytes; of an encrypted batch, what is in the age file.

    Args:
        manifest: the manifest; of an encrypted batch, the revealed one (`Keyring.open`).
        chunks: the payload in pieces.

    Raises:
        FormatError, CiphertextError: as `Revealed.plain`.
    """
    if isinstance(manifest, Revealed):
        plain = manifest.plain(chunks)
        return iter((plain,)), len(plain)
    return iter(chunks), manifest.size


def checked_lines(manifest: Manifest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the records of a payload; after the last one, check that they are those of the manifest.

    Args:
        manifest: the manifest of the batch.
        chunks: the payload in pieces.

    Raises:
        FormatError: the payload belongs to another batch, or is damaged.
        VerificationError: number or root of the records differ from the manifest.
        NoIdentityError: it is encrypted, and the manifest was not revealed.
    """
    pieces, size = decrypted(manifest, chunks)
    first = next(pieces, b"")
    tree = RecordTree(manifest.payload_encoding.salt(first))
    for lines in in_steps(
        manifest.payload_encoding.lines(
            chain([first], pieces), log=manifest.log, index=manifest.index, raw=manifest.raw, size=size
        )
    ):
        tree.add(lines)
        if tree.size > manifest.records:
            break
        yield from lines
    _check_tree(manifest, tree)


def record_in_tree(manifest: Manifest, chunks: Iterable[bytes], number: int) -> tuple[bytes, RecordTree]:
    """Return one record of a payload, and the tree over all of them, checked against the manifest.

    Args:
        manifest: the manifest of the batch.
        chunks: the payload in pieces.
        number: number of the record, below `manifest.records`.

    Raises:
        FormatError, VerificationError, NoIdentityError: as `checked_lines`.
    """
    pieces, size = decrypted(manifest, chunks)
    first = next(pieces, b"")
    tree = RecordTree(manifest.payload_encoding.salt(first))
    found = b""
    for lines in in_steps(
        manifest.payload_encoding.lines(
            chain([first], pieces), log=manifest.log, index=manifest.index, raw=manifest.raw, size=size
        )
    ):
        if tree.size <= number < tree.size + len(lines):
            found = lines[number - tree.size]
        tree.add(lines)
        if tree.size > manifest.records:
            break
    _check_tree(manifest, tree)
    return found, tree


def _check_tree(manifest: Manifest, tree: RecordTree) -> None:
    where = f"{manifest.log} batch {manifest.index}"
    if tree.size != manifest.records:
        raise VerificationError(
            "the number of records differs from the manifest", expected=manifest.records, found=tree.size, where=where
        )
    if tree.root() != manifest.root:
        raise VerificationError(
            "the records are not those of the manifest",
            expected=manifest.root.hex(),
            found=tree.root().hex(),
            where=where,
        )
