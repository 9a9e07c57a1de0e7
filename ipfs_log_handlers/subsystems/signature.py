"""Read the fields of an event from the signature that declares them, and check a value for a field.

This module is imported when the first event is made, so that a program that only logs text starts faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ipfs_log_handlers.errors import ConfigurationError, EventError
from ipfs_log_handlers.subsystems.annotations import Known, Members, Range, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Field", "field_table", "fields_of", "nearest", "shown"]

Kind = Literal["text", "integer", "number", "boolean", "object", "list"]
# The kind of JSON value for each type of an annotation.
_KINDS: Final[dict[object, Kind]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    Mapping: "object",
    list: "list",
    Sequence: "list",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an event."""

    name: str
    """Name of the field."""
    kind: Kind
    """Kind of the JSON value."""
    required: bool
    """Whether a caller must give the field."""
    unit: str = ""
    """Unit of a number."""
    values: tuple[str, ...] = ()
    """Values of a text."""
    closed: bool = False
    """Whether only `values` are allowed."""
    range: tuple[float, float] | None = None
    """Smallest and largest value of a number."""
    members: tuple[Field, ...] = ()
    """Known members of an object, or of each object in a list."""

    def check(self, value: object, where: str) -> None:
        """Check a value.

        Args:
            value: the value that a caller gives for the field.
            where: the place for the message, `<event>.<field>`.

        Raises:
            EventError: the value has a wrong type, or is not allowed.
        """
        if not _is(self.kind, value):
            raise EventError("a field of the wrong type", where=where, expected=self.expected, found=shown(value))
        if self.closed and value not in self.values:
            near = nearest(str(value), self.values)
            raise EventError(
                "no such value",
                where=where,
                expected=f"{near!r} perhaps, of {self.expected}" if near else self.expected,
                found=shown(value),
            )
        if self.range is not None and not self.range[0] <= value <= self.range[1]:  # type: ignore[operator]
            raise EventError("a number out of its range", where=where, expected=self.expected, found=shown(value))
        if self.members:
            for item in value if isinstance(value, (list, tuple)) else (value,):
                self._check_members(item, where)

    def _check_members(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise EventError("a field of the wrong type", where=where, expected="objects", found=shown(value))
        for member in self.members:
            inner = value.get(member.name)
            if inner is not None:
                member.check(inner, f"{where}.{member.name}")
            elif member.required:
                raise EventError("a field is missing", where=f"{where}.{member.name}", expected=member.expected)

    @property
    def expected(self) -> str:
        """The values that are allowed, in words."""
        kinds = {"text": "text", "integer": "a whole number", "number": "a finite number", "boolean": "True or False"}
        if self.closed:
            return "one of " + ", ".join(self.values)
        if self.range is not None:
            return f"{kinds[self.kind]} from {self.range[0]:g} to {self.range[1]:g}"
        text = kinds.get(self.kind) or ("a mapping" if self.kind == "object" else "a list")
        return f"{text} ({self.unit})" if self.unit else text


@cache
def fields_of(declared: Callable[..., None]) -> tuple[Field, ...]:
    """Read the fields that a signature declares, in the order of the signature.

    Raises:
        ConfigurationError: a parameter has a type that no field can have, or may be given by position.
    """
    hints = get_type_hints(declared, include_extras=True)
    declared_fields = []
    for parameter in signature(declared).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise ConfigurationError("fields are given by name", where=declared.__name__, found=str(parameter))
        declared_fields.append(
            _field(parameter.name, hints.get(parameter.name), required=parameter.default is parameter.empty)
        )
    return tuple(declared_fields)


def _field(name: str, hint: object, *, required: bool | None = None) -> Field:
    hint, optional = _without_none(hint)
    notes: tuple[object, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        notes = tuple(rest)
    values, closed = next((note for note in notes if isinstance(note, Known)), ()), False
    if get_origin(hint) is Literal:
        values, closed, hint = get_args(hint), True, str
    kind = _KINDS.get(get_origin(hint) or hint)
    if kind is None:
        raise ConfigurationError("a field cannot have this type", where=name, found=repr(hint))
    members = next((note.types for note in notes if isinstance(note, Members)), {})
    return Field(
        name=name,
        kind=kind,
        required=not optional if required is None else required,
        unit=next((str(note) for note in notes if isinstance(note, Unit)), ""),
        values=tuple(values),
        closed=closed,
        range=next((note for note in notes if isinstance(note, Range)), None),
        members=tuple(_field(member, member_hint) for member, member_hint in members.items()),
    )


def _without_none(hint: object) -> tuple[object, bool]:
    if get_origin(hint) not in {Union, UnionType}:
        return hint, False
    rest = [kind for kind in get_args(hint) if kind is not NoneType]
    return (rest[0] if len(rest) == 1 else hint), len(rest) < len(get_args(hint))


@cache
def field_table(declared: Callable[..., None]) -> dict[str, Field]:
    """Read the fields that a signature declares, by name."""
    return {field.name: field for field in fields_of(declared)}


def _is(kind: Kind, value: object) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "object":
        return isinstance(value, Mapping)
    if kind == "list":
        return isinstance(value, (list, tuple))
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (kind == "number" and isinstance(value, float) and isfinite(value))


def nearest(name: str, names: Sequence[str]) -> str:
    """Find the most similar name; return an empty text if none is similar."""
    import difflib

    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.5)), "")


def shown(value: object) -> str:
    """Show a value in a message: its type and at most 80 characters of it."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the value's own code
        text = type(value).__name__
    return f"{type(value).__name__} {text[:80]}"
