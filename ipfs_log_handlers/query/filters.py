"""Choose records: by time, level, logger, event, field and text. Filters are values; no file is read here."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.query.clues import Clue, Clues, plain_bytes, value_word
from ipfs_log_handlers.query.levels import level_number, threshold
from ipfs_log_handlers.query.times import Moment, moment_of
from ipfs_log_handlers.query.where import Where, comparisons, compiled

__all__ = ["Condition", "Filter", "MinLevel", "Names", "Pattern", "Text", "TimeBounds"]

Pattern = str | re.Pattern[str]
"""A regular expression."""
COUNTED_FIELDS: Final = ("level", "logger")
"""The fields whose values are counted when a batch is sealed."""
_SEARCHED: Final = ("event", "message", "exception")
"""The keys of a record in which texts are searched."""


class Condition(Protocol):
    """A condition on a record, besides its time."""

    @property
    def name(self) -> str:
        """Kind of the condition, for `explain()`: `level`, `logger`, `event`, `where`, `text`."""

    @property
    def head_only(self) -> bool:
        """Whether it uses only `level`, `logger` and `event`."""

    @property
    def clues(self) -> Clues | None:
        """Words in the line of each matching record; `None`: no such word is known."""

    @property
    def ids(self) -> tuple[str, tuple[int, ...]] | None:
        """A field, and the hashes of the values one of which each matching record has there; `None`: not known."""

    def matches(self, record: dict[str, Any], /) -> bool:
        """Return whether a record meets it."""

    def may_match(self, zone: Mapping[str, Any], /) -> bool:
        """Return whether a record of a batch with this zone map can meet it."""


@dataclass(frozen=True, slots=True)
class MinLevel:
    """The level is this one or above; a level without a known number matches, so that no record is hidden."""

    number: int
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    name = "level"
    head_only = True
    clues = None
    ids = None

    def matches(self, record: dict[str, Any]) -> bool:
        """Return whether the level of a record is high enough."""
        return self._passes(record.get("level"))

    def may_match(self, zone: Mapping[str, Any]) -> bool:
        """Return whether the zone map lists a level that is high enough."""
        levels = zone.get("levels")
        return not isinstance(levels, Mapping) or any(map(self._passes, levels))

    def _passes(self, level: Any) -> bool:
        if not isinstance(level, str):
            return True
        passes = self._known.get(level)
        if passes is None:
            number = level_number(level)
            passes = number is None or number >= self.number
            if len(self._known) < 1000:
                self._known[level] = passes
        return passes


@dataclass(frozen=True, slots=True)
class Names:
    """The logger, or the event, is one of these."""

    key: str
    """`logger` or `event`."""
    exact: frozenset[str]
    """Names."""
    globs: tuple[re.Pattern[str], ...] = ()
    """Patterns, as compiled from shell globs."""
    refused: bool = False
    """Whether the condition is inverted: none of these."""

    head_only = True
    ids = None

    @property
    def name(self) -> str:
        """Kind of the condition."""
        return self.key

    @property
    def clues(self) -> Clues | None:
        """The names, if none of them is a pattern."""
        words = [value_word(name) for name in self.exact]
        if self.refused or self.globs or not all(words):
            return None
        return tuple(Clue(word) for word in words if word is not None)

    def matches(self, record: dict[str, Any]) -> bool:
        """Return whether the name of a record is among them."""
        return self._passes(record.get(self.key))

    def may_match(self, zone: Mapping[str, Any]) -> bool:
        """Return whether the zone map lists such a name."""
        names = zone.get(f"{self.key}s")
        return not isinstance(names, (Mapping, list)) or any(map(self._passes, names))

    def _passes(self, name: Any) -> bool:
        named = isinstance(name, str) and (name in self.exact or any(glob.match(name) for glob in self.globs))
        return named is not self.refused


@dataclass(frozen=True, slots=True)
class Text:
    """Event, message or exception contain a text or match a regular expression; or none of them does."""

    expression: re.Pattern[str] | None
    text: str = ""
    refused: bool = False

    name = "text"
    head_only = False
    ids = None

    @property
    def clues(self) -> Clues | None:
        """The text."""
        word = plain_bytes(self.text) if self.expression is None and not self.refused else None
        return None if word is None else (Clue(word),)

    def matches(self, record: dict[str, Any]) -> bool:
        """Return whether a record contains the text."""
        texts = [value for key in _SEARCHED if isinstance(value := record.get(key), str)]
        if self.expression is None:
            has = any(self.text in text for text in texts)
        else:
            has = any(self.expression.search(text) for text in texts)
        return has is not self.refused

    def may_match(self, zone: Mapping[str, Any]) -> bool:
        """Return true, because a zone map has no texts but events."""
        return True


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """`since <= time < until`, in µs since 1970; `None`: without this bound."""

    since: int | None = None
    until: int | None = None

    def within(self, other: TimeBounds) -> TimeBounds:
        """Return the intersection of both bounds."""
        since = [bound for bound in (self.since, other.since) if bound is not None]
        until = [bound for bound in (self.until, other.until) if bound is not None]
        return TimeBounds(max(since, default=None), min(until, default=None))


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions on a record. The empty filter matches every record."""

    time: TimeBounds = TimeBounds()
    subsystems: frozenset[str] | None = None
    """Only these; `None`: all."""
    conditions: tuple[Condition, ...] = ()

    @property
    def sole_field(self) -> str | None:
        """The one field of all conditions, if it is `level` or `logger`, whose values manifests count; else `None`."""
        fields = {_counted_field(condition) for condition in self.conditions}
        return fields.pop() if len(fields) == 1 else None

    def narrowed(
        self,
        *,
        now: float,
        timezone: dt.tzinfo | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        level: str | int | None = None,
        logger: str | Iterable[str] | None = None,
        subsystem: str | Iterable[str] | None = None,
        where: Where | None = None,
        contains: str | Iterable[str] | None = None,
        event: str | Iterable[str] | None = None,
        include: Pattern | Iterable[Pattern] | None = None,
        exclude: Pattern | Iterable[Pattern] | None = None,
    ) -> Filter:
        """Return this filter with further conditions; see `Dataset.filter`.

        Raises:
            ConfigurationError: a condition is malformed.
        """
        bounds = TimeBounds(
            None if since is None else moment_of(since, now=now, timezone=timezone),
            None if until is None else moment_of(until, now=now, timezone=timezone),
        )
        added: list[Condition] = []
        if level is not None:
            added.append(MinLevel(threshold(level)))
        if logger is not None:
            added += _loggers(_texts("logger", logger))
        if event is not None:
            added.append(Names("event", frozenset(_texts("event", event))))
        if where is not None:
            added += comparisons(where)
        if contains is not None:
            added += [Text(None, text) for text in _texts("contains", contains)]
        if include is not None:
            added += [Text(compiled(pattern, "include")) for pattern in _patterns("include", include)]
        if exclude is not None:
            added += [Text(compiled(pattern, "exclude"), refused=True) for pattern in _patterns("exclude", exclude)]
        subsystems = self.subsystems
        if subsystem is not None:
            chosen = frozenset(_texts("subsystem", subsystem))
            subsystems = chosen if subsystems is None else subsystems & chosen
        return replace(
            self, time=self.time.within(bounds), subsystems=subsystems, conditions=(*self.conditions, *added)
        )


