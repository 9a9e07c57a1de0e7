"""Encode a record as one JSON object that any strict parser can read.

Keys in this order (docs/formats.md): `time, level, logger, event`, the caller's fields, `exception, stack, pid, seq`.
Encoding is total (`values.py`): no value causes the loss of a record. The writer adds the last two keys; this module
makes the *record prefix* before them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.values import (
    LEAVES,
    MARK,
    Default,
    UnfitError,
    as_text,
    check_value,
    clean_text,
    encode_total,
    fit,
    unique_key,
)

__all__ = ["RESERVED_FIELDS", "RecordEncoder", "Shape", "cut_down", "decode", "split_time"]

RESERVED_FIELDS: Final = frozenset({"time", "level", "logger", "event", "exception", "stack", "pid", "seq"})
"""Keys of a record that a caller's field cannot have: such a field gets a trailing `_`; `event` has its own rule."""
_MAX_CACHED: Final = 4096
"""Number of shapes, and of pairs of level and logger, that an encoder keeps, to bound its memory."""
_FIRST_SECOND: Final = -62_135_596_800
"""Begin of the year 1, in seconds since 1970."""
_AFTER_LAST_SECOND: Final = 253_402_300_800
"""End of the year 9999, in seconds since 1970."""

Encode = Callable[[Any], bytes]
Shape = tuple[Callable[..., Any], Encode]
"""The class of records whose fields have the same names in the same order, and its encoder: keys are encoded only once.

The class takes time (RFC 3339), level (lower case), logger, event, the values of the fields, pid and seq; the encoder
returns the whole JSON of an instance. It runs no code of a value, and changes values silently unless they were checked
(`format.values.LEAVES`, `check_value`): check directly before, so that no other thread changes a value in between.
"""


def _refuse(value: object) -> object:
    """Refuse a value of a type that msgspec does not know."""
    raise UnfitError(type(value).__name__)


def _fast_encoder() -> Encode:
    """Return msgspec's encoder; if msgspec cannot be loaded, return the total one."""
    try:
        import msgspec
    except ImportError:
        return encode_total
    encode: Encode = msgspec.json.Encoder(enc_hook=_refuse).encode
    return encode


def _new_shape(names: tuple[str, ...]) -> Shape | None:
    try:
        import msgspec

        keys = ("time", "level", "logger", "event", *names, "pid", "seq")
        members = [f"_{number}" for number in range(len(keys))]
        kind = msgspec.defstruct("Record", members, rename=dict(zip(members, keys, strict=True)), gc=False)
        encode: Encode = msgspec.json.Encoder(enc_hook=_refuse).encode
        encode(kind(*[None] * len(members)))
    except Exception:  # noqa: BLE001 - names that are not text or not Unicode, or no msgspec
        return None
    return kind, encode


class RecordEncoder:
    """Encode records for one handler, from any number of threads.

    It keeps the text of the current second, and the text of each pair of level and logger, to encode them only once.

    Args:
        fast: encode with msgspec, if it can be loaded; otherwise with `json`.
        default: the program's hook for values that `format.values` does not know.
    """

    __slots__ = ("_default", "_encode", "_fast", "_names", "_second", "_shapes")

    def __init__(self, *, fast: bool = True, default: Default | None = None) -> None:
        self._fast = fast
        self._default = default
        self._encode: Encode | None = None if fast else partial(encode_total, default=default)
        self._shapes: dict[tuple[str, ...], Shape | None] = {}
        self._names: dict[tuple[str, str], bytes] = {}
        self._second: tuple[int, bytes] = (0, b'{"time":"1970-01-01T00:00:00.')

    def prefix(
        self,
        created: float,
        level: str,
        logger: str,
        event: object,
        fields: dict[str, Any],
        exception: str | None = None,
        stack: str | None = None,
    ) -> bytes:
        """Encode one record up to, and without, `pid` and `seq`.

        Args:
            created: seconds since 1970.
            level: name of the level; written in lower case.
            logger: name of the logger.
            event: the event; a value that is not text becomes text.
            fields: the caller's fields, none of them named as one of `RESERVED_FIELDS`. Not changed.
            exception: traceback text.
            stack: stack text.

        Never raises for what the values are; `KeyboardInterrupt` and the like pass through.

        """
        encode = self._encode
        if encode is None:
            encode = self._encode = _fast_encoder()
        try:
            names = self._names[level, logger]
        except Exception:  # noqa: BLE001 - a new pair, or a value that is not hashable
            names = self._encode_names(as_text(level), as_text(logger))
        second, micros = split_time(created)
        cached_second, beginning = self._second
        if second != cached_second:
            beginning = self._begin_second(second)
        try:
            text = encode(event if event.__class__ is str else as_text(event))
            if fields:
                "".join(fields)  # raises for a key that is not text, at the speed of C
                for value in fields.values():
                    if type(value) not in LEAVES:
                        check_value(value)
                prefix = b"%b%06d%b%b,%b" % (beginning, micros, names, text, encode(fields)[1:-1])
            else:
                prefix = b"%b%06d%b%b" % (beginning, micros, names, text)
        except Exception:  # noqa: BLE001 - the record is kept, whatever a value's own code raises
            text = encode_total(clean_text(as_text(event)))
            prefix = b"%b%06d%b%b%b" % (beginning, micros, names, text, _encode_members(fields, self._default))
        if exception is not None:
            prefix += b',"exception":' + encode_total(clean_text(as_text(exception)))
        if stack is not None:
            prefix += b',"stack":' + encode_total(clean_text(as_text(stack)))
        return prefix

    def shape(self, names: tuple[str, ...]) -> Shape | None:
        """Return the shape of records whose fields have these names; `None` if only `prefix` takes them.

        Args:
            names: keys of the fields, in their order; none of `RESERVED_FIELDS`.
        """
        try:
            return self._shapes[names]
        except KeyError:
            shape = _new_shape(names) if self._fast else None
        if len(self._shapes) < _MAX_CACHED:
            self._shapes[names] = shape
        return shape

    def second_text(self, second: int) -> str:
        """Return the RFC 3339 text of a whole second, up to the point before the microseconds."""
        return self._begin_second(second)[len(b'{"time":"') :].decode()

    def _encode_names(self, level: str, logger: str) -> bytes:
        names = b'Z","level":%b,"logger":%b,"event":' % (
            encode_total(clean_text(level.lower())),
            encode_total(clean_text(logger)),
        )
        if len(self._names) < _MAX_CACHED:
            self._names[level, logger] = names
        return names

    def _begin_second(self, second: int) -> bytes:
        """Encode the beginning of records of a second; outside the years 1 to 9999, the start of 1970 is used."""
        moment = time.gmtime(second if _FIRST_SECOND <= second < _AFTER_LAST_SECOND else 0)
        beginning = b'{"time":"%04d-%02d-%02dT%02d:%02d:%02d.' % moment[:6]
        self._second = second, beginning
        return beginning


