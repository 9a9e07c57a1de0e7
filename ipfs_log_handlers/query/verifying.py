"""Define what a dataset asks of the verification, which is above it, and what it gets: a report for each log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ipfs_log_handlers.reader.parts import Source

__all__ = ["LogReport", "Verifier"]


class LogReport(Protocol):
    """The outcome of the check of one log."""

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""

    @property
    def log(self) -> str:
        """Name of the log."""

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""

    @property
    def batches(self) -> int:
        """Number of batches."""

    @property
    def records(self) -> int:
        """Number of records."""

    @property
    def result(self) -> str:
        """The outcome in one word: ok, tampered, forked, vanished, stale, unreachable or incomplete."""

    @property
    def problems(self) -> Sequence[Any]:
        """The wrong claims of the log: each has `batch`, `field`, `expected` and `found`."""

    def as_json(self) -> dict[str, Any]:
        """Return the report with the keys of `ipfs-logs verify`."""


class Verifier(Protocol):
    """Verifies all of a source; see `Dataset.verify` for the arguments."""

    def __call__(
        self,
        source: Source,
        *,
        subsystems: Sequence[str] | None,
        deep: bool,
        since: int | None,
        sample: int | None,
        memory: bool | str | Path,
        progress: Callable[[str, int, int], None] | None,
        beside: Sequence[Source] = (),
    ) -> Iterable[LogReport]:
        """Yield a report for each log; acts in the logs of the sources `beside` count, too."""
