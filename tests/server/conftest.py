"""Fixtures of the tests of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import query_homes
from tests.support.serving import Running, serving, sources_of


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with several subsystems, sealed and not sealed."""
    home = tmp_path_factory.mktemp("queried") / "home"
    query_homes.make(home)
    return home


@pytest.fixture(scope="module")
def server(queried: Path) -> Iterator[Running]:
    """Serve that home."""
    with serving(sources_of(queried)) as running:
        yield running
