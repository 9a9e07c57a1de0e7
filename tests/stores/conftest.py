"""A scripted daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_log_handlers.testing import FakeKubo


@pytest.fixture(scope="module")
def running() -> Iterator[FakeKubo]:
    """One scripted daemon for the file."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture
def liar(running: FakeKubo) -> FakeKubo:
    """Return the fake daemon, which answers like Kubo."""
    running.reset()
    running.asked.clear()
    running.store.pins.clear()
    return running
