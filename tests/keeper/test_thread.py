"""A keeper leaves when it is told to, whatever its stores and files do at that moment."""

from __future__ import annotations

import asyncio
import os

import pytest

from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.loop import Keeper, Standalone
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.logging_home import keeping


async def waiting(keeper: Keeper) -> asyncio.Task[None]:
    """Run a keeper whose store is down until it waits for the next try."""
    running = asyncio.ensure_future(keeper.run())
    while not any(  # noqa: ASYNC110 - a file tells it
        mark.last_error
        for subsystem_dir in keeper.home.subsystem_dirs()
        for mark in delivery_state.load_all(subsystem_dir.current.shipped).values()
    ):
        await asyncio.sleep(0.01)
    return running


@pytest.mark.parametrize("turns", range(6))
def test_woken_as_it_leaves(home, turns):
    """A task that is woken in the very turn of the loop in which it is cancelled ends all the same, and at once."""
    MemoryStore.named("leaving").state = "down"
    sample_homes.log(home, range(10), kubo="memory:leaving")

    async def leave() -> None:
        with keeping(HomeDir(home)) as held:
            keeper = Keeper(held, Standalone())
            keeper.request_flush()
            running = await waiting(keeper)
            running.cancel()
            await asyncio.sleep(0.01)
            for waker in keeper._deliveries._wakers.values():
                waker.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(keeper._deliveries.close(), 30)

    asyncio.run(leave())


def test_a_mark_that_cannot_be_read(home, monkeypatch):
    """A mark of one subsystem that the disk does not give is that subsystem's trouble; the keeper goes on and ends."""
    for name in ("audit", "wal"):
        sample_homes.make(home, 10, name, kubo="memory:unread")
    MemoryStore.named("unread")
    real = delivery_state.load

    def load(directory, *rest):
        if "audit" in str(directory):
            raise OSError(5, os.strerror(5))
        return real(directory, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(delivery_state, "load", load)
        sample_homes.ship(home, "memory:unread")
    assert {"wal": 0} == {name: mark.confirmed_through for name in ("wal",) for mark in marks(home, name)}
    assert [] == marks(home, "audit")
    sample_homes.ship(home, "memory:unread")
    assert [0] == [mark.confirmed_through for mark in marks(home, "audit")]


def marks(home, name):
    """Return what stores have confirmed of a subsystem."""
    return list(delivery_state.load_all(sample_homes.subsystem_dir(home, name).current.shipped).values())
