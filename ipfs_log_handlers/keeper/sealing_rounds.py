"""Seal what is due in each subsystem of a home, in rounds between which the keeper does its other work."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import disk, drop_reports, reserve
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.keeper.acts import next_of_its_own
from ipfs_log_handlers.keeper.flush_request import FlushRequest
from ipfs_log_handlers.keeper.new_log import UnsettledError
from ipfs_log_handlers.keeper.pacing import BACKGROUND_PAUSE, run_paced
from ipfs_log_handlers.keeper.seal import Sealer

__all__ = ["SealingRounds"]

_UNSETTLED_DELAY_S: Final = 0.2
"""Seconds until the files of a log are looked at again that a backup is copied over."""
_SEAL_RETRY_DELAY_S: Final = 1.0
"""Seconds until a subsystem that failed is tried again; up to one second is added at random."""


class SealingRounds:
    """Seal the subsystems of one home, for as long as this process is the keeper.

    Args:
        lock: the home's lock, held.
        sealers: by subsystem; those that are opened are added.
        stopping: function that says whether the keeper stops after the current step.
        on_sealed: called after each batch.
        on_act: called after each act or archive, before `on_sealed`.
        on_full_disk: called when the disk has no room for a batch.
    """

    def __init__(
        self,
        lock: KeeperLock,
        sealers: dict[str, Sealer],
        *,
        stopping: Callable[[], bool],
        on_sealed: Callable[[], None],
        on_act: Callable[[], None],
        on_full_disk: Callable[[], None],
    ) -> None:
        self.sealers = sealers
        self.errors: dict[str, str] = {}
        """The reasons why batches cannot be sealed, by subsystem."""
        self.request: FlushRequest | None = None
        """The flush request that waits; `None`: none."""
        self._home = lock.home
        self._lock = lock
        self._stopping = stopping
        self._on_sealed = on_sealed
        self._on_act = on_act
        self._on_full_disk = on_full_disk
        self._again_at: dict[str, float] = {}
        self._unsettled: set[str] = set()
        """Subsystems over which a backup is copied just now: a flush waits for them."""

    @property
    def failed(self) -> set[str]:
        """The subsystems for which a flush does not wait, because they cannot be sealed."""
        return self.errors.keys() - self._unsettled

    def try_failed_again(self) -> None:
        """Let the next round try subsystems that failed."""
        self._again_at.clear()

    def adopt_drop_reports(self) -> None:
        """Adopt the counts of dropped records that dead writers left; what the disk refuses is tried again."""
        with contextlib.suppress(OSError):
            drop_reports.adopt(self._home)

    async def run(self) -> bool:
        """Seal one batch of each subsystem with a due batch; return whether more batches may be due.

        The keeper does its other work between two rounds, because with a constant flow of records a batch is always
        due.

        Raises:
            LostLockError: another process has become the keeper.
        """
        more = False
        self.adopt_drop_reports()
        for subsystem_dir in self._home.subsystem_dirs():
            name = subsystem_dir.name
            if self._again_at.get(name, 0.0) > clock.monotonic():
                continue
            self._unsettled.discard(name)
            try:
                more |= await self._seal_one(subsystem_dir)
                self._again_at.pop(name, None)
                self._note_unreadable(self.sealers[name])
            except LostLockError:
                raise
            except UnsettledError as error:
                self.errors[name] = str(error)
                self._unsettled.add(name)
                self._again_at[name] = clock.monotonic() + _UNSETTLED_DELAY_S
            except Exception as error:  # noqa: BLE001 - an error in one subsystem must not stop the others (home.md 14)
                self.errors[name] = explain_any(error)
                self._again_at[name] = clock.monotonic() + _SEAL_RETRY_DELAY_S + random.random()  # noqa: S311
                if isinstance(error, OSError) and error.errno in disk.NO_ROOM:
                    reserve.give_up(self._home.reserve)
                    self._on_full_disk()
        await asyncio.sleep(0)
        return more

    def _note_unreadable(self, sealer: Sealer) -> None:
        """Report segments that cannot be read; they are skipped and tried again later."""
        self.errors.pop(sealer.subsystem_dir.name, None)
        for segment, reason in sealer.spool.unreadable.items():
            self.errors[sealer.subsystem_dir.name] = f"segment {segment} cannot be read: {reason}"

    async def _seal_one(self, subsystem_dir: SubsystemDir) -> bool:
        """Seal one batch of a subsystem if one is due; return whether another one may be due."""
        sealer = self.sealers.get(subsystem_dir.name)
        if sealer is None:
            sealer = self.sealers[subsystem_dir.name] = Sealer.open(self._lock, subsystem_dir)
        sealer.check_head()
        failed = await self._seal_batches_of_their_own(sealer)
        sealed = await self._seal_records(sealer)
        if failed is not None:
            raise failed
        return sealed

    async def _seal_records(self, sealer: Sealer) -> bool:
        now = clock.monotonic()
        backlog = sealer.backlog(now)
        urgent = self._is_urgent(sealer, backlog.records)
        due = sealer.schedule.due_batch(backlog, now, urgent=urgent)
        if due is None:
            sealer.delete_consumed()
            return False
        before = sealer.sealed
        # The pauses become shorter as the spool fills, and end when it is half full: sealing must not fall behind.
        free_share = 1.0 - 2.0 * backlog.bytes / sealer.policy.max_spool_bytes
        pause = BACKGROUND_PAUSE * max(0.0, free_share)
        await run_paced(sealer.seal(due, urgent=urgent), pause, self._has_request)
        if sealer.sealed is before:
            return False
        sealer.delete_consumed()
        self._on_sealed()
        return True

    async def _seal_batches_of_their_own(self, sealer: Sealer) -> Exception | None:
        """Seal the waiting acts and archives, which are due at once; return an error, to seal records before it."""
        while not self._stopping():
            try:
                steps = next_of_its_own(sealer)
                if steps is None:
                    break
                await run_paced(steps, BACKGROUND_PAUSE, self._has_request)
                self._on_act()
            except LostLockError:
                raise
            except Exception as error:  # noqa: BLE001 - raised again after the records
                return error
            sealer.delete_consumed()
            self._on_sealed()
        return None

    def _is_urgent(self, sealer: Sealer, waiting_records: int) -> bool:
        """Return whether a flush request still waits until this subsystem is sealed."""
        request, name = self.request, sealer.subsystem_dir.name
        if request is None or name not in request.unsealed:
            return False
        return request.wants(name, sealer.consumed, sealer.spool.sizes() if waiting_records else {})

    def _has_request(self) -> bool:
        return self.request is not None
