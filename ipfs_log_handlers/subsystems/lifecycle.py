"""Retention, classification and archiving of content, as operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Known, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, counts

__all__ = [
    "EVENTS",
    "SUBSYSTEM",
    "archived",
    "classified",
    "compliance",
    "content",
    "cost",
    "legal_hold",
    "metadata_saved",
    "policy_run",
    "retention",
    "rule",
]

State = Literal["active", "archived", "cold_storage", "pending_deletion", "deleted", "legal_hold", "anonymized"]
RuleKind = Literal["retention", "classification", "archive", "compliance", "cost_optimization"]
Bytes = Annotated[int, Unit("B")]
EVENTS: Final = Events()


@EVENTS.define("lifecycle.rule")
def rule(
    *,
    action: Literal["created", "updated", "deleted"],
    rule_id: str,
    rule_kind: RuleKind,
    rule_name: str | None = None,
    strategy: str | None = None,
    expiration_action: str | None = None,
    regulation: str | None = None,
    user_id: str | None = None,
    reason: str | None = None,
) -> None:
    """A rule was made, changed or taken away."""


@EVENTS.define("lifecycle.content")
def content(
    *,
    action: Literal["registered", "accessed", "deleted"],
    content_id: str,
    rule_id: str | None = None,
    classification: str | None = None,
    old_state: State | None = None,
    new_state: State | None = None,
    backend: str | None = None,
    size_bytes: Bytes | None = None,
    user_id: str | None = None,
    reason: str | None = None,
    deletion_certificate: str | None = None,
) -> None:
    """Content came, was read or went."""


@EVENTS.define("lifecycle.classified")
def classified(
    *,
    action: str,
    content_id: str | None = None,
    rule_id: str | None = None,
    rule_name: str | None = None,
    classification: str | None = None,
    user_id: str | None = None,
    reason: str | None = None,
) -> None:
    """Content was put into a class."""


@EVENTS.define("lifecycle.retention")
def retention(
    *,
    action: str,
    content_id: str | None = None,
    rule_id: str | None = None,
    rule_name: str | None = None,
    old_state: State | None = None,
    new_state: State | None = None,
    expiration_action: str | None = None,
    reason: str | None = None,
    deletion_certificate: str | None = None,
) -> None:
    """The time that content is kept began, changed or ended."""


@EVENTS.define("lifecycle.archived")
def archived(
    *,
    action: str,
    content_id: str | None = None,
    rule_id: str | None = None,
    old_state: State | None = None,
    new_state: State | None = None,
    strategy: str | None = None,
    backend: str | None = None,
    target_backend: str | None = None,
    size_bytes: Bytes | None = None,
    reason: str | None = None,
) -> None:
    """Content went to another place."""


@EVENTS.define("lifecycle.compliance")
def compliance(
    *,
    action: str,
    content_id: str | None = None,
    rule_id: str | None = None,
    rule_name: str | None = None,
    regulation: Annotated[str, Known(("gdpr", "hipaa", "ccpa", "sox"))] | None = None,
    compliant: bool | None = None,
    reason: str | None = None,
) -> None:
    """Content was held against a regulation; `compliant=False` is a violation."""


@EVENTS.define("lifecycle.cost")
def cost(
    *,
    action: str,
    content_id: str | None = None,
    rule_id: str | None = None,
    strategy: str | None = None,
    backend: str | None = None,
    target_backend: str | None = None,
    size_bytes: Bytes | None = None,
    reason: str | None = None,
) -> None:
    """Something was done, or advised, to save storage cost."""


@EVENTS.define("lifecycle.legal_hold")
def legal_hold(
    *,
    action: Literal["placed", "released"],
    content_id: str | None = None,
    old_state: State | None = None,
    new_state: State | None = None,
    user_id: str | None = None,
    reason: str | None = None,
) -> None:
    """A legal hold was put on content, or taken off."""


@EVENTS.define("lifecycle.policy_run")
def policy_run(
    *,
    action: str,
    rule_id: str | None = None,
    rule_kind: RuleKind | None = None,
    evaluated: int | None = None,
    affected: int | None = None,
    duration_ms: Annotated[float, Unit("ms")] | None = None,
    reason: str | None = None,
) -> None:
    """The rules were applied to all content."""


@EVENTS.define("lifecycle.metadata_saved")
def metadata_saved(
    *,
    action: str,
    metadata_count: int | None = None,
    rule_counts: Mapping[str, Any] | None = None,
    duration_ms: Annotated[float, Unit("ms")] | None = None,
) -> None:
    """The state of all content was written down."""


SUBSYSTEM: Final = Subsystem(
    name="lifecycle",
    type="lifecycle_operations",
    loggers=("ipfs_kit_py.mcp.enterprise.lifecycle",),
    events=EVENTS,
    records=50,
    meta={
        "operation_count": count(),
        "event_counts": counts("event"),
        "violation_count": count(event="lifecycle.compliance", compliant=False),
    },
    zone=("action", "rule_kind", "classification", "new_state", "regulation", "size_bytes"),
    ids=("content_id", "request_id", "trace_id"),
)
