"""Read and write DAG-CBOR in its strict form: one value has one encoding, in both directions.

Values are None, bool, int (64 bits and a sign), finite float, text, bytes, `Cid` (a link), list and dict with text
keys, at most `MAX_DEPTH` deep. The decoder refuses every other encoding of a value: longer
heads than needed, indefinite lengths, other key orders, duplicate keys, short floats, other tags, bytes after the
value. A length is used only if that many bytes follow.
Spec: https://ipld.io/specs/codecs/dag-cbor/spec/ (numbers of "major types" are those of RFC 8949).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from struct import Struct
from typing import Any, Final

from ipfs_log_handlers.accelerator.state import ACCELERATOR
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.cid import Cid

__all__ = ["MAX_DEPTH", "decode", "decode_map", "encode"]

MAX_DEPTH: Final = 32
"""Levels of lists and maps inside one another, at most."""

_UINT, _NINT, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_FLOAT = Struct(">d")
_LINK = b"\xd8\x2a\x58\x25\x00"  # tag 42, 37 bytes, of which the first is the multibase prefix for "binary"
_LINK_SIZE = len(_LINK) + 36
"""Bytes of an encoded link."""
_SHORT = tuple(tuple(bytes((major << 5 | low,)) for low in range(24)) for major in range(6))
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
"""Bytes of the number after a head, by the low five bits of the head."""
_SHORT_TEXT, _LONG_TEXT = 0x60, 0x78
"""Heads of texts of 0 bytes, and of 24 bytes: those between are the texts whose head is one byte."""
_NO_HEAD = 0xFF
"""Stands for a head where the bytes have ended; it is the head of no value."""
_LIMIT = 1 << 64
"""Smallest number that does not fit into a head."""


# -- values become bytes


def encode(value: object) -> bytes:
    """Write a value.

    Raises:
        FormatError: it, or something in it, has no place in DAG-CBOR: NaN, a key that is not text, an int beyond
            64 bits, text with a lone surrogate, a type of your own, nesting deeper than `MAX_DEPTH`.
    """
    out: list[bytes] = []
    _WRITERS.get(type(value), _write_other)(value, out, 0)
    return b"".join(out)


def _write_map(value: dict[object, object], out: list[bytes], depth: int) -> None:
    _go_deeper(depth)
    out.append(_head(_MAP, len(value)))
    # A key's encoding begins with its length, so sorting the encodings sorts by length first, as the format requires.
    for encoded, key in sorted([(_key(key), key) for key in value]):
        out.append(encoded)
        item = value[key]
        _WRITERS.get(type(item), _write_other)(item, out, depth + 1)


def _write_list(value: Sequence[object], out: list[bytes], depth: int) -> None:
    _go_deeper(depth)
    out.append(_head(_LIST, len(value)))
    for item in value:
        _WRITERS.get(type(item), _write_other)(item, out, depth + 1)


def _go_deeper(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise FormatError("nested too deep", expected=f"at most {MAX_DEPTH} levels")


def _write_int(value: int, out: list[bytes], _: int) -> None:
    if not -_LIMIT <= value < _LIMIT:
        raise FormatError("an int is too large", expected="-2^64 to 2^64 - 1", found=f"{value.bit_length()} bits")
    out.append(_head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value))


def _write_float(value: float, out: list[bytes], _: int) -> None:
    if not isfinite(value):
        raise FormatError("a float is not finite", found=value)
    out.append(b"\xfb" + _FLOAT.pack(value))


def _write_text(value: str, out: list[bytes], _: int) -> None:
    out.append(_text(value))


def _write_bytes(value: bytes, out: list[bytes], _: int) -> None:
    out += (_head(_BYTES, len(value)), value)


def _write_link(value: Cid, out: list[bytes], _: int) -> None:
    out += (_LINK, value)


def _write_none(value: None, out: list[bytes], _: int) -> None:  # noqa: ARG001 - one signature for all
    out.append(b"\xf6")


def _write_bool(value: bool, out: list[bytes], _: int) -> None:  # noqa: FBT001 - one signature for all
    out.append(b"\xf5" if value else b"\xf4")


def _write_other(value: object, out: list[bytes], depth: int) -> None:
    """Write a subclass or a read-only view as its plain type."""
    for kind, plain in _KINDS:
        if isinstance(value, kind):
            exact = plain(value)
            _WRITERS[type(exact)](exact, out, depth)
            return
    raise FormatError(
        "DAG-CBOR has no such value",
        expected="None, bool, int, float, text, bytes, Cid, list or dict",
        found=type(value).__name__,
    )


_WRITERS: dict[type, Callable[[Any, list[bytes], int], None]] = {
    dict: _write_map,
    list: _write_list,
    tuple: _write_list,
    str: _write_text,
    int: _write_int,
    float: _write_float,
    bytes: _write_bytes,
    Cid: _write_link,
    bool: _write_bool,
    type(None): _write_none,
}
_KINDS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (Mapping, dict),
    (str, str.__str__),
    (int, int),
    (float, float),
    (bytes, bytes),
    (bytearray, bytes),
    (memoryview, bytes),
    (list, list),
    (tuple, tuple),
)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return _SHORT[major][number]
    if number < 0x100:
        return bytes((major << 5 | 24, number))
    if number < 0x10000:
        return (major << 21 | 25 << 16 | number).to_bytes(3, "big")
    if number < 0x100000000:
        return (major << 37 | 26 << 32 | number).to_bytes(5, "big")
    return (major << 69 | 27 << 64 | number).to_bytes(9, "big")


def _text(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise FormatError("text contains a lone surrogate", found=ascii(value[:40])) from error
    return _head(_TEXT, len(data)) + data


@lru_cache(maxsize=512)
def _known_key(key: str) -> bytes:
    return _text(key)


def _key(key: object) -> bytes:
    if type(key) is not str:
        if not isinstance(key, str):
            raise FormatError("a key is not text", found=type(key).__name__)
        return _text(str.__str__(key))
    return _known_key(key) if len(key) <= 32 else _text(key)


# -- bytes become values


def decode(data: bytes | bytearray | memoryview) -> object:
    """Read the value of these bytes.

    Raises:
        FormatError: they are not DAG-CBOR in its one canonical form; `where` is the offset.
    """
    data = bytes(data)
    if ACCELERATOR is not None:
        value = ACCELERATOR.read_dag_cbor(data, Cid)
        if value is not NotImplemented:
            return value
    value, at = _read(data, 0, 0)
    if at != len(data):
        raise FormatError("bytes follow after the value", found=f"{len(data) - at} bytes", where=f"byte {at}")
    return value


def decode_map(
    block: bytes, what: str, *, version: int, keys: Collection[str], max_bytes: int, optional: Collection[str] = ()
) -> dict[str, Any]:
    """Decode a block that is one map of known keys, `v` among them.

    Args:
        block: the bytes.
        what: what the block should be, for messages.
        version: the only `v` that is accepted.
        keys: the keys that the map must have.
        max_bytes: bytes above which the block is refused.
        optional: the keys that the map may have, too.

    Raises:
        FormatError: the block is not such a map, or has another version or another key.
    """
    if len(block) > max_bytes:
        raise FormatError(f"{what} is too long", expected=f"at most {max_bytes} bytes", found=len(block))
    value = decode(block)
    if not isinstance(value, dict):
        raise FormatError(f"not {what}", expected="a map", found=type(value).__name__)
    if type(value.get("v")) is not int or value["v"] != version:  # first: another version has other keys
        raise FormatError(
            f"{what} of a version that this code does not know",
            expected=version,
            found=ascii(value.get("v")),
            hint="upgrade ipfs_log_handlers to read it",
        )
    if value.keys() - set(optional) != set(keys):
        unknown, missing = sorted(value.keys() - {*keys, *optional}), sorted(set(keys) - value.keys())
        raise FormatError(f"not the keys of {what}", found=f"unknown {unknown!a}, missing {missing!a}")
    return value


def _read(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if at >= len(data):
        raise _short(at)
    major, low = data[at] >> 5, data[at] & 31
    if major >= _TAG:
        return _read_link(data, at) if major == _TAG else _read_simple(data, at)
    number, start = (low, at + 1) if low < 24 else _number(data, at)
    if major == _UINT:
        return number, start
    if major == _NINT:
        return -1 - number, start
    if number > len(data) - start:  # each item of a list takes a byte or more, too
        raise FormatError("a length goes past the end", found=number, where=f"byte {at}")
    if major == _TEXT:
        return _read_text(data, start, start + number)
    if major == _BYTES:
        return data[start : start + number], start + number
    if depth >= MAX_DEPTH:
        raise FormatError("nested too deep", expected=f"at most {MAX_DEPTH} levels", where=f"byte {at}")
    return (_read_list if major == _LIST else _read_map)(data, start, number, depth + 1)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read the number in a head of more than one byte; its shortest form is the only one."""
    width = _WIDTHS.get(data[at] & 31)
    if width is None:
        raise FormatError("indefinite length or reserved head", found=hex(data[at]), where=f"byte {at}")
    end = at + 1 + width
    if end > len(data):
        raise _short(at)
    number = int.from_bytes(data[at + 1 : end], "big")
    if number < (24 if width == 1 else 1 << 4 * width):
        raise FormatError("a head is longer than it needs to be", found=data[at:end].hex(), where=f"byte {at}")
    return number, end


