"""Ship: send sealed batches to a store, several in one call. A batch counts as shipped only if the store confirms it.

A call sends one CAR: the manifests of its batches and the newest head block as roots, and every block under them. Any
outcome without a confirmation is unknown: the store is asked, or the same batches are sent again, without end. One bad
batch makes its whole call fail, so the group is halved until the bad batch is found. A batch that is refused twice is
set aside, and later batches are shipped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError, StoreError, StoreRejected
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home import delivery_state, reserve
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.keeper.batch_shipment import BatchBlocks, PayloadGoneError, read_blocks, shipment_of
from ipfs_log_handlers.keeper.head_pin import repin_head
from ipfs_log_handlers.keeper.holdings import SAMPLE_BLOCKS, Holding, holding_of, newest_confirmed
from ipfs_log_handlers.keeper.keep_manifest import keep_manifest
from ipfs_log_handlers.keeper.privacy_guard import PrivacyGuard
from ipfs_log_handlers.stores import BlockKeeper, Store

__all__ = ["MAX_BATCHES_PER_CALL", "MAX_BYTES_PER_CALL", "ShippedBatch", "Shipper", "last_error_of"]

MAX_BATCHES_PER_CALL: Final = 32
"""Largest number of batches in one call (benchmarks/README.md)."""
MAX_BYTES_PER_CALL: Final = 8 << 20
"""Largest number of bytes of one call, if it has more than one batch."""
_NEWEST_CHECKED: Final = 3
"""Number of batches of each log that a store is asked for after it was reached again."""
_REJECTIONS_UNTIL_SET_ASIDE: Final = 2
"""Number of times that a store must refuse a batch as bad before it is set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedBatch:
    """A batch that a store has just confirmed."""

    subsystem: str
    """Its subsystem."""
    index: int
    """Its number."""
    cid: str
    """CID of its manifest."""
    store: str
    """Address of the store."""
    seconds: float
    """Duration of its call."""

    def as_json(self) -> dict[str, Any]:
        """Return the batch with the keys of `ipfs-logs ship`."""
        return {
            "subsystem": self.subsystem,
            "index": self.index,
            "cid": self.cid,
            "store": self.store,
            "seconds": round(self.seconds, 6),
        }


def _newest_confirmed(state: DeliveryState) -> int:
    return max((state.confirmed_through, *state.confirmed_after))


