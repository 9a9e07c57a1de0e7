"""Run the server in a thread of this process, and ask it over a real socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ipfs_log_handlers.api import Dataset, Gap, open_dataset, open_home
from ipfs_log_handlers.server import running
from ipfs_log_handlers.server.app import application
from ipfs_log_handlers.server.sources import Options, Source, Sources

__all__ = ["Answer", "Event", "Tail", "ask", "asked", "serving", "sources_of"]

_PATIENCE_S = 30
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def sources_of(*homes: Path, others: Sequence[Path] = (), keys: Sequence[str] = ()) -> Sources:
    """Return homes, and sources that are no homes, as sources of a server."""

    def opened(on_gap: Callable[[Gap], None]) -> Dataset:
        return open_dataset([*map(str, homes), *map(str, others)], on_gap=on_gap, keys=keys)

    listed = [Source(name=str(path), kind="home") for path in homes]
    listed += [Source(name=str(path), kind="other") for path in others]
    return Sources(open=opened, listed=tuple(listed), homes=tuple(map(open_home, homes)), keys=tuple(keys))


def ask(port: int, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    """Send one request; a header of a name such as `Sec_Fetch_Site` has dashes in place of underlines."""
    connection = asked(port, path, method, body, **headers)
    try:
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def asked(port: int, path: str, method: str = "GET", body: Any = None, **headers: str) -> http.client.HTTPConnection:
    """Send one request as `ask` does, and return the connection without waiting for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
    return connection


@dataclass(frozen=True)
class Event:
    """One event of the live tail."""

    name: str
    data: Any
    id: str | None


class Tail:
    """A client of the live tail.

    Args:
        port: the port of the server.
        parameters: the filter, and the cursor.
        last: the id of the last event that was seen.
    """

    def __init__(self, port: int, last: str | None = None, **parameters: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        headers = {} if last is None else {"Last-Event-ID": last}
        self._connection.request("GET", f"/api/tail?{urlencode(parameters)}", headers=headers)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.cursor = last
        """The id of the newest event that had one."""

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()
        self._connection.close()

    def next(self) -> Event:
        """Wait for the next event; at the end of the stream, return an event without a name."""
        members: dict[str, str] = {}
        while line := self._answer.readline().decode():
            name, _, text = line.rstrip("\n").partition(": ")
            if name:
                members[name] = text
            elif "event" in members:
                self.cursor = members.get("id", self.cursor)
                return Event(members["event"], json.loads(members["data"]), members.get("id"))
            else:
                members = {}
        return Event("", None, None)

    def until(self, holds: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """Read events until the records that came fulfil a condition; return these."""
        records: list[dict[str, Any]] = []
        while not holds(records):
            event = self.next()
            assert event.name, records
            if event.name == "records":
                records += event.data["records"]
        return records


class Running:
    """A server that runs in a thread of this process."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **parameters: Any) -> Answer:
        """Ask for a path with parameters; a list repeats a parameter."""
        text = urlencode(parameters, doseq=True)
        return ask(self.port, f"{path}?{text}" if text else path)

    def json(self, path: str, **parameters: Any) -> Any:
        """Return the JSON of an answer that must be good."""
        answer = self.get(path, **parameters)
        assert answer.status == 200, answer.body
        return answer.json

    def pages(self, limit: int, between: Callable[[], object] = lambda: None, **chosen: Any) -> Iterator[Any]:
        """Ask for one page of records after the other."""
        cursor: dict[str, str] = {}
        while True:
            page = self.json("/api/records", limit=limit, **chosen, **cursor)
            yield page
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}
            between()

    def tail(self, last: str | None = None, **parameters: Any) -> Tail:
        """Connect to the live tail."""
        return Tail(self.port, last, **parameters)


@contextmanager
def serving(
    sources: Sources,
    options: Options | None = None,
    further: Sequence[web.AbstractRouteDef] = (),
) -> Iterator[Running]:
    """Run the server until the end of the block."""
    given = options or Options(port=0)
    ready: threading.Event = threading.Event()
    found: dict[str, Any] = {}

    async def run() -> None:
        found["stop"] = asyncio.Event()
        found["loop"] = asyncio.get_running_loop()
        async with running.listening(application(sources, given, further), given) as url:
            found["url"] = url
            ready.set()
            await found["stop"].wait()

    def target() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=target, name="server")
    thread.start()
    try:
        ready.wait(_PATIENCE_S)
        yield Running(int(found["url"].rstrip("/").rpartition(":")[2]))
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(_PATIENCE_S)
        assert not thread.is_alive()
