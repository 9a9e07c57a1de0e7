"""Read and write the lines of a segment: a checksum, a kind and one JSON object, ended by LF.

    record    crc32(json)          SP  json  LF
    header    crc32("#" + json)    #   json  LF      first line of a segment
    control   crc32("!" + json)    !   json  LF      records that were dropped

The checksum is CRC-32 (zlib) in eight lower-case hex digits. For headers and control lines it covers the kind too,
so that no single damaged byte turns a record into one of them. No field of a record can forge them either, because
the kind is outside the JSON. Empty lines are ignored: after a short write the next line starts with LF.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, takewhile
from struct import pack
from typing import Final

from ipfs_log_handlers.errors import FormatError

try:
    from isal.isal_zlib import crc32  # type: ignore[import-not-found,unused-ignore]  # the same checksum; a quarter of the time
except ImportError:
    from zlib import crc32

__all__ = [
    "BEFORE_JSON",
    "BESIDE_JSON",
    "CONTROL",
    "HEADER",
    "MAX_LINE_BYTES",
    "RECORD",
    "Line",
    "control",
    "crc32",
    "decode",
    "find_at_end",
    "header",
    "may_begin",
    "record",
    "records",
    "split_records",
]

RECORD: Final = b" "
"""The kind of a line with a record."""
HEADER: Final = b"#"
"""The kind of the first line of a segment."""
CONTROL: Final = b"!"
"""The kind of a line that counts dropped records."""
_KINDS: Final = frozenset((RECORD, HEADER, CONTROL))
BEFORE_JSON: Final = 9
"""Bytes before the JSON: eight hex digits and the kind."""
BESIDE_JSON: Final = BEFORE_JSON + 1
"""Bytes of a line besides its JSON, LF included."""
MAX_LINE_BYTES: Final = 65 << 20
"""Bytes of the longest line that a reader accepts: the largest `max_record_bytes`, and 1 MiB for its other bytes."""
_BEGIN_AND_END: Final = frozenset((b" {}",))
"""The kind, the first and the last byte of the JSON of every record."""
_BEGINNING: Final = re.compile(rb"[0-9a-f]{8}[ #!]\{")
_BEGINNING_INSIDE: Final = re.compile(rb'(?<=[0-9a-f]{8})[ #!](?=\{"[a-z])')
"""The kind of a line that begins in the middle of other bytes.

No text in a valid line looks like that: in JSON a `{` that is followed by `"` and a letter is outside all texts, and
there no space, `#` or `!` is in front of it.
"""
_MAX_TRIES: Final = 16
"""Beginnings inside one stretch of bytes whose checksum is calculated; without a bound the work grows quadratically."""


@dataclass(frozen=True, slots=True)
class Line:
    """One decoded line."""

    kind: bytes
    """`RECORD`, `HEADER` or `CONTROL`."""
    json: bytes
    """The JSON object, unchanged."""


def record(json: bytes) -> bytes:
    """Return the line, with its LF, for the JSON of one record."""
    return b"%08x %b\n" % (crc32(json), json)


def header(json: bytes) -> bytes:
    """Return the first line of a segment, with its LF."""
    return b"%08x#%b\n" % (crc32(HEADER + json), json)


def control(json: bytes) -> bytes:
    """Return the line, with its LF, in which a writer counts its dropped records."""
    return b"%08x!%b\n" % (crc32(CONTROL + json), json)


def decode(raw: bytes) -> Line:
    """Decode one line without its LF.

    Raises:
        FormatError: the checksum is wrong, or the bytes do not begin like a line.
    """
    kind, json = raw[8:BEFORE_JSON], raw[BEFORE_JSON:]
    covered = json if kind == RECORD else raw[8:]
    if kind not in _KINDS or not json:
        raise FormatError("not a line of a segment", expected="8 hex digits, a kind, JSON", found=_shown(raw[:16]))
    checksum = crc32(covered)
    if raw[:8] != b"%08x" % checksum:
        raise FormatError("the checksum of a line is wrong", expected=f"{checksum:08x}", found=_shown(raw[:8]))
    if json[:1] != b"{" or json[-1:] != b"}":
        raise FormatError("a line does not contain a JSON object", found=_shown(json[:16]))
    if not _is_utf8(json):
        raise FormatError("the JSON of a line is not UTF-8")
    return Line(kind, json)


def _shown(raw: bytes) -> str:
    """Turn bytes that may be text into text; other bytes become escapes."""
    return ascii(raw.decode("latin-1"))[1:-1] or "nothing"


def split_records(block: bytes) -> tuple[list[bytes], int]:
    """Split off the lines that `records` describes, except that their JSON may be other than UTF-8."""
    lines = block.split(b"\n")
    lines.pop()
    jsons = [raw[BEFORE_JSON:] for raw in lines]
    if _are_records(lines, jsons):
        return jsons, block.rfind(b"\n") + 1
    return _first_records(lines)


def records(block: bytes, split: Callable[[bytes], tuple[list[bytes], int]] = split_records) -> tuple[list[bytes], int]:
    """Split off the complete and valid record lines at the start of `block`.

    Args:
        block: bytes of a segment, from the beginning of a line.
        split: does what `split_records` does; the accelerator has a faster function.

    Returns:
        The JSON of each record, and the number of bytes of these lines. Stops before the first line that is not a valid
        record (a header, a control line, an empty line, damage, a line still being written).
    """
    jsons, used = split(block)
    if not _is_utf8(block[:used]):
        jsons = list(takewhile(_is_utf8, jsons))
        used = sum(len(json) + BESIDE_JSON for json in jsons)
    return jsons, used


def _are_records(lines: list[bytes], jsons: list[bytes]) -> bool:
    """Check whether all lines are valid records, which they nearly always are, with few operations for each."""
    checksums = hexlify(pack(f">{len(jsons)}I", *map(crc32, jsons)))
    begins_and_ends = {raw[8:10] + raw[-1:] for raw in lines}
    return begins_and_ends <= _BEGIN_AND_END and checksums == b"".join([raw[:8] for raw in lines])


def _first_records(lines: list[bytes]) -> tuple[list[bytes], int]:
    jsons: list[bytes] = []
    used = 0
    for raw in lines:
        json = raw[BEFORE_JSON:]
        if raw[:BEFORE_JSON] != b"%08x " % crc32(json) or json[-1:] != b"}" or json[:1] != b"{":
            break
        jsons.append(json)
        used += len(raw) + 1
    return jsons, used


def _is_utf8(data: bytes) -> bool:
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return True


def may_begin(raw: bytes) -> bool:
    """Return whether these bytes can be the beginning of a line whose end is not written yet."""
    return _BEGINNING.match(raw) is not None and b"\0" not in raw


def find_at_end(stretch: bytes, start: int = 0) -> int | None:
    """Find the whole valid line at the end of a stretch of damaged bytes.

    The line may begin at any byte of the stretch, because the LF in front of it may be damaged. The work grows linearly
    with the stretch.

    Args:
        stretch: the bytes from one LF to the next one, without both.
        start: smallest offset at which the line can begin.

    Returns:
        The offset of the line; `None` if there is none.
    """
    inside = (match.start() - BEFORE_JSON + 1 for match in _BEGINNING_INSIDE.finditer(stretch))
    tries = [start, *islice((offset for offset in inside if offset > start), _MAX_TRIES)]
    for offset in tries:
        raw = stretch[offset:]
        if may_begin(raw[: BEFORE_JSON + 1]):
            try:
                decode(raw)
            except FormatError:
                continue
            return offset
    return None