def _loggers(names: Collection[str]) -> Sequence[Names]:
    wanted = [name for name in names if not name.startswith("!")]
    refused = [name[1:] for name in names if name.startswith("!")]
    groups = [(wanted, False)] * bool(wanted) + [(refused, True)] * bool(refused)
    return [_names(group, refused=opposite) for group, opposite in groups]


def _names(names: Collection[str], *, refused: bool) -> Names:
    globs = [name for name in names if set(name) & set("*?[")]
    patterns = tuple(re.compile(fnmatch.translate(glob)) for glob in globs)
    return Names("logger", frozenset(names), patterns, refused)


def _texts(where: str, given: str | Iterable[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigurationError("not a text, or a list of texts", where=where, found=ascii(given)[:80])
    return texts


def _patterns(where: str, given: Pattern | Iterable[Pattern]) -> list[Pattern]:
    if isinstance(given, (str, re.Pattern)):
        return [given]
    if not isinstance(given, Iterable):
        raise ConfigurationError("not a regular expression, or a list of them", where=where, found=ascii(given)[:80])
    return list(given)


def _counted_field(condition: Condition) -> str | None:
    if isinstance(condition, MinLevel):
        return "level"
    name = condition.key if isinstance(condition, Names) else getattr(condition, "path", None)
    return name if name in COUNTED_FIELDS else None
