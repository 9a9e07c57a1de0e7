"""Let SIGINT and SIGTERM end the work of a verb that runs until it is stopped."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from ipfs_log_handlers.api import Stop

__all__ = ["stop_on_signals"]


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Let SIGINT and SIGTERM end the work of the block after the current step."""
    stop = Stop()
    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):  # outside the main thread no signal can be handled
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: stop.request())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
