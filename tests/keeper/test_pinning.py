"""The tasks of the pin services while the keeper ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper import pinning
from ipfs_log_handlers.keeper.housekeeping import Housekeeping
from ipfs_log_handlers.keeper.run import ship_all
from ipfs_log_handlers.stores.pin_address import pin_service_name
from ipfs_log_handlers.stores.pins import PinStatus
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support.many_batches import seal_batches

STORE, SERVICE = "memory:pinning", "remote:pinning"
_DEADLINE_S = 60.0


class _Service:
    """A pin service that fails at first, pins all batches while the keeper ends, and then is slow.

    Args:
        head: the head block.
    """

    address = SERVICE
    name = pin_service_name(SERVICE)
    max_cids = 10

    def __init__(self, head: Cid) -> None:
        self.requested: list[Cid] = []
        """What was requested, in order."""
        self.keeper_ends = asyncio.Event()
        self.confirms = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.head = head

    async def statuses(self, cids: Sequence[Cid]) -> Mapping[Cid, PinStatus]:
        if self.head in cids:
            self.confirms.set()
            await self.may_answer.wait()
            return dict.fromkeys(cids, PinStatus("absent"))
        if not self.requested:
            return dict.fromkeys(cids, PinStatus("failed", "it cannot be found"))
        await self.keeper_ends.wait()
        return dict.fromkeys(cids, PinStatus("pinned"))

    async def request(self, cid: Cid, name: str, *, again: bool = False) -> None:
        self.requested.append(cid)

    async def remove(self, cids: Sequence[Cid]) -> None:
        """Do nothing."""

    async def probe(self) -> str:
        return self.address

    async def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Service]:
    """Yield the service of a home with two batches; the keeper that ends waits until the service confirms them."""
    seal_batches(home, 2)
    headers = list(LogDir.current_of(HomeDir(home).subsystem_dir("logs")).batch_headers())
    service = _Service(headers[-1].head_cid)
    finish = Housekeeping.finish

    async def finish_late(housekeeping: Housekeeping, stopping: Callable[[], bool]) -> None:
        await finish(housekeeping, stopping)
        service.keeper_ends.set()
        await asyncio.wait_for(service.confirms.wait(), _DEADLINE_S)
        asyncio.get_running_loop().call_later(0.1, service.may_answer.set)

    monkeypatch.setattr(pinning, "open_pin_service", lambda *_, **__: service)
    monkeypatch.setattr(Housekeeping, "finish", finish_late)
    yield service
    MemoryStore.forget()


def test_a_keeper_that_ends_asks_for_the_head_block_of_what_was_just_confirmed(home: Path, service: _Service) -> None:
    """A service that has failed holds up no end; if it confirms batches then, it still gets their head block."""
    result = ship_all(HomeDir(home), stores=(STORE,), pins=(SERVICE,), timeout=_DEADLINE_S)

    assert result.complete
    assert service.head == service.requested[-1]
