"""Gather the lines of one batch from the spool, and note the consumed offset of each segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ipfs_log_handlers.format.line import BESIDE_JSON
from ipfs_log_handlers.home import quarantine
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.spool.dropped import dropped_in
from ipfs_log_handlers.spool.scan import ScannedSpan, Spool

__all__ = ["Gathered", "Taker", "gather"]


class Taker(Protocol):
    """A batch, or a group of batches, that takes lines."""

    @property
    def full(self) -> bool:
        """Return whether it takes no further line."""

    def add(self, name: SegmentName, lines: Sequence[bytes]) -> tuple[int, int | None]:
        """Add lines of one writer, as `BatchBuilder.add`."""

    def note_dropped(self, dropped: Mapping[str, int]) -> None:
        """Count records that a writer dropped."""


@dataclass(slots=True)
class Gathered:
    """The lines that the current batch has taken so far."""

    consumed: dict[str, int]
    """Offset in each segment after its last line in a batch, and 1 for each archive in a batch."""
    lines: Counter[SegmentName] = field(default_factory=Counter)
    """Lines taken from each segment."""
    damaged: int = 0
    """Damaged spans that were copied to the quarantine."""


def gather(spool: Spool, builder: Taker, gathered: Gathered, max_bytes: int) -> Generator[None, None, None]:
    """Fill a builder with lines of the spool, and yield after each span.

    Args:
        spool: the spool.
        builder: the batch.
        gathered: the consumed offsets; they are advanced.
        max_bytes: bytes of lines in one step.

    Raises:
        OSError: damaged bytes cannot be copied to the quarantine.
    """
    spans = spool.scan(gathered.consumed, max_bytes)
    for scanned in spans:
        span = scanned.span
        if span.kind == "records":
            _add_records(spool, builder, scanned, gathered)
            if gathered.consumed[str(scanned.name)] < span.end:
                break
        else:
            if span.kind == "control":
                builder.note_dropped(dropped_in(span.json))
                gathered.lines[scanned.name] += 1
            elif span.kind == "damage":
                _keep_damage(spool, scanned, span.start, span.end, gathered)
            gathered.consumed[str(scanned.name)] = span.end
        yield
        if builder.full:
            break
    spans.close()


def _add_records(spool: Spool, builder: Taker, scanned: ScannedSpan, gathered: Gathered) -> None:
    lines, offset = scanned.span.records, scanned.span.start
    while lines and not builder.full:
        count, bad = builder.add(scanned.name, lines)
        offset += sum(map(len, lines[:count])) + BESIDE_JSON * count
        gathered.lines[scanned.name] += count
        lines = lines[count:]
        if bad is not None and bad == count:
            end = offset + len(lines[0]) + BESIDE_JSON
            _keep_damage(spool, scanned, offset, end, gathered)
            offset, lines = end, lines[1:]
        elif not count:
            break
    gathered.consumed[str(scanned.name)] = offset


def _keep_damage(spool: Spool, scanned: ScannedSpan, start: int, end: int, gathered: Gathered) -> None:
    quarantine.put(spool.subsystem_dir.quarantine, scanned.name, scanned.descriptor, start, end)
    gathered.damaged += 1
