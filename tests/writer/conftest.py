"""Writers of one home, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.writer import Writer
from tests.workshop import (
    settings,
)


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., Writer]]:
    """Makes writers of one home, which are closed at the end."""
    made = list[Writer]()

    def new(*, first: Callable[[], None] = lambda: None, **more: Any) -> Writer:
        one = Writer(Home(home), subsystems.get("logs"), settings(home, **more), first)
        made.append(one)
        return one

    yield new
    for each in made:
        each.close()


@pytest.fixture
def room(home: Path) -> Room:
    """Where the writers of `make` write."""
    return Home(home).room("logs")
