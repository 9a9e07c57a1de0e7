"""Events: what a subsystem logs, declared as the signature of the function that makes the fields.

One declaration serves all: editors and type checkers see the signature, the function checks what it is given, the
registry knows which fields are required, and the pages of the documentation are written from it.

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
from ipfs_log_handlers.subsystems.rules import Required

if TYPE_CHECKING:
    from ipfs_log_handlers.subsystems.signature import Field

__all__ = ["Event", "Events", "Fields", "Known", "Members", "Range", "Unit"]

Fields = dict[str, Any]
"""What `extra=` of logging takes, and with `**` a structlog logger: the event and its fields."""
P = ParamSpec("P")


class Unit(str):
    """In `Annotated`: the unit of a number."""

    __slots__ = ()


class Known(tuple[str, ...]):
    """In `Annotated`: the usual values of a text; others are allowed. A `Literal` allows no others."""

    __slots__ = ()


class Range(tuple[float, float]):
    """In `Annotated`: least and greatest value of a number."""

    __slots__ = ()


class Members:
    """In `Annotated`: types of known members of an object; one whose type allows `None` may be missing."""

    __slots__ = ("types",)

    def __init__(self, **types: Any) -> None:
        self.types = types


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a subsystem."""

    name: str
    """What stands in a record's `event`."""
    required: Required = ()
    """Fields that a record must have to count in the batch's metadata; of those in an inner tuple, any one."""
    about: str = ""
    """In one sentence."""
    declared: Callable[..., None] | None = field(default=None, compare=False, repr=False)
    """The function whose signature tells the fields."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields with their types; empty where none are declared."""
        from ipfs_log_handlers.subsystems.signature import fields_of

        return () if self.declared is None else fields_of(self.declared)

    def lacks(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The required fields that are not there; alternatives as `one|other`."""
        return tuple(
            each if isinstance(each, str) else "|".join(each)
            for each in self.required
            if (each not in fields if isinstance(each, str) else fields.keys().isdisjoint(each))
        )

    def make(self, given: Mapping[str, Any]) -> Fields:
        """The checked fields as they are given, the defaults of others behind them, with `event`, without `None`.

        Raises:
            EventError: one is missing, misspelt, or of a wrong type or value.
        """
        from ipfs_log_handlers.subsystems.signature import check

        defaults = {} if self.declared is None else self.declared.__kwdefaults__ or {}
        found = check(self, {**given, **defaults, **given})
        if self.declared is not None:
            self.declared(**found)
        return {"event": self.name, **found}


class Events(dict[str, Event]):
    """The events of a subsystem by their names, in order; the first is that of a JSON message that names none."""

    def define(
        self, name: str, *, one_of: tuple[str, ...] = (), configured: tuple[str, ...] = ()
    ) -> Callable[[Callable[P, None]], Callable[P, Fields]]:
        """Declare an event: parameters are its fields, those without a default are required.

        Args:
            name: the event.
            one_of: of these fields, each of which has a default, one is required.
            configured: fields with a default that are required unless the handler's `metadata` gives them.

        The body of the declared function may check what a type cannot say; it is called with the checked fields.
        """

        def declare(declared: Callable[P, None]) -> Callable[P, Fields]:
            names = tuple(declared.__kwdefaults__ or ())
            every = declared.__code__.co_varnames[: declared.__code__.co_kwonlyargcount]
            required: Required = (*configured, *(each for each in every if each not in names))
            about = (declared.__doc__ or "").partition("\n")[0]
            event = self[name] = Event(name, (*required, one_of) if one_of else required, about, declared)

            @wraps(declared)
            def made(*args: P.args, **fields: P.kwargs) -> Fields:
                if args:
                    raise EventError("fields are given by name", where=name, expected="name=value", found=repr(args))
                return event.make(fields)

            return made

        return declare
