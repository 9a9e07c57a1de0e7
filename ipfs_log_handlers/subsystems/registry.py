"""The registry: which subsystems there are, and which of them a record belongs to.

A subsystem is one log of a home. Its name becomes a directory, so only registered names are accepted; a field of a
record never creates one. Your own, in three lines, before the logging configuration or in its `subsystem`:

    register(Subsystem(name="billing", type="bills", loggers=("shop.billing",),
        events={"billing.paid": ("invoice", "amount")},
        meta={"paid_count": count(), "methods": distinct("method")}))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_log_handlers.subsystems.events import Event, Events
    from ipfs_log_handlers.subsystems.rules import Rule, Rules

__all__ = ["DEFAULT", "Router", "Subsystem", "check_metadata", "get", "load", "names", "register"]

DEFAULT: Final = "logs"
"""Where a record goes that no rule sends elsewhere."""
_NAME: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_NOTHING: Final[Mapping[str, Any]] = {}
_COMMON: Final = frozenset({"type", "timestamp", "version", "record_count", "left_out"})
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
    events: Mapping[str, Any] = field(default_factory=dict)
    """Its events: `Events`, or by name the list of fields that each requires. The first is the event of a JSON-object
    message that names none."""
    records: int = 200
    """Records in a batch, where the configuration does not say."""
    version: str = "1.0"
    """`version` in the metadata of its batches, where the configuration does not say."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Its own keys in the metadata of a batch, and the rule of each: a `Rule`, or the mapping of its settings."""
    zone: Sequence[str] = ()
    """Fields whose least and greatest numbers and small sets of values a batch tells, so that a query may skip it."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in _NOT_NAMES:
            raise ConfigurationError(
                "the name of a subsystem becomes a directory",
                expected="[a-z0-9_]{1,64}, but not " + " or ".join(sorted(_NOT_NAMES)),
                found=repr(self.name),
            )
        if type(self.records) is not int or self.records < 1:
            raise ConfigurationError("a batch holds at least one record", where=self.name, found=self.records)
        from ipfs_log_handlers.subsystems.rules import is_name

        if not is_name(self.type) or not is_name(self.version):
            raise ConfigurationError("not a type or version", where=self.name, found=repr((self.type, self.version)))
        for name in ("loggers", "zone"):
            object.__setattr__(self, name, _names(self.name, name, getattr(self, name)))
        object.__setattr__(self, "events", _events(self.name, self.events))
        object.__setattr__(self, "meta", _rules(self.name, self.meta))

    @classmethod
    def parse(cls, members: Mapping[str, Any]) -> Subsystem:
        """A subsystem as a logging configuration gives it: a mapping of these fields, and of dictConfig's `()`.

        Raises:
            ConfigurationError: a name or value is wrong; says which, and the nearest right one.
        """
        known = [each.name for each in fields(cls)]
        given = {str(key): value for key, value in members.items() if key != "()"}
        for key in given:
            if key not in known:
                raise _no_such("no such setting of a subsystem", "subsystem", key, known)
        if not {"name", "type"} <= given.keys():
            raise ConfigurationError(
                "a subsystem needs a name and a type", where="subsystem", found=repr(sorted(given))
            )
        return cls(**given)

    @property
    def first_event(self) -> str | None:
        """The event of a JSON-object message that names none."""
        return next(iter(self.events), None)

    def lacks(self, event: object, fields: Mapping[str, Any], configured: Mapping[str, Any] = _NOTHING) -> bool:
        """Whether the record is without a field that its event requires and the configuration does not give."""
        known: Event | None = self.events.get(event) if isinstance(event, str) else None
        return known is not None and any(name not in configured for name in known.lacks(fields))

    def required(self, configured: Mapping[str, Any] = _NOTHING) -> dict[str, tuple[str, ...]]:
        """By event, the fields that a record must have; alternatives as `one|other`, a name that no field has."""
        return {
            name: tuple(each for each in event.lacks(_NOTHING) if each not in configured)
            for name, event in self.events.items()
        }

    @property
    def rules(self) -> Rules:
        """What a keeper must know to count its batches."""
        from ipfs_log_handlers.subsystems.rules import Rules

        required = {name: event.required for name, event in self.events.items()}
        return Rules(required=required, meta=self.meta, zone=tuple(self.zone))

    @property
    def configurable(self) -> tuple[str, ...]:
        """The names that a handler's `metadata` may give for it."""
        rules: Iterable[Rule] = self.meta.values()
        names = [name for rule in rules for name in (rule.configured, rule.plural if rule.logger else "") if name]
        return tuple(dict.fromkeys(("version", *names)))


_OURS: Final = (
    "audit",
    "logs",
    "wal",
    "telemetry",
    "health",
    "fs_monitor",
    "fs_replication",
    "lifecycle",
    "data_lifecycle",
    "mcp_files",
    "mcp_actions",
)
"""Modules of this package, each with its `SUBSYSTEM`: read when it is first asked for."""
_registered: dict[str, Subsystem] = {}


