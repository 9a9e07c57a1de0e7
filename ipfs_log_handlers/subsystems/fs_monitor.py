"""State of a filesystem journal, and its alerts."""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.subsystems.registry import Subsystem, register

__all__ = ["SUBSYSTEM"]

SUBSYSTEM: Final = register(
    Subsystem(
        name="fs_monitor",
        type="fs_journal_monitor_stats",
        loggers=("ipfs_kit_py.fs_journal_monitor",),
        events={
            "fs_journal.stats": (
                "timestamp",
                "journal",
                "health",
            ),
            "fs_journal.alert": (
                "alert_type",
                "severity",
                "alert_message",
            ),
        },
        records=100,
    )
)
