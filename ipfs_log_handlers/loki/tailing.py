"""Answer `/loki/api/v1/tail`: send lines over a WebSocket as they are logged.

A client that takes lines slowly makes the reading wait; no line is left out. One that takes nothing for some seconds is
disconnected.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.api import DaemonThreads, Dataset, Following, Match
from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.loki.answers import LineAnswer, wants_categories
from ipfs_log_handlers.loki.labels import Labels
from ipfs_log_handlers.loki.limits import Deadline, Limits
from ipfs_log_handlers.loki.parser import parse_log_query
from ipfs_log_handlers.loki.pipeline import Pipeline
from ipfs_log_handlers.loki.refusal import Refusal, refusal_of
from ipfs_log_handlers.loki.requests import Parameters
from ipfs_log_handlers.loki.streams import Line, Streams
from ipfs_log_handlers.loki.syntax import LogQuery

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Tails"]

_TOO_MANY: Final = 429
"""HTTP status of a client that follows while too many others do."""
_BUSY: Final = 503
"""HTTP status of a client that follows for which no thread became free."""
_REST_S: Final = 0.2
"""Seconds between two looks for new records."""
_HEARTBEAT_S: Final = 30.0
"""Seconds between two signs of life to the client."""
_MAX_DELAY_S: Final = 5
"""Largest number of seconds by which a client may want lines later."""
_MAX_LOOKED_BACK: Final = 5_000
"""Newest records in which the first lines are looked for, of those that the index cannot leave out."""
_MAX_MESSAGE_BYTES: Final = 1 << 20
"""Bytes of lines in one message; one line may have more."""
_MAX_REASON_BYTES: Final = 120
"""Bytes of the reason for which a WebSocket is closed, of the 123 that RFC 6455 allows."""
_NS: Final = 1_000_000_000
"""Nanoseconds of a second."""


class Tails:
    """The clients that follow.

    Args:
        open_dataset: returns the records.
        limits: bounds.
    """

    def __init__(self, open_dataset: Callable[[], Dataset], limits: Limits) -> None:
        self._open_dataset = open_dataset
        self._limits = limits
        self._threads = DaemonThreads(limits.max_tails)
        self._running = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it goes away, or the application ends."""
        from aiohttp import web

        values = {name: list(request.query.getall(name)) for name in request.query}
        given = Parameters(values, time.time_ns(), self._limits)
        self._running += 1
        tail: _Tail | None = None
        try:
            if self._running > self._limits.max_tails:
                raise Refusal(
                    f"{self._limits.max_tails} clients follow already; end one, or ask again later", status=_TOO_MANY
                )
            wish = _Wish.of(given, is_categorized=wants_categories(request.headers))
            tail = _Tail(self._open_dataset, wish, self._limits)
            try:
                await self._threads.run(tail.open, max_wait_seconds=self._limits.max_wait_seconds)
            except asyncio.TimeoutError:
                raise Refusal("too many readings run at the same time; ask again later", status=_BUSY) from None
            return await self._followed(request, tail)
        except (Refusal, LogStoreError, OSError) as error:
            refusal = refusal_of(error)
            return web.Response(text=refusal.reason + "\n", status=refusal.status)
        finally:
            self._running -= 1
            if tail is not None:
                tail.close()

    async def _followed(self, request: web.Request, tail: _Tail) -> web.StreamResponse:
        from aiohttp import web

        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S)
        await socket.prepare(request)
        listening = asyncio.create_task(_wait_for_end(socket))
        try:
            await self._send_all(tail, socket, listening)
        finally:
            listening.cancel()
        return socket

    async def _send_all(self, tail: _Tail, socket: web.WebSocketResponse, listening: asyncio.Task[None]) -> None:
        try:
            texts = await self._threads.run(tail.begin)
            while not listening.done():
                for text in texts:
                    await asyncio.wait_for(socket.send_str(text), self._limits.max_send_seconds)
                if not texts:
                    await asyncio.wait({listening}, timeout=_REST_S)
                texts = await self._threads.run(tail.go_on)
        except (asyncio.TimeoutError, ConnectionError):
            await socket.close(code=1008, message=b"lines were not taken in time")
        except (Refusal, LogStoreError, OSError) as error:
            reason = refusal_of(error).reason.encode()[:_MAX_REASON_BYTES].decode("utf-8", "ignore")
            await socket.close(code=1011, message=reason.encode())