def split_time(created: float) -> tuple[int, int]:
    """Split a moment into whole seconds since 1970 and microseconds; another value becomes the start of 1970."""
    try:
        second = math.floor(created)
        micros = int((created - second) * 1e6 + 0.5)
    except (TypeError, ValueError, OverflowError):
        return 0, 0
    return (second, micros) if micros < 1_000_000 else (second + 1, 0)


def _encode_members(fields: Mapping[str, Any], default: Default | None) -> bytes:
    """Encode each field as `,"name":value`; a bad value or name does not affect the others."""
    parts: list[bytes] = []
    taken: set[str] = set(RESERVED_FIELDS)
    for key, value in list(fields.items()):
        name = unique_key(key, taken)
        taken.add(name)
        parts.append(b",%b:%b" % (encode_total(name), encode_total(value, default)))
    return b"".join(parts)


def cut_down(
    event: object,
    fields: Mapping[str, Any],
    exception: str | None,
    stack: str | None,
    max_bytes: int,
    default: Default | None = None,
) -> tuple[str, dict[str, Any], str | None, str | None]:
    """Cut the longest texts of a record until its JSON has at most about `max_bytes` (docs/home.md 24).

    A cut text ends with its original length in characters and the SHA-256 of its UTF-8. If a value is still too large
    (a list of a million numbers), the whole value is replaced by a marked object with its size.

    Returns:
        Event, fields (with JSON values), exception and stack.
    """
    uncut: dict[str, Any] = {"event": clean_text(as_text(event)), **fit(dict(fields), default)}
    for name, text in (("exception", exception), ("stack", stack)):
        if text is not None:
            uncut[name] = clean_text(text)
    members = uncut
    for max_characters in (max_bytes // 4, max_bytes // 16, max_bytes // 64, max_bytes // 256, 256, 64):
        members = {name: _cut_texts(value, max_characters) for name, value in uncut.items()}
        if len(encode_total(members)) <= max_bytes:
            break
    else:
        encoded = {name: encode_total(value) for name, value in members.items()}
        size = len(encode_total(members))
        for name, data in sorted(encoded.items(), key=lambda item: -len(item[1])):
            left_out = {MARK: f"left out: {len(data)} bytes", "sha256": _sha256(data)}
            saved = len(data) - len(encode_total(left_out))
            if saved > 0:
                members[name], size = left_out, size - saved
            if size <= max_bytes or saved <= 0:
                break
        if size > max_bytes:  # the names alone are too long
            event = _cut_texts(as_text(uncut["event"]), 64)
            left_out = {MARK: f"left out: {len(uncut) - 1} fields", "sha256": _sha256(encode_total(uncut))}
            members = {"event": event, "fields": left_out}
    return as_text(members.pop("event")), members, members.pop("exception", None), members.pop("stack", None)


def _sha256(data: bytes) -> str:
    import hashlib  # hashlib loads OpenSSL, which logging does not need

    return hashlib.sha256(data).hexdigest()


def _cut_texts(value: Any, max_characters: int) -> Any:
    if isinstance(value, str) and len(value) > max_characters:
        return f"{value[:max_characters]}… (cut: {len(value)} characters, sha256 {_sha256(value.encode())})"
    if isinstance(value, dict):
        return {name: _cut_texts(inner, max_characters) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut_texts(inner, max_characters) for inner in value]
    return value


def decode(data: bytes) -> dict[str, Any]:
    """Parse one record strictly.

    Raises:
        FormatError: not UTF-8, not one JSON object, a key twice, NaN or an infinity.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # raises for half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise FormatError("a record is not strict JSON", found=repr(data[:64])) from error
    if not isinstance(value, dict):
        raise FormatError("a record is not a JSON object", found=type(value).__name__)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise FormatError("a key is there twice in one JSON object", found=sorted(key for key, _ in pairs))
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError("a number too large for a float", found=text[:40])
    return value


def _no_constant(name: str) -> object:
    raise FormatError("a number that JSON does not have", found=name)
