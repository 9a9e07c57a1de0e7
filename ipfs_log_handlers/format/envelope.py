"""The envelope of a record: the keys that are ours, whatever the caller logs."""

from __future__ import annotations

from typing import Final

__all__ = ["OURS"]

OURS: Final = frozenset({"time", "level", "logger", "event", "exception", "stack", "pid", "seq"})
"""A caller's field of one of these names gets a trailing `_`; `event` is taken over."""