class Shipper:
    """Ship the logs of a home to one store. One keeper at a time uses it, in its event loop.

    Args:
        home: the home.
        store: the store.
        on_shipped: called for each batch after its confirmation is written.
    """

    def __init__(self, home: HomeDir, store: Store, on_shipped: Callable[[ShippedBatch], None] | None = None) -> None:
        self.store = store
        self._guard = PrivacyGuard(store)
        self._home = home
        self._on_shipped = on_shipped
        self._max_batches: dict[str, int] = {}
        """By log: number of batches in the next call after a rejected one."""
        self._rejections: dict[tuple[str, int], int] = {}
        """By log and batch: number of times that the store refused it as bad."""
        self._unanswered: set[str] = set()
        """Logs whose last call had no answer, so that the store may have its batches."""

    @property
    def guard(self) -> PrivacyGuard:
        """Knows which subsystems do not ship here, because strangers could find their records."""
        return self._guard

    def missing(self, subsystem_dir: SubsystemDir) -> int:
        """Count the sealed batches of a subsystem that the store has neither confirmed nor rejected."""
        total = 0
        for log_dir in LogDir.all_of(subsystem_dir):
            newest = log_dir.sealed_through()
            if newest is not None:
                total += self._state(log_dir, newest[0]).count_missing(newest[1])
        return total

    async def ship_some(self, subsystem_dir: SubsystemDir) -> list[ShippedBatch] | None:
        """Send the next batches of a subsystem in one call.

        Returns:
            The confirmed batches; an empty list if a batch was set aside or the group was halved; `None` if no batch is
            left to ship, or the others are private and strangers could find them here.

        Raises:
            StoreUnavailable, StoreDenied: it is unknown whether the store has the batches of this call.
            OSError, FormatError: the home cannot be read.
        """
        for log_dir in LogDir.all_of(subsystem_dir):
            newest = log_dir.sealed_through()
            if newest is None:
                continue
            log, index = newest
            state = self._state(log_dir, log)
            indexes = state.missing(index)
            if state.lacks(index) and await self._guard.keeps_clear_batches(subsystem_dir):
                encrypted = functools.partial(self._guard.is_encrypted, log_dir, log)
                if not all(map(encrypted, state.missing(index))):
                    self.note_error(subsystem_dir, self._guard.refuse(subsystem_dir.name))
                indexes = filter(encrypted, indexes)
            missing = list(islice(indexes, MAX_BATCHES_PER_CALL))
            pruned = pruned_of(subsystem_dir) if missing else Pruned()
            if given_up := [number for number in missing if pruned.has(log, number)]:
                return await self._keep_manifests(subsystem_dir, log_dir, state, given_up)
            if missing:
                return await self._ship_group(subsystem_dir, log_dir, state, missing)
        return None

    async def _keep_manifests(
        self, subsystem_dir: SubsystemDir, log_dir: LogDir, state: DeliveryState, indexes: Sequence[int]
    ) -> list[ShippedBatch]:
        """Let the store keep the manifests of batches that are pruned: this is all that it can get of them."""
        begun = clock.monotonic()
        if not isinstance(self.store, BlockKeeper):
            for index in indexes:
                state = state.set_aside(index, "its payload was given up")
            self._write(log_dir, state)
            return []
        batches = [BatchBlocks(header, ()) for header in log_dir.batch_headers(indexes)]
        for batch in batches:
            blocks = log_dir.sealed_batches.blocks(batch.index)
            await keep_manifest(self.store, batch.header.cid, batch.header.manifest, blocks)
        for index in set(indexes).difference(batch.index for batch in batches):
            state = state.set_aside(index, "damaged in the home")
        seconds = clock.monotonic() - begun
        return await self._confirm(subsystem_dir, log_dir, state, batches, seconds, moves_head=False)

    async def check_newest(self, subsystem_dir: SubsystemDir) -> None:
        """Ask the store for the newest batches that it has confirmed; lost ones will be shipped again.

        If one of them is not pinned any more, the store is asked for the pins of all. If only a block is missing,
        the delivery state says that more may be lost, until `ship --again` has read every block. A lost head is sent.

        Raises:
            StoreError, OSError: it did not answer; the home cannot be read.
        """
        for log_dir in LogDir.all_of(subsystem_dir):
            newest = log_dir.sealed_through()
            if newest is None:
                continue
            lost: dict[int, Holding] = {}
            pruned = pruned_of(subsystem_dir)
            for index in newest_confirmed(self._state(log_dir, newest[0]), _NEWEST_CHECKED):
                if pruned.has(newest[0], index):
                    continue
                with suppress(FormatError, FileNotFoundError):
                    header = log_dir.sealed_batches.facts(index)
                    holding = await holding_of(self.store, header, max_blocks=SAMPLE_BLOCKS)
                    if holding != "whole":
                        lost[index] = holding
            if lost:
                self._write(log_dir, replace(self._state(log_dir, newest[0]).forget(lost), lost=True))
            else:
                await self._repin_head(log_dir, newest[0], pruned)
            if "not pinned" in lost.values():
                await self._check_pins(log_dir, *newest, pruned, may_clear="incomplete" not in lost.values())

    async def _repin_head(self, log_dir: LogDir, log: str, pruned: Pruned) -> None:
        state = self._state(log_dir, log)
        head = await repin_head(self.store, log_dir, state, pruned)
        if head != state.head:
            self._write(log_dir, replace(self._state(log_dir, log), head=head))

    async def _check_pins(self, log_dir: LogDir, log: str, newest: int, pruned: Pruned, *, may_clear: bool) -> None:
        """Ask the store for the pins of all batches that it has confirmed; unpinned batches will be shipped again."""
        indexes = [index for index in self._state(log_dir, log).confirmed(newest) if not pruned.has(log, index)]
        for start in range(0, len(indexes), MAX_BATCHES_PER_CALL):
            headers = list(log_dir.batch_headers(indexes[start : start + MAX_BATCHES_PER_CALL]))
            pinned = await self.store.pinned([header.cid for header in headers])
            gone = [header.manifest.index for header in headers if header.cid not in pinned]
            if gone:
                self._write(log_dir, self._state(log_dir, log).forget(gone))
        if may_clear:
            self._write(log_dir, replace(self._state(log_dir, log), lost=False))

    def note_error(self, subsystem_dir: SubsystemDir, error: LastError) -> None:
        """Write an error of the store into the delivery states of logs with missing batches, for `status` and flush."""
        for log_dir in LogDir.all_of(subsystem_dir):
            newest = log_dir.sealed_through()
            if newest is None:
                continue
            state = self._state(log_dir, newest[0])
            if state.lacks(newest[1]):
                self._write(log_dir, replace(state, last_error=error))

    def _state(self, log_dir: LogDir, log: str) -> DeliveryState:
        return delivery_state.load(log_dir.shipped, self.store.name, log, self.store.address)

    def _write(self, log_dir: LogDir, state: DeliveryState) -> None:
        """Write a delivery state; on a full disk use the reserve, because confirmed payloads can then be deleted."""
        write = functools.partial(delivery_state.store, log_dir.shipped, self.store.name, state)
        reserve.with_reserve(self._home.reserve, write)

    async def _ship_group(
        self, subsystem_dir: SubsystemDir, log_dir: LogDir, state: DeliveryState, missing: Sequence[int]
    ) -> list[ShippedBatch]:
        group, damage = self._next_group(log_dir, state, missing)
        if damage is not None:
            return await self._settle_damaged(log_dir, state, missing[0], damage)
        begun = clock.monotonic()
        with_head = group[-1].index > _newest_confirmed(state)
        if state.log in self._unanswered or state.last_error is not None:
            pinned = await self._already_there(group, with_head=with_head)
            if pinned:
                self._unanswered.discard(state.log)
                moves_head = with_head and await self._has_head(pinned[-1], state, known=pinned[-1] is group[-1])
                seconds = clock.monotonic() - begun
                return await self._confirm(subsystem_dir, log_dir, state, pinned, seconds, moves_head=moves_head)
        self._unanswered.add(state.log)
        try:
            await self.store.ship(shipment_of(log_dir.sealed_batches, group, with_head=with_head))
        except (StoreRejected, FormatError) as error:
            self._unanswered.discard(state.log)
            self._narrow_down(log_dir, state, group, str(error))
            return []
        self._unanswered.discard(state.log)
        seconds = clock.monotonic() - begun
        return await self._confirm(subsystem_dir, log_dir, state, group, seconds, moves_head=with_head)

    async def _already_there(self, group: Sequence[BatchBlocks], *, with_head: bool) -> list[BatchBlocks]:
        """Return the batches that are pinned although an answer was lost.

        The newest of them counts only if the head block is pinned, too.
        """
        head_cid = group[-1].header.head_cid
        wanted = [*(batch.header.cid for batch in group), *([head_cid] if with_head else [])]
        pinned = await self.store.pinned(wanted)
        headless = with_head and head_cid not in pinned
        return [batch for batch in group if batch.header.cid in pinned and not (headless and batch is group[-1])]

    async def _has_head(self, batch: BatchBlocks, state: DeliveryState, *, known: bool) -> bool:
        """Return whether the call with the lost answer pinned the head block of its last batch, which is this one."""
        if batch.index <= _newest_confirmed(state):
            return False
        return known or batch.header.head_cid in await self.store.pinned([batch.header.head_cid])

    def _next_group(
        self, log_dir: LogDir, state: DeliveryState, missing: Sequence[int]
    ) -> tuple[list[BatchBlocks], FormatError | FileNotFoundError | None]:
        """Return the batches of the next call, or the damage of the first batch."""
        batches = log_dir.sealed_batches
        group: list[BatchBlocks] = []
        total = 0
        for index in missing[: self._max_batches.get(state.log, MAX_BATCHES_PER_CALL)]:
            try:
                batch = read_blocks(batches, index)
            except (FormatError, FileNotFoundError) as error:
                return group, None if group else error
            if group and total + batch.size > MAX_BYTES_PER_CALL:
                break
            group.append(batch)
            total += batch.size
        return group, None

    async def _settle_damaged(
        self, log_dir: LogDir, state: DeliveryState, index: int, error: Exception
    ) -> list[ShippedBatch]:
        """Confirm a batch that is damaged in the home if the store has it after a lost answer; else set it aside."""
        with suppress(FormatError, FileNotFoundError):
            cid = log_dir.sealed_batches.facts(index).cid
            if cid in await self.store.pinned([cid]):
                self._write(log_dir, state.confirm([index]))
                return []
        reason = str(error) if isinstance(error, PayloadGoneError) else f"damaged in the home: {explain_any(error)}"
        self._write(log_dir, state.set_aside(index, reason))
        return []

    def _narrow_down(self, log_dir: LogDir, state: DeliveryState, group: Sequence[BatchBlocks], reason: str) -> None:
        """Halve a rejected group; set a batch aside if it alone was rejected often enough."""
        if len(group) > 1:
            self._max_batches[state.log] = max(1, len(group) // 2)
            return
        key = (state.log, group[0].index)
        self._rejections[key] = self._rejections.get(key, 0) + 1
        if self._rejections[key] >= _REJECTIONS_UNTIL_SET_ASIDE:
            self._write(log_dir, state.set_aside(group[0].index, reason))

    async def _confirm(
        self,
        subsystem_dir: SubsystemDir,
        log_dir: LogDir,
        state: DeliveryState,
        group: Sequence[BatchBlocks],
        seconds: float,
        *,
        moves_head: bool,
    ) -> list[ShippedBatch]:
        """Write the confirmation of batches; then unpin the head block that the newest one replaces."""
        old_head, state = state.head, replace(state, last_error=None)
        if moves_head:
            state = replace(state, head=group[-1].header.head_cid.text)
        self._write(log_dir, state.confirm(batch.index for batch in group))
        if state.log in self._max_batches:
            self._max_batches[state.log] = min(MAX_BATCHES_PER_CALL, self._max_batches[state.log] * 2)
        shipped = [
            ShippedBatch(
                subsystem=subsystem_dir.name,
                index=batch.index,
                cid=batch.header.cid.text,
                store=self.store.address,
                seconds=seconds,
            )
            for batch in group
        ]
        if self._on_shipped is not None:
            for batch in shipped:
                self._on_shipped(batch)
        if old_head is not None and old_head != state.head:
            await self._unpin(old_head)
        return shipped

    async def _unpin(self, head_cid: str) -> None:
        """Unpin a head block; errors are ignored, because a remaining head block has only a few hundred bytes."""
        try:
            await self.store.unpin([Cid.parse(head_cid)])
        except (StoreError, FormatError):
            return


def last_error_of(error: Exception, next_retry: float) -> LastError:
    """Return the value for the delivery state that describes an error to waiting flushes.

    Args:
        error: an error of the store, or of reading the home.
        next_retry: time of the next try, seconds since 1970.
    """
    kind = error.kind if isinstance(error, StoreError) else "unavailable"
    return LastError(kind, str(error), clock.wall(), next_retry)
