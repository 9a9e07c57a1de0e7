"""Replication of a filesystem journal between nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Members
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, counts, single

__all__ = ["EVENTS", "SUBSYSTEM", "checkpoint", "conflict", "entry", "peer", "state_saved"]

Status = Literal["pending", "in_progress", "complete", "partial", "failed", "conflict"]
Actions = Annotated[
    Sequence[Mapping[str, Any]],
    Members(
        kind=str,
        backend_id=str | None,
        state=str | None,
        idempotency_key=str | None,
        reason=str | None,
    ),
]
EVENTS: Final = Events()
_CONFIGURED: Final = ("node_id", "role")
"""Fields that `metadata` of a handler can give for all its records."""


@EVENTS.define("replication.entry", configured=_CONFIGURED)
def entry(
    *,
    entry_id: str,
    status: Status,
    node_id: str | None = None,
    role: str | None = None,
    operation_id: str | None = None,
    success: bool | None = None,
    cleanup_blocked: bool | None = None,
    target_redundancy: int | None = None,
    verified_redundancy: int | None = None,
    verified_backend_ids: Sequence[str] | None = None,
    actions: Actions | None = None,
    vector_clock: Mapping[str, int] | None = None,
    error: str | None = None,
    error_type: str | None = None,
) -> None:
    """The replication of a journal entry went on."""


@EVENTS.define("replication.conflict", configured=_CONFIGURED)
def conflict(
    *,
    entry_id: str,
    resolution: Literal["lww"],
    node_id: str | None = None,
    role: str | None = None,
    operation_id: str | None = None,
    vector_clock: Mapping[str, int] | None = None,
    peer_id: str | None = None,
    error: str | None = None,
    error_type: str | None = None,
) -> None:
    """Two nodes disagreed about an entry, and how that was resolved: `lww`, the last writer won."""


@EVENTS.define("replication.state_saved", configured=_CONFIGURED)
def state_saved(
    *,
    status_count: int,
    peer_count: int,
    node_id: str | None = None,
    role: str | None = None,
    success: bool | None = None,
    vector_clock: Mapping[str, int] | None = None,
    error: str | None = None,
    error_type: str | None = None,
) -> None:
    """A node wrote the state of its replication down."""


@EVENTS.define("replication.checkpoint", configured=_CONFIGURED)
def checkpoint(
    *,
    node_id: str | None = None,
    role: str | None = None,
    checkpoint_id: str | None = None,
    operation_id: str | None = None,
    success: bool | None = None,
    vector_clock: Mapping[str, int] | None = None,
    error: str | None = None,
    error_type: str | None = None,
) -> None:
    """A checkpoint of the journal was made or replicated."""


@EVENTS.define("replication.peer", configured=_CONFIGURED)
def peer(
    *,
    node_id: str | None = None,
    role: str | None = None,
    peer_id: str | None = None,
    peer_role: str | None = None,
    success: bool | None = None,
    error: str | None = None,
    error_type: str | None = None,
) -> None:
    """A peer came, went or changed its role."""


SUBSYSTEM: Final = Subsystem(
    name="fs_replication",
    type="fs_replication_operations",
    loggers=("ipfs_kit_py.fs_journal_replication",),
    events=EVENTS,
    records=50,
    meta={
        "node_id": single("node_id", plural="node_ids"),
        "role": single("role", plural="roles"),
        "operation_count": count(),
        "statuses": counts("status", per="entry_id"),
        "conflict_count": count(event="replication.conflict"),
    },
    zone=("node_id", "role", "status", "peer_id"),
    ids=("entry_id", "operation_id", "checkpoint_id", "request_id", "trace_id"),
)
