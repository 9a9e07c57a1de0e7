"""A record: what was logged, as one JSON object that any strict parser reads.

Keys in this order (docs/formats.md): `time, level, logger, event`, the caller's fields, `exception, stack, pid, seq`.
Encoding is total: what JSON cannot hold becomes `{"!": reason, "repr": text}` in its place and
the rest of the record is kept. The last two keys are the writer's: this room makes the `front`, all before them.

Encoding of values beyond JSON's own, the same on both paths below: `bytes` base64; `datetime`, `date`, `time` ISO 8601
(RFC 3339); `UUID`, `Decimal`, `PurePath` text; `Enum` its value; sets and tuples arrays; dataclasses objects; anything
else a marked `repr`. Integers have any size. `-0.0` stays; NaN and infinities are marked.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.envelope import OURS

__all__ = [
    "LEAVES",
    "LONGEST_REPR",
    "MARK",
    "FrontEncoder",
    "Shape",
    "as_text",
    "check",
    "cut_down",
    "decode",
    "encode_total",
    "shorten",
    "split",
]

MARK: Final = "!"
"""Key of the object that stands for a value JSON cannot hold."""
LONGEST_REPR: Final = 2048
"""Characters of `repr` that are kept of such a value."""
_DEEPEST: Final = 64
LEAVES: Final = frozenset((str, int, bool, type(None)))
"""Types whose every value the quick encoder writes as it is, or refuses."""
_MOST_SHAPES: Final = 4096
_FIRST_SECOND: Final = -62_135_596_800
_PAST_LAST_SECOND: Final = 253_402_300_800
_MOST_BITS: Final = 14_000
"""Of an integer written in digits: below the 4300 digits at which Python and other readers refuse."""

Encode = Callable[[Any], bytes]
Shape = Callable[[str, str, str, str, tuple[Any, ...], int, int], bytes]
"""Encodes records whose fields have the same names in the same order: their keys are encoded once and for all.

Takes time (RFC 3339), level (in lower case), logger, event, the values of the fields, pid and seq; gives the whole
JSON. Raises for a value that only `FrontEncoder.front` can take. Runs no code of a value's own, and encodes as soon as
it has checked: nobody can change a value in between.
"""


class _UnfitError(ValueError):
    """The quick encoder would alter this value; only this module sees it."""


def _unfit(value: object) -> object:
    raise _UnfitError(type(value).__name__)


def _quick_encoder() -> Encode:
    try:
        import msgspec
    except ImportError:
        return encode_total
    encode: Encode = msgspec.json.Encoder(enc_hook=_unfit).encode
    return encode


def _new_shape(names: tuple[str, ...]) -> Shape | None:
    try:
        import msgspec

        keys = ("time", "level", "logger", "event", *names, "pid", "seq")
        members = [f"_{number}" for number in range(len(keys))]
        kind = msgspec.defstruct("Record", members, rename=dict(zip(members, keys, strict=True)), gc=False)
        encode: Encode = msgspec.json.Encoder(enc_hook=_unfit).encode
        encode(kind(*[None] * len(members)))
    except Exception:  # noqa: BLE001 - names that are no text or no Unicode, or no msgspec here
        return None
    leaves = LEAVES

    def shape(time: str, level: str, logger: str, event: str, values: tuple[Any, ...], pid: int, seq: int) -> bytes:
        for value in values:
            found = type(value)
            if found is str or found is int:
                continue
            if found is dict:
                for key in value:
                    if type(key) is not str or type(value[key]) not in leaves:
                        check(value, 0)
                        break
            elif found not in leaves:
                check(value, 0)
        return encode(kind(time, level, logger, event, *values, pid, seq))

    return shape


class FrontEncoder:
    """Turns what was logged into the `front` of a record: all its JSON but `,"pid":…,"seq":…}`.

    One per handler; safe to use from any number of threads. Holds what need not be encoded again: the text of the
    current second, and level and logger of each pair it has seen.

    Args:
        quick: encode with `msgspec`, where it can be loaded; else with `json`.
    """

    __slots__ = ("_encode", "_heads", "_quick", "_second", "_shapes")

    def __init__(self, *, quick: bool = True) -> None:
        self._quick = quick
        self._encode: Encode | None = None if quick else encode_total
        self._shapes: dict[tuple[str, ...], Shape | None] = {}
        self._heads: dict[tuple[str, str], bytes] = {}
        self._second: tuple[int, bytes] = (0, b'{"time":"1970-01-01T00:00:00.')

    def front(
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
            event: the event; what is not text becomes text.
            fields: the caller's fields. No key may be one of `OURS`: rename first. Not changed.
            exception: traceback text.
            stack: stack text.

        Never raises for what the values are; `KeyboardInterrupt` and the like pass through.
        """
        encode = self._encode
        if encode is None:
            encode = self._encode = _quick_encoder()
        try:
            head = self._heads[level, logger]
        except Exception:  # noqa: BLE001 - not seen before, or not text but something without a hash
            head = self._head(as_text(level), as_text(logger))
        second, micros = split(created)
        cached, prefix = self._second
        if second != cached:
            prefix = self._new_second(second)
        try:
            text = encode(event if event.__class__ is str else as_text(event))
            if fields:
                "".join(fields)  # raises for a key that is not text, at the speed of C
                for value in fields.values():
                    if type(value) not in LEAVES:
                        check(value, 0)
                front = b"%b%06d%b%b,%b" % (prefix, micros, head, text, encode(fields)[1:-1])
            else:
                front = b"%b%06d%b%b" % (prefix, micros, head, text)
        except Exception:  # noqa: BLE001 - whatever a value's own code raises, the record is kept
            text = encode_total(_clean(as_text(event)))
            front = b"%b%06d%b%b%b" % (prefix, micros, head, text, _members(fields))
        if exception is not None:
            front += b',"exception":' + encode_total(_clean(as_text(exception)))
        if stack is not None:
            front += b',"stack":' + encode_total(_clean(as_text(stack)))
        return front

    def shape(self, names: tuple[str, ...]) -> Shape | None:
        """The shape of records whose fields have these names; `None` where only `front` will do.

        Args:
            names: keys of the fields, in their order; none of the envelope's.
        """
        try:
            return self._shapes[names]
        except KeyError:
            made = _new_shape(names) if self._quick else None
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes[names] = made
        return made

    def moment(self, second: int) -> str:
        """The text of a whole second, up to the point before the microseconds."""
        return self._new_second(second)[len(b'{"time":"') :].decode()

    def _head(self, level: str, logger: str) -> bytes:
        head = b'Z","level":%b,"logger":%b,"event":' % (
            encode_total(_clean(level.lower())),
            encode_total(_clean(logger)),
        )
        if len(self._heads) < 4096:  # names made up at run time must not fill the memory
            self._heads[level, logger] = head
        return head

    def _new_second(self, second: int) -> bytes:
        """The text of a second; 1970 for what lies outside the years 1 to 9999."""
        moment = time.gmtime(second if _FIRST_SECOND <= second < _PAST_LAST_SECOND else 0)
        prefix = b'{"time":"%04d-%02d-%02dT%02d:%02d:%02d.' % moment[:6]
        self._second = second, prefix
        return prefix


