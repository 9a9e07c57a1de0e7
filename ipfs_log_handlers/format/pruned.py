"""Gather from acts which batches are pruned: whose payloads were given up everywhere, while their manifests stay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ipfs_log_handlers.format.act import Act

__all__ = ["Pruned"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The batches that are pruned."""

    runs: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """By name of the log: first and last number of each run, ascending."""

    @classmethod
    def of(cls, acts: Iterable[Act]) -> Pruned:
        """Return the batches in these acts; acts of other kinds name none."""
        named: dict[str, list[tuple[int, int]]] = {}
        for act in acts:
            for log, runs in act.batches:
                named.setdefault(log, []).extend(runs)
        return cls({log: _merged(runs) for log, runs in named.items()})

    def has(self, log: str, index: int) -> bool:
        """Return whether a batch is pruned."""
        runs = self.runs.get(log, ())
        place = bisect_right(runs, (index, 2**63)) - 1
        return place >= 0 and runs[place][0] <= index <= runs[place][1]

    def numbers(self, log: str, first: int, last: int) -> frozenset[int]:
        """Return the batches from `first` to `last` of a log that are pruned."""
        runs = self.runs.get(log, ())
        return frozenset(index for begin, end in runs for index in range(max(begin, first), min(end, last) + 1))

    def count(self, log: str) -> int:
        """Count the batches of a log that are pruned."""
        return sum(last - first + 1 for first, last in self.runs.get(log, ()))


def _merged(runs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sort runs, and join those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)
