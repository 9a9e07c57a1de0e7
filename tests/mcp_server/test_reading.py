"""Reading runs in a bounded number of threads, ends when it must, and does not stop the event loop."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ipfs_log_handlers.mcp_server import describing, limits
from ipfs_log_handlers.mcp_server.limits import MAX_QUEUED, MAX_READERS
from ipfs_log_handlers.mcp_server.reading import Readers, Reading, Refused
from tests.support.logging_home import wait_until
from tests.support.mcp_clients import Asking, asking, settings_of


def test_slow_readings_do_not_keep_the_server_from_answering(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten calls: four read, the others wait for these, and the tools are listed meanwhile."""
    all_read, go_on = threading.Event(), threading.Event()
    reading: list[int] = []
    most: list[int] = []

    def slow(*_: Any) -> dict[str, Any]:
        reading.append(1)
        most.append(len(reading))
        if len(reading) == MAX_READERS:
            all_read.set()
        assert go_on.wait(60)
        reading.pop()
        return {}

    monkeypatch.setattr(describing, "list_datasets", slow)

    async def work(ask: Asking) -> None:
        async with anyio.create_task_group() as calls:
            for _ in range(10):
                calls.start_soon(ask.answer, "list_datasets")
            await anyio.to_thread.run_sync(all_read.wait, 60)
            assert 9 == len((await ask.client.list_tools()).tools)
            go_on.set()

    asking(logs, work)
    assert (MAX_READERS, 10) == (max(most), len(most))


def test_a_reading_that_takes_too_long_ends_with_a_hint(logs: Path) -> None:
    """It ends before the next batch is read."""

    async def main() -> None:
        readers = Readers(settings_of(logs))
        with pytest.raises(Refused, match="Ask for less: a later `since`"):
            await readers.read(lambda reading: list(reading.shown), seconds=0)
        with pytest.raises(Refused, match="Ask for less: a later `since`"):
            await readers.read(lambda reading: list(reading.stored), seconds=0)
        assert 150 == len(await readers.read(lambda reading: list(reading.shown)))
        readers.close()

    anyio.run(main)


async def until_waiting(readers: Readers, number: int) -> None:
    """Return when so many calls wait for a thread."""
    limiter = readers._reading._limiter
    await anyio.to_thread.run_sync(wait_until, lambda: limiter.statistics().tasks_waiting >= number)


def test_the_time_of_a_call_begins_when_it_has_a_thread(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes while all threads are busy; the call that waited reads nevertheless."""
    now, go_on = [1000.0], threading.Event()
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    counts: list[int] = []

    async def main() -> None:
        readers = Readers(settings_of(logs))

        async def count() -> None:
            counts.append(await readers.read(lambda reading: len(list(reading.shown))))

        async with anyio.create_task_group() as calls:
            for _ in range(MAX_READERS):
                calls.start_soon(readers.read, lambda _: go_on.wait(60))
            calls.start_soon(count)
            await until_waiting(readers, 1)
            now[0] += 60
            go_on.set()
        readers.close()

    anyio.run(main)
    assert [150] == counts


def test_a_call_is_refused_where_too_many_wait(logs: Path) -> None:
    """It says that the server is busy; the calls that wait are answered."""
    go_on = threading.Event()
    answered: list[bool] = []

    async def main() -> None:
        readers = Readers(settings_of(logs))

        async def wait() -> None:
            answered.append(await readers.read(lambda _: go_on.wait(60)))

        async with anyio.create_task_group() as calls:
            for _ in range(MAX_READERS + MAX_QUEUED):
                calls.start_soon(wait)
            await until_waiting(readers, MAX_QUEUED)
            with anyio.fail_after(30), pytest.raises(Refused, match="the server is busy"):
                await readers.read(lambda _: None)
            assert await readers.read(lambda _: "other threads", wait=True)
            go_on.set()
        readers.close()

    anyio.run(main)
    assert [True] * (MAX_READERS + MAX_QUEUED) == answered


def test_a_cancelled_call_ends_its_thread(logs: Path) -> None:
    """The thread learns of it before the next batch, and the next call gets its dataset."""
    began, ended = threading.Event(), threading.Event()

    def work(reading: Reading) -> None:
        began.set()
        try:
            while True:
                reading.end.check()
        finally:
            ended.set()

    async def main() -> None:
        readers = Readers(settings_of(logs))
        async with anyio.create_task_group() as calls:
            calls.start_soon(readers.read, work)
            await anyio.to_thread.run_sync(began.wait, 60)
            calls.cancel_scope.cancel()
        assert ended.is_set()
        assert 150 == len(await readers.read(lambda reading: list(reading.shown)))
        readers.close()

    anyio.run(main)


def test_an_error_of_the_program_is_no_answer(logs: Path) -> None:
    """Only errors about the question or the sources are told to the client."""

    def work(_: Reading) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        readers = Readers(settings_of(logs))
        with pytest.raises(ZeroDivisionError):
            await readers.read(work)

    anyio.run(main)
