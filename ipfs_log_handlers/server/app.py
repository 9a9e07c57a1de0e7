"""Put the application together: the page, its API, the live tail, metrics, and the guard before all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.server import counts, download, homes, proof, records, sql, static
from ipfs_log_handlers.server.answers import Refusal, failure, json_answer, refusal_of
from ipfs_log_handlers.server.guard import Guard
from ipfs_log_handlers.server.parameters import known_only
from ipfs_log_handlers.server.sources import Options, Sources
from ipfs_log_handlers.server.static import page_files
from ipfs_log_handlers.server.tail import Tail
from ipfs_log_handlers.server.work import Reading, Work

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = ["application"]

_log: Final = logging.getLogger("ipfs_log_handlers.server")


def application(sources: Sources, options: Options, further: Sequence[web.AbstractRouteDef] = ()) -> web.Application:
    """Make the application.

    Args:
        sources: what it shows.
        options: to whom it answers.
        further: routes beside its own, such as those of Loki's API; the guard stands before these, too.

    Raises:
        OSError: the files of the page cannot be read.
    """
    work, guard = Work(sources), Guard(options)
    downloads, queries = Work(sources, threads=2, waiting=4), Work(sources, threads=1, waiting=8)
    verifying, checking = Work(sources, threads=1), Work(sources, threads=1)
    tail, known = Tail(work), _About()
    files = page_files()
    app = web.Application(
        middlewares=[guard.middleware(), _errors()], client_max_size=sql.MAX_QUERY_BYTES + 1, logger=_log
    )
    app.on_response_prepare.append(guard.add_headers)

    async def close(_: web.Application) -> None:
        tail.close()
        for running in (work, downloads, queries, verifying, checking):
            running.close()

    app.on_shutdown.append(close)

    async def about(request: web.Request) -> web.Response:
        known_only(request)
        live, subsystems = await work.run(known.of)
        return json_answer({
            "version": metadata.version("ipfs_log_handlers"),
            "sources": [source.as_json() for source in sources.listed],
            "subsystems": subsystems,
            "live": live,
            "home": bool(sources.homes),
            "sql": options.sql,
            "verify": sources.verify,
            "keys": list(sources.keys),
            "limits": {
                "records": records.MAX_RECORDS, "buckets": counts.MAX_BUCKETS, "related": records.MAX_RECORDS,
                "download": download.MAX_DOWNLOADED,
            },
            "page": [file.as_json() for file in files.values()],
        })  # fmt: skip

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app.add_routes([web.get("/api/about", about), web.get("/healthz", healthz), web.get("/login", guard.login)])
    app.add_routes(static.routes(files))
    for part in (records, counts, proof):
        app.add_routes(part.routes(work))
    app.add_routes(homes.routes(work, verifying, checking))
    app.add_routes(download.routes(downloads))
    app.add_routes(tail.routes())
    if options.sql:
        app.add_routes(sql.routes(queries))
    app.add_routes(further)
    return app


def _errors() -> Middleware:
    """Return the middleware that makes an answer of each error."""

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - a fault of one request is answered, and the server goes on
            refusal = refusal_of(error)
            if refusal is None:
                _log.exception("a fault of the server: %s %s", request.method, request.path)
                refusal = Refusal(500, "a fault of the server", hint="Its stderr has the details.")
            return failure(refusal)

    return errors


class _About:
    """What is told of the sources.

    Whether they can be followed depends on their kinds alone: it is found out once, as it needs a follower.
    """

    def __init__(self) -> None:
        self._is_live: bool | None = None

    def of(self, reading: Reading) -> tuple[bool, list[str]]:
        """Say whether the sources can be followed, and which subsystems they have."""
        if self._is_live is None:
            self._is_live = _can_be_followed(reading)
        return self._is_live, sorted({name for source in reading.dataset.sources for name in source.subsystems()})


def _can_be_followed(reading: Reading) -> bool:
    try:
        following = reading.dataset.follow()
    except ConfigurationError:
        return False
    following.close()
    return True
