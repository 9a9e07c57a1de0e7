"""Offer Loki's paths as routes of an aiohttp application. Reading is done in threads, and not in the loop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.api import DaemonThreads, Dataset
from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.loki import catalogue, queries
from ipfs_log_handlers.loki.answers import wants_categories
from ipfs_log_handlers.loki.limits import Deadline, Limits
from ipfs_log_handlers.loki.refusal import Refusal, refusal_of
from ipfs_log_handlers.loki.requests import Parameters

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["routes"]

_BUSY: Final = 503
"""HTTP status of a query for which no thread became free."""
_SPOKEN_VERSION: Final = "3.0.0"
"""The version of Loki whose API this is; Grafana asks for it to know which requests it may send."""
_Answer = Callable[[Dataset, Parameters, Deadline], dict[str, Any]]


def routes(open_dataset: Callable[[], Dataset], *, limits: Limits | None = None) -> list[web.RouteDef]:
    """Return the routes of Loki's HTTP API.

    Args:
        open_dataset: returns the records; called for each request, in a thread; the dataset is closed after it. It
            must return a new dataset each time.
        limits: what one request may cost.
    """
    from aiohttp import web

    from ipfs_log_handlers.loki.tailing import Tails

    api = _Api(open_dataset, limits or Limits())
    tails = Tails(open_dataset, limits or Limits())
    both: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
        "query": api.query,
        "query_range": api.query_range,
        "labels": api.answering(catalogue.label_names),
        "label": api.answering(catalogue.label_names),
        "label/{name}/values": api.label_values,
        "series": api.answering(catalogue.series),
        "index/stats": api.answering(catalogue.stats),
        "index/volume": api.answering(catalogue.volume),
        "index/volume_range": api.answering(catalogue.volume_range),
        "detected_labels": api.answering(catalogue.detected_labels),
        "detected_fields": api.answering(catalogue.detected_fields),
        "detected_field/{name}/values": api.detected_field,
    }
    made = [
        route("/loki/api/v1/" + path, handler)
        for path, handler in both.items()
        for route in (partial(web.get, allow_head=False), web.post)
    ]
    alone = {"/loki/api/v1/tail": tails.handle, "/loki/api/v1/status/buildinfo": _build_info, "/ready": _ready}
    return [*made, *(web.get(path, handler, allow_head=False) for path, handler in alone.items())]


async def _ready(_: web.Request) -> web.Response:
    from aiohttp import web

    return web.Response(text="ready\n")


async def _build_info(_: web.Request) -> web.Response:
    from aiohttp import web

    info = {"version": _SPOKEN_VERSION, "revision": "", "branch": "ipfs_log_handlers", "buildUser": "", "buildDate": "",
            "goVersion": ""}  # fmt: skip
    return web.json_response(info)


class _Api:
    """The handlers of requests with one answer.

    Args:
        open_dataset: returns the records.
        limits: bounds.
    """

    def __init__(self, open_dataset: Callable[[], Dataset], limits: Limits) -> None:
        self._open_dataset = open_dataset
        self._limits = limits
        self._threads = DaemonThreads(limits.max_running)

    def answering(self, answer: _Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return the handler of a path whose parameters are all in the query."""

        async def handle(request: web.Request) -> web.Response:
            return await self._answered(request, answer)

        return handle

    async def query(self, request: web.Request) -> web.Response:
        """Answer a query at one moment."""
        return await self._answered(request, queries.query)

    async def query_range(self, request: web.Request) -> web.Response:
        """Answer a query over a range."""
        is_categorized = wants_categories(request.headers)
        return await self._answered(request, partial(queries.query_range, is_categorized=is_categorized))

    async def label_values(self, request: web.Request) -> web.Response:
        """Answer which values a label has."""
        return await self._answered(request, partial(catalogue.label_values, name=request.match_info["name"]))

    async def detected_field(self, request: web.Request) -> web.Response:
        """Answer which values a field has."""
        return await self._answered(request, partial(catalogue.detected_fields, name=request.match_info["name"]))

    async def _answered(self, request: web.Request, answer: _Answer) -> web.Response:
        from aiohttp import web

        try:
            values: dict[str, list[str]] = {}
            form = await request.post() if request.method == "POST" else None
            for name, value in [*(form.items() if form is not None else ()), *request.query.items()]:
                if isinstance(value, str):
                    values.setdefault(name, []).append(value)
            given = Parameters(values, time.time_ns(), self._limits)
            body = await self._read(answer, given)
        except (Refusal, LogStoreError, OSError) as error:
            refusal = refusal_of(error)
            return web.Response(text=refusal.reason + "\n", status=refusal.status)
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def _read(self, answer: _Answer, given: Parameters) -> bytes:
        """Find the answer in a thread. If the client goes away, the reading ends before its next batch.

        Raises:
            Refusal: no thread becomes free in time, or there is no answer.
        """
        is_abandoned = threading.Event()
        function = partial(self._encoded, answer, given, is_abandoned)
        try:
            return await self._threads.run(function, max_wait_seconds=self._limits.max_wait_seconds)
        except asyncio.TimeoutError:
            raise Refusal("too many queries run at the same time; ask again later", status=_BUSY) from None
        finally:
            is_abandoned.set()

    def _encoded(self, answer: _Answer, given: Parameters, is_abandoned: threading.Event) -> bytes:
        deadline = Deadline(self._limits.max_seconds, is_abandoned)
        with self._open_dataset() as dataset:
            made = answer(dataset.stopped_by(deadline.check), given, deadline)
        return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
