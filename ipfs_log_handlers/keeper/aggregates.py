"""The aggregates: each kind of rule, over the records of a batch as they come.

A rule with a column looks at a whole piece at once, for the keeper shares the GIL with the program it lives in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET

from ipfs_log_handlers.keeper.plan import Plan, Record
from ipfs_log_handlers.keeper.values import MANY, MOST_DISTINCT, Values, few, keys_of, texts_of
from ipfs_log_handlers.subsystems.rules import Rule

__all__ = ["AGGREGATES", "Aggregate"]

_get_logger: Final = attrgetter("logger")


class Aggregate(ABC):
    """One rule over the records of a batch."""

    def __init__(self, rule: Rule, plan: Plan) -> None:
        self.rule = rule
        self._where = [(attrgetter(plan.attribute[name]), value, type(value)) for name, value in rule.where]
        self._get = attrgetter(plan.attribute[rule.field]) if rule.field else None
        self._per = attrgetter(plan.attribute[rule.per]) if rule.per else None

    def add(self, own: Sequence[Record]) -> None:
        """Take records in."""
        for get, wanted, kind in self._where:
            own = [each for each in own if (found := get(each)).__class__ is kind and found == wanted]
        if own:
            self._add(own)

    def _column(self, own: Sequence[Record]) -> list[Any]:
        return list(map(self._get, own)) if self._get is not None else []

    @abstractmethod
    def _add(self, own: Sequence[Record]) -> None: ...

    @abstractmethod
    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        """What `meta` says, under its name."""


class _Count(Aggregate):
    def __init__(self, rule: Rule, plan: Plan) -> None:
        super().__init__(rule, plan)
        self._number = 0

    def _add(self, own: Sequence[Record]) -> None:
        self._number += len(own)

    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: self._number}


class _Counts(Aggregate):
    def __init__(self, rule: Rule, plan: Plan) -> None:
        super().__init__(rule, plan)
        self._counts: Counter[Any] = Counter()

    def _add(self, own: Sequence[Record]) -> None:
        if len(self._counts) <= MOST_DISTINCT:
            self._counts.update(texts_of(self._column(own)))
            self._counts.pop(None, None)

    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: few(self._counts)}


class _Last(Aggregate):
    """The last value for each value of another field."""

    def __init__(self, rule: Rule, plan: Plan) -> None:
        super().__init__(rule, plan)
        self._last: dict[Any, str | None] = {}

    def _add(self, own: Sequence[Record]) -> None:
        keys = keys_of([] if self._per is None else list(map(self._per, own)))
        texts = texts_of(self._column(own))
        if None in keys or None in texts:
            both = [pair for pair in zip(keys, texts, strict=True) if None not in pair]
            self._last.update(both)
        else:
            self._last.update(zip(keys, texts, strict=True))


class _LastCounts(_Last):
    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: few(Counter(map(str, self._last.values())))}


class _Worst(_Last):
    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        there = set(self._last.values())
        return {name: next((each for each in self.rule.order if each in there), self.rule.order[-1])}


class _Distinct(Aggregate):
    def __init__(self, rule: Rule, plan: Plan) -> None:
        super().__init__(rule, plan)
        self._values = Values(numbers=True)

    def _add(self, own: Sequence[Record]) -> None:
        self._values.add(self._column(own))

    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: self._values.listed()}


class _DistinctCount(Aggregate):
    def __init__(self, rule: Rule, plan: Plan) -> None:
        super().__init__(rule, plan)
        self._keys: set[Any] = set()

    def _add(self, own: Sequence[Record]) -> None:
        self._keys.update(keys_of(self._column(own)))

    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: len(self._keys - {None})}


class _Single(_Distinct):
    def _add(self, own: Sequence[Record]) -> None:
        if not self.rule.logger:
            super()._add(own)
            return
        loggers = list(map(_get_logger, own))
        without = set(loggers)
        column = self._column(own)
        if column.count(UNSET) < len(column):
            self._values.add(column)
            keys = keys_of(column)
            without = {logger for logger, key in zip(loggers, keys, strict=True) if key is None}
        self._values.add({self._component(each) for each in without})

    def _component(self, logger: str) -> str:
        for prefix, component in self.rule.prefixes:
            if logger == prefix or logger.startswith(f"{prefix}."):
                return component
        return logger.rpartition(".")[2]

    def told(self, name: str, first: int, index: int) -> dict[str, Any]:
        found = self._values.listed()
        if len(found) == 1 and found != MANY:
            return {name: found[0]}
        otherwise = self.rule.otherwise
        if isinstance(otherwise, str):
            otherwise = otherwise.replace("{first}", str(first // 1_000_000)).replace("{index}", str(index))
        return {name: otherwise} | ({self.rule.plural: found} if found else {})


def _counts(rule: Rule, plan: Plan) -> Aggregate:
    return _LastCounts(rule, plan) if rule.per else _Counts(rule, plan)


AGGREGATES: Final[Mapping[str, Callable[[Rule, Plan], Aggregate]]] = {
    "count": _Count,
    "counts": _counts,
    "distinct": _Distinct,
    "distinct_count": _DistinctCount,
    "single": _Single,
    "worst": _Worst,
}
"""By the name of the rule."""
