"""Run functions in a fixed number of threads that do not keep the program from ending.

`concurrent.futures` waits for its threads when the interpreter ends; a reading that waits for a store that does not
answer would then keep Ctrl-C from ending the server.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["DaemonThreads"]

Result = TypeVar("Result")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
_Jobs = queue.SimpleQueue["_Job | None"]


class DaemonThreads:
    """Threads that take one function after another, and end after their last one when nobody has this object any more.

    Args:
        count: number of threads, and so of functions that run at the same time; each begins when it is first needed.
    """

    def __init__(self, count: int) -> None:
        self._jobs: _Jobs = queue.SimpleQueue()
        self._count = count
        self._begun = 0
        self._idle = threading.Semaphore(0)
        self._end = weakref.finalize(self, self._jobs.put, None)
        self._end.atexit = False

    async def run(self, function: Callable[[], Result], *, max_wait_seconds: float | None = None) -> Result:
        """Run a function in one of the threads; return what it returns.

        If the caller is cancelled before the function begins, it never does. If it runs already, it goes on, and its
        thread takes no other function until it ends.

        Args:
            function: the function.
            max_wait_seconds: how long it may wait for a thread; `None`: as long as it needs.

        Raises:
            asyncio.TimeoutError: no thread became free in that time; the function never begins.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        begun = threading.Event()

        def run() -> Result:
            begun.set()
            return function()

        def give_up() -> None:
            if not begun.is_set() and not outcome.done():
                outcome.set_exception(asyncio.TimeoutError())

        timer = None if max_wait_seconds is None else loop.call_later(max_wait_seconds, give_up)
        self._jobs.put((run, outcome, loop))
        if not self._idle.acquire(blocking=False) and self._begun < self._count:
            self._begun += 1
            threading.Thread(
                target=_work, args=(self._jobs, self._idle), name=f"reading-{self._begun}", daemon=True
            ).start()
        try:
            return await outcome
        finally:
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Let each thread end after its function."""
        self._end()


def _work(jobs: _Jobs, idle: threading.Semaphore) -> None:
    while (job := jobs.get()) is not None:
        function, outcome, loop = job
        del job
        if not outcome.done():
            _tell(loop, outcome, function)
        del function, outcome
        idle.release()
    jobs.put(None)  # for the next thread


def _tell(loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[Any], function: Callable[[], Any]) -> None:
    """Call a function, and give its outcome to the event loop, if there still is one."""
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - the caller gets it
        told: tuple[Callable[..., object], Any] = outcome.set_exception, error
    else:
        told = outcome.set_result, result

    def tell() -> None:
        if not outcome.done():
            told[0](told[1])

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop is closed: nobody waits
        return
