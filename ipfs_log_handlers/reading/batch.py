"""One batch, opened for reading: its blocks are hashed as they are read, its records checked before they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car, payload, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.merkle import RecordTree

__all__ = ["OpenBatch", "checked_lines", "open_batch"]

_SLICE: Final = 256


class OpenBatch:
    """The file of a batch. What is damaged in it shows when it is asked for.

    Args:
        stream: the file; it stays the same one when retention puts another in its place.

    Raises:
        FormatError: it is not a CAR, it is cut, or its first blocks are not its roots.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.seek(0)
        self.roots = car.Reader(stream).roots
        self.sections = tuple(car.scan(stream))
        self._places = {cid: (offset, size) for cid, offset, size in reversed(self.sections)}
        first = tuple(cid for cid, _, _ in self.sections[:2])
        if len(first) != 2 or first != self.roots:
            raise FormatError("not a batch", expected="manifest and head block as first blocks and as roots")
        self.cid, self.head_cid = first

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._places

    def at(self, cid: Cid, offset: int, size: int) -> bytes:
        """The block in one section, hashed.

        Raises:
            VerificationError: it is not what its CID names.
        """
        self._stream.seek(offset)
        block = self._stream.read(size)
        cid.verify(block)
        return block

    def block(self, cid: Cid) -> bytes:
        """A block by its CID, hashed.

        Raises:
            VerificationError: it is not what its CID names, or not here.
        """
        try:
            place = self._places[cid]
        except KeyError:
            raise VerificationError("a block is missing", expected=cid.text) from None
        return self.at(cid, *place)

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            FormatError: it is not one.
            VerificationError: its block is damaged.
        """
        return Manifest.decode(self.block(self.cid))

    def head(self) -> Head:
        """The head block that was signed with this batch; the signature is not checked here."""
        return Head.decode(self.block(self.head_cid))

    def payload(self, manifest: Manifest, elsewhere: Callable[[Cid], bytes] | None = None) -> Iterator[bytes]:
        """The bytes of the payload, in pieces, each block hashed.

        Args:
            manifest: the manifest.
            elsewhere: where blocks come from that are not in the file.
        """

        def get(cid: Cid) -> bytes:
            return self.block(cid) if elsewhere is None or cid in self else elsewhere(cid)

        return unixfs.read(manifest.payload, get, max_bytes=manifest.size)

    def below(self, root: Cid) -> Iterator[Cid]:
        """The blocks of the file whose root this is, itself included."""
        yield root
        if root.codec == DAG_PB:
            for cid, _ in unixfs.decode_node(self.block(root)).links:
                yield from self.below(cid)


@contextmanager
def open_batch(path: Path) -> Iterator[OpenBatch]:
    """Open the file of a batch.

    Raises:
        FormatError: as `OpenBatch`.
        OSError: it is not there or cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        yield OpenBatch(stream)


def checked_lines(manifest: Manifest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a payload; at their end it is checked that they are those of the manifest.

    Raises:
        FormatError: the payload is not that of the batch, or damaged.
        VerificationError: count or record root is not what the manifest says.
    """
    pieces = iter(chunks)
    first = next(pieces, b"")
    tree = RecordTree(payload.open_prefix(first)[0].salt)
    held: list[bytes] = []
    for line in payload.lines(
        chain([first], pieces), log=manifest.log, index=manifest.index, raw=manifest.raw, size=manifest.size
    ):
        held.append(line)
        if len(held) == _SLICE:
            tree.add(held)
            yield from held
            held = []
    tree.add(held)
    yield from held
    where = f"{manifest.log} batch {manifest.index}"
    if tree.size != manifest.records:
        raise VerificationError(
            "not as many records as the manifest says", expected=manifest.records, found=tree.size, where=where
        )
    if tree.root() != manifest.root:
        raise VerificationError(
            "the records are not those of the manifest",
            expected=manifest.root.hex(),
            found=tree.root().hex(),
            where=where,
        )
