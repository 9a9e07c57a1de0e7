"""Read the records of a dataset as lines of streams, the form in which Loki has logs.

A stream is all lines with the same labels: `subsystem`, `service_name` (the same, for Grafana), `level`, `logger`, and
`origin` where records of several homes are read. The line is the JSON of the record. Ids of a trace or a request are
structured metadata: they would make a stream of each line. All else is found by `| json`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ipfs_log_handlers.api import Dataset, Match, Stats
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.loki.pipeline import value_test
from ipfs_log_handlers.loki.syntax import LineFilter, Matcher, Stage, Wholly

__all__ = ["LABELS", "METADATA", "Line", "Streams"]

LABELS: Final = ("level", "logger", "origin", "service_name", "subsystem")
"""The labels that a stream may have."""
METADATA: Final = ("request_id", "span_id", "trace_id")
"""The fields that are structured metadata, if they are texts."""
_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_LAST_US: Final = 253_402_300_799_999_999
"""The last µs of the year 9999."""
_FIRST_US: Final = -62_135_596_800_000_000
"""The first µs of the year 1."""
_MAX_KNOWN: Final = 10_000
"""Streams, or minutes, that are remembered in one reading."""
_NO_GLOB: Final = re.compile(r"[^!*?\[\]][^*?\[\]]*")
_LITERAL: Final = re.compile(r"(?:[\w\-/ ]|\\[.\-/])+", re.ASCII)


class Line(NamedTuple):
    """One line."""

    time_us: int
    """µs since 1970."""
    stream: Mapping[str, str]
    """The labels of its stream; the lines of a stream have the same object."""
    metadata: Mapping[str, str]
    """Its structured metadata."""
    text: bytes
    """The JSON of the record."""


class _Head(msgspec.Struct):
    """The keys of a record that labels are made of."""

    level: Any = None
    logger: Any = None
    request_id: Any = None
    span_id: Any = None
    trace_id: Any = None


_decode: Final = msgspec.json.Decoder(_Head).decode
_NO_METADATA: Final[Mapping[str, str]] = {}


class Streams:
    """The streams of a dataset that a selector chooses.

    Args:
        dataset: whose records they are.
        matchers: the selector.
        stages: the steps; those that the index can answer narrow what is read.

    Raises:
        Refusal: a regular expression cannot be used.
    """

    def __init__(self, dataset: Dataset, matchers: Sequence[Matcher], stages: Sequence[Stage] = ()) -> None:
        self._tests = [(matcher.name, value_test(matcher)) for matcher in matchers]
        self._known: dict[tuple[str, Any, Any, str | None], Mapping[str, str] | None] = {}
        self._minutes: dict[bytes, int] = {}
        self._whole = dataset
        self._dataset = _narrowed(dataset, matchers, stages)
        self._matchers = matchers
        self.chooses_subsystems_alone = all(matcher.name in ("service_name", "subsystem") for matcher in matchers)
        """Whether the selector has conditions on subsystems alone: then counts of the index are exact."""

    def within(self, since_us: int | None, until_us: int | None) -> Dataset:
        """Return the dataset with the records of some time, begin included and end left out, in µs since 1970."""
        known = {batch.subsystem for batch in self._whole.explain().batches}
        wanted = sorted(name for name in known if self._chooses_subsystem(name))
        return self._dataset.filter(subsystem=wanted, since=_moment(since_us), until=_moment(until_us))

    def to_follow(self, since_us: int) -> Dataset:
        """Return the dataset with the records from some µs since 1970 on, also of subsystems that begin later."""
        dataset = self._dataset
        for matcher in self._matchers:
            if matcher.name in ("service_name", "subsystem") and (values := _values_of(matcher)):
                dataset = dataset.filter(subsystem=values)
        return dataset.filter(since=_moment(since_us))

    def _chooses_subsystem(self, subsystem: str) -> bool:
        return all(test(subsystem) for name, test in self._tests if name in ("service_name", "subsystem"))

    def lines(
        self,
        since_us: int,
        until_us: int,
        *,
        newest_first: bool = False,
        stats: Stats | None = None,
    ) -> Iterator[Line]:
        """Yield the lines of some time, begin included and end left out.

        Args:
            since_us: begin, µs since 1970.
            until_us: end.
            newest_first: begin with the newest one.
            stats: counters of the reading.
        """
        if since_us >= until_us:
            return
        dataset = self.within(since_us, until_us)
        for match in (dataset.reverse() if newest_first else dataset).matches(stats):
            line = self.line_of(match)
            if line is not None and since_us <= line.time_us < until_us:
                yield line

    def line_of(self, match: Match) -> Line | None:
        """Return a record as a line; `None` if its stream is not chosen, or it has no time."""
        try:
            head = _decode(match.line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            record = match.record
            head = _Head(**{name: record.get(name) for name in _Head.__struct_fields__})
        level, logger = _text_of(head.level), _text_of(head.logger)
        key = (match.subsystem, level, logger, match.origin)
        if key in self._known:
            stream = self._known[key]
        else:
            stream = self._stream_of(*key)
            if len(self._known) < _MAX_KNOWN:
                self._known[key] = stream
        if stream is None:
            return None
        time_us = self._micros_of(match.time)
        if time_us is None:
            return None
        metadata = _NO_METADATA
        if head.trace_id is not None or head.request_id is not None or head.span_id is not None:
            ids = (("request_id", head.request_id), ("span_id", head.span_id), ("trace_id", head.trace_id))
            metadata = {name: value for name, value in ids if isinstance(value, str) and value}
        return Line(time_us, stream, metadata, match.json)

    def _stream_of(self, subsystem: str, level: str, logger: str, origin: str | None) -> Mapping[str, str] | None:
        all_labels = {
            "level": level, "logger": logger, "origin": origin or "", "service_name": subsystem, "subsystem": subsystem
        }  # fmt: skip
        if not all(test(all_labels.get(name, "")) for name, test in self._tests):
            return None
        return {name: value for name, value in all_labels.items() if value}

    def _micros_of(self, time: bytes) -> int | None:
        """Return the time of a record as µs since 1970; `None` if it is none."""
        minute = self._minutes.get(time[:16])
        try:
            if minute is None:
                stamp = dt.datetime.fromisoformat(time[:16].decode("ascii") + ":00+00:00")
                minute = (stamp - _FIRST) // dt.timedelta(microseconds=1)
                if len(self._minutes) < _MAX_KNOWN:
                    self._minutes[time[:16]] = minute
            return minute + int(time[17:19]) * 1_000_000 + int(time[20:26].ljust(6, b"0"))
        except ValueError:
            return None


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _moment(micros: int | None) -> dt.datetime | None:
    if micros is None:
        return None
    return _FIRST + dt.timedelta(microseconds=min(max(micros, _FIRST_US), _LAST_US))


# -- what the index can answer


def _narrowed(dataset: Dataset, matchers: Sequence[Matcher], stages: Sequence[Stage]) -> Dataset:
    """Return a dataset with every record that can be meant, and as few others as the index can tell.

    Each record is looked at again with the whole selector, so a condition that says too little here costs only time.
    """
    for matcher in matchers:
        values = _values_of(matcher)
        if not values:
            continue
        if matcher.name == "logger" and all(map(_NO_GLOB.fullmatch, values)):
            dataset = dataset.filter(logger=values)
        elif matcher.name == "level":
            dataset = _with_level(dataset.filter(where={"level": values}), values)
        elif matcher.name == "origin":
            dataset = dataset.filter(where={"origin": values})
    for matcher in _leading(stages):
        if matcher.name in METADATA and matcher.operator == "=" and matcher.value:
            dataset = dataset.filter(where={matcher.name: matcher.value})
    return dataset


def _with_level(dataset: Dataset, values: Sequence[str]) -> Dataset:
    if len(values) > 1:
        return dataset
    try:
        return dataset.filter(level=values[0])  # and all above: the zone maps know only the levels of a batch
    except ConfigurationError:  # a level of a program's own
        return dataset


def _values_of(matcher: Matcher) -> list[str]:
    """Return the values one of which a condition wants; empty if it may want others, or none."""
    if matcher.operator == "=":
        return [matcher.value] if matcher.value else []
    if matcher.operator != "=~":
        return []
    values = matcher.value.split("|")
    return [re.sub(r"\\(.)", r"\1", value) for value in values] if all(map(_LITERAL.fullmatch, values)) else []


def _leading(stages: Sequence[Stage]) -> Iterator[Matcher]:
    """Yield the conditions on labels that each line meets as it is stored: those before any other step."""
    for stage in stages:
        if isinstance(stage, (Matcher, Wholly)):
            yield from _conjuncts(stage)
        elif not isinstance(stage, LineFilter):
            return


def _conjuncts(condition: object) -> Iterator[Matcher]:
    if isinstance(condition, Matcher):
        yield condition
    elif isinstance(condition, Wholly):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
