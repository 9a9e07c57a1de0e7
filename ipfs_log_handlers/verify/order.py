"""Check that records are numbered upwards within each process, and count missing numbers and clocks set back."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

from ipfs_log_handlers.format.encryption import MINUTE, group_of, is_encrypted
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.verify.problems import Problems

__all__ = ["RecordOrder"]


class RecordOrder:
    """The numbers of the records of one subsystem so far, over its logs in their order.

    A number that is used twice is a problem. A missing number is a dropped record, and a batch that was
    sealed before the one before it tells of a clock that was set back: these are only counted. The time in an encrypted
    manifest is the minute. In a group of batches the numbers ascend in each batch, and all are above those before the
    group.
    """

    def __init__(self) -> None:
        self.set_back = 0
        """Batches that were sealed before the batch before them."""
        self.gaps = 0
        """Missing numbers. Those of a group that has not ended are not counted: its other batches have them."""
        self._seen: dict[str, int] = {}
        """The largest number of each writer up to there."""
        self._runs: dict[str, list[tuple[int, int]]] = {}
        """Runs of numbers of each writer in the present group, in order; none is in two runs."""
        self._largest: dict[str, int] = {}
        """The largest number of each writer in the present group."""
        self._from_the_start = False
        self._sealed = 0

    def take(self, index: int, manifest: Manifest, problems: Problems) -> None:
        """Take the next batch.

        Args:
            index: its number.
            manifest: its manifest.
            problems: the problems of its log.
        """
        if index == 0:
            self._from_the_start |= not manifest.evidence
            self._sealed = 0
        before = self._sealed - self._sealed % MINUTE if is_encrypted(manifest) else self._sealed
        self.set_back += manifest.sealed < before
        self._sealed = manifest.sealed
        number, size = group_of(manifest) or (1, 1)
        if number == 1:
            self._end_group()
        self._take_runs(index, manifest, problems)
        if number == size:
            self._end_group()
        total = sum(last - first + 1 for _, _, first, last in manifest.sources)
        if total != manifest.records:
            problems.add(index, "sources", f"{manifest.records} records", f"{total} records")
        if "record_count" in manifest.meta and manifest.meta["record_count"] != manifest.records:
            problems.add(index, "meta.record_count", manifest.records, manifest.meta["record_count"])

    def _take_runs(self, index: int, manifest: Manifest, problems: Problems) -> None:
        newest: dict[str, int] = {}
        for writer, _, first, last in manifest.sources:
            runs = self._runs.setdefault(writer, [])
            place = bisect(runs, (first, last))
            before = max(newest.get(writer, 0), self._seen.get(writer, 0), runs[place - 1][1] if place else 0)
            if first <= before or (place < len(runs) and last >= runs[place][0]):
                problems.add(index, "sources", f"{writer} from {before + 1} on", first)
            else:
                runs.insert(place, (first, last))
            newest[writer] = max(last, before)
        for writer, last in newest.items():
            self._largest[writer] = max(last, self._largest.get(writer, 0))

    def _end_group(self) -> None:
        """Count the missing numbers of the present group; the next batch must have larger ones."""
        self.gaps += sum(self._missing(writer, runs) for writer, runs in self._runs.items())
        self._seen |= self._largest
        self._runs, self._largest = {}, {}

    def _missing(self, writer: str, runs: Sequence[tuple[int, int]]) -> int:
        if not runs:
            return 0
        before = self._seen.get(writer, 0 if self._from_the_start else runs[0][0] - 1)
        return runs[-1][1] - before - sum(last - first + 1 for first, last in runs)
