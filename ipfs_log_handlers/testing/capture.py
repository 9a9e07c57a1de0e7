"""Capture the records of a program under test, in a home that exists for one test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.dataset import Dataset, Gap
from ipfs_log_handlers.runtime.process import forget_home

__all__ = ["Capture", "capture"]

_VARIABLES = ("IPFS_LOGS_HOME", "IPFS_LOGS_KUBO", "IPFS_LOGS_TOKEN")
"""Environment variables that a block sets or removes, and restores at its end."""


class Capture:
    """Read the records that handlers and processors have written to one home.

    Args:
        home: the home; it may be missing.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def __repr__(self) -> str:
        return f"Capture({str(self.home)!r})"

    def records(self, subsystem: str | None = None) -> list[dict[str, Any]]:
        """Return the records that are durable now, each as it was stored, with its `subsystem`.

        Args:
            subsystem: only records of this subsystem, in log order; `None`: all, in the order of their `time`.

        Raises:
            VerificationError: the home is damaged, so a record may be missing.
        """
        home = HomeDir(self.home)
        names = [
            subsystem_dir.name for subsystem_dir in home.subsystem_dirs() if subsystem in (None, subsystem_dir.name)
        ]
        with Dataset(home, _refuse) as dataset:
            records = [record for name in names for record in dataset.records(name)]
        return records if subsystem is not None else sorted(records, key=lambda record: str(record["time"]))

    def events(self, subsystem: str | None = None) -> list[str]:
        """Return the `event` of each of these records: the message of a logging call."""
        return [record["event"] for record in self.records(subsystem)]


def _refuse(gap: Gap) -> None:
    raise VerificationError("the captured records cannot all be read", found=str(gap))


@contextmanager
def capture(home: str | os.PathLike[str] | None = None) -> Iterator[Capture]:
    """Give all handlers and processors that are made inside the block without a `home` the home of this block.

    Inside the block `IPFS_LOGS_HOME` names that home, and `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN` are not set, so
    no data leaves the machine unless the program itself names a daemon. At the end the handlers of this home are
    closed, and a temporary home is removed. Use one block at a time: the environment belongs to the process.

    Args:
        home: the directory; `None`: a temporary one.

    Yields:
        An object that reads the records from the home each time it is asked.
    """
    before = {name: os.environ.pop(name, None) for name in _VARIABLES}
    temporary = tempfile.TemporaryDirectory(prefix="ipfs-logs-", ignore_cleanup_errors=True) if home is None else None
    path = Path(temporary.name if temporary is not None else home or "").absolute() / ("home" if temporary else "")
    os.environ["IPFS_LOGS_HOME"] = str(path)
    try:
        yield Capture(path)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        forget_home(path)
        if temporary is not None:
            temporary.cleanup()
