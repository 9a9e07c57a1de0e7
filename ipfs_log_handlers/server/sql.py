"""Answer `POST /api/sql` in a limited process of its own, as `ipfs-logs sql --untrusted` does."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import Refusal, json_answer
from ipfs_log_handlers.server.parameters import FILTER, Chosen, chosen_of, known_only
from ipfs_log_handlers.server.work import Reading, Work

__all__ = ["MAX_QUERY_BYTES", "routes"]

MAX_QUERY_BYTES: Final = 64 * 1024
"""Bytes of the body."""
_BODY_S: Final = 10.0
"""Seconds in which a client must send the body."""


def routes(work: Work) -> list[web.RouteDef]:
    """Return the route.

    Args:
        work: runs the queries. Each has a process that may take 512 MB, which goes on for some seconds if the client
            goes: it must be the work of nothing else, with one thread.
    """

    async def sql(request: web.Request) -> web.Response:
        known_only(request, *FILTER)
        chosen = chosen_of(request)
        query = await _query_of(request)
        return json_answer(await work.run(lambda reading: _answer(reading, chosen, query)))

    return [web.post("/api/sql", sql)]


async def _query_of(request: web.Request) -> str:
    if request.content_type != "application/json":
        raise Refusal(415, "the body must be JSON", where="Content-Type", expected="application/json")
    if (request.content_length or 0) > MAX_QUERY_BYTES:
        raise Refusal(413, "the body is too long", expected=f"at most {MAX_QUERY_BYTES} bytes")
    try:
        body = await asyncio.wait_for(request.text(), _BODY_S)
    except asyncio.TimeoutError:
        raise Refusal(408, "the body did not come in time") from None
    except (UnicodeDecodeError, LookupError):
        raise Refusal(400, "the body is not UTF-8") from None
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or set(given) != {"query"} or not isinstance(given["query"], str):
        raise Refusal(400, "not a query", where="body", expected='{"query": "SELECT …"}')
    return str(given["query"])


def _answer(reading: Reading, chosen: Chosen, query: str) -> dict[str, Any]:
    answer = chosen.of(reading.dataset).sql_untrusted(query)
    return {
        "columns": list(answer.columns),
        "rows": answer.rows,
        "truncated": answer.truncated,
        "gaps": reading.gaps(),
        "seconds": reading.seconds,
    }
