"""The house: space on the disk, for as long as a keeper keeps the home.

The reserve is made again, and payloads leave that the stores prove to have: in a task, for a store is asked there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from ipfs_log_handlers.home import disk, reserve
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.retain import retain
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.stores import Store

__all__ = ["House", "Tenant"]

_KEEP_EVERY: Final = 30.0
_LOOK_EVERY: Final = 1.0

Tenant = tuple[Sealer, list[Store]]
"""A subsystem, and the stores that its batches go to."""


class House:
    """Keeps space in one home.

    Args:
        home: the home.
        tenants: gives the subsystems whose payloads may leave.
        failed: told of what failed; it is tried again in a while, and until then the payloads stay.
    """

    def __init__(
        self, home: Home, tenants: Callable[[], Iterable[Tenant]], failed: Callable[[str, Exception], None]
    ) -> None:
        self._home = home
        self._tenants = tenants
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._short = False
        self._next_look = self._next_turn = 0.0

    def look(self, now: float) -> None:
        """Keep house if it is time, or if the disk has become nearly full.

        Args:
            now: the keeper's monotonic clock.
        """
        if now >= self._next_turn or self._newly_short(now):
            self._next_turn = now + _KEEP_EVERY
            self.keep()

    def keep(self, *, make_room: bool = False) -> None:
        """Make the reserve again, and look for payloads that may leave.

        Args:
            make_room: the disk refused just now: what is in the reserve is needed, and as much again.
        """
        if not make_room and self._home.rooms():
            reserve.make(self._home.reserve)
        missing = self._missing_bytes()
        if make_room:
            missing = max(missing, reserve.SIZE)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._retain_all(missing))

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _newly_short(self, now: float) -> bool:
        """Whether the disk has become nearly full since the last look, or payloads went and it still is."""
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY
        before, self._short = self._short, self._missing_bytes() > 0
        return self._short and not before

    def _missing_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return reserve.missing_bytes(self._home.reserve)
        return 0

    async def _retain_all(self, missing: int) -> None:
        for sealer, stores in self._tenants():
            try:
                freed = await self._retain_one(sealer, stores, missing)
            except Exception as error:  # noqa: BLE001 - counted; the other subsystems have their turn
                self._failed(f"retention in {sealer.room.name}", error)
                continue
            missing = max(0, missing - freed)
            if freed:
                self._short = False  # if it still is, the next look goes on with it

    async def _retain_one(self, sealer: Sealer, stores: list[Store], missing: int) -> int:
        """Let payloads of one subsystem go; on a full disk even the smaller file needs the room of the reserve."""
        try:
            return await retain(sealer.room, stores, sealer.policy, make_room=missing)
        except OSError as error:
            if error.errno not in disk.NO_ROOM or not reserve.give_up(self._home.reserve):
                raise
        return await retain(sealer.room, stores, sealer.policy, make_room=missing)
