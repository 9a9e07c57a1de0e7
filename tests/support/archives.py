"""Make homes with archives, and read the archives back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.home import pending_archives
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.pending_archives import Archive
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.runtime.process import forget_home
from ipfs_log_handlers.spool.archiver import ArchiveMetadata, Archiver
from ipfs_log_handlers.verify.log import verify
from tests.support import oracle

__all__ = ["archiver", "facts", "managing", "sealed", "verified", "waiting"]

facts = ArchiveMetadata(name="n")
"""Metadata for archives whose metadata does not matter."""


def archiver(home: Path, subsystem: str = "logs", **settings: Any) -> Archiver:
    """Return an archiver of a process that is never the keeper."""
    return Archiver(HomeDir(home), subsystems.get(subsystem), Settings(home=home, **settings), lambda: None)


@contextlib.contextmanager
def managing(home: Path, **settings: Any) -> Iterator[DatasetsManager]:
    """Make a manager that starts no thread, unless `keeper` says otherwise; forget it at the end."""
    manager = DatasetsManager(home=home, **{"keeper": "none", **settings})
    try:
        yield manager
    finally:
        forget_home(home)


def waiting(home: Path, subsystem: str = "logs") -> list[Archive]:
    """Return the archives that are in no batch yet."""
    return pending_archives.load_all(HomeDir(home).subsystem_dir(subsystem).archived, {})


def sealed(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """Return the manifests of all archives in the chain, verified by the oracle."""
    return [
        batch.manifest
        for log in oracle.read_home(home)[subsystem]
        for batch in log.batches
        if batch.manifest["encoding"] == "unixfs"
    ]


def verified(home: Path) -> int:
    """Check the whole home with our own verifier; return the number of absent payloads."""
    reports = list(verify(HomeDir(home)))
    assert [] == [problem.as_json() for report in reports for problem in report.problems]
    return sum(report.absent for report in reports)