def split(created: float) -> tuple[int, int]:
    """Whole seconds since 1970 of a moment, and the nearest microsecond behind them; the beginning of 1970 for none."""
    try:
        second = math.floor(created)
        micros = int((created - second) * 1e6 + 0.5)
    except (TypeError, ValueError, OverflowError):
        return 0, 0
    return (second, micros) if micros < 1_000_000 else (second + 1, 0)


def check(value: Any, depth: int) -> None:
    """Raise `_UnfitError` for what the quick encoder alters without a word: NaN, infinities, keys that are not text.

    Runs no code of the value's own, nor does the encoder behind it: a writer that holds its lock may call both.
    """
    kind = type(value)
    if kind is float:
        if value - value != 0.0:  # NaN or an infinity
            raise _UnfitError("not finite")
        return
    if kind is dict:
        "".join(value)
        inside = value.values()
    elif kind is list or kind is tuple:
        inside = value
    elif kind in _PLAIN:
        if (kind is dt.datetime or kind is dt.time) and value.tzinfo is not None:
            if type(value.tzinfo).__module__ not in _KNOWN_ZONES:
                raise _UnfitError("a time zone with code of its own")
            if _odd_offset(value):
                raise _UnfitError("an offset with seconds")
        return
    else:
        raise _UnfitError(kind.__name__)
    if not LEAVES.issuperset(map(type, inside)):
        if depth > _DEEPEST:
            raise _UnfitError("too deep")
        for each in inside:
            if type(each) not in LEAVES:
                check(each, depth + 1)


_PLAIN: Final = frozenset((dt.datetime, dt.date, dt.time, uuid.UUID, decimal.Decimal, bytes, bytearray))
"""Types that the quick encoder writes just as `_fit` does."""
_KNOWN_ZONES: Final = frozenset(("datetime", "zoneinfo"))
"""Modules of the time zones whose offset is asked without running anybody's code."""


def as_text(value: object) -> str:
    """Any object as text; a failing `__str__` gives a marked substitute."""
    try:
        text = value if type(value) is str else str(value)
    except Exception as error:  # noqa: BLE001 - the value's own code
        return f"<{type(value).__name__}: __str__ raised {type(error).__name__}>"
    return text


