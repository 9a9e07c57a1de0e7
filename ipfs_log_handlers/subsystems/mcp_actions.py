"""Commands and actions asked for through MCP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from ipfs_log_handlers.subsystems.annotations import Known, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, single

__all__ = ["EVENTS", "SUBSYSTEM", "action"]

EVENTS: Final = Events()


@EVENTS.define("mcp.action", one_of=("command", "method"))
def action(
    *,
    success: bool,
    command: str | None = None,
    method: str | None = None,
    subcommand: str | None = None,
    action: str | None = None,
    category: Annotated[str, Known(("backend", "daemon", "storage", "vfs"))] | None = None,
    server_id: str | None = None,
    user_id: str | None = None,
    params: Mapping[str, Any] | None = None,
    duration_ms: Annotated[float, Unit("ms")] | None = None,
    error: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """A command or method was asked for. Redact `params` before they are logged."""


SUBSYSTEM: Final = Subsystem(
    name="mcp_actions",
    type="mcp_operations",
    loggers=("ipfs_kit_py.mcp.enhanced_server", "ipfs_kit_py.mcp.handlers"),
    events=EVENTS,
    records=100,
    meta={
        "operation_count": count(),
        "server_id": single("server_id", plural="server_ids"),
        "error_count": count(success=False),
    },
    zone=("command", "method", "category", "server_id", "success", "duration_ms"),
    ids=("request_id", "trace_id"),
)
