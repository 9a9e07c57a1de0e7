"""Pace the keeper's work: make pauses between short steps, so that its program keeps the GIL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from ipfs_log_handlers.concurrency import clock

__all__ = ["BACKGROUND_PAUSE", "MIN_PAUSE_S", "run_paced"]

BACKGROUND_PAUSE: Final = 30.0
"""Seconds of pause for each second of work while the spool is empty; none when the spool is half full. So a flood of
records waits on the disk; a flush lets them be sealed without pauses."""
MIN_PAUSE_S: Final = 0.0002
"""Shortest pause after each step, in seconds, in which the program can run."""
_MAX_PAUSE_S: Final = 0.05
"""Longest pause after one step, in seconds; a flush request waits so long at most until it is noticed."""
_BLOCKING_PAUSE_S: Final = 0.002
"""Seconds up to which the thread itself sleeps, because the event loop's clock is too coarse for short pauses."""
_STEPS_PER_TURN: Final = 16
"""Number of steps after which the other tasks of the event loop run."""


async def run_paced(steps: Iterator[None], pause: float, urgent: Callable[[], bool]) -> None:
    """Run the steps of a piece of work, with a pause after each.

    Args:
        steps: the work.
        pause: seconds of pause for each second of work.
        urgent: function that says whether a flush request waits for the work; then there is no pause.
    """
    worked = time.thread_time()
    for count, _ in enumerate(steps):
        if not urgent():
            seconds = min(pause * (time.thread_time() - worked), _MAX_PAUSE_S)
            if seconds > _BLOCKING_PAUSE_S:
                await asyncio.sleep(seconds)
            else:
                clock.sleep(max(MIN_PAUSE_S, seconds))
            worked = time.thread_time()
        if count % _STEPS_PER_TURN == 0:
            await asyncio.sleep(0)
