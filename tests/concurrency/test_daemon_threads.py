"""Functions run in so many threads, and nobody waits for these threads at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ipfs_log_handlers.concurrency.daemon_threads import DaemonThreads


def test_a_function_that_found_no_thread_in_time_never_begins():
    """The caller is told; the thread that was busy takes the next function."""
    begun, go_on = threading.Event(), threading.Event()
    ran: list[Any] = []

    def wait() -> str:
        begun.set()
        assert go_on.wait(30)
        return "done"

    async def run() -> None:
        threads = DaemonThreads(1)
        first = asyncio.ensure_future(threads.run(wait))
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(asyncio.TimeoutError):
            await threads.run(lambda: ran.append("late"), max_wait_seconds=0.01)
        go_on.set()
        assert "done" == await first
        assert "next" == await threads.run(lambda: "next", max_wait_seconds=30)
        threads.close()

    asyncio.run(run())
    assert [] == ran


def test_a_function_that_began_in_time_may_take_longer():
    """The bound is on the wait for a thread alone: when that time is over, a function that runs goes on."""
    begun, go_on = threading.Event(), threading.Event()
    over: list[Callable[[], None]] = []

    def wait() -> str:
        begun.set()
        return "done" if go_on.wait(30) else "never"

    async def run() -> str:
        loop, threads = asyncio.get_running_loop(), DaemonThreads(1)
        real = loop.call_later

        def call_later(seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            over.append(callback)
            return real(3_600 * seconds, callback)

        loop.call_later = call_later  # type: ignore[assignment,method-assign]
        running = asyncio.ensure_future(threads.run(wait, max_wait_seconds=1))
        await asyncio.to_thread(begun.wait, 30)
        for callback in over:
            callback()
        go_on.set()
        threads.close()
        return await running

    assert "done" == asyncio.run(run())
    assert 1 == len(over)


def test_threads_end_when_nobody_has_them_any_more():
    """They are daemons, and need no call of `close`."""

    async def run() -> list[threading.Thread]:
        threads = DaemonThreads(2)
        return await asyncio.gather(*(threads.run(together) for _ in range(2)))

    barrier = threading.Barrier(2)

    def together() -> threading.Thread:
        barrier.wait(30)
        return threading.current_thread()

    used = asyncio.run(run())
    assert [True, True] == [thread.daemon for thread in used]
    for thread in used:
        thread.join(30)
        assert not thread.is_alive()
