"""Fixtures of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import sample_homes


@pytest.fixture
def three(home: Path) -> Path:
    """Make a home with three batches of ten records."""
    sample_homes.make(home, 30)
    return home