async def _wait_for_end(socket: web.WebSocketResponse) -> None:
    """Return when the client goes away; what it sends has no meaning."""
    async for _ in socket:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What one client wants to follow."""

    query: LogQuery
    limit: int
    """Lines at the beginning, and in one message."""
    start_ns: int
    """The time of the earliest line, ns since 1970."""
    delay_ns: int
    """How much later than it was logged a line is sent."""
    is_categorized: bool
    """Whether labels are told apart by where they come from."""

    @classmethod
    def of(cls, given: Parameters, *, is_categorized: bool) -> _Wish:
        """Read the parameters of a request.

        Raises:
            Refusal: one is wrong.
        """
        query = parse_log_query(given.query())
        delay = given.text("delay_for") or "0"
        if not (delay.isascii() and delay.isdecimal() and len(delay) < 10) or int(delay) > _MAX_DELAY_S:
            raise Refusal(f"delay_for={delay[:80]!r} is not a number of seconds from 0 to {_MAX_DELAY_S}")
        return cls(
            query=query,
            limit=given.limit,
            start_ns=given.moment("start", time.time_ns() - 3_600 * _NS),
            delay_ns=int(delay) * _NS,
            is_categorized=is_categorized,
        )


class _Tail:
    """What one client follows. `open`, `begin` and `go_on` read files: they run in a thread, one at a time.

    Args:
        open_dataset: returns the records.
        wish: what the client wants.
        limits: bounds.
    """

    def __init__(self, open_dataset: Callable[[], Dataset], wish: _Wish, limits: Limits) -> None:
        self._open_dataset = open_dataset
        self._wish = wish
        self._limits = limits
        self._waiting: list[Line] = []
        self._began_us = time.time_ns() // 1000
        self._dataset: Dataset | None = None
        self._pipeline: Pipeline
        self._streams: Streams
        self._following: Following | None = None
        self._is_closed = threading.Event()
        self._deadline = Deadline(math.inf, self._is_closed)
        self._in_use = threading.Lock()

    def open(self) -> None:
        """Open the dataset, and find its newest records.

        Raises:
            Refusal: a regular expression cannot be used.
            LogStoreError, OSError: the records cannot be read.
        """
        with self._used():
            self._pipeline = Pipeline(self._wish.query.stages)
            self._dataset = dataset = self._open_dataset()
            self._streams = Streams(dataset, self._wish.query.matchers, self._wish.query.stages)
            chosen = self._streams.to_follow(-(-self._wish.start_ns // 1000))
            self._following = chosen.stopped_by(self._deadline.check).follow(last=_MAX_LOOKED_BACK)

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Keep the dataset open during a block; if the client goes away meanwhile, close it afterwards."""
        try:
            with self._in_use:
                yield
        finally:
            if self._is_closed.is_set():
                self.close()

    def close(self) -> None:
        """Close the dataset: now, or after the function that uses it in a thread."""
        self._is_closed.set()
        if self._in_use.acquire(blocking=False):
            try:
                following, self._following = self._following, None
                if following is not None:
                    following.close()
                dataset, self._dataset = self._dataset, None
                if dataset is not None:
                    dataset.close()
            finally:
                self._in_use.release()

    def _new(self) -> list[Match]:
        with self._used():
            return [] if self._following is None else self._following.poll()

    def begin(self) -> list[str]:
        """Return the messages with the newest lines since the start, and those that came meanwhile."""
        lines: list[Line] = []
        while len(lines) < _MAX_LOOKED_BACK and (matches := self._new()):
            lines += self._chosen(matches)
        earlier = [line for line in lines if line.time_us < self._began_us]
        later = [line for line in lines if line.time_us >= self._began_us]
        return self._messages([*earlier[-self._wish.limit :], *later])

    def go_on(self) -> list[str]:
        """Return the messages with the lines that are new."""
        self._waiting += self._chosen(self._new())
        if not self._wish.delay_ns:
            due, self._waiting = self._waiting, []
        else:
            until_us = (time.time_ns() - self._wish.delay_ns) // 1000
            self._waiting.sort(key=lambda line: line.time_us)
            due = [line for line in self._waiting if line.time_us <= until_us]
            self._waiting = self._waiting[len(due) :]
        return self._messages(due)

    def _chosen(self, matches: Sequence[Match]) -> list[Line]:
        lines = map(self._streams.line_of, matches)
        return [line for line in lines if line is not None and self._pipeline.keeps(line.text)]

    def _messages(self, lines: Sequence[Line]) -> list[str]:
        """Return lines as messages; each is bounded."""
        messages: list[str] = []
        answer, size = self._empty(), 0
        for line in lines:
            labels = Labels(line.stream, line.metadata)
            text = self._pipeline.passed(line.text, labels)
            if text is None:
                continue
            if answer.lines == self._wish.limit or (answer.lines and size + len(text) > _MAX_MESSAGE_BYTES):
                messages.append(_message(answer))
                answer, size = self._empty(), 0
            answer.add(line.time_us * 1000, text, labels)
            size += len(text)
        if answer.lines:
            messages.append(_message(answer))
        return messages

    def _empty(self) -> LineAnswer:
        return LineAnswer(is_categorized=self._wish.is_categorized, max_bytes=self._limits.max_answer_bytes)


def _message(answer: LineAnswer) -> str:
    return json.dumps({"streams": answer.streams()}, ensure_ascii=False, separators=(",", ":"))
