"""Homes with archives in them, as tests make and look at them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.archiver import Archiver, Facts
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.home import archives
from ipfs_log_handlers.home.archives import Archive
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.reading.verify import verify
from tests import oracle

__all__ = ["archiver", "facts", "managing", "sealed", "verified", "waiting"]

facts = Facts(name="n")
"""What is said of an archive where it does not matter."""


def archiver(home: Path, subsystem: str = "logs", **settings: Any) -> Archiver:
    """An archiver of a process that never keeps the home."""
    return Archiver(Home(home), subsystems.get(subsystem), Settings(home=home, **settings), lambda: None)


@contextlib.contextmanager
def managing(home: Path, **settings: Any) -> Iterator[DatasetsManager]:
    """A manager that starts no thread, unless told to."""
    manager = DatasetsManager(home=home, **{"keeper": "none", **settings})
    try:
        yield manager
    finally:
        HomeProcess.forget(home)


def waiting(home: Path, subsystem: str = "logs") -> list[Archive]:
    """The archives that are in no batch."""
    return archives.load_all(Home(home).room(subsystem).archived, {})


def sealed(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """The manifests of all archives in the chain, verified by the second opinion."""
    return [
        batch.manifest
        for log in oracle.read_home(home)[subsystem]
        for batch in log.batches
        if batch.manifest["encoding"] == "unixfs"
    ]


def verified(home: Path) -> int:
    """Check the whole home with our own verifier; the number of payloads that are absent."""
    reports = list(verify(Home(home)))
    assert [] == [problem.as_json() for report in reports for problem in report.problems]
    return sum(report.absent for report in reports)
