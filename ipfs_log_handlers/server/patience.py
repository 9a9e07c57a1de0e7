"""Close connections on which no request comes: a client that opens many of them must not keep others out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = ["Patience"]

_FIRST_REQUEST_S: Final = 15.0
"""Seconds in which the first request of a connection must have come, with all of its headers."""
_MAX_SILENT: Final = 256
"""Connections on which no request has come yet; for one more, the oldest of them is closed."""


class Patience:
    """Knows the connections on which no request has come yet; its methods are called in the event loop."""

    def __init__(self) -> None:
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """These connections, oldest first, each with the timer that closes it."""
        self._beginning: set[web.RequestHandler] = set()
        """Those that have no transport yet: asyncio gives it to them at its next turn."""

    def middleware(self) -> Middleware:
        """Return the middleware that notes requests."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._forget(request.protocol)
            return await handler(request)

        return note

    def watched(self, make: Callable[[], web.RequestHandler]) -> Callable[[], web.RequestHandler]:
        """Return a function that makes the protocol of a connection, and closes the connection if no request comes."""
        loop = asyncio.get_running_loop()

        def protocol() -> web.RequestHandler:
            made = make()
            self._silent[made] = loop.call_later(_FIRST_REQUEST_S, self._close, made)
            self._beginning.add(made)
            loop.call_soon(loop.call_soon, self._begun, made)
            return made

        return protocol

    def _begun(self, protocol: web.RequestHandler) -> None:
        """Forget connections that were closed, if there are too many; if none was closed, close the oldest one."""
        self._beginning.discard(protocol)
        if len(self._silent) <= _MAX_SILENT:
            return
        begun = [silent for silent in self._silent if silent not in self._beginning]
        closed = [silent for silent in begun if silent.transport is None]
        for silent in closed:
            self._forget(silent)
        if begun and not closed:
            self._close(begun[0])

    def _close(self, protocol: web.RequestHandler) -> None:
        self._forget(protocol)
        transport = protocol.transport
        if transport is not None:
            transport.close()

    def _forget(self, protocol: web.RequestHandler) -> None:
        timer = self._silent.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """Watch no connection any more."""
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
