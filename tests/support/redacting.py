"""Apply a rule that hides values, and look at what it leaves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.redaction import redaction

__all__ = ["NAMES", "apply", "in_message", "on_disk"]


NAMES = ("password", "*token*", "api?key")


def in_message(record: logging.LogRecord, names: tuple[str, ...]) -> logging.LogRecord:
    """Return a record with a secret in its message."""
    made = redaction(names)
    assert made is not None
    return made.hide_in_message(record)


def apply(rule: Any, event: str = "e", fields: Any = None, exception: Any = None, stack: Any = None) -> Any:
    """One record, through a rule."""
    made = redaction(rule)
    assert made is not None
    logged = made.apply(LoggedEvent(0.0, "info", "t", event, fields or {}, exception, stack))
    return logged.event, logged.fields, logged.exception, logged.stack


def on_disk(home: Path) -> bytes:
    """Every byte of the spool."""
    return b"".join(path.read_bytes() for path in sorted((home / "logs" / "spool").iterdir()))
