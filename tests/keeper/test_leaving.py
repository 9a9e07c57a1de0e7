"""A keeper leaves when it is told to, whatever its stores and files do at that moment."""

from __future__ import annotations

import asyncio
import os

import pytest

from ipfs_log_handlers.home import shipped
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.loop import Keeper, NoGuest
from ipfs_log_handlers.stores.memory import MemoryStore
from tests.reading import homes
from tests.workshop import keeping


async def waiting(keeper: Keeper) -> asyncio.Task[None]:
    """A keeper whose store is down, when it waits for the next try."""
    running = asyncio.ensure_future(keeper.run())
    while not any(  # noqa: ASYNC110 - a file tells it
        mark.trouble for room in keeper.home.rooms() for mark in shipped.load_all(room.current.shipped).values()
    ):
        await asyncio.sleep(0.01)
    return running


@pytest.mark.parametrize("turns", range(6))
def test_woken_as_it_leaves(home, turns):
    """A task that is woken in the very turn of the loop in which it is cancelled ends all the same, and at once."""
    MemoryStore.named("leaving").mood = "down"
    homes.log(home, range(10), kubo="memory:leaving")

    async def leave() -> None:
        with keeping(Home(home)) as held:
            keeper = Keeper(held, NoGuest())
            keeper.ask()
            running = await waiting(keeper)
            running.cancel()
            await asyncio.sleep(0.01)
            for waker in keeper._wakers.values():
                waker.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(keeper._close_stores(), 30)

    asyncio.run(leave())


def test_a_mark_that_cannot_be_read(home, monkeypatch):
    """A mark of one subsystem that the disk does not give is that subsystem's trouble; the keeper goes on and ends."""
    for name in ("audit", "wal"):
        homes.make(home, 10, name, kubo="memory:unread")
    MemoryStore.named("unread")
    real = shipped.load

    def load(directory, *rest):
        if "audit" in str(directory):
            raise OSError(5, os.strerror(5))
        return real(directory, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shipped, "load", load)
        homes.ship(home, "memory:unread")
    assert {"wal": 0} == {name: mark.upto for name in ("wal",) for mark in marks(home, name)}
    assert [] == marks(home, "audit")
    homes.ship(home, "memory:unread")
    assert [0] == [mark.upto for mark in marks(home, "audit")]


def marks(home, name):
    """What stores have confirmed of a subsystem."""
    return list(shipped.load_all(homes.room(home, name).current.shipped).values())
