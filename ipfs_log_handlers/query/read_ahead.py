"""Inflate the parts of a query before they are due, in a thread.

zstd needs no GIL, so the thread and the caller work at the same time. The thread of the caller does all else, since two
threads that run Python wait for each other's GIL: it reads and hashes the next batches of a home, and requests payloads
that are elsewhere. Parts of a network source are requested many parts ahead. Only few parts are inflated ahead, to save
memory.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from queue import Queue, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.reader.parts import OpenText, Part

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["TextOf", "read_ahead", "text_of"]

_MAX_ASKED: Final = 48
"""Number of parts of a network source that are requested before they are due: more than a gateway (32) or a daemon (16)
is asked for at the same time."""
_MAX_INFLATED: Final = 8
"""Number of parts that are inflated before they are due."""
_MAX_INFLATED_BYTES: Final = 2 << 20
"""Stored bytes of parts that are inflated before they are due; they take some seven times as much in memory."""
_MIN_YIELDED: Final = 3
"""Number of parts that are due before the next ones are opened: the newest hundred records stand in the first part, and
only the times of the second one show that it comes after them."""

TextOf = Callable[[Part], "bytes | None"]
"""A function that returns the text of the part that it gets; `None`: read its lines one by one, which also reports
damage."""


def text_of(part: Part) -> bytes | None:
    """Read a part as one text; `None` if its lines must be read one by one, also to report damage."""
    opened = _open(part)
    return None if opened is None else _inflated(opened)


def _open(part: Part) -> OpenText | None:
    """Open a part; `None` if it has no text, or cannot be read: its lines then report that."""
    with suppress(OSError, LogStoreError):
        return part.open_text()
    return None


def _inflated(opened: OpenText) -> bytes | None:
    """Inflate a part; `None` if it is damaged: its lines then report that."""
    with suppress(OSError, LogStoreError):
        return opened.inflate()
    return None


def read_ahead(parts: Iterable[tuple[int, Part]]) -> Iterator[tuple[int, Part, TextOf]]:
    """Yield the parts in their order, each with its number and what gives its text; the next ones are read meanwhile.

    Nothing is read ahead before the third part is due, so that a query that needs one part reads one.
    """
    reading = _Reading(iter(parts))
    try:
        while (part := reading.next()) is not None:
            yield part
    finally:
        reading.close()


class _WaitingPart(NamedTuple):
    """A part that is not due yet."""

    ordinal: int
    """Its number."""
    part: Part
    request: Future[bytes] | None
    """The request of its payload, if it comes from a network source."""


class _Reading:
    def __init__(self, parts: Iterator[tuple[int, Part]]) -> None:
        self._parts = parts
        self._waiting: deque[_WaitingPart] = deque()
        self._texts: deque[_Text] = deque()
        """The text of each waiting part that was opened: these are the first ones."""
        self._given: _Text | None = None
        """The text of the part that was returned last; nobody may have asked for it yet."""
        self._yielded = 0
        self._thread: _Thread | None = None
        self._process = os.getpid()

    def next(self) -> tuple[int, Part, TextOf] | None:
        """Return the next part; `None` if there is none."""
        self._leave_to_parent()
        self._fill()
        if not self._waiting:
            return None
        due = self._waiting.popleft()
        self._given = self._texts.popleft() if self._texts else None
        self._yielded += 1
        self._open_next()
        return due.ordinal, due.part, self._given or text_of

    def _leave_to_parent(self) -> None:
        """In a child of a fork, leave the thread and what was requested to the parent: a fork copies no thread."""
        if self._process != os.getpid():
            self._process, self._thread, self._given = os.getpid(), None, None
            self._texts.clear()
            self._waiting = deque(waiting._replace(request=None) for waiting in self._waiting)

    def _fill(self) -> None:
        """Take the parts to request ahead: many parts of a network source, few parts of local files."""
        max_waiting = 1 if self._yielded == 0 else _MAX_INFLATED + 1
        while len(self._waiting) < max_waiting:
            following = next(self._parts, None)
            if following is None:
                return
            prefetch = getattr(following[1], "prefetch", None)
            self._waiting.append(_WaitingPart(*following, None if prefetch is None else prefetch()))
            if prefetch is not None:
                max_waiting = _MAX_ASKED

    def _open_next(self) -> None:
        """Open the next parts, and let the thread inflate them."""
        while self._yielded >= _MIN_YIELDED and self._may_open():
            text = _Text(_open(self._waiting[len(self._texts)].part))
            self._texts.append(text)
            if text.opened is not None:
                self._started().put(text)

    def _may_open(self) -> bool:
        """Return whether the next part is opened now: not while the thread has enough."""
        place = len(self._texts)
        if place >= min(_MAX_INFLATED, len(self._waiting)):
            return False
        size = sum(waiting.part.size for waiting in islice(self._waiting, place + 1))
        return self._waiting[place].part.sealed and (place == 0 or size <= _MAX_INFLATED_BYTES)

    def _started(self) -> _Thread:
        """Return the thread; start it if there is none."""
        if self._thread is None:
            self._thread = _Thread()
            self._thread.start()
        return self._thread

    def close(self) -> None:
        """End the thread, and give up what was requested; parts that the thread has not begun are not inflated."""
        self._leave_to_parent()
        for waiting in self._waiting:
            if waiting.request is not None:
                waiting.request.cancel()
        for text in (self._given, *self._texts):
            if text is not None:
                text.cancel()
        if self._thread is not None:
            self._thread.close()


class _Text:
    """The text of a part, which the thread inflates.

    Args:
        opened: the part, open; `None`: it could not be opened as a text.
    """

    def __init__(self, opened: OpenText | None) -> None:
        self.opened = opened
        self._process = os.getpid()
        self._answer: Queue[bytes | BaseException | None] = Queue(1)

    def inflate(self) -> None:
        """Inflate the part, on the thread."""
        try:
            self._answer.put(None if self.opened is None else _inflated(self.opened))
        except BaseException as error:  # noqa: BLE001 - for the thread of the caller
            self._answer.put(error)

    def __call__(self, part: Part) -> bytes | None:
        """Wait for the text, once; as `TextOf`."""
        if self.opened is None:
            return None
        if self._process != os.getpid():  # the thread runs in the parent of this process
            return text_of(part)
        answer = self._answer.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self) -> None:
        """Give up what was requested for it."""
        if self.opened is not None:
            self.opened.cancel()


class _Thread:
    """A thread that inflates parts in their order.

    Thread and queues are those that gevent or eventlet has put in the place of Python's, if the program is patched. The
    garbage collector may call `close` in this thread while it takes a part: only `SimpleQueue` allows that.
    """

    def __init__(self) -> None:
        self._due: SimpleQueue[_Text | None] = SimpleQueue()
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Start the thread; it ends at once if `close` was called before."""
        arguments = (self._due, self._is_closed)
        threading.Thread(target=_work, args=arguments, name="ipfs-logs-reader", daemon=True).start()

    def put(self, text: _Text) -> None:
        """Let the thread inflate a part."""
        self._due.put(text)

    def close(self) -> None:
        """Let the thread end after the part that it inflates now."""
        self._is_closed.set()
        self._due.put(None)


def _work(due: SimpleQueue[_Text | None], is_closed: threading.Event) -> None:
    """Inflate the parts that are put to the thread, until it is closed."""
    while not is_closed.is_set():
        _inflate(due.get())  # no variable keeps the part, and its connections, while the thread waits


def _inflate(text: _Text | None) -> None:
    if text is not None:
        text.inflate()
