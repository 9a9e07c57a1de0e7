"""The payload: the records of one batch, compressed, behind a salt that makes its CID unguessable.

    zstd skippable frame    50 2A 4D 18, u32 LE length, DAG-CBOR [salt(32), log, index]
    zstd frames             the lines, each ended by LF

Every zstd decoder passes over a skippable frame, so that `zstd -d` prints JSON Lines. The frame binds the payload to
its place: another log's, or another batch's, is refused.

What is read is hostile: it may be cut, inflate without end, say that it is short, ask for a gigabyte of window. A
reader knows from the manifest how many bytes come in (`size`) and out (`raw`), never inflates more than a piece of
`PIECE` bytes beyond what it has handed on, and refuses what does not end exactly there.
Spec: RFC 8878.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.merkle import SALT_SIZE

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MAX_WINDOW_LOG", "PIECE", "Encoder", "Salt", "lines", "open_prefix", "prefix"]

PIECE = 64 * 1024
"""Bytes that are inflated at a time."""
MAX_WINDOW_LOG = 23
"""A frame may look back 8 MiB; ours ask for 1 or less, and `zstd -19` for 8."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_PREFIX_MAGIC = (0x184D2A50).to_bytes(4, "little")
_MAX_PREFIX = 512
_MAX_INDEX = 2**63 - 1


# -- the frame in front


@dataclass(frozen=True, slots=True, kw_only=True)
class Salt:
    """What the frame in front of a payload says."""

    salt: bytes
    """The batch's 32 random bytes."""
    log: str
    """Name of the log that the batch is in."""
    index: int
    """Number of the batch in its log."""

    def __post_init__(self) -> None:
        if type(self.salt) is not bytes or len(self.salt) != SALT_SIZE:
            raise FormatError("the salt of a payload has 32 bytes", found=ascii(self.salt))
        key_name_of(self.log)
        if type(self.index) is not int or not 0 <= self.index <= _MAX_INDEX:
            raise FormatError("not the number of a batch", found=ascii(self.index))


def prefix(salt: bytes, log: str, index: int) -> bytes:
    """Return the frame that stands in front of a payload of records."""
    told = Salt(salt=salt, log=log, index=index)
    content = dagcbor.encode([told.salt, told.log, told.index])
    return _PREFIX_MAGIC + len(content).to_bytes(4, "little") + content


def open_prefix(data: bytes | bytearray) -> tuple[Salt, int]:
    """Read the frame in front of a payload; return what it says and where the next one begins.

    Raises:
        FormatError: `data` does not begin with such a frame, whole.
    """
    if data[:4] != _PREFIX_MAGIC:
        raise FormatError("a payload begins with its salt", expected=_PREFIX_MAGIC.hex(), found=data[:4].hex())
    length = int.from_bytes(data[4:8], "little")
    if length > _MAX_PREFIX:
        raise FormatError("the salt frame of a payload is too long", expected=f"at most {_MAX_PREFIX}", found=length)
    content = bytes(data[8 : 8 + length])
    if len(data) < 8 or len(content) != length:
        raise FormatError("a payload ends in its salt frame", expected=f"{8 + length} bytes", found=len(data))
    value = dagcbor.decode(content)
    if not isinstance(value, list) or len(value) != 3:
        raise FormatError("not a salt frame", expected="[salt, log, index]", found=type(value).__name__)
    salt, log, index = value
    return Salt(salt=salt, log=log, index=index), 8 + length


# -- compressing


class Encoder:
    """Makes the zstd frame of a payload, which stands behind `prefix`.

    Args:
        level: 1 under load, 11 when there is time; 3 is worse than 1 on log lines, and slower. Above 1 the tables are
            those for a batch of a mebibyte: less memory than level 9 takes by itself, and less time.
    """

    __slots__ = ("_compressor",)

    def __init__(self, level: int) -> None:
        zstd = _zstd()
        which = zstd.CompressionParameter
        options = {which.compression_level: level, which.checksum_flag: 1}
        if level > 1:
            options |= {which.window_log: 20, which.hash_log: 18, which.chain_log: 18}
        self._compressor = zstd.ZstdCompressor(options=options)

    def add(self, data: bytes) -> bytes:
        """Take the next bytes of the lines; return what is compressed so far, often nothing."""
        compressed: bytes = self._compressor.compress(data)
        return compressed

    def finish(self) -> bytes:
        """End the frame; return the rest of it."""
        rest: bytes = self._compressor.flush(self._compressor.FLUSH_FRAME)
        return rest


# -- reading


