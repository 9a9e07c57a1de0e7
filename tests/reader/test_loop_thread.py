"""An event loop on a thread of its own runs coroutines from any thread, and leaves nobody waiting when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from concurrent.futures import CancelledError, wait
from unittest import mock

import pytest

from ipfs_log_handlers.errors import StoreUnavailable
from ipfs_log_handlers.reader.loop_thread import LoopThread
from tests.support import programs


def test_what_a_coroutine_returns_or_raises_comes_back():
    """Also after it was stopped: it begins anew."""

    async def number(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    thread = LoopThread()
    for _ in range(2):
        assert thread.run(number(5)) == 5
        assert thread.begin(number(6)).result(30) == 6
        with pytest.raises(ValueError, match="-1"):
            thread.run(number(-1))
        thread.stop()


def test_coroutines_that_several_threads_begin_at_once_all_run():
    """The loop is woken once for many of them, and misses none."""
    loop_thread = LoopThread()
    results: list[int] = []

    async def number(value: int) -> int:
        await asyncio.sleep(0)
        return value

    def begin() -> None:
        coming = [loop_thread.begin(number(value)) for value in range(500)]
        results.extend(future.result(30) for future in coming)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    loop_thread.stop()
    assert sorted(results) == sorted([*range(500)] * 8)


def test_coroutines_can_be_begun_while_another_thread_stops_the_loop():
    """Each one ends or is cancelled, and the next one finds a loop."""
    loop_thread = LoopThread()
    is_done = threading.Event()

    async def number(value: int) -> int:
        return value

    def stop() -> None:
        while not is_done.is_set():
            loop_thread.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    try:
        for value in range(300):
            with contextlib.suppress(CancelledError):
                assert loop_thread.begin(number(value)).result(30) == value
    finally:
        is_done.set()
        stopping.join(60)
    assert loop_thread.begin(number(5)).result(30) == 5
    loop_thread.stop()


def test_an_interrupt_before_the_loop_is_woken_leaves_no_later_coroutine_waiting(monkeypatch):
    """The next coroutine wakes the loop for both."""
    loop_thread = LoopThread()

    async def number(value: int) -> int:
        return value

    assert loop_thread.begin(number(1)).result(30) == 1
    loop = loop_thread._loop
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loop_thread.begin(number(2))
    assert loop_thread.begin(number(3)).result(30) == 3
    loop_thread.stop()


def test_a_thread_that_cannot_start_leaves_no_later_coroutine_waiting(monkeypatch):
    """The system may have threads again later."""
    loop_thread = LoopThread()

    async def number() -> int:
        return 5

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="new thread"):
            loop_thread.run(number())
    assert loop_thread.begin(number()).result(30) == 5
    loop_thread.stop()


def test_an_interrupt_while_the_loop_ends_leaves_no_later_coroutine_waiting(monkeypatch):
    """Ctrl-C while `stop` waits for the thread."""
    loop_thread = LoopThread()

    async def number() -> int:
        return 5

    assert loop_thread.run(number()) == 5
    ending = loop_thread._thread
    assert ending is not None
    with monkeypatch.context() as patch:
        patch.setattr(ending, "join", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loop_thread.stop()
    assert loop_thread.begin(number()).result(30) == 5
    loop_thread.stop()
    ending.join(30)
    assert not ending.is_alive()


def test_a_cancelled_result_cancels_its_coroutine():
    """Before the loop has begun it and afterwards; who waits for several results learns of it."""
    loop_thread = LoopThread()
    begun, ended = threading.Event(), threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = loop_thread.begin(endless())
    assert begun.wait(30)
    assert running.cancel()
    assert ended.wait(30)

    async def blocking() -> None:
        begun.wait(30)

    begun.clear()
    loop_thread.begin(blocking())
    waiting = loop_thread.begin(endless())
    assert waiting.cancel()
    begun.set()
    ended.clear()
    later = loop_thread.begin(endless())
    loop_thread.stop()
    assert wait([running, waiting, later], timeout=30).not_done == set()


def test_the_end_cancels_what_runs():
    """A thread that waits for an answer is not left waiting."""
    thread = LoopThread()
    begun = threading.Event()
    ended: list[type] = []

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            thread.run(endless())
        except StoreUnavailable as error:
            ended.append(type(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(30)
    later = thread.begin(endless())
    thread.stop()
    waiting.join(30)
    assert not waiting.is_alive()
    assert ended == [StoreUnavailable]
    assert later.cancelled()


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "forgotten"])
def test_the_end_closes_connections_on_the_loop(stopped):
    """Also where nobody stops the thread: an open connection would be reported as a leak."""
    thread = LoopThread()
    closed = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def fail() -> None:
        raise OSError("the connection was lost")

    async def close() -> None:
        loops.append(asyncio.get_running_loop())
        closed.set()

    thread.close_at_end(fail)
    thread.close_at_end(close)
    loops.append(thread.run(loop()))
    if stopped:
        thread.stop()
    del thread
    gc.collect()
    assert closed.wait(30)
    assert loops[0] is loops[1]


def test_a_child_of_a_fork_begins_a_loop_of_its_own(home):
    """The loop of the parent goes on; the child can also stop or forget what it has."""
    ended = programs.run(
        home,
        """
        from ipfs_log_handlers.reader.loop_thread import LoopThread

        async def number(value): return value

        used, stopped, forgotten = LoopThread(), LoopThread(), LoopThread()
        for thread in (used, stopped, forgotten): assert thread.run(number(1)) == 1
        child = os.fork()
        if child == 0:
            stopped.stop()
            del forgotten
            assert used.run(number(2)) == 2 and stopped.run(number(3)) == 3
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        for thread in (used, stopped, forgotten): assert thread.run(number(4)) == 4; thread.stop()
        """,
    )
    assert ended.code == 0, ended.err
