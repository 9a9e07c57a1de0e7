"""Publish a home while its keeper runs: after batches were shipped, and before the record of the name ends.

It has a task and connections of its own. The keeper never waits for it: a store that is slow or silent delays neither
sealing, shipping, a flush nor the end of the program. What is not published then is published by the next keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ipfs_log_handlers import stores
from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, StoreDenied
from ipfs_log_handlers.home import name_state
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.home.name_state import PublishError
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.keeper import preload
from ipfs_log_handlers.keeper.delivery import retry_delays
from ipfs_log_handlers.keeper.host import Host
from ipfs_log_handlers.keeper.publishing import NothingShippedError, Publication, load_state
from ipfs_log_handlers.stores import Store

__all__ = ["MIN_INTERVAL_S", "Publisher"]

MIN_INTERVAL_S: Final = 2.0
"""Shortest time between two publications, in seconds."""
_SHARE: Final = 3
"""Longer publications are rarer: the time between two is at least so many times that of one."""
_RENEWAL_CHECK_S: Final = 60.0
"""Seconds between two checks whether the record ends soon."""
_DENIED_RETRY_S: Final = 60.0
"""Seconds between two tries at a store that denies the calls."""
_POLL_S: Final = 0.02
"""Seconds between two checks in that time."""


class Publisher:
    """Publish one home, for as long as its keeper runs. The methods are called in the keeper's event loop.

    Args:
        lock: the home's lock, held by the keeper.
        host: the program around the keeper; it has the credentials.
        addresses: returns the configured stores.
        wanted: returns whether the home shall be published.
    """

    def __init__(
        self, lock: KeeperLock, host: Host, addresses: Callable[[], Iterable[str]], wanted: Callable[[], bool]
    ) -> None:
        self._lock = lock
        self._host = host
        self._addresses = addresses
        self._wanted = wanted
        self._stores: dict[str, Store] = {}
        self._task: asyncio.Task[None] | None = None
        self._delays = retry_delays()
        self._is_due = True
        """Whether something may be unpublished: at the beginning, after a batch was shipped, and after a failure."""
        self._is_requested = False
        """Whether `ipfs-logs publish` waits, which publishes a home whatever its settings."""
        self._is_failing = False
        self._next_try = self._next_renewal_check = 0.0
        self.last_error: str | None = None
        """The reason why the home is not published; `None`: it is, or was not tried."""

    def note_shipped(self) -> None:
        """Note that a store has confirmed a batch."""
        self._is_due = True

    def request(self) -> None:
        """Publish at once, also what is published already, and whether or not it failed before."""
        self._is_requested = self._is_due = True
        self._next_try = 0.0
        self._delays = retry_delays()

    def check(self, now: float) -> None:
        """Start a publication if one is due.

        Args:
            now: the keeper's monotonic clock, seconds.
        """
        if now < self._next_try or (self._task is not None and not self._task.done()):
            return
        if not self._is_due and now < self._next_renewal_check:
            return
        if not (self._is_requested or self._wanted()):
            return
        addresses = list(self._addresses())
        if addresses:
            self._next_renewal_check = now + _RENEWAL_CHECK_S
            self._task = asyncio.get_running_loop().create_task(self._turn(addresses))

    async def finish(self, seconds: float, stopping: Callable[[], bool]) -> None:
        """Publish what is due, for a short time, before a keeper ends that has nothing else to do.

        Args:
            seconds: the time that this may take.
            stopping: whether the keeper has to end now, or has other work.
        """
        until = clock.monotonic() + seconds
        while clock.monotonic() < until and not stopping() and not self._is_failing:
            self.check(clock.monotonic())
            if self._task is None or (self._task.done() and not self._is_due):
                return
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """End a publication that is under way, and close the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for address, store in self._stores.items():
            try:
                await store.close()
            except Exception as error:  # noqa: BLE001 - the other stores must be closed, too
                self._host.failed(f"closing {address}", error)

    async def _turn(self, addresses: Iterable[str]) -> None:
        """Publish once; note how it went, and when the next publication may begin."""
        begun = clock.monotonic()
        again, self._is_due, self._is_requested = self._is_requested, False, False
        try:
            await Publication(self._lock.home, self._open(addresses), self._lock.holds, again=again).run()
        except LostLockError:
            return  # the keeper notices it, too
        except NothingShippedError as error:
            self._is_failing = False
            if again:
                self._note_error(error, begun, _RENEWAL_CHECK_S)
        except Exception as error:  # noqa: BLE001 - `status` shows it, and it is tried again
            self._is_failing = self._is_due = True
            self._note_error(error, begun, _DENIED_RETRY_S if isinstance(error, StoreDenied) else next(self._delays))
        else:
            self._is_failing, self.last_error = False, None
            self._delays = retry_delays()
            now = clock.monotonic()
            self._next_try = now + max(MIN_INTERVAL_S, _SHARE * (now - begun))

    def _note_error(self, error: Exception, begun: float, delay: float) -> None:
        """Note an error where `status` finds it, and when it is tried again."""
        self.last_error = explain_any(error)
        now = clock.monotonic()
        delay = max(delay, MIN_INTERVAL_S, now - begun)
        self._next_try = now + delay
        with suppress(OSError):
            trouble = PublishError(self.last_error, clock.wall(), clock.wall() + delay)
            if self._lock.holds():
                name_state.store(self._lock.home, replace(load_state(self._lock.home), last_error=trouble), sync=False)

    def _open(self, addresses: Iterable[str]) -> dict[str, Store]:
        """Open stores, apart from those that batches are shipped with: a broken connection is no trouble for these."""
        opened: dict[str, Store] = {}
        for address in addresses:
            if address not in self._stores:
                preload.load_for_store(address)
                with suppress(ConfigurationError):  # shipping reports it
                    self._stores[address] = stores.open_store(address, token=self._host.token(address))
            if address in self._stores:
                opened[address] = self._stores[address]
        return opened
