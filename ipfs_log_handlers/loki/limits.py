"""Bound what one request may cost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.loki.refusal import Refusal

__all__ = ["Deadline", "Limits"]

_TIMED_OUT: Final = 504
"""HTTP status of a query that took too long, as Loki gives it."""
_CLIENT_GONE: Final = 499
"""HTTP status of a query whose client is gone, as Loki gives it; nobody gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may cost. A request that needs more is refused with the name of the bound."""

    max_query_chars: int = 16_384
    """Largest length of a query."""
    max_lines: int = 5_000
    """Largest `limit` of a query for lines."""
    max_answer_bytes: int = 32 << 20
    """Largest number of bytes of lines in one answer."""
    max_points: int = 11_000
    """Largest number of moments at which a query over a range is evaluated."""
    max_series: int = 500
    """Largest number of series in an answer."""
    max_inner_series: int = 20_000
    """Largest number of series inside a query, before they are aggregated."""
    max_inner_points: int = 5_000_000
    """Largest number of values inside a query: series times moments."""
    max_seconds: float = 30.0
    """Seconds that a query may take."""
    max_running: int = 4
    """Queries that run at the same time; further ones wait."""
    max_wait_seconds: float = 30.0
    """Seconds that a query may wait until it runs."""
    max_tails: int = 10
    """Clients that may follow at the same time."""
    max_send_seconds: float = 10.0
    """Seconds in which a client that follows must take what is sent to it."""


class Deadline:
    """The moment at which a query must be done; earlier, if its client goes away.

    Args:
        seconds: from now.
        is_abandoned: set when nobody waits for the answer any more.
    """

    def __init__(self, seconds: float, is_abandoned: threading.Event) -> None:
        self._seconds = seconds
        self._is_abandoned = is_abandoned
        self._began = time.monotonic()

    @property
    def spent_seconds(self) -> float:
        """Seconds since the query began."""
        return time.monotonic() - self._began

    def check(self) -> None:
        """Raise an error if the query takes too long, or nobody waits for it any more.

        Raises:
            Refusal: it does, or nobody does.
        """
        if self._is_abandoned.is_set():
            raise Refusal("the client is gone", status=_CLIENT_GONE)
        if self.spent_seconds > self._seconds:
            raise Refusal(
                f"the query took longer than {self._seconds:g} s and was ended; choose a shorter range of time, or "
                "name a subsystem, level or logger in the braces",
                status=_TIMED_OUT,
            )
