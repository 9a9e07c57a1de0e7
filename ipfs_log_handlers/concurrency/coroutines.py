"""Run a coroutine to its end from synchronous code, also if the calling thread already runs an event loop.

A notebook and an asyncio program call the synchronous methods of `ipfs_log_handlers.api` inside a running loop, where
`asyncio.run` raises an error. The coroutine then runs on a thread of its own while the caller waits.

So it does in the main thread of Python 3.10, too: there Ctrl-C is raised inside any task of the loop, and asyncio
prints it as an error that was never retrieved. Later Pythons cancel the coroutine.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from ipfs_log_handlers.concurrency import clock

__all__ = ["run"]

_T = TypeVar("_T")

_CTRL_C_IS_RAISED_IN_TASKS: Final = sys.version_info < (3, 11)


def run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run the coroutine that `work` returns, and return its result.

    Raises:
        BaseException: every exception of the coroutine. An interrupt of the waiting thread first cancels the coroutine.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if not _CTRL_C_IS_RAISED_IN_TASKS or threading.current_thread() is not threading.main_thread():
            return asyncio.run(_by_real_clock(work))
    return _run_on_a_thread(work)


def _run_on_a_thread(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    import asyncio

    loop = asyncio.new_event_loop()
    clock.keep_real(loop)
    thread = threading.Thread(target=loop.run_forever, name="ipfs-logs-coroutine", daemon=True)
    thread.start()
    try:
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
    finally:
        asyncio.run_coroutine_threadsafe(_end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _by_real_clock(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    import asyncio

    clock.keep_real(asyncio.get_running_loop())
    return await work()


async def _end() -> None:
    """Wait for the tasks that an interrupt has cancelled."""
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
