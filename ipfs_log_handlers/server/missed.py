"""Read what a client of the live tail has missed, with a follower of its own, in readings of bounded time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.server.answers import Refusal
from ipfs_log_handlers.server.hub import new_item, record_hash
from ipfs_log_handlers.server.parameters import Chosen
from ipfs_log_handlers.server.sources import Sources
from ipfs_log_handlers.server.work import Reading, TooLongError, gap_as_json

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Following, Match

__all__ = ["Found", "Missed", "not_followed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some of the records that a client has missed."""

    items: Sequence[str]
    """Their JSON."""
    hashes: Sequence[int]
    """Their hashes."""
    cursor: str
    """The position after them."""
    is_end: bool
    """Whether there are no more of them now."""


class Missed:
    """What one client has missed, read by a follower of its own.

    `open` and `next` are called in a thread, one at a time. `close` may be called meanwhile: then the follower is
    closed at the end of that call.

    Args:
        sources: what is followed.
        chosen: the filter.
        cursor: where the client had come to.
    """

    def __init__(self, sources: Sources, chosen: Chosen, cursor: str) -> None:
        self._sources = sources
        self._chosen = chosen
        self._cursor = cursor
        self._gaps: list[dict[str, Any]] = []
        self._reading: Reading | None = None
        self._dataset: Dataset | None = None
        self._following: Following | None = None
        self._turn = threading.Lock()
        """Held while a call runs."""
        self._is_closed = False

    def open(self, reading: Reading) -> None:
        """Open the sources.

        Raises:
            Refusal: the sources cannot be followed.
            FormatError: the cursor is malformed.
        """
        with self._called(reading):
            self._opened()

    def next(self, reading: Reading) -> Found:
        """Return the next records; none, if the time of the reading is over before one is found.

        Raises:
            StoppedError: nobody waits for the reading any more.
        """
        with self._called(reading):
            following = self._opened()
            try:
                matches: Sequence[Match] = following.poll()
            except TooLongError:
                return Found(items=(), hashes=(), cursor=following.cursor, is_end=False)
            items = [new_item(match, has_homes=bool(self._sources.homes)) for match in matches]
            hashes = [record_hash(match) for match in matches]
            return Found(items=items, hashes=hashes, cursor=following.cursor, is_end=not matches)

    def take_gaps(self) -> list[dict[str, Any]]:
        """Return the gaps that were met."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def close(self) -> None:
        """Close the follower and its dataset, now or at the end of the call that runs."""
        self._is_closed = True
        if self._turn.acquire(blocking=False):
            try:
                if self._following is not None:
                    self._following.close()
                if self._dataset is not None:
                    self._dataset.close()
            finally:
                self._turn.release()

    def _opened(self) -> Following:
        if self._following is None:
            self._dataset = self._sources.open(lambda gap: self._gaps.append(gap_as_json(gap)))
            chosen = self._chosen.of(self._dataset).stopped_by(self._check_now)
            try:
                self._following = chosen.follow(self._cursor)
            except ConfigurationError as error:
                raise not_followed(error) from error
        return self._following

    @contextmanager
    def _called(self, reading: Reading) -> Iterator[None]:
        try:
            with self._turn:
                self._reading = reading
                yield
        finally:
            if self._is_closed:
                self.close()

    def _check_now(self) -> None:
        """Raise if the reading that runs now must end; a follower outlives its readings."""
        if self._reading is not None:
            self._reading.check()


def not_followed(error: ConfigurationError) -> Refusal:
    """Return the answer for sources that cannot be followed."""
    return Refusal(409, error.message, hint=error.hint)
