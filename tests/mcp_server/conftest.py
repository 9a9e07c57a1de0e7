"""A home for the tests of the MCP server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import query_homes


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home with several subsystems, sealed and not sealed; no test changes it."""
    home = tmp_path_factory.mktemp("served") / "home"
    query_homes.make(home)
    return home
