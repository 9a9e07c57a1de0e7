"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.testing import FakeDaemon
from tests.support import query_homes, sample_homes


@pytest.fixture
def two(home: Path) -> Path:
    """Make a home with two subsystems."""
    sample_homes.make(home, 25)
    sample_homes.make(home, 3, "wal")
    return home


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    """Run a fake daemon that answers like Kubo."""
    with FakeDaemon() as honest:
        yield honest


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with several subsystems, sealed and not sealed."""
    home = tmp_path_factory.mktemp("queried") / "home"
    query_homes.make(home)
    return home
