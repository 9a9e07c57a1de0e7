"""What each subsystem logs: one module each, and the registry that holds them.

`audit, logs, wal, telemetry, health, fs_monitor, fs_replication, lifecycle, data_lifecycle, mcp_files, mcp_actions`
are registered here, in this order; a program adds its own with `register(Subsystem(...))`.
"""

from __future__ import annotations

from ipfs_log_handlers.subsystems.registry import (
    DEFAULT,
    Router,
    Subsystem,
    get,
    names,
    register,
)

from . import audit, logs, wal, telemetry, health, fs_monitor, fs_replication, lifecycle  # isort: skip
from . import data_lifecycle, mcp_files, mcp_actions  # isort: skip

__all__ = ["DEFAULT", "Router", "Subsystem", "get", "names", "register"]

del (
    audit,
    data_lifecycle,
    fs_monitor,
    fs_replication,
    health,
    lifecycle,
    logs,
    mcp_actions,
    mcp_files,
    telemetry,
    wal,
)
