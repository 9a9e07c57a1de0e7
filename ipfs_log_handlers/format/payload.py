"""Encode and decode the payload: the records of one batch, compressed, after a salt that makes its CID unguessable.

    zstd skippable frame    50 2A 4D 18, u32 LE length, DAG-CBOR [salt(32), log, index]
    zstd frames             the lines, each ended by LF

Every zstd decoder skips a skippable frame, so that `zstd -d` prints JSON Lines. The frame binds the payload to its
place: the payload of another log or batch is refused.

A payload may be hostile: it may be cut, inflate without end, claim to be short, or need a window of a gigabyte. A
reader knows from the manifest the number of stored bytes (`size`) and decompressed bytes (`raw`). It never inflates
more than `PIECE` bytes beyond the lines that it has yielded, and refuses a payload that does not end exactly there. A
few kilobytes of zstd can become gigabytes, so the numbers of a manifest are not enough: a payload of more than
`MAX_RAW_BYTES`, of more than `MAX_RECORDS` records, or with a record of more than `line.MAX_LINE_BYTES`, is refused.
Spec: RFC 8878.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import key_name_of
from ipfs_log_handlers.format.line import MAX_LINE_BYTES
from ipfs_log_handlers.format.merkle import SALT_SIZE
from ipfs_log_handlers.format.zstd_frame import MAGIC, decompressor, inflate_at_once, zstd_library

__all__ = [
    "MAX_RAW_BYTES",
    "MAX_RECORDS",
    "PIECE",
    "Encoder",
    "Salt",
    "compress",
    "frames",
    "inflate",
    "lines",
    "open_prefix",
    "prefix",
    "text",
]

PIECE = 64 * 1024
"""Bytes that are inflated at a time."""
MAX_RAW_BYTES = 256 << 20
"""Bytes of all lines of a batch. A batch is full at 64 MiB of lines, and its last record has at most 64 MiB."""
MAX_RECORDS = 1 << 21
"""Records of a batch. A record has some 90 bytes at least, so no batch of ours has as many."""

_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
"""The magic numbers of skippable frames."""
_PREFIX_MAGIC = (0x184D2A50).to_bytes(4, "little")
"""The first bytes of the salt frame."""
_MAX_PREFIX = 512
"""Bytes of the content of a salt frame; a longer one is refused."""
_MAX_INDEX = 2**63 - 1
"""Largest number of a batch: other languages read it as a signed integer of 64 bits."""


# -- the salt frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Salt:
    """The content of the frame before a payload."""

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
    """Return the salt frame, which comes before the compressed records."""
    checked = Salt(salt=salt, log=log, index=index)
    content = dagcbor.encode([checked.salt, checked.log, checked.index])
    return _PREFIX_MAGIC + len(content).to_bytes(4, "little") + content


def open_prefix(data: bytes | bytearray) -> tuple[Salt, int]:
    """Read the salt frame of a payload; return its content and the offset of the next frame.

    Raises:
        FormatError: `data` does not begin with such a frame, or the frame is cut.
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
    """Make the zstd frame of a payload, which comes after `prefix`.

    Args:
        level: 1 under load, 11 when there is time; 3 is worse than 1 on log lines, and slower. Above 1 the tables are
            sized for a batch of 1 MiB, which takes less memory and time than the defaults of level 9.
    """

    __slots__ = ("_compressor",)

    def __init__(self, level: int) -> None:
        zstd = zstd_library()
        which = zstd.CompressionParameter
        options = {which.compression_level: level, which.checksum_flag: 1}
        if level > 1:
            options |= {which.window_log: 20, which.hash_log: 18, which.chain_log: 18}
        self._compressor = zstd.ZstdCompressor(options=options)

    def add(self, data: bytes) -> bytes:
        """Compress the next bytes of the lines; return the output that is ready, often none."""
        compressed: bytes = self._compressor.compress(data)
        return compressed

    def finish(self) -> bytes:
        """End the frame; return the rest of it."""
        rest: bytes = self._compressor.flush(self._compressor.FLUSH_FRAME)
        return rest


