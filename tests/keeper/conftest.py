"""A subsystem, and the sealer of its home's keeper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.keeper.seal import Sealer


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a log end at once: the tests copy no file while the keeper looks on."""
    monkeypatch.setattr(new_log, "_QUIET_S", 0)


@pytest.fixture
def subsystem_dir(home: Path) -> SubsystemDir:
    """Return a subsystem in which nothing was logged."""
    return HomeDir(home).subsystem_dir("logs")


@pytest.fixture
def sealer(subsystem_dir: SubsystemDir) -> Iterator[Callable[[], Sealer]]:
    """Return a function that makes the sealer of a keeper; each call is the next keeper."""
    held = list[lock.KeeperLock]()

    def make() -> Sealer:
        for each in held:
            each.release()
        taken = lock.take(HomeDir(subsystem_dir.path.parent))
        assert taken is not None
        held.append(taken)
        return Sealer.open(taken, subsystem_dir)

    yield make
    for each in held:
        each.release()
