"""Read a log as it was, up to a head or up to a time, and compare two datasets.

A head names a batch, and the manifest of this batch names all earlier batches by their hashes. So the history up to a
head never changes, and two logs with the same manifest have the same history up to this manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ipfs_log_handlers.errors import ConfigurationError, FormatError, LogStoreError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.reader.parts import Part, Source

__all__ = ["AsOf", "AsOfHead", "AsOfTime", "LogDifference", "differences_of", "head_cid_of", "place_in_sources"]


class AsOf(Protocol):
    """A head or a time in the past."""

    def kept(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Yield the parts of one source and subsystem that existed at that time."""


@dataclass(frozen=True, slots=True)
class AsOfHead:
    """One log, up to the batch of a head."""

    log: str
    index: int

    def kept(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Yield the batches of the log up to that batch."""
        return (part for part in parts if part.sealed and part.log == self.log and part.index <= self.index)


@dataclass(frozen=True, slots=True)
class AsOfTime:
    """All logs, up to the batches that were sealed by then."""

    micros: int
    """µs since 1970."""

    def kept(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Yield the batches that were sealed by that time; few manifests are read to find the last one of each log."""
        logs: dict[str, list[Part]] = {}
        for part in parts:
            if part.sealed:
                logs.setdefault(part.log, []).append(part)
        for batches in logs.values():
            batches.sort(key=lambda part: part.index)
            yield from batches[: self._count(batches)]

    def _count(self, batches: Sequence[Part]) -> int:
        """Count the batches that were sealed by that time, with a binary search: batches are sealed in order."""

        def is_sealed(number: int) -> bool | None:
            manifest = batches[number].manifest()
            return None if manifest is None else manifest.sealed <= self.micros

        return _count_first(len(batches), is_sealed)


def _count_first(size: int, holds: Callable[[int], bool | None]) -> int:
    """Count the first items for which a condition holds, with a binary search.

    Args:
        size: number of items; the condition holds for the first ones, and for no other.
        holds: says whether the condition holds for an item; `None`: the item cannot be read. The answer of the next
            readable item before it is used instead.

    Returns:
        The number of the first readable item for which the condition does not hold; `size` if there is none.
    """
    low, high = 0, size
    while low < high:
        middle = probe = (low + high) // 2
        while (answer := holds(probe)) is None and probe > low:
            probe -= 1
        if answer is False:
            high = probe
        else:
            low = middle + 1
    return low


def head_cid_of(text: str) -> Cid | None:
    """Return the CID in a text; `None` when the text is not a CID and may be a time.

    Raises:
        ConfigurationError: the text looks like a CID, but is not a valid one.
    """
    bare = text.strip().removeprefix("ipfs://").removeprefix("/ipfs/")
    if not bare.startswith(("bafy", "bafk", "baf", "Qm", "zdpu", "f01", "F01", "B")) or len(bare) < 40:
        return None
    try:
        return Cid.from_user(bare)
    except FormatError as error:
        raise ConfigurationError("neither a head nor a time", where="as_of", found=ascii(text)[:80]) from error


def place_in_sources(cid: Cid, sources: Iterable[Source]) -> AsOfHead:
    """Find the batch that a head block or a manifest names in some sources.

    Raises:
        ConfigurationError: no source has the block.
        LogStoreError: a source cannot be read, and no other source has the block.
    """
    failure: LogStoreError = ConfigurationError(
        "no source has this head", where="as_of", found=cid.text, hint="`ipfs-logs status` prints the CID of each head."
    )
    for source in sources:
        try:
            place = source.place_of(cid)
        except LogStoreError as error:
            failure = error
            continue
        if place is not None:
            return AsOfHead(*place)
    raise failure


# -- two datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDifference:
    """The difference of one log between two datasets. Lines that are in no batch yet do not count."""

    subsystem: str
    """Name of the subsystem."""
    log: str
    """Name of the log."""
    common: int
    """Number of batches that both datasets have, with the same hash; the history up to the last of them is the same."""
    removed: int
    """Number of batches that only the first dataset has."""
    removed_records: int
    """Records in them."""
    added: int
    """Number of batches that only the second dataset has."""
    added_records: int
    """Records in them."""
    forked_at: int | None
    """Number of the first batch that differs: a log was rolled back or forged; `None`: no batch differs."""

    @property
    def same(self) -> bool:
        """Whether both have the same batches."""
        return not self.removed and not self.added

    def as_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def differences_of(ours: Sequence[Part], theirs: Sequence[Part]) -> tuple[LogDifference, ...]:
    """Compare the batches of two datasets log by log, in the order of the names of the logs."""
    first, second = _by_log(ours), _by_log(theirs)
    return tuple(_difference(first.get(log, {}), second.get(log, {})) for log in sorted({*first, *second}))


def _by_log(parts: Iterable[Part]) -> dict[str, dict[int, Part]]:
    logs: dict[str, dict[int, Part]] = {}
    for part in parts:
        if part.sealed:
            logs.setdefault(part.log, {})[part.index] = part
    return logs


def _difference(ours: Mapping[int, Part], theirs: Mapping[int, Part]) -> LogDifference:
    some = next(iter((ours or theirs).values()))
    both = sorted(set(ours) & set(theirs))
    same = _count_same(ours, theirs, both)
    common = set(both[:same])
    removed = [part for index, part in ours.items() if index not in common]
    added = [part for index, part in theirs.items() if index not in common]
    return LogDifference(
        subsystem=some.subsystem,
        log=some.log,
        common=len(common),
        removed=len(removed),
        removed_records=sum(part.records for part in removed),
        added=len(added),
        added_records=sum(part.records for part in added),
        forked_at=both[same] if same < len(both) else None,
    )


def _count_same(ours: Mapping[int, Part], theirs: Mapping[int, Part], both: Sequence[int]) -> int:
    """Count the equal batches, with a binary search: a manifest names all earlier batches by hash."""
    if both and _is_same(ours[both[-1]], theirs[both[-1]]):
        return len(both)
    return _count_first(len(both), lambda number: _is_same(ours[both[number]], theirs[both[number]]))


def _is_same(one: Part, other: Part) -> bool | None:
    """Say whether two manifests are the same; `None` if one of them cannot be read."""
    ours, theirs = one.manifest(), other.manifest()
    return None if ours is None or theirs is None else ours.cid == theirs.cid
