"""Readings run in a bounded number of threads, and end when nobody waits for them."""

from __future__ import annotations

import asyncio
import http.client
import threading
from typing import Any

import pytest

from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.server.work import BusyError, Reading, StoppedError, TooLongError, Work
from tests.support import sample_homes
from tests.support.serving import serving, sources_of


def test_one_reading_too_many_is_refused(home):
    """So many run, so many wait, and one more is told at once that the server is busy."""
    sample_homes.make(home, 1)
    go_on, running = threading.Event(), threading.Semaphore(0)

    def wait(_: Reading) -> str:
        running.release()
        assert go_on.wait(30)
        return "done"

    async def run() -> list[Any]:
        work = Work(sources_of(home), threads=2, waiting=1)
        tasks = [asyncio.ensure_future(work.run(wait)) for _ in range(3)]
        await asyncio.to_thread(lambda: [running.acquire(timeout=30) for _ in range(2)])
        with pytest.raises(BusyError):
            await work.run(wait)
        go_on.set()
        results = await asyncio.gather(*tasks)
        work.close()
        return results

    assert ["done"] * 3 == asyncio.run(run())


def test_a_reading_that_nobody_waits_for_ends(home):
    """If the caller is cancelled, the next batch is not read; a reading that still waits never begins."""
    sample_homes.make(home, 50)
    begun, ended = threading.Event(), threading.Event()
    seen: list[Any] = []

    def read(reading: Reading) -> None:
        begun.set()
        assert reading.stopped.wait(30)
        try:
            list(reading.dataset)
        except StoppedError:
            ended.set()
            raise

    async def run() -> None:
        work = Work(sources_of(home), threads=1)
        first = asyncio.ensure_future(work.run(read))
        second = asyncio.ensure_future(work.run(seen.append))
        await asyncio.to_thread(begun.wait, 30)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert await asyncio.to_thread(ended.wait, 30)
        assert "still here" == await work.run(lambda _: "still here")
        work.close()

    asyncio.run(run())
    assert [] == seen


def test_a_reading_that_takes_too_long_ends(home):
    """The time counts from its begin, and is looked at before each batch."""
    sample_homes.make(home, 50)

    async def run() -> None:
        work = Work(sources_of(home))
        with pytest.raises(TooLongError):
            await work.run(lambda reading: list(reading.dataset), seconds=0.0)
        work.close()

    asyncio.run(run())


def test_a_client_that_goes_ends_its_query(home, monkeypatch):
    """The connection is closed while the query runs, and the query ends."""
    sample_homes.make(home, 50)
    begun, ended = threading.Event(), threading.Event()
    real = Dataset.histogram

    def slow(self: Dataset, *args: Any, **options: Any) -> Any:
        begun.set()
        try:
            while True:
                real(self, *args, **options)
        except StoppedError:
            ended.set()
            raise

    monkeypatch.setattr(Dataset, "histogram", slow)
    with serving(sources_of(home)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/api/histogram?contains=a")
        assert begun.wait(20)
        connection.close()
        assert ended.wait(20)


def test_a_busy_server_answers_503_and_says_when_to_ask_again(home, monkeypatch):
    """The page is still answered."""
    sample_homes.make(home, 1)
    monkeypatch.setattr(Work, "run", lambda *_, **__: _busy())
    with serving(sources_of(home)) as server:
        answer = server.get("/api/records")
        assert (503, "1") == (answer.status, answer.headers["retry-after"])
        assert 200 == server.get("/").status


async def _busy() -> None:
    raise BusyError


def test_a_fault_of_the_server_tells_no_details(home, monkeypatch, caplog):
    """A bug is a 500 without a traceback; the log of the program has it."""
    sample_homes.make(home, 1)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Dataset, "histogram", broken)
    with serving(sources_of(home)) as server:
        answer = server.get("/api/histogram")

    assert 500 == answer.status
    assert b"secret" not in answer.body
    assert "a secret" in caplog.text
