"""Run readings in a bounded number of threads, so that the event loop goes on; stop a reading that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ipfs_log_handlers.api import DaemonThreads
from ipfs_log_handlers.server.sources import Sources

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Gap

__all__ = ["BusyError", "Reading", "StoppedError", "TooLongError", "Work", "gap_as_json"]

_THREADS: Final = 4
"""Readings that run at once."""
_MAX_WAITING: Final = 64
"""Readings that wait for a thread; one more is refused."""
_SECONDS: Final = 30.0
"""Seconds that a reading may take, from the moment when it begins."""
_MAX_GAPS: Final = 100
"""Gaps that an answer lists."""

Result = TypeVar("Result")


class BusyError(Exception):
    """Too many readings wait."""


class TooLongError(Exception):
    """A reading took longer than it may."""


class StoppedError(Exception):
    """Nobody waits for a reading any more."""


class Reading:
    """One reading, in its thread.

    Args:
        sources: what the server shows.
        dataset: the dataset of this thread.
        gaps: the gaps that this thread meets.
        seconds: how long the reading may take; `None`: as long as it needs.
    """

    def __init__(self, sources: Sources, dataset: Dataset, gaps: list[Gap], seconds: float | None) -> None:
        gaps.clear()
        self.sources = sources
        self._gaps = gaps
        self._began = time.monotonic()
        self._end = None if seconds is None else self._began + seconds
        self.stopped = threading.Event()
        self.dataset = dataset.stopped_by(self.check)
        """The records; each reading of them ends when it takes too long or nobody waits."""

    def check(self, *_: object) -> None:
        """Raise if nobody waits any more, or if the time is over."""
        if self.stopped.is_set():
            raise StoppedError
        if self._end is not None and time.monotonic() > self._end:
            raise TooLongError

    @property
    def seconds(self) -> float:
        """Seconds since the reading began."""
        return round(time.monotonic() - self._began, 4)

    def gaps(self) -> list[dict[str, Any]]:
        """Return the gaps that were met, each once, as JSON values; the first ones, if there are very many."""
        return [gap_as_json(gap) for gap in islice(dict.fromkeys(self._gaps), _MAX_GAPS)]


def gap_as_json(gap: Gap) -> dict[str, Any]:
    """Return a gap as JSON values."""
    return {"kind": gap.kind, "subsystem": gap.subsystem, "log": gap.log, "index": gap.index, "reason": gap.reason}


class _Thread(threading.local):
    """What one thread has opened."""

    dataset: Dataset | None = None
    gaps: list[Gap]


class Work:
    """Threads that read.

    Args:
        sources: what they read.
        threads: number of readings that run at once.
        waiting: number of readings that wait; one more is refused.
    """

    def __init__(self, sources: Sources, *, threads: int = _THREADS, waiting: int = _MAX_WAITING) -> None:
        self.sources = sources
        self._threads = DaemonThreads(threads)
        self._datasets: list[Dataset] = []
        self._most = threads + waiting
        self._asked = 0
        self._thread = _Thread()
        self._running: set[Reading] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    async def run(self, function: Callable[[Reading], Result], *, seconds: float | None = _SECONDS) -> Result:
        """Run a function in a thread, and return what it returns.

        If the caller is cancelled, the reading ends before its next batch.

        Args:
            function: gets the reading.
            seconds: how long it may take, from the moment when it begins; `None`: as long as it needs.

        Raises:
            BusyError: too many readings wait.
            TooLongError: it took longer.
        """
        if self._asked >= self._most or self._is_closed:
            raise BusyError
        self._asked += 1
        begun: list[Reading] = []
        cancelled = threading.Event()
        try:
            return await self._threads.run(lambda: self._run(function, seconds, begun, cancelled))
        except asyncio.CancelledError:
            cancelled.set()
            for reading in begun:
                reading.stopped.set()
            raise
        finally:
            self._asked -= 1

    def _run(
        self,
        function: Callable[[Reading], Result],
        seconds: float | None,
        begun: list[Reading],
        cancelled: threading.Event,
    ) -> Result:
        thread = self._thread
        if thread.dataset is None:
            gaps: list[Gap] = []
            thread.gaps = gaps
            thread.dataset = self.sources.open(gaps.append)
            with self._lock:
                self._datasets.append(thread.dataset)
        reading = Reading(self.sources, thread.dataset, thread.gaps, seconds)
        begun.append(reading)
        with self._lock:
            self._running.add(reading)
        try:
            if cancelled.is_set() or self._is_closed:
                raise StoppedError
            return function(reading)
        finally:
            with self._lock:
                self._running.discard(reading)

    def close(self) -> None:
        """Stop all readings; those that run end before their next batch, and those that wait never begin."""
        self._is_closed = True
        with self._lock:
            for reading in self._running:
                reading.stopped.set()
            datasets, self._datasets = self._datasets, []
        self._threads.close()
        for dataset in datasets:
            dataset.close()
