"""Read the parts of a query before they are due, in threads: files are read, hashed and inflated without the GIL.

Parts of a network source are requested many parts ahead; only few parts are inflated ahead, to save memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.reader.parts import Part

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["read_ahead", "text_of"]

_MAX_ASKED: Final = 32
"""Number of parts of a network source that are requested before they are due."""
_MAX_INFLATED: Final = 4
"""Number of parts that are inflated before they are due."""
_MAX_INFLATED_BYTES: Final = 2 << 20
"""Stored bytes of parts that are inflated before they are due; they take some seven times as much in memory."""
_READ_WHEN_DUE: Final = 2
"""Parts at the beginning that are read when they are due: the newest hundred records stand in the first one, and that
the second one comes after them shows by its times."""
_THREADS: Final = 2
"""Threads that read, hash and inflate batches before they are needed."""

Ahead = tuple[int, Part, Callable[[Part], "bytes | None"]]
"""The number of a part, the part, and a function that returns its text."""


def text_of(part: Part) -> bytes | None:
    """Read a part as one text; `None` if its lines must be read one by one, also to report damage."""
    with suppress(OSError, LogStoreError):
        return part.text()
    return None


def read_ahead(parts: Iterable[tuple[int, Part]]) -> Iterator[Ahead]:
    """Yield the parts in their order, each with what gives its text; the next ones are read meanwhile.

    Nothing is read ahead before the third part is due, so that a query that needs one part reads one.
    """
    reading = _Reading(iter(parts))
    try:
        while (part := reading.next()) is not None:
            yield part
    finally:
        reading.close()


class _Reading:
    def __init__(self, parts: Iterator[tuple[int, Part]]) -> None:
        self._parts = parts
        self._waiting: deque[tuple[int, Part]] = deque()
        self._texts: deque[Future[bytes | None]] = deque()
        """The texts of the first waiting parts."""
        self._given = 0
        self._pool: ThreadPoolExecutor | None = None

    def next(self) -> Ahead | None:
        """Return the next part; `None` if there is none."""
        self._fill()
        if not self._waiting:
            return None
        ordinal, part = self._waiting.popleft()
        coming = self._texts.popleft() if self._texts else None
        self._given += 1
        self._begin()
        return ordinal, part, text_of if coming is None else lambda _: coming.result()

    def _fill(self) -> None:
        """Take the parts to request ahead: many parts of a network source, few parts of local files."""
        most = 1 if self._given == 0 else _MAX_INFLATED + 1
        while len(self._waiting) < most and (following := next(self._parts, None)) is not None:
            self._waiting.append(following)
            prefetch = getattr(following[1], "prefetch", None)
            if prefetch is not None:
                prefetch()
                most = _MAX_ASKED

    def _begin(self) -> None:
        """Begin to read the next parts."""
        if self._given <= _READ_WHEN_DUE:
            return
        size = 0
        for place in range(min(len(self._waiting), _MAX_INFLATED)):
            part = self._waiting[place][1]
            size += part.size
            if not part.sealed or (place and size > _MAX_INFLATED_BYTES):
                return
            if place == len(self._texts):
                if self._pool is None:
                    from concurrent.futures import ThreadPoolExecutor  # a short query needs none

                    self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ipfs-logs-reader")
                self._texts.append(self._pool.submit(text_of, part))

    def close(self) -> None:
        """End the threads; parts that were not begun are not read."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
