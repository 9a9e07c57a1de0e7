"""Define annotations of a field for `Annotated`: unit, known values, range, members of an object."""

from __future__ import annotations

from typing import Any

__all__ = ["Known", "Members", "Range", "Unit"]


class Unit(str):
    """In `Annotated`: the unit of a number."""

    __slots__ = ()


class Known(tuple[str, ...]):
    """In `Annotated`: the usual values of a text; others are allowed. A `Literal` allows no others."""

    __slots__ = ()


class Range(tuple[float, float]):
    """In `Annotated`: smallest and largest value of a number."""

    __slots__ = ()


class Members:
    """In `Annotated`: types of known members of an object; a member whose type allows `None` may be missing."""

    __slots__ = ("types",)

    def __init__(self, **types: Any) -> None:
        self.types = types
