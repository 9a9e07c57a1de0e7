"""State of a filesystem journal, and its alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.subsystems.annotations import Members, Range, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import count, single

__all__ = ["EVENTS", "SUBSYSTEM", "alert", "stats"]

Moment = Annotated[float, Unit("s since 1970")]
Seconds = Annotated[float, Unit("s")]
Object = Mapping[str, Any]
Journal = Annotated[
    Object,
    Members(
        entry_count=int,
        current_journal_id=str | None,
        last_sync_time=Moment | None,
        last_checkpoint_time=Moment | None,
        in_transaction=bool | None,
        entry_types=Object | None,
        entry_statuses=Object | None,
        checkpoint_age=Seconds | None,
        pending_entries=int | None,
        growth_rate_per_minute=Annotated[float, Unit("entries per minute")] | None,
    ),
]
Health = Annotated[
    Object,
    Members(
        status=str,
        issue_count=int | None,
        alert_count=int | None,
        error_rate=Annotated[float, Range((0, 1))] | None,
    ),
]
Backend = Annotated[
    Object,
    Members(
        tier_stats=Object | None,
        total_items=int | None,
        total_bytes=Annotated[int, Unit("B")] | None,
        content_by_tier=Object | None,
    ),
]
Transactions = Annotated[
    Object,
    Members(
        active_count=int | None,
        avg_duration=Seconds | None,
        max_duration=Seconds | None,
        min_duration=Seconds | None,
    ),
]
Performance = Annotated[Object, Members(avg_operation_times=Object | None, overall_avg_time=Seconds | None)]
EVENTS: Final = Events()


@EVENTS.define("fs_journal.stats")
def stats(
    *,
    timestamp: Moment,
    journal: Journal,
    health: Health,
    backend: Backend | None = None,
    transactions: Transactions | None = None,
    performance: Performance | None = None,
    node: str | None = None,
) -> None:
    """The state of a journal was looked at."""


@EVENTS.define("fs_journal.alert")
def alert(
    *,
    alert_type: Literal["journal_size", "growth_rate", "checkpoint_age", "error_rate", "long_transaction"],
    severity: Literal["warning", "critical"],
    alert_message: str,
    value: float | None = None,
    threshold: float | None = None,
    timestamp: Moment | None = None,
    node: str | None = None,
) -> None:
    """A journal is over one of its thresholds."""


SUBSYSTEM: Final = Subsystem(
    name="fs_monitor",
    type="fs_journal_monitor_stats",
    loggers=("ipfs_kit_py.fs_journal_monitor",),
    events=EVENTS,
    records=100,
    meta={
        "stats_count": count(event="fs_journal.stats"),
        "alert_count": count(event="fs_journal.alert"),
        "monitor_node": single("node", plural="monitor_nodes"),
    },
    zone=("alert_type", "severity", "node", "timestamp"),
    ids=("request_id", "trace_id"),
)
