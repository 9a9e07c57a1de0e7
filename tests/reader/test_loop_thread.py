"""An event loop on a thread of its own runs coroutines from any thread, and leaves nobody waiting when it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import CancelledError

import pytest

from ipfs_log_handlers.reader.loop_thread import LoopThread


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
        except CancelledError as error:
            ended.append(type(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(30)
    later = thread.begin(endless())
    thread.stop()
    waiting.join(30)
    assert not waiting.is_alive()
    assert ended == [CancelledError]
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
