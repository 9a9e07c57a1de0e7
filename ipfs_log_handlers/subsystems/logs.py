"""All records that belong to no other subsystem: the ordinary log of the program."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, single

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = Subsystem(
    name="logs",
    type="logs",
    records=200,
    meta={"log_count": count(), "component": single("component", plural="components", otherwise="all", logger=True)},
    ids=("request_id", "trace_id"),
)
