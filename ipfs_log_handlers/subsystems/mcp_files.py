"""File operations asked for through MCP."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="mcp_files",
        type="vfs_operations",
        loggers=(
            "ipfs_kit_py.mcp.ipfs_kit",
            "ipfs_kit_py.mcp.handlers",
        ),
        events={
            "mcp.file": (
                "operation",
                "path",
                "success",
                "duration_ms",
            ),
        },
        records=100,
    )
)
