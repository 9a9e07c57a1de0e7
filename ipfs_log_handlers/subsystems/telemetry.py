"""Measurements of a write-ahead log: latencies, rates, queue sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from ipfs_log_handlers.errors import EventError
from ipfs_log_handlers.subsystems.annotations import Members, Unit
from ipfs_log_handlers.subsystems.events import Events
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import distinct, single

__all__ = ["EVENTS", "SUBSYSTEM", "UNITS", "metric"]

MetricType = Literal[
    "operation_count",
    "operation_latency",
    "success_rate",
    "error_rate",
    "backend_health",
    "throughput",
    "queue_size",
    "retry_count",
]
UNITS: Final = {
    "operation_count": "operations",
    "operation_latency": "s",
    "success_rate": "0 to 1",
    "error_rate": "0 to 1",
    "backend_health": "1 healthy, 0.5 degraded, 0 unhealthy",
    "throughput": "operations per minute",
    "queue_size": "operations",
    "retry_count": "retries",
}
"""What `value` counts, by `metric_type`."""
Aggregate = Annotated[
    Mapping[str, Any],
    Members(
        count=int,
        sum=float | None,
        min=float | None,
        max=float | None,
        mean=float | None,
        median=float | None,
        percentile_95=float | None,
        percentile_99=float | None,
    ),
]
EVENTS: Final = Events()


@EVENTS.define("wal.metric")
def metric(
    *,
    metric_type: MetricType,
    value: Annotated[float, Unit("by metric_type")],
    timestamp: Annotated[float, Unit("s since 1970")],
    operation_id: str | None = None,
    operation_type: str | None = None,
    backend: str | None = None,
    status: str | None = None,
    error_type: str | None = None,
    category: str | None = None,
    old_status: str | None = None,
    new_status: str | None = None,
    sampling_interval: Annotated[float, Unit("s")] | None = None,
    aggregate: Aggregate | None = None,
) -> None:
    """Something was measured."""
    rate = metric_type in {"success_rate", "error_rate"}
    if (rate and not 0 <= value <= 1) or (metric_type == "backend_health" and value not in {0, 0.5, 1}):
        raise EventError(
            f"no value of {metric_type}", where="wal.metric.value", expected=UNITS[metric_type], found=value
        )


SUBSYSTEM: Final = Subsystem(
    name="telemetry",
    type="wal_telemetry",
    loggers=("ipfs_kit_py.wal_telemetry",),
    events=EVENTS,
    records=1000,
    meta={
        "metric_types": distinct("metric_type"),
        "sampling_interval": single("sampling_interval", plural="sampling_intervals"),
    },
    zone=("metric_type", "backend", "value", "timestamp"),
    ids=("operation_id", "request_id", "trace_id"),
)
