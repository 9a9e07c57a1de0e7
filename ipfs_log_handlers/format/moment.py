"""A moment as text: RFC 3339, UTC, microseconds and `Z`, as each record and each manifest has it."""

from __future__ import annotations

import calendar
import time

__all__ = ["micros", "rfc3339"]


def micros(text: str) -> int | None:
    """µs since 1970 of a record's `time`; `None` for text that is not one."""
    try:
        whole = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        return whole * 1_000_000 + int(text[20:26])
    except ValueError:
        return None


def rfc3339(micros_since_1970: int) -> str:
    """The text of a moment."""
    seconds, fraction = divmod(micros_since_1970, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:06d}Z"
