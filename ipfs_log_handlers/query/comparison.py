"""Compare a field of a record with a value; decide by a zone map whether a record of the batch can match."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nextafter
from typing import Any, Final

from ipfs_log_handlers.format.bloom import hash_of_number, hash_of_text, number_of
from ipfs_log_handlers.query.clues import Clue, Clues, key_word, value_word
from ipfs_log_handlers.subsystems.registry import is_id

__all__ = ["MISSING", "Comparison", "Test", "number_of", "plain_number_of", "value_at"]

_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_MAX_CLUES: Final = 16
"""Values up to which a text is searched for each of them; with more, it is searched for the key alone."""
MISSING: Final = object()
"""The value of a field that a record does not have."""


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """Return the value of a field, or of a member of it: `a.b` is the member `b` of field `a`, `a.0` its first item.

    A field whose own name has dots is used before a nested one. `MISSING` if there is none.
    """
    if path in record:
        return record[path]
    value: Any = record
    rest = path
    while rest:
        if isinstance(value, Mapping):
            if rest in value:
                return value[rest]
            name, _, rest = rest.partition(".")
            if name not in value:
                return MISSING
            value = value[name]
        elif isinstance(value, list):
            name, _, rest = rest.partition(".")
            if not (name.isascii() and name.isdecimal() and int(name) < len(value)):
                return MISSING
            value = value[int(name)]
        else:
            return MISSING
    return value


def plain_number_of(text: str) -> float | int | None:
    """Return the number in a text that is a plain decimal number; `None` for another text.

    A plain number has no exponent, no plus sign and no leading zeros, and a double can hold it. Other texts of digits
    are ids more often than numbers: `12e45678`, `0e123456`, `00000005`.
    """
    number = number_of(text) if _PLAIN_NUMBER.fullmatch(text) is not None else None
    return None if isinstance(number, float) and not isfinite(number) else number


_ADDED: Final = ("origin", "origin_")
"""Fields that a reader may add or rename: a manifest, and an index, know them under other names."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on one field."""

    path: str
    """The field; dots separate members of nested objects."""
    operator: str
    """`=`, `<`, `<=`, `>`, `>=`, `in`, `~` (a text matches a regular expression); the opposites `!=`, `!~` and `not_in`
    are also met by a record without the field."""
    value: Any
    """The value to compare with: a tuple of values for `in`, a compiled expression for `~`."""
    loose: bool = False
    """Whether a number equals a text that is the same plain decimal number, and `<` and `>` compare a number with the
    text of any number, as on the command line."""

    name = "where"
    head_only = False

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record meets the condition."""
        stated = value_at(record, self.path)
        operator = self.operator
        if operator == "=":
            return self._equals(stated, self.value)
        if operator == "!=":
            return not self._equals(stated, self.value)
        if operator == "in":
            return any(self._equals(stated, value) for value in self.value)
        if operator == "not_in":
            return not any(self._equals(stated, value) for value in self.value)
        if operator in ("~", "!~"):
            has = isinstance(stated, (str, int, float)) and self.value.search(_text_of(stated)) is not None
            return has is (operator == "~")
        return self._in_order(stated)

    def _equals(self, stated: Any, value: Any) -> bool:
        if value is None:
            return stated is None or stated is MISSING
        if _equal(stated, value):
            return True
        if not self.loose:
            return False
        if isinstance(stated, str) and isinstance(value, (int, float)):
            return plain_number_of(stated) == value and not isinstance(value, bool)
        return False

    def _in_order(self, stated: Any) -> bool:
        value = self.value
        if self.loose and isinstance(stated, str) and isinstance(value, (int, float)):
            stated = number_of(stated)
        if isinstance(stated, bool) or isinstance(value, bool):
            return False
        numbers = isinstance(stated, (int, float)) and isinstance(value, (int, float))
        if not numbers and not (isinstance(stated, str) and isinstance(value, str)):
            return False
        if self.operator == ">":
            return bool(stated > value)
        if self.operator == ">=":
            return bool(stated >= value)
        return bool(stated < value if self.operator == "<" else stated <= value)

    # -- without reading a record

    @property
    def clues(self) -> Clues | None:
        """Words in the line of each matching record; `None`: no such word is known."""
        key = key_word(self.path)
        if key is None:
            return None
        if self.operator == "~":
            return (Clue(key),)
        if self.operator in ("<", "<=", ">", ">=") and _is_number(self.value):
            return (Clue(key, _bounds(self.operator, self.value)),)
        if self.operator in ("=", "in"):
            return self._clues_of_values(key, self.value if self.operator == "in" else (self.value,))
        return None

    def _clues_of_values(self, key: bytes, values: Sequence[Any]) -> Clues | None:
        clues = []
        for value in values:
            if value is None:
                return None
            if isinstance(value, str):
                clues.append(Clue(value_word(value) or key))
            else:
                clues.append(Clue(key, _bounds("=", value) if _is_number(value) else None))
        distinct = tuple(dict.fromkeys(clues))
        return distinct if len(distinct) <= _MAX_CLUES else (Clue(key),)

    @property
    def ids(self) -> tuple[str, tuple[int, ...]] | None:
        """The field, and the hashes of the values one of which each matching record has; `None` when that is open."""
        if self.operator not in ("=", "in") or not is_id(self.path) or self.path in _ADDED:
            return None
        values = self.value if self.operator == "in" else (self.value,)
        hashes = [hashed for value in values if (hashed := _hash_of(value)) is not None]
        return (self.path, tuple(hashes)) if len(hashes) == len(values) else None

    def may_have_origin(self, origin: str) -> bool:
        """Return whether a record that shows this origin can meet the condition."""
        return self.path != "origin" or self.matches({"origin": origin})

    def may_match(self, zone: Mapping[str, Any]) -> bool:
        """Return whether a record of a batch with this zone map can meet the condition."""
        if self.path in _ADDED:
            return True
        fields = zone.get("fields") if "." not in self.path else None
        entry = fields.get(self.path) if isinstance(fields, Mapping) else None
        if not isinstance(entry, Mapping):
            return True
        if self.operator == "=":
            return self._may_equal(entry, self.value)
        if self.operator == "in":
            return any(self._may_equal(entry, value) for value in self.value)
        if self.operator in ("<", "<=", ">", ">=") and isinstance(self.value, (int, float)):
            return (self.loose and bool(entry.get("values"))) or self._may_be_in_order(entry)
        return True

    def _may_equal(self, entry: Mapping[str, Any], value: Any) -> bool:
        values = entry.get("values", ())
        if isinstance(values, str):  # too many to list
            return not _is_number(value) or self.loose or "min" not in entry or _between(entry, value)
        if isinstance(value, (str, bool)):
            return any(_equal(known, value) for known in values) or (self.loose and "min" in entry)
        if _is_number(value):
            return _between(entry, value) or (self.loose and bool(values))
        return True

    def _may_be_in_order(self, entry: Mapping[str, Any]) -> bool:
        if "min" not in entry:
            return entry.get("values") == "many"
        if self.operator in (">", ">="):
            return bool(entry["max"] >= self.value)
        return bool(entry["min"] <= self.value)


@dataclass(frozen=True, slots=True)
class Test:
    """A function of the record from a program."""

    function: Callable[[dict[str, Any]], object]

    name = "where"
    head_only = False
    clues = None
    ids = None

    def matches(self, record: dict[str, Any]) -> bool:
        """Return whether the function accepts a record."""
        return bool(self.function(record))

    def may_match(self, zone: Mapping[str, Any]) -> bool:
        """Return true, because only the function can decide."""
        return True


def _equal(stated: Any, value: Any) -> bool:
    """Compare two JSON values: `true` is not a number, and 1 equals 1.0."""
    if isinstance(stated, bool) or isinstance(value, bool):
        return stated is value
    return bool(stated == value)


def _hash_of(value: Any) -> int | None:
    """Return the hash by which a Bloom filter has a value; `None` for one that is no id."""
    if isinstance(value, str):
        return hash_of_text(value)
    return hash_of_number(value) if _is_number(value) else None


def _bounds(operator: str, value: float) -> tuple[float, float]:
    """Return the least and the greatest number that can meet a comparison, as floats."""
    try:
        bound = float(value)
    except OverflowError:
        return (-inf, inf)
    is_exact = bound == value
    if operator in (">", ">="):
        return (nextafter(bound, inf) if operator == ">" and is_exact else bound, inf)
    if operator in ("<", "<="):
        return (-inf, nextafter(bound, -inf) if operator == "<" and is_exact else bound)
    return (bound, bound)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _between(entry: Mapping[str, Any], number: float) -> bool:
    return "min" in entry and bool(entry["min"] <= number <= entry["max"])


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
