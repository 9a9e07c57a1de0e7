"""Read the records that a handler has made durable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.logging_home import durable


def found(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """Return the records, without the first one, which the fixture `log` writes."""
    return [record for record in durable(home, subsystem) if record["event"] != "first"]


def one(home: Path) -> dict[str, Any]:
    """Return the only record."""
    (record,) = found(home)
    return record
