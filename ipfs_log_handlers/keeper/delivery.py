"""Deliver batches to all stores, with one task for each store, so that a silent store does not delay the others.

A task ships until no batch is left, then waits until it is woken. After each failure it waits longer, or until a flush
request wakes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

import backoff

from ipfs_log_handlers import stores
from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, FormatError, StoreDenied, StoreUnavailable
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import preload
from ipfs_log_handlers.keeper.flush_request import FlushRequest
from ipfs_log_handlers.keeper.host import Host
from ipfs_log_handlers.keeper.privacy_guard import CHECK_AGAIN_S
from ipfs_log_handlers.keeper.ship import ShippedBatch, Shipper, last_error_of
from ipfs_log_handlers.stores import Store

__all__ = ["Deliveries", "retry_delay", "retry_delays", "wait_for"]

_MAX_RETRY_DELAY_S: Final = 60.0
"""Longest time between two tries at a store that does not answer, in seconds."""
_MAX_REQUESTED_DELAY_S: Final = 600.0
"""Longest time that a store may request with Retry-After, in seconds."""
_DENIED_RETRY_DELAY_S: Final = 60.0
"""Seconds between two tries at a store that denies the calls."""


class Deliveries:
    """Run the delivery to every store of the subsystems.

    Args:
        home: the home.
        host: the program around the keeper; it has the credentials.
        subsystem_dirs_of: returns the subsystems that ship to an address.
        on_progress: called when a store may have received all batches.
        on_shipped: called for each batch that a store confirmed.
    """

    def __init__(
        self,
        home: HomeDir,
        host: Host,
        subsystem_dirs_of: Callable[[str], list[SubsystemDir]],
        on_progress: Callable[[], None],
        on_shipped: Callable[[ShippedBatch], None] | None,
    ) -> None:
        self.last_errors: dict[str, str] = {}
        """By address: the reason why a store cannot be opened."""
        self.denied_by: set[str] = set()
        """Names of the stores that deny the calls of this keeper: a wrong token, origin or address."""
        self.has_result = False
        """Whether a store has confirmed a batch, or a call has failed."""
        self._home = home
        self._host = host
        self._subsystem_dirs_of = subsystem_dirs_of
        self._on_progress = on_progress
        self._on_shipped = on_shipped
        self._request: FlushRequest | None = None
        self._shippers: dict[str, Shipper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakers: dict[str, asyncio.Event] = {}
        self._delays: dict[str, Iterator[float]] = {}
        self._foreign: set[str] = set()
        """Addresses that were opened without a credential, because they come from another process."""
        self._forgotten: list[Shipper] = []
        """Shippers of stores that were opened again with other settings; closed at the end."""
        self._calling: set[str] = set()
        """Addresses of stores with a call in progress."""
        self._unchecked: set[str] = set()
        """Addresses of stores that were reached again, but not yet asked for the newest confirmed batches."""

    def set_request(self, request: FlushRequest | None) -> None:
        """Note the flush request that waits. A new request wakes every task, also those that wait after a failure."""
        self._request = request
        if request is not None:
            self.wake()

    def wake(self) -> None:
        """Let every task look for batches to ship."""
        for waker in self._wakers.values():
            waker.set()

    def start(self, addresses: Iterable[str], foreign: Container[str] = ()) -> None:
        """Open the stores at these addresses that are not open yet, and start a task for each.

        Args:
            addresses: the addresses.
            foreign: those among them that come from another process, and get no credential of this one.
        """
        for address in addresses:
            if address in self._foreign and address not in foreign:  # it was configured since then
                self._forget(address)
            if address not in self._shippers and not self._open(address, foreign=address in foreign):
                continue
            task = self._tasks.get(address)
            if task is None or task.done():
                self._tasks[address] = asyncio.get_running_loop().create_task(self._deliver(address))

    def _forget(self, address: str) -> None:
        """Close a store later, so that it can be opened again with other settings."""
        self._foreign.discard(address)
        self._tasks.pop(address).cancel()
        self._forgotten.append(self._shippers.pop(address))
        del self._wakers[address]

    def _open(self, address: str, *, foreign: bool) -> bool:
        preload.load_for_store(address)
        try:
            store = stores.open_store(address, token=None if foreign else self._host.token(address))
        except ConfigurationError as error:
            self.last_errors[address] = str(error)
            return False
        if foreign:
            self._foreign.add(address)
        self._shippers[address] = Shipper(self._home, store, self._on_shipped)
        self._unchecked.add(address)
        self._wakers[address] = asyncio.Event()
        self._wakers[address].set()
        return True

    def open_stores(self, addresses: Iterable[str]) -> list[Store]:
        """Return the open stores at these addresses."""
        return [self._shippers[address].store for address in addresses if address in self._shippers]

    def done(self, request: FlushRequest) -> bool:
        """Return whether each store has all sealed batches, or has failed since the request."""
        return all(
            address in request.failed_stores
            or not (address in self._calling or address in self._unchecked or self._lacks_something(shipper))
            for address, shipper in self._shippers.items()
        )

    def _lacks_something(self, shipper: Shipper) -> bool:
        for subsystem_dir in self._subsystem_dirs_of(shipper.store.address):
            if shipper.guard.refuses(subsystem_dir.name):
                continue
            try:
                if shipper.missing(subsystem_dir):
                    return True
            except OSError:
                return True  # the try to ship reports why it cannot be read
        return False

    async def close(self) -> None:
        """End all tasks and close the stores."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for shipper in (*self._shippers.values(), *self._forgotten):
            try:
                await shipper.store.close()
            except Exception as error:  # noqa: BLE001 - the other stores must be closed, too
                self._host.failed(f"closing {shipper.store.address}", error)

    # -- the task of one store

    async def _deliver(self, address: str) -> None:
        shipper, waker = self._shippers[address], self._wakers[address]
        self._delays[address] = retry_delays()
        while True:
            await wait_for(waker, CHECK_AGAIN_S) if shipper.guard.refuses_any else await waker.wait()
            waker.clear()
            request = self._request
            try:
                if address in self._unchecked:
                    await self._check_newest(shipper)
                await self._ship_all(shipper)
                self.denied_by.discard(shipper.store.name)
            except Exception as error:  # noqa: BLE001 - the error of one store, of any kind, must not stop the others
                self._unchecked.add(address)
                await self._wait_after(error, shipper, waker, request)
            else:
                self._delays[address] = retry_delays()

    async def _ship_all(self, shipper: Shipper) -> None:
        """Make one call for each subsystem in turn, until no batch is left, so that no subsystem waits for another.

        Raises:
            StoreUnavailable, StoreDenied: the store fails for every subsystem.
            OSError, FormatError: the files of one subsystem cannot be read; the others are shipped (home.md 14).
        """
        progress, failed = True, None
        address = shipper.store.address
        while progress:
            progress = False
            for subsystem_dir in self._subsystem_dirs_of(address):
                self._calling.add(address)
                try:
                    shipped = await shipper.ship_some(subsystem_dir)
                    progress |= shipped is not None
                    if shipped:
                        self.has_result = True
                        self._delays[address] = retry_delays()
                except (OSError, FormatError) as error:
                    failed = error
                finally:
                    self._calling.discard(address)
                self.has_result |= shipper.guard.refuses(subsystem_dir.name)
        self._on_progress()
        if failed is not None:
            raise failed

    async def _check_newest(self, shipper: Shipper) -> None:
        """Ask a store that is reached again for its newest confirmed batches, so that lost ones are shipped again.

        This is done before the first batch is shipped: later confirmations need no check.
        """
        failed = False
        for subsystem_dir in self._subsystem_dirs_of(shipper.store.address):
            try:
                await shipper.check_newest(subsystem_dir)
            except (OSError, FormatError):  # reported when the batches of this subsystem are shipped (home.md 14)
                failed = True
        if not failed:
            self._unchecked.discard(shipper.store.address)

    async def _wait_after(
        self, error: Exception, shipper: Shipper, waker: asyncio.Event, request: FlushRequest | None
    ) -> None:
        """Note an error, then wait until the next try is due or a new flush request comes.

        Args:
            error: the error.
            shipper: the shipper of the store.
            waker: wakes this task.
            request: the flush request at the beginning of the try.
        """
        self.has_result = True
        delay = retry_delay(error, self._delays[shipper.store.address])
        if isinstance(error, StoreDenied):
            self.denied_by.add(shipper.store.name)
        last_error = last_error_of(error, clock.wall() + delay)
        for subsystem_dir in self._subsystem_dirs_of(shipper.store.address):
            with contextlib.suppress(OSError):
                shipper.note_error(subsystem_dir, last_error)
        if request is not None and self._request is request:
            request.failed_stores.add(shipper.store.address)
            self._on_progress()
        until = clock.monotonic() + delay
        while (left := until - clock.monotonic()) > 0 and (self._request is None or self._request is request):
            await wait_for(waker, left)
            waker.clear()
        waker.set()


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event for a limited time.

    Before Python 3.12, `wait_for` of asyncio loses a cancellation that comes at the same time as the event.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


def retry_delay(error: Exception, delays: Iterator[float]) -> float:
    """Return the seconds until the next try after an error.

    Args:
        error: the error; a refusal waits a minute, and a store may ask for a longer wait.
        delays: the delays of this store, as `retry_delays` yields them.
    """
    delay = next(delays)
    if isinstance(error, StoreDenied):
        delay = _DENIED_RETRY_DELAY_S
    if isinstance(error, StoreUnavailable) and error.retry_after is not None:
        delay = max(delay, min(error.retry_after, _MAX_REQUESTED_DELAY_S))
    return delay


def retry_delays() -> Iterator[float]:
    """Yield the seconds until each next try: exponential, capped, with full jitter."""
    for value in backoff.expo(factor=0.25, max_value=_MAX_RETRY_DELAY_S):
        if value is not None:
            yield 0.05 + backoff.full_jitter(value)