def compress(text: bytes, level: int = 11) -> bytes:
    """Return one zstd frame with this text, for a file that is not a payload.

    Args:
        text: the text.
        level: zstd level.
    """
    encoder = Encoder(level)
    return encoder.add(text) + encoder.finish()


# -- reading


def inflate(data: bytes, size: int) -> bytes:
    """Return the text of one zstd frame.

    Args:
        data: the frame, and nothing after it.
        size: bytes of the text; no more are inflated.

    Raises:
        FormatError: the frame is damaged, or its text has another size.
    """
    source = _Source([data], len(data))
    if source.magic() != MAGIC:
        raise FormatError("not a zstd frame", expected=MAGIC.hex(), found=data[:4].hex())
    text = b"".join(_inflate_frame(source, size))
    if len(text) != size or source.magic():
        raise FormatError("a zstd frame of another size", expected=size, found=len(text))
    return text


def lines(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> Iterator[bytes]:
    """Yield the lines of a payload, without LF, while its bytes arrive.

    The caller checks that the bytes are the right ones (by their CID); this function checks that they are harmless.
    Damage at the end of a payload is found only there, after lines were yielded. Memory: one line, `PIECE` bytes.

    Args:
        chunks: the payload in pieces of any size.
        log: the log that it must belong to.
        index: the batch that it must belong to.
        raw: bytes that it must inflate to.
        size: bytes that it must have.

    Raises:
        FormatError: it is not the payload of that batch, or not a payload, or larger than that of any batch.
    """
    where = f"{log} batch {index}"
    if raw > MAX_RAW_BYTES:
        raise FormatError("too many bytes for a batch", expected=f"at most {MAX_RAW_BYTES}", found=raw, where=where)
    rest: list[bytes] = []  # of a line that has not ended
    held = count = 0
    for piece in _inflate(_Source(chunks, size), log, index, raw):
        head, end, tail = piece.partition(b"\n")
        rest.append(head)
        held += len(head)
        if held > MAX_LINE_BYTES:
            raise FormatError("a record is too long", expected=f"at most {MAX_LINE_BYTES} bytes", where=where)
        if not end:
            continue
        *whole, last = tail.split(b"\n")
        count += 1 + len(whole)
        if count > MAX_RECORDS:
            raise FormatError("too many records for a batch", expected=f"at most {MAX_RECORDS}", where=where)
        yield b"".join(rest)
        yield from whole
        rest, held = [last], len(last)
    if held:
        raise FormatError("the last line of a payload has no end", expected="LF", where=where)


def text(chunks: Iterable[bytes], *, log: str, index: int, raw: int, size: int) -> bytes:
    """Return all lines of a payload as one text, each ended by LF: faster than `lines`, but all in memory.

    Args:
        chunks: the payload in pieces of any size.
        log: the log that it must belong to.
        index: the batch that it must belong to.
        raw: bytes that it must inflate to; the caller makes sure that there is memory for them.
        size: bytes that it must have; they are held in memory, too.

    Raises:
        FormatError: as for `lines`.
    """
    where, held = f"{log} batch {index}", max(raw, size)
    if held > MAX_LINE_BYTES:
        raise FormatError("too many bytes to hold", expected=f"at most {MAX_LINE_BYTES}", found=held, where=where)
    data = b"".join(_measured(chunks, size))
    whole = _one_frame(data, log, index, raw)
    if whole is None:
        whole = b"".join(_inflate(_Source([data], size), log, index, raw))
    if raw > MAX_RECORDS and whole.count(b"\n") > MAX_RECORDS:
        raise FormatError("too many records for a batch", expected=f"at most {MAX_RECORDS}", where=where)
    if whole and not whole.endswith(b"\n"):
        raise FormatError("the last line of a payload has no end", expected="LF", where=where)
    return whole


def _one_frame(data: bytes, log: str, index: int, raw: int) -> bytes | None:
    """Inflate a payload of one frame, as our encoder makes it, in one step.

    Returns:
        `None` for any other payload: `_inflate` then reads it, or says what is wrong.
    """
    place, begin = open_prefix(data)
    inflated = inflate_at_once(memoryview(data)[begin:], raw)
    return inflated if (place.log, place.index) == (log, index) else None


def _inflate(source: _Source, log: str, index: int, raw: int) -> Iterator[bytes]:
    """Inflate the frames, in pieces of at most `PIECE` bytes and `raw` bytes in all."""
    _check_place(source, log, index)
    left = raw
    for inflated in _frames(source, raw):
        left -= len(inflated)
        yield inflated
    if left:
        raise FormatError("a payload inflates to less than its manifest says", expected=raw, found=raw - left)


def frames(chunks: Iterable[bytes], *, raw: int, size: int) -> Iterator[bytes]:
    """Inflate zstd frames, in pieces; skippable frames are passed over.

    Args:
        chunks: the frames in pieces of any size.
        raw: bytes that they may inflate to at most.
        size: bytes that they must have.

    Raises:
        FormatError: other bytes than frames, a damaged frame, or too many bytes.
    """
    yield from _frames(_Source(chunks, size), raw)


def _frames(source: _Source, left: int) -> Iterator[bytes]:
    while magic := source.magic():
        if int.from_bytes(magic, "little") in _SKIPPABLE:
            source.skip(int.from_bytes(source.exactly(4), "little"))
        elif magic == MAGIC:
            for inflated in _inflate_frame(source, left):
                left -= len(inflated)
                yield inflated
        else:
            raise FormatError("not a zstd frame", expected=MAGIC.hex(), found=magic.hex(), where=source.where())


def _inflate_frame(source: _Source, left: int) -> Iterator[bytes]:
    """Inflate one frame, whose magic number was read already; bytes after the frame are put back into the source."""
    frame = decompressor()
    data = MAGIC
    while not frame.eof:
        try:
            piece: bytes = frame.decompress(data, max_length=min(PIECE, left + 1))
        except zstd_library().ZstdError as error:
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
    place, _ = open_prefix(head)
    if (place.log, place.index) != (log, index):
        raise FormatError(
            "the payload of another batch",
            expected=f"{log} batch {index}",
            found=f"{place.log} batch {place.index}",
        )


class _Source:
    """The bytes of a payload, in pieces of at most `PIECE` bytes, `size` of them in all."""

    __slots__ = ("_ahead", "_given", "_pieces")

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._pieces = _pieces(chunks, size)
        self._ahead = b""
        self._given = 0

    def where(self) -> str:
        """Name the place in the payload, to within a piece."""
        return f"byte {self._given}"

    def piece(self, what: str) -> bytes:
        """Return the next bytes; raise `FormatError` if the payload has ended."""
        piece, self._ahead = self._ahead or next(self._pieces, b""), b""
        if not piece:
            raise FormatError(f"a payload ends in the middle of {what}", where=self.where())
        self._given += len(piece)
        return piece

    def give_back(self, data: bytes) -> None:
        """Put back the unused end of the last piece."""
        self._ahead = data + self._ahead
        self._given -= len(data)

    def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; they are held in memory, so `count` must be small."""
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
        """Pass over `count` bytes."""
        while count > 0:
            piece = self.piece("a skippable frame")
            self.give_back(piece[count:])
            count -= len(piece)


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut chunks into pieces, and check that they have `size` bytes together."""
    for chunk in _measured(chunks, size):
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]


def _measured(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield chunks, and check that they have `size` bytes together."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            raise FormatError("a payload is longer than its manifest says", expected=size, found=f"{seen} or more")
        yield chunk
    if seen != size:
        raise FormatError("a payload is shorter than its manifest says", expected=size, found=seen)