def register(subsystem: Subsystem) -> Subsystem:
    """Make a subsystem known to handlers, the CLI and the keeper of this process.

    Raises:
        ConfigurationError: another subsystem has that name.
    """
    known = _found(subsystem.name) or _registered.setdefault(subsystem.name, subsystem)
    if known != subsystem:
        raise ConfigurationError("another subsystem has this name", where=subsystem.name)
    Router.forget()
    return subsystem


def _found(name: str) -> Subsystem | None:
    known = _registered.get(name)
    if known is None and name in _OURS:
        module = import_module(f"ipfs_log_handlers.subsystems.{name}")
        known = _registered.setdefault(name, module.SUBSYSTEM)
    return known


def get(name: str) -> Subsystem:
    """The subsystem of that name.

    Raises:
        ConfigurationError: none is registered; names the nearest one.
    """
    known = _found(name) if isinstance(name, str) else None
    if known is not None:
        return known
    raise _no_such(
        "no such subsystem",
        "subsystem",
        name,
        sorted(names()),
        hint="Your own are made known with ipfs_log_handlers.register(Subsystem(...)).",
    )


def names() -> tuple[str, ...]:
    """All registered names: those of this package, then your own in the order of registration."""
    return tuple(dict.fromkeys((*_OURS, *_registered)))


def load() -> tuple[Subsystem, ...]:
    """All registered subsystems: what routing needs."""
    return tuple(get(name) for name in names())


def check_metadata(subsystem: Subsystem | None, metadata: Mapping[str, Any]) -> None:
    """Refuse a name in a handler's `metadata` that its subsystem (without one: any that is registered) does not take.

    Raises:
        ConfigurationError: names the nearest right one.
    """
    if not metadata:
        return
    subsystems = load() if subsystem is None else (subsystem,)
    known = sorted({name for each in subsystems for name in each.configurable})
    prefixes = {rule.plural for each in subsystems for rule in each.meta.values() if rule.logger}
    for name, value in metadata.items():
        if name not in known:
            raise _no_such_metadata(subsystem, name, known)
        if isinstance(value, Mapping) != (name in prefixes):
            raise ConfigurationError(
                "not a value for metadata",
                where=f"metadata.{name}",
                expected="names by loggers" if name in prefixes else "a text, a number or a boolean",
                found=repr(value),
            )


def _no_such_metadata(subsystem: Subsystem | None, name: str, known: Sequence[str]) -> ConfigurationError:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    if near:
        takes_no = "no subsystem takes" if subsystem is None else f"{subsystem.name} takes no"
        return ConfigurationError(f"{takes_no} {name!r}; did you mean {near[0]!r}?", where="metadata")
    takes = "subsystems take" if subsystem is None else f"{subsystem.name} takes"
    return ConfigurationError(f"{takes} only {', '.join(known)}", where="metadata", found=repr(name))


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
        if named is not None and isinstance(named, str) and (named in _registered or named in _OURS):
            return named
        if not cls._fresh:
            cls._read(load())
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


def _names(owner: str, what: str, given: object) -> tuple[str, ...]:
    from ipfs_log_handlers.subsystems.rules import is_name

    if isinstance(given, str) or not isinstance(given, Sequence) or not all(map(is_name, given)):
        raise ConfigurationError("not a list of names", where=f"{owner}.{what}", found=repr(given))
    return tuple(given)


def _events(owner: str, given: object) -> Events:
    from ipfs_log_handlers.subsystems.events import Event, Events
    from ipfs_log_handlers.subsystems.rules import required_fields

    if isinstance(given, Events):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            "events are named with the fields that they require",
            where=f"{owner}.events",
            expected="a mapping such as {'billing.paid': ['invoice', 'amount']}",
            found=repr(given),
        )
    events = Events()
    for name, told in given.items():
        events[str(name)] = told if isinstance(told, Event) else Event(str(name), required_fields(told))
    return events


def _rules(owner: str, given: object) -> dict[str, Rule]:
    from ipfs_log_handlers.subsystems.rules import Rule, is_name

    if not isinstance(given, Mapping) or not all(map(is_name, given)):
        raise ConfigurationError("rules are named", where=f"{owner}.meta", expected="a mapping", found=repr(given))
    taken = _COMMON & given.keys()
    if taken:
        raise ConfigurationError("a key that every batch has", where=f"{owner}.meta", found=", ".join(sorted(taken)))
    return {name: Rule.parse(told) for name, told in given.items()}


def _no_such(
    message: str, where: str, found: object, names: Sequence[str], hint: str | None = None
) -> ConfigurationError:
    import difflib

    near = difflib.get_close_matches(str(found), names, n=1)
    expected = f"{near[0]!r} perhaps" if near else "one of " + ", ".join(names)
    return ConfigurationError(message, where=where, expected=expected, found=repr(found), hint=hint)
