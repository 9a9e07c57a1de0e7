"""Logs with batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from tests.support.logging_home import lines, put_segment, seal_home
from tests.support.many_batches import seal_batches


@pytest.fixture
def batches(home: Path) -> Batches:
    """Make a log with two batches."""
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    for number in range(2):
        put_segment(subsystem_dir, lines(1 + number, 1 + number), number=number)
        seal_home(home)
    return Batches(subsystem_dir.current.batches)


@pytest.fixture
def logs(home: Path) -> SubsystemDir:
    """Make a subsystem with twelve batches of one record."""
    return seal_batches(home, 12)
