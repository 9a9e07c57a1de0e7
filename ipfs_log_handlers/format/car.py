"""Read and write CAR files: a header that names the roots, then blocks, each after its length and its CID.

A sealed batch is one CARv1 in the home, and what is sent to Kubo is the same bytes. CARv1 has no length and no
checksum of its own: a file that was cut between two sections reads as a shorter one. The caller knows which blocks must
be in it and checks that. All other damage is a `FormatError`: each block is hashed before it is given out.
Spec: https://ipld.io/specs/transport/car/carv1/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, Protocol

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor, varint
from ipfs_log_handlers.format.cid import Cid

__all__ = [
    "MAX_BLOCK",
    "MAX_HEADER",
    "Put",
    "Reader",
    "SupportsRead",
    "SupportsSeek",
    "decode",
    "encode",
    "header",
    "scan",
    "scan_with_roots",
    "section",
    "section_head",
]

Put = Callable[[Cid, bytes], None]
"""A function that stores a block."""

MAX_BLOCK: Final = 2 << 20
"""Bytes of one block, at most: what Kubo takes since 0.40. Our own blocks have at most 1 MiB."""

MAX_HEADER: Final = 1 << 20
"""Bytes of the header, at most: room for some 24,000 roots."""

_CID = 36
"""Bytes of a CID."""
_HEAD = 9 + _CID
"""Bytes before a block, at most: a varint and a CID."""
_CHUNK = 1 << 18
"""Smallest number of bytes that are requested from a stream at a time."""


class SupportsRead(Protocol):
    """A binary stream: any object with `read(n)` that returns up to n bytes, and none at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


class SupportsSeek(SupportsRead, Protocol):
    """A binary stream with a position: a file."""

    def seek(self, offset: int, whence: Literal[0, 2] = ..., /) -> object:
        """Move the position: by default to `offset` bytes from the start, with `whence` 2 from the end."""

    def tell(self) -> int:
        """Return the position, in bytes from the start."""


# -- blocks become a CAR


def header(roots: Sequence[Cid]) -> bytes:
    """Write the header of a CAR."""
    if not roots:
        raise FormatError("a CAR has no root", expected="one or more")
    block = dagcbor.encode({"roots": list(roots), "version": 1})
    if len(block) > MAX_HEADER:
        raise FormatError("a CAR has too many roots", expected=f"at most {MAX_HEADER} bytes of them", found=len(roots))
    return varint.encode(len(block)) + block


def section_head(cid: Cid, size: int) -> bytes:
    """Write the length and the CID that stand before a block of `size` bytes."""
    if size > MAX_BLOCK:
        raise FormatError("a block is too big", expected=f"at most {MAX_BLOCK} bytes", found=size, where=cid.text)
    return varint.encode(_CID + size) + cid


def section(cid: Cid, block: bytes) -> bytes:
    """Write one block. Its CID is taken as it is: only readers hash."""
    return section_head(cid, len(block)) + block


