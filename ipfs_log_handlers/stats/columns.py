"""Collect the values of a field, within the limits of a manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

__all__ = ["MANY", "MAX_DISTINCT_VALUES", "ColumnStats", "cap_counts", "cap_names", "keys_of", "texts_of"]

MANY: Final = "many"
"""Text that replaces a set that is too large for a manifest (docs/home.md 13)."""
MAX_DISTINCT_VALUES: Final = 32
"""Number of values above which a set becomes `MANY`."""
_MAX_SET_BYTES: Final = 2048
"""UTF-8 bytes of all texts of a set together, above which it becomes `MANY`."""
_MAX_KEY_LENGTH: Final = 256
"""Characters of a text above which a set of keys contains its hash instead."""
_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 63) - 1
"""Bounds of integers with 64 bits; a larger integer makes the set and the bounds of its field unknown."""
_UNSET: Final = msgspec.UNSET
"""The value of a field that a record does not have."""
_TEXT: Final = {str}
_TEXT_OR_NONE: Final = {str, msgspec.UnsetType}
_NUMBERS: Final = {int, float}
"""Sets of types: a column whose values have only these types is added without a loop in Python."""


class ColumnStats:
    """The values of a field: its texts and booleans, and the smallest and largest of its numbers.

    Args:
        numbers: also keep the set of its numbers.
    """

    __slots__ = ("largest", "many", "named", "numbers", "out_of_range", "smallest")

    def __init__(self, *, numbers: bool = False) -> None:
        self.named: set[str | bool] = set()
        self.numbers: set[float] | None = set() if numbers else None
        self.smallest: float | None = None
        self.largest: float | None = None
        self.many = False
        self.out_of_range = False

    def add(self, column: Collection[Any]) -> None:
        """Add the values of some records; a value that is not a text, boolean or number does not count."""
        kinds = set(map(type, column))
        if kinds <= _TEXT_OR_NONE:
            if str in kinds and not self.many:
                self._add_named(set(column))
        elif kinds <= _NUMBERS:
            self._add_numbers(column)
        else:
            if not self.many:
                self._add_named({value for value in column if value.__class__ is str or value.__class__ is bool})
            self._add_numbers([value for value in column if value.__class__ is int or value.__class__ is float])

    def _add_named(self, values: set[Any]) -> None:
        values.discard(_UNSET)
        if not values <= self.named:
            self.named |= values
            self._check_size()

    def _add_numbers(self, numbers: Collection[float]) -> None:
        if not numbers:
            return
        smallest, largest = min(numbers), max(numbers)
        if not _MIN_INT <= smallest <= largest <= _MAX_INT:
            inside = [number for number in numbers if number.__class__ is float or _MIN_INT <= number <= _MAX_INT]
            if len(inside) < len(numbers):
                self.out_of_range = True
                self._add_numbers(inside)
                return
        self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
        self.largest = largest if self.largest is None else max(self.largest, largest)
        if self.numbers is not None and not self.many:
            self.numbers.update(numbers)
            self._check_size()

    def _check_size(self) -> None:
        texts = [value for value in self.named if value.__class__ is str]
        if len(self.named) + len(self.numbers or ()) > MAX_DISTINCT_VALUES or not _fit_in(texts):
            self.many = True
            self.named.clear()
            if self.numbers is not None:
                self.numbers.clear()

    def cap_names(self) -> list[Any] | str:
        """Return all values, sorted: booleans, numbers, texts; or `MANY`."""
        if self.many or self.out_of_range:
            return MANY
        return [
            *sorted(value for value in self.named if value.__class__ is bool),
            *sorted(self.numbers or ()),
            *sorted(value for value in self.named if value.__class__ is str),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the zone map: `values` if there are texts or booleans, `min` and `max` if numbers."""
        entry: dict[str, Any] = {}
        if self.many or self.out_of_range or self.named:
            entry["values"] = self.cap_names()
        if self.smallest is not None and not self.out_of_range:
            entry |= {"min": self.smallest, "max": self.largest}
        return entry


def cap_counts(counts: Mapping[str, int]) -> dict[str, int] | str:
    """Return the counts by name, or `MANY` if there are too many names."""
    return dict(counts) if _fit_in(counts) else MANY


def cap_names(names: Collection[str]) -> list[str] | str:
    """Return the names, sorted, or `MANY` if there are too many."""
    return sorted(names) if _fit_in(names) else MANY


def _fit_in(names: Collection[str]) -> bool:
    return len(names) <= MAX_DISTINCT_VALUES and sum(len(name.encode()) for name in names) <= _MAX_SET_BYTES


def keys_of(column: Sequence[Any]) -> Sequence[Any]:
    """Return a key for each value, equal for equal values; `None` for a value that is not a text, boolean or number."""
    plain = set(map(type, column)) == _TEXT and max(map(len, column)) <= _MAX_KEY_LENGTH
    return column if plain else list(map(_key, column))


def texts_of(column: Sequence[Any]) -> Sequence[str | None]:
    """Return each value as the name of a count; `None` for a value that is not a text, boolean or number.

    A text that is too long for a manifest is cut, to save memory; it stays too long.
    """
    plain = set(map(type, column)) == _TEXT and max(map(len, column)) <= _MAX_SET_BYTES
    return column if plain else list(map(_text, column))


def _key(value: Any) -> Any:
    """Return a key for a value; `None` if it is not a text, boolean or number."""
    kind = value.__class__
    if kind is str:
        return value if len(value) <= _MAX_KEY_LENGTH else sha256(value.encode()).digest()
    return (kind, value) if kind is int or kind is float or kind is bool else None


def _text(value: Any) -> str | None:
    """Return a value as the name of a count; `None` if it is not a text, boolean or number."""
    kind = value.__class__
    if kind is str:
        return value[: _MAX_SET_BYTES + 1]  # type: ignore[no-any-return]
    return json.dumps(value) if kind is int or kind is float or kind is bool else None
