"""One line of a segment: a checksum, a kind and one JSON object, ended by LF.

    record    crc32(json)          SP  json  LF
    header    crc32("#" + json)    #   json  LF      first line of a segment
    control   crc32("!" + json)    !   json  LF      records that were dropped

The checksum is CRC-32 (zlib) in eight lower-case hex digits. For headers and control lines it covers the kind too,
so that no single damaged byte turns a record into one of them; no field of a record can forge them either, since
the kind stands outside the JSON. Empty lines are ignored: after a short write the next line starts with LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from ipfs_log_handlers.errors import FormatError

__all__ = [
    "BESIDE_JSON",
    "CONTROL",
    "HEADER",
    "RECORD",
    "Line",
    "control",
    "decode",
    "header",
    "next_line",
    "record",
    "records",
]

RECORD: Final = b" "
HEADER: Final = b"#"
CONTROL: Final = b"!"
_KINDS: Final = frozenset((RECORD, HEADER, CONTROL))
_PREFIX: Final = 9
"""Bytes before the JSON: eight hex digits and the kind."""
BESIDE_JSON: Final = _PREFIX + 1
"""Bytes of a line beside its JSON, LF included."""
_BEGINNING: Final = re.compile(rb"[0-9a-f]{8}[ #!]\{")


@dataclass(frozen=True, slots=True)
class Line:
    """One decoded line."""

    kind: bytes
    """`RECORD`, `HEADER` or `CONTROL`."""
    json: bytes
    """The JSON object, as it was written."""


def record(json: bytes) -> bytes:
    """The line, with its LF, that carries one record's JSON."""
    return b"%08x %b\n" % (crc32(json), json)


def header(json: bytes) -> bytes:
    """The first line of a segment."""
    return b"%08x#%b\n" % (crc32(HEADER + json), json)


def control(json: bytes) -> bytes:
    """A line by which a writer tells what it had to drop."""
    return b"%08x!%b\n" % (crc32(CONTROL + json), json)


def decode(raw: bytes) -> Line:
    """Decode one line without its LF.

    Raises:
        FormatError: the checksum does not hold, or the bytes do not begin as a line does.
    """
    kind, json = raw[8:_PREFIX], raw[_PREFIX:]
    covered = json if kind == RECORD else raw[8:]
    if kind not in _KINDS or not json:
        raise FormatError("not a line of a segment", expected="8 hex digits, a kind, JSON", found=_shown(raw[:16]))
    if raw[:8] != b"%08x" % crc32(covered):
        raise FormatError("checksum of a line does not hold", expected=f"{crc32(covered):08x}", found=_shown(raw[:8]))
    if json[:1] != b"{" or json[-1:] != b"}":
        raise FormatError("a line does not hold a JSON object", found=_shown(json[:16]))
    return Line(kind, json)


def _shown(raw: bytes) -> str:
    """Bytes that may be text, as text that shows what is none."""
    return ascii(raw.decode("latin-1"))[1:-1] or "nothing"


def records(block: bytes) -> tuple[list[bytes], int]:
    """Split off the record lines that stand whole and valid at the start of `block`.

    Args:
        block: bytes of a segment, from the beginning of a line.

    Returns:
        The JSON of each record, and how many bytes they took. Stops before the first line that is not a valid
        record (a header, a control line, an empty line, damage, a line still being written).
    """
    found: list[bytes] = []
    append = found.append
    used = 0
    for raw in block.split(b"\n")[:-1]:
        json = raw[_PREFIX:]
        if raw[:_PREFIX] != b"%08x " % crc32(json) or json[-1:] != b"}" or json[:1] != b"{":
            break
        append(json)
        used += len(raw) + 1
    return found, used


def next_line(block: bytes, start: int) -> Iterator[int]:
    """Offsets in `block`, from `start` on, at which a whole valid line begins (search after damage).

    Wherever it may begin, not only behind an LF: the byte that was damaged may be that LF.
    """
    for match in _BEGINNING.finditer(block, start):
        position = match.start()
        end = block.find(b"\n", position)
        if end < 0:
            return
        try:
            decode(block[position:end])
        except FormatError:
            continue
        yield position
