"""Count the records of a dataset: all of them, over time, by value; use the counts in manifests if possible."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ipfs_log_handlers.query.aggregates import Bucket, Group, Histogram, Tally, name_of, percentiles_of
from ipfs_log_handlers.query.comparison import value_at
from ipfs_log_handlers.query.merge import Match
from ipfs_log_handlers.query.plan import Stats
from ipfs_log_handlers.query.times import span_of

__all__ = ["Counting"]

_RANKS: Final = (50, 90, 99)
"""The default percentiles."""


class Counting(ABC):
    """The counting methods of a dataset."""

    @abstractmethod
    def matches(self, stats: Stats | None = None) -> Iterator[Match]:
        """Yield each record."""

    @abstractmethod
    def _groups(self, path: str | None) -> Iterator[Group]:
        """Yield the records in groups, each with the counts by a field that its manifest states."""

    def count(self) -> int:
        """Count the records. If all records of a batch match, the count in its manifest is used."""
        return sum(
            len(group.read()) if group.counts is None else sum(group.counts.values()) for group in self._groups(None)
        )

    def histogram(self, span: Any = "1m", *, by: str | None = None) -> list[Bucket]:
        """Count the records over time.

        Args:
            span: the span of a bucket: text such as `1m` or `1h`, a `timedelta`, or seconds. Buckets begin at multiples
                of it since 1970, in UTC.
            by: a field; each bucket is also counted by its values.

        Returns:
            The buckets that have records, oldest first. A record without a time is in no bucket.
        """
        histogram = Histogram(span_of(span))
        for group in self._groups(by):
            histogram.add_group(group, by)
        return histogram.buckets(by=by is not None)

    def top(self, path: str, n: int = 10) -> list[tuple[Any, int]]:
        """Return the most frequent values of a field, each with its count; records without the field do not count.

        Args:
            path: the field; a dot names a member of an object.
            n: number of values.
        """
        return self._tally(path).top(n)

    def distinct(self, path: str) -> list[Any]:
        """Return every value of a field once, sorted; records without the field are left out."""
        return self._tally(path).values()

    def _tally(self, path: str) -> Tally:
        tally = Tally()
        for group in self._groups(path):
            tally.add_group(group, path)
        return tally

    def percentiles(
        self, path: str, *, by: str | None = None, ranks: Sequence[float] = _RANKS
    ) -> dict[float, float] | dict[Any, dict[float, float]]:
        """Return percentiles of the numbers of a field: the smallest number that so many percent do not exceed.

        Args:
            path: the field; values that are not numbers are left out.
            by: a field; the numbers are grouped by its values.
            ranks: the percentiles, 0 to 100.

        Returns:
            The number for each rank, empty without numbers; with `by`, such a mapping for each value of that field; a
            list or object as a key is text. A record without that field counts for `None`.

        Raises:
            ConfigurationError: a rank is not between 0 and 100.
        """
        numbers: dict[Any, list[float]] = {}
        for match in self.matches():
            record = match.record
            value = value_at(record, path)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                group = value_at(record, by) if by is not None else None
                numbers.setdefault(name_of(group), []).append(value)
        if by is None:
            return percentiles_of(numbers.get(None, ()), ranks)
        return {group: percentiles_of(values, ranks) for group, values in numbers.items()}
