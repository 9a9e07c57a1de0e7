"""The rules of a subsystem, made ready: which fields of a record are decoded, and which records count.

Only the fields that the rules look at are decoded. Whatever stands in those fields, a record is never refused for it:
where they cannot be read, the record is taken without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec

from ipfs_log_handlers.subsystems.rules import Required, Rules

__all__ = ["Plan", "Record", "plan_of"]

_MOST_COUNT: Final = 2**63 - 1
_MOST_PLANS: Final = 256
_ENVELOPE: Final = ("time", "level", "logger", "event", "pid", "seq")
_UNSET: Final = msgspec.UNSET
_NO_RECORD: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Record(msgspec.Struct, gc=False):
    """The fields of a record that every batch is about; those of the rules come as `f0`, `f1`, … in a subclass."""

    time: str
    level: str
    logger: str
    event: str
    pid: Annotated[int, msgspec.Meta(ge=0, le=_MOST_COUNT)]
    seq: Annotated[int, msgspec.Meta(ge=1, le=_MOST_COUNT)]


_decode_plain = msgspec.json.Decoder(Record).decode


class Plan:
    """Rules, made ready to run.

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
        self.whole = {event: self._check(names) for event, names in rules.required.items()}

    def decode(self, lines: Sequence[bytes]) -> tuple[Sequence[Record], bool]:
        """The records in some lines up to the first that is none; and whether every field of theirs could be read."""
        try:
            found = self._decode_all(b"[" + b",".join(lines) + b"]")
        except _NO_RECORD:
            return self._one_by_one(lines)
        if len(found) == len(lines):
            return found, True
        return self._one_by_one(lines)  # `{…},{…}` is no record, and not two

    def _one_by_one(self, lines: Sequence[bytes]) -> tuple[Sequence[Record], bool]:
        found: list[Record] = []
        readable = True
        for line in lines:
            try:
                found.append(self._decode_one(line))
            except _NO_RECORD:
                try:
                    plain = _decode_plain(line)
                except _NO_RECORD:
                    break
                readable = False
                found.append(self._kind(plain.time, plain.level, plain.logger, plain.event, plain.pid, plain.seq))
        return found, readable

    def _check(
        self, names: Required
    ) -> tuple[Callable[[Record], tuple[Any, ...]], tuple[Callable[[Record], Any], ...]]:
        """Getters for what an event requires: of the fields that must all be there, and of each set of alternatives."""
        every = attrgetter("event", "event", *(self.attribute[each] for each in names if isinstance(each, str)))
        either = tuple(
            attrgetter("event", *(self.attribute[each] for each in group))
            for group in names
            if isinstance(group, tuple)
        )
        return every, either

    def own(self, found: Sequence[Record]) -> Sequence[Record]:
        """The records that are whole events of the subsystem."""
        if not self.whole:
            return found
        if len({each.event for each in found}) == 1:
            check = self.whole.get(found[0].event)
            if check is None:
                return ()
            if not check[1] and not any(_UNSET in column for column in zip(*map(check[0], found), strict=True)):
                return found
        return [each for each in found if self._is_own(each)]

    def _is_own(self, record: Record) -> bool:
        check = self.whole.get(record.event)
        if check is None or _UNSET in check[0](record):
            return False
        return all(any(each is not _UNSET for each in get(record)[1:]) for get in check[1])


_plans: dict[str, Plan] = {}


def plan_of(rules: Rules) -> Plan:
    """The plan for some rules, made once."""
    known = _plans.get(rules.id)
    if known is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        known = _plans[rules.id] = Plan(rules)
    return known


def _flat(names: Required) -> Iterator[str]:
    for each in names:
        yield from (each,) if isinstance(each, str) else each
