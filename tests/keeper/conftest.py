"""A subsystem, and the sealer of its home's keeper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.seal import Sealer


@pytest.fixture
def room(home: Path) -> Room:
    """A subsystem in which nothing was logged."""
    return Home(home).room("logs")


@pytest.fixture
def sealer(room: Room) -> Iterator[Callable[[], Sealer]]:
    """Makes the sealer of a home's one keeper; a second one is the keeper after it."""
    held = list[lock.KeeperLock]()

    def make() -> Sealer:
        for each in held:
            each.release()
        taken = lock.take(Home(room.path.parent))
        assert taken is not None
        held.append(taken)
        return Sealer(taken, room)

    yield make
    for each in held:
        each.release()
