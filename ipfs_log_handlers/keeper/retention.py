"""Delete shipped payloads from the home when it exceeds its limit; manifests stay for ever (docs/home.md 23).

A payload is deleted only if enough stores, asked again, have the whole batch. A pin service counts as a store if it
says again that the batch is pinned, but at least one store must have returned every block. A batch that is damaged, set
aside, not confirmed, not complete at a store, or under a legal hold, is skipped, so that it does not delay the others.
A run checks a bounded number of batches, whatever their number in the home.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ipfs_log_handlers.errors import FormatError, StoreError
from ipfs_log_handlers.home import acts, delivery_state
from ipfs_log_handlers.home.acts import Hold
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import Confirmations, DeliveryState
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.space import store_bytes
from ipfs_log_handlers.keeper.holdings import holding_of
from ipfs_log_handlers.stores import Store
from ipfs_log_handlers.stores.pins import PinService

__all__ = ["Retention"]

_DAY_S: Final = 86_400.0
"""Seconds of a day."""
_MAX_REMOVED_PER_RUN: Final = 64
"""Largest number of payloads that one run deletes, so that shipping is not delayed."""
_MAX_READ_PER_RUN: Final = 256
"""Largest number of batches with a payload that one run reads."""
_MAX_TRIED_AGAIN_PER_RUN: Final = 16
"""Largest number of skipped batches that are tried again in one run."""
_MAX_PASSED_OVER: Final = 4096
"""Largest number of skipped batches of one log that are remembered; the next keeper tries further ones again."""


@dataclass(slots=True)
class _Progress:
    """The checked and the skipped batches of one log."""

    next_index: int = 0
    """Number of the first batch that was not checked yet."""
    passed_over: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Skipped batches before it, in the order of their last try."""

    def pass_over(self, index: int) -> None:
        self.passed_over[index] = None
        self.passed_over.move_to_end(index)
        if len(self.passed_over) > _MAX_PASSED_OVER:
            self.passed_over.popitem(last=False)


class Retention:
    """Delete shipped payloads of one subsystem, oldest first, a bounded number in each run.

    Args:
        subsystem_dir: the directory of the subsystem. The caller holds the keeper's lock.
    """

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self._subsystem_dir = subsystem_dir
        self._progress: dict[str, _Progress] = {}
        """By name of the log."""

    async def run(
        self, stores: Sequence[Store], policy: Policy, *, pins: Sequence[PinService] = (), free_space: int = 0
    ) -> int:
        """Delete payloads according to the policy.

        Args:
            stores: the open stores of the subsystem. Without a store no payload is deleted.
            policy: the limits.
            pins: the open pin services of the subsystem.
            free_space: bytes to free on a full disk: then age and limit of the home do not count, but `replicas` and
                the proof do.

        Returns:
            Bytes freed.

        Raises:
            OSError: the disk refuses.
            FormatError: it is not known what is held, because a batch with an act is damaged.
        """
        if not stores or (policy.max_store_bytes is None and not free_space):
            return 0
        excess = free_space or store_bytes(self._subsystem_dir) - (policy.max_store_bytes or 0)
        freed = 0
        if excess <= 0:
            return 0
        holds = acts.holds_of(self._subsystem_dir)
        for log_dir in LogDir.all_of(self._subsystem_dir):
            if freed >= excess:
                break
            sealed_through = log_dir.sealed_through()
            if sealed_through is not None:
                turn = _Turn(
                    log_dir, sealed_through, stores, pins, holds, policy, excess - freed, ignore_age=free_space > 0
                )
                freed += await turn.run(self._progress.setdefault(sealed_through[0], _Progress()))
        return freed


class _Turn:
    """One run over one log."""

    def __init__(
        self,
        log_dir: LogDir,
        sealed_through: tuple[str, int],
        stores: Sequence[Store],
        pins: Sequence[PinService],
        holds: Sequence[Hold],
        policy: Policy,
        excess: int,
        *,
        ignore_age: bool,
    ) -> None:
        log, self._newest = sealed_through
        self._batches: Batches = log_dir.sealed_batches
        self._stores: list[tuple[Store, DeliveryState]] = [
            (store, delivery_state.load(log_dir.shipped, store.name, log, store.address)) for store in stores
        ]
        self._pins: list[tuple[PinService, DeliveryState]] = [
            (pin, delivery_state.load(log_dir.shipped, pin.name, log, pin.address)) for pin in pins
        ]
        self._holds = holds
        self._replicas = policy.replicas
        self._sealed_before = int((time.time() - policy.keep_days * _DAY_S) * 1e6)
        self._ignore_age = ignore_age
        self._excess = excess
        self._freed = self._removed = 0
        self._in_packs: list[int] = []
        """Batches in packs whose payload may be deleted; each pack is written anew once, at the end."""
        self._in_packs_bytes = 0

    async def run(self, progress: _Progress) -> int:
        """Delete payloads; return the bytes freed."""
        await self._look(progress)
        try:
            self._freed += self._batches.strip(*self._in_packs)
        finally:
            for index in self._batches.held(self._in_packs):
                progress.pass_over(index)  # it is damaged, or the disk refused
        return self._freed

    async def _look(self, progress: _Progress) -> None:
        for index in list(islice(progress.passed_over, _MAX_TRIED_AGAIN_PER_RUN)):
            if self._done:
                return
            await self._try(index, progress)
        states = [*(state for _, state in self._stores), *(state for _, state in self._pins)]
        confirmations = Confirmations(states, self._replicas)
        newest = min(self._newest, confirmations.settled_through)
        for index in islice(self._batches.with_payload(progress.next_index, newest), _MAX_READ_PER_RUN):
            if self._done or not await self._try(index, progress):
                break
            progress.next_index = index + 1

    @property
    def _done(self) -> bool:
        return self._freed + self._in_packs_bytes >= self._excess or self._removed >= _MAX_REMOVED_PER_RUN

    async def _try(self, index: int, progress: _Progress) -> bool:
        """Delete the payload of one batch, or skip it; return `False` if it is too young."""
        try:
            header = self._batches.facts(index)
            if not self._ignore_age and header.manifest.sealed > self._sealed_before:
                return False
            held = any(hold.covers(header.manifest.first, header.manifest.last) for hold in self._holds)
            freed = None if held else await self._remove(header)
        except (FormatError, FileNotFoundError):
            freed = None
        if freed is None:
            progress.pass_over(index)
        else:
            progress.passed_over.pop(index, None)
            self._freed += freed
        return True

    async def _remove(self, header: BatchHeader) -> int | None:
        """Delete a payload if enough stores prove that they have its batch; return the bytes freed, or `None`."""
        index = header.manifest.index
        holders = [store for store, state in self._stores if state.has(index)]
        pins = [pin for pin, state in self._pins if state.has(index)]
        if len(holders) + len(pins) < self._replicas:
            return None
        if not self._batches.has_payload(index, header.manifest.payload):
            return 0
        proofs = 0
        for store in holders:
            with suppress(StoreError):
                proofs += await holding_of(store, header) == "whole"
        if not proofs:
            return None
        for pin in pins if proofs < self._replicas else ():
            with suppress(StoreError):
                proofs += (await pin.statuses([header.cid]))[header.cid].state == "pinned"
        if proofs < self._replicas:
            return None
        self._removed += 1
        if self._batches.is_packed(index):
            self._in_packs.append(index)
            self._in_packs_bytes += header.manifest.size
            return 0
        return self._batches.strip(index)
