"""Register subsystems, and choose the subsystem of a record.

A subsystem is one log of a home. Its name becomes a directory, so only registered names are accepted; a field of a
record never creates one. Register your own before the logging configuration, or give it there as `subsystem`:

    register(Subsystem(name="billing", type="bills", loggers=("shop.billing",),
        events={"billing.paid": ("invoice", "amount")},
        meta={"paid_count": count(), "methods": distinct("method")}))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from ipfs_log_handlers.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_log_handlers.subsystems.events import Event, Events
    from ipfs_log_handlers.subsystems.rules import Rule, Rules

__all__ = ["DEFAULT", "MAX_IDS", "Router", "Subsystem", "check_metadata", "get", "is_id", "load", "names", "register"]

DEFAULT: Final = "logs"
"""The subsystem of a record that belongs to no other subsystem."""
_NAME: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)  # a directory in the home
_NOTHING: Final[Mapping[str, Any]] = {}
_COMMON_KEYS: Final = frozenset({"type", "timestamp", "version", "record_count", "left_out"})
"""Keys of `meta` that every batch has: no subsystem may define them."""
_NOT_NAMES: Final = frozenset({"keys", "requests", "reserve"})
"""Names of other files of a home: no subsystem may have them."""
MAX_IDS: Final = 16
"""Fields that a subsystem may list as ids."""
_NO_IDS: Final = ("time", "level", "logger", "event", "pid", "seq", "subsystem", "subsystem_")
"""Fields that hold no ids: the zone map has them, or the reader changes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsystem:
    """A subsystem: its name, events, routing, and the metadata of its batches."""

    name: str
    """Name of its log and directory: at most 64 lower-case letters, digits and `_`."""
    type: str
    """`type` in the metadata of its batches."""
    loggers: tuple[str, ...] = ()
    """Loggers whose records are routed here, also those of loggers below them."""
    events: Mapping[str, Any] = field(default_factory=dict)
    """Its events: `Events`, or a mapping from each event to a list of its required fields. The first is the event of a
    message that is a JSON object without an `event`."""
    records: int = 200
    """Default number of records in a batch."""
    version: str = "1.0"
    """Default `version` in the metadata of its batches."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """The keys that it adds to the metadata of a batch, with their rules: a `Rule`, or a mapping of its settings."""
    zone: Sequence[str] = ()
    """Fields of the zone map: their bounds and small sets of values let a query skip a batch."""
    private: bool = False
    """Whether its records, unless they are encrypted, stay away from stores where strangers can find them."""
    encrypt: Mapping[str, Any] | Literal[False] | None = None
    """How its batches are encrypted if the handler does not say it: the members of `encrypt` of a handler. `False`:
    they stay in clear, also where `IPFS_LOGS_RECIPIENTS` is set; `None`: this subsystem does not say it."""
    ids: Sequence[str] = ()
    """Fields that hold ids, such as `request_id`, at most 16: Bloom filters in the index let a query for one id skip
    nearly all batches. They are not in the manifest, so that they may be changed at any time."""

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
        for name in ("loggers", "zone", "ids"):
            object.__setattr__(self, name, _names(self.name, name, getattr(self, name)))
        if len(self.ids) > MAX_IDS or not all(map(is_id, self.ids)):
            raise ConfigurationError(
                "not the fields of ids",
                where=f"{self.name}.ids",
                expected=f"at most {MAX_IDS} fields of the record itself, without a dot, but not {', '.join(_NO_IDS)}",
                found=repr(self.ids),
            )
        if type(self.private) is not bool:
            raise ConfigurationError("not a boolean", where=f"{self.name}.private", found=repr(self.private))
        if isinstance(self.encrypt, Mapping):
            object.__setattr__(self, "encrypt", dict(self.encrypt))
        elif self.encrypt not in (None, False):
            raise ConfigurationError(
                "not settings of encryption",
                where=f"{self.name}.encrypt",
                expected="a mapping such as {'recipients': ['age1…']}, or False",
            )
        object.__setattr__(self, "events", _events(self.name, self.events))
        object.__setattr__(self, "meta", _rules(self.name, self.meta))

    @classmethod
    def parse(cls, members: Mapping[str, Any]) -> Subsystem:
        """Make a subsystem from a mapping of these fields, as a logging configuration gives it; its `()` is ignored.

        Raises:
            ConfigurationError: a name or value is wrong; the message names the nearest right one.
        """
        known = [setting.name for setting in fields(cls)]
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
        """The event of a message that is a JSON object without an `event`."""
        return next(iter(self.events), None)

    def lacks(self, event: object, fields: Mapping[str, Any], configured: Mapping[str, Any] = _NOTHING) -> bool:
        """Return whether a record lacks a required field of its event that `configured` does not give, either."""
        known: Event | None = self.events.get(event) if isinstance(event, str) else None
        return known is not None and any(name not in configured for name in known.lacks(fields))

    def required(self, configured: Mapping[str, Any] = _NOTHING) -> dict[str, tuple[str, ...]]:
        """Return the fields that a record must have, by event; alternatives as `one|other`, which names no field."""
        return {
            event_name: tuple(name for name in event.lacks(_NOTHING) if name not in configured)
            for event_name, event in self.events.items()
        }

    @property
    def rules(self) -> Rules:
        """The rules by which a keeper computes the metadata of its batches."""
        from ipfs_log_handlers.subsystems.rules import Rules

        required = {name: event.required for name, event in self.events.items()}
        return Rules(required=required, meta=self.meta, zone=tuple(self.zone))

    @property
    def configurable(self) -> tuple[str, ...]:
        """The names that the `metadata` of a handler can have for it."""
        rules: Iterable[Rule] = self.meta.values()
        names = [name for rule in rules for name in (rule.configured, rule.plural if rule.logger else "") if name]
        return tuple(dict.fromkeys(("version", *names)))


_registered: dict[str, Subsystem] = {}
_OURS: Final[dict[str, Callable[[], Subsystem]]] = {}
"""The subsystems of this package in their order: from the name to the function that imports the module."""


def _ours(import_module: Callable[[], Subsystem]) -> Callable[[], Subsystem]:
    """Add a subsystem of this package to `_OURS`: the name is that of the function, without `_`."""
    _OURS[import_module.__name__.removeprefix("_")] = import_module
    return import_module


# A module is imported when its subsystem is first needed, by a statement: tools that freeze programs look for those.


@_ours
def _audit() -> Subsystem:
    from ipfs_log_handlers.subsystems import audit

    return audit.SUBSYSTEM


@_ours
def _logs() -> Subsystem:
    from ipfs_log_handlers.subsystems import logs

    return logs.SUBSYSTEM


@_ours
def _wal() -> Subsystem:
    from ipfs_log_handlers.subsystems import wal

    return wal.SUBSYSTEM


@_ours
def _telemetry() -> Subsystem:
    from ipfs_log_handlers.subsystems import telemetry

    return telemetry.SUBSYSTEM


@_ours
def _health() -> Subsystem:
    from ipfs_log_handlers.subsystems import health

    return health.SUBSYSTEM


@_ours
def _fs_monitor() -> Subsystem:
    from ipfs_log_handlers.subsystems import fs_monitor

    return fs_monitor.SUBSYSTEM


@_ours
def _fs_replication() -> Subsystem:
    from ipfs_log_handlers.subsystems import fs_replication

    return fs_replication.SUBSYSTEM


@_ours
def _lifecycle() -> Subsystem:
    from ipfs_log_handlers.subsystems import lifecycle

    return lifecycle.SUBSYSTEM


@_ours
def _data_lifecycle() -> Subsystem:
    from ipfs_log_handlers.subsystems import data_lifecycle

    return data_lifecycle.SUBSYSTEM


@_ours
def _mcp_files() -> Subsystem:
    from ipfs_log_handlers.subsystems import mcp_files

    return mcp_files.SUBSYSTEM


@_ours
def _mcp_actions() -> Subsystem:
    from ipfs_log_handlers.subsystems import mcp_actions

    return mcp_actions.SUBSYSTEM


def is_id(name: object) -> bool:
    """Return whether a subsystem may list a field as ids."""
    from ipfs_log_handlers.subsystems.rules import is_name

    return is_name(name) and "." not in name and name not in _NO_IDS


def register(subsystem: Subsystem) -> Subsystem:
    """Register a subsystem for the handlers, the command line and the keeper of this process.

    Raises:
        ConfigurationError: another subsystem has that name.
    """
    known = _known(subsystem.name) or _registered.setdefault(subsystem.name, subsystem)
    if known != subsystem:
        raise ConfigurationError("another subsystem has this name", where=subsystem.name)
    Router.forget()
    return subsystem


def _known(name: str) -> Subsystem | None:
    known = _registered.get(name)
    if known is None and name in _OURS:
        known = _registered.setdefault(name, _OURS[name]())
    return known


def get(name: str) -> Subsystem:
    """Return the subsystem of a name.

    Raises:
        ConfigurationError: no such name is registered; the message gives the nearest one.
    """
    known = _known(name) if isinstance(name, str) else None
    if known is not None:
        return known
    raise _no_such(
        "no such subsystem",
        "subsystem",
        name,
        sorted(names()),
        hint="Register your own subsystem first: ipfs_log_handlers.register(Subsystem(...)).",
    )


def names() -> tuple[str, ...]:
    """Return all registered names: those of this package, then others in the order of registration."""
    return tuple(dict.fromkeys((*_OURS, *_registered)))


def load() -> tuple[Subsystem, ...]:
    """Return all registered subsystems, and import those of this package."""
    return tuple(get(name) for name in names())


def check_metadata(subsystem: Subsystem | None, metadata: Mapping[str, Any]) -> None:
    """Check the names in the `metadata` of a handler.

    Args:
        subsystem: that of the handler; `None` accepts the names of any registered subsystem.
        metadata: the names and values.

    Raises:
        ConfigurationError: a name or value is wrong; the message gives the nearest right name.
    """
    if not metadata:
        return
    subsystems = load() if subsystem is None else (subsystem,)
    known = sorted({name for candidate in subsystems for name in candidate.configurable})
    prefixes = {rule.plural for candidate in subsystems for rule in candidate.meta.values() if rule.logger}
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
    """Choose the subsystem of a record: by its field `subsystem`, else its event, else its logger.

    Of an event or logger with dots, the longest known prefix counts. `ipfs_kit_py.mcp.handlers` belongs to two
    subsystems: there the event decides.
    """

    _events: Mapping[str, str] = {}
    _loggers: Mapping[str, str] = {}
    _fresh = False

    @classmethod
    def forget(cls) -> None:
        """Forget the tables, so that the next record builds them again."""
        cls._fresh = False

    @classmethod
    def route(cls, logger: str, event: object, named: object = None) -> str:
        """Return the name of the subsystem of a record.

        Args:
            logger: name of the logger.
            event: event of the record; ignored unless it is a text.
            named: the field `subsystem` of the record; ignored unless it is a registered name.
        """
        if named is not None and isinstance(named, str) and (named in _registered or named in _OURS):
            return named
        if not cls._fresh:
            cls._read(load())
        if isinstance(event, str) and (name := _by_longest_prefix(cls._events, event)):
            return name
        return _by_longest_prefix(cls._loggers, logger) or DEFAULT

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


_MAX_KEY_LENGTH: Final = 256
"""Number of characters of an event or logger that are compared: no name is longer, but an event can be a long text."""


def _by_longest_prefix(table: Mapping[str, str], dotted: str) -> str | None:
    """Return the entry of a name, or of its longest prefix that ends before a dot."""
    dotted = dotted[:_MAX_KEY_LENGTH]
    while True:
        entry = table.get(dotted)
        if entry is not None:
            return entry
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
    for name, event in given.items():
        events[str(name)] = event if isinstance(event, Event) else Event(str(name), required_fields(event))
    return events


def _rules(owner: str, given: object) -> dict[str, Rule]:
    from ipfs_log_handlers.subsystems.rules import Rule, is_name

    if not isinstance(given, Mapping) or not all(map(is_name, given)):
        raise ConfigurationError("rules are named", where=f"{owner}.meta", expected="a mapping", found=repr(given))
    taken = _COMMON_KEYS & given.keys()
    if taken:
        raise ConfigurationError("a key that every batch has", where=f"{owner}.meta", found=", ".join(sorted(taken)))
    return {name: Rule.parse(rule) for name, rule in given.items()}


def _no_such(
    message: str, where: str, found: object, names: Sequence[str], hint: str | None = None
) -> ConfigurationError:
    import difflib

    near = difflib.get_close_matches(str(found), names, n=1)
    expected = f"{near[0]!r} perhaps" if near else "one of " + ", ".join(names)
    return ConfigurationError(message, where=where, expected=expected, found=repr(found), hint=hint)
