"""Choose the columns of a table of records, and the column of each value.

A column contains only values of its type. A value without a column, or with another type than its column, is a member
of a JSON object in the last column, `fields`: no value is lost, and none is converted.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

__all__ = ["COMMON", "REST", "Kind", "Layout", "LayoutBuilder", "fits", "json_text", "time_micros"]

REST: Final = "fields"
"""Name of the column with all values that are in no other column, as one JSON object for each record."""
_MAX_COLUMNS: Final = 500
"""Largest number of columns; further fields are in `fields`. A hostile log may have new names in every record."""
_MAX_NAME_LENGTH: Final = 200
"""Largest number of characters of the name of a column."""
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 63) - 1
"""Bounds of a column of whole numbers."""
_MAX_EXACT: Final = 1 << 53
"""Largest number up to which a double represents each whole number exactly."""
_MAX_SECONDS: Final = 10_000
"""Number of seconds whose text is kept together with its value."""


class Kind(enum.Enum):
    """The type of a column."""

    TIME = "time"
    """A moment in UTC, with microseconds."""
    TEXT = "text"
    INTEGER = "integer"
    """A whole number of at most 64 bits."""
    NUMBER = "number"
    """A double."""
    FLAG = "flag"
    """True or false."""
    JSON = "json"
    """JSON text of a value of any type."""


COMMON: Final[Mapping[str, Kind]] = {
    "time": Kind.TIME, "subsystem": Kind.TEXT, "level": Kind.TEXT, "logger": Kind.TEXT, "event": Kind.TEXT,
    "exception": Kind.TEXT, "stack": Kind.TEXT, "pid": Kind.INTEGER, "seq": Kind.INTEGER,
}  # fmt: skip
"""The columns that every table has; the caller's fields come after `event`."""
_FIRST: Final = ("time", "subsystem", "level", "logger", "event")
_TAKEN: Final = frozenset({*COMMON, REST})

# The types of the values of a field: one bit for each type that occurs.
_NULL, _FLAG, _SMALL, _LARGE, _DOUBLE, _TEXT, _TIME, _OTHER = (1 << bit for bit in range(8))
_KINDS: Final = {
    _FLAG: Kind.FLAG, _SMALL: Kind.INTEGER, _LARGE: Kind.INTEGER, _SMALL | _LARGE: Kind.INTEGER, _DOUBLE: Kind.NUMBER,
    _SMALL | _DOUBLE: Kind.NUMBER, _TEXT: Kind.TEXT, _TIME: Kind.TIME, _TIME | _TEXT: Kind.TEXT,
}  # fmt: skip
_ALLOWED: Final = {
    Kind.TIME: _TIME, Kind.TEXT: _TEXT | _TIME, Kind.INTEGER: _SMALL | _LARGE, Kind.NUMBER: _SMALL | _DOUBLE,
    Kind.FLAG: _FLAG, Kind.JSON: (1 << 8) - 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table, in their order, and whether `fields` comes after them."""

    columns: Mapping[str, Kind]
    """The type of each column."""
    has_rest: bool = True
    """Whether there is a column `fields`; tables of chosen fields have none."""


class LayoutBuilder:
    """Determine the columns of a table from its records.

    Args:
        chosen: the fields that are columns, in this order; `None`: the common columns, and each field of a record.
    """

    def __init__(self, chosen: Sequence[str] | None = None) -> None:
        self._chosen = chosen
        self._seen: dict[str, int] = dict.fromkeys(chosen or (), 0)

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Note the types of the values of some records."""
        seen = self._seen
        for name in dict.fromkeys(chain.from_iterable(records)):
            types = seen.get(name)
            if types is None:
                if name in COMMON or len(seen) >= _MAX_COLUMNS:
                    continue
                types = 0
            values = [record[name] for record in records if name in record]
            seen[name] = types | _type_bits(values, is_time=name == "time")

    def layout(self) -> Layout:
        """Return the columns for all noted records."""
        if self._chosen is not None:
            return Layout({name: _kind(types) for name, types in self._seen.items()}, has_rest=False)
        columns = {name: COMMON[name] for name in _FIRST}
        taken = set(_TAKEN)
        for name, types in self._seen.items():
            folded = name.casefold()
            if folded not in taken and 0 < len(name) <= _MAX_NAME_LENGTH and name.isprintable():
                taken.add(folded)
                columns[name] = _kind(types)
        return Layout({**columns, **COMMON})


def _kind(types: int) -> Kind:
    return _KINDS.get(types & ~_NULL, Kind.JSON)


def _type_bits(values: list[Any], *, is_time: bool) -> int:
    """Return the types of some values: without a look at each where all have one usual type."""
    types = set(map(type, values))
    if types == {str} and not is_time and "".join(values).isascii():
        return _TEXT
    if types == {int} and min(values) >= -_MAX_EXACT and max(values) <= _MAX_EXACT:
        return _SMALL
    if types == {float} and not math.isnan(sum(values)):
        return _DOUBLE
    bits = 0
    for value in values:
        bits |= _type_bit(value, is_time=is_time)
    return bits


def _type_bit(value: Any, *, is_time: bool = False) -> int:
    kind = type(value)
    if kind is str:
        if is_time and time_micros(value) is not None:
            return _TIME
        return _TEXT if value.isascii() or _is_unicode(value) else _OTHER
    if kind is int:
        if -_MAX_EXACT <= value <= _MAX_EXACT:
            return _SMALL
        return _LARGE if _MIN_INT <= value <= _MAX_INT else _OTHER
    if kind is float:
        return _DOUBLE if value == value else _OTHER  # noqa: PLR0124 - NaN, which each library sorts in its own way
    if kind is bool:
        return _FLAG
    return _NULL if value is None else _OTHER


def fits(kind: Kind, value: Any) -> bool:
    """Return whether a column of this type can store a value, other than JSON's null, unchanged."""
    return bool(_type_bit(value, is_time=kind is Kind.TIME) & _ALLOWED[kind])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_FIRST_MOMENT: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as the texts, without a timezone
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_seconds: Final[dict[str, int]] = {}
"""The whole seconds that were read last, with their values in µs since 1970."""


def time_micros(text: str) -> int | None:
    """Return the time of a record in µs since 1970; `None` for any other text."""
    if len(text) != 27 or text[19] != "." or text[26] != "Z" or not (text[20:26].isdecimal() and text.isascii()):
        return None
    second = text[:19]
    start = _seconds.get(second)
    if start is None:
        try:
            moment = dt.datetime.fromisoformat(second)
        except ValueError:
            return None
        if moment.isoformat() != second:
            return None
        start = (moment - _FIRST_MOMENT) // _MICROSECOND
        if len(_seconds) >= _MAX_SECONDS:
            _seconds.clear()
        _seconds[second] = start
    return start + int(text[20:26])


def json_text(value: Any) -> str:
    """Return a value of a record as JSON text that every parser reads.

    A value that JSON or UTF-8 cannot represent, which only lines of other writers have, becomes `{"!": "not JSON",
    "repr": …}`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if text.isascii() or _is_unicode(text):
            return text
    except ValueError:
        pass
    return json.dumps(_replaced(value), ensure_ascii=False, separators=(",", ":"))


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if _is_unicode(key) else ascii(key): _replaced(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_replaced(member) for member in value]
    unfit = not _is_unicode(value) if isinstance(value, str) else isinstance(value, float) and value - value != 0
    return {"!": "not JSON", "repr": ascii(value)} if unfit else value
