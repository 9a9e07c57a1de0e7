"""Turn any Python value into JSON, without ever failing.

A value that JSON cannot represent becomes `{"!": reason, "repr": text}`; the values around it do not change. A fast
encoder (msgspec) writes JSON's own types and those of `_FAST_TYPES`; this module writes every value, and these alike:

| value | JSON |
|---|---|
| `bytes`, `bytearray`, `memoryview` | base64 |
| `datetime`, `date`, `time` | ISO 8601 (RFC 3339) |
| `timedelta` | seconds, as a number |
| `UUID`, `Decimal`, complex numbers, paths, URLs, IP addresses and networks, time zones, lazy texts | text |
| `Enum` | its value |
| integers and real numbers of other libraries (numpy, fractions) | a number |
| tuples, sets, `deque`, `range`, views of a dict, arrays of numpy and of `array` | array |
| mappings, dataclasses, attrs, pydantic models, msgspec structs, namespaces | object |
| mappings with several values of a key (query parameters, headers) | object; of such a key the array of its values |
| exceptions | text: type and message, the notes, the exceptions of a group |
| sockets | object: `local` and `peer` address |
| all other values | the result of the program's `default` hook, else a marked `repr` |

Integers have any size. `-0.0` stays; NaN and infinities are marked.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import numbers
import pathlib
import uuid
from collections import UserString, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any, Final

__all__ = [
    "LEAVES",
    "MARK",
    "MAX_DEPTH",
    "MAX_REPR_CHARACTERS",
    "Default",
    "UnfitError",
    "as_text",
    "check_value",
    "clean_text",
    "encode_total",
    "fit",
    "items_of",
    "members_of",
    "shorten",
    "unique_key",
    "unwrap",
]

Default = Callable[[Any], Any]
"""A hook of the program: it turns a value that this module does not know into one that it knows; it may raise."""

MARK: Final = "!"
"""Key of the object that replaces a value which JSON cannot represent."""
MAX_REPR_CHARACTERS: Final = 2048
"""Characters of a `repr` that are kept; the rest is cut off."""
MAX_DEPTH: Final = 64
"""Levels of containers inside one another; a deeper value is marked."""
LEAVES: Final = frozenset((str, int, bool, type(None)))
"""Types of which the fast encoder writes every value unchanged, or refuses it."""
_MAX_INTEGER_BITS: Final = 14_000
"""Bits of an integer that is written in digits: fewer than 4300 digits, which Python and other readers refuse."""
_MAX_LAZY_ITEMS: Final = 100_000
"""Items of an array, or of a sequence that is no list or tuple: a `range` of a billion takes no memory by itself."""
_FAST_TYPES: Final = frozenset((dt.datetime, dt.date, dt.time, uuid.UUID, decimal.Decimal, bytes, bytearray))
"""Types that the fast encoder writes in the same way as `fit`."""
_ZONE_MODULES: Final = frozenset(("datetime", "zoneinfo"))
"""Modules of time zones whose offset is computed without code of the program."""
_MAX_GROUPED: Final = 16
"""Largest number of exceptions of a group whose texts are kept."""
_TEXT_TYPES: Final = frozenset({"URL", "Url", "AnyUrl", "HttpUrl", "AnyHttpUrl"})
"""Names of the types of URLs, in any library."""
_MINUTE: Final = dt.timedelta(minutes=1)
"""The unit of offsets from UTC in RFC 3339."""
_NO_TIME: Final = dt.timedelta(0)


class UnfitError(ValueError):
    """The fast encoder would change this value; the total encoder writes it."""


def check_value(value: Any, depth: int = 0) -> None:
    """Raise `UnfitError` for a value that the fast encoder changes silently: NaN, infinities, keys that are not text.

    Neither this function nor the fast encoder runs code of the value, so a writer that holds its lock may call both.
    """
    kind = type(value)
    if kind is float:
        if value - value != 0.0:  # NaN or an infinity
            raise UnfitError("not finite")
        return
    if kind is dict:
        "".join(value)  # raises for a key that is not text, at the speed of C
        inner_values = value.values()
    elif kind is list or kind is tuple:
        inner_values = value
    elif kind in _FAST_TYPES:
        if (kind is dt.datetime or kind is dt.time) and value.tzinfo is not None:
            if type(value.tzinfo).__module__ not in _ZONE_MODULES:
                raise UnfitError("a time zone with code of its own")
            if _offset_has_seconds(value):
                raise UnfitError("an offset with seconds")
        return
    else:
        raise UnfitError(kind.__name__)
    if not LEAVES.issuperset(map(type, inner_values)):
        if depth > MAX_DEPTH:
            raise UnfitError("too deep")
        for inner in inner_values:
            if type(inner) not in LEAVES:
                check_value(inner, depth + 1)


def as_text(value: object) -> str:
    """Return any object as text; if its `__str__` fails, return a text that says so."""
    try:
        return value if type(value) is str else str(value)
    except Exception as error:  # noqa: BLE001 - the value's own code
        return f"<{type(value).__name__}: __str__ raised {type(error).__name__}>"


def encode_total(value: object, default: Default | None = None) -> bytes:
    """Encode any object as JSON in UTF-8 without white space; mark values that JSON cannot represent."""
    text = json.dumps(fit(value, default), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def fit(value: Any, default: Default | None = None) -> Any:
    """Return the most similar value that JSON can represent.

    Args:
        value: any value; not changed.
        default: the hook that is called for a value that this module does not know.

    Never raises for what the values are; `KeyboardInterrupt` and the like pass through.
    """
    return _fit(value, default, frozenset(), 0)


def _fit(value: Any, default: Default | None, above: frozenset[int], depth: int) -> Any:
    """Fit one value. `above` has the ids of the containers around it."""
    try:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return _fit(value.value, default, above, depth + 1)
        if isinstance(value, str):
            text = str(value)
            clean = clean_text(text)
            return clean if clean == text else _mark("text that is not Unicode: lone surrogates", text)
        if isinstance(value, int):
            number = int(value)
            short = number.bit_length() <= _MAX_INTEGER_BITS and repr(number)
            return number if short else _mark("an integer too long", number)
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
        if depth > MAX_DEPTH + 1:  # the depth at which `check_value` stops
            return _mark(f"nested deeper than {MAX_DEPTH}", type(value))
        if id(value) in above:
            return _mark("a value that contains itself", type(value))
        around = above | {id(value)}
        if (members := members_of(value)) is not None:
            fitted: dict[str, Any] = {}
            for key, inner in members:
                fitted[unique_key(key, fitted)] = _fit(inner, default, around, depth + 1)
            return fitted
        if (items := items_of(value)) is not None:
            return [_fit(inner, default, around, depth + 1) for inner in items]
        if (unwrapped := unwrap(value)) is not value:
            return _fit(unwrapped, default, around, depth + 1)
        return _fit_by_default(value, default, around, depth)
    except RecursionError:
        return _mark("nested too deep", type(value))
    except Exception as error:  # noqa: BLE001 - a value's own code; the record is kept
        return _mark(f"{type(error).__name__} while it was encoded", value)


def _fit_by_default(value: Any, default: Default | None, around: frozenset[int], depth: int) -> Any:
    """Fit the value that the program's hook returns for a value; mark the value if the hook raises an exception."""
    if default is not None:
        try:
            replacement = default(value)
        except TypeError:  # the hook does not know the type, like the hook of `json.dumps`
            replacement = value
        except Exception as error:  # noqa: BLE001 - the program's own code
            return _mark(f"default raised {type(error).__name__}", value)
        if replacement is not value:
            return _fit(replacement, default, around, depth + 1)
    return _mark(f"{type(value).__module__}.{type(value).__qualname__} is not a JSON value", value)


