"""File operations asked for through MCP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from ipfs_log_handlers.subsystems.annotations import Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, single

__all__ = ["EVENTS", "SUBSYSTEM", "file"]

EVENTS: Final = Events()


@EVENTS.define("mcp.file")
def file(
    *,
    operation: str,
    path: str,
    success: bool,
    duration_ms: Annotated[float, Unit("ms")],
    backend: str | None = None,
    operation_type: str | None = None,
    bucket: str | None = None,
    status: str | None = None,
    size: Annotated[int, Unit("B")] | None = None,
    cid: str | None = None,
    details: Mapping[str, Any] | None = None,
    error: str | None = None,
    request_id: str | None = None,
) -> None:
    """A file operation has ended."""


SUBSYSTEM: Final = Subsystem(
    name="mcp_files",
    type="vfs_operations",
    loggers=("ipfs_kit_py.mcp.ipfs_kit", "ipfs_kit_py.mcp.handlers"),
    events=EVENTS,
    records=100,
    meta={
        "operation_count": count(),
        "component": single(plural="components", configured="component", logger=True),
    },
    zone=("operation", "backend", "bucket", "success", "duration_ms", "size"),
    ids=("request_id", "cid", "trace_id"),
)
