"""Define pytest fixtures: in a `conftest.py`, `pytest_plugins = ["ipfs_log_handlers.testing.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.testing.capture import Capture, capture
from ipfs_log_handlers.testing.fake_kubo import FakeKubo

__all__ = ["fake_kubo", "ipfs_logs"]


@pytest.fixture
def ipfs_logs(tmp_path: Path) -> Iterator[Capture]:
    """Capture the records of the handlers and processors that the test makes without a `home` of their own."""
    with capture(tmp_path / "ipfs-logs") as captured:
        yield captured


@pytest.fixture
def fake_kubo() -> Iterator[FakeKubo]:
    """Run a fake Kubo daemon; `fake_kubo.url` is the address for a handler's `kubo`."""
    with FakeKubo() as daemon:
        yield daemon
