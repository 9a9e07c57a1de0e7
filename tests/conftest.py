"""Fixtures that every test may use: a home of its own, and real Kubo daemons."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubo.build import CannotBuildKubo
from tests.kubo.build import kubo_binary as find_or_build
from tests.kubo.daemon import Daemon
from tests.pitfalls import table

NEEDS_DAEMON = frozenset({"kubo_binary", "kubo", "kubo_online", "kubo_daemon"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test that uses a daemon, so that `-m "not kubo"` is the offline part of the suite.

    And each that docs/pitfalls.md names, so that `-m pitfall` runs those.
    """
    named = {f"tests/{name}" for names in table.read().values() for name in names}
    for item in items:
        if item.nodeid.partition("[")[0] in named:
            item.add_marker(pytest.mark.pitfall)
        if NEEDS_DAEMON & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kubo)


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test, a program or the product leaves in the directory for temporary files is removed at the end."""
    tmp_path_factory.getbasetemp()  # made before, and kept
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="ipfs-logs-tests-", ignore_cleanup_errors=True) as path:
        os.chmod(path, 0o755)  # programs of other users look into it
        tempfile.tempdir = os.environ["TMPDIR"] = path
        yield
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR")
        if before[1] is not None:
            os.environ["TMPDIR"] = before[1]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def kubo_binary() -> Path:
    """The `ipfs` binary; a test that needs it fails when it cannot be had, it never skips."""
    try:
        return find_or_build()
    except CannotBuildKubo as error:
        reason = str(error)
    pytest.fail(f"this test needs a real Kubo daemon: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def kubo(kubo_binary: Path) -> Iterator[Daemon]:
    """One offline daemon for the whole run: do not stop it, and count on nothing else being in it."""
    with Daemon(kubo_binary, offline=True) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def kubo_online(kubo_binary: Path) -> Iterator[Daemon]:
    """One online daemon, without a peer, for the whole run: do not stop it."""
    with Daemon(kubo_binary, offline=False) as daemon:
        yield daemon


@pytest.fixture
def kubo_daemon(kubo_binary: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes started daemons of the test's own: `kubo_daemon(offline=True, unix_socket=True, …)`."""
    made: list[Daemon] = []

    def make(**options: Any) -> Daemon:
        daemon = Daemon(kubo_binary, **{"offline": True, **options})
        made.append(daemon)
        return daemon.start()

    yield make
    for daemon in made:
        daemon.remove()
