"""Read the status of a home with one subsystem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.sample_homes import status

__all__ = ["KEYS", "one"]


KEYS = {
    "subsystem", "durable", "sealed", "shipped", "dropped", "quarantined", "set_aside", "spool_bytes", "store_bytes",
    "oldest_unshipped", "head", "keeper", "last_error", "next_retry", "warnings", "archives_waiting",
    "bounded_bytes", "max_spool_bytes", "pins", "published", "name", "holds",
}  # fmt: skip


def one(home: Path, **how: Any) -> dict[str, Any]:
    """Return the status of the only subsystem."""
    (found,) = status(home, **how)
    return found