# -- what values consist of: for encoding, and for redaction, which must see what will be encoded


def members_of(value: Any) -> list[tuple[Any, Any]] | None:
    """Return the names and values of a value that becomes a JSON object; `None` for other values.

    If a key has several values, they are in one list.
    """
    kind = type(value)
    if kind is dict:
        return list(value.items())
    if isinstance(value, (type, BaseException)):
        return None
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if kind.__module__ == "http.cookies" and kind.__name__ == "Morsel":
        return None  # a mapping of the attributes of a cookie, without its value
    if isinstance(value, Mapping):
        return _members_of_mapping(value)
    if isinstance(value, Sequence) and hasattr(kind, "keys"):  # a row of sqlite3
        return [(name, value[name]) for name in value.keys()]  # type: ignore[attr-defined]  # noqa: SIM118 - not a mapping
    if hasattr(kind, "__attrs_attrs__"):
        return [(field.name, getattr(value, field.name)) for field in kind.__attrs_attrs__]
    if hasattr(kind, "__struct_fields__"):  # msgspec
        return [(name, getattr(value, name)) for name in kind.__struct_fields__]
    if hasattr(kind, "get_all") and hasattr(kind, "items"):  # email.message.Message, http.client.HTTPMessage
        return _merge(value.items())
    if kind.__name__ in {"SimpleNamespace", "Namespace"} and kind.__module__ in {"types", "argparse"}:
        return list(vars(value).items())
    if _is_socket(kind):
        return _members_of_socket(value)
    return None