def _read_text(data: bytes, start: int, end: int) -> tuple[str, int]:
    try:
        return data[start:end].decode(), end
    except UnicodeDecodeError as error:
        raise FormatError("text is not UTF-8", where=f"byte {start + error.start}") from error


def _read_list(data: bytes, at: int, count: int, depth: int) -> tuple[list[object], int]:
    items = []
    for _ in range(count):
        item, at = _read_item(data, at, depth)
        items.append(item)
    return items, at


def _read_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[object, object], int]:
    items: dict[object, object] = {}
    before, size = b"", len(data)
    for _ in range(count):
        start = at
        head = data[at] if at < size else _NO_HEAD
        if _SHORT_TEXT <= head < _LONG_TEXT and at + head - _SHORT_TEXT < size:
            at += 1 + head - _SHORT_TEXT
            encoded = data[start:at]
            try:
                key = encoded[1:].decode()
            except UnicodeDecodeError:
                key, at = _read_text(data, start + 1, at)  # says what is wrong
        else:
            long_key, at = _read(data, start, depth)
            if type(long_key) is not str:
                raise FormatError("a key is not text", found=type(long_key).__name__, where=f"byte {start}")
            key, encoded = long_key, data[start:at]
        if encoded <= before:
            raise FormatError("a key is there twice or out of order", found=ascii(key[:40]), where=f"byte {start}")
        before = encoded
        head = data[at] if at < size else _NO_HEAD
        if head < 24:  # a small number, as most counts are
            items[key] = head
            at += 1
        else:
            items[key], at = _read_item(data, at, depth)
    return items, at


