"""Count what a keeper in the foreground still has to seal and to ship of the records that the home had at its start."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import pending_archives
from ipfs_log_handlers.home.delivery_state import Confirmations, DeliveryState
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import Log, LogDir, logs_of, policy_of, titles
from ipfs_log_handlers.spool.scan import Spool

__all__ = ["Remaining"]


class Remaining:
    """Compares a home with what it was when this object was made.

    Args:
        home: the home.
        stores: addresses in place of the configured ones; `()` seals only; `None`: the configured ones.
        pins: addresses of pin services in place of the configured ones; each of them must confirm each batch.
    """

    def __init__(self, home: HomeDir, stores: tuple[str, ...] | None, pins: tuple[str, ...] | None = None) -> None:
        self._home = home
        self._override = stores
        self._pins = pins
        self._sizes_at_start = {
            subsystem_dir.name: Spool(subsystem_dir).sizes() for subsystem_dir in home.subsystem_dirs()
        }
        self._archives_at_start = _waiting_archives(home)
        self._records_at_start = _sealed_records(home)

    # -- where batches go

    def stores(self) -> tuple[str, ...]:
        """Return the addresses that the home is shipped to."""
        if self._override is not None:
            return self._override
        addresses = {
            address for subsystem_dir in self._home.subsystem_dirs() for address in policy_of(subsystem_dir).stores
        }
        return tuple(sorted(addresses))

    def stores_of(self, subsystem_dir: SubsystemDir) -> tuple[str, ...]:
        """Return the addresses that a subsystem is shipped to."""
        return policy_of(subsystem_dir).stores if self._override is None else self._override

    def pins_of(self, subsystem_dir: SubsystemDir) -> tuple[str, ...]:
        """Return the addresses of the pin services of a subsystem."""
        return policy_of(subsystem_dir).pins if self._pins is None else self._pins

    def delivery_states(self) -> Iterator[tuple[SubsystemDir, Log, DeliveryState]]:
        """Yield the confirmations of each store and pin service for each log."""
        for subsystem_dir in self._home.subsystem_dirs():
            pins = self.pins_of(subsystem_dir)
            for log in logs_of(subsystem_dir):
                for state in log.confirmations(1).states:
                    if state.is_of_pin_service:
                        if state.address in pins:
                            yield subsystem_dir, log, state
                    elif self._override is None or state.address in self._override:
                        yield subsystem_dir, log, state

    def _confirmations(self, subsystem_dir: SubsystemDir, log: Log) -> list[Confirmations]:
        """Return the confirmations that count: of every given store and pin service, else as `replicas` says."""
        if self._override is not None:
            needed = [log.confirmations(len(self._override), self._override)]
        else:
            needed = [log.confirmations(policy_of(subsystem_dir).replicas)]
        if self._pins:
            needed.append(log.confirmations(len(self._pins), self._pins))
        return needed

    # -- what is left

    def first(self) -> tuple[str, int | None] | None:
        """Return the title of a log and its first batch that is not shipped; the batch is `None` before it is sealed.

        `None`: nothing is left.
        """
        return next(self._all(), None)

    def _all(self) -> Iterator[tuple[str, int | None]]:
        for subsystem_dir in self._home.subsystem_dirs():
            if self._has_unsealed(subsystem_dir):
                yield subsystem_dir.name, None
            logs = logs_of(subsystem_dir)
            title_of = titles(logs)
            ships = bool(self.stores_of(subsystem_dir))
            for log in logs if ships else ():
                missing = (every.missing(log.newest) for every in self._confirmations(subsystem_dir, log))
                for index in heapq.merge(*missing):
                    yield title_of[log.log_dir.path], index

    def unsealed(self) -> list[str]:
        """List the subsystems with records or archives that were in the spool at the beginning and are in no batch."""
        return [
            subsystem_dir.name for subsystem_dir in self._home.subsystem_dirs() if self._has_unsealed(subsystem_dir)
        ]

    def count_unshipped(self) -> int:
        """Count the batches without enough confirmations, without a loop over them.

        A pin service is asked only for what a store has: where both lack batches, the larger number is that of all.
        """
        count = 0
        for subsystem_dir in self._home.subsystem_dirs():
            ships = bool(self.stores_of(subsystem_dir))
            for log in logs_of(subsystem_dir) if ships else ():
                every = self._confirmations(subsystem_dir, log)
                count += max(confirmations.count_missing(log.newest) for confirmations in every)
        return count

    def worth_another_try(self) -> bool:
        """Return whether a batch is left that no store has set aside."""
        for subsystem_dir in self._home.subsystem_dirs():
            if self._has_unsealed(subsystem_dir):
                return True
            addresses = (*self.stores_of(subsystem_dir), *self.pins_of(subsystem_dir))
            for log in logs_of(subsystem_dir):
                states = {state.address: state for state in log.confirmations(1, addresses).states}
                if any(address not in states or states[address].lacks(log.newest) for address in addresses):
                    return True
        return False

    def _has_unsealed(self, subsystem_dir: SubsystemDir) -> bool:
        """Return whether a record or archive that was in the spool at the beginning is in no batch."""
        try:
            sealed = LogDir.current_of(subsystem_dir).load_head()
        except FormatError:
            return True
        consumed = sealed.consumed if sealed is not None else {}
        sizes = Spool(subsystem_dir).sizes()
        return any(
            name in sizes and consumed.get(name, 0) < size
            for name, size in self._sizes_at_start.get(subsystem_dir.name, {}).items()
        )

    # -- what was done meanwhile

    def count_sealed_records(self) -> int:
        """Count the records that were sealed since the beginning."""
        return max(0, _sealed_records(self._home) - self._records_at_start)

    def count_sealed_archives(self) -> int:
        """Count the archives that were sealed since the beginning."""
        return len(self._archives_at_start - _waiting_archives(self._home))


def _heads(home: HomeDir) -> Iterator[tuple[SubsystemDir, HeadState | None]]:
    for subsystem_dir in home.subsystem_dirs():
        yield subsystem_dir, LogDir.current_of(subsystem_dir).head_state()


def _sealed_records(home: HomeDir) -> int:
    """Count the sealed records in the heads of a home."""
    return sum(sealed.records for _, sealed in _heads(home) if sealed is not None)


def _waiting_archives(home: HomeDir) -> set[tuple[str, str]]:
    """List the archives that are in no batch yet, by subsystem and name."""
    return {
        (subsystem_dir.name, str(name))
        for subsystem_dir, sealed in _heads(home)
        for name in pending_archives.listing(subsystem_dir.archived)
        if sealed is None or str(name) not in sealed.consumed
    }
