"""The keeper at work: one event loop that seals when a batch is due and ships what is sealed.

Sealing is cut into short steps with a pause after each, so that the program it lives in keeps the GIL;
where somebody waits for it, without pauses. Each store has a task of its own, so a silent one holds up nothing else.
The keeper never logs and never prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import backoff

from ipfs_log_handlers.errors import ConfigurationError, FormatError, StoreRefused, StoreUnavailable
from ipfs_log_handlers.home import disk, requests
from ipfs_log_handlers.home.layout import Room
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.keeper import handover, late
from ipfs_log_handlers.keeper.house import House, Tenant
from ipfs_log_handlers.keeper.seal import LostLockError, Sealer
from ipfs_log_handlers.keeper.ship import Delivered, Shipper, trouble_of
from ipfs_log_handlers.keeper.spool import Spool
from ipfs_log_handlers.stores import Store, open_store

__all__ = ["TICK", "Guest", "Keeper", "NoGuest"]

TICK: Final = 0.2
"""Seconds between two looks at the spool."""
_OTHERS_EVERY: Final = 1.0
_PAUSE: Final = 0.0002
"""Seconds of rest after each step, at least."""
_REST: Final = 30.0
"""Seconds of rest for each second of work beside a running program, while the spool is empty; none when it is half
full. So a flood waits on the disk, and whoever flushes has it sealed without pauses."""
_LONGEST_REST: Final = 0.05
"""Seconds after which somebody who asks is heard at the latest."""
_NAP: Final = 0.002
"""Seconds of rest above which the loop's own clock is exact enough."""
_STEPS_A_TURN: Final = 16
_LONGEST_WAIT: Final = 60.0
_DENIED_WAIT: Final = 60.0


class Guest(Protocol):
    """What the keeper asks of the program it lives in."""

    own_threads: set[int]
    """Threads that are the keeper now: what libraries log there is never recorded, or it would feed itself."""

    def activity(self) -> int:
        """A number that grows with every record of this process."""

    def tick(self) -> None:
        """Look after the segments of this process (descriptors closed under it)."""

    def token(self, address: str) -> str | None:
        """The credential for a store."""

    def failed(self, what: str, error: Exception) -> None:
        """Something failed that is nobody's trouble but should be seen."""


class NoGuest:
    """A keeper that lives alone: `ipfs-logs ship`."""

    def __init__(self, token: str | None = None) -> None:
        self.own_threads: set[int] = set()
        self._token = token

    def activity(self) -> int:
        """Nothing is logged here."""
        return 0

    def tick(self) -> None:
        """No segment is open here."""

    def token(self, address: str) -> str | None:
        """The one it was given, else that of the environment."""
        return self._token or os.environ.get("IPFS_LOGS_TOKEN")

    def failed(self, what: str, error: Exception) -> None:
        """Nobody is here who could ask."""


