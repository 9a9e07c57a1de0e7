"""Being the keeper from the command line: until all is shipped, or until a signal; and waiting for another keeper."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.cli.addresses import given_addresses, named_addresses
from ipfs_log_handlers.cli.common import take_lock
from ipfs_log_handlers.cli.output import several
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import head, lock, requests, shipped
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.keeper.handover import PAUSE, Candidate
from ipfs_log_handlers.keeper.loop import Keeper, NoGuest
from ipfs_log_handlers.keeper.seal import LostLockError
from ipfs_log_handlers.keeper.ship import Delivered
from ipfs_log_handlers.keeper.spool import Spool
from ipfs_log_handlers.reading.logs import Log, confirmed, logs_of, policy_of, titles

__all__ = ["Shipping", "follow", "retry_set_aside"]

_POLL: Final = 0.1
_FIRST_ANSWER: Final = 3.0
"""Seconds that a first answer of some store is waited for, however short the time without success may be."""
_BETWEEN_TRIES: Final = 0.5
_FOLLOW_TRY: Final = 0.5

Told = Callable[[Delivered], None]


class Shipping:
    """One run of `ipfs-logs ship`.

    Args:
        home: the home.
        given: addresses in place of the configured ones; `()` seals only.
        token: their credential.
        told: called for each batch that a store confirmed.
    """

    def __init__(self, home: Home, given: tuple[str, ...] | None, token: str | None, told: Told) -> None:
        self._home = home
        self._given = given
        self._token = token
        self._told = told
        self._success = time.monotonic()
        self._sizes = {room.name: Spool(room).sizes() for room in home.rooms()}
        self._troubles: dict[str, str] = {}
        self._signals = _Signals()
        self._candidate = Candidate(home, NoGuest(token).token)
        self._keeper_elsewhere: str | None = None
        self._marks: dict[tuple[str, str], Mark] = {}

    def run(self, timeout: float) -> int:
        """Ship until nothing is left, or nothing has gone well for `timeout` seconds; the exit code."""
        self._success = time.monotonic()
        with self._signals:
            return self._run(timeout)

    def _run(self, timeout: float) -> int:
        while True:
            held = lock.take(self._home)
            if held is None:
                self._ask_other(timeout)
            else:
                try:
                    _keep(held, self, self._signals, timeout)
                finally:
                    held.release()
            if next(self._left(), None) is None:
                return 0
            if self._signals.caught:
                return 130
            if time.monotonic() - self._success >= timeout or not self._worth_trying():
                return 4
            time.sleep(min(_BETWEEN_TRIES, timeout))

    def delivered(self, each: Delivered) -> None:
        """A store has confirmed a batch."""
        self._success = time.monotonic()
        self._told(each)

    @property
    def ships(self) -> bool:
        """Whether more is to be done than to seal."""
        return self._given != ()

    def patience(self, timeout: float) -> float:
        """Seconds left until `timeout` seconds have passed without success."""
        return self._success + timeout - time.monotonic()

    def keeper(self, held: lock.KeeperLock) -> Keeper:
        """The keeper of one try."""
        keeper = Keeper(held, NoGuest(self._token), stores=self._given, delivered=self.delivered)
        keeper.ask()
        return keeper

    def note(self, keeper: Keeper) -> None:
        """Remember what a keeper complained of."""
        self._troubles = dict(keeper.troubles)
        self._candidate.was_refused(keeper.refused)

    # -- what is left

    def left(self) -> int:
        """How much is not shipped: batches, and subsystems with something unsealed."""
        return sum(1 for _ in self._left())

    def _left(self) -> Iterator[tuple[str, int | None]]:
        """Subsystem and batch; `None` for something that is in no batch yet."""
        for room in self._home.rooms():
            if self._unsealed(room):
                yield room.name, None
            logs = logs_of(room)
            called = titles(logs)
            for log in logs:
                for index in self._missing(room, log):
                    yield called[log.shelf.path], index

    def _worth_trying(self) -> bool:
        """Whether anything is left but batches that their stores have refused for good."""
        for room in self._home.rooms():
            if self._unsealed(room):
                return True
            for log in logs_of(room):
                addresses, _ = self._wanted(room)
                marks = {mark.address: mark for mark in confirmed(log, 1, addresses).marks}
                if any(each not in marks or marks[each].missing(log.newest) for each in addresses):
                    return True
        return False

    def _missing(self, room: Room, log: Log) -> list[int]:
        addresses, replicas = self._wanted(room)
        return confirmed(log, replicas, addresses).missing(log.newest) if addresses else []

    def _wanted(self, room: Room) -> tuple[tuple[str, ...], int]:
        """Where a subsystem is shipped to, and how many of these must confirm."""
        if self._given is not None:
            return self._given, len(self._given)
        policy = policy_of(self._home, room)
        return policy.stores, policy.replicas

    def _unsealed(self, room: Room) -> bool:
        """Whether something that was in the spool when we began is not in a batch."""
        try:
            sealed = head.load(room.current.head)
        except FormatError:
            return True
        consumed = sealed.consumed if sealed is not None else {}
        there = Spool(room).sizes()
        begun = self._sizes.get(room.name, {})
        return any(name in there and consumed.get(name, 0) < size for name, size in begun.items())

    def why(self) -> str:
        """Why something is left, in one sentence."""
        left = list(self._left())
        if not left:
            return "another process has just shipped what was left"
        unsealed = sum(index is None for _, index in left)
        counted = []
        if unsealed:
            counted.append(f"{several(unsealed, 'subsystem')} not sealed")
        if len(left) > unsealed:
            counted.append(f"{several(len(left) - unsealed, 'batch')} not shipped")
        subsystem, index = left[0]
        first = subsystem if index is None else f"{subsystem} batch {index}"
        reasons = [*self._troubles.values(), *self._told_by_marks()]
        if self._keeper_elsewhere is not None:
            reasons.append(self._keeper_elsewhere)
        why = reasons[0] if reasons else "time is over"
        return f"{' and '.join(counted)}, {first} first: {why}"

    def _told_by_marks(self) -> Iterator[str]:
        for room, log, mark in self._all_marks():
            if mark.trouble is not None:
                told = mark.trouble.message
                yield told if told.startswith(mark.address) else f"{mark.address}: {told}"
            for each in mark.aside:
                title = titles(logs_of(room)).get(log.shelf.path, room.name)
                yield f"{title} batch {each.index} is set aside: {each.reason}"

    def _all_marks(self) -> Iterator[tuple[Room, Log, Mark]]:
        for room in self._home.rooms():
            for log in logs_of(room):
                for mark in confirmed(log, 1, self._given).marks:
                    yield room, log, mark

    # -- another keeper

    def _ask_other(self, timeout: float) -> None:
        """Ask the keeper that is there, and wait until it is done, gone, or has had no success for too long."""
        who = lock.holder(self._home)
        self._keeper_elsewhere = f"process {who['pid']} on {who['host']} keeps this home" if who else None
        request: Path | None = None
        try:
            self._marks = {(log.name, mark.address): mark for _, log, mark in self._all_marks()}
            request = requests.ask(self._home.requests)
            while (
                next(self._left(), None) is not None
                and self.patience(timeout) > 0
                and not self._signals.caught
                and lock.holder(self._home) is not None
            ):
                self._candidate.offer()
                time.sleep(_POLL)
                self._watch()
            self._watch()
        finally:
            self._candidate.withdraw()
            if request is not None:
                requests.drop(request)

    def _watch(self) -> None:
        """Tell of what the other keeper has delivered since we looked last."""
        for room, log, mark in self._all_marks():
            known = self._marks.get((log.name, mark.address)) or Mark(log=log.name, address=mark.address)
            self._marks[log.name, mark.address] = mark
            took = time.monotonic() - self._success
            for index in sorted({*range(known.upto + 1, mark.upto + 1), *mark.beyond} - set(known.beyond)):
                if mark.has(index):
                    with contextlib.suppress(FormatError, OSError):
                        cid = log.batches.facts(index).cid.text
                        self.delivered(
                            Delivered(subsystem=room.name, index=index, cid=cid, store=mark.address, seconds=took)
                        )


class _Signals:
    """SIGINT and SIGTERM, noted as long as the block lasts: none is lost between two tries, each a loop of its own."""

    def __init__(self) -> None:
        self.caught = False
        self.stop: Callable[[], object] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        with contextlib.suppress(ValueError):  # outside the main thread nothing can be caught
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        self.caught = True
        if self.stop is not None:
            self.stop()


def _keep(held: lock.KeeperLock, shipping: Shipping, signals: _Signals, timeout: float) -> None:
    """Be the keeper until all is shipped or tried, a signal came, or there was no success for too long."""

    async def work() -> None:
        keeper = shipping.keeper(held)
        signals.stop = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, keeper.begin_stop)
        watch = asyncio.ensure_future(_watch_patience(keeper, shipping, timeout))
        try:
            with contextlib.suppress(LostLockError):
                if not signals.caught:
                    keeper.until_done = True
                    await keeper.run()
        finally:
            signals.stop = None
            watch.cancel()
            shipping.note(keeper)

    asyncio.run(work())


async def _watch_patience(keeper: Keeper, shipping: Shipping, timeout: float) -> None:
    first = time.monotonic() + (_FIRST_ANSWER if shipping.ships else 0.0)
    while True:
        left = shipping.patience(timeout)  # each success moves the deadline
        if left <= 0 and (keeper.heard or time.monotonic() >= first):
            break
        await asyncio.sleep(left if left > 0 else _POLL)
    keeper.begin_stop()


def retry_set_aside(home: Home, given: tuple[str, ...] | None) -> None:
    """Forget what stores have set aside, so that it is shipped once more.

    Args:
        home: the home.
        given: only at these addresses.

    Raises:
        HomeError: another process keeps the home, and the marks are its to write.
    """
    held = take_lock(home, "Stop it first; what it set aside is in its hands.")
    try:
        for shelf in (shelf for room in home.rooms() for shelf in room.shelves()):
            for name, mark in shipped.load_all(shelf.shipped).items():
                if mark.aside and (given is None or mark.address in given):
                    shipped.store(shelf.shipped, name, mark.retried())
    finally:
        held.release()


def follow(home: Home, kubo: Sequence[str], token: str | None, told: Told) -> int:
    """Be the keeper until SIGINT or SIGTERM; wait for the lock while another process has it.

    Args:
        home: the home.
        kubo: what `--kubo` gives; programs may configure stores, or others, while this runs.
        token: the credential of the stores.
        told: called for each batch that a store confirmed.

    Raises:
        HomeError: the home cannot be used.
        ConfigurationError: what `--kubo` or `IPFS_LOGS_KUBO` gives is no address.
    """
    given = given_addresses(kubo)
    otherwise = () if given else named_addresses()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(home, given, otherwise, token, told))
    return 0


async def _follow(
    home: Home, given: tuple[str, ...] | None, otherwise: tuple[str, ...], token: str | None, told: Told
) -> None:
    stopped = asyncio.Event()
    keeping: list[Keeper] = []
    candidate = Candidate(home, NoGuest(token).token)

    def stop() -> None:
        stopped.set()
        for keeper in keeping:
            keeper.begin_stop()

    _on_signals(lambda _: stop())
    try:
        while not stopped.is_set():
            pause = _FOLLOW_TRY
            held = lock.take(home)
            if held is None:
                candidate.offer()
            else:
                candidate.withdraw()
                keeper = Keeper(held, NoGuest(token), stores=given, otherwise=otherwise, delivered=told)
                keeping.append(keeper)
                try:
                    with contextlib.suppress(LostLockError):
                        await keeper.run()
                finally:
                    keeping.clear()
                    held.release()
                candidate.was_refused(keeper.refused)
                pause = PAUSE if keeper.handed_over else _FOLLOW_TRY
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopped.wait(), pause)
    finally:
        candidate.withdraw()


def _on_signals(stop: Callable[[int], None]) -> None:
    """Have a signal that ends programs call `stop`; outside the main thread nothing can be caught."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
