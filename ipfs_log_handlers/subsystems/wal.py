"""Operations of a storage write-ahead log and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Members, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import counts, distinct_count, single

__all__ = ["EVENTS", "SUBSYSTEM", "added", "archived", "deleted", "status"]

OperationType = Literal[
    "add", "get", "pin", "unpin", "rm", "cat", "list", "mkdir", "copy", "move", "upload", "download", "custom"
]
Status = Literal["pending", "processing", "completed", "failed", "retrying"]
Moment = Annotated[int, Unit("ms since 1970")]
Result = Annotated[
    Mapping[str, Any], Members(cid=str | None, size=Annotated[int, Unit("B")] | None, destination=str | None)
]
EVENTS: Final = Events()


@EVENTS.define("wal.operation.added")
def added(
    *,
    operation_id: str,
    operation_type: OperationType,
    backend: str,
    status: Status,
    updated_at: Moment,
    timestamp: Moment | None = None,
    completed_at: Moment | None = None,
    next_retry_at: Moment | None = None,
    parameters: Mapping[str, Any] | None = None,
    result: Result | None = None,
    error: str | None = None,
    error_type: str | None = None,
    retry_count: int | None = None,
    max_retries: int | None = None,
    partition_id: str | None = None,
) -> None:
    """An operation was added to the log."""


@EVENTS.define("wal.operation.status")
def status(
    *,
    operation_id: str,
    operation_type: OperationType,
    backend: str,
    status: Status,
    updated_at: Moment,
    timestamp: Moment | None = None,
    completed_at: Moment | None = None,
    next_retry_at: Moment | None = None,
    parameters: Mapping[str, Any] | None = None,
    result: Result | None = None,
    error: str | None = None,
    error_type: str | None = None,
    retry_count: int | None = None,
    max_retries: int | None = None,
    partition_id: str | None = None,
) -> None:
    """The status of an operation changed."""


@EVENTS.define("wal.operation.archived")
def archived(
    *,
    operation_id: str,
    operation_type: OperationType,
    backend: str,
    status: Status,
    updated_at: Moment,
    timestamp: Moment | None = None,
    completed_at: Moment | None = None,
    parameters: Mapping[str, Any] | None = None,
    result: Result | None = None,
    error: str | None = None,
    error_type: str | None = None,
    retry_count: int | None = None,
    max_retries: int | None = None,
    partition_id: str | None = None,
) -> None:
    """An operation that has ended went into an archive."""


@EVENTS.define("wal.operation.deleted")
def deleted(
    *,
    operation_id: str,
    operation_type: OperationType,
    backend: str,
    status: Status,
    updated_at: Moment,
    timestamp: Moment | None = None,
    completed_at: Moment | None = None,
    parameters: Mapping[str, Any] | None = None,
    result: Result | None = None,
    error: str | None = None,
    error_type: str | None = None,
    retry_count: int | None = None,
    max_retries: int | None = None,
    partition_id: str | None = None,
) -> None:
    """An operation was taken out of the log."""


SUBSYSTEM: Final = Subsystem(
    name="wal",
    type="wal_partition",
    loggers=("ipfs_kit_py.storage_wal",),
    events=EVENTS,
    records=1000,
    meta={
        "partition_id": single("partition_id", plural="partition_ids", otherwise="wal_{first}_{index}"),
        "operation_count": distinct_count("operation_id"),
        "statuses": counts("status", per="operation_id"),
    },
    zone=("operation_type", "backend", "status", "updated_at", "partition_id"),
    ids=("operation_id", "request_id", "trace_id"),
)