@dataclass(slots=True)
class _Asked:
    """Somebody waits until everything that was in the spool at one moment is sealed, and shipped."""

    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By subsystem and segment: bytes that must be consumed."""
    tried: set[str] = field(default_factory=set)
    """Stores that were tried since, in vain."""


class Keeper:
    """Keeps one home for as long as it holds the lock.

    Args:
        lock: the home's lock, held; the caller releases it.
        guest: the program around it.
        stores: addresses to ship to in place of the configured ones.
        otherwise: addresses to ship to for as long as no subsystem has one configured.
        delivered: called for each batch that a store confirmed.
    """

    def __init__(
        self,
        lock: KeeperLock,
        guest: Guest,
        *,
        stores: tuple[str, ...] | None = None,
        otherwise: tuple[str, ...] = (),
        delivered: Callable[[Delivered], None] | None = None,
    ) -> None:
        self.home = lock.home
        self.troubles: dict[str, str] = {}
        self._lock = lock
        self._guest = guest
        self._stores = stores
        self._otherwise = otherwise
        self._delivered = delivered
        self._sealers: dict[str, Sealer] = {}
        self._retry: dict[str, float] = {}
        self._shippers: dict[str, Shipper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakers: dict[str, asyncio.Event] = {}
        self._calling: set[str] = set()
        self._delays: dict[str, Iterator[float]] = {}
        self._house = House(lock.home, self._tenants, guest.failed)
        self._asked: _Asked | None = None
        self._requests: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._stopping = False
        self.refused: set[str] = set()
        """Names of the stores that refuse this keeper: a wrong token, origin or address."""
        self.handed_over = False
        """Whether it left for a process that has the credential which a store wants."""
        self.heard = False
        """Whether some store has confirmed a batch, or failed to."""
        self.until_done = False
        """Leave when everything is sealed and each store has confirmed it, or could not be reached."""

    # -- told from outside, in the loop's thread

    def ask(self) -> None:
        """Seal all that is in the spool now and ship all that is sealed, without pauses."""
        asked = _Asked()
        for room in self.home.rooms():
            with contextlib.suppress(OSError):
                asked.sizes[room.name] = Spool(room).sizes()
        self._asked = asked
        self._retry.clear()
        self._wake.set()
        for waker in self._wakers.values():
            waker.set()

    def begin_stop(self) -> None:
        """Leave as soon as the step at hand is done."""
        self._stopping = True
        self._wake.set()

    # -- the loop

    async def run(self) -> None:
        """Keep the home until told to stop, or `until_done`.

        Raises:
            LostLockError: another keeper took over.
        """
        late.load()
        seen, others = -1, 0.0
        more = False
        try:
            while not self._stopping:
                if not self._lock.holds():
                    raise LostLockError
                now = time.monotonic()
                self._guest.tick()
                self._hear_requests()
                activity = self._guest.activity()
                if more or activity != seen or now >= others or self._asked is not None:
                    seen, others = activity, now + _OTHERS_EVERY
                    more = await self._seal_round()
                self._tend_stores()
                self._house.look(now)
                if self._done():
                    self._asked = None
                    if self.until_done:
                        return
                if not more:
                    await self._rest()
        finally:
            await self._close_stores()

    async def _rest(self) -> None:
        await _set_or_late(self._wake, 0.02 if self._asked is not None and self._asked.sizes else TICK)
        self._wake.clear()

    def _hear_requests(self) -> None:
        found = requests.pending(self.home.requests)
        if found.asked - self._requests:
            self.ask()
        self._requests = found.asked
        if self.refused and handover.accept(self.home, found, self.refused):
            self.handed_over = self._stopping = True

    # -- sealing

    async def _seal_round(self) -> bool:
        """Seal one batch of each subsystem that has one due; whether there may be more.

        Between rounds comes all else that a keeper does: where records flow for ever, a next batch is always due.
        """
        more = False
        for room in self.home.rooms():
            if self._retry.get(room.name, 0.0) > time.monotonic():
                continue
            try:
                more |= await self._seal_one(room)
                self._retry.pop(room.name, None)
                self._note_unreadable(room)
            except LostLockError:
                raise
            except Exception as error:  # noqa: BLE001 - one subsystem's trouble, whatever it is, is its own (home.md 14)
                self.troubles[room.name] = str(error) or type(error).__name__
                self._retry[room.name] = time.monotonic() + 1.0 + random.random()  # noqa: S311 - jitter
                if isinstance(error, OSError) and error.errno in disk.NO_ROOM:
                    self._house.keep(make_room=True)
        await asyncio.sleep(0)
        return more

    def _note_unreadable(self, room: Room) -> None:
        """What is skipped and tried again is no reason to stop, and is told all the same."""
        self.troubles.pop(room.name, None)
        for name, reason in self._sealers[room.name].spool.troubles.items():
            self.troubles[room.name] = f"segment {name} cannot be read: {reason}"

    async def _seal_one(self, room: Room) -> bool:
        """Seal one batch of a subsystem if one is due; whether there may be another."""
        sealer = self._sealers.get(room.name)
        if sealer is None:
            sealer = self._sealers[room.name] = Sealer(self._lock, room)
        failed = await self._seal_archives(sealer)
        sealed = await self._seal_records(sealer)
        if failed is not None:
            raise failed
        return sealed

    async def _seal_records(self, sealer: Sealer) -> bool:
        now = time.monotonic()
        waiting = sealer.survey(now)
        asked = self._is_asked(sealer, waiting.records)
        cut = sealer.cut(waiting, now, asked=asked, hasty=asked)
        if cut is None:
            sealer.retire()
            return False
        before = sealer.sealed
        empty = 1.0 - 2.0 * waiting.bytes / sealer.policy.max_spool_bytes
        await self._paced(sealer.seal(cut, hasty=asked), _REST * max(0.0, empty))
        if sealer.sealed is before:
            return False
        sealer.retire()
        for waker in self._wakers.values():
            waker.set()
        return True

    async def _seal_archives(self, sealer: Sealer) -> Exception | None:
        """Seal the archives that wait, each is due at once; what kept one from it must not keep records."""
        while not self._stopping:
            try:
                archive = sealer.next_archive()
                if archive is None:
                    break
                await self._paced(sealer.seal_archive(archive), _REST)
            except LostLockError:
                raise
            except Exception as error:  # noqa: BLE001 - raised again behind the records
                return error
            sealer.retire()
            for waker in self._wakers.values():
                waker.set()
        return None

    def _is_asked(self, sealer: Sealer, waiting: int) -> bool:
        """Whether somebody still waits for this subsystem to be sealed."""
        if self._asked is None or sealer.room.name not in self._asked.sizes:
            return False
        sizes = self._asked.sizes[sealer.room.name]
        consumed, there = sealer.consumed, sealer.spool.sizes() if waiting else {}
        if any(name in there and consumed.get(name, 0) < size for name, size in sizes.items()):
            return True
        del self._asked.sizes[sealer.room.name]
        return False

    async def _paced(self, steps: Iterator[None], rest: float) -> None:
        """Run the steps of a seal; between them the program, and the uploads of this loop, get their turn.

        Args:
            steps: the work.
            rest: seconds of rest for each second of it; none from when somebody asks.
        """
        worked = time.thread_time()
        for count, _ in enumerate(steps):
            if self._asked is None:
                pause = min(rest * (time.thread_time() - worked), _LONGEST_REST)
                if pause > _NAP:
                    await asyncio.sleep(pause)
                else:
                    time.sleep(max(_PAUSE, pause))
                worked = time.thread_time()
            if count % _STEPS_A_TURN == 0:
                await asyncio.sleep(0)

    # -- shipping

    def _addresses(self, room: Room) -> tuple[str, ...]:
        if self._stores is not None:
            return self._stores
        sealer = self._sealers.get(room.name)
        if sealer is None:
            return ()
        configured = any(each.policy.stores for each in self._sealers.values())
        return sealer.policy.stores if configured else self._otherwise

    def _rooms_of(self, address: str) -> list[Room]:
        return [room for room in self.home.rooms() if address in self._addresses(room)]

    def _tend_stores(self) -> None:
        """One task for each store that some subsystem ships to."""
        wanted = dict.fromkeys(address for room in self.home.rooms() for address in self._addresses(room))
        for address in wanted:
            if address not in self._shippers:
                if not address.startswith("memory:"):
                    late.load_for_stores()
                try:
                    store: Store = open_store(address, token=self._guest.token(address))
                except ConfigurationError as error:
                    self.troubles[address] = str(error)
                    continue
                self._shippers[address] = Shipper(store, self._delivered)
                self._wakers[address] = asyncio.Event()
                self._wakers[address].set()
            task = self._tasks.get(address)
            if task is None or task.done():
                self._tasks[address] = asyncio.get_running_loop().create_task(self._ship_forever(address))

    async def _ship_forever(self, address: str) -> None:
        shipper, waker = self._shippers[address], self._wakers[address]
        self._delays[address] = _delays()
        while True:
            await waker.wait()
            waker.clear()
            asked = self._asked
            try:
                await self._ship_all(shipper)
                self.refused.discard(shipper.store.name)
            except Exception as error:  # noqa: BLE001 - a store's trouble, whatever it is, is its own
                await self._wait_after(error, shipper, waker, asked)
            else:
                self._delays[address] = _delays()

    async def _ship_all(self, shipper: Shipper) -> None:
        """Ship one call's worth of each subsystem in turn, until nothing is left: a backlog of one starves no other.

        Raises:
            StoreUnavailable, StoreRefused: the store's trouble, which is that of every subsystem.
            OSError, FormatError: one subsystem's files cannot be read; the others are shipped (home.md 14).
        """
        progress, failed = True, None
        while progress:
            progress = False
            for room in self._rooms_of(shipper.store.address):
                self._calling.add(shipper.store.address)
                try:
                    delivered = await shipper.ship_some(room)
                    progress |= delivered is not None
                    if delivered:
                        self.heard = True
                        self._delays[shipper.store.address] = _delays()
                except (OSError, FormatError) as error:
                    failed = error
                finally:
                    self._calling.discard(shipper.store.address)
        self._wake.set()
        if failed is not None:
            raise failed

    async def _wait_after(self, error: Exception, shipper: Shipper, waker: asyncio.Event, asked: _Asked | None) -> None:
        """Note what went wrong, then wait for the next try, or for somebody who asked since this one began."""
        self.heard = True
        delay = next(self._delays[shipper.store.address])
        if isinstance(error, StoreRefused):
            delay = _DENIED_WAIT
            self.refused.add(shipper.store.name)
        if isinstance(error, StoreUnavailable) and error.retry_after is not None:
            delay = max(delay, min(error.retry_after, _LONGEST_WAIT * 10))
        trouble = trouble_of(error, time.time() + delay)
        for room in self._rooms_of(shipper.store.address):
            with contextlib.suppress(OSError):
                shipper.tell(room, trouble)
        if asked is not None and self._asked is asked:
            asked.tried.add(shipper.store.address)
            self._wake.set()
        until = time.monotonic() + delay
        while (left := until - time.monotonic()) > 0 and (self._asked is None or self._asked is asked):
            await _set_or_late(waker, left)
            waker.clear()
        waker.set()

    def _done(self) -> bool:
        """Whether everything asked for is sealed, and every store is done or could not be reached."""
        if self._asked is None:
            return True
        if any(name not in self.troubles for name in self._asked.sizes):
            return False
        return all(
            address in self._asked.tried
            or not (address in self._calling or any(_missing(shipper, room) for room in self._rooms_of(address)))
            for address, shipper in self._shippers.items()
        )

    async def _close_stores(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._house.close()
        for address, shipper in self._shippers.items():
            try:
                await shipper.store.close()
            except Exception as error:  # noqa: BLE001 - the others are closed all the same
                self._guest.failed(f"closing {address}", error)

    def _tenants(self) -> list[Tenant]:
        """Each subsystem's sealer, with the stores that its batches go to."""
        return [
            (each, [self._shippers[one].store for one in self._addresses(each.room) if one in self._shippers])
            for each in self._sealers.values()
        ]


async def _set_or_late(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not for longer. `wait_for` swallows a cancellation that comes with it before 3.12."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


def _missing(shipper: Shipper, room: Room) -> bool:
    """Whether a store lacks something of a subsystem; where that cannot be read, the try to ship tells why."""
    try:
        return shipper.missing(room) > 0
    except OSError:
        return True


def _delays() -> Iterator[float]:
    """Seconds until each next try: exponential, capped, with full jitter."""
    for value in backoff.expo(factor=0.25, max_value=_LONGEST_WAIT):
        if value is not None:
            yield 0.05 + backoff.full_jitter(value)
