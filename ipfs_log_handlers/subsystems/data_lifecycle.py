"""Events of data lifecycle policies."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="data_lifecycle",
        type="data_lifecycle_events",
        loggers=("ipfs_kit_py.mcp.enterprise.data_lifecycle",),
        events={
            "data_lifecycle.event": (
                "event_id",
                "event_type",
                "object_id",
                "action",
                "status",
                "timestamp",
            ),
            "data_lifecycle.policy": (
                "event_id",
                "event_type",
                "object_id",
                "action",
                "status",
                "timestamp",
            ),
        },
        records=50,
    )
)
