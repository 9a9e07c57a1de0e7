"""Read and write unsigned varints: seven bits a byte, the lowest first, the top bit set on all bytes but the last.

CAR sections and dag-pb fields give their lengths in it. Each number has one spelling: the shortest.
Spec: https://github.com/multiformats/unsigned-varint.
"""

from __future__ import annotations

from ipfs_log_handlers.errors import FormatError

__all__ = ["MAX", "decode", "encode"]

MAX = 2**63 - 1
"""Largest number: nine bytes, as the specification allows."""


def encode(number: int) -> bytes:
    """Write a number from 0 to `MAX`."""
    if not 0 <= number <= MAX:
        raise FormatError("a varint cannot hold this number", expected=f"0 to {MAX}", found=number)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode(data: bytes, at: int) -> tuple[int, int]:
    """Read the number at an offset; return it and the offset after it."""
    number = 0
    for offset, byte in enumerate(data[at : at + 9]):
        if byte < 0x80:
            if byte == 0 and offset:
                raise FormatError("a varint is longer than it needs to be", where=f"byte {at}")
            return number | byte << 7 * offset, at + offset + 1
        number |= (byte & 0x7F) << 7 * offset
    raise FormatError("a varint does not end", expected="at most 9 bytes", where=f"byte {at}")
