"""Provide clocks and pauses for deadlines, which also work while a test stops the time.

freezegun replaces the functions of the `time` module in every module that has them, also in modules imported later. A
flush that waited by `time.monotonic` would never end. So these functions come from a copy of that module, which no
other module knows. time-machine changes only the wall clock, and with it `wall`.

The times of records and batches come from `time` itself, because a test that sets the time wants to set these.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any, Final

from ipfs_log_handlers.concurrency import threads

__all__ = ["keep_real", "monotonic", "pause", "sleep", "wall"]


def _copy_of_time() -> Any:
    loader: Any = time.__spec__.loader
    module = importlib.util.module_from_spec(time.__spec__)
    loader.exec_module(module)
    return module


_time: Final = _copy_of_time()

monotonic: Final[Callable[[], float]] = _time.monotonic
"""Return seconds of a clock that is never set back, for deadlines and pauses."""
wall: Final[Callable[[], float]] = _time.time
"""Return seconds since 1970, to compare with times that another process wrote, or with times of files."""
sleep: Final[Callable[[float], None]] = _time.sleep
"""Stop the whole thread for some seconds; use it only in threads of this package."""


def pause(seconds: float) -> None:
    """Sleep on a thread of the program. With a `sleep` of gevent or eventlet, other greenlets run meanwhile."""
    (time.sleep if threads.is_patched("time") else sleep)(seconds)


def keep_real(loop: Any) -> None:
    """Make an event loop of asyncio use the real clock, even if a test replaces `time.monotonic`."""
    with contextlib.suppress(AttributeError):  # a loop of uvloop has its own clock
        loop.time = monotonic