def _read_item(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """Read what most items of lists and maps are, a text, a hash or a number, without further calls."""
    try:
        head = data[at]
        if _SHORT_TEXT <= head < _LONG_TEXT:
            end = at + 1 + head - _SHORT_TEXT
            if end <= len(data):
                return data[at + 1 : end].decode(), end
        elif head < 24:
            return head, at + 1
        elif head == 0x18 and data[at + 1] >= 24:
            return data[at + 1], at + 2
        elif head == 0x19 and data[at + 1]:
            return data[at + 1] << 8 | data[at + 2], at + 3
        elif head in (0x58, 0x78) and data[at + 1] >= 24:
            end = at + 2 + data[at + 1]
            if end <= len(data):
                return (data[at + 2 : end] if head == 0x58 else data[at + 2 : end].decode()), end
        elif head == 0x1B and any(data[at + 1 : at + 5]) and at + 9 <= len(data):
            return int.from_bytes(data[at + 1 : at + 9], "big"), at + 9
    except (IndexError, UnicodeDecodeError):
        pass  # the general way says what is wrong
    return _read(data, at, depth)


def _read_link(data: bytes, at: int) -> tuple[Cid, int]:
    end = at + _LINK_SIZE
    if data[at : at + len(_LINK)] != _LINK:
        found = data[at : at + len(_LINK)].hex()
        raise FormatError("not a link", expected=f"{_LINK.hex()} and a CID", found=found, where=f"byte {at}")
    if end > len(data):
        raise _short(at)
    try:
        return Cid(data[at + len(_LINK) : end]), end
    except FormatError as error:
        error.where = f"byte {at}"
        raise


def _read_simple(data: bytes, at: int) -> tuple[object, int]:
    first = data[at]
    if first == 0xFB:
        if at + 9 > len(data):
            raise _short(at)
        value = _FLOAT.unpack_from(data, at + 1)[0]
        if not isfinite(value):
            raise FormatError("a float is not finite", found=value, where=f"byte {at}")
        return value, at + 9
    if first == 0xF6:
        return None, at + 1
    if first in (0xF4, 0xF5):
        return first == 0xF5, at + 1
    raise FormatError(
        "a simple value or a short float", expected="f4, f5, f6 or fb", found=hex(first), where=f"byte {at}"
    )


def _short(at: int) -> FormatError:
    return FormatError("the bytes end in the middle of a value", where=f"byte {at}")
