"""Measurements of a write-ahead log: latencies, rates, queue sizes."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="telemetry",
        type="wal_telemetry",
        loggers=("ipfs_kit_py.wal_telemetry",),
        events={
            "wal.metric": (
                "metric_type",
                "value",
                "timestamp",
            ),
        },
        records=1000,
    )
)
