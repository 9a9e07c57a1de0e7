"""Commands and actions asked for through MCP."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="mcp_actions",
        type="mcp_operations",
        loggers=(
            "ipfs_kit_py.mcp.enhanced_server",
            "ipfs_kit_py.mcp.handlers",
        ),
        events={
            "mcp.action": ("success",),
        },
        records=100,
    )
)
