"""Serve Loki's API over a home in this process, and ask it; the records have what queries in LogQL look at."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ipfs_log_handlers import IPFSHandler, open_home
from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.loki import Limits, routes
from tests.support import sample_homes

START = 1_772_000_000
"""Time of the first record, seconds since 1970."""
COUNT = 90
"""Seconds of records."""
EVENTS = (
    "login",
    "logout",
    'quoted "text"',
    "späte Antwort",
    "a timeout of 5 s",
    "timeout\nsecond line",
    "a=1 b=two c",
)
LATENCIES = ("12ms", "1.5s", "250us", "2m", "-3s", "soon", "")
SIZES = ("3KB", "1.5MiB", "20B", "700", "big")
STATUS = (200, 404, 500, "500", "ok", True, None, 4.5, [500], {"code": 500})


def log_some(home: Path, subsystem: str, numbers: range, *, records: int = 11, traced: bool = False) -> None:
    """Log records, one a second, whose times go back and forth by some seconds; some lie on whole seconds."""
    draw = random.Random(f"{subsystem} {numbers} {traced}")
    handler = IPFSHandler(subsystem, home=home, keeper="none", batch={"records": records})
    try:
        for number in numbers:
            handler.handle(_record(draw, number, traced=traced))
    finally:
        handler.close()


def _record(draw: random.Random, number: int, *, traced: bool) -> logging.LogRecord:
    name, level = draw.choice(("app.web", "app.db", "mcp")), draw.choice((20, 20, 20, 30, 40, 50))
    record = logging.LogRecord(name, level, __file__, 1, draw.choice(EVENTS), None, None)
    record.created = START + number + (0 if draw.random() < 0.3 else draw.randrange(-3_000_000, 3_000_000) / 1e6)
    fields: dict[str, Any] = {"number": number, "latency": draw.choice(LATENCIES), "size": draw.choice(SIZES)}
    fields["status"] = draw.choice(STATUS)
    if draw.random() < 0.5:
        fields["request"] = {"path": f"/api/{draw.randrange(3)}", "user agent": "curl", "items": [1]}
    if traced:
        fields["trace_id"] = f"{draw.randrange(4):032x}"
    record.__dict__.update(fields)
    return record


def make(home: Path, *, traced: bool = False) -> None:
    """Make a home with two subsystems that are sealed, and one whose records wait in the spool."""
    log_some(home, "audit", range(COUNT), traced=traced)
    log_some(home, "logs", range(20, 70), traced=traced)
    sample_homes.seal(home)
    log_some(home, "wal", range(30, 60), traced=traced)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The answer as JSON."""
        assert self.status == 200, self.text
        return json.loads(self.text)

    @property
    def data(self) -> Any:
        """Its member `data`."""
        assert self.json["status"] == "success"
        return self.json["data"]

    @property
    def result(self) -> Any:
        """The result of a query."""
        return self.data["result"]

    @property
    def refusal(self) -> str:
        """The reason why it was not answered."""
        assert self.status == 400, self.text
        return self.text


class LokiServer:
    """A server in a thread, inside a `with` block.

    Args:
        home: whose records it serves.
        limits: bounds.
    """

    def __init__(self, home: Path, limits: Limits | None = None) -> None:
        self._home = home
        self._limits = limits
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.url = ""
        """Its address."""

    def dataset(self) -> Dataset:
        """Return the records."""
        return open_home(self._home).dataset()

    def __enter__(self) -> LokiServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_routes(routes(self.dataset, limits=self._limits))
        self._runner = web.AppRunner(application, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        await self._loop.shutdown_default_executor()

    def get(
        self,
        path: str,
        parameters: Mapping[str, str | Sequence[str]] | None = None,
        *,
        post: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for a path below `/loki/api/v1/`, or, with a slash at its beginning, for any path."""
        encoded = urllib.parse.urlencode(parameters or {}, doseq=True)
        url = self.url + (path if path.startswith("/") else f"/loki/api/v1/{path}")
        request = urllib.request.Request(
            url if post else f"{url}?{encoded}", encoded.encode() if post else None, headers=dict(headers or {})
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())

    def lines(self, query: str, **parameters: str) -> list[str]:
        """Return the lines that a query finds in the whole home, oldest first."""
        span = {"start": f"{START - 100}", "end": f"{START + 1000}", "limit": "5000", "direction": "forward"}
        answer = self.get("query_range", {"query": query, **span, **parameters})
        return [line for _, line in sorted((int(value[0]), value[1]) for s in answer.result for value in s["values"])]

    def vector(self, query: str, at: float = START + COUNT) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the series of a query at one moment."""
        answer = self.get("query", {"query": query, "time": f"{at:.6f}"})
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in answer.result}
