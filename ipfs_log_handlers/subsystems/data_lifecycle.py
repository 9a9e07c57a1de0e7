"""Events of data lifecycle policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Known, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, counts, distinct

__all__ = ["EVENTS", "SUBSYSTEM", "event", "policy"]

EventType = Annotated[str, Known(("retention", "classification", "archive", "compliance", "cost", "access"))]
Status = Literal["success", "failure", "pending"]
Moment = Annotated[str, Unit("ISO 8601, UTC")]
EVENTS: Final = Events()


@EVENTS.define("data_lifecycle.event")
def event(
    *,
    event_id: str,
    event_type: EventType,
    object_id: str,
    action: str,
    status: Status,
    timestamp: Moment,
    object_path: str | None = None,
    policy_id: str | None = None,
    policy_name: str | None = None,
    user_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """A policy was applied to an object."""


@EVENTS.define("data_lifecycle.policy")
def policy(
    *,
    event_id: str,
    event_type: EventType,
    object_id: str,
    action: Literal["added", "updated", "deleted"],
    status: Status,
    timestamp: Moment,
    policy_id: str | None = None,
    policy_name: str | None = None,
    user_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """A policy was added, changed or deleted."""


SUBSYSTEM: Final = Subsystem(
    name="data_lifecycle",
    type="data_lifecycle_events",
    loggers=("ipfs_kit_py.mcp.enterprise.data_lifecycle",),
    events=EVENTS,
    records=50,
    meta={"event_count": count(), "event_types": distinct("event_type"), "statuses": counts("status")},
    zone=("event_type", "action", "status", "policy_id", "user_id"),
    ids=("event_id", "object_id", "request_id", "trace_id"),
)
