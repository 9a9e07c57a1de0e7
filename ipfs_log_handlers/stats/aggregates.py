"""Evaluate the rules of a subsystem over the records of a batch, one class for each kind of rule.

A rule reads the values of its field from many records at once: the keeper shares the GIL with its program, and a loop
in Python over single records would hold the GIL longer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET

from ipfs_log_handlers.stats.columns import MANY, MAX_DISTINCT_VALUES, ColumnStats, cap_counts, keys_of, texts_of
from ipfs_log_handlers.stats.decoder import CompiledRules, Record
from ipfs_log_handlers.subsystems.rules import Rule

__all__ = ["AGGREGATES", "Aggregate"]

_get_logger: Final = attrgetter("logger")


class Aggregate(ABC):
    """The result of one rule over the records of a batch.

    Args:
        rule: the rule.
        compiled: the rules of the subsystem, with the attribute of each field.
    """

    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        self.rule = rule
        self._where = [(attrgetter(compiled.attribute[name]), value, type(value)) for name, value in rule.where]
        self._get = attrgetter(compiled.attribute[rule.field]) if rule.field else None
        self._per = attrgetter(compiled.attribute[rule.per]) if rule.per else None

    def add(self, records: Sequence[Record]) -> None:
        """Add records; records that do not meet the condition of the rule do not count."""
        for get, wanted, kind in self._where:
            records = [record for record in records if (value := get(record)).__class__ is kind and value == wanted]
        if records:
            self._add(records)

    def _column(self, records: Sequence[Record]) -> list[Any]:
        return list(map(self._get, records)) if self._get is not None else []

    @abstractmethod
    def _add(self, records: Sequence[Record]) -> None: ...

    @abstractmethod
    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        """Return the members of `meta` that this rule gives.

        Args:
            name: the key of the rule.
            first: `first` of the manifest, µs since 1970.
            index: number of the batch.
        """


class _Count(Aggregate):
    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        super().__init__(rule, compiled)
        self._number = 0

    def _add(self, records: Sequence[Record]) -> None:
        self._number += len(records)

    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: self._number}


class _Counts(Aggregate):
    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        super().__init__(rule, compiled)
        self._counts: Counter[Any] = Counter()

    def _add(self, records: Sequence[Record]) -> None:
        if len(self._counts) <= MAX_DISTINCT_VALUES:
            self._counts.update(texts_of(self._column(records)))
            self._counts.pop(None, None)

    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: cap_counts(self._counts)}


class _Last(Aggregate):
    """Keep the last value of a field for each value of another field."""

    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        super().__init__(rule, compiled)
        self._last: dict[Any, str | None] = {}

    def _add(self, records: Sequence[Record]) -> None:
        keys = keys_of([] if self._per is None else list(map(self._per, records)))
        texts = texts_of(self._column(records))
        if None in keys or None in texts:
            self._last.update(pair for pair in zip(keys, texts, strict=True) if None not in pair)
        else:
            self._last.update(zip(keys, texts, strict=True))


class _LastCounts(_Last):
    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: cap_counts(Counter(map(str, self._last.values())))}


class _Worst(_Last):
    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        values = set(self._last.values())
        return {name: next((value for value in self.rule.order if value in values), self.rule.order[-1])}


class _Distinct(Aggregate):
    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        super().__init__(rule, compiled)
        self._values = ColumnStats(numbers=True)

    def _add(self, records: Sequence[Record]) -> None:
        self._values.add(self._column(records))

    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: self._values.cap_names()}


class _DistinctCount(Aggregate):
    def __init__(self, rule: Rule, compiled: CompiledRules) -> None:
        super().__init__(rule, compiled)
        self._keys: set[Any] = set()

    def _add(self, records: Sequence[Record]) -> None:
        self._keys.update(keys_of(self._column(records)))

    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        return {name: len(self._keys - {None})}


class _Single(_Distinct):
    def _add(self, records: Sequence[Record]) -> None:
        if not self.rule.logger:
            super()._add(records)
            return
        loggers = list(map(_get_logger, records))
        without = set(loggers)
        column = self._column(records)
        if column.count(UNSET) < len(column):
            self._values.add(column)
            keys = keys_of(column)
            without = {logger for logger, key in zip(loggers, keys, strict=True) if key is None}
        self._values.add({self._component(logger) for logger in without})

    def _component(self, logger: str) -> str:
        for prefix, component in self.rule.prefixes:
            if logger == prefix or logger.startswith(f"{prefix}."):
                return component
        return logger.rpartition(".")[2]

    def result(self, name: str, first: int, index: int) -> dict[str, Any]:
        values = self._values.cap_names()
        if len(values) == 1 and values != MANY:
            return {name: values[0]}
        otherwise = self.rule.otherwise
        if isinstance(otherwise, str):
            otherwise = otherwise.replace("{first}", str(first // 1_000_000)).replace("{index}", str(index))
        return {name: otherwise} | ({self.rule.plural: values} if values else {})


def _counts(rule: Rule, compiled: CompiledRules) -> Aggregate:
    return _LastCounts(rule, compiled) if rule.per else _Counts(rule, compiled)


AGGREGATES: Final[Mapping[str, Callable[[Rule, CompiledRules], Aggregate]]] = {
    "count": _Count,
    "counts": _counts,
    "distinct": _Distinct,
    "distinct_count": _DistinctCount,
    "single": _Single,
    "worst": _Worst,
}
"""The class that evaluates a rule, by the name of the rule."""
