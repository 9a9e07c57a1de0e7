"""Everything that no other subsystem claims: the program's ordinary log."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="logs",
        type="logs",
        loggers=(),
        events={},
        records=200,
    )
)
