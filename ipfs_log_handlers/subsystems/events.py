"""Declare the events of a subsystem: the signature of a function defines the fields of an event.

One declaration is used by all: editors and type checkers read the signature, the function checks the values of a
caller, the registry reads the required fields, and the pages of the documentation are written from the declarations.

    EVENTS = Events()

    @EVENTS.define("billing.paid")
    def paid(*, invoice: str, amount: Annotated[float, Unit("EUR")], method: Literal["card", "cash"] = "card") -> None:
        '''An invoice was paid.'''

    log.info("paid", extra=paid(invoice="A-17", amount=12.5))     # logging
    log.info(**paid(invoice="A-17", amount=12.5))                 # structlog
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from ipfs_log_handlers.errors import EventError
from ipfs_log_handlers.subsystems.annotations import Known, Members, Range, Unit
from ipfs_log_handlers.subsystems.rules import Required

if TYPE_CHECKING:
    from ipfs_log_handlers.subsystems.signature import Field

__all__ = ["Event", "Events", "Fields", "Known", "Members", "Range", "Unit"]

Fields = dict[str, Any]
"""The event and its fields, for `extra=` of logging, and for a structlog logger with `**`."""
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a subsystem."""

    name: str
    """Value of a record's `event`."""
    required: Required = ()
    """Fields that a record needs to count in the batch's metadata; of an inner tuple, one field is enough."""
    about: str = ""
    """The event in one sentence: what happened."""
    declared: Callable[..., None] | None = field(default=None, compare=False, repr=False)
    """The function whose signature declares the fields."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields with their types; empty for an event without a declaration."""
        from ipfs_log_handlers.subsystems.signature import fields_of

        return () if self.declared is None else fields_of(self.declared)

    def lacks(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """List the required fields that are missing; alternatives as `one|other`."""
        return tuple(
            names if isinstance(names, str) else "|".join(names)
            for names in self.required
            if (names not in fields if isinstance(names, str) else fields.keys().isdisjoint(names))
        )

    def make(self, given: Mapping[str, Any]) -> Fields:
        """Check fields and complete them.

        Returns:
            `event`, the given fields in their order, then the defaults of the others; fields that are `None` are left
            out.

        Raises:
            EventError: a field is missing, misspelt, or of a wrong type or value.
        """
        defaults = {} if self.declared is None else self.declared.__kwdefaults__ or {}
        checked = _check(self, {**given, **defaults, **given})
        if self.declared is not None:
            self.declared(**checked)
        return {"event": self.name, **checked}


class Events(dict[str, Event]):
    """The events of a subsystem by name; a JSON message without an event gets the first of them."""

    def define(
        self, name: str, *, one_of: tuple[str, ...] = (), configured: tuple[str, ...] = ()
    ) -> Callable[[Callable[P, None]], Callable[P, Fields]]:
        """Declare an event: its fields are the parameters, and parameters without a default are required.

        The body of the declared function may make further checks; it is called with the checked fields.

        Args:
            name: the event.
            one_of: fields with a default of which one is required.
            configured: fields with a default that are required unless the handler's `metadata` gives them.

        Returns:
            A decorator. The decorated function returns `Fields`, and raises `EventError` for wrong ones.
        """

        def declare(declared: Callable[P, None]) -> Callable[P, Fields]:
            with_default = tuple(declared.__kwdefaults__ or ())
            fields = declared.__code__.co_varnames[: declared.__code__.co_kwonlyargcount]
            required: Required = (*configured, *(field for field in fields if field not in with_default))
            about = (declared.__doc__ or "").partition("\n")[0]
            event = self[name] = Event(name, (*required, one_of) if one_of else required, about, declared)

            @wraps(declared)
            def made(*args: P.args, **fields: P.kwargs) -> Fields:
                if args:
                    raise EventError("fields are given by name", where=name, expected="name=value", found=repr(args))
                return event.make(fields)

            return made

        return declare


def _check(event: Event, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check fields; return them without `None`.

    Raises:
        EventError: a field is missing, misspelt, or of a wrong type or value.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if event.declared is None:
        return _with_required(event, fields)
    from ipfs_log_handlers.subsystems.signature import field_table, nearest

    known = field_table(event.declared)
    for name, value in fields.items():
        declared = known.get(name)
        if declared is None:
            near = nearest(name, tuple(known))
            raise EventError(
                "no such field",
                where=event.name,
                expected=f"{near!r} perhaps" if near else "one of " + ", ".join(known),
                found=repr(name),
                hint="Add fields of your own like this: extra={**fields, 'mine': 1}.",
            )
        declared.check(value, f"{event.name}.{name}")
    for name, declared in known.items():
        if declared.required and name not in fields:
            where = f"{event.name}.{name}"
            raise EventError("a field is missing", where=where, expected=declared.expected, found="none")
    for names in event.required:
        if isinstance(names, tuple) and fields.keys().isdisjoint(names):
            raise EventError("a field is missing", where=event.name, expected=" or ".join(names), found="neither")
    return fields


def _with_required(event: Event, fields: dict[str, Any]) -> dict[str, Any]:
    missing = event.lacks(fields)
    if missing:
        raise EventError("a field is missing", where=event.name, expected=", ".join(missing), found="none")
    return fields