def encode_total(value: object) -> bytes:
    """JSON of any object, in UTF-8, without white space; what JSON cannot hold is marked."""
    fit = _fit(value, frozenset(), 0)
    text = json.dumps(fit, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def _members(fields: Mapping[str, Any]) -> bytes:
    """The fields as `,"name":value` each; one bad value or name harms only itself."""
    parts: list[bytes] = []
    taken: set[str] = set(OURS)
    for key, value in list(fields.items()):
        name = _key(key, taken)
        taken.add(name)
        parts.append(b",%b:%b" % (encode_total(name), encode_total(value)))
    return b"".join(parts)


def _mark(reason: str, value: object) -> dict[str, str]:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the value's own code
        text = f"<{type(value).__name__}: __repr__ raised {type(error).__name__}>"
    return {MARK: reason, "repr": _clean(shorten(text, LONGEST_REPR))}


def shorten(text: str, longest: int) -> str:
    """The first `longest` characters of a text, and a word on how long it was."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def _clean(text: str) -> str:
    """The text, its lone surrogates, which UTF-8 cannot hold, written as escapes of four hex digits."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def _key(key: object, taken: set[str] | frozenset[str] | dict[str, Any]) -> str:
    """A key as text that no other key of the same object has."""
    name = _clean(key if isinstance(key, str) else as_text(key))
    while name in taken:
        name += "_"
    return name


def _fit(value: Any, above: frozenset[int], depth: int) -> Any:
    """The nearest value that JSON holds. `above` has the ids of the containers around this one."""
    try:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return _fit(value.value, above, depth + 1)
        if isinstance(value, str):
            text = str(value)
            clean = _clean(text)
            return clean if clean == text else _mark("text that is not Unicode: lone surrogates", text)
        if isinstance(value, int):
            number = int(value)
            return (
                number if number.bit_length() <= _MOST_BITS and repr(number) else _mark("an integer too long", number)
            )
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else _mark("not a finite number", float(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return base64.b64encode(bytes(value)).decode("ascii")
        if isinstance(value, (dt.datetime, dt.time)):
            return _rfc3339(value)
        if isinstance(value, dt.date):
            return value.isoformat()
        if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
            return str(value)
        if depth > _DEEPEST + 1:  # where `check` stops
            return _mark(f"nested deeper than {_DEEPEST}", type(value))
        if id(value) in above:
            return _mark("a value that contains itself", type(value))
        inside = above | {id(value)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            members: dict[str, Any] = {}
            for key, inner in list(value.items()):
                members[_key(key, members)] = _fit(inner, inside, depth + 1)
            return members
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_fit(inner, inside, depth + 1) for inner in list(value)]
        return _mark(f"{type(value).__module__}.{type(value).__qualname__} is not a JSON value", value)
    except RecursionError:
        return _mark("nested too deep", type(value))
    except Exception as error:  # noqa: BLE001 - a value's own code; the record is kept
        return _mark(f"{type(error).__name__} while it was encoded", value)


def cut_down(event: object, fields: Mapping[str, Any], most: int) -> tuple[str, dict[str, Any]]:
    """A record whose longest texts are cut until its JSON has at most about `most` bytes (docs/home.md 24).

    A cut text ends in its original length in characters and the SHA-256 of its UTF-8. What is still too large then (a
    list of a million numbers) is replaced as a whole by a marked object that tells its size.

    Returns:
        Event and fields; values are already JSON's own.
    """
    whole: dict[str, Any] = {"event": _clean(as_text(event)), **_fit(dict(fields), frozenset(), 0)}
    uncut = whole
    for longest in (most // 4, most // 16, most // 64, most // 256, 256, 64):
        whole = {name: _cut_texts(value, longest) for name, value in uncut.items()}
        if len(encode_total(whole)) <= most:
            break
    else:
        encoded = {name: encode_total(value) for name, value in whole.items()}
        size = len(encode_total(whole))
        for name, data in sorted(encoded.items(), key=lambda item: -len(item[1])):
            left_out = {MARK: f"left out: {len(data)} bytes", "sha256": _sha256(data)}
            saved = len(data) - len(encode_total(left_out))
            if saved > 0:
                whole[name], size = left_out, size - saved
            if size <= most or saved <= 0:
                break
        if size > most:  # names alone are too long
            data = encode_total(uncut)
            event = _cut_texts(as_text(uncut["event"]), 64)
            told = {MARK: f"left out: {len(uncut) - 1} fields", "sha256": _sha256(data)}
            whole = {"event": event, "fields": told}
    return as_text(whole.pop("event")), whole


def _sha256(data: bytes) -> str:
    import hashlib  # loads OpenSSL, which logging does without

    return hashlib.sha256(data).hexdigest()


def _cut_texts(value: Any, longest: int) -> Any:
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]}… (cut: {len(value)} characters, sha256 {_sha256(value.encode())})"
    if isinstance(value, dict):
        return {name: _cut_texts(inner, longest) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut_texts(inner, longest) for inner in value]
    return value


def _odd_offset(value: dt.datetime | dt.time) -> bool:
    """Whether the offset from UTC has seconds, as local mean times have; RFC 3339 cannot write them."""
    offset = value.utcoffset()
    return offset is not None and offset % _MINUTE != _NOTHING


_MINUTE: Final = dt.timedelta(minutes=1)
_NOTHING: Final = dt.timedelta(0)


def _rfc3339(value: dt.datetime | dt.time) -> str:
    if isinstance(value, dt.datetime) and _odd_offset(value):
        value = value.astimezone(dt.timezone.utc)
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


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
        raise FormatError("a key stands twice in one JSON object", found=sorted(key for key, _ in pairs))
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError("a number too large for a float", found=text[:40])
    return value


def _no_constant(name: str) -> object:
    raise FormatError("a number that JSON does not have", found=name)
