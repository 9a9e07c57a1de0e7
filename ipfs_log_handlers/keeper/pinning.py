"""Use all pin services of a home, with one task for each, beside the delivery to the stores and never in its way.

A task goes over the new batches when a store has confirmed one, and over all that a service has not confirmed when it
is due. While a service works, it is asked again after a delay that grows; after an error, with the delays of a store.
A task waits for no flush, and no flush waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, StoreDenied, StoreUnavailable
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import preload
from ipfs_log_handlers.keeper.delivery import retry_delay, retry_delays, wait_for
from ipfs_log_handlers.keeper.host import Host
from ipfs_log_handlers.keeper.pin import Pass, Pinner
from ipfs_log_handlers.keeper.ship import ShippedBatch, last_error_of
from ipfs_log_handlers.stores.pins import PinService, open_pin_service

__all__ = ["Pinnings"]

_FIRST_ANSWERS_S: Final = 3.0
"""Seconds that `ipfs-logs ship` waits for services that have taken a request, if it need not wait for them."""

_POLL_S: Final = 0.1
"""Seconds between two checks whether the keeper has to end at once."""

_REST: Final = 3.0
"""Least time between two passes over all batches, as a multiple of the time of the first one."""


@dataclass(slots=True)
class _Work:
    """The task of one service."""

    pinner: Pinner
    waker: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    unchecked: bool = True
    """Whether the service was reached again, but not yet asked for the newest confirmed batches."""
    busy: bool = True
    """Whether a pass is under way, or has never ended."""
    outcome: Pass = field(default_factory=Pass)
    """The outcome of the last pass; of the one under way, what it has found so far."""
    failed: bool = False
    """Whether the last pass has failed."""
    delays: Iterator[float] = field(default_factory=retry_delays)
    """Seconds until each next try after an error."""
    waiting_delays: Iterator[float] = field(default_factory=retry_delays)
    """Seconds until the service is asked again for what it works on."""
    waits_since: float | None = None
    """Monotonic time since which the service works on pins without having finished one; `None`: it does not."""

    @property
    def needs_head(self) -> bool:
        """Whether the pass under way has confirmed batches: at its end it asks for their head block."""
        return self.busy and self.outcome.confirmed > 0


class Pinnings:
    """Run the work of every pin service of the subsystems.

    Args:
        home: the home.
        host: the program around the keeper; it has the credentials.
        subsystem_dirs_of: returns the subsystems that use a service.
        stores_of: returns the addresses of the stores of a subsystem.
        on_pinned: called for each batch that a service confirmed.
    """

    def __init__(
        self,
        home: HomeDir,
        host: Host,
        subsystem_dirs_of: Callable[[str], list[SubsystemDir]],
        stores_of: Callable[[SubsystemDir], Iterable[str]],
        on_pinned: Callable[[ShippedBatch], None],
    ) -> None:
        self.last_errors: dict[str, str] = {}
        """By address: the reason why a service cannot be opened."""
        self.denied_by: set[str] = set()
        """Names of the services that deny the calls of this keeper."""
        self._home = home
        self._host = host
        self._subsystem_dirs_of = subsystem_dirs_of
        self._stores_of = stores_of
        self._on_pinned = on_pinned
        self._works: dict[str, _Work] = {}
        self._foreign: set[str] = set()
        """Addresses that were opened without a credential, because they come from another process."""
        self._foreign_stores: Container[str] = ()
        self._ending = False
        """Whether no task begins another pass."""
        self._forgotten: list[Pinner] = []
        """Pinners of services that were opened again with a credential; closed at the end."""

    def wake(self) -> None:
        """Let every task look for new batches."""
        for work in self._works.values():
            work.waker.set()

    def start(
        self, addresses: Iterable[str], foreign: Container[str] = (), foreign_stores: Container[str] = ()
    ) -> None:
        """Open the services at these addresses that are not open yet, and start a task for each.

        Args:
            addresses: the addresses.
            foreign: those among them that come from another process, and get no credential of this one.
            foreign_stores: addresses of stores that come from another process.
        """
        self._foreign_stores = foreign_stores
        for address in addresses:
            if address in self._foreign and address not in foreign:
                self._forget(address)
            if address not in self._works and not self._open(address, foreign=address in foreign):
                continue
            work = self._works[address]
            if work.task is None or work.task.done():
                work.task = asyncio.get_running_loop().create_task(self._pin(address, work))

    def _forget(self, address: str) -> None:
        self._foreign.discard(address)
        work = self._works.pop(address)
        if work.task is not None:
            work.task.cancel()
        self._forgotten.append(work.pinner)

    def _open(self, address: str, *, foreign: bool) -> bool:
        preload.load_for_pin_services()
        token = None if foreign else self._host.token(address)
        try:
            service = open_pin_service(address, token=token, stores=lambda: self._stores(address))
        except ConfigurationError as error:
            self.last_errors[address] = str(error)
            return False
        if foreign:
            self._foreign.add(address)
        self._works[address] = _Work(Pinner(self._home, service, self._on_pinned))
        return True

    def _stores(self, address: str) -> list[tuple[str, str | None]]:
        """Return the stores of the subsystems that use a service, each with its credential."""
        stores = dict.fromkeys(
            store for subsystem_dir in self._subsystem_dirs_of(address) for store in self._stores_of(subsystem_dir)
        )
        return [(store, None if store in self._foreign_stores else self._host.token(store)) for store in stores]

    def open_services(self, addresses: Iterable[str]) -> list[PinService]:
        """Return the open services at these addresses."""
        return [self._works[address].pinner.service for address in addresses if address in self._works]

    def done(self) -> bool:
        """Return whether each service has failed, or was asked for every batch and had some seconds to pin it."""
        now = clock.monotonic()
        return all(
            work.failed
            or not (
                work.busy
                or (work.waits_since is not None and now - work.waits_since < _FIRST_ANSWERS_S)
                or self._has_unasked(address, work)
            )
            for address, work in self._works.items()
        )

    def _has_unasked(self, address: str, work: _Work) -> bool:
        try:
            return any(map(work.pinner.unasked, self._subsystem_dirs_of(address)))
        except OSError:
            return False  # the next pass reports why it cannot be read

    async def finish(self, stopping: Callable[[], bool]) -> None:
        """End all tasks before the keeper ends; let those that have just confirmed batches ask for their head block.

        Args:
            stopping: whether the keeper has to end now.
        """
        self._ending = True
        tasks = set[asyncio.Task[None]]()
        for work in self._works.values():
            if work.task is not None:
                tasks.add(work.task)
                if not work.needs_head:
                    work.task.cancel()
        while tasks and not stopping():
            _, tasks = await asyncio.wait(tasks, timeout=_POLL_S)

    async def close(self) -> None:
        """End all tasks and close the services."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pinner in (*(work.pinner for work in self._works.values()), *self._forgotten):
            try:
                await pinner.service.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed, too
                self._host.failed(f"closing {pinner.service.address}", error)

    # -- the task of one service

    async def _pin(self, address: str, work: _Work) -> None:
        due: float | None = None
        new = False
        while True:
            work.waker.clear()
            work.busy, begun = True, clock.monotonic()
            try:
                outcome = await self._pass(address, work, new=new)
            except Exception as error:  # noqa: BLE001 - the error of one service must not stop the others
                work.busy, work.failed, work.unchecked = False, True, True
                error_delay = self._note_error(address, work, error)
                if self._ending:
                    return
                await asyncio.sleep(error_delay)
                new = False
                continue
            work.busy = False
            if outcome.confirmed:
                work.delays, work.waiting_delays = retry_delays(), retry_delays()
            delay = self._delay_after(address, work, outcome, new=new)
            if delay is not None and (not new or due is None):
                now = clock.monotonic()
                due = now + max(delay, _REST * (now - begun))
            elif not new:
                due = None
            if self._ending:
                return
            new = await _wait_until(work.waker, due)

    async def _pass(self, address: str, work: _Work, *, new: bool) -> Pass:
        outcome = work.outcome = Pass()
        failed: OSError | None = None
        for subsystem_dir in self._subsystem_dirs_of(address):
            try:
                if work.unchecked:
                    await work.pinner.check_newest(subsystem_dir)
                await work.pinner.go_over(subsystem_dir, outcome, new=new)
            except OSError as error:  # the files of one subsystem cannot be read; the others have their turn
                failed = error
        if failed is not None:
            raise failed
        work.unchecked = False
        self.denied_by.discard(work.pinner.service.name)
        return outcome

    def _delay_after(self, address: str, work: _Work, outcome: Pass, *, new: bool) -> float | None:
        """Note the outcome of a pass; return the seconds until one over all batches is due, `None`: none is due."""
        if outcome.waiting and (outcome.confirmed or work.waits_since is None):
            work.waits_since = clock.monotonic()
        elif not outcome.waiting and not new:
            work.waits_since = None
        if outcome.failed is not None:
            work.failed = True
            return self._note_error(address, work, StoreUnavailable(outcome.failed, where=address))
        if not new:
            work.failed = False
            for subsystem_dir in self._subsystem_dirs_of(address):
                with contextlib.suppress(OSError):
                    work.pinner.note_error(subsystem_dir, None)
        return next(work.waiting_delays) if outcome.waiting else None

    def _note_error(self, address: str, work: _Work, error: Exception) -> float:
        """Write an error into the delivery states; return the seconds until the next try."""
        delay = retry_delay(error, work.delays)
        if isinstance(error, StoreDenied):
            self.denied_by.add(work.pinner.service.name)
        last_error = last_error_of(error, clock.wall() + delay)
        for subsystem_dir in self._subsystem_dirs_of(address):
            with contextlib.suppress(OSError):
                work.pinner.note_error(subsystem_dir, last_error)
        return delay


async def _wait_until(waker: asyncio.Event, due: float | None) -> bool:
    """Wait until a pass over all batches is due, or a new batch comes; return whether a new batch came first."""
    if due is None:
        await waker.wait()
        return True
    left = due - clock.monotonic()
    if left > 0:
        await wait_for(waker, left)
    return waker.is_set() and clock.monotonic() < due