def items_of(value: Any) -> list[Any] | None:
    """Return the items of a value that becomes a JSON array; `None` for other values."""
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, (str, bytes, bytearray, memoryview, UserString)):
        return None
    if isinstance(value, (Sequence, AbstractSet, ValuesView)) and len(value) <= _MAX_LAZY_ITEMS:
        return list(value)
    return None


def unwrap(value: Any) -> Any:
    """Return the simpler value that represents this one in JSON; return the value itself if there is none."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, BaseException):
        return _exception_text(value)
    if isinstance(value, type):
        return value
    if isinstance(value, (UserString, dt.tzinfo, complex)) or kind.__module__ == "ipaddress":
        return str(value)
    if hasattr(kind, "render_as_string"):  # SQLAlchemy's URL: its `str` may show the password
        return value.render_as_string()
    if kind.__name__ in _TEXT_TYPES or hasattr(kind, "get_secret_value"):  # pydantic shows a secret as asterisks
        return str(value)
    if kind.__name__ == "Morsel" and kind.__module__ == "http.cookies":
        return value.value
    if kind.__module__ == "array":
        return value.tolist()
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        return _unwrap_numpy(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):  # pydantic
        return _unwrap_model(value)
    if hasattr(kind, "__fields__") and hasattr(kind, "dict"):  # pydantic 1
        return value.dict()
    if hasattr(kind, "__fspath__"):
        return value.__fspath__()
    if hasattr(kind, "isoformat"):  # dates and times of other libraries
        return value.isoformat()
    if any(base.__module__ == "django.utils.functional" and base.__name__ == "Promise" for base in kind.__mro__):
        return str(value)  # a text that is translated when it is shown
    return value


def _unwrap_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if value.size > _MAX_LAZY_ITEMS:
        return value
    if kind == "M":
        return value.astype("datetime64[us]").tolist()
    if kind == "m":
        return value.astype("timedelta64[us]").tolist()
    if value.dtype.names and not value.shape:  # a row of a structured array
        return dict(zip(value.dtype.names, value.tolist(), strict=True))
    plain = value.tolist()
    if type(plain) is type(value):  # more precise than Python's own types
        return float(value) if kind == "f" else str(value)
    return [_unwrap_numpy(row) for row in value] if value.dtype.names else plain


def _unwrap_model(value: Any) -> Any:
    """Return the members of a pydantic model, without a warning for a value of another type than its field."""
    try:
        return value.model_dump(warnings=False)
    except TypeError:  # a method of the program's own
        return value.model_dump()


def _exception_text(error: BaseException) -> str:
    """Return type and message of an exception, with its notes and the exceptions of a group."""
    text, name = as_text(error), type(error).__qualname__
    parts = [f"{name}: {text}" if text else name]
    inner = getattr(error, "exceptions", None)
    if isinstance(inner, tuple) and all(isinstance(member, BaseException) for member in inner):
        texts = [_exception_text(member) for member in inner[:_MAX_GROUPED]]
        parts[0] += f" [{'; '.join(texts)}{'; …' if len(inner) > _MAX_GROUPED else ''}]"
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, (list, tuple)):
        parts += [as_text(note) for note in notes]
    return "\n".join(parts)


def _members_of_mapping(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    kind = type(value)
    try:
        if hasattr(kind, "multi_items"):  # starlette, httpx
            return _merge(value.multi_items())  # type: ignore[attr-defined]
        if hasattr(kind, "lists"):  # Django, werkzeug
            listed = [(key, list(values)) for key, values in value.lists()]  # type: ignore[attr-defined]
            return [(key, values[0] if len(values) == 1 else values) for key, values in listed]
    except (AttributeError, TypeError, ValueError):  # a method of this name with another meaning
        pass
    return _merge(value.items())


def _merge(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return pairs with the values of equal keys in one list, each key at its first place."""
    pairs = list(pairs)
    try:
        if len({key for key, _ in pairs}) == len(pairs):
            return pairs
    except Exception:  # noqa: BLE001 - a key's own `__hash__` or `__eq__`
        return pairs
    values: dict[Any, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return [(key, of_key[0] if len(of_key) == 1 else of_key) for key, of_key in values.items()]


def _is_socket(kind: type) -> bool:
    return any(base.__module__ in {"_socket", "asyncio.trsock"} for base in kind.__mro__)


def _members_of_socket(value: Any) -> list[tuple[Any, Any]] | None:
    """Return the addresses of a socket; `None` for one that has none, or is closed."""
    members: list[tuple[Any, Any]] = []
    for name, ask in (("local", "getsockname"), ("peer", "getpeername")):
        try:
            address = getattr(value, ask)()
        except (OSError, AttributeError):
            continue
        if isinstance(address, tuple) and len(address) >= 2:
            host, port = address[:2]
            address = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        if address:
            members.append((name, address))
    return members or None


def unique_key(key: object, taken: Collection[str]) -> str:
    """Return a key as text, with enough `_` at its end to differ from all used keys.

    An `Enum` as a key becomes its value, and bytes become text.
    """
    if isinstance(key, enum.Enum) and not isinstance(key, str):
        key = key.value
    if isinstance(key, (bytes, bytearray)):
        key = bytes(key).decode("utf-8", "backslashreplace")
    name = clean_text(key if isinstance(key, str) else as_text(key))
    while name in taken:
        name += "_"
    return name


def clean_text(text: str) -> str:
    """Return a text with its lone surrogates, which UTF-8 cannot encode, written as escapes of four hex digits."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def shorten(text: str, max_characters: int) -> str:
    """Return the beginning of a text, followed by its length if it was cut."""
    return text if len(text) <= max_characters else f"{text[:max_characters]}… ({len(text)} characters)"


def _mark(reason: str, value: object) -> dict[str, str]:
    """Return the object that replaces a value which JSON cannot represent."""
    try:
        text = hex(value) if type(value) is int else repr(value)  # Python refuses thousands of decimal digits
    except Exception as error:  # noqa: BLE001 - the value's own code
        text = f"<{type(value).__name__}: __repr__ raised {type(error).__name__}>"
    return {MARK: reason, "repr": clean_text(shorten(text, MAX_REPR_CHARACTERS))}


def _offset_has_seconds(value: dt.datetime | dt.time) -> bool:
    """Return whether the offset from UTC has seconds, as local mean times have; RFC 3339 cannot write them."""
    offset = value.utcoffset()
    return offset is not None and offset % _MINUTE != _NO_TIME


def _rfc3339(value: dt.datetime | dt.time) -> str:
    if isinstance(value, dt.datetime) and _offset_has_seconds(value):
        value = value.astimezone(dt.timezone.utc)
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text
