"""Run coroutines on an event loop that has a thread of its own, from any number of threads.

So a reader may be used inside the running loop of a program; that loop waits for the result, as it waits for the disk.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import StoreUnavailable

if TYPE_CHECKING:  # asyncio is imported with the first coroutine: most queries ask nobody
    import asyncio
    from concurrent.futures import Future

__all__ = ["LoopThread"]

_T = TypeVar("_T")


class _Waiting:
    """Coroutines that were begun in any thread, and that the loop has not seen yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[tuple[Coroutine[Any, Any, Any], Future[Any]]] = deque()
        self._is_loop_woken = False

    def add(self, loop: asyncio.AbstractEventLoop, question: Coroutine[Any, Any, Any], result: Future[Any]) -> None:
        """Add a coroutine, and wake the loop, unless it has been woken and has not come yet."""
        with self._lock:  # the loop comes only after the flag is set
            self._items.append((question, result))
            if not self._is_loop_woken:
                loop.call_soon_threadsafe(self.begin, loop)
                self._is_loop_woken = True

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin all of them, on the thread of the loop."""
        for question, result in self._taken():
            if result.cancelled():
                question.close()
                _cancel(result)
                continue
            task = loop.create_task(question)
            task.add_done_callback(partial(_settle, result))
            result.add_done_callback(partial(_pass_on_cancel, loop, task))

    def cancel(self) -> None:
        """Cancel all of them, after the loop has ended."""
        for question, result in self._taken():
            question.close()
            _cancel(result)

    def _taken(self) -> list[tuple[Coroutine[Any, Any, Any], Future[Any]]]:
        with self._lock:
            self._is_loop_woken = False
            items = list(self._items)
            self._items.clear()
        return items


def _settle(result: Future[Any], task: asyncio.Task[Any]) -> None:
    """Give the result of a task to the thread that waits for it."""
    from concurrent.futures import InvalidStateError

    error = None if task.cancelled() else task.exception()
    try:
        if task.cancelled():
            _cancel(result)
        elif error is not None:
            result.set_exception(error)
        else:
            result.set_result(task.result())
    except InvalidStateError:  # it was cancelled meanwhile
        _cancel(result)


def _pass_on_cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], result: Future[Any]) -> None:
    """Cancel a task whose result nobody wants any more."""
    if result.cancelled():
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(task.cancel)


def _cancel(result: Future[Any]) -> None:
    """Cancel a result, also for those that wait for several of them. Called once for each result."""
    if result.cancel():
        result.set_running_or_notify_cancel()


class LoopThread:
    """An event loop on a thread of its own; both begin with the first coroutine."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._waiting = _Waiting()

    def _reset_after_fork(self) -> None:
        """Forget loop and thread in a child of their process: a fork copies no thread, and the locks may be taken."""
        if self._process != os.getpid():
            self._reset()

    def begin(self, question: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin to run a coroutine; return the future of its result. One wake-up of the loop begins many coroutines."""
        from concurrent.futures import Future

        self._reset_after_fork()
        result: Future[_T] = Future()
        with self._lock:
            try:
                loop = self._running()
            except BaseException:
                question.close()
                raise
            self._waiting.add(loop, question, result)
        return result

    def run(self, question: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine; wait for its result, and raise its exception.

        Raises:
            StoreUnavailable: `stop` was called meanwhile.
        """
        from concurrent.futures import CancelledError

        asked = self.begin(question)
        try:
            return asked.result()
        except CancelledError as error:
            raise StoreUnavailable("the source was closed while its answer was waited for") from error
        except BaseException:
            asked.cancel()
            raise

    def close_at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call and await this at the end of the loop that runs or runs next, also if nobody calls `stop`.

        Args:
            close: closes connections; what it raises is lost. It must not refer to an object that owns this one.
        """
        self._closers.append(close)

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the loop; start it if there is none. The caller holds the lock."""
        import asyncio

        if self._loop is None:
            loop = asyncio.new_event_loop()
            clock.keep_real(loop)
            thread = threading.Thread(target=_serve, args=(loop, self._closers), name="ipfs-logs-fetcher", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    def __del__(self) -> None:
        """End the thread of an object that was not stopped; do not wait for it."""
        if self._loop is not None and self._process == os.getpid():
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._loop.stop)

    def stop(self) -> None:
        """Cancel what runs, so that nobody waits for it without end; close connections, and end the thread."""
        self._reset_after_fork()
        with self._lock:
            try:
                if self._loop is not None and self._thread is not None:
                    self._loop.call_soon_threadsafe(self._loop.stop)
                    self._thread.join()
            finally:  # also after Ctrl-C: a loop that ends runs nothing more
                self._loop = self._thread = None
                self._closers = []
                self._waiting.cancel()


def _serve(loop: asyncio.AbstractEventLoop, closers: list[Callable[[], Awaitable[None]]]) -> None:
    """Run the loop until it is stopped, and close what it opened."""
    loop.run_forever()
    loop.run_until_complete(_end(closers))
    loop.close()


async def _end(closers: list[Callable[[], Awaitable[None]]]) -> None:
    """Cancel all tasks, and close connections."""
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for close in closers:
        with suppress(Exception):
            await close()
