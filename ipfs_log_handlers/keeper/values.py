"""Values of a field, gathered column by column, as far as a manifest can hold them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

__all__ = ["MANY", "MOST_DISTINCT", "Values", "few", "keys_of", "listed", "texts_of"]

MANY: Final = "many"
"""Stands in place of a set that is too large for a manifest (home.md 13)."""
MOST_DISTINCT: Final = 32
"""Values in a set that a manifest lists."""
_LONGEST_SET: Final = 2048
_LONGEST_KEY: Final = 256
_LEAST: Final = -(1 << 63)
_GREATEST: Final = (1 << 63) - 1
_UNSET: Final = msgspec.UNSET
_TEXT: Final = {str}
_TEXT_OR_NONE: Final = {str, msgspec.UnsetType}
_NUMBERS: Final = {int, float}


class Values:
    """The values of a field, as far as a manifest can hold them: texts, booleans, and the bounds of its numbers.

    Args:
        numbers: list the numbers, too.
    """

    __slots__ = ("greatest", "least", "many", "named", "numbers", "odd")

    def __init__(self, *, numbers: bool = False) -> None:
        self.named: set[str | bool] = set()
        self.numbers: set[float] | None = set() if numbers else None
        self.least: float | None = None
        self.greatest: float | None = None
        self.many = False
        self.odd = False

    def add(self, column: Collection[Any]) -> None:
        """Take a column in; what is no text, boolean or number does not count."""
        kinds = {each.__class__ for each in column}
        if kinds <= _TEXT_OR_NONE:
            if str in kinds and not self.many:
                self._add_named(set(column))
        elif kinds <= _NUMBERS:
            self._add_numbers(column)
        else:
            if not self.many:
                self._add_named({each for each in column if each.__class__ is str or each.__class__ is bool})
            self._add_numbers([each for each in column if each.__class__ is int or each.__class__ is float])

    def _add_named(self, found: set[Any]) -> None:
        found.discard(_UNSET)
        if not found <= self.named:
            self.named |= found
            self._look()

    def _add_numbers(self, found: Collection[float]) -> None:
        if not found:
            return
        least, greatest = min(found), max(found)
        if not _LEAST <= least <= greatest <= _GREATEST:
            inside = [each for each in found if each.__class__ is float or _LEAST <= each <= _GREATEST]
            if len(inside) < len(found):
                self.odd = True
                self._add_numbers(inside)
                return
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)
        if self.numbers is not None and not self.many:
            self.numbers.update(found)
            self._look()

    def _look(self) -> None:
        texts = [each for each in self.named if each.__class__ is str]
        if len(self.named) + len(self.numbers or ()) > MOST_DISTINCT or not _fit_in(texts):
            self.many = True
            self.named.clear()
            if self.numbers is not None:
                self.numbers.clear()

    def listed(self) -> list[Any] | str:
        """All of them, sorted: booleans, numbers, texts."""
        if self.many or self.odd:
            return MANY
        return [
            *sorted(each for each in self.named if each.__class__ is bool),
            *sorted(self.numbers or ()),
            *sorted(each for each in self.named if each.__class__ is str),
        ]

    def told(self) -> dict[str, Any]:
        """As the zone map has it: `values` where there are texts or booleans, `min`, `max` where there are numbers."""
        told: dict[str, Any] = {}
        if self.many or self.odd or self.named:
            told["values"] = self.listed()
        if self.least is not None and not self.odd:
            told |= {"min": self.least, "max": self.greatest}
        return told


def few(counts: Mapping[str, int]) -> dict[str, int] | str:
    """Counts by name, or `many`."""
    return dict(counts) if _fit_in(counts) else MANY


def listed(names: Collection[str]) -> list[str] | str:
    """Names, sorted, or `many`."""
    return sorted(names) if _fit_in(names) else MANY


def _fit_in(names: Collection[str]) -> bool:
    return len(names) <= MOST_DISTINCT and sum(len(each.encode()) for each in names) <= _LONGEST_SET


def keys_of(column: Sequence[Any]) -> Sequence[Any]:
    """What tells each value of a column from others; `None` for what is no text, boolean or number."""
    plain = set(map(type, column)) == _TEXT and max(map(len, column)) <= _LONGEST_KEY
    return column if plain else list(map(_key, column))


def texts_of(column: Sequence[Any]) -> Sequence[str | None]:
    """Each value of a column as the name of a count; `None` for what is no text, boolean or number."""
    return column if set(map(type, column)) == _TEXT else list(map(_text, column))


def _key(value: Any) -> Any:
    """What tells a value from others; `None` for what is no text, boolean or number."""
    kind = value.__class__
    if kind is str:
        return value if len(value) <= _LONGEST_KEY else sha256(value.encode()).digest()
    return (kind, value) if kind is int or kind is float or kind is bool else None


def _text(value: Any) -> str | None:
    """A value as the name of a count; `None` for what is no text, boolean or number."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[no-any-return]
    return json.dumps(value) if kind is int or kind is float or kind is bool else None
