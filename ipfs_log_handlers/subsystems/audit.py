"""Authentication, authorisation and administration: the action, its user, and whether it was allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from ipfs_log_handlers.subsystems.annotations import Known, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, distinct

__all__ = ["EVENTS", "SUBSYSTEM", "event"]

EventType = Annotated[
    str,
    Known(
        ("authentication", "authorization", "user", "role", "api_key", "oauth", "data", "system", "backend", "admin"),
    ),
]
Status = Annotated[str, Known(("success", "failure", "granted", "denied"))]
EVENTS: Final = Events()


@EVENTS.define("audit.event")
def event(
    *,
    event_type: EventType,
    action: str,
    timestamp: Annotated[float, Unit("s since 1970")],
    user_id: str | None = None,
    ip_address: str | None = None,
    resource_id: str | None = None,
    resource_type: str | None = None,
    resource: str | None = None,
    status: Status | None = None,
    request_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """A user or a service acted, and was allowed to or not."""


SUBSYSTEM: Final = Subsystem(
    name="audit",
    type="audit_log",
    loggers=("audit",),
    events=EVENTS,
    records=100,
    meta={"event_count": count(), "event_types": distinct("event_type")},
    zone=("event_type", "action", "status", "user_id"),
    ids=("request_id", "resource_id", "trace_id"),
)
