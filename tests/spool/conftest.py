"""Writers of one home, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.spool.writer import Writer
from tests.support.logging_home import (
    settings,
)


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., Writer]]:
    """Return a function that makes writers of one home, which are closed at the end."""
    made = list[Writer]()

    def new(*, first: Callable[[], None] = lambda: None, **more: Any) -> Writer:
        one = Writer(HomeDir(home), subsystems.get("logs"), settings(home, **more), first)
        made.append(one)
        return one

    yield new
    for each in made:
        each.close()


@pytest.fixture
def subsystem_dir(home: Path) -> SubsystemDir:
    """Where the writers of `make` write."""
    return HomeDir(home).subsystem_dir("logs")
