"""Pin: ask a pin service for further copies of the batches that a store has confirmed.

A batch is asked for by the CID of its manifest, under which its payload lies, and the newest head block beside it.
It is confirmed when the service says that it is pinned; until then it is asked for its state again, without end. A
service that has given up on a batch is asked for it once more, and no batch holds up those behind it: each pass goes
over all of them. What was asked for is kept in memory alone, because a service can be asked whether it has a request.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError, StoreDenied, StoreError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import delivery_state, reserve
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.keeper.head_pin import has_pinned
from ipfs_log_handlers.keeper.holdings import newest_confirmed
from ipfs_log_handlers.keeper.ship import ShippedBatch
from ipfs_log_handlers.stores.pins import PinService, PinStatus

__all__ = ["Pass", "Pinner"]

_NEWEST_CHECKED: Final = 3
"""Number of batches of each log that a service is asked for after it was reached again."""
_REFUSALS_UNTIL_GIVEN_UP: Final = 3
"""Number of requests that a service may refuse before a pass ends in which it has taken none."""
_MAX_NAME_CHARS: Final = 255
"""Largest number of characters of the name of a pin (Pinning Service API)."""


@dataclass(slots=True)
class Pass:
    """The outcome of one pass over the batches of a service."""

    confirmed: int = 0
    """Batches that the service has just confirmed."""
    waiting: int = 0
    """Pins on which the service works."""
    failed: str | None = None
    """The reason why one of the batches could not be pinned; `None`: none has failed."""
    refused: int = 0
    """Requests that the service has refused."""
    taken: int = 0
    """Requests that it has taken."""


class Pinner:
    """Pin the logs of a home at one service. One keeper at a time uses it, in its event loop.

    Args:
        home: the home.
        service: the service.
        on_pinned: called for each batch after its confirmation is written.
    """

    def __init__(self, home: HomeDir, service: PinService, on_pinned: Callable[[ShippedBatch], None]) -> None:
        self.service = service
        self._home = home
        self._on_pinned = on_pinned
        self._asked: dict[tuple[str, int], tuple[Cid, float]] = {}
        """By log and batch: what this keeper has asked for and the service has not confirmed, and the time since when,
        by the monotonic clock."""
        self._head_asked: dict[str, Cid] = {}
        """By log: the head block that the service was asked for, and has not confirmed yet."""
        self._begin_at: dict[str, int] = {}
        """By log: the batch at which the next pass begins, after one that broke off: bad batches stop no others."""

    def unasked(self, subsystem_dir: SubsystemDir) -> bool:
        """Return whether a store has a batch that the service neither has nor was asked for."""
        return any(self._wanted(log_dir, log, newest, new=True) for log_dir, log, newest in _sealed(subsystem_dir))

    async def go_over(self, subsystem_dir: SubsystemDir, outcome: Pass, *, new: bool) -> None:
        """Ask for batches, or for their state, and write down those that are pinned.

        Args:
            subsystem_dir: the subsystem.
            outcome: what the pass has found so far.
            new: only the batches that were not asked for yet.

        Raises:
            StoreUnavailable, StoreDenied: the service does not answer, or refuses every request.
            OSError: the home cannot be read or written.
        """
        for log_dir, log, newest in _sealed(subsystem_dir):
            self._confirm_pruned(subsystem_dir, log_dir, log, newest)
            wanted = self._wanted(log_dir, log, newest, new=new)
            for start in range(0, len(wanted), self.service.max_cids):
                group = wanted[start : start + self.service.max_cids]
                indexes = {cid: index for index in group if (cid := self._cid(log_dir, log, index)) is not None}
                if len(indexes) < len(group):
                    outcome.failed = f"{subsystem_dir.name}: the manifest of a batch cannot be read in the home"
                if indexes:
                    await self._group(subsystem_dir, log_dir, log, indexes, outcome)
            self._begin_at.pop(log, None)
            await self._head(log_dir, log, newest, outcome)

    def _confirm_pruned(self, subsystem_dir: SubsystemDir, log_dir: LogDir, log: str, newest: int) -> None:
        """Count the batches that are pruned as confirmed: nothing is left that the service could keep."""
        pruned = pruned_of(subsystem_dir)
        if log in pruned.runs:
            state = self._state(log_dir, log)
            given_up = [index for index in state.missing(newest) if pruned.has(log, index)]
            if given_up:
                self._write(log_dir, state.confirm(given_up))

    def _wanted(self, log_dir: LogDir, log: str, newest: int, *, new: bool) -> Sequence[int]:
        """List the batches that a store has confirmed and the service has not, in the order of this pass."""
        state = self._state(log_dir, log)
        at_stores = log_dir.confirmations(log, 1).of_stores(1)
        wanted = [
            index
            for index in state.missing(newest)
            if at_stores.has(index) and not (new and (log, index) in self._asked)
        ]
        first = self._begin_at.get(log, 0)
        return [index for index in wanted if index >= first] + [index for index in wanted if index < first]

    def _cid(self, log_dir: LogDir, log: str, index: int) -> Cid | None:
        """Return the CID of a batch; `None` if its manifest cannot be read."""
        asked = self._asked.get((log, index))
        if asked is not None:
            return asked[0]
        with suppress(FormatError, FileNotFoundError):
            return log_dir.sealed_batches.facts(index).cid
        return None

    async def _group(
        self, subsystem_dir: SubsystemDir, log_dir: LogDir, log: str, indexes: Mapping[Cid, int], outcome: Pass
    ) -> None:
        begun = clock.monotonic()
        statuses = await self.service.statuses(list(indexes))
        pinned = [cid for cid, status in statuses.items() if status.state == "pinned"]
        if pinned:
            self._write(log_dir, self._state(log_dir, log).confirm(indexes[cid] for cid in pinned))
            outcome.confirmed += len(pinned)
        for cid in pinned:
            _, asked_at = self._asked.pop((log, indexes[cid]), (cid, begun))
            self._on_pinned(
                ShippedBatch(
                    subsystem=subsystem_dir.name,
                    index=indexes[cid],
                    cid=cid.text,
                    store=self.service.address,
                    seconds=clock.monotonic() - asked_at,
                )
            )
        for cid, status in statuses.items():
            if status.state != "pinned":
                index = indexes[cid]
                self._begin_at[log] = index + 1
                await self._ask(cid, f"{log} batch {index}", status, outcome)
                self._asked.setdefault((log, index), (cid, begun))

    async def _ask(self, cid: Cid, name: str, status: PinStatus, outcome: Pass) -> None:
        """Request a pin that the service does not have or has failed; a refusal holds up no other batch."""
        if status.state == "waiting":
            outcome.waiting += 1
            return
        if status.state == "failed":
            outcome.failed = f"{name}: {status.reason}"
        try:
            await self.service.request(cid, name[:_MAX_NAME_CHARS], again=status.state == "failed")
        except StoreError as error:
            outcome.refused += 1
            busy = getattr(error, "retry_after", None) is not None or "429" in error.message
            if isinstance(error, StoreDenied) or error.kind != "unavailable" or busy:
                raise
            if outcome.refused >= _REFUSALS_UNTIL_GIVEN_UP and not outcome.taken:
                raise
            outcome.failed = str(error)
            return
        outcome.taken += 1
        if status.state == "absent":
            outcome.waiting += 1

    async def _head(self, log_dir: LogDir, log: str, newest: int, outcome: Pass) -> None:
        """Pin the head block of the newest confirmed batch, then remove the one before; one request at a time."""
        state = self._state(log_dir, log)
        cid = self._head_asked.get(log) or self._newest_head(log_dir, state, newest)
        if cid is None or cid.text == state.head:
            return
        status = (await self.service.statuses([cid]))[cid]
        if status.state != "pinned":
            self._head_asked[log] = cid
            await self._ask(cid, f"{log} head", status, outcome)
            return
        self._head_asked.pop(log, None)
        self._write(log_dir, replace(self._state(log_dir, log), head=cid.text))
        if state.head is not None:
            with suppress(StoreError, FormatError):  # it remains; it has only a few hundred bytes
                await self.service.remove([Cid.parse(state.head)])
        if self._newest_head(log_dir, state, newest) != cid:
            outcome.waiting += 1

    def _newest_head(self, log_dir: LogDir, state: DeliveryState, newest: int) -> Cid | None:
        for index in newest_confirmed(state, 1):
            with suppress(FormatError, FileNotFoundError):
                return log_dir.sealed_batches.facts(min(index, newest)).head_cid
        return None

    # -- what the service may have lost, and its errors

    async def check_newest(self, subsystem_dir: SubsystemDir) -> None:
        """Ask for the newest confirmed batches; if one is not pinned any more, ask for all, and for lost ones again.

        The head block is asked for, too.

        Raises:
            StoreUnavailable, StoreDenied: the service did not answer.
            OSError: the home cannot be read or written.
        """
        for log_dir, log, newest in _sealed(subsystem_dir):
            pruned = pruned_of(subsystem_dir)
            indexes = newest_confirmed(self._state(log_dir, log), _NEWEST_CHECKED)
            if await self._forget_lost(log_dir, log, [index for index in indexes if not pruned.has(log, index)]):
                every = self._state(log_dir, log).confirmed(newest)
                await self._forget_lost(log_dir, log, [index for index in every if not pruned.has(log, index)])
                self._write(log_dir, replace(self._state(log_dir, log), lost=False))
            state = self._state(log_dir, log)
            if state.head is not None and not await has_pinned(self.service, Cid.parse(state.head)):
                self._write(log_dir, replace(state, head=None))

    async def _forget_lost(self, log_dir: LogDir, log: str, indexes: Sequence[int]) -> bool:
        """Forget the confirmation of batches that are not pinned any more; return whether there are any."""
        any_gone = False
        for start in range(0, len(indexes), self.service.max_cids):
            headers = list(log_dir.batch_headers(indexes[start : start + self.service.max_cids]))
            if not headers:
                continue
            statuses = await self.service.statuses([header.cid for header in headers])
            gone = [header.manifest.index for header in headers if statuses[header.cid].state != "pinned"]
            if gone:
                any_gone = True
                self._write(log_dir, replace(self._state(log_dir, log).forget(gone), lost=True, head=None))
        return any_gone

    def note_error(self, subsystem_dir: SubsystemDir, error: LastError | None) -> None:
        """Write the last error of the service into the states of logs with missing batches; `None` removes it."""
        for log_dir, log, newest in _sealed(subsystem_dir):
            state = self._state(log_dir, log)
            if state.last_error != error and (error is None or state.lacks(newest)):
                self._write(log_dir, replace(state, last_error=error))

    def _state(self, log_dir: LogDir, log: str) -> DeliveryState:
        return delivery_state.load(log_dir.shipped, self.service.name, log, self.service.address)

    def _write(self, log_dir: LogDir, state: DeliveryState) -> None:
        write = functools.partial(delivery_state.store, log_dir.shipped, self.service.name, state)
        reserve.with_reserve(self._home.reserve, write)


def _sealed(subsystem_dir: SubsystemDir) -> Iterable[tuple[LogDir, str, int]]:
    """Yield each log of a subsystem with sealed batches: its files, its name, and the number of its newest batch."""
    for log_dir in LogDir.all_of(subsystem_dir):
        newest = log_dir.sealed_through()
        if newest is not None:
            yield log_dir, *newest
