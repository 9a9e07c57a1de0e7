"""The registry: which subsystems there are, and which of them a record belongs to.

A subsystem is one log of a home. Its name becomes a directory, so only registered names are accepted; a field of a
record never creates one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["DEFAULT", "Router", "Subsystem", "get", "names", "register"]

DEFAULT: Final = "logs"
"""Where a record goes that no rule sends elsewhere."""
_NAME: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_NOT_NAMES: Final = frozenset({"requests", "reserve"})
"""What a home has under such a name already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsystem:
    """What one subsystem logs."""

    name: str
    """Name of its log and directory: lower-case letters, digits, `_`; at most 64."""
    type: str
    """`type` in the metadata of its batches."""
    loggers: tuple[str, ...] = ()
    """Loggers, with all below them, whose records are routed here."""
    events: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each event and the fields it requires. The first is the event of a JSON-object message that names none."""
    records: int = 200
    """Records in a batch, where the configuration does not say."""
    version: str = "1.0"
    """`version` in the metadata of its batches."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _NOT_NAMES:
            raise ConfigurationError(
                "the name of a subsystem becomes a directory",
                expected="[a-z0-9_]{1,64}, but not " + " or ".join(sorted(_NOT_NAMES)),
                found=repr(self.name),
            )
        if self.records < 1:
            raise ConfigurationError("a batch holds at least one record", where=self.name, found=self.records)

    @property
    def first_event(self) -> str | None:
        """The event of a JSON-object message that names none."""
        return next(iter(self.events), None)

    def lacks(self, event: object, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields that `event` requires and the record does not have."""
        if not isinstance(event, str):
            return ()
        return tuple(name for name in self.events.get(event, ()) if name not in fields)


_registered: dict[str, Subsystem] = {}


def register(subsystem: Subsystem) -> Subsystem:
    """Make a subsystem known to handlers, the CLI and the keeper of this process.

    Raises:
        ConfigurationError: another subsystem has that name.
    """
    known = _registered.setdefault(subsystem.name, subsystem)
    if known != subsystem:
        raise ConfigurationError("another subsystem has this name", where=subsystem.name)
    Router.forget()
    return subsystem


def get(name: str) -> Subsystem:
    """The subsystem of that name.

    Raises:
        ConfigurationError: none is registered; names the nearest one.
    """
    try:
        return _registered[name]
    except (KeyError, TypeError):
        import difflib

        near = difflib.get_close_matches(str(name), _registered, n=1)
        raise ConfigurationError(
            "no such subsystem",
            where="subsystem",
            expected=f"{near[0]!r} perhaps" if near else "one of " + ", ".join(sorted(_registered)),
            found=repr(name),
            hint="Your own are made known with ipfs_log_handlers.subsystems.register(Subsystem(...)).",
        ) from None


def names() -> tuple[str, ...]:
    """All registered names, in the order of registration."""
    return tuple(_registered)


class Router:
    """Finds the subsystem of a record: its field `subsystem`, else the longest prefix of its event, else of its logger.

    `ipfs_kit_py.mcp.handlers` belongs to two subsystems: there the event decides.
    """

    _events: Mapping[str, str] = {}
    _loggers: Mapping[str, str] = {}
    _fresh = False

    @classmethod
    def forget(cls) -> None:
        """Read the registry again at the next record."""
        cls._fresh = False

    @classmethod
    def route(cls, logger: str, event: object, named: object = None) -> str:
        """Name of the subsystem that a record goes to.

        Args:
            logger: name of the logger.
            event: the record's event, if it is text.
            named: the record's `subsystem` field; ignored unless registered.
        """
        if named is not None and isinstance(named, str) and named in _registered:
            return named
        if not cls._fresh:
            cls._read(_registered.values())
        if isinstance(event, str) and (found := _longest(cls._events, event)):
            return found
        return _longest(cls._loggers, logger) or DEFAULT

    @classmethod
    def _read(cls, subsystems: Iterable[Subsystem]) -> None:
        events: dict[str, str] = {}
        loggers: dict[str, str] = {}
        for subsystem in subsystems:
            for event in subsystem.events:
                events.setdefault(event, subsystem.name)
            for logger in subsystem.loggers:
                loggers.setdefault(logger, subsystem.name)
        cls._events, cls._loggers, cls._fresh = events, loggers, True


_LONGEST_KEY: Final = 256


def _longest(table: Mapping[str, str], dotted: str) -> str | None:
    """The entry for `dotted` or for the longest of its prefixes that end before a dot.

    An event may be a text of a megabyte with ten thousand dots: no more is looked at than a name can have.
    """
    dotted = dotted[:_LONGEST_KEY]
    while True:
        found = table.get(dotted)
        if found is not None:
            return found
        dotted, dot, _ = dotted.rpartition(".")
        if not dot:
            return None
