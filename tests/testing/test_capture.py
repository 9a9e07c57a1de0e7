"""What `ipfs_log_handlers.testing` gives to tests of other programs: what they logged, and a fake daemon."""

from __future__ import annotations

import logging
import logging.config
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog

from ipfs_log_handlers import IPFSHandler, IPFSProcessor, VerificationError
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import Capture, FakeKubo, Response, capture
from tests.support.logging_home import seal_home, wait_until

WITHOUT_PYTEST = "import sys; sys.modules['pytest'] = None; import ipfs_log_handlers.testing"

pytest_plugins = ["ipfs_log_handlers.testing.fixtures"]


def configure(**settings: object) -> logging.Logger:
    """Configure logging, as an application does at its start."""
    handler = {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "audit", **settings}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"audit": handler},
            "loggers": {"shop": {"handlers": ["audit"], "level": "INFO"}},
        }
    )
    return logging.getLogger("shop")


@pytest.fixture(autouse=True)
def unconfigured():
    """Restore the configuration of logging."""
    yield
    logging.getLogger("shop").handlers.clear()


class TestCapture:
    def test_reads_back_what_was_logged(self, ipfs_logs: Capture):
        """The fixture gives the records of a handler without a home, whether they are sealed or not."""
        logger = configure(keeper="none")
        logger.info("%s signed in", "mira", extra={"tries": 2})
        seal_home(ipfs_logs.home)
        logger.warning("gone")
        first, second = ipfs_logs.records("audit")
        assert ("mira signed in", 2, "info", "audit") == tuple(
            first[k] for k in ("event", "tries", "level", "subsystem")
        )
        assert "gone" == second["event"]
        assert ["mira signed in", "gone"] == ipfs_logs.events()

    def test_several_subsystems(self, ipfs_logs: Capture):
        """Handlers and processors are read together in the order of their time, or one by one."""
        audit = configure()
        wal = structlog.wrap_logger(None, processors=[IPFSProcessor("wal"), lambda *_: ""], wrapper_class=None)
        audit.info("one")
        wal.bind().info("two")
        audit.info("three")
        assert ["one", "two", "three"] == ipfs_logs.events()
        assert ["two"] == ipfs_logs.events("wal")
        assert [] == ipfs_logs.events("telemetry")

    def test_nothing_logged(self, ipfs_logs: Capture):
        """Without a record there is no home, and nothing is captured."""
        configure()
        assert [] == ipfs_logs.records() == ipfs_logs.records("audit")
        assert not ipfs_logs.home.exists()

    def test_damage_is_no_silence(self, ipfs_logs: Capture):
        """Where the home is damaged the capture says so instead of leaving records out."""
        configure(keeper="none").info("one")
        seal_home(ipfs_logs.home)
        path = Batches(HomeDir(ipfs_logs.home).subsystem_dir("audit").current.batches).file(0)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(VerificationError, match="damaged"):
            ipfs_logs.records()

    def test_blocks_are_apart(self, tmp_path: Path):
        """What one block made is closed at its end: the next may configure otherwise, and gets its own records only."""
        with capture(tmp_path / "one") as one:
            configure(batch={"records": 10}).info("one")
            assert ["one"] == one.events()
        with capture(tmp_path / "two") as two:
            configure(batch={"records": 20}).info("two")
            assert ["two"] == two.events()
        assert ["one"] == one.events()
        wait_until(lambda: "ipfs-logs-keeper" not in {thread.name for thread in threading.enumerate()})

    def test_environment(self, monkeypatch: pytest.MonkeyPatch):
        """A daemon that the environment names is out of reach inside, and named again behind; a temporary home goes."""
        monkeypatch.setenv("IPFS_LOGS_KUBO", "http://127.0.0.1:9")
        monkeypatch.delenv("IPFS_LOGS_HOME", raising=False)
        with capture() as captured:
            configure().info("one")
            [found] = captured.records()
            [handler] = [each for each in logging.getLogger("shop").handlers if isinstance(each, IPFSHandler)]
            handler.flush()
            [status] = handler.status()
            assert ("one", 1, None) == (found["event"], status["sealed"], status["oldest_unshipped"])
        assert "http://127.0.0.1:9" == os.environ["IPFS_LOGS_KUBO"]
        assert "IPFS_LOGS_HOME" not in os.environ
        assert not captured.home.parent.exists()


class TestFakeDaemon:
    def test_ships_to_it(self, ipfs_logs: Capture, fake_kubo: FakeKubo):
        """A program ships to the fake as to a real daemon; its store tells what has arrived."""
        logger = configure(kubo=fake_kubo.url)
        logger.info("one")
        logger.handlers[0].flush()
        [status] = logger.handlers[0].status()  # type: ignore[attr-defined]
        assert 1 == status["shipped"]
        assert status["head"] in {cid.text for cid in fake_kubo.store.pins}

    def test_says_what_it_is_told(self, ipfs_logs: Capture, fake_kubo: FakeKubo):
        """An answer that a test scripts is what the program meets, once."""
        fake_kubo.respond_once("dag/import", Response(status=503, body=(b"not now",)))
        logger = configure(kubo=fake_kubo.url)
        logger.info("one")
        wait_until(lambda: (logger.handlers[0].flush(), len(fake_kubo.uploads()) == 2)[1])  # type: ignore[func-returns-value]
        assert ["one"] == ipfs_logs.events()


@pytest.mark.parametrize(
    ("program", "there"),
    [
        ("import ipfs_log_handlers", "ipfs_log_handlers.testing"),
        (
            "import sys; sys.modules['pytest'] = None; import ipfs_log_handlers.testing",
            "ipfs_log_handlers.testing.fixtures",
        ),
    ],
)
def test_costs_nothing(program: str, there: str):
    """The package does not load its testing part, and that part needs no pytest."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print({there!r} in sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert ("False\n", "") == (done.stdout, done.stderr)
