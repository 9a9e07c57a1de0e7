"""Get blocks by their CID from any place; each block is hashed before it is returned.

The reader of a batch asks a `BlockSource`; the blocks may be in the home, at a store, or in a CAR from another person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple, Protocol

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid

__all__ = ["BlockSource", "CarBlocks", "Fallback", "MissingSectionError", "PlacedBlocks", "Section"]


class MissingSectionError(VerificationError):
    """A CAR file does not have a block that it should have; another file may have it."""


class BlockSource(Protocol):
    """A source of blocks."""

    def __contains__(self, cid: Cid, /) -> bool:
        """Return whether the source has a block; its bytes are not read."""

    def block(self, cid: Cid, /) -> bytes:
        """Return a block after hashing it.

        Raises:
            VerificationError: the bytes have another hash than the CID, or the block is missing.
            StoreError: no store returns the block.
        """


class Section(NamedTuple):
    """Place of one block in a CAR."""

    cid: Cid
    """CID of the block, as the CAR says."""
    stream: BinaryIO
    """The CAR."""
    offset: int
    """Offset of the first byte of the block."""
    size: int
    """Bytes of the block."""


class CarBlocks:
    """Get the blocks of CARs; damage of a block is found when it is requested.

    Args:
        streams: the open CARs; they are read as long as blocks are requested, also if their names change.
        hashed: hash each block before it is returned; use false only for CARs of your own.

    Raises:
        FormatError: one is not a CAR, or is cut.
    """

    def __init__(self, *streams: BinaryIO, hashed: bool = True) -> None:
        self._hashed = hashed
        found = [(stream, *car.scan_with_roots(stream)) for stream in streams]
        self.roots = found[0][1] if found else ()
        """The roots of the first CAR; without a CAR there are none."""
        self.sections = tuple(
            Section(cid, stream, offset, size) for stream, _, blocks in found for cid, offset, size in blocks
        )
        """All blocks in file order; a CID may occur more than once."""
        self._places = {section.cid: section for section in reversed(self.sections)}

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._places

    def at(self, section: Section) -> bytes:
        """Return the block at a place after hashing it.

        Raises:
            VerificationError: the bytes have another hash than the CID.
        """
        section.stream.seek(section.offset)
        block = section.stream.read(section.size)
        if self._hashed:
            section.cid.verify(block)
        return block

    def block(self, cid: Cid) -> bytes:
        """Return the first block with this CID, after hashing it."""
        try:
            return self.at(self._places[cid])
        except KeyError:
            raise MissingSectionError("a block is missing", expected=cid.text) from None


class PlacedBlocks:
    """Get the blocks of a CAR whose sections were listed before; a block that has moved since then has another hash.

    Args:
        stream: the open CAR.
        places: offset and size of each block.
    """

    def __init__(self, stream: BinaryIO, places: Mapping[Cid, tuple[int, int]]) -> None:
        self._stream = stream
        self._places = places

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._places

    def block(self, cid: Cid) -> bytes:
        """Return the block with this CID, after hashing it."""
        if cid not in self._places:
            raise MissingSectionError("a block is missing", expected=cid.text)
        offset, size = self._places[cid]
        self._stream.seek(offset)
        block = self._stream.read(size)
        cid.verify(block)
        return block


class Fallback:
    """Get the blocks of a source, and the blocks that it does not have from another place.

    Args:
        first: the source.
        elsewhere: returns a hashed block that `first` does not have; raises as `BlockSource.block`.
    """

    def __init__(self, first: BlockSource, elsewhere: Callable[[Cid], bytes]) -> None:
        self._first = first
        self._elsewhere = elsewhere

    def __contains__(self, cid: Cid) -> bool:
        """Return whether the first source has a block; no store is asked for this."""
        return cid in self._first

    def block(self, cid: Cid) -> bytes:
        """Give a block, hashed."""
        return self._first.block(cid) if cid in self._first else self._elsewhere(cid)
