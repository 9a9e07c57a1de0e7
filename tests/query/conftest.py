"""Fixtures of the tests of queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import query_homes


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with several subsystems, sealed and not sealed."""
    home = tmp_path_factory.mktemp("queried") / "home"
    query_homes.make(home)
    return home


@pytest.fixture(scope="module")
def expected(queried: Path) -> list[dict[str, Any]]:
    """Give all its records as plain JSON."""
    return query_homes.records_of(queried)
