"""Run a keeper in the foreground until everything is shipped; `follow.py` runs one until it is stopped.

If another process is the keeper of the home, `ship_all` asks that process to seal and ship, and reads the
confirmations.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock, coroutines
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import delivery_state, lock, requests
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.lock import LostLockError
from ipfs_log_handlers.home.logs import LogDir, logs_of, titles
from ipfs_log_handlers.keeper.election import Candidate
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.loop import Keeper
from ipfs_log_handlers.keeper.remaining import Remaining
from ipfs_log_handlers.keeper.ship import ShippedBatch
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["ShipResult", "Stop", "retry_set_aside", "ship_all"]

_POLL_S: Final = 0.1
"""Seconds between two checks of the confirmations that another keeper has written."""
_FIRST_ANSWER_S: Final = 3.0
"""Seconds to wait for the first answer of a store, even when the timeout is shorter."""
_PUBLISH_S: Final = 5.0
"""Seconds that a publication gets after the last batch, where a program has asked for it."""
BETWEEN_TRIES_S: Final = 0.5
"""Seconds between two tries to become the keeper."""
_PROGRESS_INTERVAL_S: Final = 0.5
"""Seconds between two counts of the remaining batches; counting reads every delivery state of the home."""

OnShipped = Callable[[ShippedBatch], None]
"""Called with each batch that a store confirmed."""
OnProgress = Callable[[int, int], None]
"""Called with the number of shipped batches and the number of remaining ones."""
OnKeeper = Callable[[Mapping[str, Any]], None]
"""Called with `{host, pid}` of another keeper."""


class Stop:
    """Stop a foreground keeper from another thread or from a signal handler."""

    def __init__(self) -> None:
        self.requested = False
        """Whether `request` was called."""
        self._wake: Callable[[], object] | None = None

    def request(self) -> None:
        """Let the keeper end after the current step."""
        self.requested = True
        wake = self._wake
        if wake is not None:
            with contextlib.suppress(RuntimeError):  # its event loop has just been closed
                wake()

    @contextlib.contextmanager
    def calling(self, wake: Callable[[], object]) -> Iterator[None]:
        """Within the block, let `request` also call a function; call the function at once if `request` came first."""
        self._wake = wake
        try:
            if self.requested:
                wake()
            yield
        finally:
            self._wake = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipResult:
    """The outcome of `ship_all`."""

    stores: tuple[str, ...]
    """Addresses of the stores; empty: records were only sealed."""
    sealed_records: int
    """Records that were sealed during the call."""
    sealed_archives: int
    """Archives that were sealed during the call."""
    shipped: int
    """Batches that a store confirmed during the call; a batch counts once for each store."""
    unsealed: tuple[str, ...]
    """Subsystems with records or archives that waited at the beginning and are in no batch yet."""
    unshipped: int
    """Number of batches without enough confirmations."""
    first_left: str | None
    """The first remaining subsystem or batch, such as `audit batch 3`; `None`: nothing is left."""
    reason: str | None
    """The reason why batches are left, if it is known."""
    keeper: Mapping[str, Any] | None
    """`{host, pid}` of the process that was the keeper; `None`: this process was."""
    interrupted: bool
    """Whether the call ended because of `stop`."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return self.first_left is None

    def as_json(self) -> dict[str, Any]:
        """Return the result, with the keys of `ipfs-logs ship` for a home without a store."""
        return {"sealed": self.sealed_records, "archives": self.sealed_archives, "shipped": self.shipped}


def ship_all(
    home: HomeDir,
    *,
    stores: tuple[str, ...] | None,
    pins: tuple[str, ...] | None = None,
    timeout: float,
    credentials: Credentials | None = None,
    on_shipped: OnShipped | None = None,
    on_progress: OnProgress | None = None,
    on_keeper: OnKeeper | None = None,
    stop: Stop | None = None,
) -> ShipResult:
    """Seal waiting records and ship batches, until none is left or no batch was shipped for `timeout` seconds.

    Args:
        home: the home.
        stores: addresses in place of the configured ones; `()` seals only; `None`: the configured ones.
        pins: addresses of pin services in place of the configured ones; then each of them must confirm each batch.
        timeout: seconds without success after which it gives up. Each store is tried at least once.
        credentials: the credentials of the user; `None`: those of the environment.
        on_shipped: called for each batch that a store confirmed.
        on_progress: called at most twice a second.
        on_keeper: called with `{host, pid}` of the other process that is the keeper and is asked to ship.
        stop: ends the call early.

    Raises:
        HomeError: the home cannot be used.
        OSError: the home cannot be read.
    """
    return _Shipping(home, stores, pins, credentials, on_shipped, on_progress, on_keeper, stop or Stop()).run(timeout)


