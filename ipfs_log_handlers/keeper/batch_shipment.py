"""Put the blocks of some batches, and the head block of the newest one, into one CAR for a store."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.stores import Shipment

__all__ = ["BatchBlocks", "PayloadGoneError", "read_blocks", "shipment_of"]

_UPLOAD_PIECE_BYTES: Final = 256 << 10
"""Bytes that are handed to the store at a time."""


@dataclass(frozen=True, slots=True)
class BatchBlocks:
    """One batch of a call, and the blocks of its files."""

    header: BatchHeader
    """Its manifest and its head block."""
    sections: tuple[tuple[Cid, int, int], ...]
    """CID, offset and length of each block."""
    car: bytes | None = None
    """The CAR of a small batch; `None`: its blocks are read when they are sent."""

    @property
    def index(self) -> int:
        """Number of the batch."""
        return self.header.manifest.index

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(length for _, _, length in self.sections)


class PayloadGoneError(FormatError):
    """The payload of a batch was deleted from the home."""


def read_blocks(batches: Batches, index: int) -> BatchBlocks:
    """Find the blocks of a batch.

    Args:
        batches: the batches of the log.
        index: number of the batch.

    Raises:
        PayloadGoneError: its payload was deleted from the home.
        FormatError, FileNotFoundError: it is damaged or missing in the home.
    """
    small = batches.small(index)
    sections: list[tuple[Cid, int, int]] = []
    if small is not None:
        header, data = small
        sections += car.scan(data)
    else:
        header, data = batches.facts(index), None
        with batches.streams(index) as streams:
            for stream in streams:
                sections += car.scan(stream)
    cids = {cid for cid, _, _ in sections}
    if not {header.manifest.payload, *header.manifest.evidence} <= cids:
        raise PayloadGoneError("the payload has left the home, and the store does not have it")
    return BatchBlocks(header, tuple(sections), data)


def shipment_of(batches: Batches, group: Sequence[BatchBlocks], *, with_head: bool) -> Shipment:
    """Describe the CAR of some batches; their blocks are read when it is sent, each hashed.

    Args:
        batches: the batches of the log.
        group: those of the call, oldest first.
        with_head: also send the head block of the newest of them, as a root.
    """
    newest = group[-1]
    roots = [batch.header.cid for batch in group]
    if with_head:
        roots.append(newest.header.head_cid)
    sections_of = [
        [
            section
            for section in batch.sections
            if section[0] != batch.header.head_cid or (with_head and batch is newest)
        ]
        for batch in group
    ]
    lengths = [(cid, length) for sections in sections_of for cid, _, length in sections]
    header = car.header(roots)

    def parts() -> Generator[bytes, None, None]:
        yield header
        for batch, sections in zip(group, sections_of, strict=True):
            wanted = {cid for cid, _, _ in sections}
            for cid, block in batches.blocks(batch.index) if batch.car is None else car.Reader(BytesIO(batch.car)):
                if cid in wanted:
                    yield car.section_head(cid, len(block))
                    yield block

    return Shipment(
        roots=tuple(roots),
        blocks=len(lengths),
        block_bytes=sum(length for _, length in lengths),
        size=len(header) + sum(len(car.section_head(cid, length)) + length for cid, length in lengths),
        open=lambda: _pieces(parts()),
    )


def _pieces(parts: Generator[bytes, None, None]) -> Iterator[bytes]:
    """Join small parts and cut large ones: one call sends many small blocks, and none holds the event loop for long."""
    held: list[bytes] = []
    size = 0
    with closing(parts):
        for part in parts:
            for start in range(0, len(part), _UPLOAD_PIECE_BYTES):
                piece = part[start : start + _UPLOAD_PIECE_BYTES]
                if size + len(piece) > _UPLOAD_PIECE_BYTES:
                    yield b"".join(held)
                    held, size = [], 0
                held.append(piece)
                size += len(piece)
    if held:
        yield b"".join(held)
