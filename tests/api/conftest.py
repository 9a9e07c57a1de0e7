"""A home with two subsystems."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers import (
    api,
    open_home,
)
from tests.support import sample_homes


@pytest.fixture
def two(home: Path) -> api.Home:
    """Make a home with two subsystems."""
    sample_homes.make(home, 25)
    sample_homes.make(home, 3, "wal")
    return open_home(home)