def encode(roots: Sequence[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> bytes:
    """Write a whole CAR."""
    parts = [header(roots)]
    for cid, block in blocks:
        parts += (section_head(cid, len(block)), block)
    return b"".join(parts)


# -- a CAR becomes blocks


class Reader:
    """Read the blocks of a stream one at a time, each hashed before it is given out; `FormatError` on any damage.

    Memory: one block and 256 KiB. The stream is read forward once, and may give less than it was asked for.
    """

    roots: tuple[Cid, ...]

    def __init__(self, stream: SupportsRead, *, max_block: int = MAX_BLOCK) -> None:
        """Read the header."""
        self._read = stream.read
        self._held = b""
        self._at = 0
        self._passed = 0
        self._max_block = max_block
        size = self._length(MAX_HEADER, 0)
        if size is None:
            raise _cut(0)
        self.roots = _decode_header(self._take(size, 0))

    def __iter__(self) -> Iterator[tuple[Cid, bytes]]:
        """Continue at the current position of the stream: a second iteration does not begin again."""
        while True:
            where = self._passed + self._at
            size = self._length(_CID + self._max_block, where)
            if size is None:
                return
            if size < _CID:
                raise _not_a_section(where, size)
            cid = _cid(self._take(_CID, where), where)
            yield cid, _checked(cid, self._take(size - _CID, where), where)

    def _length(self, most: int, where: int) -> int | None:
        """Read the varint before a section; None at the end of the stream."""
        self._fill(9)
        head = self._held[self._at : self._at + 9]
        if not head:
            return None
        size, width = _varint(head, where)
        if size > most:
            raise _too_big(where, size, most)
        self._at += width
        return size

    def _take(self, size: int, where: int) -> bytes:
        self._fill(size)
        start, end = self._at, self._at + size
        if end > len(self._held):
            raise _cut(where)
        self._at = end
        return self._held[start:end]

    def _fill(self, size: int) -> None:
        """Hold at least `size` unread bytes, unless the stream ends before."""
        missing = size - (len(self._held) - self._at)
        if missing <= 0:
            return
        parts = [self._held[self._at :]]
        while missing > 0:
            part = self._read(max(missing, _CHUNK))
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._passed += self._at
        self._held, self._at = b"".join(parts), 0


def decode(data: bytes) -> tuple[tuple[Cid, ...], list[tuple[Cid, bytes]]]:
    """Read a whole CAR: its roots, and its blocks in their order, each hashed."""
    roots, _ = _open(lambda at, size: data[at : at + size], len(data))
    return roots, [(cid, _checked(cid, data[at : at + size], at)) for cid, at, size in scan(data)]


_Place = tuple[Cid, int, int]
"""The CID of a block, and offset and number of its bytes."""


def scan(source: bytes | memoryview | SupportsSeek) -> Iterator[_Place]:
    """Yield the CID of each block, with offset and number of its bytes; blocks are neither read nor hashed.

    If the last section goes past the end of the file, the earlier sections are yielded first, then `FormatError` is
    raised.
    """
    window, end = _windows(source)
    _, at = _open(window, end)
    yield from _sections(window, at, end)


def scan_with_roots(source: bytes | memoryview | SupportsSeek) -> tuple[tuple[Cid, ...], Iterator[_Place]]:
    """Return the roots of a CAR, and its blocks as `scan` yields them; the header is read once."""
    window, end = _windows(source)
    roots, at = _open(window, end)
    return roots, _sections(window, at, end)


def _sections(window: Callable[[int, int], bytes], at: int, end: int) -> Iterator[_Place]:
    while at < end:
        head = window(at, _HEAD)
        size, width = _varint(head, at)
        if size < _CID:
            raise _not_a_section(at, size)
        if size > _CID + MAX_BLOCK:
            raise _too_big(at, size, _CID + MAX_BLOCK)
        if at + width + size > end:
            raise _cut(at)
        yield _cid(head[width : width + _CID], at), at + width + _CID, size - _CID
        at += width + size


def _windows(source: bytes | memoryview | SupportsSeek) -> tuple[Callable[[int, int], bytes], int]:
    if isinstance(source, (bytes, memoryview)):
        return (lambda at, size: bytes(source[at : at + size])), len(source)

    def window(at: int, size: int) -> bytes:
        source.seek(at)
        return source.read(size)

    source.seek(0, 2)
    return window, source.tell()


def _open(window: Callable[[int, int], bytes], end: int) -> tuple[tuple[Cid, ...], int]:
    """Read the header; return the roots and the offset after it."""
    size, at = _varint(window(0, 9), 0)
    if size > MAX_HEADER:
        raise _too_big(0, size, MAX_HEADER)
    if at + size > end:
        raise _cut(0)
    return _decode_header(window(at, size)), at + size


def _decode_header(block: bytes) -> tuple[Cid, ...]:
    value = dagcbor.decode(block)
    if not isinstance(value, dict) or value.keys() != {"roots", "version"}:
        raise FormatError("not the header of a CAR", expected="a map of roots and version")
    if type(value["version"]) is not int or value["version"] != 1:
        raise FormatError("not a CARv1", expected="version 1", found=value["version"])
    roots = value["roots"]
    if not isinstance(roots, list) or not roots or not all(type(root) is Cid for root in roots):
        raise FormatError("the roots of a CAR are not a list of links", where="header")
    return tuple(roots)


def _varint(head: bytes, where: int) -> tuple[int, int]:
    try:
        return varint.decode(head, 0)
    except FormatError as error:
        error.where = f"byte {where}"
        raise


def _cid(data: bytes, where: int) -> Cid:
    try:
        return Cid(data)
    except FormatError as error:
        error.where = f"byte {where}"
        raise


def _checked(cid: Cid, block: bytes, where: int) -> bytes:
    if not cid.matches(block):
        raise FormatError(
            "a block was damaged: its hash is not the hash in its CID", expected=cid.text, where=f"byte {where}"
        )
    return block


def _cut(where: int) -> FormatError:
    return FormatError("the CAR ends in the middle of a section", where=f"byte {where}")


def _too_big(where: int, size: int, most: int) -> FormatError:
    return FormatError("a section is too big", expected=f"at most {most} bytes", found=size, where=f"byte {where}")


def _not_a_section(where: int, size: int) -> FormatError:
    return FormatError("a section has no room for its CID", expected="36 bytes", found=size, where=f"byte {where}")
