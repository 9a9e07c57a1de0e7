"""Results of health checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import distinct_count, worst

__all__ = ["EVENTS", "SUBSYSTEM", "check"]

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]
EVENTS: Final = Events()


@EVENTS.define("health.check")
def check(
    *,
    check_id: str,
    status: Status,
    duration_ms: Annotated[float, Unit("ms")],
    check_name: str | None = None,
    check_type: str | None = None,
    target: str | None = None,
    critical: bool | None = None,
    details: Mapping[str, Any] | None = None,
    error: str | None = None,
    timestamp: str | None = None,
) -> None:
    """A check has run."""


SUBSYSTEM: Final = Subsystem(
    name="health",
    type="health_check_results",
    loggers=("ipfs_kit_py.mcp.monitoring.health",),
    events=EVENTS,
    records=50,
    meta={
        "check_count": distinct_count("check_id"),
        "overall_status": worst("status", per="check_id", order=("unhealthy", "degraded", "healthy", "unknown")),
    },
    zone=("check_id", "status", "duration_ms"),
    ids=("request_id", "trace_id"),
)
