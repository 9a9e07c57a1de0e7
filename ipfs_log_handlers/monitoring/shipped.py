"""Count the records that are shipped, or that one pin service has, with the sums in the indexes of the logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home.delivery_state import Confirmations, LastError
from ipfs_log_handlers.home.logs import Log

__all__ = ["PinServiceStatus", "count_published", "count_shipped", "last_error_of", "pin_services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinServiceStatus:
    """The counters and the health of one pin service for one subsystem."""

    service: str
    """Its address, without a credential."""
    pinned: int = 0
    """Records in batches that it has confirmed."""
    waiting: int = 0
    """Batches that a store has confirmed and this service has not."""
    last_error: str | None = None
    """The current error; `None` if it does its work, or has nothing to do."""
    next_retry: str | None = None
    """Time at which it is tried again, RFC 3339; `None` without an error."""

    def as_json(self) -> dict[str, Any]:
        """Return the status with the keys of `pins` in `ipfs-logs status`."""
        return asdict(self)


def pin_services(logs: Sequence[Log], configured: Iterable[str], sealed: int) -> tuple[PinServiceStatus, ...]:
    """Return the status of every pin service of a subsystem: the configured ones, then former ones.

    Args:
        logs: the logs of the subsystem.
        configured: the addresses of the configured ones.
        sealed: records in all batches of the logs.
    """
    found = [(log, log.confirmations(1)) for log in logs]
    former = (state.address for _, every in found for state in every.states if state.is_of_pin_service)
    return tuple(_of_service(address, found, sealed) for address in dict.fromkeys((*configured, *former)))


def _of_service(address: str, found: Sequence[tuple[Log, Confirmations]], sealed: int) -> PinServiceStatus:
    own = [
        (log, Confirmations([state for state in every.states if state.address == address], 1)) for log, every in found
    ]
    waiting = sum(
        max(0, mine.count_missing(log.newest) - every.of_stores(1).count_missing(log.newest))
        for (log, mine), (_, every) in zip(own, found, strict=True)
    )
    error, retry = last_error_of(own)
    return PinServiceStatus(
        service=address, pinned=count_shipped(own, sealed), waiting=waiting, last_error=error, next_retry=retry
    )


def last_error_of(confirmed: Sequence[tuple[Log, Confirmations]]) -> tuple[str | None, str | None]:
    """Return the last error of a store or pin service that still lacks a batch, and the time of its next try."""
    errors: list[LastError] = [
        state.last_error
        for log, confirmations in confirmed
        for state in confirmations.states
        if state.last_error is not None and state.lacks(log.newest)
    ]
    if not errors:
        return None, None
    last = max(errors, key=lambda error: error.at)
    return last.message, rfc3339(int(last.next_retry * 1_000_000))


def count_shipped(confirmed: Sequence[tuple[Log, Confirmations]], sealed: int) -> int:
    """Count the records in the batches that enough stores have confirmed."""
    if all(not confirmations.count_missing(log.newest) for log, confirmations in confirmed):
        return sealed
    return sum(_count_shipped_of_log(log, confirmations) for log, confirmations in confirmed)


def _count_shipped_of_log(log: Log, confirmations: Confirmations) -> int:
    """Count with the sums in the index; without them, read the manifests of the shipped batches."""
    missing = confirmations.count_missing(log.newest)
    if missing == log.newest + 1:
        return 0
    through = min(confirmations.settled_through, log.newest)
    records = log.batches.records_through(through)
    if records is None:
        not_shipped = set(confirmations.missing(log.newest))
        return _count_records(log, [index for index in range(log.newest + 1) if index not in not_shipped])
    doubtful = list(takewhile(lambda index: index <= through, confirmations.missing(log.newest)))
    after = [index for index in confirmations.shipped_after() if index <= log.newest]
    return records - _count_records(log, doubtful) + _count_records(log, after)


def count_published(logs: Sequence[Log], through: Mapping[str, int]) -> int:
    """Count the records up to the newest published batch of each log.

    Args:
        logs: the logs.
        through: by name of a log, the number of this batch.
    """
    total = 0
    for log in logs:
        newest = min(through.get(log.name, -1), log.newest)
        records = log.batches.records_through(newest) if newest >= 0 else 0
        total += _count_records(log, range(newest + 1)) if records is None else records
    return total


def _count_records(log: Log, indexes: Sequence[int]) -> int:
    """Count the records in some batches of a log: with the index, else with their manifests."""
    total = 0
    for index in indexes:
        through, before = log.batches.records_through(index), log.batches.records_through(index - 1)
        if through is not None and before is not None:
            total += through - before
        else:
            total += sum(manifest.records for manifest in log.log_dir.manifests([index]))
    return total
