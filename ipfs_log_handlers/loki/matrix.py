"""Define the result of a query for numbers: series, each with a value or none at each moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ipfs_log_handlers.loki.limits import Limits
from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.syntax import Grouping

__all__ = ["LabelSet", "Matrix", "Moments", "grouped", "label_set"]

LabelSet = tuple[tuple[str, str], ...]
"""Labels in the order of their names."""


def label_set(labels: Iterable[tuple[str, str]]) -> LabelSet:
    """Return labels as a key."""
    return tuple(sorted(labels))


def grouped(labels: LabelSet, grouping: Grouping) -> LabelSet:
    """Return the labels of the group to which a series belongs."""
    return tuple(item for item in labels if (item[0] in grouping.names) is not grouping.without)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The moments at which a query is evaluated."""

    first_ns: int
    """The first one, ns since 1970."""
    step_ns: int = 1
    """Nanoseconds from one to the next."""
    count: int = 1

    def at(self, number: int) -> int:
        """Return one of them, ns since 1970."""
        return self.first_ns + number * self.step_ns

    @property
    def last_ns(self) -> int:
        """The last one."""
        return self.at(self.count - 1)


@dataclass(slots=True)
class Matrix:
    """Series of values."""

    moments: Moments
    limits: Limits
    series: dict[LabelSet, list[float | None]] = field(default_factory=dict)
    """The values of each series; `None` at a moment at which it has none."""

    def row(self, labels: LabelSet) -> list[float | None]:
        """Return the values of a series, which is made if there is none.

        Raises:
            Refusal: there are too many.
        """
        row = self.series.get(labels)
        if row is None:
            count = len(self.series) + 1
            if count > self.limits.max_inner_series or count * self.moments.count > self.limits.max_inner_points:
                raise Refusal(
                    f"the query has more than {count - 1} series at {self.moments.count} moments inside; aggregate "
                    "with sum by (…), choose fewer streams, a shorter range or a longer step"
                )
            row = self.series[labels] = [None] * self.moments.count
        return row

    def like(self, series: Mapping[LabelSet, list[float | None]] | None = None) -> Matrix:
        """Return a matrix for the same moments."""
        return Matrix(self.moments, self.limits, dict(series or {}))

    def at(self, number: int) -> Iterator[tuple[LabelSet, float]]:
        """Yield the series that have a value at a moment."""
        for labels, row in self.series.items():
            value = row[number]
            if value is not None:
                yield labels, value
