"""What a handler has made durable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.workshop import durable


def found(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """The records but for the first of `log`."""
    return [each for each in durable(home, subsystem) if each["event"] != "first"]


def one(home: Path) -> dict[str, Any]:
    """The only record."""
    (record,) = found(home)
    return record
