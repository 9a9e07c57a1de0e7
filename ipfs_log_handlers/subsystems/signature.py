"""The fields of an event, read from the signature that declares them, and the check of what a caller gives for them.

Imported when the first event is made: a program that only logs text does not pay for it.
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
from ipfs_log_handlers.subsystems.events import Known, Members, Range, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_log_handlers.subsystems.events import Event

__all__ = ["Field", "check", "fields_of"]

Kind = Literal["text", "integer", "number", "boolean", "object", "list"]
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
    """Its name."""
    kind: Kind
    """What JSON it is."""
    required: bool
    """Whether it must be given."""
    unit: str = ""
    """Unit of a number."""
    values: tuple[str, ...] = ()
    """Values of a text."""
    closed: bool = False
    """Whether there are no others."""
    range: tuple[float, float] | None = None
    """Least and greatest value of a number."""
    members: tuple[Field, ...] = ()
    """Known members of an object, or of each object in a list."""

    def check(self, value: object, where: str) -> None:
        """Raise an EventError that names the place, unless the value is right."""
        if not _is(self.kind, value):
            raise EventError("a field of the wrong type", where=where, expected=self.expected, found=_shown(value))
        if self.closed and value not in self.values:
            near = _nearest(str(value), self.values)
            raise EventError(
                "no such value",
                where=where,
                expected=f"{near!r} perhaps, of {self.expected}" if near else self.expected,
                found=_shown(value),
            )
        if self.range is not None and not self.range[0] <= value <= self.range[1]:  # type: ignore[operator]
            raise EventError("a number out of its range", where=where, expected=self.expected, found=_shown(value))
        if self.members:
            for each in value if isinstance(value, (list, tuple)) else (value,):
                self._check_members(each, where)

    def _check_members(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise EventError("a field of the wrong type", where=where, expected="objects", found=_shown(value))
        for member in self.members:
            found = value.get(member.name)
            if found is not None:
                member.check(found, f"{where}.{member.name}")
            elif member.required:
                raise EventError("a field is missing", where=f"{where}.{member.name}", expected=member.expected)

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        told = {"text": "text", "integer": "a whole number", "number": "a finite number", "boolean": "True or False"}
        if self.closed:
            return "one of " + ", ".join(self.values)
        if self.range is not None:
            return f"{told[self.kind]} from {self.range[0]:g} to {self.range[1]:g}"
        text = told.get(self.kind) or ("a mapping" if self.kind == "object" else "a list")
        return f"{text} ({self.unit})" if self.unit else text


@cache
def fields_of(declared: Callable[..., None]) -> tuple[Field, ...]:
    """The fields that a signature declares, in its order.

    Raises:
        ConfigurationError: a parameter has a type that no field can have, or may be given by position.
    """
    hints = get_type_hints(declared, include_extras=True)
    found = []
    for parameter in signature(declared).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise ConfigurationError("fields are given by name", where=declared.__name__, found=str(parameter))
        found.append(_field(parameter.name, hints.get(parameter.name), required=parameter.default is parameter.empty))
    return tuple(found)


def _field(name: str, hint: object, *, required: bool | None = None) -> Field:
    hint, optional = _without_none(hint)
    notes: tuple[object, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        notes = tuple(rest)
    values, closed = next((each for each in notes if isinstance(each, Known)), ()), False
    if get_origin(hint) is Literal:
        values, closed, hint = get_args(hint), True, str
    kind = _KINDS.get(get_origin(hint) or hint)
    if kind is None:
        raise ConfigurationError("a field cannot have this type", where=name, found=repr(hint))
    members = next((each.types for each in notes if isinstance(each, Members)), {})
    return Field(
        name=name,
        kind=kind,
        required=not optional if required is None else required,
        unit=next((str(each) for each in notes if isinstance(each, Unit)), ""),
        values=tuple(values),
        closed=closed,
        range=next((each for each in notes if isinstance(each, Range)), None),
        members=tuple(_field(inner, told) for inner, told in members.items()),
    )


def _without_none(hint: object) -> tuple[object, bool]:
    if get_origin(hint) not in {Union, UnionType}:
        return hint, False
    rest = [each for each in get_args(hint) if each is not NoneType]
    return (rest[0] if len(rest) == 1 else hint), len(rest) < len(get_args(hint))


def check(event: Event, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, without `None`.

    Raises:
        EventError: a field is missing, misspelt, or of a wrong type or value.
    """
    known = _by_name(event)
    found = {name: value for name, value in given.items() if value is not None}
    if known is None:
        return _with_required(event, found)
    for name, value in found.items():
        declared = known.get(name)
        if declared is None:
            near = _nearest(name, tuple(known))
            raise EventError(
                "no such field",
                where=event.name,
                expected=f"{near!r} perhaps" if near else "one of " + ", ".join(known),
                found=repr(name),
                hint="Fields of your own go beside these: extra={**fields, 'mine': 1}.",
            )
        declared.check(value, f"{event.name}.{name}")
    for name, each in known.items():
        if each.required and name not in found:
            raise EventError("a field is missing", where=f"{event.name}.{name}", expected=each.expected, found="none")
    for names in event.required:
        if isinstance(names, tuple) and found.keys().isdisjoint(names):
            raise EventError("a field is missing", where=event.name, expected=" or ".join(names), found="neither")
    return found


def _with_required(event: Event, found: dict[str, Any]) -> dict[str, Any]:
    missing = event.lacks(found)
    if missing:
        raise EventError("a field is missing", where=event.name, expected=", ".join(missing), found="none")
    return found


@cache
def _table(declared: Callable[..., None]) -> dict[str, Field]:
    return {each.name: each for each in fields_of(declared)}


def _by_name(event: Event) -> dict[str, Field] | None:
    return None if event.declared is None else _table(event.declared)


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


def _nearest(name: str, names: Sequence[str]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.5)), "")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the value's own code
        text = type(value).__name__
    return f"{type(value).__name__} {text[:80]}"
