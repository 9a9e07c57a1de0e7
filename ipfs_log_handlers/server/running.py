"""Run the server until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from aiohttp import web

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.server.patience import Patience
from ipfs_log_handlers.server.sources import Options

__all__ = ["listening", "serve", "url_of"]

_CLOSING_S: Final = 1.0
"""Seconds that requests have to end when the server stops."""
_IDLE_S: Final = 75.0
"""Seconds after which a connection without a request is closed."""
_MAX_HEADER_BYTES: Final = 1 << 18
"""Bytes of one header: a cursor has some 30 bytes for each program that logs."""
_MAX_LINE_BYTES: Final = 1 << 16
"""Bytes of the line with method and URL."""


def url_of(address: str, port: int) -> str:
    """Return the URL of a server for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, address)  # noqa: S104 - it is bound elsewhere
    return f"http://[{host}]:{port}/" if ":" in host and not host.startswith("[") else f"http://{host}:{port}/"


def serve(make: Callable[[], web.Application], options: Options, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        make: makes the application, in the running event loop.
        options: how to listen.
        on_ready: called with the URL when the server listens.

    Raises:
        ConfigurationError: the address or port cannot be used.
    """
    asyncio.run(_serve(make, options, on_ready))


async def _serve(make: Callable[[], web.Application], options: Options, on_ready: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError, RuntimeError):  # outside the main thread no signal can be handled
            loop.add_signal_handler(number, stopped.set)
    async with listening(make(), options) as url:
        on_ready(url)
        await stopped.wait()


@contextlib.asynccontextmanager
async def listening(app: web.Application, options: Options) -> AsyncIterator[str]:
    """Serve during a block, in the running event loop; yield the URL.

    Args:
        app: the application.
        options: how to listen.

    Raises:
        ConfigurationError: the address or port cannot be used.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        keepalive_timeout=_IDLE_S,
        shutdown_timeout=_CLOSING_S,
        max_field_size=_MAX_HEADER_BYTES,
        max_line_size=_MAX_LINE_BYTES,
    )
    patience = Patience()
    app.middlewares.insert(0, patience.middleware())
    await runner.setup()
    listener: asyncio.Server | None = None
    try:
        make = patience.watched(cast("Callable[[], web.RequestHandler]", runner.server))
        try:
            listener = await asyncio.get_running_loop().create_server(make, options.address, options.port)
        except OSError as error:
            raise _cannot_listen(error, options) from error
        yield url_of(options.address, listener.sockets[0].getsockname()[1])
    finally:
        if listener is not None:
            listener.close()
        patience.end()
        await runner.cleanup()


def _cannot_listen(error: OSError, options: Options) -> ConfigurationError:
    where = f"{options.address} port {options.port}"
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            "another program uses this port", where=where,
            hint="Choose another one with --port, or any free one with --port 0.",
        )  # fmt: skip
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigurationError(
            "this user may not use this port", where=where, hint="Choose one above 1023 with --port."
        )
    return ConfigurationError(
        f"the server cannot listen there: {error.strerror or error}", where=where,
        hint="Give an IP address of this machine with --address.",
    )  # fmt: skip
