"""Answer `/api/tail`: new records as server-sent events; a client that comes back goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.server.answers import Refusal, as_text, refusal_of
from ipfs_log_handlers.server.hub import Client, Hub
from ipfs_log_handlers.server.missed import Missed, not_followed
from ipfs_log_handlers.server.parameters import FILTER, Chosen, chosen_of, known_only, one_of
from ipfs_log_handlers.server.work import StoppedError, Work

__all__ = ["MAX_CLIENTS", "Tail"]

MAX_CLIENTS: Final = 100
"""Clients of the live tail at once."""
_QUIET_S: Final = 15.0
"""Seconds without a record after which a comment is sent, so that a proxy keeps the connection."""
_CLIENT_S: Final = 30.0
"""Seconds in which a client must take what is sent."""
_EVENT_BYTES: Final = 1 << 20
"""Bytes of one event, if a record alone has not more."""
_RETRY_MS: Final = 1000
"""Milliseconds after which a browser connects again."""


class Tail:
    """The live tails of all clients.

    Args:
        work: reads what a client has missed.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._hub = Hub(work.sources)
        self._clients = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/api/tail", self.answer, allow_head=False)]

    def close(self) -> None:
        """End all tails."""
        self._hub.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send records to one client until it goes."""
        known_only(request, *(name for name in FILTER if name != "until"), "cursor")
        chosen = chosen_of(request, "until")
        cursor = request.headers.get("Last-Event-ID") or one_of(request, "cursor")
        if self._clients >= MAX_CLIENTS:
            raise Refusal(503, "too many live tails", expected=f"at most {MAX_CLIENTS}", headers={"Retry-After": "10"})
        self._clients += 1
        try:
            takes = await self._work.run(lambda reading: chosen.of(reading.dataset).predicate())
            return await self._send(request, chosen, Client(takes), cursor)
        finally:
            self._clients -= 1

    async def _send(
        self, request: web.Request, chosen: Chosen, client: Client, cursor: str | None
    ) -> web.StreamResponse:
        stream = _Stream(request)
        try:
            if cursor is None:
                here = await self._join(client)
                await stream.event("ready", as_text({"cursor": here}), here)
            else:
                await self._go_on(stream, chosen, client, cursor)
            await _pass_on(stream, client)
        except (asyncio.TimeoutError, ConnectionError):
            stream.abort()
        except Exception as error:
            refusal = refusal_of(error)
            if not stream.is_open:
                raise
            if refusal is None:
                stream.abort()
                raise
            reason = "the server stops" if isinstance(error, StoppedError) else str(refusal)
            with suppress(asyncio.TimeoutError, ConnectionError):
                await stream.event("end", as_text({"reason": reason}))
        finally:
            self._hub.leave(client)
        return stream.answer

    async def _join(self, client: Client) -> str:
        try:
            return await self._hub.join(client)
        except ConfigurationError as error:
            raise not_followed(error) from error

    async def _go_on(self, stream: _Stream, chosen: Chosen, client: Client, cursor: str) -> None:
        """Send what came after a cursor, then join the others without a record lost or sent twice."""
        missed = Missed(self._work.sources, chosen, cursor)
        try:
            await self._work.run(missed.open)
            await stream.event("ready", as_text({"cursor": cursor}), cursor)
            while not await self._send_missed(stream, missed):
                pass
            await self._join(client)
            client.seen = set()
            while not await self._send_missed(stream, missed, client.seen):
                pass
        finally:
            missed.close()

    async def _send_missed(self, stream: _Stream, missed: Missed, seen: set[int] | None = None) -> bool:
        """Send the next records that a client has missed; return whether these were the last ones."""
        found = await self._work.run(missed.next)
        for gap in missed.take_gaps():
            await stream.event("gap", as_text(gap))
        if seen is not None:
            seen.update(found.hashes)
        if found.items:
            await stream.records(found.items, found.cursor)
        elif not found.is_end:
            await stream.comment()
        return found.is_end


async def _pass_on(stream: _Stream, client: Client) -> None:
    """Send what the hub lets wait for a client."""
    total = 0
    while True:
        try:
            await asyncio.wait_for(client.ready.wait(), _QUIET_S)
        except asyncio.TimeoutError:
            await stream.comment()
            continue
        while (waiting := client.take()) is not None:
            await stream.records(*waiting)
        for gap in client.take_gaps():
            await stream.event("gap", as_text(gap))
        if client.skipped:
            count, client.skipped = client.skipped, 0
            total += count
            await stream.event("skipped", as_text({"count": count, "total": total}))
        if client.reason is not None:
            await stream.event("end", as_text({"reason": client.reason}))
            return


class _Stream:
    """The stream of events to one client.

    Args:
        request: its request.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )

    @property
    def is_open(self) -> bool:
        """Whether the status was sent."""
        return self.answer.prepared

    async def event(self, name: str, data: str, cursor: str | None = None) -> None:
        """Send an event.

        Raises:
            TimeoutError: the client does not take it.
            ConnectionError: the client is gone.
        """
        own = "" if cursor is None else f"id: {cursor}\n"
        await self._write(f"event: {name}\n{own}data: {data}\n\n")

    async def records(self, items: Sequence[str], cursor: str) -> None:
        """Send records in events of bounded size; only the last one has the cursor."""
        groups = list(_groups(items))
        for number, group in enumerate(groups, 1):
            is_last = number == len(groups)
            more = "false" if is_last else "true"
            data = f'{{"records":[{",".join(group)}],"more":{more}}}'
            await self.event("records", data, cursor if is_last else None)

    async def comment(self) -> None:
        """Send a line that browsers ignore."""
        await self._write(":\n\n")

    async def _write(self, text: str) -> None:
        if not self.answer.prepared:
            await self.answer.prepare(self._request)
            text = f"retry: {_RETRY_MS}\n\n{text}"
        await asyncio.wait_for(self.answer.write(text.encode()), _CLIENT_S)

    def abort(self) -> None:
        """Close the connection at once, with what waits in it."""
        if self._request.transport is not None:
            self._request.transport.abort()


def _groups(items: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in items:
        if group and size + len(text) > _EVENT_BYTES:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group
