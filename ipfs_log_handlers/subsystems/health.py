"""Results of health checks."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="health",
        type="health_check_results",
        loggers=("ipfs_kit_py.mcp.monitoring.health",),
        events={
            "health.check": (
                "check_id",
                "status",
                "duration_ms",
            ),
        },
        records=50,
    )
)
