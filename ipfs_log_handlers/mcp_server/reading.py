"""Read the sources in a bounded number of threads, outside of the event loop that answers the clients.

Each thread that reads has a dataset of its own, which is opened when it is first needed. A call takes one for as long
as it reads. A call that is cancelled, or takes too long, ends before the next batch is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from ipfs_log_handlers.api import explain_os_error
from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.mcp_server.answers import error_text, size_of
from ipfs_log_handlers.mcp_server.limits import (
    MAX_QUEUED,
    MAX_READERS,
    MAX_WAITERS,
    READ_S,
    CallEnd,
    Cancelled,
    TooSlow,
)
from ipfs_log_handlers.mcp_server.settings import ServerSettings

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Gap

__all__ = ["Gaps", "Readers", "Reading", "Refused"]

Result = TypeVar("Result")
Tell = Callable[[float, str], Any]
"""Tells the client how long a call has taken, and what it does; a coroutine function."""

_TELL_S: Final = 1.0
"""Seconds between two reports of progress."""
_SHOWN_GAPS: Final = 5
"""Gaps that an answer describes; the others are counted."""
_MAX_GAPS_BYTES: Final = 4_000
"""Bytes of these descriptions; less than an answer has beside its items."""


class Refused(Exception):  # noqa: N818 - the tool makes an error of it
    """A call that cannot be answered; the text is for the client."""


class Gaps:
    """The records that one call could not show."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._shown: list[str] = []
        self._left = _MAX_GAPS_BYTES

    def note(self, gap: Gap) -> None:
        """Count a gap."""
        self._counts[gap.kind] += 1
        text = error_text(str(gap))
        if len(self._shown) < _SHOWN_GAPS and size_of(text) <= self._left:
            self._shown.append(text)
            self._left -= size_of(text)

    def as_json(self) -> dict[str, Any]:
        """Return the member of an answer that reports the gaps; without any there is no such member."""
        if not self._counts:
            return {}
        return {"gaps": {"not_shown": dict(self._counts), "first": self._shown}}


class Reading:
    """One dataset, which one call at a time reads.

    Args:
        settings: what is opened, and what is hidden.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.gaps = Gaps()
        """The gaps of the current call."""
        self._stored = settings.open(self._note)
        self._shown = self._stored.redact(*settings.redact) if settings.redact else self._stored
        self.end = CallEnd(READ_S)
        """The end of the current call."""

    @property
    def stored(self) -> Dataset:
        """The records as they are stored; reading them ends with the call."""
        return self._stored.stopped_by(self.end.check)

    @property
    def shown(self) -> Dataset:
        """The records with their secrets hidden; reading them ends with the call."""
        return self._shown.stopped_by(self.end.check)

    def _note(self, gap: Gap) -> None:
        self.gaps.note(gap)

    def begin(self, end: CallEnd) -> None:
        """Begin a call, and its time."""
        self.gaps, self.end = Gaps(), end
        end.begin()

    def close(self) -> None:
        """Close the connections to stores."""
        self._stored.close()


class _Pool:
    """Some readings, each used by one call at a time, in as many threads.

    Args:
        settings: what they open.
        size: largest number of them.
    """

    def __init__(self, settings: ServerSettings, size: int) -> None:
        self._settings = settings
        self._free: list[Reading] = []
        self._limiter = anyio.CapacityLimiter(size)

    async def call(self, work: Callable[[Reading], Result], end: CallEnd) -> Result:
        """Call a function in a thread, with a reading of its own.

        Raises:
            Refused: too many calls wait for a thread.
        """
        if self._limiter.statistics().tasks_waiting >= MAX_QUEUED:
            raise Refused(f"the server is busy: {MAX_QUEUED} calls wait for others to end. Ask again in some seconds.")

        def borrow() -> Result:
            try:
                reading = self._free.pop()
            except IndexError:
                reading = Reading(self._settings)
            try:
                reading.begin(end)
                return work(reading)
            finally:
                self._free.append(reading)

        return await anyio.to_thread.run_sync(borrow, limiter=self._limiter)

    def close(self) -> None:
        while self._free:
            self._free.pop().close()


class Readers:
    """Runs the calls of all clients.

    Args:
        settings: what they read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._reading = _Pool(settings, MAX_READERS)
        self._waiting = _Pool(settings, MAX_WAITERS)

    def close(self) -> None:
        """Close the connections of all datasets."""
        self._reading.close()
        self._waiting.close()

    async def read(
        self,
        work: Callable[[Reading], Result],
        *,
        seconds: float = READ_S,
        tell: Tell | None = None,
        wait: bool = False,
    ) -> Result:
        """Call a function that reads, in a thread.

        Args:
            work: the function.
            seconds: how long it may take; the time that it waits for a thread does not count.
            tell: tells the client every second that the call goes on.
            wait: whether the function mostly waits; it then does not keep others from reading.

        Raises:
            Refused: the question is wrong, a source cannot be read, the time is over, or too many calls wait.
        """
        end = CallEnd(seconds)
        pool = self._waiting if wait else self._reading
        try:
            async with anyio.create_task_group() as others:
                others.start_soon(_watch, end, tell)
                result = await pool.call(work, end)
                others.cancel_scope.cancel()
        except BaseException as error:
            inner = _only(error)
            if isinstance(inner, Cancelled):
                await anyio.lowlevel.checkpoint()  # ends here, if it was this task that was cancelled
            refused = _refusal_of(inner, seconds)
            if refused is not None:
                raise refused from error
            if inner is not error:
                raise inner from None
            raise
        return result


async def _watch(end: CallEnd, tell: Tell | None) -> None:
    """Report progress until the call has ended, and end it where the client cancels it."""
    passed = 0.0
    try:
        while True:
            await anyio.sleep(_TELL_S)
            passed += _TELL_S
            if tell is not None:
                await tell(passed, "reading")
    finally:
        end.cancel()


def _only(error: BaseException) -> BaseException:
    """Return the only error of a group; any other error as it is."""
    while (inner := getattr(error, "exceptions", None)) is not None and len(inner) == 1:
        error = inner[0]
    return error


def _refusal_of(error: BaseException, seconds: float) -> Refused | None:
    """Return what the client is told; `None` for an error that is no answer to a question."""
    if isinstance(error, TooSlow):
        return Refused(
            f"the reading was ended after {seconds:g} s. Ask for less: a later `since`, an earlier `until`, or one "
            "dataset."
        )
    if isinstance(error, Cancelled):
        return Refused("the call was cancelled")
    if isinstance(error, LogStoreError):
        return Refused(error_text(str(error)))
    return Refused(error_text(explain_os_error(error))) if isinstance(error, OSError) else None
