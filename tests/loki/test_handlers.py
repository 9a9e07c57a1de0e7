"""What a request opens is closed after it, and a query ends with its client."""

from __future__ import annotations

import errno
import http.client
import json
import threading
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.loki import Limits
from tests.loki.test_tail import _numbers, _tail
from tests.support.loki_server import START, LokiServer

AUDIT = {"query": '{subsystem="audit"}', "start": f"{START - 10}"}


class Opened:
    """A server whose datasets are counted."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = LokiServer(home)
        self.states: Counter[str] = Counter()
        self.changed = threading.Condition()
        open_one, close = self.server.dataset, Dataset.close

        def opened() -> Dataset:
            self._count("opened")
            return open_one()

        def closed(dataset: Dataset) -> None:
            close(dataset)
            self._count("closed")

        monkeypatch.setattr(self.server, "dataset", opened)
        monkeypatch.setattr(Dataset, "close", closed)

    def _count(self, what: str) -> None:
        with self.changed:
            self.states[what] += 1
            self.changed.notify_all()

    def all_closed(self, count: int) -> bool:
        """Wait until so many were opened, and as many closed."""
        with self.changed:
            return self.changed.wait_for(lambda: self.states == {"opened": count, "closed": count}, timeout=30)


def test_each_request_closes_the_dataset_that_it_opened(loki_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Also one that is refused after it was opened."""
    opened = Opened(loki_home, monkeypatch)
    with opened.server as server:
        assert 200 == server.get("labels").status
        assert 200 == server.get("query_range", AUDIT).status
        assert opened.all_closed(2)
        assert 400 == server.get("query", AUDIT).status
        assert opened.all_closed(3)


def test_a_client_that_follows_closes_the_dataset_when_it_ends(loki_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Also one whose request is no WebSocket: it is refused after the dataset was opened."""
    opened = Opened(loki_home, monkeypatch)
    with opened.server as server:

        async def use(socket: Any) -> None:
            await _numbers(socket, 1)

        _tail(server, AUDIT, use)
        assert opened.all_closed(1)
        assert 400 == server.get("tail", AUDIT).status
        assert opened.all_closed(2)


class Blocked:
    """Readings that wait before their first batch until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.go_on = threading.Event()
        self.errors: list[Exception] = []
        real = Dataset.matches

        def matches(dataset: Dataset, *args: Any) -> Any:
            self.begun.release()
            assert self.go_on.wait(60)
            try:
                yield from real(dataset, *args)
            except Exception as error:
                self.errors.append(error)
                raise
            finally:
                self.ended.release()

        monkeypatch.setattr(Dataset, "matches", matches)


def _ask(server: LokiServer) -> http.client.HTTPConnection:
    """Send a query, and do not wait for its answer."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=60)
    connection.request("GET", "/loki/api/v1/query_range?" + urllib.parse.urlencode(AUDIT))
    return connection


def test_a_query_ends_with_its_client_and_keeps_its_place_until_then(loki_home: Path, monkeypatch: pytest.MonkeyPatch):
    """While its thread goes on, no other query runs in its place: that one is refused after it has waited."""
    blocked = Blocked(monkeypatch)
    with LokiServer(loki_home, Limits(max_running=1, max_wait_seconds=0.5)) as server:
        connection = _ask(server)
        assert blocked.begun.acquire(timeout=30)
        connection.close()
        for _ in range(2):
            busy = server.get("query_range", AUDIT)
            assert (503, "too many queries run at the same time; ask again later\n") == (busy.status, busy.text)
        assert not blocked.begun.acquire(blocking=False)

        blocked.go_on.set()
        assert blocked.ended.acquire(timeout=30)
        assert ["the client is gone"] == [str(error) for error in blocked.errors]
        assert 200 == server.get("query_range", AUDIT).status


def test_the_end_of_a_server_waits_for_no_reading(loki_home: Path, monkeypatch: pytest.MonkeyPatch):
    """A reading may wait for a store that does not answer; the event loop closes meanwhile."""
    blocked = Blocked(monkeypatch)
    with LokiServer(loki_home) as server:
        connection = _ask(server)
        assert blocked.begun.acquire(timeout=30)
    assert not blocked.ended.acquire(blocking=False)
    connection.close()
    blocked.go_on.set()
    assert blocked.ended.acquire(timeout=30)


def test_what_the_system_refuses_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the file and the next step, for a query and for a client that follows."""
    server = LokiServer(tmp_path)

    def refuse() -> Dataset:
        raise OSError(errno.EMFILE, "Too many open files", str(tmp_path / "audit"))

    monkeypatch.setattr(server, "dataset", refuse)
    with server:
        answers = [server.get(path, AUDIT) for path in ("query_range", "tail")]
    for answer in answers:
        assert 500 == answer.status
        assert f"the records cannot be read: {tmp_path}/audit: too many open files. " in answer.text
        assert "raise its limit" in answer.text


def test_a_flag_of_the_header_is_a_whole_word(loki: LokiServer):
    """A client that follows gets labels told apart only by this flag, as for a query."""
    for flags, length in (("categorize-labels", 3), ("x, categorize-labels", 3), ("categorize-labels-not", 2)):

        async def use(socket: Any, length: int = length) -> None:
            message = json.loads(await socket.receive_str(timeout=30))
            assert {length} == {len(value) for stream in message["streams"] for value in stream["values"]}

        _tail(loki, AUDIT, use, headers={"X-Loki-Response-Encoding-Flags": flags})
