"""What a test's program logged: a home of its own for the time of the test, and the records that landed in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.reading.dataset import Dataset, Gap

__all__ = ["Capture", "capture"]

_OURS = ("IPFS_LOGS_HOME", "IPFS_LOGS_KUBO", "IPFS_LOGS_TOKEN")


class Capture:
    """The records that handlers and processors have written to one home.

    Args:
        home: the home; it need not be there yet.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def __repr__(self) -> str:
        return f"Capture({str(self.home)!r})"

    def records(self, subsystem: str | None = None) -> list[dict[str, Any]]:
        """The records that are durable now, each as it was logged, with its `subsystem`.

        Args:
            subsystem: only those of this one, in log order; `None`: all, in the order of their `time`.

        Raises:
            VerificationError: what lies in the home is not what was logged.
        """
        home = Home(self.home)
        names = [room.name for room in home.rooms() if subsystem in (None, room.name)]
        with Dataset(home, _refuse) as dataset:
            found = [record for name in names for record in dataset.records(name)]
        return found if subsystem is not None else sorted(found, key=lambda record: str(record["time"]))

    def events(self, subsystem: str | None = None) -> list[str]:
        """The `event` of each of these records: what was logged, in words."""
        return [record["event"] for record in self.records(subsystem)]


def _refuse(gap: Gap) -> None:
    raise VerificationError("what was captured cannot be read", found=str(gap))


@contextmanager
def capture(home: str | os.PathLike[str] | None = None) -> Iterator[Capture]:
    """A home for all handlers and processors that are made inside the block without a `home` of their own.

    It is named by `IPFS_LOGS_HOME` meanwhile; `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN` are not set, so nothing leaves
    the machine unless the program itself names a daemon. At the end what was made for this home is closed, and a
    temporary home is removed. One block at a time: the environment is the process's.

    Args:
        home: the directory; `None`: a temporary one.

    Yields:
        The records, read back from the home whenever they are asked for.
    """
    before = {name: os.environ.pop(name, None) for name in _OURS}
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
        HomeProcess.forget(path)
        if temporary is not None:
            temporary.cleanup()
