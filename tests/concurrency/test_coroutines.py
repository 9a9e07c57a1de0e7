"""A coroutine is run to its end from synchronous code, inside a running loop too."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.concurrency import coroutines
from tests.support import programs


async def answer() -> tuple[int, int]:
    """Return the answer, and the thread that gave it."""
    await asyncio.sleep(0)
    return 42, threading.get_ident()


async def fail() -> None:
    """Raise."""
    await asyncio.sleep(0)
    raise ValueError("no")


def test_without_a_loop_it_runs_on_the_calling_thread():
    """Nothing is started that is not needed: in the main thread of Python 3.10 a thread is."""
    assert (coroutines.run(answer) == (42, threading.get_ident())) is (sys.version_info >= (3, 11))
    found = []
    thread = threading.Thread(target=lambda: found.append(coroutines.run(answer)))
    thread.start()
    thread.join()
    assert found == [(42, thread.ident)]


def test_ctrl_c_in_one_of_several_tasks_is_raised_to_the_caller_and_printed_by_nobody(home: Path):
    """Python 3.10 raises it inside the task that runs, which would then print it."""
    body = """
    import asyncio
    from ipfs_log_handlers.concurrency import coroutines
    async def ask():
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
        await asyncio.sleep(60)
    async def work():
        await asyncio.gather(ask(), asyncio.sleep(60))
    try:
        coroutines.run(work)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    assert programs.run(home, body).clean().out == "interrupted\n"


def test_inside_a_loop_it_runs_on_another_thread_and_the_loop_waits():
    """The result comes back synchronously, and the thread has ended."""

    async def cell() -> tuple[int, int]:
        return coroutines.run(answer)

    found, thread = asyncio.run(cell())
    assert found == 42
    assert thread != threading.get_ident()
    assert "ipfs-logs-coroutine" not in {each.name for each in threading.enumerate()}


def test_an_error_is_raised_to_the_caller():
    """In both ways."""

    async def cell() -> None:
        coroutines.run(fail)

    with pytest.raises(ValueError, match="no"):
        coroutines.run(fail)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(cell())


def test_an_interrupt_of_the_waiting_thread_cancels_the_coroutine(monkeypatch):
    """Ctrl-C in a notebook ends what runs on the other thread, too."""
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    real = asyncio.run_coroutine_threadsafe
    calls: list[Any] = []

    def interrupted(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        future = real(coroutine, loop)
        if not calls:
            calls.append(future)
            real(asyncio.sleep(0.01), loop).result()  # the coroutine has begun
            monkeypatch.setattr(future, "result", self_interrupt)
        return future

    def self_interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)

    async def cell() -> None:
        coroutines.run(work)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    assert cancelled.wait(10)
