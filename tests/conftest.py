"""Fixtures that every test may use: a home of its own, and real Kubo daemons."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import ipfs_log_handlers.testing  # noqa: F401 - registers the stores `memory:NAME`
from tests.kubo.build import CannotBuildKubo
from tests.kubo.build import kubo_binary as find_or_build
from tests.kubo.daemon import Daemon
from tests.support import forked, pitfall_table

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a busy machine is no fault of an example

forked.end_children_with_this_process()

NEEDS_DAEMON = frozenset({"kubo_binary", "kubo", "kubo_online", "kubo_daemon"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a daemon, and each test that docs/pitfalls.md cites.

    So `-m "not kubo"` runs the offline part of the suite, and `-m pitfall` the pitfalls.
    """
    named = {f"tests/{name}" for names in pitfall_table.read().values() for name in names}
    for item in items:
        if item.nodeid.partition("[")[0] in named:
            item.add_marker(pytest.mark.pitfall)
        if NEEDS_DAEMON & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kubo)


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the run a temporary directory of its own, and delete it with everything in it at the end."""
    tmp_path_factory.getbasetemp()  # made before, so that it is kept
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="ipfs-logs-tests-", ignore_cleanup_errors=True) as path:
        os.chmod(path, 0o755)  # programs of other users must be able to enter it
        tempfile.tempdir = os.environ["TMPDIR"] = path
        yield
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR")
        if before[1] is not None:
            os.environ["TMPDIR"] = before[1]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let programs of tests react to SIGINT, which a shell ignores for all that it runs in the background."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def known_logs(tmp_path: Path) -> Iterator[Path]:
    """Let each test remember heads in a directory of its own, and not in that of the user who runs it."""
    directory = tmp_path / ".known-logs"
    with pytest.MonkeyPatch.context() as patch:  # apart from the `monkeypatch` of a test, which may undo its changes
        patch.setenv("IPFS_LOGS_KNOWN_LOGS", str(directory))
        yield directory


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the path of a home that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def kubo_binary() -> Path:
    """Return the path of the `ipfs` binary; where it cannot be built, the test fails and is not skipped."""
    try:
        return find_or_build()
    except CannotBuildKubo as error:
        reason = str(error)
    pytest.fail(f"this test needs a real Kubo daemon: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def kubo(kubo_binary: Path) -> Iterator[Daemon]:
    """Start one offline daemon for the whole run. Do not stop it; it also has the data of other tests."""
    with Daemon(kubo_binary, offline=True) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def kubo_online(kubo_binary: Path) -> Iterator[Daemon]:
    """Start one online daemon, without a peer, for the whole run. Do not stop it."""
    with Daemon(kubo_binary, offline=False) as daemon:
        yield daemon


@pytest.fixture
def kubo_daemon(kubo_binary: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon for this test alone: `kubo_daemon(offline=True, unix_socket=True, …)`."""
    made: list[Daemon] = []

    def make(**options: Any) -> Daemon:
        daemon = Daemon(kubo_binary, **{"offline": True, **options})
        made.append(daemon)
        return daemon.start()

    yield make
    for daemon in made:
        daemon.remove()


@pytest.fixture
def _python_takes_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the accelerator: the test replaces functions of Python that it does not call, or interrupts lines."""
    from ipfs_log_handlers.ingest import fast_path

    monkeypatch.setattr(fast_path, "ACCELERATOR", None)
