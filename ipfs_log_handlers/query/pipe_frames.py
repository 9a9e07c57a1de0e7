"""Send and receive the messages of a locked child: the length in four bytes (big-endian), then the message."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, Final

from ipfs_log_handlers.errors import FormatError

__all__ = ["MAX_VALUES", "count_values", "read_frame", "read_json", "write_frame", "write_json"]

_LENGTH: Final = struct.Struct(">I")
MAX_VALUES: Final = 2_000_000
"""Largest number of values in a message that this process does not trust, as `count_values` counts them; decoded, so
many values take some 150 MB at most. Enough for the numbers of 10⁶ parts, and for a thousand rows of 2000 values."""


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Write a message and flush it.

    Raises:
        OSError: the other side has ended.
    """
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:  # a pipe without a buffer may take a part
        rest = rest[stream.write(rest) :]
    stream.flush()


def read_frame(stream: BinaryIO, max_bytes: int) -> bytes:
    """Read a message.

    Raises:
        EOFError: the other side has ended.
        FormatError: the message is longer than `max_bytes`.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    if length > max_bytes:
        raise FormatError("a message is too long", expected=f"at most {max_bytes} bytes", found=length)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def write_json(stream: BinaryIO, value: Any) -> None:
    """Write a message of JSON."""
    write_frame(stream, json.dumps(value, separators=(",", ":")).encode())


def count_values(data: bytes) -> int:
    """Return a bound of the number of values in JSON, before it is decoded; commas in texts count, too."""
    return 1 + sum(map(data.count, (b",", b"[", b"{")))


def read_json(stream: BinaryIO, max_bytes: int, max_values: int | None = None) -> dict[str, Any]:
    """Read a message of one JSON object.

    Args:
        stream: the pipe.
        max_bytes: largest number of bytes of the message.
        max_values: largest number of its values, as `count_values` counts them; `None`: any number.

    Raises:
        EOFError: the other side has ended.
        FormatError: the message is too long, has too many values, or is not a JSON object.
    """
    data = read_frame(stream, max_bytes)
    if max_values is not None and count_values(data) > max_values:
        raise FormatError("a message has too many values", expected=f"at most {max_values}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError("a message is not JSON") from error
    if not isinstance(value, dict):
        raise FormatError("a message is not a JSON object")
    return value
