"""Check that records are numbered upwards within each process, and count missing numbers and clocks set back."""

from __future__ import annotations

from ipfs_log_handlers.format.encryption import MINUTE, is_encrypted
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.verify.problems import Problems

__all__ = ["RecordOrder"]


class RecordOrder:
    """The numbers of the records of one subsystem so far, over its logs in their order.

    A number that is used twice is a problem. A missing number is a dropped record, and a batch that was
    sealed before the one before it tells of a clock that was set back: these are only counted. The time in an encrypted
    manifest is the minute.
    """

    def __init__(self) -> None:
        self.gaps = 0
        """Missing numbers."""
        self.set_back = 0
        """Batches that were sealed before the batch before them."""
        self._seen: dict[str, int] = {}
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
        total = 0
        for writer, _, first, last in manifest.sources:
            before = self._seen.get(writer, 0 if self._from_the_start else first - 1)
            if first <= before:
                problems.add(index, "sources", f"{writer} from {before + 1} on", first)
            self.gaps += max(0, first - before - 1)
            self._seen[writer] = max(last, before)
            total += last - first + 1
        if total != manifest.records:
            problems.add(index, "sources", f"{manifest.records} records", f"{total} records")
        if "record_count" in manifest.meta and manifest.meta["record_count"] != manifest.records:
            problems.add(index, "meta.record_count", manifest.records, manifest.meta["record_count"])
