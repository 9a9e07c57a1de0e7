"""Keep space on the disk free while this process is the keeper.

The reserve is made again, and payloads are removed if the stores prove that they have them. This runs in a task of its
own, because it waits for answers of stores.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.home import disk, reserve
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper.auto_pruning import AutoPruning
from ipfs_log_handlers.keeper.retention import Retention
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.upkeep import MAX_FILES_AT_END, Upkeep
from ipfs_log_handlers.stores import Store
from ipfs_log_handlers.stores.pins import PinService

__all__ = ["Housekeeping", "RetentionTarget"]

_RUN_INTERVAL_S: Final = 30.0
"""Seconds between two runs."""
_DISK_CHECK_INTERVAL_S: Final = 1.0
"""Seconds between two checks of the free space of the disk."""
_UPKEEP_PAUSE_S: Final = 0.002
"""Seconds between two steps of upkeep, in which the program, sealing and shipping can run."""


@dataclass(frozen=True, slots=True)
class RetentionTarget:
    """A subsystem whose payloads may be deleted from the home."""

    sealer: Sealer
    """Its sealer."""
    stores: list[Store]
    """The open stores of its batches."""
    pins: Sequence[PinService] = ()
    """The open pin services of its batches."""


class Housekeeping:
    """Keep space free in one home.

    Args:
        home: the home.
        targets: returns the subsystems whose payloads may be deleted.
        failed: called with each failure; the payloads stay, and are tried again in the next run.
        freed: called when space was freed on a disk that is nearly full, or an act waits for its batch.
    """

    def __init__(
        self,
        home: HomeDir,
        targets: Callable[[], Iterable[RetentionTarget]],
        failed: Callable[[str, Exception], None],
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        self._home = home
        self._targets = targets
        self._failed = failed
        self._freed = freed
        self._task: asyncio.Task[None] | None = None
        self._retention: dict[str, Retention] = {}
        """By name of the subsystem."""
        self._upkeep: dict[str, Upkeep] = {}
        """By name of the subsystem."""
        self._pruning: dict[str, AutoPruning] = {}
        """By name of the subsystem."""
        self._unfinished = False
        """Whether the last run removed payloads, so that the next one may remove more."""
        self._pause_s = _DISK_CHECK_INTERVAL_S
        """Seconds between two runs on a disk that is nearly full; longer after each run that freed no space."""
        self._next_check = self._next_run = self._next_short_run = 0.0

    def check(self, now: float) -> None:
        """Start a run if it is time, if the disk is nearly full, or if the last run was not enough.

        Args:
            now: the keeper's monotonic clock, seconds.
        """
        if now < self._next_run:
            if now < self._next_check:
                return
            self._next_check = now + _DISK_CHECK_INTERVAL_S
            is_short = self._missing_bytes() > 0 and now >= self._next_short_run
            if not (is_short or self._unfinished or reserve.is_in_use(self._home.reserve)):
                return
        self._next_run = now + _RUN_INTERVAL_S
        self._next_short_run = now + self._pause_s
        self.run()

    def note_shipped(self) -> None:
        """Note that a store has confirmed a batch, so that a further payload may be deleted."""
        self._pause_s = _DISK_CHECK_INTERVAL_S
        self._next_short_run = 0.0

    def run(self, *, disk_is_full: bool = False) -> None:
        """Make the reserve again, and delete payloads that may be deleted, in a task of its own.

        Args:
            disk_is_full: the disk has just refused a write: no reserve is made, and its size is freed instead.
        """
        if not disk_is_full and self._home.subsystem_dirs():
            reserve.make(self._home.reserve)
            reserve.make_files(self._home.reserve)
        missing = self._missing_bytes()
        if disk_is_full:
            with contextlib.suppress(OSError):
                missing = max(missing, reserve.wanted_bytes(self._home.reserve))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._turn(missing))

    async def finish(self, stopping: Callable[[], bool]) -> None:
        """Pack and index batches before the keeper ends, so that many short runs leave no more files than a long one.

        Args:
            stopping: whether the keeper has to end now.
        """
        await self.close()
        if self._missing_bytes():
            return  # the disk is full: a pack would need space before it frees space
        for target in self._targets():
            try:
                for _ in self._upkeep_of(target.sealer.subsystem_dir).steps(MAX_FILES_AT_END, at_end=True):
                    if stopping():
                        return
                    await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - counted; the other subsystems have their turn
                self._failed(f"upkeep of {target.sealer.subsystem_dir.name}", error)

    async def close(self) -> None:
        """Cancel the running task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _missing_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return reserve.missing_bytes(self._home.reserve)
        return 0

    def note_act(self) -> None:
        """Note that an act was sealed, which may have to be carried out."""
        self._next_run = 0.0

    async def _turn(self, missing: int) -> None:
        """Pack and index batches, unless the disk is full; then give up and delete payloads."""
        if not missing:
            for target in self._targets():
                subsystem_dir = target.sealer.subsystem_dir
                try:
                    for _ in self._upkeep_of(subsystem_dir).steps():
                        await asyncio.sleep(_UPKEEP_PAUSE_S)
                except Exception as error:  # noqa: BLE001 - counted; the other subsystems have their turn
                    self._failed(f"upkeep of {subsystem_dir.name}", error)
        for target in self._targets():
            name = target.sealer.subsystem_dir.name
            pruning = self._pruning.setdefault(name, AutoPruning(target.sealer.subsystem_dir))
            try:
                if await pruning.run(target.sealer.policy, target.stores, target.pins):
                    self._freed()
            except Exception as error:  # noqa: BLE001 - counted; the other subsystems have their turn
                self._failed(f"pruning in {name}", error)
        await self._retain_all(missing)

    def _upkeep_of(self, subsystem_dir: SubsystemDir) -> Upkeep:
        """Return the upkeep of a subsystem, made at its first turn."""
        return self._upkeep.setdefault(subsystem_dir.name, Upkeep(subsystem_dir))

    async def _retain_all(self, missing: int) -> None:
        self._unfinished = False
        total = 0
        for target in self._targets():
            try:
                freed = await self._retain_one(target, max(0, missing - total))
            except Exception as error:  # noqa: BLE001 - counted; the other subsystems have their turn
                self._failed(f"retention in {target.sealer.subsystem_dir.name}", error)
                continue
            total += freed
        self._unfinished = total > 0  # one run deletes a bounded number of payloads
        self._pause_s = _DISK_CHECK_INTERVAL_S if total else min(2 * self._pause_s, _RUN_INTERVAL_S)
        if total and missing:
            self._freed()

    async def _retain_one(self, target: RetentionTarget, missing: int) -> int:
        """Remove payloads of one subsystem; on a full disk even a smaller file needs the space of the reserve."""
        subsystem_dir, policy = target.sealer.subsystem_dir, target.sealer.policy
        retention = self._retention.setdefault(subsystem_dir.name, Retention(subsystem_dir))
        try:
            return await retention.run(target.stores, policy, pins=target.pins, free_space=missing)
        except OSError as error:
            if error.errno not in disk.NO_ROOM or not reserve.give_up(self._home.reserve):
                raise
        return await retention.run(target.stores, policy, pins=target.pins, free_space=missing)
