"""A scripted daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_log_handlers.testing import FakeDaemon


@pytest.fixture(scope="module")
def running() -> Iterator[FakeDaemon]:
    """One scripted daemon for the file."""
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture
def liar(running: FakeDaemon) -> FakeDaemon:
    """The daemon without a script."""
    running.honest()
    running.asked.clear()
    running.store.pins.clear()
    return running
