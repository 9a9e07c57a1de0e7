"""Fixtures of the tests of Loki's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import loki_server
from tests.support.loki_server import LokiServer


@pytest.fixture(scope="session")
def loki_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with several subsystems, sealed and not sealed."""
    home = tmp_path_factory.mktemp("loki") / "home"
    loki_server.make(home)
    return home


@pytest.fixture(scope="session")
def traced_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the same home, with ids of traces in all records."""
    home = tmp_path_factory.mktemp("traced") / "home"
    loki_server.make(home, traced=True)
    return home


@pytest.fixture(scope="session")
def loki(loki_home: Path) -> Iterator[LokiServer]:
    """Give a server over the home."""
    with LokiServer(loki_home) as server:
        yield server


@pytest.fixture(scope="session")
def traced(traced_home: Path) -> Iterator[LokiServer]:
    """Give a server over the home with ids of traces."""
    with LokiServer(traced_home) as server:
        yield server
