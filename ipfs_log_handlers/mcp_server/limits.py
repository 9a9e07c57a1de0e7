"""Limit what one call may take: bytes of the answer, seconds of reading, threads."""

from __future__ import annotations

import threading
import time
from typing import Final

__all__ = [
    "MAX_ANSWER_BYTES", "MAX_COUNTED", "MAX_QUEUED", "MAX_READERS", "MAX_RECORDS", "MAX_WAITERS", "MAX_WAIT_S",
    "READ_S", "VERIFY_S", "CallEnd", "Cancelled", "TooSlow",
]  # fmt: skip

MAX_ANSWER_BYTES: Final = 64_000
"""Bytes of one answer: the context of a model is scarce."""
MAX_RECORDS: Final = 1000
"""Records of one answer, and rows of an answer of SQL."""
MAX_COUNTED: Final = 500
"""Spans of time, or values, of one answer of `count_logs`."""
MAX_READERS: Final = 4
"""Calls that read at the same time; each has a dataset of its own, and further calls wait."""
MAX_WAITERS: Final = 8
"""Calls of `stream_logs` at the same time, which mostly wait."""
MAX_QUEUED: Final = 16
"""Calls that wait for one of these to end; a further call is refused at once."""
MAX_WAIT_S: Final = 25.0
"""Seconds that `stream_logs` waits: many clients give up on a call after 30 seconds or more."""
READ_S: Final = 20.0
"""Seconds after which a reading ends with an error that says how to ask for less."""
VERIFY_S: Final = 50.0
"""The same, of a verification."""


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The client does not want the answer any more."""


class TooSlow(Exception):  # noqa: N818 - the caller makes an error of it
    """The call took longer than it may."""


class CallEnd:
    """The moment at which a call must end. Made for each call; checked in the thread that reads.

    Args:
        seconds: how long the call may take, from now or, if `begin` is called, from then.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._cancelled = threading.Event()
        self.begin()

    def begin(self) -> None:
        """Let the time of the call begin now."""
        self._until = time.monotonic() + self.seconds

    def cancel(self) -> None:
        """End the call: the client has cancelled it."""
        self._cancelled.set()

    def check(self) -> None:
        """Return if the call may go on.

        Raises:
            Cancelled: the client has cancelled it.
            TooSlow: its time is over.
        """
        if self._cancelled.is_set():
            raise Cancelled
        if time.monotonic() >= self._until:
            raise TooSlow
