"""Build and ask split-block Bloom filters over the ids in records: which batches cannot hold a record with an id.

An id is a text or a number, the value of a field that a subsystem lists in `ids`. What is hashed begins with a byte
for its kind, so that the text `"500"` and the number 500 are two ids:

    text     74, then the UTF-8 bytes
    number   6E, then the number as an IEEE 754 double, 8 bytes, big endian; -0 is 0, a number that is too large is
    infinity

A text that is a number is also entered as that number, because the command line compares so: `request_id=500` finds
`500` and `"500"`.

A filter is a whole number of blocks of 32 bytes, n of them; none where no record has an id. Of the SHA-256 of an id,
the first 4 bytes (u32, little endian) times n, divided by 2^32, is the number of its block. The next 5 bytes (40 bits,
little endian) are eight numbers of 5 bits, the lowest first; number i says which bit of the i-th 32-bit word of the
block is set (word and bit little endian: bit 0 of word 0 is the lowest bit of the first byte).

A filter never misses an id. It finds other ids wrongly: with `BATCH_BITS` bits for each id about 1.2 % of them, with
`PAGE_BITS` about 3.4 % (`tests/format/test_bloom.py` measures both).
Spec: F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007; the split of a block
into words is that of Apache Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from math import inf
from struct import Struct
from typing import Any, Final

__all__ = [
    "BATCH_BITS",
    "BLOCK_BYTES",
    "MAX_BATCH_BLOCKS",
    "MAX_PAGE_BLOCKS",
    "PAGE_BITS",
    "BloomFilter",
    "block_count",
    "hash_of_number",
    "hash_of_text",
    "hashes_in",
    "may_hold",
    "number_of",
]

BLOCK_BYTES: Final = 32
"""Bytes of a block, of which one is read to ask for an id."""
BATCH_BITS: Final = 10
"""Bits for each id in the filter of a batch."""
PAGE_BITS: Final = 8
"""Bits for each id in the filter of a page: fewer, because the filters of batches are checked after it."""
MAX_BATCH_BLOCKS: Final = 256
"""Largest number of blocks in the filter of a batch: 8 KiB. With more ids, the filter finds more ids wrongly."""
MAX_PAGE_BLOCKS: Final = 32_768
"""Largest number of blocks in the filter of a page: 1 MiB. A page with more ids has no filter of its own."""
_HASH_BYTES: Final = 9
"""Bytes of the SHA-256 that are used."""
_BLOCK_OF: Final = 0xFFFF_FFFF
"""Mask of the 32 bits of the hash that choose a block."""
_WORD_BITS: Final = 32
"""Bits of a word of a block."""
_DOUBLE: Final = Struct(">d")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MAX_NUMBER_LENGTH: Final = 400
"""Characters above which a text is no number."""


def _masks(word: int) -> tuple[int, ...]:
    """Return for ten bits of a hash the two bits that they set in a block: in `word` and in the word after it."""
    return tuple(
        1 << (_WORD_BITS * word + (ten & 31)) | 1 << (_WORD_BITS * (word + 1) + (ten >> 5)) for ten in range(1024)
    )


_MASKS_0, _MASKS_2, _MASKS_4, _MASKS_6 = _masks(0), _masks(2), _masks(4), _masks(6)


def number_of(text: str) -> float | int | None:
    """Return the number in a text; `None` for a text that is not a number."""
    if _NUMBER.fullmatch(text) is None or len(text) > _MAX_NUMBER_LENGTH:
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def hash_of_text(text: str) -> int:
    """Return the 72 bits by which a text is entered and asked for."""
    return _hash(b"t" + text.encode("utf-8", "surrogatepass"))


def hash_of_number(number: float) -> int:
    """Return the 72 bits by which a number is entered and asked for; equal numbers have the same."""
    try:
        double = float(number) + 0.0  # -0.0 becomes 0.0
    except OverflowError:
        double = inf if number > 0 else -inf
    return _hash(b"n" + _DOUBLE.pack(double))


def _hash(key: bytes) -> int:
    return int.from_bytes(sha256(key).digest()[:_HASH_BYTES], "little")


def hashes_in(column: Iterable[Any]) -> set[int]:
    """Return the hashes of the values of a field: texts and numbers; other values are no ids."""
    values = list(column)
    texts = {value for value in values if value.__class__ is str}
    numbers = {value for value in values if value.__class__ is int or value.__class__ is float}
    numbers |= {number for text in texts if (number := number_of(text)) is not None}
    hashes = set(map(hash_of_number, numbers))
    from_bytes = int.from_bytes
    hashes |= {  # as `hash_of_text` does, without its calls
        from_bytes(sha256(b"t" + text.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES], "little")
        for text in texts
    }
    return hashes


def block_count(ids: int, bits: int, max_blocks: int) -> int:
    """Return the number of blocks of a filter.

    Args:
        ids: number of ids.
        bits: bits for each id.
        max_blocks: the largest number of blocks.
    """
    return min(max_blocks, -(-ids * bits // (8 * BLOCK_BYTES)))


class BloomFilter:
    """A filter that is being filled.

    Args:
        blocks: number of its blocks; without one it takes nothing.
    """

    __slots__ = ("_blocks",)

    def __init__(self, blocks: int) -> None:
        self._blocks = [0] * blocks

    @classmethod
    def of(cls, hashes: Collection[int], bits: int, max_blocks: int) -> BloomFilter:
        """Make the filter of some ids; see `block_count`."""
        made = cls(block_count(len(hashes), bits, max_blocks))
        made.add(hashes)
        return made

    def add(self, hashes: Iterable[int]) -> None:
        """Enter ids."""
        blocks = self._blocks
        count = len(blocks)
        masks_0, masks_2, masks_4, masks_6 = _MASKS_0, _MASKS_2, _MASKS_4, _MASKS_6
        for hashed in hashes:  # without a call of `_mask`: a keeper does this for every id
            blocks[(hashed & _BLOCK_OF) * count >> 32] |= (
                masks_0[hashed >> 32 & 1023]
                | masks_2[hashed >> 42 & 1023]
                | masks_4[hashed >> 52 & 1023]
                | masks_6[hashed >> 62 & 1023]
            )

    def encode(self) -> bytes:
        """Return its bytes."""
        return b"".join([block.to_bytes(BLOCK_BYTES, "little") for block in self._blocks])


def _mask(hashed: int) -> int:
    """Return the bits that an id sets in its block."""
    return (
        _MASKS_0[hashed >> 32 & 1023]
        | _MASKS_2[hashed >> 42 & 1023]
        | _MASKS_4[hashed >> 52 & 1023]
        | _MASKS_6[hashed >> 62 & 1023]
    )


def may_hold(data: bytes | memoryview, hashes: Sequence[int]) -> bool:
    """Say whether one of some ids may be in a filter; `False` is certain.

    Args:
        data: the bytes of the filter.
        hashes: the hashes of the ids.
    """
    count = len(data) // BLOCK_BYTES
    for hashed in hashes if count else ():
        at = ((hashed & _BLOCK_OF) * count >> 32) * BLOCK_BYTES
        mask = _mask(hashed)
        if int.from_bytes(data[at : at + BLOCK_BYTES], "little") & mask == mask:
            return True
    return False
