"""Run the keeper: one event loop that seals due batches, and ships sealed ones.

Sealing runs in short steps with a pause after each, so that its program keeps the GIL; while a flush waits, there are
no pauses. The keeper never logs and never prints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import requests
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.keeper import election, preload
from ipfs_log_handlers.keeper.delivery import Deliveries, wait_for
from ipfs_log_handlers.keeper.flush_request import FlushRequest
from ipfs_log_handlers.keeper.host import Host, Standalone
from ipfs_log_handlers.keeper.housekeeping import Housekeeping, RetentionTarget
from ipfs_log_handlers.keeper.pinning import Pinnings
from ipfs_log_handlers.keeper.publisher import Publisher
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.sealing_rounds import SealingRounds
from ipfs_log_handlers.keeper.ship import ShippedBatch
from ipfs_log_handlers.keeper.store_choice import StoreChoice

__all__ = ["SCAN_INTERVAL_S", "Host", "Keeper", "Standalone"]

SCAN_INTERVAL_S: Final = 0.2
"""Seconds between two checks of the activity of this process, and of requests."""
_REQUESTED_SCAN_INTERVAL_S: Final = 0.02
"""The same while a flush request waits for sealing."""
_OTHER_PROCESSES_INTERVAL_S: Final = 1.0
"""Seconds between two scans of the spools for records of other processes."""
_PUBLISH_AT_END_S: Final = 0.3
"""Seconds that a publication gets at the end of a program: as long as a request that is under way."""


class Keeper:
    """Seal and ship one home, for as long as this process holds its lock.

    Args:
        lock: the home's lock, held; the caller releases it.
        host: the program around the keeper.
        stores: addresses to ship to in place of the configured ones; `()` seals only.
        fallback_stores: addresses to ship to as long as no subsystem has a configured store.
        pins: addresses of pin services in place of the configured ones.
        fallback_pins: addresses of pin services, as `fallback_stores`.
        publish: publish the home, whatever the settings of its programs.
        on_shipped: called for each batch that a store or a pin service confirmed.
    """

    def __init__(
        self,
        lock: KeeperLock,
        host: Host,
        *,
        stores: tuple[str, ...] | None = None,
        fallback_stores: tuple[str, ...] = (),
        pins: tuple[str, ...] | None = None,
        fallback_pins: tuple[str, ...] = (),
        publish: bool = False,
        on_shipped: Callable[[ShippedBatch], None] | None = None,
    ) -> None:
        self.home = lock.home
        self._lock = lock
        self._host = host
        self._on_shipped = on_shipped
        sealers: dict[str, Sealer] = {}
        self._choice = StoreChoice(lock.home, sealers, stores, fallback_stores)
        self._wake = asyncio.Event()
        self._deliveries = Deliveries(
            lock.home, host, self._choice.subsystem_dirs_of, self._wake.set, self._note_shipped
        )
        self._pin_choice = StoreChoice(
            lock.home, sealers, () if stores == () else pins, fallback_pins, lambda policy: policy.pins
        )
        self._pinnings = Pinnings(
            lock.home, host, self._pin_choice.subsystem_dirs_of, self._choice.addresses, self._note_pinned
        )
        self._housekeeping = Housekeeping(lock.home, self._retention_targets, host.failed, self._seal_soon)
        self._rounds = SealingRounds(
            lock,
            sealers,
            stopping=lambda: self._stopping,
            on_sealed=self._deliveries.wake,
            on_act=self._housekeeping.note_act,
            on_full_disk=lambda: self._housekeeping.run(disk_is_full=True),
        )
        self._publish = publish
        self._publisher = Publisher(lock, host, self._choice.own_addresses, self._is_publication_wanted)
        self._publish_files: frozenset[str] = frozenset()
        self._request_files: frozenset[str] = frozenset()
        self._stopping = False
        self.handed_over = False
        """Whether the keeper has stopped for a process that has the credential which a store needs."""
        self.until_done = False
        """Whether to stop when all lines are sealed, and each store has all batches or could not be reached."""
        self.waits_for_pins = False
        """Whether `until_done` also waits until each pin service was asked for all batches, or could not be reached."""
        self.publish_seconds = _PUBLISH_AT_END_S
        """Seconds that a publication then gets before the keeper stops."""

    @property
    def last_errors(self) -> dict[str, str]:
        """Return the reasons why batches cannot be sealed or shipped, by subsystem or address; `name`: or published."""
        name = {} if self._publisher.last_error is None else {"name": self._publisher.last_error}
        return {**self._rounds.errors, **self._deliveries.last_errors, **self._pinnings.last_errors, **name}

    @property
    def denied_by(self) -> set[str]:
        """Return the names of the stores and pin services that deny the calls of this keeper, for example its token."""
        return self._deliveries.denied_by | self._pinnings.denied_by

    @property
    def has_result(self) -> bool:
        """Return whether a store has confirmed a batch, or a call has failed."""
        return self._deliveries.has_result

    # -- called by others, in the loop's thread

    def request_flush(self) -> None:
        """Seal all lines that are in the spools now, and ship all sealed batches, without pauses."""
        self._rounds.adopt_drop_reports()
        self._set_request(FlushRequest.of_all(self.home))
        self._rounds.try_failed_again()
        self._wake.set()

    def begin_stop(self) -> None:
        """Stop after the current step."""
        self._stopping = True
        self._wake.set()

    # -- the loop

    async def run(self) -> None:
        """Run until `begin_stop` is called or, if `until_done` is set, until all batches are sealed and shipped.

        Raises:
            LostLockError: another process has become the keeper.
        """
        preload.load_for_sealing()
        seen_activity, scan_at = -1, 0.0
        more = False
        try:
            while not self._stopping:
                if not self._lock.holds():
                    raise LostLockError
                now = clock.monotonic()
                self._host.check_segments()
                self._read_requests()
                activity = self._host.activity()
                if more or activity != seen_activity or now >= scan_at or self._request is not None:
                    seen_activity, scan_at = activity, now + _OTHER_PROCESSES_INTERVAL_S
                    more = await self._rounds.run()
                self._deliveries.start(self._choice.all_addresses(), self._choice.foreign())
                self._pinnings.start(
                    self._pin_choice.all_addresses(), self._pin_choice.foreign(), self._choice.foreign()
                )
                self._housekeeping.check(now)
                self._publisher.check(now)
                if self._done():
                    self._set_request(None)
                    if self.until_done:
                        await self._publisher.finish(self.publish_seconds, self._has_other_work)
                        if self._request is not None:
                            continue
                        await self._housekeeping.finish(self._has_to_end)
                        if self.waits_for_pins:
                            await self._pinnings.finish(self._has_to_end)
                        return
                if not more:
                    await self._pause()
        finally:
            await self._publisher.close()
            await self._housekeeping.close()
            await self._pinnings.close()
            await self._deliveries.close()

    async def _pause(self) -> None:
        waits_for_sealing = self._request is not None and self._request.unsealed
        await wait_for(self._wake, _REQUESTED_SCAN_INTERVAL_S if waits_for_sealing else SCAN_INTERVAL_S)
        self._wake.clear()

    def _read_requests(self) -> None:
        pending = requests.pending(self.home.requests)
        if pending.asked - self._request_files:
            self.request_flush()
        self._request_files = pending.asked
        if pending.publish - self._publish_files:
            self._publisher.request()
        self._publish_files = pending.publish
        self._choice.requested, self._pin_choice.requested = pending.stores, pending.pins
        if self.denied_by and election.accept(self.home, pending, self.denied_by):
            self.handed_over = self._stopping = True

    def _is_publication_wanted(self) -> bool:
        return self._publish or any(sealer.policy.publish for sealer in self._rounds.sealers.values())

    def _has_to_end(self) -> bool:
        return self._stopping or not self._lock.holds()

    def _has_other_work(self) -> bool:
        """Return whether the keeper has to end, or somebody waits for it; a publication must not delay that."""
        self._read_requests()
        return self._has_to_end() or self._request is not None

    @property
    def _request(self) -> FlushRequest | None:
        return self._rounds.request

    def _set_request(self, request: FlushRequest | None) -> None:
        self._rounds.request = request
        self._deliveries.set_request(request)

    def _done(self) -> bool:
        """Return whether all requested lines are sealed, and every store has them or could not be reached."""
        request = self._request
        if request is None:
            return True
        if not request.sealed(self._rounds.failed) or not self._deliveries.done(request):
            return False
        return not (self.until_done and self.waits_for_pins) or self._pinnings.done()

    # -- what its parts report

    def _note_shipped(self, batch: ShippedBatch) -> None:
        self._pinnings.wake()
        self._note_pinned(batch)

    def _note_pinned(self, batch: ShippedBatch) -> None:
        self._housekeeping.note_shipped()
        self._publisher.note_shipped()
        if self._on_shipped is not None:
            self._on_shipped(batch)

    def _seal_soon(self) -> None:
        """Try failed subsystems again, because space was freed."""
        self._rounds.try_failed_again()
        self._wake.set()

    def _retention_targets(self) -> list[RetentionTarget]:
        return [
            RetentionTarget(
                sealer,
                self._deliveries.open_stores(self._choice.addresses(sealer.subsystem_dir)),
                self._pinnings.open_services(self._pin_choice.addresses(sealer.subsystem_dir)),
            )
            for sealer in self._rounds.sealers.values()
        ]
