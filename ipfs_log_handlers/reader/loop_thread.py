"""Run coroutines on an event loop that has a thread of its own, from any number of threads.

So a reader may be used inside the running loop of a program; that loop waits for the result, as it waits for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ipfs_log_handlers.concurrency import clock

if TYPE_CHECKING:  # asyncio is imported with the first coroutine: most queries ask nobody
    import asyncio
    from concurrent.futures import Future

__all__ = ["LoopThread"]

_T = TypeVar("_T")


class LoopThread:
    """An event loop on a thread of its own; both begin with the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def begin(self, question: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin to run a coroutine; return what will have its result."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(question, self._running())

    def run(self, question: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine; wait for its result, and raise its exception."""
        asked = self.begin(question)
        try:
            return asked.result()
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
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                clock.keep_real(self._loop)
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop, self._closers), name="ipfs-logs-fetcher", daemon=True
                )
                self._thread.start()
            return self._loop

    def __del__(self) -> None:
        """End the thread of an object that was not stopped; do not wait for it."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._loop.stop)

    def stop(self) -> None:
        """Cancel what runs, so that nobody waits for it without end; close connections, and end the thread."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop = self._thread = None
            self._closers = []


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
