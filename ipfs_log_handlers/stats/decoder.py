"""Compile the rules of a subsystem: which fields of a record are decoded, and which records are complete events.

Only the fields that the rules use are decoded. A record is never refused because of the value of such a field: if a
field cannot be decoded, the record counts without these fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec

from ipfs_log_handlers.subsystems.rules import Required, Rules

__all__ = ["CompiledRules", "Record", "compiled_rules", "last_seq"]

_MAX_COUNT: Final = 2**63 - 1
"""Largest `pid` and `seq` that a record can have."""
_NO_RULES: Final = Rules()  # the rules of `logs`: every record counts
_MAX_COMPILED: Final = 256
"""Number of compiled rules that are kept; if there are more, all are compiled again."""
_ENVELOPE: Final = ("time", "level", "logger", "event", "pid", "seq")
"""The keys that every record has."""
_UNSET: Final = msgspec.UNSET
"""The value of a field that a record does not have."""
_get_event: Final = attrgetter("event")
_DECODE_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""Exceptions of msgspec for a line that it cannot decode."""


class Record(msgspec.Struct, gc=False):
    """The fields that every record has; a subclass adds those that the rules use, as `f0`, `f1`, …."""

    time: str
    level: str
    logger: str
    event: str
    pid: Annotated[int, msgspec.Meta(ge=0, le=_MAX_COUNT)]
    seq: Annotated[int, msgspec.Meta(ge=1, le=_MAX_COUNT)]


_decode_plain = msgspec.json.Decoder(Record).decode


class CompiledRules:
    """The decoder of records for some rules.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        used = [name for rule in rules.meta.values() for name in rule.fields]
        needed = [name for names in rules.required.values() for name in _flat(names)]
        extra = [name for name in dict.fromkeys((*used, *rules.zone, *needed)) if name not in _ENVELOPE]
        self.attribute = {name: name for name in _ENVELOPE} | {name: f"f{n}" for n, name in enumerate(extra)}
        values = {*used, *rules.zone}
        kind: Any = msgspec.defstruct(
            "_Record",
            [(self.attribute[name], Any if name in values else msgspec.Raw, _UNSET) for name in extra],
            bases=(Record,),
            rename={self.attribute[name]: name for name in extra},
            gc=False,
        )
        self._kind = kind
        self._decode_all = msgspec.json.Decoder(list[kind]).decode
        self._decode_one = msgspec.json.Decoder(kind).decode
        self._required = {event: self._getters(names) for event, names in rules.required.items()}

    def decode(self, lines: Sequence[bytes]) -> tuple[Sequence[Record], bool]:
        """Decode lines up to the first that is not a record; return these, and whether all fields were decoded."""
        try:
            records = self._decode_all(b"[" + b",".join(lines) + b"]")
        except _DECODE_ERRORS:
            return self._one_by_one(lines)
        if len(records) == len(lines):
            return records, True
        return self._one_by_one(lines)  # a line `{…},{…}` would have become two records

    def _one_by_one(self, lines: Sequence[bytes]) -> tuple[Sequence[Record], bool]:
        records: list[Record] = []
        readable = True
        for line in lines:
            try:
                records.append(self._decode_one(line))
            except _DECODE_ERRORS:
                try:
                    plain = _decode_plain(line)
                except _DECODE_ERRORS:
                    break
                readable = False
                records.append(self._kind(plain.time, plain.level, plain.logger, plain.event, plain.pid, plain.seq))
        return records, readable

    def _getters(
        self, names: Required
    ) -> tuple[Callable[[Record], tuple[Any, ...]], tuple[Callable[[Record], Any], ...]]:
        """Return functions that read the required fields of an event: single fields, and each set of alternatives."""
        every = attrgetter("event", "event", *(self.attribute[name] for name in names if isinstance(name, str)))
        either = tuple(
            attrgetter("event", *(self.attribute[name] for name in group))
            for group in names
            if isinstance(group, tuple)
        )
        return every, either

    def complete_events(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records that are events of the subsystem and have all required fields."""
        if not self._required:
            return records
        events = set(map(_get_event, records))
        if self._required.keys().isdisjoint(events):
            return ()
        if len(events) == 1:  # the usual case: all fields of one event at once
            getters = self._required.get(records[0].event)
            if getters is None:
                return ()
            every, either = getters
            if not either and not any(_UNSET in column for column in zip(*map(every, records), strict=True)):
                return records
        return [record for record in records if self._is_complete(record)]

    def _is_complete(self, record: Record) -> bool:
        getters = self._required.get(record.event)
        if getters is None:
            return False
        every, either = getters
        if _UNSET in every(record):
            return False
        return all(any(value is not _UNSET for value in get(record)[1:]) for get in either)


_compiled: dict[str, CompiledRules] = {}


def compiled_rules(rules: Rules) -> CompiledRules:
    """Return the compiled form of some rules, compiled once."""
    known = _compiled.get(rules.id)
    if known is None:
        if len(_compiled) >= _MAX_COMPILED:
            _compiled.clear()
        known = _compiled[rules.id] = CompiledRules(rules)
    return known


def last_seq(lines: Sequence[bytes]) -> int:
    """Return the greatest sequence number in some lines of one segment; 0 if there is none."""
    return max((record.seq for record in compiled_rules(_NO_RULES).decode(lines)[0]), default=0)


def _flat(names: Required) -> Iterator[str]:
    for name in names:
        yield from (name,) if isinstance(name, str) else name