def lines(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> Iterator[bytes]:
    """Yield the lines of a payload, without LF, as its bytes come in.

    That the bytes are the right ones is the business of who gives them (a CID names them); that they do no harm is
    ours. What is wrong at the end of a payload shows only there, after lines were yielded.

    Args:
        chunks: the payload in pieces of any size.
        log: the log that it must belong to.
        index: the batch that it must belong to.
        raw: bytes that it must inflate to.
        size: bytes that it must have.

    Raises:
        FormatError: it is not the payload of that batch, or not one at all.
    """
    rest: list[bytes] = []  # of a line that has not ended
    for piece in _inflate(_Source(chunks, size), log, index, raw):
        head, end, tail = piece.partition(b"\n")
        rest.append(head)
        if not end:
            continue
        yield b"".join(rest)
        *whole, last = tail.split(b"\n")
        yield from whole
        rest = [last]
    if any(rest):
        raise FormatError("the last line of a payload has no end", expected="LF", where=f"{log} batch {index}")


def _inflate(source: _Source, log: str, index: int, raw: int) -> Iterator[bytes]:
    """Yield what is in the frames, in pieces of at most `PIECE` bytes and `raw` bytes in all."""
    _check_place(source, log, index)
    left = raw
    while magic := source.magic():
        if int.from_bytes(magic, "little") in _SKIPPABLE:
            source.skip(int.from_bytes(source.exactly(4), "little"))
        elif magic == _MAGIC:
            for piece in _inflate_frame(source, left):
                left -= len(piece)
                yield piece
        else:
            raise FormatError("not a zstd frame", expected=_MAGIC.hex(), found=magic.hex(), where=source.where())
    if left:
        raise FormatError("a payload inflates to less than its manifest says", expected=raw, found=raw - left)


def _inflate_frame(source: _Source, left: int) -> Iterator[bytes]:
    """Yield one frame, whose magic number is read already; what comes behind it goes back to the source."""
    zstd = _zstd()
    frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})
    data = _MAGIC
    while not frame.eof:
        try:
            piece: bytes = frame.decompress(data, max_length=min(PIECE, left + 1))
        except zstd.ZstdError as error:
            raise FormatError("a zstd frame is damaged, or needs a window over 8 MiB", where=source.where()) from error
        left -= len(piece)
        if left < 0:
            raise FormatError("a payload inflates to more than its manifest says", where=source.where())
        if piece:
            yield piece
        data = source.piece("a zstd frame") if frame.needs_input and not frame.eof else b""
    source.give_back(frame.unused_data)


def _check_place(source: _Source, log: str, index: int) -> None:
    head = source.exactly(8)
    length = int.from_bytes(head[4:], "little")
    if head[:4] == _PREFIX_MAGIC and length <= _MAX_PREFIX:
        head += source.exactly(length)
    told, _ = open_prefix(head)
    if (told.log, told.index) != (log, index):
        raise FormatError(
            "the payload of another batch",
            expected=f"{log} batch {index}",
            found=f"{told.log} batch {told.index}",
        )


class _Source:
    """The bytes of a payload, in pieces of at most `PIECE` bytes, `size` of them in all."""

    __slots__ = ("_ahead", "_given", "_pieces")

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._pieces = _pieces(chunks, size)
        self._ahead = b""
        self._given = 0

    def where(self) -> str:
        """Say where in the payload we are, to within a piece."""
        return f"byte {self._given}"

    def piece(self, what: str) -> bytes:
        """Return the next bytes, of which there must be some."""
        piece, self._ahead = self._ahead or next(self._pieces, b""), b""
        if not piece:
            raise FormatError(f"a payload ends in the middle of {what}", where=self.where())
        self._given += len(piece)
        return piece

    def give_back(self, data: bytes) -> None:
        """Put back what was too much of the last piece."""
        self._ahead = data + self._ahead
        self._given -= len(data)

    def exactly(self, count: int) -> bytes:
        """Return so many bytes: few, for they are held."""
        data = b""
        while len(data) < count:
            data += self.piece("a head")
        self.give_back(data[count:])
        return data[:count]

    def magic(self) -> bytes:
        """Return the four bytes that begin a frame; none at the end."""
        if not self._ahead:
            self._ahead = next(self._pieces, b"")
        return self.exactly(4) if self._ahead else b""

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        while count > 0:
            piece = self.piece("a skippable frame")
            self.give_back(piece[count:])
            count -= len(piece)


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut chunks into pieces, and check that they have `size` bytes together."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            raise FormatError("a payload is longer than its manifest says", expected=size, found=f"{seen} or more")
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]
    if seen != size:
        raise FormatError("a payload is shorter than its manifest says", expected=size, found=seen)


def _zstd() -> ModuleType:
    """Return the zstd of the standard library, or the same thing for Pythons before it had one."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