class _Shipping:
    """One run of `ship_all`."""

    def __init__(
        self,
        home: HomeDir,
        override: tuple[str, ...] | None,
        pins: tuple[str, ...] | None,
        credentials: Credentials | None,
        on_shipped: OnShipped | None,
        on_progress: OnProgress | None,
        on_keeper: OnKeeper | None,
        stop: Stop,
    ) -> None:
        self._home = home
        self._override = override
        self._pins = pins
        self._credentials = credentials
        self._on_shipped = on_shipped
        self._on_progress = on_progress
        self._on_keeper = on_keeper
        self._next_progress = 0.0
        self._stop = stop
        self._shipped = 0
        self._last_success = clock.monotonic()
        self._remaining = Remaining(home, override, pins)
        self._keeper_errors: dict[str, str] = {}
        self._candidate = Candidate(home, Standalone(credentials).token)
        self._other_keeper: dict[str, Any] | None = None
        self._known_states: dict[tuple[str, str], DeliveryState] = {}

    def run(self, timeout: float) -> ShipResult:
        """Ship until no batch is left, or no batch was shipped for `timeout` seconds."""
        while True:
            held = lock.take(self._home)
            if held is None:
                self._ask_other_keeper(timeout)
            else:
                self._other_keeper = None
                try:
                    coroutines.run(functools.partial(self._be_keeper, held, timeout))
                finally:
                    held.release()
            if self._remaining.first() is None or self._stop.requested:
                break
            if self._seconds_left(timeout) <= 0 or not self._remaining.worth_another_try():
                break
            clock.pause(min(BETWEEN_TRIES_S, timeout))
        return self._result()

    # -- this process is the keeper

    async def _be_keeper(self, held: lock.KeeperLock, timeout: float) -> None:
        """Be the keeper until all batches are shipped or tried, the time is over, or `stop` is requested."""
        keeper = Keeper(
            held,
            Standalone(self._credentials),
            stores=self._override,
            pins=self._pins,
            on_shipped=self._note_shipped,
        )
        keeper.request_flush()
        keeper.until_done = keeper.waits_for_pins = True
        keeper.publish_seconds = _PUBLISH_S
        begin_stop = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, keeper.begin_stop)
        watching = asyncio.ensure_future(self._stop_when_time_is_over(keeper, timeout))
        try:
            with self._stop.calling(begin_stop), contextlib.suppress(LostLockError):
                await keeper.run()
        finally:
            watching.cancel()
            self._keeper_errors = dict(keeper.last_errors)
            self._candidate.note_denied(keeper.denied_by)

    async def _stop_when_time_is_over(self, keeper: Keeper, timeout: float) -> None:
        first_answer_until = clock.monotonic() + (0.0 if self._override == () else _FIRST_ANSWER_S)
        while True:
            seconds = self._seconds_left(timeout)  # each success moves the deadline
            if seconds <= 0 and (keeper.has_result or clock.monotonic() >= first_answer_until):
                break
            await asyncio.sleep(seconds if seconds > 0 else _POLL_S)
        keeper.begin_stop()

    def _seconds_left(self, timeout: float) -> float:
        return self._last_success + timeout - clock.monotonic()

    def _note_shipped(self, batch: ShippedBatch) -> None:
        self._last_success = clock.monotonic()
        self._shipped += 1
        if self._on_shipped is not None:
            self._on_shipped(batch)
        if self._on_progress is not None and self._last_success >= self._next_progress:
            self._next_progress = self._last_success + _PROGRESS_INTERVAL_S
            self._on_progress(self._shipped, len(self._remaining.unsealed()) + self._remaining.count_unshipped())

    # -- another process is the keeper

    def _ask_other_keeper(self, timeout: float) -> None:
        """Ask the other keeper, and wait until it is done, has ended, or has shipped no batch for too long."""
        self._other_keeper = lock.holder(self._home) or self._other_keeper
        if self._on_keeper is not None and self._other_keeper is not None:
            self._on_keeper(self._other_keeper)
        request: Path | None = None
        try:
            self._known_states = {
                (log.name, state.address): state for _, log, state in self._remaining.delivery_states()
            }
            request = requests.ask(self._home.requests, (*(self._override or ()), *(self._pins or ())))
            while (
                self._remaining.first() is not None
                and self._seconds_left(timeout) > 0
                and not self._stop.requested
                and lock.holder(self._home) is not None
            ):
                self._candidate.offer()
                clock.pause(_POLL_S)
                self._report_what_it_shipped()
            self._report_what_it_shipped()
        finally:
            self._candidate.withdraw()
            if request is not None:
                requests.drop(request)

    def _report_what_it_shipped(self) -> None:
        """Report the batches that the other keeper has shipped since the last check."""
        for subsystem_dir, log, state in self._remaining.delivery_states():
            key = (log.name, state.address)
            before = self._known_states.get(key) or DeliveryState(log=log.name, address=state.address)
            self._known_states[key] = state
            seconds = clock.monotonic() - self._last_success
            confirmed_now = {*range(before.confirmed_through + 1, state.confirmed_through + 1), *state.confirmed_after}
            for index in sorted(confirmed_now - set(before.confirmed_after)):
                if state.has(index):
                    with contextlib.suppress(FormatError, OSError):
                        cid = log.batches.facts(index).cid.text
                        self._note_shipped(
                            ShippedBatch(
                                subsystem=subsystem_dir.name,
                                index=index,
                                cid=cid,
                                store=state.address,
                                seconds=seconds,
                            )
                        )

    # -- the result

    def _result(self) -> ShipResult:
        title, index = self._remaining.first() or (None, None)
        return ShipResult(
            stores=self._remaining.stores(),
            sealed_records=self._remaining.count_sealed_records(),
            sealed_archives=self._remaining.count_sealed_archives(),
            shipped=self._shipped,
            unsealed=tuple(self._remaining.unsealed()),
            unshipped=self._remaining.count_unshipped(),
            first_left=title if index is None else f"{title} batch {index}",
            reason=None if title is None else next(self._reasons(), None),
            keeper=self._other_keeper,
            interrupted=self._stop.requested,
        )

    def _reasons(self) -> Iterator[str]:
        """Yield the reasons why batches are left, the most informative first."""
        yield from self._keeper_errors.values()
        for subsystem_dir, log, state in self._remaining.delivery_states():
            configured = (*self._remaining.stores_of(subsystem_dir), *self._remaining.pins_of(subsystem_dir))
            if state.address not in configured:
                continue
            if state.last_error is not None:
                message = state.last_error.message
                yield message if message.startswith(state.address) else f"{state.address}: {message}"
            for aside in state.aside:
                title = titles(logs_of(subsystem_dir)).get(log.log_dir.path, subsystem_dir.name)
                yield f"{title} batch {aside.index} is set aside: {aside.reason}"


def retry_set_aside(home: HomeDir, stores: tuple[str, ...] | None) -> None:
    """Clear the lists of batches that stores have set aside, so that these are shipped again.

    Args:
        home: the home.
        stores: only at these addresses; `None`: at all.

    Raises:
        HomeError: another process is the keeper; only the keeper may write delivery states.
    """
    held = lock.take_or_explain(home, "Stop that process first, then run this again.")
    try:
        for log_dir in (log_dir for subsystem_dir in home.subsystem_dirs() for log_dir in LogDir.all_of(subsystem_dir)):
            for name, state in log_dir.delivery_states().items():
                if state.aside and (stores is None or state.address in stores):
                    delivery_state.store(log_dir.shipped, name, state.retried())
    finally:
        held.release()
