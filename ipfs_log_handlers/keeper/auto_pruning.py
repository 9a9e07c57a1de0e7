"""Let the keeper carry out acts of pruning, and where the setting says so, make them by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.keeper.prune_plan import PlannedBatches, needed_snapshots, planned_batches
from ipfs_log_handlers.keeper.pruning import Pruning, acts_for
from ipfs_log_handlers.stores import Store
from ipfs_log_handlers.stores.pins import PinService

__all__ = ["AutoPruning"]

_INTERVAL_S: Final = 3600.0
"""Seconds between two acts that the keeper makes by itself."""
_MAX_BATCHES: Final = 4096
"""Batches that one such act gives up at most, so that the program is not delayed."""


class AutoPruning:
    """Prune one subsystem, as long as this process is the keeper.

    Args:
        subsystem_dir: the directory of the subsystem.
    """

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self._subsystem_dir = subsystem_dir
        self._pruning = Pruning(subsystem_dir)
        self._next = 0.0

    async def run(self, policy: Policy, stores: Sequence[Store], pins: Sequence[PinService]) -> bool:
        """Carry out the acts that are sealed; write down a new one if it is due.

        Args:
            policy: the policy of the subsystem.
            stores: its open stores.
            pins: its open pin services.

        Returns:
            Whether an act waits for its batch now.

        Raises:
            FormatError: a batch with an act is damaged.
            OSError: the home cannot be read, or the disk refuses.
        """
        await self._pruning.finish(stores, pins)
        rule, now = policy.retention, clock.monotonic()
        if rule is None or rule.apply != "auto" or now < self._next:
            return False
        self._next = now + _INTERVAL_S
        going: list[PlannedBatches] = []
        snapshots = await needed_snapshots(self._subsystem_dir, stores)
        moment = int(time.time() * 1_000_000)
        for batch in planned_batches(
            self._subsystem_dir, policy, rule.days, now=moment, snapshots=snapshots, due_only=True
        ):
            if batch.decision == "prune":
                going.append(batch)
            if len(going) == _MAX_BATCHES:
                self._next = 0.0
                break
        drawn = acts_for(going, reason=f"older than {rule.days:g} days")
        for act in drawn:
            acts.put(self._subsystem_dir, act)
        return bool(drawn)
