"""Read and write moments as text: RFC 3339, UTC, microseconds and `Z`, as every record has it."""

from __future__ import annotations

import calendar
import time

__all__ = ["micros", "rfc3339"]


def micros(text: str) -> int | None:
    """Return the `time` of a record in µs since 1970; `None` for text that is not a time."""
    try:
        whole = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        return whole * 1_000_000 + int(text[20:26])
    except ValueError:
        return None


def rfc3339(micros_since_1970: int) -> str:
    """Return a moment, in µs since 1970, as RFC 3339 text in UTC."""
    seconds, fraction = divmod(micros_since_1970, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:06d}Z"
