"""`POST /api/sql`: only if it was asked for, only in a limited process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.server.sources import Options
from tests.support.serving import Answer, Running, ask, asked, serving, sources_of


@pytest.fixture(scope="module")
def answering(queried: Path) -> Iterator[Running]:
    """Serve the home, with SQL."""
    with serving(sources_of(queried), Options(port=0, sql=True)) as running:
        yield running


def _post(server: Running, body: Any, path: str = "/api/sql", kind: str = "application/json") -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(server.port, path, "POST", text, Content_Type=kind)


def test_without_the_option_there_is_no_sql(server):
    """The route is missing."""
    assert 404 == _post(server, {"query": "SELECT 1"}).status
    assert server.json("/api/about")["sql"] is False


def test_a_query_is_answered_over_the_filter(answering):
    """The tables have the records that pass the filter of the URL."""
    path = "/api/sql?subsystem=audit"
    answer = _post(answering, {"query": "SELECT count(*) AS n FROM logs_all"}, path).json

    assert (["n"], [[85]], False) == (answer["columns"], answer["rows"], answer["truncated"])
    assert answering.json("/api/about")["sql"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "query", ["SELECT * FROM read_text('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/x'", "DROP VIEW logs_all", "nonsense"]
)
def test_a_query_that_does_more_than_to_read_the_tables_is_refused(answering, query):
    """It is a 400 with the words of the engine, and nothing has happened."""
    answer = _post(answering, {"query": query})

    assert 400 == answer.status
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        ({"query": 1}, "application/json", 400),
        ({"query": "SELECT 1", "x": 1}, "application/json", 400),
        ([], "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        ({"query": "SELECT 1"}, "text/plain", 415),
        ({"query": "x" * 70_000}, "application/json", 413),
    ],
)
def test_a_body_that_is_no_query_is_refused(answering, body, kind, status):
    """A form of another page cannot send JSON, and no body takes more than its bound."""
    assert status == _post(answering, body, kind=kind).status


def test_one_query_runs_at_a_time_also_if_the_client_of_another_has_gone(queried, monkeypatch):
    """The process of a query goes on without its client: the next one waits, so many wait, and one more is refused."""
    go_on, begun = threading.Event(), threading.Semaphore(0)
    seen: list[str] = []

    def answer(*_: Any) -> dict[str, Any]:
        seen.append("begun")
        begun.release()
        assert go_on.wait(30)
        seen.append("ended")
        return {}

    monkeypatch.setattr("ipfs_log_handlers.server.sql._answer", answer)
    query: dict[str, Any] = {"method": "POST", "body": b'{"query": "SELECT 1"}', "Content_Type": "application/json"}
    with serving(sources_of(queried), Options(port=0, sql=True)) as server, ExitStack() as stack:
        stack.callback(go_on.set)
        with closing(asked(server.port, "/api/sql", **query)):
            assert begun.acquire(timeout=30)
        assert 200 == server.get("/healthz").status
        others = [stack.enter_context(closing(asked(server.port, "/api/sql", **query))) for _ in range(9)]
        assert 200 == server.get("/healthz").status
        refused = ask(server.port, "/api/sql", **query).status
        go_on.set()
        assert [503, *[200] * 9] == [refused, *(connection.getresponse().status for connection in others)]

    assert ["begun", "ended"] * 10 == seen
