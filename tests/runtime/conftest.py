"""Fixtures of this folder."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.testing import FakeDaemon, Said


@pytest.fixture
def silent():
    """Start a daemon that accepts connections and never answers."""
    with FakeDaemon() as daemon:
        for command in ("version", "dag/import", "pin/ls", "pin/rm", "block/get"):
            daemon.always(command, Said(then="hang"))
        yield daemon
